"""Format numbers for people: units that suit their size, few digits, aligned decimals, powers of ten."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column

SHOWN_DIGITS = 6  # of a number without a declared precision
MIN_SMALL_VALUE_DIGITS = 3  # digits that the decimals of a column must leave of its small values
MAX_PLAIN_NUMBER, MIN_PLAIN_NUMBER = 1e9, 1e-4  # beyond these, numbers are written with a power of ten
UNIT_LADDERS = (  # units of one kind, by size
    ("Hz", "kHz", "MHz", "GHz", "THz"),
    ("nm", "um", "mm", "m", "km"),
    ("kbyte", "Mbyte", "Gbyte"),
    ("ms", "s"),
    ("eV", "keV", "MeV", "GeV"),
)
# units of wavelengths or energies, and the wavelength in m below which each is used
SPECTRAL_UNIT_LIMITS = (("MeV", 1e-12), ("keV", 1e-9), ("nm", 1e-6), ("um", 1e-3))
MAX_ANGSTROM_WAVELENGTH = 1e4  # Angstrom: the usual unit of spectral lines and channels of solar telescopes
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_POWER_OF_TEN_PATTERN = re.compile(r"(?:10\*\*|10\^|1e)\(?([-+]?\d+)\)?[. ]?")
_EXPONENT_PATTERN = re.compile(r"(?:\*\*|\^)\(?([-+]?\d+)\)?|(?<=[A-Za-z])([-+]?\d+)")
_UNIT_SYMBOLS = {"solMass": "M☉", "solLum": "L☉", "solRad": "R☉", "Angstrom": "Å", "angstrom": "Å", "deg": "°"}
_BYTE_UNIT_SYMBOLS = {"kbyte": "kB", "Mbyte": "MB", "Gbyte": "GB", "byte": "B"}
_UNIT_PATTERN = re.compile(f"(?:{'|'.join((*_UNIT_SYMBOLS, *_BYTE_UNIT_SYMBOLS))})(?![a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitScale:
    """The unit in which numbers are shown, and the factor of the conversion.

    With `is_inverse`, the factor is divided by the number, as for frequencies shown as wavelengths. With
    `is_sexagesimal`, angles are shown in hours or degrees, minutes and seconds.
    """

    unit: str
    factor: float = 1.0
    is_inverse: bool = False
    is_sexagesimal: bool = False

    def convert(self, value: float) -> float:
        """Convert a number.

        Parameters
        ----------
        value
            The number in the stored unit.

        Returns
        -------
        converted
            The number in the shown unit.
        """
        if not self.is_inverse:
            return value * self.factor
        if value:
            return self.factor / value
        return math.inf


def choose_usual_unit_scale(column: Column, value_range: Mapping[str, object]) -> UnitScale:
    """Choose the usual unit for numbers of this size; `value_range` has the column's ``minimum`` and ``maximum``."""
    stored_unit = column.unit or ""
    low = value_range.get("minimum")
    high = value_range.get("maximum")
    if not stored_unit or column.display or column.type.is_array:
        return UnitScale(unit=stored_unit)
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return UnitScale(unit=stored_unit)
    if not 0 < high < math.inf:
        return UnitScale(unit=stored_unit)
    if low > 0:
        middle = math.sqrt(low) * math.sqrt(high)
    else:
        middle = high
    try:
        spectral_scale = _choose_spectral_scale(column, middle)
        return spectral_scale or _choose_unit_scale_by_size(stored_unit, middle)
    except ValueError:  # no unit of VOUnits
        return UnitScale(unit=stored_unit)


def is_spectral(column: Column) -> bool:
    """Return whether a column has frequencies, wavelengths or energies of light."""
    ucd = (column.ucd or "").lower()
    is_quantity = ucd.startswith(("em.freq", "em.wl", "em.energy")) and "binsize" not in ucd
    return is_quantity and bool(column.unit)


def _choose_spectral_scale(column: Column, typical_value: float) -> UnitScale | None:
    """Choose a wavelength for light shorter than radio waves, an energy for X-rays; None keeps the quantity."""
    if not is_spectral(column):
        return None
    if column.unit in {"Angstrom", "angstrom"} and 1 <= typical_value < MAX_ANGSTROM_WAVELENGTH:
        return UnitScale(unit=column.unit)
    factor, inverse = units.compute_spectral_conversion(column.unit or "", "m")
    length = factor / typical_value if inverse else factor * typical_value
    unit = next((unit for unit, max_length in SPECTRAL_UNIT_LIMITS if length < max_length), "")
    if not unit:  # radio waves keep their quantity
        return None
    factor, inverse = units.compute_spectral_conversion(column.unit or "", unit)
    return UnitScale(unit=unit, factor=factor, is_inverse=inverse)


def _choose_unit_scale_by_size(stored_unit: str, typical_value: float) -> UnitScale:
    for family in UNIT_LADDERS:
        if stored_unit not in family:
            continue
        for unit in reversed(family):
            factor = units.compute_unit_factor(stored_unit, unit)
            if typical_value * factor >= 1:
                return UnitScale(unit=unit, factor=factor)
        return UnitScale(unit=family[0], factor=units.compute_unit_factor(stored_unit, family[0]))
    return UnitScale(unit=stored_unit)


def format_numbers(values: Sequence[float | None]) -> list[str | None]:
    """Format the numbers of one column with `SHOWN_DIGITS` digits and equal decimals, so that the points align.

    Numbers are formatted by themselves if this would leave fewer than `MIN_SMALL_VALUE_DIGITS` digits, or if they are
    beyond `MAX_PLAIN_NUMBER` and `MIN_PLAIN_NUMBER`.
    """
    absolute_values = [abs(value) for value in values if value is not None]
    sizes = [size for size in absolute_values if MIN_PLAIN_NUMBER <= size < MAX_PLAIN_NUMBER]
    if sizes:
        decimals = max(0, SHOWN_DIGITS - 1 - math.floor(math.log10(max(sizes))))
    else:
        decimals = 0
    min_plain = 10.0 ** (MIN_SMALL_VALUE_DIGITS - 1 - decimals)
    plain_texts: list[str | None] = []
    for value in values:
        is_plain = value is not None and _is_in_plain_notation_range(value, min_plain)
        plain_texts.append(f"{value:.{decimals}f}" if is_plain else None)
    fractions = [text.partition(".")[2].rstrip("0") for text in plain_texts if text is not None]
    needed_decimals = max(map(len, fractions), default=0)
    cut_characters = decimals - needed_decimals
    if needed_decimals == 0 and decimals > 0:
        cut_characters += 1  # the point
    formatted_texts: list[str | None] = []
    for value, text in zip(values, plain_texts, strict=True):
        if text is not None:
            formatted_texts.append(_drop_sign_of_zero(text[: len(text) - cut_characters]))
        elif value is not None:
            formatted_texts.append(format_number(value))
        else:
            formatted_texts.append(None)
    return formatted_texts


def _is_in_plain_notation_range(value: float, min_value: float) -> bool:
    return value == 0 or min_value <= abs(value) < MAX_PLAIN_NUMBER


def _drop_sign_of_zero(text: str) -> str:
    if not text.strip("-0."):
        return text.removeprefix("-")
    return text


def format_number(value: float) -> str:
    """Format one number, with a power of ten if it is very large or small.

    Parameters
    ----------
    value
        The number, in any unit.

    Returns
    -------
    text
        The number with `SHOWN_DIGITS` digits.
    """
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "-∞"}.get(value, "NaN")
    if value and not MIN_PLAIN_NUMBER <= abs(value) < MAX_PLAIN_NUMBER:
        mantissa, _, power = f"{value:.{SHOWN_DIGITS - 1}e}".partition("e")
        if "." in mantissa:
            digits = mantissa.rstrip("0").rstrip(".")
        else:
            digits = mantissa
        exponent = str(int(power))
        return f"{digits}\N{MULTIPLICATION SIGN}10{exponent.translate(_SUPERSCRIPTS)}"
    text = f"{value:.{SHOWN_DIGITS}g}"
    if "e" in text:
        return f"{value:.0f}"
    return text


def format_unit(unit: str) -> str:
    """Format a unit for people: ``10**14.solMass`` as 10¹⁴ M☉, ``km.s-1`` as km s⁻¹.

    Parameters
    ----------
    unit
        A unit of VOUnits.

    Returns
    -------
    text
        The unit with symbols and raised powers.
    """
    if not unit or "/" in unit:
        return _UNIT_PATTERN.sub(_replace_unit_name, unit)
    power = _POWER_OF_TEN_PATTERN.match(unit)
    if power is not None:
        unit_rest = unit[power.end() :]
    else:
        unit_rest = unit

    def format_exponent(exponent_match: re.Match[str]) -> str:
        exponent = exponent_match[1] or exponent_match[2]
        return exponent.lstrip("+").translate(_SUPERSCRIPTS)

    unit_rest = _EXPONENT_PATTERN.sub(format_exponent, unit_rest).replace(".", " ")
    formatted = _UNIT_PATTERN.sub(_replace_unit_name, re.sub(r"\bum\b", "µm", unit_rest))
    if power is not None:
        power_text = power[1].lstrip("+").translate(_SUPERSCRIPTS)
        return f"10{power_text} {formatted}".rstrip()
    return formatted


def _replace_unit_name(unit_match: re.Match[str]) -> str:
    return _UNIT_SYMBOLS.get(unit_match[0]) or _BYTE_UNIT_SYMBOLS[unit_match[0]]

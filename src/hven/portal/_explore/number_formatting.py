"""How numbers are written for people.

In the unit of their size, with the digits that are read, points below each other, powers as powers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column

SHOWN_DIGITS = 6  # that are read of a number of which nobody says how many it has
MIN_SMALL_VALUE_DIGITS = 3  # digits that the places of a column leave of its small values, at least
MAX_PLAIN_NUMBER, MIN_PLAIN_NUMBER = 1e9, 1e-4  # beyond these a number is written with its power of ten
UNIT_LADDERS = (  # units of one kind that people change between as numbers grow
    ("Hz", "kHz", "MHz", "GHz", "THz"),
    ("nm", "um", "mm", "m", "km"),
    ("kbyte", "Mbyte", "Gbyte"),
    ("ms", "s"),
    ("eV", "keV", "MeV", "GeV"),
)
# light is told by its wavelength, in m, up to the second number; by the unit that stands first
SPECTRAL_UNIT_LIMITS = (("MeV", 1e-12), ("keV", 1e-9), ("nm", 1e-6), ("um", 1e-3))
MAX_ANGSTROM_WAVELENGTH = (
    1e4  # Angstrom: spectral lines and the channels of solar telescopes are called by these numbers
)
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_POWER_OF_TEN_PATTERN = re.compile(r"(?:10\*\*|10\^|1e)\(?([-+]?\d+)\)?[. ]?")
_EXPONENT_PATTERN = re.compile(r"(?:\*\*|\^)\(?([-+]?\d+)\)?|(?<=[A-Za-z])([-+]?\d+)")
_UNIT_SYMBOLS = {"solMass": "M☉", "solLum": "L☉", "solRad": "R☉", "Angstrom": "Å", "angstrom": "Å", "deg": "°"}
_BYTE_UNIT_SYMBOLS = {"kbyte": "kB", "Mbyte": "MB", "Gbyte": "GB", "byte": "B"}
_UNIT_PATTERN = re.compile(f"(?:{'|'.join((*_UNIT_SYMBOLS, *_BYTE_UNIT_SYMBOLS))})(?![a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitScale:
    """What a column's numbers are told in: a unit, and the factor that leads to it; `is_inverse`.

    The factor is divided by the number (frequencies as wavelengths).
    """

    unit: str
    factor: float = 1.0
    is_inverse: bool = False
    is_sexagesimal: bool = False

    def convert(self, value: float) -> float:
        """Convert a number."""
        if not self.is_inverse:
            return value * self.factor
        if value:
            return self.factor / value
        return math.inf


def choose_usual_scale(column: Column, value_range: Mapping[str, object]) -> UnitScale:
    """Return the unit that people use for numbers of this size; `value_range`.

    The column's ``minimum`` and ``maximum``.
    """
    stored_unit = column.unit or ""
    low = value_range.get("minimum")
    high = value_range.get("maximum")
    if not stored_unit or column.display or column.type.is_array:
        return UnitScale(unit=stored_unit)
    if not (isinstance(low, int | float) and isinstance(high, int | float) and 0 < high < math.inf):
        return UnitScale(unit=stored_unit)
    if low > 0:
        middle = math.sqrt(low) * math.sqrt(high)
    else:
        middle = high
    try:
        spectral_scale = _choose_spectral_scale(column, middle)
        return spectral_scale or _choose_sized_scale(stored_unit, middle)
    except ValueError:  # no unit of VOUnits
        return UnitScale(unit=stored_unit)


def is_spectral(column: Column) -> bool:
    """Return whether a column tells light by frequency, wavelength or energy."""
    ucd = (column.ucd or "").lower()
    return ucd.startswith(("em.freq", "em.wl", "em.energy")) and "binsize" not in ucd and bool(column.unit)


def _choose_spectral_scale(column: Column, typical_value: float) -> UnitScale | None:
    """Return how light is told: what is shorter than radio waves by wavelength, X-rays by energy; None: as it is."""
    if not is_spectral(column):
        return None
    if column.unit in {"Angstrom", "angstrom"} and 1 <= typical_value < MAX_ANGSTROM_WAVELENGTH:
        return UnitScale(unit=column.unit)
    factor, inverse = units.compute_spectral_conversion(column.unit or "", "m")
    length = factor / typical_value if inverse else factor * typical_value
    unit = next((unit for unit, max_length in SPECTRAL_UNIT_LIMITS if length < max_length), "")
    if not unit:  # long waves keep the kind that they have
        return None
    factor, inverse = units.compute_spectral_conversion(column.unit or "", unit)
    return UnitScale(unit=unit, factor=factor, is_inverse=inverse)


def _choose_sized_scale(stored_unit: str, typical_value: float) -> UnitScale:
    for family in UNIT_LADDERS:
        if stored_unit not in family:
            continue
        for unit in reversed(family):
            factor = units.compute_factor(stored_unit, unit)
            if typical_value * factor >= 1:
                return UnitScale(unit=unit, factor=factor)
        return UnitScale(unit=family[0], factor=units.compute_factor(stored_unit, family[0]))
    return UnitScale(unit=stored_unit)


def format_numbers(values: Sequence[float | None]) -> list[str | None]:
    """Write numbers of one column.

    With `SHOWN_DIGITS` digits and the same number of decimals, so that their points stand below each other.

    Those of which this would leave fewer than `MIN_SMALL_VALUE_DIGITS` digits, and those beyond `MAX_PLAIN_NUMBER` and
    `MIN_PLAIN_NUMBER`, are written by themselves.
    """
    sizes = [abs(value) for value in values if value is not None and MIN_PLAIN_NUMBER <= abs(value) < MAX_PLAIN_NUMBER]
    if sizes:
        decimals = max(0, SHOWN_DIGITS - 1 - math.floor(math.log10(max(sizes))))
    else:
        decimals = 0
    min_plain = 10.0 ** (MIN_SMALL_VALUE_DIGITS - 1 - decimals)
    plain = [
        None if value is None or not _has_enough_digits(value, min_plain) else f"{value:.{decimals}f}"
        for value in values
    ]
    needed_decimals = max((len(text.partition(".")[2].rstrip("0")) for text in plain if text is not None), default=0)
    cut_characters = (
        decimals - needed_decimals + (needed_decimals == 0 and decimals > 0)
    )  # the point goes with the last decimal
    return [
        format_number(value)
        if text is None and value is not None
        else text and _drop_negative_zero(text[: len(text) - cut_characters] if cut_characters else text)
        for value, text in zip(values, plain, strict=True)
    ]


def _has_enough_digits(value: float, min_value: float) -> bool:
    return value == 0 or min_value <= abs(value) < MAX_PLAIN_NUMBER


def _drop_negative_zero(text: str) -> str:
    if not text.strip("-0."):
        return text.removeprefix("-")
    return text


def format_number(value: float) -> str:
    """Write one number: with a power of ten where it is very large or small."""
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "-∞"}.get(value, "NaN")
    if value and not MIN_PLAIN_NUMBER <= abs(value) < MAX_PLAIN_NUMBER:
        mantissa, _, power = f"{value:.{SHOWN_DIGITS - 1}e}".partition("e")
        if "." in mantissa:
            digits = mantissa.rstrip("0").rstrip(".")
        else:
            digits = mantissa
        return f"{digits}\N{MULTIPLICATION SIGN}10{str(int(power)).translate(_SUPERSCRIPTS)}"
    text = f"{value:.{SHOWN_DIGITS}g}"
    if "e" in text:
        return f"{value:.0f}"
    return text


def format_unit(unit: str) -> str:
    """Write a unit as people do: ``10**14.solMass`` as 10¹⁴ M☉, ``km.s-1`` as km s⁻¹."""
    if not unit or "/" in unit:
        return _UNIT_PATTERN.sub(_replace_unit_name, unit)
    power = _POWER_OF_TEN_PATTERN.match(unit)
    if power is not None:
        unit_rest = unit[power.end() :]
    else:
        unit_rest = unit
    unit_rest = _EXPONENT_PATTERN.sub(
        lambda found: (found[1] or found[2]).lstrip("+").translate(_SUPERSCRIPTS), unit_rest
    )
    formatted = _UNIT_PATTERN.sub(_replace_unit_name, re.sub(r"\bum\b", "µm", unit_rest.replace(".", " ")))
    if power is not None:
        return f"10{power[1].lstrip('+').translate(_SUPERSCRIPTS)} {formatted}".rstrip()
    return formatted


def _replace_unit_name(unit_match: re.Match[str]) -> str:
    return _UNIT_SYMBOLS.get(unit_match[0]) or _BYTE_UNIT_SYMBOLS[unit_match[0]]

"""How numbers are written for people: in the unit of their size, with the digits that are read, points below each other, powers as powers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column

DIGITS = 6  # that are read of a number of which nobody says how many it has
LEFT = 3  # digits that the places of a column leave of its small values, at least
LARGE, SMALL = 1e9, 1e-4  # beyond these a number is written with its power of ten
SIZES = (  # units of one kind that people change between as numbers grow
    ("Hz", "kHz", "MHz", "GHz", "THz"),
    ("nm", "um", "mm", "m", "km"),
    ("kbyte", "Mbyte", "Gbyte"),
    ("ms", "s"),
    ("eV", "keV", "MeV", "GeV"),
)
# light is told by its wavelength, in m, up to the second number; by the unit that stands first
LIGHTS = (("MeV", 1e-12), ("keV", 1e-9), ("nm", 1e-6), ("um", 1e-3))
LINES = 1e4  # Angstrom: spectral lines and the channels of solar telescopes are called by these numbers
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_POWER = re.compile(r"(?:10\*\*|10\^|1e)\(?([-+]?\d+)\)?[. ]?")
_EXPONENT = re.compile(r"(?:\*\*|\^)\(?([-+]?\d+)\)?|(?<=[A-Za-z])([-+]?\d+)")
_SIGNS = {"solMass": "M☉", "solLum": "L☉", "solRad": "R☉", "Angstrom": "Å", "angstrom": "Å", "deg": "°"}
_BYTES = {"kbyte": "kB", "Mbyte": "MB", "Gbyte": "GB", "byte": "B"}
_WORDS = re.compile(f"(?:{'|'.join((*_SIGNS, *_BYTES))})(?![a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a column's numbers are told in: a unit, and the factor that leads to it; `inverse`: the factor is divided by the number (frequencies as wavelengths)."""

    unit: str
    factor: float = 1.0
    inverse: bool = False
    sexagesimal: bool = False

    def of(self, value: float) -> float:
        """Convert a number."""
        if not self.inverse:
            return value * self.factor
        return self.factor / value if value else math.inf


def usual(column: Column, known: Mapping[str, object]) -> Scale:
    """Return the unit that people use for numbers of this size; `known`: the column's ``minimum`` and ``maximum``."""
    own = column.unit or ""
    low, high = known.get("minimum"), known.get("maximum")
    if not own or column.display or column.type.is_array:
        return Scale(unit=own)
    if not (isinstance(low, int | float) and isinstance(high, int | float) and 0 < high < math.inf):
        return Scale(unit=own)
    middle = math.sqrt(low) * math.sqrt(high) if low > 0 else high
    try:
        light = _light(column, middle)
        return light or _sized(own, middle)
    except ValueError:  # no unit of VOUnits
        return Scale(unit=own)


def of_light(column: Column) -> bool:
    """Return whether a column tells light by frequency, wavelength or energy."""
    ucd = (column.ucd or "").lower()
    return ucd.startswith(("em.freq", "em.wl", "em.energy")) and "binsize" not in ucd and bool(column.unit)


def _light(column: Column, middle: float) -> Scale | None:
    """Return how light is told: what is shorter than radio waves by wavelength, X-rays by energy; None: as it is."""
    if not of_light(column):
        return None
    if column.unit in {"Angstrom", "angstrom"} and 1 <= middle < LINES:
        return Scale(unit=column.unit)
    factor, inverse = units.spectral(column.unit or "", "m")
    length = factor / middle if inverse else factor * middle
    unit = next((unit for unit, most in LIGHTS if length < most), "")
    if not unit:  # long waves keep the kind that they have
        return None
    factor, inverse = units.spectral(column.unit or "", unit)
    return Scale(unit=unit, factor=factor, inverse=inverse)


def _sized(own: str, middle: float) -> Scale:
    for family in SIZES:
        if own not in family:
            continue
        for unit in reversed(family):
            factor = units.factor(own, unit)
            if middle * factor >= 1:
                return Scale(unit=unit, factor=factor)
        return Scale(unit=family[0], factor=units.factor(own, family[0]))
    return Scale(unit=own)


def written(values: Sequence[float | None]) -> list[str | None]:
    """Write numbers of one column: with `DIGITS` digits and the same number of decimals, so that their points stand below each other.

    Those of which this would leave fewer than `LEFT` digits, and those beyond `LARGE` and `SMALL`, are written by themselves.
    """
    sizes = [abs(one) for one in values if one is not None and SMALL <= abs(one) < LARGE]
    most = max(0, DIGITS - 1 - math.floor(math.log10(max(sizes)))) if sizes else 0
    least = 10.0 ** (LEFT - 1 - most)
    plain = [None if one is None or not _placed(one, least) else f"{one:.{most}f}" for one in values]
    needed = max((len(text.partition(".")[2].rstrip("0")) for text in plain if text is not None), default=0)
    cut = most - needed + (needed == 0 and most > 0)  # the point goes with the last decimal
    return [
        alone(one) if text is None and one is not None else text and _zero(text[: len(text) - cut] if cut else text)
        for one, text in zip(values, plain, strict=True)
    ]


def _placed(value: float, least: float) -> bool:
    return value == 0 or least <= abs(value) < LARGE


def _zero(text: str) -> str:
    return text.removeprefix("-") if not text.strip("-0.") else text


def alone(value: float) -> str:
    """Write one number: with a power of ten where it is very large or small."""
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "-∞"}.get(value, "NaN")
    if value and not SMALL <= abs(value) < LARGE:
        mantissa, _, power = f"{value:.{DIGITS - 1}e}".partition("e")
        digits = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{digits}\N{MULTIPLICATION SIGN}10{str(int(power)).translate(_RAISED)}"
    text = f"{value:.{DIGITS}g}"
    return f"{value:.0f}" if "e" in text else text


def unit_text(unit: str) -> str:
    """Write a unit as people do: ``10**14.solMass`` as 10¹⁴ M☉, ``km.s-1`` as km s⁻¹."""
    if not unit or "/" in unit:
        return _WORDS.sub(_sign, unit)
    power = _POWER.match(unit)
    rest = unit[power.end() :] if power is not None else unit
    rest = _EXPONENT.sub(lambda found: (found[1] or found[2]).lstrip("+").translate(_RAISED), rest)
    said = _WORDS.sub(_sign, re.sub(r"\bum\b", "µm", rest.replace(".", " ")))
    return f"10{power[1].lstrip('+').translate(_RAISED)} {said}".rstrip() if power is not None else said


def _sign(found: re.Match[str]) -> str:
    return _SIGNS.get(found[0]) or _BYTES[found[0]]

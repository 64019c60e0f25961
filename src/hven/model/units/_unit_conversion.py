"""Units: strings checked, translated from what curators write, multiplied, and converted through astropy.

``''`` and None both mean *no unit*; functions that give the unit of an expression give None for it. Nothing here
imports astropy before the first conversion of a symbol that is not common.
"""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from hven.model import cache_results
from hven.model.errors import format_message
from hven.model.units._idl_markup import strip_idl_markup
from hven.model.units._vounits import (
    BINARY_PREFIX_EXPONENTS,
    BINARY_SYMBOLS,
    PREFIXABLE_SYMBOLS,
    REJECTED_PATTERNS,
    SI_PREFIX_EXPONENTS,
    UNIT_SYMBOLS,
    UNPREFIXED_SYMBOLS,
    combine_unit_factors,
    parse_unit,
    write_unit,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# bodies of quoted (custom) units that astropy can convert
_CUSTOM_UNITS = {"hourangle", "electron", "dex", "jupiterMass", "jupiterRad", "earthMass", "earthRad"}
_COUNT_UNIT_NAMES = {"ct": "count", "ph": "photon", "pix": "pixel", "B": "byte"}
_OPAQUE_UNITS = frozenset({"count", "photon", "pixel", "voxel", "bin", "chan", "beam", "adu", "mag", "dB"})
# the common symbols as astropy decomposes them: loading astropy takes longer than most commands
_SCALES_BY_DIMENSION: Mapping[str, Mapping[str, float]] = {
    "": {"%": 0.01},
    "bit": {"bit": 1.0, "byte": 8.0, "B": 8.0},
    "rad": {
        "rad": 1.0,
        "deg": 0.017453292519943295,
        "arcmin": 0.0002908882086657216,
        "arcsec": 4.84813681109536e-06,
        "mas": 4.84813681109536e-09,
    },
    "s": {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "yr": 31557600.0},
    "m": {
        "m": 1.0,
        "AU": 149597870700.0,
        "pc": 3.085677581491367e16,
        "Angstrom": 1.0000000000000002e-10,
        "solRad": 695700000.0,
    },
    "K": {"K": 1.0},
    "kg": {"g": 0.001, "solMass": 1.988409870698051e30},
    "s-1": {"Hz": 1.0},
    "kg s-2": {"Jy": 1e-26},
    "m2 kg s-2": {"J": 1.0, "erg": 1.0000000000000001e-07, "eV": 1.602176634e-19},
    "m2 kg s-3": {"W": 1.0, "solLum": 3.828e26},
    "kg m-1 s-2": {"Pa": 1.0},
    "kg A-1 s-2": {"T": 1.0, "G": 0.0001},
}


def _read_dimension(text: str) -> tuple[tuple[str, Fraction], ...]:
    """Read base units and their powers: ``kg s-2``."""
    words = [word.rstrip("-123") for word in text.split()]
    return tuple((word, Fraction(part[len(word) :] or 1)) for word, part in zip(words, text.split(), strict=True))


_COMMON_DECOMPOSITIONS = {
    symbol: (scale, _read_dimension(dimension))
    for dimension, scales in _SCALES_BY_DIMENSION.items()
    for symbol, scale in scales.items()
}


def canonicalize_unit(text: str | None) -> str:
    """Validate a unit and return its VOUnits spelling.

    Parameters
    ----------
    text
        As a curator wrote it.

    Returns
    -------
    unit
        What is VOUnits already comes back unchanged, no unit as ``''``.

    Raises
    ------
    ValueError
        Not a unit: the message names the word, and the nearest right one.
    """
    return parse_unit(text).text


@cache_results(1024)
def _decompose_symbol(symbol: str) -> tuple[float, tuple[tuple[str, Fraction], ...]]:
    """Decompose a symbol into base units: a scale and powers.

    Units of counts and logarithms are base units themselves.
    """
    if symbol.startswith("'"):
        name = symbol.strip("'")
        if name in _CUSTOM_UNITS - {"dex", "electron"}:
            return _decompose_with_astropy(name, None)
        return (1.0, ((symbol, Fraction(1)),))
    if symbol in _COMMON_DECOMPOSITIONS:
        return _COMMON_DECOMPOSITIONS[symbol]
    prefix_scale, base_symbol = _split_unit_prefix(symbol)
    if prefix_scale is not None:
        scale, bases = _decompose_symbol(base_symbol)
        return scale * prefix_scale, bases
    symbol = _COUNT_UNIT_NAMES.get(symbol, symbol)
    if "(" in symbol or symbol in _OPAQUE_UNITS:
        return 1.0, ((symbol, Fraction(1)),)
    return _decompose_with_astropy(symbol, "vounit")


def _split_unit_prefix(symbol: str) -> tuple[float | None, str]:
    """Split a symbol into the factor of its prefix and its base symbol; None and the symbol if it has no prefix."""
    if symbol in UNPREFIXED_SYMBOLS or symbol in UNIT_SYMBOLS:
        return None, symbol
    for size in (2, 1):
        prefix = symbol[:size]
        base_symbol = symbol[size:]
        if base_symbol not in PREFIXABLE_SYMBOLS:
            continue
        if prefix in BINARY_PREFIX_EXPONENTS and base_symbol in BINARY_SYMBOLS:
            return 2.0 ** BINARY_PREFIX_EXPONENTS[prefix], base_symbol
        if prefix in SI_PREFIX_EXPONENTS:
            return float(f"1e{SI_PREFIX_EXPONENTS[prefix]}"), base_symbol
    return None, symbol


def _decompose_with_astropy(symbol: str, unit_format: str | None) -> tuple[float, tuple[tuple[str, Fraction], ...]]:
    from astropy import units  # noqa: PLC0415  (it takes a second to load; few need it)

    with warnings.catch_warnings():  # of deprecated symbols: they convert all the same
        warnings.simplefilter("ignore")
        unit: Any = units.Unit(symbol, format=unit_format).decompose()
    return float(unit.scale), tuple(
        (str(base), Fraction(power).limit_denominator(12)) for base, power in zip(unit.bases, unit.powers, strict=True)
    )


@cache_results(4096)
def _decompose_unit(text: str) -> tuple[float, tuple[tuple[str, Fraction], ...]]:
    unit = parse_unit(text)
    scale = unit.scale
    bases = []
    for symbol, power in unit.factors:
        symbol_scale, parts = _decompose_symbol(symbol)
        scale *= symbol_scale ** float(power) if power.denominator != 1 else symbol_scale ** int(power)
        bases += [(base, each * power) for base, each in parts]
    return scale, tuple(sorted(combine_unit_factors(bases)))


@cache_results(4096)
def compute_unit_factor(source_unit: str | None, target_unit: str | None) -> float:
    """Return what values in `source_unit` are multiplied by to be in `target_unit`.

    Parameters
    ----------
    source_unit, target_unit
        Units as `parse_unit` reads them.

    Returns
    -------
    factor
        Rounded to 12 digits where that changes no more than the last bits: 3600 is 3600.

    Raises
    ------
    ValueError
        One is not a unit, or they measure different things.
    """
    if source_unit == target_unit:
        return 1.0
    source = parse_unit(source_unit)
    target = parse_unit(target_unit)
    if source.scale == target.scale and sorted(source.factors) == sorted(target.factors):
        return 1.0
    (scale1, bases1), (scale2, bases2) = _decompose_unit(source.text), _decompose_unit(target.text)
    if bases1 != bases2:
        message = format_message(
            "{one} cannot be converted to {other}: {measure} is not {its_measure}",
            source.text or format_message("a value without a unit"),
            target.text or format_message("a value without a unit"),
            _describe_dimension(bases1),
            _describe_dimension(bases2),
        )
        if any("(" in symbol or symbol in {"mag", "dB", "'dex'"} for symbol, _ in (*bases1, *bases2)):
            message = format_message("{message} (logarithmic units have no conversion factor)", message)
        raise ValueError(message)
    ratio = scale1 / scale2
    round_one = float(f"{ratio:.12g}")  # 3600, not 3600.0000000000005
    if abs(ratio - round_one) <= 2e-15 * abs(ratio):
        return round_one
    return ratio


def _describe_dimension(bases: tuple[tuple[str, Fraction], ...]) -> str:
    return write_unit(1.0, bases) or format_message("a plain number")


_SYMBOLS_BY_NAME = {
    "degree": "deg",
    "arcsecond": "arcsec",
    "arcminute": "arcmin",
    "milliarcsecond": "mas",
    "radian": "rad",
    "sec": "s",
    "second": "s",
    "minute": "min",
    "hour": "h",
    "hr": "h",
    "day": "d",
    "year": "yr",
    "meter": "m",
    "metre": "m",
    "kilometer": "km",
    "kilometre": "km",
    "parsec": "pc",
    "kiloparsec": "kpc",
    "megaparsec": "Mpc",
    "lightyear": "lyr",
    "micron": "um",
    "microns": "um",
    "angstrom": "Angstrom",
    "magnitude": "mag",
    "kelvin": "K",
    "jansky": "Jy",
    "hertz": "Hz",
    "electronvolt": "eV",
    "joule": "J",
    "watt": "W",
    "gram": "g",
    "kilogram": "kg",
    "astronomicalunit": "AU",
    "nanometer": "nm",
    "nanometre": "nm",
    "percent": "%",
    "jupitermass": "jupiterMass",
    "jupitermasse": "jupiterMass",
    "jupiterradii": "jupiterRad",
    "earthmass": "earthMass",
    "earthmasse": "earthMass",
    "earthradii": "earthRad",
    "earthradiu": "earthRad",
    "jupiterradiu": "jupiterRad",
    "solarradiu": "solRad",
    "decimaldegree": "deg",
    "solarmass": "solMass",
    "solarmasse": "solMass",
    "solarradii": "solRad",
    "solarluminositie": "solLum",
    "solarluminosity": "solLum",
}


def find_unit_symbol(name: str) -> str:
    """Return the VOUnits symbol of a unit's English name (``degrees``: ``deg``).

    Parameters
    ----------
    name
        The name, in the singular or plural.

    Returns
    -------
    symbol
        Empty if it is none.
    """
    word = "".join(name.lower().split())
    return _SYMBOLS_BY_NAME.get(word) or _SYMBOLS_BY_NAME.get(word.removesuffix("s"), "")


def normalize_unit(text: str | None) -> str | None:
    """Normalize what somebody wrote as a unit, names in English included.

    Parameters
    ----------
    text
        ``degrees``, ``km s^-1``, ``mag``.

    Returns
    -------
    unit
        VOUnits; None if it is none.
    """
    if not text or not text.strip():
        return None
    text = strip_idl_markup(text, is_unit=True)
    try:
        return canonicalize_unit(text.strip()) or None
    except ValueError:
        return canonicalize_unit(find_unit_symbol(text)) or None


def is_unit_like(text: str) -> bool:
    """Return whether somebody may write this where a unit stands.

    A unit, one that VOUnits has not (``°C``), or how an angle or a date is written.

    Parameters
    ----------
    text
        From a header or a descriptor.
    """
    return normalize_unit(text) is not None or any(pattern.match(text.strip()) for pattern, _ in REJECTED_PATTERNS)


def are_units_convertible(source_unit: str | None, target_unit: str | None) -> bool:
    """Return whether values can be converted; False too if either is not a unit.

    Parameters
    ----------
    source_unit, target_unit
        Units as `parse_unit` reads them.
    """
    try:
        compute_unit_factor(source_unit, target_unit)
    except ValueError:
        return False
    return True


_LIGHT_SPEED_METERS_PER_SECOND, _PLANCK_JOULE_SECONDS = 299_792_458.0, 6.626_070_15e-34  # m/s and J s, both exact
# unit -> hertz for one of it; 0: a wavelength
_SPECTRAL_UNITS = (
    ("m", 0.0),
    ("Hz", 1.0),
    ("J", 1.0 / _PLANCK_JOULE_SECONDS),
    ("m**-1", _LIGHT_SPEED_METERS_PER_SECOND),
)


def compute_spectral_conversion(source_unit: str, target_unit: str) -> tuple[float, bool]:
    """Return how a wavelength, frequency, energy or wave number becomes another of these.

    Parameters
    ----------
    source_unit, target_unit
        Units of the value and of the result.

    Returns
    -------
    tuple of float and bool
        The factor, and whether it is divided by the value (else multiplied with it).

    Raises
    ------
    ValueError
        A unit is none of these.
    """
    (source_scale, source_hertz), (target_scale, target_hertz) = (
        _find_spectral_base(source_unit),
        _find_spectral_base(target_unit),
    )
    if (source_hertz == 0.0) == (target_hertz == 0.0):
        return (
            source_scale / target_scale
            if source_hertz == 0.0
            else source_scale * source_hertz / (target_scale * target_hertz)
        ), False
    return _LIGHT_SPEED_METERS_PER_SECOND / (
        source_scale * (source_hertz or 1.0) * target_scale * (target_hertz or 1.0)
    ), True


def _find_spectral_base(unit: str) -> tuple[float, float]:
    for base, hertz in _SPECTRAL_UNITS:
        if are_units_convertible(unit, base):
            return compute_unit_factor(unit, base), hertz
    message = format_message("{unit!r} is not a unit of wavelength, frequency, energy or wave number", unit)
    raise ValueError(message)


def is_same_unit(first: str | None, second: str | None) -> bool:
    """Return whether two strings mean one unit (``km/s`` and ``km.s**-1``).

    Parameters
    ----------
    first, second
        As `parse_unit` reads them.
    """
    if first == second:
        return True
    try:
        factor = compute_unit_factor(first, second)
        return math.isclose(factor, 1.0, rel_tol=1e-14)
    except ValueError:
        return False


@cache_results(4096)
def compute_unit_product(first: str | None, second: str | None) -> str | None:
    """Multiply units.

    Parameters
    ----------
    first, second
        Units of the factors.

    Returns
    -------
    unit
        Unit of the product; None is no unit, and so is what cannot be read.
    """
    return _combine_units(first, second, 1)


@cache_results(4096)
def divide_units(dividend: str | None, divisor: str | None) -> str | None:
    """Divide units.

    Parameters
    ----------
    dividend
        Of the dividend.
    divisor
        Of the divisor.

    Returns
    -------
    unit
        Unit of the quotient; None is no unit, and so is what cannot be read.
    """
    return _combine_units(dividend, divisor, -1)


def _combine_units(first: str | None, second: str | None, exponent: int) -> str | None:
    if not second:
        return first or None
    try:
        first_unit = parse_unit(first)
        second_unit = parse_unit(second)
    except ValueError:
        return None
    scale = first_unit.scale * second_unit.scale**exponent
    return (
        write_unit(
            scale,
            combine_unit_factors(
                [*first_unit.factors, *((symbol, power * exponent) for symbol, power in second_unit.factors)]
            ),
        )
        or None
    )


@cache_results(4096)
def raise_unit_to_power(unit_text: str | None, exponent: float) -> str | None:
    """Raise a unit to a power.

    Parameters
    ----------
    unit_text
        The unit.
    exponent
        Dimensionless, any number; of a square root 0.5.

    Returns
    -------
    unit
        None if it has none that can be written.
    """
    if not unit_text:
        return None
    if math.isfinite(exponent):
        raised = Fraction(exponent).limit_denominator(12)
    else:
        raised = Fraction(0)
    if abs(float(raised) - exponent) > 1e-9 or abs(raised) > 64:
        return None
    try:
        unit = parse_unit(unit_text)
    except ValueError:
        return None
    scale = unit.scale ** float(raised)
    return write_unit(scale, tuple((symbol, each * raised) for symbol, each in unit.factors if raised)) or None

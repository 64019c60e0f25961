"""Units: strings checked, translated from what curators write, multiplied, and converted through astropy.

``''`` and None both mean *no unit*; functions that give the unit of an expression give None for it. Nothing here imports
astropy before the first conversion between different symbols.
"""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from typing import Any

from hven.model import cached
from hven.model.errors import say
from hven.model.units._idl import strip_idl_markup
from hven.model.units._vounits import BINARY, KIBI, PLAIN, PREFIXED, PREFIXES, REFUSED, SYMBOLS, collect, parse, write

# bodies of quoted (custom) units that astropy can convert
_CUSTOM = {"hourangle", "electron", "dex", "jupiterMass", "jupiterRad", "earthMass", "earthRad"}
_COUNTED = {"ct": "count", "ph": "photon", "pix": "pixel", "B": "byte"}
_OPAQUE = frozenset({"count", "photon", "pixel", "voxel", "bin", "chan", "beam", "adu", "mag", "dB"})


def check(text: str | None) -> str:
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
    return parse(text).text


@cached(1024)
def _decomposed(symbol: str) -> tuple[float, tuple[tuple[str, Fraction], ...]]:
    """Decompose a symbol into base units: a scale and powers. What counts things, and logarithms, stand for themselves."""
    if symbol.startswith("'"):
        name = symbol.strip("'")
        return _astropy(name, None) if name in _CUSTOM - {"dex", "electron"} else (1.0, ((symbol, Fraction(1)),))
    if "(" in symbol:
        return 1.0, ((symbol, Fraction(1)),)
    if symbol == "%":
        return 0.01, ()
    if symbol not in PLAIN:
        for size in (2, 1):
            prefix, rest = symbol[:size], symbol[size:]
            if (
                symbol not in SYMBOLS
                and rest in PREFIXED
                and (prefix in PREFIXES or (prefix in KIBI and rest in BINARY))
            ):
                scale, bases = _decomposed(rest)
                return scale * (2.0 ** KIBI[prefix] if prefix in KIBI else float(f"1e{PREFIXES[prefix]}")), bases
    symbol = _COUNTED.get(symbol, symbol)
    if symbol in _OPAQUE:
        return 1.0, ((symbol, Fraction(1)),)
    return _astropy(symbol, "vounit")


def _astropy(symbol: str, style: str | None) -> tuple[float, tuple[tuple[str, Fraction], ...]]:
    from astropy import units  # noqa: PLC0415  (a second to load, asked by few)

    with warnings.catch_warnings():  # of deprecated symbols: they convert all the same
        warnings.simplefilter("ignore")
        found: Any = units.Unit(symbol, format=style).decompose()
    return float(found.scale), tuple(
        (str(base), Fraction(power).limit_denominator(12))
        for base, power in zip(found.bases, found.powers, strict=True)
    )


@cached(4096)
def _reduced(text: str) -> tuple[float, tuple[tuple[str, Fraction], ...]]:
    unit = parse(text)
    scale, bases = unit.scale, []
    for symbol, power in unit.factors:
        one, parts = _decomposed(symbol)
        scale *= one ** float(power) if power.denominator != 1 else one ** int(power)
        bases += [(base, each * power) for base, each in parts]
    return scale, tuple(sorted(collect(bases)))


@cached(4096)
def factor(from_: str | None, to: str | None) -> float:
    """Return what values in `from_` are multiplied by to be in `to`.

    Parameters
    ----------
    from_, to
        Units as `parse` reads them.

    Returns
    -------
    factor
        Rounded to 12 digits where that changes no more than the last bits: 3600 is 3600.

    Raises
    ------
    ValueError
        One is not a unit, or they measure different things.
    """
    if from_ == to:
        return 1.0
    one, two = parse(from_), parse(to)
    if one.scale == two.scale and sorted(one.factors) == sorted(two.factors):
        return 1.0
    (scale1, bases1), (scale2, bases2) = _reduced(one.text), _reduced(two.text)
    if bases1 != bases2:
        message = say(
            "{one} cannot be converted to {other}: {measure} is not {its_measure}",
            one.text or say("no unit"),
            two.text or say("no unit"),
            _measures(bases1),
            _measures(bases2),
        )
        if any("(" in symbol or symbol in {"mag", "dB", "'dex'"} for symbol, _ in (*bases1, *bases2)):
            message = say("{message} (a logarithm has no factor)", message)
        raise ValueError(message)
    ratio = scale1 / scale2
    round_one = float(f"{ratio:.12g}")  # 3600, not 3600.0000000000005
    return round_one if abs(ratio - round_one) <= 2e-15 * abs(ratio) else ratio


def _measures(bases: tuple[tuple[str, Fraction], ...]) -> str:
    return write(1.0, bases) or say("a plain number")


_SPELT = {
    "degree": "deg", "arcsecond": "arcsec", "arcminute": "arcmin", "milliarcsecond": "mas", "radian": "rad", "sec": "s", "second": "s",
    "minute": "min", "hour": "h", "hr": "h", "day": "d", "year": "yr", "meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km",
    "parsec": "pc", "kiloparsec": "kpc", "megaparsec": "Mpc", "lightyear": "lyr", "micron": "um", "microns": "um", "angstrom": "Angstrom",
    "magnitude": "mag", "kelvin": "K", "jansky": "Jy", "hertz": "Hz", "electronvolt": "eV", "joule": "J", "watt": "W", "gram": "g",
    "kilogram": "kg", "astronomicalunit": "AU", "nanometer": "nm", "nanometre": "nm", "percent": "%",
    "jupitermass": "jupiterMass", "jupitermasse": "jupiterMass", "jupiterradii": "jupiterRad", "earthmass": "earthMass", "earthmasse": "earthMass", "earthradii": "earthRad",
    "earthradiu": "earthRad", "jupiterradiu": "jupiterRad", "solarradiu": "solRad", "decimaldegree": "deg",
    "solarmass": "solMass", "solarmasse": "solMass", "solarradii": "solRad", "solarluminositie": "solLum", "solarluminosity": "solLum",
}  # fmt: skip


def spelt(text: str) -> str:
    """Return the VOUnits symbol of a unit's English name (``degrees``: ``deg``).

    Parameters
    ----------
    text
        The name, in the singular or plural.

    Returns
    -------
    symbol
        Empty if it is none.
    """
    word = "".join(text.lower().split())
    return _SPELT.get(word) or _SPELT.get(word.removesuffix("s"), "")


def meant(text: str | None) -> str | None:
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
        return check(text.strip()) or None
    except ValueError:
        return check(spelt(text)) or None


def written(text: str) -> bool:
    """Return whether somebody may write this where a unit stands: a unit, one that VOUnits has not (``°C``), or how an angle or a date is written.

    Parameters
    ----------
    text
        From a header or a descriptor.
    """
    return meant(text) is not None or any(pattern.match(text.strip()) for pattern, _ in REFUSED)


def convertible(from_: str | None, to: str | None) -> bool:
    """Return whether values can be converted; False too if either is not a unit.

    Parameters
    ----------
    from_, to
        Units as `parse` reads them.
    """
    try:
        factor(from_, to)
    except ValueError:
        return False
    return True


_LIGHT, _PLANCK = 299_792_458.0, 6.626_070_15e-34  # m/s and J s, both exact
# unit -> hertz for one of it; 0: a wavelength
_SPECTRAL = (("m", 0.0), ("Hz", 1.0), ("J", 1.0 / _PLANCK), ("m**-1", _LIGHT))


def spectral(from_: str, to: str) -> tuple[float, bool]:
    """Return how a wavelength, frequency, energy or wave number becomes another of these.

    Parameters
    ----------
    from_, to
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
    (one, hertz), (two, other) = _spectral(from_), _spectral(to)
    if (hertz == 0.0) == (other == 0.0):
        return (one / two if hertz == 0.0 else one * hertz / (two * other)), False
    return _LIGHT / (one * (hertz or 1.0) * two * (other or 1.0)), True


def _spectral(unit: str) -> tuple[float, float]:
    for base, hertz in _SPECTRAL:
        if convertible(unit, base):
            return factor(unit, base), hertz
    message = say("{unit!r} is no unit of wavelength, frequency, energy or wave number", unit)
    raise ValueError(message)


def same(a: str | None, b: str | None) -> bool:
    """Return whether two strings mean one unit (``km/s`` and ``km.s**-1``).

    Parameters
    ----------
    a, b
        As `parse` reads them.
    """
    if a == b:
        return True
    try:
        return math.isclose(factor(a, b), 1.0, rel_tol=1e-14)
    except ValueError:
        return False


@cached(4096)
def multiply(a: str | None, b: str | None) -> str | None:
    """Multiply units.

    Parameters
    ----------
    a, b
        Of the factors.

    Returns
    -------
    unit
        Of the product; None is no unit, and so is what cannot be read.
    """
    return _combine(a, b, 1)


@cached(4096)
def divide(a: str | None, b: str | None) -> str | None:
    """Divide units.

    Parameters
    ----------
    a
        Of the dividend.
    b
        Of the divisor.

    Returns
    -------
    unit
        Of the quotient; None is no unit, and so is what cannot be read.
    """
    return _combine(a, b, -1)


def _combine(a: str | None, b: str | None, sign: int) -> str | None:
    if not b:
        return a or None
    try:
        one, two = parse(a), parse(b)
    except ValueError:
        return None
    scale = one.scale * two.scale**sign
    return write(scale, collect([*one.factors, *((symbol, power * sign) for symbol, power in two.factors)])) or None


@cached(4096)
def power(text: str | None, exponent: float) -> str | None:
    """Raise a unit to a power.

    Parameters
    ----------
    text
        The unit.
    exponent
        Dimensionless, any number; of a square root 0.5.

    Returns
    -------
    unit
        None if it has none that can be written.
    """
    if not text:
        return None
    raised = Fraction(exponent).limit_denominator(12) if math.isfinite(exponent) else Fraction(0)
    if abs(float(raised) - exponent) > 1e-9 or abs(raised) > 64:
        return None
    try:
        unit = parse(text)
    except ValueError:
        return None
    scale = unit.scale ** float(raised)
    return write(scale, tuple((symbol, each * raised) for symbol, each in unit.factors if raised)) or None


def astropy_unit(text: str | None) -> Any:
    """Convert a unit to an `astropy.units.Unit`, for those who compute with quantities.

    Parameters
    ----------
    text
        As `parse` reads it; None and ``''`` are dimensionless.

    Returns
    -------
    unit
        With its scale.

    Raises
    ------
    ValueError
        Not a unit, or one that astropy does not know.
    """
    from astropy import units  # noqa: PLC0415  (a second to load, asked by few)

    unit = parse(text)
    found: Any = units.dimensionless_unscaled * unit.scale
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for symbol, power_ in unit.factors:
            one = (
                units.percent
                if symbol == "%"
                else units.Unit(symbol.strip("'"))
                if symbol.strip("'") in _CUSTOM
                else units.Unit(symbol, format="vounit")
            )
            found = found * one ** (int(power_) if power_.denominator == 1 else power_)
    return units.Unit(found)

"""Write units as CDS does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hven.model.units import parse_unit

if TYPE_CHECKING:
    from hven.model.units import ParsedUnit

# https://vizier.cds.unistra.fr/viz-bin/Unit: other symbols do not exist there, or mean something else, as G and R do
_SHARED_SYMBOLS = (
    "A a arcmin arcsec barn bit byte C cd ct d D deg erg eV F g h H Hz J Jy K lm lx lyr m mag min mol N Ohm Pa pc ph "
    "pix rad Ry s S solLum solMass solRad sr T u V W Wb yr"
)
CDS_SYMBOLS = {symbol: symbol for symbol in _SHARED_SYMBOLS.split()} | {
    "count": "ct",
    "G": "gauss",
    "photon": "ph",
    "pixel": "pix",
}
UNPREFIXED_CDS_SYMBOLS = {
    "%": "%",
    "Angstrom": "Angstrom",
    "angstrom": "Angstrom",
    "AU": "AU",
    "au": "AU",
    "mas": "mas",
}
CDS_PREFIXES: tuple[str, ...] = ("da", *"dhckmMuGnTpPfEazZyY")
# ten atomic masses, which CDS reads as a tenth of an astronomical unit; a hundred years, or a hectare
MISREAD_SYMBOLS = {"dau", "ha"}
NO_UNIT = "---"


def write_cds_unit(unit: str | None) -> str | None:
    """Write a unit as CDS does: ``km/s``, ``mW/m2``, ``[solMass]`` for a logarithm.

    Parameters
    ----------
    unit
        A unit of VOUnits; None or empty: none.

    Returns
    -------
    text
        The unit, or ``---`` for none. None if CDS cannot write it.
    """
    if not unit or unit == "1":
        return NO_UNIT
    try:
        return _write_product(parse_unit(unit))
    except ValueError:
        return None


def _write_product(unit: ParsedUnit) -> str | None:
    """Write the scale and the symbols with their powers; None if CDS cannot write one of these."""
    text = _write_scale(unit.scale)
    for number, (symbol, power) in enumerate(unit.factors):
        written_symbol = _write_symbol(symbol)
        if written_symbol is None or power.denominator != 1:
            return None
        is_alone = len(unit.factors) == 1 and power == 1 and unit.scale == 1.0
        if written_symbol.startswith("[") and not is_alone:  # a logarithm is no factor of another unit
            return None
        exponent = int(power)
        if number and exponent < 0:
            text += "/"
            exponent = -exponent
        elif number:
            text += "."
        text += written_symbol
        if exponent != 1:
            text += str(exponent)
    return text or None


def _write_scale(scale: float) -> str:
    if scale == 1.0:
        return ""
    exponent = round(math.log10(scale))
    if math.isclose(scale, 10.0**exponent, rel_tol=1e-15) and abs(exponent) > 1:
        return f"10{exponent:+d}"
    return f"{scale:.15g}"


def _write_symbol(symbol: str) -> str | None:
    """Write a symbol, or ``log(cm/s**2)`` as ``[cm/s2]``; None for another function or name."""
    if symbol == "'dex'":
        return "[-]"
    if symbol.startswith("log(") and symbol.endswith(")"):
        logarithm_unit = write_cds_unit(symbol[4:-1])
        if logarithm_unit is None:
            return None
        return f"[{logarithm_unit}]"
    known_symbol = CDS_SYMBOLS.get(symbol) or UNPREFIXED_CDS_SYMBOLS.get(symbol)
    if known_symbol is not None:
        return known_symbol
    for prefix in CDS_PREFIXES:
        base_symbol = symbol.removeprefix(prefix)
        if base_symbol != symbol and base_symbol in CDS_SYMBOLS and symbol not in MISREAD_SYMBOLS:
            return prefix + CDS_SYMBOLS[base_symbol]
    return None

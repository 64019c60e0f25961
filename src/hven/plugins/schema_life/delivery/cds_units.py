"""Write units as CDS does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hven.model.units import is_same_unit, parse_unit

if TYPE_CHECKING:
    from hven.model.units import ParsedUnit

CDS_SYMBOLS = {"count": "ct", "photon": "ph", "pixel": "pix"}
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
        text = _write_product(parse_unit(unit))
    except ValueError:
        return None
    if text is not None and is_same_unit(text, unit):
        return text
    return None


def _write_product(unit: ParsedUnit) -> str | None:
    """Write the scale and the symbols with their powers; None if CDS cannot write one of these."""
    text = _write_scale(unit.scale)
    for number, (symbol, power) in enumerate(unit.factors):
        written_symbol = _write_symbol(symbol)
        if written_symbol is None or power.denominator != 1:
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
        return None if logarithm_unit is None else f"[{logarithm_unit}]"
    if symbol.isalpha() or symbol == "%":
        return CDS_SYMBOLS.get(symbol, symbol)
    return None

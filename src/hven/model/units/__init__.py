"""What the numbers of a column mean: units (VOUnits 1.1, and what curators write instead) and UCDs (UCD1+)."""

from hven.model.units._conversion import (
    astropy_unit,
    check,
    convertible,
    divide,
    factor,
    meant,
    multiply,
    power,
    same,
    spectral,
    spelt,
    written,
)  # fmt: skip
from hven.model.units._idl import strip_idl_markup
from hven.model.units._ucd import canonical_ucd, check_ucd, measured, modern_ucd, suggest_ucd, suggest_ucds
from hven.model.units._vounits import Unit, parse

__all__ = [
    "Unit", "astropy_unit", "canonical_ucd", "check", "check_ucd", "convertible", "divide", "factor", "meant", "measured", "modern_ucd", "multiply", "parse",
    "power", "same", "spectral", "spelt", "strip_idl_markup", "suggest_ucd", "suggest_ucds", "written",
]  # fmt: skip

"""What the numbers of a column mean: units (VOUnits 1.1, and what curators write instead) and UCDs (UCD1+)."""

from hven.model.units._idl_markup import strip_idl_markup
from hven.model.units._ucd import (
    canonicalize_ucd,
    is_quantity_with_unit,
    list_ucd_problems,
    modernize_ucd,
    suggest_ucd,
    suggest_ucds,
)
from hven.model.units._unit_conversion import (
    are_units_convertible,
    canonicalize_unit,
    compute_spectral_conversion,
    compute_unit_factor,
    compute_unit_product,
    divide_units,
    find_unit_symbol,
    is_same_unit,
    is_unit_like,
    normalize_unit,
    raise_unit_to_power,
)
from hven.model.units._vounits import ParsedUnit, parse_unit

__all__ = [
    "ParsedUnit",
    "are_units_convertible",
    "canonicalize_ucd",
    "canonicalize_unit",
    "compute_spectral_conversion",
    "compute_unit_factor",
    "compute_unit_product",
    "divide_units",
    "find_unit_symbol",
    "is_quantity_with_unit",
    "is_same_unit",
    "is_unit_like",
    "list_ucd_problems",
    "modernize_ucd",
    "normalize_unit",
    "parse_unit",
    "raise_unit_to_power",
    "strip_idl_markup",
    "suggest_ucd",
    "suggest_ucds",
]

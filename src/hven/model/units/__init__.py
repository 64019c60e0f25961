"""What the numbers of a column mean: units (VOUnits 1.1, and what curators write instead) and UCDs (UCD1+)."""

from hven.model.units._idl_markup import strip_idl_markup
from hven.model.units._ucd import canonicalize_ucd, check_ucd, has_unit, modernize_ucd, suggest_ucd, suggest_ucds
from hven.model.units._unit_conversion import (
    compute_factor,
    compute_spectral_conversion,
    compute_unit_product,
    divide_units,
    find_unit_symbol,
    is_convertible,
    is_same_unit,
    is_unit_like,
    normalize_unit,
    raise_to_power,
    to_astropy_unit,
    validate_unit,
)
from hven.model.units._vounits import Unit, parse_unit

__all__ = [
    "Unit",
    "canonicalize_ucd",
    "check_ucd",
    "compute_factor",
    "compute_spectral_conversion",
    "compute_unit_product",
    "divide_units",
    "find_unit_symbol",
    "has_unit",
    "is_convertible",
    "is_same_unit",
    "is_unit_like",
    "modernize_ucd",
    "normalize_unit",
    "parse_unit",
    "raise_to_power",
    "strip_idl_markup",
    "suggest_ucd",
    "suggest_ucds",
    "to_astropy_unit",
    "validate_unit",
]

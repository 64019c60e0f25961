"""Name the types of values of CDF files (CDF Internal Format Description 3.9, section 5)."""

from __future__ import annotations

EPOCH_TYPE, EPOCH16_TYPE, TT2000_TYPE, TEXT_TYPES = 31, 32, 33, (51, 52)
VOTABLE_TYPES = {
    1: "short",
    41: "short",
    2: "short",
    4: "int",
    8: "long",
    11: "unsignedByte",
    12: "int",
    14: "long",
    21: "float",
    44: "float",
    22: "double",
    45: "double",
}
NUMERIC_TYPES = {*VOTABLE_TYPES, EPOCH_TYPE, TT2000_TYPE}
CDF_TYPE_NAMES = {
    1: "CDF_INT1",
    2: "CDF_INT2",
    4: "CDF_INT4",
    8: "CDF_INT8",
    11: "CDF_UINT1",
    12: "CDF_UINT2",
    14: "CDF_UINT4",
    21: "CDF_REAL4",
    22: "CDF_REAL8",
    31: "CDF_EPOCH",
    32: "CDF_EPOCH16",
    33: "CDF_TIME_TT2000",
    41: "CDF_BYTE",
    44: "CDF_FLOAT",
    45: "CDF_DOUBLE",
    51: "CDF_CHAR",
    52: "CDF_UCHAR",
}
_NUMPY_TYPES = {
    1: "i1",
    41: "i1",
    2: "i2",
    4: "i4",
    8: "i8",
    33: "i8",
    11: "u1",
    12: "u2",
    14: "u4",
    21: "f4",
    44: "f4",
    32: "c16",
}


def find_numpy_type(cdf_type: int) -> str:
    """Return the numpy type of a CDF type of numbers or times."""
    return _NUMPY_TYPES.get(cdf_type, "f8")


__all__ = [
    "CDF_TYPE_NAMES",
    "EPOCH16_TYPE",
    "EPOCH_TYPE",
    "NUMERIC_TYPES",
    "TEXT_TYPES",
    "TT2000_TYPE",
    "VOTABLE_TYPES",
    "find_numpy_type",
]

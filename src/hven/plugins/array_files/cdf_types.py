"""Name the types of values of CDF files (CDF Internal Format Description 3.9, section 5)."""

from __future__ import annotations

EPOCH_TYPE, EPOCH16_TYPE, TT2000_TYPE, TEXT_TYPES = 31, 32, 33, (51, 52)
_CDF_TYPES = {  # number -> name, and type of numpy
    1: ("CDF_INT1", "i1"),
    2: ("CDF_INT2", "i2"),
    4: ("CDF_INT4", "i4"),
    8: ("CDF_INT8", "i8"),
    11: ("CDF_UINT1", "u1"),
    12: ("CDF_UINT2", "u2"),
    14: ("CDF_UINT4", "u4"),
    21: ("CDF_REAL4", "f4"),
    22: ("CDF_REAL8", "f8"),
    31: ("CDF_EPOCH", "f8"),
    32: ("CDF_EPOCH16", "c16"),
    33: ("CDF_TIME_TT2000", "i8"),
    41: ("CDF_BYTE", "i1"),
    44: ("CDF_FLOAT", "f4"),
    45: ("CDF_DOUBLE", "f8"),
    51: ("CDF_CHAR", "U1"),
    52: ("CDF_UCHAR", "U1"),
}
NUMERIC_TYPES = _CDF_TYPES.keys() - {EPOCH16_TYPE, *TEXT_TYPES}


def find_type_name(cdf_type: int) -> str:
    """Return the name of a CDF type; the number of an unknown one."""
    return _CDF_TYPES.get(cdf_type, (str(cdf_type),))[0]


def find_numpy_type(cdf_type: int) -> str:
    """Return the numpy type of a CDF type."""
    return _CDF_TYPES.get(cdf_type, ("", "f8"))[1]

"""Functions of the sky over columns, for databases that call Python."""

from __future__ import annotations

from hven.engines._sky_functions import FUNCTION_SIGNATURES, SKY_FUNCTIONS, skip_null_rows

__all__ = [
    "FUNCTION_SIGNATURES",
    "SKY_FUNCTIONS",
    "skip_null_rows",
]

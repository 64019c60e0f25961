"""Convert whole numbers of other types (unsigned, decimal) to `int64` as long as they fit, else to decimal text.

A value is never rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import DeviationKind, ReadDeviation

if TYPE_CHECKING:
    import numpy.typing as npt

MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1
MAX_UINT64_DIGITS = 20  # of 2**64 - 1
INT64_REASON = "not a whole number that fits in int64; if this value is right, declare the column as string"


def has_values_beyond_int64(values: pa.Array | pa.ChunkedArray) -> bool:
    """Check whether a whole number does not fit `int64`.

    Parameters
    ----------
    values
        Of type uint64 or decimal, shape (n,).

    Returns
    -------
    has_values_beyond
        Whether there is one.
    """
    limits = pc.min_max(values)
    low = limits["min"].as_py()
    high = limits["max"].as_py()
    return low is not None and (low < MIN_INT64 or high > MAX_INT64)


def cast_integers_masking_overflow(
    values: pa.Array, arrow_type: pa.DataType
) -> tuple[pa.Array, npt.NDArray[np.bool_] | None]:
    """Convert unsigned 64-bit integers, and decimals without a fraction, to `int64` or to decimal text.

    Parameters
    ----------
    values
        Of type uint64 or decimal, shape (n,).
    arrow_type
        ``int64`` or ``string``.

    Returns
    -------
    values, bad
        Both of shape (n,). `bad` marks values that do not fit, which are null; None: all fit.
    """
    if pa.types.is_string(arrow_type) or not has_values_beyond_int64(values):
        return values.cast(arrow_type), None
    is_beyond = pc.fill_null(pc.greater(values, pa.scalar(MAX_INT64, pa.uint64()).cast(values.type)), False)
    if not pa.types.is_uint64(values.type):
        is_beyond = pc.or_(is_beyond, pc.fill_null(pc.less(values, pa.scalar(MIN_INT64).cast(values.type)), False))
    fitting_values = pc.if_else(is_beyond, pa.scalar(None, values.type), values)
    return fitting_values.cast(arrow_type), np.asarray(is_beyond)


def build_int64_overflow_deviation(column: str, file: str) -> ReadDeviation:
    """Describe a column of whole numbers that is read as decimal text.

    Parameters
    ----------
    column, file
        Names.

    Returns
    -------
    deviation
        What the report of the ingest says.
    """
    return ReadDeviation(
        kind=DeviationKind.WHOLE_NUMBER,
        column=column,
        file=file,
        message="some whole numbers do not fit in int64, so Hven reads the column as decimal text",
    )

"""Unsigned 64-bit integers: `int64` as long as they fit, else decimal text; a value is never rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import Deviation, DeviationKind

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_INT64 = 2**63 - 1
DIGITS = 20  # of 2**64 - 1
REASON = "not a whole number that fits int64; if this value is right, declare the column as string"


def exceeds_int64(values: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether an unsigned integer is larger than an `int64` can be.

    Parameters
    ----------
    values
        Of type uint64.
    """
    largest = pc.max(values).as_py()
    return largest is not None and largest > MAX_INT64


def fit_unsigned(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, npt.NDArray[np.bool_] | None]:
    """Convert unsigned 64-bit integers to `int64` or to decimal text.

    Parameters
    ----------
    values
        Of type uint64, shape (n,).
    kind
        ``int64`` or ``string``.

    Returns
    -------
    values, bad
        `bad` marks values that do not fit, which are null; None: all fit.
    """
    if pa.types.is_string(kind) or not exceeds_int64(values):
        return values.cast(kind), None
    beyond = pc.fill_null(pc.greater(values, pa.scalar(MAX_INT64, pa.uint64())), False)
    kept = pc.if_else(beyond, pa.scalar(None, pa.uint64()), values)
    return kept.cast(kind), np.asarray(beyond)


def text_deviation(column: str, file: str) -> Deviation:
    """Describe a column of unsigned 64-bit integers that is read as decimal text.

    Parameters
    ----------
    column, file
        Names.
    """
    return Deviation(
        kind=DeviationKind.WHOLE_NUMBER,
        column=column,
        file=file,
        message="whole numbers of 2^63 and more do not fit int64: the column is read as decimal text",
    )


__all__ = ["DIGITS", "MAX_INT64", "REASON", "exceeds_int64", "fit_unsigned", "text_deviation"]

"""Describe unsigned 64-bit integers that are read as decimal text, because some exceed the largest int64."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.formats.media.api import MAX_INT64, format_arraysize
from hven.model import DeviationKind, ReadDeviation
from hven.model.types import ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt

UINT64_DIGITS = 20


def has_values_beyond_int64(read_records: Callable[[int, int], npt.NDArray[np.uint64]], count: int, step: int) -> bool:
    """Return whether unsigned 64-bit integers of a file exceed the largest int64.

    Parameters
    ----------
    read_records
        Read records from one to before another; missing records are 0.
    count
        Number of records.
    step
        Records that are read at once.
    """
    return any((read_records(start, min(count, start + step)) > MAX_INT64).any() for start in range(0, count, step))


def create_uint64_text_type(shape: Sequence[int]) -> ColumnType:
    """Return the type of cells with the decimal digits of such integers.

    Parameters
    ----------
    shape
        Shape of a cell.
    """
    if not shape:
        return ColumnType("char", f"{UINT64_DIGITS}*")
    return ColumnType("char", format_arraysize((*shape, UINT64_DIGITS)))


def build_uint64_text_deviation(column: str, file: str) -> ReadDeviation:
    """Describe that a column of unsigned 64-bit integers is read as decimal text.

    Parameters
    ----------
    column, file
        Names of the column and of the file.
    """
    message = "some whole numbers do not fit in int64, so Hven reads the column as decimal text"
    return ReadDeviation(kind=DeviationKind.WHOLE_NUMBER, column=column, file=file, message=message)

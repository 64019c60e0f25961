"""Name the types of numbers in files as VOTable does, and describe unsigned 64-bit integers that are read as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model import DeviationKind, ReadDeviation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

MAX_INT64 = np.uint64(2**63 - 1)
UINT64_DIGITS = 20
VOTABLE_TYPES = {
    "i1": "short",
    "u1": "unsignedByte",
    "i2": "short",
    "u2": "int",
    "i4": "int",
    "u4": "long",
    "i8": "long",
    "u8": "long",
    "f4": "float",
    "f8": "double",
}


def format_arraysize(shape: Sequence[int]) -> str | None:
    """Write a shape as an arraysize of VOTable.

    Parameters
    ----------
    shape
        Lengths of the axes, the slowest axis first.

    Returns
    -------
    arraysize
        None for a scalar.
    """
    return "x".join(str(length) for length in reversed(shape)) or None


def has_values_beyond_int64(
    read_records: Callable[[int, int], npt.NDArray[np.uint64]], count: int, step: int = 1 << 20
) -> bool:
    """Return whether unsigned 64-bit integers of a file exceed the largest int64.

    A column with such integers is read as decimal text.

    Parameters
    ----------
    read_records
        Read records from one to before another; missing records are 0.
    count
        Number of records.
    step
        Records that are read at once.
    """
    for start in range(0, count, step):
        records = read_records(start, min(count, start + step))
        if (records > MAX_INT64).any():
            return True
    return False


def build_uint64_text_deviation(column: str, file: str) -> ReadDeviation:
    """Describe that a column of unsigned 64-bit integers is read as decimal text.

    Parameters
    ----------
    column, file
        Names of the column and of the file.
    """
    message = "some whole numbers do not fit in int64, so Hven reads the column as decimal text"
    return ReadDeviation(kind=DeviationKind.WHOLE_NUMBER, column=column, file=file, message=message)


__all__ = [
    "MAX_INT64",
    "UINT64_DIGITS",
    "VOTABLE_TYPES",
    "build_uint64_text_deviation",
    "format_arraysize",
    "has_values_beyond_int64",
]

"""Choose the integers that stand for null (VOTable 1.4 section 4.7).

A number that is a value must not be chosen, and no later value may equal the chosen number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.votable.document import INTEGER_LIMITS, choose_null_value
from hven.model import literal
from hven.model.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.table import Column


def choose_unused_null_value(column: Column, array: pa.Array, serialization: str) -> Column:
    """Choose another number for null if the first batch holds the usual one as a value."""
    null_value = choose_null_value(column, serialization)
    if null_value is None:
        return column
    values = _flatten_non_null_values(array, column)
    if not len(values) or not np.any(values == int(null_value)):
        return column
    lowest, highest = INTEGER_LIMITS[column.type.datatype]
    for first, step in ((lowest, 1), (highest, -1)):
        candidate_count = min(len(values) + 1, highest - lowest + 1)
        candidates = [first + step * number for number in range(candidate_count)]
        unused_numbers = np.setdiff1d(candidates, values)
        if len(unused_numbers):
            nearest = unused_numbers[0] if step > 0 else unused_numbers[-1]
            return column.copy_with(null=str(nearest))
    return column  # every value of the type occurs: the check of batches reports it


def create_null_value_check(columns: Sequence[Column], serialization: str) -> Callable[[pa.RecordBatch], None]:
    """Create a check of batches.

    Raises
    ------
    DataError
        A value equals the null of its FIELD, which was sent already: readers would take it for null.
    """
    checked_columns = []
    for number, column in enumerate(columns):
        null_value = choose_null_value(column, serialization)
        if null_value is not None:
            checked_columns.append((number, column, int(null_value)))

    def check_batch(batch: pa.RecordBatch) -> None:
        for number, column, null in checked_columns:
            if np.any(_flatten_non_null_values(batch.column(number), column) == null):
                message = f"column {column.name!r} contains the value {null}, which means null in this document"
                if column.type.is_array:
                    remedy = "request a different format, such as csv or parquet"
                else:
                    remedy = "use BINARY2 or TABLEDATA"
                raise DataError(message, remedy=remedy)

    return check_batch


def _flatten_non_null_values(array: pa.Array, column: Column) -> np.ndarray[Any, Any]:
    array = literal.cast_to_storage_type(array, column.type)
    if pa.types.is_nested(array.type):
        values = literal.flatten_lists(array)[1]
    else:
        values = array
    return np.asarray(values.drop_null().to_numpy(zero_copy_only=False))

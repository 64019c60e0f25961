"""Whole numbers that stand for null (VOTable 1.4 section 4.7).

None that is a value may be chosen, and none that comes later may pass for null.
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


def choose_column_null(column: Column, array: pa.Array, serialization: str) -> Column:
    """Choose another number for null where the first batch holds the usual one as a value."""
    null_value = choose_null_value(column, serialization)
    if null_value is None:
        return column
    values = _flatten_values(array, column)
    if not len(values) or not np.any(values == int(null_value)):
        return column
    lowest, highest = INTEGER_LIMITS[column.type.datatype]
    for first, step in ((lowest, 1), (highest, -1)):
        unused_numbers = np.setdiff1d(
            [first + step * n for n in range(min(len(values) + 1, highest - lowest + 1))], values
        )
        if len(unused_numbers):
            null = str(unused_numbers[0] if step > 0 else unused_numbers[-1])
            return column.copy_with(null=null)
    return column  # every value of the type occurs: the check below says so


def create_null_check(columns: Sequence[Column], serialization: str) -> Callable[[pa.RecordBatch], None]:
    """Make a check of batches.

    Raises
    ------
    DataError
        A value is the number that the FIELD, which was sent already, has for null: readers would take it for none.
    """
    null_values = [(number, column, choose_null_value(column, serialization)) for number, column in enumerate(columns)]
    checked_columns = [(number, column, int(null)) for number, column, null in null_values if null is not None]

    def check_batch(batch: pa.RecordBatch) -> None:
        for number, column, null in checked_columns:
            if np.any(_flatten_values(batch.column(number), column) == null):
                message = f"column {column.name!r} holds the value {null}, which stands for null in this document"
                if column.type.is_array:
                    remedy = "ask for another format, csv or parquet for example"
                else:
                    remedy = "use BINARY2 or TABLEDATA"
                raise DataError(message, remedy=remedy)

    return check_batch


def _flatten_values(array: pa.Array, column: Column) -> np.ndarray[Any, Any]:
    array = literal.cast_to_storage(array, column.type)
    if pa.types.is_nested(array.type):
        values = literal.flatten_lists(array)[1]
    else:
        values = array
    return np.asarray(values.drop_null().to_numpy(zero_copy_only=False))

"""Rows on their way into an engine: the table's columns and types, no NaN, and the order of HEALPix cells.

Shared by the engines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import DataError, StorageError
from hven.model.sky import healpix

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.model.table import Table

    Keys = npt.NDArray[np.int64]

MAX_REPORTED_KEYS = 5  # keys that are told of
MISSING_KEY = np.iinfo(np.int64).max  # the key of rows that have none: they come last, in the order they came


def cast_batch_to_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Conform a batch to the columns and types of the table, by name; NaN becomes null."""
    missing = [name for name in schema.names if name not in batch.schema.names]
    if missing:
        message = f"rows without the columns {', '.join(missing)} cannot be stored"
        raise StorageError(message)
    columns = []
    for field in schema:
        column = batch.column(field.name)
        columns.append(replace_nan(column if column.type.equals(field.type) else column.cast(field.type)))
    # nullability is checked by ingest with row numbers; here it only would stop the writing
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def replace_nan(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Replace NaN by null.

    They are one thing in VOTable and FITS (VOTable 1.4 section 6); engines order NaN in ways of their own, so none is
    kept.
    """
    if not pa.types.is_floating(column.type):
        return column
    is_nan = pc.is_nan(column)
    if pc.any(is_nan).as_py():
        return pc.if_else(is_nan, pa.scalar(None, column.type), column)
    return column


def compute_position_keys(lon: pa.ChunkedArray, lat: pa.ChunkedArray) -> Keys:
    """Compute the HEALPix index (order 29) of each row, `MISSING_KEY` where there is no position."""
    cell_indexes = healpix.compute_cell_indexes(29, _to_float_array(lon), _to_float_array(lat))
    missing = cell_indexes < 0
    if missing.any():
        cell_indexes[missing] = MISSING_KEY
    return cell_indexes


def compute_stable_order(keys: Keys) -> npt.NDArray[np.int64]:
    """Compute the order that sorts keys, equal ones as they came.

    Numpy's vectorised quicksort, then its ties put right.
    """
    order = keys.argsort()
    ordered = keys[order]
    is_tie = ordered[1:] == ordered[:-1]
    if is_tie.any():
        tied = np.zeros(len(keys), bool)
        tied[1:] |= is_tie
        tied[:-1] |= is_tie
        tied_positions = np.flatnonzero(tied)
        tie_order = np.lexsort((order[tied_positions], ordered[tied_positions]))
        order[tied_positions] = order[tied_positions][tie_order]
    return order


def _to_float_array(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    if isinstance(column, pa.ChunkedArray):
        array = column.combine_chunks()
    else:
        array = column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def check_key_nulls(table: Table, null_count: int) -> None:
    """Refuse a primary key that is null."""
    if null_count:
        message = f"{table.qualified_name}: the primary key ({', '.join(table.primary)}) is null in {null_count:,} rows"
        raise DataError(message, remedy="give every row a key, or name another primary key")


def build_duplicate_key_error(
    table: Table, key_count: int, row_count: int, first_keys: Sequence[Sequence[object]]
) -> DataError:
    """Make the error of primary keys that stand more than once.

    How many do, in how many rows, and the first, each with its number of times.
    """
    key_texts = "; ".join(
        f"{', '.join(f'{name} = {value!r}' for name, value in zip(table.primary, row, strict=False))} ({row[-1]} times)"
        for row in first_keys
    )
    message = (
        f"{table.qualified_name}: the primary key ({', '.join(table.primary)}) is not unique: {key_count:,} "
        f"key{'s stand' if key_count > 1 else ' stands'} in {row_count:,} rows; first: {key_texts}"
    )
    return DataError(message, remedy="remove the duplicates (where:, group_by:), or name other columns as primary key")

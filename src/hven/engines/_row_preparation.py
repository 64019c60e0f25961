"""Prepare rows for an engine: the table's columns and types, null for NaN, and the order of HEALPix cells.

All engines share this module.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.model.errors import DataError, StorageError
from hven.model.literal import replace_nan_with_null
from hven.model.sky import healpix

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.model.table import Table

    Keys = npt.NDArray[np.int64]

MAX_REPORTED_KEYS = 5  # keys that an error message names
MISSING_KEY = np.iinfo(np.int64).max  # sort key of rows without one: they come last, in their order


def cast_batch_and_replace_nan(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Conform a batch to the columns and types of the table, by name; NaN becomes null.

    Parameters
    ----------
    batch
        Rows, perhaps with further columns.
    schema
        The schema of the table.

    Returns
    -------
    batch
        The rows in the schema.

    Raises
    ------
    StorageError
        A column is missing.
    """
    missing = [name for name in schema.names if name not in batch.schema.names]
    if missing:
        message = f"rows without the columns {', '.join(missing)} cannot be stored"
        raise StorageError(message)
    columns = []
    for field in schema:
        column = batch.column(field.name)
        if not column.type.equals(field.type):
            column = column.cast(field.type)
        columns.append(replace_nan_with_null(column))
    # ingest checks for nulls and reports row numbers; a check here would only stop the writing
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def compute_position_keys(lon: pa.ChunkedArray, lat: pa.ChunkedArray) -> Keys:
    """Compute the HEALPix index (order 29) of each row, `MISSING_KEY` where there is no position.

    Parameters
    ----------
    lon, lat
        Coordinates in degrees.

    Returns
    -------
    keys
        An array (rows,) of int64.
    """
    cell_indexes = healpix.compute_cell_indexes(29, _to_float_array(lon), _to_float_array(lat))
    missing = cell_indexes < 0
    if missing.any():
        cell_indexes[missing] = MISSING_KEY
    return cell_indexes


def compute_stable_order(keys: Keys) -> npt.NDArray[np.int64]:
    """Compute the order that sorts keys and keeps equal keys in their order.

    It sorts by numpy's vectorised quicksort, which is not stable, and then reorders the ties.

    Parameters
    ----------
    keys
        An array (rows,) of int64.

    Returns
    -------
    order
        Row numbers (rows,) of int64.
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
    """Raise `DataError` if a primary key is null.

    Parameters
    ----------
    table
        The table with its primary key.
    null_count
        Number of rows without a key.

    Raises
    ------
    DataError
        There are such rows.
    """
    if null_count:
        message = f"{table.qualified_name}: the primary key ({', '.join(table.primary)}) is null in {null_count:,} rows"
        raise DataError(message, remedy="give every row a key, or choose another primary key")


def build_duplicate_key_error(
    table: Table, key_count: int, row_count: int, first_keys: Sequence[Sequence[object]]
) -> DataError:
    """Return the error for primary keys that are in several rows.

    It has the numbers of such keys and of their rows, and the first keys, each with its number of rows.

    Parameters
    ----------
    table
        The table with its primary key.
    key_count
        Number of keys that are not unique.
    row_count
        Number of rows that have them.
    first_keys
        Values of a key, and the number of its rows.
    """
    key_texts = []
    for *key_values, times in first_keys:
        texts = [value.isoformat() if isinstance(value, datetime) else repr(value) for value in key_values]
        value_texts = [f"{name} = {text}" for name, text in zip(table.primary, texts, strict=False)]
        key_texts.append(f"{', '.join(value_texts)} ({times} times)")
    message = (
        f"{table.qualified_name}: the primary key ({', '.join(table.primary)}) is not unique: {key_count:,} "
        f"key{'s occur' if key_count > 1 else ' occurs'} more than once, in {row_count:,} rows; first: "
        f"{'; '.join(key_texts)}"
    )
    return DataError(
        message, remedy="remove the duplicates with `where:` or `group_by:`, or choose other columns as the primary key"
    )

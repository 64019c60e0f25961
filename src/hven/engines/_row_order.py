"""The order in which rows are stored: integer sort keys, and reordered columns.

The engines that keep files share this module.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._row_preparation import MISSING_KEY, compute_position_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from hven.model.table import Table

    Keys = npt.NDArray[np.int64]


def find_row_order_column(table: Table) -> str:
    """Return the column whose order the rows of a table get; empty for the order of positions, or of arrival.

    Parameters
    ----------
    table
        The table with its partition and keys.
    """
    name = None
    if table.partition is not None:
        name = table.partition.column
    if not name and table.primary:
        name = table.primary[0]
    if table.position is not None or not name:
        return ""
    column_type = table.find_column(name).type
    if column_type.is_integer or column_type.is_timestamp or column_type.is_numeric:
        return name
    return ""


def build_sort_key_function(table: Table) -> Callable[[pa.Table], Keys] | None:
    """Return the function that computes the sort keys of rows, or None if they keep the order in which they come."""
    if table.position is not None:
        lon, lat = table.position
        return lambda rows: compute_position_keys(rows.column(lon), rows.column(lat))
    name = find_row_order_column(table)
    if not name:
        return None
    column_type = table.find_column(name).type
    if column_type.is_integer or column_type.is_timestamp:
        return lambda rows: _compute_integer_keys(rows.column(name))
    return lambda rows: _compute_float_keys(rows.column(name))


def _compute_integer_keys(column: pa.ChunkedArray) -> Keys:
    integers = column.cast(pa.int64())
    return np.asarray(pc.fill_null(integers, MISSING_KEY).to_numpy(), dtype=np.int64)


def _compute_float_keys(column: pa.ChunkedArray) -> Keys:
    """Map doubles to integers of the same order, with NaN and null last."""
    values = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64) + 0.0  # -0.0 becomes 0.0
    bits = values.view(np.int64)
    keys = np.where(bits < 0, bits ^ np.iinfo(np.int64).max, bits)
    keys[np.isnan(values)] = MISSING_KEY
    return keys


def take_rows_and_release_columns(columns: list[pa.ChunkedArray], order: npt.NDArray[Any]) -> list[pa.Array]:
    """Reorder columns in parallel; each is removed from `columns` first, so that its memory is freed after copying.

    Parameters
    ----------
    columns
        Columns of one length; the list is emptied.
    order
        Row numbers (rows,) of int64 in their new order.

    Returns
    -------
    arrays
        The columns in that order, each an array (rows,).
    """
    indices = pa.array(order)

    def take_column(column_number: int) -> pa.Array:
        column, columns[column_number] = columns[column_number], None
        return pc.take(column.combine_chunks(), indices)

    if len(columns) < 2 or len(order) < 50_000:
        return [take_column(number) for number in range(len(columns))]
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(take_column, range(len(columns))))

"""The order in which rows are stored, as whole numbers to sort by, and rows put in order. Shared by the engines that keep files."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._rows import LAST, position_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from hven.model.table import Table

    Keys = npt.NDArray[np.int64]


def order_column(table: Table) -> str:
    """Name the column whose order the rows of a table get; empty if it is that of positions, or of arrival."""
    pieces = table.partition.column if table.partition is not None else None
    name = pieces or (table.primary[0] if table.primary else None)
    if table.position is not None or name is None:
        return ""
    kind = table.column(name).type
    return name if kind.is_integer or kind.is_timestamp or kind.is_numeric else ""


def ordering(table: Table) -> Callable[[pa.Table], Keys] | None:
    """Return the function that computes the sort key of rows, None if they keep the order in which they come."""
    if table.position is not None:
        lon, lat = table.position
        return lambda rows: position_keys(rows.column(lon), rows.column(lat))
    name = order_column(table)
    if not name:
        return None
    kind = table.column(name).type
    whole = kind.is_integer or kind.is_timestamp
    return lambda rows: (_whole_keys if whole else _float_keys)(rows.column(name))


def _whole_keys(column: pa.ChunkedArray) -> Keys:
    whole = column.cast(pa.int64())
    return np.asarray(pc.fill_null(whole, LAST).to_numpy(), dtype=np.int64)


def _float_keys(column: pa.ChunkedArray) -> Keys:
    """Map doubles to whole numbers of the same order; NaN and null last."""
    values = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64) + 0.0  # -0.0 becomes 0.0
    bits = values.view(np.int64)
    keys = np.where(bits < 0, bits ^ np.iinfo(np.int64).max, bits)
    keys[np.isnan(values)] = LAST
    return keys


def gathered(columns: list[pa.ChunkedArray], order: npt.NDArray[Any]) -> list[pa.Array]:
    """Reorder columns, some in parallel; each is let go of (in `columns`) as soon as its copy is made."""
    indices = pa.array(order)

    def one(number: int) -> pa.Array:
        column, columns[number] = columns[number], None
        return pc.take(column.combine_chunks(), indices)

    if len(columns) < 2 or len(order) < 50_000:
        return [one(number) for number in range(len(columns))]
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(one, range(len(columns))))

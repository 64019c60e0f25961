"""Rows on their way into an engine: the table's columns and types, no NaN, and the order of HEALPix cells. Shared by the engines."""

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

SHOWN = 5  # keys that are told of
LAST = np.iinfo(np.int64).max  # the key of rows that have none: they come last, in the order they came


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Conform a batch to the columns and types of the table, by name; NaN becomes null."""
    missing = [name for name in schema.names if name not in batch.schema.names]
    if missing:
        message = f"rows without the columns {', '.join(missing)} cannot be stored"
        raise StorageError(message)
    columns = []
    for item in schema:
        column = batch.column(item.name)
        columns.append(without_nan(column if column.type.equals(item.type) else column.cast(item.type)))
    # nullability is checked by ingest with row numbers; here it only would stop the writing
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def without_nan(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Replace NaN by null.

    They are one thing in VOTable and FITS (VOTable 1.4 section 6); engines order NaN in ways of their own, so none is kept.
    """
    if not pa.types.is_floating(column.type):
        return column
    wrong = pc.is_nan(column)
    return pc.if_else(wrong, pa.scalar(None, column.type), column) if pc.any(wrong).as_py() else column


def position_keys(lon: pa.ChunkedArray, lat: pa.ChunkedArray) -> Keys:
    """Compute the HEALPix index (order 29) of each row, `LAST` where there is no position."""
    found = healpix.index(29, _floats(lon), _floats(lat))
    missing = found < 0
    if missing.any():
        found[missing] = LAST
    return found


def stable_order(keys: Keys) -> npt.NDArray[np.int64]:
    """Compute the order that sorts keys, equal ones as they came: numpy's vectorised quicksort, then its ties put right."""
    order = keys.argsort()
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    if same.any():
        tied = np.zeros(len(keys), bool)
        tied[1:] |= same
        tied[:-1] |= same
        places = np.flatnonzero(tied)
        inside = np.lexsort((order[places], ordered[places]))
        order[places] = order[places][inside]
    return order


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks)
    return np.asarray(whole.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def refuse_nulls(table: Table, nulls: int) -> None:
    """Refuse a primary key that is null."""
    if nulls:
        message = f"{table.qualified}: the primary key ({', '.join(table.primary)}) is null in {nulls:,} rows"
        raise DataError(message, remedy="give every row a key, or name another primary key")


def repeated(table: Table, keys: int, rows: int, first: Sequence[Sequence[object]]) -> DataError:
    """Make the error of primary keys that stand more than once: how many do, in how many rows, and the first, each with its number of times."""
    shown = "; ".join(
        f"{', '.join(f'{name} = {value!r}' for name, value in zip(table.primary, row, strict=False))} ({row[-1]} times)"
        for row in first
    )
    message = f"{table.qualified}: the primary key ({', '.join(table.primary)}) is not unique: {keys:,} key{'s stand' if keys > 1 else ' stands'} in {rows:,} rows; first: {shown}"
    return DataError(message, remedy="remove the duplicates (where:, group_by:), or name other columns as primary key")

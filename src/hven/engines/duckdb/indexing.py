"""Building the key indexes of a new snapshot, and the check that the primary key is unique."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._regions import cells_of_column, no_caps
from hven.engines._rows import SHOWN, refuse_nulls, repeated
from hven.engines.duckdb.layout import KeyFiles, RegionFiles, Stored
from hven.model.literal import hashes

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table

_STEP = 4_000_000  # rows that are gathered and written at a time


def wanted_keys(table: Table) -> list[str]:
    """List the columns that get an index: the primary key's first, then all others that are searched, if they can be ordered.

    An index of several columns is one of each here: the condition that leaves the fewest rows is looked up.
    """
    searched = table.searched
    names = dict.fromkeys(table.primary)
    names.update(dict.fromkeys(column.name for column in table.columns if column.name in searched))
    found = []
    for name in names:
        kind = table.column(name).type
        if kind.is_string or kind.is_timestamp or kind.is_numeric:
            found.append(name)
    return found


def build_key(stored: Stored, column: str, number: int) -> KeyFiles:
    """Sort one column of a snapshot and write its index beside the parts."""
    kind = stored.schema.field(column).type
    place = stored.schema.get_field_index(column)
    directory = stored.path
    if pa.types.is_string(kind):
        return _build_text(stored, column, number)
    chunks = [numbers_of(batch.column(place)) for batch in stored.batches]
    has = [_present(batch.column(place)) for batch in stored.batches]
    values = np.concatenate(chunks) if len(chunks) != 1 else chunks[0]
    present = np.concatenate(
        [np.ones(len(chunk), bool) if mask is None else mask for chunk, mask in zip(chunks, has, strict=True)]
    )
    whole = bool(present.all())
    del chunks
    names = (f"key{number:03d}.values.npy", f"key{number:03d}.rows.npy")
    if whole and _ascending(values):
        np.save(directory / names[0], values)
        return KeyFiles(column=column, count=len(values), values=names[0], rows=None)
    rows = None if whole else np.flatnonzero(present)
    if rows is not None:
        values = values[rows]
    order = values.argsort()
    count = len(order)
    _write_gathered(directory / names[0], values, order)
    size = np.dtype(np.int32 if stored.manifest.rows < 2**31 else np.int64)
    _write_gathered(directory / names[1], rows, order, size)
    return KeyFiles(column=column, count=count, values=names[0], rows=names[1])


def build_regions(stored: Stored, column: str, number: int) -> RegionFiles:
    """Write the index of a column of shapes beside the parts."""
    place = stored.schema.get_field_index(column)
    small = np.dtype(np.int32 if stored.manifest.rows < 2**31 else np.int64)

    caps = no_caps(stored.manifest.rows)

    def of_batch(begin: int, batch: pa.RecordBatch) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        found = list(cells_of_column(batch.column(place), caps[begin : begin + batch.num_rows]))
        rows = [(begin + rows).astype(small) for rows, _ in found]
        return np.concatenate([np.empty(0, small), *rows]), np.concatenate(
            [np.empty(0, np.int64), *(cells for _, cells in found)]
        )

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        pieces = list(pool.map(of_batch, stored.starts[:-1].tolist(), stored.batches))
    rows, cells = np.concatenate([piece[0] for piece in pieces]), np.concatenate([piece[1] for piece in pieces])
    del pieces
    files = RegionFiles.numbered(column, len(cells), number)
    np.save(stored.path / str(files.caps), caps)
    bits = stored.manifest.rows.bit_length()
    if int(cells.max(initial=0)).bit_length() + bits > 63:
        order = np.lexsort((rows, cells))
        np.save(stored.path / files.cells, cells[order])
        np.save(stored.path / files.rows, rows[order])
    else:  # one number of both sorts ten times as fast
        cells <<= bits
        cells |= rows
        cells.sort()
        np.save(stored.path / files.rows, (cells & ((1 << bits) - 1)).astype(small))
        cells >>= bits
        np.save(stored.path / files.cells, cells)
    return files


def _ascending(values: npt.NDArray[Any]) -> bool:
    return all(
        bool((values[a + 1 : a + _STEP + 1] >= values[a : a + _STEP][: len(values) - 1 - a]).all())
        for a in range(0, max(len(values) - 1, 0), _STEP)
    )


def _write_gathered(
    path: Path, values: npt.NDArray[Any] | None, order: npt.NDArray[Any], kind: np.dtype[Any] | None = None
) -> None:
    """Write ``values[order]`` (or `order` itself) piece by piece, without holding it."""
    dtype = kind or (order.dtype if values is None else values.dtype)
    with path.open("wb") as file:  # not mapped: where the disk is full, that kills the process instead of telling it
        np.lib.format.write_array_header_1_0(
            file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (len(order),)}
        )
        for begin in range(0, len(order), _STEP):
            piece = order[begin : begin + _STEP]
            file.write(np.ascontiguousarray(piece if values is None else values[piece], dtype).data)


def numbers_of(column: pa.Array) -> npt.NDArray[Any]:
    """Return the stored numbers of a column without copying; what stands where a value is null does not matter."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.view(pa.int64())
        kind = pa.int64()
    buffer = column.buffers()[1]
    dtype = np.dtype(kind.to_pandas_dtype())
    if buffer is None:
        return np.zeros(len(column), dtype)
    return np.frombuffer(buffer, dtype)[column.offset : column.offset + len(column)]


def _present(column: pa.Array) -> npt.NDArray[np.bool_] | None:
    if column.null_count == 0:
        return None
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False))


def _build_text(stored: Stored, column: str, number: int) -> KeyFiles:
    values = stored.table.column(column)
    order = (
        pc.array_sort_indices(values.combine_chunks(), null_placement="at_end")
        if values.num_chunks == 1
        else pc.sort_indices(values)
    )
    count = len(values) - values.null_count
    rows = np.asarray(order)[:count]
    if count == len(values) and _ascending(rows):
        return KeyFiles(column=column, count=count)
    name = f"key{number:03d}.rows.npy"
    np.save(stored.path / name, rows.astype(np.int32 if stored.manifest.rows < 2**31 else np.int64))
    return KeyFiles(column=column, count=count, rows=name)


def check_primary(table: Table, stored: Stored) -> None:
    """Check that the primary key is unique and never null.

    Raises
    ------
    DataError
        Names the first keys that are there more than once, how often, and how many such keys there are.
    """
    if not table.primary or not stored.manifest.rows:
        return
    names = list(table.primary)
    refuse_nulls(table, sum(stored.table.column(name).null_count for name in names))
    if not _unique(stored, names):
        refuse_repeated(table, stored.table.select(names))


def refuse_repeated(table: Table, rows: pa.Table) -> None:
    """Refuse rows in which primary keys stand more than once, and say which."""
    names = list(table.primary)
    with duckdb.connect(":memory:", config={"threads": 2}) as con:
        con.register("rows", rows.select(names))
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        # no column has such a name
        groups = f'SELECT {quoted}, COUNT(*) AS "hven:times" FROM rows GROUP BY ALL HAVING COUNT(*) > 1'
        found = con.execute(f'SELECT COUNT(*), SUM("hven:times") FROM ({groups})').fetchone()
        keys, count = found or (0, 0)
        if not keys:
            return
        first = con.execute(f"{groups} ORDER BY ALL LIMIT {SHOWN}").fetchall()
    raise repeated(table, keys, count, first)


def _unique(stored: Stored, names: list[str]) -> bool:
    """Return whether no key stands twice; False: one may do so."""
    places = [stored.schema.get_field_index(name) for name in names]
    values: npt.NDArray[Any]
    if len(names) == 1 and not pa.types.is_string(stored.schema.field(places[0]).type):
        values = np.concatenate([numbers_of(batch.column(places[0])) for batch in stored.batches])
    else:
        values = np.concatenate([hashes([batch.column(place) for place in places])[1] for batch in stored.batches])
    values.sort()
    return all(
        bool((values[a + 1 : a + _STEP + 1] != values[a : a + _STEP][: len(values) - 1 - a]).all())
        for a in range(0, max(len(values) - 1, 0), _STEP)
    )

"""Building the key indexes of a new snapshot, and the check that the primary key is unique."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._region_cells import cover_region_column, create_full_sky_caps
from hven.engines._row_preparation import MAX_REPORTED_KEYS, build_duplicate_key_error, check_key_nulls
from hven.engines.duckdb.snapshot_files import KeyFiles, OpenSnapshot, RegionFiles
from hven.model.literal import hash_rows

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table

_BATCH_ROWS = 4_000_000  # rows that are gathered and written at a time


def list_indexed_columns(table: Table) -> list[str]:
    """List the columns that get an index.

    The primary key's first, then all others that are searched, if they can be ordered.

    An index of several columns is one of each here: the condition that leaves the fewest rows is looked up.
    """
    searched = table.indexed_column_names
    candidate_names = dict.fromkeys(table.primary)
    candidate_names.update(dict.fromkeys(column.name for column in table.columns if column.name in searched))
    column_names = []
    for name in candidate_names:
        column_type = table.find_column(name).type
        if column_type.is_string or column_type.is_timestamp or column_type.is_numeric:
            column_names.append(name)
    return column_names


def build_key_index(stored: OpenSnapshot, column_name: str, index_number: int) -> KeyFiles:
    """Sort one column of a snapshot and write its index beside the parts."""
    arrow_type = stored.schema.field(column_name).type
    column_number = stored.schema.get_field_index(column_name)
    directory = stored.path
    if pa.types.is_string(arrow_type):
        return _build_text_index(stored, column_name, index_number)
    chunks = [view_stored_numbers(batch.column(column_number)) for batch in stored.batches]
    validity_masks = [_compute_validity(batch.column(column_number)) for batch in stored.batches]
    if len(chunks) != 1:
        values = np.concatenate(chunks)
    else:
        values = chunks[0]
    present = np.concatenate(
        [
            np.ones(len(chunk), bool) if mask is None else mask
            for chunk, mask in zip(chunks, validity_masks, strict=True)
        ]
    )
    has_no_nulls = bool(present.all())
    del chunks
    names = (f"key{index_number:03d}.values.npy", f"key{index_number:03d}.rows.npy")
    if has_no_nulls and _is_ascending(values):
        np.save(directory / names[0], values)
        return KeyFiles(column=column_name, count=len(values), values=names[0], rows=None)
    if has_no_nulls:
        rows = None
    else:
        rows = np.flatnonzero(present)
    if rows is not None:
        values = values[rows]
    order = values.argsort()
    count = len(order)
    _write_ordered(directory / names[0], values, order)
    row_dtype = np.dtype(np.int32 if stored.manifest.rows < 2**31 else np.int64)
    _write_ordered(directory / names[1], rows, order, row_dtype)
    return KeyFiles(column=column_name, count=count, values=names[0], rows=names[1])


def build_region_index(stored: OpenSnapshot, column_name: str, index_number: int) -> RegionFiles:
    """Write the index of a column of shapes beside the parts."""
    column_number = stored.schema.get_field_index(column_name)
    row_dtype = np.dtype(np.int32 if stored.manifest.rows < 2**31 else np.int64)

    caps = create_full_sky_caps(stored.manifest.rows)

    def cover_batch(first_row: int, batch: pa.RecordBatch) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        row_cells = list(cover_region_column(batch.column(column_number), caps[first_row : first_row + batch.num_rows]))
        rows = [(first_row + rows).astype(row_dtype) for rows, _ in row_cells]
        return np.concatenate([np.empty(0, row_dtype), *rows]), np.concatenate(
            [np.empty(0, np.int64), *(cells for _, cells in row_cells)]
        )

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        pieces = list(pool.map(cover_batch, stored.starts[:-1].tolist(), stored.batches))
    rows, cells = np.concatenate([piece[0] for piece in pieces]), np.concatenate([piece[1] for piece in pieces])
    del pieces
    files = RegionFiles.from_number(column_name, len(cells), index_number)
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
        np.save(stored.path / files.rows, (cells & ((1 << bits) - 1)).astype(row_dtype))
        cells >>= bits
        np.save(stored.path / files.cells, cells)
    return files


def _is_ascending(values: npt.NDArray[Any]) -> bool:
    return all(
        bool((values[a + 1 : a + _BATCH_ROWS + 1] >= values[a : a + _BATCH_ROWS][: len(values) - 1 - a]).all())
        for a in range(0, max(len(values) - 1, 0), _BATCH_ROWS)
    )


def _write_ordered(
    path: Path, values: npt.NDArray[Any] | None, order: npt.NDArray[Any], dtype_wanted: np.dtype[Any] | None = None
) -> None:
    """Write ``values[order]`` (or `order` itself) piece by piece, without holding it."""
    dtype = dtype_wanted or (order.dtype if values is None else values.dtype)
    with path.open("wb") as file:  # not mapped: where the disk is full, that kills the process instead of telling it
        np.lib.format.write_array_header_1_0(
            file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (len(order),)}
        )
        for begin in range(0, len(order), _BATCH_ROWS):
            piece = order[begin : begin + _BATCH_ROWS]
            file.write(np.ascontiguousarray(piece if values is None else values[piece], dtype).data)


def view_stored_numbers(column: pa.Array) -> npt.NDArray[Any]:
    """Return the stored numbers of a column without copying; what stands where a value is null does not matter."""
    arrow_type = column.type
    if pa.types.is_timestamp(arrow_type):
        column = column.view(pa.int64())
        arrow_type = pa.int64()
    buffer = column.buffers()[1]
    dtype = np.dtype(arrow_type.to_pandas_dtype())
    if buffer is None:
        return np.zeros(len(column), dtype)
    return np.frombuffer(buffer, dtype)[column.offset : column.offset + len(column)]


def _compute_validity(column: pa.Array) -> npt.NDArray[np.bool_] | None:
    if column.null_count == 0:
        return None
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False))


def _build_text_index(stored: OpenSnapshot, column_name: str, index_number: int) -> KeyFiles:
    values = stored.table.column(column_name)
    if values.num_chunks == 1:
        order = pc.array_sort_indices(values.combine_chunks(), null_placement="at_end")
    else:
        order = pc.sort_indices(values)
    count = len(values) - values.null_count
    rows = np.asarray(order)[:count]
    if count == len(values) and _is_ascending(rows):
        return KeyFiles(column=column_name, count=count)
    name = f"key{index_number:03d}.rows.npy"
    np.save(stored.path / name, rows.astype(np.int32 if stored.manifest.rows < 2**31 else np.int64))
    return KeyFiles(column=column_name, count=count, rows=name)


def check_primary_key(table: Table, stored: OpenSnapshot) -> None:
    """Check that the primary key is unique and never null.

    Raises
    ------
    DataError
        Names the first keys that are there more than once, how often, and how many such keys there are.
    """
    if not table.primary or not stored.manifest.rows:
        return
    names = list(table.primary)
    check_key_nulls(table, sum(stored.table.column(name).null_count for name in names))
    if not _is_unique(stored, names):
        raise_duplicate_keys(table, stored.table.select(names))


def raise_duplicate_keys(table: Table, rows: pa.Table) -> None:
    """Refuse rows in which primary keys stand more than once, and say which."""
    names = list(table.primary)
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        connection.register("rows", rows.select(names))
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        # no column has such a name
        groups = f'SELECT {quoted}, COUNT(*) AS "hven:times" FROM rows GROUP BY ALL HAVING COUNT(*) > 1'
        key_counts = connection.execute(f'SELECT COUNT(*), SUM("hven:times") FROM ({groups})').fetchone()
        keys, count = key_counts or (0, 0)
        if not keys:
            return
        first_keys = connection.execute(f"{groups} ORDER BY ALL LIMIT {MAX_REPORTED_KEYS}").fetchall()
    raise build_duplicate_key_error(table, keys, count, first_keys)


def _is_unique(stored: OpenSnapshot, column_names: list[str]) -> bool:
    """Return whether no key stands twice; False: one may do so."""
    column_numbers = [stored.schema.get_field_index(name) for name in column_names]
    values: npt.NDArray[Any]
    if len(column_names) == 1 and not pa.types.is_string(stored.schema.field(column_numbers[0]).type):
        values = np.concatenate([view_stored_numbers(batch.column(column_numbers[0])) for batch in stored.batches])
    else:
        values = np.concatenate(
            [hash_rows([batch.column(place) for place in column_numbers])[1] for batch in stored.batches]
        )
    values.sort()
    return all(
        bool((values[a + 1 : a + _BATCH_ROWS + 1] != values[a : a + _BATCH_ROWS][: len(values) - 1 - a]).all())
        for a in range(0, max(len(values) - 1, 0), _BATCH_ROWS)
    )

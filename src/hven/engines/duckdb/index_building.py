"""Build the key and region indexes of a new snapshot, and check that its primary key is unique."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._region_cells import cover_regions_with_cells_and_caps, create_full_sky_caps
from hven.engines._row_preparation import MAX_REPORTED_KEYS, build_duplicate_key_error, check_key_nulls
from hven.engines.duckdb.snapshot_files import KeyIndexFiles, OpenSnapshot, RegionIndexFiles
from hven.model.literal import hash_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table

_BATCH_ROWS = 4_000_000  # rows that are gathered and written at a time


def list_indexed_columns(table: Table) -> list[str]:
    """List the columns that get an index: those of the primary key, then all other columns that queries search.

    Only columns that can be ordered get one. For an index of several columns, each of them gets an index of its own:
    the condition that leaves the fewest rows is looked up.
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


def build_key_index(stored: OpenSnapshot, column_name: str, index_number: int) -> KeyIndexFiles:
    """Sort one column of a snapshot and write its index beside the parts."""
    if pa.types.is_string(stored.schema.field(column_name).type):
        return _build_text_index(stored, column_name, index_number)
    columns = [batch.column(column_name) for batch in stored.batches]
    values = _concat_arrays([view_stored_numbers(column) for column in columns])
    is_valid = np.concatenate([_build_validity_mask(column) for column in columns])
    values_name = f"key{index_number:03d}.values.npy"
    rows_name = f"key{index_number:03d}.rows.npy"
    has_nulls = not bool(is_valid.all())
    if not has_nulls and _is_ascending(values):
        np.save(stored.path / values_name, values)
        return KeyIndexFiles(column=column_name, count=len(values), values=values_name, rows=None)
    rows = None
    if has_nulls:
        rows = np.flatnonzero(is_valid)
        values = values[rows]
    order = values.argsort()
    _write_values_in_order(stored.path / values_name, values, order)
    _write_values_in_order(stored.path / rows_name, rows, order, _choose_row_type(stored))
    return KeyIndexFiles(column=column_name, count=len(order), values=values_name, rows=rows_name)


def _concat_arrays(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Concatenate arrays; a single one is not copied."""
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays)


def _choose_row_type(stored: OpenSnapshot) -> np.dtype[Any]:
    return np.dtype(np.int32 if stored.manifest.rows < 2**31 else np.int64)


def build_region_index(stored: OpenSnapshot, column_name: str, index_number: int) -> RegionIndexFiles:
    """Write the index of a column of shapes beside the parts."""
    row_type = _choose_row_type(stored)
    caps = create_full_sky_caps(stored.manifest.rows)

    def cover_batch(first_row: int, batch: pa.RecordBatch) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        batch_caps = caps[first_row : first_row + batch.num_rows]
        row_parts = [np.empty(0, row_type)]
        cell_parts = [np.empty(0, np.int64)]
        for batch_rows, batch_cells in cover_regions_with_cells_and_caps(batch.column(column_name), batch_caps):
            row_parts.append((first_row + batch_rows).astype(row_type))
            cell_parts.append(batch_cells)
        return np.concatenate(row_parts), np.concatenate(cell_parts)

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        pieces = list(pool.map(cover_batch, stored.starts[:-1].tolist(), stored.batches))
    rows = np.concatenate([piece_rows for piece_rows, _ in pieces])
    cells = np.concatenate([piece_cells for _, piece_cells in pieces])
    del pieces
    files = RegionIndexFiles.from_index_number(column_name, len(cells), index_number)
    np.save(stored.path / str(files.caps), caps)
    bits = stored.manifest.rows.bit_length()
    if int(cells.max(initial=0)).bit_length() + bits > 63:
        order = np.lexsort((rows, cells))
        np.save(stored.path / files.cells, cells[order])
        np.save(stored.path / files.rows, rows[order])
    else:  # sorting one number that has both is ten times as fast
        cells <<= bits
        cells |= rows
        cells.sort()
        sorted_rows = cells & ((1 << bits) - 1)
        np.save(stored.path / files.rows, sorted_rows.astype(row_type))
        cells >>= bits
        np.save(stored.path / files.cells, cells)
    return files


def _is_ascending(values: npt.NDArray[Any]) -> bool:
    return all(bool((successors >= piece).all()) for piece, successors in _iterate_successor_pairs(values))


def _iterate_successor_pairs(values: npt.NDArray[Any]) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Yield pieces of an array, each with the values that follow its values."""
    for begin in range(0, max(len(values) - 1, 0), _BATCH_ROWS):
        successors = values[begin + 1 : begin + 1 + _BATCH_ROWS]
        yield values[begin : begin + len(successors)], successors


def _write_values_in_order(
    path: Path, values: npt.NDArray[Any] | None, order: npt.NDArray[Any], wanted_type: np.dtype[Any] | None = None
) -> None:
    """Write ``values[order]`` (or `order` itself) piece by piece, without holding all of it in memory."""
    array_type = wanted_type or (order.dtype if values is None else values.dtype)
    type_description = np.lib.format.dtype_to_descr(array_type)
    header = {"descr": type_description, "fortran_order": False, "shape": (len(order),)}
    with path.open("wb") as file:  # not mapped: on a full disk, a map kills the process instead of raising an error
        np.lib.format.write_array_header_1_0(file, header)
        for begin in range(0, len(order), _BATCH_ROWS):
            piece = order[begin : begin + _BATCH_ROWS]
            if values is not None:
                piece = values[piece]
            file.write(np.ascontiguousarray(piece, array_type).data)


def view_stored_numbers(column: pa.Array) -> npt.NDArray[Any]:
    """Return the stored numbers of a column without copying; the numbers of null values are arbitrary."""
    arrow_type = column.type
    if pa.types.is_timestamp(arrow_type):
        column = column.view(pa.int64())
        arrow_type = pa.int64()
    buffer = column.buffers()[1]
    dtype = np.dtype(arrow_type.to_pandas_dtype())
    if buffer is None:
        return np.zeros(len(column), dtype)
    return np.frombuffer(buffer, dtype)[column.offset : column.offset + len(column)]


def _build_validity_mask(column: pa.Array) -> npt.NDArray[np.bool_]:
    if column.null_count == 0:
        return np.ones(len(column), bool)
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False))


def _build_text_index(stored: OpenSnapshot, column_name: str, index_number: int) -> KeyIndexFiles:
    values = stored.table.column(column_name)
    if values.num_chunks == 1:
        order = pc.array_sort_indices(values.combine_chunks(), null_placement="at_end")
    else:
        order = pc.sort_indices(values)
    count = len(values) - values.null_count
    rows = np.asarray(order)[:count]
    if count == len(values) and _is_ascending(rows):
        return KeyIndexFiles(column=column_name, count=count)
    name = f"key{index_number:03d}.rows.npy"
    np.save(stored.path / name, rows.astype(_choose_row_type(stored)))
    return KeyIndexFiles(column=column_name, count=count, rows=name)


def check_primary_key(table: Table, stored: OpenSnapshot) -> None:
    """Check that the primary key is unique and never null.

    Raises
    ------
    DataError
        Names the first duplicate keys, the number of their rows, and the number of duplicate keys.
    """
    if not table.primary or not stored.manifest.rows:
        return
    names = list(table.primary)
    check_key_nulls(table, sum(stored.table.column(name).null_count for name in names))
    if not _has_unique_keys(stored, names):
        raise_if_duplicate_keys(table, stored.table.select(names))


def raise_if_duplicate_keys(table: Table, rows: pa.Table) -> None:
    """Raise `DataError` if a primary key is in several rows; name the first such keys."""
    names = list(table.primary)
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        connection.register("rows", rows.select(names))
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        # no column is called hven:times
        groups = f'SELECT {quoted}, COUNT(*) AS "hven:times" FROM rows GROUP BY ALL HAVING COUNT(*) > 1'
        key_counts = connection.execute(f'SELECT COUNT(*), SUM("hven:times") FROM ({groups})').fetchone()
        keys, count = key_counts or (0, 0)
        if not keys:
            return
        first_keys = connection.execute(f"{groups} ORDER BY ALL LIMIT {MAX_REPORTED_KEYS}").fetchall()
    raise build_duplicate_key_error(table, keys, count, first_keys)


def _has_unique_keys(stored: OpenSnapshot, column_names: list[str]) -> bool:
    """Return True if no key is in two rows; False means that one may be."""
    key_arrays: list[npt.NDArray[Any]] = []
    is_number = len(column_names) == 1 and not pa.types.is_string(stored.schema.field(column_names[0]).type)
    for batch in stored.batches:
        columns = [batch.column(name) for name in column_names]
        if is_number:
            key_arrays.append(view_stored_numbers(columns[0]))
        else:
            _, hashes = hash_rows(columns)
            key_arrays.append(hashes)
    values = np.concatenate(key_arrays)
    values.sort()
    return all(bool((successors != piece).all()) for piece, successors in _iterate_successor_pairs(values))

"""The indexes of a snapshot that was made of another one: the old ones, with what changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._region_cells import cover_region_column, create_full_sky_caps
from hven.engines.duckdb.index_building import build_key_index, build_region_index, view_stored_numbers
from hven.engines.duckdb.row_renumbering import BATCH_ENTRIES, ArrayWriter, IndexEntries, RowMoves, merge_index_entries
from hven.engines.duckdb.snapshot_files import POSITION_FILE_NAME, KeyFiles, OpenSnapshot, RegionFiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

MIN_ROWS_PER_CHANGE = 8  # if more than this part of the rows is new, indexes are built anew: that takes less time


class NewRowsProtocol(Protocol):
    """The rows that come, in their order."""

    def get_column(self, column_name: str) -> pa.Array:
        """Return one of their columns."""


def merge_key_index(
    base_snapshot: OpenSnapshot,
    stored: OpenSnapshot,
    row_moves: RowMoves,
    new_rows: NewRowsProtocol,
    column_name: str,
    index_number: int,
) -> KeyFiles:
    """Write the index of a column: that of the base with what changed, if there is one."""
    old_index = base_snapshot.get_key_index(column_name)
    if old_index is None or len(row_moves.insertion_places) * MIN_ROWS_PER_CHANGE > row_moves.old_row_count:
        return build_key_index(stored, column_name, index_number)
    new_values = new_rows.get_column(column_name)
    valid_numbers = np.flatnonzero(np.asarray(new_values.is_valid()))
    names = (f"key{index_number:03d}.values.npy", f"key{index_number:03d}.rows.npy")
    paths = (stored.path / names[0], stored.path / names[1])
    if (
        old_index.rows is None
        and old_index.values is not None
        and len(valid_numbers) == len(new_values)
        and _write_if_ordered(old_index.values, row_moves, view_stored_numbers(new_values), paths[0])
    ):
        return KeyFiles(column=column_name, count=row_moves.new_row_count, values=names[0])
    new_values = new_values.take(pa.array(valid_numbers))
    order = np.asarray(pc.array_sort_indices(new_values))
    new_values = new_values.take(pa.array(order))
    new_entries = IndexEntries(
        None if old_index.values is None else view_stored_numbers(new_values),
        row_moves.added_row_numbers[valid_numbers][order],
    )
    if old_index.rows is not None:
        rows = old_index.rows
    else:
        rows = np.arange(old_index.count)
    count = merge_index_entries(
        IndexEntries(old_index.values, rows),
        row_moves.new_row_numbers,
        new_entries,
        old_index.count_not_greater(new_values),
        (paths[0] if old_index.values is not None else None, paths[1]),
    )
    return KeyFiles(
        column=column_name, count=count, values=None if old_index.values is None else names[0], rows=names[1]
    )


def _write_if_ordered(
    old_values: npt.NDArray[Any], row_moves: RowMoves, new_values: npt.NDArray[Any], path: Path
) -> bool:
    """Write the values of a column in stored order, if that still is the order of the values."""
    values = merge_row_values(old_values, row_moves, new_values)
    if not (values[1:] >= values[:-1]).all():
        return False
    np.save(path, values)
    return True


def merge_row_values(
    old_values: npt.NDArray[Any], row_moves: RowMoves, new_values: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Return a value for each row: those of the rows that stay, and those of the rows that come."""
    before = row_moves.insertion_places - np.searchsorted(row_moves.removed_rows, row_moves.insertion_places)
    merged: npt.NDArray[Any] = np.insert(
        np.delete(old_values, row_moves.removed_rows, axis=0), before, new_values, axis=0
    )
    return merged


def merge_region_index(
    base_snapshot: OpenSnapshot,
    stored: OpenSnapshot,
    row_moves: RowMoves,
    new_rows: NewRowsProtocol,
    column_name: str,
    index_number: int,
) -> RegionFiles:
    """Write the position index of a column of shapes: that of the base with what changed, if there is one."""
    old_index = base_snapshot.get_region_index(column_name)
    if (
        old_index is None
        or old_index.caps is None
        or len(row_moves.insertion_places) * MIN_ROWS_PER_CHANGE > row_moves.old_row_count
    ):
        return build_region_index(stored, column_name, index_number)
    new_values = new_rows.get_column(column_name)
    caps = create_full_sky_caps(len(new_values))
    row_cells = [(np.empty(0, np.int64), np.empty(0, np.int64)), *cover_region_column(new_values, caps)]
    rows, cells = (np.concatenate([pair[pair_number] for pair in row_cells]) for pair_number in (0, 1))
    rows = row_moves.added_row_numbers[rows]
    order = np.lexsort((rows, cells))
    files = RegionFiles.from_number(column_name, 0, index_number)
    np.save(stored.path / str(files.caps), merge_row_values(old_index.caps, row_moves, caps))
    count = merge_index_entries(
        IndexEntries(old_index.cells, old_index.rows),
        row_moves.new_row_numbers,
        IndexEntries(cells[order], rows[order]),
        np.searchsorted(old_index.cells, cells[order], side="right"),
        (stored.path / files.cells, stored.path / files.rows),
    )
    return replace(files, count=count)


def merge_position_index(base_snapshot: OpenSnapshot, directory: Path, row_moves: RowMoves, new_cells: Rows) -> int:
    """Write ``position.npy``: the cells of the rows that have a position; return their number.

    Parameters
    ----------
    new_cells
        Cells of the rows that come, without those that have none.
    """
    old_cells = base_snapshot.cell_indexes
    removed_rows = row_moves.removed_rows[: np.searchsorted(row_moves.removed_rows, len(old_cells))]
    places = row_moves.insertion_places[: len(new_cells)]
    total = len(old_cells) - len(removed_rows) + len(new_cells)
    array_writer = ArrayWriter(directory / POSITION_FILE_NAME, np.dtype(np.int64), total)
    for begin, end in _iterate_ranges(len(old_cells)):
        first_removed, end_removed = np.searchsorted(removed_rows, [begin, end])
        first_place = np.searchsorted(places, begin)
        end_place = len(places) if end == len(old_cells) else np.searchsorted(places, end)
        removed_in_piece = removed_rows[first_removed:end_removed]
        before = (
            places[first_place:end_place] - begin - np.searchsorted(removed_in_piece, places[first_place:end_place])
        )
        array_writer.add_values(
            np.insert(
                np.delete(old_cells[begin:end], removed_in_piece - begin), before, new_cells[first_place:end_place]
            )
        )
    array_writer.close()
    return total


def _iterate_ranges(row_count: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, max(row_count, 1), BATCH_ENTRIES):
        yield begin, min(begin + BATCH_ENTRIES, row_count)

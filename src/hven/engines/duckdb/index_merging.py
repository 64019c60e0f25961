"""Build the indexes of a snapshot that was made from another one: the old indexes, updated by the changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._region_cells import cover_regions_with_cells_and_caps, create_full_sky_caps
from hven.engines.duckdb.index_building import build_key_index, build_region_index, view_stored_numbers
from hven.engines.duckdb.row_renumbering import (
    BATCH_ENTRIES,
    IndexEntries,
    NumpyFileWriter,
    RowRenumbering,
    write_merged_index_files,
)
from hven.engines.duckdb.snapshot_files import POSITION_FILE_NAME, KeyIndexFiles, OpenSnapshot, RegionIndexFiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

MIN_ROWS_PER_CHANGE = 8  # if more than one row in eight is new, building an index anew takes less time


class NewRowsProtocol(Protocol):
    """The rows to add, in their order."""

    def get_column(self, column_name: str) -> pa.Array:
        """Return one column of the rows."""


def merge_or_rebuild_key_index(
    base_snapshot: OpenSnapshot,
    stored: OpenSnapshot,
    row_moves: RowRenumbering,
    new_rows: NewRowsProtocol,
    *,
    column_name: str,
    index_number: int,
) -> KeyIndexFiles:
    """Write the index of a column: that of the base snapshot with the changes, if it has one."""
    old_index = base_snapshot.get_key_index(column_name)
    if old_index is None or _has_many_new_rows(row_moves):
        return build_key_index(stored, column_name, index_number)
    new_values = new_rows.get_column(column_name)
    valid_numbers = np.flatnonzero(np.asarray(new_values.is_valid()))
    values_name = f"key{index_number:03d}.values.npy"
    rows_name = f"key{index_number:03d}.rows.npy"
    values_path = stored.path / values_name
    can_be_ordered = old_index.rows is None and len(valid_numbers) == len(new_values)
    if (
        can_be_ordered
        and old_index.values is not None
        and _write_merged_values_if_ordered(old_index.values, row_moves, view_stored_numbers(new_values), values_path)
    ):
        return KeyIndexFiles(column=column_name, count=row_moves.new_row_count, values=values_name)
    new_values = new_values.take(pa.array(valid_numbers))
    order = np.asarray(pc.array_sort_indices(new_values))
    new_values = new_values.take(pa.array(order))
    new_index_rows = row_moves.added_row_numbers[valid_numbers][order]
    if old_index.rows is None:
        old_rows = np.arange(old_index.count)
    else:
        old_rows = old_index.rows
    has_values = old_index.values is not None
    count = write_merged_index_files(
        IndexEntries(old_index.values, old_rows),
        row_moves.new_row_numbers,
        IndexEntries(view_stored_numbers(new_values) if has_values else None, new_index_rows),
        old_index.count_not_greater(new_values),
        (values_path if has_values else None, stored.path / rows_name),
    )
    return KeyIndexFiles(column=column_name, count=count, values=values_name if has_values else None, rows=rows_name)


def _has_many_new_rows(row_moves: RowRenumbering) -> bool:
    return len(row_moves.insertion_places) * MIN_ROWS_PER_CHANGE > row_moves.old_row_count


def _write_merged_values_if_ordered(
    old_values: npt.NDArray[Any], row_moves: RowRenumbering, new_values: npt.NDArray[Any], path: Path
) -> bool:
    """Write the values of a column in stored order if they still are in order; return whether they are."""
    values = merge_row_values(old_values, row_moves, new_values)
    if not (values[1:] >= values[:-1]).all():
        return False
    np.save(path, values)
    return True


def merge_row_values(
    old_values: npt.NDArray[Any], row_moves: RowRenumbering, new_values: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Return a value for each row: those of the rows that stay, and those of the new rows."""
    removed_rows = row_moves.removed_rows
    places = row_moves.insertion_places
    places_after_removal = places - np.searchsorted(removed_rows, places)
    kept_values = np.delete(old_values, removed_rows, axis=0)
    merged: npt.NDArray[Any] = np.insert(kept_values, places_after_removal, new_values, axis=0)
    return merged


def merge_or_rebuild_region_index(
    base_snapshot: OpenSnapshot,
    stored: OpenSnapshot,
    row_moves: RowRenumbering,
    new_rows: NewRowsProtocol,
    *,
    column_name: str,
    index_number: int,
) -> RegionIndexFiles:
    """Write the position index of a column of shapes: that of the base snapshot with the changes, if it has one."""
    old_index = base_snapshot.get_region_index(column_name)
    if old_index is None or old_index.caps is None or _has_many_new_rows(row_moves):
        return build_region_index(stored, column_name, index_number)
    new_values = new_rows.get_column(column_name)
    caps = create_full_sky_caps(len(new_values))
    row_parts = [np.empty(0, np.int64)]
    cell_parts = [np.empty(0, np.int64)]
    for region_rows, region_cells in cover_regions_with_cells_and_caps(new_values, caps):
        row_parts.append(region_rows)
        cell_parts.append(region_cells)
    rows = row_moves.added_row_numbers[np.concatenate(row_parts)]
    cells = np.concatenate(cell_parts)
    order = np.lexsort((rows, cells))
    files = RegionIndexFiles.from_index_number(column_name, 0, index_number)
    np.save(stored.path / str(files.caps), merge_row_values(old_index.caps, row_moves, caps))
    count = write_merged_index_files(
        IndexEntries(old_index.cells, old_index.rows),
        row_moves.new_row_numbers,
        IndexEntries(cells[order], rows[order]),
        np.searchsorted(old_index.cells, cells[order], side="right"),
        (stored.path / files.cells, stored.path / files.rows),
    )
    return replace(files, count=count)


def write_merged_position_index(
    base_snapshot: OpenSnapshot, directory: Path, row_moves: RowRenumbering, new_cells: Rows
) -> int:
    """Write ``position.npy``, the cells of the rows that have a position; return their number.

    Parameters
    ----------
    base_snapshot
        The old snapshot.
    directory
        The directory of the new snapshot.
    row_moves
        How the rows move from the old snapshot to the new one.
    new_cells
        Cells of those new rows that have a position.
    """
    old_cells = base_snapshot.cell_indexes
    removed_rows = row_moves.removed_rows[: np.searchsorted(row_moves.removed_rows, len(old_cells))]
    places = row_moves.insertion_places[: len(new_cells)]
    total = len(old_cells) - len(removed_rows) + len(new_cells)
    array_writer = NumpyFileWriter(directory / POSITION_FILE_NAME, np.dtype(np.int64), total)
    for begin, end in _iterate_row_ranges(len(old_cells)):
        first_removed, end_removed = np.searchsorted(removed_rows, [begin, end])
        first_place = np.searchsorted(places, begin)
        end_place = len(places) if end == len(old_cells) else np.searchsorted(places, end)
        removed_in_range = removed_rows[first_removed:end_removed]
        range_places = places[first_place:end_place]
        kept_cells = np.delete(old_cells[begin:end], removed_in_range - begin)
        kept_places = range_places - begin - np.searchsorted(removed_in_range, range_places)
        array_writer.add_values(np.insert(kept_cells, kept_places, new_cells[first_place:end_place]))
    array_writer.close()
    return total


def _iterate_row_ranges(row_count: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, max(row_count, 1), BATCH_ENTRIES):
        yield begin, min(begin + BATCH_ENTRIES, row_count)

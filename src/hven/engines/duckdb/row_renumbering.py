"""Renumber rows when a snapshot is made from another one: rows that are removed, added, and kept with new numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

BATCH_ENTRIES = 4_000_000  # entries that are rewritten at a time


@dataclass(frozen=True)
class RowRenumbering:
    """How the rows of a snapshot change.

    Attributes
    ----------
    old_row_count
        Number of rows before.
    removed_rows
        Ascending numbers of the removed rows.
    insertion_places
        For each new row the old number of the row before which it comes (`old_row_count`: after the last), ascending;
        new rows of one place are in their order.
    """

    old_row_count: int
    removed_rows: Rows
    insertion_places: Rows

    @property
    def new_row_count(self) -> int:
        """Number of rows after the changes."""
        return self.old_row_count - len(self.removed_rows) + len(self.insertion_places)

    @cached_property
    def new_row_numbers(self) -> npt.NDArray[Any]:
        """New number of each old row, -1 if the row is removed."""
        dtype: type[np.signedinteger[Any]] = np.int64
        if max(self.old_row_count, self.new_row_count) < 2**31:
            dtype = np.int32
        shift: npt.NDArray[Any] = np.zeros(self.old_row_count + 1, dtype)
        np.add.at(shift, self.insertion_places, 1)
        np.subtract.at(shift, self.removed_rows + 1, 1)
        np.cumsum(shift, out=shift)
        row_numbers: npt.NDArray[Any] = shift[:-1]
        np.add(row_numbers, np.arange(self.old_row_count, dtype=dtype), out=row_numbers)
        row_numbers[self.removed_rows] = -1
        return row_numbers

    @cached_property
    def added_row_numbers(self) -> Rows:
        """Numbers of the new rows."""
        removed_before = np.searchsorted(self.removed_rows, self.insertion_places)
        row_numbers: Rows = self.insertion_places - removed_before + np.arange(len(self.insertion_places))
        return row_numbers

    @cached_property
    def segments(self) -> tuple[Rows, npt.NDArray[np.bool_], Rows]:
        """The rows after the changes, as runs of kept rows and of new rows.

        Returns
        -------
        begins
            Number of the first row of each run, and the number of rows at the end; shape (n + 1,).
        fresh
            True for runs of new rows; shape (n,).
        sources
            Where the run begins, among the old rows or the new ones; shape (n,).
        """
        all_rows = np.array([0, self.old_row_count])
        row_limits = [all_rows, self.insertion_places, self.removed_rows, self.removed_rows + 1]
        cuts = np.unique(np.concatenate(row_limits))
        begins = cuts[:-1]
        lengths = np.diff(cuts)
        is_kept = ~np.isin(begins, self.removed_rows, assume_unique=True)
        begins = begins[is_kept]
        lengths = lengths[is_kept]
        places, first_numbers, counts = np.unique(self.insertion_places, return_index=True, return_counts=True)
        is_old = np.repeat([1, 0], [len(begins), len(places)])
        order = np.lexsort((is_old, np.concatenate([begins, places])))
        sources = np.concatenate([begins, first_numbers])[order]
        ends = np.cumsum(np.concatenate([lengths, counts])[order])
        new_begins = np.concatenate([[0], ends]).astype(np.int64)
        is_new = np.arange(len(order))[order] >= len(begins)
        return new_begins, is_new, sources.astype(np.int64)


@dataclass(frozen=True, slots=True)
class IndexEntries:
    """Entries of an index: sorted values, and the row of each; either may be None."""

    values: npt.NDArray[Any] | None
    rows: npt.NDArray[Any] | None


def write_merged_index_files(
    old_entries: IndexEntries,
    new_row_numbers: npt.NDArray[Any],
    new_entries: IndexEntries,
    insertion_places: Rows,
    paths: tuple[Path | None, Path | None],
) -> int:
    """Write an index without the entries of removed rows, and with those of new rows.

    Parameters
    ----------
    old_entries
        The old index, with its `rows`.
    new_row_numbers
        `RowRenumbering.new_row_numbers`.
    new_entries
        The entries of new rows, in order.
    insertion_places
        For each new entry the old entry before which it comes, ascending.
    paths
        Files of values and rows; None if the file is not wanted.

    Returns
    -------
    int
        Number of entries.
    """
    if old_entries.rows is None or new_entries.rows is None:
        raise TypeError("an index without row numbers cannot be merged by row numbers")
    old_rows = old_entries.rows
    entry_count = len(old_rows)
    total = len(new_entries.rows)
    for begin in range(0, entry_count, BATCH_ENTRIES):
        moved_rows = new_row_numbers[old_rows[begin : begin + BATCH_ENTRIES]]
        total += int((moved_rows >= 0).sum())
    values_path, rows_path = paths
    values_writer = None
    if values_path is not None and old_entries.values is not None:
        values_writer = NumpyFileWriter(values_path, old_entries.values.dtype, total)
    rows_writer = None
    if rows_path is not None:
        rows_writer = NumpyFileWriter(rows_path, new_row_numbers.dtype, total)
    for begin in range(0, max(entry_count, 1), BATCH_ENTRIES):
        end = min(begin + BATCH_ENTRIES, entry_count)
        moved_rows = new_row_numbers[old_rows[begin:end]]
        is_kept = moved_rows >= 0
        first_place = np.searchsorted(insertion_places, begin)
        end_place = len(insertion_places) if end == entry_count else np.searchsorted(insertion_places, end)
        places = slice(first_place, end_place)
        kept_before = np.concatenate([[0], np.cumsum(is_kept)])
        kept_places = kept_before[insertion_places[places] - begin]
        if values_writer is not None and old_entries.values is not None and new_entries.values is not None:
            kept_values = old_entries.values[begin:end][is_kept]
            values_writer.add_values(np.insert(kept_values, kept_places, new_entries.values[places]))
        if rows_writer is not None:
            rows_writer.add_values(np.insert(moved_rows[is_kept], kept_places, new_entries.rows[places]))
    for array_writer in (values_writer, rows_writer):
        if array_writer is not None:
            array_writer.close()
    return total


class NumpyFileWriter:
    """Writes a ``.npy`` file of known length piece by piece."""

    def __init__(self, path: Path, dtype: np.dtype[Any], total: int) -> None:
        self._file = path.open("wb")
        type_description = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": type_description, "fortran_order": False, "shape": (total,)}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._dtype = dtype

    def add_values(self, values: npt.NDArray[Any]) -> None:
        """Write values after those written before."""
        self._file.write(np.ascontiguousarray(values, self._dtype).data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

"""Which row is which when a snapshot is made of another.

Rows that go, rows that come, and the new numbers of those that stay.
"""

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
class RowMoves:
    """What becomes of the rows of a snapshot.

    Attributes
    ----------
    old_row_count
        How many there were.
    removed_rows
        Ascending numbers of those that go.
    insertion_places
        Old number of the row before which each new row comes (`old_row_count`: after the last), ascending; new rows of
        one place are in their order.
    """

    old_row_count: int
    removed_rows: Rows
    insertion_places: Rows

    @property
    def new_row_count(self) -> int:
        """How many there are now."""
        return self.old_row_count - len(self.removed_rows) + len(self.insertion_places)

    @cached_property
    def new_row_numbers(self) -> npt.NDArray[Any]:
        """New number of each old row, -1 if it goes."""
        dtype: type[np.signedinteger[Any]] = (
            np.int32 if max(self.old_row_count, self.new_row_count) < 2**31 else np.int64
        )
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
        row_numbers: Rows = (
            self.insertion_places
            - np.searchsorted(self.removed_rows, self.insertion_places)
            + np.arange(len(self.insertion_places))
        )
        return row_numbers

    @cached_property
    def segments(self) -> tuple[Rows, npt.NDArray[np.bool_], Rows]:
        """The rows as they are now, as runs of rows that stay and of rows that come.

        Returns
        -------
        begins
            Number of the first row of each run, and the number of rows at the end; shape (n + 1,).
        fresh
            True for rows that come; shape (n,).
        sources
            Where the run begins, among the old rows or the new ones; shape (n,).
        """
        cuts = np.unique(
            np.concatenate([[0, self.old_row_count], self.insertion_places, self.removed_rows, self.removed_rows + 1])
        )
        begins = cuts[:-1]
        lengths = np.diff(cuts)
        is_kept = ~np.isin(begins, self.removed_rows, assume_unique=True)
        begins = begins[is_kept]
        lengths = lengths[is_kept]
        distinct_places, first_numbers, count = np.unique(self.insertion_places, return_index=True, return_counts=True)
        order = np.lexsort(
            (np.repeat([1, 0], [len(begins), len(distinct_places)]), np.concatenate([begins, distinct_places]))
        )
        sources = np.concatenate([begins, first_numbers])[order]
        ends = np.cumsum(np.concatenate([lengths, count])[order])
        return (
            np.concatenate([[0], ends]).astype(np.int64),
            np.arange(len(order))[order] >= len(begins),
            sources.astype(np.int64),
        )


@dataclass(frozen=True, slots=True)
class IndexEntries:
    """Entries of an index: sorted values, and the row of each; either may be missing."""

    values: npt.NDArray[Any] | None
    rows: npt.NDArray[Any] | None


def merge_index_entries(
    old_entries: IndexEntries,
    new_row_numbers: npt.NDArray[Any],
    new_entries: IndexEntries,
    insertion_places: Rows,
    paths: tuple[Path | None, Path | None],
) -> int:
    """Write an index anew: without the entries of rows that go, with those of rows that come.

    Parameters
    ----------
    old_entries
        The index as it was; its `rows` are there.
    new_row_numbers
        `RowMoves.new_row_numbers`.
    new_entries
        Entries that come, in order.
    insertion_places
        Before which old entry each of them comes, ascending.
    paths
        Files of values and rows; None = not wanted.

    Returns
    -------
    int
        Number of entries.
    """
    if old_entries.rows is None or new_entries.rows is None:
        raise TypeError("an index without row numbers is not merged by them")
    total = len(new_entries.rows) + sum(
        int((new_row_numbers[old_entries.rows[a : a + BATCH_ENTRIES]] >= 0).sum())
        for a in range(0, len(old_entries.rows), BATCH_ENTRIES)
    )
    files = [
        None
        if path is None or column is None
        else ArrayWriter(path, column.dtype if column_number == 0 else new_row_numbers.dtype, total)
        for column_number, (path, column) in enumerate(zip(paths, (old_entries.values, old_entries.rows), strict=True))
    ]
    for begin in range(0, max(len(old_entries.rows), 1), BATCH_ENTRIES):
        end = min(begin + BATCH_ENTRIES, len(old_entries.rows))
        moved_rows = new_row_numbers[old_entries.rows[begin:end]]
        is_kept = moved_rows >= 0
        first_place = np.searchsorted(insertion_places, begin)
        end_place = len(insertion_places) if end == len(old_entries.rows) else np.searchsorted(insertion_places, end)
        before = np.concatenate([[0], np.cumsum(is_kept)])[insertion_places[first_place:end_place] - begin]
        pieces = (None if old_entries.values is None else old_entries.values[begin:end], moved_rows)
        for file, piece, new_column in zip(files, pieces, (new_entries.values, new_entries.rows), strict=True):
            if file is not None and piece is not None and new_column is not None:
                file.add_values(np.insert(piece[is_kept], before, new_column[first_place:end_place]))
    for file in files:
        if file is not None:
            file.close()
    return total


class ArrayWriter:
    """A ``.npy`` file that is written piece by piece, its length known."""

    def __init__(self, path: Path, dtype: np.dtype[Any], total: int) -> None:
        self._file = path.open("wb")
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (total,)}
        )
        self._dtype = dtype

    def add_values(self, values: npt.NDArray[Any]) -> None:
        """Add values."""
        self._file.write(np.ascontiguousarray(values, self._dtype).data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


__all__ = ["BATCH_ENTRIES", "ArrayWriter", "IndexEntries", "RowMoves", "merge_index_entries"]

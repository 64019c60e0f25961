"""Which row is which when a snapshot is made of another: rows that go, rows that come, and the new numbers of those that stay."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

STEP = 4_000_000  # entries that are rewritten at a time


@dataclass(frozen=True)
class Moves:
    """What becomes of the rows of a snapshot.

    Attributes
    ----------
    old
        How many there were.
    gone
        Ascending numbers of those that go.
    places
        Old number of the row before which each new row comes (`old`: after the last), ascending; new rows of one place are in their order.
    """

    old: int
    gone: Rows
    places: Rows

    @property
    def rows(self) -> int:
        """How many there are now."""
        return self.old - len(self.gone) + len(self.places)

    @cached_property
    def numbers(self) -> npt.NDArray[Any]:
        """New number of each old row, -1 if it goes."""
        kind: type[np.signedinteger[Any]] = np.int32 if max(self.old, self.rows) < 2**31 else np.int64
        shift: npt.NDArray[Any] = np.zeros(self.old + 1, kind)
        np.add.at(shift, self.places, 1)
        np.subtract.at(shift, self.gone + 1, 1)
        np.cumsum(shift, out=shift)
        found: npt.NDArray[Any] = shift[:-1]
        np.add(found, np.arange(self.old, dtype=kind), out=found)
        found[self.gone] = -1
        return found

    @cached_property
    def added(self) -> Rows:
        """Numbers of the new rows."""
        found: Rows = self.places - np.searchsorted(self.gone, self.places) + np.arange(len(self.places))
        return found

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
        cuts = np.unique(np.concatenate([[0, self.old], self.places, self.gone, self.gone + 1]))
        begins, lengths = cuts[:-1], np.diff(cuts)
        stays = ~np.isin(begins, self.gone, assume_unique=True)
        begins, lengths = begins[stays], lengths[stays]
        where, first, count = np.unique(self.places, return_index=True, return_counts=True)
        order = np.lexsort((np.repeat([1, 0], [len(begins), len(where)]), np.concatenate([begins, where])))
        sources = np.concatenate([begins, first])[order]
        ends = np.cumsum(np.concatenate([lengths, count])[order])
        return (
            np.concatenate([[0], ends]).astype(np.int64),
            np.arange(len(order))[order] >= len(begins),
            sources.astype(np.int64),
        )


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries of an index: sorted values, and the row of each; either may be missing."""

    values: npt.NDArray[Any] | None
    rows: npt.NDArray[Any] | None


def merge_entries(
    old: Entries, numbers: npt.NDArray[Any], new: Entries, places: Rows, paths: tuple[Path | None, Path | None]
) -> int:
    """Write an index anew: without the entries of rows that go, with those of rows that come.

    Parameters
    ----------
    old
        The index as it was; its `rows` are there.
    numbers
        `Moves.numbers`.
    new
        Entries that come, in order.
    places
        Before which old entry each of them comes, ascending.
    paths
        Files of values and rows; None = not wanted.

    Returns
    -------
    int
        Number of entries.
    """
    if old.rows is None or new.rows is None:
        raise TypeError("an index without row numbers is not merged by them")
    total = len(new.rows) + sum(
        int((numbers[old.rows[a : a + STEP]] >= 0).sum()) for a in range(0, len(old.rows), STEP)
    )
    files = [
        None if path is None or column is None else Filling(path, column.dtype if at == 0 else numbers.dtype, total)
        for at, (path, column) in enumerate(zip(paths, (old.values, old.rows), strict=True))
    ]
    for begin in range(0, max(len(old.rows), 1), STEP):
        end = min(begin + STEP, len(old.rows))
        moved = numbers[old.rows[begin:end]]
        stay = moved >= 0
        first, last = (
            np.searchsorted(places, begin),
            len(places) if end == len(old.rows) else np.searchsorted(places, end),
        )
        before = np.concatenate([[0], np.cumsum(stay)])[places[first:last] - begin]
        pieces = (None if old.values is None else old.values[begin:end], moved)
        for file, piece, more in zip(files, pieces, (new.values, new.rows), strict=True):
            if file is not None and piece is not None and more is not None:
                file.add(np.insert(piece[stay], before, more[first:last]))
    for file in files:
        if file is not None:
            file.close()
    return total


class Filling:
    """A ``.npy`` file that is written piece by piece, its length known."""

    def __init__(self, path: Path, kind: np.dtype[Any], total: int) -> None:
        self._file = path.open("wb")
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (total,)}
        )
        self._kind = kind

    def add(self, values: npt.NDArray[Any]) -> None:
        """Add values."""
        self._file.write(np.ascontiguousarray(values, self._kind).data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


__all__ = ["STEP", "Entries", "Filling", "Moves", "merge_entries"]

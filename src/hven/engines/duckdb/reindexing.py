"""The indexes of a snapshot that was made of another one: the old ones, with what changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._regions import cells_of_column, no_caps
from hven.engines.duckdb.indexing import build_key, build_regions, numbers_of
from hven.engines.duckdb.layout import POSITION, KeyFiles, RegionFiles, Stored
from hven.engines.duckdb.renumbering import STEP, Entries, Filling, Moves, merge_entries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

SHARE = 8  # if more than this part of the rows is new, indexes are built anew: that takes less time


class Fresh(Protocol):
    """The rows that come, in their order."""

    def column(self, name: str) -> pa.Array:
        """Return one of their columns."""


def merge_key(base: Stored, stored: Stored, moves: Moves, fresh: Fresh, column: str, number: int) -> KeyFiles:
    """Write the index of a column: that of the base with what changed, if there is one."""
    old = base.key(column)
    if old is None or len(moves.places) * SHARE > moves.old:
        return build_key(stored, column, number)
    come = fresh.column(column)
    given = np.flatnonzero(np.asarray(come.is_valid()))
    names = (f"key{number:03d}.values.npy", f"key{number:03d}.rows.npy")
    paths = (stored.path / names[0], stored.path / names[1])
    if (
        old.rows is None
        and old.values is not None
        and len(given) == len(come)
        and _stay_ordered(old.values, moves, numbers_of(come), paths[0])
    ):
        return KeyFiles(column=column, count=moves.rows, values=names[0])
    come = come.take(pa.array(given))
    order = np.asarray(pc.array_sort_indices(come))
    come = come.take(pa.array(order))
    new = Entries(None if old.values is None else numbers_of(come), moves.added[given][order])
    rows = old.rows if old.rows is not None else np.arange(old.count)
    count = merge_entries(
        Entries(old.values, rows),
        moves.numbers,
        new,
        old.places(come),
        (paths[0] if old.values is not None else None, paths[1]),
    )
    return KeyFiles(column=column, count=count, values=None if old.values is None else names[0], rows=names[1])


def _stay_ordered(old: npt.NDArray[Any], moves: Moves, come: npt.NDArray[Any], path: Path) -> bool:
    """Write the values of a column in stored order, if that still is the order of the values."""
    values = merged_rows(old, moves, come)
    if not (values[1:] >= values[:-1]).all():
        return False
    np.save(path, values)
    return True


def merged_rows(old: npt.NDArray[Any], moves: Moves, come: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a value for each row: those of the rows that stay, and those of the rows that come."""
    before = moves.places - np.searchsorted(moves.gone, moves.places)
    found: npt.NDArray[Any] = np.insert(np.delete(old, moves.gone, axis=0), before, come, axis=0)
    return found


def merge_regions(base: Stored, stored: Stored, moves: Moves, fresh: Fresh, column: str, number: int) -> RegionFiles:
    """Write the position index of a column of shapes: that of the base with what changed, if there is one."""
    old = base.region(column)
    if old is None or old.caps is None or len(moves.places) * SHARE > moves.old:
        return build_regions(stored, column, number)
    come = fresh.column(column)
    caps = no_caps(len(come))
    found = [(np.empty(0, np.int64), np.empty(0, np.int64)), *cells_of_column(come, caps)]
    rows, cells = (np.concatenate([pair[at] for pair in found]) for at in (0, 1))
    rows = moves.added[rows]
    order = np.lexsort((rows, cells))
    files = RegionFiles.numbered(column, 0, number)
    np.save(stored.path / str(files.caps), merged_rows(old.caps, moves, caps))
    count = merge_entries(
        Entries(old.cells, old.rows),
        moves.numbers,
        Entries(cells[order], rows[order]),
        np.searchsorted(old.cells, cells[order], side="right"),
        (stored.path / files.cells, stored.path / files.rows),
    )
    return replace(files, count=count)


def merge_positions(base: Stored, directory: Path, moves: Moves, come: Rows) -> int:
    """Write ``position.npy``: the cells of the rows that have a position; return their number.

    Parameters
    ----------
    come
        Cells of the rows that come, without those that have none.
    """
    old = base.healpix
    gone, places = moves.gone[: np.searchsorted(moves.gone, len(old))], moves.places[: len(come)]
    total = len(old) - len(gone) + len(come)
    file = Filling(directory / POSITION, np.dtype(np.int64), total)
    for begin, end in _pieces(len(old)):
        first, last = np.searchsorted(gone, [begin, end])
        here, there = np.searchsorted(places, begin), len(places) if end == len(old) else np.searchsorted(places, end)
        lost = gone[first:last]
        before = places[here:there] - begin - np.searchsorted(lost, places[here:there])
        file.add(np.insert(np.delete(old[begin:end], lost - begin), before, come[here:there]))
    file.close()
    return total


def _pieces(total: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, max(total, 1), STEP):
        yield begin, min(begin + STEP, total)

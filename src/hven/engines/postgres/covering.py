"""The coverage of a snapshot that was made of another one: that of the old one, the cells that came, and those in which nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.engines._statistics import CELLS, written
from hven.engines.postgres.install import quote
from hven.engines.postgres.places import CELL

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Cells = npt.NDArray[np.int64]

FINE, COARSE = 8, 6  # orders that a coverage has
MOST = 5_000  # cells that are looked up one by one


def revised(old: str, left: Cells, come: Cells, empty: Callable[[Cells, int], Cells]) -> str | None:
    """Return the coverage that a look at all rows would find; None if only such a look can tell.

    Parameters
    ----------
    old
        Coverage of the old snapshot, as `hven.engines._statistics.coverage` wrote it.
    left, come
        Cells of order 8 of the rows that went, and of those that came.
    empty
        Of some cells of an order, gives those in which no row of the new snapshot is.
    """
    from mocpy import MOC  # noqa: PLC0415  (0.3 s, for who merges positions)

    if len(left) > MOST:
        return None
    gone = empty(np.setdiff1d(left, come), FINE) if len(left) else left
    moc = None if old == "0/" else MOC.from_string(old, format="ascii")
    order = FINE if moc is None else int(moc.max_order)
    before = np.empty(0, np.int64) if moc is None else np.sort(np.asarray(moc.flatten()).astype(np.int64))
    if len(gone) and order < FINE:
        if len(before) - len(gone) <= CELLS:
            return None  # there may be so few cells now that a finer order would be chosen
        gone = empty(np.unique(gone >> 2 * (FINE - order)), order)
    cells = np.union1d(np.setdiff1d(before, gone), come >> 2 * (FINE - order))
    if np.array_equal(cells, before):
        return old
    while len(cells) > CELLS and order > COARSE:
        cells, order = np.unique(cells >> 2), order - 1
    return written(cells, order)


def without_rows(connection: Any, here: str, cells: Cells, order: int) -> Cells:
    """Return those of some cells in which no row is: one look into the index of cells for each."""
    shift, cell = 2 * (29 - order), f"s.{quote(CELL)}"
    first = f"SELECT 1 FROM {here} AS s WHERE {cell} >= k << {shift} AND {cell} < (k + 1) << {shift} ORDER BY {cell} LIMIT 1"
    found = connection.execute(
        f"SELECT k FROM unnest($1::bigint[]) AS k WHERE ({first}) IS NULL", [cells.tolist()]
    ).fetchall()
    return np.array(sorted(row[0] for row in found), np.int64)


__all__ = ["revised", "without_rows"]

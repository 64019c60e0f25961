"""The coverage of a snapshot that was made of another one.

That of the old one, the cells that came, and those in which nothing is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.engines._statistics import MAX_COVERAGE_CELLS, format_moc
from hven.engines.postgres.position_search import CELL_COLUMN
from hven.engines.postgres.schema_installation import quote_identifier

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Cells = npt.NDArray[np.int64]

FINEST_ORDER, COARSEST_ORDER = 8, 6  # orders that a coverage has
MAX_LOOKED_UP_CELLS = 5_000  # cells that are looked up one by one


def update_coverage(
    old_coverage: str, removed_cells: Cells, added_cells: Cells, select_empty_cells: Callable[[Cells, int], Cells]
) -> str | None:
    """Return the coverage that a look at all rows would find; None if only such a look can tell.

    Parameters
    ----------
    old_coverage
        Coverage of the old snapshot, as `hven.engines._statistics.compute_coverage_moc` wrote it.
    removed_cells, added_cells
        Cells of order 8 of the rows that went, and of those that came.
    select_empty_cells
        Of some cells of an order, gives those in which no row of the new snapshot is.
    """
    from mocpy import MOC  # noqa: PLC0415  (0.3 s, for who merges positions)

    if len(removed_cells) > MAX_LOOKED_UP_CELLS:
        return None
    if len(removed_cells):
        emptied_cells = select_empty_cells(np.setdiff1d(removed_cells, added_cells), FINEST_ORDER)
    else:
        emptied_cells = removed_cells
    if old_coverage == "0/":
        moc = None
    else:
        moc = MOC.from_string(old_coverage, format="ascii")
    if moc is None:
        order = FINEST_ORDER
    else:
        order = int(moc.max_order)
    if moc is None:
        old_cells = np.empty(0, np.int64)
    else:
        old_cells = np.sort(np.asarray(moc.flatten()).astype(np.int64))
    if len(emptied_cells) and order < FINEST_ORDER:
        if len(old_cells) - len(emptied_cells) <= MAX_COVERAGE_CELLS:
            return None  # there may be so few cells now that a finer order would be chosen
        emptied_cells = select_empty_cells(np.unique(emptied_cells >> 2 * (FINEST_ORDER - order)), order)
    cells = np.union1d(np.setdiff1d(old_cells, emptied_cells), added_cells >> 2 * (FINEST_ORDER - order))
    if np.array_equal(cells, old_cells):
        return old_coverage
    while len(cells) > MAX_COVERAGE_CELLS and order > COARSEST_ORDER:
        cells = np.unique(cells >> 2)
        order = order - 1
    return format_moc(cells, order)


def find_empty_cells(connection: Any, quoted_table: str, cells: Cells, order: int) -> Cells:
    """Return those of some cells in which no row is: one look into the index of cells for each."""
    shift = 2 * (29 - order)
    cell = f"s.{quote_identifier(CELL_COLUMN)}"
    row_query = (
        f"SELECT 1 FROM {quoted_table} AS s WHERE {cell} >= k << {shift} AND {cell} < (k + 1) << {shift} ORDER BY "
        f"{cell} LIMIT 1"
    )
    empty_rows = connection.execute(
        f"SELECT k FROM unnest($1::bigint[]) AS k WHERE ({row_query}) IS NULL", [cells.tolist()]
    ).fetchall()
    return np.array(sorted(row[0] for row in empty_rows), np.int64)


__all__ = ["find_empty_cells", "update_coverage"]

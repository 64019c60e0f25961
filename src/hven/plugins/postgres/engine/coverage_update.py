"""The coverage of a snapshot that was made from another one.

It is the coverage of the old snapshot with the cells of new rows, without the cells that became empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.engines.api.statistics import MAX_COVERAGE_CELLS, format_moc
from hven.model.sky import Moc, healpix
from hven.plugins.postgres.engine.position_search import CELL_COLUMN
from hven.plugins.postgres.engine.schema_installation import quote_identifier

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Cells = npt.NDArray[np.int64]

FINEST_ORDER, COARSEST_ORDER = 8, 6  # orders of coverages
MAX_LOOKED_UP_CELLS = 5_000  # cells that one query looks up one by one


def update_coverage(
    old_coverage: str, removed_cells: Cells, added_cells: Cells, select_empty_cells: Callable[[Cells, int], Cells]
) -> str | None:
    """Return the coverage that a look at all rows would find; None if only such a look can tell.

    Parameters
    ----------
    old_coverage
        Coverage of the old snapshot, as `hven.engines.api.statistics.compute_coverage_moc` writes it.
    removed_cells, added_cells
        Cells of order 8 of the removed rows and of the added rows.
    select_empty_cells
        Function of some cells and their order; it returns those cells in which the new snapshot has no row.
    """
    if len(removed_cells) > MAX_LOOKED_UP_CELLS:
        return None
    emptied_cells = removed_cells
    if len(removed_cells):
        emptied_cells = select_empty_cells(np.setdiff1d(removed_cells, added_cells), FINEST_ORDER)
    old_cells, order = _parse_coverage_cells(old_coverage)
    if len(emptied_cells) and order < FINEST_ORDER:
        if len(old_cells) - len(emptied_cells) <= MAX_COVERAGE_CELLS:
            return None  # the remaining cells may be so few that a finer order fits
        candidate_cells = np.unique(emptied_cells >> 2 * (FINEST_ORDER - order))
        emptied_cells = select_empty_cells(candidate_cells, order)
    kept_cells = np.setdiff1d(old_cells, emptied_cells)
    cells = np.union1d(kept_cells, added_cells >> 2 * (FINEST_ORDER - order))
    if np.array_equal(cells, old_cells):
        return old_coverage
    while len(cells) > MAX_COVERAGE_CELLS and order > COARSEST_ORDER:
        cells = np.unique(cells >> 2)
        order = order - 1
    return format_moc(cells, order)


def _parse_coverage_cells(coverage: str) -> tuple[Cells, int]:
    """Return the cells of a coverage, sorted, and their order."""
    if coverage == "0/":
        return np.empty(0, np.int64), FINEST_ORDER
    moc = Moc.parse(coverage)
    bounds = moc.ranges >> 2 * (healpix.MAX_ORDER - moc.order)
    cells = [np.empty(0, np.int64), *(np.arange(first, end) for first, end in bounds.tolist())]
    return np.concatenate(cells), moc.order


def find_empty_cells(connection: Any, quoted_table: str, cells: Cells, order: int) -> Cells:
    """Return those of some cells that have no row, by one search in the index of cells for each."""
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

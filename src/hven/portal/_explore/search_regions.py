"""Build MOCs of the region that a search names, and of the rows that it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.adql import syntax_tree
from hven.model.errors import UserError
from hven.model.sky import Circle, Moc, Point, Shape
from hven.portal._explore.search import build_column_ref, parse_region

if TYPE_CHECKING:
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._explore.search import TableSearch

POINT_RADIUS_DEGREES = 1 / 3600  # a point becomes a circle that other programs can draw
CELLS_ACROSS_REGION = 40  # about; the MOC of a region of any size stays small
MAX_REGION_ORDER = 18  # cells of 0.8 arcsec
ROW_COVERAGE_ORDER = 7  # cells of 27 arcmin, for rows
MAX_CELLS = 200_000
QUERY_TIMEOUT_SECONDS = 10.0


def find_search_shape(search: TableSearch) -> Shape | None:
    """Return the shape of the region of a search; None if the search has no region."""
    if search.inside:
        shape = parse_region(search.inside)
        if isinstance(shape, Point):
            return Circle(shape.lon, shape.lat, POINT_RADIUS_DEGREES)
        return shape
    if search.near is None:
        return None
    return Circle(search.near.longitude % 360, search.near.latitude, search.near.radius_degrees)


def build_region_moc(search: TableSearch) -> Moc:
    """Build the MOC of the region of a search: all cells that the region touches.

    Raises
    ------
    UserError
        The search has no region.
    """
    shape = find_search_shape(search)
    if shape is None:
        raise UserError(
            "the search contains no place", remedy="draw a region on the map, or give a position and a radius"
        )
    width_degrees = max(float(np.sqrt(shape.compute_area())), 1e-4)
    needed_order = np.ceil(np.log2(58.6 * CELLS_ACROSS_REGION / width_degrees))  # cells of order 0 have 58.6 degrees
    order = int(np.clip(needed_order, 3, MAX_REGION_ORDER))
    return Moc(shape.cover_with_cells(order), order)


def build_rows_moc(search: TableSearch, runner: QueryRunner) -> Moc:
    """Build the MOC of the rows that a search finds; for all rows, return the MOC of their publication.

    Raises
    ------
    UserError
        The table has no positions.
    """
    table = search.table
    condition = search.build_condition()
    if condition is None and not runner.has_hidden_rows(table):
        published_coverage = runner.find_table_with_visible_counts(table).coverage
        if published_coverage:
            return Moc.parse(published_coverage)
    if table.position is None:
        raise UserError("this table has no positions, so Hven cannot build a region", remedy="request all rows")
    lon, lat = (build_column_ref(name) for name in table.position)
    cell = syntax_tree.FunctionCall("IVO_HEALPIX_INDEX", (syntax_tree.Literal(ROW_COVERAGE_ORDER), lon, lat))
    items = (syntax_tree.SelectItem(cell, syntax_tree.Ident("cell")),)
    select = syntax_tree.Select(items, search.build_from_item(), where=condition, distinct=True)
    cell_rows = runner.fetch_table(
        syntax_tree.Query(select), row_limit=MAX_CELLS, timeout_seconds=QUERY_TIMEOUT_SECONDS
    )
    cells = np.asarray(cell_rows.column(0).drop_null().to_numpy(), np.int64)
    return Moc.from_cells(cells, ROW_COVERAGE_ORDER)

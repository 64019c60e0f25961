"""Regions of the sky as MOCs: what a search asks for, and what the rows that it finds cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.adql import syntax_tree
from hven.model.errors import UserError
from hven.model.sky import Circle, Moc, Polygon, Shape
from hven.portal._explore.search import build_column_ref

if TYPE_CHECKING:
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._explore.search import TableSearch

POINT_RADIUS_DEGREES = 1 / 3600  # degrees: a point as others draw it
CELLS_ACROSS_REGION = 40  # cells across a region, about: its MOC stays small whatever its size
MAX_REGION_ORDER = 18  # cells of 0.8 arcsec
ROW_COVERAGE_ORDER = 7  # cells of 27 arcmin, of rows that are found
MAX_CELLS = 200_000
QUERY_TIMEOUT_SECONDS = 10.0  # seconds


def find_search_shape(search: TableSearch) -> Shape | None:
    """Return the shape of the place that a search asks for; None: it asks for none."""
    if search.inside:
        kind, _, number_text = search.inside.strip().partition(" ")
        numbers = [float(word) for word in number_text.split()]
        if kind.upper() == "POINT":
            return Circle(numbers[0], numbers[1], POINT_RADIUS_DEGREES)
        if kind.upper() == "CIRCLE":
            return Circle(*numbers)
        return Polygon(tuple(numbers[0::2]), tuple(numbers[1::2]))
    if search.near is None:
        return None
    return Circle(search.near.longitude % 360, search.near.latitude, search.near.radius_degrees)


def build_region_moc(search: TableSearch) -> Moc:
    """Return the MOC of the place that a search asks for: all cells that it touches.

    Raises
    ------
    UserError
        It asks for no place.
    """
    shape = find_search_shape(search)
    if shape is None:
        raise UserError(
            "the search asks for no place", remedy="draw a region on the map, or give a position and a radius"
        )
    width_degrees = max(float(np.sqrt(shape.compute_area())), 1e-4)
    order = int(np.clip(np.ceil(np.log2(58.6 * CELLS_ACROSS_REGION / width_degrees)), 3, MAX_REGION_ORDER))
    return Moc(shape.cover(order), order)


def build_rows_moc(search: TableSearch, runner: QueryRunner) -> Moc:
    """Return the MOC of the rows that a search finds; of all rows it is the one that was made when they were published.

    Raises
    ------
    UserError
        The table has no positions.
    """
    table = search.table
    if (
        search.build_condition() is None
        and not runner.has_hidden_rows(table)
        and (published_coverage := runner.find_published_table(table).coverage)
    ):
        return Moc.parse(published_coverage)
    if table.position is None:
        raise UserError("this table has no positions that a region could be made of", remedy="ask for all rows")
    lon, lat = (build_column_ref(name) for name in table.position)
    cell = syntax_tree.FunctionCall("IVO_HEALPIX_INDEX", (syntax_tree.Literal(ROW_COVERAGE_ORDER), lon, lat))
    items = (syntax_tree.SelectItem(cell, syntax_tree.Ident("cell")),)
    cells = runner.fetch_table(
        syntax_tree.Query(
            syntax_tree.Select(items, search.build_source(), where=search.build_condition(), distinct=True)
        ),
        row_limit=MAX_CELLS,
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
    return Moc.from_cells(np.asarray(cells.column(0).drop_null().to_numpy(), np.int64), ROW_COVERAGE_ORDER)

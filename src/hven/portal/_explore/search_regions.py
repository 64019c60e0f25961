"""Regions of the sky as MOCs: what a search asks for, and what the rows that it finds cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.adql import tree
from hven.model.errors import UserError
from hven.model.sky import Circle, Moc, Polygon, Shape
from hven.portal._explore.search import ref

if TYPE_CHECKING:
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.search import Search

POINTED = 1 / 3600  # degrees: a point as others draw it
FINE = 40  # cells across a region, about: its MOC stays small whatever its size
MOST_ORDER = 18  # cells of 0.8 arcsec
ROWS_ORDER = 7  # cells of 27 arcmin, of rows that are found
CELLS = 200_000
PATIENCE = 10.0  # seconds


def asked(search: Search) -> Shape | None:
    """Return the shape of the place that a search asks for; None: it asks for none."""
    if search.inside:
        kind, _, rest = search.inside.strip().partition(" ")
        numbers = [float(word) for word in rest.split()]
        if kind.upper() == "POINT":
            return Circle(numbers[0], numbers[1], POINTED)
        return Circle(*numbers) if kind.upper() == "CIRCLE" else Polygon(tuple(numbers[0::2]), tuple(numbers[1::2]))
    return None if search.near is None else Circle(search.near.lon % 360, search.near.lat, search.near.radius)


def region(search: Search) -> Moc:
    """Return the MOC of the place that a search asks for: all cells that it touches.

    Raises
    ------
    UserError
        It asks for no place.
    """
    shape = asked(search)
    if shape is None:
        raise UserError(
            "the search asks for no place", remedy="draw a region on the map, or give a position and a radius"
        )
    across = max(float(np.sqrt(shape.area())), 1e-4)
    order = int(np.clip(np.ceil(np.log2(58.6 * FINE / across)), 3, MOST_ORDER))
    return Moc(shape.cover(order), order)


def coverage(search: Search, asking: Asking) -> Moc:
    """Return the MOC of the rows that a search finds; of all rows it is the one that was made when they were published.

    Raises
    ------
    UserError
        The table has no positions.
    """
    table = search.table
    if search.where() is None and not asking.hides(table) and (known := asking.published(table).coverage):
        return Moc.parse(known)
    if table.position is None:
        raise UserError("this table has no positions that a region could be made of", remedy="ask for all rows")
    lon, lat = (ref(name) for name in table.position)
    cell = tree.Function("IVO_HEALPIX_INDEX", (tree.Literal(ROWS_ORDER), lon, lat))
    items = (tree.SelectItem(cell, tree.Ident("cell")),)
    found = asking.table(
        tree.Query(tree.Select(items, search.source(), where=search.where(), distinct=True)),
        most=CELLS,
        seconds=PATIENCE,
    )
    return Moc.of_cells(np.asarray(found.column(0).drop_null().to_numpy(), np.int64), ROWS_ORDER)

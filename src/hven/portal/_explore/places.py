"""What maps show: where rows are. One by one where they are few, as counts of cells where they are many; on the sky, or on a body.

On the sky cells are HEALPix cells; on a body (longitudes and latitudes as intervals, EPN-TAP's c1 and c2) boxes of a grid.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from hven.adql import tree
from hven.model import literal, shape_columns
from hven.model.errors import UserError
from hven.model.sky import Moc, Regions, healpix, region_files
from hven.portal._explore import map_marks
from hven.portal._explore.map_frames import Frame, frame
from hven.portal._explore.rows import keys_of
from hven.portal._explore.search import COUNTED, Near, footprint, read, ref

if TYPE_CHECKING:
    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.search import Search

FEW = 4_000  # rows that are drawn one by one
CELLS = 1_500  # cells of a view, about
SHAPES = 1_000
CELLED = 50  # rows whose cells are drawn
COARSE = 12_000.0  # cells of all of these, about
CORNERS = 60_000  # of all outlines, about
FINE = 0.05  # degrees that outlines may be off
ACROSS = 72  # boxes of a grid across the map of a body
PATIENCE = 10.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where rows are: positions with their keys (and footprints), or cells with their counts.

    Attributes
    ----------
    total
        Rows in the view that have a place.
    lon, lat
        Degrees: of rows, or of the centres of cells.
    counts
        Rows of each cell; empty where `keys` are given.
    radius
        Of a cell, in degrees; 0 for rows.
    shapes
        Footprints in DALI's words (``POLYGON 1 2 ..``), beside `keys`; on a body ``west south east north``, also of cells.
    outlines
        On a body, of each row that has a region: its rings as x, y, x, y .. on the map from 0 to 360, cut there; what an odd number of them
        goes round is inside.
    names
        What rows are called, beside `keys`; empty where they have no names.
    colouring
        By a column that was asked for, where rows are drawn one by one.
    """

    total: int
    lon: tuple[float, ...] = ()
    lat: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    radius: float = 0.0
    keys: tuple[str, ...] = ()
    shapes: tuple[str | None, ...] = ()
    outlines: tuple[list[list[float]], ...] = ()
    names: tuple[str, ...] = ()
    colouring: map_marks.Colouring | None = None


def sky(search: Search, asking: Asking, view: Near | None = None, colour: Column | None = None) -> Places:
    """Find where the rows of a search are on the sky, within a circle if `view` is one."""
    test = tree.conjunction(search.where(), _within(search, view))
    table = search.table
    if table.position is None:
        return _footprints(search, asking, test, colour)
    total = asking.number(search.counting(test), seconds=PATIENCE)
    lon, lat = (table.column(name) for name in table.position)
    if total <= FEW:
        return _rows(search, asking, test, lon, lat, total, colour)
    area = 41_253.0 if view is None or view.radius >= 90 else 41_253.0 * (1 - np.cos(np.radians(view.radius))) / 2
    order = int(np.clip(np.ceil(np.log2(max(CELLS * 41_253.0 / area, 12) / 12) / 2), 0, 20))
    cell = tree.Function("IVO_HEALPIX_INDEX", (tree.Literal(order), ref(lon.name), ref(lat.name)))
    items = (tree.SelectItem(cell, tree.Ident("c")), COUNTED)
    found = asking.table(
        tree.Query(tree.Select(items, search.source(), where=test, group_by=(cell,))), seconds=PATIENCE
    )
    kept = found.filter(found.column(0).is_valid())
    centres = healpix.center(order, np.asarray(kept.column(0).to_numpy(), np.int64))
    return Places(
        total=total,
        lon=tuple(np.round(centres[0], 5).tolist()),
        lat=tuple(np.round(centres[1], 5).tolist()),
        counts=tuple(kept.column(1).to_pylist()),
        radius=round(58.6 / 2**order / 2, 6),
    )


def body(
    search: Search, asking: Asking, view: tuple[float, float, float, float] | None = None, colour: Column | None = None
) -> Places:
    """Find where the rows of a search are on a body: as ``west south east north`` in `shapes`; where they are many, counts of boxes of a grid.

    Parameters
    ----------
    view
        West, south, east and north of what is looked at: rows outside of it are left out, cells are the finer the less it is.
    colour
        Column that rows are coloured by.

    Raises
    ------
    UserError
        The table has no places on a body.
    """
    found = frame(search.table)
    if found is None:
        raise UserError("this table has no places on a body", remedy="its rows can be plotted")
    bounds = list(found.bounds)
    there = tree.conjunction(*(tree.IsNull(ref(name), negated=True) for name in dict.fromkeys(bounds)))
    test = tree.conjunction(search.where(), there, _seen(search, found, view))
    total = asking.number(search.counting(test), seconds=PATIENCE)
    if total > FEW:
        return _boxes(search, asking, test, found, total, view)
    drawn = _regions_of(search.table) if total <= SHAPES and not found.radius else ()
    more = _marked(search.table, colour)
    columns = list(dict.fromkeys([*bounds, *search.table.primary, *(column.name for column in (*drawn, *more))]))
    items = tuple(tree.SelectItem(ref(name)) for name in columns)
    rows = asking.table(
        tree.Query(tree.Select(items, search.source(), where=test, top=tree.Literal(FEW))), seconds=PATIENCE
    )
    values = [rows.column(name).to_pylist() for name in bounds]
    shapes = tuple(" ".join(f"{float(value):.5g}" for value in box) for box in zip(*values, strict=True))
    return Places(
        total=total,
        keys=keys_of(rows, search.table.primary),
        shapes=shapes,
        outlines=_outlines(rows, drawn),
        **_marks(rows, search.table, colour),
    )


def _seen(search: Search, framed: Frame, view: tuple[float, float, float, float] | None) -> tree.Expr | None:
    """Return the condition that rows reach into what is looked at."""
    if view is None:
        return None
    west, south, east, north = view
    pairs = [(framed.fields[1], f"{south:.4f}..{north:.4f}")]
    if framed.radius or east - west < 350:
        pairs.append((framed.fields[0], f"{west:.4f}..{east:.4f}"))
    return read(pairs, search.table).where()


def _marked(table: Table, colour: Column | None) -> list[Column]:
    """List the columns that tell names and colours of rows."""
    return [one for one in (map_marks.naming(table), colour) if one is not None]


def _marks(rows: Any, table: Table, colour: Column | None) -> dict[str, Any]:
    """Return names and colours of rows."""
    return {
        "names": map_marks.named(rows, map_marks.naming(table)),
        "colouring": None if colour is None else map_marks.coloured(rows, colour, table),
    }


def _regions_of(table: Table) -> tuple[Column, ...]:
    """List the columns that regions are drawn of: the outline, and the cells of those that it does not say."""
    region = footprint(table)
    cells = (column for column in table.columns if column.name.lower() == "coverage" and column.type.xtype == "moc")
    return () if region is None else (region, *(column for column in cells if not column.hidden))


def _outlines(rows: Any, columns: tuple[Column, ...]) -> tuple[list[list[float]], ...]:
    """Draw regions on the map of a body."""
    if not columns or not rows.num_rows:
        return ()
    found = shape_columns.regions(rows.column(columns[0].name).combine_chunks(), columns[0].type)
    for column in columns[1:]:
        cells = rows.column(column.name).to_pylist()
        at = [row for row, text in enumerate(cells) if text][:CELLED]
        found = found.replaced(
            np.array(at, np.int64), Regions.of_mocs([_coarse(cells[row], COARSE / max(len(at), 6)) for row in at])
        )
    size = np.diff(found.rings)
    number = np.arange(len(found.lon)) - np.repeat(found.rings[:-1], size)
    step = -(-len(number) // CORNERS)  # of very many corners, each so many-th
    kept = (number % max(step, 1) == 0) | np.repeat(size < 8 * step, size)
    rings = np.append(0, np.cumsum(kept))[found.rings]
    # geometries are cut at 180 degrees, and this map at 0
    turned = Regions(found.lon[kept] - 180.0, found.lat[kept], rings, found.parts, found.rows)
    return tuple(
        [
            np.round(np.add(ring, [180.0, 0.0]), 3).ravel().tolist()
            for polygon in (shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]])
            for ring in polygon
        ]
        if (shape := json.loads(text or "null"))
        else []
        for text in region_files.geometries(turned, FINE).to_pylist()
    )


def _coarse(text: str, most: float) -> Moc:
    """Read a MOC with about so many cells at most."""
    moc = Moc.parse(text)
    return moc.degrade(int(np.clip(np.log(most / max(12.0 * moc.fraction, 1e-12)) / np.log(4.0), 3, 9)))


def _boxes(
    search: Search,
    asking: Asking,
    test: tree.Expr | None,
    framed: Frame,
    total: int,
    view: tuple[float, float, float, float] | None,
) -> Places:
    """Count rows by the box of a grid that their middle lies in; each time that a quarter is looked at the boxes are half as large."""
    west, south, east, north = framed.bounds
    whole = framed.box[2] - framed.box[0]
    finer = 1 if view is None else 2 ** int(np.clip(np.log2(whole / max(view[2] - view[0], 1e-3)), 0, 8))
    across_all = ACROSS * finer
    side = whole / across_all

    def middle(low: str, high: str, around: float) -> tree.Expr:
        """Return the middle of an interval, which may go across 0."""
        if low == high:
            return tree.Cast(ref(low), "DOUBLE PRECISION")
        wide: tree.Expr = tree.Binary(
            "-", tree.Cast(ref(high), "DOUBLE PRECISION"), tree.Cast(ref(low), "DOUBLE PRECISION")
        )
        if around:  # what is below 0 goes on at 360
            turns = tree.Function("FLOOR", (tree.Binary("/", wide, tree.Literal(around)),))
            wide = tree.Binary("-", wide, tree.Binary("*", tree.Literal(around), turns))
        return tree.Binary("+", tree.Cast(ref(low), "DOUBLE PRECISION"), tree.Binary("/", wide, tree.Literal(2.0)))

    around = 0.0 if framed.radius else 360.0
    cells = [
        tree.Function(
            "FLOOR", (tree.Binary("/", tree.Binary("-", middle(*ends, turn), tree.Literal(start)), tree.Literal(side)),)
        )
        for ends, turn, start in (((west, east), around, framed.box[0]), ((south, north), 0.0, framed.box[1]))
    ]
    items = (*(tree.SelectItem(one, tree.Ident(name)) for one, name in zip(cells, ("a", "b"), strict=True)), COUNTED)
    found = asking.table(
        tree.Query(tree.Select(items, search.source(), where=test, group_by=tuple(cells))), seconds=PATIENCE
    )
    counted: dict[tuple[int, int], int] = {}
    for across, up, count in zip(*(found.column(number).to_pylist() for number in range(3)), strict=True):
        if across is None or up is None:
            continue
        at = (
            int(across) % across_all if around else int(across),
            min(int(up), round((framed.box[3] - framed.box[1]) / side) - 1),
        )
        counted[at] = counted.get(at, 0) + count
    corners = [(framed.box[0] + x * side, framed.box[1] + y * side) for x, y in counted]
    return Places(
        total=total,
        counts=tuple(counted.values()),
        shapes=tuple(f"{x:.5g} {y:.5g} {x + side:.5g} {y + side:.5g}" for x, y in corners),
    )


def _within(search: Search, view: Near | None) -> tree.Expr | None:
    if view is None or view.radius >= 90 or search.table.position is None:
        return None
    return type(search)(table=search.table, near=view).where()


def _rows(
    search: Search,
    asking: Asking,
    test: tree.Expr | None,
    lon: Column,
    lat: Column,
    total: int,
    colour: Column | None,
) -> Places:
    region = footprint(search.table)
    columns = list(
        dict.fromkeys(
            [
                lon.name,
                lat.name,
                *search.table.primary,
                *(one.name for one in _marked(search.table, colour)),
                *([region.name] if region is not None and total <= SHAPES else []),
            ]
        )
    )
    items = tuple(tree.SelectItem(ref(name)) for name in columns)
    rows = asking.table(
        tree.Query(tree.Select(items, search.source(), where=test, top=tree.Literal(FEW))), seconds=PATIENCE
    )
    rows = rows.filter(pc.and_(rows.column(lon.name).is_valid(), rows.column(lat.name).is_valid()))
    return Places(
        total=total,
        lon=tuple(rows.column(lon.name).to_pylist()),
        lat=tuple(rows.column(lat.name).to_pylist()),
        keys=keys_of(rows, search.table.primary),
        shapes=_texts(rows, region) if region is not None and region.name in rows.column_names else (),
        **_marks(rows, search.table, colour),
    )


def _footprints(search: Search, asking: Asking, test: tree.Expr | None, colour: Column | None) -> Places:
    region = footprint(search.table)
    if region is None:
        return Places(total=0)
    there = tree.IsNull(ref(region.name), negated=True)
    test = tree.conjunction(test, there)
    total = asking.number(search.counting(test), seconds=PATIENCE)
    more = (one.name for one in _marked(search.table, colour))
    columns = list(dict.fromkeys([region.name, *search.table.primary, *more]))
    items = tuple(tree.SelectItem(ref(name)) for name in columns)
    rows = asking.table(
        tree.Query(tree.Select(items, search.source(), where=test, top=tree.Literal(SHAPES))), seconds=PATIENCE
    )
    keys = keys_of(rows, search.table.primary)
    return Places(total=total, keys=keys, shapes=_texts(rows, region), **_marks(rows, search.table, colour))


def _texts(rows: Any, region: Column) -> tuple[str | None, ...]:
    array = rows.column(region.name).combine_chunks()
    texts = literal.text(literal.storage(array, region.type), region.type)
    if not region.type.is_string:  # numbers alone; what they are is said by the type
        texts = pc.binary_join_element_wise(str(region.type.xtype), texts, " ")
    return tuple(texts.to_pylist())

"""What maps show: where rows are. One by one where they are few, as counts of cells where they are many.

On the sky, or on a body.

On the sky cells are HEALPix cells; on a body (longitudes and latitudes as intervals, EPN-TAP's c1 and c2) boxes of a
grid.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from hven.adql import syntax_tree
from hven.model import literal, shape_columns
from hven.model.errors import UserError
from hven.model.sky import Moc, Regions, healpix, region_files
from hven.portal._explore import map_marks
from hven.portal._explore.map_frames import MapFrame, find_map_frame
from hven.portal._explore.row_pages import format_keys
from hven.portal._explore.search import COUNT_ITEM, SearchCircle, build_column_ref, find_footprint_column, parse_search

if TYPE_CHECKING:
    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._explore.search import TableSearch

MAX_INDIVIDUAL_ROWS = 4_000  # rows that are drawn one by one
TARGET_CELLS = 1_500  # cells of a view, about
MAX_SHAPES = 1_000
MAX_MOC_ROWS = 50  # rows whose cells are drawn
TARGET_MOC_CELLS = 12_000.0  # cells of all of these, about
MAX_OUTLINE_VERTICES = 60_000  # of all outlines, about
OUTLINE_TOLERANCE_DEGREES = 0.05  # degrees that outlines may be off
GRID_COLUMNS = 72  # boxes of a grid across the map of a body
QUERY_TIMEOUT_SECONDS = 10.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlaces:
    """Where rows are: positions with their keys (and footprints), or cells with their counts.

    Attributes
    ----------
    total_rows
        Rows in the view that have a place.
    longitudes, latitudes
        Degrees: of rows, or of the centres of cells.
    counts
        Rows of each cell; empty where `keys` are given.
    cell_radius_degrees
        Of a cell, in degrees; 0 for rows.
    shapes
        Footprints in DALI's words (``POLYGON 1 2 ..``), beside `keys`; on a body ``west south east north``, also of
        cells.
    outlines
        On a body, of each row that has a region: its rings as x, y, x, y .. on the map from 0 to 360, cut there; what
        an odd number of them goes round is inside.
    names
        What rows are called, beside `keys`; empty where they have no names.
    colouring
        By a column that was asked for, where rows are drawn one by one.
    """

    total_rows: int
    longitudes: tuple[float, ...] = ()
    latitudes: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    cell_radius_degrees: float = 0.0
    keys: tuple[str, ...] = ()
    shapes: tuple[str | None, ...] = ()
    outlines: tuple[list[list[float]], ...] = ()
    names: tuple[str, ...] = ()
    colouring: map_marks.RowColouring | None = None


def find_sky_places(
    search: TableSearch, runner: QueryRunner, view: SearchCircle | None = None, colour_column: Column | None = None
) -> RowPlaces:
    """Find where the rows of a search are on the sky, within a circle if `view` is one."""
    test = syntax_tree.join_conditions(search.build_condition(), _build_circle_condition(search, view))
    table = search.table
    if table.position is None:
        return _find_footprints(search, runner, test, colour_column)
    count_query_where = search.build_count_query_where(test)
    total = runner.fetch_number(count_query_where, timeout_seconds=QUERY_TIMEOUT_SECONDS)
    lon, lat = (table.find_column(name) for name in table.position)
    if total <= MAX_INDIVIDUAL_ROWS:
        return _find_individual_rows(search, runner, test, lon, lat, total, colour_column)
    if view is None or view.radius_degrees >= 90:
        area = 41_253.0
    else:
        area = 41_253.0 * (1 - np.cos(np.radians(view.radius_degrees))) / 2
    order = int(np.clip(np.ceil(np.log2(max(TARGET_CELLS * 41_253.0 / area, 12) / 12) / 2), 0, 20))
    cell = syntax_tree.FunctionCall(
        "IVO_HEALPIX_INDEX", (syntax_tree.Literal(order), build_column_ref(lon.name), build_column_ref(lat.name))
    )
    items = (syntax_tree.SelectItem(cell, syntax_tree.Ident("c")), COUNT_ITEM)
    cells = runner.fetch_table(
        syntax_tree.Query(syntax_tree.Select(items, search.build_source(), where=test, group_by=(cell,))),
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
    valid_cells = cells.filter(cells.column(0).is_valid())
    centres = healpix.compute_cell_centers(order, np.asarray(valid_cells.column(0).to_numpy(), np.int64))
    longitudes = tuple(np.round(centres[0], 5).tolist())
    latitudes = tuple(np.round(centres[1], 5).tolist())
    counts = tuple(valid_cells.column(1).to_pylist())
    return RowPlaces(
        total_rows=total,
        longitudes=longitudes,
        latitudes=latitudes,
        counts=counts,
        cell_radius_degrees=round(58.6 / 2**order / 2, 6),
    )


def find_body_places(
    search: TableSearch,
    runner: QueryRunner,
    view: tuple[float, float, float, float] | None = None,
    colour_column: Column | None = None,
) -> RowPlaces:
    """Find where the rows of a search are on a body: as ``west south east north`` in `shapes`.

    Where they are many, counts of boxes of a grid.

    Parameters
    ----------
    view
        West, south, east and north of what is looked at: rows outside of it are left out, cells are the finer the less
        it is.
    colour_column
        Column that rows are coloured by.

    Raises
    ------
    UserError
        The table has no places on a body.
    """
    map_frame = find_map_frame(search.table)
    if map_frame is None:
        raise UserError("this table has no places on a body", remedy="its rows can be plotted")
    bounds = list(map_frame.bounds)
    has_place = syntax_tree.join_conditions(
        *(syntax_tree.NullPredicate(build_column_ref(name), negated=True) for name in dict.fromkeys(bounds))
    )
    test = syntax_tree.join_conditions(
        search.build_condition(), has_place, _build_view_condition(search, map_frame, view)
    )
    count_query_where = search.build_count_query_where(test)
    total = runner.fetch_number(count_query_where, timeout_seconds=QUERY_TIMEOUT_SECONDS)
    if total > MAX_INDIVIDUAL_ROWS:
        return _count_boxes(search, runner, test, map_frame, total, view)
    if total <= MAX_SHAPES and not map_frame.radius:
        region_columns = _list_region_columns(search.table)
    else:
        region_columns = ()
    mark_columns = _list_mark_columns(search.table, colour_column)
    columns = list(
        dict.fromkeys([*bounds, *search.table.primary, *(column.name for column in (*region_columns, *mark_columns))])
    )
    items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in columns)
    rows = runner.fetch_table(
        syntax_tree.Query(
            syntax_tree.Select(items, search.build_source(), where=test, top=syntax_tree.Literal(MAX_INDIVIDUAL_ROWS))
        ),
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
    values = [rows.column(name).to_pylist() for name in bounds]
    shapes = tuple(" ".join(f"{float(value):.5g}" for value in box) for box in zip(*values, strict=True))
    keys = format_keys(rows, search.table.primary)
    outlines = _draw_outlines(rows, region_columns)
    marks = _build_marks(rows, search.table, colour_column)
    return RowPlaces(
        total_rows=total,
        keys=keys,
        shapes=shapes,
        outlines=outlines,
        **marks,
    )


def _build_view_condition(
    search: TableSearch, map_frame: MapFrame, view: tuple[float, float, float, float] | None
) -> syntax_tree.Expr | None:
    """Return the condition that rows reach into what is looked at."""
    if view is None:
        return None
    west, south, east, north = view
    pairs = [(map_frame.fields[1], f"{south:.4f}..{north:.4f}")]
    if map_frame.radius or east - west < 350:
        pairs.append((map_frame.fields[0], f"{west:.4f}..{east:.4f}"))
    return parse_search(pairs, search.table).build_condition()


def _list_mark_columns(table: Table, colour_column: Column | None) -> list[Column]:
    """List the columns that tell names and colours of rows."""
    return [column for column in (map_marks.find_name_column(table), colour_column) if column is not None]


def _build_marks(rows: Any, table: Table, colour_column: Column | None) -> dict[str, Any]:
    """Return names and colours of rows."""
    name_column = map_marks.find_name_column(table)
    return {
        "names": map_marks.list_row_names(rows, name_column),
        "colouring": None if colour_column is None else map_marks.choose_row_colours(rows, colour_column, table),
    }


def _list_region_columns(table: Table) -> tuple[Column, ...]:
    """List the columns that regions are drawn of: the outline, and the cells of those that it does not say."""
    region = find_footprint_column(table)
    cells = (column for column in table.columns if column.name.lower() == "coverage" and column.type.xtype == "moc")
    if region is None:
        return ()
    return (region, *(column for column in cells if not column.hidden))


def _draw_outlines(rows: Any, columns: tuple[Column, ...]) -> tuple[list[list[float]], ...]:
    """Draw regions on the map of a body."""
    if not columns or not rows.num_rows:
        return ()
    regions = shape_columns.parse_regions(rows.column(columns[0].name).combine_chunks(), columns[0].type)
    for column in columns[1:]:
        cells = rows.column(column.name).to_pylist()
        moc_rows = [row for row, text in enumerate(cells) if text][:MAX_MOC_ROWS]
        regions = regions.replace_rows(
            np.array(moc_rows, np.int64),
            Regions.from_mocs(
                [_parse_coarse_moc(cells[row], TARGET_MOC_CELLS / max(len(moc_rows), 6)) for row in moc_rows]
            ),
        )
    size = np.diff(regions.rings)
    vertex_number = np.arange(len(regions.lon)) - np.repeat(regions.rings[:-1], size)
    step = -(-len(vertex_number) // MAX_OUTLINE_VERTICES)  # of very many corners, each so many-th
    is_kept = (vertex_number % max(step, 1) == 0) | np.repeat(size < 8 * step, size)
    rings = np.append(0, np.cumsum(is_kept))[regions.rings]
    # geometries are cut at 180 degrees, and this map at 0
    turned_regions = Regions(regions.lon[is_kept] - 180.0, regions.lat[is_kept], rings, regions.parts, regions.rows)
    return tuple(
        [
            np.round(np.add(ring, [180.0, 0.0]), 3).ravel().tolist()
            for polygon in (shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]])
            for ring in polygon
        ]
        if (shape := json.loads(text or "null"))
        else []
        for text in region_files.to_geojson_geometries(turned_regions, OUTLINE_TOLERANCE_DEGREES).to_pylist()
    )


def _parse_coarse_moc(text: str, max_cells: float) -> Moc:
    """Read a MOC with about so many cells at most."""
    moc = Moc.parse(text)
    return moc.degrade(int(np.clip(np.log(max_cells / max(12.0 * moc.fraction, 1e-12)) / np.log(4.0), 3, 9)))


def _count_boxes(
    search: TableSearch,
    runner: QueryRunner,
    test: syntax_tree.Expr | None,
    map_frame: MapFrame,
    total_rows: int,
    view: tuple[float, float, float, float] | None,
) -> RowPlaces:
    """Count rows by the box of a grid that their middle lies in.

    Each time that a quarter is looked at the boxes are half as large.
    """
    west, south, east, north = map_frame.bounds
    map_width = map_frame.box[2] - map_frame.box[0]
    if view is None:
        zoom_factor = 1
    else:
        zoom_factor = 2 ** int(np.clip(np.log2(map_width / max(view[2] - view[0], 1e-3)), 0, 8))
    across_all = GRID_COLUMNS * zoom_factor
    box_width = map_width / across_all

    def build_middle(low: str, high: str, full_turn: float) -> syntax_tree.Expr:
        """Return the middle of an interval, which may go across 0."""
        if low == high:
            return syntax_tree.Cast(build_column_ref(low), "DOUBLE PRECISION")
        width: syntax_tree.Expr = syntax_tree.BinaryOperation(
            "-",
            syntax_tree.Cast(build_column_ref(high), "DOUBLE PRECISION"),
            syntax_tree.Cast(build_column_ref(low), "DOUBLE PRECISION"),
        )
        if full_turn:  # what is below 0 goes on at 360
            turns = syntax_tree.FunctionCall(
                "FLOOR", (syntax_tree.BinaryOperation("/", width, syntax_tree.Literal(full_turn)),)
            )
            width = syntax_tree.BinaryOperation(
                "-", width, syntax_tree.BinaryOperation("*", syntax_tree.Literal(full_turn), turns)
            )
        return syntax_tree.BinaryOperation(
            "+",
            syntax_tree.Cast(build_column_ref(low), "DOUBLE PRECISION"),
            syntax_tree.BinaryOperation("/", width, syntax_tree.Literal(2.0)),
        )

    full_turn = 0.0 if map_frame.radius else 360.0
    cells = [
        syntax_tree.FunctionCall(
            "FLOOR",
            (
                syntax_tree.BinaryOperation(
                    "/",
                    syntax_tree.BinaryOperation("-", build_middle(*ends, turn), syntax_tree.Literal(start)),
                    syntax_tree.Literal(box_width),
                ),
            ),
        )
        for ends, turn, start in (((west, east), full_turn, map_frame.box[0]), ((south, north), 0.0, map_frame.box[1]))
    ]
    items = (
        *(syntax_tree.SelectItem(cell, syntax_tree.Ident(name)) for cell, name in zip(cells, ("a", "b"), strict=True)),
        COUNT_ITEM,
    )
    boxes = runner.fetch_table(
        syntax_tree.Query(syntax_tree.Select(items, search.build_source(), where=test, group_by=tuple(cells))),
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
    box_counts: dict[tuple[int, int], int] = {}
    for column_number, row_number, count in zip(
        *(boxes.column(number).to_pylist() for number in range(3)), strict=True
    ):
        if column_number is None or row_number is None:
            continue
        box = (
            int(column_number) % across_all if full_turn else int(column_number),
            min(int(row_number), round((map_frame.box[3] - map_frame.box[1]) / box_width) - 1),
        )
        box_counts[box] = box_counts.get(box, 0) + count
    corners = [(map_frame.box[0] + x * box_width, map_frame.box[1] + y * box_width) for x, y in box_counts]
    counts = tuple(box_counts.values())
    shapes = tuple(f"{x:.5g} {y:.5g} {x + box_width:.5g} {y + box_width:.5g}" for x, y in corners)
    return RowPlaces(
        total_rows=total_rows,
        counts=counts,
        shapes=shapes,
    )


def _build_circle_condition(search: TableSearch, view: SearchCircle | None) -> syntax_tree.Expr | None:
    if view is None or view.radius_degrees >= 90 or search.table.position is None:
        return None
    return type(search)(table=search.table, near=view).build_condition()


def _find_individual_rows(
    search: TableSearch,
    runner: QueryRunner,
    test: syntax_tree.Expr | None,
    longitude_column: Column,
    latitude_column: Column,
    total_rows: int,
    colour_column: Column | None,
) -> RowPlaces:
    region = find_footprint_column(search.table)
    columns = list(
        dict.fromkeys(
            [
                longitude_column.name,
                latitude_column.name,
                *search.table.primary,
                *(column.name for column in _list_mark_columns(search.table, colour_column)),
                *([region.name] if region is not None and total_rows <= MAX_SHAPES else []),
            ]
        )
    )
    items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in columns)
    rows = runner.fetch_table(
        syntax_tree.Query(
            syntax_tree.Select(items, search.build_source(), where=test, top=syntax_tree.Literal(MAX_INDIVIDUAL_ROWS))
        ),
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
    rows = rows.filter(
        pc.and_(rows.column(longitude_column.name).is_valid(), rows.column(latitude_column.name).is_valid())
    )
    longitudes = tuple(rows.column(longitude_column.name).to_pylist())
    latitudes = tuple(rows.column(latitude_column.name).to_pylist())
    keys = format_keys(rows, search.table.primary)
    return RowPlaces(
        total_rows=total_rows,
        longitudes=longitudes,
        latitudes=latitudes,
        keys=keys,
        shapes=_format_regions(rows, region) if region is not None and region.name in rows.column_names else (),
        **_build_marks(rows, search.table, colour_column),
    )


def _find_footprints(
    search: TableSearch, runner: QueryRunner, test: syntax_tree.Expr | None, colour_column: Column | None
) -> RowPlaces:
    region = find_footprint_column(search.table)
    if region is None:
        return RowPlaces(total_rows=0)
    column_ref = build_column_ref(region.name)
    has_footprint = syntax_tree.NullPredicate(column_ref, negated=True)
    test = syntax_tree.join_conditions(test, has_footprint)
    count_query_where = search.build_count_query_where(test)
    total = runner.fetch_number(count_query_where, timeout_seconds=QUERY_TIMEOUT_SECONDS)
    mark_names = (column.name for column in _list_mark_columns(search.table, colour_column))
    columns = list(dict.fromkeys([region.name, *search.table.primary, *mark_names]))
    items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in columns)
    rows = runner.fetch_table(
        syntax_tree.Query(
            syntax_tree.Select(items, search.build_source(), where=test, top=syntax_tree.Literal(MAX_SHAPES))
        ),
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
    keys = format_keys(rows, search.table.primary)
    shapes = _format_regions(rows, region)
    marks = _build_marks(rows, search.table, colour_column)
    return RowPlaces(
        total_rows=total,
        keys=keys,
        shapes=shapes,
        **marks,
    )


def _format_regions(rows: Any, region: Column) -> tuple[str | None, ...]:
    array = rows.column(region.name).combine_chunks()
    texts = literal.format_column(literal.cast_to_storage(array, region.type), region.type)
    if not region.type.is_string:  # numbers alone; what they are is said by the type
        texts = pc.binary_join_element_wise(str(region.type.xtype), texts, " ")
    return tuple(texts.to_pylist())

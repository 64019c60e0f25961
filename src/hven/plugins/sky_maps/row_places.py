"""Find where the rows of a search are, on the sky or on a body, for the maps of pages.

Few rows are drawn one by one; many are counted by cells. On the sky these are HEALPix cells; on a body (longitudes and
latitudes as intervals, EPN-TAP's c1 and c2) they are boxes of a grid.
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
from hven.plugins.sky_maps import row_marks
from hven.portal.api.column_values import COUNT_ITEM, build_column_ref
from hven.portal.api.page_rows import parse_search
from hven.portal.api.table_places import MapFrame, SearchCircle, find_footprint_column, find_map_frame
from hven.portal.api.table_rows import format_keys

if TYPE_CHECKING:
    import pyarrow as pa

    from hven.model.table import Column, Table
    from hven.portal.api.table_rows import QueryRunner, TableSearch

MAX_INDIVIDUAL_ROWS = 4_000  # rows that are drawn one by one
TARGET_CELLS = 1_500  # approximate number of cells of a view
MAX_SHAPES = 1_000
MAX_MOC_ROWS = 50  # rows whose MOC cells are drawn
TARGET_MOC_CELLS = 12_000.0  # approximate number of cells of all of these
MAX_OUTLINE_VERTICES = 60_000  # of all outlines, approximately
OUTLINE_TOLERANCE_DEGREES = 0.05  # maximum deviation of a simplified outline
GRID_COLUMNS = 72  # boxes of a grid across the whole map of a body
QUERY_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlaces:
    """The places of rows: positions with keys (and footprints), or cells with counts.

    Attributes
    ----------
    total_rows
        Number of rows in the view that have a place.
    longitudes, latitudes
        In degrees, of rows or of the centres of cells.
    counts
        Rows of each cell; empty if `keys` are given.
    cell_radius_degrees
        Radius of a cell, in degrees; 0 for rows.
    shapes
        Footprints in DALI notation (``POLYGON 1 2 ..``), one for each key; on a body ``west south east north``, also
        for cells.
    outlines
        On a body, for each row with a region: its rings as x, y, x, y .. on the map from 0 to 360, where they are cut.
        The even-odd rule tells what is inside.
    names
        Names of the rows, one for each key; empty if rows have no names.
    colouring
        Colours by the requested column, if rows are drawn one by one.
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
    colouring: row_marks.RowColouring | None = None


def find_row_places_on_sky(
    search: TableSearch, runner: QueryRunner, view: SearchCircle | None = None, colour_column: Column | None = None
) -> RowPlaces:
    """Find where the rows of a search are on the sky, within the circle `view` if there is one."""
    view_condition = _build_circle_condition
    test = syntax_tree.join_conditions_with_and(search.build_condition(), view_condition(search, view))
    table = search.table
    if table.position is None:
        return _fetch_footprint_places(search, runner, test, colour_column)
    count_query_where = search.build_count_query_where(test)
    total = runner.fetch_number(count_query_where, timeout_seconds=QUERY_TIMEOUT_SECONDS)
    lon, lat = (table.find_column(name) for name in table.position)
    if total <= MAX_INDIVIDUAL_ROWS:
        position_columns = (lon, lat)
        return _fetch_individual_row_places(
            search, runner, test, position_columns, total_rows=total, colour_column=colour_column
        )
    if view is None or view.radius_degrees >= 90:
        area = 41_253.0
    else:
        area = 41_253.0 * (1 - np.cos(np.radians(view.radius_degrees))) / 2
    all_sky_cells = max(TARGET_CELLS * 41_253.0 / area, 12)
    order = int(np.clip(np.ceil(np.log2(all_sky_cells / 12) / 2), 0, 20))
    position = (build_column_ref(lon.name), build_column_ref(lat.name))
    cell = syntax_tree.FunctionCall("IVO_HEALPIX_INDEX", (syntax_tree.Literal(order), *position))
    items = (syntax_tree.SelectItem(cell, syntax_tree.Ident("c")), COUNT_ITEM)
    select = syntax_tree.Select(items, search.build_from_item(), where=test, group_by=(cell,))
    cells = runner.fetch_table(syntax_tree.Query(select), timeout_seconds=QUERY_TIMEOUT_SECONDS)
    # groups come in any order, and the same rows must give the same answer
    valid_cells = cells.filter(cells.column(0).is_valid()).sort_by(cells.column_names[0])
    cell_numbers = np.asarray(valid_cells.column(0).to_numpy(), np.int64)
    centres = healpix.compute_cell_centers(order, cell_numbers)
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


def find_row_places_on_body(
    search: TableSearch,
    runner: QueryRunner,
    view: tuple[float, float, float, float] | None = None,
    colour_column: Column | None = None,
) -> RowPlaces:
    """Find where the rows of a search are on a body: boxes ``west south east north`` in `RowPlaces.shapes`.

    Many rows are counted by boxes of a grid.

    Parameters
    ----------
    view
        West, south, east and north of the shown part of the map: rows outside are left out, and cells are the finer the
        smaller it is.
    colour_column
        Column that rows are coloured by.

    Raises
    ------
    UserError
        The table has no positions on a body.
    """
    map_frame = find_map_frame(search.table)
    if map_frame is None:
        raise UserError("this table has no positions on a body", remedy="plot the rows of the table instead")
    bounds = list(map_frame.bounds)
    bound_refs = [build_column_ref(name) for name in dict.fromkeys(bounds)]
    bound_tests = [syntax_tree.NullPredicate(bound_ref, negated=True) for bound_ref in bound_refs]
    has_place = syntax_tree.join_conditions_with_and(*bound_tests)
    view_condition = _build_map_view_condition(search, map_frame, view)
    test = syntax_tree.join_conditions_with_and(search.build_condition(), has_place, view_condition)
    count_query_where = search.build_count_query_where(test)
    total = runner.fetch_number(count_query_where, timeout_seconds=QUERY_TIMEOUT_SECONDS)
    if total > MAX_INDIVIDUAL_ROWS:
        return _count_rows_by_box(search, runner, test, map_frame, total_rows=total, view=view)
    if total <= MAX_SHAPES and not map_frame.radius:
        region_columns = _list_region_columns(search.table)
    else:
        region_columns = ()
    mark_columns = _list_name_and_colour_columns(search.table, colour_column)
    drawn_names = [column.name for column in (*region_columns, *mark_columns)]
    columns = list(dict.fromkeys([*bounds, *search.table.primary, *drawn_names]))
    rows = _fetch_rows(search, runner, columns, test, row_limit=MAX_INDIVIDUAL_ROWS)
    values = [rows.column(name).to_pylist() for name in bounds]
    boxes = zip(*values, strict=True)
    shapes = tuple(" ".join(f"{float(value):.5g}" for value in box) for box in boxes)
    keys = format_keys(rows, search.table.primary)
    outlines = _build_region_outlines(rows, region_columns)
    marks = _build_row_names_and_colours(rows, search.table, colour_column)
    return RowPlaces(total_rows=total, keys=keys, shapes=shapes, outlines=outlines, **marks)


def _fetch_rows(
    search: TableSearch,
    runner: QueryRunner,
    columns: list[str],
    test: syntax_tree.Expr | None,
    *,
    row_limit: int,
) -> pa.Table:
    """Fetch some columns of the rows that meet a condition."""
    items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in columns)
    top = syntax_tree.Literal(row_limit)
    select = syntax_tree.Select(items, search.build_from_item(), where=test, top=top)
    return runner.fetch_table(syntax_tree.Query(select), timeout_seconds=QUERY_TIMEOUT_SECONDS)


def _build_map_view_condition(
    search: TableSearch, map_frame: MapFrame, view: tuple[float, float, float, float] | None
) -> syntax_tree.Expr | None:
    """Return the condition that rows overlap the shown part of the map."""
    if view is None:
        return None
    west, south, east, north = view
    pairs = [(map_frame.fields[1], f"{south:.4f}..{north:.4f}")]
    if map_frame.radius or east - west < 350:
        pairs.append((map_frame.fields[0], f"{west:.4f}..{east:.4f}"))
    return parse_search(pairs, search.table).build_condition()


def _list_name_and_colour_columns(table: Table, colour_column: Column | None) -> list[Column]:
    """List the columns of the names and the colours of rows."""
    name_column = row_marks.find_name_column(table)
    return [column for column in (name_column, colour_column) if column is not None]


def _build_row_names_and_colours(rows: Any, table: Table, colour_column: Column | None) -> dict[str, Any]:
    """Return the names and the colours of rows."""
    name_column = row_marks.find_name_column(table)
    if colour_column is None:
        colouring = None
    else:
        colouring = row_marks.choose_row_colours(rows, colour_column, table)
    return {"names": row_marks.list_row_names(rows, name_column), "colouring": colouring}


def _list_region_columns(table: Table) -> tuple[Column, ...]:
    """List the columns that regions are drawn from: the outline, and the MOC of rows without an outline."""
    region = find_footprint_column(table)
    if region is None:
        return ()
    region_columns = [region]
    for column in table.columns:
        is_coverage = column.name.lower() == "coverage" and column.type.xtype == "moc"
        if is_coverage and not column.hidden:
            region_columns.append(column)
    return tuple(region_columns)


def _build_region_outlines(rows: Any, columns: tuple[Column, ...]) -> tuple[list[list[float]], ...]:
    """Draw regions on the map of a body."""
    if not columns or not rows.num_rows:
        return ()
    outline_texts = rows.column(columns[0].name)
    regions = shape_columns.parse_regions(outline_texts.combine_chunks(), columns[0].type)
    for column in columns[1:]:
        cells = rows.column(column.name).to_pylist()
        moc_rows = [row for row, text in enumerate(cells) if text][:MAX_MOC_ROWS]
        max_cells = TARGET_MOC_CELLS / max(len(moc_rows), 6)
        mocs = [_parse_coarse_moc(cells[row], max_cells) for row in moc_rows]
        regions = regions.replace_rows(np.array(moc_rows, np.int64), Regions.from_mocs(mocs))
    size = np.diff(regions.rings)
    vertex_number = np.arange(len(regions.lon)) - np.repeat(regions.rings[:-1], size)
    step = -(-len(vertex_number) // MAX_OUTLINE_VERTICES)  # of very many vertices, each step-th is kept
    is_kept = (vertex_number % max(step, 1) == 0) | np.repeat(size < 8 * step, size)
    rings = np.append(0, np.cumsum(is_kept))[regions.rings]
    # geometries are cut at 180 degrees, and this map at 0
    turned_regions = Regions(regions.lon[is_kept] - 180.0, regions.lat[is_kept], rings, regions.parts, regions.rows)
    geometries = region_files.to_geojson_geometries(turned_regions, OUTLINE_TOLERANCE_DEGREES)
    return tuple(_parse_and_rotate_geojson_rings(text) for text in geometries.to_pylist())


def _parse_and_rotate_geojson_rings(geometry_text: str | None) -> list[list[float]]:
    """Return the rings of a GeoJSON geometry as x, y, x, y .., turned back by 180 degrees."""
    shape = json.loads(geometry_text or "null")
    if not shape:
        return []
    if shape["type"] == "MultiPolygon":
        polygons = shape["coordinates"]
    else:
        polygons = [shape["coordinates"]]
    rings = []
    for polygon in polygons:
        for ring in polygon:
            turned_ring = np.add(ring, [180.0, 0.0])
            rings.append(np.round(turned_ring, 3).ravel().tolist())
    return rings


def _parse_coarse_moc(text: str, max_cells: float) -> Moc:
    """Read a MOC and degrade it to about `max_cells` cells."""
    moc = Moc.parse(text)
    cells_at_order_zero = max(12.0 * moc.fraction, 1e-12)
    order = np.log(max_cells / cells_at_order_zero) / np.log(4.0)
    return moc.degrade(int(np.clip(order, 3, 9)))


def _count_rows_by_box(
    search: TableSearch,
    runner: QueryRunner,
    test: syntax_tree.Expr | None,
    map_frame: MapFrame,
    *,
    total_rows: int,
    view: tuple[float, float, float, float] | None,
) -> RowPlaces:
    """Count rows by the box of a grid that contains their centre.

    The boxes are half as large each time that the view shrinks to a quarter.
    """
    west, south, east, north = map_frame.bounds
    map_width = map_frame.box[2] - map_frame.box[0]
    if view is None:
        zoom_factor = 1
    else:
        view_width = max(view[2] - view[0], 1e-3)
        zoom_factor = 2 ** int(np.clip(np.log2(map_width / view_width), 0, 8))
    across_all = GRID_COLUMNS * zoom_factor
    box_width = map_width / across_all

    turn_degrees = 0.0 if map_frame.radius else 360.0
    middle_lon = _build_interval_middle_expression(west, east, turn_degrees)
    middle_lat = _build_interval_middle_expression(south, north, 0.0)
    column_cell = _build_grid_index_expression(middle_lon, map_frame.box[0], box_width)
    row_cell = _build_grid_index_expression(middle_lat, map_frame.box[1], box_width)
    items = (
        syntax_tree.SelectItem(column_cell, syntax_tree.Ident("a")),
        syntax_tree.SelectItem(row_cell, syntax_tree.Ident("b")),
        COUNT_ITEM,
    )
    select = syntax_tree.Select(items, search.build_from_item(), where=test, group_by=(column_cell, row_cell))
    boxes = runner.fetch_table(syntax_tree.Query(select), timeout_seconds=QUERY_TIMEOUT_SECONDS)
    last_row = round((map_frame.box[3] - map_frame.box[1]) / box_width) - 1
    box_counts: dict[tuple[int, int], int] = {}
    box_columns = [boxes.column(number).to_pylist() for number in range(3)]
    for column_number, row_number, count in zip(*box_columns, strict=True):
        if column_number is None or row_number is None:
            continue
        x = int(column_number)
        if turn_degrees:
            x %= across_all
        box = (x, min(int(row_number), last_row))
        box_counts[box] = box_counts.get(box, 0) + count
    # groups come in any order, and the same rows must give the same answer
    box_counts = dict(sorted(box_counts.items()))
    shapes = []
    for x, y in box_counts:
        box_west = map_frame.box[0] + x * box_width
        box_south = map_frame.box[1] + y * box_width
        box_east = box_west + box_width
        box_north = box_south + box_width
        shapes.append(f"{box_west:.5g} {box_south:.5g} {box_east:.5g} {box_north:.5g}")
    return RowPlaces(total_rows=total_rows, counts=tuple(box_counts.values()), shapes=tuple(shapes))


def _build_interval_middle_expression(low_name: str, high_name: str, turn_degrees: float) -> syntax_tree.Expr:
    """Build the middle of an interval; with `turn_degrees` it may cross 0."""
    low = syntax_tree.CastExpression(build_column_ref(low_name), "DOUBLE PRECISION")
    if low_name == high_name:
        return low
    high = syntax_tree.CastExpression(build_column_ref(high_name), "DOUBLE PRECISION")
    width: syntax_tree.Expr = syntax_tree.BinaryOperation("-", high, low)
    if turn_degrees:  # a negative width crosses 0: take it modulo a turn
        turn = syntax_tree.Literal(turn_degrees)
        turn_count = syntax_tree.FunctionCall("FLOOR", (syntax_tree.BinaryOperation("/", width, turn),))
        whole_turns = syntax_tree.BinaryOperation("*", turn, turn_count)
        width = syntax_tree.BinaryOperation("-", width, whole_turns)
    half_width = syntax_tree.BinaryOperation("/", width, syntax_tree.Literal(2.0))
    return syntax_tree.BinaryOperation("+", low, half_width)


def _build_grid_index_expression(
    coordinate: syntax_tree.Expr, start: float, box_width: float
) -> syntax_tree.FunctionCall:
    """Build the number of the grid box that a coordinate lies in."""
    distance = syntax_tree.BinaryOperation("-", coordinate, syntax_tree.Literal(start))
    quotient = syntax_tree.BinaryOperation("/", distance, syntax_tree.Literal(box_width))
    return syntax_tree.FunctionCall("FLOOR", (quotient,))


def _build_circle_condition(search: TableSearch, view: SearchCircle | None) -> syntax_tree.Expr | None:
    if view is None or view.radius_degrees >= 90 or search.table.position is None:
        return None
    return type(search)(table=search.table, near=view).build_condition()


def _fetch_individual_row_places(
    search: TableSearch,
    runner: QueryRunner,
    test: syntax_tree.Expr | None,
    position_columns: tuple[Column, Column],
    *,
    total_rows: int,
    colour_column: Column | None,
) -> RowPlaces:
    longitude_name, latitude_name = (column.name for column in position_columns)
    region = find_footprint_column(search.table)
    mark_names = [column.name for column in _list_name_and_colour_columns(search.table, colour_column)]
    names = [longitude_name, latitude_name, *search.table.primary, *mark_names]
    if region is not None and total_rows <= MAX_SHAPES:
        names.append(region.name)
    columns = list(dict.fromkeys(names))
    rows = _fetch_rows(search, runner, columns, test, row_limit=MAX_INDIVIDUAL_ROWS)
    has_position = pc.and_(rows.column(longitude_name).is_valid(), rows.column(latitude_name).is_valid())
    rows = rows.filter(has_position)
    longitudes = tuple(rows.column(longitude_name).to_pylist())
    latitudes = tuple(rows.column(latitude_name).to_pylist())
    keys = format_keys(rows, search.table.primary)
    shapes: tuple[str | None, ...] = ()
    if region is not None and region.name in rows.column_names:
        shapes = _format_regions(rows, region)
    return RowPlaces(
        total_rows=total_rows,
        longitudes=longitudes,
        latitudes=latitudes,
        keys=keys,
        shapes=shapes,
        **_build_row_names_and_colours(rows, search.table, colour_column),
    )


def _fetch_footprint_places(
    search: TableSearch, runner: QueryRunner, test: syntax_tree.Expr | None, colour_column: Column | None
) -> RowPlaces:
    region = find_footprint_column(search.table)
    if region is None:
        return RowPlaces(total_rows=0)
    column_ref = build_column_ref(region.name)
    has_footprint = syntax_tree.NullPredicate(column_ref, negated=True)
    test = syntax_tree.join_conditions_with_and(test, has_footprint)
    count_query_where = search.build_count_query_where(test)
    total = runner.fetch_number(count_query_where, timeout_seconds=QUERY_TIMEOUT_SECONDS)
    mark_names = (column.name for column in _list_name_and_colour_columns(search.table, colour_column))
    columns = list(dict.fromkeys([region.name, *search.table.primary, *mark_names]))
    rows = _fetch_rows(search, runner, columns, test, row_limit=MAX_SHAPES)
    keys = format_keys(rows, search.table.primary)
    shapes = _format_regions(rows, region)
    marks = _build_row_names_and_colours(rows, search.table, colour_column)
    return RowPlaces(total_rows=total, keys=keys, shapes=shapes, **marks)


def _format_regions(rows: Any, region: Column) -> tuple[str | None, ...]:
    array = rows.column(region.name).combine_chunks()
    storage_values = literal.cast_to_storage_type
    texts = literal.format_dali_literals(storage_values(array, region.type), region.type)
    if not region.type.is_string:  # the values are numbers alone; the type names the shape
        texts = pc.binary_join_element_wise(str(region.type.xtype), texts, " ")
    return tuple(texts.to_pylist())

"""Conditions on footprints: boxes of longitudes and latitudes, and geometries of GeoJSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from hven.adql.syntax_tree import (
    BinaryOperation,
    CastExpression,
    Comparison,
    Conjunction,
    Disjunction,
    Expr,
    FunctionCall,
    Literal,
    Negation,
    NullPredicate,
    build_column_ref,
    join_conditions_with_and,
)
from hven.model.errors import ParamError, TooLargeError, format_message
from hven.model.sky import Range, Regions, region_files, shape_text
from hven.plugins.stac.condition_parts import (
    FALSE_CONDITION,
    TRUE_CONDITION,
    build_filter_error,
    join_alternatives,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Column
    from hven.plugins.stac.item_tables import ItemTable

MAX_VERTICES = 5_000  # of a geometry in a request
SPATIAL_OPERATORS = ("s_intersects", "s_within", "s_contains", "s_disjoint")
EDGE_TOLERANCE_DEGREES = 0.02  # of great circles that replace the straight edges of a polygon on the map
HAIR_DEGREES = 1e-9
MAX_POLYGON_WIDTH_DEGREES = 120.0  # of a box that becomes a polygon
MAX_POLYGON_LATITUDE_DEGREES = 85.0
MAX_SEGMENT_DEGREES = 2.0  # of edges, which are straight on the map; great circles are within the tolerance then
HALF_SPHERE_STERADIANS = 2.0 * math.pi
_ROW_BOX_COMPARISONS = {"s_intersects": ("<=", ">="), "s_within": (">=", "<="), "s_contains": ("<=", ">=")}
_BOX_REMEDY = (
    "write west,south,east,north in degrees, with longitudes from -180 to 180 (east is positive) and latitudes from "
    "-90 to 90"
)
_GEOMETRY_REMEDY = "send a GeoJSON geometry with longitudes -180 to 180 and latitudes -90 to 90"
Box = tuple[float, float, float, float]


def parse_box(value: str | Sequence[object], name: str = "bbox") -> Box:
    """Parse a bounding box.

    Parameters
    ----------
    value
        Four or six numbers, as a list or with commas between: heights are ignored.
    name
        Name of the parameter, for messages.

    Returns
    -------
    box
        West, south, east, north in degrees; a box over 180 degrees has an east that is less than its west.

    Raises
    ------
    ParamError
        The value is no box.
    """
    words = value.split(",") if isinstance(value, str) else list(value)
    numbers = parse_numbers(words)
    if len(numbers) == 6:
        numbers = [numbers[0], numbers[1], numbers[3], numbers[4]]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise ParamError(f"{value!r:.80} is not a box", name=name, remedy=_BOX_REMEDY)
    west, south, east, north = numbers
    if south > north or south < -90 or north > 90 or max(abs(west), abs(east)) > 360 or east - west > 360:
        raise ParamError(f"{value!r:.80} is not a box on a sphere", name=name, remedy=_BOX_REMEDY)
    return west, south, east, north


def parse_numbers(words: Iterable[object]) -> list[float]:
    """Parse numbers; there are none if a word is no number."""
    try:
        return [float(str(word)) for word in words]
    except ValueError:
        return []


@dataclass(frozen=True)
class _SearchShape:
    """A shape that footprints are compared with.

    Attributes
    ----------
    expression
        The shape in ADQL.
    box
        Its west, south, east and north.
    """

    expression: Expr
    box: Box


def build_box_condition(box: Box, item_table: ItemTable, operation: str = "s_intersects") -> Expr:
    """Build the condition that a footprint has a relation to a box.

    Parameters
    ----------
    box
        West, south, east, north in degrees.
    item_table
        Table of the items.
    operation
        One of `SPATIAL_OPERATORS`.
    """
    west, south, _, north = box
    width = _compute_box_width(box)
    if width == 0 and south == north:
        shape = _build_point(west, south)
    elif operation in {"s_intersects", "s_disjoint"} and _is_small_box(box):
        # engines compare regions with many polygons at once, but with ranges one by one
        lons = np.linspace(west, west + width, math.ceil(width / MAX_SEGMENT_DEGREES) + 1)
        edges = [np.stack([lons, np.full_like(lons, latitude)], axis=1) for latitude in (south, north)]
        shape = _build_outline(np.concatenate([edges[0], edges[1][::-1]]), box)
    else:
        low, high = (0.0, 360.0) if width >= 360 else (west % 360, (west + width) % 360)
        text = shape_text.write_dali_shape("shape", Range(low, high, south, north))
        shape = _SearchShape(FunctionCall("REGION", (Literal(text),)), box)
    if operation == "s_disjoint":
        return _build_negation(_build_footprint_condition(item_table, "s_intersects", shape), item_table)
    return _build_footprint_condition(item_table, operation, shape)


def _compute_box_width(box: Box) -> float:
    """Return the degrees of longitude from west to east."""
    west, _, east, _ = box
    return east - west if east >= west else east - west + 360


def _is_small_box(box: Box) -> bool:
    """Return whether a box is a polygon of less than half a sphere, away from the poles."""
    _, south, _, north = box
    return (
        0 < _compute_box_width(box) < MAX_POLYGON_WIDTH_DEGREES
        and -MAX_POLYGON_LATITUDE_DEGREES < south < north < MAX_POLYGON_LATITUDE_DEGREES
    )


def _build_outline(vertices: Any, box: Box) -> _SearchShape:
    """Build a polygon; it is one literal, so that the plans of all polygons are the same."""
    vertices[:, 0] %= 360.0
    return _SearchShape(CastExpression(Literal(" ".join(map(repr, vertices.ravel().tolist()))), "POLYGON"), box)


def _build_point(longitude: float, latitude: float) -> _SearchShape:
    expression = FunctionCall("POINT", (Literal(longitude % 360), Literal(latitude)))
    return _SearchShape(expression, (longitude, latitude, longitude, latitude))


def _build_negation(condition: Expr, item_table: ItemTable) -> Expr:
    """Build the condition that an item has a footprint which does not meet a condition."""
    if not item_table.has_geometry:
        return FALSE_CONDITION
    return join_conditions_with_and(_build_frame_condition(item_table), Negation(condition)) or condition


def build_geometry_condition(geometry: object, item_table: ItemTable, operation: str = "s_intersects") -> Expr:
    """Build the condition that a footprint has a relation to a geometry.

    Parameters
    ----------
    geometry
        A geometry of GeoJSON.
    item_table
        Table of the items.
    operation
        One of `SPATIAL_OPERATORS`.

    Raises
    ------
    ParamError, TooLargeError
        The geometry is not valid, has too many vertices, or is no area and would have footprints within it.
    """
    import shapely  # noqa: PLC0415  (only geometries need it)

    parsed = parse_geometry(geometry)
    if operation == "s_disjoint":
        return _build_negation(build_geometry_condition(geometry, item_table), item_table)
    if operation == "s_within" and shapely.get_dimensions(parsed) < 2:
        message = "s_within needs a polygon or a box; no footprint lies within a point or a line"
        raise build_filter_error(message, "use s_intersects")
    parts = shapely.get_parts(shapely.get_parts(parsed))
    conditions = [
        _build_footprint_condition(item_table, operation, _build_point_or_line_shape(part))
        for part in parts[shapely.get_dimensions(parts) < 2]
    ]
    polygons = parts[shapely.get_dimensions(parts) == 2]
    if len(polygons):
        conditions += _build_polygon_conditions(polygons, item_table, operation)
    if operation == "s_contains" and len(conditions) > 1:
        return Conjunction(tuple(conditions))
    return join_alternatives(conditions)


def _build_point_or_line_shape(geometry: Any) -> _SearchShape:
    """Build a point, or the segments of a line as polygons that are as thin as a hair."""
    import shapely  # noqa: PLC0415

    if geometry.geom_type == "Point":
        return _build_point(geometry.x, geometry.y)
    vertices = shapely.get_coordinates(shapely.segmentize(geometry, MAX_SEGMENT_DEGREES))
    begins, ends = vertices[:-1], vertices[1:]
    # the third corner lies towards the equator, so that it is on the sphere
    asides = ends + np.where(ends[:, 1:] > 0, -HAIR_DEGREES, HAIR_DEGREES)
    corners = np.stack([begins, ends, asides], 1)
    corners[..., 0] %= 360.0
    texts = [f"polygon {' '.join(map(repr, numbers))}" for numbers in corners.reshape(-1, 6).tolist()]
    return _SearchShape(FunctionCall("REGION", (Literal(" ".join(texts)),)), shapely.bounds(geometry).tolist())


def _build_polygon_conditions(polygons: Any, item_table: ItemTable, operation: str) -> list[Expr]:
    """Build the condition for each polygon; those that meet at 180 degrees are one.

    A polygon with holes is its outline without them: a footprint touches it unless it is within a hole, and is within
    it unless it touches a hole. A polygon larger than half the sphere is the sphere with one more hole.
    """
    import shapely  # noqa: PLC0415

    box = _find_joined_box(polygons)
    if box is not None:
        return [build_box_condition(box, item_table, operation)]
    if len(polygons) == 1 and not len(polygons[0].interiors) and _is_small_box(polygons[0].bounds):
        polygon = shapely.segmentize(shapely.simplify(polygons[0], HAIR_DEGREES), MAX_SEGMENT_DEGREES)
        return [
            _build_footprint_condition(
                item_table, operation, _build_outline(shapely.get_coordinates(polygon)[:-1], polygon.bounds)
            )
        ]
    document = shapely.to_geojson(shapely.orient_polygons(shapely.multipolygons(polygons)))
    regions, _ = region_files.parse_geojson(document, EDGE_TOLERANCE_DEGREES).regions.explode()
    ring_numbers = np.arange(len(regions.rings))
    rings = Regions(regions.lon, regions.lat, regions.rings, ring_numbers, ring_numbers)
    is_large = rings.compute_areas() > HALF_SPHERE_STERADIANS
    rings = rings.orient_to_smaller_side()
    texts = region_files.write_region_texts(rings, "multishape").to_pylist()
    west, east, south, north = rings.compute_bounding_boxes()
    boxes = np.stack([west, south, east, north], axis=1).tolist()
    shapes = [
        _SearchShape(FunctionCall("REGION", (Literal(text),)), box) for text, box in zip(texts, boxes, strict=True)
    ]
    hole_operation = {"s_intersects": "s_within", "s_within": "s_intersects"}.get(operation)
    conditions = []
    for begin, end in pairwise(regions.parts.tolist()):
        holes = shapes[begin + 1 : end]
        if begin == end or is_large[begin]:
            holes = shapes[begin:end]
            outline = build_box_condition((-180.0, -90.0, 180.0, 90.0), item_table, operation)
        else:
            outline = _build_footprint_condition(item_table, operation, shapes[begin])
        if hole_operation is not None and item_table.region_column is not None:
            region = build_column_ref(item_table.region_column.name)
            in_holes = [Negation(_build_region_condition(region, hole_operation, hole)) for hole in holes]
            outside_holes = join_conditions_with_and(*in_holes)
            if outside_holes is not None:
                outline = Conjunction((outline, Disjunction((NullPredicate(region), outside_holes))))
        conditions.append(outline)
    return conditions


def _find_joined_box(polygons: Any) -> Box | None:
    """Return the box that polygons are together: one of them, or two that meet at 180 degrees; None for others."""
    import shapely  # noqa: PLC0415

    boxes = shapely.bounds(polygons)
    order = np.argsort(-boxes[:, 0])
    (west, south, east, north), *others = boxes[order].tolist()
    if not shapely.equals(polygons[order], shapely.box(*boxes[order].T)).all():
        return None
    if not others:
        return west, south, east, north
    other_west, other_south, other_east, other_north = others[0]
    is_one = (east, other_west, south, north) == (180, -180, other_south, other_north)
    return (west, south, other_east, north) if is_one and len(boxes) == 2 else None


def parse_geometry(geometry: object) -> Any:
    """Parse a geometry of GeoJSON.

    Parameters
    ----------
    geometry
        The geometry as JSON.

    Returns
    -------
    shape
        A geometry of shapely, with longitudes -360 to 360 and latitudes -90 to 90.

    Raises
    ------
    ParamError, TooLargeError
        The geometry is not valid, or has too many vertices.
    """
    import shapely  # noqa: PLC0415

    try:
        parsed = shapely.from_geojson(orjson.dumps(geometry))
        coordinates = shapely.get_coordinates(parsed)
        is_valid = bool(shapely.is_valid(parsed)) and len(coordinates) > 0
    except (shapely.errors.ShapelyError, TypeError, ValueError):
        raise ParamError("the geometry is not GeoJSON", name="intersects", remedy=_GEOMETRY_REMEDY) from None
    if len(coordinates) > MAX_VERTICES:
        message = format_message(
            "the geometry has {count:,} vertices; the limit is {most:,}", len(coordinates), MAX_VERTICES
        )
        raise TooLargeError(message)
    is_on_sphere = is_valid and bool((np.abs(coordinates) <= [360.0, 90.0]).all())
    if not is_on_sphere:
        reason = "the geometry is empty, crosses itself, or has coordinates that are out of range"
        raise ParamError(reason, name="intersects", remedy=_GEOMETRY_REMEDY)
    return parsed


def build_spatial_condition(operation: str, args: Sequence[object], item_table: ItemTable) -> Expr:
    """Build a spatial predicate of CQL2.

    Parameters
    ----------
    operation
        ``s_intersects``, ``s_within``, ``s_contains`` or ``s_disjoint``.
    args
        The property ``geometry``, and a geometry or a box, in any order.
    item_table
        Table of the items.

    Raises
    ------
    ParamError
        The operation is not known, or there is no geometry.
    """
    first, second = args
    if isinstance(second, dict) and "property" in second:
        first, second = second, first
        operation = {"s_within": "s_contains", "s_contains": "s_within"}.get(operation, operation)
    property_name = first.get("property") if isinstance(first, dict) else None
    if property_name not in {"geometry", "s_region"} or not isinstance(second, dict):
        message = f"{operation} needs the property 'geometry' and a geometry"
        raise build_filter_error(message, _GEOMETRY_REMEDY)
    if "bbox" in second:
        box = parse_box(second["bbox"] if isinstance(second["bbox"], list) else "", "filter")
        return build_box_condition(box, item_table, operation)
    return build_geometry_condition(second, item_table, operation)


def build_missing_geometry_condition(item_table: ItemTable) -> Expr:
    """Build the condition that an item has no geometry.

    Parameters
    ----------
    item_table
        Table of the items.
    """
    missing: list[Expr] = []
    if item_table.box_columns is not None:
        has_no_end = [NullPredicate(build_column_ref(column.name)) for column in item_table.box_columns]
        missing.append(Disjunction(tuple(has_no_end)))
    if item_table.region_column is not None:
        missing.append(NullPredicate(build_column_ref(item_table.region_column.name)))
    condition = join_conditions_with_and(*missing)
    if condition is None:
        return TRUE_CONDITION
    frame_column = item_table.frame_type_column
    if frame_column is None:
        return condition
    frame = build_column_ref(frame_column.name)
    return Disjunction((condition, NullPredicate(frame), Comparison("<>", frame, Literal("body"))))


def _build_frame_condition(item_table: ItemTable) -> Expr | None:
    """Build the condition that the position of a row is one on a body; None if it always is."""
    if item_table.frame_type_column is None or item_table.has_only_bodies:
        return None
    return Comparison("=", build_column_ref(item_table.frame_type_column.name), Literal("body"))


def _build_footprint_condition(item_table: ItemTable, operation: str, shape: _SearchShape) -> Expr:
    """Build the condition on a row: by its region, or else by its box."""
    alternatives: list[Expr] = []
    box_columns = None if item_table.has_all_regions else item_table.box_columns
    region_column = item_table.region_column
    if region_column is not None:
        region = build_column_ref(region_column.name)
        by_region = _build_region_condition(region, operation, shape)
        if box_columns is not None:  # false without a region, because NOT keeps NULL
            by_region = Conjunction((NullPredicate(region, negated=True), by_region))
        alternatives.append(by_region)
    if box_columns is not None:
        by_box = _build_row_box_condition(box_columns, operation, shape)
        if region_column is not None:
            by_box = Conjunction((NullPredicate(build_column_ref(region_column.name)), by_box))
        alternatives.append(by_box)
    if not alternatives:
        return FALSE_CONDITION
    condition = join_alternatives(alternatives)
    return join_conditions_with_and(_build_frame_condition(item_table), condition) or condition


def _build_region_condition(footprint: Expr, operation: str, shape: _SearchShape) -> Expr:
    function = "INTERSECTS" if operation == "s_intersects" else "CONTAINS"
    arguments = (shape.expression, footprint) if operation == "s_contains" else (footprint, shape.expression)
    return Comparison("=", Literal(1), FunctionCall(function, arguments))


def _build_row_box_condition(columns: Sequence[Column], operation: str, shape: _SearchShape) -> Expr:
    """Build the condition that the box of a row touches a shape, is within it, or contains it.

    Rows have longitudes -180 to 180 or 0 to 360, or beyond 360; a west that is larger than the east means a box over
    the meridian at which they begin again.
    """
    west, south, _, north = shape.box
    width = _compute_box_width(shape.box)
    lon_min, lon_max, lat_min, lat_max = (build_column_ref(column.name) for column in columns)
    low_op, high_op = _ROW_BOX_COMPARISONS[operation]
    # "touches" compares each end with the opposite end of the shape, the others with the same end
    low_latitude, high_latitude = (north, south) if operation == "s_intersects" else (south, north)
    conditions: list[Expr] = [
        Comparison(low_op, lat_min, Literal(low_latitude)),
        Comparison(high_op, lat_max, Literal(high_latitude)),
    ]
    if width < 360:
        alternatives: list[Expr] = []
        if operation == "s_contains":
            alternatives.append(Comparison(">=", BinaryOperation("-", lon_max, lon_min), Literal(360)))
        for begin in (west % 360 - 360, west % 360, west % 360 + 360):
            ends = (begin + width, begin) if operation == "s_intersects" else (begin, begin + width)
            is_low = Comparison(low_op, lon_min, Literal(ends[0]))
            is_wrapping = Comparison(">", lon_min, lon_max)
            for turn, order in ((0, Comparison("<=", lon_min, lon_max)), (360, is_wrapping)):
                alternatives.append(Conjunction((order, is_low, Comparison(high_op, lon_max, Literal(ends[1] - turn)))))
        conditions.append(join_alternatives(alternatives))
    return Conjunction(tuple(conditions))

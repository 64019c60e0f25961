"""Conditions on footprints: boxes of longitudes and latitudes, and geometries of GeoJSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from hven.adql.syntax_tree import (
    Comparison,
    Conjunction,
    Disjunction,
    Expr,
    FunctionCall,
    Literal,
    Negation,
    NullPredicate,
    build_column_ref,
)
from hven.model.errors import ParamError, TooLargeError, format_message
from hven.model.sky import Range, shape_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.plugins.stac.item_tables import ItemTable

MAX_VERTICES = 5_000  # of a geometry in a request
SPATIAL_OPERATORS = ("s_intersects", "s_within", "s_contains", "s_disjoint")
FALSE_CONDITION = Comparison("=", Literal(1), Literal(0))
_BOX_REMEDY = "write west,south,east,north in degrees: longitudes -180 to 180 to the east, latitudes -90 to 90"
_GEOMETRY_REMEDY = "send a geometry of GeoJSON with longitudes -180 to 180 and latitudes -90 to 90"
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
    try:
        numbers = [float(str(word)) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) == 6:
        numbers = [numbers[0], numbers[1], numbers[3], numbers[4]]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise ParamError(f"{value!r:.80} is not a box", name=name, remedy=_BOX_REMEDY)
    west, south, east, north = numbers
    if south > north or south < -90 or north > 90 or max(abs(west), abs(east)) > 360 or east - west > 360:
        raise ParamError(f"{value!r:.80} is not a box on a sphere", name=name, remedy=_BOX_REMEDY)
    return west, south, east, north


def build_box_condition(box: Box, item_table: ItemTable) -> Expr:
    """Build the condition that a footprint touches a box.

    Parameters
    ----------
    box
        West, south, east, north in degrees.
    item_table
        Table of the items.
    """
    west, south, _, north = box
    shape = _write_range(west, _compute_box_width(box), south, north)
    return _build_footprint_condition(item_table, "INTERSECTS", shape, box)


def _compute_box_width(box: Box) -> float:
    """Return the degrees of longitude from west to east."""
    west, _, east, _ = box
    return east - west if east >= west else east - west + 360


def _write_range(west: float, width: float, south: float, north: float) -> Expr:
    """Write a box as a shape; a box that is a point stays one."""
    if width == 0 and south == north:
        return FunctionCall("POINT", (Literal(west % 360), Literal(south)))
    low, high = (0.0, 360.0) if width >= 360 else (west % 360, (west + width) % 360)
    text = shape_text.write_dali_shape("shape", Range(low, high, south, north))
    return FunctionCall("REGION", (Literal(text),))


def build_geometry_condition(geometry: object, item_table: ItemTable, operation: str = "s_intersects") -> Expr:
    """Build the condition that a footprint has a relation to a geometry.

    Parameters
    ----------
    geometry
        A geometry of GeoJSON.
    item_table
        Table of the items.
    operation
        ``s_intersects``, ``s_within``, ``s_contains`` or ``s_disjoint``.

    Raises
    ------
    ParamError, TooLargeError
        The geometry is not valid, or has too many vertices.
    """
    import shapely  # noqa: PLC0415  (only geometries need it)

    parsed = parse_geometry(geometry)
    if not item_table.has_geometry:
        return FALSE_CONDITION
    parts = [part for part in shapely.get_parts(parsed) if not part.is_empty]
    if isinstance(parsed, shapely.GeometryCollection):
        parts = [part for collection in parts for part in shapely.get_parts(collection)]
    relation = {"s_within": "CONTAINS", "s_contains": "ENCLOSES"}.get(operation, "INTERSECTS")
    conditions = [_build_part_condition(part, item_table, relation) for part in parts]
    condition: Expr = conditions[0] if len(conditions) == 1 else Disjunction(tuple(conditions))
    if operation == "s_disjoint":
        return Negation(condition)
    return condition


def _build_part_condition(part: Any, item_table: ItemTable, relation: str) -> Expr:
    """Build the condition for a point, a line or a polygon."""
    west, south, east, north = part.bounds
    if part.geom_type == "Point":
        shape: Expr = FunctionCall("POINT", (Literal(west % 360), Literal(south)))
    elif part.geom_type == "LineString":
        return _build_line_condition(part, item_table)
    else:
        corners = np.array(part.exterior.coords)[:-1, :2]
        if part.interiors:
            return _build_holed_condition(part, item_table, relation)
        text = f"POLYGON {_join_corners(corners)}"
        shape = FunctionCall("REGION", (Literal(text),))
    return _build_footprint_condition(item_table, relation, shape, (west, south, east, north))


def _join_corners(corners: Any) -> str:
    longitudes = corners[:, 0] % 360.0
    numbers = np.stack([longitudes, corners[:, 1]], 1).ravel().tolist()
    return " ".join(map(repr, numbers))


def _build_line_condition(line: Any, item_table: ItemTable) -> Expr:
    """Build the condition that a footprint touches a line: a polygon as thin as a hair around each segment."""
    conditions = []
    for first, second in zip(line.coords[:-1], line.coords[1:], strict=True):
        corners = np.array([first[:2], second[:2], np.add(second[:2], 1e-9)])
        box = (min(first[0], second[0]), min(first[1], second[1]), max(first[0], second[0]), max(first[1], second[1]))
        shape = FunctionCall("REGION", (Literal(f"POLYGON {_join_corners(corners)}"),))
        conditions.append(_build_footprint_condition(item_table, "INTERSECTS", shape, box))
    return conditions[0] if len(conditions) == 1 else Disjunction(tuple(conditions))


def _build_holed_condition(polygon: Any, item_table: ItemTable, relation: str) -> Expr:
    """Build the condition for a polygon with holes: footprints touch it unless they are within a hole."""
    import shapely  # noqa: PLC0415

    outer = _build_part_condition(shapely.Polygon(polygon.exterior), item_table, relation)
    within = "CONTAINS" if relation == "INTERSECTS" else "INTERSECTS"
    holes = (_build_part_condition(shapely.Polygon(hole), item_table, within) for hole in polygon.interiors)
    return Conjunction((outer, *(Negation(hole) for hole in holes)))


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
        reason = "the geometry is empty, crosses itself, or leaves the sphere"
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
        raise ParamError(f"{operation} needs geometry and a geometry", name="filter", remedy=_GEOMETRY_REMEDY)
    if "bbox" in second:
        box = parse_box(second["bbox"] if isinstance(second["bbox"], list) else "", "filter")
        if operation in {"s_intersects", "s_disjoint"}:
            condition = build_box_condition(box, item_table)
            return Negation(condition) if operation == "s_disjoint" else condition
        west, south, east, north = box
        second = {
            "type": "Polygon",
            "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
        }
    return build_geometry_condition(second, item_table, operation)


def _build_footprint_condition(item_table: ItemTable, relation: str, shape: Expr, box: Box) -> Expr:
    """Build the condition on a row: by its region, or else by its box."""
    if not item_table.has_geometry:
        return FALSE_CONDITION
    alternatives: list[Expr] = []
    region_column = item_table.region_column
    if region_column is not None:
        alternatives.append(_build_shape_condition(relation, build_column_ref(region_column.name), shape))
    if item_table.box_columns is not None:
        by_box = _build_row_box_condition(item_table, relation, box)
        if region_column is not None:
            by_box = Conjunction((NullPredicate(build_column_ref(region_column.name)), by_box))
        alternatives.append(by_box)
    if not alternatives:
        return FALSE_CONDITION
    condition = alternatives[0] if len(alternatives) == 1 else Disjunction(tuple(alternatives))
    frame_type = item_table.frame_type_column
    if frame_type is None:
        return condition
    return Conjunction((Comparison("=", build_column_ref(frame_type.name), Literal("body")), condition))


def _build_shape_condition(relation: str, footprint: Expr, shape: Expr) -> Expr:
    function = "INTERSECTS" if relation == "INTERSECTS" else "CONTAINS"
    arguments = (shape, footprint) if relation == "ENCLOSES" else (footprint, shape)
    return Comparison("=", Literal(1), FunctionCall(function, arguments))


def _build_row_box_condition(item_table: ItemTable, relation: str, box: Box) -> Expr:
    """Build the condition that the box of a row touches another box, is within it, or contains it."""
    assert item_table.box_columns is not None  # noqa: S101
    west, south, _, north = box
    width = _compute_box_width(box)
    lon_min, lon_max, lat_min, lat_max = (build_column_ref(column.name) for column in item_table.box_columns)
    if relation == "INTERSECTS":
        by_latitude = (Comparison("<=", lat_min, Literal(north)), Comparison(">=", lat_max, Literal(south)))
    elif relation == "CONTAINS":
        by_latitude = (Comparison(">=", lat_min, Literal(south)), Comparison("<=", lat_max, Literal(north)))
    else:
        by_latitude = (Comparison("<=", lat_min, Literal(south)), Comparison(">=", lat_max, Literal(north)))
    if width >= 360:
        return Conjunction(by_latitude)
    alternatives: list[Expr] = []
    for begin in (west % 360, west % 360 - 360):
        low, high = Literal(begin), Literal(begin + width)
        if relation == "INTERSECTS":
            alternatives.append(Conjunction((Comparison("<=", lon_min, high), Comparison(">=", lon_max, low))))
            # rows whose box goes over the meridian at which their longitudes begin again
            is_wrapping = Comparison(">", lon_min, lon_max)
            touches = Disjunction((Comparison("<=", lon_min, high), Comparison(">=", lon_max, low)))
            if 0 <= begin < 360:
                alternatives.append(Conjunction((is_wrapping, touches)))
        else:
            ops = (">=", "<=") if relation == "CONTAINS" else ("<=", ">=")
            alternatives.append(Conjunction((Comparison(ops[0], lon_min, low), Comparison(ops[1], lon_max, high))))
    return Conjunction((*by_latitude, Disjunction(tuple(alternatives))))

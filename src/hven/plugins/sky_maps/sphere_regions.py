"""Conditions of searches that the boxes of rows touch a point, a circle or a polygon on a sphere, in plain ADQL.

A box has two meridians and two parallels. The sides of a polygon on the sphere are great circles: they are divided
until they are nearly straight on a map of longitudes and latitudes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hven.adql.syntax_tree import (
    BetweenPredicate,
    BinaryOperation,
    Comparison,
    Conjunction,
    Disjunction,
    FunctionCall,
    Literal,
)
from hven.model.sky import Circle, Polygon, sphere
from hven.plugins.sky_maps.map_polygons import (
    TURN_DEGREES,
    build_corner_condition,
    build_full_turn_condition,
    build_polygon_condition,
    build_row_box,
    compute_continuous_longitudes,
)
from hven.portal.api.column_values import build_column_ref
from hven.portal.api.search_forms import SearchCondition

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.adql.syntax_tree import Expr
    from hven.model.sky import Point

    Bounds = tuple[str, str, str, str]
    Numbers = npt.NDArray[np.float64]

MAX_PIECE_DEGREES = 10.0
MAX_DEVIATION_SHARE = 0.002  # of the longest side: how far a straight piece may lie from its great circle
MAX_DEVIATION_DEGREES = 0.02
CHECKED_SHARES = np.array([0.25, 0.5, 0.75])  # of a side, where its deviation is measured


def build_box_condition(bounds: Bounds, shape: Point | Circle | Polygon) -> Expr:
    """Build the condition that the boxes of rows touch a shape; its border belongs to it.

    Parameters
    ----------
    bounds
        Columns of west, south, east and north (degrees). West is greater than east if a box crosses longitude 0.
    shape
        The shape.

    Returns
    -------
    condition
        The condition. Rows without values do not meet it.

    Raises
    ------
    UserError
        The polygon has no extent, or too many corners.
    """
    if isinstance(shape, Polygon):
        x, y = divide_polygon_sides(np.array(shape.lons), np.array(shape.lats))
        x, y = compute_continuous_longitudes(x, y)
        return build_corner_condition(bounds, x, y, is_cyclic=True)
    radius = 0.0
    if isinstance(shape, Circle):
        radius = shape.radius
    return _build_circle_condition(bounds, shape.lon % TURN_DEGREES, shape.lat, radius)


def divide_polygon_sides(lons: Numbers, lats: Numbers) -> tuple[Numbers, Numbers]:
    """Divide the sides of a polygon, which are great circles, so that they are nearly straight on a map.

    Parameters
    ----------
    lons, lats
        Corners (degrees).

    Returns
    -------
    lons, lats
        Corners of the divided polygon, with those of the polygon among them.
    """
    begins = sphere.to_unit_vectors(lons, lats)
    ends = np.roll(begins, -1, axis=0)
    east = (np.roll(lons, -1) - lons + TURN_DEGREES / 2) % TURN_DEGREES - TURN_DEGREES / 2
    north = np.roll(lats, -1) - lats
    checked_sides = np.repeat(np.arange(len(lons)), len(CHECKED_SHARES))
    shares = np.tile(CHECKED_SHARES, len(lons))
    arc_vectors = sphere.interpolate_along_arcs(begins[checked_sides], ends[checked_sides], shares)
    true_lons, true_lats = sphere.to_lon_lat(arc_vectors)
    lon_deviations = true_lons - lons[checked_sides] - east[checked_sides] * shares
    lon_deviations = (lon_deviations + TURN_DEGREES / 2) % TURN_DEGREES - TURN_DEGREES / 2
    lat_deviations = true_lats - lats[checked_sides] - north[checked_sides] * shares
    point_deviations = np.hypot(lon_deviations * np.cos(np.radians(true_lats)), lat_deviations)
    deviations = point_deviations.reshape(-1, len(CHECKED_SHARES)).max(axis=1)
    lengths = np.degrees(sphere.measure_angles(begins, ends))
    max_deviation = max(min(MAX_DEVIATION_SHARE * lengths.max(), MAX_DEVIATION_DEGREES), 1e-9)
    counts = np.ceil(np.maximum(np.sqrt(deviations / max_deviation), lengths / MAX_PIECE_DEGREES))
    counts = np.maximum(counts, 1).astype(np.int64)
    sides = np.repeat(np.arange(len(lons)), counts)
    piece_numbers = np.arange(len(sides)) - np.repeat(np.cumsum(counts) - counts, counts)
    arc_vectors = sphere.interpolate_along_arcs(begins[sides], ends[sides], piece_numbers / counts[sides])
    piece_lons, piece_lats = sphere.to_lon_lat(arc_vectors)
    is_corner = piece_numbers == 0
    return np.where(is_corner, lons[sides], piece_lons), np.where(is_corner, lats[sides], piece_lats)


def _build_circle_condition(bounds: Bounds, lon: float, lat: float, radius: float) -> Expr:
    """Build the condition that the nearest point of a box lies in a circle.

    That point lies on the meridian of the centre if the box has this meridian. Otherwise, it is a corner, or the foot
    of the perpendicular to the western or the eastern edge.
    """
    box = build_row_box(bounds, is_cyclic=True)
    west, south, east, north = (build_column_ref(name) for name in bounds)
    is_behind_west = Comparison("<=", box.west, Literal(lon))
    is_before_east = Comparison(">=", box.east, Literal(lon))
    crosses_zero = Comparison(">=", box.east, Literal(lon + TURN_DEGREES))
    has_meridian = Disjunction(
        (Conjunction((is_behind_west, is_before_east)), crosses_zero, build_full_turn_condition(bounds))
    )
    reaches_down = Comparison("<=", south, Literal(lat + radius))
    reaches_up = Comparison(">=", north, Literal(lat - radius))
    centre = FunctionCall("POINT", (Literal(lon), Literal(lat)))
    circle = FunctionCall("CIRCLE", (centre, Literal(radius)))
    parts: list[Expr] = [Conjunction((reaches_down, reaches_up, has_meridian))]
    for edge in (west, east):
        for parallel in (south, north):
            corner = FunctionCall("POINT", (edge, parallel))
            parts.append(Comparison("=", Literal(1), FunctionCall("CONTAINS", (corner, circle))))
        parts.append(_build_foot_condition(edge, (south, north), lon, lat, radius))
    return Disjunction(tuple(parts))


def _build_foot_condition(edge: Expr, parallels: tuple[Expr, Expr], lon: float, lat: float, radius: float) -> Expr:
    """Build the condition that the foot of the perpendicular to a meridian lies on an edge of a box, and in a circle.

    The distance d and the latitude b of the foot follow from the difference of longitudes l and the centre's latitude
    c: sin d = cos c sin l, and tan b = tan c / cos l.
    """
    sine = math.sin(math.radians(lat))
    cosine = math.cos(math.radians(lat))
    max_distance_sine = math.sin(math.radians(min(radius, 90.0)))
    difference = FunctionCall("RADIANS", (BinaryOperation("-", edge, Literal(lon)),))
    difference_cosine = FunctionCall("COS", (difference,))
    distance_sine = BinaryOperation("*", Literal(cosine), FunctionCall("SIN", (difference,)))
    run = BinaryOperation("*", Literal(cosine), difference_cosine)
    foot = FunctionCall("DEGREES", (FunctionCall("ATAN2", (Literal(sine), run)),))
    is_near = BetweenPredicate(distance_sine, Literal(-max_distance_sine), Literal(max_distance_sine))
    is_same_side = Comparison(">", difference_cosine, Literal(0.0))
    return Conjunction((is_near, is_same_side, BetweenPredicate(foot, *parallels)))


POLYGON = SearchCondition(
    label="Polygon on the map", build_condition=build_polygon_condition, build_box_condition=build_box_condition
)

"""Test whether two shapes touch, and whether a shape contains another.

Boundaries belong to shapes: touching is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.sky._rings import is_ring_within, rings_intersect
from hven.model.sky._shapes import Circle, Point, Polygon, Range, Shape, ShapeUnion
from hven.model.sky._sphere import (
    SKY_AREA_SQUARE_DEGREES,
    TOLERANCE_DEGREES,
    compute_angular_distance,
    to_lon_lat,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

_TOUCH_TOLERANCE_DEGREES = 4.0 * TOLERANCE_DEGREES


def are_shapes_intersecting(a: Shape, b: Shape) -> bool:
    """Return whether two shapes have at least one position in common.

    Parameters
    ----------
    a, b
        Shapes in one frame.

    Raises
    ------
    TypeError
        There is no rule for these classes of shapes.
    """
    if isinstance(a, ShapeUnion):
        return any(are_shapes_intersecting(part, b) for part in a.parts)
    if isinstance(b, ShapeUnion):
        return any(are_shapes_intersecting(a, part) for part in b.parts)
    if _rank_shape(a) > _rank_shape(b):
        a, b = b, a
    return _are_ordered_shapes_intersecting(a, b)


def _are_ordered_shapes_intersecting(a: Shape, b: Shape) -> bool:
    """Return whether two simple shapes intersect; `a` does not come after `b` in the order of `_rank_shape`."""
    if isinstance(a, Point):
        return bool(b.contains(a.lon, a.lat))
    if isinstance(a, Circle):
        shape_distance = _compute_shape_distance(b, a.lon, a.lat)
        return shape_distance <= a.radius + _TOUCH_TOLERANCE_DEGREES
    if isinstance(a, Polygon) and isinstance(b, Polygon):
        return bool(rings_intersect(a.ring, b.ring)[0])
    if isinstance(a, Polygon) and isinstance(b, Range):
        return bool(b.find_touching_rings(a.ring)[0])
    if isinstance(a, Range) and isinstance(b, Range):
        return _are_ranges_touching(a, b)
    message = f"cannot compare {type(a).__name__} and {type(b).__name__}"
    raise TypeError(message)


def has_shape_inside(outer: Shape, inner: Shape) -> bool:
    """Return whether no position of `inner` is outside `outer`.

    A single part of a union must contain each part of `inner`. The test does not detect parts that contain it only
    together.

    Parameters
    ----------
    outer, inner
        Shapes in one frame.
    """
    if isinstance(inner, ShapeUnion):
        return all(has_shape_inside(outer, part) for part in inner.parts)
    if isinstance(outer, ShapeUnion):
        return any(has_shape_inside(part, inner) for part in outer.parts)
    if isinstance(inner, Point):
        return bool(outer.contains(inner.lon, inner.lat))
    if isinstance(outer, Point):
        return _is_at_point(inner, outer)
    if isinstance(outer, Circle):
        return _is_in_circle(inner, outer)
    return _is_shape_in_area(outer, inner)


def _is_at_point(shape: Shape, point: Point) -> bool:
    """Return whether a shape is a circle of radius 0 at a point."""
    if not isinstance(shape, Circle) or shape.compute_area() != 0.0:
        return False
    return bool(point.contains(shape.lon, shape.lat))


def _is_in_circle(shape: Shape, circle: Circle) -> bool:
    """Return whether a shape lies in a circle.

    It does if it is far enough from the antipode, the centre of the rest of the sky.
    """
    if circle.radius >= 180.0:
        return True
    antipode_distance = _compute_shape_distance(shape, circle.lon + 180.0, -circle.lat)
    return antipode_distance >= 180.0 - circle.radius - _TOUCH_TOLERANCE_DEGREES


def _is_shape_in_area(outer: Shape, inner: Shape) -> bool:
    """Return whether a polygon or range contains a circle, polygon or range."""
    if isinstance(inner, Circle):
        if not bool(outer.contains(inner.lon, inner.lat)):
            return False
        return _compute_boundary_distance(outer, inner.lon, inner.lat) >= inner.radius - _TOUCH_TOLERANCE_DEGREES
    if isinstance(outer, Polygon) and isinstance(inner, Polygon):
        return bool(is_ring_within(inner.ring, outer.ring)[0])
    if isinstance(outer, Range) and isinstance(inner, Range):
        return _contains_range(outer, inner)
    return _contains_by_border(outer, inner)


def _rank_shape(shape: Shape) -> int:
    return [Point, Circle, Polygon, Range].index(type(shape))


def _compute_shape_distance(shape: Shape, lon: float, lat: float) -> float:
    """Compute the distance from a position to a shape, 0 inside."""
    if isinstance(shape, Circle):
        distance = compute_angular_distance(lon, lat, shape.lon, shape.lat)
        return max(float(distance) - shape.radius, 0.0)
    if isinstance(shape, Point):
        return float(compute_angular_distance(lon, lat, shape.lon, shape.lat))
    if bool(shape.contains(lon, lat)):
        return 0.0
    return _compute_boundary_distance(shape, lon, lat)


def _compute_boundary_distance(shape: Shape, lon: float, lat: float) -> float:
    """Compute the distance from a position to the boundary of a polygon or range; infinite if it has none."""
    if isinstance(shape, Polygon):
        boundary_distances = shape.ring.compute_boundary_distances([lon], [lat])
        return float(boundary_distances[0])
    if not isinstance(shape, Range):
        message = f"Hven cannot compute distances to the boundary of a {type(shape).__name__}"
        raise TypeError(message)
    return float(shape.compute_boundary_distances(lon, lat)[0])


def _are_ranges_touching(a: Range, b: Range) -> bool:
    if a.lat1 > b.lat2 + _TOUCH_TOLERANCE_DEGREES or b.lat1 > a.lat2 + _TOUCH_TOLERANCE_DEGREES:
        return False
    south = max(a.lat1, b.lat1)
    north = min(a.lat2, b.lat2)
    touches_north_pole = south >= 90.0 - TOLERANCE_DEGREES or north >= 90.0
    touches_south_pole = north <= -90.0 + TOLERANCE_DEGREES or south <= -90.0
    if touches_north_pole or touches_south_pole:
        return True  # they share a pole, where all longitudes meet
    b_offset = (b.lon1 - a.lon1 + _TOUCH_TOLERANCE_DEGREES) % 360.0
    a_offset = (a.lon1 - b.lon1 + _TOUCH_TOLERANCE_DEGREES) % 360.0
    margin = 2.0 * _TOUCH_TOLERANCE_DEGREES
    return b_offset <= a.width + margin or a_offset <= b.width + margin


def _contains_range(outer: Range, inner: Range) -> bool:
    if inner.lat1 < outer.lat1 - _TOUCH_TOLERANCE_DEGREES or inner.lat2 > outer.lat2 + _TOUCH_TOLERANCE_DEGREES:
        return False
    if outer.width == 360.0:
        return True
    offset = (inner.lon1 - outer.lon1 + _TOUCH_TOLERANCE_DEGREES) % 360.0
    return offset + inner.width <= outer.width + 2.0 * _TOUCH_TOLERANCE_DEGREES


def _contains_by_border(outer: Shape, inner: Shape) -> bool:
    """Test a polygon and a range by their borders.

    `outer` contains `inner` if it contains its border, and no part of the border of `outer` is within `inner`.
    """
    lons, lats = _sample_shape_border(inner)
    if not bool(outer.contains(lons, lats).all()):
        return False
    if isinstance(outer, Polygon) and isinstance(inner, Range):
        crossing = bool(inner.find_crossing_rings(outer.ring)[0])
    elif isinstance(outer, Range) and isinstance(inner, Polygon):
        crossing = bool(outer.find_crossing_rings(inner.ring)[0])
    else:
        message = f"cannot compare {type(outer).__name__} and {type(inner).__name__}"
        raise TypeError(message)
    if crossing:
        return False
    # the border of `outer` may lie within `inner` if `inner` is larger; a vertex clearly inside shows that
    lons, lats = _sample_shape_border(outer)
    within = inner.contains(lons, lats)
    if within.any():
        border_points = zip(lons, lats, within, strict=True)
        rims = [_compute_boundary_distance(inner, lon, lat) for lon, lat, is_inside in border_points if is_inside]
        if max(rims) > 1e-9:
            return False
    if isinstance(inner, Range):
        middle = inner.compute_middle()
        return bool(outer.contains(middle.lon, middle.lat))
    return inner.compute_area() <= outer.compute_area() + 1e-9 * SKY_AREA_SQUARE_DEGREES


def _sample_shape_border(shape: Shape) -> tuple[list[float], list[float]]:
    """Compute the corners and the middles of the sides."""
    if isinstance(shape, Polygon):
        ring = shape.ring
        lon, lat = to_lon_lat(ring.edge_begin_vectors + ring.edge_end_vectors)
        return [*shape.lons, *lon.tolist()], [*shape.lats, *lat.tolist()]
    if isinstance(shape, Range):
        lons, lats = shape.list_corners()
        middle = shape.compute_middle()
        side_lons = [middle.lon, middle.lon, shape.lon1, shape.lon2]
        side_lats = [shape.lat1, shape.lat2, middle.lat, middle.lat]
        return [*lons, *side_lons], [*lats, *side_lats]
    message = f"Hven cannot compute the border of a {type(shape).__name__}"
    raise TypeError(message)

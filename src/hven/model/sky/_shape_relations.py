"""Whether two shapes touch, and whether one holds the other. Boundaries belong to shapes: touching is enough."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._rings import is_ring_within, rings_intersect
from hven.model.sky._shapes import Circle, Point, Polygon, Range, Region, Shape
from hven.model.sky._sphere import (
    SKY_AREA_SQUARE_DEGREES,
    TOLERANCE_DEGREES,
    compute_distance,
    cross_vectors,
    to_lon_lat,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

_TOUCH_TOLERANCE_DEGREES = 4.0 * TOLERANCE_DEGREES


def intersects(a: Shape, b: Shape) -> bool:
    """Return whether two shapes have at least one position in common.

    Parameters
    ----------
    a, b
        Shapes in one frame.

    Raises
    ------
    TypeError
        No rule for these classes of shapes.
    """
    if isinstance(a, Region):
        return any(intersects(part, b) for part in a.parts)
    if isinstance(b, Region):
        return any(intersects(a, part) for part in b.parts)
    if _rank_shape(a) > _rank_shape(b):
        a, b = b, a
    if isinstance(a, Point):
        return bool(b.contains(a.lon, a.lat))
    if isinstance(a, Circle):
        shape_distance = _compute_shape_distance(b, a.lon, a.lat)
        return shape_distance <= a.radius + _TOUCH_TOLERANCE_DEGREES
    if isinstance(a, Polygon) and isinstance(b, Polygon):
        return bool(rings_intersect(a.ring, b.ring)[0])
    if isinstance(a, Polygon) and isinstance(b, Range):
        return _intersects_range(a, b)
    if isinstance(a, Range) and isinstance(b, Range):
        return _are_ranges_touching(a, b)
    message = f"cannot compare {type(a).__name__} and {type(b).__name__}"
    raise TypeError(message)


def contains(outer: Shape, inner: Shape) -> bool:
    """Return whether no position of `inner` is outside `outer`.

    Of a union, one part must hold each part of `inner` alone: parts that hold it only together are not seen.

    Parameters
    ----------
    outer, inner
        Shapes in one frame.
    """
    if isinstance(inner, Region):
        return all(contains(outer, part) for part in inner.parts)
    if isinstance(outer, Region):
        return any(contains(part, inner) for part in outer.parts)
    if isinstance(inner, Point):
        return bool(outer.contains(inner.lon, inner.lat))
    if isinstance(outer, Point):
        return inner.compute_area() == 0.0 and isinstance(inner, Circle) and bool(outer.contains(inner.lon, inner.lat))
    if isinstance(outer, Circle):
        # the rest of the sky is a circle around the antipode
        return (
            outer.radius >= 180.0
            or _compute_shape_distance(inner, outer.lon + 180.0, -outer.lat)
            >= 180.0 - outer.radius - _TOUCH_TOLERANCE_DEGREES
        )
    if isinstance(inner, Circle):
        return (
            bool(outer.contains(inner.lon, inner.lat))
            and _compute_boundary_distance(outer, inner.lon, inner.lat) >= inner.radius - _TOUCH_TOLERANCE_DEGREES
        )
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
        distance = compute_distance(lon, lat, shape.lon, shape.lat)
        return max(float(distance) - shape.radius, 0.0)
    if isinstance(shape, Point):
        return float(compute_distance(lon, lat, shape.lon, shape.lat))
    if bool(shape.contains(lon, lat)):
        return 0.0
    return _compute_boundary_distance(shape, lon, lat)


def _compute_boundary_distance(shape: Shape, lon: float, lat: float) -> float:
    """Compute the distance from a position to the boundary of a polygon or range; infinite if it has none."""
    if isinstance(shape, Polygon):
        boundary_distances = shape.ring.compute_boundary_distances([lon], [lat])
        return float(boundary_distances[0])
    if not isinstance(shape, Range):
        message = f"no boundary of a {type(shape).__name__}"
        raise TypeError(message)
    return float(shape.compute_boundary_distances(lon, lat)[0])


def _list_corners(shape: Range) -> tuple[list[float], list[float]]:
    return [shape.lon1, shape.lon2, shape.lon2, shape.lon1], [shape.lat1, shape.lat1, shape.lat2, shape.lat2]


def _compute_inner_point(shape: Range) -> Point:
    return Point((shape.lon1 + shape.width / 2.0) % 360.0, (shape.lat1 + shape.lat2) / 2.0)


def _intersects_range(a: Polygon, b: Range) -> bool:
    lons, lats = _list_corners(b)
    middle = _compute_inner_point(b)
    return bool(
        b.contains(a.lons, a.lats).any()
        or a.contains(lons, lats).any()
        or bool(a.contains(middle.lon, middle.lat))
        or _has_edge_crossing(a, b),
    )


def _has_edge_crossing(a: Polygon, b: Range) -> bool:
    """Return whether an edge of the polygon crosses a side of the range."""
    ring = a.ring
    along = cross_vectors(ring.normal, ring.a)
    # meridians and parallels lie in planes: the edge is a cos t + along sin t; where is its height that of the plane?
    planes = [(np.array([0.0, 0.0, 1.0]), math.sin(math.radians(lat))) for lat in b.parallels]
    if b.width < 360.0:
        planes += [
            (np.array([math.sin(lon), -math.cos(lon), 0.0]), 0.0) for lon in np.radians([b.lon1, b.lon2]).tolist()
        ]
    for normal, height in planes:
        start_component = ring.a @ normal
        along_component = along @ normal
        size = np.hypot(start_component, along_component)
        phase = np.arctan2(along_component, start_component)
        with np.errstate(invalid="ignore", divide="ignore"):
            turn = np.arccos(np.where(size > 1e-12, height / size, np.nan))
        for t in (phase + turn, phase - turn):
            t = t % (2.0 * math.pi)  # noqa: PLW2901  (the same angle)
            hit = np.isfinite(t) & (t > 1e-14) & (t < ring.arcs - 1e-14) & (np.abs(turn) > 1e-9)
            lon, lat = to_lon_lat(ring.a[hit] * np.cos(t[hit])[:, None] + along[hit] * np.sin(t[hit])[:, None])
            if b.contains(lon, lat).any():
                return True
    return False


def _are_ranges_touching(a: Range, b: Range) -> bool:
    if a.lat1 > b.lat2 + _TOUCH_TOLERANCE_DEGREES or b.lat1 > a.lat2 + _TOUCH_TOLERANCE_DEGREES:
        return False
    if (
        max(a.lat1, b.lat1) >= 90.0 - TOLERANCE_DEGREES
        or min(a.lat2, b.lat2) <= -90.0 + TOLERANCE_DEGREES
        or min(a.lat2, b.lat2) >= 90.0
        or max(a.lat1, b.lat1) <= -90.0
    ):
        return True  # they share a pole, where all longitudes meet
    return (b.lon1 - a.lon1 + _TOUCH_TOLERANCE_DEGREES) % 360.0 <= a.width + 2.0 * _TOUCH_TOLERANCE_DEGREES or (
        a.lon1 - b.lon1 + _TOUCH_TOLERANCE_DEGREES
    ) % 360.0 <= b.width + 2.0 * _TOUCH_TOLERANCE_DEGREES


def _contains_range(outer: Range, inner: Range) -> bool:
    if inner.lat1 < outer.lat1 - _TOUCH_TOLERANCE_DEGREES or inner.lat2 > outer.lat2 + _TOUCH_TOLERANCE_DEGREES:
        return False
    return outer.width == 360.0 or (
        (inner.lon1 - outer.lon1 + _TOUCH_TOLERANCE_DEGREES) % 360.0 + inner.width
        <= outer.width + 2.0 * _TOUCH_TOLERANCE_DEGREES
    )


def _contains_by_border(outer: Shape, inner: Shape) -> bool:
    """Check a polygon and a range.

    The border of `inner` is in `outer`, and nothing of the border of `outer` within `inner`.
    """
    lons, lats = _sample_border(inner)
    if not bool(outer.contains(lons, lats).all()):
        return False
    if isinstance(outer, Polygon) and isinstance(inner, Range):
        crossing = _has_edge_crossing(outer, inner)
    elif isinstance(outer, Range) and isinstance(inner, Polygon):
        crossing = _has_edge_crossing(inner, outer)
    else:
        message = f"cannot compare {type(outer).__name__} and {type(inner).__name__}"
        raise TypeError(message)
    if crossing:
        return False
    # the border of `outer` may lie within `inner` when that is the larger: a vertex clearly inside tells
    lons, lats = _sample_border(outer)
    within = inner.contains(lons, lats)
    if within.any():
        rims = [
            _compute_boundary_distance(inner, lon, lat)
            for lon, lat, flag in zip(lons, lats, within, strict=True)
            if flag
        ]
        if max(rims) > 1e-9:
            return False
    if isinstance(inner, Range):
        middle = _compute_inner_point(inner)
        return bool(outer.contains(middle.lon, middle.lat))
    return inner.compute_area() <= outer.compute_area() + 1e-9 * SKY_AREA_SQUARE_DEGREES


def _sample_border(shape: Shape) -> tuple[list[float], list[float]]:
    """Compute corners and middles of the sides."""
    if isinstance(shape, Polygon):
        ring = shape.ring
        lon, lat = to_lon_lat(ring.a + ring.b)
        return [*shape.lons, *lon.tolist()], [*shape.lats, *lat.tolist()]
    if isinstance(shape, Range):
        lons, lats = _list_corners(shape)
        middle = _compute_inner_point(shape)
        return [*lons, middle.lon, middle.lon, shape.lon1, shape.lon2], [
            *lats,
            shape.lat1,
            shape.lat2,
            middle.lat,
            middle.lat,
        ]
    message = f"no border of a {type(shape).__name__}"
    raise TypeError(message)

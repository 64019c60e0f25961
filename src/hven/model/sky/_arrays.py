"""Shapes by the column: one answer per row, for SQL functions. Circles are three numbers; polygons are Arrow lists.

A list array of polygons comes as `coordinates` (longitude, latitude, longitude, ... degrees, all rows one after the other) and
`offsets` (where each row's numbers begin, and the end: shape (n + 1,)), which is how Arrow keeps it. Rows whose polygon is none
(fewer than three pairs, an odd number, NaN) give False, or NaN where a number is asked for. A single polygon or point
stands for all rows. Inside is the side of the smaller area.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._rings import Rings, cross
from hven.model.sky._shapes import Polygon
from hven.model.sky._sphere import SKY, TOLERANCE, angles, circle_area, distance, in_circle, vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_PAIRS = 1 << 20  # pairs of edges that are compared at a time


def in_polygon(lon: npt.ArrayLike, lat: npt.ArrayLike, offsets: npt.ArrayLike, coordinates: npt.ArrayLike) -> Flags:
    """Return which points lie in their row's polygon.

    Parameters
    ----------
    lon, lat
        Degrees, shape (n,), or one position for all rows.
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), or one for all rows.

    Returns
    -------
    inside
        Shape (n,); False for what is no polygon.
    """
    lon, lat = np.atleast_1d(np.asarray(lon, dtype=np.float64)), np.atleast_1d(np.asarray(lat, dtype=np.float64))
    starts, numbers = _single(offsets, coordinates)
    rows = len(starts) - 1
    if rows == 1:
        good, rings = _rings(starts, numbers)
        return rings.holds(lon, lat) if good[0] and rings is not None else np.zeros(len(lon), dtype=np.bool_)
    good, rings = _rings(starts, numbers)
    inside = np.zeros(rows, dtype=np.bool_)
    if rings is not None:
        lon, lat = np.broadcast_to(lon, (rows,)), np.broadcast_to(lat, (rows,))
        inside[good] = rings.contain(lon[good], lat[good])
    return inside


def polygon_areas(offsets: npt.ArrayLike, coordinates: npt.ArrayLike) -> Numbers:
    """Compute the areas of polygons.

    Parameters
    ----------
    offsets, coordinates
        N polygons: where each begins and the last ends, shape (n + 1,); lon, lat, lon, lat .. in degrees, shape (m,).

    Returns
    -------
    areas
        Square degrees, shape (n,); NaN for what is no polygon.
    """
    good, rings = _rings(np.asarray(offsets, dtype=np.int64), np.asarray(coordinates, dtype=np.float64))
    areas = np.full(len(good), np.nan)
    if rings is not None:
        areas[good] = rings.area
    return areas


def unions(owner: Indexes, circle: Flags, offsets: npt.ArrayLike, coordinates: npt.ArrayLike) -> tuple[Numbers, Flags]:
    """Compute the areas of unions as the sums of their parts, where these do not meet.

    Parameters
    ----------
    owner
        The union of each part, from 0, ascending; shape (n,).
    circle
        Which parts are circles, shape (n,); the others are polygons.
    offsets, coordinates
        Numbers of all parts, shapes (n + 1,) and (m,); degrees.

    Returns
    -------
    areas
        Square degrees, shape (u,) for u unions.
    apart
        Which of them are so because their parts lie in caps that do not meet, shape (u,).
    """
    starts, numbers = np.asarray(offsets, dtype=np.int64), np.asarray(coordinates, dtype=np.float64)
    area, reach, xyz = np.full(len(owner), np.nan), np.full(len(owner), 180.0), np.zeros((len(owner), 3))
    first = starts[:-1][circle]
    area[circle], reach[circle] = circle_area(numbers[first + 2]), numbers[first + 2]
    xyz[circle] = vectors(numbers[first], numbers[first + 1])
    if not circle.all():
        rings = _of_rows(starts, numbers, np.flatnonzero(~circle))
        area[~circle], xyz[~circle] = rings.area, rings.mean
        reach[~circle] = np.where((rings.reach < 60.0) & (rings.area < SKY / 8.0), rings.reach, np.inf)
    sizes = np.bincount(owner)
    ends = np.cumsum(sizes)[owner]
    later = ends - np.arange(len(owner)) - 1  # parts of the same union behind each
    one = np.repeat(np.arange(len(owner)), later)
    two = one + 1 + np.arange(len(one)) - np.repeat(np.cumsum(later) - later, later)
    away = np.degrees(2.0 * np.arcsin(np.minimum(np.linalg.norm(xyz[one] - xyz[two], axis=1) / 2.0, 1.0)))
    apart = np.ones(len(sizes), np.bool_)
    apart[owner[one[away <= reach[one] + reach[two]]]] = False
    return np.bincount(owner, area).astype(np.float64), apart


def polygon_centroids(offsets: npt.ArrayLike, coordinates: npt.ArrayLike) -> tuple[Numbers, Numbers]:
    """Compute the middles of polygons.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), as for `polygon_areas`.

    Returns
    -------
    lon, lat
        Degrees, shape (n,); NaN for what is no polygon.
    """
    starts, numbers = np.asarray(offsets, dtype=np.int64), np.asarray(coordinates, dtype=np.float64)
    good, _ = _rings(starts, numbers)
    lon, lat = np.full(len(good), np.nan), np.full(len(good), np.nan)
    for row in np.flatnonzero(good):
        part = numbers[starts[row] : starts[row + 1]].tolist()
        middle = Polygon(tuple(part[::2]), tuple(part[1::2])).centroid()
        lon[row], lat[row] = middle.lon, middle.lat
    return lon, lat


def circles_intersect(lon1: Any, lat1: Any, radius1: Any, lon2: Any, lat2: Any, radius2: Any) -> Flags:
    """Return which pairs of circles touch.

    Parameters
    ----------
    lon1, lat1, radius1, lon2, lat2, radius2
        Degrees, broadcast against each other; a negative radius is no circle.

    Returns
    -------
    touch
        Of the broadcast shape.
    """
    found: Flags = distance(lon1, lat1, lon2, lat2) <= np.add(radius1, radius2) + TOLERANCE
    return found & (np.asarray(radius1) >= 0.0) & (np.asarray(radius2) >= 0.0)


def circle_in_circle(lon1: Any, lat1: Any, radius1: Any, lon2: Any, lat2: Any, radius2: Any) -> Flags:
    """Return which first circles lie wholly in the second.

    Parameters
    ----------
    lon1, lat1, radius1, lon2, lat2, radius2
        Degrees, broadcast against each other; a negative radius is no circle.

    Returns
    -------
    inside
        Of the broadcast shape.
    """
    found: Flags = distance(lon1, lat1, lon2, lat2) + radius1 <= np.asarray(radius2) + TOLERANCE
    return (found | (np.asarray(radius2) >= 180.0)) & (np.asarray(radius1) >= 0.0)


def circle_meets_polygon(
    lon: npt.ArrayLike, lat: npt.ArrayLike, radius: npt.ArrayLike, offsets: npt.ArrayLike, coordinates: npt.ArrayLike
) -> Flags:
    """Return which circles touch their row's polygon.

    Parameters
    ----------
    lon, lat, radius
        Degrees; circles broadcast over the polygons' rows.
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,); or one for all rows.

    Returns
    -------
    touch
        Shape (n,).
    """
    return _circle_polygon(lon, lat, radius, offsets, coordinates, "meets")


def circle_in_polygon(
    lon: npt.ArrayLike, lat: npt.ArrayLike, radius: npt.ArrayLike, offsets: npt.ArrayLike, coordinates: npt.ArrayLike
) -> Flags:
    """Return which circles lie wholly in their row's polygon.

    Parameters
    ----------
    lon, lat, radius
        Degrees; circles broadcast over the polygons' rows.
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,); or one for all rows.

    Returns
    -------
    inside
        Shape (n,).
    """
    return _circle_polygon(lon, lat, radius, offsets, coordinates, "in")


def polygon_in_circle(
    offsets: npt.ArrayLike, coordinates: npt.ArrayLike, lon: npt.ArrayLike, lat: npt.ArrayLike, radius: npt.ArrayLike
) -> Flags:
    """Return which polygons lie wholly in their row's circle: they keep away from the circle that is the rest of the sky.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,); or one for all rows.
    lon, lat, radius
        Degrees; circles broadcast over the polygons' rows.

    Returns
    -------
    inside
        Shape (n,).
    """
    lon, lat, radius = (np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in (lon, lat, radius))
    away = _circle_polygon(lon + 180.0, -lat, 180.0 - radius, offsets, coordinates, "away")
    return away & (radius >= 0.0)


def _circle_polygon(lon: Any, lat: Any, radius: Any, offsets: Any, coordinates: Any, how: str) -> Flags:
    lon, lat, radius = (np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in (lon, lat, radius))
    starts, numbers = _single(offsets, coordinates)
    rows = max(len(starts) - 1, len(lon), len(lat), len(radius))
    lon, lat, radius = (np.broadcast_to(value, (rows,)) for value in (lon, lat, radius))
    starts, numbers = _repeat(starts, numbers, rows)
    good, rings = _rings(starts, numbers)
    answer = np.zeros(rows, dtype=np.bool_)
    if rings is None:
        return answer
    inside, gap, size = rings.contain(lon[good], lat[good]), rings.gap(lon[good], lat[good]), radius[good]
    if how == "meets":
        answer[good] = (inside | (gap <= size + TOLERANCE)) & (size >= 0.0)
    elif how == "in":
        answer[good] = inside & (gap >= size - TOLERANCE) & (size >= 0.0)
    else:
        answer[good] = (size <= 0.0) | (~inside & (gap >= size - TOLERANCE))
    return answer


def polygons_intersect(
    offsets1: npt.ArrayLike, coordinates1: npt.ArrayLike, offsets2: npt.ArrayLike, coordinates2: npt.ArrayLike
) -> Flags:
    """Return which pairs of polygons touch.

    Parameters
    ----------
    offsets1, coordinates1, offsets2, coordinates2
        N polygons on each side, shapes (n + 1,) and (m,); one polygon on either side stands for all rows.

    Returns
    -------
    touch
        Shape (n,).
    """
    answer, one, two, live = _pairs(offsets1, coordinates1, offsets2, coordinates2)
    if one is None or two is None:
        return answer
    found = np.zeros(len(live), dtype=np.bool_)
    lon1, lat1 = angles(one.mean)
    lon2, lat2 = angles(two.mean)
    near = distance(lon1, lat1, lon2, lat2) <= one.reach + two.reach + 1e-9
    near |= (one.area > 10_000.0) | (two.area > 10_000.0) | (one.reach > 60.0) | (two.reach > 60.0)
    rows = np.flatnonzero(near)
    if len(rows):
        a, b = _part(one, rows), _part(two, rows)
        found[rows] = _vertices_in(a, b) | _vertices_in(b, a) | _edges_cross(a, b)
    answer[live] = found
    return answer


def polygon_in_polygon(
    offsets1: npt.ArrayLike, coordinates1: npt.ArrayLike, offsets2: npt.ArrayLike, coordinates2: npt.ArrayLike
) -> Flags:
    """Return which first polygons lie wholly in the second.

    Parameters
    ----------
    offsets1, coordinates1, offsets2, coordinates2
        N polygons on each side, shapes (n + 1,) and (m,); one polygon on either side stands for all rows.

    Returns
    -------
    inside
        Shape (n,).
    """
    answer, inner, outer, live = _pairs(offsets1, coordinates1, offsets2, coordinates2)
    if inner is None or outer is None:
        return answer
    middle_lon, middle_lat = angles(inner.a + inner.b)
    held = _vertices_in(inner, outer, every=True) & _points_in(middle_lon, middle_lat, inner, outer, every=True)
    answer[live] = held & ~_edges_cross(inner, outer) & (inner.area <= outer.area * (1.0 + 1e-9) + 1e-18)
    return answer


def _pairs(
    offsets1: Any, coordinates1: Any, offsets2: Any, coordinates2: Any
) -> tuple[Flags, Rings | None, Rings | None, Indexes]:
    (starts1, numbers1), (starts2, numbers2) = _single(offsets1, coordinates1), _single(offsets2, coordinates2)
    rows = max(len(np.asarray(offsets1)), len(np.asarray(offsets2))) - 1
    starts1, numbers1 = _repeat(starts1, numbers1, rows)
    starts2, numbers2 = _repeat(starts2, numbers2, rows)
    answer = np.zeros(rows, dtype=np.bool_)
    live = np.flatnonzero(_good(starts1, numbers1) & _good(starts2, numbers2))
    if not len(live):
        return answer, None, None, live
    return answer, _of_rows(starts1, numbers1, live), _of_rows(starts2, numbers2, live), live


def _vertices_in(a: Rings, b: Rings, *, every: bool = False) -> Flags:
    return _points_in(a.lon, a.lat, a, b, every=every)


def _points_in(lon: Numbers, lat: Numbers, a: Rings, b: Rings, *, every: bool) -> Flags:
    """Return for each row whether any (or every) one of `a`'s points lies in the row's ring of `b`."""
    first = _expand(b, a.owner)
    inside = first.contain(lon, lat)
    return (np.logical_and if every else np.logical_or).reduceat(inside, a.first)


def _expand(rings: Rings, rows: Indexes) -> Rings:
    return _part(rings, rows)


def _part(rings: Rings, rows: Indexes) -> Rings:
    """Return the rings of `rows`, which may repeat."""
    if len(rows) == len(rings.counts) and bool((rows == np.arange(len(rows))).all()):
        return rings
    counts = rings.counts[rows]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    take = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - rings.first[rows], counts)
    return Rings(rings.lon[take], rings.lat[take], offsets)


def _edges_cross(a: Rings, b: Rings) -> Flags:
    """Return for each row whether an edge of `a` crosses one of `b`."""
    found = np.zeros(len(a.counts), dtype=np.bool_)
    sizes = a.counts * b.counts
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    start = 0
    while start < len(sizes):
        stop = max(int(np.searchsorted(bounds, bounds[start] + _PAIRS, side="right")) - 1, start + 1)
        rows = np.arange(start, stop)
        row = np.repeat(rows, sizes[rows])
        number = np.arange(len(row)) - np.repeat(bounds[rows] - bounds[start], sizes[rows])
        left, right = a.first[row] + number // b.counts[row], b.first[row] + number % b.counts[row]
        crossing = cross(a.a[left], a.b[left], a.normal[left], b.a[right], b.b[right], b.normal[right])
        found[row[crossing]] = True
        start = stop
    return found


def _single(offsets: Any, coordinates: Any) -> tuple[Indexes, Numbers]:
    """Reduce rows that all repeat one polygon, as a constant in a query does, to that one."""
    starts, numbers = np.asarray(offsets, dtype=np.int64), np.asarray(coordinates, dtype=np.float64)
    rows = len(starts) - 1
    if rows > 1:
        size = int(starts[1] - starts[0])
        if size and int(starts[-1] - starts[0]) == size * rows and bool((np.diff(starts) == size).all()):
            block = numbers[starts[0] : starts[-1]].reshape(rows, size)
            if bool((block[-1] == block[0]).all()) and bool((block == block[0]).all()):
                return np.array([0, size]), block[0]
    return starts, numbers


def _repeat(starts: Indexes, numbers: Numbers, rows: int) -> tuple[Indexes, Numbers]:
    if len(starts) - 1 == rows or len(starts) != 2:
        return starts, numbers
    part = numbers[starts[0] : starts[1]]
    return np.arange(rows + 1) * len(part), np.tile(part, rows)


def _good(starts: Indexes, numbers: Numbers) -> Flags:
    """Return which rows are polygons: three pairs or more, all of them positions."""
    size = np.diff(starts)
    wrong = ~np.isfinite(numbers)
    used = slice(int(starts[0]), int(starts[-1]))
    second = (np.arange(used.start, used.stop) - np.repeat(starts[:-1], size)) % 2 == 1
    wrong[used] |= second & (np.abs(numbers[used]) > 90.0)
    bad = np.concatenate([[0], np.cumsum(wrong)])
    found: Flags = (size >= 6) & (size % 2 == 0) & (bad[starts[1:]] == bad[starts[:-1]])
    return found


def _rings(starts: Indexes, numbers: Numbers) -> tuple[Flags, Rings | None]:
    """Return which rows are polygons, and those rows' rings."""
    good = _good(starts, numbers)
    rows = np.flatnonzero(good)
    return good, _of_rows(starts, numbers, rows) if len(rows) else None


def _of_rows(starts: Indexes, numbers: Numbers, rows: Indexes) -> Rings:
    size = np.diff(starts)[rows]
    offsets = np.concatenate([[0], np.cumsum(size)])
    take = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - starts[:-1][rows], size)
    picked = numbers[take]
    return Rings(picked[::2], picked[1::2], offsets // 2)


__all__ = [
    "circle_in_circle",
    "circle_in_polygon",
    "circle_meets_polygon",
    "circles_intersect",
    "in_circle",
    "in_polygon",
    "polygon_areas",
    "polygon_centroids",
    "polygon_in_circle",
    "polygon_in_polygon",
    "polygons_intersect",
    "unions",
]

"""Shapes by the column: one answer per row, for SQL functions. Circles are three numbers; polygons are Arrow lists.

A list array of polygons comes as `coordinates` (longitude, latitude, longitude, ... degrees, all rows one after the other) and
`offsets` (where each row's numbers begin, and the end: shape (n + 1,)), which is how Arrow keeps it. Rows whose polygon is none
(fewer than three pairs, an odd number, NaN) give False, or NaN where a number is asked for. A single polygon or point
stands for all rows. Inside is the side of the smaller area.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import _healpix as healpix
from hven.model.sky._ragged import blocks, ends, following, gathered, numbered
from hven.model.sky._rings import Rings, held, touch
from hven.model.sky._sphere import (
    TOLERANCE,
    along,
    angle,
    angles,
    circle_area,
    columns,
    distance,
    in_circle,
    vectors,
    wrap,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

THIN = 20  # times that the circle around a polygon is larger than it, if it is thin
EDGES, BEADS = 1000, 100  # of a thin polygon
_BLOCK = 1 << 15  # corners at a time: what is computed of them stays in a processor's cache
_STEP = 0.08  # of a cell's width, along edges


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
    good, corners, starts = _polygons(*_single(offsets, coordinates))
    if len(good) == 1:
        return Rings(corners[:, 0], corners[:, 1], starts).holds(lon, lat) if good[0] else np.zeros(len(lon), np.bool_)
    lon, lat = (np.broadcast_to(one, good.shape)[good] for one in (lon, lat))
    found = [np.empty(0, np.bool_)]
    for part in blocks(np.diff(starts), _BLOCK):
        first = starts[part.start : part.stop + 1]
        some = corners[first[0] : first[-1]]
        found.append(Rings(some[:, 0], some[:, 1], first - first[0]).contain(lon[part], lat[part]))
    good[good] = np.concatenate(found)
    return good


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
    good, rings = _rings(offsets, coordinates)
    areas = np.full(len(good), np.nan)
    areas[good] = rings.area
    return areas


def caps(
    offsets: npt.ArrayLike, coordinates: npt.ArrayLike, long: float = 0.0
) -> tuple[Numbers, Numbers, Numbers, Flags]:
    """Compute circles that hold the corners of polygons; of less than 60 degrees, they hold the polygons.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), as for `polygon_areas`.
    long
        Degrees: of larger circles it is told whether polygons are thin.

    Returns
    -------
    lon, lat, radius
        Degrees, shape (n,); NaN for what is no polygon.
    thin
        Which may hold less than a twentieth of their circle, shape (n,): of those that certainly do not, it is known here.
    """
    good, picked, starts = _polygons(offsets, coordinates)
    where = np.flatnonzero(good)
    found, thin = np.full((3, len(good)), np.nan), np.zeros(len(good), np.bool_)
    for part in blocks(np.diff(starts), _BLOCK):
        first, size = starts[part] - starts[part.start], np.diff(starts[part.start : part.stop + 1])
        a = columns(*picked[starts[part.start] : starts[part.stop]].T)
        total = [np.add.reduceat(one, first) for one in a]
        length = np.sqrt(sum(one * one for one in total))
        some = length > 1e-9
        middle = [
            np.where(some, one / np.maximum(length, 1e-300), axis) for one, axis in zip(total, (0, 0, 1), strict=True)
        ]
        chord = sum((one - np.repeat(other, size)) ** 2 for one, other in zip(a, middle, strict=True))
        reach = 2.0 * np.arcsin(np.minimum(np.sqrt(np.maximum.reduceat(chord, first)) / 2.0, 1.0))
        rows = where[part]
        found[0, rows], found[1, rows] = angles(np.stack(middle, axis=1))
        found[2, rows] = np.degrees(reach)
        if not (found[2, rows] > long).any():
            continue
        # what a polygon covers of the plane behind it is that of its chords, but for a sixth of the cubes of its arcs
        (x, y, z), (u, v, w) = a, (following(starts[part.start : part.stop + 1] - starts[part.start], one) for one in a)
        short = np.maximum(2.0 - 2.0 * (x * u + y * v + z * w), 0.0)
        shade = [np.add.reduceat(one, first) for one in (y * w - z * v, z * u - x * w, x * v - y * u)]
        flat = np.abs(sum(one * other for one, other in zip(shade, middle, strict=True))) / 2.0
        flat -= np.add.reduceat(short * np.sqrt(short), first) / 8.0
        thin[rows] = (THIN * flat < 4.0 * np.pi * np.sin(np.minimum(reach, np.pi) / 2.0) ** 2) & (found[2, rows] > long)
    return found[0], found[1], found[2], thin


def strips(
    offsets: npt.ArrayLike, coordinates: npt.ArrayLike, among: Flags
) -> tuple[Indexes, Numbers, Numbers, Numbers]:
    """Cover polygons that are long and narrow by circles along them: the circle around one holds many times its area.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), as for `polygon_areas`.
    among
        Those that are looked at, shape (n,).

    Returns
    -------
    which, lon, lat, radius
        The polygon of each circle, ascending, and the circle in degrees; shape (k,). Polygons that touch themselves have none.
    """
    good, rings = _rings(offsets, coordinates, among)
    thin = np.flatnonzero((rings.counts <= EDGES) & (THIN * rings.area < circle_area(rings.reach)))
    thin = thin[rings.take(thin).simple]
    which, lon, lat, radius = rings.take(thin).beads(BEADS)
    return np.flatnonzero(good)[thin][which], lon, lat, radius


def wide(offsets: npt.ArrayLike, coordinates: npt.ArrayLike, among: Flags, order: int) -> tuple[Indexes, Indexes]:
    """Cover polygons of any size by cells of one order: those along their edges, and of what hangs together without an edge what is inside.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), as for `polygon_areas`.
    among
        Those that are covered, shape (n,).
    order
        Of the cells: a few, or all of them are looked at.

    Returns
    -------
    which, cells
        The polygon of each cell, ascending; shape (k,).
    """
    good, every = _rings(offsets, coordinates, among)
    where, near = np.flatnonzero(good), healpix.neighbours_of_all(order)
    near = np.where(near < 0, np.arange(len(near))[:, None], near)
    step = _STEP / 2**order
    found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for part in blocks(every.counts + len(near), _BLOCK):
        rings = every.take(np.arange(part.start, part.stop))
        pieces = np.maximum(np.ceil(rings.arcs / step), 1.0).astype(np.int64)
        edge, number = numbered(pieces)
        share = number / pieces[edge]
        # of all places along an edge, the first in each step tells for those behind it
        way = np.cumsum(rings.arcs) - rings.arcs
        far = 2.0 * rings.owner[edge] + (way[edge] + share * rings.arcs[edge]) // step
        kept = np.flatnonzero(np.append(True, far[1:] != far[:-1]))
        edge, share = edge[kept], share[kept]
        lon, lat = angles(along(rings.a[edge], rings.b[edge], share))
        at, cells = healpix.around(order, np.arange(len(edge)), lon, lat, np.full(len(edge), 2.0 * step))
        none = len(near)
        label = np.broadcast_to(np.arange(none), (len(rings.first), none)).copy()
        label[rings.owner[edge[at]], cells] = none
        rim = label == none
        while True:
            least = np.where(rim, none, label[:, near].min(axis=2))
            if np.array_equal(least, label):
                break
            label = least
        ring, cell = np.nonzero(label == np.arange(none))
        inside = np.zeros((len(label), none + 1), np.bool_)
        inside[:, none] = True
        inside[ring, cell] = rings.take(ring).contain(*healpix.center(order, cell))
        which, cells = np.nonzero(np.take_along_axis(inside, label, axis=1))
        found.append((where[part][which], cells))
    return tuple(np.concatenate(one) for one in zip(*found, strict=True))  # type: ignore[return-value]


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
    _, rings = _rings(starts, numbers, ~circle)
    area[~circle], xyz[~circle], reach[~circle] = rings.area, rings.mean, np.where(rings.capped, rings.reach, np.inf)
    rows = ends(np.bincount(owner))
    later = rows[1:][owner] - np.arange(len(owner)) - 1  # parts of the same union behind each
    one, number = numbered(later)
    two = one + 1 + number
    apart = np.ones(len(rows) - 1, np.bool_)
    apart[owner[one[np.degrees(angle(xyz[one], xyz[two])) <= reach[one] + reach[two]]]] = False
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
    good, rings = _rings(offsets, coordinates)
    lon, lat = np.full((2, len(good)), np.nan)
    lon[good], lat[good] = rings.centroids()
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
    good, rings = _spread(*_rings(starts, numbers), rows)
    answer = good.copy()
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
    answer, one, two = _pairs(offsets1, coordinates1, offsets2, coordinates2)
    answer[answer] = touch(one, two)
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
    answer, inner, outer = _pairs(offsets1, coordinates1, offsets2, coordinates2)
    answer[answer] = held(inner, outer)
    return answer


def _pairs(offsets1: Any, coordinates1: Any, offsets2: Any, coordinates2: Any) -> tuple[Flags, Rings, Rings]:
    """Return which rows have polygons on both sides, and those rows' rings."""
    rows = max(len(np.asarray(offsets1)), len(np.asarray(offsets2))) - 1
    (some, one), (others, two) = (
        _spread(*_rings(*_single(*side)), rows) for side in ((offsets1, coordinates1), (offsets2, coordinates2))
    )
    both = some & others
    return both, one.take(np.flatnonzero(both[some])), two.take(np.flatnonzero(both[others]))


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


def _spread(good: Flags, rings: Rings, rows: int) -> tuple[Flags, Rings]:
    """Give every row the polygon that there is, if it is one."""
    if len(good) == rows or len(good) != 1:
        return good, rings
    good = np.repeat(good, rows)
    return good, rings.take(np.zeros(good.sum(), dtype=np.int64))


def _rings(offsets: Any, coordinates: Any, among: Any = True) -> tuple[Flags, Rings]:
    """Return which rows are polygons, and those rows' rings."""
    good, picked, starts = _polygons(offsets, coordinates, among)
    return good, Rings(picked[:, 0], picked[:, 1], starts)


def _polygons(offsets: Any, coordinates: Any, among: Any = True) -> tuple[Flags, Numbers, Indexes]:
    """Return which rows are polygons (three pairs or more, all of them positions), their corners, and where each begins."""
    starts, numbers = np.asarray(offsets, dtype=np.int64), np.asarray(coordinates, dtype=np.float64)
    size = np.diff(starts)
    good: Flags = (size >= 6) & (size % 2 == 0) & among
    if good.all():
        numbers, starts = numbers[starts[0] : starts[-1]], starts - starts[0]
    else:
        at, starts = gathered(starts, np.flatnonzero(good))
        numbers = numbers[at]
    pairs, first = numbers.reshape(-1, 2), starts // 2
    if not len(pairs) or (
        np.isfinite([pairs[:, 0].min(), pairs[:, 0].max()]).all()
        and np.abs([pairs[:, 1].min(), pairs[:, 1].max()]).max() <= 90.0
    ):
        return good, pairs, first  # of most columns extremes tell, without another array as long
    wrong = np.flatnonzero(~(np.abs(pairs[:, 1]) <= 90.0) | ~np.isfinite(pairs[:, 0]))
    if not len(wrong):
        return good, pairs, first
    kept = np.ones(len(first) - 1, np.bool_)
    kept[np.searchsorted(first, wrong, "right") - 1] = False
    good[np.flatnonzero(good)[~kept]] = False
    at, first = gathered(first, np.flatnonzero(kept))
    return good, pairs[at], first


__all__ = [
    "caps",
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


def boxes(
    lon: npt.ArrayLike, lat: npt.ArrayLike, width: npt.ArrayLike, height: npt.ArrayLike
) -> tuple[Numbers, Numbers]:
    """Compute the corners of many boxes at once (see `Box`).

    Parameters
    ----------
    lon, lat, width, height
        Degrees, shape (n,).

    Returns
    -------
    lons, lats
        Degrees, each of shape (n, 4); NaN for what is no box.
    """
    lon, lat, width, height = (np.asarray(numbers, dtype=np.float64) for numbers in (lon, lat, width, height))
    good = (
        np.isfinite(lon) & (np.abs(lat) <= 90.0) & (width > 0.0) & (width < 180.0) & (height > 0.0) & (height < 180.0)
    )
    lon, lat, width, height = (np.where(good, numbers, 1.0)[:, None] for numbers in (lon, lat, width, height))
    half = np.radians(width) / 2.0
    top = np.arctan(np.tan(np.radians(height) / 2.0) * np.cos(half))
    x, p = half * np.array([-1.0, 1.0, 1.0, -1.0]), top * np.array([-1.0, -1.0, 1.0, 1.0])
    ahead, aside, up = np.cos(p) * np.cos(x), np.cos(p) * np.sin(x), np.sin(p)
    phi = np.radians(lat)
    turned = np.stack([np.cos(phi) * ahead - np.sin(phi) * up, aside, np.sin(phi) * ahead + np.cos(phi) * up], axis=-1)
    lons, lats = angles(turned)
    return np.where(good[:, None], wrap(lons + lon), np.nan), np.where(good[:, None], lats, np.nan)

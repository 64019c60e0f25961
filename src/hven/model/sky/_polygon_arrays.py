"""Shapes by the column: one answer per row, for SQL functions. Circles are three numbers; polygons are Arrow lists.

A list array of polygons comes as `coordinates` (longitude, latitude, longitude, ... degrees, all rows one after the
other) and `offsets` (where each row's numbers begin, and the end: shape (n + 1,)), which is how Arrow keeps it. Rows
whose polygon is none (fewer than three pairs, an odd number, NaN) give False, or NaN where a number is asked for. A
single polygon or point stands for all rows. Inside is the side of the smaller area.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import _healpix as healpix
from hven.model.sky._ragged_arrays import (
    compute_element_numbers,
    compute_offsets,
    gather_rows,
    split_into_blocks,
    take_successor_values,
)
from hven.model.sky._rings import Rings, is_ring_within, rings_intersect
from hven.model.sky._sphere import (
    TOLERANCE_DEGREES,
    compute_circle_area,
    compute_distance,
    interpolate_along_arcs,
    is_point_in_circle,
    measure_angles,
    to_lon_lat,
    to_unit_vectors,
    to_vector_components,
    wrap_longitudes,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

MIN_THIN_AREA_RATIO = 20  # times that the circle around a polygon is larger than it, if it is thin
MAX_THIN_POLYGON_EDGES, MAX_CIRCLES_PER_POLYGON = 1000, 100  # of a thin polygon
_BLOCK_CORNERS = 1 << 15  # corners at a time: what is computed of them stays in a processor's cache
_STEP_CELL_WIDTHS = 0.08  # of a cell's width, along edges


def is_point_in_polygon(
    lon: npt.ArrayLike, lat: npt.ArrayLike, offsets: npt.ArrayLike, coordinates: npt.ArrayLike
) -> Flags:
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
    lon = np.atleast_1d(np.asarray(lon, dtype=np.float64))
    lat = np.atleast_1d(np.asarray(lat, dtype=np.float64))
    good, corners, starts = _extract_polygons(*_reduce_repeated_polygon(offsets, coordinates))
    if len(good) == 1:
        if good[0]:
            return Rings(corners[:, 0], corners[:, 1], starts).contains_points(lon, lat)
        return np.zeros(len(lon), np.bool_)
    lon, lat = (np.broadcast_to(coordinate, good.shape)[good] for coordinate in (lon, lat))
    inside_blocks = [np.empty(0, np.bool_)]
    for part in split_into_blocks(np.diff(starts), _BLOCK_CORNERS):
        first = starts[part.start : part.stop + 1]
        block_corners = corners[first[0] : first[-1]]
        inside_blocks.append(
            Rings(block_corners[:, 0], block_corners[:, 1], first - first[0]).contains_pairwise(lon[part], lat[part])
        )
    good[good] = np.concatenate(inside_blocks)
    return good


def compute_polygon_areas(offsets: npt.ArrayLike, coordinates: npt.ArrayLike) -> Numbers:
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
    good, rings = _build_rings(offsets, coordinates)
    areas = np.full(len(good), np.nan)
    areas[good] = rings.area
    return areas


def compute_bounding_circles(
    offsets: npt.ArrayLike, coordinates: npt.ArrayLike, min_thin_radius: float = 0.0
) -> tuple[Numbers, Numbers, Numbers, Flags]:
    """Compute circles that hold the corners of polygons; of less than 60 degrees, they hold the polygons.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), as for `compute_polygon_areas`.
    min_thin_radius
        Degrees: of larger circles it is told whether polygons are thin.

    Returns
    -------
    lon, lat, radius
        Degrees, shape (n,); NaN for what is no polygon.
    thin
        Which may hold less than a twentieth of their circle, shape (n,): of those that certainly do not, it is known
        here.
    """
    good, picked, starts = _extract_polygons(offsets, coordinates)
    where = np.flatnonzero(good)
    circles = np.full((3, len(good)), np.nan)
    thin = np.zeros(len(good), np.bool_)
    for part in split_into_blocks(np.diff(starts), _BLOCK_CORNERS):
        first = starts[part] - starts[part.start]
        size = np.diff(starts[part.start : part.stop + 1])
        a = to_vector_components(*picked[starts[part.start] : starts[part.stop]].T)
        total = [np.add.reduceat(component, first) for component in a]
        length = np.sqrt(sum(component * component for component in total))
        has_direction = length > 1e-9
        middle = [
            np.where(has_direction, component / np.maximum(length, 1e-300), axis)
            for component, axis in zip(total, (0, 0, 1), strict=True)
        ]
        chord = sum(
            (component - np.repeat(middle_component, size)) ** 2
            for component, middle_component in zip(a, middle, strict=True)
        )
        reach = 2.0 * np.arcsin(np.minimum(np.sqrt(np.maximum.reduceat(chord, first)) / 2.0, 1.0))
        rows = where[part]
        circles[0, rows], circles[1, rows] = to_lon_lat(np.stack(middle, axis=1))
        circles[2, rows] = np.degrees(reach)
        if not (circles[2, rows] > min_thin_radius).any():
            continue
        # what a polygon covers of the plane behind it is that of its chords, but for a sixth of the cubes of its arcs
        (x, y, z), (u, v, w) = (
            a,
            (
                take_successor_values(starts[part.start : part.stop + 1] - starts[part.start], component)
                for component in a
            ),
        )
        short = np.maximum(2.0 - 2.0 * (x * u + y * v + z * w), 0.0)
        shade = [np.add.reduceat(component, first) for component in (y * w - z * v, z * u - x * w, x * v - y * u)]
        flat = (
            np.abs(sum(component * middle_component for component, middle_component in zip(shade, middle, strict=True)))
            / 2.0
        )
        flat -= np.add.reduceat(short * np.sqrt(short), first) / 8.0
        thin[rows] = (MIN_THIN_AREA_RATIO * flat < 4.0 * np.pi * np.sin(np.minimum(reach, np.pi) / 2.0) ** 2) & (
            circles[2, rows] > min_thin_radius
        )
    return circles[0], circles[1], circles[2], thin


def cover_thin_polygons(
    offsets: npt.ArrayLike, coordinates: npt.ArrayLike, is_selected: Flags
) -> tuple[Indexes, Numbers, Numbers, Numbers]:
    """Cover polygons that are long and narrow by circles along them: the circle around one holds many times its area.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), as for `compute_polygon_areas`.
    is_selected
        Those that are looked at, shape (n,).

    Returns
    -------
    which, lon, lat, radius
        The polygon of each circle, ascending, and the circle in degrees; shape (k,). Polygons that touch themselves
        have none.
    """
    good, rings = _build_rings(offsets, coordinates, is_selected)
    thin = np.flatnonzero(
        (rings.counts <= MAX_THIN_POLYGON_EDGES) & (MIN_THIN_AREA_RATIO * rings.area < compute_circle_area(rings.reach))
    )
    thin = thin[rings.take(thin).is_simple]
    polygon, lon, lat, radius = rings.take(thin).cover_with_circles(MAX_CIRCLES_PER_POLYGON)
    return np.flatnonzero(good)[thin][polygon], lon, lat, radius


def cover_by_cells(
    offsets: npt.ArrayLike, coordinates: npt.ArrayLike, is_selected: Flags, order: int
) -> tuple[Indexes, Indexes]:
    """Cover polygons of any size by cells of one order.

    Those along their edges, and of what hangs together without an edge what is inside.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), as for `compute_polygon_areas`.
    is_selected
        Those that are covered, shape (n,).
    order
        Of the cells: a few, or all of them are looked at.

    Returns
    -------
    which, cells
        The polygon of each cell, ascending; shape (k,).
    """
    good, all_rings = _build_rings(offsets, coordinates, is_selected)
    where = np.flatnonzero(good)
    neighbours = healpix.compute_neighbours(order)
    neighbours = np.where(neighbours < 0, np.arange(len(neighbours))[:, None], neighbours)
    step = _STEP_CELL_WIDTHS / 2**order
    covers = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for part in split_into_blocks(all_rings.counts + len(neighbours), _BLOCK_CORNERS):
        rings = all_rings.take(np.arange(part.start, part.stop))
        pieces = np.maximum(np.ceil(rings.arcs / step), 1.0).astype(np.int64)
        edge, number = compute_element_numbers(pieces)
        share = number / pieces[edge]
        # of all places along an edge, the first in each step tells for those behind it
        distance_along = np.cumsum(rings.arcs) - rings.arcs
        step_number = 2.0 * rings.owner[edge] + (distance_along[edge] + share * rings.arcs[edge]) // step
        step_starts = np.flatnonzero(np.append(True, step_number[1:] != step_number[:-1]))
        edge = edge[step_starts]
        share = share[step_starts]
        lon, lat = to_lon_lat(interpolate_along_arcs(rings.a[edge], rings.b[edge], share))
        at, cells = healpix.find_cone_cells(order, np.arange(len(edge)), lon, lat, np.full(len(edge), 2.0 * step))
        edge_label = len(neighbours)
        label = np.broadcast_to(np.arange(edge_label), (len(rings.first), edge_label)).copy()
        label[rings.owner[edge[at]], cells] = edge_label
        rim = label == edge_label
        while True:
            lowest_label = np.where(rim, edge_label, label[:, neighbours].min(axis=2))
            if np.array_equal(lowest_label, label):
                break
            label = lowest_label
        ring, cell = np.nonzero(label == np.arange(edge_label))
        inside = np.zeros((len(label), edge_label + 1), np.bool_)
        inside[:, edge_label] = True
        inside[ring, cell] = rings.take(ring).contains_pairwise(*healpix.compute_cell_centers(order, cell))
        block_row, cells = np.nonzero(np.take_along_axis(inside, label, axis=1))
        covers.append((where[part][block_row], cells))
    return tuple(np.concatenate(arrays) for arrays in zip(*covers, strict=True))  # type: ignore[return-value]


def sum_union_areas(
    union_number: Indexes, is_circle: Flags, offsets: npt.ArrayLike, coordinates: npt.ArrayLike
) -> tuple[Numbers, Flags]:
    """Compute the areas of unions as the sums of their parts, where these do not meet.

    Parameters
    ----------
    union_number
        The union of each part, from 0, ascending; shape (n,).
    is_circle
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
    starts = np.asarray(offsets, dtype=np.int64)
    numbers = np.asarray(coordinates, dtype=np.float64)
    area = np.full(len(union_number), np.nan)
    reach = np.full(len(union_number), 180.0)
    xyz = np.zeros((len(union_number), 3))
    first = starts[:-1][is_circle]
    circle_area = compute_circle_area(numbers[first + 2])
    area[is_circle], reach[is_circle] = circle_area, numbers[first + 2]
    xyz[is_circle] = to_unit_vectors(numbers[first], numbers[first + 1])
    _, rings = _build_rings(starts, numbers, ~is_circle)
    area[~is_circle], xyz[~is_circle], reach[~is_circle] = (
        rings.area,
        rings.mean,
        np.where(rings.capped, rings.reach, np.inf),
    )
    rows = compute_offsets(np.bincount(union_number))
    later = rows[1:][union_number] - np.arange(len(union_number)) - 1  # parts of the same union behind each
    first_part, number = compute_element_numbers(later)
    second_part = first_part + 1 + number
    apart = np.ones(len(rows) - 1, np.bool_)
    apart[
        union_number[
            first_part[
                np.degrees(measure_angles(xyz[first_part], xyz[second_part])) <= reach[first_part] + reach[second_part]
            ]
        ]
    ] = False
    return np.bincount(union_number, area).astype(np.float64), apart


def compute_polygon_centroids(offsets: npt.ArrayLike, coordinates: npt.ArrayLike) -> tuple[Numbers, Numbers]:
    """Compute the middles of polygons.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), as for `compute_polygon_areas`.

    Returns
    -------
    lon, lat
        Degrees, shape (n,); NaN for what is no polygon.
    """
    good, rings = _build_rings(offsets, coordinates)
    lon, lat = np.full((2, len(good)), np.nan)
    lon[good], lat[good] = rings.compute_centroids()
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
    distance = compute_distance(lon1, lat1, lon2, lat2)
    overlap: Flags = distance <= np.add(radius1, radius2) + TOLERANCE_DEGREES
    return overlap & (np.asarray(radius1) >= 0.0) & (np.asarray(radius2) >= 0.0)


def is_circle_in_circle(lon1: Any, lat1: Any, radius1: Any, lon2: Any, lat2: Any, radius2: Any) -> Flags:
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
    distance = compute_distance(lon1, lat1, lon2, lat2)
    inside: Flags = distance + radius1 <= np.asarray(radius2) + TOLERANCE_DEGREES
    return (inside | (np.asarray(radius2) >= 180.0)) & (np.asarray(radius1) >= 0.0)


def circle_intersects_polygon(
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
    return _relate_circles_to_polygons(lon, lat, radius, offsets, coordinates, "meets")


def is_circle_in_polygon(
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
    return _relate_circles_to_polygons(lon, lat, radius, offsets, coordinates, "in")


def is_polygon_in_circle(
    offsets: npt.ArrayLike, coordinates: npt.ArrayLike, lon: npt.ArrayLike, lat: npt.ArrayLike, radius: npt.ArrayLike
) -> Flags:
    """Return which polygons lie wholly in their row's circle.

    They keep away from the circle that is the rest of the sky.

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
    away = _relate_circles_to_polygons(lon + 180.0, -lat, 180.0 - radius, offsets, coordinates, "away")
    return away & (radius >= 0.0)


def _relate_circles_to_polygons(
    lon: Any, lat: Any, radius: Any, offsets: Any, coordinates: Any, relation: str
) -> Flags:
    lon, lat, radius = (np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in (lon, lat, radius))
    starts, numbers = _reduce_repeated_polygon(offsets, coordinates)
    rows = max(len(starts) - 1, len(lon), len(lat), len(radius))
    lon, lat, radius = (np.broadcast_to(value, (rows,)) for value in (lon, lat, radius))
    good, rings = _repeat_for_rows(*_build_rings(starts, numbers), rows)
    answer = good.copy()
    inside = rings.contains_pairwise(lon[good], lat[good])
    gap = rings.compute_boundary_distances(lon[good], lat[good])
    size = radius[good]
    if relation == "meets":
        answer[good] = (inside | (gap <= size + TOLERANCE_DEGREES)) & (size >= 0.0)
    elif relation == "in":
        answer[good] = inside & (gap >= size - TOLERANCE_DEGREES) & (size >= 0.0)
    else:
        answer[good] = (size <= 0.0) | (~inside & (gap >= size - TOLERANCE_DEGREES))
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
    answer, first_rings, second_rings = _select_polygon_pairs(offsets1, coordinates1, offsets2, coordinates2)
    answer[answer] = rings_intersect(first_rings, second_rings)
    return answer


def is_polygon_in_polygon(
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
    answer, inner, outer = _select_polygon_pairs(offsets1, coordinates1, offsets2, coordinates2)
    answer[answer] = is_ring_within(inner, outer)
    return answer


def _select_polygon_pairs(
    offsets1: Any, coordinates1: Any, offsets2: Any, coordinates2: Any
) -> tuple[Flags, Rings, Rings]:
    """Return which rows have polygons on both sides, and those rows' rings."""
    rows = max(len(np.asarray(offsets1)), len(np.asarray(offsets2))) - 1
    (first_valid, first_rings), (second_valid, second_rings) = (
        _repeat_for_rows(*_build_rings(*_reduce_repeated_polygon(*side)), rows)
        for side in ((offsets1, coordinates1), (offsets2, coordinates2))
    )
    both = first_valid & second_valid
    return (
        both,
        first_rings.take(np.flatnonzero(both[first_valid])),
        second_rings.take(np.flatnonzero(both[second_valid])),
    )


def _reduce_repeated_polygon(offsets: Any, coordinates: Any) -> tuple[Indexes, Numbers]:
    """Reduce rows that all repeat one polygon, as a constant in a query does, to that one."""
    starts = np.asarray(offsets, dtype=np.int64)
    numbers = np.asarray(coordinates, dtype=np.float64)
    rows = len(starts) - 1
    if rows > 1:
        size = int(starts[1] - starts[0])
        if size and int(starts[-1] - starts[0]) == size * rows and bool((np.diff(starts) == size).all()):
            block = numbers[starts[0] : starts[-1]].reshape(rows, size)
            if bool((block[-1] == block[0]).all()) and bool((block == block[0]).all()):
                return np.array([0, size]), block[0]
    return starts, numbers


def _repeat_for_rows(is_polygon: Flags, rings: Rings, row_count: int) -> tuple[Flags, Rings]:
    """Give every row the polygon that there is, if it is one."""
    if len(is_polygon) == row_count or len(is_polygon) != 1:
        return is_polygon, rings
    is_polygon = np.repeat(is_polygon, row_count)
    return is_polygon, rings.take(np.zeros(is_polygon.sum(), dtype=np.int64))


def _build_rings(offsets: Any, coordinates: Any, is_selected: Any = True) -> tuple[Flags, Rings]:
    """Return which rows are polygons, and those rows' rings."""
    good, picked, starts = _extract_polygons(offsets, coordinates, is_selected)
    return good, Rings(picked[:, 0], picked[:, 1], starts)


def _extract_polygons(offsets: Any, coordinates: Any, is_selected: Any = True) -> tuple[Flags, Numbers, Indexes]:
    """Return which rows are polygons (three pairs or more, all of them positions), their corners, and where each begins."""
    starts = np.asarray(offsets, dtype=np.int64)
    numbers = np.asarray(coordinates, dtype=np.float64)
    size = np.diff(starts)
    good: Flags = (size >= 6) & (size % 2 == 0) & is_selected
    if good.all():
        numbers = numbers[starts[0] : starts[-1]]
        starts = starts - starts[0]
    else:
        at, starts = gather_rows(starts, np.flatnonzero(good))
        numbers = numbers[at]
    pairs = numbers.reshape(-1, 2)
    first = starts // 2
    if not len(pairs) or (
        np.isfinite([pairs[:, 0].min(), pairs[:, 0].max()]).all()
        and np.abs([pairs[:, 1].min(), pairs[:, 1].max()]).max() <= 90.0
    ):
        return good, pairs, first  # of most columns extremes tell, without another array as long
    wrong = np.flatnonzero(~(np.abs(pairs[:, 1]) <= 90.0) | ~np.isfinite(pairs[:, 0]))
    if not len(wrong):
        return good, pairs, first
    is_kept = np.ones(len(first) - 1, np.bool_)
    is_kept[np.searchsorted(first, wrong, "right") - 1] = False
    good[np.flatnonzero(good)[~is_kept]] = False
    at, first = gather_rows(first, np.flatnonzero(is_kept))
    return good, pairs[at], first


__all__ = [
    "circle_intersects_polygon",
    "circles_intersect",
    "compute_bounding_circles",
    "compute_polygon_areas",
    "compute_polygon_centroids",
    "is_circle_in_circle",
    "is_circle_in_polygon",
    "is_point_in_circle",
    "is_point_in_polygon",
    "is_polygon_in_circle",
    "is_polygon_in_polygon",
    "polygons_intersect",
    "sum_union_areas",
]


def compute_box_corners(
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
    x = half * np.array([-1.0, 1.0, 1.0, -1.0])
    p = top * np.array([-1.0, -1.0, 1.0, 1.0])
    ahead = np.cos(p) * np.cos(x)
    aside = np.cos(p) * np.sin(x)
    up = np.sin(p)
    phi = np.radians(lat)
    turned = np.stack([np.cos(phi) * ahead - np.sin(phi) * up, aside, np.sin(phi) * ahead + np.cos(phi) * up], axis=-1)
    lons, lats = to_lon_lat(turned)
    return np.where(good[:, None], wrap_longitudes(lons + lon), np.nan), np.where(good[:, None], lats, np.nan)

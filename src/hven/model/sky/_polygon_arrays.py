"""Answer questions about shapes by the column, one answer per row, for SQL functions.

Circles are three numbers; polygons are Arrow lists. A list array of polygons comes as `coordinates` (longitude,
latitude, longitude, ... degrees, all rows one after the other) and `offsets` (where each row's numbers begin, and the
end: shape (n + 1,)), which is Arrow's own layout. A row that is not a polygon (fewer than three pairs, an odd number of
values, NaN) gives False, or NaN if the answer is a number. A single polygon or point serves all rows. Inside is the
side of the smaller area.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import _healpix as healpix
from hven.model.sky._ragged_arrays import (
    compute_element_numbers,
    compute_offsets,
    gather_element_indexes,
    split_into_blocks,
    take_successor_values,
)
from hven.model.sky._rings import PolygonRings, is_ring_within, rings_intersect
from hven.model.sky._sphere import (
    TOLERANCE_DEGREES,
    compute_angular_distance,
    compute_circle_area,
    interpolate_along_arcs,
    is_point_in_circle,
    measure_angles,
    to_lon_lat,
    to_unit_vectors,
    to_vector_components,
    wrap_longitudes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

MIN_THIN_AREA_RATIO = 20  # a polygon is thin if the circle around it is this many times as large
MAX_THIN_POLYGON_EDGES = 1000
MAX_CIRCLES_PER_POLYGON = 100  # along a thin polygon
_BLOCK_CORNERS = 1 << 15  # corners at a time: their arrays fit into a processor's cache
_STEP_CELL_WIDTHS = 0.08  # steps along edges, in widths of a cell


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
        Shape (n,); False for a row that is not a polygon.
    """
    lon = np.atleast_1d(np.asarray(lon, dtype=np.float64))
    lat = np.atleast_1d(np.asarray(lat, dtype=np.float64))
    starts, numbers = _reduce_repeated_polygon(offsets, coordinates)
    good, corners, starts = _select_valid_polygons(starts, numbers)
    if len(good) == 1:
        if good[0]:
            single_ring = PolygonRings(corners[:, 0], corners[:, 1], starts)
            return single_ring.contains_points(lon, lat)
        return np.zeros(len(lon), np.bool_)
    lon, lat = (np.broadcast_to(coordinate, good.shape)[good] for coordinate in (lon, lat))
    inside_blocks = [np.empty(0, np.bool_)]
    for part in split_into_blocks(np.diff(starts), _BLOCK_CORNERS):
        first = starts[part.start : part.stop + 1]
        block_corners = corners[first[0] : first[-1]]
        rings = PolygonRings(block_corners[:, 0], block_corners[:, 1], first - first[0])
        inside_blocks.append(rings.contains_pairwise(lon[part], lat[part]))
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
        Square degrees, shape (n,); NaN for a row that is not a polygon.
    """
    good, rings = build_rings(offsets, coordinates)
    areas = np.full(len(good), np.nan)
    areas[good] = rings.area
    return areas


def compute_bounding_circles_and_thinness(
    offsets: npt.ArrayLike, coordinates: npt.ArrayLike, min_thin_radius: float = 0.0
) -> tuple[Numbers, Numbers, Numbers, Flags]:
    """Compute circles that contain the corners of polygons; a circle of less than 60 degrees contains the polygon.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), as for `compute_polygon_areas`.
    min_thin_radius
        Degrees; the function finds thin polygons only among those with a larger circle.

    Returns
    -------
    lon, lat, radius
        Degrees, shape (n,); NaN for a row that is not a polygon.
    thin
        Which polygons may cover less than a twentieth of their circle, shape (n,).
    """
    good, picked, starts = _select_valid_polygons(offsets, coordinates)
    where = np.flatnonzero(good)
    circles = np.full((3, len(good)), np.nan)
    thin = np.zeros(len(good), np.bool_)
    for part in split_into_blocks(np.diff(starts), _BLOCK_CORNERS):
        block_starts = starts[part.start : part.stop + 1]
        first = block_starts[:-1] - block_starts[0]
        size = np.diff(block_starts)
        corners = to_vector_components(*picked[block_starts[0] : block_starts[-1]].T)
        middle, reach = _compute_polygon_caps(corners, first, size)
        rows = where[part]
        circles[0, rows], circles[1, rows] = to_lon_lat(np.stack(middle, axis=1))
        circles[2, rows] = np.degrees(reach)
        is_wide = circles[2, rows] > min_thin_radius
        if not is_wide.any():
            continue
        successors = [take_successor_values(block_starts - block_starts[0], component) for component in corners]
        flat = _compute_min_polygon_areas(corners, successors, middle, first)
        circle_area = 4.0 * np.pi * np.sin(np.minimum(reach, np.pi) / 2.0) ** 2
        thin[rows] = (MIN_THIN_AREA_RATIO * flat < circle_area) & is_wide
    return circles[0], circles[1], circles[2], thin


def _compute_polygon_caps(corners: Sequence[Numbers], first: Indexes, size: Indexes) -> tuple[list[Numbers], Numbers]:
    """Compute the direction of the mean corner of each polygon, and the radius around it that holds all corners."""
    total = [np.add.reduceat(component, first) for component in corners]
    length = np.sqrt(sum(component * component for component in total))
    has_direction = length > 1e-9
    middle = []
    squared_chord: Any = 0
    for component, axis, corner_component in zip(total, (0, 0, 1), corners, strict=True):
        middle_component = np.where(has_direction, component / np.maximum(length, 1e-300), axis)
        middle.append(middle_component)
        squared_chord = squared_chord + (corner_component - np.repeat(middle_component, size)) ** 2
    longest_chord = np.sqrt(np.maximum.reduceat(squared_chord, first))
    reach: Numbers = 2.0 * np.arcsin(np.minimum(longest_chord / 2.0, 1.0))
    return middle, reach


def _compute_min_polygon_areas(
    corners: Sequence[Numbers], successors: Sequence[Numbers], middle: Sequence[Numbers], first: Indexes
) -> Numbers:
    """Compute a lower limit of the area that each polygon covers of the plane behind it.

    It is the area of its chords, less a sixth of the cubes of its arcs.
    """
    x, y, z = corners
    u, v, w = successors
    shade = [np.add.reduceat(component, first) for component in (y * w - z * v, z * u - x * w, x * v - y * u)]
    projection = sum(component * axis for component, axis in zip(shade, middle, strict=True))
    short = np.maximum(2.0 - 2.0 * (x * u + y * v + z * w), 0.0)
    flat: Numbers = np.abs(projection) / 2.0
    flat -= np.add.reduceat(short * np.sqrt(short), first) / 8.0
    return flat


def cover_thin_polygons_with_circles(
    offsets: npt.ArrayLike, coordinates: npt.ArrayLike, is_selected: Flags
) -> tuple[Indexes, Numbers, Numbers, Numbers]:
    """Cover long and narrow polygons by circles along them; the circle around such a polygon is many times as large.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), as for `compute_polygon_areas`.
    is_selected
        Which polygons to consider, shape (n,).

    Returns
    -------
    which, lon, lat, radius
        The polygon of each circle, ascending, and the circle in degrees; shape (k,). Polygons that touch themselves
        get no circles.
    """
    good, rings = build_rings(offsets, coordinates, is_selected)
    has_few_edges = rings.counts <= MAX_THIN_POLYGON_EDGES
    is_thin = MIN_THIN_AREA_RATIO * rings.area < compute_circle_area(rings.max_vertex_distances)
    thin = np.flatnonzero(has_few_edges & is_thin)
    thin = thin[rings.take(thin).is_simple]
    polygon, lon, lat, radius = rings.take(thin).cover_with_circles(MAX_CIRCLES_PER_POLYGON)
    thin_rows = np.flatnonzero(good)[thin]
    return thin_rows[polygon], lon, lat, radius


def cover_polygons_with_cells(
    offsets: npt.ArrayLike, coordinates: npt.ArrayLike, is_selected: Flags, order: int
) -> tuple[Indexes, Indexes]:
    """Cover polygons of any size by cells of one order.

    These are the cells along the edges, and each group of other connected cells that is inside.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), as for `compute_polygon_areas`.
    is_selected
        Which polygons to cover, shape (n,).
    order
        Order of the cells; it must be low, because the function considers all cells of the sky.

    Returns
    -------
    which, cells
        The polygon of each cell, ascending; shape (k,).
    """
    good, all_rings = build_rings(offsets, coordinates, is_selected)
    where = np.flatnonzero(good)
    neighbours = healpix.compute_all_neighbour_cells(order)
    neighbours = np.where(neighbours < 0, np.arange(len(neighbours))[:, None], neighbours)
    step = _STEP_CELL_WIDTHS / 2**order
    covers = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    cell_count = len(neighbours)
    for part in split_into_blocks(all_rings.counts + cell_count, _BLOCK_CORNERS):
        rings = all_rings.take(np.arange(part.start, part.stop))
        edge, lon, lat = _sample_edges(rings, step)
        radius = np.full(len(edge), 2.0 * step)
        at, cells = healpix.find_cone_cells(order, np.arange(len(edge)), lon, lat, radius)
        # connected cells get the lowest of their numbers, cells on the rim get `cell_count`
        label = np.broadcast_to(np.arange(cell_count), (len(rings.first), cell_count)).copy()
        label[rings.owner[edge[at]], cells] = cell_count
        rim = label == cell_count
        while True:
            lowest_neighbour = label[:, neighbours].min(axis=2)
            lowest_label = np.where(rim, cell_count, lowest_neighbour)
            if np.array_equal(lowest_label, label):
                break
            label = lowest_label
        ring, cell = np.nonzero(label == np.arange(cell_count))
        cell_lon, cell_lat = healpix.compute_cell_centers(order, cell)
        inside = np.zeros((len(label), cell_count + 1), np.bool_)
        inside[:, cell_count] = True
        inside[ring, cell] = rings.take(ring).contains_pairwise(cell_lon, cell_lat)
        block_row, cells = np.nonzero(np.take_along_axis(inside, label, axis=1))
        covers.append((where[part][block_row], cells))
    rows, all_cells = (np.concatenate(arrays) for arrays in zip(*covers, strict=True))
    return rows, all_cells


def _sample_edges(rings: PolygonRings, step: float) -> tuple[Indexes, Numbers, Numbers]:
    """Return places along edges, at most a step apart: their edges, longitudes and latitudes.

    Of several places within one step along a ring, the first is enough.
    """
    pieces = np.maximum(np.ceil(rings.edge_lengths_radians / step), 1.0).astype(np.int64)
    edge, number = compute_element_numbers(pieces)
    share = number / pieces[edge]
    distance_along = np.cumsum(rings.edge_lengths_radians) - rings.edge_lengths_radians
    place_distance = distance_along[edge] + share * rings.edge_lengths_radians[edge]
    step_number = 2.0 * rings.owner[edge] + place_distance // step
    is_new_step = np.append(True, step_number[1:] != step_number[:-1])
    step_starts = np.flatnonzero(is_new_step)
    edge = edge[step_starts]
    share = share[step_starts]
    places = interpolate_along_arcs(rings.edge_begin_vectors[edge], rings.edge_end_vectors[edge], share)
    lon, lat = to_lon_lat(places)
    return edge, lon, lat


def sum_disjoint_union_areas(
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
        Which unions have parts in caps that do not meet, so that their areas are exact, shape (u,).
    """
    starts = np.asarray(offsets, dtype=np.int64)
    numbers = np.asarray(coordinates, dtype=np.float64)
    area = np.full(len(union_number), np.nan)
    reach = np.full(len(union_number), 180.0)
    xyz = np.zeros((len(union_number), 3))
    first = starts[:-1][is_circle]
    radius = numbers[first + 2]
    area[is_circle] = compute_circle_area(radius)
    reach[is_circle] = radius
    xyz[is_circle] = to_unit_vectors(numbers[first], numbers[first + 1])
    _, rings = build_rings(starts, numbers, ~is_circle)
    area[~is_circle] = rings.area
    xyz[~is_circle] = rings.mean_directions
    reach[~is_circle] = np.where(rings.is_within_cap, rings.max_vertex_distances, np.inf)
    rows = compute_offsets(np.bincount(union_number))
    later = rows[1:][union_number] - np.arange(len(union_number)) - 1  # parts of the same union after each part
    first_part, number = compute_element_numbers(later)
    second_part = first_part + 1 + number
    apart = np.ones(len(rows) - 1, np.bool_)
    distance = np.degrees(measure_angles(xyz[first_part], xyz[second_part]))
    meets = distance <= reach[first_part] + reach[second_part]
    apart[union_number[first_part[meets]]] = False
    return np.bincount(union_number, area).astype(np.float64), apart


def compute_polygon_centroids(offsets: npt.ArrayLike, coordinates: npt.ArrayLike) -> tuple[Numbers, Numbers]:
    """Compute the centroids of polygons.

    Parameters
    ----------
    offsets, coordinates
        N polygons, shapes (n + 1,) and (m,), as for `compute_polygon_areas`.

    Returns
    -------
    lon, lat
        Degrees, shape (n,); NaN for a row that is not a polygon.
    """
    good, rings = build_rings(offsets, coordinates)
    lon, lat = np.full((2, len(good)), np.nan)
    lon[good], lat[good] = rings.compute_centroids()
    return lon, lat


# ADQL passes the numbers of two circles by position
def circles_intersect(lon1: Any, lat1: Any, radius1: Any, lon2: Any, lat2: Any, radius2: Any) -> Flags:  # noqa: PLR0917
    """Return which pairs of circles touch.

    Parameters
    ----------
    lon1, lat1, radius1, lon2, lat2, radius2
        Degrees, broadcast against each other; a negative radius is no circle.

    Returns
    -------
    touch
        Flags of the broadcast shape.
    """
    distance = compute_angular_distance(lon1, lat1, lon2, lat2)
    overlap: Flags = distance <= np.add(radius1, radius2) + TOLERANCE_DEGREES
    return overlap & (np.asarray(radius1) >= 0.0) & (np.asarray(radius2) >= 0.0)


# ADQL passes the numbers of two circles by position
def is_circle_in_circle(  # noqa: PLR0917
    lon1: Any, lat1: Any, radius1: Any, lon2: Any, lat2: Any, radius2: Any
) -> Flags:
    """Return which first circles lie wholly in the second.

    Parameters
    ----------
    lon1, lat1, radius1, lon2, lat2, radius2
        Degrees, broadcast against each other; a negative radius is no circle.

    Returns
    -------
    inside
        Flags of the broadcast shape.
    """
    distance = compute_angular_distance(lon1, lat1, lon2, lat2)
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
    circles = _to_float_arrays(lon, lat, radius)
    return _relate_circles_to_polygons(circles, offsets, coordinates, "meets")


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
    circles = _to_float_arrays(lon, lat, radius)
    return _relate_circles_to_polygons(circles, offsets, coordinates, "in")


def is_polygon_in_circle(
    offsets: npt.ArrayLike, coordinates: npt.ArrayLike, lon: npt.ArrayLike, lat: npt.ArrayLike, radius: npt.ArrayLike
) -> Flags:
    """Return which polygons lie wholly in their row's circle.

    Such a polygon is away from the circle that is the rest of the sky.

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
    lon, lat, radius = _to_float_arrays(lon, lat, radius)
    rest_of_sky = (lon + 180.0, -lat, 180.0 - radius)
    away = _relate_circles_to_polygons(rest_of_sky, offsets, coordinates, "away")
    return away & (radius >= 0.0)


def _to_float_arrays(*numbers: Any) -> tuple[Numbers, ...]:
    return tuple(np.atleast_1d(np.asarray(values, dtype=np.float64)) for values in numbers)


def _relate_circles_to_polygons(circles: tuple[Numbers, ...], offsets: Any, coordinates: Any, relation: str) -> Flags:
    """Return for each row whether the circle ``meets``, is ``in`` or is ``away`` from the polygon."""
    starts, numbers = _reduce_repeated_polygon(offsets, coordinates)
    rows = max(len(starts) - 1, *(len(values) for values in circles))
    lon, lat, radius = (np.broadcast_to(values, (rows,)) for values in circles)
    is_polygon, unique_rings = build_rings(starts, numbers)
    good, rings = _repeat_polygon_for_rows(is_polygon, unique_rings, rows)
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
        N polygons on each side, shapes (n + 1,) and (m,); a single polygon on either side serves all rows.

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
        N polygons on each side, shapes (n + 1,) and (m,); a single polygon on either side serves all rows.

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
) -> tuple[Flags, PolygonRings, PolygonRings]:
    """Return which rows have polygons on both sides, and those rows' rings."""
    rows = max(len(np.asarray(offsets1)), len(np.asarray(offsets2))) - 1
    first_valid, first_rings = _build_rings_for_rows(offsets1, coordinates1, rows)
    second_valid, second_rings = _build_rings_for_rows(offsets2, coordinates2, rows)
    both = first_valid & second_valid
    first_rows = np.flatnonzero(both[first_valid])
    second_rows = np.flatnonzero(both[second_valid])
    return both, first_rings.take(first_rows), second_rings.take(second_rows)


def _build_rings_for_rows(offsets: Any, coordinates: Any, row_count: int) -> tuple[Flags, PolygonRings]:
    """Return which rows are polygons, and their rings; a single polygon serves all rows."""
    starts, numbers = _reduce_repeated_polygon(offsets, coordinates)
    is_polygon, rings = build_rings(starts, numbers)
    return _repeat_polygon_for_rows(is_polygon, rings, row_count)


def _reduce_repeated_polygon(offsets: Any, coordinates: Any) -> tuple[Indexes, Numbers]:
    """Reduce rows that all repeat one polygon, as a constant in a query does, to a single polygon."""
    starts = np.asarray(offsets, dtype=np.int64)
    numbers = np.asarray(coordinates, dtype=np.float64)
    rows = len(starts) - 1
    if rows <= 1:
        return starts, numbers
    size = int(starts[1] - starts[0])
    total = int(starts[-1] - starts[0])
    if not size or total != size * rows or not bool((np.diff(starts) == size).all()):
        return starts, numbers
    block = numbers[starts[0] : starts[-1]].reshape(rows, size)
    ends_agree = bool((block[-1] == block[0]).all())  # decides most columns at once
    if ends_agree and bool((block == block[0]).all()):
        return np.array([0, size]), block[0]
    return starts, numbers


def _repeat_polygon_for_rows(is_polygon: Flags, rings: PolygonRings, row_count: int) -> tuple[Flags, PolygonRings]:
    """Repeat a single polygon for every row."""
    if len(is_polygon) == row_count or len(is_polygon) != 1:
        return is_polygon, rings
    is_polygon = np.repeat(is_polygon, row_count)
    return is_polygon, rings.take(np.zeros(is_polygon.sum(), dtype=np.int64))


def build_rings(offsets: Any, coordinates: Any, is_selected: Any = True) -> tuple[Flags, PolygonRings]:
    """Build the rings of the rows that are polygons.

    Parameters
    ----------
    offsets, coordinates
        N rows, shapes (n + 1,) and (m,), as for `compute_polygon_areas`.
    is_selected
        Which rows to consider, shape (n,).

    Returns
    -------
    good, rings
        Which rows are polygons, shape (n,), and the rings of these.
    """
    good, picked, starts = _select_valid_polygons(offsets, coordinates, is_selected)
    return good, PolygonRings(picked[:, 0], picked[:, 1], starts)


def _select_valid_polygons(offsets: Any, coordinates: Any, is_selected: Any = True) -> tuple[Flags, Numbers, Indexes]:
    """Return which rows are polygons (three or more positions), their corners, and where each polygon begins."""
    starts = np.asarray(offsets, dtype=np.int64)
    numbers = np.asarray(coordinates, dtype=np.float64)
    size = np.diff(starts)
    good: Flags = (size >= 6) & (size % 2 == 0) & is_selected
    if good.all():
        numbers = numbers[starts[0] : starts[-1]]
        starts = starts - starts[0]
    else:
        at, starts = gather_element_indexes(starts, np.flatnonzero(good))
        numbers = numbers[at]
    pairs = numbers.reshape(-1, 2)
    first = starts // 2
    if not len(pairs) or _are_all_positions(pairs):
        return good, pairs, first
    is_position = (np.abs(pairs[:, 1]) <= 90.0) & np.isfinite(pairs[:, 0])
    wrong = np.flatnonzero(~is_position)
    if not len(wrong):
        return good, pairs, first
    is_kept = np.ones(len(first) - 1, np.bool_)
    wrong_polygons = np.searchsorted(first, wrong, "right") - 1
    is_kept[wrong_polygons] = False
    good[np.flatnonzero(good)[~is_kept]] = False
    at, first = gather_element_indexes(first, np.flatnonzero(is_kept))
    return good, pairs[at], first


def _are_all_positions(pairs: Numbers) -> bool:
    """Return whether the extremes of a column show that all pairs are positions, without another array as long."""
    lon_extremes = [pairs[:, 0].min(), pairs[:, 0].max()]
    lat_extremes = [pairs[:, 1].min(), pairs[:, 1].max()]
    return bool(np.isfinite(lon_extremes).all() and np.abs(lat_extremes).max() <= 90.0)


__all__ = [
    "circle_intersects_polygon",
    "circles_intersect",
    "compute_bounding_circles_and_thinness",
    "compute_polygon_areas",
    "compute_polygon_centroids",
    "is_circle_in_circle",
    "is_circle_in_polygon",
    "is_point_in_circle",
    "is_point_in_polygon",
    "is_polygon_in_circle",
    "is_polygon_in_polygon",
    "polygons_intersect",
    "sum_disjoint_union_areas",
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
        Degrees, each of shape (n, 4); NaN for a row that is not a box.
    """
    lon, lat, width, height = (np.asarray(numbers, dtype=np.float64) for numbers in (lon, lat, width, height))
    is_position = np.isfinite(lon) & (np.abs(lat) <= 90.0)
    has_width = (width > 0.0) & (width < 180.0)
    has_height = (height > 0.0) & (height < 180.0)
    good = is_position & has_width & has_height
    lon, lat, width, height = (np.where(good, numbers, 1.0)[:, None] for numbers in (lon, lat, width, height))
    half = np.radians(width) / 2.0
    top = np.arctan(np.tan(np.radians(height) / 2.0) * np.cos(half))
    x = half * np.array([-1.0, 1.0, 1.0, -1.0])
    p = top * np.array([-1.0, -1.0, 1.0, 1.0])
    ahead = np.cos(p) * np.cos(x)
    aside = np.cos(p) * np.sin(x)
    up = np.sin(p)
    phi = np.radians(lat)
    forward = np.cos(phi) * ahead - np.sin(phi) * up
    upward = np.sin(phi) * ahead + np.cos(phi) * up
    lons, lats = to_lon_lat(np.stack([forward, aside, upward], axis=-1))
    is_box = good[:, None]
    box_lons = np.where(is_box, wrap_longitudes(lons + lon), np.nan)
    box_lats = np.where(is_box, lats, np.nan)
    return box_lons, box_lats

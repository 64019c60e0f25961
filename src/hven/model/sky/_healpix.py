"""HEALPix, nested scheme: compute indexes of positions, and the index ranges that cover a shape.

Ranges are half-open, at order 29, sorted and disjoint: an int64 array of shape (n, 2). Every cover is inclusive: no
position inside the shape is outside its ranges. The ranges may contain positions outside the shape. The module calls
the compiled part of `cdshealpix` directly, because its Python layer costs an import of astropy (0.25 s, 60 MB) and 100
microseconds a call.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._ragged_arrays import compute_element_numbers, sort_distinct
from hven.model.sky._sphere import (
    compute_angular_distance,
    interpolate_along_arcs,
    measure_angles,
    to_lon_lat,
    to_unit_vectors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]

MAX_ORDER = 29
"""The order of ranges."""

MAX_ORDER_CELL_COUNT = 12 << 2 * MAX_ORDER
"""Number of cells at order 29; one past the largest index."""

FULL_SKY_RANGES: Indexes = np.array([[0, MAX_ORDER_CELL_COUNT]], dtype=np.int64)
EMPTY_RANGES: Indexes = np.empty((0, 2), dtype=np.int64)
FULL_SKY_RANGES.flags.writeable = EMPTY_RANGES.flags.writeable = False

# radians by which a cover is wider than its shape: more than any rounding, less than a cell of order 29
_COVER_MARGIN_RADIANS = 1e-11
# times 2**-order: no cell is narrower (radians), so its neighbours contain everything within that distance
_MIN_CELL_WIDTH_RADIANS = 0.68
# cdshealpix 0.9 sizes cells by the latitude of the cone's centre. It may miss a touched cell near the latitudes where
# their size changes: by 0.045 radius at 8 degrees, in proportion to the radius. So wide cones use another algorithm.
_WIDE_CONE_DEGREES = 2.0
_MAX_BOUNDARY_CELLS = 1 << 18  # cells that `cover_shape_by_distance` considers at most
_MAX_CELL_RADIUS_RADIANS = 1.12  # times 2**-order: no corner is farther from its cell's centre (radians)
_MAX_TABLE_ORDER = 6  # orders up to this have their cells' neighbours and centres in tables (5 MB)
# "orders" of cones that a cell and its neighbours do not contain, and of values that are no cone
_BASE_CELLS_ORDER = -1
_NO_CONE_ORDER = -2
_MAX_FEW_CELLS = 4_096  # whose centres are computed without threads
# of the base cells (Gorski et al. 2005, section 5.3): rings from the north pole to the south corner, unit: sides of the
# cells; and longitude of the middle, unit: 45 degrees
_BASE_CELL_RINGS = np.repeat([2, 3, 4], 4)
_BASE_CELL_LONGITUDES = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])


@cache
def _load_cdshealpix() -> Any:
    """Load the compiled part of cdshealpix without its package, which would import astropy."""
    package = importlib.util.find_spec("cdshealpix")
    if package is not None and package.submodule_search_locations is not None:
        package_paths = list(package.submodule_search_locations)
        spec = importlib.machinery.PathFinder.find_spec("cdshealpix.cdshealpix", package_paths)
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return importlib.import_module("cdshealpix.cdshealpix")


def _check_healpix_order(order: int) -> None:
    if not 0 <= order <= MAX_ORDER:
        message = f"HEALPix order {order} is not between 0 and {MAX_ORDER}"
        raise ValueError(message)


def compute_cell_indexes(order: int, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Indexes:
    """Compute the nested index of each position.

    Parameters
    ----------
    order
        0 to 29.
    lon, lat
        Degrees, of one shape; longitudes of any turn.

    Returns
    -------
    indexes
        Int64, of the shape of the positions, at least (1,); -1 where a coordinate is NaN, infinite, or a latitude
        beyond a pole.
    """
    return locate_in_cells(order, lon, lat)[0]


def locate_in_cells(order: int, lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Indexes, Numbers, Numbers]:
    """Compute the nested index of each position, and its place in the cell.

    Parameters
    ----------
    order
        0 to 29.
    lon, lat
        Degrees, of one shape, as for `compute_cell_indexes`.

    Returns
    -------
    indexes, x, y
        As for `compute_cell_indexes`, in its shape; x and y are 0 to 1. Every second bit of an index, from the lowest
        on, counts x; the others count y.
    """
    _check_healpix_order(order)
    lon_array = np.atleast_1d(np.asarray(lon, dtype=np.float64))
    lat_array = np.atleast_1d(np.asarray(lat, dtype=np.float64))
    lon, lat = np.broadcast_arrays(lon_array, lat_array)
    good = np.isfinite(lon) & (np.abs(lat) <= 90.0)
    all_valid = bool(good.all())
    if not all_valid:
        lon = np.where(good, lon, 0.0)
        lat = np.where(good, lat, 0.0)
    cells = np.empty(lon.shape, dtype=np.uint64)
    dx = np.empty(lon.shape)
    dy = np.empty(lon.shape)
    is_wrapped = bool(((lon >= 0.0) & (lon < 360.0)).all())
    radians = np.radians(lon if is_wrapped else np.mod(lon, 360.0))
    orders = np.full(lon.shape, order, dtype=np.uint8)
    thread_count = _choose_thread_count(lon.size)
    _load_cdshealpix().lonlat_to_healpix(orders, radians, np.radians(lat), cells, dx, dy, thread_count)
    indexes = cells.view(np.int64)
    return indexes if all_valid else np.where(good, indexes, -1), dx, dy


def compute_cell_centers(order: int | Indexes, ipix: npt.ArrayLike) -> tuple[Numbers, Numbers]:
    """Compute the centres of cells.

    Parameters
    ----------
    order
        0 to 29; an order for all cells, or one for each, shape (n,).
    ipix
        Nested indexes, shape (n,).

    Returns
    -------
    lon, lat
        Degrees, shape (n,); NaN for indexes that do not exist.
    """
    cells = np.atleast_1d(np.asarray(ipix, dtype=np.int64))
    if isinstance(order, int):
        _check_healpix_order(order)
    good = (cells >= 0) & (cells < 12 << 2 * order)
    lon = np.empty(cells.shape)
    lat = np.empty(cells.shape)
    valid_cells = np.where(good, cells, 0).astype(np.uint64)
    orders = np.ascontiguousarray(np.broadcast_to(order, cells.shape), dtype=np.uint8)
    thread_count = _choose_thread_count(cells.size)
    _load_cdshealpix().healpix_to_lonlat(orders, valid_cells, 0.5, 0.5, lon, lat, thread_count)
    lon_degrees = np.where(good, np.degrees(lon), np.nan)
    lat_degrees = np.where(good, np.degrees(lat), np.nan)
    return lon_degrees, lat_degrees


def compute_few_cell_centers(order: int, cells: Indexes) -> tuple[Numbers, Numbers]:
    """Compute the centres of valid cells of one order, within 1e-12 degrees of `compute_cell_centers`.

    cdshealpix starts threads at each call. They take longer than few cells: 0.1 ms, on a busy machine 1 ms.

    Parameters
    ----------
    order
        0 to 29.
    cells
        Nested indexes, shape (n,).

    Returns
    -------
    lon, lat
        Degrees, shape (n,).
    """
    if len(cells) > _MAX_FEW_CELLS:
        return compute_cell_centers(order, cells)
    side = 1 << order
    base = cells >> 2 * order
    x, y = (_compact_even_bits(cells >> bit & (side * side - 1)) for bit in (0, 1))
    ring = _BASE_CELL_RINGS[base] * side - x - y - 1
    ring_from_pole = np.minimum(ring, 4 * side - ring)
    ring_cells = np.minimum(ring_from_pole, side)  # of a quarter of the ring
    lon = (_BASE_CELL_LONGITUDES[base] * ring_cells + x - y) / ring_cells % 8 * 45.0
    polar = 90.0 - 2.0 * np.degrees(np.arcsin(ring_cells / (side * math.sqrt(6.0))))
    equatorial = np.degrees(np.arcsin(np.minimum((2 * side - ring_from_pole) / (1.5 * side), 1.0)))
    return lon, np.where(ring_from_pole < side, polar, equatorial) * np.where(ring <= 2 * side, 1.0, -1.0)


def _compact_even_bits(numbers: Indexes) -> Indexes:
    """Take every second bit of numbers, from the lowest on (Gorski et al. 2005, section 4.1)."""
    bits = numbers & 0x5555555555555555
    for shift, mask in ((1, 0x33333333), (2, 0x0F0F0F0F), (4, 0x00FF00FF), (8, 0x0000FFFF), (16, 0xFFFFFFFF)):
        bits = (bits | bits >> shift) & (mask << 32 | mask if shift < 16 else mask)
    return bits


def compute_cell_vertices(order: int, ipix: npt.ArrayLike, positions_per_side: int = 1) -> tuple[Numbers, Numbers]:
    """Compute positions along the edges of cells, anticlockwise seen from outside.

    Parameters
    ----------
    order
        0 to 29.
    ipix
        Nested indexes, shape (n,).
    positions_per_side
        The number of positions on each of the four sides.

    Returns
    -------
    lon, lat
        Degrees, shape (n, 4 * steps).
    """
    _check_healpix_order(order)
    cells = np.ascontiguousarray(ipix, dtype=np.uint64)
    lon, lat = np.empty((2, len(cells), 4 * positions_per_side))
    orders = np.full(len(cells), order, np.uint8)
    _load_cdshealpix().vertices(orders, cells, positions_per_side, lon, lat, _choose_thread_count(len(cells)))
    return np.degrees(lon), np.degrees(lat)


def split_ranges_into_cells(ranges: Indexes) -> list[tuple[int, Indexes]]:
    """Split ranges into cells that are as large as possible.

    Parameters
    ----------
    ranges
        Half-open, sorted, disjoint at order 29, shape (n, 2).

    Returns
    -------
    cells
        Orders, and the nested indexes of the cells of each order, shape (m,).
    """
    cells_by_order = []
    for order in range(MAX_ORDER + 1):
        shift = 2 * (MAX_ORDER - order)
        low = -(-ranges[:, 0] >> shift)
        high = ranges[:, 1] >> shift
        size = np.maximum(high - low, 0)
        has_cells = size > 0
        if has_cells.any():
            low = low[has_cells]
            high = high[has_cells]
            size = size[has_cells]
            at, number = compute_element_numbers(size)
            cells_by_order.append((order, low[at] + number))
            cell_ranges = np.stack([low << shift, high << shift], 1)
            ranges = intersect_ranges(ranges, complement_ranges(cell_ranges))
        if not len(ranges):
            break
    return cells_by_order


def choose_cone_order(radius: float) -> int:
    """Return the order for a cone: about three cells to the radius, some dozen ranges.

    Parameters
    ----------
    radius
        Degrees; 0, negative and NaN radii count as points.

    Returns
    -------
    order
        0 to 29.
    """
    if not radius > 0.0:
        return MAX_ORDER
    ideal_order = int(math.log2(3.58 / math.radians(radius)))
    return min(max(ideal_order, 0), MAX_ORDER)


def cover_cone(lon: float, lat: float, radius: float, order: int | None = None) -> Indexes:
    """Cover a cone.

    Parameters
    ----------
    lon, lat, radius
        Degrees. A negative or NaN radius, or a centre that is not a position, covers nothing.
    order
        Finest cells to use; None: the order that suits the radius.

    Returns
    -------
    ranges
        Half-open, sorted, disjoint at order 29, shape (n, 2).
    """
    if not (radius >= 0.0 and abs(lat) <= 90.0 and math.isfinite(lon)):
        return EMPTY_RANGES
    if radius >= 180.0:
        return FULL_SKY_RANGES
    if order is None:
        depth = choose_cone_order(radius)
    else:
        depth = order
    if radius > _WIDE_CONE_DEGREES:
        return cover_shape_by_distance(
            lambda x, y: _compute_cone_distances(compute_angular_distance(x, y, lon, lat), radius), depth
        )
    lon_radians = math.radians(lon % 360.0)
    radius_radians = math.radians(radius) + _COVER_MARGIN_RADIANS
    cells, depths, _ = _load_cdshealpix().cone_search(depth, 0, lon_radians, math.radians(lat), radius_radians, False)
    return _merge_cells_to_ranges(cells, depths)


def _compute_cone_distances(center_distance: Numbers, radius: float) -> tuple[Numbers, Numbers]:
    return np.maximum(center_distance - radius, 0.0), np.abs(center_distance - radius)


def cover_cones(lons: npt.ArrayLike, lats: npt.ArrayLike, radius: npt.ArrayLike) -> tuple[Indexes, Indexes]:
    """Cover many cones at once, as candidates of a cross-match.

    Parameters
    ----------
    lons, lats
        Degrees, shape (n,).
    radius
        Degrees, one number or shape (n,).

    Returns
    -------
    which
        The number of the cone of each range, ascending, shape (m,).
    ranges
        Half-open ranges at order 29, shape (m, 2), disjoint within each cone; at most nine for each cone of up to 38
        degrees.
    """
    cone_numbers: list[Indexes] = []
    ranges: list[Indexes] = []
    lon, lat, size, arc, orders = _prepare_cones_with_orders(lons, lats, radius)
    for order in np.unique(orders[orders >= 0]).tolist():
        owner, cells = find_cone_cells(order, np.flatnonzero(orders == order), lon, lat, arc)
        shift = 2 * (MAX_ORDER - order)
        cone_numbers.append(owner)
        ranges.append(np.stack([cells << shift, (cells + 1) << shift], axis=1))
    for row in np.flatnonzero(orders == _BASE_CELLS_ORDER):
        covered_ranges = cover_cone(float(lon[row]), float(lat[row]), float(size[row]))
        cone_numbers.append(np.full(len(covered_ranges), row, dtype=np.int64))
        ranges.append(covered_ranges)
    if not cone_numbers:
        return np.empty(0, dtype=np.int64), EMPTY_RANGES
    owners = np.concatenate(cone_numbers)
    covered_ranges = np.concatenate(ranges)
    sort = np.lexsort((covered_ranges[:, 0], owners))
    owners = owners[sort]
    covered_ranges = covered_ranges[sort]
    # merge neighbouring ranges of a cone
    is_other_cone = owners[1:] != owners[:-1]
    begins = np.ones(len(owners), dtype=np.bool_)
    begins[1:] = is_other_cone | (covered_ranges[1:, 0] > covered_ranges[:-1, 1])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(owners)) - 1
    merged_ranges = np.stack([covered_ranges[first, 0], covered_ranges[last, 1]], axis=1)
    return owners[first], merged_ranges


def iterate_cone_cells(
    lons: npt.ArrayLike, lats: npt.ArrayLike, radius: npt.ArrayLike
) -> Iterator[tuple[int, Indexes, Indexes]]:
    """Cover many cones by cells, each cone by cells of the order that suits it.

    Parameters
    ----------
    lons, lats, radius
        Degrees, shape (n,), as for `cover_cones`.

    Yields
    ------
    order
        Ascending.
    which
        The number of the cone of each cell, ascending, shape (m,).
    cells
        Cells of this order that the cone may touch: at most nine; for cones of more than 38 degrees at most the twelve
        base cells.
    """
    lon, lat, _, arc, orders = _prepare_cones_with_orders(lons, lats, radius)
    for order in np.unique(orders[orders >= _BASE_CELLS_ORDER]).tolist():
        rows = np.flatnonzero(orders == order)
        yield (max(order, 0), *find_cone_cells(order, rows, lon, lat, arc))


def _prepare_cones_with_orders(
    lons: npt.ArrayLike, lats: npt.ArrayLike, radius: npt.ArrayLike
) -> tuple[Numbers, Numbers, Numbers, Numbers, Indexes]:
    """Compute centres and radii in degrees, radii in radians with a margin, and the order that suits each cone.

    The order may be `_BASE_CELLS_ORDER` or `_NO_CONE_ORDER`.
    """
    lon = np.atleast_1d(np.asarray(lons, dtype=np.float64))
    lat = np.atleast_1d(np.asarray(lats, dtype=np.float64))
    size = np.broadcast_to(np.asarray(radius, dtype=np.float64), lon.shape)
    good = np.isfinite(lon) & (np.abs(lat) <= 90.0) & (size >= 0.0)
    arc = np.radians(np.where(good, size, 0.0)) + _COVER_MARGIN_RADIANS
    exact_orders = np.floor(np.log2(_MIN_CELL_WIDTH_RADIANS / arc))
    orders = np.clip(exact_orders, _BASE_CELLS_ORDER, MAX_ORDER).astype(np.int64)
    return lon, lat, size, arc, np.where(good, orders, _NO_CONE_ORDER)


def find_cone_cells(order: int, rows: Indexes, lon: Numbers, lat: Numbers, arc: Numbers) -> tuple[Indexes, Indexes]:
    """Compute the cells that cones may touch: the cell of the centre and its neighbours, or all base cells.

    Parameters
    ----------
    order
        Order of the cells; `_BASE_CELLS_ORDER` for all base cells.
    rows
        Numbers of the cones, shape (k,).
    lon, lat
        The centres of all cones in degrees, shape (n,).
    arc
        The radii of all cones in radians, shape (n,).

    Returns
    -------
    rows, cells
        Numbers of cones and the cells they may touch, shape (m,) each.
    """
    uses_tables = order <= _MAX_TABLE_ORDER and len(rows) >= (1 << 2 * max(order, 0))
    if order < 0:
        near = np.broadcast_to(np.arange(12, dtype=np.int64), (len(rows), 12))
        order = 0
    else:
        own_cells = compute_cell_indexes(order, lon[rows], lat[rows])
        if uses_tables:
            near = compute_all_neighbour_cells(order)[own_cells]
        else:
            near = np.zeros((len(rows), 9), dtype=np.int64)
            _load_cdshealpix().neighbours(order, own_cells.astype(np.uint64), near, _choose_thread_count(len(rows)))
    if uses_tables:
        # few cells and many cones: scalar products of unit vectors, whose rounding is negligible for cells of this size
        middle = _compute_center_vectors(order)[:, near]
        place = to_unit_vectors(lon[rows], lat[rows])
        cosines = middle[0] * place[:, :1] + middle[1] * place[:, 1:2] + middle[2] * place[:, 2:]
        reach = np.minimum(arc[rows] + _MAX_CELL_RADIUS_RADIANS / 2**order, math.pi)
        close = (cosines >= np.cos(reach)[:, None] - 1e-12) & (near >= 0)
        row_numbers, column = np.nonzero(close)
        return rows[row_numbers], near[row_numbers, column]
    owner = np.repeat(rows, near.shape[1])
    cells = near.ravel()
    real = cells >= 0
    owner = owner[real]
    cells = cells[real]
    mid_lon, mid_lat = compute_cell_centers(order, cells)
    reach = np.degrees(arc[owner] + _MAX_CELL_RADIUS_RADIANS / 2**order)
    distance = compute_angular_distance(lon[owner], lat[owner], mid_lon, mid_lat)
    close = distance <= reach
    return owner[close], cells[close]


def add_neighbour_cells(ranges: Indexes, order: int) -> Indexes:
    """Add the neighbours of all cells of an order to a set of cells.

    Parameters
    ----------
    ranges
        Half-open, sorted, disjoint at order 29, shape (n, 2).
    order
        0 to 29.

    Returns
    -------
    ranges
        At order 29, shape (m, 2); they contain everything within 0.69 / 2^order radians of the set.
    """
    _check_healpix_order(order)
    shift = 2 * (MAX_ORDER - order)
    coarse = degrade_ranges(ranges, order) >> shift
    lengths = coarse[:, 1] - coarse[:, 0]
    range_number, number = compute_element_numbers(lengths)
    own_cells = coarse[range_number, 0] + number
    near = np.zeros((len(own_cells), 9), dtype=np.int64)
    if len(own_cells):
        neighbour_cells = own_cells.astype(np.uint64)
        thread_count = _choose_thread_count(len(own_cells))
        _load_cdshealpix().neighbours(order, neighbour_cells, near, thread_count)
    cells = sort_distinct(near[near >= 0])
    cell_ranges = np.stack([cells << shift, (cells + 1) << shift], axis=1)
    return merge_ranges(cell_ranges)


@cache
def compute_all_neighbour_cells(order: int) -> Indexes:
    """Compute for each cell of an order the cell itself and its neighbours.

    Parameters
    ----------
    order
        Order of the cells.

    Returns
    -------
    cells
        Shape (cells, 9); -1 where there is no neighbour.
    """
    all_cells = np.arange(12 << 2 * order, dtype=np.uint64)
    near = np.zeros((len(all_cells), 9), dtype=np.int64)
    _load_cdshealpix().neighbours(order, all_cells, near, _choose_thread_count(len(all_cells)))
    return near


@cache
def _compute_center_vectors(order: int) -> Numbers:
    """Compute the unit vectors of the centres of all cells of an order, shape (3, cells)."""
    cell_centers = compute_cell_centers(order, np.arange(12 << 2 * order))
    return np.ascontiguousarray(to_unit_vectors(*cell_centers).T)


def cover_polygon(lons: Numbers, lats: Numbers, order: int, *, inner_only: bool = False) -> Indexes:
    """Cover the smaller side of a polygon.

    Parameters
    ----------
    lons, lats
        Degrees, the vertices, shape (n,).
    order
        Finest cells to use, 0 to 29.
    inner_only
        Whether to return only cells that are wholly inside.

    Returns
    -------
    ranges
        Half-open, at order 29, shape (m, 2).
    """
    _check_healpix_order(order)
    lon_radians = np.radians(np.mod(lons, 360.0))
    cells, depths, full = _load_cdshealpix().polygon_search(order, lon_radians, np.radians(lats), False)
    if inner_only:
        return _merge_cells_to_ranges(cells[full], depths[full])
    return _merge_cells_to_ranges(cells, depths)


def cover_arcs(a: Numbers, b: Numbers, order: int) -> Indexes:
    """Cover great-circle arcs by small cones along them.

    Parameters
    ----------
    a, b
        Unit vectors of the ends, shape (n, 3).
    order
        Finest cells to use, 0 to 29.

    Returns
    -------
    ranges
        Half-open, sorted, disjoint at order 29, shape (m, 2).
    """
    length = measure_angles(a, b)
    # cones of a quarter of a cell; larger ones where the arcs are too long
    cell_radius = _MIN_CELL_WIDTH_RADIANS / 2.0 ** (order + 2)
    radius = max(cell_radius, float(length.sum()) / _MAX_BOUNDARY_CELLS)
    step_count = np.ceil(length / (1.9 * radius))
    steps = np.maximum(step_count, 1.0).astype(np.int64)
    arc, number = compute_element_numbers(steps)
    share = (number + 0.5) / steps[arc]
    lon, lat = to_lon_lat(interpolate_along_arcs(a[arc], b[arc], share))
    _, ranges = cover_cones(lon, lat, math.degrees(radius * 0.9999))
    return degrade_ranges(merge_ranges(ranges), order)


def cover_shape_by_distance(
    compute_distances: Callable[[Numbers, Numbers], tuple[Numbers, Numbers]], order: int
) -> Indexes:
    """Cover a shape that is known only by distances from it, starting with the twelve base cells.

    Parameters
    ----------
    compute_distances
        A function that returns for positions (degrees) the distance to the shape (0 inside) and to its boundary,
        degrees.
    order
        Finest cells to use; coarser ones where the boundary would have more than `_MAX_BOUNDARY_CELLS` of them.

    Returns
    -------
    ranges
        Half-open, sorted, disjoint at order 29, shape (n, 2).
    """
    _check_healpix_order(order)
    cells = np.arange(12, dtype=np.int64)
    finished_ranges: list[Indexes] = []
    for depth in range(order + 1):
        cell_centers = compute_few_cell_centers(depth, cells)
        shape_distance, boundary_distance = compute_distances(*cell_centers)
        reach = math.degrees(_MAX_CELL_RADIUS_RADIANS / 2**depth)
        touched = shape_distance <= reach
        is_inside = (shape_distance <= 0.0) & (boundary_distance >= reach)
        shift = 2 * (MAX_ORDER - depth)
        boundary_cells = cells[touched & ~is_inside]
        last = depth == order or 4 * len(boundary_cells) > _MAX_BOUNDARY_CELLS
        if last:
            final = cells[touched]
        else:
            final = cells[is_inside]
        finished_ranges.append(np.stack([final << shift, (final + 1) << shift], axis=1))
        if last:
            break
        cells = ((boundary_cells << 2)[:, None] + np.arange(4)).ravel()
    return merge_ranges(np.concatenate(finished_ranges))


def _merge_cells_to_ranges(cells: Any, depths: Any) -> Indexes:
    """Merge sorted cells of several orders into ranges at order 29."""
    if not len(cells):
        return EMPTY_RANGES
    shift = (MAX_ORDER - depths.astype(np.int64)) << 1
    numbers = cells.view(np.int64)
    begin = numbers << shift
    end = (numbers + 1) << shift
    breaks = np.flatnonzero(begin[1:] > end[:-1])
    merged = np.empty((len(breaks) + 1, 2), dtype=np.int64)
    merged[0, 0] = begin[0]
    merged[-1, 1] = end[-1]
    merged[1:, 0] = begin[breaks + 1]
    merged[:-1, 1] = end[breaks]
    return merged


def _choose_thread_count(size: int) -> np.uint16:
    return np.uint16(1 if size < 100_000 else 0)  # 0: a thread for each core


def merge_ranges(ranges: Indexes) -> Indexes:
    """Sort ranges and join those that touch or overlap.

    Parameters
    ----------
    ranges
        Half-open, shape (n, 2).

    Returns
    -------
    ranges
        Sorted and disjoint, shape (m, 2).
    """
    if len(ranges) < 2:
        return ranges
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1])
    breaks = np.flatnonzero(ranges[1:, 0] > reach[:-1])
    first = np.append(0, breaks + 1)
    last = np.append(breaks, len(ranges) - 1)
    return np.stack([ranges[first, 0], reach[last]], axis=1)


def complement_ranges(ranges: Indexes) -> Indexes:
    """Compute the complement of merged ranges.

    Parameters
    ----------
    ranges
        As `merge_ranges` returns them, at order 29, shape (n, 2).

    Returns
    -------
    ranges
        The rest of the sphere, shape (m, 2).
    """
    flat_edges = np.concatenate([[0], ranges.ravel(), [MAX_ORDER_CELL_COUNT]])
    edges = flat_edges.reshape(-1, 2)
    return edges[edges[:, 0] < edges[:, 1]]


def intersect_ranges(a: Indexes, b: Indexes) -> Indexes:
    """Compute the intersection of two merged lists of ranges.

    Parameters
    ----------
    a, b
        As `merge_ranges` returns them, at order 29, shape (n, 2).

    Returns
    -------
    ranges
        Sorted and disjoint, shape (m, 2).
    """
    if not len(a) or not len(b):
        return EMPTY_RANGES
    outside_either = np.concatenate([complement_ranges(a), complement_ranges(b)])
    return complement_ranges(merge_ranges(outside_either))


def degrade_ranges(ranges: Indexes, order: int) -> Indexes:
    """Widen ranges to whole cells of a coarser order.

    Parameters
    ----------
    ranges
        At order 29, shape (n, 2).
    order
        The coarser order, 0 to 29.

    Returns
    -------
    ranges
        At order 29, sorted and disjoint, shape (m, 2).
    """
    shift = 2 * (MAX_ORDER - order)
    begin = ranges[:, 0] >> shift << shift
    end = (ranges[:, 1] + (1 << shift) - 1) >> shift << shift
    return merge_ranges(np.stack([begin, end], axis=1))


def is_in_ranges(ranges: Indexes, cells: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return which cells lie in merged ranges.

    Parameters
    ----------
    ranges
        As `merge_ranges` returns them, shape (n, 2).
    cells
        Indexes of order 29, any shape.

    Returns
    -------
    inside
        Flags of the shape of `cells`.
    """
    cell_indexes = np.asarray(cells, dtype=np.int64)
    if not len(ranges):
        return np.zeros(cell_indexes.shape, dtype=np.bool_)
    range_numbers = np.searchsorted(ranges[:, 0], cell_indexes, side="right") - 1
    range_ends = ranges[np.maximum(range_numbers, 0), 1]
    inside: npt.NDArray[np.bool_] = (range_numbers >= 0) & (cell_indexes < range_ends)
    return inside

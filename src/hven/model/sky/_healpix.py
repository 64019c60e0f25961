"""HEALPix, nested scheme: indexes of positions, and the index ranges that cover a shape.

Ranges are half-open, at order 29, sorted and disjoint: an int64 array of shape (n, 2). Every cover is inclusive: no
position inside the shape is outside its ranges (the reverse is not promised). The compiled part of `cdshealpix` is
used directly, because its Python layer costs an import of astropy (0.25 s, 60 MB) and 100 microseconds a call.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._ragged_arrays import compute_element_numbers
from hven.model.sky._sphere import compute_distance, interpolate_along_arcs, measure_angles, to_lon_lat, to_unit_vectors

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
_MIN_CELL_WIDTH_RADIANS = (
    0.68  # times 2**-order: no cell is narrower (radians), so its neighbours hold all within that distance
)
# cdshealpix 0.9 sizes cells by the latitude of the cone's centre, so a touched cell may be left out near the latitudes
# where their size changes: by 0.045 radius at 8 degrees, in proportion to the radius. Hence a margin, and another road
# for wide cones.
_WIDE_CONE_DEGREES = 2.0  # degrees
_WIDE_CONE_MARGIN_FACTOR = 0.8  # of the radius, times the radius in radians
_MAX_BOUNDARY_CELLS = 1 << 18  # cells that `cover_by_distance` looks at, at most
_MAX_CELL_RADIUS_RADIANS = 1.12  # times 2**-order: no corner is farther from its cell's centre (radians)
_MAX_TABLE_ORDER = 6  # orders up to this have their cells' neighbours and centres in tables (5 MB)
_BASE_CELLS_ORDER, _NO_CONE_ORDER = (
    -1,
    -2,
)  # "orders" of cones that a cell and its neighbours do not hold, and of what is no cone


@cache
def _load_cdshealpix() -> Any:
    """Load the compiled half of cdshealpix without its package, which would import astropy."""
    package = importlib.util.find_spec("cdshealpix")
    if package is not None and package.submodule_search_locations is not None:
        spec = importlib.machinery.PathFinder.find_spec(
            "cdshealpix.cdshealpix", list(package.submodule_search_locations)
        )
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return importlib.import_module("cdshealpix.cdshealpix")


def _check_order(order: int) -> None:
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
    """Compute the nested index of each position, and where in its cell that is.

    Parameters
    ----------
    order
        0 to 29.
    lon, lat
        Degrees, of one shape, as for `compute_cell_indexes`.

    Returns
    -------
    indexes, x, y
        As of `compute_cell_indexes`, of its shape; 0 to 1, by the bits of an index: x counts in every second one from
        the lowest on, y in the others.
    """
    _check_order(order)
    lon, lat = np.broadcast_arrays(
        np.atleast_1d(np.asarray(lon, dtype=np.float64)), np.atleast_1d(np.asarray(lat, dtype=np.float64))
    )
    good = np.isfinite(lon) & (np.abs(lat) <= 90.0)
    all_valid = bool(good.all())
    if not all_valid:
        lon = np.where(good, lon, 0.0)
        lat = np.where(good, lat, 0.0)
    cells = np.empty(lon.shape, dtype=np.uint64)
    dx = np.empty(lon.shape)
    dy = np.empty(lon.shape)
    turned = np.radians(lon if bool(((lon >= 0.0) & (lon < 360.0)).all()) else np.mod(lon, 360.0))
    _load_cdshealpix().lonlat_to_healpix(
        np.full(lon.shape, order, dtype=np.uint8),
        turned,
        np.radians(lat),
        cells,
        dx,
        dy,
        _choose_thread_count(lon.size),
    )
    indexes = cells.view(np.int64)
    return indexes if all_valid else np.where(good, indexes, -1), dx, dy


def compute_cell_centers(order: int | Indexes, ipix: npt.ArrayLike) -> tuple[Numbers, Numbers]:
    """Compute the centres of cells.

    Parameters
    ----------
    order
        0 to 29; one of all, or of each, shape (n,).
    ipix
        Nested indexes, shape (n,).

    Returns
    -------
    lon, lat
        Degrees, shape (n,); NaN for indexes that do not exist.
    """
    cells = np.atleast_1d(np.asarray(ipix, dtype=np.int64))
    if isinstance(order, int):
        _check_order(order)
    good = (cells >= 0) & (cells < 12 << 2 * order)
    lon = np.empty(cells.shape)
    lat = np.empty(cells.shape)
    valid_cells = np.where(good, cells, 0).astype(np.uint64)
    _load_cdshealpix().healpix_to_lonlat(
        np.ascontiguousarray(np.broadcast_to(order, cells.shape), dtype=np.uint8),
        valid_cells,
        0.5,
        0.5,
        lon,
        lat,
        _choose_thread_count(cells.size),
    )
    return np.where(good, np.degrees(lon), np.nan), np.where(good, np.degrees(lat), np.nan)


def compute_cell_vertices(order: int, ipix: npt.ArrayLike, steps: int = 1) -> tuple[Numbers, Numbers]:
    """Compute positions along the edges of cells, anticlockwise seen from outside.

    Parameters
    ----------
    order
        0 to 29.
    ipix
        Nested indexes, shape (n,).
    steps
        How many there are on each of the four sides.

    Returns
    -------
    lon, lat
        Degrees, shape (n, 4 * steps).
    """
    _check_order(order)
    cells = np.ascontiguousarray(ipix, dtype=np.uint64)
    lon, lat = np.empty((2, len(cells), 4 * steps))
    _load_cdshealpix().vertices(
        np.full(len(cells), order, np.uint8), cells, steps, lon, lat, _choose_thread_count(len(cells))
    )
    return np.degrees(lon), np.degrees(lat)


def split_by_order(ranges: Indexes) -> list[tuple[int, Indexes]]:
    """Take ranges apart into cells as large as can be.

    Parameters
    ----------
    ranges
        Half-open, sorted, disjoint at order 29, shape (n, 2).

    Returns
    -------
    cells
        Orders, and the nested indexes of the cells of each, shape (m,).
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
            ranges = intersect_ranges(ranges, complement_ranges(np.stack([low << shift, high << shift], 1)))
        if not len(ranges):
            break
    return cells_by_order


def choose_cone_order(radius: float) -> int:
    """Return the order that suits a cone: about three cells to the radius, some dozen ranges.

    Parameters
    ----------
    radius
        Degrees; 0, negative and NaN are points.

    Returns
    -------
    order
        0 to 29.
    """
    if not radius > 0.0:
        return MAX_ORDER
    return min(max(int(math.log2(3.58 / math.radians(radius))), 0), MAX_ORDER)


def cover_cone(lon: float, lat: float, radius: float, order: int | None = None) -> Indexes:
    """Cover a cone.

    Parameters
    ----------
    lon, lat, radius
        Degrees. A negative or NaN radius, or a centre that is no position, covers nothing.
    order
        Finest cells to use; None: what suits the radius.

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
        return cover_by_distance(lambda x, y: _compute_cone_distances(compute_distance(x, y, lon, lat), radius), depth)
    cells, depths, _ = _load_cdshealpix().cone_search(
        depth, 0, math.radians(lon % 360.0), math.radians(lat), math.radians(radius) + _COVER_MARGIN_RADIANS, False
    )
    return _merge_cells(cells, depths)


def _compute_cone_distances(center_distance: Numbers, radius: float) -> tuple[Numbers, Numbers]:
    return np.maximum(center_distance - radius, 0.0), np.abs(center_distance - radius)


def cover_cones(lons: npt.ArrayLike, lats: npt.ArrayLike, radius: npt.ArrayLike) -> tuple[Indexes, Indexes]:
    """Cover many cones at once: the candidates of a cross-match.

    Parameters
    ----------
    lons, lats
        Degrees, shape (n,).
    radius
        Degrees, one number or shape (n,).

    Returns
    -------
    which
        Number of the cone that each range belongs to, ascending, shape (m,).
    ranges
        Half-open ranges at order 29, shape (m, 2), disjoint within each cone; at most nine for each cone up to 38
        degrees.
    """
    cone_numbers: list[Indexes] = []
    ranges: list[Indexes] = []
    lon, lat, size, arc, orders = _prepare_cones(lons, lats, radius)
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
    # neighbouring ranges of one cone become one
    begins = np.ones(len(owners), dtype=np.bool_)
    begins[1:] = (owners[1:] != owners[:-1]) | (covered_ranges[1:, 0] > covered_ranges[:-1, 1])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(owners)) - 1
    return owners[first], np.stack([covered_ranges[first, 0], covered_ranges[last, 1]], axis=1)


def iterate_cone_cells(
    lons: npt.ArrayLike, lats: npt.ArrayLike, radius: npt.ArrayLike
) -> Iterator[tuple[int, Indexes, Indexes]]:
    """Cover many cones by cells, those of each cone of the one order that suits it.

    Parameters
    ----------
    lons, lats, radius
        Degrees, shape (n,), as for `cover_cones`.

    Yields
    ------
    order
        Ascending.
    which
        Number of the cone that each cell belongs to, ascending, shape (m,).
    cells
        Those of this order that the cone may touch: at most nine, of cones of more than 38 degrees at most the twelve
        base cells.
    """
    lon, lat, _, arc, orders = _prepare_cones(lons, lats, radius)
    for order in np.unique(orders[orders >= _BASE_CELLS_ORDER]).tolist():
        rows = np.flatnonzero(orders == order)
        yield (max(order, 0), *find_cone_cells(order, rows, lon, lat, arc))


def _prepare_cones(
    lons: npt.ArrayLike, lats: npt.ArrayLike, radius: npt.ArrayLike
) -> tuple[Numbers, Numbers, Numbers, Numbers, Indexes]:
    """Compute centres and radii in degrees, the latter in radians with a margin, and the order that suits each cone (`_BASE_CELLS_ORDER`, `_NO_CONE_ORDER`)."""
    lon = np.atleast_1d(np.asarray(lons, dtype=np.float64))
    lat = np.atleast_1d(np.asarray(lats, dtype=np.float64))
    size = np.broadcast_to(np.asarray(radius, dtype=np.float64), lon.shape)
    good = np.isfinite(lon) & (np.abs(lat) <= 90.0) & (size >= 0.0)
    arc = np.radians(np.where(good, size, 0.0)) + _COVER_MARGIN_RADIANS
    orders = np.clip(np.floor(np.log2(_MIN_CELL_WIDTH_RADIANS / arc)), _BASE_CELLS_ORDER, MAX_ORDER).astype(np.int64)
    return lon, lat, size, arc, np.where(good, orders, _NO_CONE_ORDER)


def find_cone_cells(order: int, rows: Indexes, lon: Numbers, lat: Numbers, arc: Numbers) -> tuple[Indexes, Indexes]:
    """Compute the cells (own and neighbouring; of `_BASE_CELLS_ORDER` all base cells) that cones may touch.

    Parameters
    ----------
    order
        Of the cells.
    rows
        Which cones, shape (k,).
    lon, lat
        Of their middles in degrees, shape (n,).
    arc
        Their radii in radians, shape (n,).

    Returns
    -------
    rows, cells
        Numbers of cones and the cells they may touch, shape (m,) each.
    """
    if order < 0:
        near = np.broadcast_to(np.arange(12, dtype=np.int64), (len(rows), 12))
        order = 0
    else:
        own_cells = compute_cell_indexes(order, lon[rows], lat[rows])
        if order <= _MAX_TABLE_ORDER and len(rows) >= (1 << 2 * order):
            near = compute_neighbours(order)[own_cells]
        else:
            near = np.zeros((len(rows), 9), dtype=np.int64)
            _load_cdshealpix().neighbours(order, own_cells.astype(np.uint64), near, _choose_thread_count(len(rows)))
    if order <= _MAX_TABLE_ORDER and len(rows) >= (1 << 2 * order):
        # a few cells and many cones: by products of unit vectors, whose rounding is nothing beside cells of this size
        middle = _compute_center_vectors(order)[:, near]
        place = to_unit_vectors(lon[rows], lat[rows])
        cosines = middle[0] * place[:, :1] + middle[1] * place[:, 1:2] + middle[2] * place[:, 2:]
        close = (
            cosines >= np.cos(np.minimum(arc[rows] + _MAX_CELL_RADIUS_RADIANS / 2**order, math.pi))[:, None] - 1e-12
        ) & (near >= 0)
        at, column = np.nonzero(close)
        return rows[at], near[at, column]
    owner = np.repeat(rows, near.shape[1])
    cells = near.ravel()
    real = cells >= 0
    owner = owner[real]
    cells = cells[real]
    mid_lon, mid_lat = compute_cell_centers(order, cells)
    reach = np.degrees(arc[owner] + _MAX_CELL_RADIUS_RADIANS / 2**order)
    distance = compute_distance(lon[owner], lat[owner], mid_lon, mid_lat)
    close = distance <= reach
    return owner[close], cells[close]


def add_neighbours(ranges: Indexes, order: int) -> Indexes:
    """Widen a set of cells by the neighbours that its cells of `order` have.

    Parameters
    ----------
    ranges
        Half-open, sorted, disjoint at order 29, shape (n, 2).
    order
        0 to 29.

    Returns
    -------
    ranges
        At order 29, shape (m, 2); they hold everything within 0.69 / 2^order radians of the set.
    """
    _check_order(order)
    shift = 2 * (MAX_ORDER - order)
    coarse = degrade_ranges(ranges, order) >> shift
    lengths = coarse[:, 1] - coarse[:, 0]
    range_number, number = compute_element_numbers(lengths)
    own_cells = coarse[range_number, 0] + number
    near = np.zeros((len(own_cells), 9), dtype=np.int64)
    if len(own_cells):
        _load_cdshealpix().neighbours(order, own_cells.astype(np.uint64), near, _choose_thread_count(len(own_cells)))
    cells = np.unique(near[near >= 0])
    return merge_ranges(np.stack([cells << shift, (cells + 1) << shift], axis=1))


@cache
def compute_neighbours(order: int) -> Indexes:
    """Compute for each cell of an order itself and its neighbours.

    Parameters
    ----------
    order
        Of the cells.

    Returns
    -------
    cells
        -1 where there is none; shape (cells, 9).
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


def cover_polygon(lons: Numbers, lats: Numbers, order: int, *, inner: bool = False) -> Indexes:
    """Cover the small side of a polygon.

    Parameters
    ----------
    lons, lats
        Degrees, the vertices, shape (n,).
    order
        Finest cells to use, 0 to 29.
    inner
        True: only what lies wholly in it.

    Returns
    -------
    ranges
        Half-open, at order 29, shape (m, 2).
    """
    _check_order(order)
    cells, depths, full = _load_cdshealpix().polygon_search(
        order, np.radians(np.mod(lons, 360.0)), np.radians(lats), False
    )
    if inner:
        return _merge_cells(cells[full], depths[full])
    return _merge_cells(cells, depths)


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
    # cones of a quarter of a cell; larger ones where the arcs are too long for it
    radius = max(_MIN_CELL_WIDTH_RADIANS / 2.0 ** (order + 2), float(length.sum()) / _MAX_BOUNDARY_CELLS)
    steps = np.maximum(np.ceil(length / (1.9 * radius)), 1.0).astype(np.int64)
    arc, number = compute_element_numbers(steps)
    lon, lat = to_lon_lat(interpolate_along_arcs(a[arc], b[arc], (number + 0.5) / steps[arc]))
    _, ranges = cover_cones(lon, lat, math.degrees(radius * 0.9999))
    return degrade_ranges(merge_ranges(ranges), order)


def cover_by_distance(compute_distances: Callable[[Numbers, Numbers], tuple[Numbers, Numbers]], order: int) -> Indexes:
    """Cover a shape of which only distances are known, from the twelve base cells down.

    Parameters
    ----------
    compute_distances
        A function that returns for positions (degrees) the distance to the shape (0 inside) and to its boundary,
        degrees.
    order
        Finest cells to use; coarser ones where the boundary is too long for it (`_MAX_BOUNDARY_CELLS` cells).

    Returns
    -------
    ranges
        Half-open, sorted, disjoint at order 29, shape (n, 2).
    """
    _check_order(order)
    cells = np.arange(12, dtype=np.int64)
    finished_ranges: list[Indexes] = []
    for depth in range(order + 1):
        shape_distance, boundary_distance = compute_distances(*compute_cell_centers(depth, cells))
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


def _merge_cells(cells: Any, depths: Any) -> Indexes:
    """Merge sorted cells of several orders into ranges at order 29."""
    if not len(cells):
        return EMPTY_RANGES
    shift = (MAX_ORDER - depths.astype(np.int64)) << 1
    numbers = cells.view(np.int64)
    begin = numbers << shift
    end = (numbers + 1) << shift
    breaks = np.flatnonzero(begin[1:] > end[:-1])
    merged = np.empty((len(breaks) + 1, 2), dtype=np.int64)
    merged[0, 0], merged[-1, 1] = begin[0], end[-1]
    merged[1:, 0] = begin[breaks + 1]
    merged[:-1, 1] = end[breaks]
    return merged


def _choose_thread_count(size: int) -> np.uint16:
    return np.uint16(1 if size < 100_000 else 0)  # 0 = as many as there are cores


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
    return np.stack([ranges[np.append(0, breaks + 1), 0], reach[np.append(breaks, len(ranges) - 1)]], axis=1)


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
    edges = np.concatenate([[0], ranges.ravel(), [MAX_ORDER_CELL_COUNT]]).reshape(-1, 2)
    return edges[edges[:, 0] < edges[:, 1]]


def intersect_ranges(a: Indexes, b: Indexes) -> Indexes:
    """Compute what two merged lists of ranges have in common.

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
    return complement_ranges(merge_ranges(np.concatenate([complement_ranges(a), complement_ranges(b)])))


def degrade_ranges(ranges: Indexes, order: int) -> Indexes:
    """Widen ranges to whole cells of a coarser order.

    Parameters
    ----------
    ranges
        At order 29, shape (n, 2).
    order
        The coarser one, 0 to 29.

    Returns
    -------
    ranges
        At order 29, sorted and disjoint, shape (m, 2).
    """
    shift = 2 * (MAX_ORDER - order)
    return merge_ranges(
        np.stack([ranges[:, 0] >> shift << shift, (ranges[:, 1] + (1 << shift) - 1) >> shift << shift], axis=1)
    )


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
        Of the shape of `cells`.
    """
    cell_indexes = np.asarray(cells, dtype=np.int64)
    if not len(ranges):
        return np.zeros(cell_indexes.shape, dtype=np.bool_)
    at = np.searchsorted(ranges[:, 0], cell_indexes, side="right") - 1
    inside: npt.NDArray[np.bool_] = (at >= 0) & (cell_indexes < ranges[np.maximum(at, 0), 1])
    return inside

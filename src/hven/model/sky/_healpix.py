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

from hven.model.sky._ragged import numbered
from hven.model.sky._sphere import along, angle, angles, distance, vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]

ORDER = 29
"""The order of ranges."""

CELLS = 12 << 2 * ORDER
"""Number of cells at order 29; one past the largest index."""

EVERYWHERE: Indexes = np.array([[0, CELLS]], dtype=np.int64)
NOWHERE: Indexes = np.empty((0, 2), dtype=np.int64)
EVERYWHERE.flags.writeable = NOWHERE.flags.writeable = False

# radians by which a cover is wider than its shape: more than any rounding, less than a cell of order 29
_MARGIN = 1e-11
_WIDTH = 0.68  # times 2**-order: no cell is narrower (radians), so its neighbours hold all within that distance
# cdshealpix 0.9 sizes cells by the latitude of the cone's centre, so a touched cell may be left out near the latitudes where their
# size changes: by 0.045 radius at 8 degrees, in proportion to the radius. Hence a margin, and another road for wide cones.
_WIDE = 2.0  # degrees
_SPREAD = 0.8  # of the radius, times the radius in radians
_MOST = 1 << 18  # cells that `grown` looks at, at most
_REACH = 1.12  # times 2**-order: no corner is farther from its cell's centre (radians)
_TABLED = 6  # orders up to this have their cells' neighbours and centres in tables (5 MB)
_BEYOND, _NONE = -1, -2  # "orders" of cones that a cell and its neighbours do not hold, and of what is no cone


@cache
def _compiled() -> Any:
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


def _check(order: int) -> None:
    if not 0 <= order <= ORDER:
        message = f"HEALPix order {order} is not between 0 and {ORDER}"
        raise ValueError(message)


def index(order: int, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Indexes:
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
        Int64, of the shape of the positions, at least (1,); -1 where a coordinate is NaN, infinite, or a latitude beyond a pole.
    """
    return placed(order, lon, lat)[0]


def placed(order: int, lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Indexes, Numbers, Numbers]:
    """Compute the nested index of each position, and where in its cell that is.

    Parameters
    ----------
    order
        0 to 29.
    lon, lat
        Degrees, of one shape, as for `index`.

    Returns
    -------
    indexes, x, y
        As of `index`, of its shape; 0 to 1, by the bits of an index: x counts in every second one from the lowest on, y in the others.
    """
    _check(order)
    lon, lat = np.broadcast_arrays(
        np.atleast_1d(np.asarray(lon, dtype=np.float64)), np.atleast_1d(np.asarray(lat, dtype=np.float64))
    )
    good = np.isfinite(lon) & (np.abs(lat) <= 90.0)
    whole = bool(good.all())
    if not whole:
        lon, lat = np.where(good, lon, 0.0), np.where(good, lat, 0.0)
    cells = np.empty(lon.shape, dtype=np.uint64)
    dx, dy = np.empty(lon.shape), np.empty(lon.shape)
    turned = np.radians(lon if bool(((lon >= 0.0) & (lon < 360.0)).all()) else np.mod(lon, 360.0))
    _compiled().lonlat_to_healpix(
        np.full(lon.shape, order, dtype=np.uint8), turned, np.radians(lat), cells, dx, dy, _threads(lon.size)
    )
    found = cells.view(np.int64)
    return found if whole else np.where(good, found, -1), dx, dy


def center(order: int | Indexes, ipix: npt.ArrayLike) -> tuple[Numbers, Numbers]:
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
        _check(order)
    good = (cells >= 0) & (cells < 12 << 2 * order)
    lon, lat = np.empty(cells.shape), np.empty(cells.shape)
    asked = np.where(good, cells, 0).astype(np.uint64)
    _compiled().healpix_to_lonlat(
        np.ascontiguousarray(np.broadcast_to(order, cells.shape), dtype=np.uint8),
        asked,
        0.5,
        0.5,
        lon,
        lat,
        _threads(cells.size),
    )
    return np.where(good, np.degrees(lon), np.nan), np.where(good, np.degrees(lat), np.nan)


def corners(order: int, ipix: npt.ArrayLike, steps: int = 1) -> tuple[Numbers, Numbers]:
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
    _check(order)
    cells = np.ascontiguousarray(ipix, dtype=np.uint64)
    lon, lat = np.empty((2, len(cells), 4 * steps))
    _compiled().vertices(np.full(len(cells), order, np.uint8), cells, steps, lon, lat, _threads(len(cells)))
    return np.degrees(lon), np.degrees(lat)


def by_order(ranges: Indexes) -> list[tuple[int, Indexes]]:
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
    found = []
    for order in range(ORDER + 1):
        shift = 2 * (ORDER - order)
        low, high = -(-ranges[:, 0] >> shift), ranges[:, 1] >> shift
        size = np.maximum(high - low, 0)
        some = size > 0
        if some.any():
            low, high, size = low[some], high[some], size[some]
            at, number = numbered(size)
            found.append((order, low[at] + number))
            ranges = intersect(ranges, invert(np.stack([low << shift, high << shift], 1)))
        if not len(ranges):
            break
    return found


def order_for(radius: float) -> int:
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
        return ORDER
    return min(max(int(math.log2(3.58 / math.radians(radius))), 0), ORDER)


def cone_ranges(lon: float, lat: float, radius: float, order: int | None = None) -> Indexes:
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
        return NOWHERE
    if radius >= 180.0:
        return EVERYWHERE
    depth = order_for(radius) if order is None else order
    if radius > _WIDE:
        return grown(lambda x, y: _cone_gap(distance(x, y, lon, lat), radius), depth)
    cells, depths, _ = _compiled().cone_search(
        depth, 0, math.radians(lon % 360.0), math.radians(lat), math.radians(radius) + _MARGIN, False
    )
    return _ranges(cells, depths)


def _cone_gap(away: Numbers, radius: float) -> tuple[Numbers, Numbers]:
    return np.maximum(away - radius, 0.0), np.abs(away - radius)


def cones_ranges(lons: npt.ArrayLike, lats: npt.ArrayLike, radius: npt.ArrayLike) -> tuple[Indexes, Indexes]:
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
        Half-open ranges at order 29, shape (m, 2), disjoint within each cone; at most nine for each cone up to 38 degrees.
    """
    which: list[Indexes] = []
    ranges: list[Indexes] = []
    lon, lat, size, arc, orders = _sized(lons, lats, radius)
    for order in np.unique(orders[orders >= 0]).tolist():
        owner, cells = around(order, np.flatnonzero(orders == order), lon, lat, arc)
        shift = 2 * (ORDER - order)
        which.append(owner)
        ranges.append(np.stack([cells << shift, (cells + 1) << shift], axis=1))
    for row in np.flatnonzero(orders == _BEYOND):
        found = cone_ranges(float(lon[row]), float(lat[row]), float(size[row]))
        which.append(np.full(len(found), row, dtype=np.int64))
        ranges.append(found)
    if not which:
        return np.empty(0, dtype=np.int64), NOWHERE
    owners, found = np.concatenate(which), np.concatenate(ranges)
    sort = np.lexsort((found[:, 0], owners))
    owners, found = owners[sort], found[sort]
    # neighbouring ranges of one cone become one
    begins = np.ones(len(owners), dtype=np.bool_)
    begins[1:] = (owners[1:] != owners[:-1]) | (found[1:, 0] > found[:-1, 1])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(owners)) - 1
    return owners[first], np.stack([found[first, 0], found[last, 1]], axis=1)


def cones_cells(
    lons: npt.ArrayLike, lats: npt.ArrayLike, radius: npt.ArrayLike
) -> Iterator[tuple[int, Indexes, Indexes]]:
    """Cover many cones by cells, those of each cone of the one order that suits it.

    Parameters
    ----------
    lons, lats, radius
        Degrees, shape (n,), as for `cones_ranges`.

    Yields
    ------
    order
        Ascending.
    which
        Number of the cone that each cell belongs to, ascending, shape (m,).
    cells
        Those of this order that the cone may touch: at most nine, of cones of more than 38 degrees at most the twelve base cells.
    """
    lon, lat, _, arc, orders = _sized(lons, lats, radius)
    for order in np.unique(orders[orders >= _BEYOND]).tolist():
        rows = np.flatnonzero(orders == order)
        yield (max(order, 0), *around(order, rows, lon, lat, arc))


def _sized(
    lons: npt.ArrayLike, lats: npt.ArrayLike, radius: npt.ArrayLike
) -> tuple[Numbers, Numbers, Numbers, Numbers, Indexes]:
    """Compute centres and radii in degrees, the latter in radians with a margin, and the order that suits each cone (`_BEYOND`, `_NONE`)."""
    lon, lat = np.atleast_1d(np.asarray(lons, dtype=np.float64)), np.atleast_1d(np.asarray(lats, dtype=np.float64))
    size = np.broadcast_to(np.asarray(radius, dtype=np.float64), lon.shape)
    good = np.isfinite(lon) & (np.abs(lat) <= 90.0) & (size >= 0.0)
    arc = np.radians(np.where(good, size, 0.0)) + _MARGIN
    orders = np.clip(np.floor(np.log2(_WIDTH / arc)), _BEYOND, ORDER).astype(np.int64)
    return lon, lat, size, arc, np.where(good, orders, _NONE)


def around(order: int, rows: Indexes, lon: Numbers, lat: Numbers, arc: Numbers) -> tuple[Indexes, Indexes]:
    """Compute the cells (own and neighbouring; of `_BEYOND` all base cells) that cones may touch.

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
        own = index(order, lon[rows], lat[rows])
        if order <= _TABLED and len(rows) >= (1 << 2 * order):
            near = neighbours_of_all(order)[own]
        else:
            near = np.zeros((len(rows), 9), dtype=np.int64)
            _compiled().neighbours(order, own.astype(np.uint64), near, _threads(len(rows)))
    if order <= _TABLED and len(rows) >= (1 << 2 * order):
        # a few cells and many cones: by products of unit vectors, whose rounding is nothing beside cells of this size
        middle = _centres_of_all(order)[:, near]
        place = vectors(lon[rows], lat[rows])
        away = middle[0] * place[:, :1] + middle[1] * place[:, 1:2] + middle[2] * place[:, 2:]
        close = (away >= np.cos(np.minimum(arc[rows] + _REACH / 2**order, math.pi))[:, None] - 1e-12) & (near >= 0)
        at, column = np.nonzero(close)
        return rows[at], near[at, column]
    owner, cells = np.repeat(rows, near.shape[1]), near.ravel()
    real = cells >= 0
    owner, cells = owner[real], cells[real]
    mid_lon, mid_lat = center(order, cells)
    reach = np.degrees(arc[owner] + _REACH / 2**order)
    close = distance(lon[owner], lat[owner], mid_lon, mid_lat) <= reach
    return owner[close], cells[close]


def neighbourhood(ranges: Indexes, order: int) -> Indexes:
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
    _check(order)
    shift = 2 * (ORDER - order)
    coarse = degrade(ranges, order) >> shift
    lengths = coarse[:, 1] - coarse[:, 0]
    which, number = numbered(lengths)
    own = coarse[which, 0] + number
    near = np.zeros((len(own), 9), dtype=np.int64)
    if len(own):
        _compiled().neighbours(order, own.astype(np.uint64), near, _threads(len(own)))
    cells = np.unique(near[near >= 0])
    return merge(np.stack([cells << shift, (cells + 1) << shift], axis=1))


@cache
def neighbours_of_all(order: int) -> Indexes:
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
    own = np.arange(12 << 2 * order, dtype=np.uint64)
    near = np.zeros((len(own), 9), dtype=np.int64)
    _compiled().neighbours(order, own, near, _threads(len(own)))
    return near


@cache
def _centres_of_all(order: int) -> Numbers:
    """Compute the unit vectors of the centres of all cells of an order, shape (3, cells)."""
    return np.ascontiguousarray(vectors(*center(order, np.arange(12 << 2 * order))).T)


def polygon_cells(lons: Numbers, lats: Numbers, order: int, *, inner: bool = False) -> Indexes:
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
    _check(order)
    cells, depths, full = _compiled().polygon_search(order, np.radians(np.mod(lons, 360.0)), np.radians(lats), False)
    return _ranges(cells[full], depths[full]) if inner else _ranges(cells, depths)


def arc_ranges(a: Numbers, b: Numbers, order: int) -> Indexes:
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
    length = angle(a, b)
    # cones of a quarter of a cell; larger ones where the arcs are too long for it
    radius = max(_WIDTH / 2.0 ** (order + 2), float(length.sum()) / _MOST)
    steps = np.maximum(np.ceil(length / (1.9 * radius)), 1.0).astype(np.int64)
    which, number = numbered(steps)
    lon, lat = angles(along(a[which], b[which], (number + 0.5) / steps[which]))
    _, ranges = cones_ranges(lon, lat, math.degrees(radius * 0.9999))
    return degrade(merge(ranges), order)


def grown(gap: Callable[[Numbers, Numbers], tuple[Numbers, Numbers]], order: int) -> Indexes:
    """Cover a shape of which only distances are known, from the twelve base cells down.

    Parameters
    ----------
    gap
        A function that returns for positions (degrees) the distance to the shape (0 inside) and to its boundary, degrees.
    order
        Finest cells to use; coarser ones where the boundary is too long for it (`_MOST` cells).

    Returns
    -------
    ranges
        Half-open, sorted, disjoint at order 29, shape (n, 2).
    """
    _check(order)
    cells = np.arange(12, dtype=np.int64)
    done: list[Indexes] = []
    for depth in range(order + 1):
        away, rim = gap(*center(depth, cells))
        reach = math.degrees(_REACH / 2**depth)
        touched, whole = away <= reach, (away <= 0.0) & (rim >= reach)
        shift = 2 * (ORDER - depth)
        kept = cells[touched & ~whole]
        last = depth == order or 4 * len(kept) > _MOST
        final = cells[touched] if last else cells[whole]
        done.append(np.stack([final << shift, (final + 1) << shift], axis=1))
        if last:
            break
        cells = ((kept << 2)[:, None] + np.arange(4)).ravel()
    return merge(np.concatenate(done))


def _ranges(cells: Any, depths: Any) -> Indexes:
    """Merge sorted cells of several orders into ranges at order 29."""
    if not len(cells):
        return NOWHERE
    shift = (ORDER - depths.astype(np.int64)) << 1
    numbers = cells.view(np.int64)
    begin, end = numbers << shift, (numbers + 1) << shift
    breaks = np.flatnonzero(begin[1:] > end[:-1])
    found = np.empty((len(breaks) + 1, 2), dtype=np.int64)
    found[0, 0], found[-1, 1] = begin[0], end[-1]
    found[1:, 0] = begin[breaks + 1]
    found[:-1, 1] = end[breaks]
    return found


def _threads(size: int) -> np.uint16:
    return np.uint16(1 if size < 100_000 else 0)  # 0 = as many as there are cores


def merge(ranges: Indexes) -> Indexes:
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


def invert(ranges: Indexes) -> Indexes:
    """Compute the complement of merged ranges.

    Parameters
    ----------
    ranges
        As `merge` returns them, at order 29, shape (n, 2).

    Returns
    -------
    ranges
        The rest of the sphere, shape (m, 2).
    """
    edges = np.concatenate([[0], ranges.ravel(), [CELLS]]).reshape(-1, 2)
    return edges[edges[:, 0] < edges[:, 1]]


def intersect(a: Indexes, b: Indexes) -> Indexes:
    """Compute what two merged lists of ranges have in common.

    Parameters
    ----------
    a, b
        As `merge` returns them, at order 29, shape (n, 2).

    Returns
    -------
    ranges
        Sorted and disjoint, shape (m, 2).
    """
    if not len(a) or not len(b):
        return NOWHERE
    return invert(merge(np.concatenate([invert(a), invert(b)])))


def degrade(ranges: Indexes, order: int) -> Indexes:
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
    shift = 2 * (ORDER - order)
    return merge(
        np.stack([ranges[:, 0] >> shift << shift, (ranges[:, 1] + (1 << shift) - 1) >> shift << shift], axis=1)
    )


def within(ranges: Indexes, cells: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return which cells lie in merged ranges.

    Parameters
    ----------
    ranges
        As `merge` returns them, shape (n, 2).
    cells
        Indexes of order 29, any shape.

    Returns
    -------
    inside
        Of the shape of `cells`.
    """
    wanted = np.asarray(cells, dtype=np.int64)
    if not len(ranges):
        return np.zeros(wanted.shape, dtype=np.bool_)
    at = np.searchsorted(ranges[:, 0], wanted, side="right") - 1
    found: npt.NDArray[np.bool_] = (at >= 0) & (wanted < ranges[np.maximum(at, 0), 1])
    return found

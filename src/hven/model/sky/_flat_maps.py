"""Regions on the flat map of longitudes and latitudes, where edges are straight lines: cut at 180 degrees, closed along the poles.

GEOS's polygons on that map are what GeoJSON writes, and what nobody has to know a sphere for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._ragged import closed, ends, owners
from hven.model.sky._sphere import RADIAN, angles, vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky._regions import Regions

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

ERROR, FINEST = (
    1e-4,
    1e-7,
)  # degrees: how far an edge on the map may leave its great circle at most, and what is never asked for
SHARE = 3e-4  # of the area of a region: what may come and go with that
_ROUNDS = 40  # of halving an edge
POLE = 90.0 - 1e-12  # degrees: what is farther north is the pole


def astray(area: Numbers, border: Numbers) -> Numbers:
    """Compute how far edges may leave their lines: as far as the area stays, about, and `ERROR` at most.

    Parameters
    ----------
    area, border
        Square degrees and degrees, shape (n,).

    Returns
    -------
    error
        Degrees, shape (n,).
    """
    return np.clip(SHARE * area / np.maximum(border, 1e-300), FINEST, ERROR)


def drawn(regions: Regions, error: float | None = None) -> Any:
    """Draw regions on the map.

    Parameters
    ----------
    regions
        Valid ones, shape (n,).
    error
        How far edges on the map may be from their great circles, degrees; None: see `astray`.

    Returns
    -------
    shapes
        Multipolygons of GEOS, valid, shells anticlockwise; longitudes -180 to 180, shape (n,). An empty one of an empty region.
    """
    import shapely  # noqa: PLC0415  (for who computes with regions)

    found = np.full(len(regions), shapely.MultiPolygon())
    rows = np.arange(len(regions))
    far = np.full(len(regions), error) if error is not None else astray(regions.area() / RADIAN**2, regions.borders())
    for finer in (1.0, 16.0, 256.0, 4096.0, 65536.0):  # edges beside each other may cross on the map
        some = regions.take(rows)
        shapes, sound = _drawn(some, far[rows] / finer)
        found[rows[sound]] = shapes[sound]
        rows, shapes = rows[~sound], shapes[~sound]
        if not len(rows):
            return found
    found[rows] = surfaces(shapely.make_valid(shapes, method="structure", keep_collapsed=False))
    return found


def _drawn(regions: Regions, error: Numbers) -> tuple[Any, Flags]:
    """Draw regions, and tell which are valid on the map."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    lon, turns, y, rings = _laid(regions, error)
    ring, x = owners(rings), lon + 360.0 * turns
    low, high = np.full(len(rings) - 1, np.inf), np.full(len(rings) - 1, -np.inf)
    np.minimum.at(low, ring, x)
    np.maximum.at(high, ring, x)
    shift = -(high > 180.0).astype(np.int64)  # where the whole ring lies beyond
    turns, low, high = turns + shift[ring], low + 360.0 * shift, high + 360.0 * shift
    x = lon + 360.0 * turns  # exact from -180 to 180
    last = rings[1:] - 1
    wraps = np.abs(x[last] - x[rings[:-1]]) > 1.0
    row = owners(regions.rows)[owners(regions.parts)]
    turn = np.add.reduceat(_turns(x, y, rings), rings[:-1]) if len(x) else np.zeros(0)
    shell = np.zeros(len(row), np.bool_)
    shell[regions.parts[:-1][np.diff(regions.parts) > 0]] = True
    plain = np.ones(len(regions), np.bool_)
    plain[row[wraps | (low < -180.0) | (high > 180.0) | ((turn > 0.0) != shell)]] = False
    plain[owners(regions.rows)[np.diff(regions.parts) == 0]] = False
    plain[row[np.logical_or.reduceat(np.abs(y) >= 90.0, rings[:-1])] if len(x) else []] = False
    found = np.full(len(regions), shapely.MultiPolygon())
    kept = plain[row]
    if kept.any():
        part = plain[owners(regions.rows)]
        xy = np.stack([x, y], 1)[kept[ring]]
        offsets = (
            ends(np.diff(rings)[kept]),
            ends(np.diff(regions.parts)[part]),
            ends(np.where(plain, np.diff(regions.rows), 0)),
        )
        found = shapely.from_ragged_array(shapely.GeometryType.MULTIPOLYGON, xy, offsets)
    sound = shapely.is_valid(found)
    rest = np.flatnonzero(~plain)
    if len(rest):
        found[rest], sound[rest] = _cut(regions, lon, turns, y, rings, row, rest)
    return found, sound


def _turns(x: Numbers, y: Numbers, rings: Indexes) -> Numbers:
    """Return twice the areas that edges add to closed rings; 0 for the vertex that closes one."""
    after = np.append(np.arange(1, len(x)), 0)
    last = rings[1:] - 1
    origin = x[np.repeat(rings[:-1], np.diff(rings))]
    turn = (x - origin) * y[after] - (x[after] - origin) * y
    turn[last] = 0.0
    return np.asarray(turn)


def _laid(regions: Regions, error: Numbers) -> tuple[Numbers, Indexes, Numbers, Indexes]:
    """Lay rings out flat: closed, each begun in -180 .. 180, without jumps; longitudes, the turns beside them, latitudes, and offsets.

    Edges are as short as `error` wants them; a corner at a pole is two, each with the longitude of its neighbour.
    """
    vertex, rings = closed(regions.rings)
    lon, lat = regions.lon[vertex] % 360.0, regions.lat[vertex]
    at = np.flatnonzero(np.arange(len(lon)) != np.repeat(rings[1:] - 1, np.diff(rings)))  # edges, by their first vertex
    # halves of edges that are too far from straight; the vertices' own numbers stay
    position = [np.arange(len(lon), dtype=np.float64)]
    lons, lats = [lon], [lat]
    begin, end = at.astype(np.float64), at + 1.0
    a, b = vectors(lon[at], lat[at]), vectors(lon[at + 1], lat[at + 1])
    most = np.radians(error)[owners(rings[regions.parts[regions.rows]])]
    for _ in range(_ROUNDS):
        if not len(begin):
            break
        far = _astray(a, b) > most[begin.astype(np.int64)]
        begin, end, a, b = begin[far], end[far], a[far], b[far]
        middle = a + b
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        if not len(middle):
            break
        half = (begin + end) / 2.0
        new_lon, new_lat = angles(middle)
        position.append(half)
        lons.append(new_lon)
        lats.append(new_lat)
        begin, end = np.concatenate([begin, half]), np.concatenate([half, end])
        a, b = np.concatenate([a, middle]), np.concatenate([middle, b])
    where = np.concatenate(position)
    order = np.argsort(where, kind="stable")
    lon, lat = np.concatenate(lons)[order], np.concatenate(lats)[order]
    number = np.floor(where[order]).astype(np.int64)
    rings = np.searchsorted(number, rings)
    return _unwound(lon, lat, rings)


def _unwound(lon: Numbers, lat: Numbers, rings: Indexes) -> tuple[Numbers, Indexes, Numbers, Indexes]:
    """Count the turns by which longitudes have no jumps."""
    ring = owners(rings)
    lat = np.where(np.abs(lat) > POLE, np.copysign(90.0, lat), lat)
    pole = np.abs(lat) == 90.0
    index = np.arange(len(lon))
    if pole.any():  # two corners, with the longitudes before and after
        known = np.where(pole, -1, index)
        before = np.maximum.accumulate(known)
        first = np.full(len(rings) - 1, len(lon))
        np.minimum.at(first, ring[~pole], index[~pole])
        final = np.full(len(rings) - 1, -1)
        np.maximum.at(final, ring[~pole], index[~pole])
        before = np.where(before < rings[:-1][ring], final[ring], before)  # round to the ring's end
        after = np.minimum.accumulate(np.where(pole, len(lon), index)[::-1])[::-1]
        after = np.where(after >= rings[1:][ring], first[ring], after)
        pole[rings[1:] - 1] = False  # what closes a ring is as it begins
        before = np.where(known < 0, before, index)
        twice = np.repeat(index, 1 + pole)
        second = np.append(False, twice[1:] == twice[:-1])
        source = np.where(second, after[twice], before[twice])
        rings = ends(1 + pole)[rings]
        lon, lat = lon[source], lat[twice]
    step = np.diff(lon, prepend=lon[:1])
    step[rings[:-1]] = 0.0
    total = np.cumsum((step < -180.0).astype(np.int64) - (step > 180.0))
    start = total[rings[:-1]] + (lon[rings[:-1]] > 180.0)
    return lon, total - np.repeat(start, np.diff(rings)), lat, rings


def _astray(a: Numbers, b: Numbers) -> Numbers:
    """Bound how far arcs are from straight lines on the map; radians."""
    (x0, y0, z0), (x1, y1, z1) = a.T, b.T
    turn = np.abs(np.arctan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1))
    along = np.minimum(np.hypot(x0, y0), np.hypot(x1, y1)) < 1e-14  # from a pole along a meridian
    bound: Numbers = turn * np.maximum(np.abs(z0), np.abs(z1)) * np.linalg.norm(a - b, axis=1) / 4.0
    # an arc may be nearer to a pole than its ends
    wide = turn > 0.5
    bound[wide] = (turn * np.linalg.norm(a - b, axis=1) / 4.0)[wide]
    return np.where(along, 0.0, bound)


def _cut(
    regions: Regions, lon: Numbers, turns: Indexes, y: Numbers, rings: Indexes, row: Indexes, rows: Indexes
) -> tuple[Any, Flags]:
    """Cut regions along 180 degrees and the poles: faces of a net of their edges and the map's border."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    edge = np.flatnonzero(np.arange(len(y)) != np.repeat(rings[1:] - 1, np.diff(rings)))
    edge = edge[np.isin(row[owners(rings)[edge]], rows)]
    of = np.searchsorted(rows, row[owners(rings)[edge]])
    x = lon + 360.0 * turns
    (x0, y0), (x1, y1) = (x[edge], y[edge]), (x[edge + 1], y[edge + 1])
    # an edge over the border becomes two, with one latitude there; on which side a vertex lies its longitude tells, which is not rounded
    low, high = turns + (lon >= 180.0), turns + (lon > 180.0)
    after = np.minimum(low[edge], low[edge + 1])
    line = after * 360.0 + 180.0
    over = np.maximum(high[edge], high[edge + 1]) > after
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # of edges that are not over it
        lat = np.where(over, y0 + (y1 - y0) * ((line - x0) / (x1 - x0)), 0.0)
    border = np.full(int(over.sum()), 180.0)
    ax, at = np.concatenate([lon[edge], border]), np.concatenate([turns[edge], after[over]])
    bx = np.concatenate([np.where(over, 180.0, lon[edge + 1]), lon[edge + 1][over]])
    bt = np.concatenate([np.where(over, after, turns[edge + 1]), turns[edge + 1][over]])
    ay, by = np.concatenate([y0, lat[over]]), np.concatenate([np.where(over, lat, y1), y1[over]])
    of = np.concatenate([of, of[over]])
    west = over & (high[edge] > after)  # it comes from beyond
    home = np.concatenate([after + west, (after + ~west)[over]])
    ax, bx = ax + 360.0 * (at - home), bx + 360.0 * (bt - home)
    border = ((np.abs(ax) == 180.0) & (ax == bx)) | ((np.abs(ay) == 90.0) & (ay == by))
    nodes = np.concatenate([np.stack([ax, ay, of], 1), np.stack([bx, by, of], 1)])
    inner = ~border & ((ax != bx) | (ay != by))
    directed = np.stack([ax, ay, bx, by, of], 1)[inner] + 0.0
    frame = _frame(nodes, len(rows))
    every = np.concatenate([directed, frame])
    lines = shapely.linestrings(every[:, :4].reshape(-1, 2, 2))
    order = np.argsort(every[:, 4], kind="stable")
    net = shapely.multilinestrings(lines[order], indices=every[order, 4].astype(np.int64))
    sound = shapely.is_simple(net)
    face, row = shapely.get_parts(shapely.polygonize(net[:, None]), return_index=True)
    face = shapely.orient_polygons(face)
    ring, owner = shapely.get_rings(face, return_index=True)
    point, holder = shapely.get_coordinates(ring, return_index=True)
    same = holder[1:] == holder[:-1]
    owner = owner[holder[:-1][same]]
    sides = np.column_stack([point[:-1][same], point[1:][same], row[owner]]) + 0.0
    known = _names(directed)
    along, against = np.isin(_names(sides), known), np.isin(_names(sides[:, [2, 3, 0, 1, 4]]), known)
    inside = np.zeros(len(face), np.bool_)
    inside[owner[along]] = True
    told = inside.copy()
    told[owner[against]] = True
    sound[row[np.unique(owner[along & against])]] = False
    rest = np.flatnonzero(~told)
    if len(rest):
        middle = shapely.get_coordinates(shapely.point_on_surface(face[rest]))
        inside[rest] = regions.take(rows[row[rest]]).contains(middle[:, 0] % 360.0, middle[:, 1])
    shapes = np.full(len(rows), shapely.MultiPolygon())
    if inside.any():
        shapes = shapely.multipolygons(face[inside], indices=row[inside], out=shapes)
    return shapes, sound & shapely.is_valid(shapes)


def _frame(nodes: Numbers, rows: int) -> Numbers:
    """Return the edges of the map's border, with a node wherever one comes to it; x, y, x, y, row."""
    row = np.arange(rows, dtype=np.float64)
    corners = [np.stack([np.full(rows, x), np.full(rows, y), row], 1) for x in (-180.0, 180.0) for y in (-90.0, 90.0)]
    both = np.concatenate([nodes, *corners]) + 0.0
    found = []
    for axis, size in ((0, 180.0), (1, 90.0)):
        for side in (-size, size):
            on = np.unique(both[both[:, axis] == side][:, [2, 0, 1]], axis=0)
            next_ = on[:-1, 0] == on[1:, 0]
            found.append(np.column_stack([on[:-1][next_][:, 1:], on[1:][next_][:, 1:], on[:-1][next_][:, 0]]))
    return np.concatenate(found)


def _names(edges: Numbers) -> npt.NDArray[np.uint64]:
    """Mix the numbers of each edge into one."""
    found = np.zeros(len(edges), np.uint64)
    with np.errstate(over="ignore"):
        for column in np.ascontiguousarray(edges.T):
            found = (found ^ column.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            found ^= found >> np.uint64(29)
    return found


def surfaces(shapes: Any) -> Any:
    """Keep the polygons of collections of GEOS, one multipolygon for each, shells anticlockwise."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    part, row = shapely.get_parts(shapes, return_index=True)
    held = np.isin(shapely.get_type_id(part), [6, 7])
    more, of = shapely.get_parts(part[held], return_index=True)
    part, row = np.concatenate([part[~held], more]), np.concatenate([row[~held], row[held][of]])
    kept = (shapely.get_type_id(part) == 3) & ~shapely.is_empty(part)
    part, row = shapely.orient_polygons(part[kept]), row[kept]
    order = np.argsort(row, kind="stable")
    found = np.full(len(shapes), shapely.MultiPolygon())
    return shapely.multipolygons(part[order], indices=row[order], out=found) if len(part) else found

"""Regions on the flat map of longitudes and latitudes, where edges are straight lines.

Cut at 180 degrees, closed along the poles.

GEOS's polygons on that map are what GeoJSON writes, and what nobody has to know a sphere for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._ragged_arrays import close_rings, compute_offsets, compute_row_indexes
from hven.model.sky._sphere import RADIANS_PER_DEGREE, to_lon_lat, to_unit_vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky._regions import Regions

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

MAX_TOLERANCE_DEGREES, MIN_TOLERANCE_DEGREES = (
    1e-4,
    1e-7,
)  # degrees: how far an edge on the map may leave its great circle at most, and what is never asked for
MAX_AREA_CHANGE_SHARE = 3e-4  # of the area of a region: what may come and go with that
_MAX_HALVINGS = 40  # of halving an edge
POLE_LATITUDE_DEGREES = 90.0 - 1e-12  # degrees: what is farther north is the pole


def choose_tolerance(area: Numbers, border: Numbers) -> Numbers:
    """Compute how far edges may leave their lines.

    As far as the area stays, about, and `MAX_TOLERANCE_DEGREES` at most.

    Parameters
    ----------
    area, border
        Square degrees and degrees, shape (n,).

    Returns
    -------
    error
        Degrees, shape (n,).
    """
    return np.clip(
        MAX_AREA_CHANGE_SHARE * area / np.maximum(border, 1e-300), MIN_TOLERANCE_DEGREES, MAX_TOLERANCE_DEGREES
    )


def to_map_polygons(regions: Regions, tolerance_degrees: float | None = None) -> Any:
    """Draw regions on the map.

    Parameters
    ----------
    regions
        Valid ones, shape (n,).
    tolerance_degrees
        How far edges on the map may be from their great circles, degrees; None: see `choose_tolerance`.

    Returns
    -------
    shapes
        Multipolygons of GEOS, valid, shells anticlockwise; longitudes -180 to 180, shape (n,). An empty one of an empty
        region.
    """
    import shapely  # noqa: PLC0415  (for who computes with regions)

    polygons = np.full(len(regions), shapely.MultiPolygon())
    rows = np.arange(len(regions))
    if tolerance_degrees is not None:
        tolerances = np.full(len(regions), tolerance_degrees)
    else:
        tolerances = choose_tolerance(regions.compute_areas() / RADIANS_PER_DEGREE**2, regions.compute_border_lengths())
    for finer in (1.0, 16.0, 256.0, 4096.0, 65536.0):  # edges beside each other may cross on the map
        subset = regions.take(rows)
        shapes, is_valid = _build_map_polygons(subset, tolerances[rows] / finer)
        polygons[rows[is_valid]] = shapes[is_valid]
        rows = rows[~is_valid]
        shapes = shapes[~is_valid]
        if not len(rows):
            return polygons
    polygons[rows] = extract_multipolygons(shapely.make_valid(shapes, method="structure", keep_collapsed=False))
    return polygons


def _build_map_polygons(regions: Regions, tolerance_degrees: Numbers) -> tuple[Any, Flags]:
    """Draw regions, and tell which are valid on the map."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    lon, turns, y, rings = _flatten_rings(regions, tolerance_degrees)
    ring = compute_row_indexes(rings)
    x = lon + 360.0 * turns
    low = np.full(len(rings) - 1, np.inf)
    high = np.full(len(rings) - 1, -np.inf)
    np.minimum.at(low, ring, x)
    np.maximum.at(high, ring, x)
    shift = -(high > 180.0).astype(np.int64)  # where the whole ring lies beyond
    turns = turns + shift[ring]
    low = low + 360.0 * shift
    high = high + 360.0 * shift
    x = lon + 360.0 * turns  # exact from -180 to 180
    last = rings[1:] - 1
    wraps = np.abs(x[last] - x[rings[:-1]]) > 1.0
    row = compute_row_indexes(regions.rows)[compute_row_indexes(regions.parts)]
    if len(x):
        edge_areas = _compute_edge_areas(x, y, rings)
        turn = np.add.reduceat(edge_areas, rings[:-1])
    else:
        turn = np.zeros(0)
    shell = np.zeros(len(row), np.bool_)
    shell[regions.parts[:-1][np.diff(regions.parts) > 0]] = True
    is_uncut = np.ones(len(regions), np.bool_)
    is_uncut[row[wraps | (low < -180.0) | (high > 180.0) | ((turn > 0.0) != shell)]] = False
    is_uncut[compute_row_indexes(regions.rows)[np.diff(regions.parts) == 0]] = False
    is_uncut[row[np.logical_or.reduceat(np.abs(y) >= 90.0, rings[:-1])] if len(x) else []] = False
    polygons = np.full(len(regions), shapely.MultiPolygon())
    is_plain_ring = is_uncut[row]
    if is_plain_ring.any():
        part = is_uncut[compute_row_indexes(regions.rows)]
        xy = np.stack([x, y], 1)[is_plain_ring[ring]]
        offsets = (
            compute_offsets(np.diff(rings)[is_plain_ring]),
            compute_offsets(np.diff(regions.parts)[part]),
            compute_offsets(np.where(is_uncut, np.diff(regions.rows), 0)),
        )
        polygons = shapely.from_ragged_array(shapely.GeometryType.MULTIPOLYGON, xy, offsets)
    is_valid = shapely.is_valid(polygons)
    cut_rows = np.flatnonzero(~is_uncut)
    if len(cut_rows):
        polygons[cut_rows], is_valid[cut_rows] = _cut_at_antimeridian(regions, lon, turns, y, rings, row, cut_rows)
    return polygons, is_valid


def _compute_edge_areas(x: Numbers, y: Numbers, rings: Indexes) -> Numbers:
    """Return twice the areas that edges add to closed rings; 0 for the vertex that closes one."""
    after = np.append(np.arange(1, len(x)), 0)
    last = rings[1:] - 1
    origin = x[np.repeat(rings[:-1], np.diff(rings))]
    turn = (x - origin) * y[after] - (x[after] - origin) * y
    turn[last] = 0.0
    return np.asarray(turn)


def _flatten_rings(regions: Regions, tolerance_degrees: Numbers) -> tuple[Numbers, Indexes, Numbers, Indexes]:
    """Lay rings out flat: closed, each begun in -180 .. 180, without jumps.

    Longitudes, the turns beside them, latitudes, and offsets.

    Edges are as short as `tolerance_degrees` wants them; a corner at a pole is two, each with the longitude of its
    neighbour.
    """
    vertex, rings = close_rings(regions.rings)
    lon = regions.lon[vertex] % 360.0
    lat = regions.lat[vertex]
    at = np.flatnonzero(np.arange(len(lon)) != np.repeat(rings[1:] - 1, np.diff(rings)))  # edges, by their first vertex
    # halves of edges that are too far from straight; the vertices' own numbers stay
    position = [np.arange(len(lon), dtype=np.float64)]
    lons = [lon]
    lats = [lat]
    begin = at.astype(np.float64)
    end = at + 1.0
    a = to_unit_vectors(lon[at], lat[at])
    b = to_unit_vectors(lon[at + 1], lat[at + 1])
    max_deviation = np.radians(tolerance_degrees)[compute_row_indexes(rings[regions.parts[regions.rows]])]
    for _ in range(_MAX_HALVINGS):
        if not len(begin):
            break
        is_too_far = _estimate_max_deviation(a, b) > max_deviation[begin.astype(np.int64)]
        begin = begin[is_too_far]
        end = end[is_too_far]
        a = a[is_too_far]
        b = b[is_too_far]
        middle = a + b
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        if not len(middle):
            break
        half = (begin + end) / 2.0
        new_lon, new_lat = to_lon_lat(middle)
        position.append(half)
        lons.append(new_lon)
        lats.append(new_lat)
        begin = np.concatenate([begin, half])
        end = np.concatenate([half, end])
        a = np.concatenate([a, middle])
        b = np.concatenate([middle, b])
    vertex_positions = np.concatenate(position)
    order = np.argsort(vertex_positions, kind="stable")
    lon = np.concatenate(lons)[order]
    lat = np.concatenate(lats)[order]
    number = np.floor(vertex_positions[order]).astype(np.int64)
    rings = np.searchsorted(number, rings)
    return _unwrap_longitudes(lon, lat, rings)


def _unwrap_longitudes(lon: Numbers, lat: Numbers, rings: Indexes) -> tuple[Numbers, Indexes, Numbers, Indexes]:
    """Count the turns by which longitudes have no jumps."""
    ring = compute_row_indexes(rings)
    lat = np.where(np.abs(lat) > POLE_LATITUDE_DEGREES, np.copysign(90.0, lat), lat)
    pole = np.abs(lat) == 90.0
    index = np.arange(len(lon))
    if pole.any():  # two corners, with the longitudes before and after
        known_index = np.where(pole, -1, index)
        before = np.maximum.accumulate(known_index)
        first = np.full(len(rings) - 1, len(lon))
        np.minimum.at(first, ring[~pole], index[~pole])
        final = np.full(len(rings) - 1, -1)
        np.maximum.at(final, ring[~pole], index[~pole])
        before = np.where(before < rings[:-1][ring], final[ring], before)  # round to the ring's end
        after = np.minimum.accumulate(np.where(pole, len(lon), index)[::-1])[::-1]
        after = np.where(after >= rings[1:][ring], first[ring], after)
        pole[rings[1:] - 1] = False  # what closes a ring is as it begins
        before = np.where(known_index < 0, before, index)
        twice = np.repeat(index, 1 + pole)
        second = np.append(False, twice[1:] == twice[:-1])
        source = np.where(second, after[twice], before[twice])
        rings = compute_offsets(1 + pole)[rings]
        lon = lon[source]
        lat = lat[twice]
    step = np.diff(lon, prepend=lon[:1])
    step[rings[:-1]] = 0.0
    total = np.cumsum((step < -180.0).astype(np.int64) - (step > 180.0))
    start = total[rings[:-1]] + (lon[rings[:-1]] > 180.0)
    return lon, total - np.repeat(start, np.diff(rings)), lat, rings


def _estimate_max_deviation(a: Numbers, b: Numbers) -> Numbers:
    """Bound how far arcs are from straight lines on the map; radians."""
    (x0, y0, z0), (x1, y1, z1) = a.T, b.T
    turn = np.abs(np.arctan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1))
    along = np.minimum(np.hypot(x0, y0), np.hypot(x1, y1)) < 1e-14  # from a pole along a meridian
    bound: Numbers = turn * np.maximum(np.abs(z0), np.abs(z1)) * np.linalg.norm(a - b, axis=1) / 4.0
    # an arc may be nearer to a pole than its ends
    wide = turn > 0.5
    bound[wide] = (turn * np.linalg.norm(a - b, axis=1) / 4.0)[wide]
    return np.where(along, 0.0, bound)


def _cut_at_antimeridian(
    regions: Regions, lon: Numbers, turns: Indexes, y: Numbers, rings: Indexes, row: Indexes, rows: Indexes
) -> tuple[Any, Flags]:
    """Cut regions along 180 degrees and the poles: faces of a net of their edges and the map's border."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    edge = np.flatnonzero(np.arange(len(y)) != np.repeat(rings[1:] - 1, np.diff(rings)))
    edge = edge[np.isin(row[compute_row_indexes(rings)[edge]], rows)]
    region_number = np.searchsorted(rows, row[compute_row_indexes(rings)[edge]])
    x = lon + 360.0 * turns
    (x0, y0), (x1, y1) = (x[edge], y[edge]), (x[edge + 1], y[edge + 1])
    # an edge over the border becomes two, with one latitude there; on which side a vertex lies its longitude tells,
    # which is not rounded
    low = turns + (lon >= 180.0)
    high = turns + (lon > 180.0)
    after = np.minimum(low[edge], low[edge + 1])
    line = after * 360.0 + 180.0
    crosses_antimeridian = np.maximum(high[edge], high[edge + 1]) > after
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # of edges that are not over it
        lat = np.where(crosses_antimeridian, y0 + (y1 - y0) * ((line - x0) / (x1 - x0)), 0.0)
    border = np.full(int(crosses_antimeridian.sum()), 180.0)
    ax = np.concatenate([lon[edge], border])
    at = np.concatenate([turns[edge], after[crosses_antimeridian]])
    bx = np.concatenate([np.where(crosses_antimeridian, 180.0, lon[edge + 1]), lon[edge + 1][crosses_antimeridian]])
    bt = np.concatenate([np.where(crosses_antimeridian, after, turns[edge + 1]), turns[edge + 1][crosses_antimeridian]])
    ay = np.concatenate([y0, lat[crosses_antimeridian]])
    by = np.concatenate([np.where(crosses_antimeridian, lat, y1), y1[crosses_antimeridian]])
    region_number = np.concatenate([region_number, region_number[crosses_antimeridian]])
    west = crosses_antimeridian & (high[edge] > after)  # it comes from beyond
    home = np.concatenate([after + west, (after + ~west)[crosses_antimeridian]])
    ax = ax + 360.0 * (at - home)
    bx = bx + 360.0 * (bt - home)
    border = ((np.abs(ax) == 180.0) & (ax == bx)) | ((np.abs(ay) == 90.0) & (ay == by))
    nodes = np.concatenate([np.stack([ax, ay, region_number], 1), np.stack([bx, by, region_number], 1)])
    inner = ~border & ((ax != bx) | (ay != by))
    directed = np.stack([ax, ay, bx, by, region_number], 1)[inner] + 0.0
    frame = _build_map_border(nodes, len(rows))
    all_edges = np.concatenate([directed, frame])
    lines = shapely.linestrings(all_edges[:, :4].reshape(-1, 2, 2))
    order = np.argsort(all_edges[:, 4], kind="stable")
    indices = all_edges[order, 4].astype(np.int64)
    net = shapely.multilinestrings(lines[order], indices=indices)
    is_valid = shapely.is_simple(net)
    face, row = shapely.get_parts(shapely.polygonize(net[:, None]), return_index=True)
    face = shapely.orient_polygons(face)
    ring, owner = shapely.get_rings(face, return_index=True)
    point, holder = shapely.get_coordinates(ring, return_index=True)
    same = holder[1:] == holder[:-1]
    owner = owner[holder[:-1][same]]
    sides = np.column_stack([point[:-1][same], point[1:][same], row[owner]]) + 0.0
    edge_hashes = _hash_edges(directed)
    along = np.isin(_hash_edges(sides), edge_hashes)
    against = np.isin(_hash_edges(sides[:, [2, 3, 0, 1, 4]]), edge_hashes)
    inside = np.zeros(len(face), np.bool_)
    inside[owner[along]] = True
    is_decided = inside.copy()
    is_decided[owner[against]] = True
    is_valid[row[np.unique(owner[along & against])]] = False
    undecided = np.flatnonzero(~is_decided)
    if len(undecided):
        middle = shapely.get_coordinates(shapely.point_on_surface(face[undecided]))
        inside[undecided] = regions.take(rows[row[undecided]]).contains(middle[:, 0] % 360.0, middle[:, 1])
    shapes = np.full(len(rows), shapely.MultiPolygon())
    if inside.any():
        shapes = shapely.multipolygons(face[inside], indices=row[inside], out=shapes)
    return shapes, is_valid & shapely.is_valid(shapes)


def _build_map_border(nodes: Numbers, row_count: int) -> Numbers:
    """Return the edges of the map's border, with a node wherever one comes to it; x, y, x, y, row."""
    row = np.arange(row_count, dtype=np.float64)
    corners = [
        np.stack([np.full(row_count, x), np.full(row_count, y), row], 1) for x in (-180.0, 180.0) for y in (-90.0, 90.0)
    ]
    both = np.concatenate([nodes, *corners]) + 0.0
    border_edges = []
    for axis, size in ((0, 180.0), (1, 90.0)):
        for side in (-size, size):
            on = np.unique(both[both[:, axis] == side][:, [2, 0, 1]], axis=0)
            next_ = on[:-1, 0] == on[1:, 0]
            border_edges.append(np.column_stack([on[:-1][next_][:, 1:], on[1:][next_][:, 1:], on[:-1][next_][:, 0]]))
    return np.concatenate(border_edges)


def _hash_edges(edges: Numbers) -> npt.NDArray[np.uint64]:
    """Mix the numbers of each edge into one."""
    hashes = np.zeros(len(edges), np.uint64)
    with np.errstate(over="ignore"):
        for column in np.ascontiguousarray(edges.T):
            hashes = (hashes ^ column.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            hashes ^= hashes >> np.uint64(29)
    return hashes


def extract_multipolygons(shapes: Any) -> Any:
    """Keep the polygons of collections of GEOS, one multipolygon for each, shells anticlockwise."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    part, row = shapely.get_parts(shapes, return_index=True)
    is_collection = np.isin(shapely.get_type_id(part), [6, 7])
    members, collection = shapely.get_parts(part[is_collection], return_index=True)
    part = np.concatenate([part[~is_collection], members])
    row = np.concatenate([row[~is_collection], row[is_collection][collection]])
    is_polygon = (shapely.get_type_id(part) == 3) & ~shapely.is_empty(part)
    part = shapely.orient_polygons(part[is_polygon])
    row = row[is_polygon]
    order = np.argsort(row, kind="stable")
    multipolygons = np.full(len(shapes), shapely.MultiPolygon())
    if len(part):
        return shapely.multipolygons(part[order], indices=row[order], out=multipolygons)
    return multipolygons

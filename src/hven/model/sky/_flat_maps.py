"""Draw regions on the flat map of longitudes and latitudes, where edges are straight lines.

The map is cut at 180 degrees and closed along the poles. GeoJSON contains GEOS's polygons on this map, and software
without spherical geometry can use them.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._ragged_arrays import compute_closed_ring_indexes, compute_offsets, compute_row_indexes
from hven.model.sky._sphere import RADIANS_PER_DEGREE, to_lon_lat, to_unit_vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky._regions import Regions

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

MAX_TOLERANCE_DEGREES = 1e-4  # the largest distance of an edge on the map from its great circle
MIN_TOLERANCE_DEGREES = 1e-7  # the smallest such distance that is ever required
MAX_AREA_CHANGE_SHARE = 3e-4  # the share of a region's area that this distance may add or remove
_MAX_HALVINGS = 40  # of an edge
POLE_LATITUDE_DEGREES = 90.0 - 1e-12  # a vertex farther north than this is at the pole


def choose_edge_tolerance(area: Numbers, border: Numbers) -> Numbers:
    """Compute how far edges may leave their lines.

    The tolerance keeps the area, approximately, and is at most `MAX_TOLERANCE_DEGREES`.

    Parameters
    ----------
    area, border
        Square degrees and degrees, shape (n,).

    Returns
    -------
    error
        Degrees, shape (n,).
    """
    area_change = MAX_AREA_CHANGE_SHARE * area
    tolerance = area_change / np.maximum(border, 1e-300)
    return np.clip(tolerance, MIN_TOLERANCE_DEGREES, MAX_TOLERANCE_DEGREES)


def to_map_polygons(regions: Regions, tolerance_degrees: float | None = None) -> Any:
    """Draw regions on the map.

    Parameters
    ----------
    regions
        Valid regions, shape (n,).
    tolerance_degrees
        The largest distance of edges on the map from their great circles, degrees; None: see `choose_edge_tolerance`.

    Returns
    -------
    shapes
        Valid multipolygons of GEOS, shells anticlockwise, longitudes -180 to 180, shape (n,). An empty region gives an
        empty multipolygon.
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    polygons = np.full(len(regions), shapely.MultiPolygon())
    rows = np.arange(len(regions))
    if tolerance_degrees is not None:
        tolerances = np.full(len(regions), tolerance_degrees)
    else:
        areas = regions.compute_areas() / RADIANS_PER_DEGREE**2
        tolerances = choose_edge_tolerance(areas, regions.compute_border_lengths())
    for finer in (1.0, 16.0, 256.0, 4096.0, 65536.0):  # neighbouring edges may cross on the map
        subset = regions
        if len(rows) != len(regions):
            subset = regions.take(rows)
        shapes, is_valid = _build_map_polygons(subset, tolerances[rows] / finer)
        polygons[rows[is_valid]] = shapes[is_valid]
        rows = rows[~is_valid]
        shapes = shapes[~is_valid]
        if not len(rows):
            return polygons
    valid_shapes = shapely.make_valid(shapes, method="structure", keep_collapsed=False)
    polygons[rows] = extract_multipolygons(valid_shapes)
    return polygons


def _build_map_polygons(regions: Regions, tolerance_degrees: Numbers) -> tuple[Any, Flags]:
    """Draw regions, and return which are valid on the map."""
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    lon, turns, y, rings = _flatten_rings_to_map(regions, tolerance_degrees)
    ring = compute_row_indexes(rings)
    x = lon + 360.0 * turns
    low = np.full(len(rings) - 1, np.inf)
    high = np.full(len(rings) - 1, -np.inf)
    np.minimum.at(low, ring, x)
    np.maximum.at(high, ring, x)
    shift = -(high > 180.0).astype(np.int64)  # where the whole ring lies beyond 180 degrees
    turns = turns + shift[ring]
    low = low + 360.0 * shift
    high = high + 360.0 * shift
    x = lon + 360.0 * turns  # exact from -180 to 180
    last = rings[1:] - 1
    wraps = np.abs(x[last] - x[rings[:-1]]) > 1.0
    part_row = compute_row_indexes(regions.rows)
    row = part_row[compute_row_indexes(regions.parts)]
    ring_area = np.zeros(0)
    touches_pole = np.zeros(0, np.bool_)
    if len(x):
        edge_areas = _compute_edge_areas(x, y, rings)
        ring_area = np.add.reduceat(edge_areas, rings[:-1])
        touches_pole = np.logical_or.reduceat(np.abs(y) >= 90.0, rings[:-1])
    has_rings = np.diff(regions.parts) > 0
    shell = np.zeros(len(row), np.bool_)
    shell[regions.parts[:-1][has_rings]] = True
    leaves_map = wraps | (low < -180.0) | (high > 180.0)
    is_reversed = (ring_area > 0.0) != shell
    is_uncut = np.ones(len(regions), np.bool_)
    is_uncut[row[leaves_map | is_reversed | touches_pole]] = False
    is_uncut[part_row[~has_rings]] = False
    polygons = np.full(len(regions), shapely.MultiPolygon())
    is_plain_ring = is_uncut[row]
    if is_plain_ring.any():
        part = is_uncut[part_row]
        xy = np.stack([x, y], 1)[is_plain_ring[ring]]
        ring_offsets = compute_offsets(np.diff(rings)[is_plain_ring])
        part_offsets = compute_offsets(np.diff(regions.parts)[part])
        row_offsets = compute_offsets(np.where(is_uncut, np.diff(regions.rows), 0))
        offsets = (ring_offsets, part_offsets, row_offsets)
        polygons = shapely.from_ragged_array(shapely.GeometryType.MULTIPOLYGON, xy, offsets)
    is_valid = shapely.is_valid(polygons)
    cut_rows = np.flatnonzero(~is_uncut)
    if len(cut_rows):
        polygons[cut_rows], is_valid[cut_rows] = _cut_at_antimeridian(regions, (lon, turns, y, rings), row, cut_rows)
    return polygons, is_valid


def _compute_edge_areas(x: Numbers, y: Numbers, rings: Indexes) -> Numbers:
    """Return twice the area that each edge adds to its closed ring; 0 for the vertex that closes the ring."""
    after = np.append(np.arange(1, len(x)), 0)
    last = rings[1:] - 1
    ring_starts = np.repeat(rings[:-1], np.diff(rings))
    origin = x[ring_starts]
    turn = (x - origin) * y[after] - (x[after] - origin) * y
    turn[last] = 0.0
    return np.asarray(turn)


def _flatten_rings_to_map(regions: Regions, tolerance_degrees: Numbers) -> tuple[Numbers, Indexes, Numbers, Indexes]:
    """Return rings on the flat map: closed, beginning in -180 .. 180, without jumps.

    Return longitudes, the turns to add to them, latitudes, and the offsets of the rings.

    Edges are divided until they are within `tolerance_degrees` of their great circles. A corner at a pole becomes two
    vertices, each with the longitude of its neighbour.
    """
    vertex, rings = compute_closed_ring_indexes(regions.rings)
    lon = regions.lon[vertex] % 360.0
    lat = regions.lat[vertex]
    closing_vertex = np.repeat(rings[1:] - 1, np.diff(rings))
    at = np.flatnonzero(np.arange(len(lon)) != closing_vertex)  # edges, by their first vertex
    # halve the edges that are too far from straight; the original vertices keep their numbers
    position = [np.arange(len(lon), dtype=np.float64)]
    lons = [lon]
    lats = [lat]
    begin = at.astype(np.float64)
    end = at + 1.0
    a = to_unit_vectors(lon[at], lat[at])
    b = to_unit_vectors(lon[at + 1], lat[at + 1])
    vertex_row = compute_row_indexes(rings[regions.parts[regions.rows]])
    max_deviation = np.radians(tolerance_degrees)[vertex_row]
    for _ in range(_MAX_HALVINGS):
        if not len(begin):
            break
        edge_vertex = begin.astype(np.int64)
        is_too_far = _estimate_max_arc_deviation(a, b) > max_deviation[edge_vertex]
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
    """Count the turns that make longitudes continuous along each ring."""
    is_at_pole = np.abs(lat) > POLE_LATITUDE_DEGREES
    lat = np.where(is_at_pole, np.copysign(90.0, lat), lat)
    pole = np.abs(lat) == 90.0
    if pole.any():
        lon, lat, rings = _repeat_pole_vertices(lon, lat, rings, pole)
    step = np.diff(lon, prepend=lon[:1])
    step[rings[:-1]] = 0.0
    jumps_west = (step < -180.0).astype(np.int64)
    total = np.cumsum(jumps_west - (step > 180.0))
    start = total[rings[:-1]] + (lon[rings[:-1]] > 180.0)
    ring_starts = np.repeat(start, np.diff(rings))
    return lon, total - ring_starts, lat, rings


def _repeat_pole_vertices(
    lon: Numbers, lat: Numbers, rings: Indexes, is_pole: Flags
) -> tuple[Numbers, Numbers, Indexes]:
    """Replace each vertex at a pole by two, with the longitudes of the vertices before and after it."""
    ring = compute_row_indexes(rings)
    ring_starts = rings[:-1][ring]
    ring_ends = rings[1:][ring]
    index = np.arange(len(lon))
    known_index = np.where(is_pole, -1, index)
    before = np.maximum.accumulate(known_index)
    first = np.full(len(rings) - 1, len(lon))
    np.minimum.at(first, ring[~is_pole], index[~is_pole])
    final = np.full(len(rings) - 1, -1)
    np.maximum.at(final, ring[~is_pole], index[~is_pole])
    before = np.where(before < ring_starts, final[ring], before)  # continue at the ring's end
    index_or_end = np.where(is_pole, len(lon), index)
    after = np.minimum.accumulate(index_or_end[::-1])[::-1]
    after = np.where(after >= ring_ends, first[ring], after)
    is_doubled = is_pole.copy()
    is_doubled[rings[1:] - 1] = False  # the vertex that closes a ring is a copy of its first vertex
    before = np.where(known_index < 0, before, index)
    twice = np.repeat(index, 1 + is_doubled)
    second = np.append(False, twice[1:] == twice[:-1])
    source = np.where(second, after[twice], before[twice])
    return lon[source], lat[twice], compute_offsets(1 + is_doubled)[rings]


def _estimate_max_arc_deviation(a: Numbers, b: Numbers) -> Numbers:
    """Compute an upper limit of the distance of arcs from straight lines on the map; radians."""
    (x0, y0, z0), (x1, y1, z1) = a.T, b.T
    cross_product = x0 * y1 - y0 * x1
    scalar_product = x0 * x1 + y0 * y1
    turn = np.abs(np.arctan2(cross_product, scalar_product))
    nearest_to_axis = np.minimum(np.hypot(x0, y0), np.hypot(x1, y1))
    along = nearest_to_axis < 1e-14  # from a pole along a meridian
    chord = np.linalg.norm(a - b, axis=1)
    max_height = np.maximum(np.abs(z0), np.abs(z1))
    bound: Numbers = turn * max_height * chord / 4.0
    # an arc may be nearer to a pole than its ends
    wide = turn > 0.5
    bound[wide] = (turn * chord / 4.0)[wide]
    return np.where(along, 0.0, bound)


def _cut_at_antimeridian(
    regions: Regions, flat_rings: tuple[Numbers, Indexes, Numbers, Indexes], row: Indexes, rows: Indexes
) -> tuple[Any, Flags]:
    """Cut regions along 180 degrees and the poles: faces of a net of their edges and the map's border.

    `flat_rings` are as `_flatten_rings_to_map` returns them, `row` is the region of each ring, `rows` are the regions
    to cut.
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    begins, ends, region_number = _split_edges_at_antimeridian(flat_rings, row, rows)
    ax, ay = begins.T
    bx, by = ends.T
    is_on_antimeridian = (np.abs(ax) == 180.0) & (ax == bx)
    is_on_pole = (np.abs(ay) == 90.0) & (ay == by)
    has_length = (ax != bx) | (ay != by)
    inner = ~(is_on_antimeridian | is_on_pole) & has_length
    begin_nodes = np.column_stack([begins, region_number])
    end_nodes = np.column_stack([ends, region_number])
    directed = np.column_stack([begins, end_nodes])[inner] + 0.0
    frame = _build_map_border(np.concatenate([begin_nodes, end_nodes]), len(rows))
    all_edges = np.concatenate([directed, frame])
    lines = shapely.linestrings(all_edges[:, :4].reshape(-1, 2, 2))
    order = np.argsort(all_edges[:, 4], kind="stable")
    indices = all_edges[order, 4].astype(np.int64)
    net = shapely.multilinestrings(lines[order], indices=indices)
    is_valid = shapely.is_simple(net)
    face, face_row = shapely.get_parts(shapely.polygonize(net[:, None]), return_index=True)
    face = shapely.orient_polygons(face)
    along, against = _find_faces_along_edges(face, face_row, directed)
    inside = np.zeros(len(face), np.bool_)
    inside[along] = True
    is_decided = inside.copy()
    is_decided[against] = True
    contradictory = np.intersect1d(along, against)
    is_valid[face_row[contradictory]] = False
    undecided = np.flatnonzero(~is_decided)
    if len(undecided):
        face_point = shapely.point_on_surface(face[undecided])
        middle = shapely.get_coordinates(face_point)
        undecided_regions = regions.take(rows[face_row[undecided]])
        inside[undecided] = undecided_regions.contains(middle[:, 0] % 360.0, middle[:, 1])
    shapes = np.full(len(rows), shapely.MultiPolygon())
    if inside.any():
        shapes = shapely.multipolygons(face[inside], indices=face_row[inside], out=shapes)
    return shapes, is_valid & shapely.is_valid(shapes)


def _split_edges_at_antimeridian(
    flat_rings: tuple[Numbers, Indexes, Numbers, Indexes], row: Indexes, rows: Indexes
) -> tuple[Numbers, Numbers, Indexes]:
    """Split edges at 180 degrees, and move them to -180 .. 180: begins and ends, shape (n, 2), and numbers in `rows`.

    An edge over the antimeridian becomes two, with the same latitude there. The longitude of a vertex, which is not
    rounded, decides on which side it lies.
    """
    lon, turns, y, rings = flat_rings
    closing_vertex = np.repeat(rings[1:] - 1, np.diff(rings))
    edge = np.flatnonzero(np.arange(len(y)) != closing_vertex)
    vertex_row = row[compute_row_indexes(rings)]
    edge = edge[np.isin(vertex_row[edge], rows)]
    region_number = np.searchsorted(rows, vertex_row[edge])
    x = lon + 360.0 * turns
    x0 = x[edge]
    y0 = y[edge]
    x1 = x[edge + 1]
    y1 = y[edge + 1]
    low = turns + (lon >= 180.0)
    high = turns + (lon > 180.0)
    after = np.minimum(low[edge], low[edge + 1])
    line = after * 360.0 + 180.0
    crosses = np.maximum(high[edge], high[edge + 1]) > after
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # edges that do not cross the line
        lat_on_line = y0 + (y1 - y0) * ((line - x0) / (x1 - x0))
    lat = np.where(crosses, lat_on_line, 0.0)
    border = np.full(int(crosses.sum()), 180.0)
    end_lon = lon[edge + 1]
    end_turns = turns[edge + 1]
    ax = np.concatenate([lon[edge], border])
    begin_turns = np.concatenate([turns[edge], after[crosses]])
    bx = np.concatenate([np.where(crosses, 180.0, end_lon), end_lon[crosses]])
    end_turns = np.concatenate([np.where(crosses, after, end_turns), end_turns[crosses]])
    ay = np.concatenate([y0, lat[crosses]])
    by = np.concatenate([np.where(crosses, lat, y1), y1[crosses]])
    region_number = np.concatenate([region_number, region_number[crosses]])
    is_westward = crosses & (high[edge] > after)  # it comes from beyond the line
    home = np.concatenate([after + is_westward, (after + ~is_westward)[crosses]])
    ax = ax + 360.0 * (begin_turns - home)
    bx = bx + 360.0 * (end_turns - home)
    return np.stack([ax, ay], 1), np.stack([bx, by], 1), region_number


def _find_faces_along_edges(face: Any, face_row: Indexes, directed: Numbers) -> tuple[Indexes, Indexes]:
    """Find the faces with an edge in its direction, and those with an edge against its direction.

    `directed` has the columns x, y, x, y and the number of the region.
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    ring, owner = shapely.get_rings(face, return_index=True)
    point, holder = shapely.get_coordinates(ring, return_index=True)
    same = holder[1:] == holder[:-1]
    owner = owner[holder[:-1][same]]
    begins = point[:-1][same]
    ends = point[1:][same]
    sides = np.column_stack([begins, ends, face_row[owner]]) + 0.0
    reversed_sides = sides[:, [2, 3, 0, 1, 4]]
    edge_hashes = _hash_edges(directed)
    along = np.isin(_hash_edges(sides), edge_hashes)
    against = np.isin(_hash_edges(reversed_sides), edge_hashes)
    return owner[along], owner[against]


def _build_map_border(nodes: Numbers, row_count: int) -> Numbers:
    """Return the edges of the map's border, with a node wherever an edge meets it; columns x, y, x, y, row."""
    row = np.arange(row_count, dtype=np.float64)
    corners = []
    for x, y in itertools.product((-180.0, 180.0), (-90.0, 90.0)):
        corner = [np.full(row_count, x), np.full(row_count, y), row]
        corners.append(np.stack(corner, 1))
    both = np.concatenate([nodes, *corners]) + 0.0
    border_edges = []
    for axis, size in ((0, 180.0), (1, 90.0)):
        for side in (-size, size):
            border_nodes = both[both[:, axis] == side]
            on = np.unique(border_nodes[:, [2, 0, 1]], axis=0)
            is_same_row = on[:-1, 0] == on[1:, 0]
            begins = on[:-1][is_same_row]
            ends = on[1:][is_same_row]
            border_edges.append(np.column_stack([begins[:, 1:], ends[:, 1:], begins[:, 0]]))
    return np.concatenate(border_edges)


def _hash_edges(edges: Numbers) -> npt.NDArray[np.uint64]:
    """Hash the numbers of each edge."""
    hashes = np.zeros(len(edges), np.uint64)
    with np.errstate(over="ignore"):
        for column in np.ascontiguousarray(edges.T):
            hashes = (hashes ^ column.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            hashes ^= hashes >> np.uint64(29)
    return hashes


def extract_multipolygons(shapes: Any) -> Any:
    """Keep the polygons of GEOS collections, one multipolygon for each, with shells anticlockwise."""
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    part, row = shapely.get_parts(shapes, return_index=True)
    is_collection = np.isin(shapely.get_type_id(part), [6, 7])
    members, collection = shapely.get_parts(part[is_collection], return_index=True)
    part = np.concatenate([part[~is_collection], members])
    member_row = row[is_collection][collection]
    row = np.concatenate([row[~is_collection], member_row])
    is_polygon = (shapely.get_type_id(part) == 3) & ~shapely.is_empty(part)
    part = shapely.orient_polygons(part[is_polygon])
    row = row[is_polygon]
    order = np.argsort(row, kind="stable")
    multipolygons = np.full(len(shapes), shapely.MultiPolygon())
    if len(part):
        return shapely.multipolygons(part[order], indices=row[order], out=multipolygons)
    return multipolygons

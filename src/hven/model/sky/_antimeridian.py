"""Convert polygons on the flat map of longitudes and latitudes to regions on the sphere.

Parts are joined at 180 degrees and at the poles, and edges are bent like the map's straight lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._flat_maps import POLE_LATITUDE_DEGREES, choose_edge_tolerance, extract_multipolygons
from hven.model.sky._outline_rings import split_and_rank_outline_rings
from hven.model.sky._projection_planes import REPEATED_VERTEX, find_vertex_faults, remove_invalid_rings
from hven.model.sky._ragged_arrays import compute_element_numbers, compute_offsets
from hven.model.sky._regions import Regions

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_MAX_EDGE_RADIANS = np.radians(80.0)  # longest piece of an edge, as no edge may be half a turn long


def build_regions_from_map_polygons(shapes: Any, tolerance_degrees: float | None = None) -> Regions:
    """Convert polygons on the map to regions on the sphere; the directions of their rings do not matter.

    Parameters
    ----------
    shapes
        Polygons and multipolygons of GEOS, shape (n,): longitudes in degrees of any turn, latitudes -90 to 90.
    tolerance_degrees
        The largest distance of great circles from the map's straight lines, degrees; None: see `choose_edge_tolerance`.

    Returns
    -------
    regions
        N regions. Parts on both sides of 180 degrees are joined there. Rings that cross themselves still do so, if they
        neither come near a pole nor cross 180 degrees, and are no wider than that.
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    shapes = np.array(shapes, object)
    box = shapely.bounds(shapes)
    if tolerance_degrees is not None:
        tolerances = np.full(len(shapes), tolerance_degrees)
    else:
        tolerances = _choose_edge_tolerances(shapes, box)
    with np.errstate(invalid="ignore"):
        reaches_pole = (box[:, 1] <= -POLE_LATITUDE_DEGREES) | (box[:, 3] >= POLE_LATITUDE_DEGREES)
        large = (box[:, 2] - box[:, 0] >= 180.0) | reaches_pole
        beyond = (box[:, 0] < -180.0) | (box[:, 2] > 180.0)
    large_rows = np.flatnonzero(large)
    wrong = large_rows[~shapely.is_valid(shapes[large_rows])]
    valid_shapes = shapely.make_valid(shapes[wrong], method="structure")
    shapes[wrong] = extract_multipolygons(valid_shapes)
    _wrap_polygon_longitudes(shapes, np.flatnonzero(large & beyond))
    part, row = shapely.get_parts(shapes, return_index=True)
    has_area = ~shapely.is_empty(part)
    part = shapely.orient_polygons(part[has_area])
    row = row[has_area]
    ring, owner = shapely.get_rings(part, return_index=True)
    xy, holder = shapely.get_coordinates(ring, return_index=True)
    begin = np.flatnonzero(holder[1:] == holder[:-1])
    same = (xy[begin] == xy[begin + 1]).all(axis=1)
    is_first_of_ring = np.append(-1, holder[begin][:-1]) != holder[begin]
    begin = begin[~same | is_first_of_ring]  # no vertex twice, no ring without a vertex
    lines = np.column_stack([xy[begin], xy[begin + 1]])
    ring_part = owner
    line_rings = holder[begin]
    if len(large_rows):
        lines, line_rings, ring_part, part_row = _join_rings_at_antimeridian(
            lines, line_rings, ring_part, row, large[row]
        )
        row = part_row
    line_rows = row[ring_part[line_rings]]
    at, lon, lat = _densify_lines(lines, tolerances[line_rows])
    ring_offsets = compute_offsets(np.bincount(line_rings[at], minlength=len(ring_part)))
    part_offsets = compute_offsets(np.bincount(ring_part, minlength=len(row)))
    row_offsets = compute_offsets(np.bincount(row, minlength=len(shapes)))
    regions = Regions(lon % 360.0, lat, ring_offsets, part_offsets, row_offsets)
    is_repeated = dict(find_vertex_faults(regions))[REPEATED_VERTEX]  # vertices that differ on the map by rounding only
    repeated_rows = np.unique(regions.vertex_rows[is_repeated])
    if len(repeated_rows):
        cleaned_regions = remove_invalid_rings(regions.take(repeated_rows))
        return regions.replace_rows(repeated_rows, cleaned_regions)
    return regions


def _choose_edge_tolerances(shapes: Any, box: Numbers) -> Numbers:
    """Compute how far edges may leave their lines, for polygons on the map.

    The lengths are those at the mean latitude of each polygon, where a degree of longitude is shorter than at the
    equator.
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    _, row = shapely.get_coordinates(shapes, return_index=True)
    middle_lat = np.nan_to_num(box[:, 1] + box[:, 3]) / 2.0
    short = np.cos(np.radians(middle_lat))[row]
    flat = shapely.transform(shapes, lambda xy: np.column_stack([xy[:, 0] * short, xy[:, 1]]))
    return choose_edge_tolerance(shapely.area(flat), shapely.length(flat))


def _wrap_polygon_longitudes(shapes: Any, rows: Indexes) -> None:
    """Wrap polygons of any turn to longitudes from -180 to 180."""
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    if not len(rows):
        return
    box = shapely.bounds(shapes[rows])
    wrapped = np.full(len(rows), shapely.MultiPolygon())
    first_turn = int(np.floor((box[:, 0].min() + 180.0) / 360.0))
    last_turn = int(np.ceil((box[:, 2].max() - 180.0) / 360.0))
    for turn in range(first_turn, last_turn + 1):
        window = shapely.box(turn * 360.0 - 180.0, -90.0, turn * 360.0 + 180.0, 90.0)
        in_window = shapely.intersection(shapes[rows], window)
        cut = shapely.transform(in_window, lambda xy, by=turn: xy - [by * 360.0, 0.0])
        wrapped = shapely.union(wrapped, extract_multipolygons(cut))
    shapes[rows] = extract_multipolygons(wrapped)


def _join_rings_at_antimeridian(
    lines: Numbers, ring: Indexes, part: Indexes, row: Indexes, is_large: Flags
) -> tuple[Numbers, Indexes, Indexes, Indexes]:
    """Join rings across 180 degrees, and remove edges along a pole.

    Return the remaining edges, the ring of each edge, the part of each ring and the row of each part.
    """
    lines, ring = _add_antimeridian_nodes(lines, ring, row[part[ring]], is_large[part[ring]])
    edge_is_large = is_large[part[ring]]
    count = np.arange(len(lines))
    first = np.searchsorted(ring, np.arange(len(part)))
    after = count + 1
    last_of_ring = np.append(first[1:], len(lines)) - 1
    after[last_of_ring] = first
    where = row[part[ring]].astype(np.float64)
    east = edge_is_large & (lines[:, 0] == 180.0) & (lines[:, 2] == 180.0)
    west = edge_is_large & (lines[:, 0] == -180.0) & (lines[:, 2] == -180.0)
    up = np.flatnonzero(east)
    down = np.flatnonzero(west)
    begins_up = np.column_stack([where[up], lines[up, 1], lines[up, 3]])
    begins_down = np.column_stack([where[down], lines[down, 3], lines[down, 1]])
    edge_keys = np.concatenate([begins_up, begins_down]) + 0.0
    _, name = np.unique(edge_keys, axis=0, return_inverse=True)
    _, of_up, of_down = np.intersect1d(name[: len(up)], name[len(up) :], return_indices=True)
    up = up[of_up]
    down = down[of_down]
    further = after.copy()  # where a ring that comes to a removed edge continues
    further[up] = after[down]
    further[down] = after[up]
    begins_at_pole = np.abs(lines[:, 1]) >= POLE_LATITUDE_DEGREES
    ends_at_pole = np.abs(lines[:, 3]) >= POLE_LATITUDE_DEGREES
    is_removed = np.zeros(len(lines), np.bool_)
    is_removed[up] = is_removed[down] = True
    is_removed |= edge_is_large & begins_at_pole & ends_at_pole
    kept_edges = np.flatnonzero(~is_removed)
    follower = after[kept_edges]
    while (lost := np.flatnonzero(is_removed[follower])).size:
        follower[lost] = further[follower[lost]]
    number = np.cumsum(~is_removed) - 1
    root, rank = split_and_rank_outline_rings(number[follower])
    joined_parts = _label_joined_parts(len(row), part[ring[up]], part[ring[down]])
    parts, label = np.unique(joined_parts, return_inverse=True)
    owner = label[part[ring[kept_edges]]]
    order = np.lexsort((rank, root, owner))
    root = root[order]
    owner = owner[order]
    head = np.append(True, root[1:] != root[:-1])[: len(root)]
    ring_numbers = np.cumsum(head) - 1
    return lines[kept_edges[order]], ring_numbers, owner[head], row[parts]


def _label_joined_parts(part_count: int, first_part: Indexes, second_part: Indexes) -> Indexes:
    """Give parts that meet at an edge the same label, the lowest of their numbers."""
    label = np.arange(part_count)
    while True:
        lowest = np.minimum(label[first_part], label[second_part])
        before = label.copy()
        np.minimum.at(label, first_part, lowest)
        np.minimum.at(label, second_part, lowest)
        label = label[label]
        if np.array_equal(before, label):
            return label


def _add_antimeridian_nodes(lines: Numbers, ring: Indexes, row: Indexes, is_large: Flags) -> tuple[Numbers, Indexes]:
    """Insert a vertex into edges at 180 degrees wherever the other side has one."""
    is_on_border = is_large & (np.abs(lines[:, 0]) == 180.0)
    side = is_on_border & (lines[:, 0] == lines[:, 2])
    border_row = row[is_on_border].astype(np.float64)
    border_nodes = np.stack([border_row, lines[is_on_border, 1] + 0.0], 1)
    nodes = np.unique(border_nodes, axis=0)
    key = nodes[:, 0] * 1024.0 + nodes[:, 1]  # for counting only: nodes with equal keys stay separate
    at = np.flatnonzero(side)
    low, high = np.sort(lines[at][:, [1, 3]], axis=1).T
    begin = np.searchsorted(key, row[at] * 1024.0 + low, side="right")
    end = np.searchsorted(key, row[at] * 1024.0 + high, side="left")
    pieces = np.ones(len(lines), np.int64)
    pieces[at] += np.maximum(end - begin, 0)
    line_number, step = compute_element_numbers(pieces)
    noded_lines = lines[line_number]
    inner = np.flatnonzero(step > 0)
    inner_line = line_number[inner]
    start = np.zeros(len(lines), np.int64)
    start[at] = begin
    upward = lines[inner_line, 3] > lines[inner_line, 1]
    node_number = np.where(upward, step[inner] - 1, pieces[inner_line] - 1 - step[inner])
    lat = nodes[start[inner_line] + node_number, 1]
    noded_lines[inner, 1] = lat
    noded_lines[inner - 1, 3] = lat
    return noded_lines, ring[line_number]


def _densify_lines(lines: Numbers, tolerance_degrees: Numbers) -> tuple[Indexes, Numbers, Numbers]:
    """Divide straight lines of the map until great circles replace their pieces.

    Return the line, the longitude and the latitude of each vertex.
    """
    x0, y0, x1, y1 = lines.T
    turn = np.radians(x1 - x0)
    rise = np.radians(y1 - y0)
    max_latitude = np.maximum(np.abs(y0), np.abs(y1))
    flat = np.radians(np.minimum(max_latitude, 90.0))
    stray = np.abs(turn) * np.sin(flat) * np.hypot(turn * np.cos(flat), rise) / 4.0
    length = np.maximum(np.abs(turn), np.abs(rise))
    bend_count = np.sqrt(stray / np.radians(tolerance_degrees))
    piece_count = np.maximum(bend_count, length / _MAX_EDGE_RADIANS)
    pieces = np.maximum(np.ceil(piece_count - 1e-9), 1.0).astype(np.int64)
    at, number = compute_element_numbers(pieces)
    share = number / pieces[at]
    lon = x0[at] + share * (x1 - x0)[at]
    lat = y0[at] + share * (y1 - y0)[at]
    return at, lon, lat

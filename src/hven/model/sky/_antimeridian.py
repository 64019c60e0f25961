"""Regions from the flat map of longitudes and latitudes.

Joined at 180 degrees and at the poles, edges bent as the map's straight lines are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._flat_maps import POLE_LATITUDE_DEGREES, choose_tolerance, extract_multipolygons
from hven.model.sky._pixel_corners import trace_rings
from hven.model.sky._projection_planes import REPEATED_VERTEX, clean_regions, find_vertex_faults
from hven.model.sky._ragged_arrays import compute_element_numbers, compute_offsets
from hven.model.sky._regions import Regions

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_MAX_EDGE_RADIANS = np.radians(80.0)  # of an edge, for none is half a turn long


def from_map_polygons(shapes: Any, tolerance_degrees: float | None = None) -> Regions:
    """Bring polygons from the map back to the sphere; which way their rings run says nothing there.

    Parameters
    ----------
    shapes
        Polygons and multipolygons of GEOS, shape (n,): longitudes in degrees of any turn, latitudes -90 to 90.
    tolerance_degrees
        How far great circles may be from the map's straight lines, degrees; None: see `choose_tolerance`.

    Returns
    -------
    regions
        N of them. What comes on both sides of 180 degrees is joined there. Rings that cross themselves still do so, if
        they come neither near a pole nor over 180 degrees, and are no wider than that.
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    shapes = np.array(shapes, object)
    box = shapely.bounds(shapes)
    if tolerance_degrees is not None:
        tolerances = np.full(len(shapes), tolerance_degrees)
    else:
        tolerances = _choose_tolerances(shapes, box)
    with np.errstate(invalid="ignore"):
        large = (
            (box[:, 2] - box[:, 0] >= 180.0)
            | (box[:, 1] <= -POLE_LATITUDE_DEGREES)
            | (box[:, 3] >= POLE_LATITUDE_DEGREES)
        )
        beyond = (box[:, 0] < -180.0) | (box[:, 2] > 180.0)
    large_rows = np.flatnonzero(large)
    wrong = large_rows[~shapely.is_valid(shapes[large_rows])]
    shapes[wrong] = extract_multipolygons(shapely.make_valid(shapes[wrong], method="structure"))
    _wrap_polygons(shapes, np.flatnonzero(large & beyond))
    part, row = shapely.get_parts(shapes, return_index=True)
    has_area = ~shapely.is_empty(part)
    part = shapely.orient_polygons(part[has_area])
    row = row[has_area]
    ring, owner = shapely.get_rings(part, return_index=True)
    xy, holder = shapely.get_coordinates(ring, return_index=True)
    begin = np.flatnonzero(holder[1:] == holder[:-1])
    same = (xy[begin] == xy[begin + 1]).all(axis=1)
    begin = begin[~same | (np.append(-1, holder[begin][:-1]) != holder[begin])]  # no vertex twice, no ring without any
    lines = np.column_stack([xy[begin], xy[begin + 1]])
    ring_part = owner
    line_rings = holder[begin]
    if len(large_rows):
        lines, line_rings, ring_part, part_row = _join_at_antimeridian(lines, line_rings, ring_part, row, large[row])
        row = part_row
    at, lon, lat = _densify_lines(lines, tolerances[row[ring_part[line_rings]]])
    rings, parts, rows = (
        compute_offsets(np.bincount(index, minlength=size))
        for index, size in ((line_rings[at], len(ring_part)), (ring_part, len(row)), (row, len(shapes)))
    )
    regions = Regions(lon % 360.0, lat, rings, parts, rows)
    repeated_rows = np.unique(
        regions.vertex_rows[dict(find_vertex_faults(regions))[REPEATED_VERTEX]]
    )  # what lies a rounding apart on the map
    if len(repeated_rows):
        return regions.replace_rows(repeated_rows, clean_regions(regions.take(repeated_rows)))
    return regions


def _choose_tolerances(shapes: Any, box: Numbers) -> Numbers:
    """Compute how far edges may stray of polygons on the map, where a degree of longitude is as short as in the middle of each."""
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    _, row = shapely.get_coordinates(shapes, return_index=True)
    short = np.cos(np.radians(np.nan_to_num(box[:, 1] + box[:, 3]) / 2.0))[row]
    flat = shapely.transform(shapes, lambda xy: np.column_stack([xy[:, 0] * short, xy[:, 1]]))
    return choose_tolerance(shapely.area(flat), shapely.length(flat))


def _wrap_polygons(shapes: Any, rows: Indexes) -> None:
    """Bring polygons of any turn to longitudes from -180 to 180."""
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    if not len(rows):
        return
    box = shapely.bounds(shapes[rows])
    wrapped = np.full(len(rows), shapely.MultiPolygon())
    for turn in range(
        int(np.floor((box[:, 0].min() + 180.0) / 360.0)), int(np.ceil((box[:, 2].max() - 180.0) / 360.0)) + 1
    ):
        window = shapely.box(turn * 360.0 - 180.0, -90.0, turn * 360.0 + 180.0, 90.0)
        cut = shapely.transform(shapely.intersection(shapes[rows], window), lambda xy, by=turn: xy - [by * 360.0, 0.0])
        wrapped = shapely.union(wrapped, extract_multipolygons(cut))
    shapes[rows] = extract_multipolygons(wrapped)


def _join_at_antimeridian(
    lines: Numbers, ring: Indexes, part: Indexes, row: Indexes, is_large: Flags
) -> tuple[Numbers, Indexes, Indexes, Indexes]:
    """Join rings across 180 degrees, and leave out what runs along a pole.

    Returns the edges that are left, the ring of each, the part of each ring and the row of each part.
    """
    lines, ring = _add_antimeridian_nodes(lines, ring, row[part[ring]], is_large[part[ring]])
    edge_is_large = is_large[part[ring]]
    count = np.arange(len(lines))
    first = np.searchsorted(ring, np.arange(len(part)))
    after = count + 1
    after[np.append(first[1:], len(lines)) - 1] = first
    where = row[part[ring]].astype(np.float64)
    east = edge_is_large & (lines[:, 0] == 180.0) & (lines[:, 2] == 180.0)
    west = edge_is_large & (lines[:, 0] == -180.0) & (lines[:, 2] == -180.0)
    up = np.flatnonzero(east)
    down = np.flatnonzero(west)
    a = np.column_stack([where[up], lines[up, 1], lines[up, 3]])
    b = np.column_stack([where[down], lines[down, 3], lines[down, 1]])
    _, name = np.unique(np.concatenate([a, b]) + 0.0, axis=0, return_inverse=True)
    _, of_up, of_down = np.intersect1d(name[: len(up)], name[len(up) :], return_indices=True)
    up = up[of_up]
    down = down[of_down]
    further = after.copy()  # where a ring goes on that comes to an edge
    further[up], further[down] = after[down], after[up]
    is_removed = np.zeros(len(lines), np.bool_)
    is_removed[up] = is_removed[down] = True
    is_removed |= (
        edge_is_large & (np.abs(lines[:, 1]) >= POLE_LATITUDE_DEGREES) & (np.abs(lines[:, 3]) >= POLE_LATITUDE_DEGREES)
    )
    kept_edges = np.flatnonzero(~is_removed)
    follower = after[kept_edges]
    while (lost := np.flatnonzero(is_removed[follower])).size:
        follower[lost] = further[follower[lost]]
    number = np.cumsum(~is_removed) - 1
    root, rank = trace_rings(number[follower])
    # parts that come together are one
    label = np.arange(len(row))
    first_part = part[ring[up]]
    second_part = part[ring[down]]
    while True:
        lowest = np.minimum(label[first_part], label[second_part])
        before = label.copy()
        np.minimum.at(label, first_part, lowest)
        np.minimum.at(label, second_part, lowest)
        label = label[label]
        if np.array_equal(before, label):
            break
    parts, label = np.unique(label, return_inverse=True)
    owner = label[part[ring[kept_edges]]]
    order = np.lexsort((rank, root, owner))
    root = root[order]
    owner = owner[order]
    head = np.append(True, root[1:] != root[:-1])[: len(root)]
    return lines[kept_edges[order]], np.cumsum(head) - 1, owner[head], row[parts]


def _add_antimeridian_nodes(lines: Numbers, ring: Indexes, row: Indexes, is_large: Flags) -> tuple[Numbers, Indexes]:
    """Put a vertex into edges at 180 degrees wherever the other side has one."""
    side = is_large & (np.abs(lines[:, 0]) == 180.0) & (lines[:, 0] == lines[:, 2])
    on = is_large & (np.abs(lines[:, 0]) == 180.0)
    nodes = np.unique(np.stack([row[on].astype(np.float64), lines[on, 1] + 0.0], 1), axis=0)
    key = nodes[:, 0] * 1024.0 + nodes[:, 1]  # only to count: equal ones are nodes of their own
    at = np.flatnonzero(side)
    low, high = np.sort(lines[at][:, [1, 3]], axis=1).T
    begin = np.searchsorted(key, row[at] * 1024.0 + low, side="right")
    end = np.searchsorted(key, row[at] * 1024.0 + high, side="left")
    pieces = np.ones(len(lines), np.int64)
    pieces[at] += np.maximum(end - begin, 0)
    line_number, step = compute_element_numbers(pieces)
    noded_lines = lines[line_number]
    inner = np.flatnonzero(step > 0)
    start = np.zeros(len(lines), np.int64)
    start[at] = begin
    upward = lines[line_number[inner], 3] > lines[line_number[inner], 1]
    nth = np.where(upward, step[inner] - 1, pieces[line_number[inner]] - 1 - step[inner])
    lat = nodes[start[line_number[inner]] + nth, 1]
    noded_lines[inner, 1] = lat
    noded_lines[inner - 1, 3] = lat
    return noded_lines, ring[line_number]


def _densify_lines(lines: Numbers, tolerance_degrees: Numbers) -> tuple[Indexes, Numbers, Numbers]:
    """Divide straight lines of the map until great circles do; the line of each vertex, its longitude and latitude."""
    x0, y0, x1, y1 = lines.T
    turn = np.radians(x1 - x0)
    rise = np.radians(y1 - y0)
    flat = np.radians(np.minimum(np.maximum(np.abs(y0), np.abs(y1)), 90.0))
    stray = np.abs(turn) * np.sin(flat) * np.hypot(turn * np.cos(flat), rise) / 4.0
    length = np.maximum(np.abs(turn), np.abs(rise))
    pieces = np.maximum(np.sqrt(stray / np.radians(tolerance_degrees)), length / _MAX_EDGE_RADIANS)
    pieces = np.maximum(np.ceil(pieces - 1e-9), 1.0).astype(np.int64)
    at, number = compute_element_numbers(pieces)
    share = number / pieces[at]
    return at, x0[at] + share * (x1 - x0)[at], y0[at] + share * (y1 - y0)[at]

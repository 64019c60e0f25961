"""Turn pixels of maps that go all round a body into regions that cross the maps' edges, or go round or hold poles.

A map is a cylinder here. Its pixels are laid out three times side by side. The outlines in the middle copy are those
everywhere; where an outline leaves the middle copy, it goes on at the other edge.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import Regions
from hven.model.sky.api.ragged_arrays import (
    compute_element_numbers,
    compute_offsets,
    compute_row_indexes,
    gather_element_indexes,
)
from hven.model.sky.api.ring_geometry import split_and_rank_outline_rings
from hven.plugins.image_regions.disc_image import select_images
from hven.plugins.image_regions.outlines import (
    OutlinedRegions,
    count_edge_pieces,
    divide_edges,
    join_outlined_regions,
    trace_pixel_regions,
)
from hven.plugins.image_regions.pixel_corners import trace_pixel_outlines
from hven.plugins.image_regions.pixel_runs import COORDINATE_BITS, KEYS_PER_LINE, PixelRuns, compute_pixel_keys

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.plugins.image_regions.cylindrical_map import CylindricalMap

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

TURN_TOLERANCE_PIXELS = 0.05
"""Pixels by which a whole turn may differ from a whole number of pixels."""


def count_pixels_per_turn(chart: CylindricalMap) -> Whole:
    """Count the pixels of a whole turn.

    Parameters
    ----------
    chart
        Maps, shape (n,).

    Returns
    -------
    pixels
        Pixels of each map, shape (n,); 0 if that is not a whole number, or too many pixels.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = 360.0 / np.abs(chart.step_x)
    count = np.rint(np.where(np.isfinite(exact), exact, 0.0))
    is_whole = np.abs(exact - count) <= TURN_TOLERANCE_PIXELS
    is_in_range = (count >= 3) & (3 * count < KEYS_PER_LINE - 2)
    good = is_whole & is_in_range
    return np.where(good, count, 0).astype(np.int64)


def close_walks_around_body(row: Whole, x: Whole, y: Whole, chart: CylindricalMap) -> tuple[Whole, Whole, Whole]:
    """Close walks that go round the body, by way of the pole on the side with the smaller area.

    Parameters
    ----------
    row, x, y
        Pixels of walks, ascending by row, shape (m,).
    chart
        Their maps, shape (n,).

    Returns
    -------
    row, x, y
        Walks that end where they begin; the other walks stay as they are.
    """
    first = np.searchsorted(row, np.arange(len(chart.x)))
    last = np.append(first[1:], len(row)) - 1
    turn = count_pixels_per_turn(chart)
    x_change = x[last] - x[first]
    y_change = y[last] - y[first]
    turn_count = np.rint(x_change / np.maximum(turn, 1))
    times = np.where(turn > 0, turn_count, 0.0).astype(np.int64)
    x_gap = np.abs(x_change - times * turn)
    is_open = np.maximum(x_gap, np.abs(y_change)) > 1
    times[is_open] = 0
    if not times.any():
        return row, x, y
    walks = []
    for begin, end in zip(first, last, strict=True):
        walk = slice(begin, end + 1)
        walks.append((row[walk], x[walk], y[walk]))
    for number in np.flatnonzero(times).tolist():  # few
        shift = int(times[number] * turn[number])
        walks[number] = _close_walk_at_pole(walks[number], number, shift, chart)
    closed_row, closed_x, closed_y = (np.concatenate([walk[axis] for walk in walks]) for axis in range(3))
    return closed_row, closed_x, closed_y


def _close_walk_at_pole(
    walk: tuple[Whole, Whole, Whole], number: int, shift: int, chart: CylindricalMap
) -> tuple[Whole, Whole, Whole]:
    """Close one walk by way of a pole; `shift` is how far it goes along x, pixels."""
    walk_rows, along, up = walk
    _, v = chart.to_plane(np.full(len(along), number), along, up)
    # the sign of the mean height of the walk decides on the pole
    x_changes = np.diff(along, append=along[0] + shift)
    mean = np.sum(x_changes * v) / shift
    pole = 90.0 if mean > 0.0 else -90.0
    if chart.equal:
        height = np.sin(np.radians(pole)) - np.sin(np.radians(chart.lat[number]))
    else:
        height = pole - chart.lat[number]
    pole_offset = height / chart.step_y[number]
    pole_y = chart.y[number] + pole_offset
    # begin where the walk is nearest to the pole, so that the way to the pole does not lead through the walk
    if pole_offset > 0.0:
        end = int(np.floor(pole_y + 1e-6))
        begin = int(np.argmax(up))
    else:
        end = int(np.ceil(pole_y - 1e-6))
        begin = int(np.argmin(up))
    along = np.concatenate([along[begin:], along[:begin] + shift])
    up = np.concatenate([up[begin:], up[:begin]])
    if end > up[0]:
        step = 1
    else:
        step = -1
    pole_column = np.arange(up[0], end, step)
    column_size = len(pole_column)
    end_x = along[0] + shift
    return_x = np.arange(end_x, along[0], -np.sign(shift))
    outward_x = np.full(column_size, end_x)
    inward_x = np.full(column_size + 1, along[0])
    return_y = np.full(len(return_x), end)
    along = np.concatenate([along, outward_x, return_x, inward_x])
    up = np.concatenate([up, pole_column, return_y, [end], pole_column[::-1]])
    return np.full(len(along), walk_rows[0]), along, up


def unwrap_contours(offsets: Whole, x: Whole, steps: Whole, chart: CylindricalMap) -> tuple[Whole, Whole]:
    """Follow contours over the edges of maps, if all their pixels are neighbours there.

    Parameters
    ----------
    offsets
        Where the contours begin, and the end, shape (n + 1,).
    x, steps
        Pixels, shape (m,), and the step to the next pixel, shape (2, m).
    chart
        Their maps, shape (n,).

    Returns
    -------
    move, x
        The steps along x, shape (m,), with those over the edge; and x, counted on beyond the edge.
    """
    row = compute_row_indexes(offsets)
    turn = count_pixels_per_turn(chart)[row]
    turn_counts = np.rint(steps[0] / np.maximum(turn, 1))
    turn_steps = np.where(turn > 0, turn_counts, 0.0).astype(np.int64)
    x_excess = np.abs(steps[0] - turn_steps * turn)
    is_too_far = (x_excess > 1) | (np.abs(steps[1]) > 1)
    far_step_counts = np.bincount(row, is_too_far, minlength=len(offsets) - 1)
    is_contour_too_far = far_step_counts > 0
    turn_steps[is_contour_too_far[row]] = 0
    if not turn_steps.any():
        return steps[0], x
    turns_passed = compute_offsets(turn_steps)[:-1]
    last_vertex = max(len(x) - 1, 0)
    first_vertices = np.minimum(offsets[:-1], last_vertex)
    turns_passed -= turns_passed[first_vertices][row]
    return steps[0] - turn_steps * turn, x - turns_passed * turn


def trace_map_regions(
    runs: PixelRuns, chart: CylindricalMap, x: Whole, y: Whole, *, is_wrapping: Flags
) -> OutlinedRegions:
    """Turn sets of pixels of maps into regions on the sphere.

    Parameters
    ----------
    runs
        The pixels.
    chart
        Their maps, shape (rows,).
    x, y
        The pixels that (0, 0) of the runs' keys stands for, shape (rows,).
    is_wrapping
        Which sets go all round their maps, shape (rows,); in these, a pixel that a map shows twice counts once.

    Returns
    -------
    outlined
        The regions, and the number of pixels of each.
    """
    pieces = []
    for is_traced, trace_regions in ((~is_wrapping, trace_pixel_regions), (is_wrapping, _trace_encircling_regions)):
        rows = np.flatnonzero(is_traced)
        if len(rows):
            traced_runs = runs.take_regions(is_traced, np.cumsum(is_traced) - 1)
            images = select_images(chart, rows)
            pieces.append((rows, trace_regions(traced_runs, len(rows), images, x[rows], y[rows])))
    return join_outlined_regions(pieces)


def _trace_encircling_regions(
    runs: PixelRuns, region_count: int, chart: CylindricalMap, x: Whole, y: Whole
) -> OutlinedRegions:
    """Turn sets of pixels that go all round their maps into regions on the sphere."""
    turn = count_pixels_per_turn(chart)
    step_x = np.copysign(360.0 / turn, chart.step_x)
    chart = replace(chart, step_x=step_x)
    runs = _wrap_runs_to_one_turn(runs, x, turn)
    owner = runs.begin >> 2 * COORDINATE_BITS
    width = turn[owner]
    tripled_runs = _repeat_runs_three_times(runs, width)
    node = _CylinderOutlineNodes(tripled_runs, runs, turn)
    # u is 0 at the left edge of the map
    shifted = replace(chart, x=np.zeros(region_count), lon=np.zeros(region_count))
    map_x = (node.x - turn[node.row] - 1).astype(np.float64)
    u, v = shifted.to_plane(node.row, map_x, node.y + y[node.row] - 0.5)
    left_edge_offset = -0.5 - chart.x
    west = chart.lon + left_edge_offset * chart.step_x  # degrees at the left edge
    after = node.after
    seam = node.seam
    mirrored = chart.is_mirrored[node.row]
    if mirrored.any():
        after, seam = _reverse_mirrored_edges(after, seam, mirrored)
    after = _split_rings_at_poles(after, v)
    root, rank = split_and_rank_outline_rings(after, node.twin)
    angle, length, bend, points = shifted.measure_edge_arcs(node.row, u, v, after, seam)
    angle = np.where(seam, 0.0, angle)
    length = np.where(seam, 0.0, length)
    area = _sum_pixel_areas(runs, shifted, y, width)
    count = count_edge_pieces(node.row, angle, length, bend, area)
    ring_counts = np.bincount(root, count, minlength=len(root))
    is_kept = ring_counts[root] > 0  # without the edges that go round at a pole
    component = node.component
    order = np.flatnonzero(is_kept)
    ring_order = np.lexsort((rank[order], root[order], component[order], node.row[order]))
    order = order[ring_order]
    new = _mark_changes(root[order])
    bounds = np.append(np.flatnonzero(new), len(order))
    at, share, offsets = divide_edges(count[order], bounds)
    point_nodes = order[at]
    lon, lat = shifted.locate_edge_points(
        node.row, u, v, after, seam, angle=angle, points=points, point_edges=point_nodes, share=share
    )
    lon = (lon + west[node.row[point_nodes]]) % 360.0
    lon = np.where((lon >= 360.0) | (np.abs(lat) >= 90.0), 0.0, lon)  # a pole is one place
    head = order[new]  # a node of each ring
    part = _mark_changes(component[head])
    parts = np.append(np.flatnonzero(part), len(head))
    part_row = node.row[head[part]]
    rows = compute_offsets(np.bincount(part_row, minlength=region_count))
    regions = _sort_shells_first(Regions(lon, lat, offsets, parts, rows))
    regions = _fill_whole_spheres(regions, area)
    return OutlinedRegions(regions, runs.count_pixels(region_count), np.zeros(region_count))


def _repeat_runs_three_times(runs: PixelRuns, width: Whole) -> PixelRuns:
    """Lay runs out three times side by side, from pixel 1 on."""
    begin, end = (np.concatenate([key + 1 + copy * width for copy in range(3)]) for key in (runs.begin, runs.end))
    return _merge_pixel_runs(begin, end)


def _reverse_mirrored_edges(after: Whole, seam: Flags, is_mirrored: Flags) -> tuple[Whole, Flags]:
    """Reverse the edges of mirrored maps, on which the region is to the right of the corners' order."""
    reversed_successor = np.empty_like(after)
    reversed_seam = np.empty_like(seam)
    reversed_successor[after] = np.arange(len(after))
    reversed_seam[after] = seam
    return np.where(is_mirrored, reversed_successor, after), np.where(is_mirrored, reversed_seam, seam)


def _sum_pixel_areas(runs: PixelRuns, chart: CylindricalMap, y: Whole, width: Whole) -> Numbers:
    """Sum the areas of the pixels of each region, steradian; `width` is the pixels of a turn, for each run."""
    owner = runs.begin >> 2 * COORDINATE_BITS
    line_y = (runs.begin >> COORDINATE_BITS) % KEYS_PER_LINE + y[owner]
    line_x = np.zeros(len(owner))
    _, low = chart.to_plane(owner, line_x, line_y - 0.5)
    _, high = chart.to_plane(owner, line_x, line_y + 0.5)
    run_lengths = runs.end - runs.begin
    cells: Numbers = np.abs(high - low) * run_lengths * 2.0 * np.pi / width
    return np.bincount(owner, cells, minlength=len(chart.x)).astype(np.float64)


def _mark_changes(values: Whole) -> Flags:
    """Flag the values that differ from the value before them, and the first value."""
    return np.append(True, values[1:] != values[:-1])[: len(values)]


def _fill_whole_spheres(regions: Regions, area: Numbers) -> Regions:
    """Replace regions without a ring, but with an area, by the whole sphere."""
    has_no_part = np.diff(regions.rows) == 0
    full_rows = np.flatnonzero(has_no_part & (area > 2.0 * np.pi))
    if not len(full_rows):
        return regions
    whole_sphere = Regions.from_lists([[[]]])
    row_numbers = np.zeros(len(full_rows), np.int64)
    return regions.replace_rows(full_rows, whole_sphere.take(row_numbers))


def _sort_shells_first(regions: Regions) -> Regions:
    """Put the ring with the smallest area to its left first in each part."""
    area = regions.compute_ring_areas()
    ring_part = compute_row_indexes(regions.parts)
    ring_order = np.lexsort((area, ring_part))
    vertex, rings = gather_element_indexes(regions.rings, ring_order)
    lon = regions.lon[vertex]
    lat = regions.lat[vertex]
    return Regions(lon, lat, rings, regions.parts, regions.rows)


def _merge_pixel_runs(begin: Whole, end: Whole) -> PixelRuns:
    """Join runs that touch or overlap."""
    order = np.argsort(begin, kind="stable")
    begin = begin[order]
    end = np.maximum.accumulate(end[order])
    begins_run = begin[1:] > end[:-1]
    new = np.append(True, begins_run)[: len(begin)]
    last_numbers = np.flatnonzero(new)[1:] - 1
    run_count = int(new.sum())
    all_last = np.append(last_numbers, len(begin) - 1)
    last = all_last[:run_count]
    return PixelRuns(begin[new], end[last])


def _wrap_runs_to_one_turn(runs: PixelRuns, x: Whole, turn_pixels: Whole) -> PixelRuns:
    """Map pixels to one turn of the map, from 0."""
    row = runs.begin >> 2 * COORDINATE_BITS
    line = runs.begin >> COORDINATE_BITS << COORDINATE_BITS
    lengths = runs.end - runs.begin
    size = np.minimum(lengths, turn_pixels[row])
    first = (runs.begin - line + x[row]) % turn_pixels[row]
    overhang = np.maximum(first + size - turn_pixels[row], 0)
    overflows = overhang > 0
    first_end = line + first + size - overhang
    second_end = line + overhang
    begin = np.concatenate([line + first, line[overflows]])
    end = np.concatenate([first_end, second_end[overflows]])
    return _merge_pixel_runs(begin, end)


def _label_connected_runs(runs: PixelRuns, turn_pixels: Whole) -> Whole:
    """Give connected runs the same number, over the edges of the map, too."""
    begin = runs.begin
    end = runs.end
    low = np.searchsorted(end, begin + KEYS_PER_LINE, "right")
    stop = np.searchsorted(begin, end + KEYS_PER_LINE, "left")
    size = np.maximum(stop - low, 0)
    a, number = compute_element_numbers(size)
    b = low[a] + number
    wide = turn_pixels[begin >> 2 * COORDINATE_BITS]
    left_edge_runs = np.flatnonzero(begin % KEYS_PER_LINE == 0)
    right_edge_runs = np.flatnonzero(end % KEYS_PER_LINE == wide)
    if len(left_edge_runs):
        left_lines = begin[left_edge_runs] >> COORDINATE_BITS
        right_lines = begin[right_edge_runs] >> COORDINATE_BITS
        at = np.searchsorted(left_lines, right_lines)
        at = np.minimum(at, len(left_edge_runs) - 1)
        met = left_lines[at] == right_lines
        a = np.concatenate([a, left_edge_runs[at][met]])
        b = np.concatenate([b, right_edge_runs[met]])
    label = np.arange(len(begin))
    while True:
        lowest = label.copy()
        np.minimum.at(lowest, label[a], label[b])
        np.minimum.at(lowest, label[b], label[a])
        while not np.array_equal(lowest[lowest], lowest):
            lowest = lowest[lowest]
        relabelled = lowest[label]
        if np.array_equal(relabelled, label):
            return label
        label = relabelled


def _find_unbroken_edge_lines(runs: PixelRuns, turn: Whole) -> tuple[Whole, Whole, Flags]:
    """Find lines between pixels that are an edge all round: their rows, their y, and whether the edge goes east."""
    run_turn = turn[runs.begin >> 2 * COORDINATE_BITS]
    is_full = runs.end - runs.begin == run_turn
    full_lines = runs.begin[is_full] >> COORDINATE_BITS
    lines = np.unique(runs.begin >> COORDINATE_BITS)
    bare_lines = []
    for step in (-1, 1):
        next_line = full_lines + step
        place = np.minimum(np.searchsorted(lines, next_line), len(lines) - 1)
        bare_lines.append(full_lines[lines[place] != next_line])
    counts = [len(bare) for bare in bare_lines]
    all_lines = np.concatenate(bare_lines)
    y = all_lines % KEYS_PER_LINE + np.repeat([0, 1], counts)
    return all_lines >> COORDINATE_BITS, y, np.repeat([True, False], counts)


class _CylinderOutlineNodes:
    """Hold corners of outlines on cylinders, and pairs of nodes where an outline leaves a map and enters it again.

    `row`, `x` (from turn + 1 to 2 turn + 1), `y`, `after` and `twin` are as in `OutlineCorners`, with the region to
    the left. `seam` flags edges of no length, from one edge of the map to the other. `component` is the component that
    the ring of each node is an outline of.
    """

    def __init__(self, tripled_runs: PixelRuns, runs: PixelRuns, turn: Whole) -> None:
        outline = trace_pixel_outlines(tripled_runs)
        width = turn[outline.row]
        is_in_middle = (outline.x > width) & (outline.x <= 2 * width)
        middle = np.flatnonzero(is_in_middle)
        row, x, y = (getattr(outline, name)[middle] for name in ("row", "x", "y"))
        width = turn[row]
        place = compute_pixel_keys(row, y, x)
        second = np.zeros(len(outline.row), np.int64)
        second[outline.twin + 1] = 1
        target = outline.after[middle]
        target_x = outline.x[target]
        wrapped_x = (target_x - 1) % width + width + 1
        keys = compute_pixel_keys(row, outline.y[target], wrapped_x)
        target_node = np.searchsorted(place, keys)
        after = target_node + second[target]
        # over the seam: to one edge of the map, and on from the other edge
        is_outside = (target_x <= width) | (target_x > 2 * width)
        over_seam = np.flatnonzero(is_outside)
        right = target_x[over_seam] > 2 * width[over_seam]
        crossing_count = len(over_seam)
        exit_nodes = len(middle) + np.arange(crossing_count)
        entry_nodes = exit_nodes + crossing_count
        next_nodes = after[over_seam]
        after[over_seam] = exit_nodes
        crossing_width = width[over_seam]
        edge = crossing_width + 1 + np.stack([right, ~right]) * crossing_width
        # lines that are an edge all round have no corners
        round_row, round_y, east = _find_unbroken_edge_lines(runs, turn)
        base = len(middle) + 2 * crossing_count
        size = len(round_row)
        wide = turn[round_row]
        numbers = np.arange(3 * size)
        number = base + numbers.reshape(3, size)
        turn_shares = np.stack([0 * wide, wide // 2, wide])
        spots = wide + 1 + turn_shares
        spots = np.where(east, spots, spots[::-1])
        crossing_row = row[over_seam]
        crossing_y = y[over_seam]
        self.row = np.concatenate([row, crossing_row, crossing_row, *[round_row] * 3])
        self.x = np.concatenate([x, *edge, *spots])
        self.y = np.concatenate([y, crossing_y, crossing_y, *[round_y] * 3])
        self.after = np.concatenate([after, entry_nodes, next_nodes, number[1], number[2], number[0]])
        flag = np.zeros(len(self.row), np.bool_)
        flag[len(middle) : len(middle) + crossing_count] = True
        flag[base + 2 * size :] = True
        self.seam = flag
        self.twin = np.flatnonzero(place[1:] == place[:-1])
        self.component = self._label_node_components(runs, turn)

    def _label_node_components(self, runs: PixelRuns, turn_pixels: Whole) -> Whole:
        """Find the component that the ring of each node outlines, by the pixel to the left of an edge along x."""
        label = _label_connected_runs(runs, turn_pixels)
        to = self.after
        changes_x = self.x[to] != self.x
        along = np.flatnonzero(changes_x & ~self.seam)
        east = self.x[to[along]] > self.x[along]
        row = self.row[along]
        left_x = np.minimum(self.x[along], self.x[to[along]])
        left_pixel = left_x - turn_pixels[row] - 1
        key = compute_pixel_keys(row, self.y[along] - ~east, left_pixel)
        node_labels = np.full(len(self.row), -1)
        run_number = np.searchsorted(runs.begin, key, "right") - 1
        node_labels[along] = label[run_number]
        root, _ = split_and_rank_outline_rings(self.after.copy())
        ring_labels: Whole = np.full(len(self.row), -1)
        np.maximum.at(ring_labels, root, node_labels)
        of_ring: Whole = ring_labels[root]
        return of_ring


def _split_rings_at_poles(successor: Whole, v: Numbers) -> Whole:
    """Split rings that come to a pole more than once, because a pole is one place."""
    pole = np.abs(v) >= 1.0
    if not pole.any():
        return successor
    enters = np.flatnonzero(~pole & pole[successor])
    leaves = np.flatnonzero(pole & ~pole[successor])
    if len(leaves) < 2:
        return successor
    root, rank = split_and_rank_outline_rings(successor.copy())
    successor = successor.copy()
    side = np.sign(v)
    last = np.lexsort((rank[leaves], side[leaves], root[leaves]))
    leaves = leaves[last]
    group = root[leaves] * 3 + side[leaves].astype(np.int64)
    begins_group = group[1:] != group[:-1]
    first = np.append(True, begins_group)
    group_starts = np.append(np.flatnonzero(first), len(group))
    size = np.diff(group_starts)
    # each leave comes back at the entry of the next visit
    entry = successor[enters]
    order = np.lexsort((rank[entry], side[entry], root[entry]))
    entry = entry[order]
    first_numbers = np.flatnonzero(first)
    start = np.repeat(first_numbers, size)
    number = np.arange(len(group)) - start
    # by rank, the entries and leaves of a ring alternate; a visit that contains the root begins with the ring's last
    # entry
    wraps = rank[entry][start] > rank[leaves][start]
    next_number = number + np.where(wraps, 0, 1)
    group_size = np.repeat(size, size)
    entry_order = start + next_number % group_size
    idle = pole & np.isin(root, root[leaves])
    idle[enters] = False
    idle[entry] = False
    idle[leaves] = False
    successor[idle] = np.flatnonzero(idle)  # the nodes between an entry and its leave are at one place
    successor[entry[entry_order]] = leaves
    return successor

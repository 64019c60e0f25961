"""Seam: pixels of maps that go all round a body -> regions that cross the maps' edges, go round poles, or hold them.

A map is a cylinder here. Its pixels are laid out three times side by side; what the outlines do in the middle is what
they do everywhere, and where one leaves it, it goes on at the other edge.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._disc_image import take_images
from hven.model.sky._outlines import OutlinedRegions, count_pieces, divide_edges, trace_regions
from hven.model.sky._pixel_corners import trace_outlines, trace_rings
from hven.model.sky._pixel_runs import COORDINATE_BITS, KEYS_PER_LINE, PixelRuns, compute_keys
from hven.model.sky._ragged_arrays import compute_element_numbers, compute_offsets, compute_row_indexes, gather_rows
from hven.model.sky._regions import Regions

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky._cylindrical_map import CylindricalMap

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

TURN_TOLERANCE_PIXELS = 0.05
"""Pixels by which a whole turn may differ from a whole number of them."""


def count_pixels_per_turn(chart: CylindricalMap) -> Whole:
    """Count the pixels of a whole turn.

    Parameters
    ----------
    chart
        Maps, shape (n,).

    Returns
    -------
    pixels
        Of each map, shape (n,); 0: that is no whole number, or too many of them.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = 360.0 / np.abs(chart.step_x)
    count = np.rint(np.where(np.isfinite(exact), exact, 0.0))
    good = (np.abs(exact - count) <= TURN_TOLERANCE_PIXELS) & (count >= 3) & (3 * count < KEYS_PER_LINE - 2)
    return np.where(good, count, 0).astype(np.int64)


def close_walks(row: Whole, x: Whole, y: Whole, chart: CylindricalMap) -> tuple[Whole, Whole, Whole]:
    """Close walks that go round the body: by way of the pole on the side of which there is less.

    Parameters
    ----------
    row, x, y
        Pixels of walks, ascending by row, shape (m,).
    chart
        Their maps, shape (n,).

    Returns
    -------
    row, x, y
        Walks that end where they begin; the others as they were.
    """
    first = np.searchsorted(row, np.arange(len(chart.x)))
    last = np.append(first[1:], len(row)) - 1
    turn = count_pixels_per_turn(chart)
    times = np.where(turn > 0, np.rint((x[last] - x[first]) / np.maximum(turn, 1)), 0.0).astype(np.int64)
    times[np.maximum(np.abs(x[last] - x[first] - times * turn), np.abs(y[last] - y[first])) > 1] = 0  # open
    if not times.any():
        return row, x, y
    walks = [(row[a : b + 1], x[a : b + 1], y[a : b + 1]) for a, b in zip(first, last, strict=True)]
    for number in np.flatnonzero(times):  # few
        walk_rows, along, up = walks[number]
        _, v = chart.to_plane(np.full(len(along), number), along, up)
        shift = times[number] * turn[number]
        # the height that it goes round at
        append = along[0] + shift
        mean = np.sum(np.diff(along, append=append) * v) / shift
        pole = 90.0 if mean > 0.0 else -90.0
        if chart.equal:
            pole_offset = (np.sin(np.radians(pole)) - np.sin(np.radians(chart.lat[number]))) / chart.step_y[number]
        else:
            pole_offset = (pole - chart.lat[number]) / chart.step_y[number]
        if pole_offset > 0.0:
            end = int(np.floor(chart.y[number] + pole_offset + 1e-6))
        else:
            end = int(np.ceil(chart.y[number] + pole_offset - 1e-6))
        # from where it is nearest to the pole, lest the way there leads through it
        if pole_offset > 0.0:
            begin = int(np.argmax(up))
        else:
            begin = int(np.argmin(up))
        along = np.concatenate([along[begin:], along[:begin] + shift])
        up = np.concatenate([up[begin:], up[:begin]])
        pole_column = np.arange(up[0], end, 1 if end > up[0] else -1)
        return_x = np.arange(along[0] + shift, along[0], -np.sign(shift))
        along = np.concatenate(
            [along, np.full(len(pole_column), along[0] + shift), return_x, np.full(len(pole_column) + 1, along[0])]
        )
        up = np.concatenate([up, pole_column, np.full(len(return_x), end), [end], pole_column[::-1]])
        walks[number] = (np.full(len(along), walk_rows[0]), along, up)
    joined = tuple(np.concatenate([walk[axis] for walk in walks]) for axis in range(3))
    return joined[0], joined[1], joined[2]


def unwrap_contours(offsets: Whole, x: Whole, steps: Whole, chart: CylindricalMap) -> tuple[Whole, Whole]:
    """Follow contours over the edges of maps: those whose pixels are all neighbours there.

    Parameters
    ----------
    offsets
        Where the contours begin, and the end, shape (n + 1,).
    x, steps
        Pixels, shape (m,), and the way to the next one, shape (2, m).
    chart
        Their maps, shape (n,).

    Returns
    -------
    move, x
        Along x, shape (m,): with steps over the edge, and counted on beyond it.
    """
    row = compute_row_indexes(offsets)
    turn = count_pixels_per_turn(chart)[row]
    turn_steps = np.where(turn > 0, np.rint(steps[0] / np.maximum(turn, 1)), 0.0).astype(np.int64)
    is_too_far = (np.abs(steps[0] - turn_steps * turn) > 1) | (np.abs(steps[1]) > 1)
    turn_steps[np.bincount(row, is_too_far, minlength=len(offsets) - 1)[row] > 0] = 0
    if not turn_steps.any():
        return steps[0], x
    turns_passed = compute_offsets(turn_steps)[:-1]
    turns_passed -= turns_passed[np.minimum(offsets[:-1], max(len(x) - 1, 0))][row]
    return steps[0] - turn_steps * turn, x - turns_passed * turn


def trace_map_regions(
    runs: PixelRuns, region_count: int, chart: CylindricalMap, x: Whole, y: Whole, is_wrapping: Flags
) -> OutlinedRegions:
    """Bring sets of pixels of maps onto the sphere.

    Parameters
    ----------
    runs
        The pixels.
    region_count
        How many regions there are.
    chart
        Their maps, shape (rows,).
    x, y
        The pixels that (0, 0) of the runs' keys stands for, shape (rows,).
    is_wrapping
        Which go all round their maps, shape (rows,); of these, what a map shows twice counts once.

    Returns
    -------
    outlined
        Regions, and how many pixels each has.
    """
    wrapping_rows = np.flatnonzero(is_wrapping)
    plain_rows = np.flatnonzero(~is_wrapping)
    outlines = []
    index = np.cumsum(is_wrapping) - 1
    if len(plain_rows):
        new_numbers = np.arange(region_count) - index - 1
        outlines.append(
            trace_regions(
                runs.take_regions(~is_wrapping, new_numbers),
                len(plain_rows),
                take_images(chart, plain_rows),
                x[plain_rows],
                y[plain_rows],
            )
        )
    if len(wrapping_rows):
        outlines.append(
            _trace_wrapping_regions(
                runs.take_regions(is_wrapping, index),
                len(wrapping_rows),
                take_images(chart, wrapping_rows),
                x[wrapping_rows],
                y[wrapping_rows],
            )
        )
    place = np.argsort(np.concatenate([plain_rows, wrapping_rows]), kind="stable")
    return OutlinedRegions(
        Regions.concat([each.regions for each in outlines]).take(place),
        np.concatenate([each.pixels for each in outlines])[place],
        np.zeros(region_count),
    )


def _trace_wrapping_regions(
    runs: PixelRuns, region_count: int, chart: CylindricalMap, x: Whole, y: Whole
) -> OutlinedRegions:
    """Bring sets of pixels onto the sphere that go all round."""
    turn = count_pixels_per_turn(chart)
    step_x = np.copysign(360.0 / turn, chart.step_x)
    chart = replace(chart, step_x=step_x)
    runs = _wrap_runs(runs, x, turn)
    owner = runs.begin >> 2 * COORDINATE_BITS
    width = turn[owner]
    tripled_runs = _merge_runs(
        *(np.concatenate([key + 1 + copy * width for copy in range(3)]) for key in (runs.begin, runs.end))
    )
    node = _OutlineNodes(tripled_runs, runs, turn)
    # u is 0 at the left edge of the map
    shifted = replace(chart, x=np.zeros(region_count), lon=np.zeros(region_count))
    u, v = shifted.to_plane(node.row, (node.x - turn[node.row] - 1).astype(np.float64), node.y + y[node.row] - 0.5)
    west = chart.lon + (-0.5 - chart.x) * chart.step_x  # degrees at the left edge
    after = node.after
    seam = node.seam
    mirrored = chart.is_mirrored[node.row]
    if mirrored.any():  # the region is to the right of the corners' order
        reversed_successor = np.empty_like(after)
        flag = np.empty_like(seam)
        reversed_successor[after], flag[after] = np.arange(len(after)), seam
        after = np.where(mirrored, reversed_successor, after)
        seam = np.where(mirrored, flag, seam)
    after = _split_at_poles(after, v)
    root, rank = trace_rings(after, node.twin)
    angle, length, bend, points = shifted.measure_edges(node.row, u, v, after, seam)
    angle = np.where(seam, 0.0, angle)
    length = np.where(seam, 0.0, length)
    low, high = (
        shifted.to_plane(
            owner, np.zeros(len(owner)), (runs.begin >> COORDINATE_BITS) % KEYS_PER_LINE + y[owner] + half
        )[1]
        for half in (-0.5, 0.5)
    )
    cells: Numbers = np.abs(high - low) * (runs.end - runs.begin) * 2.0 * np.pi / width
    area: Numbers = np.bincount(owner, cells, minlength=region_count).astype(np.float64)
    count = count_pieces(node.row, angle, length, bend, area)
    is_kept = np.bincount(root, count, minlength=len(root))[root] > 0  # not what goes round at a pole
    component = node.component
    order = np.flatnonzero(is_kept)
    order = order[np.lexsort((rank[order], root[order], component[order], node.row[order]))]
    new = np.append(True, root[order][1:] != root[order][:-1])[: len(order)]
    bounds = np.append(np.flatnonzero(new), len(order))
    at, share, offsets = divide_edges(count[order], bounds)
    lon, lat = shifted.locate_edge_points(node.row, u, v, after, seam, angle, points, order[at], share)
    lon = (lon + west[node.row[order[at]]]) % 360.0
    lon = np.where((lon >= 360.0) | (np.abs(lat) >= 90.0), 0.0, lon)  # a pole is one place
    head = order[new]  # a node of each ring
    part = np.append(True, component[head][1:] != component[head][:-1])[: len(head)]
    parts = np.append(np.flatnonzero(part), len(head))
    regions = Regions(
        lon, lat, offsets, parts, compute_offsets(np.bincount(node.row[head[part]], minlength=region_count))
    )
    pixels = runs.count_pixels(region_count)
    regions = _sort_shells_first(regions)
    bare = np.flatnonzero((np.diff(regions.rows) == 0) & (area > 2.0 * np.pi))
    if len(bare):  # all of the sphere
        regions = regions.replace_rows(bare, Regions.from_lists([[[]]]).take(np.zeros(len(bare), np.int64)))
    return OutlinedRegions(regions, pixels, np.zeros(region_count))


def _sort_shells_first(regions: Regions) -> Regions:
    """Put the ring with the least to its left first in each part."""
    area = regions.compute_ring_areas()
    vertex, rings = gather_rows(regions.rings, np.lexsort((area, compute_row_indexes(regions.parts))))
    return Regions(regions.lon[vertex], regions.lat[vertex], rings, regions.parts, regions.rows)


def _merge_runs(begin: Whole, end: Whole) -> PixelRuns:
    """Join runs that touch or overlap."""
    order = np.argsort(begin, kind="stable")
    begin = begin[order]
    end = np.maximum.accumulate(end[order])
    new = np.append(True, begin[1:] > end[:-1])[: len(begin)]
    last = np.append(np.flatnonzero(new)[1:] - 1, len(begin) - 1)[: int(new.sum())]
    return PixelRuns(begin[new], end[last])


def _wrap_runs(runs: PixelRuns, x: Whole, turn_pixels: Whole) -> PixelRuns:
    """Bring pixels to one turn of the map, from 0."""
    row = runs.begin >> 2 * COORDINATE_BITS
    line = runs.begin >> COORDINATE_BITS << COORDINATE_BITS
    size = np.minimum(runs.end - runs.begin, turn_pixels[row])
    first = (runs.begin - line + x[row]) % turn_pixels[row]
    overhang = np.maximum(first + size - turn_pixels[row], 0)
    overflows = overhang > 0
    begin = np.concatenate([line + first, line[overflows]])
    return _merge_runs(begin, np.concatenate([line + first + size - overhang, (line + overhang)[overflows]]))


def _label_components(runs: PixelRuns, turn_pixels: Whole) -> Whole:
    """Give the runs numbers by what hangs together, over the edges of the map, too."""
    begin = runs.begin
    end = runs.end
    low = np.searchsorted(end, begin + KEYS_PER_LINE, "right")
    size = np.maximum(np.searchsorted(begin, end + KEYS_PER_LINE, "left") - low, 0)
    a, number = compute_element_numbers(size)
    b = low[a] + number
    wide = turn_pixels[begin >> 2 * COORDINATE_BITS]
    left_edge_runs = np.flatnonzero(begin % KEYS_PER_LINE == 0)
    right_edge_runs = np.flatnonzero(end % KEYS_PER_LINE == wide)
    at = np.searchsorted(begin[left_edge_runs] >> COORDINATE_BITS, begin[right_edge_runs] >> COORDINATE_BITS)
    at = np.minimum(at, max(len(left_edge_runs) - 1, 0))
    if len(left_edge_runs):
        met = begin[left_edge_runs][at] >> COORDINATE_BITS == begin[right_edge_runs] >> COORDINATE_BITS
    else:
        met = np.zeros(len(right_edge_runs), np.bool_)
    a = np.concatenate([a, left_edge_runs[at][met]] if len(left_edge_runs) else [a])
    b = np.concatenate([b, right_edge_runs[met]] if len(left_edge_runs) else [b])
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


class _OutlineNodes:
    """Corners of outlines on cylinders, and pairs of nodes where they leave a map at one edge and come in at the other.

    `row`, `x` (from turn + 1 to 2 turn + 1), `y`, `after`, `twin` are as `OutlineCorners` has them, with the region to
    the left; `seam` flags edges of no length, from one edge of the map to the other; `component` is what each node's
    ring is an outline of.
    """

    def __init__(self, three: PixelRuns, runs: PixelRuns, turn: Whole) -> None:
        outline = trace_outlines(three)
        width = turn[outline.row]
        middle = np.flatnonzero((outline.x > width) & (outline.x <= 2 * width))
        row, x, y = (getattr(outline, name)[middle] for name in ("row", "x", "y"))
        width = turn[row]
        place = compute_keys(row, y, x)
        second = np.zeros(len(outline.row), np.int64)
        second[outline.twin + 1] = 1
        target = outline.after[middle]
        target_x = outline.x[target]
        keys = compute_keys(row, outline.y[target], (target_x - 1) % width + width + 1)
        after = np.searchsorted(place, keys) + second[target]
        # over the seam: to the one edge, and from the other on
        over_seam = np.flatnonzero((target_x <= width) | (target_x > 2 * width))
        right = target_x[over_seam] > 2 * width[over_seam]
        crossing_count = len(over_seam)
        exit_nodes, entry_nodes = (len(middle) + crossing_count * place + np.arange(crossing_count) for place in (0, 1))
        next_nodes = after[over_seam]
        after[over_seam] = exit_nodes
        edge = width[over_seam] + 1 + np.stack([right, ~right]) * width[over_seam]
        # lines that are an edge all round have no corners
        full = runs.begin[runs.end - runs.begin == turn[runs.begin >> 2 * COORDINATE_BITS]]
        line = np.unique(runs.begin >> COORDINATE_BITS)

        def find_bare_lines(step: int) -> Whole:
            next_line = (full >> COORDINATE_BITS) + step
            at = np.minimum(np.searchsorted(line, next_line), len(line) - 1)
            bare_lines: Whole = full[line[at] != next_line] >> COORDINATE_BITS
            return bare_lines

        bare_below = find_bare_lines(-1)
        bare_above = find_bare_lines(1)
        round_ = np.concatenate([bare_below, bare_above])
        round_row = round_ >> COORDINATE_BITS
        round_y = round_ % KEYS_PER_LINE + np.repeat([0, 1], [len(bare_below), len(bare_above)])
        east = np.repeat([True, False], [len(bare_below), len(bare_above)])
        base = len(middle) + 2 * crossing_count
        size = len(round_)
        wide = turn[round_row]
        number = base + np.arange(3 * size).reshape(3, size)
        spots = wide + 1 + np.stack([0 * wide, wide // 2, wide])
        spots = np.where(east, spots, spots[::-1])
        self.row = np.concatenate([row, row[over_seam], row[over_seam], *[round_row] * 3])
        self.x = np.concatenate([x, *edge, *spots])
        self.y = np.concatenate([y, y[over_seam], y[over_seam], *[round_y] * 3])
        self.after = np.concatenate([after, entry_nodes, next_nodes, number[1], number[2], number[0]])
        flag = np.zeros(len(self.row), np.bool_)
        flag[len(middle) : len(middle) + crossing_count] = True
        flag[base + 2 * size :] = True
        self.seam = flag
        self.twin = np.flatnonzero(place[1:] == place[:-1])
        self.component = self._label_nodes(runs, turn)

    def _label_nodes(self, runs: PixelRuns, turn_pixels: Whole) -> Whole:
        """Find what the ring of each node is an outline of: by the pixel to the left of an edge along x."""
        label = _label_components(runs, turn_pixels)
        to = self.after
        along = np.flatnonzero((self.x[to] != self.x) & ~self.seam)
        east = self.x[to[along]] > self.x[along]
        row = self.row[along]
        left_pixel = np.minimum(self.x[along], self.x[to[along]]) - turn_pixels[row] - 1
        key = compute_keys(row, self.y[along] - ~east, left_pixel)
        node_labels = np.full(len(self.row), -1)
        node_labels[along] = label[np.searchsorted(runs.begin, key, "right") - 1]
        root, _ = trace_rings(self.after.copy())
        ring_labels: Whole = np.full(len(self.row), -1)
        np.maximum.at(ring_labels, root, node_labels)
        of_ring: Whole = ring_labels[root]
        return of_ring


def _split_at_poles(successor: Whole, v: Numbers) -> Whole:
    """Part rings that come to a pole more than once, which is one place."""
    pole = np.abs(v) >= 1.0
    if not pole.any():
        return successor
    enters = np.flatnonzero(~pole & pole[successor])
    leaves = np.flatnonzero(pole & ~pole[successor])
    if len(leaves) < 2:
        return successor
    root, rank = trace_rings(successor.copy())
    successor = successor.copy()
    side = np.sign(v)
    last = np.lexsort((rank[leaves], side[leaves], root[leaves]))
    leaves = leaves[last]
    group = root[leaves] * 3 + side[leaves].astype(np.int64)
    first = np.append(True, group[1:] != group[:-1])
    size = np.diff(np.append(np.flatnonzero(first), len(group)))
    # each comes back where the next visit begins
    entry = successor[enters]
    order = np.lexsort((rank[entry], side[entry], root[entry]))
    entry = entry[order]
    start = np.repeat(np.flatnonzero(first), size)
    number = np.arange(len(group)) - start
    # by rank, entries and leaves of a ring take turns; a visit that the root lies in begins with the ring's last entry
    wraps = rank[entry][start] > rank[leaves][start]
    entry_order = start + (number + np.where(wraps, 0, 1)) % np.repeat(size, size)
    idle = pole & np.isin(root, root[leaves])
    idle[enters], idle[entry], idle[leaves] = False, False, False
    successor[idle] = np.flatnonzero(idle)  # what lies between the two is at one place
    successor[entry[entry_order]] = leaves
    return successor

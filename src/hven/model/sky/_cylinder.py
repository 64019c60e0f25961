"""Seam: pixels of maps that go all round a body -> regions that cross the maps' edges, go round poles, or hold them.

A map is a cylinder here. Its pixels are laid out three times side by side; what the outlines do in the middle is what they do everywhere,
and where one leaves it, it goes on at the other edge.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._disc import taken
from hven.model.sky._lattice import corners, rings
from hven.model.sky._outlines import Outlined, outlined, pieces, repeated
from hven.model.sky._pixels import BITS, LINE, Runs, keys
from hven.model.sky._ragged import ends, gathered, numbered, owners
from hven.model.sky._regions import Regions

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky._chart import Chart

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

FITS = 0.05
"""Pixels by which a whole turn may differ from a whole number of them."""


def turns(chart: Chart) -> Whole:
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
    good = (np.abs(exact - count) <= FITS) & (count >= 3) & (3 * count < LINE - 2)
    return np.where(good, count, 0).astype(np.int64)


def closed(row: Whole, x: Whole, y: Whole, chart: Chart) -> tuple[Whole, Whole, Whole]:
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
    turn = turns(chart)
    times = np.where(turn > 0, np.rint((x[last] - x[first]) / np.maximum(turn, 1)), 0.0).astype(np.int64)
    times[np.maximum(np.abs(x[last] - x[first] - times * turn), np.abs(y[last] - y[first])) > 1] = 0  # open
    if not times.any():
        return row, x, y
    found = [(row[a : b + 1], x[a : b + 1], y[a : b + 1]) for a, b in zip(first, last, strict=True)]
    for one in np.flatnonzero(times):  # few
        own, along, up = found[one]
        _, v = chart.flat(np.full(len(along), one), along, up)
        shift = times[one] * turn[one]
        mean = np.sum(np.diff(along, append=along[0] + shift) * v) / shift  # the height that it goes round at
        pole = 90.0 if mean > 0.0 else -90.0
        if chart.equal:
            off = (np.sin(np.radians(pole)) - np.sin(np.radians(chart.lat[one]))) / chart.step_y[one]
        else:
            off = (pole - chart.lat[one]) / chart.step_y[one]
        end = int(np.floor(chart.y[one] + off + 1e-6)) if off > 0.0 else int(np.ceil(chart.y[one] + off - 1e-6))
        # from where it is nearest to the pole, lest the way there leads through it
        begin = int(np.argmax(up)) if off > 0.0 else int(np.argmin(up))
        along = np.concatenate([along[begin:], along[:begin] + shift])
        up = np.concatenate([up[begin:], up[:begin]])
        way = np.arange(up[0], end, 1 if end > up[0] else -1)
        there = np.arange(along[0] + shift, along[0], -np.sign(shift))
        along = np.concatenate([along, np.full(len(way), along[0] + shift), there, np.full(len(way) + 1, along[0])])
        up = np.concatenate([up, way, np.full(len(there), end), [end], way[::-1]])
        found[one] = (np.full(len(along), own[0]), along, up)
    made = tuple(np.concatenate([walk[axis] for walk in found]) for axis in range(3))
    return made[0], made[1], made[2]


def unrolled(offsets: Whole, x: Whole, move: Whole, chart: Chart) -> tuple[Whole, Whole]:
    """Follow contours over the edges of maps: those whose pixels are all neighbours there.

    Parameters
    ----------
    offsets
        Where the contours begin, and the end, shape (n + 1,).
    x, move
        Pixels, shape (m,), and the way to the next one, shape (2, m).
    chart
        Their maps, shape (n,).

    Returns
    -------
    move, x
        Along x, shape (m,): with steps over the edge, and counted on beyond it.
    """
    row = owners(offsets)
    turn = turns(chart)[row]
    over = np.where(turn > 0, np.rint(move[0] / np.maximum(turn, 1)), 0.0).astype(np.int64)
    far = (np.abs(move[0] - over * turn) > 1) | (np.abs(move[1]) > 1)
    over[np.bincount(row, far, minlength=len(offsets) - 1)[row] > 0] = 0
    if not over.any():
        return move[0], x
    gone = ends(over)[:-1]
    gone -= gone[np.minimum(offsets[:-1], max(len(x) - 1, 0))][row]
    return move[0] - over * turn, x - gone * turn


def mapped(runs: Runs, rows: int, chart: Chart, x: Whole, y: Whole, around: Flags) -> Outlined:
    """Bring sets of pixels of maps onto the sphere.

    Parameters
    ----------
    runs
        The pixels.
    rows
        How many regions there are.
    chart
        Their maps, shape (rows,).
    x, y
        The pixels that (0, 0) of the runs' keys stands for, shape (rows,).
    around
        Which go all round their maps, shape (rows,); of these, what a map shows twice counts once.

    Returns
    -------
    outlined
        Regions, and how many pixels each has.
    """
    wide, rest = np.flatnonzero(around), np.flatnonzero(~around)
    found, index = [], np.cumsum(around) - 1
    if len(rest):
        own = np.arange(rows) - index - 1
        found.append(outlined(runs.of(~around, own), len(rest), taken(chart, rest), x[rest], y[rest]))
    if len(wide):
        found.append(_outlined(runs.of(around, index), len(wide), taken(chart, wide), x[wide], y[wide]))
    place = np.argsort(np.concatenate([rest, wide]), kind="stable")
    return Outlined(
        Regions.concat([each.regions for each in found]).take(place),
        np.concatenate([each.pixels for each in found])[place],
        np.zeros(rows),
    )


def _outlined(runs: Runs, rows: int, chart: Chart, x: Whole, y: Whole) -> Outlined:
    """Bring sets of pixels onto the sphere that go all round."""
    turn = turns(chart)
    chart = replace(chart, step_x=np.copysign(360.0 / turn, chart.step_x))
    runs = _folded(runs, x, turn)
    owner = runs.begin >> 2 * BITS
    width = turn[owner]
    three = _merged(*(np.concatenate([key + 1 + copy * width for copy in range(3)]) for key in (runs.begin, runs.end)))
    node = _Nodes(three, runs, turn)
    # u is 0 at the left edge of the map
    shifted = replace(chart, x=np.zeros(rows), lon=np.zeros(rows))
    u, v = shifted.flat(node.row, (node.x - turn[node.row] - 1).astype(np.float64), node.y + y[node.row] - 0.5)
    west = chart.lon + (-0.5 - chart.x) * chart.step_x  # degrees at the left edge
    after, seam = node.after, node.seam
    mirrored = chart.mirrored[node.row]
    if mirrored.any():  # the region is to the right of the corners' order
        back, flag = np.empty_like(after), np.empty_like(seam)
        back[after], flag[after] = np.arange(len(after)), seam
        after, seam = np.where(mirrored, back, after), np.where(mirrored, flag, seam)
    after = _parted(after, v)
    root, rank = rings(after, node.twin)
    angle, length, bend, points = shifted.measure(node.row, u, v, after, seam)
    angle, length = np.where(seam, 0.0, angle), np.where(seam, 0.0, length)
    low, high = (
        shifted.flat(owner, np.zeros(len(owner)), (runs.begin >> BITS) % LINE + y[owner] + half)[1]
        for half in (-0.5, 0.5)
    )
    cells: Numbers = np.abs(high - low) * (runs.end - runs.begin) * 2.0 * np.pi / width
    area: Numbers = np.bincount(owner, cells, minlength=rows).astype(np.float64)
    count = pieces(node.row, angle, length, bend, area)
    kept = np.bincount(root, count, minlength=len(root))[root] > 0  # not what goes round at a pole
    component = node.component
    order = np.flatnonzero(kept)
    order = order[np.lexsort((rank[order], root[order], component[order], node.row[order]))]
    new = np.append(True, root[order][1:] != root[order][:-1])[: len(order)]
    bounds = np.append(np.flatnonzero(new), len(order))
    at, share, offsets = repeated(count[order], bounds)
    lon, lat = shifted.places(node.row, u, v, after, seam, angle, points, order[at], share)
    lon = (lon + west[node.row[order[at]]]) % 360.0
    lon = np.where((lon >= 360.0) | (np.abs(lat) >= 90.0), 0.0, lon)  # a pole is one place
    head = order[new]  # a node of each ring
    part = np.append(True, component[head][1:] != component[head][:-1])[: len(head)]
    parts = np.append(np.flatnonzero(part), len(head))
    regions = Regions(lon, lat, offsets, parts, ends(np.bincount(node.row[head[part]], minlength=rows)))
    pixels = runs.pixels(rows)
    regions = _shells_first(regions)
    bare = np.flatnonzero((np.diff(regions.rows) == 0) & (area > 2.0 * np.pi))
    if len(bare):  # all of the sphere
        regions = regions.replaced(bare, Regions.of([[[]]]).take(np.zeros(len(bare), np.int64)))
    return Outlined(regions, pixels, np.zeros(rows))


def _shells_first(regions: Regions) -> Regions:
    """Put the ring with the least to its left first in each part."""
    area = regions.ring_areas()
    vertex, rings = gathered(regions.rings, np.lexsort((area, owners(regions.parts))))
    return Regions(regions.lon[vertex], regions.lat[vertex], rings, regions.parts, regions.rows)


def _merged(begin: Whole, end: Whole) -> Runs:
    """Join runs that touch or overlap."""
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], np.maximum.accumulate(end[order])
    new = np.append(True, begin[1:] > end[:-1])[: len(begin)]
    last = np.append(np.flatnonzero(new)[1:] - 1, len(begin) - 1)[: int(new.sum())]
    return Runs(begin[new], end[last])


def _folded(runs: Runs, x: Whole, turn: Whole) -> Runs:
    """Bring pixels to one turn of the map, from 0."""
    row, line = runs.begin >> 2 * BITS, runs.begin >> BITS << BITS
    size = np.minimum(runs.end - runs.begin, turn[row])
    first = (runs.begin - line + x[row]) % turn[row]
    over = np.maximum(first + size - turn[row], 0)
    more = over > 0
    begin = np.concatenate([line + first, line[more]])
    return _merged(begin, np.concatenate([line + first + size - over, (line + over)[more]]))


def _components(runs: Runs, turn: Whole) -> Whole:
    """Give the runs numbers by what hangs together, over the edges of the map, too."""
    begin, end = runs.begin, runs.end
    low = np.searchsorted(end, begin + LINE, "right")
    size = np.maximum(np.searchsorted(begin, end + LINE, "left") - low, 0)
    a, number = numbered(size)
    b = low[a] + number
    wide = turn[begin >> 2 * BITS]
    left, right = np.flatnonzero(begin % LINE == 0), np.flatnonzero(end % LINE == wide)
    at = np.searchsorted(begin[left] >> BITS, begin[right] >> BITS)
    at = np.minimum(at, max(len(left) - 1, 0))
    met = (begin[left][at] >> BITS == begin[right] >> BITS) if len(left) else np.zeros(len(right), np.bool_)
    a, b = (
        np.concatenate([a, left[at][met]] if len(left) else [a]),
        np.concatenate([b, right[met]] if len(left) else [b]),
    )
    label = np.arange(len(begin))
    while True:
        least = label.copy()
        np.minimum.at(least, label[a], label[b])
        np.minimum.at(least, label[b], label[a])
        while not np.array_equal(least[least], least):
            least = least[least]
        again = least[label]
        if np.array_equal(again, label):
            return label
        label = again


class _Nodes:
    """Corners of outlines on cylinders, and pairs of nodes where they leave a map at one edge and come in at the other.

    `row`, `x` (from turn + 1 to 2 turn + 1), `y`, `after`, `twin` are as `Corners` has them, with the region to the left; `seam` flags edges of no
    length, from one edge of the map to the other; `component` is what each node's ring is an outline of.
    """

    def __init__(self, three: Runs, runs: Runs, turn: Whole) -> None:
        found = corners(three)
        width = turn[found.row]
        middle = np.flatnonzero((found.x > width) & (found.x <= 2 * width))
        row, x, y = (getattr(found, name)[middle] for name in ("row", "x", "y"))
        width = turn[row]
        place = keys(row, y, x)
        second = np.zeros(len(found.row), np.int64)
        second[found.twin + 1] = 1
        target = found.after[middle]
        far = found.x[target]
        after = np.searchsorted(place, keys(row, found.y[target], (far - 1) % width + width + 1)) + second[target]
        # over the seam: to the one edge, and from the other on
        over = np.flatnonzero((far <= width) | (far > 2 * width))
        right, many = far[over] > 2 * width[over], len(over)
        here, there = (len(middle) + many * place + np.arange(many) for place in (0, 1))
        ahead = after[over]
        after[over] = here
        edge = width[over] + 1 + np.stack([right, ~right]) * width[over]
        # lines that are an edge all round have no corners
        full = runs.begin[runs.end - runs.begin == turn[runs.begin >> 2 * BITS]]
        line = np.unique(runs.begin >> BITS)

        def bare(step: int) -> Whole:
            next_line = (full >> BITS) + step
            at = np.minimum(np.searchsorted(line, next_line), len(line) - 1)
            found: Whole = full[line[at] != next_line] >> BITS
            return found

        below, above = bare(-1), bare(1)
        round_ = np.concatenate([below, above])
        round_row, round_y = round_ >> BITS, round_ % LINE + np.repeat([0, 1], [len(below), len(above)])
        east = np.repeat([True, False], [len(below), len(above)])
        base = len(middle) + 2 * many
        size, wide = len(round_), turn[round_row]
        number = base + np.arange(3 * size).reshape(3, size)
        spots = wide + 1 + np.stack([0 * wide, wide // 2, wide])
        spots = np.where(east, spots, spots[::-1])
        self.row = np.concatenate([row, row[over], row[over], *[round_row] * 3])
        self.x = np.concatenate([x, *edge, *spots])
        self.y = np.concatenate([y, y[over], y[over], *[round_y] * 3])
        self.after = np.concatenate([after, there, ahead, number[1], number[2], number[0]])
        flag = np.zeros(len(self.row), np.bool_)
        flag[len(middle) : len(middle) + many] = True
        flag[base + 2 * size :] = True
        self.seam = flag
        self.twin = np.flatnonzero(place[1:] == place[:-1])
        self.component = self._within(runs, turn)

    def _within(self, runs: Runs, turn: Whole) -> Whole:
        """Find what the ring of each node is an outline of: by the pixel to the left of an edge along x."""
        label = _components(runs, turn)
        to = self.after
        along = np.flatnonzero((self.x[to] != self.x) & ~self.seam)
        east = self.x[to[along]] > self.x[along]
        row = self.row[along]
        left = np.minimum(self.x[along], self.x[to[along]]) - turn[row] - 1
        key = keys(row, self.y[along] - ~east, left)
        found = np.full(len(self.row), -1)
        found[along] = label[np.searchsorted(runs.begin, key, "right") - 1]
        root, _ = rings(self.after.copy())
        whole: Whole = np.full(len(self.row), -1)
        np.maximum.at(whole, root, found)
        of_ring: Whole = whole[root]
        return of_ring


def _parted(after: Whole, v: Numbers) -> Whole:
    """Part rings that come to a pole more than once, which is one place."""
    pole = np.abs(v) >= 1.0
    if not pole.any():
        return after
    enters = np.flatnonzero(~pole & pole[after])
    leaves = np.flatnonzero(pole & ~pole[after])
    if len(leaves) < 2:
        return after
    root, rank = rings(after.copy())
    after = after.copy()
    side = np.sign(v)
    last = np.lexsort((rank[leaves], side[leaves], root[leaves]))
    leaves = leaves[last]
    group = root[leaves] * 3 + side[leaves].astype(np.int64)
    first = np.append(True, group[1:] != group[:-1])
    size = np.diff(np.append(np.flatnonzero(first), len(group)))
    # each comes back where the next visit begins
    entry = after[enters]
    order = np.lexsort((rank[entry], side[entry], root[entry]))
    entry = entry[order]
    start = np.repeat(np.flatnonzero(first), size)
    number = np.arange(len(group)) - start
    # by rank, entries and leaves of a ring take turns; a visit that the root lies in begins with the ring's last entry
    wraps = rank[entry][start] > rank[leaves][start]
    ahead = start + (number + np.where(wraps, 0, 1)) % np.repeat(size, size)
    idle = pole & np.isin(root, root[leaves])
    idle[enters], idle[entry], idle[leaves] = False, False, False
    after[idle] = np.flatnonzero(idle)  # what lies between the two is at one place
    after[entry[ahead]] = leaves
    return after

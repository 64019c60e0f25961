"""Outlines: sets of pixels of images -> regions on the sphere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._disc import NEAR, Disc, swept
from hven.model.sky._lattice import Corners, corners, rings
from hven.model.sky._limb import Cut, clip
from hven.model.sky._pixels import LINE, Runs, keys
from hven.model.sky._ragged import ends, numbered
from hven.model.sky._regions import Regions

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky._chart import Chart

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

ACCURACY = 3e-4
"""Share of a region's area by which great circles between its vertices may miss the edges of its pixels."""
TINY = 1e-13
"""Radians; edges that are shorter are none."""
BEND = 0.5
"""Radians of a small circle that one edge may stand for at most."""


@dataclass(frozen=True, slots=True)
class Outlined:
    """What contours became.

    Attributes
    ----------
    regions
        One for each row; a row with a fault is empty.
    pixels
        How many pixels each has, shape (n,).
    clipped
        Share of its pixels' area that lies beyond the limb, 0 to 1.
    """

    regions: Regions
    pixels: Whole
    clipped: Numbers


def outlined(runs: Runs, rows: int, grid: Disc | Chart, x: Whole, y: Whole) -> Outlined:
    """Bring sets of pixels onto the sphere.

    Parameters
    ----------
    runs
        The pixels.
    rows
        How many regions there are.
    grid
        Their images.
    x, y
        The pixels that (0, 0) of the runs' keys stands for, shape (rows,).

    Returns
    -------
    outlined
        Regions, and what they lost.
    """
    turns = corners(runs)
    row, after, twin = turns.row, turns.after.copy(), turns.twin
    turned = grid.mirrored[row]
    if turned.any():  # the region is to the right of the corners' order
        after[turns.after] = np.arange(len(row))
        after = np.where(turned, after, turns.after)
        turns = replace(turns, after=after.copy(), level=turns.level ^ turned)
    u, v = grid.flat(row, turns.x + x[row] - 0.5, turns.y + y[row] - 0.5)
    limb, cut = np.zeros(len(row), dtype=np.bool_), None
    level: Flags | None = turns.level
    if isinstance(grid, Disc) and (u * u + v * v).max() > NEAR:
        level, full = None, _on_limb(runs, rows, grid, x, y)
        cut = clip(row, u, v, after, full, rows)
        row, u, v, after, limb = cut.row, cut.u, cut.v, cut.after, cut.limb
        index = np.full(len(turns.row), -1)
        index[cut.old[cut.old >= 0]] = np.flatnonzero(cut.old >= 0)
        twin = index[twin[index[twin] >= 0]]
    root, rank = rings(after, twin, level)
    cross = u * v[after] - v * u[after]
    if limb.any():
        arc = swept(u, v, after)
        cross = np.where(limb, arc, cross)  # twice the sector
    area = np.bincount(root, weights=cross, minlength=len(row)) / 2.0
    ring = np.flatnonzero(root == np.arange(len(root)))
    total = _summed(row, cross, rows) / 2.0
    angle, length, bend, points = grid.measure(row, u, v, after, limb)
    count = pieces(row, angle, length, bend, total)
    hole = area[ring] < 0.0
    part = _parts(runs, turns, row, root, ring, hole, cut, x, y, grid, rows)
    # rings in their order, nodes in theirs, and the points of their edges
    sequence = np.lexsort((ring, hole, part, row[ring]))
    place = np.empty(len(sequence), dtype=np.int64)
    place[sequence] = np.arange(len(sequence))
    size = np.bincount(root, minlength=len(row))[ring]
    begin = np.zeros(len(ring), dtype=np.int64)
    begin[sequence] = np.cumsum(size[sequence]) - size[sequence]
    number = np.cumsum(root == np.arange(len(root))) - 1
    nodes = np.empty(len(root), dtype=np.int64)
    nodes[begin[number[root]] + rank] = np.arange(len(root))
    at, share, offsets = repeated(count[nodes], np.append(begin[sequence], len(nodes)))
    lon, lat = grid.places(row, u, v, after, limb, angle, points, nodes[at], share)
    first = np.flatnonzero(~hole[sequence])
    held = np.bincount(row[ring[sequence[first]]], minlength=rows)
    regions = Regions(lon, lat, offsets, np.append(first, len(ring)), np.append(0, np.cumsum(held)))
    pixels = runs.pixels(rows)
    beyond = np.zeros(rows)
    if isinstance(grid, Disc) and cut is not None:
        beyond = np.where(cut.cut, 1.0 - total / np.maximum(pixels * grid.cell(np.arange(rows)), 1e-300), 0.0)
    return Outlined(regions, pixels, np.clip(beyond, 0.0, 1.0))


def pieces(row: Whole, angle: Numbers, length: Numbers, bend: Numbers, area: Numbers) -> Whole:
    """Tell into how many great circles each edge is cut.

    Parameters
    ----------
    row, angle, length, bend
        Edges as `Disc.measure` gives them, shape (n,).
    area
        Of each row's region at least, steradian; shape (rows,).

    Returns
    -------
    pieces
        So many that together they miss `ACCURACY` of the area, shape (n,); 0: a side along a pole has no length.
    """
    around = _summed(row, length, len(area))
    fine = np.sqrt(around / np.maximum(12.0 * ACCURACY * area, 1e-30))[row]
    count = np.maximum(np.maximum(angle / BEND, length * np.sqrt(bend) * fine), 1.0)
    return np.where(length > TINY, np.ceil(count), 0.0).astype(np.int64)


def _summed(row: Whole, values: Numbers, rows: int) -> Numbers:
    """Sum what each row has; where rows ascend, in a tenth of the time of `bincount`."""
    if not len(row) or (row[1:] < row[:-1]).any():
        return np.bincount(row, weights=values, minlength=rows).astype(np.float64)
    first = np.flatnonzero(np.append(True, row[1:] != row[:-1]))
    found = np.zeros(rows)
    found[row[first]] = np.add.reduceat(values, first)
    return found


def repeated(count: Whole, offsets: Whole) -> tuple[Whole, Numbers, Whole]:
    """Cut edges into pieces.

    Parameters
    ----------
    count
        Pieces of each, in the order of their rings, shape (n,).
    offsets
        Where the rings begin, and the end, shape (r + 1,).

    Returns
    -------
    at, share, offsets
        Of each piece its edge and how much of it lies before, 0 to 1, shape (m,); where the rings begin among the pieces, shape (r + 1,).
    """
    if (count == 1).all():
        return np.arange(len(count)), np.zeros(len(count)), offsets
    at, number = numbered(count)
    return at, number / count[at], ends(count)[offsets]


def _on_limb(runs: Runs, rows: int, disc: Disc, x: Whole, y: Whole) -> Whole:
    """Find the regions that hold the rightmost point of the limb."""
    row = np.arange(rows)
    at = disc.pixel(row, np.ones(rows), np.zeros(rows))
    a, b = (np.floor(c + 0.5).astype(np.int64) - o for c, o in zip(at, (x, y), strict=True))
    there = (a >= 0) & (b >= 0) & (a < LINE) & (b < LINE)
    return row[there][runs.holds(keys(row[there], b[there], a[there]))]


def _parts(
    runs: Runs, turns: Corners, row: Whole, root: Whole, ring: Whole, hole: Flags,
    cut: Cut | None, x: Whole, y: Whole, grid: Disc | Chart, rows: int,
) -> Whole:  # fmt: skip
    """Return the number of the part that each ring belongs to: its shell's ring, which of a hole is found to its left."""
    part = np.arange(len(ring))
    if not hole.any():
        return part
    single = np.bincount(row[ring[~hole]], minlength=rows)[row[ring]] == 1
    shell = np.zeros(rows, dtype=np.int64)
    shell[row[ring[~hole]]] = part[~hole]
    part = np.where(hole & single, shell[row[ring]], part)
    lost = np.flatnonzero(hole & ~single)
    if not len(lost):
        return part
    # the run that ends at the hole's lowest and leftmost corner begins at another ring of the same part
    corner = ring[lost] if cut is None else cut.old[ring[lost]]
    where, line, end = turns.row[corner], turns.y[corner], turns.x[corner]
    start = runs.begin[np.searchsorted(runs.end, keys(where, line, end))] & (LINE - 1)
    node = turns.beside(where, start, line)
    node = turns.after[node] if cut is None else cut.ahead[node]
    if cut is not None:
        height = (line + y[where]).astype(np.float64)
        a, b = grid.flat(where, start + x[where] - 0.5, height)
        off = np.flatnonzero(a * a + b * b >= 1.0)
        node[off] = cut.arc(
            where[off], a[off], b[off], *grid.flat(where[off], (end + x[where] - 0.5)[off], height[off])
        )
    number = np.full(len(root), -1)
    number[ring] = np.arange(len(ring))
    part[lost] = number[root[node]]
    while True:
        further = part[part]
        if np.array_equal(further, part):
            return part
        part = further

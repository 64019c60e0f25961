"""Lattice: the exact outlines of sets of pixels, for many regions at once.

A pixel (x, y) is the square between the corners (x, y) and (x + 1, y + 1); y goes up. A region is the union of its squares. Where two
squares touch at a corner alone they are separate, so that each ring passes a corner once: parts and holes may touch at
corners, and no ring touches itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._pixels import BITS, LINE, Runs, keys

if TYPE_CHECKING:
    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_HALF = 32  # bits


@dataclass(frozen=True, slots=True)
class Corners:
    """Corners of outlines; each is followed by the next one, with the region to the left.

    Attributes
    ----------
    row, x, y
        Region and place, shape (n,).
    after
        Index of the next corner; edges along x and along y take turns.
    twin
        Indexes at which `twin` and `twin + 1` are at one place: two squares touch there, each with its own.
    level
        Whether the edge of each runs along x.
    """

    row: Whole
    x: Whole
    y: Whole
    after: Whole
    twin: Whole
    level: Flags
    columns: Whole  # keys by region, x, y ..
    order: Whole  # .. and the corners in their order: each two are the ends of an edge along y

    def beside(self, row: Whole, x: Whole, y: Whole) -> Whole:
        """Find edges along y.

        Parameters
        ----------
        row, x, y
            Region and place of the lower end of a side of a pixel that belongs to an outline.

        Returns
        -------
        corner
            Index of the corner at which the edge with that side begins.
        """
        lower = np.searchsorted(self.columns, keys(row, x, y) << 1 | 1, "right") - 1
        ends = self.order[lower], self.order[lower ^ 1]
        return np.where(self.after[ends[0]] == ends[1], *ends)


def corners(runs: Runs) -> Corners:
    """Outline sets of pixels.

    Parameters
    ----------
    runs
        Of at least one pixel each.

    Returns
    -------
    corners
        Where the outlines turn.
    """
    begin, end = runs.begin << 2, runs.end << 2
    up = LINE << 2
    # ends of the runs below each horizontal line (0 begins, 1 ends) and above it (2, 3); what is in both is no corner
    found = np.sort(np.concatenate([begin | 2, end | 3, begin + up, (end + up) | 1]))
    keep = np.ones(len(found), dtype=np.bool_)
    straight = np.flatnonzero((found[1:] ^ found[:-1]) == 2)
    keep[straight] = keep[straight + 1] = False
    found = found[keep]
    place, tag = found >> 2, found & 3
    row, y, x = place >> 2 * BITS, place >> BITS & (LINE - 1), place & (LINE - 1)
    # corners of one horizontal line are the ends of its edges in turn; those of one vertical line as well
    starts = 1 - (tag & 1)
    column = keys(row, x, y) << 1 | starts
    order = np.argsort(column)
    above = np.empty_like(order)
    above[order] = order.reshape(-1, 2)[:, ::-1].ravel()
    number = np.arange(len(place))
    left = tag.reshape(-1, 2)[:, 0]
    rightward = np.repeat((left == 1) | (left == 2), 2)  # only the upper row is there: the edge is its lower one
    leaves = rightward ^ (number & 1).astype(np.bool_)
    after = np.where(leaves, number ^ 1, above)
    return Corners(row, x, y, after, np.flatnonzero(place[1:] == place[:-1]), leaves, column[order], order)


def rings(after: Whole, twin: Whole | None = None, level: Flags | None = None) -> tuple[Whole, Whole]:
    """Follow outlines round.

    Parameters
    ----------
    after
        Index of the next node, a permutation, shape (n,). Changed where a ring would come to one place twice: it is cut into two there.
    twin, level
        As in `Corners`. Edges along x and along y take turns where `level` is given: then each two are followed as one.

    Returns
    -------
    root
        The least index of each node's ring, shape (n,).
    rank
        How many steps it is from there, shape (n,).
    """
    root, rank = _round(after, level)
    if twin is not None and len(twin):
        touch = twin[root[twin] == root[twin + 1]]
        if len(touch):
            after[touch], after[touch + 1] = after[touch + 1], after[touch]
            changed = np.zeros(len(after), dtype=np.bool_)
            changed[root[touch]] = True
            some = np.flatnonzero(changed[root])
            index = np.empty(len(after), dtype=np.int64)
            index[some] = np.arange(len(some))
            least, rank[some] = _round(index[after[some]], None if level is None else level[some])
            root[some] = some[least]
    return root, rank


def _round(after: Whole, level: Flags | None) -> tuple[Whole, Whole]:
    """Find the least index of each ring, and how many steps behind it each node is, by steps of 1, 2, 4 .."""
    count = len(after)
    if level is None:
        first = second = np.arange(count)
        ahead = after
    else:
        first = np.flatnonzero(level)
        second = after[first]
        place = np.empty(count, dtype=np.int64)
        place[first] = np.arange(len(first))
        ahead = place[after[second]]
    least = np.minimum(first, second)
    found, step = least << _HALF, 1  # the least index in so many steps, and after how many it comes
    while True:
        better = np.minimum(found, found[ahead] + step)
        if np.array_equal(better, found):
            break
        found, ahead, step = better, ahead[ahead], 2 * step
    root, far = found >> _HALF, found & ((1 << _HALF) - 1)
    size = np.bincount(root, minlength=count)[root]
    number = np.where(far == 0, 0, size - far)
    if level is None:
        return root, number
    late = np.zeros(count, dtype=np.int64)  # whether the least is the second of its two
    late[root[far == 0]] = (least == second)[far == 0]
    roots, ranks = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    roots[first] = roots[second] = root
    number = 2 * number - late[root]
    ranks[first], ranks[second] = np.where(number < 0, 2 * size - 1, number), number + 1
    return roots, ranks

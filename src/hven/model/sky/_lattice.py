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
    """

    row: Whole
    x: Whole
    y: Whole
    after: Whole
    twin: Whole
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
    place, tag = found >> 2, found & 3
    same = place[1:] == place[:-1]
    drop = np.zeros(len(found), dtype=np.bool_)
    straight = np.flatnonzero(same & ((tag[1:] - tag[:-1]) == 2))
    drop[straight] = drop[straight + 1] = True
    place, tag = place[~drop], tag[~drop]
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
    return Corners(row, x, y, after, np.flatnonzero(place[1:] == place[:-1]), column[order], order)


def rings(after: Whole, twin: Whole | None = None) -> tuple[Whole, Whole]:
    """Follow outlines round.

    Parameters
    ----------
    after
        Index of the next node, a permutation, shape (n,). Changed where a ring would come to one place twice: it is cut into two there.
    twin
        As in `Corners`.

    Returns
    -------
    root
        The least index of each node's ring, shape (n,).
    rank
        How many steps it is from there, shape (n,).
    """
    root = _roots(after)
    if twin is not None and len(twin):
        touch = twin[root[twin] == root[twin + 1]]
        if len(touch):
            after[touch], after[touch + 1] = after[touch + 1], after[touch]
            root = _roots(after)
    number = np.arange(len(after))
    ahead = np.where(root == number, number, after)
    steps = (root != number).astype(np.int64)  # to the root
    while True:
        more = steps[ahead]
        if not more.any():
            break
        steps += more
        ahead = ahead[ahead]
    size = np.bincount(root, minlength=len(after))[root]
    return root, (size - steps) % size


def _roots(after: Whole) -> Whole:
    root = np.minimum(np.arange(len(after)), after)
    ahead = after[after]
    while True:
        least = np.minimum(root, root[ahead])
        if np.array_equal(least, root):
            return root
        root, ahead = least, ahead[ahead]

"""Trace the exact outlines of sets of pixels, for many regions at once.

A pixel (x, y) is the square between the corners (x, y) and (x + 1, y + 1); y goes up. A region is the union of its
squares. Squares that touch only at a corner are separate, so that each ring passes a corner once: parts and holes may
touch at corners, and no ring touches itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.plugins.image_regions.pixel_runs import COORDINATE_BITS, KEYS_PER_LINE, PixelRuns, compute_pixel_keys

if TYPE_CHECKING:
    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class OutlineCorners:
    """Hold the corners of outlines, each followed by the next corner, with the region to the left.

    Attributes
    ----------
    row, x, y
        Region and position, shape (n,).
    after
        Index of the next corner; edges along x and along y alternate.
    twin
        Indexes i of which i and i + 1 are at the same position: two squares touch there, and each has its own corner.
    level
        Whether the edge from each corner runs along x.
    """

    row: Whole
    x: Whole
    y: Whole
    after: Whole
    twin: Whole
    level: Flags
    vertical_keys: Whole  # keys by region, x, y ..
    vertical_order: Whole  # .. and the corners in their order: each two are the ends of an edge along y

    def find_edge_starts(self, row: Whole, x: Whole, y: Whole) -> Whole:
        """Find the edges along y with given sides of pixels.

        Parameters
        ----------
        row, x, y
            Region and position of the lower end of a side of a pixel on an outline.

        Returns
        -------
        corner
            Index of the corner at which the edge with that side begins.
        """
        keys = compute_pixel_keys(row, x, y)
        lower = np.searchsorted(self.vertical_keys, keys << 1 | 1, "right") - 1
        first = self.vertical_order[lower]
        second = self.vertical_order[lower ^ 1]
        return np.where(self.after[first] == second, first, second)


def trace_pixel_outlines(runs: PixelRuns) -> OutlineCorners:
    """Trace the outlines of sets of pixels.

    Parameters
    ----------
    runs
        Sets of at least one pixel each.

    Returns
    -------
    corners
        The corners of the outlines.
    """
    begin = runs.begin << 2
    end = runs.end << 2
    up = KEYS_PER_LINE << 2
    # ends of the runs below each horizontal line (0 begins, 1 ends) and above it (2, 3); an end in both is no corner
    line_ends = np.sort(np.concatenate([begin | 2, end | 3, begin + up, (end + up) | 1]))
    keep = np.ones(len(line_ends), dtype=np.bool_)
    straight = np.flatnonzero((line_ends[1:] ^ line_ends[:-1]) == 2)
    keep[straight] = keep[straight + 1] = False
    line_ends = line_ends[keep]
    place = line_ends >> 2
    tag = line_ends & 3
    row = place >> 2 * COORDINATE_BITS
    y = place >> COORDINATE_BITS & (KEYS_PER_LINE - 1)
    x = place & (KEYS_PER_LINE - 1)
    # the corners of a horizontal line, in order, are the ends of its edges; so are those of a vertical line
    starts = 1 - (tag & 1)
    column = compute_pixel_keys(row, x, y) << 1 | starts
    order = np.argsort(column)
    vertical_partner = np.empty_like(order)
    vertical_partner[order] = order.reshape(-1, 2)[:, ::-1].ravel()
    number = np.arange(len(place))
    first_tags = tag.reshape(-1, 2)[:, 0]
    has_upper_row_only = (first_tags == 1) | (first_tags == 2)
    rightward = np.repeat(has_upper_row_only, 2)  # the edge is the lower one of the upper row
    leaves = rightward ^ (number & 1).astype(np.bool_)
    after = np.where(leaves, number ^ 1, vertical_partner)
    twin = np.flatnonzero(place[1:] == place[:-1])
    return OutlineCorners(
        row=row,
        x=x,
        y=y,
        after=after,
        twin=twin,
        level=leaves,
        vertical_keys=column[order],
        vertical_order=order,
    )

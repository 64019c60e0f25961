"""Pixels: sets of them, many at once, as runs along the rows of images; and how walks, labels and boxes are filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._ragged import numbered

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

BITS = 20
"""A coordinate takes so many bits of a key: regions of up to 2^20 - 2 pixels across."""
LINE = 1 << BITS


@dataclass(frozen=True, slots=True)
class Runs:
    """Pixels of many regions, as runs along x in order.

    Attributes
    ----------
    begin, end
        Keys of the first pixel of each run and of the one behind its last: region, y, x in `BITS` bits each.
    """

    begin: Whole
    end: Whole

    def pixels(self, rows: int) -> Whole:
        """Count the pixels.

        Parameters
        ----------
        rows
            How many regions there are.

        Returns
        -------
        pixels
            Of each region, shape (rows,).
        """
        counts = np.bincount(self.begin >> 2 * BITS, weights=self.end - self.begin, minlength=rows)
        return counts.astype(np.int64)

    def of(self, wanted: Flags, index: Whole) -> Runs:
        """Take some regions.

        Parameters
        ----------
        wanted, index
            Whether each is taken, and its number then; shape (rows,).

        Returns
        -------
        runs
            Theirs.
        """
        row = self.begin >> 2 * BITS
        kept = wanted[row]
        less = (row - index[row])[kept] << 2 * BITS
        return Runs(self.begin[kept] - less, self.end[kept] - less)

    def holds(self, key: Whole) -> Flags:
        """Look pixels up.

        Parameters
        ----------
        key
            Region, y, x as in `begin`, any shape.

        Returns
        -------
        inside
            Whether each belongs to its region, of the same shape.
        """
        at = np.searchsorted(self.begin, key, "right") - 1
        return (at >= 0) & (self.end[at] > key)


def keys(row: Whole, y: Whole, x: Whole) -> Whole:
    """Compose keys of pixels or corners.

    Parameters
    ----------
    row, y, x
        Whole numbers in [0, 2^20), broadcast.

    Returns
    -------
    key
        In the order of rows, y, x.
    """
    return ((row << BITS | y) << BITS) | x


def enclosed(row: Whole, x: Whole, y: Whole) -> Runs:
    """Fill closed walks over pixels: those that are visited, and those round which the walk winds.

    Parameters
    ----------
    row
        The region of each pixel of the walks, ascending from 0, shape (n,).
    x, y
        The pixels in the order of the walk, each a neighbour of the one before (or the same); the first is not repeated. From 1 to 2^20 - 2.

    Returns
    -------
    runs
        Their pixels.
    """
    rise = np.empty(len(y), dtype=np.int64)
    rise[:-1] = y[1:] - y[:-1]
    last = np.flatnonzero(np.append(row[1:] != row[:-1], True))
    first = np.append(0, last[:-1] + 1)
    rise[last] = y[first] - y[last]
    # a walk crosses the line of centres of a row where it leaves upwards or arrives from above: +1 and -1
    fall = np.empty_like(rise)
    fall[1:] = rise[:-1] < 0
    fall[first] = rise[last] < 0
    found = np.sort(keys(row, y, x) << 2 | ((rise > 0) - fall + 1))
    winding = np.cumsum((found & 3) - 1)  # 0 at the end of each line, since the walks are closed
    found >>= 2
    gap = np.flatnonzero((found[1:] - found[:-1] > 1) & (winding[:-1] == 0))
    return Runs(found[np.append(0, gap + 1)], found[np.append(gap, len(found) - 1)] + 1)


def labelled(image: npt.NDArray[np.integer], values: Whole) -> Runs:
    """Find the pixels of labels in an image.

    Parameters
    ----------
    image
        Labels, rows of y upwards; shape (height, width), each below 2^20 - 2.
    values
        The labels asked for, each once, shape (n,).

    Returns
    -------
    runs
        Of region i the pixels that have the label i; their first pixel is (1, 1).
    """
    height, width = image.shape
    change = np.ones((height, width), dtype=np.bool_)
    change[:, 1:] = image[:, 1:] != image[:, :-1]
    begin = np.flatnonzero(change)
    end = np.append(begin[1:], height * width)
    label = image.ravel()[begin]
    order = np.argsort(values)
    at = np.minimum(np.searchsorted(values, label, sorter=order), len(values) - 1)
    asked = np.flatnonzero(values[order[at]] == label)
    y, x = np.divmod(begin[asked], width)
    first = keys(order[at[asked]], y + 1, x + 1)
    size = (end - begin)[asked]
    order = np.argsort(first)
    return Runs(first[order], (first + size)[order])


def filled(x: Whole, y: Whole, width: Whole, height: Whole) -> Runs:
    """Fill boxes.

    Parameters
    ----------
    x, y, width, height
        The lowest and leftmost pixel of each and how many there are each way, shape (n,).

    Returns
    -------
    runs
        Region i is box i.
    """
    row, up = numbered(height)
    begin = keys(row, y[row] + up, x[row])
    return Runs(begin, begin + width[row])

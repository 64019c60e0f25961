"""Pixels: sets of them, many at once, as runs along the rows of images; and how walks, labels and boxes are filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._ragged_arrays import compute_element_numbers

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

COORDINATE_BITS = 20
"""A coordinate takes so many bits of a key: regions of up to 2^20 - 2 pixels across."""
KEYS_PER_LINE = 1 << COORDINATE_BITS


@dataclass(frozen=True, slots=True)
class PixelRuns:
    """Pixels of many regions, as runs along x in order.

    Attributes
    ----------
    begin, end
        Keys of the first pixel of each run and of the one behind its last: region, y, x in `COORDINATE_BITS` bits each.
    """

    begin: Whole
    end: Whole

    def count_pixels(self, region_count: int) -> Whole:
        """Count the pixels.

        Parameters
        ----------
        region_count
            How many regions there are.

        Returns
        -------
        pixels
            Of each region, shape (rows,).
        """
        counts = np.bincount(self.begin >> 2 * COORDINATE_BITS, weights=self.end - self.begin, minlength=region_count)
        return counts.astype(np.int64)

    def take_regions(self, is_selected: Flags, new_numbers: Whole) -> PixelRuns:
        """Take some regions.

        Parameters
        ----------
        is_selected, new_numbers
            Whether each is taken, and its number then; shape (rows,).

        Returns
        -------
        runs
            Theirs.
        """
        row = self.begin >> 2 * COORDINATE_BITS
        is_kept = is_selected[row]
        key_shift = (row - new_numbers[row])[is_kept] << 2 * COORDINATE_BITS
        return PixelRuns(self.begin[is_kept] - key_shift, self.end[is_kept] - key_shift)

    def contains_pixels(self, key: Whole) -> Flags:
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


def compute_keys(row: Whole, y: Whole, x: Whole) -> Whole:
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
    return ((row << COORDINATE_BITS | y) << COORDINATE_BITS) | x


def fill_walks(row: Whole, x: Whole, y: Whole) -> PixelRuns:
    """Fill closed walks over pixels: those that are visited, and those round which the walk winds.

    Parameters
    ----------
    row
        The region of each pixel of the walks, ascending from 0, shape (n,).
    x, y
        The pixels in the order of the walk, each a neighbour of the one before (or the same); the first is not
        repeated. From 1 to 2^20 - 2.

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
    keys = compute_keys(row, y, x)
    sorted_keys = np.sort(keys << 2 | ((rise > 0) - fall + 1))
    winding = np.cumsum((sorted_keys & 3) - 1)  # 0 at the end of each line, since the walks are closed
    sorted_keys >>= 2
    gap = np.flatnonzero((sorted_keys[1:] - sorted_keys[:-1] > 1) & (winding[:-1] == 0))
    return PixelRuns(sorted_keys[np.append(0, gap + 1)], sorted_keys[np.append(gap, len(sorted_keys) - 1)] + 1)


def find_label_pixels(image: npt.NDArray[np.integer], labels: Whole) -> PixelRuns:
    """Find the pixels of labels in an image.

    Parameters
    ----------
    image
        Labels, rows of y upwards; shape (height, width), each below 2^20 - 2.
    labels
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
    order = np.argsort(labels)
    at = np.minimum(np.searchsorted(labels, label, sorter=order), len(labels) - 1)
    label_runs = np.flatnonzero(labels[order[at]] == label)
    y, x = np.divmod(begin[label_runs], width)
    first = compute_keys(order[at[label_runs]], y + 1, x + 1)
    size = (end - begin)[label_runs]
    order = np.argsort(first)
    return PixelRuns(first[order], (first + size)[order])


def fill_boxes(x: Whole, y: Whole, width: Whole, height: Whole) -> PixelRuns:
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
    row, up = compute_element_numbers(height)
    begin = compute_keys(row, y[row] + up, x[row])
    return PixelRuns(begin, begin + width[row])

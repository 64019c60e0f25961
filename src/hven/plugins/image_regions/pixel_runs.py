"""Hold sets of pixels, many at once, as runs along the rows of images; fill walks, labels and boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky.api.ragged_arrays import compute_element_numbers

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

COORDINATE_BITS = 20
"""Bits of a coordinate in a key: regions may be up to 2^20 - 2 pixels across."""
KEYS_PER_LINE = 1 << COORDINATE_BITS


@dataclass(frozen=True, slots=True)
class PixelRuns:
    """Hold the pixels of many regions, as runs along x in order.

    Attributes
    ----------
    begin, end
        Keys of the first pixel of each run and of the pixel behind its last: region, y, x in `COORDINATE_BITS` bits
        each.
    """

    begin: Whole
    end: Whole

    def count_pixels(self, region_count: int) -> Whole:
        """Count the pixels of each region.

        Parameters
        ----------
        region_count
            The number of regions.

        Returns
        -------
        pixels
            Pixels of each region, shape (rows,).
        """
        lengths = self.end - self.begin
        counts = np.bincount(self.begin >> 2 * COORDINATE_BITS, weights=lengths, minlength=region_count)
        return counts.astype(np.int64)

    def take_regions(self, is_selected: Flags, new_numbers: Whole) -> PixelRuns:
        """Select regions.

        Parameters
        ----------
        is_selected, new_numbers
            Whether to keep each region, and its new number; shape (rows,).

        Returns
        -------
        runs
            The runs of the selected regions.
        """
        row = self.begin >> 2 * COORDINATE_BITS
        is_kept = is_selected[row]
        key_shift = (row - new_numbers[row])[is_kept] << 2 * COORDINATE_BITS
        return PixelRuns(self.begin[is_kept] - key_shift, self.end[is_kept] - key_shift)

    def contains_pixels(self, key: Whole) -> Flags:
        """Return whether pixels belong to their regions.

        Parameters
        ----------
        key
            Region, y, x as in `begin`, any shape.

        Returns
        -------
        inside
            Flags of the same shape.
        """
        at = np.searchsorted(self.begin, key, "right") - 1
        return (at >= 0) & (self.end[at] > key)


def compute_pixel_keys(row: Whole, y: Whole, x: Whole) -> Whole:
    """Compose keys of pixels or corners.

    Parameters
    ----------
    row, y, x
        Whole numbers in [0, 2^20), broadcast.

    Returns
    -------
    key
        Keys in the order of rows, y, x.
    """
    return ((row << COORDINATE_BITS | y) << COORDINATE_BITS) | x


def fill_closed_pixel_walks(row: Whole, x: Whole, y: Whole) -> PixelRuns:
    """Fill closed walks over pixels: the pixels of the walk, and those inside it.

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
        The pixels of the regions.
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
    keys = compute_pixel_keys(row, y, x)
    crossing = (rise > 0) - fall + 1
    sorted_keys = np.sort(keys << 2 | crossing)
    winding = np.cumsum((sorted_keys & 3) - 1)  # 0 at the end of each line, because the walks are closed
    sorted_keys >>= 2
    has_gap = sorted_keys[1:] - sorted_keys[:-1] > 1
    gap = np.flatnonzero(has_gap & (winding[:-1] == 0))
    begin = sorted_keys[np.append(0, gap + 1)]
    last_pixel = sorted_keys[np.append(gap, len(sorted_keys) - 1)]
    return PixelRuns(begin, last_pixel + 1)


def find_label_pixels(image: npt.NDArray[np.integer], labels: Whole) -> PixelRuns:
    """Find the pixels of labels in an image.

    Parameters
    ----------
    image
        Labels, rows of y upwards; shape (height, width), each below 2^20 - 2.
    labels
        The requested labels, each once, shape (n,).

    Returns
    -------
    runs
        The pixels with label i, as region i; the first pixel of the image is (1, 1).
    """
    height, width = image.shape
    change = np.ones((height, width), dtype=np.bool_)
    change[:, 1:] = image[:, 1:] != image[:, :-1]
    begin = np.flatnonzero(change)
    end = np.append(begin[1:], height * width)
    label = image.ravel()[begin]
    order = np.argsort(labels)
    label_places = np.searchsorted(labels, label, sorter=order)
    at = np.minimum(label_places, len(labels) - 1)
    label_runs = np.flatnonzero(labels[order[at]] == label)
    y, x = np.divmod(begin[label_runs], width)
    first = compute_pixel_keys(order[at[label_runs]], y + 1, x + 1)
    size = (end - begin)[label_runs]
    order = np.argsort(first)
    return PixelRuns(first[order], (first + size)[order])


def fill_pixel_boxes(x: Whole, y: Whole, width: Whole, height: Whole) -> PixelRuns:
    """Fill boxes.

    Parameters
    ----------
    x, y, width, height
        The lowest and leftmost pixel of each box, and its size in pixels, shape (n,).

    Returns
    -------
    runs
        Runs in which region i is box i.
    """
    row, up = compute_element_numbers(height)
    begin = compute_pixel_keys(row, y[row] + up, x[row])
    return PixelRuns(begin, begin + width[row])

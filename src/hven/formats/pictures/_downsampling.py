"""Large arrays in few pixels: means of cells, of all values while these are few, else of some of each cell.

Never the whole in memory.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.deadlines import build_time_limit_error, check_deadline

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from hven.formats.media import ArrayPart

MAX_READ_VALUES = 24 << 20  # values that are read for a picture
STRIP_VALUES = 4 << 20  # values at once
LOCAL_STRIP_VALUES = 1 << 17  # of a file of this machine: they stay in the processor's own cache
MAX_ROW_VALUES = 1 << 18  # of a row that is not read whole
MAX_READS = 2000
READ_TIMEOUT_SECONDS = 20.0  # that the values of one picture may take


def read_cell_means(
    array: ArrayPart,
    horizontal_axis: int,
    vertical_axis: int,
    fixed_pixels: Mapping[int, int],
    cell_counts: tuple[int, int],
    value_limit: int = MAX_READ_VALUES,
) -> tuple[npt.NDArray[np.float64], bool]:
    """Read two axes of an array as means of cells.

    Parameters
    ----------
    array
        Any.
    horizontal_axis, vertical_axis
        The axes, as numbers in the order of C.
    fixed_pixels
        Of each other axis its pixel, from 0.
    cell_counts
        Of each of the two axes about so many, at least, and less than twice as many.
    value_limit
        Values that are read at most, about.

    Returns
    -------
    means
        Shape (down, across); NaN where a cell has no finite value.
    whole
        Whether all values were read.
    """
    shape = array.shape
    steps = [
        max(1, shape[axis_number] // max(1, cell_count))
        for axis_number, cell_count in ((horizontal_axis, cell_counts[0]), (vertical_axis, cell_counts[1]))
    ]
    # the axis that changes fastest is read in runs; the other one decides which of these are left out
    if horizontal_axis > vertical_axis:
        fast_axis, slow_axis = (horizontal_axis, vertical_axis)
    else:
        fast_axis, slow_axis = (vertical_axis, horizontal_axis)
    if fast_axis == horizontal_axis:
        fast_step, slow_step = (steps[0], steps[1])
    else:
        fast_step, slow_step = (steps[1], steps[0])
    fast_size = shape[fast_axis]
    slow_size = shape[slow_axis]
    pieces = [(0, fast_size)]
    if fast_size > MAX_ROW_VALUES and fast_size * slow_size > value_limit:
        count = max(1, min(-(-fast_size // fast_step), MAX_READS // max(1, min(slow_size, -(-slow_size // slow_step)))))
        width = max(1, min(fast_size // count, value_limit // max(1, count * -(-slow_size // slow_step))))
        pieces = [
            (first, min(fast_size, first + width)) for first in np.linspace(0, fast_size - width, count).astype(int)
        ]
    read_width = sum(stop - start for start, stop in pieces)
    if read_width * slow_size <= value_limit:
        rows_per_cell = slow_step
    else:
        rows_per_cell = max(1, min(slow_step, value_limit // max(1, read_width * -(-slow_size // slow_step))))
    is_complete = len(pieces) == 1 and rows_per_cell == slow_step

    end_time = time.monotonic() + READ_TIMEOUT_SECONDS

    def read_rows(first: int, last: int) -> npt.NDArray[np.float64]:
        row_pieces = []
        for start, stop in pieces:
            check_deadline()
            if time.monotonic() > end_time:  # a file of a few bytes may have any number of packed blocks
                raise build_time_limit_error(READ_TIMEOUT_SECONDS)
            window = [
                slice(fixed_pixels.get(axis_number, 0), fixed_pixels.get(axis_number, 0) + 1)
                for axis_number in range(len(shape))
            ]
            window[slow_axis], window[fast_axis] = slice(first, last), slice(int(start), int(stop))
            values = array.read(window)
            values = values.reshape(last - first, -1)
            row_pieces.append(
                values if len(pieces) == 1 else _compute_cell_means(values, 1, max(1, min(values.shape[1], fast_step)))
            )
        if len(row_pieces) == 1:
            return row_pieces[0]
        return np.concatenate(row_pieces, 1)

    rows = []
    fast_cell = fast_step if len(pieces) == 1 else 1
    if rows_per_cell == slow_step:
        strip = (
            max(
                1,
                (LOCAL_STRIP_VALUES if array.is_local_uncompressed else STRIP_VALUES) // max(1, read_width * slow_step),
            )
            * slow_step
        )
        rows = [
            _compute_cell_means(read_rows(first, min(slow_size, first + strip)), slow_step, fast_cell)
            for first in range(0, slow_size, strip)
        ]
    else:
        for first in range(0, slow_size, slow_step):
            if slow_size > rows_per_cell:
                start = min(slow_size - rows_per_cell, first + (slow_step - rows_per_cell) // 2)
            else:
                start = 0
            cell_means = _compute_cell_means(
                read_rows(start, min(slow_size, start + rows_per_cell)), rows_per_cell, fast_cell
            )
            rows.append(cell_means)
    means = np.concatenate(rows)
    return (means if slow_axis == vertical_axis else means.T), is_complete


def _compute_cell_means(values: npt.NDArray[Any], cell_rows: int, cell_columns: int) -> npt.NDArray[np.float64]:
    """Return means of cells of so many rows and columns; the last ones may be smaller."""
    if values.dtype.kind == "c":
        values = np.abs(values)
    if cell_rows == cell_columns == 1:
        values = np.asarray(values, np.float64)
        return np.where(np.isfinite(values), values, np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        rows = _sum_rows(_sum_rows(values, cell_rows).T, cell_columns)
        cell_sums = rows.T
        cell_row_count = _count_cell_rows(values.shape[0], cell_rows)
        cell_sizes = np.outer(cell_row_count, _count_cell_rows(values.shape[1], cell_columns))
        if np.isfinite(cell_sums).all():
            return np.asarray(cell_sums / cell_sizes)
        is_finite = np.isfinite(values)
        cell_sums = _sum_rows(_sum_rows(np.where(is_finite, values, 0), cell_rows).T, cell_columns).T
        counts = _sum_rows(_sum_rows(is_finite, cell_rows).T, cell_columns).T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(cell_sums / counts)


def _count_cell_rows(size: int, step: int) -> npt.NDArray[np.int64]:
    return np.minimum(np.arange(0, size, step) + step, size) - np.arange(0, size, step)


def _sum_rows(values: npt.NDArray[Any], step: int) -> npt.NDArray[np.float64]:
    """Add up each so many rows."""
    count = -(-values.shape[0] // step)
    row_sums = np.zeros((count, values.shape[1]), np.float64)
    if step > count:
        for row_number in range(count):
            row_sums[row_number] = values[row_number * step : (row_number + 1) * step].sum(0, dtype=np.float64)
        return row_sums
    for row_number in range(min(step, values.shape[0])):
        every_nth_row = values[row_number::step]
        row_sums[: len(every_nth_row)] += every_nth_row
    return row_sums

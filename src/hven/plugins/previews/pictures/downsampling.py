"""Reduce large arrays to few pixels: means of cells, of all values or, where these are too many, of some of each cell.

The whole array is never in memory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.deadlines import build_time_limit_error, check_deadline

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from hven.formats.media import ArrayPart

MAX_READ_VALUES = 24 << 20  # values that are read for a picture
STRIP_VALUES = 4 << 20  # values that are read at once
LOCAL_STRIP_VALUES = 1 << 17  # the same for files of this machine: they stay in the cache of the processor
MAX_ROW_VALUES = 1 << 18  # of a row; a longer row is not read whole
MAX_READS = 2000
READ_TIMEOUT_SECONDS = 20.0  # for the values of one picture


def read_cell_means(
    array: ArrayPart,
    horizontal_axis: int,
    vertical_axis: int,
    fixed_pixels: Mapping[int, int],
    cell_counts: tuple[int, int],
    *,
    value_limit: int = MAX_READ_VALUES,
) -> tuple[npt.NDArray[np.float64], bool]:
    """Read two axes of an array as means of cells.

    Parameters
    ----------
    array
        Any array.
    horizontal_axis, vertical_axis
        Numbers of the axes, counted from the slowest.
    fixed_pixels
        Pixel of each other axis, from 0.
    cell_counts
        Minimum number of cells along each of the two axes; there are less than twice as many.
    value_limit
        Approximate maximum number of values that are read.

    Returns
    -------
    means
        Shape (down, across); NaN where a cell has no finite value.
    whole
        Whether all values were read.
    """
    shape = array.shape
    horizontal_step = max(1, shape[horizontal_axis] // max(1, cell_counts[0]))
    vertical_step = max(1, shape[vertical_axis] // max(1, cell_counts[1]))
    # the faster axis is read in runs; the other one decides which of these are left out
    if horizontal_axis > vertical_axis:
        fast_axis, slow_axis = (horizontal_axis, vertical_axis)
        fast_step, slow_step = (horizontal_step, vertical_step)
    else:
        fast_axis, slow_axis = (vertical_axis, horizontal_axis)
        fast_step, slow_step = (vertical_step, horizontal_step)
    slow_size = shape[slow_axis]
    slow_cells = -(-slow_size // slow_step)
    fast_pieces = _choose_read_ranges(shape[fast_axis], fast_step, slow_size, slow_cells, value_limit=value_limit)
    read_width = sum(stop - start for start, stop in fast_pieces)
    rows_per_cell = slow_step
    if read_width * slow_size > value_limit:
        affordable_rows = value_limit // max(1, read_width * slow_cells)
        rows_per_cell = max(1, min(slow_step, affordable_rows))
    is_complete = len(fast_pieces) == 1 and rows_per_cell == slow_step
    reader = _RowReader(
        array=array,
        slow_axis=slow_axis,
        fast_axis=fast_axis,
        fixed_pixels=fixed_pixels,
        pieces=fast_pieces,
        fast_step=fast_step,
        end_time=time.monotonic() + READ_TIMEOUT_SECONDS,
    )
    fast_cell = 1
    if len(fast_pieces) == 1:
        fast_cell = fast_step
    rows = []
    if rows_per_cell == slow_step:
        strip_values = LOCAL_STRIP_VALUES if array.is_local_uncompressed else STRIP_VALUES
        strip_cells = max(1, strip_values // max(1, read_width * slow_step))
        strip = strip_cells * slow_step
        for first in range(0, slow_size, strip):
            strip_rows = reader.read_reduced_rows(first, min(slow_size, first + strip))
            rows.append(_compute_cell_means(strip_rows, slow_step, fast_cell))
    else:
        for first in range(0, slow_size, slow_step):
            start = 0
            if slow_size > rows_per_cell:
                start = min(slow_size - rows_per_cell, first + (slow_step - rows_per_cell) // 2)
            cell_rows = reader.read_reduced_rows(start, min(slow_size, start + rows_per_cell))
            rows.append(_compute_cell_means(cell_rows, rows_per_cell, fast_cell))
    means = np.concatenate(rows)
    if slow_axis != vertical_axis:
        means = means.T
    return means, is_complete


def _choose_read_ranges(
    fast_size: int, fast_step: int, slow_size: int, slow_cells: int, *, value_limit: int
) -> list[tuple[int, int]]:
    """Choose which pieces of each run are read: all of it, or evenly spaced pieces of a very long one."""
    if fast_size <= MAX_ROW_VALUES or fast_size * slow_size <= value_limit:
        return [(0, fast_size)]
    max_pieces = MAX_READS // max(1, min(slow_size, slow_cells))
    count = max(1, min(-(-fast_size // fast_step), max_pieces))
    affordable_width = value_limit // max(1, count * slow_cells)
    width = max(1, min(fast_size // count, affordable_width))
    starts = np.linspace(0, fast_size - width, count).astype(int)
    return [(first, min(fast_size, first + width)) for first in starts]


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowReader:
    """The reader of rows along the faster of two axes, with a time limit."""

    array: ArrayPart
    slow_axis: int
    fast_axis: int
    fixed_pixels: Mapping[int, int]
    pieces: list[tuple[int, int]]  # of each run
    fast_step: int  # width of a cell along the faster axis
    end_time: float  # of `time.monotonic`

    def read_reduced_rows(self, first: int, last: int) -> npt.NDArray[np.float64]:
        """Read rows; if they are read in pieces, return the means of cells of each piece."""
        row_pieces = []
        for start, stop in self.pieces:
            check_deadline()
            if time.monotonic() > self.end_time:  # a file of a few bytes may have any number of compressed blocks
                raise build_time_limit_error(READ_TIMEOUT_SECONDS)
            window = []
            for axis_number in range(len(self.array.shape)):
                pixel = self.fixed_pixels.get(axis_number, 0)
                window.append(slice(pixel, pixel + 1))
            window[self.slow_axis] = slice(first, last)
            window[self.fast_axis] = slice(int(start), int(stop))
            values = self.array.read(window).reshape(last - first, -1)
            if len(self.pieces) == 1:
                return values
            cell_columns = max(1, min(values.shape[1], self.fast_step))
            row_pieces.append(_compute_cell_means(values, 1, cell_columns))
        return np.concatenate(row_pieces, 1)


def _compute_cell_means(values: npt.NDArray[Any], cell_rows: int, cell_columns: int) -> npt.NDArray[np.float64]:
    """Compute the means of cells of this many rows and columns; the last cells may be smaller."""
    if values.dtype.kind == "c":
        values = np.abs(values)
    if cell_rows == cell_columns == 1:
        values = np.asarray(values, np.float64)
        return np.where(np.isfinite(values), values, np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        rows = _sum_row_groups(_sum_row_groups(values, cell_rows).T, cell_columns)
        cell_sums = rows.T
        cell_row_count = _compute_cell_lengths(values.shape[0], cell_rows)
        cell_sizes = np.outer(cell_row_count, _compute_cell_lengths(values.shape[1], cell_columns))
        if np.isfinite(cell_sums).all():
            return np.asarray(cell_sums / cell_sizes)
        is_finite = np.isfinite(values)
        finite_values = np.where(is_finite, values, 0)
        cell_sums = _sum_row_groups(_sum_row_groups(finite_values, cell_rows).T, cell_columns).T
        counts = _sum_row_groups(_sum_row_groups(is_finite, cell_rows).T, cell_columns).T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(cell_sums / counts)


def _compute_cell_lengths(size: int, step: int) -> npt.NDArray[np.int64]:
    starts = np.arange(0, size, step)
    return np.minimum(starts + step, size) - starts


def _sum_row_groups(values: npt.NDArray[Any], step: int) -> npt.NDArray[np.float64]:
    """Sum each `step` rows."""
    count = -(-values.shape[0] // step)
    row_sums = np.zeros((count, values.shape[1]), np.float64)
    if step > count:
        for row_number in range(count):
            cell_values = values[row_number * step : (row_number + 1) * step]
            row_sums[row_number] = cell_values.sum(0, dtype=np.float64)
        return row_sums
    for row_number in range(min(step, values.shape[0])):
        every_nth_row = values[row_number::step]
        row_sums[: len(every_nth_row)] += every_nth_row
    return row_sums

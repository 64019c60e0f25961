"""Large arrays in few pixels: means of cells, of all values while these are few, else of some of each cell; never the whole in memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.clock import check, late

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from hven.formats.media import Array

MOST = 24 << 20  # values that are read for a picture
STRIP = 4 << 20  # values at once
NEAR = 1 << 17  # of a file of this machine: they stay in the processor's own cache
WIDE = 1 << 18  # of a row that is not read whole
READS = 2000
READ_SECONDS = 20.0  # that the values of one picture may take


def thinned(
    array: Array, across: int, down: int, fixed: Mapping[int, int], cells: tuple[int, int], most: int = MOST
) -> tuple[npt.NDArray[np.float64], bool]:
    """Read two axes of an array as means of cells.

    Parameters
    ----------
    array
        Any.
    across, down
        The axes, as numbers in the order of C.
    fixed
        Of each other axis its pixel, from 0.
    cells
        Of each of the two axes about so many, at least, and less than twice as many.
    most
        Values that are read at most, about.

    Returns
    -------
    means
        Shape (down, across); NaN where a cell has no finite value.
    whole
        Whether all values were read.
    """
    shape = array.shape
    steps = [max(1, shape[at] // max(1, wanted)) for at, wanted in ((across, cells[0]), (down, cells[1]))]
    # the axis that changes fastest is read in runs; the other one decides which of these are left out
    fast, slow = (across, down) if across > down else (down, across)
    run, leap = (steps[0], steps[1]) if fast == across else (steps[1], steps[0])
    long, high = shape[fast], shape[slow]
    pieces = [(0, long)]
    if long > WIDE and long * high > most:
        count = max(1, min(-(-long // run), READS // max(1, min(high, -(-high // leap)))))
        width = max(1, min(long // count, most // max(1, count * -(-high // leap))))
        pieces = [(first, min(long, first + width)) for first in np.linspace(0, long - width, count).astype(int)]
    wide = sum(stop - start for start, stop in pieces)
    of_each = leap if wide * high <= most else max(1, min(leap, most // max(1, wide * -(-high // leap))))
    whole = len(pieces) == 1 and of_each == leap

    until = time.monotonic() + READ_SECONDS

    def read(first: int, last: int) -> npt.NDArray[np.float64]:
        found = []
        for start, stop in pieces:
            check()
            if time.monotonic() > until:  # a file of a few bytes may have any number of packed blocks
                raise late(READ_SECONDS)
            window = [slice(fixed.get(at, 0), fixed.get(at, 0) + 1) for at in range(len(shape))]
            window[slow], window[fast] = slice(first, last), slice(int(start), int(stop))
            values = array.read(window)
            values = values.reshape(last - first, -1)
            found.append(values if len(pieces) == 1 else _means(values, 1, max(1, min(values.shape[1], run))))
        return found[0] if len(found) == 1 else np.concatenate(found, 1)

    rows, along = [], run if len(pieces) == 1 else 1
    if of_each == leap:
        strip = max(1, (NEAR if array.flat else STRIP) // max(1, wide * leap)) * leap
        rows = [_means(read(first, min(high, first + strip)), leap, along) for first in range(0, high, strip)]
    else:
        for first in range(0, high, leap):
            start = min(high - of_each, first + (leap - of_each) // 2) if high > of_each else 0
            rows.append(_means(read(start, min(high, start + of_each)), of_each, along))
    made = np.concatenate(rows)
    return (made if slow == down else made.T), whole


def _means(values: npt.NDArray[Any], tall: int, wide: int) -> npt.NDArray[np.float64]:
    """Return means of cells of so many rows and columns; the last ones may be smaller."""
    if values.dtype.kind == "c":
        values = np.abs(values)
    if tall == wide == 1:
        values = np.asarray(values, np.float64)
        return np.where(np.isfinite(values), values, np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        made = _sums(_sums(values, tall).T, wide).T
        every = np.outer(_counts(values.shape[0], tall), _counts(values.shape[1], wide))
        if np.isfinite(made).all():
            return np.asarray(made / every)
        known = np.isfinite(values)
        made = _sums(_sums(np.where(known, values, 0), tall).T, wide).T
        counts = _sums(_sums(known, tall).T, wide).T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(made / counts)


def _counts(size: int, step: int) -> npt.NDArray[np.int64]:
    return np.minimum(np.arange(0, size, step) + step, size) - np.arange(0, size, step)


def _sums(values: npt.NDArray[Any], step: int) -> npt.NDArray[np.float64]:
    """Add up each so many rows."""
    count = -(-values.shape[0] // step)
    made = np.zeros((count, values.shape[1]), np.float64)
    if step > count:
        for at in range(count):
            made[at] = values[at * step : (at + 1) * step].sum(0, dtype=np.float64)
        return made
    for at in range(min(step, values.shape[0])):
        some = values[at::step]
        made[: len(some)] += some
    return made

"""Arithmetic of ragged arrays: rows of different lengths one after the other, and the offsets at which they begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]


def ends(sizes: npt.ArrayLike) -> Indexes:
    """Return the offsets of rows of these sizes: 0, and where each ends; shape (n + 1,)."""
    found: Indexes = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return found


def owners(offsets: Indexes) -> Indexes:
    """Return the row of each element."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def numbered(sizes: npt.ArrayLike) -> tuple[Indexes, Indexes]:
    """Return the row of each element of rows of these sizes, and its number in that, from 0."""
    offsets = ends(sizes)
    row = owners(offsets)
    return row, np.arange(offsets[-1]) - offsets[row]


def gathered(offsets: Indexes, rows: Indexes) -> tuple[Indexes, Indexes]:
    """Return which elements `rows` have, one row after the other, and their offsets."""
    size = offsets[rows + 1] - offsets[rows]
    row, number = numbered(size)
    return offsets[rows][row] + number, ends(size)


def followers(offsets: Indexes) -> Indexes:
    """Return the element behind each in its row, the first behind the last."""
    found = np.arange(1, offsets[-1] + 1)
    some = offsets[1:] > offsets[:-1]
    found[offsets[1:][some] - 1] = offsets[:-1][some]
    return found


def following(offsets: Indexes, values: Numbers) -> Numbers:
    """Return of each element the value behind it in its row, the first behind the last; rows have elements. A copy, where `followers` look up."""
    found = np.empty_like(values)
    found[:-1] = values[1:]
    found[offsets[1:] - 1] = values[offsets[:-1]]
    return found


def blocks(work: npt.ArrayLike, most: int = 1 << 20) -> Iterator[slice]:
    """Yield rows that have at most so much work together, or one row that has more."""
    done = ends(work)
    start = 0
    while start < len(done) - 1:
        stop = max(int(np.searchsorted(done, done[start] + most, side="right")) - 1, start + 1)
        yield slice(start, stop)
        start = stop


def reversed_rows(offsets: Indexes, which: Flags) -> Indexes:
    """Return all elements, in some rows the last first."""
    row, number = numbered(np.diff(offsets))
    return np.where(which[row], offsets[1:][row] - 1 - number, offsets[row] + number)


def closed(rings: Indexes) -> tuple[Indexes, Indexes]:
    """Return the vertices of rings with the first of each again at its end, and their offsets."""
    size = np.diff(rings)
    around = ends(size + 1)
    vertex = np.arange(around[-1]) - np.repeat(around[:-1] - rings[:-1], size + 1)
    vertex[around[1:] - 1] = rings[:-1]
    return vertex, around


def largest_gaps(low: Numbers, width: Numbers, row: Indexes, rows: int) -> tuple[Numbers, Numbers]:
    """Find the widest gap that arcs of a circle leave.

    Parameters
    ----------
    low
        Where each arc begins, degrees in [0, 360); shape (m,).
    width
        Its length, 0 to 360; shape (m,).
    row
        The circle that it lies on; shape (m,).
    rows
        How many circles there are.

    Returns
    -------
    begin, size
        Where the widest gap of each begins, and its size; shape (rows,). A circle without arcs has one of 360 degrees.
    """
    over = low + width > 360.0  # ... lies on both sides of 0
    low = np.concatenate([low, np.zeros(over.sum())])
    high = np.concatenate([np.minimum(low[: len(width)] + width, 360.0), (low[: len(width)] + width - 360.0)[over]])
    row = np.concatenate([row, row[over]])
    order = np.lexsort((low, row))
    low, high, row = low[order], high[order], row[order]
    # the farthest that has been reached: exact by ranks
    by = np.argsort(high, kind="stable")
    rank = np.empty(len(high), np.int64)
    rank[by] = np.arange(len(high))
    reached = high[by[np.maximum.accumulate(rank + row * len(high)) - row * len(high)]]
    begin, size = np.zeros(rows), np.full(rows, 360.0)
    if not len(low):
        return begin, size
    last = np.flatnonzero(np.append(row[1:] != row[:-1], True))
    first = np.append(0, last[:-1] + 1)
    gap = np.append(low[1:] - reached[:-1], 0.0)
    gap[last] = low[first] + 360.0 - reached[last]
    best = np.lexsort((gap, row))[last]
    begin[row[last]], size[row[last]] = reached[best] % 360.0, np.maximum(gap[best], 0.0)
    return begin, size

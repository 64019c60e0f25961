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


def compute_offsets(sizes: npt.ArrayLike) -> Indexes:
    """Return the offsets of rows of these sizes: 0, and where each ends; shape (n + 1,)."""
    offsets: Indexes = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return offsets


def compute_row_indexes(offsets: Indexes) -> Indexes:
    """Return the row of each element."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def compute_element_numbers(sizes: npt.ArrayLike) -> tuple[Indexes, Indexes]:
    """Return the row of each element of rows of these sizes, and its number in that, from 0."""
    offsets = compute_offsets(sizes)
    row = compute_row_indexes(offsets)
    return row, np.arange(offsets[-1]) - offsets[row]


def gather_rows(offsets: Indexes, rows: Indexes) -> tuple[Indexes, Indexes]:
    """Return which elements `rows` have, one row after the other, and their offsets."""
    size = offsets[rows + 1] - offsets[rows]
    row, number = compute_element_numbers(size)
    return offsets[rows][row] + number, compute_offsets(size)


def compute_successors(offsets: Indexes) -> Indexes:
    """Return the element behind each in its row, the first behind the last."""
    successors = np.arange(1, offsets[-1] + 1)
    has_elements = offsets[1:] > offsets[:-1]
    successors[offsets[1:][has_elements] - 1] = offsets[:-1][has_elements]
    return successors


def take_successor_values(offsets: Indexes, values: Numbers) -> Numbers:
    """Return of each element the value behind it in its row, the first behind the last; rows have elements.

    A copy, where `compute_successors` look up.
    """
    shifted = np.empty_like(values)
    shifted[:-1] = values[1:]
    shifted[offsets[1:] - 1] = values[offsets[:-1]]
    return shifted


def split_into_blocks(row_costs: npt.ArrayLike, cost_limit: int = 1 << 20) -> Iterator[slice]:
    """Yield rows that have at most so much work together, or one row that has more."""
    cumulative_costs = compute_offsets(row_costs)
    start = 0
    while start < len(cumulative_costs) - 1:
        stop = max(
            int(np.searchsorted(cumulative_costs, cumulative_costs[start] + cost_limit, side="right")) - 1, start + 1
        )
        yield slice(start, stop)
        start = stop


def reverse_rows(offsets: Indexes, is_reversed: Flags) -> Indexes:
    """Return all elements, in some rows the last first."""
    row, number = compute_element_numbers(np.diff(offsets))
    return np.where(is_reversed[row], offsets[1:][row] - 1 - number, offsets[row] + number)


def close_rings(ring_offsets: Indexes) -> tuple[Indexes, Indexes]:
    """Return the vertices of rings with the first of each again at its end, and their offsets."""
    size = np.diff(ring_offsets)
    around = compute_offsets(size + 1)
    vertex = np.arange(around[-1]) - np.repeat(around[:-1] - ring_offsets[:-1], size + 1)
    vertex[around[1:] - 1] = ring_offsets[:-1]
    return vertex, around


def find_largest_gaps(low: Numbers, width: Numbers, row: Indexes, row_count: int) -> tuple[Numbers, Numbers]:
    """Find the widest gap that arcs of a circle leave.

    Parameters
    ----------
    low
        Where each arc begins, degrees in [0, 360); shape (m,).
    width
        Its length, 0 to 360; shape (m,).
    row
        The circle that it lies on; shape (m,).
    row_count
        How many circles there are.

    Returns
    -------
    begin, size
        Where the widest gap of each begins, and its size; shape (rows,). A circle without arcs has one of 360 degrees.
    """
    crosses_zero = low + width > 360.0  # ... lies on both sides of 0
    low = np.concatenate([low, np.zeros(crosses_zero.sum())])
    high = np.concatenate(
        [np.minimum(low[: len(width)] + width, 360.0), (low[: len(width)] + width - 360.0)[crosses_zero]]
    )
    row = np.concatenate([row, row[crosses_zero]])
    order = np.lexsort((low, row))
    low = low[order]
    high = high[order]
    row = row[order]
    # the farthest that has been reached: exact by ranks
    order_by_end = np.argsort(high, kind="stable")
    rank = np.empty(len(high), np.int64)
    rank[order_by_end] = np.arange(len(high))
    reached = high[order_by_end[np.maximum.accumulate(rank + row * len(high)) - row * len(high)]]
    begin = np.zeros(row_count)
    size = np.full(row_count, 360.0)
    if not len(low):
        return begin, size
    last = np.flatnonzero(np.append(row[1:] != row[:-1], True))
    first = np.append(0, last[:-1] + 1)
    gap = np.append(low[1:] - reached[:-1], 0.0)
    gap[last] = low[first] + 360.0 - reached[last]
    best = np.lexsort((gap, row))[last]
    begin[row[last]], size[row[last]] = reached[best] % 360.0, np.maximum(gap[best], 0.0)
    return begin, size

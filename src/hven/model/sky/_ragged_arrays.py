"""Compute with ragged arrays: rows of different lengths one after the other, and the offsets at which they begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]


def compute_offsets(sizes: npt.ArrayLike) -> Indexes:
    """Compute the offsets of rows.

    Parameters
    ----------
    sizes
        The number of elements of each row, shape (n,).

    Returns
    -------
    offsets
        0, and the end of each row; shape (n + 1,).
    """
    ends = np.concatenate([[0], np.cumsum(sizes)])
    offsets: Indexes = ends.astype(np.int64)
    return offsets


def compute_row_indexes(offsets: Indexes) -> Indexes:
    """Compute the row of each element.

    Parameters
    ----------
    offsets
        Where each row begins among all elements, and the end; shape (n + 1,).

    Returns
    -------
    row
        Shape (m,).
    """
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def compute_element_numbers(sizes: npt.ArrayLike) -> tuple[Indexes, Indexes]:
    """Compute the row of each element, and its number in the row.

    Parameters
    ----------
    sizes
        The number of elements of each row, shape (n,).

    Returns
    -------
    row, number
        The numbers in a row begin at 0; shape (m,).
    """
    offsets = compute_offsets(sizes)
    row = compute_row_indexes(offsets)
    return row, np.arange(offsets[-1]) - offsets[row]


def gather_element_indexes(offsets: Indexes, rows: Indexes) -> tuple[Indexes, Indexes]:
    """Find the elements of some rows, one row after the other.

    Parameters
    ----------
    offsets
        Where each row begins among all elements, and the end; shape (n + 1,).
    rows
        Indexes of rows, shape (k,).

    Returns
    -------
    elements, offsets
        Indexes of the elements, shape (m,), and the offsets of the k rows among these, shape (k + 1,).
    """
    size = offsets[rows + 1] - offsets[rows]
    row, number = compute_element_numbers(size)
    return offsets[rows][row] + number, compute_offsets(size)


def compute_successor_indexes(offsets: Indexes) -> Indexes:
    """Find the next element of each element in its row; the first follows the last.

    Parameters
    ----------
    offsets
        Where each row begins among all elements, and the end; shape (n + 1,).

    Returns
    -------
    successors
        Indexes of elements, shape (m,).
    """
    successors = np.arange(1, offsets[-1] + 1)
    has_elements = offsets[1:] > offsets[:-1]
    successors[offsets[1:][has_elements] - 1] = offsets[:-1][has_elements]
    return successors


def take_successor_values(offsets: Indexes, values: Numbers) -> Numbers:
    """Return the value after each element in its row; the first follows the last. No row may be empty.

    It copies values, where `compute_successor_indexes` needs an index.
    """
    shifted = np.empty_like(values)
    shifted[:-1] = values[1:]
    shifted[offsets[1:] - 1] = values[offsets[:-1]]
    return shifted


def split_into_blocks(row_costs: npt.ArrayLike, cost_limit: int = 1 << 20) -> Iterator[slice]:
    """Yield slices of rows whose costs together are at most `cost_limit`, or single rows that cost more.

    Parameters
    ----------
    row_costs
        The cost of each row, shape (n,).
    cost_limit
        The greatest cost of a slice of several rows, in the same unit.

    Yields
    ------
    block
        The rows of the block, in order.
    """
    cumulative_costs = compute_offsets(row_costs)
    start = 0
    while start < len(cumulative_costs) - 1:
        cost_end = cumulative_costs[start] + cost_limit
        last = int(np.searchsorted(cumulative_costs, cost_end, side="right")) - 1
        stop = max(last, start + 1)
        yield slice(start, stop)
        start = stop


def compute_reversed_indexes(offsets: Indexes, is_reversed: Flags) -> Indexes:
    """Return the numbers of all elements, in reverse order in some rows."""
    row, number = compute_element_numbers(np.diff(offsets))
    reversed_numbers = offsets[1:][row] - 1 - number
    return np.where(is_reversed[row], reversed_numbers, offsets[row] + number)


def compute_closed_ring_indexes(ring_offsets: Indexes) -> tuple[Indexes, Indexes]:
    """Return the vertices of rings with the first vertex repeated at the end, and their offsets."""
    size = np.diff(ring_offsets)
    around = compute_offsets(size + 1)
    shift = np.repeat(around[:-1] - ring_offsets[:-1], size + 1)
    vertex = np.arange(around[-1]) - shift
    vertex[around[1:] - 1] = ring_offsets[:-1]
    return vertex, around


def find_largest_circle_gaps(low: Numbers, width: Numbers, row: Indexes, row_count: int) -> tuple[Numbers, Numbers]:
    """Find the widest gap that arcs of a circle leave.

    Parameters
    ----------
    low
        Where each arc begins, degrees in [0, 360); shape (m,).
    width
        The length of each arc, 0 to 360; shape (m,).
    row
        The circle of each arc; shape (m,).
    row_count
        The number of circles.

    Returns
    -------
    begin, size
        Where the widest gap of each circle begins, and its size; shape (rows,). The gap of a circle without arcs is 360
        degrees.
    """
    end = low + width
    crosses_zero = end > 360.0  # such an arc becomes two
    low = np.concatenate([low, np.zeros(crosses_zero.sum())])
    high = np.concatenate([np.minimum(end, 360.0), (end - 360.0)[crosses_zero]])
    row = np.concatenate([row, row[crosses_zero]])
    order = np.lexsort((low, row))
    low = low[order]
    high = high[order]
    row = row[order]
    # the farthest end so far, by ranks, so that it is exact
    order_by_end = np.argsort(high, kind="stable")
    rank = np.empty(len(high), np.int64)
    rank[order_by_end] = np.arange(len(high))
    row_shift = row * len(high)
    farthest_rank = np.maximum.accumulate(rank + row_shift) - row_shift
    reached = high[order_by_end[farthest_rank]]
    begin = np.zeros(row_count)
    size = np.full(row_count, 360.0)
    if not len(low):
        return begin, size
    last = np.flatnonzero(np.append(row[1:] != row[:-1], True))
    first = np.append(0, last[:-1] + 1)
    gap = np.append(low[1:] - reached[:-1], 0.0)
    gap[last] = low[first] + 360.0 - reached[last]
    best = np.lexsort((gap, row))[last]
    gap_rows = row[last]
    begin[gap_rows] = reached[best] % 360.0
    size[gap_rows] = np.maximum(gap[best], 0.0)
    return begin, size


def sort_distinct(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the distinct values of an array of integers, ascending.

    `numpy.unique` looks integers up in a hash table since NumPy 2.3, which takes 5 to 15 times as long.

    Parameters
    ----------
    values
        Integers, shape (n,).

    Returns
    -------
    distinct
        Shape (m,), of the same type.
    """
    ordered = np.sort(values, axis=None)
    distinct: npt.NDArray[Any] = ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]
    return distinct

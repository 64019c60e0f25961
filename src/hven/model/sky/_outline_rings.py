"""Find the rings of outlines: cycles of nodes, each of which is followed by one other node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_HALF_WORD_BITS = 32  # bits


def split_and_rank_outline_rings(
    successor: Whole, twin: Whole | None = None, level: Flags | None = None
) -> tuple[Whole, Whole]:
    """Find the rings of outlines.

    Parameters
    ----------
    successor
        Index of the next node, a permutation, shape (n,). The function changes it where a ring would come to a position
        twice, and so splits the ring.
    twin
        Indexes i of which i and i + 1 are at the same position, shape (k,); None: there are none.
    level
        Whether the edge from each node runs along x, shape (n,). Edges along x and along y alternate, and each pair is
        followed as one. None: nodes are followed one by one.

    Returns
    -------
    root
        The lowest index of each node's ring, shape (n,).
    rank
        The number of steps from there to the node, shape (n,).
    """
    root, rank = _rank_ring_nodes(successor, level)
    if twin is None or not len(twin):
        return root, rank
    touch = twin[root[twin] == root[twin + 1]]
    if not len(touch):
        return root, rank
    successor[touch], successor[touch + 1] = successor[touch + 1], successor[touch]
    changed = np.zeros(len(successor), dtype=np.bool_)
    changed[root[touch]] = True
    changed_nodes = np.flatnonzero(changed[root])
    index = np.empty(len(successor), dtype=np.int64)
    index[changed_nodes] = np.arange(len(changed_nodes))
    changed_level = None
    if level is not None:
        changed_level = level[changed_nodes]
    lowest, rank[changed_nodes] = _rank_ring_nodes(index[successor[changed_nodes]], changed_level)
    root[changed_nodes] = changed_nodes[lowest]
    return root, rank


def _rank_ring_nodes(successor: Whole, level: Flags | None) -> tuple[Whole, Whole]:
    """Find the lowest index of each ring, and each node's distance from it, in steps of 1, 2, 4 .."""
    count = len(successor)
    if level is None:
        first = second = np.arange(count)
        node_ahead = successor
    else:
        first = np.flatnonzero(level)
        second = successor[first]
        place = np.empty(count, dtype=np.int64)
        place[first] = np.arange(len(first))
        node_ahead = place[successor[second]]
    lowest = np.minimum(first, second)
    # the lowest index within a number of steps, and its distance
    best = lowest << _HALF_WORD_BITS
    step = 1
    while True:
        better = np.minimum(best, best[node_ahead] + step)
        if np.array_equal(better, best):
            break
        best = better
        node_ahead = node_ahead[node_ahead]
        step = 2 * step
    root = best >> _HALF_WORD_BITS
    step_count = best & ((1 << _HALF_WORD_BITS) - 1)
    size = np.bincount(root, minlength=count)[root]
    number = np.where(step_count == 0, 0, size - step_count)
    if level is None:
        return root, number
    is_second = np.zeros(count, dtype=np.int64)  # whether the lowest node is the second of its pair
    is_root = step_count == 0
    is_second[root[is_root]] = (lowest == second)[is_root]
    roots = np.empty(count, dtype=np.int64)
    ranks = np.empty(count, dtype=np.int64)
    roots[first] = roots[second] = root
    number = 2 * number - is_second[root]
    ranks[first] = np.where(number < 0, 2 * size - 1, number)
    ranks[second] = number + 1
    return roots, ranks

"""Cut outlines in the image of a disc where they leave it; the plane is that of `DiscImage`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

LIMB_MARGIN_RADII = 2.7e-10
"""Radii: a point nearer to the limb than half of this counts as beyond it.

No corner of a pixel lies on the limb itself.
"""
MIN_HALF_CHORD_RADII = 1e-6
"""Half the length of a line across the disc, in radii, below which the line only touches the disc."""


@dataclass(frozen=True, slots=True)
class ClippedOutlines:
    """Hold outlines that are cut at the limb.

    Attributes
    ----------
    row, u, v, after
        Nodes, shape (n,).
    on_limb
        Whether the edge from each node follows the limb.
    source_node
        Index of each node in the original outlines; -1 for a new node.
    edge_end
        The node at which the rest of each original edge ends.
    is_clipped
        Whether each row was cut.
    """

    row: Whole
    u: Numbers
    v: Numbers
    after: Whole
    on_limb: Flags
    source_node: Whole
    edge_end: Whole
    is_clipped: Flags

    def find_limb_arc(self, row: Whole, a: Numbers, b: Numbers, c: Numbers, d: Numbers) -> Whole:
        """Find the part of the limb that a line meets, by the node where it begins.

        Parameters
        ----------
        row, a, b, c, d
            Row; a point beyond the limb and a point on the disc; shape (n,).

        Returns
        -------
        node
            The last of the outline's nodes on the limb before the line.
        """
        e = c - a
        f = d - b
        g = a * (c - a) + b * (d - b)
        size = e * e + f * f
        discriminant = g * g - size * (a * a + b * b - 1.0)
        t = (-g - np.sqrt(np.maximum(discriminant, 0.0))) / size
        arcs = np.flatnonzero(self.on_limb)
        angle = np.arctan2(self.v[arcs], self.u[arcs])
        order = np.lexsort((angle, self.row[arcs]))
        arcs = arcs[order]
        angle = angle[order]
        arc_rows = self.row[arcs]
        arc_keys = 8.0 * arc_rows + angle
        line_keys = 8.0 * row + np.arctan2(b + t * f, a + t * e)
        at = np.searchsorted(arc_keys, line_keys, "right") - 1
        first = np.searchsorted(arc_rows, row, "left")
        last = np.searchsorted(arc_rows, row, "right")
        return arcs[np.where(at < first, last - 1, at)]


def clip_outlines_at_limb(
    row: Whole, u: Numbers, v: Numbers, successor: Whole, rows_on_limb: Whole, *, row_count: int
) -> ClippedOutlines:
    """Cut outlines at the limb; an outline that leaves the disc follows the limb anticlockwise to the next entry.

    Parameters
    ----------
    row, u, v, successor
        Nodes of outlines, with the region to the left of each edge; shape (n,).
    rows_on_limb
        Rows whose regions contain the point (1, 0) of the limb.
    row_count
        The number of rows.

    Returns
    -------
    cut
        The outlines on the disc.
    """
    w = u * u + v * v
    out = w >= 1.0 - LIMB_MARGIN_RADII
    cut = np.bincount(row[out], minlength=row_count) > 0
    edge = np.flatnonzero(out | out[successor])
    crossings = _find_limb_crossings(u, v, successor, out, edge)
    entry = crossings.entry
    leave = crossings.leave
    across = crossings.across
    to = successor[edge]
    edge_number = np.concatenate([entry, leave])
    new_u = crossings.u
    new_v = crossings.v
    new_row = row[edge[edge_number]]
    total = len(row)
    entries = len(entry)
    number = total + np.arange(len(edge_number))
    cut_counts = np.bincount(new_row, minlength=row_count)
    full_discs = rows_on_limb[cut_counts[rows_on_limb] == 0]
    new_successors = np.empty(len(edge_number) + len(full_discs), dtype=np.int64)
    new_successors[:entries] = to[entry]
    successor = successor.copy()
    successor[edge[leave]] = number[entries:]
    through = np.flatnonzero(across[entry])
    new_successors[through] = number[entries:][across[leave]]  # both in the order of the edges
    order, next_on_limb = _order_nodes_along_limb(new_row, new_u, new_v)
    leaving = order >= entries
    new_successors[order[leaving]] = number[next_on_limb[leaving]]
    disc_count = len(full_discs)
    new_successors[len(edge_number) :] = total + len(edge_number) + np.arange(disc_count)
    old = np.concatenate([np.flatnonzero(~out), np.full(len(new_successors), -1)])
    is_new = np.ones(len(new_successors), dtype=np.bool_)
    keep = np.concatenate([~out, is_new])
    index = np.cumsum(keep) - 1
    limb = np.zeros(len(keep), dtype=np.bool_)
    limb[total + entries :] = True
    cut[full_discs] = True
    all_row = np.concatenate([row, new_row, full_discs])
    all_u = np.concatenate([u, new_u, np.ones(disc_count)])
    all_v = np.concatenate([v, new_v, np.zeros(disc_count)])
    all_successors = np.concatenate([successor, new_successors])
    return ClippedOutlines(
        row=all_row[keep],
        u=all_u[keep],
        v=all_v[keep],
        after=index[all_successors[keep]],
        on_limb=limb[keep],
        source_node=old,
        edge_end=index[successor],
        is_clipped=cut,
    )


def _order_nodes_along_limb(row: Whole, u: Numbers, v: Numbers) -> tuple[Whole, Whole]:
    """Order nodes by their angle on the limb; also return the next node of the same row, for each in this order.

    Along the limb, leaving and entering outlines alternate.
    """
    limb_angle = np.arctan2(v, u)
    order = np.lexsort((limb_angle, row))
    next_on_limb = np.append(order[1:], order[:1])
    row_on_limb = row[order]
    is_last_of_row = np.append(row_on_limb[1:] != row_on_limb[:-1], len(order) > 0)
    ends = np.flatnonzero(is_last_of_row)
    if len(ends):
        first_of_row = order[np.append(0, ends[:-1] + 1)]
        next_on_limb[ends] = first_of_row
    return order, next_on_limb


@dataclass(frozen=True, slots=True)
class _LimbCrossings:
    """Hold where edges enter and leave the disc: the entries first, then the leaves.

    `entry` and `leave` are numbers of edges; `across` flags edges that cross the disc from limb to limb; `u` and `v`
    are the places on the limb.
    """

    entry: Whole
    leave: Whole
    across: Flags
    u: Numbers
    v: Numbers


def _find_limb_crossings(
    u: Numbers, v: Numbers, successor: Whole, is_beyond_limb: Flags, edge: Whole
) -> _LimbCrossings:
    """Find where edges cross the limb.

    `is_beyond_limb` flags nodes beyond it, `edge` are the edges with such a node.
    """
    to = successor[edge]
    du = u[to] - u[edge]
    dv = v[to] - v[edge]
    a = du * du + dv * dv
    b = u[edge] * du + v[edge] * dv
    c = (u * u + v * v)[edge] - (1.0 - LIMB_MARGIN_RADII)
    root = np.sqrt(np.maximum(b * b - a * c, 0.0))
    crosses_chord = (b < 0.0) & (a + b > 0.0) & (root > MIN_HALF_CHORD_RADII * np.sqrt(a))
    across = is_beyond_limb[edge] & is_beyond_limb[to] & crosses_chord
    entry = np.flatnonzero(~is_beyond_limb[to] | across)
    leave = np.flatnonzero(~is_beyond_limb[edge] | across)
    entry_share = ((-b - root) / a)[entry]
    leave_share = ((-b + root) / a)[leave]
    share = np.concatenate([entry_share, leave_share])
    edge_number = np.concatenate([entry, leave])
    begin = edge[edge_number]
    crossing_u = u[begin] + share * du[edge_number]
    crossing_v = v[begin] + share * dv[edge_number]
    norm = np.hypot(crossing_u, crossing_v)
    return _LimbCrossings(entry, leave, across, crossing_u / norm, crossing_v / norm)

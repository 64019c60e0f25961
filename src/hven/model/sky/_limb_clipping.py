"""Limb: cuts outlines in the image of a disc where they leave it; the plane is that of `DiscImage`."""

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
"""What is nearer to the limb than half of this many radii is beyond it.

No corner of a pixel lies on the edge itself.
"""
MIN_HALF_CHORD_RADII = 1e-6
"""Half the length of a line across the disc, in radii, below which it only touches it."""


@dataclass(frozen=True, slots=True)
class ClippedOutlines:
    """Outlines on the disc.

    Attributes
    ----------
    row, u, v, after
        Nodes, shape (n,).
    on_limb
        Whether the edge of each follows the limb.
    source_node
        Index of each in what was cut; -1: it is new.
    edge_end
        For each edge that was given: the node at which what is left of it ends.
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
        """Find where the part of the limb begins that a line comes upon.

        Parameters
        ----------
        row, a, b, c, d
            Row; a point beyond the limb and one on the disc; shape (n,).

        Returns
        -------
        node
            Of the last of the outline's nodes on the limb before it.
        """
        e = c - a
        f = d - b
        g = a * (c - a) + b * (d - b)
        size = e * e + f * f
        t = (-g - np.sqrt(np.maximum(g * g - size * (a * a + b * b - 1.0), 0.0))) / size
        arcs = np.flatnonzero(self.on_limb)
        angle = np.arctan2(self.v[arcs], self.u[arcs])
        order = np.lexsort((angle, self.row[arcs]))
        arcs = arcs[order]
        angle = angle[order]
        at = np.searchsorted(8.0 * self.row[arcs] + angle, 8.0 * row + np.arctan2(b + t * f, a + t * e), "right") - 1
        first, last = (np.searchsorted(self.row[arcs], row, side) for side in ("left", "right"))
        return arcs[np.where(at < first, last - 1, at)]


def clip_at_limb(
    row: Whole, u: Numbers, v: Numbers, successor: Whole, rows_on_limb: Whole, row_count: int
) -> ClippedOutlines:
    """Cut outlines at the limb; where they leave the disc they follow it anticlockwise until the next comes in.

    Parameters
    ----------
    row, u, v, successor
        Nodes of outlines, with the region to the left of each edge; shape (n,).
    rows_on_limb
        Rows whose regions hold the point (1, 0) of the limb.
    row_count
        How many there are.

    Returns
    -------
    cut
        What is left of them.
    """
    w = u * u + v * v
    out = w >= 1.0 - LIMB_MARGIN_RADII
    cut = np.bincount(row[out], minlength=row_count) > 0
    edge = np.flatnonzero(out | out[successor])
    to = successor[edge]
    du = u[to] - u[edge]
    dv = v[to] - v[edge]
    a = du * du + dv * dv
    b = u[edge] * du + v[edge] * dv
    c = w[edge] - (1.0 - LIMB_MARGIN_RADII)
    root = np.sqrt(np.maximum(b * b - a * c, 0.0))
    is_leaving = ~out[edge]
    is_entering = ~out[to]
    across = out[edge] & out[to] & (b < 0.0) & (a + b > 0.0) & (root > MIN_HALF_CHORD_RADII * np.sqrt(a))
    entry = np.flatnonzero(is_entering | across)
    leave = np.flatnonzero(is_leaving | across)
    t = np.concatenate([((-b - root) / a)[entry], ((-b + root) / a)[leave]])
    edge_number = np.concatenate([entry, leave])
    at = edge[edge_number]
    new_u = u[at] + t * du[edge_number]
    new_v = v[at] + t * dv[edge_number]
    new_row = row[at]
    norm = np.hypot(new_u, new_v)
    new_u = new_u / norm
    new_v = new_v / norm
    total = len(row)
    entries = len(entry)
    number = total + np.arange(len(edge_number))
    full_discs = rows_on_limb[np.bincount(new_row, minlength=row_count)[rows_on_limb] == 0]
    new_successors = np.empty(len(edge_number) + len(full_discs), dtype=np.int64)
    new_successors[:entries] = to[entry]
    successor = successor.copy()
    successor[edge[leave]] = number[entries:]
    through = np.flatnonzero(across[entry])
    new_successors[through] = number[entries:][across[leave]]  # both in the order of the edges
    # along the limb, those that leave and those that come in take turns
    order = np.lexsort((np.arctan2(new_v, new_u), new_row))
    next_on_limb = np.append(order[1:], order[:1])
    ends = np.flatnonzero(np.append(new_row[order][1:] != new_row[order][:-1], len(order) > 0))
    if len(ends):
        next_on_limb[ends] = order[np.append(0, ends[:-1] + 1)]
    leaving = order >= entries
    new_successors[order[leaving]] = number[next_on_limb[leaving]]
    new_successors[len(edge_number) :] = total + len(edge_number) + np.arange(len(full_discs))
    old = np.concatenate([np.flatnonzero(~out), np.full(len(new_successors), -1)])
    keep = np.concatenate([~out, np.ones(len(new_successors), dtype=np.bool_)])
    index = np.cumsum(keep) - 1
    limb = np.zeros(len(keep), dtype=np.bool_)
    limb[total + entries :] = True
    cut[full_discs] = True
    return ClippedOutlines(
        np.concatenate([row, new_row, full_discs])[keep],
        np.concatenate([u, new_u, np.ones(len(full_discs))])[keep],
        np.concatenate([v, new_v, np.zeros(len(full_discs))])[keep],
        index[np.concatenate([successor, new_successors])[keep]],
        limb[keep],
        old,
        index[successor],
        cut,
    )

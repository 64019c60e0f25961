"""Limb: cuts outlines in the image of a disc where they leave it; the plane is that of `Disc`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

EDGE = 2.7e-10
"""What is nearer to the limb than half of this many radii is beyond it: no corner of a pixel lies on the edge itself."""
GRAZE = 1e-6
"""Half the length of a line across the disc, in radii, below which it only touches it."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Outlines on the disc.

    Attributes
    ----------
    row, u, v, after
        Nodes, shape (n,).
    limb
        Whether the edge of each follows the limb.
    old
        Index of each in what was cut; -1: it is new.
    ahead
        For each edge that was given: the node at which what is left of it ends.
    cut
        Whether each row was cut.
    """

    row: Whole
    u: Numbers
    v: Numbers
    after: Whole
    limb: Flags
    old: Whole
    ahead: Whole
    cut: Flags

    def arc(self, row: Whole, a: Numbers, b: Numbers, c: Numbers, d: Numbers) -> Whole:
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
        e, f, g = c - a, d - b, a * (c - a) + b * (d - b)
        size = e * e + f * f
        t = (-g - np.sqrt(np.maximum(g * g - size * (a * a + b * b - 1.0), 0.0))) / size
        arcs = np.flatnonzero(self.limb)
        angle = np.arctan2(self.v[arcs], self.u[arcs])
        order = np.lexsort((angle, self.row[arcs]))
        arcs, angle = arcs[order], angle[order]
        at = np.searchsorted(8.0 * self.row[arcs] + angle, 8.0 * row + np.arctan2(b + t * f, a + t * e), "right") - 1
        first, last = (np.searchsorted(self.row[arcs], row, side) for side in ("left", "right"))
        return arcs[np.where(at < first, last - 1, at)]


def clip(row: Whole, u: Numbers, v: Numbers, after: Whole, full: Whole, rows: int) -> Cut:
    """Cut outlines at the limb; where they leave the disc they follow it anticlockwise until the next comes in.

    Parameters
    ----------
    row, u, v, after
        Nodes of outlines, with the region to the left of each edge; shape (n,).
    full
        Rows whose regions hold the point (1, 0) of the limb.
    rows
        How many there are.

    Returns
    -------
    cut
        What is left of them.
    """
    w = u * u + v * v
    out = w >= 1.0 - EDGE
    cut = np.bincount(row[out], minlength=rows) > 0
    edge = np.flatnonzero(out | out[after])
    to = after[edge]
    du, dv = u[to] - u[edge], v[to] - v[edge]
    a, b, c = du * du + dv * dv, u[edge] * du + v[edge] * dv, w[edge] - (1.0 - EDGE)
    root = np.sqrt(np.maximum(b * b - a * c, 0.0))
    leaves, comes = ~out[edge], ~out[to]
    across = out[edge] & out[to] & (b < 0.0) & (a + b > 0.0) & (root > GRAZE * np.sqrt(a))
    entry, leave = np.flatnonzero(comes | across), np.flatnonzero(leaves | across)
    t = np.concatenate([((-b - root) / a)[entry], ((-b + root) / a)[leave]])
    which = np.concatenate([entry, leave])
    at = edge[which]
    new_u, new_v, new_row = u[at] + t * du[which], v[at] + t * dv[which], row[at]
    norm = np.hypot(new_u, new_v)
    new_u, new_v = new_u / norm, new_v / norm
    total, entries = len(row), len(entry)
    number = total + np.arange(len(which))
    whole = full[np.bincount(new_row, minlength=rows)[full] == 0]
    behind = np.empty(len(which) + len(whole), dtype=np.int64)
    behind[:entries] = to[entry]
    after = after.copy()
    after[edge[leave]] = number[entries:]
    through = np.flatnonzero(across[entry])
    behind[through] = number[entries:][across[leave]]  # both in the order of the edges
    # along the limb, those that leave and those that come in take turns
    order = np.lexsort((np.arctan2(new_v, new_u), new_row))
    ahead = np.append(order[1:], order[:1])
    ends = np.flatnonzero(np.append(new_row[order][1:] != new_row[order][:-1], len(order) > 0))
    ahead[ends] = order[np.append(0, ends[:-1] + 1)] if len(ends) else ahead[ends]
    leaving = order >= entries
    behind[order[leaving]] = number[ahead[leaving]]
    behind[len(which) :] = total + len(which) + np.arange(len(whole))
    old = np.concatenate([np.flatnonzero(~out), np.full(len(behind), -1)])
    keep = np.concatenate([~out, np.ones(len(behind), dtype=np.bool_)])
    index = np.cumsum(keep) - 1
    limb = np.zeros(len(keep), dtype=np.bool_)
    limb[total + entries :] = True
    cut[whole] = True
    return Cut(
        np.concatenate([row, new_row, whole])[keep],
        np.concatenate([u, new_u, np.ones(len(whole))])[keep],
        np.concatenate([v, new_v, np.zeros(len(whole))])[keep],
        index[np.concatenate([after, behind])[keep]],
        limb[keep],
        old,
        index[after],
        cut,
    )

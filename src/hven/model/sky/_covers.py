"""Covers of regions by HEALPix cells: those that edges pass through, found by walking along them, and of all others those whose middle is inside.

`cdshealpix` compares each cell with each edge, and holds the interpreter's lock meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import _healpix as healpix
from hven.model.sky._planes import Planes
from hven.model.sky._ragged import numbered
from hven.model.sky._sphere import along, angle, angles, dot, vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky._region_columns import Columns

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_STEP = 0.4  # of a cell's width, along edges
_HALVES = 5  # times that a step is halved which leaves a cell over its corner
_WIDTH = 1.023  # radians times 2**-order: the side of a square of a cell's area
_EVEN = 0x5555555555555555  # bits of a nested index that count cells in one direction


class Cover:
    """The region of one row, ready to be covered."""

    def __init__(self, region: Columns) -> None:
        import shapely  # noqa: PLC0415  (for who computes with regions)

        self._region = region
        self._a = vectors(region.lon, region.lat)
        self._b = self._a[region.followers]
        self._arcs = angle(self._a, self._b)
        self._planes = Planes([region])
        (self._shape,) = self._planes.shapes(0)
        shapely.prepare(self._shape)
        lon, lat = angles(-self._planes.centre)
        self._beyond = bool(region.contains(lon, lat)[0])  # what the plane has no place for

    def ranges(self, order: int) -> Indexes:
        """Return the cells that the region touches; of those that an edge cuts off a corner of, less than a hundredth of a cell wide, one or another may lack.

        Parameters
        ----------
        order
            Finest cells to use, 0 to 29.

        Returns
        -------
        ranges
            Half-open, sorted, disjoint at order 29, shape (m, 2).
        """
        rim = self._rim(order)
        cells: list[Indexes] = []
        levels: list[Indexes] = []
        at = rim
        for level in range(order, -1, -1):
            # of four cells in one around them those are left through which no edge passes; of the twelve largest, too
            above = at >> 2
            new = np.append(True, above[1:] != above[:-1])[: len(above)]
            parents, family = (above[new], np.cumsum(new) - 1) if level else (np.arange(3), above)
            left = np.ones(4 * len(parents), np.bool_)
            left[4 * family + (at & 3)] = False
            cells.append((4 * parents[:, None] + np.arange(4)).ravel()[left])
            levels.append(np.full(len(cells[-1]), level))
            at = parents
        other, depth = np.concatenate(cells), np.concatenate(levels)
        inside = self._holds(other, depth)
        shift = 2 * (healpix.ORDER - np.append(np.full(len(rim), order), depth[inside]))
        found = np.append(rim, other[inside])
        return healpix.merge(np.stack([found << shift, (found + 1) << shift], axis=1))

    def _rim(self, order: int) -> Indexes:
        """Return the cells along the edges, ascending."""
        count = np.maximum(np.ceil(self._arcs * 2.0**order / (_STEP * _WIDTH)), 1.0).astype(np.int64)
        edge, number = numbered(count)
        share = number / count[edge]
        cell = self._cells(order, edge, share)
        found = [cell]
        # the step behind each place, to the next one or to the end of its edge
        last = np.cumsum(count) - 1
        after, ahead = np.append(cell[1:], cell[:1]), share + 1.0 / count[edge]
        after[last] = cell[(np.cumsum(count) - count)[self._region.followers]]
        for _ in range(_HALVES):
            rows = np.flatnonzero(_diagonal(cell, after, order))
            if not len(rows):
                break
            edge, cell, after = edge[rows], cell[rows], after[rows]
            share, ahead = share[rows], ahead[rows]
            middle = (share + ahead) / 2.0
            between = self._cells(order, edge, middle)
            found.append(between)
            edge = np.tile(edge, 2)
            share, ahead = np.append(share, middle), np.append(middle, ahead)
            cell, after = np.append(cell, between), np.append(between, after)
        cells = np.unique(np.concatenate(found))
        return cells[cells >= 0]

    def _cells(self, order: int, edge: Indexes, share: Numbers) -> Indexes:
        return healpix.index(order, *angles(along(self._a[edge], self._b[edge], share)))

    def _holds(self, cells: Indexes, levels: Indexes) -> Flags:
        """Tell which cells without an edge are inside."""
        import shapely  # noqa: PLC0415  (for who computes with regions)

        planes = self._planes
        xyz = vectors(*healpix.center(levels, cells))
        xy = planes.project(xyz, np.zeros(len(xyz), np.int64))
        near = (np.abs(xy).max(axis=1) < planes.frame[0]) & (planes.wide[0] | (dot(xyz, planes.centre[0]) > 0.1))
        inside = np.full(len(xyz), self._beyond)
        inside[near] = shapely.contains_xy(self._shape, xy[near])
        return inside


def _diagonal(a: Indexes, b: Indexes, order: int) -> Flags:
    """Tell which cells neither are one nor share a side, as far as their numbers say."""
    differ = a ^ b
    some = differ != 0
    found = some & ((differ & _EVEN) != 0) & ((differ >> 1 & _EVEN) != 0)
    return np.asarray(found | some & (differ >> 2 * order != 0))

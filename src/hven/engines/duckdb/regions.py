"""The position index of regions: which HEALPix cells each shape of a column may touch, so that a point or a shape finds its regions.

`hven.engines._regions` puts them into cells; here they are one ascending array that has all orders. What a look-up finds is tested
again by the condition itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.engines._regions import cells_of_column, ranges_of
from hven.model.sky import Circle, Moc, Point, healpix, sphere

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from hven.model.sky import Shape

    Indexes = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]


WIDENED = 100_000  # cells of a MOC whose neighbours are looked for


@dataclass(frozen=True, slots=True)
class RegionIndex:
    """The index of one column, open."""

    cells: Indexes
    rows: npt.NDArray[Any]
    orders: tuple[int, ...]  # that there are
    caps: npt.NDArray[np.float32] | None  # around the region of each row: unit vector, radius in radians

    @classmethod
    def of(cls, cells: Indexes, rows: npt.NDArray[Any], caps: npt.NDArray[np.float32] | None = None) -> RegionIndex:
        """Build the index of sorted cells."""
        ends = np.searchsorted(cells, [4 ** (order + 1) for order in range(healpix.ORDER + 2)])
        return cls(cells, rows, tuple(int(order) for order in np.flatnonzero(np.diff(ends))), caps)

    def touched(self, shape: Shape | Moc, limit: int) -> Indexes | None:
        """Return ascending numbers of the rows whose region may touch a shape; None if they are more than `limit`."""
        wide = Widened(shape) if isinstance(shape, Moc) else None
        ranges = ranges_of(shape) if not isinstance(shape, Moc) else shape.ranges
        found: list[Indexes] = []
        for order in self.orders:
            places = self._places(ranges if wide is None else wide.at(order), order)
            found += [self.rows[a:b] for a, b in places.tolist() if b > a]
        rows = np.unique(np.concatenate(found)).astype(np.int64) if found else np.empty(0, np.int64)
        if isinstance(shape, Point | Circle):
            radius = shape.radius if isinstance(shape, Circle) else 0.0
            rows = rows[self.near(rows, sphere.vectors(shape.lon, shape.lat), np.radians(radius))]
        return None if len(rows) > limit else rows

    def near(self, rows: Indexes, middle: Numbers, radius: Numbers | float) -> npt.NDArray[np.bool_]:
        """Tell whose cap is as near to circles as their radii allow; a chord is never longer than its angle.

        Parameters
        ----------
        rows
            Numbers of rows, (n,).
        middle
            Unit vectors, (n, 3) or (3,).
        radius
            Radians, (n,) or one.
        """
        if self.caps is None:
            return np.ones(len(rows), np.bool_)
        caps = self.caps[rows]
        away = caps[:, :3] - middle
        reach = caps[:, 3] + radius
        found: npt.NDArray[np.bool_] = (np.einsum("ij,ij->i", away, away) <= reach * reach) | (caps[:, 3] > np.pi)
        return found

    def spans(self, ranges: Indexes, owner: Indexes) -> Iterator[Indexes]:
        """Yield for each order where in `rows` those stand whose cells touch each of some half-open ranges of the highest order.

        Parameters
        ----------
        ranges
            Ascending for each owner, (n, 2).
        owner
            Whose they are, (n,): a cell is looked up for it once.
        """
        for order in self.orders:
            yield self._places(ranges, order, owner)

    def _places(self, ranges: Indexes, order: int, owner: Indexes | None = None) -> Indexes:
        shift = 2 * (healpix.ORDER - order)
        low, high = ranges[:, 0] >> shift, ((ranges[:, 1] - 1) >> shift) + 1
        # coarser cells of neighbouring ranges are looked up once
        again = np.maximum(low[1:], high[:-1])
        low[1:] = again if owner is None else np.where(owner[1:] == owner[:-1], again, low[1:])
        places: Indexes = np.searchsorted(self.cells, np.stack([low, np.maximum(low, high)], axis=1) + 4 ** (order + 1))
        return places


class Widened:
    """A MOC with a margin around it: what is compared with a MOC is made cells first, which reach beyond the shape."""

    def __init__(self, moc: Moc) -> None:
        self._moc = moc
        self._made: dict[int, Indexes] = {}

    def at(self, order: int) -> Indexes:
        """Return ranges that hold the MOC and what is around it, for regions in cells of an order; these are made fine cells, at least two orders up."""
        order = min(order, self._moc.order)
        while order and self._count(order) > WIDENED:
            order -= 1
        if order not in self._made:
            self._made[order] = healpix.neighbourhood(self._moc.ranges, order)
        return self._made[order]

    def _count(self, order: int) -> int:
        ranges = healpix.degrade(self._moc.ranges, order)
        return int((ranges[:, 1] - ranges[:, 0]).sum()) >> 2 * (healpix.ORDER - order)


__all__ = ["RegionIndex", "cells_of_column"]

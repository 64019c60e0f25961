"""The position index of regions: which HEALPix cells each shape of a column may touch, so that a point or a shape finds its regions.

`hven.engines._regions` puts them into cells; here they are one ascending array that has all orders. What a look-up finds is tested
again by the condition itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.engines._regions import cells_of_column, ranges_of
from hven.model.sky import Moc, healpix

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky import Shape

    Indexes = npt.NDArray[np.int64]


WIDENED = 100_000  # cells of a MOC whose neighbours are looked for


@dataclass(frozen=True, slots=True)
class RegionIndex:
    """The index of one column, open."""

    cells: Indexes
    rows: npt.NDArray[Any]
    orders: tuple[int, ...]  # that there are

    @classmethod
    def of(cls, cells: Indexes, rows: npt.NDArray[Any]) -> RegionIndex:
        """Build the index of sorted cells."""
        ends = np.searchsorted(cells, [4 ** (order + 1) for order in range(healpix.ORDER + 2)])
        return cls(cells, rows, tuple(int(order) for order in np.flatnonzero(np.diff(ends))))

    def touched(self, shape: Shape | Moc, limit: int) -> Indexes | None:
        """Return ascending numbers of the rows whose region may touch a shape; None if they are more than `limit`."""
        wide = Widened(shape) if isinstance(shape, Moc) else None
        ranges = ranges_of(shape) if not isinstance(shape, Moc) else shape.ranges
        found: list[Indexes] = []
        for order in self.orders:
            ranges = ranges if wide is None else wide.at(order)
            shift = 2 * (healpix.ORDER - order)
            low, high = ranges[:, 0] >> shift, ((ranges[:, 1] - 1) >> shift) + 1
            low[1:] = np.maximum(low[1:], high[:-1])  # coarser cells of neighbouring ranges are looked up once
            spans = np.stack([low, np.maximum(low, high)], axis=1) + 4 ** (order + 1)
            places = np.searchsorted(self.cells, spans)
            found += [self.rows[a:b] for a, b in places.tolist() if b > a]
        rows = np.unique(np.concatenate(found)).astype(np.int64) if found else np.empty(0, np.int64)
        return None if len(rows) > limit else rows


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

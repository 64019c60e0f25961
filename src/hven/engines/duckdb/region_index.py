"""The position index of regions.

Which HEALPix cells each shape of a column may touch, so that a point or a shape finds its regions.

`hven.engines._region_cells` puts them into cells; here they are one ascending array that has all orders. What a look-up
finds is tested again by the condition itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.engines._region_cells import cover_region_column, cover_shape_ranges
from hven.model.sky import Circle, Moc, Point, healpix, sphere

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from hven.model.sky import Shape

    Indexes = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]


MAX_WIDENED_CELLS = 100_000  # cells of a MOC whose neighbours are looked for


@dataclass(frozen=True, slots=True)
class RegionIndex:
    """The index of one column, open."""

    cells: Indexes
    rows: npt.NDArray[Any]
    orders: tuple[int, ...]  # that there are
    caps: npt.NDArray[np.float32] | None  # around the region of each row: unit vector, radius in radians

    @classmethod
    def from_cells(
        cls, cells: Indexes, rows: npt.NDArray[Any], caps: npt.NDArray[np.float32] | None = None
    ) -> RegionIndex:
        """Build the index of sorted cells."""
        order_ends = np.searchsorted(cells, [4 ** (order + 1) for order in range(healpix.MAX_ORDER + 2)])
        return cls(cells, rows, tuple(int(order) for order in np.flatnonzero(np.diff(order_ends))), caps)

    def find_touching_rows(self, shape: Shape | Moc, row_limit: int) -> Indexes | None:
        """Return ascending numbers of the rows whose region may touch a shape.

        None if they are more than `row_limit`.
        """
        if isinstance(shape, Moc):
            widened_moc = WidenedMoc(shape)
        else:
            widened_moc = None
        if not isinstance(shape, Moc):
            ranges = cover_shape_ranges(shape)
        else:
            ranges = shape.ranges
        row_parts: list[Indexes] = []
        for order in self.orders:
            places = self._find_places(ranges if widened_moc is None else widened_moc.widen_at_order(order), order)
            row_parts += [self.rows[a:b] for a, b in places.tolist() if b > a]
        if row_parts:
            rows = np.unique(np.concatenate(row_parts)).astype(np.int64)
        else:
            rows = np.empty(0, np.int64)
        if isinstance(shape, Point | Circle):
            if isinstance(shape, Circle):
                radius = shape.radius
            else:
                radius = 0.0
            rows = rows[self.test_caps(rows, sphere.to_unit_vectors(shape.lon, shape.lat), np.radians(radius))]
        return None if len(rows) > row_limit else rows

    def test_caps(self, rows: Indexes, centre_vectors: Numbers, radius: Numbers | float) -> npt.NDArray[np.bool_]:
        """Tell whose cap is as near to circles as their radii allow; a chord is never longer than its angle.

        Parameters
        ----------
        rows
            Numbers of rows, (n,).
        centre_vectors
            Unit vectors, (n, 3) or (3,).
        radius
            Radians, (n,) or one.
        """
        if self.caps is None:
            return np.ones(len(rows), np.bool_)
        caps = self.caps[rows]
        difference_vectors = caps[:, :3] - centre_vectors
        reach_radians = caps[:, 3] + radius
        squared_distances = np.einsum("ij,ij->i", difference_vectors, difference_vectors)
        is_near: npt.NDArray[np.bool_] = squared_distances <= reach_radians * reach_radians
        return is_near | (caps[:, 3] > np.pi)

    def iterate_places(self, ranges: Indexes, range_owners: Indexes) -> Iterator[Indexes]:
        """Yield for each order the places in `rows` whose cells touch ranges of the highest order.

        Parameters
        ----------
        ranges
            Half-open ranges of cells, ascending for each owner; shape (n, 2).
        range_owners
            The owner of each range, shape (n,): a cell is looked up once for an owner.
        """
        for order in self.orders:
            yield self._find_places(ranges, order, range_owners)

    def _find_places(self, ranges: Indexes, order: int, range_owners: Indexes | None = None) -> Indexes:
        shift = 2 * (healpix.MAX_ORDER - order)
        low = ranges[:, 0] >> shift
        high = ((ranges[:, 1] - 1) >> shift) + 1
        # coarser cells of neighbouring ranges are looked up once
        next_low = np.maximum(low[1:], high[:-1])
        if range_owners is None:
            low[1:] = next_low
        else:
            low[1:] = np.where(range_owners[1:] == range_owners[:-1], next_low, low[1:])
        places: Indexes = np.searchsorted(self.cells, np.stack([low, np.maximum(low, high)], axis=1) + 4 ** (order + 1))
        return places


class WidenedMoc:
    """A MOC with a margin around it: what is compared with a MOC is made cells first, which reach beyond the shape."""

    def __init__(self, moc: Moc) -> None:
        self._moc = moc
        self._ranges_by_order: dict[int, Indexes] = {}

    def widen_at_order(self, order: int) -> Indexes:
        """Return ranges that hold the MOC and what is around it, for regions in cells of an order.

        These are made fine cells, at least two orders up.
        """
        order = min(order, self._moc.order)
        while order and self._count_cells(order) > MAX_WIDENED_CELLS:
            order -= 1
        if order not in self._ranges_by_order:
            self._ranges_by_order[order] = healpix.add_neighbours(self._moc.ranges, order)
        return self._ranges_by_order[order]

    def _count_cells(self, order: int) -> int:
        ranges = healpix.degrade_ranges(self._moc.ranges, order)
        return int((ranges[:, 1] - ranges[:, 0]).sum()) >> 2 * (healpix.MAX_ORDER - order)


__all__ = ["RegionIndex", "cover_region_column"]

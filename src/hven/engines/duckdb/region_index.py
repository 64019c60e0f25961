"""The position index of regions: the HEALPix cells that each shape of a column may touch.

It finds the regions for a point or a shape. `hven.engines._region_cells` computes the cells; the index is one ascending
array that has all orders. The condition itself is tested on the rows that a look-up finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.engines._region_cells import compute_shape_cell_ranges, cover_regions_with_cells_and_caps
from hven.model.sky import Circle, Moc, Point, healpix, sphere
from hven.model.sky.api.ragged_arrays import sort_distinct

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from hven.model.sky import Shape

    Indexes = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]


MAX_WIDENED_CELLS = 100_000  # maximum number of cells of a MOC that get neighbours


@dataclass(frozen=True, slots=True)
class RegionIndex:
    """The open index of one column."""

    cells: Indexes
    rows: npt.NDArray[Any]
    orders: tuple[int, ...]  # the orders of `cells`
    caps: npt.NDArray[np.float32] | None  # around the region of each row: unit vector, radius in radians

    @classmethod
    def from_cells(
        cls, cells: Indexes, rows: npt.NDArray[Any], caps: npt.NDArray[np.float32] | None = None
    ) -> RegionIndex:
        """Build the index of sorted cells."""
        order_ends = np.searchsorted(cells, [4 ** (order + 1) for order in range(healpix.MAX_ORDER + 2)])
        return cls(cells, rows, tuple(int(order) for order in np.flatnonzero(np.diff(order_ends))), caps)

    def find_possibly_touching_rows(self, shape: Shape | Moc, row_limit: int) -> Indexes | None:
        """Return ascending numbers of the rows whose region may touch a shape.

        Return None if they are more than `row_limit`.
        """
        row_parts = [np.empty(0, self.rows.dtype)]
        if isinstance(shape, Moc):
            widened_moc = WidenedMoc(shape)
            for order in self.orders:
                row_parts += self._list_rows_in_ranges(widened_moc.widen_at_order(order), order)
        else:
            ranges = compute_shape_cell_ranges(shape)
            for order in self.orders:
                row_parts += self._list_rows_in_ranges(ranges, order)
        rows: Indexes = sort_distinct(np.concatenate(row_parts)).astype(np.int64)
        if isinstance(shape, Point | Circle):
            radius = 0.0
            if isinstance(shape, Circle):
                radius = shape.radius
            centre_vector = sphere.to_unit_vectors(shape.lon, shape.lat)
            rows = rows[self.compute_near_cap_mask(rows, centre_vector, np.radians(radius))]
        if len(rows) > row_limit:
            return None
        return rows

    def _list_rows_in_ranges(self, ranges: Indexes, order: int) -> list[npt.NDArray[Any]]:
        places = self._find_cell_places(ranges, order)
        return [self.rows[begin:end] for begin, end in places.tolist() if end > begin]

    def compute_near_cap_mask(
        self, rows: Indexes, centre_vectors: Numbers, radius: Numbers | float
    ) -> npt.NDArray[np.bool_]:
        """Return a mask of the rows whose cap may touch a circle.

        The distance is a chord, which is never longer than its angle.

        Parameters
        ----------
        rows
            Row numbers, shape (n,).
        centre_vectors
            Unit vectors of the circles' centres, shape (n, 3) or (3,).
        radius
            Radii of the circles in radians, shape (n,) or one number.
        """
        if self.caps is None:
            return np.ones(len(rows), np.bool_)
        caps = self.caps[rows]
        difference_vectors = caps[:, :3] - centre_vectors
        reach_radians = caps[:, 3] + radius
        squared_distances = np.einsum("ij,ij->i", difference_vectors, difference_vectors)
        is_near: npt.NDArray[np.bool_] = squared_distances <= reach_radians * reach_radians
        return is_near | (caps[:, 3] > np.pi)

    def iterate_possibly_touching_places(self, ranges: Indexes, range_owners: Indexes) -> Iterator[Indexes]:
        """Yield for each order the places in `rows` whose cells touch ranges of the highest order.

        Parameters
        ----------
        ranges
            Half-open ranges of cells, ascending for each owner; shape (n, 2).
        range_owners
            The owner of each range, shape (n,): a cell is looked up once for an owner.
        """
        for order in self.orders:
            yield self._find_cell_places(ranges, order, range_owners)

    def _find_cell_places(self, ranges: Indexes, order: int, range_owners: Indexes | None = None) -> Indexes:
        shift = 2 * (healpix.MAX_ORDER - order)
        low = ranges[:, 0] >> shift
        high = ((ranges[:, 1] - 1) >> shift) + 1
        # a coarse cell that several neighbouring ranges touch is looked up once
        next_low = np.maximum(low[1:], high[:-1])
        if range_owners is None:
            low[1:] = next_low
        else:
            low[1:] = np.where(range_owners[1:] == range_owners[:-1], next_low, low[1:])
        cell_ranges = np.stack([low, np.maximum(low, high)], axis=1)
        places: Indexes = np.searchsorted(self.cells, cell_ranges + 4 ** (order + 1))
        return places


class WidenedMoc:
    """A MOC with a margin: a shape that is compared with a MOC is converted to cells, which reach beyond the shape."""

    def __init__(self, moc: Moc) -> None:
        self._moc = moc
        self._ranges_by_order: dict[int, Indexes] = {}

    def widen_at_order(self, order: int) -> Indexes:
        """Return ranges that hold the MOC and its margin, for regions in cells of an order.

        The regions are converted to finer cells, of at least two orders more.
        """
        order = min(order, self._moc.order)
        while order and self._count_cells(order) > MAX_WIDENED_CELLS:
            order -= 1
        if order not in self._ranges_by_order:
            self._ranges_by_order[order] = healpix.add_neighbour_cells(self._moc.ranges, order)
        return self._ranges_by_order[order]

    def _count_cells(self, order: int) -> int:
        ranges = healpix.degrade_ranges(self._moc.ranges, order)
        return int((ranges[:, 1] - ranges[:, 0]).sum()) >> 2 * (healpix.MAX_ORDER - order)


__all__ = ["RegionIndex", "cover_regions_with_cells_and_caps"]

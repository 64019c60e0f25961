"""Represent a region of the sky as HEALPix cells (MOC 2.0, space only), with unions, tests and ASCII."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import _healpix as healpix
from hven.model.sky import _moc_texts
from hven.model.sky._ragged_arrays import sort_distinct

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pyarrow as pa

    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Moc:
    """Represent a set of HEALPix cells.

    Attributes
    ----------
    ranges
        Half-open, sorted, disjoint at order 29, shape (n, 2).
    order
        The MOC's order: its resolution.
    """

    ranges: Indexes
    order: int

    @classmethod
    def from_cells(cls, cells: npt.ArrayLike, order: int, target_order: int | None = None) -> Moc:
        """Make the MOC of cells.

        Parameters
        ----------
        cells
            Nested indexes, any shape; negative indexes are ignored.
        order
            Order of the cells, 0 to 29.
        target_order
            The order of the MOC; None: `order`.

        Returns
        -------
        moc
            A MOC of the coarser order.
        """
        moc_order = order
        if target_order is not None:
            moc_order = min(target_order, order)
        coarse_cells = sort_distinct(np.asarray(cells, dtype=np.int64) >> 2 * (order - moc_order))
        coarse_cells = coarse_cells[coarse_cells >= 0]
        shift = 2 * (healpix.MAX_ORDER - moc_order)
        ranges = np.stack([coarse_cells << shift, (coarse_cells + 1) << shift], axis=1)
        return cls(healpix.merge_ranges(ranges), moc_order)

    @classmethod
    def parse(cls, text: str) -> Moc:
        """Parse an ASCII MOC (MOC 2.0, 4.3.2): ``6/1-4 9 7/16``.

        Parameters
        ----------
        text
            Orders, cells and ranges of cells, separated by blanks or commas.

        Returns
        -------
        moc
            A MOC of the finest order in the text.

        Raises
        ------
        ValueError
            The text is not a MOC; the message names the problem and its offset.
        """
        order = -1
        max_order = -1
        range_pairs: list[tuple[int, int]] = []
        for match in re.finditer(r"[^\s,]+", text):
            word = match.group()
            parts = re.fullmatch(r"(?:s?(\d+)/)?(?:(\d+)(?:-(\d+))?)?", word)
            if parts is None:
                message = f"offset {match.start()}: {word!r} is not 'order/', a cell or a range of cells"
                raise ValueError(message)
            if parts[1] is None and order < 0:
                message = f"offset {match.start()}: {word!r} has no order; write 'order/' before the first cell"
                raise ValueError(message)
            if parts[1] is not None:
                order = int(parts[1])
                if order > healpix.MAX_ORDER:
                    message = f"offset {match.start()}: order {order} is above {healpix.MAX_ORDER}"
                    raise ValueError(message)
                max_order = max(max_order, order)
            if parts[2] is not None:
                first = int(parts[2])
                last = int(parts[3] or parts[2])
                if last < first:
                    message = f"offset {match.start()}: {word!r} ends before it begins"
                    raise ValueError(message)
                if last >= 12 << 2 * order:
                    message = (
                        f"offset {match.start()}: order {order} has no cell {last}; "
                        f"its last cell is {(12 << 2 * order) - 1}"
                    )
                    raise ValueError(message)
                shift = 2 * (healpix.MAX_ORDER - order)
                range_pairs.append((first << shift, (last + 1) << shift))
        if max_order < 0:
            message = "offset 0: an empty string is not a MOC (an empty MOC is '0/')"
            raise ValueError(message)
        ranges = np.array(range_pairs, dtype=np.int64).reshape(-1, 2)
        return cls(healpix.merge_ranges(ranges), max_order)

    def __str__(self) -> str:
        """Write the MOC in ASCII; a closing ``order/`` gives the order if no cell shows it."""
        text: str = self.to_texts([self])[0].as_py()
        return text

    @staticmethod
    def to_texts(mocs: Sequence[Moc]) -> pa.Array:
        """Write MOCs in ASCII, many at once.

        Parameters
        ----------
        mocs
            Any number of them.

        Returns
        -------
        texts
            Strings, shape (n,).
        """
        return _moc_texts.write_moc_texts([moc.ranges for moc in mocs], [moc.order for moc in mocs])

    @staticmethod
    def compute_text_sky_fractions(texts: pa.Array) -> npt.NDArray[np.float64]:
        """Sum the areas of the cells of ASCII MOCs, many at once.

        Parameters
        ----------
        texts
            Strings that look like MOCs, shape (n,).

        Returns
        -------
        areas
            Shares of the sky, shape (n,); NaN where cells do not exist, 0 for MOCs in space and time.
        """
        return _moc_texts.compute_moc_text_sky_fractions(texts)

    def __eq__(self, other: object) -> bool:
        """Compare orders and cells."""
        return isinstance(other, Moc) and self.order == other.order and np.array_equal(self.ranges, other.ranges)

    def __hash__(self) -> int:
        return hash((self.order, self.ranges.tobytes()))

    def __or__(self, other_moc: Moc) -> Moc:
        """Unite two MOCs; the result has the finer order."""
        ranges = np.concatenate([self.ranges, other_moc.ranges])
        return Moc(healpix.merge_ranges(ranges), max(self.order, other_moc.order))

    def __and__(self, other_moc: Moc) -> Moc:
        """Intersect two MOCs; the result has the finer order."""
        return Moc(healpix.intersect_ranges(self.ranges, other_moc.ranges), max(self.order, other_moc.order))

    def __invert__(self) -> Moc:
        """Return the rest of the sky."""
        return Moc(healpix.complement_ranges(self.ranges), self.order)

    def __sub__(self, other_moc: Moc) -> Moc:
        """Subtract the cells of another MOC."""
        return self & ~other_moc

    def degrade(self, order: int) -> Moc:
        """Degrade the MOC to all touched cells of a coarser order.

        Parameters
        ----------
        order
            0 to 29.

        Returns
        -------
        moc
            The MOC itself if it is coarser already.
        """
        if order >= self.order:
            return self
        return Moc(healpix.degrade_ranges(self.ranges, order), order)

    def contains(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Flags:
        """Return which positions lie in the MOC.

        Parameters
        ----------
        lon, lat
            Degrees, of one shape.

        Returns
        -------
        inside
            Of the same shape.
        """
        cell_indexes = healpix.compute_cell_indexes(healpix.MAX_ORDER, lon, lat)
        return healpix.is_in_ranges(self.ranges, cell_indexes)

    @property
    def fraction(self) -> float:
        """Share of the sky, 0 to 1."""
        cell_count = (self.ranges[:, 1] - self.ranges[:, 0]).sum()
        return float(cell_count / healpix.MAX_ORDER_CELL_COUNT)

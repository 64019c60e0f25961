"""MOC: a region of the sky as HEALPix cells (MOC 2.0, space only): from positions, from ASCII, unions, tests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import _healpix as healpix
from hven.model.sky import _moc_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pyarrow as pa

    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Moc:
    """A set of HEALPix cells.

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
        """Build the MOC of cells.

        Parameters
        ----------
        cells
            Nested indexes, any shape; negative ones are left out.
        order
            Theirs, 0 to 29.
        target_order
            The order to degrade them to; None: `order`.

        Returns
        -------
        moc
            Of the coarser order.
        """
        if target_order is None:
            moc_order = order
        else:
            moc_order = min(target_order, order)
        coarse_cells = np.unique(np.asarray(cells, dtype=np.int64) >> 2 * (order - moc_order))
        coarse_cells = coarse_cells[coarse_cells >= 0]
        shift = 2 * (healpix.MAX_ORDER - moc_order)
        return cls(
            healpix.merge_ranges(np.stack([coarse_cells << shift, (coarse_cells + 1) << shift], axis=1)), moc_order
        )

    @classmethod
    def parse(cls, text: str) -> Moc:
        """Parse an ASCII MOC (MOC 2.0, 4.3.2): ``6/1-4 9 7/16``.

        Parameters
        ----------
        text
            Orders, cells and ranges of cells; blanks or commas between.

        Returns
        -------
        moc
            Of the finest order that is named.

        Raises
        ------
        ValueError
            Not a MOC; says what and at which offset.
        """
        order = -1
        max_order = -1
        range_pairs: list[tuple[int, int]] = []
        for match in re.finditer(r"[^\s,]+", text):
            word = match.group()
            parts = re.fullmatch(r"(?:s?(\d+)/)?(?:(\d+)(?:-(\d+))?)?", word)
            if parts is None or (parts[1] is None and order < 0):
                message = f"offset {match.start()}: {word!r} is not 'order/', a cell or a range of cells"
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
                if last < first or last >= 12 << 2 * order:
                    if last >= first:
                        message = f"offset {match.start()}: order {order} has no cells {parts[2]}-{last}"
                    else:
                        message = f"offset {match.start()}: {word!r} ends before it begins"
                    raise ValueError(message)
                shift = 2 * (healpix.MAX_ORDER - order)
                range_pairs.append((first << shift, (last + 1) << shift))
        if max_order < 0:
            message = "offset 0: an empty text is no MOC (an empty MOC is '0/')"
            raise ValueError(message)
        return cls(healpix.merge_ranges(np.array(range_pairs, dtype=np.int64).reshape(-1, 2)), max_order)

    def __str__(self) -> str:
        """Write the MOC in ASCII; the order is kept by a closing ``order/`` where no cell shows it."""
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
    def compute_text_areas(texts: pa.Array) -> npt.NDArray[np.float64]:
        """Sum the areas of the cells of ASCII MOCs, many at once.

        Parameters
        ----------
        texts
            Strings that look like MOCs, shape (n,).

        Returns
        -------
        areas
            Shares of the sky, shape (n,); NaN where there are no such cells, 0 of those in space and time.
        """
        return _moc_texts.compute_moc_areas(texts)

    def __eq__(self, other: object) -> bool:
        """Compare order and cells."""
        return isinstance(other, Moc) and self.order == other.order and np.array_equal(self.ranges, other.ranges)

    def __hash__(self) -> int:
        return hash((self.order, self.ranges.tobytes()))

    def __or__(self, other_moc: Moc) -> Moc:
        """Unite; the finer order stays."""
        return Moc(
            healpix.merge_ranges(np.concatenate([self.ranges, other_moc.ranges])), max(self.order, other_moc.order)
        )

    def __and__(self, other_moc: Moc) -> Moc:
        """Intersect; the finer order stays."""
        return Moc(healpix.intersect_ranges(self.ranges, other_moc.ranges), max(self.order, other_moc.order))

    def __invert__(self) -> Moc:
        """Return the rest of the sky."""
        return Moc(healpix.complement_ranges(self.ranges), self.order)

    def __sub__(self, other_moc: Moc) -> Moc:
        """Subtract the other's cells."""
        return self & ~other_moc

    def degrade(self, order: int) -> Moc:
        """Degrade the MOC to cells of a coarser order, every touched one.

        Parameters
        ----------
        order
            0 to 29.

        Returns
        -------
        moc
            Itself if it is coarser already.
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
        return float((self.ranges[:, 1] - self.ranges[:, 0]).sum() / healpix.MAX_ORDER_CELL_COUNT)

"""MOCs that tests compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.sky import Moc
from hven.model.sky import _healpix as healpix

if TYPE_CHECKING:
    import numpy.typing as npt


def cover_positions(lon: npt.ArrayLike, lat: npt.ArrayLike, order: int) -> Moc:
    """Build the MOC of the cells that hold positions, in degrees; NaN is left out."""
    return Moc.from_cells(healpix.compute_cell_indexes(order, lon, lat), order)

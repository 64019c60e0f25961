"""Draw coverages of the sky as SVG paths, in the Hammer projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import Moc, healpix

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_SKY_CELLS = 800  # of the small sky map


def draw_moc_svg_path(moc: str) -> str:
    """Draw a MOC (ASCII) on the whole sky, in the Hammer projection.

    Return an SVG path in a box of 5.66 by 2.83 around 0, with east to the left.
    """
    if not moc.strip():
        return ""
    ranges = Moc.parse(moc).ranges
    order = 4
    for order in (4, 3, 2):
        cell_width = 1 << 2 * (healpix.MAX_ORDER - order)
        cell_ranges = [np.empty(0, np.int64)]
        for begin, end in ranges.tolist():
            cell_ranges.append(np.arange(begin // cell_width, -(-end // cell_width)))
        cells = np.unique(np.concatenate(cell_ranges))
        if cells.size <= MAX_SKY_CELLS:
            break
    if not cells.size:
        return ""
    paths = []
    for longitudes, latitudes in zip(*healpix.compute_cell_vertices(order, cells), strict=True):
        paths += _draw_sky_cell(longitudes, latitudes)
    return "".join(paths)


def _draw_sky_cell(longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
    """Draw one cell; a cell on the edge of the map is drawn at both sides."""
    wrapped = (longitudes + 180) % 360 - 180
    if np.ptp(wrapped) <= 180:
        return [_write_projected_path(wrapped, latitudes)]
    east = np.where(wrapped < 0, wrapped + 360, wrapped)
    return [
        _write_projected_path(np.clip(east, -180, 180), latitudes),
        _write_projected_path(np.clip(east - 360, -180, 180), latitudes),
    ]


def _write_projected_path(longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> str:
    half_longitude = np.radians(-longitudes) / 2
    latitude = np.radians(latitudes)
    root = np.sqrt(1 + np.cos(latitude) * np.cos(half_longitude))
    x = 2 * np.sqrt(2) * np.cos(latitude) * np.sin(half_longitude) / root
    y = -np.sqrt(2) * np.sin(latitude) / root
    return "M" + "L".join(f"{a:.2f} {b:.2f}" for a, b in zip(x, y, strict=True)) + "z"

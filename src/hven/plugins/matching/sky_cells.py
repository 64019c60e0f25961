"""Cells of the sky: bands of declination, each cut into parts of equal width in right ascension."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]
    Masks = npt.NDArray[np.bool_]

BAND_DEGREES = 0.5
BAND_COUNT = round(180 / BAND_DEGREES)
_MIDDLES = (np.arange(BAND_COUNT) + 0.5) * BAND_DEGREES - 90
_CELLS_OF_BANDS = np.ceil(360 * np.cos(np.radians(_MIDDLES)) / BAND_DEGREES).astype(np.int64)
_FIRST_CELLS = np.cumsum(_CELLS_OF_BANDS) - _CELLS_OF_BANDS
UNKNOWN_CELL = int(_CELLS_OF_BANDS.sum())  # of stars without a position
CELL_COUNT = UNKNOWN_CELL + 1
_MARGIN_DEGREES = 1e-6


def find_position_cells(longitudes: Floats, latitudes: Floats) -> Rows:
    """Return the number of the cell of each position.

    Parameters
    ----------
    longitudes, latitudes
        Degrees, shape (n,); longitudes from 0 to 360. NaN: unknown.
    """
    is_known = np.isfinite(longitudes) & np.isfinite(latitudes)
    bands = _find_latitude_bands(np.where(is_known, latitudes, 0.0))
    cells = _FIRST_CELLS[bands] + _find_cells_in_bands(np.where(is_known, longitudes, 0.0), bands)
    return np.where(is_known, cells, UNKNOWN_CELL)


def find_touched_cells(longitudes: Floats, latitudes: Floats, radii_arcsec: Floats) -> Masks:
    """Return for each cell whether a circle touches it.

    Parameters
    ----------
    longitudes, latitudes, radii_arcsec
        The circles, shape (n,).
    """
    steps = np.zeros(CELL_COUNT + 1, np.int64)
    for _, first_cells, last_cells in _iterate_cell_ranges(longitudes, latitudes, radii_arcsec):
        np.add.at(steps, first_cells, 1)
        np.add.at(steps, last_cells + 1, -1)
    touched: Masks = np.cumsum(steps)[:CELL_COUNT] > 0
    return touched


def find_circles_in_cells(longitudes: Floats, latitudes: Floats, radii_arcsec: Floats, cells: Masks) -> Rows:
    """Return the numbers of the circles that touch one of some cells.

    Parameters
    ----------
    longitudes, latitudes, radii_arcsec
        The circles, shape (n,); NaN: unknown.
    cells
        Whether a cell is one of them, shape (`CELL_COUNT`,).
    """
    sums = np.concatenate([[0], np.cumsum(cells)])
    touches = np.zeros(len(longitudes), bool)
    for circles, first_cells, last_cells in _iterate_cell_ranges(longitudes, latitudes, radii_arcsec):
        touches[circles] |= sums[last_cells + 1] > sums[first_cells]
    return np.flatnonzero(touches)


def _iterate_cell_ranges(
    longitudes: Floats, latitudes: Floats, radii_arcsec: Floats
) -> Iterator[tuple[Rows, Rows, Rows]]:
    """Yield circles with ranges of cells that contain them."""
    known = np.flatnonzero(np.isfinite(longitudes) & np.isfinite(latitudes))
    longitudes, latitudes = longitudes[known], latitudes[known]
    radii = radii_arcsec[known] / 3600 + _MARGIN_DEGREES
    first_bands, last_bands = _find_latitude_bands(latitudes - radii), _find_latitude_bands(latitudes + radii)
    with np.errstate(invalid="ignore", divide="ignore"):
        widths = np.degrees(np.arcsin(np.sin(np.radians(radii)) / np.cos(np.radians(latitudes)))) + _MARGIN_DEGREES
    is_round = (np.abs(latitudes) + radii + _MARGIN_DEGREES >= 90) | np.isnan(widths) | (widths >= 180)
    lows, highs = longitudes - widths, longitudes + widths
    # rows and their ranges of longitudes; those beyond the meridian of 0 degrees are few
    round_rows, part_rows = np.flatnonzero(is_round), np.flatnonzero(~is_round)
    low_rows, high_rows = part_rows[lows[part_rows] < 0], part_rows[highs[part_rows] > 360]
    ranges = (
        (round_rows, np.zeros(len(round_rows)), np.full(len(round_rows), 360.0)),
        (part_rows, np.maximum(lows[part_rows], 0), np.minimum(highs[part_rows], 360)),
        (low_rows, lows[low_rows] + 360, np.full(len(low_rows), 360.0)),
        (high_rows, np.zeros(len(high_rows)), highs[high_rows] - 360),
    )
    for step in range(int((last_bands - first_bands).max(initial=-1)) + 1):
        for range_rows, begins, ends in ranges:
            numbers = np.flatnonzero(first_bands[range_rows] + step <= last_bands[range_rows])
            rows = range_rows[numbers]
            bands = first_bands[rows] + step
            firsts = _FIRST_CELLS[bands]
            yield (
                known[rows],
                firsts + _find_cells_in_bands(begins[numbers], bands),
                firsts + _find_cells_in_bands(ends[numbers], bands),
            )


def _find_latitude_bands(latitudes: Floats) -> Rows:
    bands: Rows = np.clip(np.floor((latitudes + 90) / BAND_DEGREES), 0, BAND_COUNT - 1).astype(np.int64)
    return bands


def _find_cells_in_bands(longitudes: Floats, bands: Rows) -> Rows:
    counts = _CELLS_OF_BANDS[bands]
    parts: Rows = np.clip(np.floor(longitudes / 360 * counts), 0, counts - 1).astype(np.int64)
    return parts

"""Find pairs of near stars with a zone index: stars sorted by zones of declination, and by right ascension in each.

Numpy alone does this quickly. The number of pairs to compute is known before any pair is built, so memory is bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.plugins.matching.star_positions import build_unit_vectors, compute_separations

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

MIN_ZONE_DEGREES = 1 / 3600
KEY_DEGREES_PER_ZONE = 720.0
WINDOW_MARGIN_DEGREES = 1e-6  # keys of the last zones are rounded to 6e-8 degrees
PAIRS_PER_CHUNK = 2_000_000
MAX_TESTED_PAIRS = 400_000_000  # of one call; a larger number takes minutes, and comes from a radius that is too large


class TooManyPairsError(Exception):
    """The stars are so dense that the pairs can't be tested in reasonable time.

    Parameters
    ----------
    pair_count
        Number of pairs that would have to be tested.
    """

    def __init__(self, pair_count: int) -> None:
        super().__init__(pair_count)
        self.pair_count = pair_count


class ZoneIndex:
    """An index of positions, to find those near other positions.

    Parameters
    ----------
    longitudes, latitudes
        Finite degrees, shape (n,); longitudes from 0 to 360.
    radius_arcsec
        Largest distance of a pair.
    max_tested_pairs
        Pairs that a call of `iterate_pairs` may test.
    """

    def __init__(
        self,
        longitudes: Floats,
        latitudes: Floats,
        radius_arcsec: float,
        *,
        max_tested_pairs: int = MAX_TESTED_PAIRS,
    ) -> None:
        self.radius_arcsec = radius_arcsec
        self._max_tested_pairs = max_tested_pairs
        self._zone_degrees = max(radius_arcsec / 3600, MIN_ZONE_DEGREES)
        keys = self._compute_zones(latitudes) * KEY_DEGREES_PER_ZONE + longitudes
        self._order: Rows = np.argsort(keys)  # stars at the same position may have any order
        self._keys = keys[self._order]
        self._vectors = build_unit_vectors(longitudes[self._order], latitudes[self._order])

    def iterate_pairs(self, longitudes: Floats, latitudes: Floats) -> Iterator[tuple[Rows, Rows]]:
        """Yield the pairs of given positions with those in the index, in chunks.

        Parameters
        ----------
        longitudes, latitudes
            Finite degrees, shape (m,); longitudes from 0 to 360.

        Yields
        ------
        rows, indexed_rows
            Numbers of the two stars of each pair.

        Raises
        ------
        TooManyPairsError
            More than `max_tested_pairs` pairs would have to be tested.
        """
        zones = self._compute_zones(latitudes)
        order = np.argsort(zones * KEY_DEGREES_PER_ZONE + longitudes)
        zones, longitudes, latitudes = zones[order], longitudes[order], latitudes[order]
        vectors = build_unit_vectors(longitudes, latitudes)
        widths = self._compute_window_widths(latitudes)
        windows = []
        for window_rows, low, high in _split_windows(longitudes, widths):
            for step in (-1.0, 0.0, 1.0):
                offsets = (zones[window_rows] + step) * KEY_DEGREES_PER_ZONE
                begins = np.searchsorted(self._keys, offsets + low, side="left")
                ends = np.searchsorted(self._keys, offsets + high, side="right")
                windows.append((window_rows, begins, ends - begins))
        tested_count = sum(int(counts.sum()) for _, _, counts in windows)
        if tested_count > self._max_tested_pairs:
            raise TooManyPairsError(tested_count)
        for window_rows, begins, counts in windows:
            for window_numbers, places in _expand_windows(begins, counts):
                rows = window_rows[window_numbers]
                near = compute_separations(vectors[rows], self._vectors[places]) <= self.radius_arcsec
                yield order[rows[near]], self._order[places[near]]

    def _compute_zones(self, latitudes: Floats) -> Floats:
        return np.floor((latitudes + 90) / self._zone_degrees) + 1

    def _compute_window_widths(self, latitudes: Floats) -> Floats:
        """Compute the largest difference in longitude of two stars that are near each other."""
        radius = np.radians(self.radius_arcsec / 3600)
        with np.errstate(invalid="ignore", divide="ignore"):
            widths = np.degrees(np.arcsin(np.sin(radius) / np.cos(np.radians(latitudes))))
        has_pole = np.abs(latitudes) + self.radius_arcsec / 3600 + WINDOW_MARGIN_DEGREES >= 90
        return np.where(has_pole | np.isnan(widths), 360.0, widths + WINDOW_MARGIN_DEGREES)


def _split_windows(longitudes: Floats, widths: Floats) -> Iterator[tuple[Rows, Floats, Floats]]:
    """Yield rows and their windows of longitudes, then the few rows with windows beyond the meridian of 0 degrees."""
    low, high = longitudes - widths, longitudes + widths
    yield np.arange(len(longitudes)), np.maximum(low, 0), np.minimum(high, 360)
    rows = np.flatnonzero((widths < 180) & ((low < 0) | (high > 360)))
    is_below = low[rows] < 0
    yield rows, np.where(is_below, low[rows] + 360, 0.0), np.where(is_below, 360.0, high[rows] - 360)


def _expand_windows(begins: Rows, counts: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Yield the pairs of rows and places in their windows, about `PAIRS_PER_CHUNK` at a time."""
    rows = np.flatnonzero(counts)
    totals = np.cumsum(counts[rows])
    first = 0
    while first < len(rows):
        pairs_before = 0
        if first:
            pairs_before = int(totals[first - 1])
        last = max(int(np.searchsorted(totals, pairs_before + PAIRS_PER_CHUNK, side="right")), first + 1)
        part = rows[first:last]
        part_counts = counts[part]
        starts = np.cumsum(part_counts) - part_counts
        pair_numbers = np.arange(int(part_counts.sum()))
        yield np.repeat(part, part_counts), np.repeat(begins[part] - starts, part_counts) + pair_numbers
        first = last

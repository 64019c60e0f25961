"""Find the rows that lie near targets, for many rows and millions of targets at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky.api.ragged_arrays import compute_element_numbers, split_into_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_SIZE_CLASS, MIN_ZONE_DEGREES = -7, 2.0**-7
ZONE_STRIDE = 1024.0  # more than 360: the sort key of a target is this times its zone of latitude, plus its longitude
LONGITUDE_SLACK_DEGREES = 1e-6  # rounding of the sort keys; the distance decides
MAX_PAIRS_AT_ONCE = 4_000_000


def iterate_rows_near_targets(
    row_positions: np.ndarray, target_positions: np.ndarray, radii: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all pairs of a row and a target whose distance is at most the radius of the target.

    Targets are sorted by zones of latitude as high as the radius, and in each zone by longitude. Each row then needs
    two binary searches in each of three zones (Gray, Nieto-Santisteban and Szalay 2006, MSR-TR-2006-52). The rows are
    sorted, too, so that neighbouring searches read the same memory.

    Parameters
    ----------
    row_positions, target_positions
        Longitudes and latitudes in degrees; two columns. Rows without a position have nan.
    radii
        Radius of each target in degrees, at most 90.

    Yields
    ------
    row_indexes, target_indexes
        Pairs in no order, each once; a part is as large as `MAX_PAIRS_AT_ONCE` at most.
    """
    known_rows = np.flatnonzero(np.isfinite(row_positions).all(axis=1))
    # targets with radii of the same power of two share the height of their zones
    size_classes = np.ceil(np.log2(np.maximum(radii, MIN_ZONE_DEGREES))).astype(int)
    for size_class in (np.flatnonzero(np.bincount(size_classes - MIN_SIZE_CLASS)) + MIN_SIZE_CLASS).tolist():
        zone_degrees = 2.0**size_class
        targets = np.flatnonzero(size_classes == size_class)
        target_keys = _compute_sort_keys(target_positions[targets], zone_degrees)
        order = np.argsort(target_keys)
        targets, target_keys = targets[order], target_keys[order]
        rows = known_rows[np.argsort(_compute_sort_keys(row_positions[known_rows], zone_degrees))]
        for row_indexes, places in _iterate_candidates(row_positions[rows], target_keys, zone_degrees):
            pair_rows, pair_targets = rows[row_indexes], targets[places]
            is_near = _compute_within_mask(
                row_positions[pair_rows], target_positions[pair_targets], radii[pair_targets]
            )
            yield pair_rows[is_near], pair_targets[is_near]


def _compute_sort_keys(positions: np.ndarray, zone_degrees: float) -> np.ndarray:
    zones = np.floor((positions[:, 1] + 90) / zone_degrees)
    sort_keys: np.ndarray = zones * ZONE_STRIDE + positions[:, 0] % 360
    return sort_keys


def _compute_within_mask(positions: np.ndarray, centers: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return for each position whether it lies within the radius of its centre; degrees."""
    longitudes, latitudes = np.radians(positions).T
    center_longitudes, center_latitudes = np.radians(centers).T
    products = np.cos(latitudes) * np.cos(center_latitudes) * np.sin((longitudes - center_longitudes) / 2) ** 2
    squares = np.sin((latitudes - center_latitudes) / 2) ** 2 + products  # exact for small distances, too
    is_within: np.ndarray = squares <= np.sin(np.radians(radii) / 2) ** 2 * (1 + 1e-12)
    return is_within


def _iterate_candidates(
    rows: np.ndarray, sort_keys: np.ndarray, zone_degrees: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indexes of rows, and places of targets in their order, of all pairs that may be near."""
    longitudes = rows[:, 0] % 360
    latitudes = rows[:, 1]
    row_zones = np.floor((latitudes + 90) / zone_degrees)
    half_widths = _compute_half_widths(latitudes, zone_degrees)
    is_whole = half_widths >= 180
    for zone_step in (-1, 0, 1):
        zone_keys = (row_zones + zone_step) * ZONE_STRIDE
        for turn in (-360.0, 0.0, 360.0):
            lows = np.maximum(longitudes - half_widths + turn, 0.0)
            highs = np.minimum(longitudes + half_widths + turn, 360.0)
            if turn == 0:
                lows[is_whole], highs[is_whole] = 0.0, 360.0
            else:
                highs[is_whole] = -1.0
            chosen = np.flatnonzero(lows <= highs)
            begins = np.searchsorted(sort_keys, zone_keys[chosen] + lows[chosen], "left")
            ends = np.searchsorted(sort_keys, zone_keys[chosen] + highs[chosen], "right")
            for block in split_into_blocks(ends - begins, MAX_PAIRS_AT_ONCE):
                owners, numbers = compute_element_numbers(ends[block] - begins[block])
                yield chosen[block][owners], begins[block][owners] + numbers


def _compute_half_widths(latitudes: np.ndarray, radius: float) -> np.ndarray:
    """Compute how many degrees of longitude a circle around each latitude spans on each side; 180: it has a pole."""
    sines = np.sin(np.radians(min(radius, 90.0)))
    cosines = np.cos(np.radians(latitudes))
    widths = np.full(len(latitudes), 180.0)
    has_no_pole = np.abs(latitudes) + radius < 89.999
    widths[has_no_pole] = np.degrees(np.arcsin(np.minimum(sines / cosines[has_no_pole], 1.0)))
    return np.minimum(widths + LONGITUDE_SLACK_DEGREES, 180.0)

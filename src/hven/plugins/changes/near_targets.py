"""Find the rows that lie near targets, for many rows and millions of targets at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky.api.ragged_arrays import compute_element_numbers, sort_distinct, split_into_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIN_ZONE_DEGREES = 2.0**-7
ZONE_STRIDE = 1024.0  # more than 360: the sort key of a target is this times its zone of latitude, plus its longitude
LONGITUDE_SLACK_DEGREES = 1e-6  # rounding of the sort keys; the distance decides
MAX_PAIRS_AT_ONCE = 4_000_000
MIN_GRID_TARGETS = 50_000  # fewer targets are sorted faster than a grid is filled
MIN_CELL_DEGREES = 0.125  # then the grid of the sky has four million cells


def iterate_rows_near_targets(
    row_positions: np.ndarray, target_lists: Sequence[np.ndarray], radii: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all pairs of a row and a list of targets, one of which is at most the radius of the list away.

    Targets are sorted by zones of latitude as high as the radius, and in each zone by longitude. Each row then needs
    two binary searches in each of three zones (Gray, Nieto-Santisteban and Szalay 2006, MSR-TR-2006-52). The rows are
    sorted, too, so that neighbouring searches read the same memory. Of many targets, only those in cells of a grid
    near a row are sorted.

    Parameters
    ----------
    row_positions, target_lists
        Longitudes and latitudes in degrees; two columns. Rows without a position have nan.
    radii
        Radius of each list in degrees, at most 90.

    Yields
    ------
    row_indexes, list_indexes
        Pairs in no order, each once for each target; a part is as large as `MAX_PAIRS_AT_ONCE` at most.
    """
    rows = np.flatnonzero(np.isfinite(row_positions).all(axis=1))
    # lists with radii of the same power of two share the height of their zones
    size_classes = np.ceil(np.log2(np.maximum(radii, MIN_ZONE_DEGREES))).astype(int)
    for size_class in sort_distinct(size_classes).tolist():
        zone_degrees = 2.0**size_class
        lists = np.flatnonzero(size_classes == size_class)
        targets = np.concatenate([target_lists[index] for index in lists.tolist()])
        owners = np.repeat(lists, [len(target_lists[index]) for index in lists.tolist()])
        if len(targets) >= MIN_GRID_TARGETS:
            is_near = _compute_near_mask(row_positions[rows], targets, zone_degrees)
            targets, owners = targets[is_near], owners[is_near]
        target_keys = _compute_sort_keys(targets, zone_degrees)
        order = np.argsort(target_keys)
        targets, owners, target_keys = targets[order], owners[order], target_keys[order]
        rows = rows[np.argsort(_compute_sort_keys(row_positions[rows], zone_degrees))]
        for row_indexes, places in _iterate_candidates(row_positions[rows], target_keys, zone_degrees):
            pair_rows, pair_owners = rows[row_indexes], owners[places]
            is_near = _compute_within_mask(row_positions[pair_rows], targets[places], radii[pair_owners])
            yield pair_rows[is_near], pair_owners[is_near]


def _compute_sort_keys(positions: np.ndarray, zone_degrees: float) -> np.ndarray:
    sort_keys: np.ndarray = _compute_zones(positions, zone_degrees) * ZONE_STRIDE + positions[:, 0] % 360
    return sort_keys


def _compute_within_mask(positions: np.ndarray, centers: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return for each position whether it lies within the radius of its centre; degrees."""
    longitudes, latitudes = np.radians(positions).T
    center_longitudes, center_latitudes = np.radians(centers).T
    products = np.cos(latitudes) * np.cos(center_latitudes) * np.sin((longitudes - center_longitudes) / 2) ** 2
    squares = np.sin((latitudes - center_latitudes) / 2) ** 2 + products  # exact for small distances, too
    is_within: np.ndarray = squares <= np.sin(np.radians(radii) / 2) ** 2 * (1 + 1e-12)
    return is_within


def _compute_near_mask(rows: np.ndarray, targets: np.ndarray, zone_degrees: float) -> np.ndarray:
    """Return for each target whether a row may be near: whether its cell of a grid of the sky is near that of a row."""
    cell_degrees = max(zone_degrees, MIN_CELL_DEGREES)
    zone_count, column_count = (int(degrees / cell_degrees) + 2 for degrees in (180, 360))
    steps = np.zeros(zone_count * column_count, np.int32)  # of the number of rows that are near a cell
    for _, zones, lows, highs in _iterate_zone_ranges(rows, cell_degrees):
        is_in_grid = (zones >= 0) & (zones < zone_count)
        starts = zones[is_in_grid].astype(np.int64) * column_count
        ones = np.ones(len(starts), np.int32)  # numbers of another type take a slow path of `add.at`
        np.add.at(steps, starts + (lows[is_in_grid] / cell_degrees).astype(np.int64), ones)
        np.add.at(steps, starts + (highs[is_in_grid] / cell_degrees).astype(np.int64) + 1, -ones)
    is_near = np.cumsum(steps, dtype=np.int32) > 0
    cells = _compute_zones(targets, cell_degrees).astype(np.int64) * column_count
    mask: np.ndarray = is_near[cells + (targets[:, 0] % 360 / cell_degrees).astype(np.int64)]
    return mask


def _iterate_candidates(
    rows: np.ndarray, sort_keys: np.ndarray, zone_degrees: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indexes of rows, and places of targets in their order, of all pairs that may be near."""
    for chosen, zones, lows, highs in _iterate_zone_ranges(rows, zone_degrees):
        begins = np.searchsorted(sort_keys, zones * ZONE_STRIDE + lows, "left")
        ends = np.searchsorted(sort_keys, zones * ZONE_STRIDE + highs, "right")
        for block in split_into_blocks(ends - begins, MAX_PAIRS_AT_ONCE):
            owners, numbers = compute_element_numbers(ends[block] - begins[block])
            yield chosen[block][owners], begins[block][owners] + numbers


def _iterate_zone_ranges(
    rows: np.ndarray, zone_degrees: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield where targets near rows can be: indexes of rows, a zone of each, and its least and greatest longitude."""
    longitudes = rows[:, 0] % 360
    row_zones = _compute_zones(rows, zone_degrees)
    half_widths = _compute_half_widths(rows[:, 1], zone_degrees)
    is_whole = half_widths >= 180
    for turn in (-360.0, 0.0, 360.0):
        lows = np.maximum(longitudes - half_widths + turn, 0.0)
        highs = np.minimum(longitudes + half_widths + turn, 360.0)
        if turn == 0:
            lows[is_whole], highs[is_whole] = 0.0, 360.0
        else:
            highs[is_whole] = -1.0
        chosen = np.flatnonzero(lows <= highs)
        for zone_step in (-1, 0, 1):
            yield chosen, row_zones[chosen] + zone_step, lows[chosen], highs[chosen]


def _compute_zones(positions: np.ndarray, zone_degrees: float) -> np.ndarray:
    zones: np.ndarray = np.floor((positions[:, 1] + 90) / zone_degrees)
    return zones


def _compute_half_widths(latitudes: np.ndarray, radius: float) -> np.ndarray:
    """Compute how many degrees of longitude a circle around each latitude spans on each side; 180: it has a pole."""
    sines = np.sin(np.radians(min(radius, 90.0)))
    cosines = np.cos(np.radians(latitudes))
    widths = np.full(len(latitudes), 180.0)
    has_no_pole = np.abs(latitudes) + radius < 89.999
    widths[has_no_pole] = np.degrees(np.arcsin(np.minimum(sines / cosines[has_no_pole], 1.0)))
    return np.minimum(widths + LONGITUDE_SLACK_DEGREES, 180.0)

"""Find the rows that lie near targets, for many rows and millions of targets at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_ZONE_DEGREES = 0.01
ZONE_STRIDE = 1024.0  # more than 360: the sort key of a target is this times its zone of latitude, plus its longitude
LONGITUDE_SLACK_DEGREES = 1e-6  # rounding of the sort keys; the distance decides
MAX_PAIRS_AT_ONCE = 4_000_000


def find_rows_near_targets(
    row_positions: np.ndarray, target_positions: np.ndarray, radii: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find all pairs of a row and a target whose distance is at most the radius of the target.

    Targets are sorted by zones of latitude as high as the radius, and in each zone by longitude. Each row then needs
    two binary searches in each of three zones (Gray, Nieto-Santisteban and Szalay 2006, MSR-TR-2006-52).

    Parameters
    ----------
    row_positions, target_positions
        Longitudes and latitudes in degrees; two columns. Rows without a position have nan.
    radii
        Radius of each target in degrees, at most 90.

    Returns
    -------
    row_indexes, target_indexes
        The pairs, in no order.
    """
    known_rows = np.flatnonzero(np.isfinite(row_positions).all(axis=1))
    rows = row_positions[known_rows]
    row_vectors, target_vectors = _to_unit_vectors(rows), _to_unit_vectors(target_positions)
    square_limits = (2 * np.sin(np.radians(radii) / 2)) ** 2 * (1 + 1e-12)  # of chords, exact for small distances, too
    pairs = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    # targets with radii of the same power of two share the height of their zones
    size_classes = np.ceil(np.log2(np.maximum(radii, MIN_ZONE_DEGREES))).astype(int)
    for size_class in np.unique(size_classes):
        class_targets = np.flatnonzero(size_classes == size_class)
        target_order, sort_keys = _sort_targets(target_positions[class_targets], 2.0**size_class)
        ordered_targets = class_targets[target_order]
        for row_indexes, slots in _iterate_candidates(rows, sort_keys, 2.0**size_class):
            target_indexes = ordered_targets[slots]
            squares = ((row_vectors[row_indexes] - target_vectors[target_indexes]) ** 2).sum(axis=1)
            is_near = squares <= square_limits[target_indexes]
            pairs.append((known_rows[row_indexes[is_near]], target_indexes[is_near]))
    row_parts, target_parts = zip(*pairs, strict=True)
    return np.concatenate(row_parts), np.concatenate(target_parts)


def _sort_targets(positions: np.ndarray, zone_degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of targets by zone and longitude, and their sort keys in this order."""
    zones = np.floor((positions[:, 1] + 90) / zone_degrees)
    keys = zones * ZONE_STRIDE + positions[:, 0] % 360
    order = np.argsort(keys)
    return order, keys[order]


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
            yield from expand_ranges(chosen, begins, ends)


def _compute_half_widths(latitudes: np.ndarray, radius: float) -> np.ndarray:
    """Compute how many degrees of longitude a circle around each latitude spans on each side; 180: it has a pole."""
    sines = np.sin(np.radians(min(radius, 90.0)))
    cosines = np.cos(np.radians(latitudes))
    widths = np.full(len(latitudes), 180.0)
    has_no_pole = np.abs(latitudes) + radius < 89.999
    widths[has_no_pole] = np.degrees(np.arcsin(np.minimum(sines / cosines[has_no_pole], 1.0)))
    return np.minimum(widths + LONGITUDE_SLACK_DEGREES, 180.0)


def expand_ranges(
    row_indexes: np.ndarray, begins: np.ndarray, ends: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each index with each place in its range, in parts that fit into memory.

    Parameters
    ----------
    row_indexes
        An index for each range.
    begins, ends
        The ranges; an end is behind the last place.

    Yields
    ------
    indexes, places
        Pairs.
    """
    counts = ends - begins
    is_used = counts > 0
    row_indexes, begins, counts = row_indexes[is_used], begins[is_used], counts[is_used]
    totals = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = int(totals[start - 1]) if start else 0
        stop = max(int(np.searchsorted(totals, done + MAX_PAIRS_AT_ONCE, "right")), start + 1)
        part_counts = counts[start:stop]
        first_places = np.cumsum(part_counts) - part_counts
        places = np.arange(int(part_counts.sum())) - np.repeat(first_places - begins[start:stop], part_counts)
        yield np.repeat(row_indexes[start:stop], part_counts), places
        start = stop


def _to_unit_vectors(positions: np.ndarray) -> np.ndarray:
    longitudes, latitudes = np.radians(positions).T
    cosines = np.cos(latitudes)
    return np.stack([cosines * np.cos(longitudes), cosines * np.sin(longitudes), np.sin(latitudes)], axis=1)

"""Groups of stars that are linked by small distances (friends of friends)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.plugins.matching.star_positions import compute_coordinates
from hven.plugins.matching.zone_index import TooManyPairsError, ZoneIndex

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

MAX_LINKS = 20_000_000


def find_star_groups(vectors: Floats, radius_arcsec: float) -> tuple[Rows, Rows]:
    """Find groups of stars, and number them; two stars of a group are linked by steps of at most `radius_arcsec`.

    Parameters
    ----------
    vectors
        Unit vectors, shape (n, 3); NaN: the position is unknown.
    radius_arcsec
        Largest step.

    Returns
    -------
    group_ids, group_sizes
        Shape (n,). Groups are numbered from 1 in the order of their first stars; 0: the star is alone.

    Raises
    ------
    TooManyPairsError
        There are more than `MAX_LINKS` pairs of near stars.
    """
    known_rows = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    longitudes, latitudes = compute_coordinates(vectors[known_rows])
    index = ZoneIndex(longitudes, latitudes, radius_arcsec)
    links = []
    link_count = 0
    for rows, other in index.iterate_pairs(longitudes, latitudes):
        is_first = rows < other
        link_count += int(is_first.sum())
        if link_count > MAX_LINKS:
            raise TooManyPairsError(link_count)
        links.append((rows[is_first], other[is_first]))
    if links:
        first = known_rows[np.concatenate([rows for rows, _ in links])]
    else:
        first = np.empty(0, np.int64)
    if links:
        second = known_rows[np.concatenate([rows for _, rows in links])]
    else:
        second = np.empty(0, np.int64)
    labels = np.arange(len(vectors))
    while True:
        lowest = np.minimum(labels[first], labels[second])
        merged = labels.copy()
        # the labels themselves are merged, so that chains shrink by halves
        for rows in (first, second, labels[first], labels[second]):
            np.minimum.at(merged, rows, lowest)
        merged = merged[merged]
        if np.array_equal(merged, labels):
            break
        labels = merged
    sizes = np.bincount(labels, minlength=len(vectors))[labels]
    is_grouped = sizes > 1
    group_ids = np.zeros(len(vectors), np.int64)
    _, group_numbers = np.unique(labels[is_grouped], return_inverse=True)
    group_ids[is_grouped] = group_numbers + 1
    return group_ids, np.where(is_grouped, sizes, 0)

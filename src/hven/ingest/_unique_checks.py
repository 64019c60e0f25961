"""Rows that were there before: 64-bit hashes, remembered in sorted runs of eight bytes a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hven.model.literal import Flags, Hashes


class SeenHashes:
    """Hashes of earlier rows (`hven.model.literal.hash_rows`)."""

    def __init__(self) -> None:
        self._sorted_runs: list[Hashes] = []

    def find_repeated(self, row_hashes: Hashes, valid_mask: Flags) -> Flags:
        """Return which rows were there before, in earlier batches or earlier in this one.

        Rows that are not `valid_mask` never were.
        """
        repeated_mask = np.zeros(len(row_hashes), bool)
        if valid_mask.all():
            valid_hashes = row_hashes
        else:
            valid_hashes = row_hashes[valid_mask]
        if not len(valid_hashes):
            return repeated_mask
        ordered = np.sort(valid_hashes)
        repeated = ordered[1:] == ordered[:-1]
        is_earlier = np.zeros(len(ordered), bool)
        for run in self._sorted_runs:
            is_earlier |= run[np.minimum(np.searchsorted(run, ordered), len(run) - 1)] == ordered
        if repeated.any() or is_earlier.any():
            repeated_mask[np.flatnonzero(valid_mask)] = _mark_later_rows(valid_hashes, ordered[is_earlier])
            is_new = ~is_earlier
            is_new[1:] &= ~repeated
            ordered = ordered[is_new]
        self._add_run(ordered)
        return repeated_mask

    def _add_run(self, run: Hashes) -> None:
        """Add a sorted run; runs of like size become one."""
        if len(run):
            self._sorted_runs.append(run)
        while len(self._sorted_runs) > 1 and len(self._sorted_runs[-2]) <= 2 * len(self._sorted_runs[-1]):
            self._sorted_runs[-2:] = [np.sort(np.concatenate(self._sorted_runs[-2:]))]


def _mark_later_rows(row_hashes: Hashes, known_hashes: Hashes) -> Flags:
    """Return which rows are among the known ones, or stand a second time."""
    later_mask = np.ones(len(row_hashes), bool)
    later_mask[np.unique(row_hashes, return_index=True)[1]] = False  # the first of each
    return later_mask | np.isin(row_hashes, known_hashes)

"""Find repeated rows by 64-bit hashes, which are kept in sorted runs: eight bytes a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hven.model.literal import Flags, Hashes


class SeenRowHashes:
    """The hashes of earlier rows (`hven.model.literal.hash_rows`)."""

    def __init__(self) -> None:
        self._sorted_runs: list[Hashes] = []

    def add_rows_and_find_repeated(self, row_hashes: Hashes, valid_mask: Flags) -> Flags:
        """Return the mask of the rows that repeat an earlier row, of this batch or of earlier batches.

        Rows outside of `valid_mask` do not count.
        """
        repeated_mask = np.zeros(len(row_hashes), bool)
        if valid_mask.all():
            valid_hashes = row_hashes
        else:
            valid_hashes = row_hashes[valid_mask]
        if not len(valid_hashes):
            return repeated_mask
        sorted_hashes = np.sort(valid_hashes)
        equals_previous = sorted_hashes[1:] == sorted_hashes[:-1]
        is_known = np.zeros(len(sorted_hashes), bool)
        for run in self._sorted_runs:
            positions = np.minimum(np.searchsorted(run, sorted_hashes), len(run) - 1)
            is_known |= run[positions] == sorted_hashes
        if equals_previous.any() or is_known.any():
            repeated_mask[np.flatnonzero(valid_mask)] = _mark_repeated_rows(valid_hashes, sorted_hashes[is_known])
            is_new = ~is_known
            is_new[1:] &= ~equals_previous
            sorted_hashes = sorted_hashes[is_new]
        self._add_sorted_run(sorted_hashes)
        return repeated_mask

    def _add_sorted_run(self, run: Hashes) -> None:
        """Add a sorted run, and merge runs of similar size, so that there are few."""
        if len(run):
            self._sorted_runs.append(run)
        while len(self._sorted_runs) > 1 and len(self._sorted_runs[-2]) <= 2 * len(self._sorted_runs[-1]):
            merged_run = np.sort(np.concatenate(self._sorted_runs[-2:]))
            self._sorted_runs[-2:] = [merged_run]


def _mark_repeated_rows(row_hashes: Hashes, known_hashes: Hashes) -> Flags:
    """Return the mask of the rows that have a known hash, or the hash of an earlier row."""
    _, first_positions = np.unique(row_hashes, return_index=True)
    later_mask = np.ones(len(row_hashes), bool)
    later_mask[first_positions] = False
    return later_mask | np.isin(row_hashes, known_hashes)

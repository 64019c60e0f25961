"""Rows that were there before: 64-bit hashes, remembered in sorted runs of eight bytes a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hven.model.literal import Flags, Hashes


class Seen:
    """Hashes of earlier rows (`hven.model.hashes`)."""

    def __init__(self) -> None:
        self._runs: list[Hashes] = []

    def again(self, code: Hashes, given: Flags) -> Flags:
        """Return which rows were there before, in earlier batches or earlier in this one; rows that are not `given` never were."""
        found = np.zeros(len(code), bool)
        mine = code if given.all() else code[given]
        if not len(mine):
            return found
        ordered = np.sort(mine)
        repeated = ordered[1:] == ordered[:-1]
        before = np.zeros(len(ordered), bool)
        for run in self._runs:
            before |= run[np.minimum(np.searchsorted(run, ordered), len(run) - 1)] == ordered
        if repeated.any() or before.any():
            found[np.flatnonzero(given)] = _later(mine, ordered[before])
            fresh = ~before
            fresh[1:] &= ~repeated
            ordered = ordered[fresh]
        self._add(ordered)
        return found

    def _add(self, run: Hashes) -> None:
        """Add a sorted run; runs of like size become one."""
        if len(run):
            self._runs.append(run)
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            self._runs[-2:] = [np.sort(np.concatenate(self._runs[-2:]))]


def _later(code: Hashes, known: Hashes) -> Flags:
    """Return which rows are among the known ones, or stand a second time."""
    found = np.ones(len(code), bool)
    found[np.unique(code, return_index=True)[1]] = False  # the first of each
    return found | np.isin(code, known)

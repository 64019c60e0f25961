"""The lines of a ledger, to be found by their words: which source rows are known, and which lines nobody has claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]
    Places = npt.NDArray[np.int64]


class Known:
    """Lines by two words. Each line is claimed once: of equal source rows there may be as many as before, and one more is new.

    Memory: 25 bytes for each line.
    """

    def __init__(self, first: Words, second: Words) -> None:
        self.order = np.argsort(first)
        self.words: Words = first[self.order]
        self.second = second
        self.claimed = np.zeros(len(first), bool)
        self._taken: Any = None  # by the place of the first of equal lines: how many are claimed
        self._single = bool(np.all(self.words[1:] != self.words[:-1]))

    def claim(self, first: Words, second: Words) -> Places:
        """Return the line of each row, -1 for rows that are not known."""
        found = np.full(len(first), -1, np.int64)
        if not len(self.words) or not len(first):
            return found
        order = np.argsort(first, kind="stable")
        wanted = first[order]
        left = np.searchsorted(self.words, wanted)
        at = left + _ranks(wanted)
        if not self._single:
            if self._taken is None:
                self._taken = np.zeros(len(self.words), np.int32)
            at += self._taken[np.minimum(left, len(self.words) - 1)]
        inside = at < len(self.words)
        at = np.where(inside, at, 0)
        lines = self.order[at]
        good = inside & (self.words[at] == wanted) & (self.second[lines] == second[order]) & ~self.claimed[lines]
        if not self._single:
            np.add.at(self._taken, left[good], 1)
        self.claimed[lines[good]] = True
        found[order[good]] = lines[good]
        return found

    def release(self, lines: Places) -> None:
        """Release lines, to be claimed once more."""
        self.claimed[lines] = False
        if self._taken is not None and len(lines):
            inverse = np.empty(len(self.order), np.int64)
            inverse[self.order] = np.arange(len(self.order))
            np.subtract.at(self._taken, np.searchsorted(self.words, self.words[inverse[lines]]), 1)


def _ranks(words: Words) -> Places:
    """Count 0, 1, 2 .. within each run of equal words."""
    if not len(words):
        return np.zeros(0, np.int64)
    first = np.ones(len(words), bool)
    first[1:] = words[1:] != words[:-1]
    starts = np.flatnonzero(first)
    return np.arange(len(words)) - np.repeat(starts, np.diff(np.append(starts, len(words))))

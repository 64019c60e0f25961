"""The lines of a ledger, to be found by their words.

Which source rows are known, and which lines nobody has claimed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]
    Places = npt.NDArray[np.int64]


class LineIndex:
    """Lines by two words. Each line is claimed once.

    Of equal source rows there may be as many as before, and one more is new.

    Memory: 25 bytes for each line.
    """

    def __init__(self, first_words: Words, second_words: Words) -> None:
        self.line_order = np.argsort(first_words)
        self.sorted_words: Words = first_words[self.line_order]
        self.second_words = second_words
        self.claimed_mask = np.zeros(len(first_words), bool)
        self._claimed_counts: Any = None  # by the place of the first of equal lines: how many are claimed
        self._has_unique_words = bool(np.all(self.sorted_words[1:] != self.sorted_words[:-1]))

    def claim_lines(self, first: Words, second: Words) -> Places:
        """Return the line of each row, -1 for rows that are not known."""
        claimed_lines = np.full(len(first), -1, np.int64)
        if not len(self.sorted_words) or not len(first):
            return claimed_lines
        order = np.argsort(first, kind="stable")
        sorted_wanted = first[order]
        first_positions = np.searchsorted(self.sorted_words, sorted_wanted)
        candidate_positions = first_positions + _rank_within_runs(sorted_wanted)
        if not self._has_unique_words:
            if self._claimed_counts is None:
                self._claimed_counts = np.zeros(len(self.sorted_words), np.int32)
            candidate_positions += self._claimed_counts[np.minimum(first_positions, len(self.sorted_words) - 1)]
        inside = candidate_positions < len(self.sorted_words)
        candidate_positions = np.where(inside, candidate_positions, 0)
        lines = self.line_order[candidate_positions]
        is_claimable = (
            inside
            & (self.sorted_words[candidate_positions] == sorted_wanted)
            & (self.second_words[lines] == second[order])
            & ~self.claimed_mask[lines]
        )
        if not self._has_unique_words:
            np.add.at(self._claimed_counts, first_positions[is_claimable], 1)
        self.claimed_mask[lines[is_claimable]] = True
        claimed_lines[order[is_claimable]] = lines[is_claimable]
        return claimed_lines

    def release_lines(self, lines: Places) -> None:
        """Release lines, to be claimed once more."""
        self.claimed_mask[lines] = False
        if self._claimed_counts is not None and len(lines):
            inverse = np.empty(len(self.line_order), np.int64)
            inverse[self.line_order] = np.arange(len(self.line_order))
            np.subtract.at(
                self._claimed_counts, np.searchsorted(self.sorted_words, self.sorted_words[inverse[lines]]), 1
            )


def _rank_within_runs(words: Words) -> Places:
    """Count 0, 1, 2 .. within each run of equal words."""
    if not len(words):
        return np.zeros(0, np.int64)
    run_starts_mask = np.ones(len(words), bool)
    run_starts_mask[1:] = words[1:] != words[:-1]
    starts = np.flatnonzero(run_starts_mask)
    return np.arange(len(words)) - np.repeat(starts, np.diff(np.append(starts, len(words))))

"""Find the lines of a ledger by their hashes, and tell which lines no source row has claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]
    Places = npt.NDArray[np.int64]


class LedgerLineIndex:
    """An index of lines by two words of a hash; each line can be claimed once.

    If several lines are equal, the same number of equal source rows is known; one row more is new. The index takes 25
    bytes a line.
    """

    def __init__(self, first_words: Words, second_words: Words) -> None:
        self.line_order = np.argsort(first_words)
        self.sorted_words: Words = first_words[self.line_order]
        self.second_words = second_words
        self.claimed_mask = np.zeros(len(first_words), bool)
        # at the first position of a run of equal words: how many of its lines are claimed
        self._claimed_counts: Any = None
        self._has_unique_words = bool(np.all(self.sorted_words[1:] != self.sorted_words[:-1]))

    def claim_lines(self, first_words: Words, second_words: Words) -> Places:
        """Claim a line for each row; return the numbers of the lines, -1 for unknown rows."""
        claimed_lines = np.full(len(first_words), -1, np.int64)
        line_count = len(self.sorted_words)
        if not line_count or not len(first_words):
            return claimed_lines
        order = np.argsort(first_words, kind="stable")
        sorted_wanted = first_words[order]
        first_positions = np.searchsorted(self.sorted_words, sorted_wanted)
        candidate_positions = first_positions + _rank_within_runs(sorted_wanted)
        if not self._has_unique_words:
            if self._claimed_counts is None:
                self._claimed_counts = np.zeros(line_count, np.int32)
            candidate_positions += self._claimed_counts[np.minimum(first_positions, line_count - 1)]
        is_inside = candidate_positions < line_count
        candidate_positions = np.where(is_inside, candidate_positions, 0)
        lines = self.line_order[candidate_positions]
        has_first_word = self.sorted_words[candidate_positions] == sorted_wanted
        has_second_word = self.second_words[lines] == second_words[order]
        is_claimable = is_inside & has_first_word & has_second_word & ~self.claimed_mask[lines]
        if not self._has_unique_words:
            np.add.at(self._claimed_counts, first_positions[is_claimable], 1)
        self.claimed_mask[lines[is_claimable]] = True
        claimed_lines[order[is_claimable]] = lines[is_claimable]
        return claimed_lines

    def release_lines(self, lines: Places) -> None:
        """Release lines, so that they can be claimed again."""
        self.claimed_mask[lines] = False
        if self._claimed_counts is not None and len(lines):
            position_of_line = np.empty(len(self.line_order), np.int64)
            position_of_line[self.line_order] = np.arange(len(self.line_order))
            words = self.sorted_words[position_of_line[lines]]
            first_positions = np.searchsorted(self.sorted_words, words)
            np.subtract.at(self._claimed_counts, first_positions, 1)


def _rank_within_runs(words: Words) -> Places:
    """Return the rank 0, 1, 2 .. of each word within its run of equal words."""
    if not len(words):
        return np.zeros(0, np.int64)
    is_run_start = np.ones(len(words), bool)
    is_run_start[1:] = words[1:] != words[:-1]
    run_starts = np.flatnonzero(is_run_start)
    run_lengths = np.diff(np.append(run_starts, len(words)))
    return np.arange(len(words)) - np.repeat(run_starts, run_lengths)

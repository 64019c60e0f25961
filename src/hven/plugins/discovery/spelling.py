"""Correct misspelt words of a search by the words that occur in values and in texts of collections."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.plugins.discovery.value_index import normalize_search_text, normalize_search_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from hven.plugins.discovery.value_index import TableValueSearchIndex

MIN_LETTERS, MAX_LETTERS = 4, 24  # of words that are corrected
MIN_LONG_LETTERS = 8  # of words that may have two errors
MAX_READ_VALUES = 300_000  # values of all tables whose words are known
MAX_KNOWN_WORDS = 100_000  # compared with a misspelt word, in 0.1 s
_WORD_PATTERN = re.compile(r"[^\W\d_]+")


class KnownWords:
    """The words that readers can find: at most `MAX_KNOWN_WORDS`, the most frequent ones.

    Parameters
    ----------
    words
        Folded words, without repetitions; the most frequent first.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = np.array(list(words)[:MAX_KNOWN_WORDS], dtype=f"U{MAX_LETTERS}")
        self._letters = self._words.view(np.uint32).reshape(len(self._words), MAX_LETTERS)
        self._lengths = np.char.str_len(self._words)

    @property
    def memory_bytes(self) -> int:
        """The approximate memory that the words take."""
        return int(self._words.nbytes + self._lengths.nbytes)

    def find_nearest_word(self, word: str) -> str | None:
        """Return the word with the fewest different letters; None if the word is known, or no word is near.

        A word of 4 to 7 letters may have one error, a longer one two: a wrong, missing or further letter, or two
        exchanged ones.

        Parameters
        ----------
        word
            A folded word.
        """
        if not MIN_LETTERS <= len(word) <= MAX_LETTERS or not len(self._words):
            return None
        if np.char.startswith(self._words, word).any():
            return None
        limit = 1
        if len(word) >= MIN_LONG_LETTERS:
            limit = 2
        numbers = np.flatnonzero(np.abs(self._lengths - len(word)) <= limit)
        if not len(numbers):
            return None
        distances = compute_edit_distances(word, self._letters[numbers], self._lengths[numbers])
        has_other_begin = self._letters[numbers, 0] != ord(word[0])
        order = np.lexsort((numbers, has_other_begin, distances))
        nearest = order[0]
        if distances[nearest] > limit:
            return None
        return str(self._words[numbers[nearest]])


def collect_known_words(table_values: Iterable[TableValueSearchIndex], texts: Iterable[str]) -> KnownWords:
    """Collect the words of the values of tables and of further texts; words with digits are left out.

    Parameters
    ----------
    table_values
        Values of the tables that the reader may see.
    texts
        Texts that the reader may see.
    """
    chunks = [pa.array(list(texts), pa.string())]
    remaining = MAX_READ_VALUES
    for values in table_values:
        chunks.append(values.texts[:remaining])
        phrases = [phrase for codes in values.phrases for words in codes.values() for phrase in words]
        chunks.append(pa.array(phrases, pa.string()))
        remaining = max(remaining - len(values.texts), 0)
    all_texts = pa.concat_arrays([chunk.cast(pa.string()) for chunk in chunks])
    words = pc.list_flatten(pc.split_pattern_regex(all_texts, r"[^\p{L}\p{M}\p{N}]+"))
    is_word = pc.match_substring_regex(words, r"^[\p{L}\p{M}]{3,}$")
    counts = normalize_search_texts(words.filter(is_word)).value_counts()
    folded_words = counts.field("values")
    lengths = pc.utf8_length(folded_words)
    has_valid_length = pc.and_(pc.greater_equal(lengths, MIN_LETTERS), pc.less_equal(lengths, MAX_LETTERS))
    frequencies = pa.table({"word": folded_words, "count": counts.field("counts")}).filter(has_valid_length)
    return KnownWords(frequencies.sort_by([("count", "descending"), ("word", "ascending")])["word"].to_pylist())


def replace_misspelt_words(words: str, known_words: KnownWords) -> str | None:
    """Correct the misspelt words of a search; None if there are none, or none is near a known word.

    Parameters
    ----------
    words
        Words as the reader wrote them.
    known_words
        Words that readers can find.
    """
    has_changed = False

    def replace_misspelt_match(match: re.Match[str]) -> str:
        nonlocal has_changed
        nearest_word = known_words.find_nearest_word(normalize_search_text(match[0]))
        if nearest_word is None:
            return match[0]
        has_changed = True
        return nearest_word

    corrected = _WORD_PATTERN.sub(replace_misspelt_match, words)
    return corrected if has_changed else None


def compute_edit_distances(
    word: str, letters: npt.NDArray[np.uint32], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Compute the edit distances of a word from others, with exchanged neighbours as one error.

    Parameters
    ----------
    word
        The word.
    letters
        Letters of the other words, one word in a row, as Unicode numbers.
    lengths
        Numbers of their letters.

    Returns
    -------
    distances
        Optimal string alignment distances, without a unit.
    """
    count, width = letters.shape
    before_previous = np.zeros((count, width + 1), np.int64)
    previous = np.broadcast_to(np.arange(width + 1), (count, width + 1)).copy()
    for row, letter in enumerate(word, 1):
        current = np.empty_like(previous)
        current[:, 0] = row
        is_different = letters != ord(letter)
        for column in range(1, width + 1):
            best = np.minimum(previous[:, column], current[:, column - 1]) + 1
            best = np.minimum(best, previous[:, column - 1] + is_different[:, column - 1])
            if row > 1 and column > 1:
                is_exchanged = (letters[:, column - 1] == ord(word[row - 2])) & (letters[:, column - 2] == ord(letter))
                best = np.where(is_exchanged, np.minimum(best, before_previous[:, column - 2] + 1), best)
            current[:, column] = best
        before_previous, previous = previous, current
    return previous[np.arange(count), lengths]

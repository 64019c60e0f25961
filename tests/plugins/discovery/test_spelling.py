"""Corrected words of a search, against a plain edit distance."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hven.plugins.discovery.spelling import (
    KnownWords,
    collect_known_words,
    compute_edit_distances,
    replace_misspelt_words,
)

WORDS = st.text(alphabet="abcdé", min_size=1, max_size=8)


def compute_plain_distance(first: str, second: str) -> int:
    """Compute the optimal string alignment distance letter by letter."""
    rows = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(second) + 1)] for i in range(len(first) + 1)]
    for i in range(1, len(first) + 1):
        for j in range(1, len(second) + 1):
            rows[i][j] = min(
                rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (first[i - 1] != second[j - 1])
            )
            if i > 1 and j > 1 and first[i - 1] == second[j - 2] and first[i - 2] == second[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]


@given(WORDS, st.lists(WORDS, min_size=1, max_size=10))
def test_distances_are_those_of_a_plain_computation(word: str, others: list[str]) -> None:
    texts = np.array(others, dtype="U24")
    distances = compute_edit_distances(word, texts.view(np.uint32).reshape(len(others), 24), np.char.str_len(texts))
    assert distances.tolist() == [compute_plain_distance(word, other) for other in others]


def test_misspelt_words_are_corrected() -> None:
    known = KnownWords(["olivine", "jupiter", "gravity", "observations", "mars", "galaxies", "etoiles"])
    for words, corrected in [
        ("olivne", "olivine"),
        ("Jupitre", "jupiter"),
        ("GRAVTIY HD 100546", "gravity HD 100546"),
        ("obsrevatoins", "observations"),
        ("étoilles", "etoiles"),
        ("jup", None),
        ("jupit", None),  # the beginning of a known word
        ("maro", "mars"),
        ("xx", None),
        ("ob5erv", None),
        ("completely different", None),
        ("", None),
    ]:
        assert replace_misspelt_words(words, known) == corrected, words


def test_no_words_correct_nothing() -> None:
    assert replace_misspelt_words("jupitre", KnownWords([])) is None
    assert collect_known_words([], []).find_nearest_word("jupitre") is None


def test_words_of_texts_are_known() -> None:
    known = collect_known_words([], ["Étoiles fixes d'Uraniborg, 1598", "fixes HD100546"])
    assert known.find_nearest_word("uranibrog") == "uraniborg"
    assert known.find_nearest_word("fixse") == "fixes"
    assert known.find_nearest_word("hd100547") is None


@given(st.lists(st.text(max_size=30), max_size=30), st.text(max_size=40))
def test_any_text_can_be_searched(texts: list[str], words: str) -> None:
    replace_misspelt_words(words, collect_known_words([], texts))

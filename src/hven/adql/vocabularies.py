"""The terms of the IVOA's vocabularies, and which terms are narrower than others.

The terms stand in `vocabularies.csv` (ivoa-std/Vocabularies, March 2026, CC0 1.0).
"""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib.resources import files


@lru_cache(maxsize=1)
def load_vocabularies() -> dict[str, dict[str, tuple[str, ...]]]:
    """Load the vocabularies.

    Returns
    -------
    terms
        Vocabulary -> term -> the next broader terms.
    """
    terms: dict[str, dict[str, tuple[str, ...]]] = {}
    text = files("hven.adql").joinpath("vocabularies.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        vocabulary_terms = terms.setdefault(row["vocabulary"], {})
        vocabulary_terms[row["term"]] = tuple(row["broader"].split())
    return terms


def list_term_and_narrower_terms(vocabulary: str, term: str) -> list[str]:
    """Return a term and all its narrower terms, at any depth.

    Parameters
    ----------
    vocabulary
        The name of the vocabulary.
    term
        A term of the vocabulary.

    Raises
    ------
    KeyError
        There is no such vocabulary, or no such term in it.
    """
    broader_terms = load_vocabularies()[vocabulary]
    if term not in broader_terms:
        raise KeyError(term)
    narrower_terms: dict[str, list[str]] = {}
    for narrower_term, next_broader_terms in broader_terms.items():
        for broader_term in next_broader_terms:
            narrower_terms.setdefault(broader_term, []).append(narrower_term)
    visited = {term: None}  # a dict keeps the order
    pending = [term]
    while pending:
        for narrower_term in narrower_terms.get(pending.pop(), ()):
            if narrower_term not in visited:
                visited[narrower_term] = None
                pending.append(narrower_term)
    return list(visited)

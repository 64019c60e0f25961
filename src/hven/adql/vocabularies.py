"""Terms of the IVOA's vocabularies and which are narrower than which.

`load_vocabularies.csv` (ivoa-std/Vocabularies, March 2026, CC0 1.0).
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
        Vocabulary -> term -> the terms right above it.
    """
    terms: dict[str, dict[str, tuple[str, ...]]] = {}
    text = files("hven.adql").joinpath("vocabularies.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        terms.setdefault(row["vocabulary"], {})[row["term"]] = tuple(row["broader"].split())
    return terms


def list_narrower_terms(vocabulary: str, term: str) -> list[str]:
    """Return a term and all that are narrower, directly or not.

    Parameters
    ----------
    vocabulary
        Its name.
    term
        One of it.

    Raises
    ------
    KeyError
        There is no such vocabulary, or no such term in it.
    """
    terms = load_vocabularies()[vocabulary]
    if term not in terms:
        raise KeyError(term)
    narrower_terms: dict[str, list[str]] = {}
    for term_name, broader in terms.items():
        for broader_term in broader:
            narrower_terms.setdefault(broader_term, []).append(term_name)
    visited = {term: None}
    pending = [term]
    while pending:
        for term_name in narrower_terms.get(pending.pop(), ()):
            if term_name not in visited:
                visited[term_name] = None
                pending.append(term_name)
    return list(visited)

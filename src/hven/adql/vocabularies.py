"""Terms of the IVOA's vocabularies and which are narrower than which: `vocabularies.csv` (ivoa-std/Vocabularies, March 2026, CC0 1.0)."""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib.resources import files


@lru_cache(maxsize=1)
def vocabularies() -> dict[str, dict[str, tuple[str, ...]]]:
    """Load the vocabularies.

    Returns
    -------
    terms
        Vocabulary -> term -> the terms right above it.
    """
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    text = files("hven.adql").joinpath("vocabularies.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        found.setdefault(row["vocabulary"], {})[row["term"]] = tuple(row["broader"].split())
    return found


def narrower(vocabulary: str, term: str) -> list[str]:
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
    terms = vocabularies()[vocabulary]
    if term not in terms:
        raise KeyError(term)
    below: dict[str, list[str]] = {}
    for other, broader in terms.items():
        for above in broader:
            below.setdefault(above, []).append(other)
    found = {term: None}
    waiting = [term]
    while waiting:
        for other in below.get(waiting.pop(), ()):
            if other not in found:
                found[other] = None
                waiting.append(other)
    return list(found)

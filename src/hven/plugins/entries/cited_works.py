"""Find the works that a text cites: bibcodes and DOIs."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.plugins.entries.work_titles import WorkTitle, find_work_titles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.site import Site

MAX_WORKS = 20  # of a text
ADS_ADDRESS = "https://ui.adsabs.harvard.edu/abs/{}/abstract"
DOI_ADDRESS = "https://doi.org/{}"
# 19 characters: year, journal, volume, page and initial
_BIBCODE_PATTERN = re.compile(r"(?<![\w.&])\d{4}[A-Za-z][A-Za-z0-9.&]{13}[A-Z.](?![\w&])", re.ASCII)
_DOI_PATTERN = re.compile(r"(?<![\w.])10\.\d{4,9}/[^\s<>\"']{1,200}")
_FINAL_PUNCTUATION = ".,;:!?)]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedWork:
    """A work that a text cites.

    Attributes
    ----------
    scheme
        ``bibcode`` or ``DOI``.
    id
        The identifier, as the scheme writes it.
    url
        Address of the work.
    """

    scheme: str
    id: str
    url: str

    def to_json(self) -> dict[str, str]:
        """Convert the work to JSON values."""
        return asdict(self)


def describe_cited_works(site: Site, texts: Sequence[str]) -> list[list[dict[str, str]]]:
    """Describe the works that each text cites, with their titles as far as the site knows them.

    Parameters
    ----------
    site
        The site.
    texts
        The texts, which are on one page.
    """
    works_by_text = [find_cited_works(text) for text in texts]
    titles = find_work_titles(site, [work.id for works in works_by_text for work in works])
    return [
        [{**titles.get(work.id, WorkTitle()).to_json(), **work.to_json()} for work in works] for works in works_by_text
    ]


def find_cited_works(text: str) -> list[CitedWork]:
    """Find the bibcodes and DOIs in a text, each once; at most `MAX_WORKS`.

    Parameters
    ----------
    text
        The text.
    """
    works: dict[str, CitedWork] = {}
    for match in _BIBCODE_PATTERN.finditer(text):
        bibcode = match[0]
        works[bibcode] = CitedWork(scheme="bibcode", id=bibcode, url=ADS_ADDRESS.format(quote(bibcode, safe="")))
    for match in _DOI_PATTERN.finditer(text):
        doi = match[0].rstrip(_FINAL_PUNCTUATION)
        works[doi] = CitedWork(scheme="DOI", id=doi, url=DOI_ADDRESS.format(quote(doi, safe="/")))
    return list(works.values())[:MAX_WORKS]

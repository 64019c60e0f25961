"""What papers and libraries are told of a collection besides its tables.

Who gave money, which works belong to it, its DOI, results; and checks of identifiers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DOI_PATTERN = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:\s*)?(10\.\d{4,9}/\S+)", re.IGNORECASE)
BIBCODE_PATTERN = re.compile(r"\d{4}[A-Za-z][A-Za-z0-9.&]{13}[A-Za-z.]")  # 19 signs, the year first
_ARXIV_PATTERN = re.compile(r"arxiv:((?:\d{4}\.\d{4,5}|[a-z-]+(?:\.[A-Z]{2})?/\d{7})(?:v\d+)?)", re.IGNORECASE)
_ORCID_PATTERN = re.compile(r"(?:https?://orcid\.org/)?(\d{4})-(\d{4})-(\d{4})-(\d{3}[\dX])", re.IGNORECASE)
_ROR_PATTERN = re.compile(r"(?:https?://ror\.org/)?(0[a-hj-km-np-tv-z0-9]{6}\d\d)", re.IGNORECASE)
_CROCKFORD_BASE32_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingReference:
    """Who gave money (DataCite's fundingReference).

    Attributes
    ----------
    funder, ror
        Name and identifier of the organisation.
    award, title, url
        Number, title and page of the grant.
    """

    funder: str
    ror: str | None = None
    award: str | None = None
    title: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedIdentifier:
    """A paper, a catalogue, a program that belongs to a collection (DataCite's relatedIdentifier).

    Attributes
    ----------
    relation
        Relation of DataCite's list: ``IsSupplementTo``: the collection is a supplement to the work.
    scheme, id
        What kind of identifier it is (``DOI``, ``bibcode``, ``arXiv``, ``URL``), and the identifier as that scheme
        writes it.
    """

    relation: str
    scheme: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DoiRecord:
    """A collection, or a release of it, that has a DOI or was withdrawn.

    Attributes
    ----------
    collection, label
        Which; an empty label: the collection as a whole.
    doi
        None: this site has not minted one.
    state
        ``reserved``: the site will mint it; ``draft``, ``findable``: its state at DataCite; ``withdrawn``: only its
        tombstone is left.
    url
        The address to which it resolves.
    told
        Its metadata as they were told last.
    changed
        When, ISO, UTC.
    reason
        Why it was withdrawn.
    """

    collection: str
    label: str = ""
    doi: str | None = None
    state: str = "reserved"
    url: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)
    changed: str = ""
    reason: str | None = None

    @property
    def key(self) -> str:
        """Its key."""
        return f"{self.collection}@{self.label.lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedResult:
    """A result that has a persistent address.

    Attributes
    ----------
    id
        Digest of query, snapshots and limit: the same result has one address.
    made
        When it was made first, ISO, UTC.
    body
        Query, snapshots, count, checksum.
    """

    id: str
    made: str
    body: Mapping[str, Any]


def parse_doi(text: str | None) -> str | None:
    """Parse a DOI.

    Parameters
    ----------
    text
        With ``doi:``, as an address, or bare.

    Returns
    -------
    doi
        ``10.xxxx/..``; None: it is none.
    """
    match = DOI_PATTERN.fullmatch((text or "").strip())
    if match:
        return match[1]
    return None


def parse_orcid(text: str | None) -> str | None:
    """Parse an ORCID iD, whose last sign is a checksum of the others (ISO 7064, MOD 11-2).

    Parameters
    ----------
    text
        Bare or as an address.

    Returns
    -------
    orcid
        ``0000-0002-1825-0097``; None: it is none, or its checksum is wrong.
    """
    match = _ORCID_PATTERN.fullmatch((text or "").strip())
    if match is None:
        return None
    characters = "".join(match.groups()).upper()
    total = 0
    for character in characters[:-1]:
        total = (total + int(character)) * 2 % 11
    if characters[-1] == "0123456789X"[(12 - total) % 11]:
        return "-".join(match.groups()).upper()
    return None


def parse_ror(text: str | None) -> str | None:
    """Parse an identifier of the Research Organization Registry.

    Its last two digits are a checksum (ISO 7064, MOD 97-10).

    Parameters
    ----------
    text
        Bare or as an address.

    Returns
    -------
    ror
        ``https://ror.org/..``; None: it is none, or its checksum is wrong.
    """
    match = _ROR_PATTERN.fullmatch((text or "").strip())
    if match is None:
        return None
    number = 0
    ident = match[1].lower()
    for character in ident[:-2]:
        number = number * 32 + _CROCKFORD_BASE32_DIGITS.index(character)
    if int(ident[-2:]) == 98 - number * 100 % 97:
        return f"https://ror.org/{ident}"
    return None


def parse_work_identifier(text: str) -> tuple[str, str] | None:
    """Find out which scheme an identifier of a work is of.

    Parameters
    ----------
    text
        As people write it.

    Returns
    -------
    scheme, identifier
        As DataCite has them; None: of none that is known.
    """
    text = text.strip()
    bare_doi = parse_doi(text)
    if bare_doi:
        return "DOI", bare_doi
    if BIBCODE_PATTERN.fullmatch(text):
        return "bibcode", text
    match = _ARXIV_PATTERN.fullmatch(text)
    if match:
        return "arXiv", f"arXiv:{match[1]}"
    if re.fullmatch(r"https?://[^\s/?#]+\S*", text):
        return ("URL", text)
    return None

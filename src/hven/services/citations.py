"""Citations of a collection or a release: what they consist of, BibTeX and a sentence.

They are built from the descriptor and from what is published.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.model.errors import NotFoundError, format_message
from hven.model.resource import SPDX_LICENCE_PATTERN
from hven.model.resource import parse_doi as bare_doi

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.resource import CollectionSpec, Person
    from hven.services.face import ServiceContext
    from hven.site import Catalogue, PublishedState, PublishedTable
    from hven.site.store import Release

_TEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationMetadata:
    """Metadata with which a collection, or a release of it, is cited.

    Attributes
    ----------
    resource
        The collection, as its descriptor describes it.
    address
        Address of its landing page.
    doi
        DOI; None if it has none.
    label
        Label of the release; empty: the collection as a whole.
    description
        Description for people; that of the release comes first.
    issued
        When it was first published, ISO 8601; empty: not known.
    updated
        When it was last changed, ISO 8601.
    items
        Its tables, as everybody sees them.
    publisher, publisher_ror
        Name and ROR identifier of the publisher.
    ivoid
        Its identifier in the Virtual Observatory.
    relations
        DataCite relation type, and the DOI or address of another state of it.
    withdrawal_reason, withdrawal_date
        Why and since which day it is withdrawn; empty: it is not.
    """

    resource: CollectionSpec
    address: str
    doi: str | None
    publisher: str
    ivoid: str
    publisher_ror: str | None = None
    label: str = ""
    description: str | None = None
    issued: str = ""
    updated: str = ""
    items: Sequence[PublishedTable] = ()
    relations: Sequence[tuple[str, str]] = ()
    withdrawal_reason: str = ""
    withdrawal_date: str = ""

    @property
    def title(self) -> str:
        """Its title, with the label of the release."""
        title = self.resource.title or self.resource.name
        if self.label:
            return f"{title}, {self.label}"
        return title

    @property
    def year(self) -> str | None:
        """The year in which it was published."""
        if self.label and self.issued:
            return self.issued[:4]
        return find_publication_year(self.resource) or self.issued[:4] or None

    @property
    def creators(self) -> Sequence[Person]:
        """The people and institutes that created it."""
        return self.resource.creators


def build_landing_page_url(base_url: str, collection: str, label: str = "") -> str:
    """Return the address of the landing page of a collection or a release.

    Parameters
    ----------
    base_url
        Address of the site.
    collection
        Name of the collection.
    label
        Label of the release; empty for the collection.
    """
    url = f"{base_url}/collections/{quote(collection, safe='')}"
    if label:
        url += f"/releases/{quote(label, safe='')}"
    return url


def collect_citation_metadata(
    context: ServiceContext,
    published_state: PublishedState,
    catalogue: Catalogue,
    collection: str,
    release_label: str = "",
    *,
    base_url: str = "",
) -> CitationMetadata:
    """Collect the metadata with which a collection or a release is cited.

    Parameters
    ----------
    context
        Service context of the site.
    published_state, catalogue
        What is published, and what the reader may know of.
    collection, release_label
        The collection; and a release of it, in any case, or empty.
    base_url
        Address of the site or portal.

    Returns
    -------
    citation_metadata
        With the DOI that was minted for it, and its relations to other releases.

    Raises
    ------
    NotFoundError
        The reader knows of no such collection or release.
    """
    site = context.site
    settings = site.settings
    resource = published_state.resources.get(collection)
    known_tables = {table.qualified_name for schema in catalogue.schemas for table in schema.tables}
    all_items = published_state.tables_by_name.values()
    published = [item for item in all_items if item.table.qualified_name in known_tables]
    collection_items = [item for item in published if item.table.schema == collection]
    items = [item for item in collection_items if item.release is None]
    if resource is None or not items:
        message = format_message("there is no collection {name!r} here", collection[:80])
        raise NotFoundError(message, remedy="see the list of collections on the home page")
    base_url = base_url or settings.site_url
    minted_dois = site.identifiers.map_dois()
    releases = _list_releases(published, collection)

    def find_release_identifier(label: str) -> str:
        return minted_dois.get((collection, label)) or build_landing_page_url(base_url, collection, label)

    own_doi = bare_doi(resource.doi) or minted_dois.get((collection, ""))
    relations: list[tuple[str, str]] = []
    description = resource.description
    if release_label:
        release = _find_release(releases, collection, release_label)
        release_label = release.label
        issued = release.created
        description = "\n\n".join(entry for entry in (release.description, description) if entry) or None
        items = [item for item in published if _is_in_release(item, collection, release_label)]
        relations.append(("IsVersionOf", own_doi or build_landing_page_url(base_url, collection)))
        position = releases.index(release)
        for relation, neighbour in (("IsNewVersionOf", position - 1), ("IsPreviousVersionOf", position + 1)):
            if 0 <= neighbour < len(releases):
                relations.append((relation, find_release_identifier(releases[neighbour].label)))
        own_doi = minted_dois.get((collection, release_label))
    else:
        relations += [("HasVersion", find_release_identifier(entry.label)) for entry in releases]
        history = site.store.list_publication_events(collection)
        issued = history[-1].at if history else ""
    withdrawal_reason = ""
    withdrawal_date = ""
    citation = site.identifiers.find_doi_record(collection, release_label)
    if citation is not None and citation.state == "withdrawn":
        withdrawal_reason = citation.reason or ""
        withdrawal_date = citation.changed[:10]
    ivoid = f"ivo://{settings.find_collection_authority(collection)}/{collection}"
    if resource.registration is not None:
        ivoid = resource.registration.id or ivoid
    organisation = settings.registry.organisation or settings.title or settings.name
    publisher_ror = resource.publisher_ror
    if not publisher_ror and resource.publisher in {None, organisation}:
        publisher_ror = settings.registry.organisation_ror
    address = build_landing_page_url(base_url, collection, release_label)
    updated = max((item.updated for item in items), default="")
    return CitationMetadata(
        resource=resource,
        address=address,
        doi=own_doi,
        label=release_label,
        description=description,
        issued=issued,
        updated=updated,
        items=items,
        relations=relations,
        publisher=resource.publisher or organisation,
        publisher_ror=publisher_ror,
        ivoid=ivoid,
        withdrawal_reason=withdrawal_reason,
        withdrawal_date=withdrawal_date,
    )


def _list_releases(published: Iterable[PublishedTable], collection: str) -> list[Release]:
    """List the releases of a collection, the oldest first."""
    releases: dict[str, Release] = {}
    for item in published:
        if item.release is not None and item.release.collection == collection:
            releases[item.release.label] = item.release
    return sorted(releases.values(), key=lambda release: release.created)


def _find_release(releases: Iterable[Release], collection: str, label: str) -> Release:
    for release in releases:
        if release.label.lower() == label.lower():
            return release
    message = format_message("the collection {name!r} has no release {label!r}", collection, label[:40])
    raise NotFoundError(message, remedy="see the list of releases on the collection's page")


def _is_in_release(published_table: PublishedTable, collection: str, label: str) -> bool:
    if published_table.release is None:
        return False
    return published_table.release.collection == collection and published_table.release.label == label


def find_licence_url(resource: CollectionSpec) -> str | None:
    """Return the address of a collection's licence.

    Parameters
    ----------
    resource
        The collection; a licence of SPDX's list has one.
    """
    if resource.licence_url or not resource.licence:
        return resource.licence_url
    if SPDX_LICENCE_PATTERN.fullmatch(resource.licence):
        return f"https://spdx.org/licenses/{resource.licence}"
    return None


def find_publication_year(resource: CollectionSpec) -> str | None:
    """Return the year by which a collection is cited: the first one in its date, bibcode or citation.

    Parameters
    ----------
    resource
        Collection to cite.
    """
    for text in (resource.created, resource.bibcode, resource.citation):
        year_match = re.search(r"(?:1[89]|20)\d\d", text or "")
        if year_match:
            return year_match[0]
    return None


def write_citation_sentence(
    resource: CollectionSpec, *, label: str = "", doi: str | None = None, year: str | None = None
) -> str:
    """Write how to cite a collection as a sentence, with its DOI.

    It is the citation of the descriptor, else creators, year, title and publisher.

    Parameters
    ----------
    resource
        Collection to cite.
    label
        Label of a release; empty: the collection as a whole.
    doi, year
        DOI and year to cite, where they are not those of the descriptor.

    Returns
    -------
    text
        A sentence without a full stop.
    """
    doi = _choose_doi(resource, label, doi)
    text = None if label else resource.citation
    if not text:
        people = ", ".join(person.name for person in resource.creators)
        year = year or find_publication_year(resource)
        people_and_year = year
        if people:
            people_and_year = f"{people} ({year})" if year else people
        title = _write_title(resource, label)
        text = ". ".join(part for part in (people_and_year, title, resource.publisher) if part)
    sentence = text.rstrip(".")
    if doi and doi not in text:
        sentence += f". https://doi.org/{bare_doi(doi) or doi}"
    return sentence


def _choose_doi(resource: CollectionSpec, label: str, doi: str | None) -> str | None:
    """Return the given DOI, else that of the collection; the DOI of a collection is not that of its release."""
    if doi or label:
        return doi
    return resource.doi


def _write_title(resource: CollectionSpec, label: str) -> str:
    title = resource.title or resource.name
    if label:
        return f"{title}, {label}"
    return title


def write_bibtex(
    resource: CollectionSpec, address: str, *, label: str = "", doi: str | None = None, year: str | None = None
) -> str:
    """Write how to cite a collection as a BibTeX entry.

    Parameters
    ----------
    resource
        Collection to cite.
    address
        Address of its page.
    label
        Label of a release; empty: the collection as a whole.
    doi, year
        DOI and year to cite, where they are not those of the descriptor.

    Returns
    -------
    entry
        ``@misc{..}``.
    """
    doi = _choose_doi(resource, label, doi)
    entry_key = resource.bibcode or resource.name
    if label:
        entry_key += f"-{label}"
    return write_bibtex_entry(
        entry_key,
        title=_write_title(resource, label),
        authors=[creator.name for creator in resource.creators],
        year=year or find_publication_year(resource),
        publisher=resource.publisher,
        version=label,
        doi=bare_doi(doi) or doi,
        url=address,
        bibcode=resource.bibcode,
        note=resource.citation,
    )


def write_bibtex_entry(
    key: str,
    *,
    title: str,
    authors: Iterable[str],
    year: str | None,
    publisher: str | None,
    version: str | None,
    doi: str | None,
    url: str | None,
    bibcode: str | None = None,
    note: str | None = None,
) -> str:
    """Write a BibTeX entry from texts in which characters of TeX are not escaped.

    Parameters
    ----------
    key
        Key of the entry; characters that BibTeX does not allow are left out.
    title, authors, year, publisher, version, doi, url, note
        Fields; those without a text are left out.
    bibcode
        Bibcode, from which the address at ADS is made.

    Returns
    -------
    entry
        ``@misc{..}``.
    """
    fields = {
        "title": f"{{{_escape_tex(title)}}}",
        "author": _write_authors(authors),
        "year": year,
        "publisher": _escape_tex(publisher or ""),
        "version": _escape_tex(version or ""),
        "doi": _strip_tex_characters(doi or ""),
        "url": _strip_tex_characters(url or ""),
        "adsurl": f"https://ui.adsabs.harvard.edu/abs/{quote(bibcode)}" if bibcode else None,
        "note": _escape_tex(note or ""),
    }
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
    valid_key = re.sub(r"[^A-Za-z0-9:._-]", "", key)
    return f"@misc{{{valid_key},\n{lines}\n}}"


def _write_authors(names: Iterable[str]) -> str:
    return " and ".join(f"{{{_escape_tex(name)}}}" for name in names)


def _escape_tex(text: str) -> str:
    words = " ".join(text.split())
    return "".join(_TEX_ESCAPES.get(character, character) for character in words)


def _strip_tex_characters(text: str) -> str:
    return re.sub(r"[{}\\\s]", "", text)

"""The origins of the rows of an answer, as INFO elements (IVOA note Data Origin in the VO 1.1).

They are collected once for each plan, for every collection that it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.formats import InfoElement
from hven.model.resource import DATA_SOURCE_COLUMN, is_simulation_flag_column
from hven.model.resource import parse_doi as bare_doi

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.site import PublishedState, PublishedTable, Site

MAX_DESCRIBED_COLLECTIONS = 20  # a union may have hundreds of members


def build_data_origin_infos(
    tables: Iterable[Table], published_state: PublishedState, site: Site
) -> tuple[InfoElement, ...]:
    """Describe the collections that an answer comes from.

    These are the tables of the bound query, so the user knows of all of them.

    Parameters
    ----------
    tables
        Tables of the bound query.
    published_state
        The published state.
    site
        The site, for its title and its contact.

    Returns
    -------
    infos
        Publisher, contact, citation and so on, as in the note.
    """
    tables_by_collection: dict[str, list[PublishedTable]] = {}
    has_release = False
    for table in tables:
        published_table = published_state.tables_by_name.get(table.qualified_name)
        if table.owner is None and published_table is not None and published_table.resource is not None:
            tables_by_collection.setdefault(published_table.resource.name, []).append(published_table)
            has_release = has_release or published_table.release is not None
    origin_pairs: list[tuple[str, str | None]] = []
    if tables_by_collection:
        origin_pairs += _iterate_publisher_and_contact_pairs(list(tables_by_collection.values()), site)
    dois = site.identifiers.map_dois() if has_release else {}
    for items in list(tables_by_collection.values())[:MAX_DESCRIBED_COLLECTIONS]:
        resource = items[0].resource
        if resource is None:
            continue
        release_doi = None
        if dois:
            release_doi = _find_release_doi(items, dois)
        origin_pairs += _iterate_origin_pairs(resource, items, _find_ivoid(resource, site), release_doi)
    further_count = len(tables_by_collection) - MAX_DESCRIBED_COLLECTIONS
    if further_count > 0:
        origin_pairs.append(("data_origin", f"and {further_count} further collections"))
    return tuple([InfoElement(name=name, value=" ".join(value.split())) for name, value in origin_pairs if value])


def _iterate_publisher_and_contact_pairs(
    tables_by_collection: Sequence[Sequence[PublishedTable]], site: Site
) -> Iterator[tuple[str, str]]:
    """Yield the publishers and the contacts of collections; the site is the default."""
    settings = site.settings
    publishers: dict[str, None] = {}
    contacts: dict[str, None] = {}
    for items in tables_by_collection:
        resource = items[0].resource
        if resource is None:
            continue
        if resource.publisher:
            publishers[resource.publisher] = None
        email = settings.contact_email
        if resource.contact is not None and resource.contact.email:
            email = resource.contact.email
        if email:
            contacts[email] = None
    if not publishers and settings.title and tables_by_collection:
        publishers[settings.title] = None
    for publisher in publishers:
        yield "publisher", publisher
    for email in contacts:
        yield "contact", email


_WORK_KEYS = {"IsSupplementTo": "article", "Cites": "cites", "IsDerivedFrom": "is_derived_from"}


def _iterate_origin_pairs(
    resource: CollectionSpec, published_tables: Sequence[PublishedTable], ivoid: str, doi: str | None
) -> Iterator[tuple[str, str | None]]:
    yield "data_ivoid", ivoid
    yield "title", resource.title
    for person in resource.creators:
        yield "creator", person.name
    source_doi = doi or resource.doi
    if source_doi:
        yield "citation", f"https://doi.org/{bare_doi(source_doi) or source_doi}"
    else:
        yield "citation", resource.citation or resource.bibcode
    yield "article", resource.bibcode if source_doi or resource.citation else None
    for work in resource.works:
        key = _WORK_KEYS.get(work.relation)
        if key is not None:
            yield key, f"https://doi.org/{work.id}" if work.scheme == "DOI" else work.id
    yield "acknowledgement", resource.acknowledgement
    yield "reference_url", resource.reference_url
    yield "rights", resource.licence
    yield "rights_uri", resource.licence_url
    yield "data_type", "simulation" if resource.is_simulated else None
    for item in published_tables:
        name = item.table.qualified_name
        if not resource.is_simulated and any(map(is_simulation_flag_column, item.table.columns)):
            yield "data_type", f"{name}: observation, or simulation where {DATA_SOURCE_COLUMN} is theory"
        yield "resource_version", f"{name} {item.run_id}" if item.run_id else None
        if item.damaged_snapshot is not None:
            warning = f"{name}: newer rows ({item.damaged_snapshot}) are damaged; these are the last good ones"
            yield "data_warning", warning
    yield "publication_date", resource.created
    yield "last_update_date", max(item.updated for item in published_tables) or None


def _find_ivoid(resource: CollectionSpec, site: Site) -> str:
    """Return the identifier of a collection in registries."""
    if resource.registration is not None and resource.registration.id:
        return resource.registration.id
    return f"ivo://{site.settings.find_collection_authority(resource.name)}/{resource.name}"


def _find_release_doi(published_tables: Sequence[PublishedTable], dois: Mapping[tuple[str, str], str]) -> str | None:
    """Return the DOI of the release if all tables are from the same release, and it has one."""
    release_keys: set[tuple[str, str] | None] = set()
    for item in published_tables:
        release_keys.add(None if item.release is None else (item.release.collection, item.release.label))
    if len(release_keys) != 1:
        return None
    release_key = release_keys.pop()
    if release_key is None:
        return None
    return dois.get(release_key)

"""Where an answer's rows come from, as INFOs (IVOA note Data Origin in the VO 1.1).

Once for each plan, for every collection that is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.formats import InfoElement
from hven.model.resource import DATA_SOURCE_COLUMN, is_data_source_column
from hven.model.resource import parse_doi as bare_doi

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.model.resource import Resource
    from hven.model.table import Table
    from hven.site import PublishedState, PublishedTable, Site

MAX_DESCRIBED_COLLECTIONS = 20  # collections that are told; a union may have hundreds of members


def describe_origins(tables: Iterable[Table], published_state: PublishedState, site: Site) -> tuple[InfoElement, ...]:
    """Describe the collections of tables that an answer is from.

    Those that a query was bound to, so nothing that its reader does not know of.

    Parameters
    ----------
    tables
        Those of the bound query.
    published_state
        What is published.
    site
        For its title and contact.

    Returns
    -------
    infos
        As the note has them: publisher, contact, citation ...
    """
    published_tables = [
        item
        for table in tables
        if (item := published_state.tables_by_name.get(table.qualified_name)) is not None and table.owner is None
    ]
    by_name: dict[str, list[PublishedTable]] = {}
    for item in published_tables:
        if item.resource is not None:
            by_name.setdefault(item.resource.name, []).append(item)
    settings = site.settings
    publishers = dict.fromkeys(
        items[0].resource.publisher for items in by_name.values() if items[0].resource and items[0].resource.publisher
    )
    infos = [
        _build_info("publisher", party)
        for party in publishers or ([settings.title] if settings.title and by_name else [])
    ]
    contact_people = [items[0].resource.contact for items in by_name.values() if items[0].resource]
    contacts = dict.fromkeys(
        party.email if party is not None and party.email else settings.contact_email for party in contact_people
    )
    infos += [_build_info("contact", party) for party in contacts if party]
    has_release = any(item.release is not None for items in by_name.values() for item in items)
    if has_release:
        dois = site.store.citations.map_dois()
    else:
        dois = {}
    for items in list(by_name.values())[:MAX_DESCRIBED_COLLECTIONS]:
        resource = items[0].resource
        if resource is not None:
            infos += [
                _build_info(key, value)
                for key, value in _iterate_origin_items(
                    resource, items, _find_ivoid(resource, site), _find_release_doi(items, dois)
                )
                if value
            ]
    if len(by_name) > MAX_DESCRIBED_COLLECTIONS:
        info = _build_info("data_origin", f"and {len(by_name) - MAX_DESCRIBED_COLLECTIONS} further collections")
        infos.append(info)
    return tuple(infos)


def _iterate_origin_items(
    resource: Resource, items: Sequence[PublishedTable], ivoid: str, doi: str | None
) -> Iterator[tuple[str, str | None]]:
    yield "data_ivoid", ivoid
    yield "title", resource.title
    for person in resource.creators:
        yield "creator", person.name
    source_doi = doi or resource.doi
    yield (
        "citation",
        f"https://doi.org/{bare_doi(source_doi) or source_doi}"
        if source_doi
        else resource.citation or resource.bibcode,
    )
    yield "article", resource.bibcode if source_doi or resource.citation else None
    for work in resource.works:
        name = {"IsSupplementTo": "article", "Cites": "cites", "IsDerivedFrom": "is_derived_from"}.get(work.relation)
        if name is not None:
            yield name, f"https://doi.org/{work.id}" if work.scheme == "DOI" else work.id
    yield "acknowledgement", resource.acknowledgement
    yield "reference_url", resource.reference_url
    yield "rights", resource.licence
    yield "rights_uri", resource.licence_url
    yield "data_type", "simulation" if resource.is_simulated else None
    for item in items:
        if not resource.is_simulated and any(is_data_source_column(column) for column in item.table.columns):
            yield (
                "data_type",
                f"{item.table.qualified_name}: observation, simulation where {DATA_SOURCE_COLUMN} is theory",
            )
        yield "resource_version", f"{item.table.qualified_name} {item.run_id}" if item.run_id else None
        if item.damaged_snapshot is not None:
            yield (
                "data_warning",
                (
                    f"{item.table.qualified_name}: newer rows ({item.damaged_snapshot}) are damaged; these are the "
                    f"last good ones"
                ),
            )
    yield "publication_date", resource.created
    yield "last_update_date", max(item.updated for item in items) or None


def _find_ivoid(resource: Resource, site: Site) -> str:
    """Return the identifier under which registries know a collection."""
    if resource.registration is not None:
        registered_id = resource.registration.id
    else:
        registered_id = None
    return registered_id or f"ivo://{site.settings.find_authority(resource.name)}/{resource.name}"


def _find_release_doi(items: Sequence[PublishedTable], dois: Mapping[tuple[str, str], str]) -> str | None:
    """Return the DOI of the one release that is read; None: none is, or it has none."""
    releases = {
        (published_table.release.collection, published_table.release.label)
        if published_table.release is not None
        else None
        for published_table in items
    }
    if len(releases) == 1:
        (release_key,) = releases
    else:
        (release_key,) = (None,)
    if release_key is not None:
        return dois.get(release_key)
    return None


def _build_info(name: str, value: str) -> InfoElement:
    return InfoElement(name=name, value=" ".join(value.split()))


__all__ = ["MAX_DESCRIBED_COLLECTIONS", "describe_origins"]

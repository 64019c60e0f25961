"""Where an answer's rows come from, as INFOs (IVOA note Data Origin in the VO 1.1): once for each plan, for every collection that is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.formats import Info
from hven.model.resource import DATA_SOURCE, tells_source
from hven.model.resource import doi as bare_doi

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.model.resource import Resource
    from hven.model.table import Table
    from hven.site import Holdings, Published, Site

MOST = 20  # collections that are told; a union may have hundreds of members


def origins(tables: Iterable[Table], holdings: Holdings, site: Site) -> tuple[Info, ...]:
    """Describe the collections of tables that an answer is from: those that a query was bound to, so nothing that its reader does not know of.

    Parameters
    ----------
    tables
        Those of the bound query.
    holdings
        What is published.
    site
        For its title and contact.

    Returns
    -------
    infos
        As the note has them: publisher, contact, citation ...
    """
    read = [
        item
        for table in tables
        if (item := holdings.published.get(table.qualified)) is not None and table.owner is None
    ]
    by_name: dict[str, list[Published]] = {}
    for item in read:
        if item.resource is not None:
            by_name.setdefault(item.resource.name, []).append(item)
    settings = site.settings
    publishers = dict.fromkeys(
        items[0].resource.publisher for items in by_name.values() if items[0].resource and items[0].resource.publisher
    )
    found = [_info("publisher", one) for one in publishers or ([settings.title] if settings.title and by_name else [])]
    people = [items[0].resource.contact for items in by_name.values() if items[0].resource]
    contacts = dict.fromkeys(one.email if one is not None and one.email else settings.contact_email for one in people)
    found += [_info("contact", one) for one in contacts if one]
    released = any(item.release is not None for items in by_name.values() for item in items)
    dois = site.store.citations.dois() if released else {}
    for items in list(by_name.values())[:MOST]:
        resource = items[0].resource
        if resource is not None:
            found += [
                _info(key, value)
                for key, value in _of(resource, items, _ivoid(resource, site), _doi(items, dois))
                if value
            ]
    if len(by_name) > MOST:
        found.append(_info("data_origin", f"and {len(by_name) - MOST} further collections"))
    return tuple(found)


def _of(
    resource: Resource, items: Sequence[Published], ivoid: str, doi: str | None
) -> Iterator[tuple[str, str | None]]:
    yield "data_ivoid", ivoid
    yield "title", resource.title
    for person in resource.creators:
        yield "creator", person.name
    known = doi or resource.doi
    yield "citation", f"https://doi.org/{bare_doi(known) or known}" if known else resource.citation or resource.bibcode
    yield "article", resource.bibcode if known or resource.citation else None
    for work in resource.works:
        name = {"IsSupplementTo": "article", "Cites": "cites", "IsDerivedFrom": "is_derived_from"}.get(work.relation)
        if name is not None:
            yield name, f"https://doi.org/{work.id}" if work.scheme == "DOI" else work.id
    yield "acknowledgement", resource.acknowledgement
    yield "reference_url", resource.reference_url
    yield "rights", resource.licence
    yield "rights_uri", resource.licence_url
    yield "data_type", "simulation" if resource.simulated else None
    for item in items:
        if not resource.simulated and any(tells_source(column) for column in item.table.columns):
            yield "data_type", f"{item.table.qualified}: observation, simulation where {DATA_SOURCE} is theory"
        yield "resource_version", f"{item.table.qualified} {item.run}" if item.run else None
        if item.instead is not None:
            yield (
                "data_warning",
                f"{item.table.qualified}: newer rows ({item.instead}) are damaged; these are the last good ones",
            )
    yield "publication_date", resource.created
    yield "last_update_date", max(item.updated for item in items) or None


def _ivoid(resource: Resource, site: Site) -> str:
    """Return the identifier under which registries know a collection."""
    own = resource.registration.id if resource.registration is not None else None
    return own or f"ivo://{site.settings.authority_of(resource.name)}/{resource.name}"


def _doi(items: Sequence[Published], dois: Mapping[tuple[str, str], str]) -> str | None:
    """Return the DOI of the one release that is read; None: none is, or it has none."""
    releases = {(one.release.collection, one.release.label) if one.release is not None else None for one in items}
    (only,) = releases if len(releases) == 1 else (None,)
    return dois.get(only) if only is not None else None


def _info(name: str, value: str) -> Info:
    return Info(name=name, value=" ".join(value.split()))


__all__ = ["MOST", "origins"]

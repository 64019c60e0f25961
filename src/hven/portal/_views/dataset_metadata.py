"""Metadata of collections beside their tables: citations, schema.org datasets, publications, ranges of columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven import adql
from hven.portal._explore.cell_text import format_days_since_epoch_as_date
from hven.portal._views.page_addresses import build_table_address
from hven.services.citations import find_licence_url, write_bibtex, write_citation_sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hven.model.resource import CollectionSpec, FundingReference
    from hven.model.table import Column, Table
    from hven.portal._views.page_formats import PageContext
    from hven.services.citations import CitationMetadata
    from hven.site import PublishedTable

MAX_PUBLICATIONS = 8  # that are shown
MAX_VARIABLES = 200  # columns that a Dataset names


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationText:
    """A citation, as a sentence and as a BibTeX entry.

    Attributes
    ----------
    text
        The sentence.
    bibtex
        The BibTeX entry.
    """

    text: str
    bibtex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDescription:
    """A release of a collection.

    Attributes
    ----------
    at, day
        When it was published: the time and the day.
    tables
        Its tables that the reader may see.
    superseded
        Whether there is a newer one.
    """

    label: str
    at: str
    tables: Sequence[Mapping[str, object]]
    day: str
    description: str | None
    superseded: bool
    url: str


def write_dated_citation(resource: CollectionSpec, address: str) -> CitationText:
    """Write the citation of a row or a result at an address, as of today: a sentence and a BibTeX entry."""
    day = datetime.now(UTC).date().isoformat()
    return CitationText(
        text=f"{write_citation_sentence(resource)}. {address} ({day})", bibtex=write_bibtex(resource, address)
    )


def build_schema_org_dataset(
    name: str,
    page_context: PageContext,
    citation: CitationMetadata,
    *,
    tables: Sequence[Table],
    updated: str | None,
    time_range: Sequence[str] | None = None,
    mirror_addresses: Sequence[str] = (),
) -> dict[str, Any]:
    """Describe a collection, or a release of it, as a schema.org Dataset for search engines.

    Parameters
    ----------
    name
        Name of the collection.
    tables
        The tables that the reader may see.
    mirror_addresses
        Addresses of the sites that it mirrors.
    """
    resource = citation.resource
    settings = page_context.context.site.settings
    columns = [column for table in tables for column in table.columns if not column.hidden]
    dataset_address = citation.address
    doi = citation.doi
    publisher = citation.publisher
    version = citation.label or None
    identifiers = [f"https://doi.org/{doi}"] if doi else []
    if not version:
        identifiers.append(f"ivo://{settings.find_collection_authority(name)}/{name}")
    publisher_facts = None
    if publisher:
        publisher_facts = {"@type": "Organization", "name": publisher}
        if citation.publisher_ror:
            publisher_facts["@id"] = citation.publisher_ror
    cited_works = []
    if resource.citation:
        cited_works = [resource.citation]
    for work in resource.works:
        if work.scheme == "DOI":
            work_address = f"https://doi.org/{work.id}"
        else:
            work_address = work.id
        if work_address:
            cited_works.append(work_address)
    dataset_facts: dict[str, Any] = {
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "@id": f"https://doi.org/{doi}" if doi else dataset_address,
        "name": citation.title or resource.title or name,
        "description": citation.description or resource.description or resource.title or name,
        "url": dataset_address,
        "identifier": identifiers,
        "license": find_licence_url(resource) or resource.licence,
        "keywords": [*resource.subjects, *resource.facility, *resource.instrument],
        "creator": [
            _build_schema_org_person(person.name, person.orcid, person.affiliation) for person in resource.creators
        ],
        "contributor": [
            _build_schema_org_person(person.name, person.orcid, person.affiliation) for person in resource.contributors
        ],
        "publisher": publisher_facts,
        "funding": [_build_schema_org_grant(funding) for funding in resource.funding],
        "citation": cited_works,
        "creditText": resource.acknowledgement,
        "version": version,
        "dateCreated": resource.created,
        "datePublished": citation.issued[:10] if citation.issued else None,
        "dateModified": updated,
        "temporalCoverage": f"{time_range[0]}/{time_range[1]}" if time_range else None,
        "isAccessibleForFree": True if resource.access == "public" else None,
        "isBasedOn": list(mirror_addresses) or None,
        "includedInDataCatalog": _build_catalogue_reference(page_context),
        "variableMeasured": [_build_schema_org_variable(column) for column in columns[:MAX_VARIABLES]],
        "distribution": _list_distributions(tables, page_context),
    }
    return {key: value for key, value in dataset_facts.items() if value not in (None, [], "")}


def _list_distributions(tables: Sequence[Table], page_context: PageContext) -> list[dict[str, str]]:
    """List the downloads of all rows of tables, as CSV and as VOTable."""
    distributions = []
    for table in tables:
        table_name = f"{adql.quote_adql_name(table.schema)}.{adql.quote_adql_name(table.name)}"
        for format_name, media_type in (("csv", "text/csv"), ("votable", "application/x-votable+xml")):
            distribution = {
                "@type": "DataDownload",
                "name": table.title or table_name,
                "encodingFormat": media_type,
                "contentUrl": build_all_rows_query_address(page_context.brand.root, table_name, format_name),
            }
            distributions.append(distribution)
    return distributions


def _build_catalogue_reference(page_context: PageContext) -> dict[str, str]:
    return {"@type": "DataCatalog", "name": page_context.brand.title, "url": f"{page_context.base}/"}


def build_all_rows_query_address(site_address: str, table_name: str, format_name: str) -> str:
    """Return the address of all rows of a table.

    Parameters
    ----------
    site_address
        Address of the site, or of a portal.
    table_name
        Name of the table, as in a query.
    format_name
        Name of a format.
    """
    query = quote(f"SELECT * FROM {table_name}")
    return f"{site_address}/tap/sync?LANG=ADQL&REQUEST=doQuery&RESPONSEFORMAT={format_name}&QUERY={query}"


def _build_schema_org_grant(funding: FundingReference) -> dict[str, Any]:
    funder = {"@type": "Organization", "name": funding.funder, "@id": funding.ror}
    grant = {
        "@type": "Grant",
        "identifier": funding.award,
        "name": funding.title,
        "url": funding.url,
        "funder": {key: value for key, value in funder.items() if value},
    }
    return {key: value for key, value in grant.items() if value}


def build_schema_org_table_dataset(
    table: Table,
    resource: CollectionSpec | None,
    updated: str | None,
    page_context: PageContext,
    *,
    downloads: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """Describe one table as a Dataset that is part of its collection's.

    `downloads` are media types with their addresses.
    """
    collection_address = f"{page_context.brand.root}/collections/{quote(table.schema)}"
    table_address = build_table_address(page_context.brand.root, table)
    creators = []
    licence = None
    collection_reference = None
    if resource is not None:
        creators = [
            _build_schema_org_person(person.name, person.orcid, person.affiliation) for person in resource.creators
        ]
        licence = resource.licence_url or resource.licence
        collection_reference = {
            "@type": "Dataset",
            "@id": collection_address,
            "name": resource.title or table.schema,
            "url": collection_address,
        }
    visible_columns = [column for column in table.columns if not column.hidden]
    dataset_facts: dict[str, Any] = {
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "@id": table_address,
        "name": table.title or table.qualified_name,
        "description": table.description or table.title or table.qualified_name,
        "url": table_address,
        "license": licence,
        "creator": creators,
        "dateModified": updated,
        "isPartOf": collection_reference,
        "includedInDataCatalog": _build_catalogue_reference(page_context),
        "variableMeasured": [_build_schema_org_variable(column) for column in visible_columns[:MAX_VARIABLES]],
        "distribution": [
            {"@type": "DataDownload", "encodingFormat": media_type, "contentUrl": url} for media_type, url in downloads
        ],
    }
    return {name: value for name, value in dataset_facts.items() if value not in (None, [], "")}


def _build_schema_org_variable(column: Column) -> dict[str, str]:
    property_value = {
        "@type": "PropertyValue",
        "name": column.name,
        "description": column.description,
        "unitText": column.unit,
        "propertyID": column.ucd,
    }
    return {key: value for key, value in property_value.items() if value}


def _build_schema_org_person(name: str, orcid: str | None, affiliation: str | None) -> dict[str, Any]:
    person: dict[str, Any] = {"@type": "Person", "name": name}
    if orcid:
        if orcid.startswith("http"):
            person["identifier"] = orcid
        else:
            person["identifier"] = f"https://orcid.org/{orcid}"
    if affiliation:
        person["affiliation"] = {"@type": "Organization", "name": affiliation}
    return person


def list_releases(page_context: PageContext, is_wanted: Callable[[PublishedTable], bool]) -> list[ReleaseDescription]:
    """List the releases of some tables, as far as this reader may see them, the newest first."""
    releases_by_label: dict[str, ReleaseDescription] = {}
    for table in page_context.catalogue.iterate_tables():
        item = page_context.published_state.tables_by_name.get(table.qualified_name)
        if item is None or item.release is None or not is_wanted(item):
            continue
        release = item.release
        newest = page_context.published_state.released_tables_by_name[f"{release.collection}.{table.name}"][0].release
        earlier_description = releases_by_label.get(release.label)
        table_link = {"name": table.qualified_name, "url": build_table_address(page_context.base, table)}
        release_path = f"{quote(release.collection)}/releases/{quote(release.label)}"
        releases_by_label[release.label] = ReleaseDescription(
            label=release.label,
            at=release.created if earlier_description is None else earlier_description.at,
            tables=(*(() if earlier_description is None else earlier_description.tables), table_link),
            day=release.created[:10],
            description=release.description,
            superseded=newest != release,
            url=f"{page_context.base}/collections/{release_path}",
        )
    return sorted(releases_by_label.values(), key=lambda release: release.at, reverse=True)


def list_table_publication_events(
    page_context: PageContext, collection: str, tables: Collection[str]
) -> list[dict[str, Any]]:
    """List the publications of the tables that the reader may see, the newest first."""
    publications_list = []
    events = page_context.context.site.store.list_publication_events(collection)
    for event, previous_event in zip(events, [*events[1:], None], strict=True):
        previous_state: Mapping[str, str] = {} if previous_event is None else previous_event.state
        changed_names = [name for name in tables if event.state.get(name) != previous_state.get(name)]
        changed_tables = sorted(name.partition(".")[2] for name in changed_names)
        if changed_tables:
            publications_list.append({"at": event.at, "action": event.action, "tables": changed_tables})
        if len(publications_list) == MAX_PUBLICATIONS:
            break
    return publications_list


def summarize_column_statistics(published_table: PublishedTable, table: Table) -> dict[str, dict[str, Any]]:
    """Return the range of each column, from the statistics of its publication."""
    ranges_by_column: dict[str, dict[str, Any]] = {}
    for column in table.columns:
        statistics = published_table.statistics.get(column.name, {})
        low = statistics.get("minimum")
        high = statistics.get("maximum")
        value_range: dict[str, Any] = {}
        first_day = last_day = ""
        if column.epoch is not None:
            first_day = format_days_since_epoch_as_date(low, column.epoch)
            last_day = format_days_since_epoch_as_date(high, column.epoch)
        if first_day and last_day:
            value_range = {"low": first_day, "high": last_day}
        elif column.type.is_numeric and isinstance(low, int | float) and isinstance(high, int | float):
            value_range = {"low": _shorten_number(low), "high": _shorten_number(high)}
        elif column.type.is_timestamp and low is not None and high is not None:
            value_range = {"low": str(low)[:10], "high": str(high)[:10]}
        elif column.type.is_string and isinstance(statistics.get("distinct"), int):
            value_range = {"distinct": statistics["distinct"]}
        nulls = statistics.get("nulls")
        if isinstance(nulls, int) and nulls and published_table.rows:
            share = nulls / published_table.rows
            if share < 0.01:
                value_range["missing"] = "< 1 %"
            elif 0.99 < share < 1:
                value_range["missing"] = "> 99 %"
            else:
                value_range["missing"] = f"{share:.0%}".replace("%", " %")
        if value_range:
            ranges_by_column[column.name] = value_range
    return ranges_by_column


def _shorten_number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.5g}"

"""What is told of a collection beside its tables.

How to cite what stands at an address, schema.org's Dataset, what was published when, ranges of columns.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.portal._explore.cell_text import format_day
from hven.portal._views.page_addresses import build_table_address
from hven.services.citations import find_licence_url, write_bibtex, write_citation_sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hven.model.resource import Funding, Resource
    from hven.model.table import Column, Table
    from hven.portal._views.page_formats import PageContext
    from hven.services.citations import CitationMetadata
    from hven.site import PublishedTable

MAX_PUBLICATIONS = 8  # publications that are shown
MAX_VARIABLES = 200  # columns that a Dataset names


def build_citation_at(resource: Resource, address: str) -> dict[str, str]:
    """Write how to cite what stands at an address, a row or a result, as it was today: as a sentence and for BibTeX."""
    day = datetime.now(UTC).date().isoformat()
    return {
        "text": f"{write_citation_sentence(resource)}. {address} ({day})",
        "bibtex": write_bibtex(resource, address),
    }


def build_dataset(
    description: Mapping[str, Any],
    page_context: PageContext,
    time_range: Sequence[str] | None,
    citation: CitationMetadata | None = None,
) -> dict[str, Any]:
    """Describe a collection, or a release of it, as schema.org's Dataset (what search engines for data read)."""
    resource: Resource = description["resource"]
    settings = page_context.context.site.settings
    columns = [citation["column"] for table in description["tables"] for citation in table["columns"]][:MAX_VARIABLES]
    if citation is None:
        dataset_address = f"{page_context.brand.root}/collections/{quote(description['name'])}"
    else:
        dataset_address = citation.address
    if citation is None:
        doi = resource.doi
    else:
        doi = citation.doi
    if citation is None:
        publisher = resource.publisher
    else:
        publisher = citation.publisher
    if citation is not None and citation.label:
        version = citation.label
    else:
        version = None
    dataset_facts: dict[str, Any] = {
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "@id": f"https://doi.org/{doi}" if citation is not None and doi else dataset_address,
        "name": (citation and citation.title) or resource.title or description["name"],
        "description": (citation and citation.description)
        or resource.description
        or resource.title
        or description["name"],
        "url": dataset_address,
        "identifier": [
            citation
            for citation in (
                doi and f"https://doi.org/{doi}",
                None if version else f"ivo://{settings.find_authority(description['name'])}/{description['name']}",
            )
            if citation
        ],
        "license": find_licence_url(resource) or resource.licence,
        "keywords": [*resource.subjects, *resource.facility, *resource.instrument],
        "creator": [
            _build_person(citation.name, citation.orcid, citation.affiliation) for citation in resource.creators
        ],
        "contributor": [
            _build_person(citation.name, citation.orcid, citation.affiliation) for citation in resource.contributors
        ],
        "publisher": {
            "@type": "Organization",
            "name": publisher,
            **({"@id": citation.publisher_ror} if citation is not None and citation.publisher_ror else {}),
        }
        if publisher
        else None,
        "funding": [_build_grant(citation) for citation in resource.funding],
        "citation": [
            text
            for text in (
                resource.citation,
                *(f"https://doi.org/{work.id}" if work.scheme == "DOI" else work.id for work in resource.works),
            )
            if text
        ],
        "creditText": resource.acknowledgement,
        "version": version,
        "dateCreated": resource.created,
        "datePublished": citation.issued[:10] if citation is not None and citation.issued else None,
        "dateModified": description["updated"],
        "temporalCoverage": f"{time_range[0]}/{time_range[1]}" if time_range else None,
        "isAccessibleForFree": True if resource.access == "public" else None,
        "isBasedOn": list(description["mirror_of"]) or None,
        "includedInDataCatalog": {
            "@type": "DataCatalog",
            "name": page_context.brand.title,
            "url": f"{page_context.base}/",
        },
        "variableMeasured": [_build_variable(citation) for citation in columns],
        "distribution": [
            {
                "@type": "DataDownload",
                "name": table["table"].title or table["name"],
                "encodingFormat": kind,
                "contentUrl": build_rows_address(page_context.brand.root, table["name"], short),
            }
            for table in description["tables"]
            for short, kind in (("csv", "text/csv"), ("votable", "application/x-votable+xml"))
        ],
    }
    return {name: value for name, value in dataset_facts.items() if value not in (None, [], "")}


def build_rows_address(site_address: str, table_name: str, format_name: str) -> str:
    """Return where all rows of a table are to be had."""
    return f"{site_address}/tap/sync?LANG=ADQL&REQUEST=doQuery&RESPONSEFORMAT={format_name}&QUERY={quote('SELECT * FROM ' + table_name)}"


def _build_grant(funding: Funding) -> dict[str, Any]:
    funder = {"@type": "Organization", "name": funding.funder, "@id": funding.ror}
    grant = {
        "@type": "Grant",
        "identifier": funding.award,
        "name": funding.title,
        "url": funding.url,
        "funder": {key: value for key, value in funder.items() if value},
    }
    return {key: value for key, value in grant.items() if value}


def build_data_catalogue(page_context: PageContext, collections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Describe a site, or a portal, as schema.org's DataCatalog."""
    catalogue_facts: dict[str, Any] = {
        "@context": "https://schema.org/",
        "@type": "DataCatalog",
        "@id": f"{page_context.base}/",
        "name": page_context.brand.title,
        "description": page_context.brand.about,
        "url": f"{page_context.base}/",
        "dataset": [
            {
                key: value
                for key, value in {
                    "@type": "Dataset",
                    "@id": f"{page_context.brand.root}/collections/{quote(collection['name'])}",
                    "name": collection["resource"].title or collection["name"],
                    "description": collection["resource"].description
                    or collection["resource"].title
                    or collection["name"],
                    "url": f"{page_context.base}/collections/{quote(collection['name'])}",
                    "license": collection["resource"].licence_url or collection["resource"].licence,
                    "dateModified": collection["updated"],
                }.items()
                if value
            }
            for collection in collections
        ],
    }
    return {name: value for name, value in catalogue_facts.items() if value not in (None, [], "")}


def build_table_dataset(
    table: Table,
    resource: Resource | None,
    updated: str | None,
    page_context: PageContext,
    downloads: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """Describe one table as a Dataset that is part of its collection's.

    `downloads` are media types with their addresses.
    """
    collection_address = f"{page_context.brand.root}/collections/{quote(table.schema)}"
    table_address = build_table_address(page_context.brand.root, table)
    dataset_facts: dict[str, Any] = {
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "@id": table_address,
        "name": table.title or table.qualified_name,
        "description": table.description or table.title or table.qualified_name,
        "url": table_address,
        "license": resource and (resource.licence_url or resource.licence),
        "creator": [_build_person(creator.name, creator.orcid, creator.affiliation) for creator in resource.creators]
        if resource is not None
        else [],
        "dateModified": updated,
        "isPartOf": {
            "@type": "Dataset",
            "@id": collection_address,
            "name": resource.title or table.schema,
            "url": collection_address,
        }
        if resource is not None
        else None,
        "includedInDataCatalog": {
            "@type": "DataCatalog",
            "name": page_context.brand.title,
            "url": f"{page_context.base}/",
        },
        "variableMeasured": [_build_variable(column) for column in table.columns if not column.hidden][:MAX_VARIABLES],
        "distribution": [
            {"@type": "DataDownload", "encodingFormat": kind, "contentUrl": url} for kind, url in downloads
        ],
    }
    return {name: value for name, value in dataset_facts.items() if value not in (None, [], "")}


def _build_variable(column: Column) -> dict[str, str]:
    property_value = {
        "@type": "PropertyValue",
        "name": column.name,
        "description": column.description,
        "unitText": column.unit,
        "propertyID": column.ucd,
    }
    return {key: value for key, value in property_value.items() if value}


def _build_person(name: str, orcid: str | None, affiliation: str | None) -> dict[str, Any]:
    person: dict[str, Any] = {"@type": "Person", "name": name}
    if orcid:
        if orcid.startswith("http"):
            person["identifier"] = orcid
        else:
            person["identifier"] = f"https://orcid.org/{orcid}"
    if affiliation:
        person["affiliation"] = {"@type": "Organization", "name": affiliation}
    return person


def list_releases(page_context: PageContext, is_wanted: Callable[[PublishedTable], bool]) -> list[dict[str, Any]]:
    """List the releases that have some of the tables, as far as this reader sees them: the newest first."""
    releases_by_label: dict[str, dict[str, Any]] = {}
    for table in page_context.catalogue.iterate_tables():
        item = page_context.published_state.tables_by_name.get(table.qualified_name)
        if item is None or item.release is None or not is_wanted(item):
            continue
        release = item.release
        newest = page_context.published_state.tables_by_release[f"{release.collection}.{table.name}"][0].release
        release_facts = releases_by_label.setdefault(
            release.label, {"label": release.label, "at": release.created, "tables": []}
        )
        release_facts |= {
            "day": release.created[:10],
            "description": release.description,
            "superseded": newest != release,
        }
        release_facts["url"] = (
            f"{page_context.base}/collections/{quote(release.collection)}/releases/{quote(release.label)}"
        )
        release_facts["tables"].append(
            {"name": table.qualified_name, "url": build_table_address(page_context.base, table)}
        )
    return sorted(releases_by_label.values(), key=lambda release_facts: str(release_facts["at"]), reverse=True)


def list_publications(page_context: PageContext, collection: str, tables: Collection[str]) -> list[dict[str, Any]]:
    """List what was published of the tables that the reader may know of, the newest first."""
    publications_list: list[dict[str, Any]] = []
    events = page_context.context.site.store.list_events(collection)
    for event, previous_event in zip(events, [*events[1:], None], strict=True):
        previous_state: Mapping[str, str] = {} if previous_event is None else previous_event.state
        changed_tables = sorted(
            name.partition(".")[2] for name in tables if event.state.get(name) != previous_state.get(name)
        )
        if changed_tables:
            publications_list.append({"at": event.at, "action": event.action, "tables": changed_tables})
        if len(publications_list) == MAX_PUBLICATIONS:
            break
    return publications_list


def list_column_ranges(published_table: PublishedTable, table: Table) -> dict[str, dict[str, Any]]:
    """Return the range of each column, from what was counted when it was published."""
    ranges_by_column: dict[str, dict[str, Any]] = {}
    for column in table.columns:
        statistics = published_table.statistics.get(column.name, {})
        low = statistics.get("minimum")
        high = statistics.get("maximum")
        value_range: dict[str, Any] = {}
        if (
            column.epoch is not None
            and (day := format_day(low, column.epoch))
            and (last_day := format_day(high, column.epoch))
        ):
            value_range = {"low": day, "high": last_day}
        elif column.type.is_numeric and isinstance(low, int | float) and isinstance(high, int | float):
            value_range = {"low": _format_short(low), "high": _format_short(high)}
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


def _format_short(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.5g}"

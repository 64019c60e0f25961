"""What is told of a collection beside its tables: how to cite what stands at an address, schema.org's Dataset, what was published when, ranges of columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.portal._explore.cell_text import day_of
from hven.portal._views.page_addresses import address
from hven.services.citing import bibtex, rights_url
from hven.services.citing import sentence as cited

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hven.model.resource import Funding, Resource
    from hven.model.table import Column, Table
    from hven.portal._views.page_formats import Asked
    from hven.services.citing import Cited
    from hven.site import Published

MOST = 8  # publications that are shown
VARIABLES = 200  # columns that a Dataset names


def cited_at(resource: Resource, here: str) -> dict[str, str]:
    """Write how to cite what stands at an address, a row or a result, as it was today: as a sentence and for BibTeX."""
    day = datetime.now(UTC).date().isoformat()
    return {"text": f"{cited(resource)}. {here} ({day})", "bibtex": bibtex(resource, here)}


def dataset(
    found: Mapping[str, Any], state: Asked, time: Sequence[str] | None, one: Cited | None = None
) -> dict[str, Any]:
    """Describe a collection, or a release of it, as schema.org's Dataset (what search engines for data read)."""
    resource: Resource = found["resource"]
    settings = state.around.site.settings
    columns = [one["column"] for table in found["tables"] for one in table["columns"]][:VARIABLES]
    here = f"{state.brand.root}/collections/{quote(found['name'])}" if one is None else one.address
    doi = resource.doi if one is None else one.doi
    publisher = resource.publisher if one is None else one.publisher
    version = one.label if one is not None and one.label else None
    made: dict[str, Any] = {
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "@id": f"https://doi.org/{doi}" if one is not None and doi else here,
        "name": (one and one.title) or resource.title or found["name"],
        "description": (one and one.description) or resource.description or resource.title or found["name"],
        "url": here,
        "identifier": [one for one in (doi and f"https://doi.org/{doi}", None if version else f"ivo://{settings.authority_of(found['name'])}/{found['name']}") if one],
        "license": rights_url(resource) or resource.licence,
        "keywords": [*resource.subjects, *resource.facility, *resource.instrument],
        "creator": [_person(one.name, one.orcid, one.affiliation) for one in resource.creators],
        "contributor": [_person(one.name, one.orcid, one.affiliation) for one in resource.contributors],
        "publisher": {"@type": "Organization", "name": publisher, **({"@id": one.publisher_ror} if one is not None and one.publisher_ror else {})} if publisher else None,
        "funding": [_grant(one) for one in resource.funding],
        "citation": [text for text in (resource.citation, *(f"https://doi.org/{work.id}" if work.scheme == "DOI" else work.id for work in resource.works)) if text],
        "creditText": resource.acknowledgement,
        "version": version,
        "dateCreated": resource.created,
        "datePublished": one.issued[:10] if one is not None and one.issued else None,
        "dateModified": found["updated"],
        "temporalCoverage": f"{time[0]}/{time[1]}" if time else None,
        "isAccessibleForFree": True if resource.access == "public" else None,
        "isBasedOn": list(found["mirror_of"]) or None,
        "includedInDataCatalog": {"@type": "DataCatalog", "name": state.brand.title, "url": f"{state.base}/"},
        "variableMeasured": [
            _variable(one) for one in columns
        ],
        "distribution": [
            {
                "@type": "DataDownload",
                "name": table["table"].title or table["name"],
                "encodingFormat": kind,
                "contentUrl": rows_at(state.brand.root, table["name"], short),
            }
            for table in found["tables"]
            for short, kind in (("csv", "text/csv"), ("votable", "application/x-votable+xml"))
        ],
    }  # fmt: skip
    return {name: value for name, value in made.items() if value not in (None, [], "")}


def rows_at(root: str, name: str, form: str) -> str:
    """Return where all rows of a table are to be had."""
    return f"{root}/tap/sync?LANG=ADQL&REQUEST=doQuery&RESPONSEFORMAT={form}&QUERY={quote('SELECT * FROM ' + name)}"


def _grant(one: Funding) -> dict[str, Any]:
    funder = {"@type": "Organization", "name": one.funder, "@id": one.ror}
    made = {"@type": "Grant", "identifier": one.award, "name": one.title, "url": one.url, "funder": {key: value for key, value in funder.items() if value}}  # fmt: skip
    return {key: value for key, value in made.items() if value}


def catalogue(state: Asked, collections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Describe a site, or a portal, as schema.org's DataCatalog."""
    made: dict[str, Any] = {
        "@context": "https://schema.org/",
        "@type": "DataCatalog",
        "@id": f"{state.base}/",
        "name": state.brand.title,
        "description": state.brand.about,
        "url": f"{state.base}/",
        "dataset": [
            {
                key: value
                for key, value in {
                    "@type": "Dataset",
                    "@id": f"{state.brand.root}/collections/{quote(one['name'])}",
                    "name": one["resource"].title or one["name"],
                    "description": one["resource"].description or one["resource"].title or one["name"],
                    "url": f"{state.base}/collections/{quote(one['name'])}",
                    "license": one["resource"].licence_url or one["resource"].licence,
                    "dateModified": one["updated"],
                }.items()
                if value
            }
            for one in collections
        ],
    }
    return {name: value for name, value in made.items() if value not in (None, [], "")}


def table_dataset(
    table: Table, resource: Resource | None, updated: str | None, state: Asked, downloads: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Describe one table as a Dataset that is part of its collection's; `downloads` are media types with their addresses."""
    above = f"{state.brand.root}/collections/{quote(table.schema)}"
    here = address(state.brand.root, table)
    made: dict[str, Any] = {
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "@id": here,
        "name": table.title or table.qualified,
        "description": table.description or table.title or table.qualified,
        "url": here,
        "license": resource and (resource.licence_url or resource.licence),
        "creator": [_person(one.name, one.orcid, one.affiliation) for one in resource.creators]
        if resource is not None
        else [],
        "dateModified": updated,
        "isPartOf": {"@type": "Dataset", "@id": above, "name": resource.title or table.schema, "url": above}
        if resource is not None
        else None,
        "includedInDataCatalog": {"@type": "DataCatalog", "name": state.brand.title, "url": f"{state.base}/"},
        "variableMeasured": [_variable(column) for column in table.columns if not column.hidden][:VARIABLES],
        "distribution": [
            {"@type": "DataDownload", "encodingFormat": kind, "contentUrl": url} for kind, url in downloads
        ],
    }
    return {name: value for name, value in made.items() if value not in (None, [], "")}


def _variable(column: Column) -> dict[str, str]:
    named = {
        "@type": "PropertyValue",
        "name": column.name,
        "description": column.description,
        "unitText": column.unit,
        "propertyID": column.ucd,
    }
    return {key: value for key, value in named.items() if value}


def _person(name: str, orcid: str | None, affiliation: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"@type": "Person", "name": name}
    if orcid:
        found["identifier"] = orcid if orcid.startswith("http") else f"https://orcid.org/{orcid}"
    if affiliation:
        found["affiliation"] = {"@type": "Organization", "name": affiliation}
    return found


def released(state: Asked, of: Callable[[Published], bool]) -> list[dict[str, Any]]:
    """List the releases that have some of the tables, as far as this reader sees them: the newest first."""
    found: dict[str, dict[str, Any]] = {}
    for table in state.catalogue.tables():
        item = state.holdings.published.get(table.qualified)
        if item is None or item.release is None or not of(item):
            continue
        release = item.release
        newest = state.holdings.releases[f"{release.collection}.{table.name}"][0].release
        one = found.setdefault(release.label, {"label": release.label, "at": release.created, "tables": []})
        one |= {"day": release.created[:10], "description": release.description, "superseded": newest != release}
        one["url"] = f"{state.base}/collections/{quote(release.collection)}/releases/{quote(release.label)}"
        one["tables"].append({"name": table.qualified, "url": address(state.base, table)})
    return sorted(found.values(), key=lambda one: str(one["at"]), reverse=True)


def publications(state: Asked, collection: str, tables: Collection[str]) -> list[dict[str, Any]]:
    """List what was published of the tables that the reader may know of, the newest first."""
    found: list[dict[str, Any]] = []
    events = state.around.site.store.history(collection)
    for event, before in zip(events, [*events[1:], None], strict=True):
        old: Mapping[str, str] = {} if before is None else before.state
        touched = sorted(name.partition(".")[2] for name in tables if event.state.get(name) != old.get(name))
        if touched:
            found.append({"at": event.at, "action": event.action, "tables": touched})
        if len(found) == MOST:
            break
    return found


def ranges(item: Published, table: Table) -> dict[str, dict[str, Any]]:
    """Return the range of each column, from what was counted when it was published."""
    found: dict[str, dict[str, Any]] = {}
    for column in table.columns:
        known = item.statistics.get(column.name, {})
        low, high = known.get("minimum"), known.get("maximum")
        one: dict[str, Any] = {}
        if column.epoch is not None and (day := day_of(low, column.epoch)) and (last := day_of(high, column.epoch)):
            one = {"low": day, "high": last}
        elif column.type.is_numeric and isinstance(low, int | float) and isinstance(high, int | float):
            one = {"low": _short(low), "high": _short(high)}
        elif column.type.is_timestamp and low is not None and high is not None:
            one = {"low": str(low)[:10], "high": str(high)[:10]}
        elif column.type.is_string and isinstance(known.get("distinct"), int):
            one = {"distinct": known["distinct"]}
        nulls = known.get("nulls")
        if isinstance(nulls, int) and nulls and item.rows:
            share = nulls / item.rows
            one["missing"] = (
                "< 1 %" if share < 0.01 else "> 99 %" if 0.99 < share < 1 else f"{share:.0%}".replace("%", " %")
            )
        if one:
            found[column.name] = one
    return found


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.5g}"

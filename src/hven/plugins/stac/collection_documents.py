"""The documents of the service: landing page, conformance, collections, queryables and OpenAPI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven import __version__
from hven.model.resource import SPDX_LICENCE_PATTERN
from hven.model.sky import bodies
from hven.model.table import is_time_column
from hven.plugins.stac.item_documents import (
    PROJECTION_SCHEMA,
    SCIENTIFIC_SCHEMA,
    SSYS_SCHEMA,
    STAC_VERSION,
)
from hven.portal.api.page_rows import build_table_address
from hven.services.citations import find_licence_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from hven.model.resource import CollectionSpec
    from hven.model.table import Column
    from hven.plugins.stac.reader_catalogue import ItemCollection, ReaderCatalogue

DATACUBE_SCHEMA = "https://stac-extensions.github.io/datacube/v2.3.0/schema.json"
OPENAPI_MEDIA_TYPE = "application/vnd.oai.openapi+json;version=3.0"
GEOJSON_MEDIA_TYPE = "application/geo+json"
SCHEMA_MEDIA_TYPE = "application/schema+json"
QUERYABLES_RELATION = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
_STAC_CLASSES = (
    "core",
    "browseable",
    "children",
    "collections",
    "ogcapi-features",
    "item-search",
    "item-search#filter",
    "item-search#sort",
    "item-search#fields",
    "ogcapi-features#sort",
    "ogcapi-features#fields",
)
_OGC_CLASSES = (
    "ogcapi-features-1/1.0/conf/core",
    "ogcapi-features-1/1.0/conf/oas30",
    "ogcapi-features-1/1.0/conf/geojson",
    "ogcapi-features-2/1.0/conf/crs",
    "ogcapi-features-3/1.0/conf/filter",
    "ogcapi-features-3/1.0/conf/features-filter",
    "ogcapi-features-3/1.0/conf/queryables",
    "cql2/1.0/conf/cql2-text",
    "cql2/1.0/conf/cql2-json",
    "cql2/1.0/conf/basic-cql2",
    "cql2/1.0/conf/advanced-comparison-operators",
    "cql2/1.0/conf/case-insensitive-comparison",
    "cql2/1.0/conf/basic-spatial-functions",
    "cql2/1.0/conf/basic-spatial-functions-plus",
    "cql2/1.0/conf/temporal-functions",
    "cql2/1.0/conf/property-property",
    "cql2/1.0/conf/arithmetic",
)
CONFORMANCE_CLASSES = [
    *(f"https://api.stacspec.org/v1.0.0/{name}" for name in _STAC_CLASSES),
    *(f"http://www.opengis.net/spec/{name}" for name in _OGC_CLASSES),
]
SKY_NOTE = "Items have no geometry, because their positions are on the sky."
NO_TIME_NOTE = "Items without a time have the day of publication."
COLLECTION_TIME_NOTE = "Items without a time have the time span of the collection."


def build_landing_page(catalogue: ReaderCatalogue) -> dict[str, Any]:
    """Build the landing page: a Catalog of STAC with all collections as children.

    Parameters
    ----------
    catalogue
        What the reader sees.
    """
    root_url = catalogue.root_url
    settings, title = catalogue.site.settings, catalogue.site_title
    links = [
        build_link("self", root_url),
        build_link("root", root_url, title=title),
        build_link("service-desc", f"{root_url}/api", OPENAPI_MEDIA_TYPE),
        build_link("service-doc", f"{root_url}/api.html", "text/html"),
        build_link("conformance", f"{root_url}/conformance"),
        build_link("data", f"{root_url}/collections"),
        build_link("children", f"{root_url}/children"),
        {**build_link("search", f"{root_url}/search", GEOJSON_MEDIA_TYPE), "method": "GET"},
        {**build_link("search", f"{root_url}/search", GEOJSON_MEDIA_TYPE), "method": "POST"},
        build_link(QUERYABLES_RELATION, f"{root_url}/queryables", SCHEMA_MEDIA_TYPE),
    ]
    for collection_id, item_table in catalogue.item_tables.items():
        link = build_link("child", build_collection_url(root_url, collection_id))
        links.append({**link, "title": item_table.table.title or collection_id})
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": re.sub(r"[^A-Za-z0-9_.-]", "-", settings.name or "hven"),
        "title": title,
        "description": settings.description or f"Collections of {title}",
        "conformsTo": CONFORMANCE_CLASSES,
        "links": links,
    }


def build_link(relation: str, url: str, media_type: str = "application/json", *, title: str = "") -> dict[str, Any]:
    """Build a link.

    Parameters
    ----------
    relation, url, media_type, title
        Members of the link; an empty title is left out.
    """
    link = {"rel": relation, "type": media_type, "href": url}
    if title:
        link["title"] = title
    return link


def build_collection_url(root_url: str, collection_id: str) -> str:
    """Return the address of a collection.

    Parameters
    ----------
    root_url
        Address of the landing page.
    collection_id
        Id of the collection.
    """
    return f"{root_url}/collections/{quote(collection_id, safe='')}"


def build_collection_document(catalogue: ReaderCatalogue, collection: ItemCollection) -> dict[str, Any]:
    """Build the document of a collection.

    Parameters
    ----------
    catalogue
        What the reader sees.
    collection
        The collection.
    """
    item_table = collection.item_table
    table = item_table.table
    resource = collection.published.resource
    span = collection.span
    interval: list[str | None] = [None, None]
    if span is not None:
        interval = [format_instant(span.begin), format_instant(span.end)]
    notes = [table.description or (resource.description if resource is not None else None) or table.title or table.name]
    if not item_table.has_geometry:
        notes.append(SKY_NOTE)
    notes.append(NO_TIME_NOTE if item_table.time_columns is None or span is None else COLLECTION_TIME_NOTE)
    document: dict[str, Any] = {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": collection.id,
        "itemType": "feature",
        "crs": [CRS84],  # frames in which items are available (OGC API Features, part 2)
        "title": table.title or (resource.title if resource is not None else None) or collection.id,
        "description": " ".join(notes),
        **_describe_resource(resource, catalogue.site_title),
        "extent": {"spatial": {"bbox": [list(collection.box)]}, "temporal": {"interval": [interval]}},
        "links": _build_collection_links(catalogue, collection),
    }
    if item_table.frame_uri is not None:
        document["crs"].append(item_table.frame_uri)
        document["storageCrs"] = item_table.frame_uri
        document["summaries"] = {"proj:code": [item_table.frame_code]}
        document["stac_extensions"].append(PROJECTION_SCHEMA)
    body = bodies.find_solar_system_body(item_table.body_name or "")
    if body is not None:
        document["ssys:targets"] = [body.name]
        document["ssys:target_class"] = body.target_class.split("#")[0]
        document["stac_extensions"].append(SSYS_SCHEMA)
    if resource is not None and (resource.doi or resource.citation):
        document |= {
            name: value for name, value in (("sci:doi", resource.doi), ("sci:citation", resource.citation)) if value
        }
        document["stac_extensions"].append(SCIENTIFIC_SCHEMA)
    document["cube:dimensions"] = _describe_dimensions(collection, interval)
    document["stac_extensions"].append(DATACUBE_SCHEMA)
    return document


def _describe_dimensions(collection: ItemCollection, interval: list[str | None]) -> dict[str, Any]:
    """Describe the axes of the collection (Datacube extension)."""
    dimensions: dict[str, Any] = {"time": {"type": "temporal", "extent": interval}}
    if collection.item_table.has_geometry:
        west, south, east, north = collection.box
        code = collection.item_table.frame_code
        frame = {"reference_system": code} if code is not None else {}
        dimensions["longitude"] = {"type": "spatial", "axis": "x", "extent": [west, east], **frame}
        dimensions["latitude"] = {"type": "spatial", "axis": "y", "extent": [south, north], **frame}
    statistics = collection.published.statistics
    column = collection.item_table.columns_by_name.get("spectral_range_min")
    if column is not None and collection.item_table.table.is_fully_public:
        low = statistics.get("spectral_range_min", {}).get("minimum")
        high = statistics.get("spectral_range_max", {}).get("maximum")
        if isinstance(low, int | float) and isinstance(high, int | float):
            dimensions["spectral"] = {"type": "other", "extent": [low, high], "unit": column.unit or "Hz"}
    return dimensions


def _describe_resource(resource: CollectionSpec | None, site_title: str) -> dict[str, Any]:
    """Describe licence, keywords and providers."""
    if resource is None:
        return {"license": "other", "providers": [{"name": site_title, "roles": ["host"]}]}
    licence = resource.licence or ""
    facts: dict[str, Any] = {"license": licence if SPDX_LICENCE_PATTERN.fullmatch(licence) else "other"}
    if resource.subjects:
        facts["keywords"] = list(resource.subjects)
    providers = [{"name": person.name, "roles": ["producer"]} for person in resource.creators]
    facts["providers"] = [*providers, {"name": site_title, "roles": ["host"]}]
    return facts


def _build_collection_links(catalogue: ReaderCatalogue, collection: ItemCollection) -> list[dict[str, Any]]:
    root_url = catalogue.root_url
    url = build_collection_url(root_url, collection.id)
    table = collection.item_table.table
    page_url = build_table_address(catalogue.base_url, table)
    links = [
        build_link("self", url),
        build_link("root", root_url),
        build_link("parent", root_url),
        build_link("items", f"{url}/items", GEOJSON_MEDIA_TYPE),
        build_link(QUERYABLES_RELATION, f"{url}/queryables", SCHEMA_MEDIA_TYPE),
        build_link("alternate", page_url, "text/html"),
    ]
    resource = collection.published.resource
    if resource is not None and (resource.licence or resource.licence_url):
        licence_url = find_licence_url(resource) or page_url
        links.append(build_link("license", licence_url, "text/html", title=resource.licence or ""))
    if resource is not None and resource.doi:
        links.append(build_link("cite-as", f"https://doi.org/{resource.doi}", "text/html"))
    return links


def format_instant(instant: datetime | None) -> str | None:
    """Format a time in UTC as RFC 3339; None stays None.

    Parameters
    ----------
    instant
        The time.
    """
    if instant is None:
        return None
    return instant.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def build_queryables(catalogue: ReaderCatalogue, url: str, collections: list[ItemCollection]) -> dict[str, Any]:
    """Build the JSON Schema of the properties that filters can use.

    Parameters
    ----------
    catalogue
        What the reader sees.
    url
        Address of the document.
    collections
        The collections that are filtered: properties that all of them have are listed.
    """
    schemas: list[Mapping[str, Any]] = [_describe_queryables(collection) for collection in collections]
    common_names = set.intersection(*(set(schema) for schema in schemas)) if schemas else set()
    properties = {name: schema for name, schema in (schemas[0] if schemas else {}).items() if name in common_names}
    title = collections[0].id if len(collections) == 1 else catalogue.site.settings.name
    return {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "$id": url,
        "type": "object",
        "title": f"Queryables of {title}",
        "properties": properties,
        "additionalProperties": False,
    }


def _describe_queryables(collection: ItemCollection) -> dict[str, Any]:
    item_table = collection.item_table
    time_schema = {"type": "string", "format": "date-time"}
    properties: dict[str, Any] = {
        "id": {"type": "string", "title": "Item id"},
        "collection": {"type": "string", "title": "Collection id"},
    }
    if item_table.has_geometry:
        properties["geometry"] = {"$ref": "https://geojson.org/schema/Geometry.json", "title": "Footprint"}
    if item_table.time_columns is not None:
        properties |= {name: dict(time_schema) for name in ("datetime", "start_datetime", "end_datetime")}
    for name, column in item_table.property_columns.items():
        if column.type.is_array and not column.type.is_string:
            continue
        properties[name] = _build_column_json_schema(column)
    if item_table.target_column is not None and item_table.is_epn:
        properties["ssys:targets"] = {"type": "array", "items": {"type": "string"}}
    return properties


def _build_column_json_schema(column: Column) -> dict[str, Any]:
    if is_time_column(column) and column.epoch is None:
        schema: dict[str, Any] = {"type": "string", "format": "date-time"}
    elif column.type.is_integer:
        schema = {"type": "integer"}
    elif column.type.is_numeric:
        schema = {"type": "number"}
    elif column.type.datatype == "boolean":
        schema = {"type": "boolean"}
    else:
        schema = {"type": "string"}
    texts = {"title": column.label or column.name, "description": column.description, "x-unit": column.unit}
    return schema | {name: text for name, text in texts.items() if text}


def build_openapi_document(catalogue: ReaderCatalogue, search_names: Sequence[str]) -> dict[str, Any]:
    """Describe the service in OpenAPI 3.0.

    Parameters
    ----------
    catalogue
        What the reader sees.
    search_names
        Parameters of a search.
    """
    schema = {"schema": {"type": "object"}}
    error = {"description": "error", "content": {"application/json": schema}}

    def describe_get(summary: str, media_type: str = "application/json", *parameters: str) -> dict[str, Any]:
        answer = {"description": summary, "content": {media_type: schema}}
        return {
            "summary": summary,
            "parameters": [_describe_openapi_parameter(name) for name in parameters],
            "responses": {"200": answer, "default": error},
        }

    search = describe_get("Items of several collections", GEOJSON_MEDIA_TYPE, *search_names)
    posted = {name: value for name, value in search.items() if name != "parameters"}
    collection = "collectionId"
    collection_path = f"/collections/{{{collection}}}"
    item_names = [name for name in search_names if name not in {"ids", "collections", "intersects"}]
    gets = {
        "/": describe_get("Landing page"),
        "/conformance": describe_get("Conformance classes"),
        "/children": describe_get("Collections as children"),
        "/queryables": describe_get("Properties of all collections", SCHEMA_MEDIA_TYPE),
        "/collections": describe_get("Collections"),
        collection_path: describe_get("A collection", "application/json", collection),
        f"{collection_path}/queryables": describe_get("Properties", SCHEMA_MEDIA_TYPE, collection),
        f"{collection_path}/items": describe_get("Items", GEOJSON_MEDIA_TYPE, collection, *item_names),
        f"{collection_path}/items/{{featureId}}": describe_get("An item", GEOJSON_MEDIA_TYPE, collection, "featureId"),
        "/search": search,
    }
    paths: dict[str, Any] = {path: {"get": operation} for path, operation in gets.items()}
    paths["/search"]["post"] = {**posted, "requestBody": {"content": {"application/json": schema}}}
    return {
        "openapi": "3.0.3",
        "info": {"title": catalogue.site_title, "version": __version__},
        "servers": [{"url": catalogue.root_url}],
        "paths": paths,
    }


def _describe_openapi_parameter(name: str) -> dict[str, Any]:
    is_in_path = name in {"collectionId", "featureId"}
    schema: dict[str, Any] = {"type": "string"}
    if name == "limit":
        schema = {"type": "integer", "minimum": 1, "maximum": 10_000}
    return {"name": name, "in": "path" if is_in_path else "query", "required": is_in_path, "schema": schema}

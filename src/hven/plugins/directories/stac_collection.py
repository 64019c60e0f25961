"""Read a STAC collection: what its items are, who made them, and what their properties mean.

The items stand beside the file, or in an API that it names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from hven.descriptor.api.table_descriptions import (
    DescribedTable,
    TableDescriptionRequest,
    TableDescriptionSignature,
    TableSetDescription,
)
from hven.model import plugins
from hven.model.errors import SourceError, TextPlace
from hven.model.types import parse_type
from hven.sources import file_kinds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column

DESCRIPTION = TableDescriptionSignature(
    signature_pattern=rb'(?s)\A\s*\{(?=.*"stac_version"\s*:).*"type"\s*:\s*"Collection"'
)
# property -> description, unit and UCD, as the specification and its usual extensions define it
PROPERTY_MEANINGS: dict[str, tuple[str, str, str]] = {
    "id": ("Name of the item", "", "meta.id;meta.main"),
    "collection": ("Collection that the item belongs to", "", "meta.id.parent"),
    "geometry": ("Footprint on the body", "", "pos.outline;obs.field"),
    "bbox": ("West, south, east and north edge of the footprint", "deg", ""),
    "properties.title": ("Title of the item", "", "meta.title"),
    "properties.description": ("Description of the item", "", "meta.note"),
    "properties.datetime": ("Time of the observation", "", "time.epoch"),
    "properties.start_datetime": ("Start of the observation", "", "time.start"),
    "properties.end_datetime": ("End of the observation", "", "time.end"),
    "properties.created": ("When the metadata were created", "", "time.creation"),
    "properties.updated": ("When the metadata were last changed", "", "time.processing"),
    "properties.gsd": ("Distance on the ground between two pixels", "m", ""),
    "properties.platform": ("Spacecraft or aircraft", "", "meta.id;instr.obsty"),
    "properties.constellation": ("Group of spacecraft", "", "meta.id"),
    "properties.mission": ("Mission", "", "meta.id"),
    "properties.instruments": ("Instruments", "", "meta.id;instr"),
    "properties.license": ("Licence of the data", "", "meta.note"),
    "properties.eo:cloud_cover": ("Share of the image that clouds cover", "%", ""),
    "properties.view:off_nadir": ("Angle between the line of sight and nadir", "deg", "pos.posAng"),
    "properties.view:incidence_angle": ("Incidence angle", "deg", "pos.incidenceAng"),
    "properties.view:azimuth": ("Azimuth of the line of sight", "deg", "pos.azimuth"),
    "properties.view:sun_azimuth": ("Azimuth of the Sun", "deg", "pos.azimuth"),
    "properties.view:sun_elevation": ("Elevation of the Sun", "deg", "pos.az.alt"),
    "properties.proj:epsg": ("Projection of the data, as an EPSG code", "", "meta.code"),
    "properties.proj:code": ("Projection of the data", "", "meta.code"),
    "properties.ssys:targets": ("Bodies that were observed", "", "meta.id;src"),
}
ASSET_FIELD_MEANINGS = {
    "href": ("address", "meta.ref.url"),
    "type": ("media type", "meta.code.mime"),
    "title": ("title", "meta.title"),
    "file:size": ("size in bytes", "phys.size;meta.file"),
    "file:checksum": ("checksum", "meta.checksum"),
}
MAX_SUBJECTS = 20
MAX_INSTRUMENTS = 20
UNSPECIFIC_LICENCES = {"proprietary", "various", "other"}


def read_table_set_description(request: TableDescriptionRequest) -> TableSetDescription:
    """Read a collection, and open its items.

    Raises
    ------
    SourceError
        The file is no JSON; it names no items, or they do not exist.
    """
    try:
        collection = orjson.loads(request.read_document_file())
    except orjson.JSONDecodeError as error:
        raise SourceError(
            f"the file is not JSON: {error}", place=TextPlace(file=request.path.name, line=error.lineno)
        ) from error
    links = [link for link in _list_json_objects(collection, "links") if isinstance(link.get("href"), str)]
    source_keys = _build_item_source_options(str(collection.get("id", "")), links, request)
    module: Any = plugins.load_plugin("sources", source_keys["kind"])
    options = module.Options.model_validate({key: value for key, value in source_keys.items() if key != "kind"})
    source = module.open(options, request.context)
    columns = [_describe_column(column, collection) for column in source.list_columns()]
    primary = []
    if any(column.name == "id" for column in columns):
        primary.append("id")
    title = collection.get("title")
    description = collection.get("description")
    table = DescribedTable(
        name="items",
        source=source_keys,
        columns=columns,
        title=title,
        description=description,
        primary=primary,
    )
    return TableSetDescription(
        kind="STAC collection",
        tables=[table],
        title=title,
        description=description,
        collection_keys=_build_collection_metadata(collection, links),
    )


def _list_json_objects(parent: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the maps of a list; other entries are ignored."""
    return [entry for entry in parent.get(key) or () if isinstance(entry, dict)]


def _build_collection_metadata(collection: Mapping[str, Any], links: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Read creators, licence, subjects, instruments and the like."""
    collection_keys: dict[str, Any] = {}
    providers = [provider for provider in _list_json_objects(collection, "providers") if provider.get("name")]
    creators = [provider for provider in providers if "producer" in (provider.get("roles") or ())]
    creators = creators or providers[:1]
    if creators:
        collection_keys["creators"] = [_build_person(creator) for creator in creators]
    licence = collection.get("license")
    if isinstance(licence, str) and licence not in UNSPECIFIC_LICENCES:
        collection_keys["licence"] = licence
    for relation, key in (("license", "licence_url"), ("about", "reference_url"), ("via", "reference_url")):
        for link in links:
            if link.get("rel") == relation and link["href"].startswith(("https://", "http://")):
                collection_keys.setdefault(key, link["href"])
    keywords = [str(keyword) for keyword in collection.get("keywords") or ()]
    if keywords:
        collection_keys["subjects"] = keywords[:MAX_SUBJECTS]
    doi = collection.get("sci:doi")
    if doi:
        collection_keys["doi"] = str(doi)
    summaries = collection.get("summaries")
    if isinstance(summaries, dict):
        for property_name, key in (("instruments", "instrument"), ("platform", "facility")):
            names = [name for name in summaries.get(property_name) or () if isinstance(name, str)]
            if names:
                collection_keys[key] = names[:MAX_INSTRUMENTS]
    return collection_keys


def _build_person(provider: Mapping[str, Any]) -> dict[str, str]:
    person = {"name": str(provider["name"])}
    if str(provider.get("url", "")).startswith(("https://", "http://")):
        person["url"] = provider["url"]
    return person


def _build_item_source_options(
    name: str, links: Sequence[Mapping[str, Any]], request: TableDescriptionRequest
) -> dict[str, Any]:
    """Find the items: files that the collection links, or an API."""
    parent_directory = request.path.parent
    item_addresses = [link["href"] for link in links if link.get("rel") == "item"]
    item_paths = [Path(parent_directory, address) for address in item_addresses if not urlsplit(address).scheme]
    resolved_parent = parent_directory.resolve()
    existing_items = [path for path in item_paths if path.is_file() and path.resolve().is_relative_to(resolved_parent)]
    if item_paths and not existing_items:
        raise SourceError(
            f"the collection links to {len(item_paths)} items, but none of them is in the collection's directory; "
            f"the first item is {item_paths[0].name}",
            remedy="copy the whole catalogue",
        )
    if existing_items:
        file_pattern = _choose_file_pattern(existing_items, request)
        return {"kind": "json", "files": file_pattern, "records": "."}
    for link in links:
        if link.get("rel") != "items":
            continue
        recognized_service = file_kinds.find_service_kind_by_url(link["href"])
        if recognized_service is not None and recognized_service[0] == "stac":
            return {"kind": "stac", **recognized_service[1]}
        match = re.fullmatch(r"(https?://[^?#]+)/collections/[^/?#]+/items", link["href"])
        if match is not None:
            return {"kind": "stac", "url": match[1], "collections": name}
    raise SourceError(
        "the STAC collection links neither to its items nor to an API that serves them",
        place=TextPlace(file=request.path.name),
        remedy="give the address of the API: https://host/stac/collections/NAME",
    )


def _choose_file_pattern(item_paths: list[Path], request: TableDescriptionRequest) -> str | list[str]:
    """Write the items as one pattern if there is one for exactly these files, else as a list."""
    if len(item_paths) == 1:
        return request.format_path(item_paths[0])
    parent_directory = request.path.parent
    top_directories = {path.relative_to(parent_directory).parts[0] for path in item_paths}
    patterns = ["*/*.json", "*.json"]
    if len(top_directories) == 1:
        top_directory = top_directories.pop()
        patterns = [f"{top_directory}/*.json", f"{top_directory}/*/*.json", *patterns]
    for pattern in patterns:
        if sorted(parent_directory.glob(pattern)) == sorted(item_paths):
            return request.format_path(parent_directory / pattern)
    return [request.format_path(path) for path in item_paths]


def _describe_column(column: Column, collection: Mapping[str, Any]) -> Column:
    """Describe a column of the items as the collection does, else as the specification does."""
    if column.name == "bbox":  # whole numbers in the first items are no promise
        column = column.copy_with(type=parse_type("float64[*]"))
    names = {column.name, column.name.removeprefix("properties.")}
    for table_column in _list_json_objects(collection, "table:columns"):
        if table_column.get("name") in names:
            return column.copy_with(description=table_column.get("description"))
    meaning, unit, ucd = PROPERTY_MEANINGS.get(column.name, ("", "", ""))
    match = re.fullmatch(r"assets\.([^.]+)\.(.+)", column.name)
    if match is not None:
        asset_name, field_name = match.groups()
        assets = collection.get("item_assets") or collection.get("assets") or {}
        asset = assets.get(asset_name)
        if not isinstance(asset, dict):
            asset = {}
        field_meaning, ucd = ASSET_FIELD_MEANINGS.get(field_name, ("", ""))
        asset_label = asset.get("description") or asset.get("title") or asset_name
        meaning = ""
        if field_meaning or asset:
            meaning = f"{asset_label}: {field_meaning or field_name}"
    return column.copy_with(
        description=column.description or meaning or None,
        unit=column.unit or unit or None,
        ucd=column.ucd or ucd or None,
    )

"""STAC: a collection as a file - what its items are, who made them, and what their properties mean.

The items stand beside it, or in an API that it names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from hven.descriptor._table_descriptions import DescribedTable, DescriptionKind, DescriptionRequest, TableSetDescription
from hven.model import plugins
from hven.model.errors import Place, SourceError
from hven.model.types import parse_type
from hven.sources import file_kinds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column

DESCRIPTION = DescriptionKind(signature_pattern=rb'(?s)\A\s*\{(?=.*"stac_version"\s*:).*"type"\s*:\s*"Collection"')
PROPERTY_MEANINGS: dict[
    str, tuple[str, str, str]
] = {  # what the specification and its usual extensions say: description, unit, UCD
    "id": ("Name of the item", "", "meta.id;meta.main"),
    "collection": ("Collection that the item belongs to", "", "meta.id.parent"),
    "geometry": ("Footprint on the body", "", "pos.outline;obs.field"),
    "bbox": ("West, south, east and north edge of the footprint", "deg", ""),
    "properties.title": ("Heading of the item", "", "meta.title"),
    "properties.description": ("What the item is", "", "meta.note"),
    "properties.datetime": ("Time of the observation", "", "time.epoch"),
    "properties.start_datetime": ("Begin of the observation", "", "time.start"),
    "properties.end_datetime": ("End of the observation", "", "time.end"),
    "properties.created": ("When the metadata were made", "", "time.creation"),
    "properties.updated": ("When the metadata were changed last", "", "time.processing"),
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
    "properties.proj:epsg": ("Projection of the data, as EPSG numbers it", "", "meta.code"),
    "properties.proj:code": ("Projection of the data", "", "meta.code"),
    "properties.ssys:targets": ("Bodies that were observed", "", "meta.id;src"),
}
ASSET_FIELD_MEANINGS = {
    "href": ("address", "meta.ref.url"),
    "type": ("media type", "meta.code.mime"),
    "title": ("heading", "meta.title"),
    "file:size": ("size in bytes", "phys.size;meta.file"),
    "file:checksum": ("checksum", "meta.checksum"),
}


def read(request: DescriptionRequest) -> TableSetDescription:
    """Read a collection, and open its items.

    Raises
    ------
    SourceError
        It is no JSON; it names no items, or they are not there.
    """
    try:
        collection = orjson.loads(request.read_document())
    except orjson.JSONDecodeError as error:
        raise SourceError(f"no JSON: {error}", place=Place(file=request.path.name, line=error.lineno)) from error
    links = [
        provider
        for provider in collection.get("links") or ()
        if isinstance(provider, dict) and isinstance(provider.get("href"), str)
    ]
    source = _build_source_keys(str(collection.get("id", "")), links, request)
    kind = source["kind"]
    module: Any = plugins.load_plugin("sources", kind)
    options = module.Options.model_validate({name: value for name, value in source.items() if name != "kind"})
    columns = [_describe_column(column, collection) for column in module.open(options, request.context).list_columns()]
    collection_keys: dict[str, Any] = {}
    providers = [
        provider
        for provider in collection.get("providers") or ()
        if isinstance(provider, dict) and provider.get("name")
    ]
    creators = [provider for provider in providers if "producer" in (provider.get("roles") or ())] or providers[:1]
    if creators:
        collection_keys["creators"] = [_build_person(provider) for provider in creators]
    if isinstance(collection.get("license"), str) and collection["license"] not in {"proprietary", "various", "other"}:
        collection_keys["licence"] = collection["license"]
    for rel, key in (("license", "licence_url"), ("about", "reference_url"), ("via", "reference_url")):
        for provider in links:
            if provider.get("rel") == rel and provider["href"].startswith(("https://", "http://")):
                collection_keys.setdefault(key, provider["href"])
    keywords = [str(provider) for provider in collection.get("keywords") or ()]
    if keywords:
        collection_keys["subjects"] = keywords[:20]
    doi = collection.get("sci:doi")
    if doi:
        collection_keys["doi"] = str(doi)
    if isinstance(collection.get("summaries"), dict):
        summaries = collection.get("summaries")
    else:
        summaries = {}
    for word, key in (("instruments", "instrument"), ("platform", "facility")):
        values = [str(provider) for provider in summaries.get(word) or () if isinstance(provider, str)]
        if values:
            collection_keys[key] = values[:20]
    title = collection.get("title")
    description = collection.get("description")
    primary = ["id"] if any(column.name == "id" for column in columns) else []
    table = DescribedTable(
        name="items",
        source=source,
        columns=columns,
        title=title,
        description=description,
        primary=primary,
    )
    return TableSetDescription(
        kind="STAC collection",
        tables=[table],
        title=collection.get("title"),
        description=collection.get("description"),
        collection_keys=collection_keys,
    )


def _build_person(provider: Mapping[str, Any]) -> dict[str, str]:
    person = {"name": str(provider["name"])}
    return person | (
        {"url": provider["url"]} if str(provider.get("url", "")).startswith(("https://", "http://")) else {}
    )


def _build_source_keys(name: str, links: Sequence[Mapping[str, Any]], request: DescriptionRequest) -> dict[str, Any]:
    """Find the items: files that the collection links, or an API."""
    parent_directory = request.path.parent
    item_paths = [
        Path(parent_directory, link["href"])
        for link in links
        if link.get("rel") == "item" and not urlsplit(link["href"]).scheme
    ]
    existing_items = [
        link for link in item_paths if link.is_file() and link.resolve().is_relative_to(parent_directory.resolve())
    ]
    if item_paths and not existing_items:
        raise SourceError(
            f"none of its {len(item_paths)} items stands beside it: {item_paths[0].name} ...",
            remedy="copy the catalogue whole",
        )
    if existing_items:
        file_pattern = _choose_file_pattern(existing_items, request)
        return {"kind": "json", "files": file_pattern, "records": "."}
    for link in links:
        if (
            link.get("rel") == "items"
            and (stac_options := file_kinds.find_kind_by_url(link["href"])) is not None
            and stac_options[0] == "stac"
        ):
            return {"kind": "stac", **stac_options[1]}
        if link.get("rel") == "items" and (
            match := re.fullmatch(r"(https?://[^?#]+)/collections/[^/?#]+/items", link["href"])
        ):
            return {"kind": "stac", "url": match[1], "collections": name}
    raise SourceError(
        "it links neither items nor an API that has them",
        place=Place(file=request.path.name),
        remedy="give the address of the API: https://host/stac/collections/NAME",
    )


def _choose_file_pattern(item_paths: list[Path], request: DescriptionRequest) -> str | list[str]:
    """Write the items as one pattern, where there is one that says exactly the same."""
    if len(item_paths) == 1:
        return request.format_path(item_paths[0])
    parent_directory = request.path.parent
    relative_parts = {path.relative_to(parent_directory).parts for path in item_paths}
    top_directories = {parts[0] for parts in relative_parts}
    for pattern in (
        f"{next(iter(top_directories))}/*.json",
        f"{next(iter(top_directories))}/*/*.json",
        "*/*.json",
        "*.json",
    ):
        if len(top_directories) > 1 and pattern.startswith(next(iter(top_directories))):
            continue
        if sorted(parent_directory.glob(pattern)) == sorted(item_paths):
            return request.format_path(parent_directory / pattern)
    return [request.format_path(path) for path in item_paths]


def _describe_column(column: Column, collection: Mapping[str, Any]) -> Column:
    """Say what a column of the items means: as the collection has it, then as the specification."""
    if column.name == "bbox":  # whole numbers in the first items are no promise
        column = column.copy_with(type=parse_type("float64[*]"))
    for table_column in collection.get("table:columns") or ():
        if isinstance(table_column, dict) and table_column.get("name") in {
            column.name,
            column.name.removeprefix("properties."),
        }:
            return column.copy_with(description=table_column.get("description"))
    description_text, unit, ucd = PROPERTY_MEANINGS.get(column.name, ("", "", ""))
    match = re.fullmatch(r"assets\.([^.]+)\.(.+)", column.name)
    if match is not None:
        assets = collection.get("item_assets") or collection.get("assets") or {}
        if isinstance(asset_value := assets.get(match[1]), dict):
            asset = asset_value
        else:
            asset = {}
        field_meaning, ucd = ASSET_FIELD_MEANINGS.get(match[2], ("", ""))
        asset_label = asset.get("description") or asset.get("title") or match[1]
        if field_meaning or asset:
            description_text = f"{asset_label}: {field_meaning or match[2]}"
        else:
            description_text = ""
    description = column.description or description_text or None
    return column.copy_with(
        description=description,
        unit=column.unit or unit or None,
        ucd=column.ucd or ucd or None,
    )

"""STAC: a collection as a file - what its items are, who made them, and what their properties mean; the items stand beside it, or in an API that it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from hven.descriptor._described import Description, DescriptionKind, Given, TableSaid
from hven.model import plugins
from hven.model.errors import Place, SourceError
from hven.model.types import parse_type
from hven.sources import filekinds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column

DESCRIPTION = DescriptionKind(begins=rb'(?s)\A\s*\{(?=.*"stac_version"\s*:).*"type"\s*:\s*"Collection"')
MEANINGS: dict[
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
PARTS = {"href": ("address", "meta.ref.url"), "type": ("media type", "meta.code.mime"), "title": ("heading", "meta.title"), "file:size": ("size in bytes", "phys.size;meta.file"), "file:checksum": ("checksum", "meta.checksum")}  # fmt: skip


def read(given: Given) -> Description:
    """Read a collection, and open its items.

    Raises
    ------
    SourceError
        It is no JSON; it names no items, or they are not there.
    """
    try:
        said = orjson.loads(given.text())
    except orjson.JSONDecodeError as error:
        raise SourceError(f"no JSON: {error}", place=Place(file=given.path.name, line=error.lineno)) from error
    links = [one for one in said.get("links") or () if isinstance(one, dict) and isinstance(one.get("href"), str)]
    source = _source(str(said.get("id", "")), links, given)
    kind = source["kind"]
    module: Any = plugins.load("sources", kind)
    options = module.Options.model_validate({name: value for name, value in source.items() if name != "kind"})
    columns = [_described(column, said) for column in module.open(options, given.context).columns()]
    about: dict[str, Any] = {}
    makers = [one for one in said.get("providers") or () if isinstance(one, dict) and one.get("name")]
    creators = [one for one in makers if "producer" in (one.get("roles") or ())] or makers[:1]
    if creators:
        about["creators"] = [_person(one) for one in creators]
    if isinstance(said.get("license"), str) and said["license"] not in {"proprietary", "various", "other"}:
        about["licence"] = said["license"]
    for rel, key in (("license", "licence_url"), ("about", "reference_url"), ("via", "reference_url")):
        for one in links:
            if one.get("rel") == rel and one["href"].startswith(("https://", "http://")):
                about.setdefault(key, one["href"])
    if words := [str(one) for one in said.get("keywords") or ()]:
        about["subjects"] = words[:20]
    if doi := said.get("sci:doi"):
        about["doi"] = str(doi)
    summaries = said.get("summaries") if isinstance(said.get("summaries"), dict) else {}
    for word, key in (("instruments", "instrument"), ("platform", "facility")):
        values = [str(one) for one in summaries.get(word) or () if isinstance(one, str)]
        if values:
            about[key] = values[:20]
    table = TableSaid(
        name="items", source=source, columns=columns, title=said.get("title"), description=said.get("description"),
        primary=["id"] if any(column.name == "id" for column in columns) else [],
    )  # fmt: skip
    return Description(
        kind="STAC collection", tables=[table], title=said.get("title"), description=said.get("description"), about=about
    )  # fmt: skip


def _person(one: Mapping[str, Any]) -> dict[str, str]:
    found = {"name": str(one["name"])}
    return found | ({"url": one["url"]} if str(one.get("url", "")).startswith(("https://", "http://")) else {})


def _source(name: str, links: Sequence[Mapping[str, Any]], given: Given) -> dict[str, Any]:
    """Find the items: files that the collection links, or an API."""
    home = given.path.parent
    here = [Path(home, one["href"]) for one in links if one.get("rel") == "item" and not urlsplit(one["href"]).scheme]
    there = [one for one in here if one.is_file() and one.resolve().is_relative_to(home.resolve())]
    if here and not there:
        raise SourceError(f"none of its {len(here)} items stands beside it: {here[0].name} ...", remedy="copy the catalogue whole")  # fmt: skip
    if there:
        return {"kind": "json", "files": _pattern(there, given), "records": "."}
    for one in links:
        if one.get("rel") == "items" and (told := filekinds.addressed(one["href"])) is not None and told[0] == "stac":
            return {"kind": "stac", **told[1]}
        if one.get("rel") == "items" and (match := re.fullmatch(r"(https?://[^?#]+)/collections/[^/?#]+/items", one["href"])):  # fmt: skip
            return {"kind": "stac", "url": match[1], "collections": name}
    raise SourceError(
        "it links neither items nor an API that has them",
        place=Place(file=given.path.name),
        remedy="give the address of the API: https://host/stac/collections/NAME",
    )


def _pattern(there: list[Path], given: Given) -> str | list[str]:
    """Write the items as one pattern, where there is one that says exactly the same."""
    if len(there) == 1:
        return given.shown(there[0])
    home = given.path.parent
    depths = {one.relative_to(home).parts for one in there}
    top = {parts[0] for parts in depths}
    for pattern in (f"{next(iter(top))}/*.json", f"{next(iter(top))}/*/*.json", "*/*.json", "*.json"):
        if len(top) > 1 and pattern.startswith(next(iter(top))):
            continue
        if sorted(home.glob(pattern)) == sorted(there):
            return given.shown(home / pattern)
    return [given.shown(one) for one in there]


def _described(column: Column, said: Mapping[str, Any]) -> Column:
    """Say what a column of the items means: as the collection has it, then as the specification."""
    if column.name == "bbox":  # whole numbers in the first items are no promise
        column = column.having(type=parse_type("float64[*]"))
    for one in said.get("table:columns") or ():
        if isinstance(one, dict) and one.get("name") in {column.name, column.name.removeprefix("properties.")}:
            return column.having(description=one.get("description"))
    about, unit, ucd = MEANINGS.get(column.name, ("", "", ""))
    match = re.fullmatch(r"assets\.([^.]+)\.(.+)", column.name)
    if match is not None:
        assets = said.get("item_assets") or said.get("assets") or {}
        asset = found if isinstance(found := assets.get(match[1]), dict) else {}
        what, ucd = PARTS.get(match[2], ("", ""))
        named = asset.get("description") or asset.get("title") or match[1]
        about = f"{named}: {what or match[2]}" if what or asset else ""
    return column.having(
        description=column.description or about or None, unit=column.unit or unit or None, ucd=column.ucd or ucd or None
    )  # fmt: skip

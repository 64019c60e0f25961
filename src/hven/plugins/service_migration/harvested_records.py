"""Harvest the registry records of a service by OAI-PMH, and read what Hven keeps of them."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lxml import etree

from hven.formats.api.xml_input import SAFE_PARSER_OPTIONS
from hven.plugins.directories.oai_harvest import XSI_TYPE_ATTRIBUTE, HarvestOptions, OaiHarvest
from hven.plugins.migration.metadata_conversion import BIBCODE_PATTERN, clean_text
from hven.plugins.migration.service_conversion import format_test_request
from hven.plugins.service_migration.remote_documents import find_text, join_text
from hven.plugins.service_migration.vosi_documents import list_interfaces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hven.sources import SourceContext

MAX_HARVEST_BYTES = 512 << 20
MAX_HARVEST_SECONDS = 3600.0
SILENCE_SECONDS = 30.0
ATTEMPT_COUNT = 3
REPOSITORY_PATHS = ("oai.xml", "oai")  # of DaCHS, and of others


def harvest_elements(url: str, prefix: str, context: SourceContext, directory: Path) -> Iterator[etree._Element]:
    """Harvest a repository, and yield its active records.

    Parameters
    ----------
    url, context, directory
        As in `harvest_records`.
    prefix
        The format of the records (``metadataPrefix``).
    """
    options = HarvestOptions(
        url=[url],
        prefix=prefix,
        set=None,
        bytes=MAX_HARVEST_BYTES,
        total=MAX_HARVEST_SECONDS,
        seconds=SILENCE_SECONDS,
        tries=ATTEMPT_COUNT,
        overlap=86_400.0,
        full=0.0,  # a registry that stops listing a record need not report it as deleted
    )
    harvest = OaiHarvest(options, replace(context, run_name=secrets.token_hex(8)), directory)
    for file in harvest.harvest_and_list_files():
        parser = etree.XMLParser(**{**SAFE_PARSER_OPTIONS, "huge_tree": True})  # its parts were checked one by one
        yield from etree.parse(file.path, parser).getroot().iterchildren("record")


def harvest_records(url: str, context: SourceContext, directory: Path) -> list[dict[str, Any]]:
    """Harvest the active records of a publishing registry.

    Parameters
    ----------
    url
        Address of the registry.
    context
        Decides which addresses are allowed.
    directory
        Directory that keeps the harvest; a later one requests only what has changed.

    Returns
    -------
    records
        What the records say, sorted by identifier; deleted and inactive records are missing.

    Raises
    ------
    SourceError
        It is no registry, its list does not end, or it sends too much.
    """
    records = [_read_record(element) for element in harvest_elements(url, "ivo_vor", context, directory)]
    return sorted(records, key=lambda record: str(record["ivoid"]).lower())


def _read_record(element: etree._Element) -> dict[str, Any]:
    resource = next(element.iterchildren(etree.Element), element)
    content_texts = {
        name: find_text(resource, f"content/{name}")
        for name in ("description", "referenceURL", "contentLevel", "source")
    }
    source = content_texts["source"]
    return {
        "ivoid": element.get("identifier", ""),
        "datestamp": element.get("datestamp", ""),
        "kind": resource.get(XSI_TYPE_ATTRIBUTE, "").rpartition(":")[2],
        "title": find_text(resource, "title"),
        "short_name": find_text(resource, "shortName"),
        "created": resource.get("created", "")[:10],
        "description": _read_description(resource),
        "subjects": _list_texts(resource, "content/subject"),
        "creators": _list_texts(resource, "curation/creator/name"),
        "contributors": _list_texts(resource, "curation/contributor"),
        "publisher": find_text(resource, "curation/publisher"),
        "contact": {
            "name": find_text(resource, "curation/contact/name"),
            "email": find_text(resource, "curation/contact/email"),
        },
        "bibcode": source if BIBCODE_PATTERN.fullmatch(source) else "",
        "reference_url": content_texts["referenceURL"],
        "type": _list_texts(resource, "content/type"),
        "content_level": content_texts["contentLevel"],
        "rights": [
            [" ".join(join_text(rights).split()), rights.get("rightsURI", "")]
            for rights in resource.iterfind("{*}rights")
        ],
        "wavebands": _list_texts(resource, "coverage/waveband"),
        "interfaces": list_interfaces(resource),
        "test_query": _read_test_query(resource),
        "tables": _list_texts(resource, "tableset/schema/table/name"),
    }


def _list_texts(element: etree._Element, path: str) -> list[str]:
    found = element.iterfind("/".join(f"{{*}}{name}" for name in path.split("/")))
    texts = (" ".join(join_text(part).split()) for part in found)
    return list(dict.fromkeys(text for text in texts if text))


def _read_description(resource: etree._Element) -> str:
    """Read the description with its paragraphs."""
    element = resource.find("{*}content/{*}description")
    if element is None:
        return ""
    return clean_text(join_text(element))


def _read_test_query(resource: etree._Element) -> str:
    """Write the request by which validators test a cone search."""
    element = resource.find(".//{*}testQuery")
    if element is None:
        return ""
    return format_test_request({name: find_text(element, name) for name in ("ra", "dec", "sr")})

"""Read the VOSI documents of a service: its capabilities, its tables and its examples."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.plugins.service_migration.remote_documents import find_text, join_text

if TYPE_CHECKING:
    from lxml import etree

MAX_EXAMPLES = 200
MAX_QUERY_CHARACTERS = 20_000


@dataclass(slots=True, kw_only=True)
class VosiTable:
    """What a document of tables says of a table.

    Attributes
    ----------
    schema
        Name of the schema that contains it.
    title, description, utype
        Texts; empty: it says nothing.
    row_count
        Stated number of rows; None: none is stated.
    column_names
        Names of the columns.
    """

    schema: str = ""
    title: str = ""
    description: str = ""
    utype: str = ""
    row_count: int | None = None
    column_names: list[str] = field(default_factory=list)


def list_interfaces(root: etree._Element) -> list[list[str]]:
    """List the interfaces in a document of capabilities, or in a registry record.

    Parameters
    ----------
    root
        The document.

    Returns
    -------
    interfaces
        Pairs of standard identifier and address.
    """
    interfaces = []
    for capability in root.iterfind(".//{*}capability"):
        for interface in capability.iterfind("{*}interface"):
            url = find_text(interface, "accessURL")
            if url:
                interfaces.append([(capability.get("standardID") or "").strip(), url])
    return interfaces


def find_row_limit(root: etree._Element) -> int | None:
    """Find the largest number of rows in an answer, in a document of capabilities; None: it states none.

    Parameters
    ----------
    root
        The document.
    """
    limits = [
        int(text)
        for element in root.iterfind(".//{*}outputLimit/{*}hard")
        if element.get("unit", "row") == "row" and re.fullmatch(r"\d{1,18}", text := join_text(element).strip())
    ]
    return min(limits, default=None)


def list_vosi_tables(root: etree._Element) -> dict[str, VosiTable]:
    """List the tables in a document of tables.

    Parameters
    ----------
    root
        The document.
    """
    tables = {}
    for element in root.iterfind(".//{*}table"):
        row_count = find_text(element, "nrows")
        parent = element.getparent()
        tables[find_text(element, "name")] = VosiTable(
            schema="" if parent is None else find_text(parent, "name"),
            title=find_text(element, "title"),
            description=find_text(element, "description"),
            utype=find_text(element, "utype"),
            row_count=int(row_count) if re.fullmatch(r"\d{1,18}", row_count) else None,
            column_names=[find_text(column, "name") for column in element.iterfind("{*}column")],
        )
    return tables


def list_examples(root: etree._Element) -> list[dict[str, str]]:
    """List the queries in a document of examples (DALI), which is XHTML with RDFa.

    Parameters
    ----------
    root
        The document.
    """
    examples: list[dict[str, str]] = []
    for element in root.iterfind(".//*[@typeof='example']"):
        texts: dict[str, str] = {}
        for part in element.iterfind(".//*[@property='generic-parameter']"):  # DALI 1.0, section 2.3.3
            pair = {
                str(item.get("property")): _join_lines(join_text(item)) for item in part.iterfind(".//*[@property]")
            }
            texts.setdefault(pair.get("key", "").lower(), pair.get("value", ""))
        for part in element.iterfind(".//*[@property]"):
            texts.setdefault(str(part.get("property")), _join_lines(join_text(part)))
        query = texts.get("query") or texts.get("adql", "")
        if query and len(query) <= MAX_QUERY_CHARACTERS and len(examples) < MAX_EXAMPLES:
            examples.append({"title": texts.get("name") or f"Example {len(examples) + 1}", "query": query})
    return examples


def _join_lines(text: str) -> str:
    """Join the lines of a text. A comment of a query ends with its line."""
    if "--" in text:
        return text.strip()
    return " ".join(text.split())

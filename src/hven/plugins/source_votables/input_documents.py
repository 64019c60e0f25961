"""Read the metadata of the VOTables that tables were published from, and find the FIELDs of an answer's columns."""

from __future__ import annotations

import base64
import zlib
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lxml import etree

from hven.formats.api.xml_input import SAFE_PARSER_OPTIONS, find_local_name
from hven.model import LruCache
from hven.model.table import INPUT_DOCUMENT_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.formats import TableMetadata
    from hven.model.table import Column, Table

MAX_DOCUMENT_BYTES = 32 << 20  # twice what the reader of VOTables accepts beside rows
MAX_CACHE_BYTES = 32 << 20
TREE_BYTES_PER_CHARACTER = 8  # what a parsed document takes


@dataclass(frozen=True, slots=True)
class InputDocument:
    """The metadata of a VOTable, without its rows.

    Attributes
    ----------
    root
        The element VOTABLE. Elements have no namespace; copy it before a change.
    """

    root: etree._Element

    def copy_root(self) -> etree._Element:
        """Return a copy that may be changed."""
        return deepcopy(self.root)

    @property
    def fields(self) -> list[etree._Element]:
        """The FIELDs in their order."""
        return find_table(self.root).findall("FIELD")


class SourceField(NamedTuple):
    """The FIELD whose values a column of an answer has unchanged.

    Attributes
    ----------
    document
        Number of its document, in the order of first use.
    position
        Position among the document's FIELDs.
    """

    document: int
    position: int


_document_cache: LruCache[InputDocument] = LruCache(MAX_CACHE_BYTES, MAX_CACHE_BYTES // 2)


def find_table(root: etree._Element) -> etree._Element:
    """Return the only TABLE of a document.

    Parameters
    ----------
    root
        The element VOTABLE.
    """
    return next(root.iter("TABLE"))


def parse_without_namespaces(text: str | bytes) -> etree._Element:
    """Parse a VOTable without rows, and remove namespaces and blanks between elements.

    Parameters
    ----------
    text
        The document.
    """
    parser = etree.XMLParser(**{**SAFE_PARSER_OPTIONS, "huge_tree": True})  # as large as the reader accepts
    data = text
    if isinstance(text, str):
        data = text.encode()
    root = etree.fromstring(data, parser)
    for element in root.iter():
        element.tag = find_local_name(element.tag)
        for name in list(element.attrib):
            if str(name).startswith("{"):
                del element.attrib[name]
    etree.cleanup_namespaces(root)
    return root


def find_source_fields(metadata: TableMetadata) -> tuple[list[InputDocument], list[SourceField | None]]:
    """Find the FIELDs of the source for the columns of an answer.

    Parameters
    ----------
    metadata
        The answer, with the tables that it comes from.

    Returns
    -------
    documents, fields
        The documents of these tables, and a FIELD for each column; None: the query has computed or renamed the column,
        or the table has not its values as they came.
    """
    documents: list[InputDocument] = []
    numbers_by_table: dict[str, int] = {}
    source_fields: list[SourceField | None] = []
    tables = [table for table in metadata.tables if INPUT_DOCUMENT_KEY in table.extensions]
    for column in metadata.columns:
        table = _find_table_of_column(column, tables)
        position = None
        if table is not None:
            position = table.extensions[INPUT_DOCUMENT_KEY]["fields"].get(column.name)
        if table is None or position is None:
            source_fields.append(None)
            continue
        number = numbers_by_table.get(table.qualified_name)
        if number is None:
            number = numbers_by_table[table.qualified_name] = len(documents)
            documents.append(load_input_document(table.extensions[INPUT_DOCUMENT_KEY]))
        source_fields.append(SourceField(number, position))
    return documents, source_fields


def _find_table_of_column(column: Column, tables: Sequence[Table]) -> Table | None:
    """Find the table that has a column of an answer unchanged; a join may have made it optional."""
    for table in tables:
        if any(column is table_column for table_column in table.columns):
            return table
    for table in tables:
        for table_column in table.columns:
            if table_column.name == column.name:
                comparable_column = replace(table_column, required=column.required, link=column.link)
                if comparable_column == column:
                    return table
    return None


def load_input_document(kept: Mapping[str, Any]) -> InputDocument:
    """Load the document that a published table has kept, or that another package has made for one answer.

    Parameters
    ----------
    kept
        The table's extension `INPUT_DOCUMENT_KEY`: a compressed ``text``, or a ``document`` that was made.
    """
    if "document" in kept:
        made_document: InputDocument = kept["document"]
        return made_document
    text = kept["text"]
    document = _document_cache.find(text)
    if document is None:
        data = zlib.decompressobj().decompress(base64.b64decode(text), MAX_DOCUMENT_BYTES)
        document = InputDocument(parse_without_namespaces(data))
        _document_cache.store(text, document, TREE_BYTES_PER_CHARACTER * len(data))
    return document

"""Records in XML whose elements hold only values."""

from __future__ import annotations

from lxml import etree

from hven.formats.api.xml_input import SAFE_PARSER_OPTIONS, find_local_name
from hven.model.errors import SourceError


def parse_flat_xml_records(data: bytes) -> list[dict[str, str | None]]:
    """Parse a document whose records hold only values: the root, or the elements below it.

    An attribute or element each, an empty one is no value.

    Raises
    ------
    SourceError
        No XML, or other than that.
    """
    try:
        root = etree.fromstring(data, etree.XMLParser(**SAFE_PARSER_OPTIONS))
    except etree.XMLSyntaxError as error:
        raise SourceError(f"the text is not XML: {error.msg}") from error
    child_elements = list(root.iterchildren(etree.Element))
    has_records = any(len(record) or record.attrib for record in child_elements)
    rows: list[dict[str, str | None]] = []
    for record in child_elements if has_records else [root]:
        values = list(record.iterchildren(etree.Element))
        if any(len(value) for value in values):
            raise SourceError(
                "an element of a record contains other elements", remedy="write only text in the elements of a record"
            )
        named_values = [*record.attrib.items(), *((value.tag, value.text) for value in values)]
        row = {find_local_name(name): (text or "").strip() or None for name, text in named_values}
        if len(row) < len(named_values):
            raise SourceError("a record contains the same element twice", remedy="write each element once")
        rows.append(row)
    return rows

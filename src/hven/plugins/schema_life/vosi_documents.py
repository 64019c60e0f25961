"""Read the columns of VOSI tables: documents of services, with 100,000 columns.

A style sheet writes a line for each column, because Python would take twice as long to read all elements.
"""

from __future__ import annotations

import io
from xml.sax.saxutils import quoteattr

import numpy as np
import pyarrow as pa
from lxml import etree
from pyarrow import csv

from hven.model.errors import SourceError
from hven.plugins.schema_life.described_columns import ColumnRows, ColumnTexts, to_column_rows, write_type_name

_TEXT_ELEMENTS = ("name", "unit", "ucd", "utype", "description")
_TYPE_MARK = "|"  # between the parts of a type
_TABLE_NUMBER, _TYPE_PARTS = "table_number", "type_parts"
_SHEET_START = '<x:stylesheet version="1.0" xmlns:x="http://www.w3.org/1999/XSL/Transform" xmlns:v={namespace}>'
_SHEET_END = "</x:stylesheet>"
_NO_ACCESS = etree.XSLTAccessControl.DENY_ALL  # type: ignore[attr-defined]
_LINE_TEMPLATE = """\
<x:output method="text" encoding="UTF-8"/>
<x:template match="/"><x:for-each select="//{prefix}table"><x:variable name="number" select="position()"/>
<x:for-each select="{prefix}column"><x:value-of select="$number"/>{texts}<x:value-of select="concat('&#9;',
normalize-space({prefix}dataType), '|', normalize-space({prefix}dataType/@arraysize), '|',
normalize-space({prefix}dataType/@xtype), '&#10;')"/></x:for-each></x:for-each></x:template>"""


def read_vosi_columns(data: bytes, label: str) -> ColumnRows:
    """Read the columns of a VOSI tables document.

    Parameters
    ----------
    data
        The document.
    label
        Label of the schema.

    Raises
    ------
    SourceError
        The document is not well-formed.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise SourceError(
            f"{label} is not well-formed XML: {error.msg}", remedy="ask the operators of the service"
        ) from error
    first_table = root.find(".//{*}table")
    namespace = None
    if first_table is not None:
        namespace = etree.QName(first_table).namespace
    lines = _write_lines(root, namespace)
    if not lines:
        return to_column_rows([])
    names = (_TABLE_NUMBER, *_TEXT_ELEMENTS, _TYPE_PARTS)
    table = csv.read_csv(
        io.BytesIO(lines),
        read_options=csv.ReadOptions(column_names=names, block_size=len(lines) + 1, use_threads=False),
        parse_options=csv.ParseOptions(delimiter="\t", quote_char=False, escape_char=False),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
    arrays = {name: table[name].combine_chunks() for name in _TEXT_ELEMENTS}
    numbers = table[_TABLE_NUMBER].cast(pa.int64()).combine_chunks()
    name_tag = etree.QName(namespace, "name")
    table_names = [item.findtext(name_tag.text) or "" for item in root.iter(etree.QName(namespace, "table"))]
    clean_names = pa.array([" ".join(name.split()) for name in table_names], pa.string())
    types = table[_TYPE_PARTS].combine_chunks().dictionary_encode()
    type_names = [write_type_name(*parts.rsplit(_TYPE_MARK, 2)) for parts in types.dictionary.to_pylist()]
    arrays |= {
        "model": pa.repeat(label, len(numbers)),
        "table": clean_names.take(pa.array(numbers.to_numpy() - 1)),
        "type": pa.array(type_names, pa.string()).take(types.indices),
        "choices": pa.repeat("", len(numbers)),
    }
    return ColumnRows(ColumnTexts(arrays), np.arange(len(numbers)))


def _write_lines(root: etree._Element, namespace: str | None) -> bytes:
    """Write the number of the table, the texts and the type of each column; tabs and ends of lines are only between."""
    prefix = "v:" if namespace else ""
    texts = "".join(
        f"<x:value-of select=\"concat('&#9;', normalize-space({prefix}{name}))\"/>" for name in _TEXT_ELEMENTS
    )
    start = _SHEET_START.format(namespace=quoteattr(namespace or "none"))
    sheet = etree.fromstring(f"{start}{_LINE_TEMPLATE.format(prefix=prefix, texts=texts)}{_SHEET_END}")
    return bytes(etree.XSLT(sheet, access_control=_NO_ACCESS)(root))

"""Read the columns of VOSI tables: documents of services, with 100,000 columns.

A style sheet writes a line for each column, because Python would take twice as long to read all elements.
"""

from __future__ import annotations

import io

import pyarrow as pa
from lxml import etree
from pyarrow import csv

from hven.formats import quote_attribute
from hven.formats.api.xml_input import SAFE_PARSER_OPTIONS
from hven.model.errors import SourceError
from hven.plugins.schema_life.described_columns import ColumnRows, build_column_rows, to_column_rows

_TEXT_PATHS = ("name", "unit", "ucd", "utype", "description")
_TYPE_PATHS = ("dataType", "dataType/@arraysize", "dataType/@xtype")
_TABLE = "table"
_SHEET_START = '<x:stylesheet version="1.0" xmlns:x="http://www.w3.org/1999/XSL/Transform" xmlns:v={namespace}>'
_SHEET_END = "</x:stylesheet>"
_NO_ACCESS = etree.XSLTAccessControl.DENY_ALL  # type: ignore[attr-defined]
_LINE_TEMPLATE = """\
<x:output method="text" encoding="UTF-8"/>
<x:template match="/"><x:for-each select="//{prefix}table">
<x:variable name="table" select="normalize-space({prefix}name)"/>
<x:for-each select="{prefix}column"><x:value-of select="concat($table, {texts}, '&#10;')"/></x:for-each></x:for-each>
</x:template>"""


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
    try:
        root = etree.fromstring(data, etree.XMLParser(**SAFE_PARSER_OPTIONS, collect_ids=False))
    except etree.XMLSyntaxError as error:
        raise SourceError(
            f"{label} is not well-formed XML: {error.msg}", remedy="ask the operators of the service"
        ) from error
    lines = _write_lines(root)
    if not lines:
        return to_column_rows([])
    names = (_TABLE, *_TEXT_PATHS, *_TYPE_PATHS)
    table = csv.read_csv(
        io.BytesIO(lines),
        read_options=csv.ReadOptions(column_names=names, block_size=len(lines) + 1, use_threads=False),
        parse_options=csv.ParseOptions(delimiter="\t", quote_char=False, escape_char=False),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
    return build_column_rows(label, table.select([_TABLE, *_TEXT_PATHS]), table.select(_TYPE_PATHS))


def _write_lines(root: etree._Element) -> bytes:
    """Write the table, the texts and the type of each column; tabs and ends of lines are only between."""
    first_table = root.find(".//{*}table")
    namespace = None if first_table is None else etree.QName(first_table).namespace
    prefix = "v:" if namespace else ""
    # one expression for a line, because each instruction of a style sheet costs as much as several functions
    texts = ", ".join(f"'&#9;', normalize-space({prefix}{path})" for path in (*_TEXT_PATHS, *_TYPE_PATHS))
    start = _SHEET_START.format(namespace=quote_attribute(namespace or "none"))
    sheet = etree.fromstring(f"{start}{_LINE_TEMPLATE.format(prefix=prefix, texts=texts)}{_SHEET_END}")
    return bytes(etree.XSLT(sheet, access_control=_NO_ACCESS)(root))

"""VOTables that are published without a site, and a comparison of the metadata of two documents."""

from __future__ import annotations

import base64
import io
import re
import zlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from lxml import etree

from hven.formats import ResultStatus, TableMetadata
from hven.formats.votable import read_votable, write_votable
from hven.model.table import INPUT_DOCUMENT_KEY, Column, Table

# what an answer does not take over: it has other rows, and says itself what became of the request
_LEFT_OUT_ATTRIBUTES = {("TABLE", "nrows"), ("RESOURCE", "type"), ("VOTABLE", "version")}


def publish_document(data: bytes, table: int | None = None) -> tuple[TableMetadata, list[pa.RecordBatch]]:
    """Read a table as a source does, and describe an answer with all its rows and columns."""
    stream = read_votable(io.BytesIO(data), table=table)
    batches = list(stream.batches)
    columns = tuple(column.copy_with(type=column.type.unbounded_text_type) for column in stream.metadata.columns)
    text = base64.b64encode(zlib.compress(stream.metadata.head_document.encode())).decode()
    fields = {column.name: number for number, column in enumerate(columns)}
    published_table = Table(
        schema="public",
        name="main",
        columns=columns,
        extensions={INPUT_DOCUMENT_KEY: {"text": text, "fields": fields}},
    )
    return TableMetadata(columns=columns, tables=(published_table,)), batches


def select_columns(
    metadata: TableMetadata, batches: Sequence[pa.RecordBatch], numbers: Sequence[int]
) -> tuple[TableMetadata, list[pa.RecordBatch]]:
    """Describe an answer with some of the columns."""
    columns = tuple(metadata.columns[number] for number in numbers)
    return TableMetadata(columns=columns, tables=metadata.tables), [batch.select(list(numbers)) for batch in batches]


def write_answer(
    metadata: TableMetadata, batches: Sequence[pa.RecordBatch], status: ResultStatus | None = None, **options: str
) -> bytes:
    """Write an answer as a VOTable."""
    return b"".join(write_votable(metadata, iter(batches), lambda: status or ResultStatus(), options))


def read_rows(data: bytes) -> list[dict[int, Any]]:
    """Read the rows of the first table, by the positions of the columns."""
    return [
        dict(enumerate(values))
        for batch in read_votable(io.BytesIO(data)).batches
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    ]


def describe_metadata(data: bytes) -> list[tuple[Any, ...]]:
    """Describe the table with rows and what is around it: each element with its depth, attributes and text."""
    root = etree.fromstring(data, etree.XMLParser(remove_comments=True, remove_pis=True, huge_tree=True))
    rows = next(root.iter("{*}DATA"))
    places = [rows.getparent(), *rows.getparent().iterancestors()][::-1]
    described: list[tuple[Any, ...]] = []

    def describe(element: Any, depth: int) -> None:
        name = etree.QName(element).localname
        if element is rows or (name in {"RESOURCE", "TABLE"} and element not in places):
            return
        attributes = {
            key: " ".join(value.split()) if key != "value" else value
            for key, value in element.attrib.items()
            if not key.startswith("{") and (name, key) not in _LEFT_OUT_ATTRIBUTES
        }
        if attributes.get("arraysize") == "1":
            del attributes["arraysize"]
        if name == "INFO" and attributes.get("name") in {"QUERY_STATUS", "server_software"}:
            return
        text = re.sub(r"\s+", " ", element.text or "").strip() if name in {"DESCRIPTION", "INFO"} else ""
        described.append((depth, name, attributes, text))
        for child in element:
            describe(child, depth + 1)

    describe(root, 0)
    return described


def build_column(name: str) -> Column:
    """Build a column that no table has, as an expression makes it."""
    return Column(name=name, description="computed")

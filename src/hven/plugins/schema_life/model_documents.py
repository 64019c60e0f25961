"""Read schemas from documents: VOTables, tables of VOSI, Felis and others that plug-ins know, and descriptors."""

from __future__ import annotations

import io
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lxml import etree

from hven.descriptor import load_descriptor
from hven.descriptor.api.table_descriptions import SIGNATURE_BYTES, TableDescriptionRequest
from hven.formats.votable import list_votable_tables, read_votable
from hven.model import plugins
from hven.model.errors import SourceError, TextPlace, UsageError
from hven.plugins.schema_life.described_columns import (
    ComparedSchema,
    DescribedColumn,
    describe_columns,
    write_type_name,
)
from hven.sources import SourceContext

if TYPE_CHECKING:
    from hven.model.settings import Settings

MAX_DOCUMENT_BYTES = 32 << 20
MAX_VOTABLE_TABLES = 200  # tables of one document: it is parsed again for each
_VOTABLE_PATTERN = re.compile(rb"\A\x1f\x8b|<(?:\w+:)?VOTABLE[\s>]", re.IGNORECASE)
_VOSI_PATTERN = re.compile(rb"<(?:\w+:)?(?:tableset|tables)[\s>]", re.IGNORECASE)
_VOSI_COLUMN_ELEMENTS = ("name", "unit", "ucd", "utype", "description")
_DESCRIPTOR_PATTERN = re.compile(rb"^collection\s*:", re.MULTILINE)


def read_model_file(path: Path, settings: Settings | None) -> ComparedSchema:
    """Read a schema from a file.

    Parameters
    ----------
    path
        A VOTable, tables of VOSI, a schema of Felis, or a descriptor of Hven.
    settings
        Settings of the site, which descriptors need; None: there is no site.

    Raises
    ------
    SourceError
        The file cannot be read, is too large, or contains no schema.
    UsageError
        It is a descriptor, and there is no site.
    DescriptorError
        The descriptor has faults.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        remedy = "check its name and its permissions"
        raise SourceError(f"{path} cannot be read: {error.strerror}", remedy=remedy) from error
    if len(data) > MAX_DOCUMENT_BYTES:
        raise SourceError(
            f"{path} is larger than {MAX_DOCUMENT_BYTES >> 20} MiB", remedy="remove the rows from the file"
        )
    if path.suffix.lower() in {".yaml", ".yml"} and _DESCRIPTOR_PATTERN.search(data):
        return _read_descriptor(path, settings)
    return read_model_document(data, str(path), path)


def _read_descriptor(path: Path, settings: Settings | None) -> ComparedSchema:
    if settings is None:
        raise UsageError(f"Hven must know the site to read the descriptor {path}", remedy="add --site DIR")
    columns: list[DescribedColumn] = []
    for table_spec in load_descriptor(path.resolve(), settings).tables:
        table = table_spec.table
        columns += describe_columns(str(path), table.qualified_name, table.columns, table.enums)
    if not columns:
        raise SourceError(
            "the descriptor lists no columns, because it takes them from the source",
            place=TextPlace(file=str(path)),
            remedy="write `columns:`, or publish the collection and write its name instead of the file's",
        )
    return ComparedSchema(label=str(path), columns=columns, read_at=datetime.now(UTC))


def read_model_document(data: bytes, label: str, path: Path | None = None) -> ComparedSchema:
    """Read a schema from the content of a document.

    Parameters
    ----------
    data
        The content.
    label
        Label of the schema, for messages too.
    path
        Path of the document; None: it is not a file.

    Raises
    ------
    SourceError
        The document has faults, or contains no schema.
    """
    beginning = data[:SIGNATURE_BYTES]
    if _VOTABLE_PATTERN.search(beginning):
        columns = _read_votable_columns(data, label)
    elif _VOSI_PATTERN.search(beginning):
        columns = read_vosi_columns(data, label)
    else:
        columns = _read_plugin_description(data, label, path)
    if not columns:
        raise SourceError(f"{label} describes no columns", remedy="choose another document")
    return ComparedSchema(label=label, columns=columns, read_at=datetime.now(UTC))


def _read_votable_columns(data: bytes, label: str) -> list[DescribedColumn]:
    columns: list[DescribedColumn] = []
    try:
        table_count = len(list_votable_tables(io.BytesIO(data)))
        for number in range(max(min(table_count, MAX_VOTABLE_TABLES), 1)):
            metadata = read_votable(io.BytesIO(data), table=number).metadata
            table = metadata.name or f"table{number}"
            columns += describe_columns(label, table, metadata.columns, metadata.enums)
    except SourceError as error:
        raise SourceError(f"{label}: {error.message}", place=error.place, remedy=error.remedy) from error
    if table_count > MAX_VOTABLE_TABLES:
        message = f"{label} has {table_count:,} tables; the limit is {MAX_VOTABLE_TABLES}"
        raise SourceError(message, remedy="split the document")
    return columns


def read_vosi_columns(data: bytes, label: str) -> list[DescribedColumn]:
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
    columns = []
    for table in root.iter("{*}table"):
        table_name = _normalize_blanks(table.findtext("{*}name"))
        for column in table.iterchildren("{*}column"):
            children = {child.tag.rpartition("}")[2]: child for child in reversed(column) if isinstance(child.tag, str)}
            name, unit, ucd, utype, description = (
                _normalize_blanks(children[key].text) if key in children else "" for key in _VOSI_COLUMN_ELEMENTS
            )
            data_type = children.get("dataType")
            type_name = ""
            if data_type is not None:
                type_name = write_type_name(
                    data_type.text or "", data_type.get("arraysize", ""), data_type.get("xtype", "")
                )
            columns.append(DescribedColumn(label, table_name, name, type_name, unit, ucd, utype, description))
    return columns


def _normalize_blanks(text: str | None) -> str:
    return " ".join((text or "").split())


def _read_plugin_description(data: bytes, label: str, path: Path | None) -> list[DescribedColumn]:
    """Read what another plug-in describes, such as a schema of Felis."""
    for name in plugins.list_plugins("descriptions"):
        module = plugins.load_plugin("descriptions", name)
        pattern = module.DESCRIPTION.signature_pattern
        if pattern and re.search(pattern, data[:SIGNATURE_BYTES]):
            break
    else:
        raise SourceError(
            f"{label} contains no schema that Hven can read",
            remedy="choose a VOTable, VOSI tables, a Felis schema, or the address of a TAP service",
        )
    with tempfile.TemporaryDirectory(prefix="hven-compare-") as directory:
        if path is None:
            path = Path(directory) / "schema.yaml"
            path.write_bytes(data)
        request = TableDescriptionRequest(name="compare", path=path, context=SourceContext())
        description = module.read_table_set_description(request)
    columns: list[DescribedColumn] = []
    for table in description.tables:
        columns += describe_columns(label, table.name, table.columns, {})
    return columns

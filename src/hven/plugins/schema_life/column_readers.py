"""Read columns with modules whose imports take a second: of VOTables, of what plug-ins describe, and of Hven itself."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hven.descriptor import load_descriptor
from hven.descriptor.api.table_descriptions import SIGNATURE_BYTES, TableDescriptionRequest
from hven.formats.votable import list_votable_tables, read_votable
from hven.model import plugins
from hven.model.errors import SourceError, TextPlace
from hven.plugins.schema_life.described_columns import (
    DescribedColumn,
    describe_columns,
)
from hven.sources import SourceContext

if TYPE_CHECKING:
    from hven.model.settings import Settings

MAX_VOTABLE_TABLES = 200  # tables of one document: it is parsed again for each


def read_descriptor_columns(path: Path, settings: Settings) -> list[DescribedColumn]:
    """Read the columns that a descriptor of Hven lists.

    Parameters
    ----------
    path
        The descriptor.
    settings
        Settings of the site.

    Raises
    ------
    SourceError
        It lists none.
    DescriptorError
        It has faults.
    """
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
    return columns


def read_votable_columns(data: bytes, label: str) -> list[DescribedColumn]:
    """Read the columns of all tables of a VOTable.

    Parameters
    ----------
    data
        The document.
    label
        Label of the schema.

    Raises
    ------
    SourceError
        The document has faults or too many tables.
    """
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


def read_plugin_columns(data: bytes, label: str, path: Path | None) -> list[DescribedColumn]:
    """Read the columns of a document that another plug-in describes, such as a schema of Felis.

    Parameters
    ----------
    data, label, path
        As for `read_model_document`.

    Raises
    ------
    SourceError
        No plug-in knows the document, or it has faults.
    """
    for name in plugins.list_plugins("descriptions"):
        module = plugins.load_plugin("descriptions", name)
        pattern = module.DESCRIPTION.signature_pattern
        if pattern and re.search(pattern, data[:SIGNATURE_BYTES]):
            break
    else:
        raise SourceError(
            f"{label} contains no schema that Hven can read",
            remedy="choose a VOTable, VOSI tables, a Felis schema, a descriptor by `hven new`, or a TAP service",
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

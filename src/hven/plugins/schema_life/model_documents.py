"""Read schemas from documents: VOTables, tables of VOSI, Felis and others that plug-ins know, and descriptors."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import SourceError, UsageError
from hven.plugins.schema_life.described_columns import ComparedSchema
from hven.plugins.schema_life.vosi_documents import read_vosi_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import ModuleType

    from hven.model.settings import Settings
    from hven.plugins.schema_life.described_columns import DescribedColumn

MAX_DOCUMENT_BYTES = 32 << 20
BEGINNING_BYTES = 65_536  # in which the kind of a document shows
COMMENT_START, GZIP_SIGNATURE = b"<!--", b"\x1f\x8b"
VOTABLE_ROOT, VOSI_ROOTS = b"votable", {b"tableset", b"tables"}
_ROOT_PATTERN = re.compile(rb"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)[\s>]")
_COMMENT_PATTERN = re.compile(rb"<!--.*?-->", re.DOTALL)
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
    if path.suffix.lower() not in {".yaml", ".yml"} or not _DESCRIPTOR_PATTERN.search(data):
        return read_model_document(data, str(path), path)
    if settings is None:
        raise UsageError(f"Hven must know the site to read the descriptor {path}", remedy="add --site DIR")
    columns = _load_readers().read_descriptor_columns(path, settings)
    return ComparedSchema(label=str(path), columns=columns, read_at=datetime.now(UTC))


def _load_readers() -> ModuleType:
    """Load the other readers, unless VOSI tables alone are read: their imports take a second."""
    return plugins.import_hven_module("hven.plugins.schema_life.column_readers", "reading schemas")


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
    beginning = data[:BEGINNING_BYTES]
    if COMMENT_START in beginning:
        beginning = _COMMENT_PATTERN.sub(b"", beginning)
    root_match = _ROOT_PATTERN.search(beginning)
    root_name = b""
    if root_match is not None:
        root_name = root_match[1].lower()
    columns: Sequence[DescribedColumn]
    if data.startswith(GZIP_SIGNATURE) or root_name == VOTABLE_ROOT:
        columns = _load_readers().read_votable_columns(data, label)
    elif root_name in VOSI_ROOTS:
        columns = read_vosi_columns(data, label)
    else:
        columns = _load_readers().read_plugin_columns(data, label, path)
    if not columns:
        raise SourceError(f"{label} describes no columns", remedy="choose another document")
    return ComparedSchema(label=label, columns=columns, read_at=datetime.now(UTC))


def is_model_address(text: str) -> bool:
    """Return whether a text is an address of the web.

    Parameters
    ----------
    text
        Name of a model, as the user wrote it.
    """
    return text.lower().startswith(("http://", "https://"))

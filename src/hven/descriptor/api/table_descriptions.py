"""Descriptions of tables, from which `hven new` writes a descriptor.

A plug-in of the group ``descriptions`` has the record ``DESCRIPTION``, a `TableDescriptionSignature`, and a function
``read_table_set_description(request: TableDescriptionRequest) -> TableSetDescription``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Column
    from hven.sources import SourceContext

SIGNATURE_BYTES = 256 << 10  # bytes that are looked at to know a description
MAX_DOCUMENT_BYTES = 32 << 20  # bytes of one that is read


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDescriptionSignature:
    """How descriptions of a kind are told from other documents.

    Attributes
    ----------
    signature_pattern
        A regular expression that is searched for in the first `SIGNATURE_BYTES` bytes; empty: nothing tells them.
    address_pattern
        One for whole addresses of services that describe their tables; these are meant where several tables are asked
        for (``--table 'schema.*'``).
    """

    signature_pattern: bytes = b""
    address_pattern: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDescriptionRequest:
    """What a description is read from.

    Attributes
    ----------
    name
        Name of the future collection.
    path, address
        Path or address of the document.
    table
        What the curator chose: a name, or a pattern with ``*``; None: all.
    format_path
        Writes a path as the descriptor will name it.
    context
        Opens sources.
    """

    name: str
    path: Path = Path()
    address: str = ""
    table: str | None = None
    format_path: Callable[[Path], str] = str
    context: SourceContext

    def read_document_file(self) -> bytes:
        """Read the document.

        Returns
        -------
        data
            The content of the file.

        Raises
        ------
        SourceError
            It cannot be read, or is too long.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_DOCUMENT_BYTES + 1)
        except OSError as error:
            raise SourceError(
                f"{self.path.name} cannot be read: {error.strerror}", remedy="check its permissions"
            ) from error
        if len(data) > MAX_DOCUMENT_BYTES:
            raise SourceError(
                f"{self.path.name} is larger than {MAX_DOCUMENT_BYTES >> 20} MiB, so it cannot be a description of "
                "tables",
                remedy="if the file contains rows, name its format with --kind",
            )
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedForeignKey:
    """A foreign key: names of columns here and in the table `target`.

    Attributes
    ----------
    target
        Name of the other table.
    columns
        Columns of this table.
    target_columns
        The corresponding columns of the other table.
    """

    target: str
    columns: Sequence[str]
    target_columns: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedTable:
    """What a description says of a table.

    Attributes
    ----------
    source
        As it will stand in the descriptor.
    columns
        Columns by their names in the source.
    names
        What columns shall be called, where it is not after their names in the source.
    primary, keys, indexes
        Primary key, foreign keys and indexes, with the column names of the source.
    constants
        Columns that are not in the source, with their one value.
    notes
        For the curator.
    name
        Name of the table in the description.
    title
        One line about the table.
    description
        A longer text about the table.
    """

    name: str
    source: Mapping[str, Any]
    columns: Sequence[Column]
    title: str | None = None
    description: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    primary: Sequence[str] = ()
    keys: Mapping[str, DescribedForeignKey] = field(default_factory=dict)
    indexes: Sequence[Sequence[str]] = ()
    constants: Sequence[tuple[Column, str]] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSetDescription:
    """What a description says. `collection_keys`: keys of the collection, as descriptors have them.

    Attributes
    ----------
    kind
        What describes the tables, for messages.
    tables
        The tables that it describes.
    title
        One line about the collection.
    description
        A longer text about the collection.
    notes
        Comments for the curator.
    """

    kind: str
    tables: Sequence[DescribedTable]
    title: str | None = None
    description: str | None = None
    collection_keys: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def name_matches_pattern(pattern: str, name: str) -> bool:
    """Return whether a name is one of those that were chosen; case does not matter.

    Parameters
    ----------
    pattern
        What was chosen; ``*`` stands for anything.
    name
        The name.
    """
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(".*".join(parts), name, re.IGNORECASE) is not None

"""Where data comes from: the Source contract. One file per kind; the file's name is the kind.

A source module has `Options` (a pydantic model: what a descriptor may say under ``source:``) and
``open(options, context) -> Source``. Sources yield Arrow batches with flat memory, never rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.model.table import Column

PRIVATE = ()
ROW = "source.row"  # int64, 1-based number of the row in its file, as an editor or a database would count data rows
FILE_FACTS = ("file.path", "file.name", "file.stem", "file.size", "file.mtime", "file.md5", "file.url")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What exactly was read: a file with its checksum, a query with its snapshot. Kept as provenance."""

    name: str
    bytes: int | None = None
    modified: str | None = None
    sha256: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A row that could not be read: kept aside by ingest, never lost."""

    file: str | None
    row: int | None
    column: str | None
    value: str | None
    reason: str
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a source may know of its surroundings.

    Attributes
    ----------
    directory
        The descriptor's directory: relative paths start here.
    secret
        Resolves ``$NAME`` to a secret.
    query
        Runs ADQL over this site's tables (source kind ``query``), given by ingest.
    wanted
        Target types by source column name, where the mapping copies a column unchanged: a reader may
        convert to them at once.
    reject
        Takes rows that cannot be read.
    """

    directory: Path = Path()
    secret: Callable[[str], str] | None = None
    query: Callable[[str], Iterator[pa.RecordBatch]] | None = None
    wanted: Mapping[str, pa.DataType] = field(default_factory=dict)
    reject: Callable[[Reject], None] | None = None
    batch: int = 131_072


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One table of those that a file or database holds.

    A kind with several may have ``tables(options, context) -> list[Offer]``: `options` as far as they are known, without a table.

    Attributes
    ----------
    choice
        What the option (`table`, `hdu`) must say to get it.
    rows
        How many, if that is soon told.
    default
        This one is read if nothing is said.
    """

    choice: str | int
    name: str = ""
    rows: int | None = None
    view: bool = False
    default: bool = False

    def __str__(self) -> str:
        """Give name and size in words."""
        name = " ".join(dict.fromkeys(filter(None, (str(self.choice), self.name))))
        facts = [*(["view"] if self.view else []), *([f"{self.rows:,} row{'s' * (self.rows != 1)}"] if self.rows is not None else [])]
        return f"{name} ({', '.join(facts)})" if facts else name


class Source(Protocol):
    """Rows of one ``source:`` entry."""

    def columns(self) -> list[Column]:
        """Say what is there, with whatever the carrier says of types, units, UCDs and descriptions.

        Raises
        ------
        SourceError
            Unreadable, empty, or not as described: file, line, reason, remedy.
        """

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows. `columns` selects by name and may name `ROW` and `FILE_FACTS`; None = all real columns."""

    def pins(self) -> list[Pin]:
        """Say what was read, with checksums; complete after `batches` is exhausted."""

    def size(self) -> int | None:
        """Bytes or rows to come, for a progress bar; None if unknown."""


__all__ = ["FILE_FACTS", "ROW", "Context", "Offer", "Pin", "Reject", "Source"]

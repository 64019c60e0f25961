"""Members of a package: their paths, their bytes, and records of what was written."""

from __future__ import annotations

import io
import re
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from hven.plugins.packages.snapshot_digests import TableDigest
from hven.plugins.promotion.row_copies import split_batch
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hven.model.table import Table

BAGIT, RO_CRATE = "bagit", "ro-crate"
FORMS = (BAGIT, RO_CRATE)
PLAN_MEMBER = "package-plan.json"
SNAPSHOT_MEMBER = "snapshot.json"
SNAPSHOT_FORMAT = 1  # of snapshot.json
COMPLETENESS_MEMBER = "completeness.json"
MISSING, LOCKED, CHANGED, ELSEWHERE, LEFT_OUT = "missing", "locked", "changed", "elsewhere", "left out"
PART_BYTES = 32 * 1024**2  # bytes of rows in memory, from which a part is written
PART_ROWS = 500_000
# characters that programs of some systems refuse in paths, or that manifests must encode
_ENCODED_PATTERN = re.compile(r'[\x00-\x1f\x7f"%*:<=>?\\|]')
_DECODED_PATTERN = re.compile(r"=([0-9A-F]{2})")


def encode_path(path: str) -> str:
    """Return a path as packages write it: a special character becomes ``=`` and its code.

    Parameters
    ----------
    path
        Path of a file on the site.
    """
    return _ENCODED_PATTERN.sub(lambda match: f"={ord(match[0]):02X}", path)


def decode_path(path: str) -> str:
    """Return the path on the site of a path that `encode_path` has written.

    Parameters
    ----------
    path
        Path in a package.
    """
    return _DECODED_PATTERN.sub(lambda match: chr(int(match[1], 16)), path)


@dataclass(frozen=True, slots=True, kw_only=True)
class LackingItem:
    """Something that a package does not contain, or not as it was published.

    Attributes
    ----------
    path
        Path in the package, or the name of a table.
    status
        `MISSING`, `LOCKED`, `CHANGED`, `ELSEWHERE` or `LEFT_OUT`.
    reason
        Why.
    """

    path: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRecord:
    """What was written of a member.

    Attributes
    ----------
    path
        Path in the package, below its top folder.
    size
        Size in bytes.
    modified
        Time of the last change, in seconds since 1970.
    sha256, sha512
        Hexadecimal checksums.
    absent
        Whether nothing of it is in the package.
    status, reason
        As in `LackingItem`; empty: it is complete.
    row_checksum
        Of a part with rows: the checksum of the rows, before they were encoded; None for others.
    text
        Of a text that Hven writes: the text, so that a continued package has the same.
    """

    path: str
    size: int = 0
    modified: float = 0.0
    sha256: str = ""
    sha512: str = ""
    absent: bool = False
    status: str = ""
    reason: str = ""
    row_checksum: int | None = None
    text: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object, without values that are the default."""
        defaults = MemberRecord(path="")
        return {name: value for name, value in asdict(self).items() if value != getattr(defaults, name)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageMember:
    """A member that is to be written.

    Attributes
    ----------
    path
        Path in the package, below its top folder.
    size
        Size in bytes; None: all bytes of `read` are in memory, and are counted.
    modified
        Time of the last change, in seconds since 1970.
    read
        Reads the bytes; it raises a `HvenError` if the file is missing or has changed.
    row_checksum, text
        As in `MemberRecord`.
    note_download
        Called when the first bytes are read.
    """

    path: str
    size: int | None
    modified: float
    read: Callable[[], Iterator[bytes]]
    row_checksum: int | None = None
    text: str | None = None
    note_download: Callable[[], object] | None = None


def create_text_member(path: str, text: str, modified: float) -> PackageMember:
    """Create a member with a text.

    Parameters
    ----------
    path
        Path in the package.
    text
        The text.
    modified
        Time of the last change, in seconds since 1970.
    """
    body = text.encode("utf-8", "surrogateescape")
    return PackageMember(path=path, size=len(body), modified=modified, read=lambda: iter((body,)), text=text)


@dataclass(slots=True, kw_only=True)
class SentRows:
    """Rows of one table that a request sends, as observers and limits count them: each table by itself."""

    tables: tuple[Table, ...]
    row_count: int = 0
    row_limit: int | None = None

    def count_rows(self, row_count: int) -> None:
        """Count rows that are sent now; the first ones announce the table to observers.

        Parameters
        ----------
        row_count
            Their number.
        """
        if not self.row_count:
            record_sent_data(answer=self)
        self.row_count += row_count


@dataclass(slots=True, kw_only=True)
class RowTable:
    """A table whose rows are written.

    Attributes
    ----------
    table
        The table.
    open_batches
        Reads the rows in their stored order.
    modified
        When the rows were published, in seconds since 1970.
    digest
        Digest of the rows that were read so far.
    sent_rows
        Counts the rows that are sent.
    """

    table: Table
    open_batches: Callable[[], Iterator[pa.RecordBatch]]
    modified: float
    digest: TableDigest = field(init=False)
    sent_rows: SentRows = field(init=False)

    def __post_init__(self) -> None:
        self.digest = TableDigest(self.table.arrow_schema)
        self.sent_rows = SentRows(tables=(self.table,))

    @property
    def name(self) -> str:
        """Qualified name."""
        return self.table.qualified_name

    def iterate_parts(self, folder: str) -> Iterator[PackageMember]:
        """Yield the rows as Parquet files of limited size; a table without rows has one file.

        Parameters
        ----------
        folder
            Folder of the parts in the package.
        """
        number = 0
        for batches in _group_batches(self.open_batches()):
            yield self._create_digested_part(folder, number, batches)
            number += 1
        if not number:
            yield self._create_digested_part(folder, 0, [])

    def _create_digested_part(self, folder: str, number: int, batches: list[pa.RecordBatch]) -> PackageMember:
        checksum = sum(self.digest.add_batch(batch) for batch in batches) % 2**64
        path = f"{folder}/part-{number:05}.parquet"
        return PackageMember(
            path=path,
            size=None,
            modified=self.modified,
            read=lambda: iter((_write_parquet(self.table.arrow_schema, batches),)),
            row_checksum=checksum,
            note_download=partial(self.sent_rows.count_rows, sum(batch.num_rows for batch in batches)),
        )


def _write_parquet(schema: pa.Schema, batches: list[pa.RecordBatch]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_batches(batches, schema), sink, compression="zstd")
    return sink.getvalue()


def _group_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Yield groups of batches that are large enough for a part, but not larger than two."""
    group: list[pa.RecordBatch] = []
    group_bytes = group_rows = 0
    for batch in batches:
        for piece in split_batch(batch, PART_BYTES, PART_ROWS):
            if not piece.num_rows:
                continue
            group.append(piece)
            group_bytes += piece.nbytes
            group_rows += piece.num_rows
            if group_bytes >= PART_BYTES or group_rows >= PART_ROWS:
                yield group
                group = []
                group_bytes = group_rows = 0
    if group:
        yield group

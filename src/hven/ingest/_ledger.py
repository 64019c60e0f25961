"""The ledger of a table that is synchronised: a line for each source row, with what was published from it; written as rows are read."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import hven
from hven.descriptor.elements import INDEX
from hven.ingest._fingerprints import METHOD, fingerprints
from hven.ingest._transform import uses_row
from hven.model.errors import Place, StorageError
from hven.sources import ROW, listing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.descriptor import mapping as mappings
    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.model.table import Column, Table
    from hven.site import Site
    from hven.sources import Source
    from hven.sources.enriched import Documents

    Places = npt.NDArray[np.int64]

FILE = "file.path"
PLACE = "hven.place"  # number of a source row in its batch, where its elements are what is mapped
KEYS = "keys"
WORDS = ("first", "second", "identity")  # the fingerprint in two words
SKIPPED, PUBLISHED, REJECTED = 0, 1, 2
UNIQUE = "unique"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One ``source:`` of a table: its columns and its mapping; nothing is read yet."""

    spec: SourceSpec
    source: Source
    columns: tuple[Column, ...]
    mapping: mappings.Mapping
    documents: Documents | None = None


def schema(table: Table) -> pa.Schema:
    """Return the columns of a table's ledger."""
    key = pa.struct(
        [pa.field(column.name, column.type.arrow) for column in table.columns if column.name in table.primary]
    )
    return pa.schema(
        [
            *((name, pa.uint64()) for name in WORDS),
            ("file", pa.int32()),
            ("state", pa.int8()),
            (KEYS, pa.list_(pa.field("item", key))),
        ]
    )


def obstacle(table: Table, entries: Sequence[Entry]) -> str | None:
    """Return why the rows of a table cannot be followed one by one: then everything is computed, and compared."""
    if not table.primary:
        return "the table has no primary key"
    for entry in entries:
        mapping = entry.mapping
        if mapping.groups is not None:
            return "its rows are groups of source rows (group_by)"
        if entry.spec.kind == "query":
            return "it is made from other tables"
        if uses_row(mapping):
            return "the mapping uses the number of a row"
        if any(bound.volatile for bound in mapping.queries):
            return "the mapping gives another value each time"
    return None


def hashed(entry: Entry) -> list[str]:
    """Return the source columns that decide what becomes of a row."""
    return sorted(name for name in entry.mapping.needed if name != ROW)


def identity(entry: Entry, table: Table) -> list[str]:
    """Return the source columns from which the primary key is made; empty if it does not come from the source."""
    made = {column.name: column.origins for column in entry.mapping.table.columns}
    found = {name for key in table.primary for name in made.get(key, ())} - {INDEX}
    return sorted(found) if found and found <= set(hashed(entry)) else []


def signature(resource: Resource, spec: TableSpec, entries: Sequence[Entry], table: Table) -> str:
    """Sum up all that decides what a source row becomes, but for the row itself."""
    said = {
        "method": METHOD,
        "software": hven.__version__,
        "hashes": dict(resource.hashes),
        "site": of_site(resource, spec),
        "table": spec.table.qualified,
        "columns": [(column.name, str(column.type)) for column in table.columns],
        "primary": table.primary,
        "settings": [_said(getattr(spec, name)) for name in SETTINGS],
        "sources": [
            [(column.name, str(column.type), str(column.unit), column.null) for column in entry.columns]
            for entry in entries
        ],
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def of_site(resource: Resource, spec: TableSpec) -> dict[str, str]:
    """Return the words of hven.toml (`site.url` ..) that the rows of a table are made with."""
    text = json.dumps([_said(getattr(spec, name)) for name in SETTINGS])
    return {word: value for word, value in resource.site.items() if re.search(rf"site\W+{word}\b", text, re.IGNORECASE)}


# what hven.toml may say below or beside a descriptor counts as well
SETTINGS = (
    "sources",
    "settings",
    "let",
    "where",
    "granules",
    "rules",
    "for_each",
    "group_by",
    "defaults",
    "vocabularies",
)


def _said(value: Any) -> Any:
    """Write a part of a descriptor without its places."""
    if isinstance(value, Place):
        return None
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _said(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _said(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_said(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(item) for item in value)
    return str(value)


@dataclass(slots=True, kw_only=True)
class State:
    """What the store keeps with a snapshot for the next sync (`Store.syncs`).

    Attributes
    ----------
    ledger
        Name of the file with the lines; None: rows are not followed one by one.
    files
        ``[entry, name]`` of what the lines' `file` counts.
    listed
        Entry number -> files as they were, of sources that read file by file (`FileWise.listed`); written as Arrow's IPC, packed, for there may be very many.
    contended
        Rows that were rejected because another one had their key.
    lines, rejected
        How many source rows there are, how many of them were rejected.
    unread
        File -> rows that could not be read, and have no line.
    watermark
        Entry number -> largest value seen: a number, a text, or ``{"time": ..}``.
    blocks
        Entry number -> block -> ``[rows, checksum]``, of sources that sum up blocks of keys.
    full
        When everything was read last.
    fed
        Entry number -> state of a source that tells what has changed since.
    waiting
        Entry number -> documents of its rows that were still to be fetched: their rows must be read again, though nothing of these changed.
    """

    signature: str
    ledger: str | None = None
    files: Sequence[Sequence[Any]] = field(default_factory=list)
    listed: dict[str, pa.Table] = field(default_factory=dict)
    contended: int = 0
    lines: int = 0
    rejected: int = 0
    unread: dict[str, int] = field(default_factory=dict)
    watermark: dict[str, Any] = field(default_factory=dict)
    blocks: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    full: str | None = None
    fed: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        listed = {number: _packed(files) for number, files in self.listed.items()}
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"listed": listed}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> State:
        """Read what `to_json` gave; raise TypeError or ValueError if another Hven did."""
        return cls(**{**said, "listed": {number: _unpacked(text) for number, text in said["listed"].items()}})


def _packed(table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode()


def _unpacked(text: str) -> pa.Table:
    return pa.ipc.open_stream(base64.b64decode(text)).read_all()


def state_of(site: Site, snapshot: str) -> State | None:
    """Read what was kept with a snapshot; None if nothing was, or another Hven wrote it."""
    found = site.store.syncs.get(snapshot)
    try:
        return None if found is None else State.from_json(found)
    except (KeyError, TypeError, ValueError):  # ArrowInvalid is a ValueError
        return None


@runtime_checkable
class Remembers(Protocol):
    """A source that is read in part: of the rest, what was said of it before holds."""

    def said(self) -> list[dict[str, Any]]:
        """List what all was read, as provenance has it."""


def pinned(source: Source) -> list[dict[str, Any]]:
    """List what was read of a source, as provenance has it."""
    return source.said() if isinstance(source, Remembers) else listing(source.pins()).to_pylist()


class Notes:
    """A ledger that is being written. Call `begin` for each batch of source rows; then `finish`, or `abandon`."""

    def __init__(self, directory: Path, table: Table, entries: Sequence[Entry]) -> None:
        self.directory = directory
        self.table = table
        self.schema = schema(table)
        self.columns = [hashed(entry) for entry in entries]
        self.identities = [identity(entry, table) for entry in entries]
        self.files: dict[tuple[int, str | None], int] = {}
        self.contended = self.lines = self.rejected = 0
        self._path = directory / f"{os.getpid()}.writing"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file: Any = pa.OSFile(str(self._path), "wb")
        except OSError as error:
            raise _full(self._path, error) from error
        self._writer: Any = pa.ipc.new_file(self._file, self.schema)

    def words(self, entry: int, batch: pa.RecordBatch) -> tuple[Any, Any]:
        """Return the fingerprints of source rows; rows of different entries have different ones."""
        return words(batch, entry, self.columns[entry])

    def begin(self, entry: int, batch: pa.RecordBatch) -> Note:
        """Begin the lines of a batch."""
        first, second = self.words(entry, batch)
        return Note(self, batch.num_rows, [first, second, self.identity(entry, batch)], self.numbers(entry, batch))

    def identity(self, entry: int, batch: pa.RecordBatch) -> Any:
        """Return the identities of source rows: one word, for two rows that share it by chance are only looked at more closely."""
        return words(batch, entry, self.identities[entry])[0]

    def numbers(self, entry: int, batch: pa.RecordBatch) -> Any:
        """Return the number of the file of each row."""
        if FILE not in batch.schema.names:
            return np.full(batch.num_rows, self.number(entry, None), np.int32)
        names = pc.dictionary_encode(batch.column(FILE), null_encoding="encode")
        known = np.array([self.number(entry, name) for name in names.dictionary.to_pylist()], np.int32)
        return known[np.asarray(names.indices)] if len(known) else np.zeros(batch.num_rows, np.int32)

    def number(self, entry: int, name: str | None) -> int:
        """Return the number of a file."""
        return self.files.setdefault((entry, name), len(self.files))

    def numbered(self, files: Sequence[tuple[Any, ...]]) -> Sequence[int]:
        """Return the numbers of many files, none twice: entry and name of each."""
        if self.files.keys().isdisjoint(files):
            new = range(len(self.files), len(self.files) + len(files))
            self.files.update(zip(files, new, strict=True))
            return new
        return [self.number(*one) for one in files]

    def add(self, lines: pa.RecordBatch) -> None:
        """Write lines."""
        self.lines += lines.num_rows
        self.rejected += int(np.count_nonzero(np.asarray(lines.column("state")) == REJECTED))
        try:
            self._writer.write_batch(lines)
        except OSError as error:
            raise _full(self._path, error) from error

    def finish(self, name: str) -> str:
        """Make the file durable under a name, which is given back with its ending."""
        target = self.directory / f"{name}.arrow"
        try:
            self._writer.close()
            self._file.close()
            with self._path.open("rb+") as file:
                os.fsync(file.fileno())
            self._path.replace(target)
        except OSError as error:
            raise _full(self._path, error) from error
        return target.name

    def abandon(self) -> None:
        """Remove what was written; may be called twice, and after `finish`."""
        with contextlib.suppress(OSError, pa.ArrowInvalid):
            self._writer.close()
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


class Note:
    """The lines of one batch of source rows."""

    def __init__(self, notes: Notes, rows: int, hashes: list[Any], files: Any) -> None:
        self._notes, self._rows, self._hashes, self._files = notes, rows, hashes, files
        self._state = np.full(rows, SKIPPED, np.int8)
        self._at: list[Places] = []
        self._keys: list[pa.StructArray] = []

    def made(self, at: Places, rows: pa.RecordBatch) -> None:
        """Record published rows; `at` says from which source row each came."""
        self._at.append(np.asarray(at, np.int64))
        kind = self._notes.schema.field(KEYS).type.value_type
        self._keys.append(
            pa.StructArray.from_arrays([rows.column(item.name).cast(item.type) for item in kind], fields=list(kind))
        )
        self._state[at[self._state[at] != REJECTED]] = PUBLISHED

    def thrown(self, at: Places) -> None:
        """Record source rows of which something was rejected."""
        self._state[at] = REJECTED

    def close(self) -> None:
        """Write the lines."""
        at = np.concatenate([np.zeros(0, np.int64), *self._at])
        keys = (
            pa.concat_arrays(self._keys) if self._keys else pa.array([], self._notes.schema.field(KEYS).type.value_type)
        )
        if len(at) and np.any(at[1:] < at[:-1]):
            order = np.argsort(at, kind="stable")
            at, keys = at[order], keys.take(pa.array(order))
        counts = np.bincount(at, minlength=self._rows)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), keys)
        arrays = [
            *(pa.array(one) for one in self._hashes),
            pa.array(self._files),
            pa.array(self._state),
            lists.cast(self._notes.schema.field(KEYS).type),
        ]
        self._notes.add(pa.RecordBatch.from_arrays(arrays, schema=self._notes.schema))


def words(batch: pa.RecordBatch, entry: int, columns: Sequence[str]) -> tuple[Any, Any]:
    """Hash rows of one entry over some columns; without columns all have the same words."""
    number = pa.array(np.full(batch.num_rows, entry, np.int16))
    return fingerprints([number, *(batch.column(name) for name in columns)], batch.num_rows)


def directory(site: Site, table: str) -> Path:
    """Return where the ledgers of a table lie: beside the rows, for all machines that share them."""
    return site.settings.kept / "sync" / "ledgers" / table


def read(site: Site, table: str, name: str) -> pa.Table | None:
    """Map a ledger's lines; None if the file is lost or damaged."""
    path = directory(site, table) / name
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowInvalid):
        return None


def size(site: Site, table: str, name: str) -> int | None:
    """Return the bytes of a ledger; None if the file is lost."""
    try:
        return (directory(site, table) / name).stat().st_size
    except OSError:
        return None


def sweep(site: Site, collection: str) -> None:
    """Remove ledgers whose snapshots are gone; called by who holds the collection's lease."""
    ledgers = site.store.syncs.ledgers(collection)
    kept = site.store.ids(collection) if ledgers else set()
    if gone := ledgers.keys() - kept:
        site.store.syncs.forget(gone)
    names = {ledger for snapshot, ledger in ledgers.items() if snapshot in kept}
    top = site.settings.kept / "sync" / "ledgers"
    for place in top.glob(f"{collection}.*") if top.is_dir() else ():
        for path in place.iterdir():
            if path.name not in names:
                with contextlib.suppress(OSError):
                    path.unlink()
        with contextlib.suppress(OSError):
            place.rmdir()  # if it is empty


def _full(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"the ledger {path} cannot be written: {error.strerror or error}", remedy="make room on the disk of var/"
    )

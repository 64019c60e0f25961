"""The ledger of a synchronised table: a line for each source row, with the keys of the rows it was published as.

The ledger is written while the source rows are read.
"""

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
from hven.descriptor.unrolled_arrays import ELEMENT_INDEX_COLUMN
from hven.ingest._fingerprints import FINGERPRINT_METHOD, compute_row_fingerprints
from hven.ingest._transform import is_row_number_used
from hven.model.errors import StorageError, TextPlace
from hven.model.resource import SourceSpec
from hven.sources import ROW_NUMBER_COLUMN, build_file_list
from hven.sources.kind_traits import is_made_by_queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.descriptor import mapping as mappings
    from hven.model.resource import CollectionSpec, TableSpec
    from hven.model.table import Column, Table
    from hven.site import Site
    from hven.sources import Source
    from hven.sources.source_keys import SourceColumnAddition

    Places = npt.NDArray[np.int64]

FILE_PATH_COLUMN = "file.path"
BATCH_POSITION_COLUMN = "hven.place"  # position of a source row in its batch, if its array elements are mapped
KEYS_COLUMN = "keys"
FINGERPRINT_COLUMNS = ("first", "second", "identity")  # the fingerprint in two words
SKIPPED_ROW_STATE, PUBLISHED_ROW_STATE, REJECTED_ROW_STATE = 0, 1, 2
UNIQUE_CHECK = "unique"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSource:
    """One ``source:`` of a table, with its columns and its mapping, before its rows are read.

    Attributes
    ----------
    spec
        The entry of the descriptor.
    additions
        What keys of plug-in packages add to its rows.
    """

    spec: SourceSpec
    source: Source
    columns: tuple[Column, ...]
    mapping: mappings.CompiledMapping
    additions: Sequence[SourceColumnAddition] = ()


def build_ledger_schema(table: Table) -> pa.Schema:
    """Return the columns of a table's ledger."""
    key_columns = [column for column in table.columns if column.name in table.primary]
    key = pa.struct([pa.field(column.name, column.type.arrow) for column in key_columns])
    fingerprint_fields = [(name, pa.uint64()) for name in FINGERPRINT_COLUMNS]
    keys_field = (KEYS_COLUMN, pa.list_(pa.field("item", key)))
    return pa.schema([*fingerprint_fields, ("file", pa.int32()), ("state", pa.int8()), keys_field])


def find_ledger_obstacle(table: Table, entries: Sequence[OpenedSource]) -> str | None:
    """Return why the rows of a table cannot be followed one by one, so that it is computed as a whole and compared."""
    if not table.primary:
        return "the table has no primary key"
    for entry in entries:
        mapping = entry.mapping
        if mapping.group_plan is not None:
            return "its rows are groups of source rows (group_by)"
        if is_made_by_queries(entry.spec):
            return "it is made from other tables"
        if is_row_number_used(mapping):
            return "the mapping uses row numbers"
        if any(bound.volatile for bound in mapping.queries):
            return "the mapping gives a different value each time"
    return None


def list_hashed_columns(entry: OpenedSource) -> list[str]:
    """Return the source columns that decide what a row becomes."""
    return sorted(name for name in entry.mapping.needed_columns if name != ROW_NUMBER_COLUMN)


def list_identity_columns(entry: OpenedSource, table: Table) -> list[str]:
    """List the source columns that make the primary key.

    Parameters
    ----------
    entry
        A source of the table.
    table
        The table, with the columns that its sources fill.

    Returns
    -------
    names
        Empty if the key does not come from the source.
    """
    origins_by_column = {column.name: column.origins for column in entry.mapping.table.columns}
    identity_columns: set[str] = set()
    for key_column in table.primary:
        identity_columns.update(origins_by_column.get(key_column, ()))
    identity_columns.discard(ELEMENT_INDEX_COLUMN)
    if identity_columns and identity_columns <= set(list_hashed_columns(entry)):
        return sorted(identity_columns)
    return []


def compute_ledger_signature(
    resource: CollectionSpec, spec: TableSpec, entries: Sequence[OpenedSource], table: Table
) -> str:
    """Return a digest of everything that decides what a source row becomes, apart from the row itself."""
    columns = [(column.name, str(column.type)) for column in table.columns]
    settings = [_to_json_without_places(getattr(spec, name)) for name in DIGESTED_SETTINGS]
    source_columns = []
    for entry in entries:
        facts = [(column.name, str(column.type), str(column.unit), column.null) for column in entry.columns]
        source_columns.append(facts)
    signed_values = {
        "method": FINGERPRINT_METHOD,
        "software": hven.__version__,
        "hashes": dict(resource.hashes),
        "site": select_used_site_values(resource, spec),
        "table": spec.table.qualified_name,
        "columns": columns,
        "primary": table.primary,
        "settings": settings,
        "sources": source_columns,
    }
    text = json.dumps(signed_values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def select_used_site_values(resource: CollectionSpec, spec: TableSpec) -> dict[str, str]:
    """Return the values of hven.toml (`site.url` ..) that the rows of a table use."""
    text = json.dumps([_to_json_without_places(getattr(spec, name)) for name in DIGESTED_SETTINGS])
    used_words = [word for word in resource.site if re.search(rf"site\W+{word}\b", text, re.IGNORECASE)]
    return {word: resource.site[word] for word in used_words}


# hven.toml can complete or override parts of a descriptor, so the settings are digested and not only its files
DIGESTED_SETTINGS = (
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


def _to_json_without_places(value: Any) -> Any:
    """Convert a part of a descriptor to JSON, without its places."""
    if isinstance(value, TextPlace):
        return None
    if isinstance(value, SourceSpec):
        # stored signatures have the keys that packages add as members of the source, and sign that `enrich` is absent
        members = {"kind": value.kind, "options": value.options, "place": value.place, "enrich": None}
        value = {**members, **value.additions}
    if is_dataclass(value) and not isinstance(value, type):
        return {setting.name: _to_json_without_places(getattr(value, setting.name)) for setting in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _to_json_without_places(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json_without_places(member) for member in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(member) for member in value)
    return str(value)


@dataclass(slots=True, kw_only=True)
class SyncState:
    """The state that the store keeps with a snapshot for the next sync (`Store.syncs`).

    Attributes
    ----------
    signature
        Digest of everything that decides what a source row becomes.
    ledger
        Name of the file with the lines; None: rows are not followed one by one.
    files
        ``[entry, name]`` for each number in the column `file` of the lines.
    listed
        Entry number -> the files of a source that reads file by file (`FileListSource.list_files`). In JSON this is
        compressed Arrow IPC, because there can be very many files.
    contended
        Number of rows that were rejected because another row had their key.
    lines, rejected
        Number of source rows, and of the rejected rows among them.
    unread
        File -> number of rows that could not be read, and have no line.
    watermark
        Entry number -> largest value: a number, a text, or ``{"time": ..}``.
    blocks
        Entry number -> block -> ``[rows, checksum]``, for sources that have checksums of blocks of keys.
    full
        Time at which everything was read last.
    fed
        Entry number -> state of a source that reports its changes.
    waiting
        Entry number -> number of added values that a later run may still find (`SourceColumnAddition.pending_count`);
        the rows must be read again, even if they did not change.
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
        """Return the state as a JSON object."""
        document = {state_field.name: getattr(self, state_field.name) for state_field in fields(self)}
        document["listed"] = {number: _encode_table_as_text(files) for number, files in self.listed.items()}
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SyncState:
        """Read a result of `to_json`; raise TypeError or ValueError if another version of Hven wrote it."""
        listed = {number: _decode_table_from_text(text) for number, text in document["listed"].items()}
        return cls(**{**document, "listed": listed})


def _encode_table_as_text(table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    write_options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=write_options) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode()


def _decode_table_from_text(text: str) -> pa.Table:
    return pa.ipc.open_stream(base64.b64decode(text)).read_all()


def load_sync_state(site: Site, snapshot: str) -> SyncState | None:
    """Read the state that belongs to a snapshot.

    Parameters
    ----------
    site
        The site.
    snapshot
        Id of the snapshot.

    Returns
    -------
    state
        The state; None if there is none, or another version of Hven wrote it.
    """
    document = site.store.syncs.load_sync_state(snapshot)
    try:
        if document is None:
            return None
        return SyncState.from_json(document)
    except (KeyError, TypeError, ValueError):  # ArrowInvalid is a ValueError
        return None


@runtime_checkable
class ProvenanceListingSource(Protocol):
    """A source that reads only some of its files, but describes all of them."""

    def list_provenance_files(self) -> list[dict[str, Any]]:
        """List all files for the provenance of the table."""


def list_source_inputs(source: Source) -> list[dict[str, Any]]:
    """List the inputs of a source for the provenance of the table."""
    if isinstance(source, ProvenanceListingSource):
        return source.list_provenance_files()
    file_list = build_file_list(source.list_input_versions())
    inputs: list[dict[str, Any]] = file_list.to_pylist()
    return inputs


class LedgerWriter:
    """Write a ledger. Call `begin_batch` for each batch of source rows, then `finish_ledger` or `abandon_ledger`."""

    def __init__(self, directory: Path, table: Table, entries: Sequence[OpenedSource]) -> None:
        self.directory = directory
        self.table = table
        self.schema = build_ledger_schema(table)
        self.hashed_columns = [list_hashed_columns(entry) for entry in entries]
        self.identity_columns = [list_identity_columns(entry, table) for entry in entries]
        self.files: dict[tuple[int, str | None], int] = {}
        self.contended_count = self.line_count = self.rejected_count = 0
        self._path = directory / f"{os.getpid()}.writing"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file: Any = pa.OSFile(str(self._path), "wb")
        except OSError as error:
            raise _build_ledger_write_error(self._path, error) from error
        self._writer: Any = pa.ipc.new_file(self._file, self.schema)

    def compute_row_fingerprints(self, entry_number: int, batch: pa.RecordBatch) -> tuple[Any, Any]:
        """Return the fingerprints of source rows; equal rows of two entries have different fingerprints."""
        return hash_entry_rows(batch, entry_number, self.hashed_columns[entry_number])

    def begin_batch(self, entry_number: int, batch: pa.RecordBatch) -> LedgerBatch:
        """Begin the lines of a batch of source rows."""
        first, second = self.compute_row_fingerprints(entry_number, batch)
        identities = self.compute_row_identities(entry_number, batch)
        file_numbers = self.get_or_assign_row_file_numbers(entry_number, batch)
        return LedgerBatch(self, batch.num_rows, [first, second, identities], file_numbers)

    def compute_row_identities(self, entry_number: int, batch: pa.RecordBatch) -> Any:
        """Return the identities of source rows: hashes of their keys.

        One word is enough: if two rows share it by chance, they are only compared more closely.
        """
        return hash_entry_rows(batch, entry_number, self.identity_columns[entry_number])[0]

    def get_or_assign_row_file_numbers(self, entry_number: int, batch: pa.RecordBatch) -> Any:
        """Return the number of the file of each row."""
        if FILE_PATH_COLUMN not in batch.schema.names:
            file_number = self.get_or_assign_file_number(entry_number, None)
            return np.full(batch.num_rows, file_number, np.int32)
        names = pc.dictionary_encode(batch.column(FILE_PATH_COLUMN), null_encoding="encode")
        number_list = [self.get_or_assign_file_number(entry_number, name) for name in names.dictionary.to_pylist()]
        if not number_list:
            return np.zeros(batch.num_rows, np.int32)
        file_numbers = np.array(number_list, np.int32)
        return file_numbers[np.asarray(names.indices)]

    def get_or_assign_file_number(self, entry_number: int, file_name: str | None) -> int:
        """Return the number of a file; a new file gets the next number."""
        return self.files.setdefault((entry_number, file_name), len(self.files))

    def get_or_assign_file_numbers(self, files: Sequence[tuple[Any, ...]]) -> Sequence[int]:
        """Return the numbers of many different files, each as entry and name."""
        if self.files.keys().isdisjoint(files):
            new_numbers = range(len(self.files), len(self.files) + len(files))
            self.files.update(zip(files, new_numbers, strict=True))
            return new_numbers
        return [self.get_or_assign_file_number(*file_key) for file_key in files]

    def write_lines(self, lines: pa.RecordBatch) -> None:
        """Write lines to the ledger, and count them."""
        states = np.asarray(lines.column("state"))
        self.line_count += lines.num_rows
        self.rejected_count += int(np.count_nonzero(states == REJECTED_ROW_STATE))
        try:
            self._writer.write_batch(lines)
        except OSError as error:
            raise _build_ledger_write_error(self._path, error) from error

    def finish_ledger(self, ledger_name: str) -> str:
        """Close the file, make it durable under a name, and return the name with its ending."""
        target = self.directory / f"{ledger_name}.arrow"
        try:
            self._writer.close()
            self._file.close()
            with self._path.open("rb+") as file:
                os.fsync(file.fileno())
            self._path.replace(target)
        except OSError as error:
            raise _build_ledger_write_error(self._path, error) from error
        return target.name

    def abandon_ledger(self) -> None:
        """Delete the unfinished file; may be called twice, and after `finish_ledger`."""
        with contextlib.suppress(OSError, pa.ArrowInvalid):
            self._writer.close()
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


class LedgerBatch:
    """The lines of one batch of source rows."""

    def __init__(self, ledger_writer: LedgerWriter, row_count: int, hashes: list[Any], files: Any) -> None:
        self._ledger_writer = ledger_writer
        self._row_count = row_count
        self._hashes = hashes
        self._files = files
        self._state = np.full(row_count, SKIPPED_ROW_STATE, np.int8)
        self._source_positions: list[Places] = []
        self._keys: list[pa.StructArray] = []

    def record_published_rows(self, source_positions: Places, rows: pa.RecordBatch) -> None:
        """Record published rows, and the position of the source row that each comes from."""
        positions = np.asarray(source_positions, np.int64)
        self._source_positions.append(positions)
        key_type = self._ledger_writer.schema.field(KEYS_COLUMN).type.value_type
        key_arrays = [rows.column(key_field.name).cast(key_field.type) for key_field in key_type]
        self._keys.append(pa.StructArray.from_arrays(key_arrays, fields=list(key_type)))
        is_rejected = self._state[source_positions] == REJECTED_ROW_STATE
        self._state[source_positions[~is_rejected]] = PUBLISHED_ROW_STATE

    def record_rejected_rows(self, source_positions: Places) -> None:
        """Record the source rows that were rejected, or had a rejected part."""
        self._state[source_positions] = REJECTED_ROW_STATE

    def write_lines(self) -> None:
        """Write the lines of the batch to the ledger."""
        schema = self._ledger_writer.schema
        keys_type = schema.field(KEYS_COLUMN).type
        source_positions = np.concatenate([np.zeros(0, np.int64), *self._source_positions])
        if self._keys:
            keys = pa.concat_arrays(self._keys)
        else:
            keys = pa.array([], keys_type.value_type)
        is_unordered = np.any(source_positions[1:] < source_positions[:-1])
        if is_unordered:
            order = np.argsort(source_positions, kind="stable")
            source_positions = source_positions[order]
            keys = keys.take(pa.array(order))
        counts = np.bincount(source_positions, minlength=self._row_count)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        key_lists = pa.ListArray.from_arrays(pa.array(offsets), keys).cast(keys_type)
        hash_arrays = [pa.array(hash_words) for hash_words in self._hashes]
        arrays = [*hash_arrays, pa.array(self._files), pa.array(self._state), key_lists]
        self._ledger_writer.write_lines(pa.RecordBatch.from_arrays(arrays, schema=schema))


def hash_entry_rows(batch: pa.RecordBatch, entry_number: int, columns: Sequence[str]) -> tuple[Any, Any]:
    """Hash the rows of an entry over some columns; without columns, all rows have the same hash."""
    entry_numbers = pa.array(np.full(batch.num_rows, entry_number, np.int16))
    arrays = [entry_numbers, *(batch.column(name) for name in columns)]
    return compute_row_fingerprints(arrays, batch.num_rows)


def get_ledger_directory(site: Site, table: str) -> Path:
    """Return the directory of a table's ledgers: beside the rows, so that machines that share the rows share them."""
    return site.settings.data_directory / "sync" / "ledgers" / table


def read_ledger(site: Site, table: str, ledger_name: str) -> pa.Table | None:
    """Map the lines of a ledger into memory.

    Parameters
    ----------
    site
        The site.
    table
        Qualified name of the table.
    ledger_name
        Name of the file: `SyncState.ledger`.

    Returns
    -------
    lines
        The lines; None if the file is lost or damaged.
    """
    path = get_ledger_directory(site, table) / ledger_name
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowInvalid):
        return None


def measure_ledger_bytes(site: Site, table: str, ledger_name: str) -> int | None:
    """Return the bytes of a ledger; None if the file is lost."""
    try:
        ledger_directory = get_ledger_directory(site, table)
        return (ledger_directory / ledger_name).stat().st_size
    except OSError:
        return None


def delete_unused_ledgers(site: Site, collection: str) -> None:
    """Delete the ledgers whose snapshots are gone; the caller holds the lease of the collection."""
    ledgers = site.store.syncs.map_ledgers_by_snapshot(collection)
    kept_snapshots: set[str] = set()
    if ledgers:
        kept_snapshots = set(site.store.list_snapshot_ids(collection))
    deleted_snapshots = ledgers.keys() - kept_snapshots
    if deleted_snapshots:
        site.store.syncs.delete_states(deleted_snapshots)
    used_names = {ledger for snapshot, ledger in ledgers.items() if snapshot in kept_snapshots}
    ledgers_directory = site.settings.data_directory / "sync" / "ledgers"
    if not ledgers_directory.is_dir():
        return
    for table_directory in ledgers_directory.glob(f"{collection}.*"):
        for path in table_directory.iterdir():
            if path.name not in used_names:
                with contextlib.suppress(OSError):
                    path.unlink()
        with contextlib.suppress(OSError):
            table_directory.rmdir()  # fails unless it is empty


def _build_ledger_write_error(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"the ledger {path} cannot be written: {error.strerror or error}",
        remedy="free some space on the disk that contains var/",
    )

"""The system state as rows of JSON: written in one transaction, read back into an empty store of either kind."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import ConflictError, StorageError
from hven.site.store import _database as db
from hven.site.store import _deletion_time as deletion_time
from hven.site.store._database import (
    format_current_time,
    meta,
    metadata,
    pointers,
    releases,
    schedules,
    snapshots,
    user_tables,
)
from hven.site.store._package_tables import (
    find_absent_package_tables,
    find_package_of_table,
    has_rows,
    list_package_tables,
    list_package_tables_with_rows,
)
from hven.site.store._releases import PIN_LABEL_PREFIX
from hven.site.store._snapshots import SnapshotRecord, snapshot_record_from_row, snapshot_record_to_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hven.site.store._database import StateDatabase

STALE_PIN_SECONDS = 2 * 86_400.0  # a backup that left its pin for so long has died
# tables of this moment and of these processes. Without `sync_state` and the ledgers the first sync compares everything
# and writes them again; a process that opens a site writes `descriptors` again from its files
EXCLUDED_TABLES = {"leases", "sessions", "retired", "meta", "sync_state", "alerts", "verifications", "descriptors"}
# useless without the rows and files
ROW_DEPENDENT_TABLES = {"snapshots", "pointers", "events", "releases", "user_tables", "jobs"}


def _pin_published_snapshots(connection: sa.Connection, backup_label: str) -> None:
    """Pin everything that is published against pruning."""
    trusted_time = deletion_time.compute_trusted_clock_state(connection).trusted_time
    oldest_time = deletion_time.format_timestamp(trusted_time - STALE_PIN_SECONDS)
    is_pin = releases.c.label.startswith(PIN_LABEL_PREFIX)
    connection.execute(sa.delete(releases).where(is_pin, releases.c.created < oldest_time))
    pins = []
    for row in connection.execute(sa.select(pointers)):
        pin = {
            "collection": row.collection,
            "label": f"{PIN_LABEL_PREFIX}{backup_label}",
            "created": format_current_time(),
        }
        pin |= {"table_name": row.table_name, "snapshot": row.snapshot}
        pins.append(pin)
    if pins:
        connection.execute(sa.insert(releases), pins)


def unpin_snapshots(database: StateDatabase, backup_label: str) -> None:
    """Remove the pin of a backup."""
    with database.begin_write() as connection:
        connection.execute(sa.delete(releases).where(releases.c.label == f"{PIN_LABEL_PREFIX}{backup_label}"))


class StateExport:
    """The state of one moment.

    Attributes
    ----------
    snapshot_records
        Every snapshot that belongs to it: published, pinned by a release, or of a user's own table.
    job_ids
        Ids of the jobs that have files.
    """

    def __init__(self, connection: sa.Connection, *, include_rows: bool) -> None:
        self._connection = connection
        self._include_rows = include_rows
        self.snapshot_records: list[SnapshotRecord] = []
        self.job_ids: list[str] = []
        self._exported_ids: set[str] = set()
        if include_rows:
            self._collect_snapshots()
            jobs_query = sa.select(db.jobs.c.id).order_by(db.jobs.c.id)
            self.job_ids = list(connection.execute(jobs_query).scalars())

    def _collect_snapshots(self) -> None:
        pinned_ids: set[str] = set()
        for id_column in (pointers.c.snapshot, releases.c.snapshot):
            pinned_ids |= set(self._connection.execute(sa.select(id_column)).scalars())
        for row in self._connection.execute(sa.select(snapshots).order_by(snapshots.c.id)):
            if row.id in pinned_ids:
                self.snapshot_records.append(snapshot_record_from_row(row))
        self._exported_ids = {record.id for record in self.snapshot_records}
        for row in self._connection.execute(sa.select(user_tables)):
            self.snapshot_records.append(read_user_table_record(row))

    def iterate_tables(self) -> Iterator[tuple[str, Iterator[str]]]:
        """Yield each table's name and its rows as JSON."""
        paused_query = sa.select(schedules.c.paused).where(schedules.c.paused.is_not(None))
        has_paused_schedules = self._connection.execute(paused_query.limit(1)).first() is not None
        excluded_names = set(EXCLUDED_TABLES)
        if not self._include_rows:
            excluded_names |= ROW_DEPENDENT_TABLES
        if not has_paused_schedules:
            excluded_names.add(schedules.name)
        package_tables = list_package_tables_with_rows(self._connection, _read_meta_values(self._connection))
        for table in (*metadata.sorted_tables, *package_tables):
            if table.name not in excluded_names:
                yield table.name, self._iterate_json_lines(table)

    def _iterate_json_lines(self, table: sa.Table) -> Iterator[str]:
        for row in self._connection.execute(sa.select(table).order_by(*table.primary_key.columns)):
            values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
            if table.name == "snapshots" and values["id"] not in self._exported_ids:
                continue
            if table.name == "releases" and values["label"].startswith(PIN_LABEL_PREFIX):
                continue
            # the times at which schedules are due belong to this moment, but a paused schedule stays paused
            if table is schedules:
                if values["paused"] is None:
                    continue
                values |= {"holder": None, "asked": None}
            yield json.dumps(values)


def find_absent_tables(connection: sa.Connection) -> dict[str, list[str]]:
    """Find the tables of plug-in packages that this process does not use, by the names of the packages."""
    return find_absent_package_tables(connection, _read_meta_values(connection))


def _read_meta_values(connection: sa.Connection) -> dict[str, str]:
    return {row.key: row.value for row in connection.execute(sa.select(meta.c.key, meta.c.value))}


class _UserTableSnapshotRow:
    """A row of a user's table, as `snapshot_record_from_row` of snapshots reads it."""

    def __init__(self, row: Any) -> None:
        self.id = row.snapshot
        self.record = row.record
        self.collection = "tap_user"
        self.run = row.snapshot
        self.created = row.created


def read_user_table_record(row: Any) -> SnapshotRecord:
    """Read the record of a user's own table."""
    return snapshot_record_from_row(_UserTableSnapshotRow(row))


@contextmanager
def open_export(database: StateDatabase, backup_label: str, *, include_rows: bool) -> Iterator[StateExport]:
    """Open the present state, and pin what is published in it; nothing is written to the store until it is closed."""
    with database.begin_write() as connection:
        if include_rows:
            _pin_published_snapshots(connection, backup_label)
        yield StateExport(connection, include_rows=include_rows)


def check_empty(connection: sa.Connection) -> None:
    """Check that a store is empty.

    Raises
    ------
    ConflictError
        The store is not empty.
    """
    for table in (*metadata.sorted_tables, *list_package_tables()):
        if table.name in EXCLUDED_TABLES:
            continue
        if has_rows(connection, table):
            remedy = "give an empty database with HVEN_STORE=postgresql+psycopg://..."
            raise ConflictError("the database of the system state is not empty", remedy=remedy)


def import_rows(
    database: StateDatabase,
    tables: Mapping[str, Iterable[Mapping[str, Any]]],
    restored_records: Mapping[str, SnapshotRecord],
) -> None:
    """Insert rows into an empty store, all or nothing.

    Parameters
    ----------
    restored_records
        Id of a snapshot -> its record as it was staged here.

    Raises
    ------
    ConflictError
        The store is not empty.
    StorageError
        A row does not fit.
    """
    with database.begin_write() as connection:
        check_empty(connection)
        known_tables = [*metadata.sorted_tables, *list_package_tables()]
        unknown_names = set(tables) - {table.name for table in known_tables}
        if unknown_names:
            raise _build_unknown_table_error(min(unknown_names))
        for table in known_tables:
            batch: list[dict[str, Any]] = []
            for row in tables.get(table.name, ()):
                batch.append(_adapt_row(table.name, dict(row), restored_records))
                if len(batch) >= 500:
                    connection.execute(sa.insert(table), batch)
                    batch = []
            if batch:
                connection.execute(sa.insert(table), batch)
        next_version = sa.cast(sa.cast(meta.c.value, sa.BigInteger) + 1, sa.Text)
        is_counter = meta.c.key.in_(("version", "jobs"))
        connection.execute(sa.update(meta).where(is_counter).values(value=next_version))
        if not database.is_sqlite:
            sequence_statement = sa.text(
                "SELECT setval(pg_get_serial_sequence('events', 'number'), COALESCE((SELECT MAX(number) FROM "
                "events), 0) + 1, false)"
            )
            connection.execute(sequence_statement)


def _build_unknown_table_error(table_name: str) -> StorageError:
    message = f"the archive has a table {table_name!r} that this Hven does not know"
    package = find_package_of_table(table_name)
    if package is None:
        return StorageError(message, remedy="use the version of Hven that wrote it")
    remedy = f"add the plug-in package {package!r}, to which it belongs, to `plugins` in hven.toml or to HVEN_PLUGINS"
    return StorageError(message, remedy=remedy)


def _adapt_row(table_name: str, row: dict[str, Any], restored_records: Mapping[str, SnapshotRecord]) -> dict[str, Any]:
    """Return a row as it is in this store: snapshots have other paths, and no process holds a job."""
    if table_name == "snapshots":
        return {**row, **_extract_snapshot_values(restored_records[row["id"]])}
    if table_name == "user_tables":
        record = restored_records[row["snapshot"]]
        return {**row, **_extract_snapshot_values(record), "path": record.snapshot.path}
    if table_name == "jobs" and row.get("phase") == "EXECUTING":
        return {**row, "phase": "QUEUED", "holder": None, "started": None, "progress": "{}"}
    return row


def _extract_snapshot_values(record: SnapshotRecord) -> dict[str, Any]:
    snapshot_row = snapshot_record_to_row(record)
    return {name: snapshot_row[name] for name in ("rows", "bytes", "record")}

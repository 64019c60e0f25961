"""The system state as rows of JSON: written in one transaction, read back into an empty store of either kind."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import ConflictError, StorageError
from hven.site.api.state_tables import (
    PIN_LABEL_PREFIX,
    compute_trusted_clock_state,
    find_package_of_table,
    format_timestamp,
    has_rows,
    list_package_tables,
    list_package_tables_with_rows,
    metadata,
    snapshot_record_from_row,
    snapshot_record_to_row,
    user_table_record_from_row,
)
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.site.api.state_tables import StateDatabase
    from hven.site.store import SnapshotRecord

STALE_PIN_SECONDS = 2 * 86_400.0  # a backup that left its pin for so long has died
# tables of this moment and of these processes. Without `sync_state` and the ledgers the first sync compares everything
# and writes them again; a process that opens a site writes `descriptors` again from its files
EXCLUDED_TABLES = {"leases", "sessions", "retired", "meta", "sync_state", "alerts", "verifications", "descriptors"}
# useless without the rows and files
ROW_DEPENDENT_TABLES = {"snapshots", "pointers", "events", "releases", "user_tables", "jobs"}
INSERTED_ROWS = 500  # in one statement

jobs, pointers, releases, schedules, snapshots = (
    metadata.tables[name] for name in ("jobs", "pointers", "releases", "schedules", "snapshots")
)


class StateBackupAccess:
    """What backups read and write in a system state."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    @contextmanager
    def pin_snapshots_and_open_export(self, backup_label: str, *, include_rows: bool) -> Iterator[StateExport]:
        """Open the present state; nothing is written to the store until it is closed.

        Until `unpin_snapshots`, what is published now is not pruned.

        Parameters
        ----------
        backup_label
            Name of the pin.
        include_rows
            Include the records that are useful only together with their rows and files.

        Yields
        ------
        export
            The state.
        """
        with self._database.begin_write() as connection:
            if include_rows:
                _pin_snapshots_and_drop_stale_pins(connection, backup_label)
            yield StateExport(connection, include_rows=include_rows)

    def unpin_snapshots(self, backup_label: str) -> None:
        """Release the snapshots that a backup has pinned.

        Parameters
        ----------
        backup_label
            As for `pin_snapshots_and_open_export`.
        """
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(releases).where(releases.c.label == f"{PIN_LABEL_PREFIX}{backup_label}"))

    def check_empty(self) -> None:
        """Check that the store is empty.

        Raises
        ------
        ConflictError
            The store is not empty.
        """
        with self._database.begin_read() as connection:
            _check_empty(connection)

    def import_rows(
        self, tables: Mapping[str, Sequence[Mapping[str, Any]]], restored_records: Mapping[str, SnapshotRecord]
    ) -> None:
        """Insert the rows of a backup into this store, which must be empty: all or nothing.

        Parameters
        ----------
        tables
            Rows by the name of the store's table.
        restored_records
            Snapshots as they were staged here, by their old id.

        Raises
        ------
        ConflictError
            The store is not empty.
        StorageError
            A row does not fit.
        """
        with self._database.begin_write() as connection:
            _check_empty(connection)
            known_tables = [*metadata.sorted_tables, *list_package_tables()]
            unknown_names = set(tables) - {table.name for table in known_tables}
            if unknown_names:
                raise _build_unknown_table_error(min(unknown_names))
            for table in known_tables:
                rows = tables.get(table.name, ())
                for start in range(0, len(rows), INSERTED_ROWS):
                    batch = [
                        _adapt_restored_row(table.name, dict(row), restored_records)
                        for row in rows[start : start + INSERTED_ROWS]
                    ]
                    connection.execute(sa.insert(table), batch)
            meta = metadata.tables["meta"]
            next_version = sa.cast(sa.cast(meta.c.value, sa.BigInteger) + 1, sa.Text)
            is_counter = meta.c.key.in_(("version", "jobs"))
            connection.execute(sa.update(meta).where(is_counter).values(value=next_version))
            if not self._database.is_sqlite:
                sequence_statement = sa.text(
                    "SELECT setval(pg_get_serial_sequence('events', 'number'), COALESCE((SELECT MAX(number) FROM "
                    "events), 0) + 1, false)"
                )
                connection.execute(sequence_statement)


def _pin_snapshots_and_drop_stale_pins(connection: sa.Connection, backup_label: str) -> None:
    """Pin everything that is published against pruning."""
    trusted_time = compute_trusted_clock_state(connection).trusted_time
    is_pin = releases.c.label.startswith(PIN_LABEL_PREFIX)
    is_stale = releases.c.created < format_timestamp(trusted_time - STALE_PIN_SECONDS)
    connection.execute(sa.delete(releases).where(is_pin, is_stale))
    label = f"{PIN_LABEL_PREFIX}{backup_label}"
    columns = (pointers.c.collection, pointers.c.table_name, pointers.c.snapshot)
    pins = sa.select(*columns, sa.literal(label), sa.literal(format_current_time()))
    connection.execute(
        sa.insert(releases).from_select(["collection", "table_name", "snapshot", "label", "created"], pins)
    )


def _check_empty(connection: sa.Connection) -> None:
    for table in (*metadata.sorted_tables, *list_package_tables()):
        if table.name not in EXCLUDED_TABLES and has_rows(connection, table):
            remedy = "set HVEN_STORE to the address of an empty database, such as postgresql+psycopg://..."
            raise ConflictError("the database of the system state is not empty", remedy=remedy)


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
            self._collect_snapshot_records()
            jobs_query = sa.select(jobs.c.id).order_by(jobs.c.id)
            self.job_ids = list(connection.execute(jobs_query).scalars())

    def _collect_snapshot_records(self) -> None:
        pinned_ids: set[str] = set()
        for table in (pointers, releases):
            pinned_ids |= set(self._connection.execute(sa.select(table.c.snapshot)).scalars())
        for row in self._connection.execute(sa.select(snapshots).order_by(snapshots.c.id)):
            if row.id in pinned_ids:
                self.snapshot_records.append(snapshot_record_from_row(row))
        self._exported_ids = {record.id for record in self.snapshot_records}
        for row in self._connection.execute(sa.select(metadata.tables["user_tables"])):
            self.snapshot_records.append(user_table_record_from_row(row))

    def iterate_tables(self) -> Iterator[tuple[str, Iterator[str]]]:
        """Yield each table's name and its rows as JSON."""
        paused_query = sa.select(schedules.c.paused).where(schedules.c.paused.is_not(None))
        has_paused_schedules = self._connection.execute(paused_query.limit(1)).first() is not None
        excluded_names = set(EXCLUDED_TABLES)
        if not self._include_rows:
            excluded_names |= ROW_DEPENDENT_TABLES
        if not has_paused_schedules:
            excluded_names.add(schedules.name)
        package_tables = list_package_tables_with_rows(self._connection)
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


def _build_unknown_table_error(table_name: str) -> StorageError:
    message = f"the archive has a table {table_name!r} that this version of Hven does not know"
    package = find_package_of_table(table_name)
    if package is None:
        return StorageError(message, remedy="use the version of Hven that wrote the archive")
    remedy = f"add {package!r} to `plugins` in hven.toml or to HVEN_PLUGINS; the table belongs to this plug-in package"
    return StorageError(message, remedy=remedy)


def _adapt_restored_row(
    table_name: str, row: dict[str, Any], restored_records: Mapping[str, SnapshotRecord]
) -> dict[str, Any]:
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

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
from hven.site.store._releases import PIN_LABEL_PREFIX
from hven.site.store._snapshots import SnapshotRecord, record_from_row, record_to_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hven.site.store._database import StateDatabase

STALE_PIN_SECONDS = 2 * 86_400.0  # seconds after which a backup that left its pin has died
# of this moment and of these processes; without `sync_state` and the ledgers the first sync compares everything, and
# writes them anew "descriptors": whoever opens a site writes them anew from its files
EXCLUDED_TABLES = {"leases", "sessions", "retired", "meta", "sync_state", "alerts", "verifications", "descriptors"}
# worth nothing without the rows and files
ROW_DEPENDENT_TABLES = {"snapshots", "pointers", "events", "releases", "user_tables", "jobs"}


def _pin_published_snapshots(connection: sa.Connection, label: str) -> None:
    """Pin everything that is published against pruning."""
    connection.execute(
        sa.delete(releases).where(
            releases.c.label.startswith(PIN_LABEL_PREFIX),
            releases.c.created
            < deletion_time.format_timestamp(
                deletion_time.compute_deletion_time(connection).trusted_time - STALE_PIN_SECONDS
            ),
        )
    )
    values = [
        {
            "collection": row.collection,
            "label": f"{PIN_LABEL_PREFIX}{label}",
            "table_name": row.table_name,
            "snapshot": row.snapshot,
            "created": format_current_time(),
        }
        for row in connection.execute(sa.select(pointers))
    ]
    if values:
        connection.execute(sa.insert(releases), values)


def unpin_snapshots(database: StateDatabase, label: str) -> None:
    """Remove the pin."""
    with database.begin_write() as connection:
        connection.execute(sa.delete(releases).where(releases.c.label == f"{PIN_LABEL_PREFIX}{label}"))


class StateExport:
    """The state of one moment.

    Attributes
    ----------
    snapshot_records
        Every snapshot that goes with it: published, pinned by a release, or a reader's own.
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
            pinned_ids = {row[0] for row in connection.execute(sa.select(pointers.c.snapshot))}
            pinned_ids |= {row[0] for row in connection.execute(sa.select(releases.c.snapshot))}
            self.snapshot_records = [
                record_from_row(row)
                for row in connection.execute(sa.select(snapshots).order_by(snapshots.c.id))
                if row.id in pinned_ids
            ]
            self._exported_ids = {record.id for record in self.snapshot_records}
            self.snapshot_records += [read_user_table_record(row) for row in connection.execute(sa.select(user_tables))]
            self.job_ids = [row[0] for row in connection.execute(sa.select(db.jobs.c.id).order_by(db.jobs.c.id))]

    def iterate_tables(self) -> Iterator[tuple[str, Iterator[str]]]:
        """Yield each table's name and its rows as JSON."""
        paused_schedule = self._connection.execute(
            sa.select(schedules.c.paused).where(schedules.c.paused.is_not(None)).limit(1)
        ).first()
        for table in metadata.sorted_tables:
            if table is schedules and paused_schedule is None:
                continue
            if table.name not in EXCLUDED_TABLES and (self._include_rows or table.name not in ROW_DEPENDENT_TABLES):
                yield table.name, self._iterate_json_lines(table)

    def _iterate_json_lines(self, table: sa.Table) -> Iterator[str]:
        for row in self._connection.execute(sa.select(table).order_by(*table.primary_key.columns)):
            values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
            if table.name == "snapshots" and values["id"] not in self._exported_ids:
                continue
            if table.name == "releases" and values["label"].startswith(PIN_LABEL_PREFIX):
                continue
            if table is schedules:  # when things are due is of this moment, but what somebody paused stays paused
                if values["paused"] is None:
                    continue
                values |= {"holder": None, "asked": None}
            yield json.dumps(values)


class _UserTableRow:
    """A reader's table as `record_from_row` of snapshots reads it."""

    def __init__(self, row: Any) -> None:
        self.id = row.snapshot
        self.record = row.record
        self.collection = "tap_user"
        self.run = row.snapshot
        self.created = row.created


def read_user_table_record(row: Any) -> SnapshotRecord:
    """Read the record of a reader's own table."""
    return record_from_row(_UserTableRow(row))


@contextmanager
def open_export(database: StateDatabase, label: str, *, include_rows: bool) -> Iterator[StateExport]:
    """Open the state of this moment, and pin what is published in it; nothing is written to the store meanwhile."""
    with database.begin_write() as connection:
        if include_rows:
            _pin_published_snapshots(connection, label)
        yield StateExport(connection, include_rows=include_rows)


def check_empty(connection: sa.Connection) -> None:
    """Refuse a store that has something in it.

    Raises
    ------
    ConflictError
        It is somebody's.
    """
    for table in metadata.sorted_tables:
        if table.name in EXCLUDED_TABLES:
            continue
        if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None:
            raise ConflictError(
                "the database of the system state is not empty",
                remedy="name an empty one: HVEN_STORE=postgresql+psycopg://...",
            )


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
        unknown_tables = set(tables) - {table.name for table in metadata.sorted_tables}
        if unknown_tables:
            raise StorageError(
                f"the archive has a table {min(unknown_tables)!r} that this Hven does not know",
                remedy="run the Hven that wrote it",
            )
        for table in metadata.sorted_tables:
            batch: list[dict[str, Any]] = []
            for row in tables.get(table.name, ()):
                batch.append(_adapt_row(table.name, dict(row), restored_records))
                if len(batch) >= 500:
                    connection.execute(sa.insert(table), batch)
                    batch = []
            if batch:
                connection.execute(sa.insert(table), batch)
        version = sa.cast(sa.cast(meta.c.value, sa.BigInteger) + 1, sa.Text)
        connection.execute(sa.update(meta).where(meta.c.key.in_(("version", "jobs"))).values(value=version))
        if not database.is_sqlite:
            sequence_statement = sa.text(
                "SELECT setval(pg_get_serial_sequence('events', 'number'), COALESCE((SELECT MAX(number) FROM "
                "events), 0) + 1, false)"
            )
            connection.execute(sequence_statement)


def _adapt_row(table_name: str, row: dict[str, Any], restored_records: Mapping[str, SnapshotRecord]) -> dict[str, Any]:
    """Return a row as it is here: snapshots have other addresses, and nobody holds a job."""
    if table_name == "snapshots":
        new_row = record_to_row(restored_records[row["id"]])
        return {**row, **{key: new_row[key] for key in ("rows", "bytes", "record")}}
    if table_name == "user_tables":
        new_row = record_to_row(restored_records[row["snapshot"]])
        return {
            **row,
            **{key: new_row[key] for key in ("rows", "bytes", "record")},
            "path": restored_records[row["snapshot"]].snapshot.path,
        }
    if table_name == "jobs" and row.get("phase") == "EXECUTING":
        return {**row, "phase": "QUEUED", "holder": None, "started": None, "progress": "{}"}
    return row

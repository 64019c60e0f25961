"""The system state as rows of JSON: written in one transaction, read back into an empty store of either kind."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import Conflict, StorageError
from hven.site.store import _database as db
from hven.site.store import _deletion_clock as times
from hven.site.store._database import meta, metadata, now, pointers, releases, schedules, snapshots, user_tables
from hven.site.store._releases import PIN
from hven.site.store._snapshots import Record, from_row, to_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hven.site.store._database import Database

DEAD = 2 * 86_400.0  # seconds after which a backup that left its pin has died
# of this moment and of these processes; without `sync_state` and the ledgers the first sync compares everything, and writes them anew
# "descriptors": whoever opens a site writes them anew from its files
NEVER = {"leases", "sessions", "retired", "meta", "sync_state", "alerts", "verifications", "descriptors"}
# worth nothing without the rows and files
OF_ROWS = {"snapshots", "pointers", "events", "releases", "user_tables", "jobs"}


def _pinned(connection: sa.Connection, label: str) -> None:
    """Pin everything that is published against pruning."""
    connection.execute(
        sa.delete(releases).where(
            releases.c.label.startswith(PIN),
            releases.c.created < times.stamp(times.reckoned(connection).believed - DEAD),
        )
    )
    values = [
        {
            "collection": row.collection,
            "label": f"{PIN}{label}",
            "table_name": row.table_name,
            "snapshot": row.snapshot,
            "created": now(),
        }
        for row in connection.execute(sa.select(pointers))
    ]
    if values:
        connection.execute(sa.insert(releases), values)


def unpin(database: Database, label: str) -> None:
    """Remove the pin."""
    with database.writing() as connection:
        connection.execute(sa.delete(releases).where(releases.c.label == f"{PIN}{label}"))


class Export:
    """The state of one moment.

    Attributes
    ----------
    records
        Every snapshot that goes with it: published, pinned by a release, or a reader's own.
    jobs
        Ids of the jobs that have files.
    """

    def __init__(self, connection: sa.Connection, *, rows: bool) -> None:
        self._connection = connection
        self._rows = rows
        self.records: list[Record] = []
        self.jobs: list[str] = []
        self._kept: set[str] = set()
        if rows:
            held = {row[0] for row in connection.execute(sa.select(pointers.c.snapshot))}
            held |= {row[0] for row in connection.execute(sa.select(releases.c.snapshot))}
            self.records = [
                from_row(row)
                for row in connection.execute(sa.select(snapshots).order_by(snapshots.c.id))
                if row.id in held
            ]
            self._kept = {record.id for record in self.records}
            self.records += [own_record(row) for row in connection.execute(sa.select(user_tables))]
            self.jobs = [row[0] for row in connection.execute(sa.select(db.jobs.c.id).order_by(db.jobs.c.id))]

    def tables(self) -> Iterator[tuple[str, Iterator[str]]]:
        """Yield each table's name and its rows as JSON."""
        paused = self._connection.execute(
            sa.select(schedules.c.paused).where(schedules.c.paused.is_not(None)).limit(1)
        ).first()
        for table in metadata.sorted_tables:
            if table is schedules and paused is None:
                continue
            if table.name not in NEVER and (self._rows or table.name not in OF_ROWS):
                yield table.name, self._lines(table)

    def _lines(self, table: sa.Table) -> Iterator[str]:
        for row in self._connection.execute(sa.select(table).order_by(*table.primary_key.columns)):
            values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
            if table.name == "snapshots" and values["id"] not in self._kept:
                continue
            if table.name == "releases" and values["label"].startswith(PIN):
                continue
            if table is schedules:  # when things are due is of this moment, but what somebody paused stays paused
                if values["paused"] is None:
                    continue
                values |= {"holder": None, "asked": None}
            yield json.dumps(values)


class _Row:
    """A reader's table as `from_row` of snapshots reads it."""

    def __init__(self, row: Any) -> None:
        self.id, self.record, self.collection, self.run, self.created = (
            row.snapshot,
            row.record,
            "tap_user",
            row.snapshot,
            row.created,
        )


def own_record(row: Any) -> Record:
    """Read the record of a reader's own table."""
    return from_row(_Row(row))


@contextmanager
def exported(database: Database, label: str, *, rows: bool) -> Iterator[Export]:
    """Open the state of this moment, and pin what is published in it; nothing is written to the store meanwhile."""
    with database.writing() as connection:
        if rows:
            _pinned(connection, label)
        yield Export(connection, rows=rows)


def empty(connection: sa.Connection) -> None:
    """Refuse a store that has something in it.

    Raises
    ------
    Conflict
        It is somebody's.
    """
    for table in metadata.sorted_tables:
        if table.name in NEVER:
            continue
        if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None:
            raise Conflict(
                "the database of the system state is not empty",
                remedy="name an empty one: HVEN_STORE=postgresql+psycopg://...",
            )


def imported(database: Database, tables: Mapping[str, Iterable[Mapping[str, Any]]], made: Mapping[str, Record]) -> None:
    """Insert rows into an empty store, all or nothing.

    Parameters
    ----------
    made
        Id of a snapshot -> its record as it was staged here.

    Raises
    ------
    Conflict
        The store is not empty.
    StorageError
        A row does not fit.
    """
    with database.writing() as connection:
        empty(connection)
        unknown = set(tables) - {table.name for table in metadata.sorted_tables}
        if unknown:
            raise StorageError(
                f"the archive has a table {min(unknown)!r} that this Hven does not know",
                remedy="run the Hven that wrote it",
            )
        for table in metadata.sorted_tables:
            batch: list[dict[str, Any]] = []
            for row in tables.get(table.name, ()):
                batch.append(_now(table.name, dict(row), made))
                if len(batch) >= 500:
                    connection.execute(sa.insert(table), batch)
                    batch = []
            if batch:
                connection.execute(sa.insert(table), batch)
        version = sa.cast(sa.cast(meta.c.value, sa.BigInteger) + 1, sa.Text)
        connection.execute(sa.update(meta).where(meta.c.key.in_(("version", "jobs"))).values(value=version))
        if not database.sqlite:
            most = sa.text(
                "SELECT setval(pg_get_serial_sequence('events', 'number'), COALESCE((SELECT MAX(number) FROM events), 0) + 1, false)"
            )
            connection.execute(most)


def _now(table: str, row: dict[str, Any], made: Mapping[str, Record]) -> dict[str, Any]:
    """Return a row as it is here: snapshots have other addresses, and nobody holds a job."""
    if table == "snapshots":
        fresh = to_row(made[row["id"]])
        return {**row, **{key: fresh[key] for key in ("rows", "bytes", "record")}}
    if table == "user_tables":
        fresh = to_row(made[row["snapshot"]])
        return {
            **row,
            **{key: fresh[key] for key in ("rows", "bytes", "record")},
            "path": made[row["snapshot"]].snapshot.path,
        }
    if table == "jobs" and row.get("phase") == "EXECUTING":
        return {**row, "phase": "QUEUED", "holder": None, "started": None, "progress": "{}"}
    return row

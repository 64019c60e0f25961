"""The tables that readers keep in the service: whose, how large, until when. Apart from `pointers`.

They are no holdings of the site.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import NotFoundError, TooLargeError, UnauthenticatedError
from hven.site.store._database import format_current_time, retired, sessions, user_tables, users, verifications
from hven.site.store._snapshots import SnapshotRecord, record_from_row, record_to_row

if TYPE_CHECKING:
    from typing import Any

    from hven.engines import Snapshot
    from hven.site.store._database import StateDatabase

RETIREMENT_SECONDS = 120.0  # seconds in which queries that know a table that is no more may still begin to read it


class UserTableStore:
    """Every reader's own tables."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def list_owner_tables(self, owner: str) -> list[tuple[SnapshotRecord, str]]:
        """Return the tables of one reader that have not expired, and when they will."""
        query = (
            sa.select(user_tables)
            .where(user_tables.c.owner == owner, user_tables.c.expires > format_current_time())
            .order_by(user_tables.c.name)
        )
        with self._database.begin_read() as connection:
            return [(_record_from_row(row), row.expires) for row in connection.execute(query)]

    def list_user_tables(self) -> list[tuple[SnapshotRecord, str]]:
        """Return everybody's tables, expired ones too."""
        query = sa.select(user_tables).order_by(user_tables.c.owner, user_tables.c.name)
        with self._database.begin_read() as connection:
            return [(_record_from_row(row), row.expires) for row in connection.execute(query)]

    def count_other_rows(self, owner: str, name: str, *, table_limit: int) -> int:
        """Count the rows of the owner's other tables: for a first look, before anything is read.

        Raises
        ------
        TooLargeError
            There are `table_limit` tables already.
        """
        with self._database.begin_read() as connection:
            other_rows = _list_other_rows(connection, owner, name)
        _check_table_count(other_rows, table_limit)
        return sum(row.rows for row in other_rows)

    def save_table(
        self, record: SnapshotRecord, expires: str, *, table_limit: int, row_limit: int, byte_limit: int
    ) -> list[Snapshot]:
        """Record a table (`record.table.owner` says whose), instead of one of the same name.

        Parameters
        ----------
        table_limit, row_limit, byte_limit
            How many tables the owner may keep, and how many rows and bytes all of them may have.

        Returns
        -------
        list of Snapshot
            States of the same table before the last one: the caller drops their files.

        Raises
        ------
        TooLargeError
            The quota is used up; nothing has changed.
        UnauthenticatedError
            The account is gone meanwhile.
        """
        owner = str(record.table.owner)
        name = record.table.name.lower()
        with self._database.begin_write() as connection:
            if not connection.execute(sa.select(users.c.name).where(users.c.name == owner)).first():
                raise UnauthenticatedError("the account is gone")
            other_rows = _list_other_rows(connection, owner, name)
            _check_table_count(other_rows, table_limit)
            check_quota("rows", sum(row.rows for row in other_rows) + record.snapshot.rows, row_limit)
            check_quota("bytes", sum(row.bytes for row in other_rows) + record.snapshot.bytes, byte_limit)
            # one state before the present one may still be read; those before it are let go of, or loading often would
            # fill the disk
            row_conditions = (retired.c.owner == owner, retired.c.name == name)
            older_snapshots = [
                _snapshot_from_row(row) for row in connection.execute(sa.select(retired).where(*row_conditions))
            ]
            connection.execute(sa.delete(retired).where(*row_conditions))
            schedule_table_deletion(connection, sa.and_(user_tables.c.owner == owner, user_tables.c.name == name))
            record_row = record_to_row(record)
            values = {key: record_row[key] for key in ("bytes", "rows", "created", "record")}
            connection.execute(
                sa.insert(user_tables).values(
                    owner=owner, name=name, snapshot=record.id, path=record.snapshot.path, expires=expires, **values
                )
            )
            return older_snapshots

    def delete_table(self, owner: str, name: str) -> None:
        """Forget a table; its files go with a later sweep.

        Raises
        ------
        NotFoundError
            The owner has none of that name.
        """
        with self._database.begin_write() as connection:
            if not schedule_table_deletion(
                connection, sa.and_(user_tables.c.owner == owner, user_tables.c.name == name.lower())
            ):
                raise NotFoundError(f"you have no table {name!r:.120}")

    def set_expiry(self, owner: str, name: str, expires: str) -> None:
        """Set the time when a table goes.

        Raises
        ------
        NotFoundError
            The owner has none of that name.
        """
        row_conditions = (user_tables.c.owner == owner, user_tables.c.name == name.lower())
        with self._database.begin_write() as connection:
            if not connection.execute(sa.update(user_tables).where(*row_conditions).values(expires=expires)).rowcount:
                raise NotFoundError(f"{owner} has no table {name!r:.120}")

    def has_expired(self, time_text: str) -> bool:
        """Return whether `delete_expired` has something to do."""
        with self._database.begin_read() as connection:
            expiry_queries = (
                sa.select(user_tables.c.name).where(user_tables.c.expires <= time_text),
                sa.select(retired.c.name).where(retired.c.until <= time_text),
                sa.select(sessions.c.owner).where(sessions.c.expires <= time_text),
            )
            return any(connection.execute(query.limit(1)).first() is not None for query in expiry_queries)

    def delete_expired(self, time_text: str) -> tuple[int, list[Snapshot]]:
        """Forget every table whose time is over at `time_text`, and every session.

        Returns
        -------
        tuple
            How many tables went, and what nobody can begin to read any more: the caller drops its files.
        """
        if not self.has_expired(time_text):
            return 0, []
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.expires <= time_text))
            count = schedule_table_deletion(connection, user_tables.c.expires <= time_text)
            is_over = retired.c.until <= time_text
            deleted_snapshots = [
                _snapshot_from_row(row) for row in connection.execute(sa.select(retired).where(is_over))
            ]
            connection.execute(sa.delete(retired).where(is_over))
            return count, deleted_snapshots


def schedule_table_deletion(connection: sa.Connection, row_condition: sa.ColumnElement[bool]) -> int:
    """Forget tables, and let their files stay for a moment; part of the caller's transaction."""
    rows = list(connection.execute(sa.select(user_tables).where(row_condition)))
    retired_until = (
        (datetime.now(UTC) + timedelta(seconds=RETIREMENT_SECONDS))
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )
    for row in rows:
        connection.execute(
            sa.insert(retired).values(
                path=row.path, owner=row.owner, name=row.name, until=retired_until, record=row.record
            )
        )
    connection.execute(sa.delete(verifications).where(verifications.c.snapshot.in_([row.snapshot for row in rows])))
    connection.execute(sa.delete(user_tables).where(row_condition))
    return len(rows)


def check_quota(quantity: str, total: int, limit: int) -> None:
    """Check what a reader keeps against the quota.

    Parameters
    ----------
    quantity
        Rows, bytes or tables.
    total
        How many there would be.
    limit
        How many there may be.

    Raises
    ------
    TooLargeError
        It says how much there would be.
    """
    if total > limit:
        raise TooLargeError(
            f"your tables would have {total:,} {quantity}; the limit is {limit:,}",
            remedy="delete what you need no more",
        )


def _list_other_rows(connection: sa.Connection, owner: str, name: str) -> list[Any]:
    rows = connection.execute(
        sa.select(user_tables).where(user_tables.c.owner == owner, user_tables.c.expires > format_current_time())
    )
    return [row for row in rows if row.name != name.lower()]


def _check_table_count(other_rows: list[Any], table_limit: int) -> None:
    if table_limit == 0:
        raise TooLargeError(
            "this service keeps no tables of readers", remedy="send the table with the query: UPLOAD=mine,param:PART"
        )
    if len(other_rows) >= table_limit:
        raise TooLargeError(
            f"you keep {len(other_rows)} tables already; the limit is {table_limit}",
            remedy="delete one that you need no more",
        )


class _SnapshotRow:
    """A row as `record_from_row` of snapshots reads it."""

    def __init__(self, row: Any, snapshot_id: str, created: str) -> None:
        self.id = snapshot_id
        self.record = row.record
        self.collection = "tap_user"
        self.run = snapshot_id
        self.created = created


def _record_from_row(row: Any) -> SnapshotRecord:
    return record_from_row(_SnapshotRow(row, row.snapshot, row.created))


def _snapshot_from_row(row: Any) -> Snapshot:
    return record_from_row(_SnapshotRow(row, "", "")).snapshot

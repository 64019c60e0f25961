"""The tables that users keep in the service: whose they are, how large, and until when they stay.

They are not in `pointers`, because the site does not publish them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.site.store._database import format_current_time, retired, sessions, user_tables, verifications
from hven.site.store._snapshots import SnapshotRecord, snapshot_record_from_row

if TYPE_CHECKING:
    from typing import Any

    from hven.engines import Snapshot
    from hven.site.store._database import StateDatabase

RETIREMENT_SECONDS = 120.0  # queries that began before a table was deleted may still begin to read it for this long


class UserTableStore:
    """The tables of all users."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def list_unexpired_owner_tables(self, owner: str) -> list[tuple[SnapshotRecord, str]]:
        """Return the tables of one user that have not expired, with their times of expiry."""
        is_current = user_tables.c.expires > format_current_time()
        query = sa.select(user_tables).where(user_tables.c.owner == owner, is_current)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(user_tables.c.name))
            return [(user_table_record_from_row(row), row.expires) for row in rows]

    def list_tables_with_expiry(self) -> list[tuple[SnapshotRecord, str]]:
        """Return the tables of all users with their times of expiry, including expired ones."""
        query = sa.select(user_tables).order_by(user_tables.c.owner, user_tables.c.name)
        with self._database.begin_read() as connection:
            return [(user_table_record_from_row(row), row.expires) for row in connection.execute(query)]

    def is_expiry_cleanup_due(self, time_text: str) -> bool:
        """Return whether `delete_expired_tables_and_sessions` has something to do."""
        expiry_queries = (
            sa.select(user_tables.c.name).where(user_tables.c.expires <= time_text),
            sa.select(retired.c.name).where(retired.c.until <= time_text),
            sa.select(sessions.c.owner).where(sessions.c.expires <= time_text),
        )
        with self._database.begin_read() as connection:
            return any(connection.execute(query.limit(1)).first() is not None for query in expiry_queries)

    def delete_expired_tables_and_sessions(self, time_text: str) -> tuple[int, list[Snapshot]]:
        """Delete every table and every session that has expired by `time_text`.

        Returns
        -------
        tuple
            Number of deleted tables, and the snapshots that no query can begin to read any more: the caller drops
            their files.
        """
        if not self.is_expiry_cleanup_due(time_text):
            return 0, []
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.expires <= time_text))
            count = schedule_table_deletion(connection, user_tables.c.expires <= time_text)
            is_over = retired.c.until <= time_text
            retired_rows = connection.execute(sa.select(retired).where(is_over))
            deleted_snapshots = [retired_snapshot_from_row(row) for row in retired_rows]
            connection.execute(sa.delete(retired).where(is_over))
            return count, deleted_snapshots


def schedule_table_deletion(connection: sa.Connection, row_condition: sa.ColumnElement[bool]) -> int:
    """Delete tables of users in the caller's transaction; queries may read them for `RETIREMENT_SECONDS` more.

    Parameters
    ----------
    connection
        Connection of the transaction.
    row_condition
        Condition on rows of `user_tables`.

    Returns
    -------
    count
        Number of deleted tables. A later sweep removes their files.
    """
    rows = list(connection.execute(sa.select(user_tables).where(row_condition)))
    retired_until = datetime.now(UTC) + timedelta(seconds=RETIREMENT_SECONDS)
    until_text = retired_until.isoformat(timespec="microseconds").replace("+00:00", "Z")
    for row in rows:
        values = {"path": row.path, "owner": row.owner, "name": row.name, "until": until_text, "record": row.record}
        connection.execute(sa.insert(retired).values(values))
    snapshot_ids = [row.snapshot for row in rows]
    connection.execute(sa.delete(verifications).where(verifications.c.snapshot.in_(snapshot_ids)))
    connection.execute(sa.delete(user_tables).where(row_condition))
    return len(rows)


class _UserTableSnapshotRow:
    """A row of a user's table, as `snapshot_record_from_row` of snapshots reads it."""

    def __init__(self, row: Any, snapshot_id: str, created: str) -> None:
        self.id = snapshot_id
        self.record = row.record
        self.collection = "tap_user"
        self.run = snapshot_id
        self.created = created


def user_table_record_from_row(row: Any) -> SnapshotRecord:
    """Convert a row of `user_tables` to a record.

    Parameters
    ----------
    row
        An object with the columns as attributes.

    Returns
    -------
    record
        The record.
    """
    return snapshot_record_from_row(_UserTableSnapshotRow(row, row.snapshot, row.created))


def retired_snapshot_from_row(row: Any) -> Snapshot:
    """Convert a row of `retired` to a snapshot.

    Parameters
    ----------
    row
        An object with the columns as attributes.

    Returns
    -------
    snapshot
        A state of a table that is no longer the present one.
    """
    return snapshot_record_from_row(_UserTableSnapshotRow(row, "", "")).snapshot

"""The tables that users keep in the service: whose they are, how large, and until when they stay.

They are not in `pointers`, because the site does not publish them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import NotFoundError, TooLargeError, UnauthenticatedError
from hven.site.store._database import format_current_time, retired, sessions, user_tables, users, verifications
from hven.site.store._snapshots import SnapshotRecord, snapshot_record_from_row, snapshot_record_to_row

if TYPE_CHECKING:
    from typing import Any

    from hven.engines import Snapshot
    from hven.site.store._database import StateDatabase

RETIREMENT_SECONDS = 120.0  # queries that began before a table was deleted may still begin to read it for this long


class UserTableStore:
    """The tables of all users."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def list_owner_tables(self, owner: str) -> list[tuple[SnapshotRecord, str]]:
        """Return the tables of one user that have not expired, with their times of expiry."""
        is_current = user_tables.c.expires > format_current_time()
        query = sa.select(user_tables).where(user_tables.c.owner == owner, is_current)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(user_tables.c.name))
            return [(user_table_record_from_row(row), row.expires) for row in rows]

    def list_user_tables(self) -> list[tuple[SnapshotRecord, str]]:
        """Return the tables of all users with their times of expiry, including expired ones."""
        query = sa.select(user_tables).order_by(user_tables.c.owner, user_tables.c.name)
        with self._database.begin_read() as connection:
            return [(user_table_record_from_row(row), row.expires) for row in connection.execute(query)]

    def count_rows_of_other_tables(self, owner: str, table_name: str, *, table_limit: int) -> int:
        """Count the rows of the owner's other tables, as a first check before an upload is read.

        Raises
        ------
        TooLargeError
            There are `table_limit` tables already.
        """
        with self._database.begin_read() as connection:
            other_rows = _list_other_table_rows(connection, owner, table_name)
        _check_table_count(other_rows, table_limit)
        return sum(row.rows for row in other_rows)

    def save_table(
        self, record: SnapshotRecord, expires: str, *, table_limit: int, row_limit: int, byte_limit: int
    ) -> list[Snapshot]:
        """Record a table of the user `record.table.owner`; it replaces one of the same name.

        Parameters
        ----------
        table_limit, row_limit, byte_limit
            How many tables the owner may keep, and how many rows and bytes all of them may have.

        Returns
        -------
        list of Snapshot
            Earlier states of the same table, without the last one: the caller drops their files.

        Raises
        ------
        TooLargeError
            The quota is used up; nothing has changed.
        UnauthenticatedError
            The account has been removed in the meantime.
        """
        owner = str(record.table.owner)
        name = record.table.name.lower()
        with self._database.begin_write() as connection:
            if not connection.execute(sa.select(users.c.name).where(users.c.name == owner)).first():
                raise UnauthenticatedError("the account no longer exists")
            other_rows = _list_other_table_rows(connection, owner, name)
            _check_table_count(other_rows, table_limit)
            check_quota("rows", sum(row.rows for row in other_rows) + record.snapshot.rows, row_limit)
            check_quota("bytes", sum(row.bytes for row in other_rows) + record.snapshot.bytes, byte_limit)
            # queries may still read the last state; earlier ones go now, or frequent uploads would fill the disk
            is_retired_state = sa.and_(retired.c.owner == owner, retired.c.name == name)
            retired_rows = connection.execute(sa.select(retired).where(is_retired_state))
            older_snapshots = [_snapshot_from_row(row) for row in retired_rows]
            connection.execute(sa.delete(retired).where(is_retired_state))
            schedule_table_deletion(connection, _build_user_table_condition(owner, name))
            record_row = snapshot_record_to_row(record)
            values = {key: record_row[key] for key in ("bytes", "rows", "created", "record")}
            values |= {"owner": owner, "name": name, "snapshot": record.id}
            values |= {"path": record.snapshot.path, "expires": expires}
            connection.execute(sa.insert(user_tables).values(values))
            return older_snapshots

    def delete_table(self, owner: str, table_name: str) -> None:
        """Delete a table from the store; a later sweep removes its files.

        Raises
        ------
        NotFoundError
            The owner has no table of that name.
        """
        with self._database.begin_write() as connection:
            deleted_count = schedule_table_deletion(connection, _build_user_table_condition(owner, table_name.lower()))
            if not deleted_count:
                raise NotFoundError(f"you have no table {table_name!r:.120}")

    def set_expiry(self, owner: str, table_name: str, expires: str) -> None:
        """Set the time at which a table expires.

        Raises
        ------
        NotFoundError
            The owner has no table of that name.
        """
        statement = (
            sa.update(user_tables).where(_build_user_table_condition(owner, table_name.lower())).values(expires=expires)
        )
        with self._database.begin_write() as connection:
            if not connection.execute(statement).rowcount:
                raise NotFoundError(f"{owner} has no table {table_name!r:.120}")

    def has_expired_entries(self, time_text: str) -> bool:
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
        if not self.has_expired_entries(time_text):
            return 0, []
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.expires <= time_text))
            count = schedule_table_deletion(connection, user_tables.c.expires <= time_text)
            is_over = retired.c.until <= time_text
            retired_rows = connection.execute(sa.select(retired).where(is_over))
            deleted_snapshots = [_snapshot_from_row(row) for row in retired_rows]
            connection.execute(sa.delete(retired).where(is_over))
            return count, deleted_snapshots


def schedule_table_deletion(connection: sa.Connection, row_condition: sa.ColumnElement[bool]) -> int:
    """Delete tables in the caller's transaction; their files stay for `RETIREMENT_SECONDS`. Return how many went."""
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


def check_quota(quantity: str, total: int, limit: int) -> None:
    """Check the total of a user's tables against the quota.

    Parameters
    ----------
    quantity
        Rows, bytes or tables.
    total
        How many the tables would have.
    limit
        How many they may have.

    Raises
    ------
    TooLargeError
        The total exceeds the limit; the message says both.
    """
    if total > limit:
        raise TooLargeError(
            f"your tables would have {total:,} {quantity}; the limit is {limit:,}",
            remedy="delete tables that you no longer need",
        )


def _build_user_table_condition(owner: str, table_name: str) -> sa.ColumnElement[bool]:
    return sa.and_(user_tables.c.owner == owner, user_tables.c.name == table_name)


def _list_other_table_rows(connection: sa.Connection, owner: str, table_name: str) -> list[Any]:
    is_current = user_tables.c.expires > format_current_time()
    rows = connection.execute(sa.select(user_tables).where(user_tables.c.owner == owner, is_current))
    return [row for row in rows if row.name != table_name.lower()]


def _check_table_count(other_table_rows: list[Any], table_limit: int) -> None:
    if table_limit == 0:
        remedy = "send the table with the query, as UPLOAD=mine,param:PART"
        raise TooLargeError("users cannot store tables on this service", remedy=remedy)
    if len(other_table_rows) >= table_limit:
        message = f"you already have {len(other_table_rows)} tables; the limit is {table_limit}"
        raise TooLargeError(message, remedy="delete a table that you no longer need")


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


def _snapshot_from_row(row: Any) -> Snapshot:
    return snapshot_record_from_row(_UserTableSnapshotRow(row, "", "")).snapshot

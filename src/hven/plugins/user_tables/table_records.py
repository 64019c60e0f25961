"""What users' own tables add to the system state: a quota for each owner, and the time at which each table expires.

Reading them, and deleting those of an account or those that have expired, is a part of the core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import NotFoundError, TooLargeError, UnauthenticatedError
from hven.site.api.state_tables import (
    metadata,
    retired_snapshot_from_row,
    schedule_table_deletion,
    snapshot_record_to_row,
)
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from typing import Any

    from hven.engines import Snapshot
    from hven.model.settings import QueryLimits
    from hven.site.api.state_tables import StateDatabase
    from hven.site.store import SnapshotRecord

retired, user_tables, users = (metadata.tables[name] for name in ("retired", "user_tables", "users"))


class UserTableRecordWriter:
    """Writes the records of users' tables.

    Parameters
    ----------
    database
        The system state.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def check_table_limit_and_sum_other_rows(self, owner: str, table_name: str, limits: QueryLimits) -> int:
        """Count the rows of the owner's other tables, as a first check before an upload is read.

        Raises
        ------
        TooLargeError
            There are too many tables already.
        """
        with self._database.begin_read() as connection:
            other_rows = _list_other_table_records(connection, owner, table_name)
        _check_table_count(other_rows, limits.user_tables)
        return sum(row.rows for row in other_rows)

    def check_quotas_and_replace_table_record(
        self, record: SnapshotRecord, expires: str, limits: QueryLimits
    ) -> list[Snapshot]:
        """Record a table of the user `record.table.owner`; it replaces one of the same name.

        Parameters
        ----------
        record
            The table and its rows.
        expires
            The time at which it expires.
        limits
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
            other_rows = _list_other_table_records(connection, owner, name)
            _check_table_count(other_rows, limits.user_tables)
            check_quota("rows", sum(row.rows for row in other_rows) + record.snapshot.rows, limits.user_rows)
            check_quota("bytes", sum(row.bytes for row in other_rows) + record.snapshot.bytes, limits.user_bytes)
            # queries may still read the last state; earlier ones go now, or frequent uploads would fill the disk
            is_retired_state = sa.and_(retired.c.owner == owner, retired.c.name == name)
            retired_rows = connection.execute(sa.select(retired).where(is_retired_state))
            older_snapshots = [retired_snapshot_from_row(row) for row in retired_rows]
            connection.execute(sa.delete(retired).where(is_retired_state))
            schedule_table_deletion(connection, _build_user_table_condition(owner, name))
            record_row = snapshot_record_to_row(record)
            values = {key: record_row[key] for key in ("bytes", "rows", "created", "record")}
            values |= {"owner": owner, "name": name, "snapshot": record.id}
            values |= {"path": record.snapshot.path, "expires": expires}
            connection.execute(sa.insert(user_tables).values(values))
            return older_snapshots

    def delete_table_record(self, owner: str, table_name: str) -> None:
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
                raise NotFoundError(f"the user {owner!r} has no table {table_name!r:.120}")


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
            f"you would have {total:,} {quantity} in total; the limit is {limit:,}",
            remedy="delete tables that you no longer need",
        )


def _build_user_table_condition(owner: str, table_name: str) -> sa.ColumnElement[bool]:
    return sa.and_(user_tables.c.owner == owner, user_tables.c.name == table_name)


def _list_other_table_records(connection: sa.Connection, owner: str, table_name: str) -> list[Any]:
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

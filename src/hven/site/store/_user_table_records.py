"""The tables that readers keep in the service: whose, how large, until when. Apart from `pointers`: they are no holdings of the site."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import NotFound, TooLarge, Unauthenticated
from hven.site.store._database import now, retired, sessions, user_tables, users, verifications
from hven.site.store._snapshots import Record, from_row, to_row

if TYPE_CHECKING:
    from typing import Any

    from hven.engines import Snapshot
    from hven.site.store._database import Database

GRACE = 120.0  # seconds in which queries that know a table that is no more may still begin to read it


class UserTables:
    """Every reader's own tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, owner: str) -> list[tuple[Record, str]]:
        """Return the tables of one reader that have not expired, and when they will."""
        query = (
            sa.select(user_tables)
            .where(user_tables.c.owner == owner, user_tables.c.expires > now())
            .order_by(user_tables.c.name)
        )
        with self._database.reading() as connection:
            return [(_record(row), row.expires) for row in connection.execute(query)]

    def all(self) -> list[tuple[Record, str]]:
        """Return everybody's tables, expired ones too."""
        query = sa.select(user_tables).order_by(user_tables.c.owner, user_tables.c.name)
        with self._database.reading() as connection:
            return [(_record(row), row.expires) for row in connection.execute(query)]

    def beside(self, owner: str, name: str, *, most: int) -> int:
        """Count the rows of the owner's other tables: for a first look, before anything is read.

        Raises
        ------
        TooLarge
            There are `most` tables already.
        """
        with self._database.reading() as connection:
            others = _others(connection, owner, name)
        _check_number(others, most)
        return sum(row.rows for row in others)

    def put(self, record: Record, expires: str, *, most: int, most_rows: int, most_bytes: int) -> list[Snapshot]:
        """Record a table (`record.table.owner` says whose), instead of one of the same name.

        Parameters
        ----------
        most, most_rows, most_bytes
            How many tables the owner may keep, and how many rows and bytes all of them may have.

        Returns
        -------
        list of Snapshot
            States of the same table before the last one: the caller drops their files.

        Raises
        ------
        TooLarge
            The quota is used up; nothing has changed.
        Unauthenticated
            The account is gone meanwhile.
        """
        owner, name = str(record.table.owner), record.table.name.lower()
        with self._database.writing() as connection:
            if not connection.execute(sa.select(users.c.name).where(users.c.name == owner)).first():
                raise Unauthenticated("the account is gone")
            others = _others(connection, owner, name)
            _check_number(others, most)
            check_room("rows", sum(row.rows for row in others) + record.snapshot.rows, most_rows)
            check_room("bytes", sum(row.bytes for row in others) + record.snapshot.bytes, most_bytes)
            # one state before the present one may still be read; those before it are let go of, or loading often would fill the disk
            which = (retired.c.owner == owner, retired.c.name == name)
            older = [_snapshot(row) for row in connection.execute(sa.select(retired).where(*which))]
            connection.execute(sa.delete(retired).where(*which))
            retire(connection, sa.and_(user_tables.c.owner == owner, user_tables.c.name == name))
            made = to_row(record)
            values = {key: made[key] for key in ("bytes", "rows", "created", "record")}
            connection.execute(
                sa.insert(user_tables).values(
                    owner=owner, name=name, snapshot=record.id, path=record.snapshot.path, expires=expires, **values
                )
            )
            return older

    def drop(self, owner: str, name: str) -> None:
        """Forget a table; its files go with a later sweep.

        Raises
        ------
        NotFound
            The owner has none of that name.
        """
        with self._database.writing() as connection:
            if not retire(connection, sa.and_(user_tables.c.owner == owner, user_tables.c.name == name.lower())):
                raise NotFound(f"you have no table {name!r:.120}")

    def keep_until(self, owner: str, name: str, expires: str) -> None:
        """Set the time when a table goes.

        Raises
        ------
        NotFound
            The owner has none of that name.
        """
        which = (user_tables.c.owner == owner, user_tables.c.name == name.lower())
        with self._database.writing() as connection:
            if not connection.execute(sa.update(user_tables).where(*which).values(expires=expires)).rowcount:
                raise NotFound(f"{owner} has no table {name!r:.120}")

    def due(self, moment: str) -> bool:
        """Return whether `expire` has something to do."""
        with self._database.reading() as connection:
            over = (
                sa.select(user_tables.c.name).where(user_tables.c.expires <= moment),
                sa.select(retired.c.name).where(retired.c.until <= moment),
                sa.select(sessions.c.owner).where(sessions.c.expires <= moment),
            )
            return any(connection.execute(query.limit(1)).first() is not None for query in over)

    def expire(self, moment: str) -> tuple[int, list[Snapshot]]:
        """Forget every table whose time is over at `moment`, and every session.

        Returns
        -------
        tuple
            How many tables went, and what nobody can begin to read any more: the caller drops its files.
        """
        if not self.due(moment):
            return 0, []
        with self._database.writing() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.expires <= moment))
            count = retire(connection, user_tables.c.expires <= moment)
            over = retired.c.until <= moment
            gone = [_snapshot(row) for row in connection.execute(sa.select(retired).where(over))]
            connection.execute(sa.delete(retired).where(over))
            return count, gone


def retire(connection: sa.Connection, which: sa.ColumnElement[bool]) -> int:
    """Forget tables, and let their files stay for a moment; part of the caller's transaction."""
    rows = list(connection.execute(sa.select(user_tables).where(which)))
    until = (datetime.now(UTC) + timedelta(seconds=GRACE)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    for row in rows:
        connection.execute(
            sa.insert(retired).values(path=row.path, owner=row.owner, name=row.name, until=until, record=row.record)
        )
    connection.execute(sa.delete(verifications).where(verifications.c.snapshot.in_([row.snapshot for row in rows])))
    connection.execute(sa.delete(user_tables).where(which))
    return len(rows)


def check_room(what: str, wanted: int, most: int) -> None:
    """Check what a reader keeps against the quota.

    Parameters
    ----------
    what
        Rows, bytes or tables.
    wanted
        How many there would be.
    most
        How many there may be.

    Raises
    ------
    TooLarge
        It says how much there would be.
    """
    if wanted > most:
        raise TooLarge(
            f"your tables would have {wanted:,} {what}; the limit is {most:,}", remedy="delete what you need no more"
        )


def _others(connection: sa.Connection, owner: str, name: str) -> list[Any]:
    rows = connection.execute(sa.select(user_tables).where(user_tables.c.owner == owner, user_tables.c.expires > now()))
    return [row for row in rows if row.name != name.lower()]


def _check_number(others: list[Any], most: int) -> None:
    if most == 0:
        raise TooLarge(
            "this service keeps no tables of readers", remedy="send the table with the query: UPLOAD=mine,param:PART"
        )
    if len(others) >= most:
        raise TooLarge(
            f"you keep {len(others)} tables already; the limit is {most}", remedy="delete one that you need no more"
        )


class _Row:
    """A row as `from_row` of snapshots reads it."""

    def __init__(self, row: Any, name: str, created: str) -> None:
        self.id, self.record, self.collection, self.run, self.created = name, row.record, "tap_user", name, created


def _record(row: Any) -> Record:
    return from_row(_Row(row, row.snapshot, row.created))


def _snapshot(row: Any) -> Snapshot:
    return from_row(_Row(row, "", "")).snapshot

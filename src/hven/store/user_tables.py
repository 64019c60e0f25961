"""The tables that readers keep in the service: whose, how large, until when. Apart from `pointers`: they are no holdings of the site."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.errors import NotFound, TooLarge, Unauthenticated
from hven.store.database import now, user_tables, users
from hven.store.snapshots import Record, from_row, to_row

if TYPE_CHECKING:
    from typing import Any

    from hven.engines import Snapshot
    from hven.store.database import Database

GRACE = 5.0  # seconds in which processes may still begin to read a table whose time is over


class UserTables:
    """Every reader's own tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, owner: str) -> list[tuple[Record, str]]:
        """Give the tables of one reader that have not expired, and when they will."""
        query = sa.select(user_tables).where(user_tables.c.owner == owner, user_tables.c.expires > now()).order_by(user_tables.c.name)
        with self._database.reading() as connection:
            return [(_record(row), row.expires) for row in connection.execute(query)]

    def all(self) -> list[tuple[Record, str]]:
        """Give everybody's tables, expired ones too."""
        query = sa.select(user_tables).order_by(user_tables.c.owner, user_tables.c.name)
        with self._database.reading() as connection:
            return [(_record(row), row.expires) for row in connection.execute(query)]

    def put(self, record: Record, expires: str, *, most: int, most_bytes: int) -> Snapshot | None:
        """Keep a table (`record.table.owner` says whose), instead of one of the same name.

        Parameters
        ----------
        most, most_bytes
            How many tables the owner may keep, and how many bytes all of them may have.

        Returns
        -------
        Snapshot or None
            The one that it replaces: the caller drops its files.

        Raises
        ------
        TooLarge
            The quota is used up; nothing has changed.
        Unauthenticated
            The account is gone meanwhile.
        """
        owner, name = record.table.owner, record.table.name.lower()
        with self._database.writing() as connection:
            if not connection.execute(sa.select(users.c.name).where(users.c.name == owner)).first():
                raise Unauthenticated("the account is gone")
            rows = list(connection.execute(sa.select(user_tables).where(user_tables.c.owner == owner)))
            others = [row for row in rows if row.name != name and row.expires > now()]
            if len(others) >= most:
                raise TooLarge(f"you keep {len(others)} tables already; the limit is {most}", remedy="delete one that you need no more")
            total = sum(row.bytes for row in others) + record.snapshot.bytes
            if total > most_bytes:
                raise TooLarge(
                    f"your tables would take {total:,} bytes; the limit is {most_bytes:,}", remedy="delete what you need no more"
                )
            before = next((row for row in rows if row.name == name), None)
            connection.execute(sa.delete(user_tables).where(user_tables.c.owner == owner, user_tables.c.name == name))
            made = to_row(record)
            values = {key: made[key] for key in ("bytes", "rows", "created", "record")}
            connection.execute(
                sa.insert(user_tables).values(
                    owner=owner, name=name, snapshot=record.id, path=record.snapshot.path, expires=expires, **values
                )
            )
            return _record(before).snapshot if before is not None else None

    def drop(self, owner: str, name: str) -> Snapshot:
        """Forget a table; the caller drops its files.

        Raises
        ------
        NotFound
            The owner has none of that name.
        """
        which = (user_tables.c.owner == owner, user_tables.c.name == name.lower())
        with self._database.writing() as connection:
            row = connection.execute(sa.select(user_tables).where(*which)).first()
            if row is None:
                raise NotFound(f"you have no table {name!r:.120}")
            connection.execute(sa.delete(user_tables).where(*which))
            return _record(row).snapshot

    def expire(self) -> list[Snapshot]:
        """Forget every table whose time is over; the caller drops their files."""
        limit = datetime.now(UTC) - timedelta(seconds=GRACE)
        over = user_tables.c.expires <= limit.isoformat(timespec="microseconds").replace("+00:00", "Z")
        with self._database.reading() as connection:
            if connection.execute(sa.select(user_tables.c.name).where(over).limit(1)).first() is None:
                return []
        with self._database.writing() as connection:
            gone = [_record(row).snapshot for row in connection.execute(sa.select(user_tables).where(over))]
            connection.execute(sa.delete(user_tables).where(user_tables.c.snapshot.in_([item.id for item in gone])))
            return gone


class _Row:
    """A row as `from_row` of snapshots reads it."""

    def __init__(self, row: Any) -> None:
        self.id, self.record, self.collection, self.run, self.created = row.snapshot, row.record, "tap_user", row.snapshot, row.created


def _record(row: Any) -> Record:
    return from_row(_Row(row))

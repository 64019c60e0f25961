"""What was pushed into tables: who did it, when, what was answered; and the rows themselves, which are nowhere else.

A push is committed in the transaction that publishes what it makes of its table, so that the two never disagree. The rows of a push are a *piece*:
an Arrow stream with the whole rows as clients sent them and the keys that went. Pieces lie on each other; small ones are put together as they come.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa

from hven.model.errors import StorageError
from hven.site.store import _leases as leasing
from hven.site.store._database import following, now, pushed, pushes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.site.store._database import Database
    from hven.site.store._leases import Lease

REMEMBERED = 64 * 1024**2  # bytes of pieces that a process keeps in memory
NOTHING = "none"  # the state of a table into which nothing was pushed


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One write by a client.

    Attributes
    ----------
    number
        Grows with each; 0: it is not committed yet.
    run
        Id of the run that published it; it names the state of the table after it, too.
    table, collection
        Of which it is.
    at
        ISO time, UTC.
    by
        The account.
    action
        ``POST``, ``PUT``, ``DELETE``.
    rows, removed
        How many came or were changed; how many went.
    token
        Idempotency-Key of the request; empty: it had none.
    digest
        Of what was asked.
    top
        Largest number that the server gave as a key so far.
    answer
        What the client was told.
    piece
        The rows and keys; None: of one that is told of.
    """

    number: int = 0
    run: str
    table: str
    collection: str
    at: str = ""
    by: str
    action: str
    rows: int = 0
    removed: int = 0
    token: str = ""
    digest: str = ""
    top: int = 0
    answer: Mapping[str, Any] = field(default_factory=dict)
    piece: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class _Piece:
    first: int
    last: int
    rows: int


class Pushes:
    """The pushes of a store.

    Common
    ------
    table
        ``schema.table``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read: OrderedDict[tuple[str, int, int], pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def state(self, table: str) -> str:
        """Return the name of the state that a table's pushed rows are in."""
        query = sa.select(pushes.c.run).where(pushes.c.table_name == table).order_by(pushes.c.number.desc()).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).scalar() or NOTHING

    def top(self, table: str) -> int:
        """Return the largest number that was given as a key."""
        with self._database.reading() as connection:
            query = sa.select(sa.func.max(pushes.c.top)).where(pushes.c.table_name == table)
            return int(connection.execute(query).scalar() or 0)

    def pieces(self, table: str, since: str = NOTHING) -> list[pa.Table] | None:
        """Return the rows and keys that were pushed.

        Parameters
        ----------
        since
            A state: what came after it, and perhaps some of what came before.

        Returns
        -------
        pieces
            The oldest first; None: there was no such state, or what came after it is not told apart any more.
        """
        with self._database.reading() as connection:
            known = _pieces(connection, table)
            after = 0
            if since != NOTHING:
                query = sa.select(pushes.c.number).where(pushes.c.table_name == table, pushes.c.run == since)
                found = connection.execute(query).scalar()
                if found is None:
                    return None
                after = int(found)
                # keys that went are not kept in the lowest piece
                if known and known[0].first < known[0].last > after:
                    return None
            return [self._piece(connection, table, one) for one in known if one.last > after]

    def _piece(self, connection: sa.Connection, table: str, one: _Piece) -> pa.Table:
        key = (table, one.first, one.last)
        with self._lock:
            found = self._read.get(key)
        if found is None:
            query = sa.select(pushed.c.body).where(pushed.c.table_name == table, pushed.c.last == one.last)
            body = connection.execute(query).scalar_one()
            try:
                with pa.ipc.open_stream(base64.b64decode(body)) as stream:
                    found = stream.read_all()
            except (ValueError, pa.ArrowException) as error:
                raise StorageError(
                    f"rows that were pushed into {table} are damaged: {error}", remedy="restore a backup of the site"
                ) from error
        with self._lock:
            self._read[key] = found
            self._read.move_to_end(key)
            while len(self._read) > 1 and sum(piece.nbytes for piece in self._read.values()) > REMEMBERED:
                self._read.popitem(last=False)
        return found

    def found(self, table: str, *, run: str = "", token: str = "", digest: str = "") -> Push | None:
        """Find a push by its run; the last one with an Idempotency-Key; without one, the last one that asked the same.

        Parameters
        ----------
        run, token, digest
            As `Push` has them.

        Returns
        -------
        push
            Without its rows; None: there is none.
        """
        which = pushes.c.run == run if run else pushes.c.token == token if token else pushes.c.digest == digest
        query = sa.select(pushes).where(pushes.c.table_name == table, which).order_by(pushes.c.number.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else _push(row)

    def history(self, table: str, *, most: int = 100, before: int | None = None) -> list[Push]:
        """List the writes of a table, the newest first.

        Parameters
        ----------
        most
            So many.
        before
            Only those with a smaller number.

        Returns
        -------
        pushes
            Without their rows.
        """
        query = sa.select(pushes).where(pushes.c.table_name == table)
        if before is not None:
            query = query.where(pushes.c.number < before)
        with self._database.reading() as connection:
            return [_push(row) for row in connection.execute(query.order_by(pushes.c.number.desc()).limit(most))]

    def add(self, push: Push, lease: Lease) -> None:
        """Commit a push that changes nothing of what is published.

        Parameters
        ----------
        push
            With its piece.
        lease
            Of the collection.

        Raises
        ------
        Conflict
            The lease was lost.
        """
        with self._database.writing() as connection:
            leasing.check(connection, lease)
            insert(connection, push)

    def compact(self, table: str, fold: Callable[[Sequence[pa.Table], bool], pa.Table], lease: Lease) -> None:
        """Put small pieces together, so that there are few: each row is written anew a few times in all.

        Parameters
        ----------
        fold
            Makes one piece of several, the oldest first; True: nothing lies below, keys that went need not be kept.
        lease
            Of the collection.
        """
        with self._database.reading() as connection:
            known = _pieces(connection, table)
            at = len(known) - 1
            size = known[at].rows if known else 0
            while at > 0 and known[at - 1].rows <= 2 * size:
                at -= 1
                size += known[at].rows
            some = known[at:]
            if len(some) < 2:
                return
            parts = [self._piece(connection, table, one) for one in some]
        made = fold(parts, at == 0)
        with self._database.writing() as connection:
            leasing.check(connection, lease)
            gone = pushed.c.last.in_([one.last for one in some])
            connection.execute(sa.delete(pushed).where(pushed.c.table_name == table, gone))
            _put(connection, table, _Piece(some[0].first, some[-1].last, made.num_rows), made)


def insert(connection: sa.Connection, push: Push) -> None:
    """Commit a push: part of the transaction that publishes it."""
    number = following(connection, pushes)
    names = ("run", "by", "action", "rows", "removed", "token", "digest", "top", "collection")
    values = {name: getattr(push, name) for name in names}
    said = json.dumps(dict(push.answer), default=str)
    connection.execute(
        sa.insert(pushes).values(number=number, table_name=push.table, at=push.at or now(), answer=said, **values)
    )
    if push.piece is not None:
        _put(connection, push.table, _Piece(number, number, push.piece.num_rows), push.piece)


def _put(connection: sa.Connection, table: str, one: _Piece, rows: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(rows)
    body = base64.b64encode(sink.getvalue()).decode("ascii")
    values = {"first": one.first, "last": one.last, "rows": one.rows, "body": body}
    connection.execute(sa.insert(pushed).values(table_name=table, **values))


def _pieces(connection: sa.Connection, table: str) -> list[_Piece]:
    columns = (pushed.c.first, pushed.c.last, pushed.c.rows)
    query = sa.select(*columns).where(pushed.c.table_name == table).order_by(pushed.c.last)
    return [_Piece(row.first, row.last, row.rows) for row in connection.execute(query)]


def _push(row: Any) -> Push:
    names = ("number", "run", "collection", "at", "by", "action", "rows", "removed", "token", "digest", "top")
    values = {name: getattr(row, name) for name in names}
    return Push(**values, table=row.table_name, answer=json.loads(row.answer))


__all__ = ["NOTHING", "Push", "Pushes", "insert"]

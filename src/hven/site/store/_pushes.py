"""What was pushed into tables: who did it, when, what was answered; and the rows themselves, which are nowhere else.

A push is committed in the transaction that publishes what it makes of its table, so that the two never disagree. The
rows of a push are a *piece*: an Arrow stream with the whole rows as clients sent them and the keys that went. Pieces
lie on each other; small ones are put together as they come.
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
from hven.site.store import _leases as leases
from hven.site.store._database import format_current_time, get_next_number, pushed, pushes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.site.store._database import StateDatabase
    from hven.site.store._leases import Lease

MAX_CACHED_PIECE_BYTES = 64 * 1024**2  # bytes of pieces that a process keeps in memory
EMPTY_STATE = "none"  # the state of a table into which nothing was pushed


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPush:
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
class _PushedPiece:
    first: int
    last: int
    rows: int


class PushStore:
    """The pushes of a store.

    Common
    ------
    table
        ``schema.table``.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database
        self._cached_pieces: OrderedDict[tuple[str, int, int], pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def find_state_name(self, table: str) -> str:
        """Return the name of the state that a table's pushed rows are in."""
        query = sa.select(pushes.c.run).where(pushes.c.table_name == table).order_by(pushes.c.number.desc()).limit(1)
        with self._database.begin_read() as connection:
            return connection.execute(query).scalar() or EMPTY_STATE

    def find_largest_key(self, table: str) -> int:
        """Return the largest number that was given as a key."""
        with self._database.begin_read() as connection:
            query = sa.select(sa.func.max(pushes.c.top)).where(pushes.c.table_name == table)
            return int(connection.execute(query).scalar() or 0)

    def read_pieces(self, table: str, since_state: str = EMPTY_STATE) -> list[pa.Table] | None:
        """Return the rows and keys that were pushed.

        Parameters
        ----------
        since_state
            A state: what came after it, and perhaps some of what came before.

        Returns
        -------
        pieces
            The oldest first; None: there was no such state, or what came after it is not told apart any more.
        """
        with self._database.begin_read() as connection:
            stored_pieces = _list_pieces(connection, table)
            last_number = 0
            if since_state != EMPTY_STATE:
                query = sa.select(pushes.c.number).where(pushes.c.table_name == table, pushes.c.run == since_state)
                push_number = connection.execute(query).scalar()
                if push_number is None:
                    return None
                last_number = int(push_number)
                # keys that went are not kept in the lowest piece
                if stored_pieces and stored_pieces[0].first < stored_pieces[0].last > last_number:
                    return None
            return [
                self._read_piece(connection, table, stored_piece)
                for stored_piece in stored_pieces
                if stored_piece.last > last_number
            ]

    def _read_piece(self, connection: sa.Connection, table: str, stored_piece: _PushedPiece) -> pa.Table:
        key = (table, stored_piece.first, stored_piece.last)
        with self._lock:
            piece_rows = self._cached_pieces.get(key)
        if piece_rows is None:
            query = sa.select(pushed.c.body).where(pushed.c.table_name == table, pushed.c.last == stored_piece.last)
            body = connection.execute(query).scalar_one()
            try:
                with pa.ipc.open_stream(base64.b64decode(body)) as stream:
                    piece_rows = stream.read_all()
            except (ValueError, pa.ArrowException) as error:
                raise StorageError(
                    f"rows that were pushed into {table} are damaged: {error}", remedy="restore a backup of the site"
                ) from error
        with self._lock:
            self._cached_pieces[key] = piece_rows
            self._cached_pieces.move_to_end(key)
            while (
                len(self._cached_pieces) > 1
                and sum(piece.nbytes for piece in self._cached_pieces.values()) > MAX_CACHED_PIECE_BYTES
            ):
                self._cached_pieces.popitem(last=False)
        return piece_rows

    def find_push(self, table: str, *, run_id: str = "", token: str = "", digest: str = "") -> ClientPush | None:
        """Find a push by its run; the last one with an Idempotency-Key; without one, the last one that asked the same.

        Parameters
        ----------
        run_id, token, digest
            As `ClientPush` has them.

        Returns
        -------
        push
            Without its rows; None: there is none.
        """
        if run_id:
            row_condition = pushes.c.run == run_id
        elif token:
            row_condition = pushes.c.token == token
        else:
            row_condition = pushes.c.digest == digest
        query = (
            sa.select(pushes)
            .where(pushes.c.table_name == table, row_condition)
            .order_by(pushes.c.number.desc())
            .limit(1)
        )
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _push_from_row(row)

    def list_pushes(self, table: str, *, row_limit: int = 100, before_number: int | None = None) -> list[ClientPush]:
        """List the writes of a table, the newest first.

        Parameters
        ----------
        row_limit
            So many.
        before_number
            Only those with a smaller number.

        Returns
        -------
        pushes
            Without their rows.
        """
        query = sa.select(pushes).where(pushes.c.table_name == table)
        if before_number is not None:
            query = query.where(pushes.c.number < before_number)
        with self._database.begin_read() as connection:
            return [
                _push_from_row(row)
                for row in connection.execute(query.order_by(pushes.c.number.desc()).limit(row_limit))
            ]

    def commit_push(self, push: ClientPush, lease: Lease) -> None:
        """Commit a push that changes nothing of what is published.

        Parameters
        ----------
        push
            With its piece.
        lease
            Of the collection.

        Raises
        ------
        ConflictError
            The lease was lost.
        """
        with self._database.begin_write() as connection:
            leases.check_lease_held(connection, lease)
            insert_push(connection, push)

    def compact_pieces(
        self, table: str, merge_pieces: Callable[[Sequence[pa.Table], bool], pa.Table], lease: Lease
    ) -> None:
        """Put small pieces together, so that there are few: each row is written anew a few times in all.

        Parameters
        ----------
        merge_pieces
            Makes one piece of several, the oldest first; True: nothing lies below, keys that went need not be kept.
        lease
            Of the collection.
        """
        with self._database.begin_read() as connection:
            stored_pieces = _list_pieces(connection, table)
            piece_index = len(stored_pieces) - 1
            if stored_pieces:
                size = stored_pieces[piece_index].rows
            else:
                size = 0
            while piece_index > 0 and stored_pieces[piece_index - 1].rows <= 2 * size:
                piece_index -= 1
                size += stored_pieces[piece_index].rows
            small_pieces = stored_pieces[piece_index:]
            if len(small_pieces) < 2:
                return
            parts = [self._read_piece(connection, table, stored_piece) for stored_piece in small_pieces]
        merged_rows = merge_pieces(parts, piece_index == 0)
        with self._database.begin_write() as connection:
            leases.check_lease_held(connection, lease)
            merged_condition = pushed.c.last.in_([stored_piece.last for stored_piece in small_pieces])
            connection.execute(sa.delete(pushed).where(pushed.c.table_name == table, merged_condition))
            _insert_piece(
                connection,
                table,
                _PushedPiece(small_pieces[0].first, small_pieces[-1].last, merged_rows.num_rows),
                merged_rows,
            )


def insert_push(connection: sa.Connection, push: ClientPush) -> None:
    """Commit a push: part of the transaction that publishes it."""
    number = get_next_number(connection, pushes)
    names = ("run", "by", "action", "rows", "removed", "token", "digest", "top", "collection")
    values = {name: getattr(push, name) for name in names}
    answer_text = json.dumps(dict(push.answer), default=str)
    connection.execute(
        sa.insert(pushes).values(
            number=number, table_name=push.table, at=push.at or format_current_time(), answer=answer_text, **values
        )
    )
    if push.piece is not None:
        _insert_piece(connection, push.table, _PushedPiece(number, number, push.piece.num_rows), push.piece)


def _insert_piece(connection: sa.Connection, table: str, stored_piece: _PushedPiece, rows: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(rows)
    body = base64.b64encode(sink.getvalue()).decode("ascii")
    values = {"first": stored_piece.first, "last": stored_piece.last, "rows": stored_piece.rows, "body": body}
    connection.execute(sa.insert(pushed).values(table_name=table, **values))


def _list_pieces(connection: sa.Connection, table: str) -> list[_PushedPiece]:
    columns = (pushed.c.first, pushed.c.last, pushed.c.rows)
    query = sa.select(*columns).where(pushed.c.table_name == table).order_by(pushed.c.last)
    return [_PushedPiece(row.first, row.last, row.rows) for row in connection.execute(query)]


def _push_from_row(row: Any) -> ClientPush:
    names = ("number", "run", "collection", "at", "by", "action", "rows", "removed", "token", "digest", "top")
    values = {name: getattr(row, name) for name in names}
    return ClientPush(**values, table=row.table_name, answer=json.loads(row.answer))


__all__ = ["EMPTY_STATE", "ClientPush", "PushStore", "insert_push"]

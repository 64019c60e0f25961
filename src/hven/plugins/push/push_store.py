"""Pushes: what clients wrote into tables, when, and what they were answered; and the rows, which are nowhere else.

A push is committed in the transaction that publishes the new state of its table, so that the two never disagree. The
rows of a push are a *piece*: an Arrow stream with the whole rows as clients sent them, and with the deleted keys.
Later pieces override earlier ones; small pieces are merged as they come.
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
from hven.plugins.push.store_tables import pushed, pushes
from hven.site.api.store_tables import check_lease_held, get_next_number
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.site.api.store_tables import StateDatabase
    from hven.site.store import Lease

MAX_CACHED_PIECE_BYTES = 64 * 1024**2  # bytes of pieces that a process keeps in memory
EMPTY_STATE = "none"  # the state of a table without any pushes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPush:
    """One write by a client.

    Attributes
    ----------
    number
        Grows with each push; 0: it is not committed yet.
    run
        Id of the run that published it, and name of the state of the table after it.
    table, collection
        Where the rows were written.
    at
        ISO time, UTC.
    by
        The account.
    action
        ``POST``, ``PUT``, ``DELETE``.
    rows, removed
        How many rows were added or changed; how many were deleted.
    token
        Idempotency-Key of the request; empty: it had none.
    digest
        Digest of the request.
    top
        Largest number that the server has assigned as a key so far.
    answer
        What the client was answered.
    piece
        The rows and keys; None where they are not needed.
    on_commit
        As in `hven.plugins.push.write_requests.ClientWriteRequest`.
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
    on_commit: Callable[[sa.Connection, ClientPush], None] | None = None

    def insert(self, connection: sa.Connection) -> None:
        """Insert the push in the caller's transaction, which also publishes it.

        Parameters
        ----------
        connection
            The connection of the transaction.
        """
        number = get_next_number(connection, pushes)
        names = ("run", "by", "action", "rows", "removed", "token", "digest", "top", "collection")
        values = {name: getattr(self, name) for name in names}
        values["number"] = number
        values["table_name"] = self.table
        values["at"] = self.at or format_current_time()
        values["answer"] = json.dumps(dict(self.answer), default=str)
        connection.execute(sa.insert(pushes).values(values))
        if self.piece is not None:
            stored_piece = _PushedRowsPiece(number, number, self.piece.num_rows)
            _insert_piece(connection, self.table, stored_piece, self.piece)
        if self.on_commit is not None:
            self.on_commit(connection, self)


@dataclass(frozen=True, slots=True)
class _PushedRowsPiece:
    first: int
    last: int
    rows: int


class ClientPushStore:
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
        """Return the name of the present state of a table's pushed rows."""
        query = sa.select(pushes.c.run).where(pushes.c.table_name == table)
        with self._database.begin_read() as connection:
            last_run = connection.execute(query.order_by(pushes.c.number.desc()).limit(1)).scalar()
        return last_run or EMPTY_STATE

    def find_largest_key(self, table: str) -> int:
        """Return the largest number that was assigned as a key."""
        query = sa.select(sa.func.max(pushes.c.top)).where(pushes.c.table_name == table)
        with self._database.begin_read() as connection:
            return int(connection.execute(query).scalar() or 0)

    def read_pushed_pieces(self, table: str, since_state: str = EMPTY_STATE) -> list[pa.Table] | None:
        """Return the rows and keys that were pushed.

        Parameters
        ----------
        since_state
            A state: only what came after it, and perhaps some of what came before.

        Returns
        -------
        pieces
            The oldest first; None: there was no such state, or it cannot be told any more what came after it.
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
                # the lowest piece does not keep deleted keys
                if stored_pieces and stored_pieces[0].first < stored_pieces[0].last > last_number:
                    return None
            new_pieces = [stored_piece for stored_piece in stored_pieces if stored_piece.last > last_number]
            return [self._read_piece(connection, table, stored_piece) for stored_piece in new_pieces]

    def _read_piece(self, connection: sa.Connection, table: str, stored_piece: _PushedRowsPiece) -> pa.Table:
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
                message = f"rows that were pushed into {table} are damaged: {error}"
                raise StorageError(message, remedy="restore the site from a backup") from error
        with self._lock:
            self._cached_pieces[key] = piece_rows
            self._cached_pieces.move_to_end(key)
            cached_bytes = sum(piece.nbytes for piece in self._cached_pieces.values())
            while len(self._cached_pieces) > 1 and cached_bytes > MAX_CACHED_PIECE_BYTES:
                _, oldest_piece = self._cached_pieces.popitem(last=False)
                cached_bytes -= oldest_piece.nbytes
        return piece_rows

    def find_push(self, table: str, *, run_id: str = "", token: str = "", digest: str = "") -> ClientPush | None:
        """Find a push by its run, by its Idempotency-Key, or by the digest of its request.

        Of several pushes with the same key or digest, the last one is returned.

        Parameters
        ----------
        run_id, token, digest
            As in `ClientPush`; the first that is not empty counts.

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
        query = sa.select(pushes).where(pushes.c.table_name == table, row_condition)
        with self._database.begin_read() as connection:
            row = connection.execute(query.order_by(pushes.c.number.desc()).limit(1)).first()
        if row is None:
            return None
        return _push_from_row(row)

    def list_pushes(self, table: str, *, row_limit: int = 100, before_number: int | None = None) -> list[ClientPush]:
        """List the writes of a table, the newest first.

        Parameters
        ----------
        row_limit
            At most this many.
        before_number
            Only pushes with a smaller number.

        Returns
        -------
        pushes
            Without their rows.
        """
        query = sa.select(pushes).where(pushes.c.table_name == table)
        if before_number is not None:
            query = query.where(pushes.c.number < before_number)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(pushes.c.number.desc()).limit(row_limit))
            return [_push_from_row(row) for row in rows]

    def commit_push(self, push: ClientPush, lease: Lease) -> None:
        """Commit a push that does not change what is published.

        Parameters
        ----------
        push
            The push with its piece.
        lease
            The caller's lease of the collection.

        Raises
        ------
        ConflictError
            The lease was lost.
        """
        with self._database.begin_write() as connection:
            check_lease_held(connection, lease)
            push.insert(connection)

    def compact_pieces(
        self, table: str, merge_pieces: Callable[[Sequence[pa.Table], bool], pa.Table], lease: Lease
    ) -> None:
        """Merge small pieces, so that a table has few; each row is rewritten only a few times in all.

        Parameters
        ----------
        merge_pieces
            Merges pieces, the oldest first, into one. Its second argument is True if no piece lies below them: then
            deleted keys need not be kept.
        lease
            The caller's lease of the collection.
        """
        with self._database.begin_read() as connection:
            stored_pieces = _list_pieces(connection, table)
            piece_index = len(stored_pieces) - 1
            row_count = 0
            if stored_pieces:
                row_count = stored_pieces[piece_index].rows
            # a piece of at most twice the rows above it is merged with them
            while piece_index > 0 and stored_pieces[piece_index - 1].rows <= 2 * row_count:
                piece_index -= 1
                row_count += stored_pieces[piece_index].rows
            small_pieces = stored_pieces[piece_index:]
            if len(small_pieces) < 2:
                return
            parts = [self._read_piece(connection, table, stored_piece) for stored_piece in small_pieces]
        merged_rows = merge_pieces(parts, piece_index == 0)
        merged_piece = _PushedRowsPiece(small_pieces[0].first, small_pieces[-1].last, merged_rows.num_rows)
        with self._database.begin_write() as connection:
            check_lease_held(connection, lease)
            is_merged = pushed.c.last.in_([stored_piece.last for stored_piece in small_pieces])
            connection.execute(sa.delete(pushed).where(pushed.c.table_name == table, is_merged))
            _insert_piece(connection, table, merged_piece, merged_rows)


def _insert_piece(connection: sa.Connection, table: str, stored_piece: _PushedRowsPiece, rows: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    write_options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, rows.schema, options=write_options) as writer:
        writer.write_table(rows)
    values = {
        "table_name": table,
        "first": stored_piece.first,
        "last": stored_piece.last,
        "rows": stored_piece.rows,
        "body": base64.b64encode(sink.getvalue()).decode("ascii"),
    }
    connection.execute(sa.insert(pushed).values(values))


def _list_pieces(connection: sa.Connection, table: str) -> list[_PushedRowsPiece]:
    columns = (pushed.c.first, pushed.c.last, pushed.c.rows)
    query = sa.select(*columns).where(pushed.c.table_name == table).order_by(pushed.c.last)
    return [_PushedRowsPiece(row.first, row.last, row.rows) for row in connection.execute(query)]


def _push_from_row(row: Any) -> ClientPush:
    names = ("number", "run", "collection", "at", "by", "action", "rows", "removed", "token", "digest", "top")
    values = {name: getattr(row, name) for name in names}
    return ClientPush(**values, table=row.table_name, answer=json.loads(row.answer))

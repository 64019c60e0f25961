"""Pools of connections to a PostgreSQL server, limited in number; a pool reconnects after the server was away.

There are two drivers: psycopg for small prepared queries and for everything that writes, and ADBC where many rows
travel as Arrow batches. Queries run in sessions that cannot write, as the role that is configured for reading.
"""

from __future__ import annotations

import select
import threading
import time
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.generators import execute
from psycopg.pq import DiagnosticField, ExecStatus, Format

from hven.model.errors import OverloadedError, StorageError
from hven.plugins.postgres.engine import error_translation
from hven.plugins.postgres.engine.timestamp_decoding import register_timestamp_loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg.pq.abc import PGresult

SESSION_SETTINGS = {  # settings that the SQL texts rely on, whatever the configuration of the server says
    "DateStyle": "ISO",
    "TimeZone": "UTC",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "client_encoding": "UTF8",
    "jit": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "client_min_messages": "error",
    "synchronize_seqscans": "off",
}
CONNECTION_TIMEOUT_SECONDS = 10.0  # time that a query waits for a connection of a pool
CONNECT_TIMEOUT_SECONDS = 5  # time for connecting to the server
MAX_PREPARED_STATEMENTS = 100  # prepared statements of a connection
MAX_IDLE_SECONDS = 600.0  # time after which an idle connection is closed


class PreparedStatementConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that remembers its prepared statements."""

    _statement_names: OrderedDict[str, bytes] | None = None
    _statement_count = 0
    _partial_result: PGresult | None = None  # result of an answer whose end has not arrived

    def fetch_all(self, sql: str, parameters: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return all rows of a statement, which is prepared once; for sessions in autocommit.

        The cursor of psycopg waits several times for each statement in Python, and each time other threads get the
        interpreter. This method waits once, in libpq. It decodes values as psycopg does, from the binary format.
        """
        values = [argument.encode() for argument in parameters]
        try:
            result = self._execute_prepared(self._prepare_statement(sql), values)
        except MemoryError:  # psycopg raises it if libpq returns no result
            raise self._build_lost_connection_error() from None
        return self.decode_rows(result)

    def send_statement(self, sql: str, parameters: Sequence[str]) -> bool:
        """Send a prepared statement and do not wait; return False, and send nothing, if it is not prepared here."""
        if self._statement_names is None or sql not in self._statement_names:
            return False
        statement_name = self._prepare_statement(sql)
        values = [argument.encode() for argument in parameters]
        self.pgconn.send_query_prepared(statement_name, values, None, Format.BINARY)
        return True

    def receive_result(self) -> PGresult | None:
        """Return the answer to the statement that was sent, or None if it has not arrived; never wait."""
        connection = self.pgconn
        connection.consume_input()
        while not (connection.flush() or connection.is_busy()):
            result = connection.get_result()
            if result is None:
                complete_result = self._partial_result
                self._partial_result = None
                if complete_result is None:
                    raise self._build_lost_connection_error()
                return complete_result
            self._partial_result = result
        return None

    def wait_for_result(self) -> PGresult:
        """Wait for the answer to the statement that was sent."""
        poller = select.poll()
        while (result := self.receive_result()) is None:
            awaited_events = select.POLLIN
            if self.pgconn.flush():
                awaited_events |= select.POLLOUT
            poller.register(self.pgconn.socket, awaited_events)
            poller.poll()
        return result

    def decode_rows(self, result: PGresult) -> list[tuple[Any, ...]]:
        """Decode the rows of an answer."""
        if result.status != ExecStatus.TUPLES_OK:
            raise _build_result_error(result)
        if not result.ntuples:
            return []
        transformer = Transformer(self)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    def _build_lost_connection_error(self) -> psycopg.OperationalError:
        return psycopg.OperationalError(f"the connection was lost: {self.pgconn.get_error_message()}")

    def _execute_prepared(self, statement_name: bytes, values: Sequence[bytes]) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return self.pgconn.exec_prepared(statement_name, values, None, Format.BINARY)
        # The main thread waits in Python, so that Ctrl-C interrupts it.
        self.pgconn.send_query_prepared(statement_name, values, None, Format.BINARY)
        return self.wait(execute(self.pgconn))[-1]

    def _prepare_statement(self, sql: str) -> bytes:
        """Prepare a statement unless it is prepared, and return its name; deallocate the least recently used one."""
        if self._statement_names is None:
            self._statement_names = OrderedDict()
        statement_name = self._statement_names.get(sql)
        if statement_name is not None:
            self._statement_names.move_to_end(sql)
            return statement_name
        self._statement_count += 1
        statement_name = b"hven_%d" % self._statement_count
        result = self.pgconn.prepare(statement_name, sql.encode())
        if result.status != ExecStatus.COMMAND_OK:
            raise _build_result_error(result)
        self._statement_names[sql] = statement_name
        if len(self._statement_names) > MAX_PREPARED_STATEMENTS:
            self.pgconn.exec_(b"DEALLOCATE " + self._statement_names.popitem(last=False)[1])
        return statement_name


def _build_result_error(result: PGresult) -> psycopg.Error:
    """Return the error of a statement; an error without SQLSTATE means that the connection is lost."""
    if result.error_field(DiagnosticField.SQLSTATE) is None:
        return psycopg.OperationalError(result.get_error_message())
    return psycopg.errors.error_from_result(result, encoding="utf-8")


def build_application_name(schema: str, site_identity: str) -> str:
    """Name the sessions of an engine in pg_stat_activity; in a schema of Hven the name has the site's identity."""
    if not schema:
        return "hven"
    name = f"hven: {schema} {site_identity}".strip()
    # The server replaces other characters and cuts longer names; `adopt_schema` compares with what it shows.
    return name.encode("ascii", "replace").decode()[:63]


class DatabaseConnector:
    """The address of a server, with the role and the settings of sessions."""

    def __init__(
        self,
        url: str,
        *,
        schema: str,
        search_path: str,
        role: str | None = None,
        is_writable: bool = False,
        site_identity: str = "",
    ) -> None:
        connection_info = conninfo_to_dict(url)
        host = connection_info.get("host") or connection_info.get("hostaddr") or "localhost"
        database = connection_info.get("dbname") or connection_info.get("user") or "?"
        self.server_name = f"at {host} (database {database})"
        settings = dict(SESSION_SETTINGS)
        settings["search_path"] = search_path
        settings["default_transaction_read_only"] = "off" if is_writable else "on"
        if role and not is_writable:
            settings["role"] = role
        options = " ".join(f"-c {name}={_escape_option(value)}" for name, value in settings.items())
        url_options = connection_info.get("options")
        if url_options:
            options = f"{url_options} {options}"
        self.conninfo = make_conninfo(
            url,
            options=options,
            application_name=build_application_name(schema, site_identity),
            connect_timeout=connection_info.get("connect_timeout") or CONNECT_TIMEOUT_SECONDS,
        )
        self.schema = schema

    def open_psycopg_connection(self) -> Any:
        """Open a connection for small queries and for everything that writes."""
        try:
            connection = PreparedStatementConnection.connect(
                self.conninfo, autocommit=True, prepare_threshold=None, cursor_factory=psycopg.RawCursor
            )
            return register_timestamp_loader(connection)
        except psycopg.Error as error:
            raise error_translation.translate_postgres_error(error, server_name=self.server_name) from error

    def open_adbc_connection(self) -> Any:
        """Open a connection for Arrow batches."""
        import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415  (0.08 s, which small answers do not wait for)

        try:
            return driver.connect(self.conninfo, autocommit=True)
        except error_translation.list_driver_error_classes() as error:
            raise error_translation.translate_postgres_error(error, server_name=self.server_name) from error


def _escape_option(value: str) -> str:
    """Escape the value of a setting as libpq's ``options`` want it."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def count_pool_connections(pools: Iterable[ConnectionPool], pool_size: int) -> dict[str, int]:
    """Count the connections of pools that share their slots: the maximum, those in use and those kept."""
    states = [pool.connection_counts for pool in pools]
    return {
        "size": pool_size,
        "used": sum(used_count for used_count, _ in states),
        "kept": sum(kept_count for _, kept_count in states),
    }


class ConnectionSlots:
    """A limit on the number of connections that the pools of a server have in use at once.

    A waiting thread gets the next free slot before a thread that asks later.

    Parameters
    ----------
    free_count
        Number of slots.
    """

    def __init__(self, free_count: int) -> None:
        self._free_count = free_count
        self._waiting_count = 0
        self._slot_returned = threading.Condition()

    def take_slot(self, timeout_seconds: float = 0.0) -> bool:
        """Take a slot, and wait for one if necessary; return False if none became free in time."""
        with self._slot_returned:
            if self._free_count > self._waiting_count:
                self._free_count -= 1
                return True
            if timeout_seconds <= 0:
                return False
            self._waiting_count += 1
            try:
                was_taken = self._slot_returned.wait_for(lambda: self._free_count > 0, timeout_seconds)
            finally:
                self._waiting_count -= 1
            self._free_count -= was_taken
            return was_taken

    def return_slot(self) -> None:
        """Return a slot."""
        with self._slot_returned:
            self._free_count += 1
            self._slot_returned.notify()


class ConnectionPool:
    """Connections of one kind.

    Parameters
    ----------
    slots
        Limit on the number of connections, which the pools of a server share.
    max_kept
        Maximum number of free connections that the pool keeps.
    checks_connections
        True: the pool tests a kept connection before it returns it, because a statement that writes cannot simply be
        repeated.
    """

    def __init__(
        self,
        open_connection: Callable[[], Any],
        slots: ConnectionSlots,
        max_kept: int,
        *,
        checks_connections: bool = False,
    ) -> None:
        self._checks_connections = checks_connections
        self._open_connection = open_connection
        self._slots = slots
        self._max_kept = max_kept
        self._lock = threading.Lock()
        self._free_connections: list[tuple[float, Any]] = []
        self._borrowed_count = 0
        self._is_closed = False

    def take_connection(self, timeout_seconds: float = CONNECTION_TIMEOUT_SECONDS) -> Any:
        """Take a connection; return it with `return_connection`.

        Parameters
        ----------
        timeout_seconds
            Maximum time to wait for a free slot.

        Raises
        ------
        OverloadedError
            No slot became free in time.
        StorageError
            The server cannot be reached.
        """
        if self._is_closed:
            raise StorageError("the engine is closed")
        if not self._slots.take_slot(timeout_seconds):
            message = "all connections to the database are busy"
            raise OverloadedError(message, remedy="try again in a few seconds, or raise the engine's setting `pool`")
        with self._lock:
            self._borrowed_count += 1
        try:
            self._close_idle_connections()
            kept_connection = self._take_kept_connection()
            if kept_connection is not None and self._checks_connections and not is_connection_alive(kept_connection):
                self._drop_stale_connections(kept_connection)
                kept_connection = None
            if kept_connection is None:
                kept_connection = self._open_connection()
        except BaseException:
            with self._lock:
                self._borrowed_count -= 1
            self._slots.return_slot()
            raise
        return kept_connection

    def _close_idle_connections(self) -> None:
        """Close the connections that nobody has used for some minutes."""
        with self._lock:
            oldest_time = time.monotonic() - MAX_IDLE_SECONDS
            idle_connections = [item[1] for item in self._free_connections if item[0] < oldest_time]
            self._free_connections = [item for item in self._free_connections if item[0] >= oldest_time]
        for connection in idle_connections:
            _close_quietly(connection)

    def _take_kept_connection(self) -> Any:
        """Take the connection that was used last out of the pool; None: there is none."""
        with self._lock:
            if self._free_connections:
                return self._free_connections.pop()[1]
            return None

    @property
    def borrowed_count(self) -> int:
        """Number of connections in use."""
        return self._borrowed_count

    def take_free_connection(self) -> Any:
        """Take a free connection; return None if there is none. The method neither waits nor connects."""
        if self._checks_connections or not self._slots.take_slot():
            return None
        with self._lock:
            if self._free_connections and not self._is_closed:
                self._borrowed_count += 1
                return self._free_connections.pop()[1]
        self._slots.return_slot()
        return None

    def return_connection(self, connection: Any, *, is_broken: bool = False, is_used_up: bool = False) -> None:
        """Return a connection to the pool.

        If it is broken, the pool closes all free connections, too: the server was away. A connection that `is_used_up`
        is closed alone.
        """
        discarded = []
        with self._lock:
            self._borrowed_count -= 1
            if is_broken or self._is_closed:
                discarded = [item[1] for item in self._free_connections]
                self._free_connections = []
            elif not is_used_up and len(self._free_connections) < self._max_kept:
                self._free_connections.append((time.monotonic(), connection))
                connection = None
        self._slots.return_slot()
        for item in (connection, *discarded):
            if item is not None:
                _close_quietly(item)

    def _drop_stale_connections(self, connection: Any) -> None:
        """Close a connection whose server was away, and all free connections with it."""
        with self._lock:
            discarded = [item[1] for item in self._free_connections]
            self._free_connections = []
        for item in (connection, *discarded):
            _close_quietly(item)

    @contextmanager
    def borrow_connection(self) -> Iterator[Any]:
        """Borrow a connection for a block."""
        connection = self.take_connection()
        is_broken = False
        try:
            yield connection
        except BaseException as error:
            is_broken = error_translation.is_connection_lost(error) or not isinstance(error, Exception)
            raise
        finally:
            self.return_connection(connection, is_broken=is_broken)

    @property
    def connection_counts(self) -> tuple[int, int]:
        """Number of connections in use, and number of free ones."""
        with self._lock:
            return self._borrowed_count, len(self._free_connections)

    def close(self) -> None:
        """Close the free connections; the others are closed when they are returned."""
        with self._lock:
            self._is_closed = True
            free_connections = self._free_connections
            self._free_connections = []
        for _, connection in free_connections:
            _close_quietly(connection)


def is_connection_alive(connection: Any) -> bool:
    """Return whether a connection still answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
    except error_translation.list_driver_error_classes():
        return False
    return True


def _close_quietly(connection: Any) -> None:
    try:
        connection.close()
    except error_translation.list_driver_error_classes():
        return  # it is gone already

"""Connections to one PostgreSQL server: kept, limited in number, made anew after the server was away.

Two drivers: psycopg for small prepared queries and everything that writes, ADBC where many rows travel as Arrow batches. A query
reads in a session that cannot write, as the role that was named for reading.
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

from hven.engines.postgres import faults
from hven.engines.postgres.decoding import widen
from hven.model.errors import Overloaded, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg.pq.abc import PGresult

SETTINGS = {  # what the SQL text relies on, whatever the server's configuration says
    "DateStyle": "ISO", "TimeZone": "UTC", "IntervalStyle": "postgres", "extra_float_digits": "1", "standard_conforming_strings": "on",
    "client_encoding": "UTF8", "jit": "off", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0",
    "client_min_messages": "error", "synchronize_seqscans": "off",
}  # fmt: skip
WAIT = 10.0  # seconds that a query waits for a connection
CONNECT = 5  # seconds
PREPARED = 100  # statements that a connection keeps
OLD = 600.0  # seconds after which an idle connection is closed


class Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection that remembers what it has prepared."""

    _named: OrderedDict[str, bytes] | None = None
    _ever = 0
    _part: PGresult | None = None  # of an answer whose end has not come yet

    def fetched(self, sql: str, arguments: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return all rows of a statement that is prepared once; in autocommit only.

        psycopg's cursor waits in Python, several times for each statement, and each time other threads have the interpreter; this
        waits once, in libpq. Values are psycopg's own, in binary.
        """
        values = [argument.encode() for argument in arguments]
        try:
            result = self._asked(self._name(sql), values)
        except MemoryError:  # that is what no result at all is called
            raise self._lost() from None
        return self.rows(result)

    def send(self, sql: str, arguments: Sequence[str]) -> bool:
        """Send a statement and do not wait; False: it was never prepared here, and nothing is sent."""
        if self._named is None or sql not in self._named:
            return False
        self.pgconn.send_query_prepared(
            self._name(sql), [argument.encode() for argument in arguments], None, Format.BINARY
        )
        return True

    def come(self) -> PGresult | None:
        """Return the answer to what was sent, for `rows`; None: it has not come. Never waits."""
        line = self.pgconn
        line.consume_input()
        while not (line.flush() or line.is_busy()):
            result = line.get_result()
            if result is None:
                last, self._part = self._part, None
                if last is None:
                    raise self._lost()
                return last
            self._part = result
        return None

    def answer(self) -> PGresult:
        """Wait for the answer to what was sent, for `rows`."""
        line = select.poll()
        while (result := self.come()) is None:
            line.register(self.pgconn.socket, select.POLLIN | select.POLLOUT if self.pgconn.flush() else select.POLLIN)
            line.poll()
        return result

    def rows(self, result: PGresult) -> list[tuple[Any, ...]]:
        """Decode an answer."""
        if result.status != ExecStatus.TUPLES_OK:
            raise _fault(result)
        if not result.ntuples:
            return []
        decoding = Transformer(self)
        decoding.set_pgresult(result)
        return decoding.load_rows(0, result.ntuples, tuple)

    def _lost(self) -> psycopg.OperationalError:
        return psycopg.OperationalError(f"the connection is lost: {self.pgconn.get_error_message()}")

    def _asked(self, name: bytes, values: Sequence[bytes]) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return self.pgconn.exec_prepared(name, values, None, Format.BINARY)
        self.pgconn.send_query_prepared(name, values, None, Format.BINARY)  # Ctrl-C is heard meanwhile
        return self.wait(execute(self.pgconn))[-1]

    def _name(self, sql: str) -> bytes:
        """Return the name of a prepared statement; of those that were asked long ago the server is relieved."""
        if self._named is None:
            self._named = OrderedDict()
        name = self._named.get(sql)
        if name is not None:
            self._named.move_to_end(sql)
            return name
        self._ever += 1
        name = b"hven_%d" % self._ever
        result = self.pgconn.prepare(name, sql.encode())
        if result.status != ExecStatus.COMMAND_OK:
            raise _fault(result)
        self._named[sql] = name
        if len(self._named) > PREPARED:
            self.pgconn.exec_(b"DEALLOCATE " + self._named.popitem(last=False)[1])
        return name


def _fault(result: PGresult) -> psycopg.Error:
    """Return the error of a statement; what the server has not said itself is a lost connection."""
    if result.error_field(DiagnosticField.SQLSTATE) is None:
        return psycopg.OperationalError(result.get_error_message())
    return psycopg.errors.error_from_result(result, encoding="utf-8")


def named(schema: str, site: str) -> str:
    """Name the sessions of an engine, as pg_stat_activity shows them: in a schema of ours, whose they are."""
    # as the server would have it
    return f"hven: {schema} {site}".strip().encode("ascii", "replace").decode()[:63] if schema else "hven"


class Server:
    """How to reach one server, and as whom."""

    def __init__(
        self, url: str, *, schema: str, path: str, role: str | None = None, writing: bool = False, site: str = ""
    ) -> None:
        given = conninfo_to_dict(url)
        self.where = f"at {given.get('host') or given.get('hostaddr') or 'localhost'} (database {given.get('dbname') or given.get('user') or '?'})"
        settings = SETTINGS | {"search_path": path, "default_transaction_read_only": "off" if writing else "on"}
        if role and not writing:
            settings["role"] = role
        options = " ".join(
            f"-c {name}={value.replace(chr(92), chr(92) * 2).replace(' ', chr(92) + ' ')}"
            for name, value in settings.items()
        )
        before = given.get("options")
        self.conninfo = make_conninfo(
            url,
            options=f"{before} {options}" if before else options,
            application_name=named(schema, site),
            connect_timeout=given.get("connect_timeout") or CONNECT,
        )
        self.schema = schema

    def psycopg(self) -> Any:
        """Open a connection for small and for writing things."""
        try:
            return widen(
                Session.connect(
                    self.conninfo, autocommit=True, prepare_threshold=None, cursor_factory=psycopg.RawCursor
                )
            )
        except psycopg.Error as error:
            raise faults.translate(error, where=self.where) from error

    def adbc(self) -> Any:
        """Open a connection for Arrow batches."""
        import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415  (0.08 s, which small answers do not wait for)

        try:
            return driver.connect(self.conninfo, autocommit=True)
        except faults.kinds() as error:
            raise faults.translate(error, where=self.where) from error


def counted(pools: Iterable[Pool], size: int) -> dict[str, int]:
    """Count the connections of pools that share their slots: how many there may be, are in use, are kept."""
    states = [pool.state for pool in pools]
    return {"size": size, "used": sum(used for used, _ in states), "kept": sum(kept for _, kept in states)}


class Slots:
    """So many connections at once, of all pools of a server together. Who waits for one is served before those who come by.

    Parameters
    ----------
    number
        How many.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting = 0
        self._given = threading.Condition()

    def take(self, seconds: float = 0.0) -> bool:
        """Take a slot, and wait so long for one; False: there was none."""
        with self._given:
            if self._free > self._waiting:
                self._free -= 1
                return True
            if seconds <= 0:
                return False
            self._waiting += 1
            try:
                found = self._given.wait_for(lambda: self._free > 0, seconds)
            finally:
                self._waiting -= 1
            self._free -= found
            return found

    def give(self) -> None:
        """Return a slot."""
        with self._given:
            self._free += 1
            self._given.notify()


class Pool:
    """Connections of one kind.

    Parameters
    ----------
    slots
        Shared by the pools of a server, so that they are limited together.
    asked
        True if a kept connection is asked whether it is alive before it is given away: what writes cannot simply be tried again.
    """

    def __init__(self, connect: Callable[[], Any], slots: Slots, size: int, *, asked: bool = False) -> None:
        self._asked = asked
        self._connect = connect
        self._slots = slots
        self._size = size
        self._lock = threading.Lock()
        self._free: list[tuple[float, Any]] = []
        self._out = 0
        self._closed = False

    def take(self, seconds: float = WAIT) -> Any:
        """Take a connection; return it with `put`.

        Parameters
        ----------
        seconds
            How long to wait for one.

        Raises
        ------
        Overloaded
            None became free in time.
        StorageError
            The server cannot be reached.
        """
        if self._closed:
            raise StorageError("the engine is closed")
        if not self._slots.take(seconds):
            message = "all connections to the database are busy"
            raise Overloaded(message, remedy="ask again in a moment; the engine's pool setting says how many there are")
        try:
            with self._lock:
                old = [item for item in self._free if time.monotonic() - item[0] > OLD]
                self._free = [item for item in self._free if time.monotonic() - item[0] <= OLD]
                found = self._free.pop()[1] if self._free else None
                self._out += 1
            for _, connection in old:
                _shut(connection)
            if found is not None and self._asked and not alive(found):
                self._forget(found)
                found = None
            return self._connect() if found is None else found
        except BaseException:
            with self._lock:
                self._out -= 1
            self._slots.give()
            raise

    @property
    def out(self) -> int:
        """How many connections are in use."""
        return self._out

    def free(self) -> Any:
        """Take a connection that is kept and free; None if there is none: nobody waits, and none is made."""
        if self._asked or not self._slots.take():
            return None
        with self._lock:
            if self._free and not self._closed:
                self._out += 1
                return self._free.pop()[1]
        self._slots.give()
        return None

    def put(self, connection: Any, *, broken: bool = False, used_up: bool = False) -> None:
        """Put a connection back.

        A broken one is closed, and with it those that waited: the server was away. One that is `used_up` is closed alone.
        """
        waiting = []
        with self._lock:
            self._out -= 1
            if broken or self._closed:
                waiting, self._free = [item[1] for item in self._free], []
            elif not used_up and len(self._free) < self._size:
                self._free.append((time.monotonic(), connection))
                connection = None
        self._slots.give()
        for item in (connection, *waiting):
            if item is not None:
                _shut(item)

    def _forget(self, connection: Any) -> None:
        """Close a connection whose server was away, and those that waited with it."""
        with self._lock:
            waiting, self._free = [item[1] for item in self._free], []
        for item in (connection, *waiting):
            _shut(item)

    @contextmanager
    def borrowed(self) -> Iterator[Any]:
        """Borrow a connection for a block."""
        connection = self.take()
        broken = False
        try:
            yield connection
        except BaseException as error:
            broken = faults.gone(error) or not isinstance(error, Exception)
            raise
        finally:
            self.put(connection, broken=broken)

    @property
    def state(self) -> tuple[int, int]:
        """How many are in use, and how many are kept."""
        with self._lock:
            return self._out, len(self._free)

    def close(self) -> None:
        """Close those that are free; the others as they come back."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for _, connection in free:
            _shut(connection)


def alive(connection: Any) -> bool:
    """Return whether a connection still answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
    except faults.kinds():
        return False
    return True


def _shut(connection: Any) -> None:
    try:
        connection.close()
    except faults.kinds():
        return  # it is gone already

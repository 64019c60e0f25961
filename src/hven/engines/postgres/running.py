"""A query that PostgreSQL runs: prepared on a kept connection if its answer is small, else streamed by COPY in Arrow batches."""

from __future__ import annotations

import queue
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from adbc_driver_manager._reader import AdbcRecordBatchReader
from psycopg.pq import ExecStatus

from hven.engines._clock import AGAIN, Timed, weakly
from hven.engines.postgres import faults
from hven.engines.postgres.dialect import storage
from hven.engines.postgres.install import quote
from hven.engines.postgres.staging import folded, paired, sendable
from hven.model.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from psycopg.pq.abc import PGresult

    from hven.engines import Limits
    from hven.engines.postgres.machine import Machine
    from hven.engines.postgres.sessions import Pool
    from hven.model.table import Table

QUICK = 2_000  # rows that come as one result; more are streamed
FEW = 200  # rows that are written out in less time than a thread is found for them
QUICKLY = 0.02  # seconds that the answers of a plan take, usually, for which no thread is held
TUPLES = int(ExecStatus.TUPLES_OK)
LATE = 12 * QUICKLY  # what counts for an answer that nobody could wait for
# pg_type.oid
PLAIN = {pa.int16(): 21, pa.int32(): 23, pa.int64(): 20, pa.float32(): 700, pa.float64(): 701, pa.string(): 25}
AHEAD = 2  # batches that are read before they are asked for
FIRST = 256 * 1024  # bytes of the first batch, about: it comes in a seventh of the time that one of the others takes
REST = 2 * 1024**2  # and of the others: with more all of them come no sooner


class Work:
    """What is to be run.

    Attributes
    ----------
    quick
        True if the answer is probably small: it is asked for with a limit first.
    uploads
        Rows in memory: name of the temporary table, its columns, the rows.
    soon
        True if the first rows are given as soon as there are some.
    """

    __slots__ = ("arguments", "asked", "quick", "soon", "streamed", "uploads")

    def __init__(
        self,
        *,
        asked: str,
        streamed: str,
        arguments: Sequence[str],
        quick: bool = False,
        uploads: Sequence[tuple[str, Table, pa.Table]] = (),
        soon: bool = True,
    ) -> None:
        self.asked = asked
        self.streamed = streamed
        self.arguments = arguments
        self.quick = quick and not uploads
        self.uploads = uploads
        self.soon = soon


class PostgresExecution(Timed):
    """A running query (`hven.engines.Execution`). Nothing happens before somebody iterates; then it can be stopped from any thread."""

    computed = False
    awaited: int | None = None

    def __init__(
        self,
        engine: Machine,
        schema: pa.Schema,
        work: Callable[[], Work],
        limits: Limits,
        *,
        number: str = faults.NUMBER,
        pace: Pace | None = None,
        plain: tuple[int, ...] | None = None,
    ) -> None:
        self.schema = schema
        self._asked = 0.0  # when
        self._made: Work | None = None  # what was sent
        self._pace = Pace() if pace is None else pace
        self._sent: tuple[Any, PGresult | None] | None = None  # a connection that was asked, and its answer
        self._engine = engine
        self._watch = engine.watch
        self._work = work
        self._number = number
        self._plain = plain
        self._limits = limits
        self._lock = threading.Lock()
        self._stopped: str | None = None
        self._over = False
        self._stop: Callable[[], None] | None = None  # how to interrupt what runs now
        self._interrupted = False
        self._batches: Generator[pa.RecordBatch] | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        begun = False
        if not self.small:
            self._count()
        self._batches = running = self._run()
        try:
            while True:
                try:
                    batch = next(running, None)
                except faults.kinds() as error:
                    if begun or self._stopped is not None or not (faults.gone(error) or self._without(error)):
                        raise self._translate(error) from error
                    # a kept connection whose server was away, or an extension that is gone: once more, without it
                    begun = True
                    self._batches = running = self._run()
                    continue
                if self._stopped is not None:
                    raise self._translate(InterruptedError())
                if batch is None:
                    return
                begun = True
                if batch.num_rows:
                    yield batch
        finally:
            self.close()

    def _without(self, error: Exception) -> bool:
        """Check whether the database lost an extension, or a copy for readers, and let the engine look what it has now."""
        reaches = self._engine.reaches
        if faults.state(error) == "42P01" and reaches is not None:
            return reaches.forget()
        return faults.lacking(error) and self._engine.look_again()

    # --- the two ways

    def _run(self) -> Generator[pa.RecordBatch]:
        if self._stopped is not None:
            raise self._translate(InterruptedError())
        # once more, on a new connection: the names may be others then
        work, self._made = self._made or self._work(), None
        wanted = None if self._limits.rows is None else self._limits.rows + 1
        if work.quick:
            rows = self._ask(work, self._most())
            if len(rows) <= QUICK:
                self.computed = True
                if rows:
                    yield gathered(rows, self.schema)
                return
        yield from self._streamed(work, wanted)

    def send(self) -> None:
        """Ask now, and do not wait: the answer will show at `awaited`, and no thread need be held for it.

        A statement that no free connection has prepared is not sent. Of an answer that takes too long, and of an error, learns who iterates.
        """
        work = self._made = self._work()
        connection = self._engine.askers.free() if work.quick else None
        if connection is None:
            return
        self._asked = time.monotonic()
        try:
            sent = connection.send(*_limited(work, self._most()))
        except faults.kinds():
            self._engine.askers.put(connection, broken=True)  # it is asked once more, on a new one
            return
        if sent:
            self._sent = connection, None
            self.awaited = connection.pgconn.socket
        else:
            self._engine.askers.put(connection)

    def arrived(self) -> bool:
        """Check whether the answer has come; see `hven.engines.Execution`."""
        if self.awaited is None or self._sent is None:
            return self.small
        connection, _ = self._sent
        try:
            result = connection.come()
        except faults.kinds():
            self.awaited = self._sent = None
            self._engine.askers.put(connection, broken=True)
            return False
        if result is not None:
            self.awaited = None
            self._sent = connection, result
            self.small = result.status == TUPLES and result.ntuples <= FEW
            took = time.monotonic() - self._asked
            self._pace.waited(took if self.small else max(took, LATE), self._engine.askers.out)
        return self.small

    def few(self) -> list[tuple[Any, ...]] | None:
        """Return all rows of an answer that has arrived, if psycopg's values are those of the Arrow types; see `hven.engines.Execution`."""
        with self._lock:
            if not self.small or self._sent is None or self._stopped is not None:
                return None
            connection, result = self._sent
            if result is None or self._plain != tuple(map(result.ftype, range(result.nfields))):
                return None
            try:
                found: list[tuple[Any, ...]] = connection.rows(result)
            except faults.kinds():
                return None  # whoever iterates learns of it
            return found

    def _most(self) -> int:
        """Return how many rows of a small answer are asked for."""
        return QUICK + 1 if self._limits.rows is None else min(self._limits.rows, QUICK) + 1

    def _ask(self, work: Work, most: int) -> list[tuple[Any, ...]]:
        """Ask for a small answer, by a statement that is prepared once on each connection."""
        with self._lock:
            sent, self._sent = self._sent, None
        with self._borrowed(self._engine.askers, sent) as connection:
            self._running(connection.cancel)
            found: list[tuple[Any, ...]]
            if sent is None:
                found = connection.fetched(*_limited(work, most))
                self._pace.elsewhere()
            elif sent[1] is None:
                found = connection.rows(connection.answer())
                self._pace.waited(LATE, self._engine.askers.out)
            else:
                found = connection.rows(sent[1])
            self._running(None)
            return found

    def _streamed(self, work: Work, wanted: int | None) -> Iterator[pa.RecordBatch]:
        """Read an answer of any size with flat memory."""
        sql = work.streamed if wanted is None else f"SELECT * FROM ({work.streamed}) AS q LIMIT {int(wanted)}"
        with self._borrowed(self._engine.streams) as connection:
            cursor = connection.cursor()
            complete = False
            rows: Ahead | None = None
            try:
                self._running(cursor.adbc_cancel)
                cursor.execute("BEGIN")
                self._prepare(cursor, work)
                _sized(cursor, FIRST if work.soon else REST)
                cursor.execute(sql)
                reader = batches(cursor)
                rows = Ahead(reader, lambda: _sized(cursor, REST))
                step = self._limits.step(len(self.schema))
                for batch in rows:
                    for begin in range(0, batch.num_rows, step):
                        yield fit(batch.slice(begin, step), self.schema)
                reader.close()
                complete = True
            finally:
                self._running(None)
                if not complete:
                    self._interrupted = True
                    self._quietly(cursor.adbc_cancel)
                if rows is not None:
                    rows.close(lambda: self._quietly(cursor.adbc_cancel))
                self._quietly(cursor.close)
                if complete:
                    with connection.cursor() as last:
                        last.execute("ROLLBACK")

    def _prepare(self, cursor: Any, work: Work) -> None:
        """Set the parameters and send the rows in memory; after this the transaction can only read."""
        if work.uploads:
            cursor.execute("SET TRANSACTION READ WRITE")
            for name, table, rows in work.uploads:
                listed = ", ".join(
                    f"{quote(column.name)} {storage(column.type)}"
                    + (' COLLATE "C"' if storage(column.type) == "text" else "")
                    for column in table.columns
                )
                cursor.execute(f"CREATE TEMPORARY TABLE {quote(name)} ({listed}) ON COMMIT DROP")
                if not table.columns:
                    cursor.execute(f"INSERT INTO {quote(name)} SELECT FROM generate_series(1, {int(rows.num_rows)})")
                elif rows.num_rows:
                    cursor.adbc_ingest(
                        name,
                        sendable(rows.select([column.name for column in table.columns])).to_reader(65_536),
                        mode="append",
                        temporary=True,
                    )
            cursor.execute("SET TRANSACTION READ ONLY")
        if work.arguments:
            settings = ", ".join(
                f"set_config('hven.p{number}', ${number}, true)" for number in range(1, len(work.arguments) + 1)
            )
            cursor.execute(f"SELECT {settings}", list(work.arguments))
            cursor.fetchall()

    # --- stopping

    def _borrowed(self, pool: Pool, sent: tuple[Any, object] | None = None) -> Borrowed:
        return Borrowed(self, pool, None if sent is None else sent[0])

    def _running(self, stop: Callable[[], None] | None) -> None:
        with self._lock:
            self._stop = stop
        if stop is not None and self._stopped is not None:
            raise self._translate(InterruptedError())

    @property
    def under_way(self) -> bool:
        """See `Timed`."""
        return not self._over

    def stop(self, why: str) -> None:
        """See `Timed`."""
        with self._lock:
            if self._over or self._stopped is not None:
                return
            self._stopped = why
        self._interrupt()

    def _interrupt(self) -> None:
        """Interrupt, and again until it is over: the server forgets a cancellation that comes just before the statement."""
        with self._lock:  # once the connection is given back, it must not be interrupted
            if self._over:
                return
            if self._stop is not None:
                self._interrupted = True  # it may come late, so this connection is not used again
                self._quietly(self._stop)
        self._watch.at(time.monotonic() + AGAIN, weakly(self, PostgresExecution._interrupt))

    @property
    def stopped(self) -> bool:
        """True if the query is to end."""
        return self._stopped is not None or self._over

    @property
    def interrupted(self) -> bool:
        """True if the connection may yet be hit by a cancellation."""
        return self._interrupted

    @staticmethod
    def _quietly(call: Callable[[], object]) -> None:
        try:
            call()
        except faults.kinds():
            return  # there is nothing to interrupt any more

    def close(self) -> None:
        """Free everything; see `hven.engines.Execution.close`."""
        with self._lock:
            self._over = True
            batches, self._batches = self._batches, None
            sent, self._sent = self._sent, None
            self.awaited = None
        if sent is not None:  # nobody wants the answer any more
            if sent[1] is None:
                self._quietly(sent[0].cancel)
            self._engine.askers.put(sent[0], used_up=sent[1] is None)
        if batches is not None:
            batches.close()

    def __del__(self) -> None:
        self._over = True

    def _translate(self, error: Exception) -> Exception:
        if isinstance(error, InterruptedError) and self._stopped is None:
            return Cancelled("the query was cancelled")
        clock = self._limits.clock
        return faults.translate(
            error,
            where=self._engine.where,
            stopped=self._stopped,
            seconds=None if clock is None else clock.seconds,
            number=self._number,
        )


class Pace:
    """How long the small answers of a plan take, about: whether the next one is asked for before it has its turn and a thread."""

    def __init__(self) -> None:
        self._usual = 0.0
        self._begun = False  # for the first answer statements are written and connections made

    def waited(self, seconds: float, together: int) -> None:
        """Learn from an answer that was waited for, with so many `together`: they shared the server's time; the last ones count."""
        self._usual += (seconds / max(together, 1) - self._usual) / 5

    def elsewhere(self) -> None:
        """Forget a little, for an answer that came in another thread: so it is tried again after some tens of them."""
        self._begun = True
        self._usual *= 0.97

    @property
    def quick(self) -> bool:
        """True if answers usually come soon."""
        return self._begun and self._usual < QUICKLY


def _limited(work: Work, most: int) -> tuple[str, list[str]]:
    """Return the statement that asks for so many rows at most, and its parameters."""
    return f"SELECT * FROM ({work.asked}) AS q LIMIT ${len(work.arguments) + 1}::bigint", [*work.arguments, str(most)]


class Borrowed:
    """A connection for as long as a query needs it; it is thrown away if a cancellation may be on its way to it."""

    def __init__(self, execution: PostgresExecution, pool: Pool, taken: Any = None) -> None:
        self._execution = execution
        self._pool = pool
        self._connection = taken

    def __enter__(self) -> Any:
        if self._connection is None:
            self._connection = self._pool.take()
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        gone = error is not None and faults.gone(error)
        self._pool.put(
            self._connection,
            broken=gone,
            used_up=error is not None and (self._execution.interrupted or not isinstance(error, Exception)),
        )


class Ahead:
    """Reads some batches ahead, in a thread of its own: while rows are written out, the next ones are sent and decoded; `begun` is called behind the first."""

    def __init__(self, reader: Iterator[pa.RecordBatch], begun: Callable[[], None] = lambda: None) -> None:
        self._reader = reader
        self._begun = begun
        self._coming: queue.SimpleQueue[pa.RecordBatch | BaseException | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(AHEAD)
        self._left = False
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        first = next(self._reader, None)
        if first is None:
            return
        self._begun()
        self._thread = threading.Thread(target=self._read, name="hven-rows-ahead", daemon=True)
        self._thread.start()
        yield first
        del first
        while (item := self._coming.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            self._room.release()
            yield item

    def _read(self) -> None:
        try:
            while self._room.acquire() and not self._left:
                batch = next(self._reader, None)
                self._coming.put(batch)
                if batch is None:
                    return
        except BaseException as error:  # noqa: BLE001  (who iterates raises it)
            self._coming.put(error)

    def close(self, cancel: Callable[[], None]) -> None:
        """Stop reading, and wait until nobody reads any more; `cancel` interrupts a read that lasts."""
        self._left = True
        self._room.release()
        thread, self._thread = self._thread, None
        while thread is not None and thread.is_alive():
            thread.join(AGAIN)
            if thread.is_alive():
                cancel()


def _sized(cursor: Any, size: int) -> None:
    """Ask for batches of so many bytes, about; the driver looks at it with each batch."""
    cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(size)})


def batches(cursor: Any) -> Any:
    """Return a reader of the answer whose errors keep their SQLSTATE, which `fetch_record_batch` drops."""
    handle = cursor.fetch_arrow()  # it frees the stream when it goes
    return AdbcRecordBatchReader._import_from_c(handle.address)  # noqa: SLF001  (there is no other way to it)


def gathered(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    """Make a batch of a few rows."""
    kind = _record(schema)
    if kind is not None:  # one conversion of all: half the time of one for each column
        return pa.RecordBatch.from_struct_array(pa.array(rows, kind))
    columns = []
    for column, item in zip(zip(*rows, strict=True), schema, strict=True):
        if paired(item.type):
            columns.append(folded(pa.array(column, pa.list_(item.type.value_type.value_type)), item.type))
        else:
            columns.append(pa.array(column, item.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def plain(schema: pa.Schema) -> tuple[int, ...] | None:
    """Return PostgreSQL's types for a schema whose values are the same in Python whether they come by way of Arrow or not; else None."""
    found = [PLAIN.get(kind) for kind in schema.types]
    return None if None in found else tuple(oid for oid in found if oid is not None)


@lru_cache(maxsize=1024)
def _record(schema: pa.Schema) -> pa.StructType | None:
    """Return the type of a row; None if a column of it is told in another form."""
    return None if any(paired(item.type) for item in schema) else pa.struct(schema)


def fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast the columns of a result to the promised names and types."""
    columns = []
    for column, item in zip(batch.columns, schema, strict=True):
        kind = item.type
        if paired(kind):
            column = folded(column.cast(pa.list_(kind.value_type.value_type)), kind)  # noqa: PLW2901  (the same column)
        elif pa.types.is_fixed_size_list(kind) and not pa.types.is_fixed_size_list(column.type):
            column = column.cast(pa.list_(kind.value_type))  # noqa: PLW2901  (the same column)
        columns.append(column if column.type.equals(kind) else column.cast(kind))
    return pa.RecordBatch.from_arrays(columns, schema=schema)

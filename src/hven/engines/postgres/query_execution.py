"""A query that PostgreSQL runs.

Prepared on a kept connection if its answer is small, else streamed by COPY in Arrow batches.
"""

from __future__ import annotations

import queue
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from adbc_driver_manager._reader import AdbcRecordBatchReader
from psycopg.pq import ExecStatus

from hven.engines._query_deadlines import STOP_RETRY_SECONDS, TimedExecution, build_weak_callback
from hven.engines.postgres import error_translation
from hven.engines.postgres.dialect import get_storage_type
from hven.engines.postgres.schema_installation import quote_identifier
from hven.engines.postgres.staging import fold_complex_lists, is_complex_list, to_copy_types
from hven.model.errors import OperationCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from psycopg.pq.abc import PGresult

    from hven.engines import ExecutionLimits
    from hven.engines.postgres.connection_pool import ConnectionPool
    from hven.engines.postgres.engine_protocol import PostgresEngineProtocol
    from hven.model.table import Table

MAX_QUICK_ROWS = 2_000  # rows that come as one result; more are streamed
MAX_INLINE_ROWS = 200  # rows that are written out in less time than a thread is found for them
MAX_QUICK_SECONDS = 0.02  # seconds that the answers of a plan take, usually, for which no thread is held
TUPLES_OK_STATUS = int(ExecStatus.TUPLES_OK)
LATE_ANSWER_SECONDS = 12 * MAX_QUICK_SECONDS  # what counts for an answer that nobody could wait for
# pg_type.oid
PLAIN_TYPE_OIDS = {
    pa.int16(): 21,
    pa.int32(): 23,
    pa.int64(): 20,
    pa.float32(): 700,
    pa.float64(): 701,
    pa.string(): 25,
}
MAX_BATCHES_AHEAD = 2  # batches that are read before they are asked for
FIRST_BATCH_BYTES = (
    256 * 1024
)  # bytes of the first batch, about: it comes in a seventh of the time that one of the others takes
BATCH_BYTES = 2 * 1024**2  # and of the others: with more all of them come no sooner


class QueryWork:
    """What is to be run.

    Attributes
    ----------
    is_quick
        True if the answer is probably small: it is asked for with a limit first.
    uploads
        Rows in memory: name of the temporary table, its columns, the rows.
    sends_early
        True if the first rows are given as soon as there are some.
    """

    __slots__ = ("arguments", "copy_sql", "is_quick", "prepared_sql", "sends_early", "uploads")

    def __init__(
        self,
        *,
        prepared_sql: str,
        copy_sql: str,
        arguments: Sequence[str],
        quick: bool = False,
        uploads: Sequence[tuple[str, Table, pa.Table]] = (),
        sends_early: bool = True,
    ) -> None:
        self.prepared_sql = prepared_sql
        self.copy_sql = copy_sql
        self.arguments = arguments
        self.is_quick = quick and not uploads
        self.uploads = uploads
        self.sends_early = sends_early


class PostgresExecution(TimedExecution):
    """A running query (`hven.engines.QueryExecution`). Nothing happens before somebody iterates.

    Then it can be stopped from any thread.
    """

    is_computed = False
    awaited_file_descriptor: int | None = None

    def __init__(
        self,
        engine: PostgresEngineProtocol,
        schema: pa.Schema,
        build_work: Callable[[], QueryWork],
        limits: ExecutionLimits,
        *,
        number_words: str = error_translation.NUMBER_WORDS,
        pace: AnswerPace | None = None,
        plain_type_oids: tuple[int, ...] | None = None,
    ) -> None:
        self.schema = schema
        self._request_time = 0.0  # when
        self._sent_work: QueryWork | None = None  # what was sent
        if pace is None:
            self._answer_pace = AnswerPace()
        else:
            self._answer_pace = pace
        self._sent_request: tuple[Any, PGresult | None] | None = None  # a connection that was asked, and its answer
        self._engine = engine
        self._deadline_watcher = engine.deadline_watcher
        self._build_work = build_work
        self._number_words = number_words
        self._plain_type_oids = plain_type_oids
        self._limits = limits
        self._lock = threading.Lock()
        self._stop_reason: str | None = None
        self._is_over = False
        self._interrupt_running: Callable[[], None] | None = None  # how to interrupt what runs now
        self._is_interrupted = False
        self._running_batches: Generator[pa.RecordBatch] | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        begun = False
        if not self.small:
            self._start_deadline()
        self._running_batches = running = self._run_query()
        try:
            while True:
                try:
                    batch = next(running, None)
                except error_translation.list_driver_errors() as error:
                    if (
                        begun
                        or self._stop_reason is not None
                        or not (error_translation.is_connection_lost(error) or self._can_retry_without(error))
                    ):
                        raise self._translate_error(error) from error
                    # a kept connection whose server was away, or an extension that is gone: once more, without it
                    begun = True
                    self._running_batches = running = self._run_query()
                    continue
                if self._stop_reason is not None:
                    raise self._translate_error(InterruptedError())
                if batch is None:
                    return
                begun = True
                if batch.num_rows:
                    yield batch
        finally:
            self.close()

    def _can_retry_without(self, error: Exception) -> bool:
        """Check whether the database lost an extension, or a copy for readers, and let the engine look what it has now."""
        copies = self._engine.accessible_copies
        if error_translation.get_sqlstate(error) == "42P01" and copies is not None:
            return copies.forget_copies()
        return error_translation.is_extension_missing(error) and self._engine.reload_features()

    # --- the two ways

    def _run_query(self) -> Generator[pa.RecordBatch]:
        if self._stop_reason is not None:
            raise self._translate_error(InterruptedError())
        # once more, on a new connection: the names may be others then
        work = self._sent_work or self._build_work()
        self._sent_work = None
        if self._limits.row_limit is None:
            row_limit = None
        else:
            row_limit = self._limits.row_limit + 1
        if work.is_quick:
            rows = self._fetch_small_answer(work, self._compute_small_limit())
            if len(rows) <= MAX_QUICK_ROWS:
                self.is_computed = True
                if rows:
                    yield build_batch(rows, self.schema)
                return
        yield from self._stream_batches(work, row_limit)

    def send_request(self) -> None:
        """Ask now, and do not wait: the answer will show at `awaited_file_descriptor`, and no thread need be held for it.

        A statement that no free connection has prepared is not sent. Of an answer that takes too long, and of an error,
        learns who iterates.
        """
        work = self._sent_work = self._build_work()
        if work.is_quick:
            connection = self._engine.query_pool.take_free_connection()
        else:
            connection = None
        if connection is None:
            return
        self._request_time = time.monotonic()
        try:
            limited_statement = _build_limited_statement(work, self._compute_small_limit())
            is_sent = connection.send_statement(*limited_statement)
        except error_translation.list_driver_errors():
            self._engine.query_pool.return_connection(connection, is_broken=True)  # it is asked once more, on a new one
            return
        if is_sent:
            self._sent_request = connection, None
            self.awaited_file_descriptor = connection.pgconn.socket
        else:
            self._engine.query_pool.return_connection(connection)

    def has_arrived(self) -> bool:
        """Check whether the answer has come; see `hven.engines.QueryExecution`."""
        if self.awaited_file_descriptor is None or self._sent_request is None:
            return self.small
        connection, _ = self._sent_request
        try:
            result = connection.receive_result()
        except error_translation.list_driver_errors():
            self.awaited_file_descriptor = self._sent_request = None
            self._engine.query_pool.return_connection(connection, is_broken=True)
            return False
        if result is not None:
            self.awaited_file_descriptor = None
            self._sent_request = connection, result
            self.small = result.status == TUPLES_OK_STATUS and result.ntuples <= MAX_INLINE_ROWS
            took = time.monotonic() - self._request_time
            self._answer_pace.add_answer_time(
                took if self.small else max(took, LATE_ANSWER_SECONDS), self._engine.query_pool.borrowed_count
            )
        return self.small

    def read_small_answer(self) -> list[tuple[Any, ...]] | None:
        """Return all rows of an answer that has arrived, if psycopg's values are those of the Arrow types.

        See `hven.engines.QueryExecution`.
        """
        with self._lock:
            if not self.small or self._sent_request is None or self._stop_reason is not None:
                return None
            connection, result = self._sent_request
            if result is None or self._plain_type_oids != tuple(map(result.ftype, range(result.nfields))):
                return None
            try:
                rows: list[tuple[Any, ...]] = connection.decode_rows(result)
            except error_translation.list_driver_errors():
                return None  # whoever iterates learns of it
            return rows

    def _compute_small_limit(self) -> int:
        """Return how many rows of a small answer are asked for."""
        if self._limits.row_limit is None:
            return MAX_QUICK_ROWS + 1
        return min(self._limits.row_limit, MAX_QUICK_ROWS) + 1

    def _fetch_small_answer(self, work: QueryWork, row_limit: int) -> list[tuple[Any, ...]]:
        """Ask for a small answer, by a statement that is prepared once on each connection."""
        with self._lock:
            sent_request = self._sent_request
            self._sent_request = None
        with self._borrow_connection(self._engine.query_pool, sent_request) as connection:
            self._set_interrupt(connection.cancel)
            rows: list[tuple[Any, ...]]
            if sent_request is None:
                rows = connection.fetch_all(*_build_limited_statement(work, row_limit))
                self._answer_pace.reduce_mean()
            elif sent_request[1] is None:
                rows = connection.decode_rows(connection.wait_for_result())
                self._answer_pace.add_answer_time(LATE_ANSWER_SECONDS, self._engine.query_pool.borrowed_count)
            else:
                rows = connection.decode_rows(sent_request[1])
            self._set_interrupt(None)
            return rows

    def _stream_batches(self, work: QueryWork, row_limit: int | None) -> Iterator[pa.RecordBatch]:
        """Read an answer of any size with flat memory."""
        if row_limit is None:
            sql = work.copy_sql
        else:
            sql = f"SELECT * FROM ({work.copy_sql}) AS q LIMIT {int(row_limit)}"
        with self._borrow_connection(self._engine.stream_pool) as connection:
            cursor = connection.cursor()
            is_complete = False
            batches_ahead: BatchReadAhead | None = None
            try:
                self._set_interrupt(cursor.adbc_cancel)
                cursor.execute("BEGIN")
                self._prepare_transaction(cursor, work)
                _set_batch_size(cursor, FIRST_BATCH_BYTES if work.sends_early else BATCH_BYTES)
                cursor.execute(sql)
                reader = open_batch_reader(cursor)
                batches_ahead = BatchReadAhead(reader, lambda: _set_batch_size(cursor, BATCH_BYTES))
                batch_rows = self._limits.compute_batch_rows(len(self.schema))
                for batch in batches_ahead:
                    for begin in range(0, batch.num_rows, batch_rows):
                        yield cast_batch(batch.slice(begin, batch_rows), self.schema)
                reader.close()
                is_complete = True
            finally:
                self._set_interrupt(None)
                if not is_complete:
                    self._is_interrupted = True
                    self._ignore_driver_errors(cursor.adbc_cancel)
                if batches_ahead is not None:
                    batches_ahead.close(lambda: self._ignore_driver_errors(cursor.adbc_cancel))
                self._ignore_driver_errors(cursor.close)
                if is_complete:
                    with connection.cursor() as last_cursor:
                        last_cursor.execute("ROLLBACK")

    def _prepare_transaction(self, cursor: Any, work: QueryWork) -> None:
        """Set the parameters and send the rows in memory; after this the transaction can only read."""
        if work.uploads:
            cursor.execute("SET TRANSACTION READ WRITE")
            for name, table, rows in work.uploads:
                column_definitions = ", ".join(
                    f"{quote_identifier(column.name)} {get_storage_type(column.type)}"
                    + (' COLLATE "C"' if get_storage_type(column.type) == "text" else "")
                    for column in table.columns
                )
                cursor.execute(f"CREATE TEMPORARY TABLE {quote_identifier(name)} ({column_definitions}) ON COMMIT DROP")
                if not table.columns:
                    cursor.execute(
                        f"INSERT INTO {quote_identifier(name)} SELECT FROM generate_series(1, {int(rows.num_rows)})"
                    )
                elif rows.num_rows:
                    cursor.adbc_ingest(
                        name,
                        to_copy_types(rows.select([column.name for column in table.columns])).to_reader(65_536),
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

    def _borrow_connection(
        self, pool: ConnectionPool, sent_request: tuple[Any, object] | None = None
    ) -> BorrowedConnection:
        return BorrowedConnection(self, pool, None if sent_request is None else sent_request[0])

    def _set_interrupt(self, interrupt: Callable[[], None] | None) -> None:
        with self._lock:
            self._interrupt_running = interrupt
        if interrupt is not None and self._stop_reason is not None:
            raise self._translate_error(InterruptedError())

    @property
    def is_running(self) -> bool:
        """See `TimedExecution`."""
        return not self._is_over

    def stop(self, reason: str) -> None:
        """See `TimedExecution`."""
        with self._lock:
            if self._is_over or self._stop_reason is not None:
                return
            self._stop_reason = reason
        self._interrupt_query()

    def _interrupt_query(self) -> None:
        """Interrupt, and again until it is over.

        The server forgets a cancellation that comes just before the statement.
        """
        with self._lock:  # once the connection is given back, it must not be interrupted
            if self._is_over:
                return
            if self._interrupt_running is not None:
                self._is_interrupted = True  # it may come late, so this connection is not used again
                self._ignore_driver_errors(self._interrupt_running)
        self._deadline_watcher.call_at(
            time.monotonic() + STOP_RETRY_SECONDS, build_weak_callback(self, PostgresExecution._interrupt_query)
        )

    @property
    def is_stopped(self) -> bool:
        """True if the query is to end."""
        return self._stop_reason is not None or self._is_over

    @property
    def is_interrupted(self) -> bool:
        """True if the connection may yet be hit by a cancellation."""
        return self._is_interrupted

    @staticmethod
    def _ignore_driver_errors(callback: Callable[[], object]) -> None:
        try:
            callback()
        except error_translation.list_driver_errors():
            return  # there is nothing to interrupt any more

    def close(self) -> None:
        """Free everything; see `hven.engines.QueryExecution.close`."""
        with self._lock:
            self._is_over = True
            batches = self._running_batches
            self._running_batches = None
            sent_request = self._sent_request
            self._sent_request = None
            self.awaited_file_descriptor = None
        if sent_request is not None:  # nobody wants the answer any more
            if sent_request[1] is None:
                self._ignore_driver_errors(sent_request[0].cancel)
            self._engine.query_pool.return_connection(sent_request[0], is_used_up=sent_request[1] is None)
        if batches is not None:
            batches.close()

    def __del__(self) -> None:
        self._is_over = True

    def _translate_error(self, error: Exception) -> Exception:
        if isinstance(error, InterruptedError) and self._stop_reason is None:
            return OperationCancelledError("the query was cancelled")
        deadline = self._limits.deadline
        timeout_seconds = None if deadline is None else deadline.limit_seconds
        return error_translation.translate_error(
            error,
            server_name=self._engine.server_name,
            stop_reason=self._stop_reason,
            timeout_seconds=timeout_seconds,
            number_words=self._number_words,
        )


class AnswerPace:
    """How long the small answers of a plan take, about.

    Whether the next one is asked for before it has its turn and a thread.
    """

    def __init__(self) -> None:
        self._mean_seconds = 0.0
        self._has_begun = False  # for the first answer statements are written and connections made

    def add_answer_time(self, duration_seconds: float, concurrent_count: int) -> None:
        """Learn from an answer that was waited for, with so many `concurrent_count`: they shared the server's time.

        The last ones count.
        """
        self._mean_seconds += (duration_seconds / max(concurrent_count, 1) - self._mean_seconds) / 5

    def reduce_mean(self) -> None:
        """Forget a little, for an answer that came in another thread: so it is tried again after some tens of them."""
        self._has_begun = True
        self._mean_seconds *= 0.97

    @property
    def is_quick(self) -> bool:
        """True if answers usually come soon."""
        return self._has_begun and self._mean_seconds < MAX_QUICK_SECONDS


def _build_limited_statement(work: QueryWork, row_limit: int) -> tuple[str, list[str]]:
    """Return the statement that asks for so many rows at most, and its parameters."""
    return f"SELECT * FROM ({work.prepared_sql}) AS q LIMIT ${len(work.arguments) + 1}::bigint", [
        *work.arguments,
        str(row_limit),
    ]


class BorrowedConnection:
    """A connection for as long as a query needs it; it is thrown away if a cancellation may be on its way to it."""

    def __init__(self, execution: PostgresExecution, pool: ConnectionPool, connection: Any = None) -> None:
        self._execution = execution
        self._pool = pool
        self._connection = connection

    def __enter__(self) -> Any:
        if self._connection is None:
            self._connection = self._pool.take_connection()
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        is_lost = error is not None and error_translation.is_connection_lost(error)
        self._pool.return_connection(
            self._connection,
            is_broken=is_lost,
            is_used_up=error is not None and (self._execution.is_interrupted or not isinstance(error, Exception)),
        )


class BatchReadAhead:
    """Reads some batches ahead, in a thread of its own: while rows are written out, the next ones are sent and decoded.

    `on_first_batch` is called behind the first.
    """

    def __init__(self, reader: Iterator[pa.RecordBatch], on_first_batch: Callable[[], None] = lambda: None) -> None:
        self._reader = reader
        self._on_first_batch = on_first_batch
        self._read_batches: queue.SimpleQueue[pa.RecordBatch | BaseException | None] = queue.SimpleQueue()
        self._free_places = threading.Semaphore(MAX_BATCHES_AHEAD)
        self._is_abandoned = False
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        first_batch = next(self._reader, None)
        if first_batch is None:
            return
        self._on_first_batch()
        self._thread = threading.Thread(target=self._read_batches_ahead, name="hven-rows-ahead", daemon=True)
        self._thread.start()
        yield first_batch
        del first_batch
        while (item := self._read_batches.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            self._free_places.release()
            yield item

    def _read_batches_ahead(self) -> None:
        try:
            while self._free_places.acquire() and not self._is_abandoned:
                batch = next(self._reader, None)
                self._read_batches.put(batch)
                if batch is None:
                    return
        except BaseException as error:  # noqa: BLE001  (who iterates raises it)
            self._read_batches.put(error)

    def close(self, interrupt_read: Callable[[], None]) -> None:
        """Stop reading, and wait until nobody reads any more; `interrupt_read` interrupts a read that lasts."""
        self._is_abandoned = True
        self._free_places.release()
        thread = self._thread
        self._thread = None
        while thread is not None and thread.is_alive():
            thread.join(STOP_RETRY_SECONDS)
            if thread.is_alive():
                interrupt_read()


def _set_batch_size(cursor: Any, batch_bytes: int) -> None:
    """Ask for batches of so many bytes, about; the driver looks at it with each batch."""
    cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(batch_bytes)})


def open_batch_reader(cursor: Any) -> Any:
    """Return a reader of the answer whose errors keep their SQLSTATE, which `fetch_record_batch` drops."""
    handle = cursor.fetch_arrow()  # it frees the stream when it goes
    return AdbcRecordBatchReader._import_from_c(handle.address)  # noqa: SLF001  (there is no other way to it)


def build_batch(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    """Make a batch of a few rows."""
    struct_type = _find_struct_type(schema)
    if struct_type is not None:  # one conversion of all: half the time of one for each column
        return pa.RecordBatch.from_struct_array(pa.array(rows, struct_type))
    columns = []
    for column, field in zip(zip(*rows, strict=True), schema, strict=True):
        if is_complex_list(field.type):
            columns.append(fold_complex_lists(pa.array(column, pa.list_(field.type.value_type.value_type)), field.type))
        else:
            columns.append(pa.array(column, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def find_plain_type_oids(schema: pa.Schema) -> tuple[int, ...] | None:
    """Return PostgreSQL's types for a schema whose values are the same in Python whether they come by way of Arrow or not; else None."""
    oids = [PLAIN_TYPE_OIDS.get(kind) for kind in schema.types]
    if None in oids:
        return None
    return tuple(oid for oid in oids if oid is not None)


@lru_cache(maxsize=1024)
def _find_struct_type(schema: pa.Schema) -> pa.StructType | None:
    """Return the type of a row; None if a column of it is told in another form."""
    if any(is_complex_list(item.type) for item in schema):
        return None
    return pa.struct(schema)


def cast_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast the columns of a result to the promised names and types."""
    columns = []
    for column, field in zip(batch.columns, schema, strict=True):
        arrow_type = field.type
        if is_complex_list(arrow_type):
            # the same column
            column = fold_complex_lists(column.cast(pa.list_(arrow_type.value_type.value_type)), arrow_type)  # noqa: PLW2901
        elif pa.types.is_fixed_size_list(arrow_type) and not pa.types.is_fixed_size_list(column.type):
            column = column.cast(pa.list_(arrow_type.value_type))  # noqa: PLW2901  (the same column)
        columns.append(column if column.type.equals(arrow_type) else column.cast(arrow_type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)

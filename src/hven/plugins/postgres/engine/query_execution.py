"""A query that PostgreSQL runs.

A small answer comes from a prepared statement on a kept connection. A larger one is streamed by COPY in Arrow batches.
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

from hven.engines.api.executions import STOP_RETRY_SECONDS, TimedExecution, build_weak_callback
from hven.model.errors import OperationCancelledError
from hven.plugins.postgres.engine import error_translation
from hven.plugins.postgres.engine.dialect import get_storage_type
from hven.plugins.postgres.engine.schema_installation import quote_identifier
from hven.plugins.postgres.engine.staging import fold_complex_lists, is_complex_list, to_copy_types

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from psycopg.pq.abc import PGresult

    from hven.engines import ExecutionLimits
    from hven.model.table import Table
    from hven.plugins.postgres.engine.connection_pool import ConnectionPool
    from hven.plugins.postgres.engine.engine_protocol import PostgresEngineProtocol

MAX_QUICK_ROWS = 2_000  # rows that come as one result; longer answers are streamed
MAX_INLINE_ROWS = 200  # rows that are written faster than a thread could be found for them
MAX_QUICK_SECONDS = 0.02  # mean time of the answers of a plan up to which no thread is held for them
TUPLES_OK_STATUS = int(ExecStatus.TUPLES_OK)
LATE_ANSWER_SECONDS = 12 * MAX_QUICK_SECONDS  # time that an answer counts which did not arrive in time
# Values are pg_type.oid.
PLAIN_TYPE_OIDS = {
    pa.int16(): 21,
    pa.int32(): 23,
    pa.int64(): 20,
    pa.float32(): 700,
    pa.float64(): 701,
    pa.string(): 25,
}
MAX_BATCHES_AHEAD = 2  # batches that are read before the client wants them
FIRST_BATCH_BYTES = 256 * 1024  # approximate size of the first batch: it comes in a seventh of the time of the others
BATCH_BYTES = 2 * 1024**2  # approximate size of the others: larger ones are not faster


class ParameterizedQuery:
    """The SQL of a query with its parameters.

    Attributes
    ----------
    is_quick
        True if the answer is probably small: the query runs with a limit first.
    uploads
        Rows in memory: name of the temporary table, its columns, the rows.
    sends_early
        True if the client gets the first rows as soon as there are some.
    """

    __slots__ = ("arguments", "copy_sql", "is_quick", "prepared_sql", "sends_early", "uploads")

    def __init__(
        self,
        *,
        prepared_sql: str,
        copy_sql: str,
        arguments: Sequence[str],
        is_quick: bool = False,
        uploads: Sequence[tuple[str, Table, pa.Table]] = (),
        sends_early: bool = True,
    ) -> None:
        self.prepared_sql = prepared_sql
        self.copy_sql = copy_sql
        self.arguments = arguments
        self.is_quick = is_quick and not uploads
        self.uploads = uploads
        self.sends_early = sends_early


class PostgresExecution(TimedExecution):
    """A running query (`hven.engines.QueryExecution`), which starts with the iteration.

    Any thread can stop it then.
    """

    is_computed = False
    awaited_file_descriptor: int | None = None

    def __init__(
        self,
        engine: PostgresEngineProtocol,
        schema: pa.Schema,
        build_parameterized_query: Callable[[], ParameterizedQuery],
        limits: ExecutionLimits,
        *,
        number_words: str = error_translation.NUMBER_WORDS,
        mean_answer_time: MeanAnswerTime | None = None,
        plain_type_oids: tuple[int, ...] | None = None,
    ) -> None:
        self.schema = schema
        self._request_time = 0.0  # on the monotonic clock
        self._sent_work: ParameterizedQuery | None = None
        if mean_answer_time is None:
            mean_answer_time = MeanAnswerTime()
        self._answer_pace = mean_answer_time
        self._sent_request: tuple[Any, PGresult | None] | None = None  # connection of the request, and its answer
        self._engine = engine
        self._deadline_watcher = engine.deadline_watcher
        self._build_work = build_parameterized_query
        self._number_words = number_words
        self._plain_type_oids = plain_type_oids
        self._limits = limits
        self._lock = threading.Lock()
        self._stop_reason: str | None = None
        self._is_over = False
        self._interrupt_running: Callable[[], None] | None = None  # interrupts the statement that runs now
        self._is_interrupted = False
        self._running_batches: Generator[pa.RecordBatch] | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        has_begun = False
        if not self.small:
            self._start_deadline()
        self._running_batches = batches = self._run_query()
        try:
            while True:
                try:
                    batch = next(batches, None)
                except error_translation.list_driver_error_classes() as error:
                    if has_begun or self._stop_reason is not None or not self._prepare_retry(error):
                        raise self._translate_error(error) from error
                    has_begun = True
                    self._running_batches = batches = self._run_query()
                    continue
                if self._stop_reason is not None:
                    raise self._translate_error(InterruptedError())
                if batch is None:
                    return
                has_begun = True
                if batch.num_rows:
                    yield batch
        finally:
            self.close()

    def _prepare_retry(self, error: Exception) -> bool:
        """Return whether another attempt may succeed, after what the database lost is no longer used.

        The server may have closed a kept connection, or an extension or a copy for readers may be gone.
        """
        if error_translation.is_connection_lost(error):
            return True
        copies = self._engine.accessible_copies
        if error_translation.get_sqlstate(error) == "42P01" and copies is not None:
            return copies.forget_copies()
        return error_translation.is_extension_missing(error) and self._engine.reload_features_of_own_database()

    # --- prepared statements and streams

    def _run_query(self) -> Generator[pa.RecordBatch]:
        if self._stop_reason is not None:
            raise self._translate_error(InterruptedError())
        # In a second attempt the tables may have other names.
        work = self._sent_work or self._build_work()
        self._sent_work = None
        row_limit = self._limits.row_limit
        if row_limit is not None:
            row_limit += 1
        if work.is_quick:
            rows = self._fetch_small_answer(work, self._compute_small_row_limit())
            if len(rows) <= MAX_QUICK_ROWS:
                self.is_computed = True
                if rows:
                    yield build_record_batch(rows, self.schema)
                return
        yield from self._stream_batches(work, row_limit)

    def send_request(self) -> None:
        """Send the query and do not wait: the answer arrives at `awaited_file_descriptor`.

        No thread is held for it. A statement that no free connection has prepared is not sent. If the answer takes too
        long, or is an error, the iteration deals with it.
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
            limited_statement = _build_limited_statement(work, self._compute_small_row_limit())
            is_sent = connection.send_statement(*limited_statement)
        except error_translation.list_driver_error_classes():
            # The iteration sends the query on a new connection.
            self._engine.query_pool.return_connection(connection, is_broken=True)
            return
        if is_sent:
            self._sent_request = connection, None
            self.awaited_file_descriptor = connection.pgconn.socket
        else:
            self._engine.query_pool.return_connection(connection)

    def has_answer_arrived(self) -> bool:
        """Check whether the answer has come; see `hven.engines.QueryExecution`."""
        if self.awaited_file_descriptor is None or self._sent_request is None:
            return self.small
        connection, _ = self._sent_request
        try:
            result = connection.receive_result()
        except error_translation.list_driver_error_classes():
            self.awaited_file_descriptor = self._sent_request = None
            self._engine.query_pool.return_connection(connection, is_broken=True)
            return False
        if result is not None:
            self.awaited_file_descriptor = None
            self._sent_request = connection, result
            self.small = result.status == TUPLES_OK_STATUS and result.ntuples <= MAX_INLINE_ROWS
            answer_seconds = time.monotonic() - self._request_time
            if not self.small:
                answer_seconds = max(answer_seconds, LATE_ANSWER_SECONDS)
            self._answer_pace.add_answer_time(answer_seconds, self._engine.query_pool.borrowed_count)
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
            except error_translation.list_driver_error_classes():
                return None  # the iteration raises it
            return rows

    def _compute_small_row_limit(self) -> int:
        """Return the row limit of the statement for a small answer."""
        if self._limits.row_limit is None:
            return MAX_QUICK_ROWS + 1
        return min(self._limits.row_limit, MAX_QUICK_ROWS) + 1

    def _fetch_small_answer(self, parameterized_query: ParameterizedQuery, row_limit: int) -> list[tuple[Any, ...]]:
        """Fetch a small answer with a statement that is prepared once on each connection."""
        with self._lock:
            sent_request = self._sent_request
            self._sent_request = None
        with self._borrow_connection(self._engine.query_pool, sent_request) as connection:
            self._set_interrupt_unless_stopped(connection.cancel)
            rows: list[tuple[Any, ...]]
            if sent_request is None:
                rows = connection.fetch_all(*_build_limited_statement(parameterized_query, row_limit))
                self._answer_pace.reduce_mean()
            elif sent_request[1] is None:
                rows = connection.decode_rows(connection.wait_for_result())
                self._answer_pace.add_answer_time(LATE_ANSWER_SECONDS, self._engine.query_pool.borrowed_count)
            else:
                rows = connection.decode_rows(sent_request[1])
            self._set_interrupt_unless_stopped(None)
            return rows

    def _stream_batches(
        self, parameterized_query: ParameterizedQuery, row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        """Stream an answer of any size with bounded memory."""
        if row_limit is None:
            sql = parameterized_query.copy_sql
        else:
            sql = f"SELECT * FROM ({parameterized_query.copy_sql}) AS q LIMIT {int(row_limit)}"
        with self._borrow_connection(self._engine.stream_pool) as connection:
            cursor = connection.cursor()
            is_complete = False
            batches_ahead: BatchReadAhead | None = None
            try:
                self._set_interrupt_unless_stopped(cursor.adbc_cancel)
                cursor.execute("BEGIN")
                self._send_query_inputs(cursor, parameterized_query)
                _set_batch_size(cursor, FIRST_BATCH_BYTES if parameterized_query.sends_early else BATCH_BYTES)
                cursor.execute(sql)
                reader = open_batch_reader(cursor)
                batches_ahead = BatchReadAhead(reader, lambda: _set_batch_size(cursor, BATCH_BYTES))
                batch_rows = self._limits.compute_batch_row_count(len(self.schema))
                for batch in batches_ahead:
                    for begin in range(0, batch.num_rows, batch_rows):
                        yield cast_result_batch(batch.slice(begin, batch_rows), self.schema)
                reader.close()
                is_complete = True
            finally:
                self._set_interrupt_unless_stopped(None)
                if not is_complete:
                    self._is_interrupted = True
                    self._call_ignoring_driver_errors(cursor.adbc_cancel)
                if batches_ahead is not None:
                    batches_ahead.close(lambda: self._call_ignoring_driver_errors(cursor.adbc_cancel))
                self._call_ignoring_driver_errors(cursor.close)
                if is_complete:
                    with connection.cursor() as last_cursor:
                        last_cursor.execute("ROLLBACK")

    def _send_query_inputs(self, cursor: Any, parameterized_query: ParameterizedQuery) -> None:
        """Set the parameters and send the rows in memory; after this the transaction can only read."""
        if parameterized_query.uploads:
            cursor.execute("SET TRANSACTION READ WRITE")
            for name, table, rows in parameterized_query.uploads:
                _create_temporary_table(cursor, name, table, rows)
            cursor.execute("SET TRANSACTION READ ONLY")
        if parameterized_query.arguments:
            settings = [
                f"set_config('hven.p{number}', ${number}, true)"
                for number in range(1, len(parameterized_query.arguments) + 1)
            ]
            cursor.execute(f"SELECT {', '.join(settings)}", list(parameterized_query.arguments))
            cursor.fetchall()

    # --- stopping

    def _borrow_connection(
        self, pool: ConnectionPool, sent_request: tuple[Any, object] | None = None
    ) -> BorrowedConnection:
        connection = None
        if sent_request is not None:
            connection = sent_request[0]
        return BorrowedConnection(self, pool, connection)

    def _set_interrupt_unless_stopped(self, interrupt: Callable[[], None] | None) -> None:
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
        self._interrupt_until_finished()

    def _interrupt_until_finished(self) -> None:
        """Interrupt the query, and repeat this until it is over.

        The server ignores a cancellation that comes just before the statement.
        """
        with self._lock:  # a connection that is returned must not be interrupted
            if self._is_over:
                return
            if self._interrupt_running is not None:
                self._is_interrupted = True  # the cancellation may come late, so the connection is not used again
                self._call_ignoring_driver_errors(self._interrupt_running)
        retry_callback = build_weak_callback(self, PostgresExecution._interrupt_until_finished)
        self._deadline_watcher.call_at(time.monotonic() + STOP_RETRY_SECONDS, retry_callback)

    @property
    def is_stopped(self) -> bool:
        """True if the query is to end."""
        return self._stop_reason is not None or self._is_over

    @property
    def is_cancellation_pending(self) -> bool:
        """True if the connection may yet be hit by a cancellation."""
        return self._is_interrupted

    @staticmethod
    def _call_ignoring_driver_errors(callback: Callable[[], object]) -> None:
        try:
            callback()
        except error_translation.list_driver_error_classes():
            return  # the statement is over

    def close(self) -> None:
        """Free all resources; see `hven.engines.QueryExecution.close`."""
        with self._lock:
            self._is_over = True
            batches = self._running_batches
            self._running_batches = None
            sent_request = self._sent_request
            self._sent_request = None
            self.awaited_file_descriptor = None
        if sent_request is not None:  # the answer is not wanted any more
            connection, result = sent_request
            if result is None:
                self._call_ignoring_driver_errors(connection.cancel)
            self._engine.query_pool.return_connection(connection, is_used_up=result is None)
        if batches is not None:
            batches.close()

    def __del__(self) -> None:
        self._is_over = True

    def _translate_error(self, error: Exception) -> Exception:
        if isinstance(error, InterruptedError) and self._stop_reason is None:
            return OperationCancelledError("the query was cancelled")
        deadline = self._limits.deadline
        timeout_seconds = None if deadline is None else deadline.limit_seconds
        return error_translation.translate_postgres_error(
            error,
            server_name=self._engine.server_name,
            stop_reason=self._stop_reason,
            timeout_seconds=timeout_seconds,
            number_words=self._number_words,
        )


class MeanAnswerTime:
    """The mean time of the small answers of a plan.

    It decides whether the next query is sent before it has its turn and a thread.
    """

    def __init__(self) -> None:
        self._mean_seconds = 0.0
        self._has_begun = False  # the first answer takes longer: statements are written, and connections made

    def add_answer_time(self, duration_seconds: float, concurrent_count: int) -> None:
        """Add the time of an answer that was waited for.

        The `concurrent_count` queries of that time shared the server. The last answers count most.
        """
        self._mean_seconds += (duration_seconds / max(concurrent_count, 1) - self._mean_seconds) / 5

    def reduce_mean(self) -> None:
        """Reduce the mean, for an answer that came in another thread: after some tens a new attempt is made."""
        self._has_begun = True
        self._mean_seconds *= 0.97

    @property
    def is_quick(self) -> bool:
        """True if answers usually come quickly."""
        return self._has_begun and self._mean_seconds < MAX_QUICK_SECONDS


def _build_limited_statement(parameterized_query: ParameterizedQuery, row_limit: int) -> tuple[str, list[str]]:
    """Return the statement with a row limit, and its parameters."""
    limit_number = len(parameterized_query.arguments) + 1
    sql = f"SELECT * FROM ({parameterized_query.prepared_sql}) AS q LIMIT ${limit_number}::bigint"
    return sql, [*parameterized_query.arguments, str(row_limit)]


def _create_temporary_table(cursor: Any, table_name: str, table: Table, rows: pa.Table) -> None:
    """Create a temporary table of rows in memory, which lasts until the end of the transaction."""
    column_definitions = []
    for column in table.columns:
        storage_type = get_storage_type(column.type)
        collation = ' COLLATE "C"' if storage_type == "text" else ""
        column_definitions.append(f"{quote_identifier(column.name)} {storage_type}{collation}")
    quoted_name = quote_identifier(table_name)
    cursor.execute(f"CREATE TEMPORARY TABLE {quoted_name} ({', '.join(column_definitions)}) ON COMMIT DROP")
    if not table.columns:
        cursor.execute(f"INSERT INTO {quoted_name} SELECT FROM generate_series(1, {int(rows.num_rows)})")
    elif rows.num_rows:
        copied_rows = to_copy_types(rows.select([column.name for column in table.columns]))
        cursor.adbc_ingest(table_name, copied_rows.to_reader(65_536), mode="append", temporary=True)


class BorrowedConnection:
    """A connection that a query borrows; it is closed if a cancellation may still reach it."""

    def __init__(self, execution: PostgresExecution, pool: ConnectionPool, connection: Any = None) -> None:
        self._execution = execution
        self._pool = pool
        self._connection = connection

    def __enter__(self) -> Any:
        if self._connection is None:
            self._connection = self._pool.take_connection()
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        is_broken = is_used_up = False
        if error is not None:
            is_broken = error_translation.is_connection_lost(error)
            is_used_up = self._execution.is_cancellation_pending or not isinstance(error, Exception)
        self._pool.return_connection(self._connection, is_broken=is_broken, is_used_up=is_used_up)


class BatchReadAhead:
    """A thread that reads some batches ahead: while rows are written, the next ones are sent and decoded.

    It calls `on_first_batch` after the first batch.
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
        except BaseException as error:  # noqa: BLE001  (the iteration raises it)
            self._read_batches.put(error)

    def close(self, interrupt_read: Callable[[], None]) -> None:
        """Stop reading, and wait for the thread; `interrupt_read` interrupts a read that takes long."""
        self._is_abandoned = True
        self._free_places.release()
        thread = self._thread
        self._thread = None
        while thread is not None and thread.is_alive():
            thread.join(STOP_RETRY_SECONDS)
            if thread.is_alive():
                interrupt_read()


def _set_batch_size(cursor: Any, batch_bytes: int) -> None:
    """Set the approximate size of batches; the driver reads the setting for each batch."""
    cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(batch_bytes)})


def open_batch_reader(cursor: Any) -> Any:
    """Return a reader of the answer whose errors keep their SQLSTATE, which `fetch_record_batch` drops."""
    handle = cursor.fetch_arrow()  # it frees the stream when it is deleted
    return AdbcRecordBatchReader._import_from_c(handle.address)  # noqa: SLF001  (there is no public method)


def build_record_batch(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    """Build a batch of a few rows."""
    struct_type = _build_row_struct_type(schema)
    if struct_type is not None:  # one conversion of all columns takes half the time of one for each column
        return pa.RecordBatch.from_struct_array(pa.array(rows, struct_type))
    columns = []
    for values, field in zip(zip(*rows, strict=True), schema, strict=True):
        if is_complex_list(field.type):
            flat_type = pa.list_(field.type.value_type.value_type)
            columns.append(fold_complex_lists(pa.array(values, flat_type), field.type))
        else:
            columns.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def find_plain_type_oids(schema: pa.Schema) -> tuple[int, ...] | None:
    """Return the PostgreSQL types of a schema, by their oid.

    None if some values differ in Python depending on whether they come by way of Arrow.
    """
    oids = [PLAIN_TYPE_OIDS.get(kind) for kind in schema.types]
    if None in oids:
        return None
    return tuple(oid for oid in oids if oid is not None)


@lru_cache(maxsize=1024)
def _build_row_struct_type(schema: pa.Schema) -> pa.StructType | None:
    """Return the type of a row; None if PostgreSQL sends a column in another form."""
    if any(is_complex_list(item.type) for item in schema):
        return None
    return pa.struct(schema)


def cast_result_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast the columns of a result to the names and types of a schema."""
    columns = [_cast_column(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast_column(column: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    if is_complex_list(arrow_type):
        flat_type = pa.list_(arrow_type.value_type.value_type)
        column = fold_complex_lists(column.cast(flat_type), arrow_type)
    elif pa.types.is_fixed_size_list(arrow_type) and not pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(arrow_type.value_type))
    if column.type.equals(arrow_type):
        return column
    return column.cast(arrow_type)

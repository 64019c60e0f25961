"""Execute a query in DuckDB: reused cursors, time limits, cancellation, batches as they are computed."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.engines import QueryExecution
from hven.engines._query_deadlines import STOP_RETRY_SECONDS, DeadlineWatcher, TimedExecution, build_weak_callback
from hven.engines.duckdb.error_translation import ENGINE_ERRORS, translate_duckdb_error
from hven.engines.duckdb.udf_registry import UdfRegistry
from hven.model import deadlines, is_module_installed
from hven.model.errors import OperationCancelledError
from hven.model.literal import format_decimals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import duckdb

    from hven.engines import ExecutionLimits
    from hven.engines.duckdb.engine_protocol import RelationRows


CLOSE_TIMEOUT_SECONDS = 10.0  # time that closing an engine waits for interrupted queries
# DuckDB tries to import these modules for every argument, which takes half a millisecond if one is not installed. This
# is done on import, so that servers have it done before they fork. Arrow looks for pandas once, at its first array of a
# list, and must do so before: it takes None for a module.
pa.array([], pa.int8())
for optional_module in ("pandas", "dateutil"):
    if optional_module not in sys.modules and not is_module_installed(optional_module):
        # None makes an import fail without a search
        sys.modules[optional_module] = None  # type: ignore[assignment]


class CursorPool:
    """Cursors of one DuckDB instance. A cursor serves one query at a time and remembers the tables registered in it.

    The garbage collector may return a cursor, in any thread and at any time, so no method holds a lock meanwhile.
    """

    _MAX_FREE_CURSORS = 16

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.udf_registry = UdfRegistry(connection)
        self._free_cursors: deque[CursorWithTables] = deque()
        self._generation = 0  # increases when a snapshot was removed
        self._interrupted_cursors: SimpleQueue[tuple[CursorWithTables, pa.RecordBatchReader | None] | None]
        self._interrupted_cursors = SimpleQueue()
        self._thread_start_lock = threading.Lock()  # acquired once, to start the thread
        self._cleanup_thread: threading.Thread | None = None

    def take_cursor(self) -> CursorWithTables:
        """Return a free cursor; give it back with `return_cursor`, or with `return_interrupted_cursor`."""
        try:
            return self._free_cursors.pop()
        except IndexError:
            return CursorWithTables(self._connection.cursor(), self._generation)

    def return_cursor(self, cursor: CursorWithTables) -> None:
        """Put back a cursor whose answer was read to its end."""
        cursor.release_temporary_or_stale_tables(self._generation)
        if len(self._free_cursors) < self._MAX_FREE_CURSORS:
            self._free_cursors.append(cursor)
        else:
            cursor.connection.close()

    def return_interrupted_cursor(self, cursor: CursorWithTables, batch_reader: pa.RecordBatchReader | None) -> None:
        """Put back a cursor whose answer was not read to its end; it is reused when DuckDB has ended the stream.

        DuckDB ends an unfinished stream when its connection is used next. `register` does so with the interpreter's
        lock held. A task of that stream that computes a function of Hven may wait for the lock: a deadlock
        (docs/decisions/009-streams.md).
        """
        self._interrupted_cursors.put((cursor, batch_reader))
        if self._thread_start_lock.acquire(blocking=False):
            self._cleanup_thread = threading.Thread(
                target=self._stop_interrupted_queries, name="hven-ends", daemon=True
            )
            self._cleanup_thread.start()

    def _stop_interrupted_queries(self) -> None:
        while (next_one := self._interrupted_cursors.get()) is not None:
            cursor, reader = next_one
            if cursor.stop_query(reader):
                self.return_cursor(cursor)
            else:
                cursor.connection.close()
            del next_one, cursor, reader

    def forget_snapshots(self) -> None:
        """Make every cursor forget its snapshots: free cursors now, the others before they are used again."""
        self._generation += 1
        for _ in range(len(self._free_cursors)):
            try:
                cursor = self._free_cursors.popleft()
            except IndexError:
                return
            self.return_cursor(cursor)

    def close(self) -> None:
        """Close the free cursors, the interrupted ones, and the connection."""
        if not self._thread_start_lock.acquire(blocking=False) and self._cleanup_thread is not None:
            self._interrupted_cursors.put(None)
            self._cleanup_thread.join(CLOSE_TIMEOUT_SECONDS)
        while self._free_cursors:
            self._free_cursors.pop().connection.close()
        self._connection.close()


class CursorWithTables:
    """A DuckDB cursor and the names registered in it."""

    __slots__ = ("_generation", "_kept_tables", "_temporary_names", "connection")

    def __init__(self, connection: duckdb.DuckDBPyConnection, generation: int) -> None:
        self._generation = generation
        self.connection = connection
        self._kept_tables: dict[str, Any] = {}
        self._temporary_names: list[str] = []

    def register_table(self, name: str, table: pa.Table, *, is_reusable: bool) -> None:
        """Register `table` as `name`; `is_reusable` is for tables that later queries read, too (snapshots)."""
        if self._kept_tables.get(name) is table:
            return
        self._kept_tables.pop(name, None)
        self.connection.register(name, table)
        if is_reusable:
            self._kept_tables[name] = table
        else:
            self._temporary_names.append(name)

    def stop_query(self, batch_reader: pa.RecordBatchReader | None) -> bool:
        """Stop the last query and wait for its end, without holding the interpreter's lock.

        Return whether the cursor can be used again.
        """
        try:
            self.connection.interrupt()
            if batch_reader is not None:
                batch_reader.close()
            self.connection.execute("SELECT 1").fetchall()  # `execute` ends a stream without holding that lock
        except ENGINE_ERRORS:
            return False
        return True

    def release_temporary_or_stale_tables(self, generation: int) -> None:
        """Release the tables of the last query, and all tables if a snapshot was removed since."""
        for name in self._temporary_names:
            self.connection.unregister(name)
        self._temporary_names = []
        if len(self._kept_tables) > 200 or generation != self._generation:
            self._generation = generation
            for name in list(self._kept_tables):
                self.connection.unregister(name)
            self._kept_tables = {}


class DuckExecution(TimedExecution):
    """A running query (`hven.engines.QueryExecution`)."""

    def __init__(
        self,
        cursor_pool: CursorPool,
        deadline_watcher: DeadlineWatcher,
        *,
        sql: str,
        arguments: Sequence[Any],
        relations: Mapping[str, RelationRows],
        schema: pa.Schema,
        limits: ExecutionLimits,
        memory_limit: str,
    ) -> None:
        self.schema = schema
        self._cursor_pool = cursor_pool
        self._deadline_watcher = deadline_watcher
        self._limits = limits
        self._memory_limit = memory_limit
        self._lock = threading.Lock()
        self._stop_reason: str | None = None
        self._batch_reader: pa.RecordBatchReader | None = None
        self._is_drained = True  # the cursor has no unread rows
        self._cursor: CursorWithTables | None = None  # for `close`, if taking a cursor fails
        self._cursor = cursor_pool.take_cursor()
        self._start_deadline()
        try:
            for name, rows in relations.items():
                self._cursor.register_table(name, rows.get_table(), is_reusable=rows.is_reusable)
            cursor_pool.udf_registry.define_functions_named_in_sql(sql)
        except BaseException:
            self.close()
            raise
        con: Any = self._cursor.connection
        # DuckDB computes until the first batch in this call, so it is made by iterating, when `cancel` can be called
        self._open_reader: Callable[[], Any] = lambda: con.execute(sql, list(arguments)).to_arrow_reader(
            limits.compute_batch_row_count(len(schema))
        )

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._limits.row_limit is None:
            fetch_limit = None
        else:
            fetch_limit = self._limits.row_limit + 1
        try:
            while fetch_limit is None or fetch_limit > 0:
                if self._stop_reason is not None:
                    raise self._translate_error(InterruptedError("INTERRUPT"))
                try:
                    self._is_drained = False
                    batch = deadlines.offload_computation_if_marked(self._read_next_batch)
                except StopIteration:
                    if self._stop_reason is not None:  # an interrupted stream may end like a complete one
                        raise self._translate_error(InterruptedError("INTERRUPT")) from None
                    self._is_drained = True
                    return
                except ENGINE_ERRORS as error:
                    raise self._translate_error(error) from error
                if fetch_limit is not None:
                    batch = batch.slice(0, fetch_limit)
                    fetch_limit -= batch.num_rows
                if batch.num_rows:
                    yield cast_result_batch(batch, self.schema)
        finally:
            self.close()

    def _read_next_batch(self) -> pa.RecordBatch:
        """Compute the next batch; the first call starts the query."""
        if self._batch_reader is None:
            self._batch_reader = self._open_reader()
        return self._batch_reader.read_next_batch()

    @property
    def is_running(self) -> bool:
        """See `TimedExecution`."""
        return self._cursor is not None

    def stop(self, reason: str) -> None:
        """See `TimedExecution`."""
        with self._lock:
            if self._cursor is None or self._stop_reason is not None:
                return
            self._stop_reason = reason
        self._interrupt_query_repeatedly()

    def _interrupt_query_repeatedly(self) -> None:
        """Interrupt the query, repeatedly until the cursor is given back.

        DuckDB forgets an interrupt that comes just before it begins.
        """
        with self._lock:  # once the cursor is given back, it must not be interrupted
            if self._cursor is None:
                return
            self._cursor.connection.interrupt()
        self._deadline_watcher.call_at(
            time.monotonic() + STOP_RETRY_SECONDS, build_weak_callback(self, DuckExecution._interrupt_query_repeatedly)
        )

    def close(self) -> None:
        """Release everything; see `hven.engines.QueryExecution.close`."""
        with self._lock:
            cursor = self._cursor
            self._cursor = None
            reader = self._batch_reader
            self._batch_reader = None
        if cursor is None:
            return
        if not self._is_drained:
            self._cursor_pool.return_interrupted_cursor(cursor, reader)
            return
        if reader is not None:
            reader.close()
        self._cursor_pool.return_cursor(cursor)

    def __del__(self) -> None:
        self.close()

    def _translate_error(self, error: Exception) -> Exception:
        deadline = self._limits.deadline
        timeout_seconds = None if deadline is None else deadline.limit_seconds
        return translate_duckdb_error(
            error,
            stop_reason=self._stop_reason,
            timeout_seconds=timeout_seconds,
            memory_limit=self._memory_limit,
        )


class ArrowExecution(QueryExecution):
    """Batches that are computed without DuckDB (`hven.engines.QueryExecution`)."""

    def __init__(
        self, schema: pa.Schema, batches: Iterator[pa.RecordBatch], *, is_small: bool, limits: ExecutionLimits
    ) -> None:
        self.schema = schema
        self.small = is_small
        self._batches = batches
        self._limits = limits
        self._cancelled = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._limits.row_limit is None:
            fetch_limit = None
        else:
            fetch_limit = self._limits.row_limit + 1
        while fetch_limit is None or fetch_limit > 0:
            if self._cancelled:
                raise OperationCancelledError("the query was cancelled")
            if self._limits.deadline is not None:
                self._limits.deadline.check()
            batch = next(self._batches, None)
            if batch is None:
                return
            if fetch_limit is not None:
                batch = batch.slice(0, fetch_limit)
                fetch_limit -= batch.num_rows
            if batch.num_rows:
                yield batch

    def cancel(self) -> None:
        """Stop soon."""
        self._cancelled = True

    def close(self) -> None:
        """Release everything."""
        self._batches = iter(())


def cast_result_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast the columns of a result to the promised names and types."""
    if batch.schema.equals(schema):
        return batch
    columns = []
    for column, field in zip(batch.columns, schema, strict=True):
        columns.append(column if column.type.equals(field.type) else cast_result_column(column, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def cast_result_column(column: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    """Cast a column to the promised Arrow type; a value that does not fit is a fault of the binder's types."""
    if pa.types.is_fixed_size_list(arrow_type) and not pa.types.is_fixed_size_list(column.type):
        list_type = pa.list_(arrow_type.value_type)
        return column.cast(list_type).cast(arrow_type)
    if pa.types.is_integer(arrow_type) and (pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        if pa.types.is_decimal(column.type):
            return column.cast(arrow_type, safe=True)
        return column.cast(arrow_type, safe=False)
    if pa.types.is_timestamp(arrow_type) and pa.types.is_timestamp(column.type):
        return column.cast(arrow_type, safe=False)
    return format_decimals(column).cast(arrow_type)

"""A query over tables that are read in place.

It ends in the database as soon as possible, however slowly the client takes the rows. A transaction that stays open
keeps the database from cleaning up, and a session that alters the table waits for it. Therefore a thread fetches the
rows at full speed into memory, and further ones into a file; the client is served from there.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from hven.model.errors import EvaluationError, HvenError, StorageUnavailableError, TimeLimitError
from hven.plugins.postgres.engine import error_translation
from hven.plugins.postgres.engine.query_execution import BorrowedConnection, PostgresExecution

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from hven.plugins.postgres.engine.connection_pool import ConnectionPool
    from hven.plugins.postgres.engine.query_execution import ParameterizedQuery
    from hven.plugins.postgres.live.engine_protocol import LiveEngineProtocol
    from hven.plugins.postgres.live.statement_limiter import ShortStatementLimiter

MAX_MEMORY_BYTES = 64 * 1024**2  # of batches; further ones go to a file
_UNAVAILABLE_STATES = {"28P01", "28000", "3D000", "53300"}
_TABLE_CHANGED_STATES = {"42703", "42P01", "42883", "42804", "42809", "3F000", "0A000", "42704", "42846", "42P22"}


class BatchSpool:
    """A queue of batches from the fetching thread to the client, in memory and, beyond its limit, in a file."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._changed = threading.Condition()
        self._batches: deque[pa.RecordBatch | tuple[int, int]] = deque()
        self._memory_bytes = 0
        self._file: Any = None
        self._file_bytes = 0
        self._is_complete = False
        self._error: BaseException | None = None
        self.is_abandoned = False  # True: the client reads no more

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Add a batch; write it to the file if the memory is full."""
        item: pa.RecordBatch | tuple[int, int] = batch
        if self._memory_bytes + batch.nbytes > MAX_MEMORY_BYTES:
            item = self._write_batch(batch)
        with self._changed:
            if isinstance(item, pa.RecordBatch):
                self._memory_bytes += item.nbytes
            self._batches.append(item)
            self._changed.notify()

    def _write_batch(self, batch: pa.RecordBatch) -> tuple[int, int]:
        """Write a batch to the file; return its offset and its length in bytes."""
        data = batch.serialize()
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as this object)
        offset = self._file_bytes
        self._file.seek(offset)
        self._file.write(data)
        self._file.flush()
        self._file_bytes += data.size
        return offset, data.size

    def _read_batch(self, offset: int, length: int) -> pa.RecordBatch:
        data = os.pread(self._file.fileno(), length, offset)
        return pa.ipc.read_record_batch(pa.py_buffer(data), self._schema)

    def mark_end(self, error: BaseException | None = None) -> None:
        """Mark the end of the batches; `error` is raised behind the last one."""
        with self._changed:
            self._is_complete = True
            self._error = error
            self._changed.notify()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while True:
            with self._changed:
                while not self._batches and not self._is_complete:
                    self._changed.wait()
                if not self._batches:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._batches.popleft()
                if isinstance(item, pa.RecordBatch):
                    self._memory_bytes -= item.nbytes
            if isinstance(item, pa.RecordBatch):
                yield item
            else:
                offset, length = item
                yield self._read_batch(offset, length)

    def close(self) -> None:
        """Drop the batches, and remove the file."""
        self.is_abandoned = True
        with self._changed:
            self._batches.clear()
        if self._file is not None:
            self._file.close()


class LiveExecution(PostgresExecution):
    """A running query over tables that are read in place (`hven.engines.QueryExecution`)."""

    _engine: LiveEngineProtocol

    # A statement is not sent before its turn.
    def _borrow_connection(
        self,
        pool: ConnectionPool,
        sent_request: object = None,  # noqa: ARG002
    ) -> BorrowedConnection:
        return QueuedConnection(self, pool, self._engine.turnstile)

    def _fetch_small_answer(self, parameterized_query: ParameterizedQuery, row_limit: int) -> list[tuple[Any, ...]]:
        try:
            return super()._fetch_small_answer(parameterized_query, row_limit)
        except error_translation.list_driver_error_classes() as error:
            if error_translation.get_sqlstate(error) != "0A000":
                raise
            # The statement was prepared before the table was altered: execute it without preparing it.
            limit_number = len(parameterized_query.arguments) + 1
            sql = f"/* anew */ SELECT * FROM ({parameterized_query.prepared_sql}) AS q LIMIT ${limit_number}::bigint"
            arguments = [*parameterized_query.arguments, str(row_limit)]
            with self._borrow_connection(self._engine.query_pool) as connection, connection.cursor() as cursor:
                self._set_interrupt_unless_stopped(connection.cancel)
                cursor.execute(sql, arguments, prepare=False, binary=True)
                rows: list[tuple[Any, ...]] = cursor.fetchall()
                self._set_interrupt_unless_stopped(None)
                return rows

    def _stream_batches(
        self, parameterized_query: ParameterizedQuery, row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        spool = BatchSpool(self.schema)
        inner = cast("Generator[pa.RecordBatch]", super()._stream_batches(parameterized_query, row_limit))

        def fetch_batches() -> None:
            try:
                for batch in inner:
                    if spool.is_abandoned:
                        break
                    spool.add_batch(batch)
            except BaseException as error:  # noqa: BLE001  (the iteration raises it)
                inner.close()
                spool.mark_end(error)
            else:
                inner.close()
                spool.mark_end()

        thread = threading.Thread(target=fetch_batches, name="live rows", daemon=True)
        thread.start()
        try:
            yield from spool
        finally:
            spool.is_abandoned = True
            stop = self._interrupt_running
            if thread.is_alive() and stop is not None:
                self._call_ignoring_driver_errors(stop)
            thread.join()
            spool.close()

    def _translate_error(self, error: Exception) -> Exception:
        return translate_live_error(error, super()._translate_error(error), self._engine.timeout_seconds)


class QueuedConnection(BorrowedConnection):
    """A connection that a query borrows when its turn has come."""

    def __init__(
        self, execution: PostgresExecution, pool: ConnectionPool, statement_limiter: ShortStatementLimiter
    ) -> None:
        super().__init__(execution, pool)
        self._query_turnstile = statement_limiter
        self._turn_number: int | None = None

    def __enter__(self) -> Any:
        self._turn_number = self._query_turnstile.wait_for_turn(lambda: self._execution.is_stopped)
        try:
            return super().__enter__()
        except BaseException:
            self._return_turn()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._return_turn()
        super().__exit__(kind, error, trace)

    def _return_turn(self) -> None:
        if self._turn_number is not None:
            self._query_turnstile.return_turn(self._turn_number)


def translate_live_error(error: Exception, usual_error: Exception, timeout_seconds: float | None) -> Exception:
    """Translate an error of a database whose tables do not belong to Hven.

    Parameters
    ----------
    error
        The error of the driver.
    usual_error
        Its translation for databases of Hven.
    timeout_seconds
        Time limit of a statement.
    """
    sqlstate = error_translation.get_sqlstate(error)
    if isinstance(usual_error, TimeLimitError) and sqlstate == "57014" and timeout_seconds is not None:
        return TimeLimitError(
            f"the source database stopped the query at its time limit of {timeout_seconds:g} s",
            remedy="add a condition on an indexed position, key or time",
        )
    if isinstance(usual_error, EvaluationError):
        row_remedy = "add a condition that excludes the rows that cause the error, or ask the site's operators"
        return EvaluationError(usual_error.message, remedy=usual_error.remedy or row_remedy)
    is_unavailable = sqlstate in _UNAVAILABLE_STATES or error_translation.is_connection_lost(error)
    if isinstance(usual_error, HvenError) and is_unavailable:
        return StorageUnavailableError(usual_error.message, remedy=usual_error.remedy)
    table_error = _build_table_error(error, sqlstate)
    if table_error is not None:
        return table_error
    return usual_error


def _build_table_error(error: Exception, sqlstate: str) -> StorageUnavailableError | None:
    """Build the error of a table that cannot be read now; None if the table is not the cause."""
    line = error_translation.extract_error_message(error)
    if sqlstate == "55P03":
        return StorageUnavailableError(
            "the table is being altered in its database", remedy="try again in a few seconds"
        )
    if sqlstate == "40001":
        return StorageUnavailableError(f"the source database cancelled the query: {line}", remedy="run the query again")
    if sqlstate == "42501":
        return StorageUnavailableError(
            f"Hven is no longer allowed to read the table: {line}",
            remedy="ask the owner of the table to GRANT SELECT on the table to the service's role",
        )
    if sqlstate in _TABLE_CHANGED_STATES or isinstance(error, pa.ArrowException):
        return StorageUnavailableError(
            f"the table has changed in its database: {line}",
            remedy="try again in a few seconds; if the error persists, ask the site's operators to run `hven check`",
        )
    return None

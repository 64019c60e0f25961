"""A query over tables that are read in place.

It is over there as soon as it can be, however slowly its reader takes the rows.

A transaction that stays open keeps the database from cleaning up, and whoever alters the table waits for it. So rows
are fetched at full speed by a thread of their own, into memory and then a file, from which the reader is served.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from hven.engines.postgres import error_translation
from hven.engines.postgres.query_execution import BorrowedConnection, PostgresExecution
from hven.model.errors import EvaluationError, HvenError, StorageUnavailableError, TimeLimitError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from hven.engines.postgres.connection_pool import ConnectionPool
    from hven.engines.postgres.connection_turns import StatementTurnstile
    from hven.engines.postgres.engine_protocol import LiveEngineProtocol
    from hven.engines.postgres.query_execution import QueryWork

MAX_MEMORY_BYTES = 64 * 1024**2  # bytes of batches in memory; further ones go to a file
_TABLE_CHANGED_STATES = {"42703", "42P01", "42883", "42804", "42809", "3F000", "0A000", "42704", "42846", "42P22"}


class BatchSpool:
    """Batches between the thread that fetches them and the reader: in order, first in memory, then in a file."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._changed = threading.Condition()
        self._batches: deque[pa.RecordBatch | tuple[int, int]] = deque()
        self._memory_bytes = 0
        self._file: Any = None
        self._file_bytes = 0
        self._is_complete = False
        self._error: BaseException | None = None
        self.is_abandoned = False  # the reader is gone

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Add a batch."""
        item: pa.RecordBatch | tuple[int, int] = batch
        if self._memory_bytes + batch.nbytes > MAX_MEMORY_BYTES:
            data = batch.serialize()
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as this object)
            self._file.seek(self._file_bytes)
            self._file.write(data)
            self._file.flush()
            item = (self._file_bytes, data.size)
            self._file_bytes += data.size
        with self._changed:
            if isinstance(item, pa.RecordBatch):
                self._memory_bytes += item.nbytes
            self._batches.append(item)
            self._changed.notify()

    def mark_end(self, error: BaseException | None = None) -> None:
        """Mark the end: there are no more."""
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
                yield pa.ipc.read_record_batch(
                    pa.py_buffer(os.pread(self._file.fileno(), item[1], item[0])), self._schema
                )

    def close(self) -> None:
        """Free everything."""
        self.is_abandoned = True
        with self._changed:
            self._batches.clear()
        if self._file is not None:
            self._file.close()


class LiveExecution(PostgresExecution):
    """A running query over tables that are read in place (`hven.engines.QueryExecution`)."""

    _engine: LiveEngineProtocol

    # nothing is sent before its turn
    def _borrow_connection(self, pool: ConnectionPool, sent_request: object = None) -> BorrowedConnection:  # noqa: ARG002
        return TurnConnection(self, pool, self._engine.turnstile)

    def _fetch_small_answer(self, work: QueryWork, row_limit: int) -> list[tuple[Any, ...]]:
        try:
            return super()._fetch_small_answer(work, row_limit)
        except error_translation.list_driver_errors() as error:
            if error_translation.get_sqlstate(error) != "0A000":
                raise
            # a statement that was prepared before the table was altered
            sql = f"SELECT * FROM ({work.prepared_sql}) AS q LIMIT ${len(work.arguments) + 1}::bigint"
            with self._borrow_connection(self._engine.query_pool) as connection, connection.cursor() as cursor:
                self._set_interrupt(connection.cancel)
                cursor.execute(f"/* anew */ {sql}", [*work.arguments, str(row_limit)], prepare=False, binary=True)
                rows: list[tuple[Any, ...]] = cursor.fetchall()
                self._set_interrupt(None)
                return rows

    def _stream_batches(self, work: QueryWork, row_limit: int | None) -> Iterator[pa.RecordBatch]:
        spool = BatchSpool(self.schema)
        inner = cast("Generator[pa.RecordBatch]", super()._stream_batches(work, row_limit))

        def fetch_batches() -> None:
            try:
                for batch in inner:
                    if spool.is_abandoned:
                        break
                    spool.add_batch(batch)
            except BaseException as error:  # noqa: BLE001  (it is told to the reader)
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
                self._ignore_driver_errors(stop)
            thread.join()
            spool.close()

    def _translate_error(self, error: Exception) -> Exception:
        return translate_live_error(error, super()._translate_error(error), self._engine.timeout_seconds)


class TurnConnection(BorrowedConnection):
    """A connection for as long as a query needs it, once its turn has come."""

    def __init__(self, execution: PostgresExecution, pool: ConnectionPool, query_turnstile: StatementTurnstile) -> None:
        super().__init__(execution, pool)
        self._query_turnstile = query_turnstile
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
    """Translate an error where a table is not ours."""
    code = error_translation.get_sqlstate(error)
    line = error_translation.extract_message(error)
    retry_remedy = "ask again in some seconds; if it lasts, the service's owner sees by `hven check` what is wrong"
    if isinstance(usual_error, TimeLimitError) and code == "57014" and timeout_seconds is not None:
        return TimeLimitError(
            f"the database that is read in place ended the query after its limit of {timeout_seconds:g} s",
            remedy="ask for less: by a position, key or time that an index serves",
        )
    if isinstance(usual_error, EvaluationError):
        return EvaluationError(
            usual_error.message,
            remedy=usual_error.remedy
            or "a row of the source cannot be shown: leave it out by a condition, or ask the service's owner",
        )
    if isinstance(usual_error, HvenError) and (
        error_translation.is_connection_lost(error) or code in {"28P01", "28000", "3D000", "53300"}
    ):
        return StorageUnavailableError(usual_error.message, remedy=usual_error.remedy)
    if code == "55P03":
        return StorageUnavailableError("the table is being altered in its database", remedy="ask again in some seconds")
    if code == "40001":
        return StorageUnavailableError(
            f"the database that is read in place took the query back: {line}", remedy="ask again"
        )
    if code == "42501":
        return StorageUnavailableError(
            f"the table may not be read any more: {line}",
            remedy="its owner must GRANT SELECT on it to the service's role",
        )
    if code in _TABLE_CHANGED_STATES or isinstance(error, pa.ArrowException):
        return StorageUnavailableError(f"the table has changed in its database: {line}", remedy=retry_remedy)
    return usual_error


__all__ = ["BatchSpool", "LiveExecution", "translate_live_error"]

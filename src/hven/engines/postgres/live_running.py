"""A query over tables that are read in place: it is over there as soon as it can be, however slowly its reader takes the rows.

A transaction that stays open keeps the database from cleaning up, and whoever alters the table waits for it. So rows are fetched
at full speed by a thread of their own, into memory and then a file, from which the reader is served.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from hven.engines.postgres import faults
from hven.engines.postgres.running import Borrowed, PostgresExecution
from hven.model.errors import EvaluationError, HvenError, Timeout, Unavailable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from hven.engines.postgres.live_turns import Turnstile
    from hven.engines.postgres.machine import InPlace
    from hven.engines.postgres.running import Work
    from hven.engines.postgres.sessions import Pool

HELD = 64 * 1024**2  # bytes of batches in memory; further ones go to a file
_CHANGED = {"42703", "42P01", "42883", "42804", "42809", "3F000", "0A000", "42704", "42846", "42P22"}


class Spool:
    """Batches between the thread that fetches them and the reader: in order, first in memory, then in a file."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._changed = threading.Condition()
        self._batches: deque[pa.RecordBatch | tuple[int, int]] = deque()
        self._held = 0
        self._file: Any = None
        self._size = 0
        self._over = False
        self._error: BaseException | None = None
        self.left = False  # the reader is gone

    def put(self, batch: pa.RecordBatch) -> None:
        """Add a batch."""
        item: pa.RecordBatch | tuple[int, int] = batch
        if self._held + batch.nbytes > HELD:
            data = batch.serialize()
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as this object)
            self._file.seek(self._size)
            self._file.write(data)
            self._file.flush()
            item = (self._size, data.size)
            self._size += data.size
        with self._changed:
            if isinstance(item, pa.RecordBatch):
                self._held += item.nbytes
            self._batches.append(item)
            self._changed.notify()

    def end(self, error: BaseException | None = None) -> None:
        """Mark the end: there are no more."""
        with self._changed:
            self._over, self._error = True, error
            self._changed.notify()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while True:
            with self._changed:
                while not self._batches and not self._over:
                    self._changed.wait()
                if not self._batches:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._batches.popleft()
                if isinstance(item, pa.RecordBatch):
                    self._held -= item.nbytes
            if isinstance(item, pa.RecordBatch):
                yield item
            else:
                yield pa.ipc.read_record_batch(
                    pa.py_buffer(os.pread(self._file.fileno(), item[1], item[0])), self._schema
                )

    def close(self) -> None:
        """Free everything."""
        self.left = True
        with self._changed:
            self._batches.clear()
        if self._file is not None:
            self._file.close()


class LiveExecution(PostgresExecution):
    """A running query over tables that are read in place (`hven.engines.Execution`)."""

    _engine: InPlace

    def _borrowed(self, pool: Pool, sent: object = None) -> Borrowed:  # noqa: ARG002  (nothing is sent before its turn)
        return InTurn(self, pool, self._engine.turnstile)

    def _ask(self, work: Work, most: int) -> list[tuple[Any, ...]]:
        try:
            return super()._ask(work, most)
        except faults.kinds() as error:
            if faults.state(error) != "0A000":
                raise
            # a statement that was prepared before the table was altered
            sql = f"SELECT * FROM ({work.asked}) AS q LIMIT ${len(work.arguments) + 1}::bigint"
            with self._borrowed(self._engine.askers) as connection, connection.cursor() as cursor:
                self._running(connection.cancel)
                cursor.execute(f"/* anew */ {sql}", [*work.arguments, str(most)], prepare=False, binary=True)
                found: list[tuple[Any, ...]] = cursor.fetchall()
                self._running(None)
                return found

    def _streamed(self, work: Work, wanted: int | None) -> Iterator[pa.RecordBatch]:
        spool = Spool(self.schema)
        inner = cast("Generator[pa.RecordBatch]", super()._streamed(work, wanted))

        def fetch() -> None:
            try:
                for batch in inner:
                    if spool.left:
                        break
                    spool.put(batch)
            except BaseException as error:  # noqa: BLE001  (it is told to the reader)
                inner.close()
                spool.end(error)
            else:
                inner.close()
                spool.end()

        thread = threading.Thread(target=fetch, name="live rows", daemon=True)
        thread.start()
        try:
            yield from spool
        finally:
            spool.left = True
            stop = self._stop
            if thread.is_alive() and stop is not None:
                self._quietly(stop)
            thread.join()
            spool.close()

    def _translate(self, error: Exception) -> Exception:
        return translate(error, super()._translate(error), self._engine.seconds)


class InTurn(Borrowed):
    """A connection for as long as a query needs it, once its turn has come."""

    def __init__(self, execution: PostgresExecution, pool: Pool, turnstile: Turnstile) -> None:
        super().__init__(execution, pool)
        self._turnstile = turnstile
        self._turn: int | None = None

    def __enter__(self) -> Any:
        self._turn = self._turnstile.enter(lambda: self._execution.stopped)
        try:
            return super().__enter__()
        except BaseException:
            self._leave()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._leave()
        super().__exit__(kind, error, trace)

    def _leave(self) -> None:
        if self._turn is not None:
            self._turnstile.leave(self._turn)


def translate(error: Exception, usual: Exception, seconds: float | None) -> Exception:
    """Translate an error where a table is not ours."""
    code, line = faults.state(error), faults.first_line(error)
    again = "ask again in some seconds; if it lasts, the service's owner sees by `hven check` what is wrong"
    if isinstance(usual, Timeout) and code == "57014" and seconds is not None:
        return Timeout(
            f"the database that is read in place ended the query after its limit of {seconds:g} s",
            remedy="ask for less: by a position, key or time that an index serves",
        )
    if isinstance(usual, EvaluationError):
        return EvaluationError(
            usual.message,
            remedy=usual.remedy
            or "a row of the source cannot be shown: leave it out by a condition, or ask the service's owner",
        )
    if isinstance(usual, HvenError) and (faults.gone(error) or code in {"28P01", "28000", "3D000", "53300"}):
        return Unavailable(usual.message, remedy=usual.remedy)
    if code == "55P03":
        return Unavailable("the table is being altered in its database", remedy="ask again in some seconds")
    if code == "40001":
        return Unavailable(f"the database that is read in place took the query back: {line}", remedy="ask again")
    if code == "42501":
        return Unavailable(
            f"the table may not be read any more: {line}",
            remedy="its owner must GRANT SELECT on it to the service's role",
        )
    if code in _CHANGED or isinstance(error, pa.ArrowException):
        return Unavailable(f"the table has changed in its database: {line}", remedy=again)
    return usual


__all__ = ["LiveExecution", "Spool", "translate"]

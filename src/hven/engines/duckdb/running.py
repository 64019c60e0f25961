"""A query that DuckDB runs: cursors that are used again, time limits, cancellation, batches as they come."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.engines import Execution
from hven.engines._clock import AGAIN, Timed, Watch, weakly
from hven.engines.duckdb.faults import KINDS, translate
from hven.engines.duckdb.functions import Functions
from hven.model import clock, is_installed
from hven.model.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import duckdb

    from hven.engines import Limits
    from hven.engines.duckdb.machine import Rows


PATIENCE = 10.0  # seconds that an engine which is closed waits for what was broken off
# DuckDB looks for these with every argument, which takes half a millisecond where one is not there. Done here, servers have it done before they fork
# Arrow looks for pandas once, at its first array of a list, and must have done so: it takes None for a module
pa.array([], pa.int8())
for looked_for in ("pandas", "dateutil"):
    if looked_for not in sys.modules and not is_installed(looked_for):
        sys.modules[looked_for] = None  # type: ignore[assignment]  # Python's own way to say so: an import fails without a search


class Cursors:
    """Cursors of one DuckDB instance. A cursor serves one query at a time and remembers what is registered in it.

    Whoever gives one back may be the collector, in any thread and at any moment: nothing here holds a lock meanwhile.
    """

    _KEPT = 16

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self.functions = Functions(con)
        self._free: deque[Cursor] = deque()
        self._turn = 0  # grows when some snapshot was removed
        self._broken_off: SimpleQueue[tuple[Cursor, pa.RecordBatchReader | None] | None] = SimpleQueue()
        self._first = threading.Lock()  # taken once, by who starts the thread
        self._ender: threading.Thread | None = None

    def take(self) -> Cursor:
        """Take a cursor; give it back with `put`, or with `end`."""
        try:
            return self._free.pop()
        except IndexError:
            return Cursor(self._con.cursor(), self._turn)

    def put(self, cursor: Cursor) -> None:
        """Put back a cursor whose answer was read to its end."""
        cursor.forget(self._turn)
        if len(self._free) < self._KEPT:
            self._free.append(cursor)
        else:
            cursor.con.close()

    def end(self, cursor: Cursor, reader: pa.RecordBatchReader | None) -> None:
        """Put back a cursor whose answer was not read to its end; it serves again when the engine has let go of it.

        DuckDB ends a stream that is left over when its connection is used next. `register` does so with the interpreter's lock held, for which
        a task of that stream may wait that computes one of our functions: both would wait for ever (docs/decisions/009-streams.md).
        """
        self._broken_off.put((cursor, reader))
        if self._first.acquire(blocking=False):
            self._ender = threading.Thread(target=self._end_all, name="hven-ends", daemon=True)
            self._ender.start()

    def _end_all(self) -> None:
        while (next_one := self._broken_off.get()) is not None:
            cursor, reader = next_one
            if cursor.end(reader):
                self.put(cursor)
            else:
                cursor.con.close()
            del next_one, cursor, reader

    def let_go(self) -> None:
        """Make every cursor forget the snapshots that it remembers: free ones now, the others before they serve again."""
        self._turn += 1
        for _ in range(len(self._free)):
            try:
                cursor = self._free.popleft()
            except IndexError:
                return
            self.put(cursor)

    def close(self) -> None:
        """Close the cursors that are free, those that are to be ended too, and what they are of."""
        if not self._first.acquire(blocking=False) and self._ender is not None:
            self._broken_off.put(None)
            self._ender.join(PATIENCE)
        while self._free:
            self._free.pop().con.close()
        self._con.close()


class Cursor:
    """A DuckDB cursor and the names registered in it."""

    __slots__ = ("_kept", "_passing", "_turn", "con")

    def __init__(self, con: duckdb.DuckDBPyConnection, turn: int) -> None:
        self._turn = turn
        self.con = con
        self._kept: dict[str, Any] = {}
        self._passing: list[str] = []

    def register(self, name: str, rows: pa.Table, *, keep: bool) -> None:
        """Register `rows` as `name`; `keep` for those that the next query will want too (snapshots)."""
        if self._kept.get(name) is rows:
            return
        self._kept.pop(name, None)
        self.con.register(name, rows)
        if keep:
            self._kept[name] = rows
        else:
            self._passing.append(name)

    def end(self, reader: pa.RecordBatchReader | None) -> bool:
        """Stop what the last query still computes, and wait for it with the interpreter's lock free; return whether the cursor can be used again."""
        try:
            self.con.interrupt()
            if reader is not None:
                reader.close()
            self.con.execute("SELECT 1").fetchall()  # `execute` is what ends a stream without that lock
        except KINDS:
            return False
        return True

    def forget(self, turn: int) -> None:
        """Release everything that only the last query wanted, and all if some of it was removed since."""
        for name in self._passing:
            self.con.unregister(name)
        self._passing = []
        if len(self._kept) > 200 or turn != self._turn:
            self._turn = turn
            for name in list(self._kept):
                self.con.unregister(name)
            self._kept = {}


class DuckExecution(Timed):
    """A running query (`hven.engines.Execution`)."""

    def __init__(
        self,
        cursors: Cursors,
        watch: Watch,
        *,
        sql: str,
        arguments: Sequence[Any],
        relations: Mapping[str, Rows],
        schema: pa.Schema,
        limits: Limits,
        memory: str,
    ) -> None:
        self.schema = schema
        self._cursors = cursors
        self._watch = watch
        self._limits = limits
        self._memory = memory
        self._lock = threading.Lock()
        self._stopped: str | None = None
        self._reader: pa.RecordBatchReader | None = None
        self._whole = True  # nothing is under way in the cursor
        self._cursor: Cursor | None = None  # where there is none to be had, too, it is closed in the end
        self._cursor = cursors.take()
        self._count()
        try:
            for name, rows in relations.items():
                self._cursor.register(name, rows.read(), keep=rows.keep)
            cursors.functions.define(sql)
        except BaseException:
            self.close()
            raise
        con: Any = self._cursor.con
        # DuckDB computes up to the first batch in here: not before somebody iterates, so that `cancel` can be called meanwhile
        self._open: Callable[[], Any] = lambda: con.execute(sql, list(arguments)).to_arrow_reader(
            limits.step(len(schema))
        )

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        wanted = None if self._limits.rows is None else self._limits.rows + 1
        try:
            while wanted is None or wanted > 0:
                if self._stopped is not None:
                    raise self._translate(InterruptedError("INTERRUPT"))
                try:
                    self._whole = False
                    batch = clock.below(self._next)
                except StopIteration:
                    if self._stopped is not None:  # an interrupted stream may end as if it were complete
                        raise self._translate(InterruptedError("INTERRUPT")) from None
                    self._whole = True
                    return
                except KINDS as error:
                    raise self._translate(error) from error
                if wanted is not None:
                    batch = batch.slice(0, wanted)
                    wanted -= batch.num_rows
                if batch.num_rows:
                    yield fit(batch, self.schema)
        finally:
            self.close()

    def _next(self) -> pa.RecordBatch:
        """Compute the next batch, and what is before the first one."""
        if self._reader is None:
            self._reader = self._open()
        return self._reader.read_next_batch()

    @property
    def under_way(self) -> bool:
        """See `Timed`."""
        return self._cursor is not None

    def stop(self, why: str) -> None:
        """See `Timed`."""
        with self._lock:
            if self._cursor is None or self._stopped is not None:
                return
            self._stopped = why
        self._interrupt()

    def _interrupt(self) -> None:
        """Interrupt, and again until the cursor is given back: DuckDB forgets an interrupt that comes just before it begins."""
        with self._lock:  # once the cursor is given back, it must not be interrupted
            if self._cursor is None:
                return
            self._cursor.con.interrupt()
        self._watch.at(time.monotonic() + AGAIN, weakly(self, DuckExecution._interrupt))

    def close(self) -> None:
        """Free everything; see `hven.engines.Execution.close`."""
        with self._lock:
            cursor, self._cursor = self._cursor, None
            reader, self._reader = self._reader, None
        if cursor is None:
            return
        if not self._whole:
            self._cursors.end(cursor, reader)
            return
        if reader is not None:
            reader.close()
        self._cursors.put(cursor)

    def __del__(self) -> None:
        self.close()

    def _translate(self, error: Exception) -> Exception:
        clock = self._limits.clock
        return translate(
            error, stopped=self._stopped, seconds=None if clock is None else clock.seconds, memory=self._memory
        )


class ReadyExecution(Execution):
    """Batches that are made without DuckDB (`hven.engines.Execution`)."""

    def __init__(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch], *, small: bool, limits: Limits) -> None:
        self.schema = schema
        self.small = small
        self._batches = batches
        self._limits = limits
        self._cancelled = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        wanted = None if self._limits.rows is None else self._limits.rows + 1
        while wanted is None or wanted > 0:
            if self._cancelled:
                raise Cancelled("the query was cancelled")
            if self._limits.clock is not None:
                self._limits.clock.check()
            batch = next(self._batches, None)
            if batch is None:
                return
            if wanted is not None:
                batch = batch.slice(0, wanted)
                wanted -= batch.num_rows
            if batch.num_rows:
                yield batch

    def cancel(self) -> None:
        """Stop soon."""
        self._cancelled = True

    def close(self) -> None:
        """Free everything."""
        self._batches = iter(())


def fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast the columns of a result to the promised names and types."""
    if batch.schema.equals(schema):
        return batch
    columns = []
    for column, item in zip(batch.columns, schema, strict=True):
        columns.append(column if column.type.equals(item.type) else convert(column, item.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def convert(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast a column to the Arrow type that was promised; values that do not fit are a fault of the binder's typing."""
    if pa.types.is_fixed_size_list(kind) and not pa.types.is_fixed_size_list(column.type):
        flat = pa.list_(kind.value_type)
        return column.cast(flat).cast(kind)
    if pa.types.is_integer(kind) and (pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        return column.cast(kind, safe=True) if pa.types.is_decimal(column.type) else column.cast(kind, safe=False)
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(column.type):
        return column.cast(kind, safe=False)
    return column.cast(kind)

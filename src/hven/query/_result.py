"""Result: the columns and batches of one answer; it counts rows, cuts at MAXREC and knows the overflow at its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import placed
from hven.formats import End
from hven.model.errors import Cancelled, EvaluationError, HvenError, ServiceError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.adql.tree import Query
    from hven.engines import Execution
    from hven.formats import Info
    from hven.model.clock import Clock
    from hven.model.table import Column, Table
    from hven.site.auth import Scope
    from hven.site.counters import Counters


FEWEST = 1024  # rows of a piece, if there are more
CELLS = 2**20  # of a piece at most: before each one the clock is looked at
# bytes of rows in memory, about, that are written at once: text is several times as big, and readers are many
PIECE = 2 * 1024**2


@dataclass(slots=True, kw_only=True)
class Result:
    """One answer. Iterate `batches` once, then ask `end`; always `close` it (it is a context manager).

    Attributes
    ----------
    columns
        What each column means, in order.
    tables
        The stored tables that were read.
    scope
        Under which the answer may be remembered.
    version
        Of the holdings that were asked; with `scope` and the query it makes an ETag.
    limit
        MAXREC in force, or None.
    small
        True if `begin` costs well below a millisecond: a face may call it on the event loop. After `begin`: true if the
        answer itself is ready, or nearly.
    volatile
        True if asking again may give other rows (RAND): never answered from a cache.
    overflow
        There are more rows than `limit`; known at the end.
    error, failure
        What broke the rows off: for the reader, and for the log.
    request
        Id that is told with an error.
    guarded
        True if a policy hides rows: an engine may look at a value before it drops its row, so no error may quote one.
    share
        Of the rows of its table that are read; below 1 if a sample was asked for.
    clock
        What counts it, until its last row is written; None: nothing does.
    renamed
        Columns that the answer calls otherwise: name in the table, name in the answer.
    origins, descriptors
        Where the rows come from, and the services that take their values, for the head.
    address
        Of the site, where a reader does not ask it at another one.
    """

    columns: tuple[Column, ...]
    tables: tuple[Table, ...]
    scope: Scope
    version: str
    limit: int | None
    small: bool
    volatile: bool = False
    rows: int = 0
    overflow: bool = False
    error: str | None = None
    failure: Exception | None = None
    request: str = ""
    guarded: bool = False
    share: float = 1.0
    clock: Clock | None = None
    origins: tuple[Info, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    descriptors: tuple[str, ...] = ()
    address: str = ""
    _begin: Callable[[], Execution] | None = field(default=None, repr=False)
    _total: Callable[[], int | None] | None = field(default=None, repr=False)
    _replaced: Callable[[StorageError], HvenError] | None = field(default=None, repr=False)
    _text: str = field(default="", repr=False)
    _query: Query | None = field(default=None, repr=False)
    _counters: Counters | None = field(default=None, repr=False)
    _execution: Execution | None = field(default=None, repr=False)
    _cancelled: bool = field(default=False, repr=False)
    _closed: bool = field(default=False, repr=False)
    _casts: Mapping[int, pa.DataType] = field(default_factory=dict, repr=False)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows as Arrow batches, at most `limit` of them.

        Raises
        ------
        EvaluationError, Timeout, Cancelled, Overloaded, TooLarge, StorageError
            At the first batch or later; `end` then says so too. Nothing runs before the first batch is asked for.
        ServiceError
            Anything unforeseen, which is its cause and `failure`; its own words are fit for readers.
        """
        if self._begin is None:  # MAXREC=0: metadata only (DALI 1.1 section 3.4.4)
            self.overflow = True
            return
        begun = time.perf_counter()
        if self._counters is not None:
            self._counters.query()
        try:
            for batch in self.begin():
                if self.clock is not None:
                    self.clock.check()
                if self.limit is not None and self.rows + batch.num_rows > self.limit:
                    kept = self.limit - self.rows
                    self.rows = self.limit
                    self.overflow = True
                    if kept:
                        yield from _pieces(self._shown(batch.slice(0, kept)))
                    return
                self.rows += batch.num_rows
                yield from _pieces(self._shown(batch))
        except HvenError as error:
            told = self._told(error)
            self.error, self.failure = str(told), told
            raise told from None if told is not error else error.__cause__
        except Exception as error:
            broken = ServiceError(
                "the rows broke off", remedy="this is a fault of the service; its owner finds it in the log"
            )
            self.error, self.failure = str(broken), error
            raise broken from error
        finally:
            self.close()
            if self._counters is not None:
                kind = None if self.failure is None else type(self.failure).__name__
                self._counters.queried(self.rows, time.perf_counter() - begun, kind)

    def at_once(self, write: Callable[[Sequence[tuple[Any, ...]]], bytes | None]) -> bytes | None:
        """Write all rows at once, if they are here and the engine has them as values; then the answer is over.

        Parameters
        ----------
        write
            Makes the body of all rows, tuples of Python values; None if it cannot.

        Returns
        -------
        body
            None: nothing was used up, and the rows must be read from `batches`.
        """
        if self._execution is None or not self.small or self._casts or self._stopped():
            return None
        begun = time.perf_counter()
        rows = self._execution.few()
        if rows is None or (self.limit is not None and len(rows) > self.limit):
            return None
        body = write(rows)
        if body is not None:
            self.rows = len(rows)
            self.close()
            if self._counters is not None:
                self._counters.query()
                self._counters.queried(self.rows, time.perf_counter() - begun, None)
        return body

    def present(self, columns: tuple[Column, ...]) -> None:
        """Present the same columns with other metadata; those of another type are converted, batch by batch.

        Parameters
        ----------
        columns
            As many as there are, in their order.
        """
        pairs = zip(columns, self.columns, strict=True)
        self._casts = {
            number: new.type.arrow for number, (new, old) in enumerate(pairs) if new.type.arrow != old.type.arrow
        }
        self.columns = columns

    def _shown(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        for number, kind in self._casts.items():
            values = batch.column(number)
            if pa.types.is_list(kind) and pa.types.is_string(values.type):  # numbers with spaces between
                values = pc.split_pattern(values, " ")
            batch = batch.set_column(number, batch.schema.names[number], values.cast(kind))
        return batch

    def _told(self, error: HvenError) -> HvenError:
        """Phrase an error as its reader may and should hear it."""
        if isinstance(error, StorageError) and self._replaced is not None:
            return self._replaced(error)
        if self.guarded and isinstance(error, EvaluationError):
            return EvaluationError(
                "a value cannot be computed", remedy="look at the casts, divisions and functions of the query"
            )
        return placed(error, self._text, self._query) if isinstance(error, EvaluationError) else error

    def begin(self) -> Execution:
        """Begin to run, if that has not happened; afterwards `small` says whether the answer is ready, or nearly.

        Returns
        -------
        execution
            Running; the same one at each call.

        Raises
        ------
        Cancelled
            It was stopped or closed before.
        """
        execution = self._execution
        if execution is None:
            if self._begin is None or self._stopped():
                raise Cancelled("the query was stopped before it began")
            try:
                execution = self._execution = self._begin()
            except (EvaluationError, StorageError) as error:
                raise self._told(error) from None
            self.small = self.small and execution.small
            # another thread may have stopped it meanwhile, and seen nothing to stop
            if self._stopped():
                self._execution = None
                execution.close()
                raise Cancelled("the query was stopped before it began")
        return execution

    def enter(self, came: Callable[[], object]) -> None:
        """Queue for a turn: costs no time, and who would wait in vain is told at once.

        Parameters
        ----------
        came
            Called, in any thread, when it is worth a look whether it is `ready`.

        Raises
        ------
        Overloaded
            The turn would not come in time.
        """
        self.begin().enter(came)

    def ready(self) -> bool:
        """Check whether the turn has come.

        Raises
        ------
        Overloaded
            It did not come in time.
        Cancelled
            It was stopped or closed before.
        """
        return self.begin().ready()

    @property
    def awaited(self) -> int | None:
        """The file descriptor at which the answer will show for which `begin` has asked; None: it is here, or only a thread can wait for it."""
        return None if self._execution is None else self._execution.awaited

    def arrived(self) -> bool:
        """Return whether the answer that is `awaited` has come, without waiting; then it is `small`."""
        self.small = self._execution is not None and self._execution.arrived()
        return self.small

    def _stopped(self) -> bool:
        return self._cancelled or self._closed

    @property
    def computed(self) -> bool:
        """True once every row is in memory: what is left is to write them."""
        execution = self._execution
        return self._closed if execution is None else execution.computed

    @property
    def total(self) -> int | None:
        """How many rows there will be, if that is known without running; None: nobody can tell."""
        return self._total() if self._total is not None else None

    def end(self) -> End:
        """Return how it ended; for `Format.write`."""
        error = f"{self.error} [request {self.request}]" if self.error is not None and self.request else self.error
        return End(overflow=self.overflow, error=error, rows=self.rows)

    def table(self) -> pa.Table:
        """Read everything into one Arrow table (small answers, tests).

        Returns
        -------
        rows
            All of them, in memory.
        """
        schema = pa.schema([column.arrow.with_nullable(True) for column in self.columns])
        batches = list(self.batches())
        return pa.Table.from_batches(batches, schema=batches[0].schema if batches else schema)

    def cancel(self) -> None:
        """Stop the query from any thread, whether it runs already or not."""
        self._cancelled = True
        execution = self._execution
        if execution is not None:
            execution.cancel()

    def close(self) -> None:
        """Free everything, from any thread; may be called twice."""
        self._closed = True
        execution, self._execution = self._execution, None
        if execution is not None:
            execution.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch that is big, without copying."""
    most = max(1, CELLS // max(batch.num_columns, 1))
    if batch.num_rows <= min(FEWEST, most):  # to weigh it takes longer than to write a row
        yield batch
        return
    size = batch.nbytes
    step = min(max(FEWEST, PIECE * batch.num_rows // size) if size > PIECE else batch.num_rows, most)
    if step >= batch.num_rows:
        yield batch
        return
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)

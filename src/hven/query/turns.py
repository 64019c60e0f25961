"""Turns: so many big queries compute at once in a process, as many more wait a little, the rest is told to come back."""

from __future__ import annotations

import ctypes
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from hven.errors import Cancelled, Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from hven.engines import Execution

WAIT = 5.0  # seconds that a big query waits for its turn before its reader is told to come back
LOOK = 0.1  # seconds between two looks whether its reader is still there
IDLE = 0.5  # seconds that a reader may take over a batch before another query may have the turn
ASIDE = 4  # queries that may stand aside without a turn, for each turn: each keeps what it has computed
TIDY = 1.0  # seconds between two times that memory is given back
REMEDY = "try again in a few seconds"


def _libc() -> Callable[[int], int] | None:
    """Find glibc's malloc_trim; other C libraries have none."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None


_trim = _libc()


class Turn:
    """The turn of one query: held or not; idle since its reader has rows to take away."""

    __slots__ = ("aside", "held", "since")

    def __init__(self) -> None:
        self.held = False
        self.aside = False  # it was held, and another query has it now
        self.since = 0.0


class Turns:
    """The turns of one process. Thread-safe.

    A query holds its turn while it computes. Slow readers do not block it: who has taken nothing for a while loses the turn to a
    query that waits, and gets one again, before all new ones, when its reader comes for more.

    Parameters
    ----------
    number
        Of queries that run at once, and of those that may wait.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._free = threading.Condition()
        self._running = 0
        self._waiting = 0
        self._aside = 0
        self._returning = 0
        self._tidied = 0.0
        self._idle: OrderedDict[Turn, None] = OrderedDict()  # those whose reader has rows, the longest idle first

    def take(self, turn: Turn, stopped: Callable[[], bool]) -> None:
        """Wait for a turn; give it back with `give_back`.

        Raises
        ------
        Overloaded
            Too many wait already, or it took too long.
        Cancelled
            `stopped` became true.
        """
        with self._free:
            if self._returning or not self._there_is_one():
                if self._waiting >= self._number:
                    raise Overloaded("too many queries run and wait at the moment", remedy=REMEDY)
                self._waiting += 1
                try:
                    self._wait(stopped)
                finally:
                    self._waiting -= 1
            self._hold(turn)

    def _wait(self, stopped: Callable[[], bool]) -> None:
        until = time.monotonic() + WAIT
        while self._returning or not self._there_is_one():
            left = until - time.monotonic()
            if stopped():
                raise Cancelled("the query was cancelled before its turn came")
            if left <= 0:
                raise Overloaded("too many queries run at the moment", remedy=REMEDY)
            self._free.wait(min(left, LOOK))

    def _there_is_one(self, *, returning: int = 0) -> bool:
        """Say whether a turn is free; if none is, take one from a reader who is long about it. Who returns makes room aside."""
        if self._running < self._number:
            return True
        turn = next(iter(self._idle), None)
        if turn is None or time.monotonic() - turn.since < IDLE or self._aside - returning >= ASIDE * self._number:
            return False
        del self._idle[turn]
        turn.held, turn.aside = False, True
        self._aside += 1
        self._running -= 1
        return True

    def _hold(self, turn: Turn) -> None:
        turn.held = True
        self._running += 1

    def rest(self, turn: Turn) -> None:
        """Hand rows to the reader: as long as they take, another query may have the turn."""
        with self._free:
            if turn.held:
                turn.since = time.monotonic()
                self._idle[turn] = None

    def resume(self, turn: Turn, stopped: Callable[[], bool]) -> None:
        """Go on computing; if another query has the turn, wait for one, however long it takes.

        Raises
        ------
        Cancelled
            `stopped` became true.
        """
        with self._free:
            self._idle.pop(turn, None)
            if turn.held:
                return
            self._returning += 1
            try:
                while not self._there_is_one(returning=1):
                    if stopped():
                        raise Cancelled("the query was cancelled")
                    self._free.wait(LOOK)
            finally:
                self._returning -= 1
            if turn.aside:  # not if it was given back meanwhile
                turn.aside = False
                self._aside -= 1
                self._hold(turn)

    def give_back(self, turn: Turn) -> None:
        """End a turn, wherever it is; may be called twice."""
        with self._free:
            self._idle.pop(turn, None)
            began = turn.aside or turn.held  # what never had a turn leaves nothing behind
            if turn.aside:
                turn.aside = False
                self._aside -= 1
            if turn.held:
                turn.held = False
                self._running -= 1
                self._free.notify_all()
            quiet = began and not self._running
        if quiet:
            self._tidy()

    def _tidy(self) -> None:
        """Give memory back to the system when big queries are over: the C library keeps it otherwise, more with every thread."""
        moment = time.monotonic()
        if _trim is not None and moment - self._tidied > TIDY:
            self._tidied = moment
            threading.Thread(target=_trim, args=(0,), name="tidy", daemon=True).start()

    @property
    def running(self) -> int:
        """How many turns are taken."""
        return self._running


class InTurn:
    """An execution that waits for its turn before it computes (`hven.engines.Execution`).

    Parameters
    ----------
    begin
        Starts the engine; called in the thread that iterates, when the turn has come.
    begun
        What the engine has begun already, and `begin` gives: it is closed even if the turn never comes.
    """

    def __init__(self, turns: Turns, schema: pa.Schema, begin: Callable[[], Execution], begun: Execution | None = None) -> None:
        self.schema = schema
        self.small = False
        self._turns = turns
        self._begin = begin
        self._lock = threading.Lock()
        self._running = begun
        self._turn = Turn()
        self._cancelled = False
        self._closed = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            if self.small:  # it is here, without a turn: there is nothing to compute any more
                yield from self._begin()
                return
            self._turns.take(self._turn, self._stopped)
            execution = self._begin()
            with self._lock:
                self._running = execution
            # who cancelled or closed while the engine began did not see it
            if self._cancelled:
                execution.cancel()
            if self._closed:
                raise Cancelled("the query was stopped before it began")
            for batch in execution:
                self._turns.rest(self._turn)
                yield batch
                self._turns.resume(self._turn, self._stopped)
        finally:
            self.close()

    @property
    def computed(self) -> bool:
        """Whether the engine has computed all rows."""
        execution = self._running
        return bool(getattr(execution, "computed", False))

    @property
    def awaited(self) -> int | None:
        """Where an answer will show that the engine was asked for already."""
        found: int | None = getattr(self._running, "awaited", None)
        return found

    def arrived(self) -> bool:
        """Look whether it has come; then it needs no turn."""
        arrived = getattr(self._running, "arrived", None)
        self.small = arrived is not None and arrived()
        return self.small

    def few(self) -> list[tuple[Any, ...]] | None:
        """Give all rows of an answer that has come, as the engine does."""
        few = getattr(self._running, "few", None)
        return few() if few is not None and self.small and not self._stopped() else None

    def _stopped(self) -> bool:
        return self._cancelled or self._closed

    def cancel(self) -> None:
        """Stop soon, or give the waiting up."""
        self._cancelled = True
        with self._lock:
            execution = self._running
        if execution is not None:
            execution.cancel()

    def close(self) -> None:
        """Free everything and give the turn back."""
        self._closed = True
        with self._lock:
            execution, self._running = self._running, None
        try:
            if execution is not None:
                execution.close()
        finally:
            self._turns.give_back(self._turn)

"""Turns: so many big queries run at once in a process, as many more wait a little, the rest is told to come back."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from hven.errors import Cancelled, Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from hven.engines import Execution

WAIT = 5.0  # seconds that a big query waits for its turn before its reader is told to come back
LOOK = 0.1  # seconds between two looks whether its reader is still there
REMEDY = "try again in a few seconds"


class Turns:
    """The turns of one process. Thread-safe.

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

    def take(self, stopped: Callable[[], bool]) -> None:
        """Wait for a turn; give it back with `give_back`.

        Raises
        ------
        Overloaded
            Too many wait already, or it took too long.
        Cancelled
            `stopped` became true.
        """
        with self._free:
            if self._running >= self._number:
                if self._waiting >= self._number:
                    raise Overloaded("too many queries run and wait at the moment", remedy=REMEDY)
                self._waiting += 1
                try:
                    self._wait(stopped)
                finally:
                    self._waiting -= 1
            self._running += 1

    def _wait(self, stopped: Callable[[], bool]) -> None:
        until = time.monotonic() + WAIT
        while self._running >= self._number:
            left = until - time.monotonic()
            if stopped():
                raise Cancelled("the query was cancelled before its turn came")
            if left <= 0:
                raise Overloaded("too many queries run at the moment", remedy=REMEDY)
            self._free.wait(min(left, LOOK))

    def give_back(self) -> None:
        """End a turn."""
        with self._free:
            self._running -= 1
            self._free.notify()

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
    """

    small = False

    def __init__(self, turns: Turns, schema: pa.Schema, begin: Callable[[], Execution]) -> None:
        self.schema = schema
        self._turns = turns
        self._begin = begin
        self._lock = threading.Lock()
        self._running: Execution | None = None
        self._taken = False
        self._cancelled = False
        self._closed = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            self._turns.take(lambda: self._cancelled or self._closed)
            with self._lock:
                self._taken = True
            execution = self._begin()
            with self._lock:
                self._running = execution
            # who cancelled or closed while the engine began did not see it
            if self._cancelled:
                execution.cancel()
            if self._closed:
                raise Cancelled("the query was stopped before it began")
            yield from execution
        finally:
            self.close()

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
            taken, self._taken = self._taken, False
        try:
            if execution is not None:
                execution.close()
        finally:
            if taken:
                self._turns.give_back()

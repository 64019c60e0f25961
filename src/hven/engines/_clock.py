"""Time limits of queries: one thread that acts when the time is over, and executions that it stops. Shared by the engines."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import weakref
from abc import abstractmethod
from typing import TYPE_CHECKING, TypeVar

from hven.engines import Execution

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.engines import Limits

Some = TypeVar("Some")

AGAIN = 0.1  # seconds until a query that was told to stop is told again


class Watch:
    """One thread that calls back at deadlines; it starts with the first one."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def at(self, deadline: float, call: Callable[[], None]) -> None:
        """Call `call` when `time.monotonic()` reaches `deadline`; calling when all is over must do no harm."""
        with self._wake:
            heapq.heappush(self._heap, (deadline, next(self._count), call))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hven-deadlines", daemon=True)
                self._thread.start()
            elif self._heap[0][0] == deadline:
                self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._closed and (not self._heap or self._heap[0][0] > time.monotonic()):
                    self._wake.wait(self._heap[0][0] - time.monotonic() if self._heap else None)
                if self._closed:
                    return
                call = heapq.heappop(self._heap)[2]
            call()

    def close(self) -> None:
        """Stop the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()


def weakly(some: Some, act: Callable[[Some], None]) -> Callable[[], None]:
    """Act on something later, without keeping it alive until then."""
    known = weakref.ref(some)

    def later() -> None:
        found = known()
        if found is not None:
            act(found)

    return later


class Timed(Execution):
    """A query whose clock stops it, as its reader may."""

    _limits: Limits
    _watch: Watch

    @property
    @abstractmethod
    def under_way(self) -> bool:
        """Whether there is something to stop."""

    @abstractmethod
    def stop(self, why: str) -> None:
        """Stop for a reason, ``cancel`` or ``timeout``; the first one counts."""

    def cancel(self) -> None:
        """Stop soon; see `hven.engines.Execution.cancel`."""
        self.stop("cancel")

    def _count(self) -> None:
        """Set the clock that stops it."""
        if self._limits.clock is not None:
            self._watch.at(self._limits.clock.until, weakly(self, Timed._late))

    def _late(self) -> None:
        """Stop if the time is over; look again later if the reader's line took some of it."""
        left = 0.0 if self._limits.clock is None else self._limits.clock.left
        if left <= 0:
            self.stop("timeout")
        elif self.under_way:
            self._watch.at(time.monotonic() + max(left, AGAIN), weakly(self, Timed._late))

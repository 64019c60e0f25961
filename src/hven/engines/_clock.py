"""Time limits of queries: how much is left, and one thread that acts when it is over. Shared by the engines."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import weakref
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Some = TypeVar("Some")


class Allowance:
    """The time limit of a query. What its reader takes to fetch the rows does not count: a slow line is no slow query."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._handed: float | None = None

    def hand_out(self) -> None:
        """Stop the clock: rows are with the reader."""
        self._handed = time.monotonic()

    def take_back(self) -> None:
        """Let the clock run on."""
        if self._handed is not None:
            self._until += time.monotonic() - self._handed
            self._handed = None

    @property
    def left(self) -> float:
        """Seconds that are left."""
        handed = self._handed
        return self._until - (time.monotonic() if handed is None else handed)


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

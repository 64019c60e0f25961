"""Time limits of queries: one thread that acts when the time is over, and executions that it stops.

Shared by the engines.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import weakref
from abc import abstractmethod
from typing import TYPE_CHECKING, TypeVar

from hven.engines import QueryExecution

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.engines import ExecutionLimits

Value = TypeVar("Value")

STOP_RETRY_SECONDS = 0.1  # seconds until a query that was told to stop is told again


class DeadlineWatcher:
    """One thread that calls back at deadlines; it starts with the first one."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._deadline_heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def call_at(self, deadline: float, callback: Callable[[], None]) -> None:
        """Call `callback` when `time.monotonic()` reaches `deadline`; calling when all is over must do no harm."""
        with self._wake:
            heapq.heappush(self._deadline_heap, (deadline, next(self._sequence), callback))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run_thread, name="hven-deadlines", daemon=True)
                self._thread.start()
            elif self._deadline_heap[0][0] == deadline:
                self._wake.notify()

    def _run_thread(self) -> None:
        while True:
            with self._wake:
                while not self._closed and (not self._deadline_heap or self._deadline_heap[0][0] > time.monotonic()):
                    self._wake.wait(self._deadline_heap[0][0] - time.monotonic() if self._deadline_heap else None)
                if self._closed:
                    return
                callback = heapq.heappop(self._deadline_heap)[2]
            callback()

    def close(self) -> None:
        """Stop the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()


def build_weak_callback(target: Value, action: Callable[[Value], None]) -> Callable[[], None]:
    """Act on something later, without keeping it alive until then."""
    reference = weakref.ref(target)

    def call_if_alive() -> None:
        target = reference()
        if target is not None:
            action(target)

    return call_if_alive


class TimedExecution(QueryExecution):
    """A query whose clock stops it, as its reader may."""

    _limits: ExecutionLimits
    _deadline_watcher: DeadlineWatcher

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether there is something to stop."""

    @abstractmethod
    def stop(self, reason: str) -> None:
        """Stop for a reason, ``cancel`` or ``timeout``; the first one counts."""

    def cancel(self) -> None:
        """Stop soon; see `hven.engines.QueryExecution.cancel`."""
        self.stop("cancel")

    def _start_deadline(self) -> None:
        """Set the clock that stops it."""
        if self._limits.deadline is not None:
            self._deadline_watcher.call_at(
                self._limits.deadline.expiry_time, build_weak_callback(self, TimedExecution._stop_if_late)
            )

    def _stop_if_late(self) -> None:
        """Stop if the time is over; look again later if the reader's line took some of it."""
        if self._limits.deadline is None:
            remaining_seconds = 0.0
        else:
            remaining_seconds = self._limits.deadline.remaining_seconds
        if remaining_seconds <= 0:
            self.stop("timeout")
        elif self.is_running:
            self._deadline_watcher.call_at(
                time.monotonic() + max(remaining_seconds, STOP_RETRY_SECONDS),
                build_weak_callback(self, TimedExecution._stop_if_late),
            )

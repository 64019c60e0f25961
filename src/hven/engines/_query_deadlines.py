"""Time limits of queries: a thread that stops executions when their time is over. All engines share it."""

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

STOP_RETRY_SECONDS = 0.1  # time until a query that does not stop is stopped again


class DeadlineWatcher:
    """One thread that calls back at deadlines; it starts with the first one."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._deadline_heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def call_at(self, deadline: float, callback: Callable[[], None]) -> None:
        """Call `callback` when `time.monotonic()` reaches `deadline`; a late call must do no harm.

        Parameters
        ----------
        deadline
            Seconds of `time.monotonic()`.
        callback
            Called in the thread of the watcher; a late call must do no harm.
        """
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
                while not self._closed:
                    remaining_seconds = None
                    if self._deadline_heap:
                        remaining_seconds = self._deadline_heap[0][0] - time.monotonic()
                        if remaining_seconds <= 0:
                            break
                    self._wake.wait(remaining_seconds)
                if self._closed:
                    return
                _, _, callback = heapq.heappop(self._deadline_heap)
            callback()

    def close(self) -> None:
        """Stop the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()


def build_weak_callback(target: Value, action: Callable[[Value], None]) -> Callable[[], None]:
    """Return a callback that acts on an object if it still exists, without keeping it alive.

    Parameters
    ----------
    target
        The object.
    action
        Called with the object.
    """
    reference = weakref.ref(target)

    def call_if_alive() -> None:
        target = reference()
        if target is not None:
            action(target)

    return call_if_alive


class TimedExecution(QueryExecution):
    """A query that its deadline stops, as a reader can by cancelling it."""

    _limits: ExecutionLimits
    _deadline_watcher: DeadlineWatcher

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether the query runs, so that it can be stopped."""

    @abstractmethod
    def stop(self, reason: str) -> None:
        """Stop for a reason, ``cancel`` or ``timeout``; the first one counts.

        Parameters
        ----------
        reason
            ``cancel`` or ``timeout``.
        """

    def cancel(self) -> None:
        """Stop soon; see `hven.engines.QueryExecution.cancel`."""
        self.stop("cancel")

    def _start_deadline(self) -> None:
        """Let the watcher stop the query at its deadline."""
        if self._limits.deadline is not None:
            callback = build_weak_callback(self, TimedExecution._stop_if_late)
            self._deadline_watcher.call_at(self._limits.deadline.expiry_time, callback)

    def _stop_if_late(self) -> None:
        """Stop the query if its time is over, or check again later if time with a slow reader is not counted."""
        deadline = self._limits.deadline
        remaining_seconds = 0.0 if deadline is None else deadline.remaining_seconds
        if remaining_seconds <= 0:
            self.stop("timeout")
        elif self.is_running:
            next_check_time = time.monotonic() + max(remaining_seconds, STOP_RETRY_SECONDS)
            callback = build_weak_callback(self, TimedExecution._stop_if_late)
            self._deadline_watcher.call_at(next_check_time, callback)

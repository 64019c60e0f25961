"""Balance the connections that have requests among the workers.

A busy worker that holds more than its share closes some connections, and their clients open new ones. Workers take
connections from one queue, and the first one that wakes up takes all that wait there. Of 32 connections that a proxy
opens at once, one worker may get all for as long as they are kept open, and the others are idle.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Share of its time for which a worker's event loop computes, from which closing connections is worth it. On a machine
# with many other programs, the loop gets only a small share.
MIN_BUSY_SHARE = 0.1
MAX_SILENCE_SECONDS = 2.5  # a worker without a report for this time gets no share
MIN_EXCESS_CONNECTIONS = 2  # a worker closes connections if it has this number more than its share,
MIN_EXCESS_SHARE = 0.25  # and this part of its share more


class WorkerConnectionCounts:
    """Reports of all workers in shared memory: each has a number of active connections, and the time of the report.

    Parameters
    ----------
    workers
        Number of workers.
    get_time, get_cpu_time
        Monotonic clocks (s): the time, and the processor time of this thread.
    """

    def __init__(
        self,
        workers: int,
        get_time: Callable[[], float] = time.monotonic,
        get_cpu_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self._workers = workers
        self._get_time = get_time
        self._get_cpu_time = get_cpu_time
        self._reports = (ctypes.c_double * (2 * workers)).from_buffer(mmap.mmap(-1, 16 * workers))

    def create_worker_balancer(self, worker: int) -> ConnectionBalancer:
        """Create the share of a worker."""
        return ConnectionBalancer(self._reports, worker, self._workers, self._get_time, self._get_cpu_time)


class ConnectionBalancer:
    """The connections of one worker. It is used only by the worker's event loop."""

    def __init__(
        self,
        reports: ctypes.Array[ctypes.c_double],
        worker: int,
        workers: int,
        get_time: Callable[[], float],
        get_cpu_time: Callable[[], float],
    ) -> None:
        self._reports = reports
        self._worker = worker
        self._workers = workers
        self._get_time = get_time
        self._get_cpu_time = get_cpu_time
        self._active_clients: dict[object, None] = {}
        self._excess = 0
        self._last_beat = get_time(), get_cpu_time()

    def set_as_process_balancer(self) -> None:
        """Make this share the one of the process."""
        global _process_share  # noqa: PLW0603  (a process is one worker)
        _process_share = self

    def should_close(self, client: object) -> bool:
        """Count a request on a connection, and return whether to close the connection after the answer."""
        if not self._excess:
            self._active_clients[client] = None
            return False
        self._excess -= 1
        self._active_clients.pop(client, None)
        return True

    def report_and_rebalance(self) -> None:
        """Report the number of active connections, and compare it with that of the others.

        The event loop calls this about once a second.
        """
        last_time, last_cpu_time = self._last_beat
        time_now, cpu_time_now = self._last_beat = self._get_time(), self._get_cpu_time()
        busy_share = (cpu_time_now - last_cpu_time) / max(time_now - last_time, 1e-3)
        own_count = len(self._active_clients)
        self._active_clients.clear()
        own_slot = 2 * self._worker
        self._reports[own_slot : own_slot + 2] = [float(own_count), time_now]
        share = math.ceil(self._compute_mean_connections(time_now))
        excess = own_count - share
        min_excess = max(MIN_EXCESS_CONNECTIONS, share * MIN_EXCESS_SHARE)
        if busy_share > MIN_BUSY_SHARE and excess >= min_excess:
            self._excess = excess
        else:
            self._excess = 0

    def _compute_mean_connections(self, time_now: float) -> float:
        """Return the mean number of active connections of the workers that reported lately, including this one."""
        counts = []
        for slot in range(0, 2 * self._workers, 2):
            count, report_time = self._reports[slot : slot + 2]
            if time_now - report_time < MAX_SILENCE_SECONDS:
                counts.append(count)
        return sum(counts) / len(counts)


_process_share: ConnectionBalancer | None = None


def should_close_connection(client: object) -> bool:
    """Return whether the connection of a client should be closed after the present answer."""
    return _process_share is not None and client is not None and _process_share.should_close(client)


def report_and_rebalance_connections() -> None:
    """Report the connections of this worker to the others."""
    if _process_share is not None:
        _process_share.report_and_rebalance()


__all__ = [
    "ConnectionBalancer",
    "WorkerConnectionCounts",
    "report_and_rebalance_connections",
    "should_close_connection",
]

"""Connections that are asked on, even among the workers.

A busy one that holds more than its share closes some, and their clients open others.

Workers take connections from one queue, and whoever wakes first takes all that wait there: of 32 that a proxy opens at
once, all may be one worker's for as long as they are kept, and the others have nothing to do.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# share of its time that a worker's loop computes, from which it is worth new connections: on a machine with much else
# to do it gets no great one
MIN_BUSY_SHARE = 0.1
MAX_SILENCE_SECONDS = 2.5  # seconds without a word of a worker, after which none is left to it
MIN_EXCESS_CONNECTIONS = 2  # connections over its share, and a part of it, that a worker may have
MIN_EXCESS_SHARE = 0.25


class ConnectionShares:
    """What workers tell each other: on how many connections each was asked lately, and when it said so.

    Parameters
    ----------
    workers
        How many there are.
    get_time, get_cpu_time
        Seconds that only grow: now, and the processor time of this thread.
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

    def create_worker_share(self, worker: int) -> ConnectionShare:
        """Return the share of a worker."""
        return ConnectionShare(self._reports, worker, self._workers, self._get_time, self._get_cpu_time)


class ConnectionShare:
    """The connections of one worker. Only for its event loop."""

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

    def set_as_process_share(self) -> None:
        """Set this share as the process's own."""
        global _process_share  # noqa: PLW0603  (a process is one worker)
        _process_share = self

    def should_close(self, client: object) -> bool:
        """Note that a connection is asked on, and return whether it should be closed behind the answer."""
        if not self._excess:
            self._active_clients[client] = None
            return False
        self._excess -= 1
        self._active_clients.pop(client, None)
        return True

    def report_and_rebalance(self) -> None:
        """Tell the others, and look at what they have; about once a second."""
        (since, spent), current = self._last_beat, (self._get_time(), self._get_cpu_time())
        self._last_beat, own_count = current, len(self._active_clients)
        busy_share = (current[1] - spent) / max(current[0] - since, 1e-3)
        self._reports[2 * self._worker : 2 * self._worker + 2] = [float(own_count), current[0]]
        self._active_clients.clear()
        counts = [
            self._reports[at]
            for at in range(0, 2 * self._workers, 2)
            if current[0] - self._reports[at + 1] < MAX_SILENCE_SECONDS
        ]
        share = math.ceil(sum(counts) / len(counts))
        excess = own_count - share
        if busy_share > MIN_BUSY_SHARE and excess >= max(MIN_EXCESS_CONNECTIONS, share * MIN_EXCESS_SHARE):
            self._excess = excess
        else:
            self._excess = 0


_process_share: ConnectionShare | None = None


def should_close_connection(client: object) -> bool:
    """Return whether the connection of a client should be closed behind the answer that it gets now."""
    return _process_share is not None and client is not None and _process_share.should_close(client)


def report_connections() -> None:
    """Tell the other workers of this one."""
    if _process_share is not None:
        _process_share.report_and_rebalance()


__all__ = ["ConnectionShare", "ConnectionShares", "report_connections", "should_close_connection"]

"""Connections that are asked on, even among the workers: a busy one that holds more than its share closes some, and their clients open others.

Workers take connections from one queue, and whoever wakes first takes all that wait there: of 32 that a proxy opens at once, all may be one worker's
for as long as they are kept, and the others have nothing to do.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# share of its time that a worker's loop computes, from which it is worth new connections: on a machine with much else to do it gets no great one
BUSY = 0.1
LIVE = 2.5  # seconds without a word of a worker, after which none is left to it
LEAST = 2  # connections over its share, and a part of it, that a worker may have
PART = 0.25


class Shares:
    """What workers tell each other: on how many connections each was asked lately, and when it said so.

    Parameters
    ----------
    workers
        How many there are.
    clock, spent
        Seconds that only grow: now, and the processor time of this thread.
    """

    def __init__(
        self,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self._workers, self._clock, self._spent = workers, clock, spent
        self._told = (ctypes.c_double * (2 * workers)).from_buffer(mmap.mmap(-1, 16 * workers))

    def of(self, worker: int) -> Share:
        """Return the share of a worker."""
        return Share(self._told, worker, self._workers, self._clock, self._spent)


class Share:
    """The connections of one worker. Only for its event loop."""

    def __init__(
        self,
        told: ctypes.Array[ctypes.c_double],
        worker: int,
        workers: int,
        clock: Callable[[], float],
        spent: Callable[[], float],
    ) -> None:
        self._told, self._worker, self._workers, self._clock, self._spent = told, worker, workers, clock, spent
        self._asked: dict[object, None] = {}
        self._spare = 0
        self._since = clock(), spent()

    def own(self) -> None:
        """Set this share as the process's own."""
        global _own  # noqa: PLW0603  (a process is one worker)
        _own = self

    def leaves(self, client: object) -> bool:
        """Note that a connection is asked on, and return whether it should be closed behind the answer."""
        if not self._spare:
            self._asked[client] = None
            return False
        self._spare -= 1
        self._asked.pop(client, None)
        return True

    def beat(self) -> None:
        """Tell the others, and look at what they have; about once a second."""
        (since, spent), now = self._since, (self._clock(), self._spent())
        self._since, mine = now, len(self._asked)
        busy = (now[1] - spent) / max(now[0] - since, 1e-3)
        self._told[2 * self._worker : 2 * self._worker + 2] = [float(mine), now[0]]
        self._asked.clear()
        counts = [self._told[at] for at in range(0, 2 * self._workers, 2) if now[0] - self._told[at + 1] < LIVE]
        share = math.ceil(sum(counts) / len(counts))
        over = mine - share
        self._spare = over if busy > BUSY and over >= max(LEAST, share * PART) else 0


_own: Share | None = None


def leaves(client: object) -> bool:
    """Return whether the connection of a client should be closed behind the answer that it gets now."""
    return _own is not None and client is not None and _own.leaves(client)


def beat() -> None:
    """Tell the other workers of this one."""
    if _own is not None:
        _own.beat()


__all__ = ["Share", "Shares", "beat", "leaves"]

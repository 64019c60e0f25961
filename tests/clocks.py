"""A clock that a test moves: nobody waits for an end, and its second is met exactly, however busy the machine is."""

from __future__ import annotations

import time

import pytest


class MovableClock:
    """What `time` says in this process, moved ahead; `stand` stops the time of day, and what counts seconds goes on.

    Threads and event loops that wait do so by clocks of their own.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        day, count = time.time_ns, time.monotonic
        self._offset_nanoseconds, self._stopped_nanoseconds = 0, None
        self._read_time = day
        patch.setattr(time, "time_ns", self._read_nanoseconds)
        patch.setattr(time, "time", lambda: self._read_nanoseconds() / 1e9)
        patch.setattr(time, "monotonic", lambda: count() + self._offset_nanoseconds / 1e9)

    def _read_nanoseconds(self) -> int:
        return (self._read_time() if self._stopped_nanoseconds is None else self._stopped_nanoseconds) + self._offset_nanoseconds

    def move(self, seconds: float) -> None:
        """Let so much time be over."""
        self._offset_nanoseconds += round(seconds * 1e9)

    def stop_time(self) -> float:
        """Stop the time of day at a whole second; gives it, in seconds since 1970."""
        self._stopped_nanoseconds = self._read_nanoseconds() // 10**9 * 10**9 - self._offset_nanoseconds
        return self._read_nanoseconds() / 1e9

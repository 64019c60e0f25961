"""A clock that tests move, so that they need not wait and reach a deadline to the second."""

from __future__ import annotations

import time

import pytest


class MovableClock:
    """The clocks of `time` in this process, which a test moves forward.

    `stop_time` stops the time of day; the monotonic clock goes on. Threads and event loops wait by clocks of their
    own.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        day, count = time.time_ns, time.monotonic
        self._offset_nanoseconds, self._stopped_nanoseconds = 0, None
        self._read_time = day
        patch.setattr(time, "time_ns", self._read_nanoseconds)
        patch.setattr(time, "time", lambda: self._read_nanoseconds() / 1e9)
        patch.setattr(time, "monotonic", lambda: count() + self._offset_nanoseconds / 1e9)

    def _read_nanoseconds(self) -> int:
        return (
            self._read_time() if self._stopped_nanoseconds is None else self._stopped_nanoseconds
        ) + self._offset_nanoseconds

    def move(self, seconds: float) -> None:
        """Move the time forward."""
        self._offset_nanoseconds += round(seconds * 1e9)

    def stop_time(self) -> float:
        """Stop the time of day at a whole second; return it in seconds since 1970."""
        self._stopped_nanoseconds = self._read_nanoseconds() // 10**9 * 10**9 - self._offset_nanoseconds
        return self._read_nanoseconds() / 1e9

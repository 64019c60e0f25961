"""A clock that a test moves: nobody waits for an end, and its second is met exactly, however busy the machine is."""

from __future__ import annotations

import time

import pytest


class Moved:
    """What `time` says in this process, moved ahead; `stand` stops the time of day, and what counts seconds goes on.

    Threads and event loops that wait do so by clocks of their own.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        day, count = time.time_ns, time.monotonic
        self._ahead, self._still = 0, None
        self._day = day
        patch.setattr(time, "time_ns", self._now)
        patch.setattr(time, "time", lambda: self._now() / 1e9)
        patch.setattr(time, "monotonic", lambda: count() + self._ahead / 1e9)

    def _now(self) -> int:
        return (self._day() if self._still is None else self._still) + self._ahead

    def move(self, seconds: float) -> None:
        """Let so much time be over."""
        self._ahead += round(seconds * 1e9)

    def stand(self) -> float:
        """Stop the time of day at a whole second; gives it, in seconds since 1970."""
        self._still = self._now() // 10**9 * 10**9 - self._ahead
        return self._now() / 1e9

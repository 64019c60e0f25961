"""The time by which jobs are destroyed: the machine's clock, but a leap of it is believed only when it has stayed so for long."""

from __future__ import annotations

import time
from datetime import UTC, datetime

LEAP = 60.0  # seconds between this clock and the steady one that are no correction any more
BELIEVED = 3600.0  # seconds after which a leap forward is taken for the truth


class Clock:
    """What is destroyed early is lost, what is destroyed late costs disk: of two times the earlier one counts."""

    def __init__(self) -> None:
        self._offset = self._leapt = time.time() - time.monotonic()
        self._since = time.monotonic()

    def now(self) -> datetime:
        """Give the time, in UTC."""
        steady = time.monotonic()
        offset = time.time() - steady
        if abs(offset - self._leapt) > LEAP:  # again
            self._leapt, self._since = offset, steady
        if offset < self._offset + LEAP or steady - self._since > BELIEVED:
            self._offset = self._leapt = offset
        return datetime.fromtimestamp(steady + self._offset, UTC)

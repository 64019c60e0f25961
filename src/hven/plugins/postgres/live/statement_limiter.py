"""Turns of statements in a database that is read in place.

Many statements at once share the processors of the server: each of them takes as long as all together, and holds its
lock for that time. Therefore only a few run at once, and each is over soon. A statement that waits here for its turn
holds no lock there.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

from hven.model.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable

TURN_TIMEOUT_SECONDS = 10.0  # time that a statement waits for its turn
MAX_SHORT_SECONDS = 0.05  # after this time the other statements no longer wait for a statement
CANCEL_CHECK_INTERVAL_SECONDS = 0.5  # time between two checks whether the waiting query was cancelled


class ShortStatementLimiter:
    """Let a limited number of short statements run at once. Thread-safe.

    A statement that takes longer than `MAX_SHORT_SECONDS` keeps running and no longer counts, so that a scan of a whole
    table does not stop the others.
    """

    def __init__(self, turn_limit: int) -> None:
        self._turn_limit = turn_limit
        self._changed = threading.Condition()
        self._start_times: dict[int, float] = {}  # of the statements that count, oldest first
        self._turn_numbers = itertools.count()

    def wait_for_turn(self, is_cancelled: Callable[[], bool]) -> int | None:
        """Wait for a turn, and return its number for `return_turn`; None if the query was cancelled meanwhile.

        Raises
        ------
        OverloadedError
            No turn became free in time.
        """
        with self._changed:
            now = time.monotonic()
            deadline = now + TURN_TIMEOUT_SECONDS
            self._forget_long_statements(now)
            while len(self._start_times) >= self._turn_limit:
                if is_cancelled():
                    self._changed.notify()  # this thread may have consumed the notification of another one
                    return None
                if now >= deadline:
                    message = "too many queries are using the source database"
                    raise OverloadedError(message, remedy="try again in a few seconds")
                oldest_start_time = next(iter(self._start_times.values()))
                wake_time = min(
                    oldest_start_time + MAX_SHORT_SECONDS,
                    deadline,
                    now + CANCEL_CHECK_INTERVAL_SECONDS,
                )
                self._changed.wait(wake_time - now)
                now = time.monotonic()
                self._forget_long_statements(now)
            turn = next(self._turn_numbers)
            self._start_times[turn] = now
            return turn

    def _forget_long_statements(self, now: float) -> None:
        """Forget the statements that take so long that others no longer wait for them."""
        for turn, start_time in list(self._start_times.items()):
            if start_time + MAX_SHORT_SECONDS > now:
                break
            del self._start_times[turn]

    def return_turn(self, turn: int) -> None:
        """Return a turn."""
        with self._changed:
            if self._start_times.pop(turn, None) is not None:
                self._changed.notify()

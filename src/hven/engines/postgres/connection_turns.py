"""Turns of statements in a database that is read in place.

A few run at once, and each is over soon, so none holds its lock for long.

Many statements at once share the processors there: each takes as long as all together, and keeps its lock so long.
Those that wait here for their turn hold nothing there.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

from hven.model.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable

TURN_TIMEOUT_SECONDS = 10.0  # seconds that a statement waits for its turn
MAX_SHORT_SECONDS = 0.05  # seconds after which a statement is a long one, which the others do not wait for
CANCEL_CHECK_INTERVAL_SECONDS = 0.5  # seconds between two looks whether the query that waits was stopped


class StatementTurnstile:
    """Lets `turn_limit` short statements run at once. Thread-safe.

    A statement that takes longer than `MAX_SHORT_SECONDS` keeps going and is not counted any more: a scan of a whole
    table stops nobody.
    """

    def __init__(self, turn_limit: int) -> None:
        self._turn_limit = turn_limit
        self._changed = threading.Condition()
        self._start_times: dict[int, float] = {}  # those that count, the first one first
        self._turn_numbers = itertools.count()

    def wait_for_turn(self, is_cancelled: Callable[[], bool]) -> int | None:
        """Wait for a turn; give it back with `return_turn`. None: the query was stopped meanwhile, and has no turn.

        Raises
        ------
        OverloadedError
            None came in time.
        """
        with self._changed:
            now = time.monotonic()
            deadline = now + TURN_TIMEOUT_SECONDS
            while not self._has_free_turn(now):
                if is_cancelled():
                    self._changed.notify()  # it may have been told that there is one
                    return None
                if now >= deadline:
                    message = "too many queries ask the database that is read in place"
                    raise OverloadedError(message, remedy="ask again in a moment")
                self._changed.wait(
                    min(
                        next(iter(self._start_times.values())) + MAX_SHORT_SECONDS,
                        deadline,
                        now + CANCEL_CHECK_INTERVAL_SECONDS,
                    )
                    - now
                )
                now = time.monotonic()
            turn = next(self._turn_numbers)
            self._start_times[turn] = now
            return turn

    def _has_free_turn(self, now: float) -> bool:
        for turn, start_time in list(self._start_times.items()):
            if start_time + MAX_SHORT_SECONDS > now:
                break
            del self._start_times[turn]
        return len(self._start_times) < self._turn_limit

    def return_turn(self, turn: int) -> None:
        """Return a turn."""
        with self._changed:
            if self._start_times.pop(turn, None) is not None:
                self._changed.notify()


__all__ = ["StatementTurnstile"]

"""Turns of statements in a database that is read in place: a few run at once, and each is over soon, so none holds its lock for long.

Many statements at once share the processors there: each takes as long as all together, and keeps its lock so long. Those that wait
here for their turn hold nothing there.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

from hven.model.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 10.0  # seconds that a statement waits for its turn
SHORT = 0.05  # seconds after which a statement is a long one, which the others do not wait for
LOOK = 0.5  # seconds between two looks whether the query that waits was stopped


class Turnstile:
    """Lets `number` short statements run at once. Thread-safe.

    A statement that takes longer than `SHORT` keeps going and is not counted any more: a scan of a whole table stops nobody.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._changed = threading.Condition()
        self._begun: dict[int, float] = {}  # those that count, the first one first
        self._count = itertools.count()

    def enter(self, stopped: Callable[[], bool]) -> int | None:
        """Wait for a turn; give it back with `leave`. None: the query was stopped meanwhile, and has no turn.

        Raises
        ------
        Overloaded
            None came in time.
        """
        with self._changed:
            now = time.monotonic()
            until = now + WAIT
            while not self._there_is_one(now):
                if stopped():
                    self._changed.notify()  # it may have been told that there is one
                    return None
                if now >= until:
                    message = "too many queries ask the database that is read in place"
                    raise Overloaded(message, remedy="ask again in a moment")
                self._changed.wait(min(next(iter(self._begun.values())) + SHORT, until, now + LOOK) - now)
                now = time.monotonic()
            turn = next(self._count)
            self._begun[turn] = now
            return turn

    def _there_is_one(self, now: float) -> bool:
        for turn, begun in list(self._begun.items()):
            if begun + SHORT > now:
                break
            del self._begun[turn]
        return len(self._begun) < self._number

    def leave(self, turn: int) -> None:
        """Return a turn."""
        with self._changed:
            if self._begun.pop(turn, None) is not None:
                self._changed.notify()


__all__ = ["Turnstile"]

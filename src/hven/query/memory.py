"""The memory of a process: what engines do not count shows here, and the query that began last is ended before all of them are."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK = 0.1  # seconds between two looks while queries run
AGAIN = 1.0  # seconds that an ended query gets to give its memory back
_STATM = Path("/proc/self/statm")


def used() -> int:
    """Give the bytes that this process holds for itself; files that it has mapped are not counted. 0 where that is not known."""
    try:
        pages = _STATM.read_bytes().split()
    except OSError:
        return 0
    return (int(pages[1]) - int(pages[2])) * 4096


class Ceiling:
    """Ends queries when the process holds too much; its thread lives as long as any runs.

    Parameters
    ----------
    memory
        What the engine may use; a quarter more is the ceiling, above what was held before the first query.
    """

    def __init__(self, memory: int) -> None:
        self._room = memory + memory // 4
        self._lock = threading.Lock()
        self._running: dict[object, Callable[[], None]] = {}
        self._alive = False

    def enter(self, query: object, end: Callable[[], None]) -> None:
        """Watch a query; `end` is called, from another thread, if it is the one to be ended."""
        with self._lock:
            self._running[query] = end
            if self._alive:
                return
            self._alive = True
        threading.Thread(target=self._watch, args=(used() + self._room,), name="hven-ceiling", daemon=True).start()

    def leave(self, query: object) -> None:
        """Watch a query no more."""
        with self._lock:
            self._running.pop(query, None)

    def _watch(self, ceiling: int) -> None:
        quiet = 0
        while True:
            time.sleep(LOOK)
            end = None
            with self._lock:
                quiet = 0 if self._running else quiet + 1
                if quiet > 20:  # the next query is hardly ever far
                    self._alive = False
                    return
                if self._running and used() > ceiling:
                    end = self._running.pop(next(reversed(self._running)))
            if end is not None:
                end()
                time.sleep(AGAIN)

"""The memory of a process: what engines do not count shows here. The query that began last is ended before all of them are, or, at last, the process."""

from __future__ import annotations

import ctypes
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOOK = 0.05  # seconds between two looks while queries run
AGAIN = 1.0  # seconds that an ended query gets to give its memory back
STUBBORN = 10.0  # seconds above the ceiling, whatever was ended, after which the process is
TIDY = 1.0  # seconds after which what is over is given back, with all else that is over until then
_STATM = "/proc/{}/statm"


#: What to do when ending queries does not help: a worker of the server ends, and another is begun. None: nothing, as where a program asks.
last_resort: Callable[[int], None] | None = None


def used(process: int | str = "self") -> int:
    """Measure the bytes that a process holds for itself; files that it has mapped are not counted.

    Parameters
    ----------
    process
        Its number; by default this one.

    Returns
    -------
    bytes
        0 where that is not known.
    """
    try:
        pages = Path(_STATM.format(process)).read_bytes().split()
    except OSError:
        return 0
    return (int(pages[1]) - int(pages[2])) * 4096


def _libc() -> Callable[[int], int] | None:
    """Find glibc's malloc_trim; other C libraries have none."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None


_trim = _libc()
_lock = threading.Lock()
_later: threading.Thread | None = None
_again = False


def tidy() -> None:
    """Return freed memory to the system, soon and in a thread of its own: the C library keeps what is free otherwise, more with every thread.

    To be called when something that held much is over: big queries, big bodies, long texts that were refused.
    """
    global _later, _again  # noqa: PLW0603  (of the process, as its memory is)
    with _lock:
        _again = True
        if _trim is None or (_later is not None and _later.is_alive()):  # in a fork it is not, whatever it was before
            return
        _later = threading.Thread(target=_trim_later, name="hven-tidy", daemon=True)
        _later.start()


def _trim_later() -> None:
    """Trim a moment after the end: until then what was used is let go of."""
    global _later, _again  # noqa: PLW0603
    while True:
        with _lock:
            if not _again:
                _later = None
                return
            _again = False
        time.sleep(TIDY)
        if _trim is not None:
            _trim(0)


class Ceiling:
    """Ends queries when the process holds too much; its thread lives as long as any runs.

    Parameters
    ----------
    memory
        What the engine may use; an eighth more is the ceiling, above what was held before the first query. Twice as much, or more than the
        ceiling for long, is a case for `last_resort`.
    others
        Names the processes that compute for this one, and what each held at first: what they hold besides counts.
    """

    def __init__(self, memory: int, others: Callable[[], Mapping[int, int]] = dict) -> None:
        self._memory = memory
        self._others = others
        self._lock = threading.Lock()
        self._running: dict[object, Callable[[], None]] = {}
        self._alive = False

    def enter(self, query: object, end: Callable[[], None]) -> None:
        """Watch a query.

        Parameters
        ----------
        query
            What it is known by.
        end
            Called, from another thread, if it is the one to be ended.
        """
        with self._lock:
            self._running[query] = end
            if self._alive:
                return
            self._alive = True
        threading.Thread(target=self._watch, args=(self._held(),), name="hven-ceiling", daemon=True).start()

    def leave(self, query: object) -> None:
        """Watch a query no more.

        Parameters
        ----------
        query
            As it was entered.
        """
        with self._lock:
            self._running.pop(query, None)

    def _held(self) -> int:
        return used() + sum(max(used(other) - first, 0) for other, first in self._others().items())

    def _watch(self, before: int) -> None:
        ceiling = before + self._memory + self._memory // 8
        quiet = 0
        above: float | None = None  # since when
        ended = 0.0
        while True:
            time.sleep(LOOK)
            held, moment = self._held(), time.monotonic()
            above = None if held <= ceiling else moment if above is None else above
            if (
                above is not None
                and last_resort is not None
                and (held > before + 2 * self._memory or moment - above > STUBBORN)
            ):
                last_resort(held)
            end = None
            with self._lock:
                quiet = 0 if self._running or (above is not None and last_resort is not None) else quiet + 1
                if quiet > 40:  # the next query is hardly ever far
                    self._alive = False
                    return
                if self._running and above is not None and moment - ended > AGAIN:
                    end = self._running.pop(next(reversed(self._running)))
            if end is not None:
                end()
                ended = moment

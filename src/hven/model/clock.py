"""The clock of a request: until when it may take, and `check`, which long passes over a query call as they go."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from hven.model.errors import Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """Begins to run when it is made: at the first byte of a request, or when a job begins.

    Attributes
    ----------
    seconds
        The limit, as it is told.
    until
        `time.monotonic()` at its end, as long as it is not stopped.
    """

    __slots__ = ("_stopped", "seconds", "until")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.until = time.monotonic() + seconds
        self._stopped: float | None = None

    def stop(self) -> None:
        """Stand still: a line is at work (`stopped`)."""
        if self._stopped is None:
            self._stopped = time.monotonic()

    def go_on(self) -> None:
        """Run on."""
        stopped, self._stopped = self._stopped, None
        if stopped is not None:
            self.until += time.monotonic() - stopped

    @property
    def left(self) -> float:
        """Seconds that are left."""
        stopped = self._stopped
        return self.until - (time.monotonic() if stopped is None else stopped)

    def check(self) -> None:
        """Raise `Timeout` if the time is over."""
        if self.left < 0:
            raise late(self.seconds)

    @contextmanager
    def counting(self) -> Iterator[Clock]:
        """Let what is called within be counted by this clock."""
        token = running.set(self)
        try:
            yield self
        finally:
            running.reset(token)


#: The clock of the request that is answered here; threads that `anyio` starts for it have it, too.
running: ContextVar[Clock | None] = ContextVar("clock", default=None)


@contextmanager
def counted(seconds: float | None, otherwise: float) -> Iterator[Clock]:
    """Count by the request's clock; by one of its own if `seconds` are given, or if there is none, with `otherwise` seconds."""
    clock = running.get()
    if clock is not None and (seconds is None or clock.seconds == seconds):
        yield clock
        return
    with Clock(otherwise if seconds is None else seconds).counting() as own:
        yield own


@contextmanager
def stopped(clock: Clock | None) -> Iterator[None]:
    """Let no clock run while a line is at work: a slow one is no slow query."""
    if clock is not None:
        clock.stop()
    try:
        yield
    finally:
        if clock is not None:
            clock.go_on()


def check() -> None:
    """Raise `Timeout` if the time of this request is over."""
    clock = running.get()
    if clock is not None:
        clock.check()


def late(seconds: float | None) -> Timeout:
    """Say that the time is over."""
    limit = "" if seconds is None else f" of {seconds:g} s"
    return Timeout(f"the query ran into the time limit{limit}", remedy="ask for less, or run it as an asynchronous job with a longer limit")

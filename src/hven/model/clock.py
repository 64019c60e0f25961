"""The clock of a request: until when it may take, `check`, which long passes over a query call as they go; which threads go first."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hven.model.errors import Cancelled, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task:
    """Something long that is at work.

    Attributes
    ----------
    told
        Called with how far it is, 0 to 1.
    stopped
        Whether nobody wants it any more.
    """

    told: Callable[[float], object] = lambda _: None
    stopped: Callable[[], bool] = lambda: False

    def go(self, share: float) -> None:
        """Tell how far it is.

        Parameters
        ----------
        share
            0 to 1.

        Raises
        ------
        Cancelled
            Nobody wants it any more.
        """
        if self.stopped():
            raise Cancelled("it was stopped")
        self.told(share)


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
        """Check that there is time left.

        Raises
        ------
        Timeout
            The time is over.
        """
        if self.left < 0:
            raise late(self.seconds)

    @contextmanager
    def counting(self) -> Iterator[Clock]:
        """Count what is called within by this clock.

        Yields
        ------
        clock
            This one, while it is `running`.
        """
        token = running.set(self)
        try:
            yield self
        finally:
            running.reset(token)


#: The clock of the request that is answered here; threads that `anyio` starts for it have it, too.
running: ContextVar[Clock | None] = ContextVar("clock", default=None)


@contextmanager
def counted(seconds: float | None, otherwise: float) -> Iterator[Clock]:
    """Count by the request's clock; by one of its own if `seconds` are given, or if there is none, with `otherwise` seconds.

    Parameters
    ----------
    seconds
        The limit; None: the request's.
    otherwise
        Seconds, where neither a limit nor a request's clock is there.

    Yields
    ------
    clock
        The one that counts.
    """
    clock = running.get()
    if clock is not None and (seconds is None or clock.seconds == seconds):
        yield clock
        return
    with Clock(otherwise if seconds is None else seconds).counting() as own:
        yield own


@contextmanager
def stopped(clock: Clock | None) -> Iterator[None]:
    """Stop the clock while a line is at work: a slow one is no slow query.

    Parameters
    ----------
    clock
        None: there is none to stop.
    """
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
    """Make the error of a time limit that was reached.

    Parameters
    ----------
    seconds
        The limit, as it is told; None: it is not told.

    Returns
    -------
    error
        To be raised.
    """
    limit = "" if seconds is None else f" of {seconds:g} s"
    return Timeout(
        f"the query ran into the time limit{limit}",
        remedy="ask for less, or run it as an asynchronous job with a longer limit",
    )


# steps of `nice`; each is worth a quarter of the processor's time while there is too little of it, and nothing otherwise. They count within a
# session or group; the machine may share itself among those first: `lower_session`
QUERY = 15
JOB = 19
# of those who answer and refuse, where the account may raise it: up to six times another program's share
ANSWER_SESSION = -8
QUERY_SESSION = 5  # of what computes for readers who wait: a third of another program's share, so that a query that was let in ends in time
SESSION = 10  # of all that computes beside those who answer: not so low that another program of the machine stops it


def lower(steps: int) -> None:
    """Lower the priority of the calling thread, and of those that it will start; there is no way back. Elsewhere than on Linux: nothing.

    Parameters
    ----------
    steps
        Of niceness below usual, 0 to 19.
    """
    if sys.platform == "linux":  # there it is a thread's own
        os.setpriority(os.PRIO_PROCESS, 0, max(steps, os.getpriority(os.PRIO_PROCESS, 0)))


def lower_session(steps: int, process: int | str = "self") -> None:
    """Lower the session of a process against the others, where the machine shares itself among sessions (sched_autogroup of Linux).

    Parameters
    ----------
    steps
        Of niceness below usual, up to 19. A negative number, down to -20, raises the session. That needs the capability CAP_SYS_NICE or a
        limit of niceness (``ulimit -e``); without both nothing changes. 0 changes nothing.
    process
        Its number; by default the calling one.
    """
    # The machine does not share itself so, and the priorities of threads count by themselves; or the account may not raise a session.
    with contextlib.suppress(OSError):
        for _ in range(20 if steps else 0):
            # but for root one session of the machine may say so in a tenth of a second
            with contextlib.suppress(BlockingIOError):
                Path(f"/proc/{process}/autogroup").write_text(str(steps))
                return
            time.sleep(0.05)


def is_raised(process: int | str) -> bool:
    """Return whether the session of a process is above the usual ones.

    Parameters
    ----------
    process
        Its number.
    """
    try:  # "/autogroup-123 nice -8"
        return int(Path(f"/proc/{process}/autogroup").read_text().rpartition(" ")[2] or 0) < 0
    except (OSError, ValueError):
        return False


def lowered(steps: int, call: Callable[[], T]) -> T:
    """Call a function so that the threads which it starts are lower, and the calling thread is not.

    Parameters
    ----------
    steps
        As for `lower`.
    call
        Called without arguments, in a thread of its own.

    Returns
    -------
    result
        What `call` returns; what it raises is raised.
    """
    made: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        lower(steps)
        try:
            made.append(call())
        except BaseException as error:  # noqa: BLE001  (it is raised where it belongs)
            raised.append(error)

    thread = threading.Thread(target=run, name="lowered")
    thread.start()
    thread.join()
    if raised:
        raise raised.pop()  # who raises what it holds is not let go of
    return made[0]


_asking = threading.local()


def asks() -> None:
    """Mark the calling thread as one that leaves long computing to lower ones (`below`), and stays as ready as the event loop itself.

    Attributes
    ----------
    lower thread that holds the interpreter's lock and gets no processor keeps the event loop waiting
        So it shall hold it for moments only.
    """
    _asking.below = True


def below(call: Callable[[], T]) -> T:
    """Call a function that computes for long without the interpreter's lock; in a lower thread, if the calling one `asks`.

    The thread is a new one, for some ten microseconds: one that has planned a deep query keeps megabytes of its stack for as long as it lives.

    Parameters
    ----------
    call
        Called without arguments.

    Returns
    -------
    result
        What `call` returns.
    """
    return lowered(QUERY, partial(copy_context().run, call)) if vars(_asking) else call()

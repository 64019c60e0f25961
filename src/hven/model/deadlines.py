"""The clock of a request: until when it may take, `check_deadline`, which long passes over a query call as they go.

Which threads go first.
"""

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

from hven.model.errors import OperationCancelledError, TimeLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProgressMonitor:
    """Something long that is at work.

    Attributes
    ----------
    on_progress
        Called with how far it is, 0 to 1.
    is_cancelled
        Whether nobody wants it any more.
    """

    on_progress: Callable[[float], object] = lambda _: None
    is_cancelled: Callable[[], bool] = lambda: False

    def report_progress(self, completed_fraction: float) -> None:
        """Tell how far it is.

        Parameters
        ----------
        completed_fraction
            0 to 1.

        Raises
        ------
        OperationCancelledError
            Nobody wants it any more.
        """
        if self.is_cancelled():
            raise OperationCancelledError("it was stopped")
        self.on_progress(completed_fraction)


class Deadline:
    """Begins to run when it is made: at the first byte of a request, or when a job begins.

    Attributes
    ----------
    limit_seconds
        The limit, as it is told.
    expiry_time
        `time.monotonic()` at its end, as long as it is not stopped.
    """

    __slots__ = ("_pause_time", "expiry_time", "limit_seconds")

    def __init__(self, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self.expiry_time = time.monotonic() + limit_seconds
        self._pause_time: float | None = None

    def pause(self) -> None:
        """Stand still: a line is at work (`pause_deadline`)."""
        if self._pause_time is None:
            self._pause_time = time.monotonic()

    def resume(self) -> None:
        """Run on."""
        pause_time = self._pause_time
        self._pause_time = None
        if pause_time is not None:
            self.expiry_time += time.monotonic() - pause_time

    @property
    def remaining_seconds(self) -> float:
        """Seconds that are left."""
        pause_time = self._pause_time
        return self.expiry_time - (time.monotonic() if pause_time is None else pause_time)

    def check(self) -> None:
        """Check that there is time left.

        Raises
        ------
        TimeLimitError
            The time is over.
        """
        if self.remaining_seconds < 0:
            raise build_time_limit_error(self.limit_seconds)

    @contextmanager
    def apply(self) -> Iterator[Deadline]:
        """Count what is called within by this clock.

        Yields
        ------
        clock
            This one, while it is `CURRENT_DEADLINE`.
        """
        token = CURRENT_DEADLINE.set(self)
        try:
            yield self
        finally:
            CURRENT_DEADLINE.reset(token)


#: The clock of the request that is answered here; threads that `anyio` starts for it have it, too.
CURRENT_DEADLINE: ContextVar[Deadline | None] = ContextVar("clock", default=None)


@contextmanager
def apply_deadline(limit_seconds: float | None, default_limit_seconds: float) -> Iterator[Deadline]:
    """Count by the request's clock.

    By one of its own if `limit_seconds` are given, or if there is none, with `default_limit_seconds` seconds.

    Parameters
    ----------
    limit_seconds
        The limit; None: the request's.
    default_limit_seconds
        Seconds, where neither a limit nor a request's clock is there.

    Yields
    ------
    clock
        The one that counts.
    """
    deadline = CURRENT_DEADLINE.get()
    if deadline is not None and (limit_seconds is None or deadline.limit_seconds == limit_seconds):
        yield deadline
        return
    with Deadline(default_limit_seconds if limit_seconds is None else limit_seconds).apply() as new_deadline:
        yield new_deadline


@contextmanager
def pause_deadline(deadline: Deadline | None) -> Iterator[None]:
    """Stop the clock while a line is at work: a slow one is no slow query.

    Parameters
    ----------
    deadline
        None: there is none to stop.
    """
    if deadline is not None:
        deadline.pause()
    try:
        yield
    finally:
        if deadline is not None:
            deadline.resume()


def check_deadline() -> None:
    """Raise `TimeLimitError` if the time of this request is over."""
    deadline = CURRENT_DEADLINE.get()
    if deadline is not None:
        deadline.check()


def build_time_limit_error(limit_seconds: float | None) -> TimeLimitError:
    """Make the error of a time limit that was reached.

    Parameters
    ----------
    limit_seconds
        The limit, as it is told; None: it is not told.

    Returns
    -------
    error
        To be raised.
    """
    if limit_seconds is None:
        limit = ""
    else:
        limit = f" of {limit_seconds:g} s"
    return TimeLimitError(
        f"the query ran into the time limit{limit}",
        remedy="ask for less, or run it as an asynchronous job with a longer limit",
    )


# steps of `nice`; each is worth a quarter of the processor's time while there is too little of it, and nothing
# otherwise. They count within a session or group; the machine may share itself among those first:
# `reduce_session_priority`
QUERY_NICENESS = 15
JOB_NICENESS = 19
# of those who answer and refuse, where the account may raise it: up to six times another program's share
ANSWER_SESSION = -8
# of what computes for readers who wait: a third of another program's share, so that a query that was let in ends in
# time
QUERY_SESSION_NICENESS = 5
SESSION_NICENESS = (
    10  # of all that computes beside those who answer: not so low that another program of the machine stops it
)


def reduce_thread_priority(niceness: int) -> None:
    """Lower the priority of the calling thread, and of those that it will start; there is no way back.

    Elsewhere than on Linux: nothing.

    Parameters
    ----------
    niceness
        Of niceness below usual, 0 to 19.
    """
    if sys.platform == "linux":  # there it is a thread's own
        os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))


def reduce_session_priority(niceness: int, process_id: int | str = "self") -> None:
    """Lower the priority of a process's session, where Linux shares the machine among sessions (sched_autogroup).

    Parameters
    ----------
    niceness
        Steps of niceness below usual, up to 19. A negative number, down to -20, raises the priority. That needs the
        capability CAP_SYS_NICE or a limit of niceness (``ulimit -e``); without both nothing changes. 0 changes nothing.
    process_id
        Its number; by default the calling one.
    """
    # The machine does not share itself so, and the priorities of threads count by themselves; or the account may not
    # raise a session.
    with contextlib.suppress(OSError):
        for _ in range(20 if niceness else 0):
            # but for root one session of the machine may say so in a tenth of a second
            with contextlib.suppress(BlockingIOError):
                Path(f"/proc/{process_id}/autogroup").write_text(str(niceness))
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


def call_with_low_priority(niceness: int, function: Callable[[], T]) -> T:
    """Call a function so that the threads which it starts are lower, and the calling thread is not.

    Parameters
    ----------
    niceness
        As for `reduce_thread_priority`.
    function
        Called without arguments, in a thread of its own.

    Returns
    -------
    result
        What `function` returns; what it raises is raised.
    """
    results: list[T] = []
    raised_errors: list[BaseException] = []

    def call_and_keep_result() -> None:
        reduce_thread_priority(niceness)
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001  (it is raised where it belongs)
            raised_errors.append(error)

    thread = threading.Thread(target=call_and_keep_result, name="lowered")
    thread.start()
    thread.join()
    if raised_errors:
        raise raised_errors.pop()  # who raises what it holds is not let go of
    return results[0]


_offloading = threading.local()


def mark_thread_for_offloading() -> None:
    """Mark the calling thread as one that offloads long computations (`offload_computation`).

    The thread itself keeps the priority of the event loop.

    Attributes
    ----------
    lower thread that holds the interpreter's lock and gets no processor keeps the event loop waiting
        So such a thread must hold the lock for moments only.
    """
    _offloading.below = True


def offload_computation(function: Callable[[], T]) -> T:
    """Call a function that computes for long without the interpreter's lock.

    In a lower thread, if the calling one `mark_thread_for_offloading`.

    The thread is a new one, for some ten microseconds: one that has planned a deep query keeps megabytes of its stack
    for as long as it lives.

    Parameters
    ----------
    function
        Called without arguments.

    Returns
    -------
    result
        What `function` returns.
    """
    if vars(_offloading):
        return call_with_low_priority(QUERY_NICENESS, partial(copy_context().run, function))
    return function()

"""Limit the time of requests: deadlines, and `check_deadline`, which long loops of a query call.

The module also sets the priorities of threads and processes.
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
    """Report the progress of a long computation, and tell whether it was cancelled.

    Attributes
    ----------
    on_progress
        Called with the completed share, 0 to 1.
    is_cancelled
        Returns whether the computation is no longer needed.
    """

    on_progress: Callable[[float], object] = lambda _: None
    is_cancelled: Callable[[], bool] = lambda: False

    def report_progress(self, completed_fraction: float) -> None:
        """Report the completed share.

        Parameters
        ----------
        completed_fraction
            0 to 1.

        Raises
        ------
        OperationCancelledError
            The computation is no longer needed.
        """
        if self.is_cancelled():
            raise OperationCancelledError("the operation was stopped")
        self.on_progress(completed_fraction)


class Deadline:
    """Count the time of a request or job, from the moment when the object is created.

    Attributes
    ----------
    limit_seconds
        The limit, as messages show it.
    expiry_time
        `time.monotonic()` at the end of the time, unless the deadline is paused.
    """

    __slots__ = ("_pause_time", "expiry_time", "limit_seconds")

    def __init__(self, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self.expiry_time = time.monotonic() + limit_seconds
        self._pause_time: float | None = None

    def pause(self) -> None:
        """Pause, while data are sent over the network (`pause_deadline`)."""
        if self._pause_time is None:
            self._pause_time = time.monotonic()

    def resume(self) -> None:
        """Continue after a pause."""
        pause_time = self._pause_time
        self._pause_time = None
        if pause_time is not None:
            self.expiry_time += time.monotonic() - pause_time

    @property
    def remaining_seconds(self) -> float:
        """Remaining seconds."""
        pause_time = self._pause_time
        return self.expiry_time - (time.monotonic() if pause_time is None else pause_time)

    def check(self) -> None:
        """Check that time is left.

        Raises
        ------
        TimeLimitError
            The time is over.
        """
        if self._pause_time is None:
            now = time.monotonic()
        else:
            now = self._pause_time
        if now > self.expiry_time:
            raise build_time_limit_error(self.limit_seconds)

    @contextmanager
    def apply_as_current(self) -> Iterator[Deadline]:
        """Make this deadline the current one for the code within.

        Yields
        ------
        clock
            This deadline, while it is `CURRENT_DEADLINE`.
        """
        token = CURRENT_DEADLINE.set(self)
        try:
            yield self
        finally:
            CURRENT_DEADLINE.reset(token)


#: The clock of the request that is answered here; threads that `anyio` starts for it have it, too.
CURRENT_DEADLINE: ContextVar[Deadline | None] = ContextVar("clock", default=None)


@contextmanager
def apply_request_or_new_deadline(limit_seconds: float | None, default_limit_seconds: float) -> Iterator[Deadline]:
    """Apply the deadline of the request to the code within.

    A new deadline applies if `limit_seconds` is another limit, or if there is no request.

    Parameters
    ----------
    limit_seconds
        The limit; None for that of the request.
    default_limit_seconds
        The limit in seconds if there is neither a limit nor a request.

    Yields
    ------
    clock
        The deadline that applies.
    """
    deadline = CURRENT_DEADLINE.get()
    if deadline is not None and (limit_seconds is None or deadline.limit_seconds == limit_seconds):
        yield deadline
        return
    limit = default_limit_seconds if limit_seconds is None else limit_seconds
    with Deadline(limit).apply_as_current() as new_deadline:
        yield new_deadline


@contextmanager
def pause_deadline(deadline: Deadline | None) -> Iterator[None]:
    """Pause a deadline while data are sent over the network, so that a slow network is not a slow query.

    Parameters
    ----------
    deadline
        The deadline; None if there is none.
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
    """Make the error of an exceeded time limit.

    Parameters
    ----------
    limit_seconds
        The limit for the message; None to leave it out.

    Returns
    -------
    error
        The error to raise.
    """
    limit = "" if limit_seconds is None else f" of {limit_seconds:g} s"
    return TimeLimitError(
        f"the query exceeded the time limit{limit}",
        remedy="narrow the query, or run it as an asynchronous job with a longer limit",
    )


# Steps of `nice`: each is worth a quarter of the processor's time while processors are scarce, and nothing otherwise.
# They count within a session or group; the machine may share itself among those first: see `reduce_session_priority`.
QUERY_NICENESS = 15
JOB_NICENESS = 19
# processes that answer requests, where the account may raise them: up to six times the share of another program
ANSWER_SESSION = -8
# computations for waiting readers: a third of the share of another program, so that accepted queries end in time
QUERY_SESSION_NICENESS = 5
# other computations: not so low that another program of the machine stops them
SESSION_NICENESS = 10


def reduce_thread_priority(niceness: int) -> None:
    """Lower the priority of the calling thread, and of the threads that it will start; this cannot be undone.

    It has no effect on other systems than Linux.

    Parameters
    ----------
    niceness
        Steps of niceness below usual, 0 to 19.
    """
    if sys.platform == "linux":  # there each thread has its own priority
        current_niceness = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, max(niceness, current_niceness))


def reduce_session_priority(niceness: int, process_id: int | str = "self") -> None:
    """Lower the priority of a process's session, where Linux shares the machine among sessions (sched_autogroup).

    Parameters
    ----------
    niceness
        Steps of niceness below usual, up to 19. A negative number, down to -20, raises the priority. That needs the
        capability CAP_SYS_NICE or a limit of niceness (``ulimit -e``); without both nothing changes. 0 changes nothing.
    process_id
        Number of the process; by default the calling one.
    """
    # An error means that the machine does not share itself among sessions, so that the priorities of threads count by
    # themselves, or that the account may not raise a session.
    with contextlib.suppress(OSError):
        for _ in range(20 if niceness else 0):
            # except for root, only one session of the machine may do this in a tenth of a second
            with contextlib.suppress(BlockingIOError):
                Path(f"/proc/{process_id}/autogroup").write_text(str(niceness))
                return
            time.sleep(0.05)


def is_autogroup_priority_raised(process_id: int | str) -> bool:
    """Return whether the session of a process has a raised priority.

    Parameters
    ----------
    process_id
        Number of the process.
    """
    try:  # "/autogroup-123 nice -8"
        text = Path(f"/proc/{process_id}/autogroup").read_text()
        return int(text.rpartition(" ")[2] or 0) < 0
    except (OSError, ValueError):
        return False


def call_with_low_priority(niceness: int, function: Callable[[], T]) -> T:
    """Call a function in a thread of low priority; the priority of the calling thread stays.

    Parameters
    ----------
    niceness
        As for `reduce_thread_priority`.
    function
        Called without arguments, in its own thread.

    Returns
    -------
    result
        The result of `function`; its errors are raised.
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
        raise raised_errors.pop()  # popped, so that no reference cycle keeps the frames alive
    return results[0]


_offloading = threading.local()


def mark_thread_for_offloading() -> None:
    """Mark the calling thread as one that offloads long computations (`offload_computation_if_marked`).

    The thread itself keeps the priority of the event loop. A thread of low priority that holds the interpreter's lock
    and gets no processor keeps the event loop waiting, so it must hold the lock for moments only.
    """
    _offloading.below = True


def offload_computation_if_marked(function: Callable[[], T]) -> T:
    """Call a function that computes for long without the interpreter's lock.

    The call runs in a thread of low priority, if the calling thread is marked by `mark_thread_for_offloading`. It is a
    new thread, which costs some ten microseconds, because a thread that planned a deep query keeps megabytes of stack
    for as long as it lives.

    Parameters
    ----------
    function
        Called without arguments.

    Returns
    -------
    result
        The result of `function`.
    """
    if vars(_offloading):
        return call_with_low_priority(QUERY_NICENESS, partial(copy_context().run, function))
    return function()

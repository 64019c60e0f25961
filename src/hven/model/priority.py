"""Which threads the machine lets go first: those that answer at once, then queries that readers wait for, then jobs."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    T = TypeVar("T")

# steps of `nice`; each is worth a quarter of the processor's time while there is too little of it, and nothing otherwise. They count within the
# service: what else the machine does is in sessions or groups of its own, which share it evenly
QUERY = 15
JOB = 19


def lower(steps: int) -> None:
    """Lower the calling thread, and those that it will start, to so many steps below usual; there is no way back. Elsewhere than on Linux: nothing."""
    if sys.platform == "linux":  # there it is a thread's own
        os.setpriority(os.PRIO_PROCESS, 0, max(steps, os.getpriority(os.PRIO_PROCESS, 0)))


def lower_session(steps: int) -> None:
    """Lower the session of the calling process against the others, where the machine shares itself among sessions (sched_autogroup of Linux)."""
    with contextlib.suppress(OSError):  # there is none: the priorities of threads count by themselves
        Path("/proc/self/autogroup").write_text(str(steps))


def lowered(steps: int, call: Callable[[], T]) -> T:
    """Give what `call` gives: it is called so that the threads which it starts are lower, and the calling thread is not."""
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
    """Say of the calling thread that it leaves long computing to lower ones (`below`), and stays as ready as the event loop itself.

    A lower thread that holds the interpreter's lock and gets no processor keeps the event loop waiting: so it shall hold it for moments only.
    """
    _asking.below = True


def below(call: Callable[[], T]) -> T:
    """Give what `call` gives, which computes for long without the interpreter's lock; in a lower thread, if the calling one `asks`.

    The thread is a new one, for some ten microseconds: one that has planned a deep query keeps megabytes of its stack for as long as it lives.
    """
    return lowered(QUERY, partial(copy_context().run, call)) if vars(_asking) else call()

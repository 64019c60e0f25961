"""Which threads the machine lets go first: those that answer at once, then queries that readers wait for, then jobs."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    T = TypeVar("T")

# steps of `nice`; each is worth a quarter of the processor's time while there is too little of it, and nothing otherwise
QUERY = 5
JOB = 10


def lower(steps: int) -> None:
    """Lower the calling thread, and those that it will start, to so many steps below usual; there is no way back. Elsewhere than on Linux: nothing."""
    if sys.platform == "linux":  # there it is a thread's own
        os.setpriority(os.PRIO_PROCESS, 0, max(steps, os.getpriority(os.PRIO_PROCESS, 0)))


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
        raise raised[0]
    return made[0]

"""Tells a process that hangs from one that is slow: on a loaded machine a healthy process may be silent for long."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hven.jobs import forks

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.jobs.forks import Pulse

MAX_LOAD_FACTOR = 6.0  # a machine with more programs than processors makes everything so many times slower, at most
RUNNABLE, STOPPED = "R", "T"


@dataclass(frozen=True, slots=True)
class ThreadUsage:
    """A thread at one moment: its state as in `proc(5)`, and the processor seconds that it has used."""

    state: str
    seconds: float


def read_thread_usage(pid: int, thread: int) -> ThreadUsage | None:
    """Read how much processor time a thread has used.

    Parameters
    ----------
    pid, thread
        Of the process and of the thread; Linux has them in ``/proc``.

    Returns
    -------
    usage
        None where the system does not tell.
    """
    try:
        fields = Path(f"/proc/{pid}/task/{thread}/stat").read_text(encoding="ascii", errors="replace").rpartition(") ")
        words = fields[2].split()
        return ThreadUsage(words[0], (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return None


def compute_load_factor() -> float:
    """Return how many times slower the machine is than a quiet one, by its load: from 1 to 6."""
    try:
        load = os.getloadavg()[0]
    except OSError:
        return 1.0
    return min(max(load / (os.cpu_count() or 1), 1.0), MAX_LOAD_FACTOR)


class HangDetector:
    """Watches one process by its pulse. Its watcher looks several times a second.

    A process is judged by the thread that beats. It hangs if that thread has used `forks.SILENT` seconds of processor time without a
    beat, or has waited for something other than a processor for as long, times the load of the machine. A thread that is ready to run
    and gets no processor is slow, and is left alone.

    Parameters
    ----------
    pulse
        Of the process.
    pid
        Its id.
    clock, usage, load
        What it measures by.
    """

    def __init__(
        self,
        pulse: Pulse,
        pid: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        usage: Callable[[int, int], ThreadUsage | None] = read_thread_usage,
        load: Callable[[], float] = compute_load_factor,
    ) -> None:
        self._pulse, self._pid = pulse, pid
        self._clock, self._usage, self._load = clock, usage, load
        self._beat = -1.0  # moment of the last beat that was seen
        self._start = 0.0  # processor seconds of the thread at that beat
        self._last: ThreadUsage | None = None
        self._looked = clock()
        self._waited = 0.0  # seconds since that beat in which the thread neither ran nor could have run

    def is_hung(self) -> bool:
        """Look at the process once more.

        Returns
        -------
        hung
            Whether it hangs.
        """
        now, beat, usage = self._clock(), self._pulse.beat_at, self._usage(self._pid, self._pulse.thread)
        # a watcher that could not look for long was stopped itself, or the machine was: it cannot tell who else was
        passed, self._looked = min(now - self._looked, 1.0), now
        if beat != self._beat or self._pulse.silent() < 0:
            self._beat, self._last, self._waited = beat, usage, 0.0
            self._start = 0.0 if usage is None else usage.seconds
            return False
        last, self._last = self._last, usage
        if (
            usage is None
            or last is None
            or (usage.seconds == last.seconds and (usage.state != RUNNABLE or last.state != RUNNABLE))
        ):  # nothing is known but how long it has been silent
            self._waited += passed
        spent = 0.0 if usage is None else usage.seconds - self._start
        factor = 1.0 if usage is not None and usage.state == STOPPED else self._load()
        return spent > forks.SILENT or self._waited > forks.SILENT * factor

"""Tells a process that hangs from one that is slow: on a loaded machine a healthy process may be silent for long."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hven.jobs import child_processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.jobs.child_processes import Heartbeat

MAX_LOAD_FACTOR = 6.0  # a machine with more programs than processors makes everything so many times slower, at most
RUNNABLE_STATE, STOPPED_STATE = "R", "T"


@dataclass(frozen=True, slots=True)
class ThreadUsage:
    """A thread at one moment: its state as in `proc(5)`, and the processor time that it has used (`cpu_seconds`)."""

    state: str
    cpu_seconds: float


def read_thread_usage(pid: int, thread_id: int) -> ThreadUsage | None:
    """Read how much processor time a thread has used.

    Parameters
    ----------
    pid, thread_id
        Of the process and of the thread; Linux has them in ``/proc``.

    Returns
    -------
    usage
        None where the system does not tell.
    """
    try:
        fields = (
            Path(f"/proc/{pid}/task/{thread_id}/stat").read_text(encoding="ascii", errors="replace").rpartition(") ")
        )
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


class HungProcessDetector:
    """Watches one process by its pulse. Its watcher looks several times a second.

    A process is judged by the thread that beats. It hangs if that thread has used
    `child_processes.HEARTBEAT_TIMEOUT_SECONDS` seconds of processor time without a beat, or has waited for something
    other than a processor for as long, times the load of the machine. A thread that is ready to run and gets no
    processor is slow, and is left alone.

    Parameters
    ----------
    heartbeat
        Of the process.
    pid
        Its id.
    get_time, read_usage, compute_load
        What it measures by.
    """

    def __init__(
        self,
        heartbeat: Heartbeat,
        pid: int,
        *,
        get_time: Callable[[], float] = time.monotonic,
        read_usage: Callable[[int, int], ThreadUsage | None] = read_thread_usage,
        compute_load: Callable[[], float] = compute_load_factor,
    ) -> None:
        self._heartbeat = heartbeat
        self._pid = pid
        self._get_time = get_time
        self._read_usage = read_usage
        self._compute_load = compute_load
        self._last_beat_time = -1.0  # moment of the last beat that was seen
        self._cpu_seconds_at_beat = 0.0  # processor seconds of the thread at that beat
        self._last_usage: ThreadUsage | None = None
        self._last_check = get_time()
        self._waited_seconds = 0.0  # seconds since that beat in which the thread neither ran nor could have run

    def is_hung(self) -> bool:
        """Look at the process once more.

        Returns
        -------
        hung
            Whether it hangs.
        """
        now = self._get_time()
        beat_time = self._heartbeat.last_beat_time
        usage = self._read_usage(self._pid, self._heartbeat.thread_id)
        # a watcher that could not look for long was stopped itself, or the machine was: it cannot tell who else was
        elapsed = min(now - self._last_check, 1.0)
        self._last_check = now
        if beat_time != self._last_beat_time or self._heartbeat.get_silent_seconds() < 0:
            self._last_beat_time = beat_time
            self._last_usage = usage
            self._waited_seconds = 0.0
            if usage is None:
                self._cpu_seconds_at_beat = 0.0
            else:
                self._cpu_seconds_at_beat = usage.cpu_seconds
            return False
        previous_usage = self._last_usage
        self._last_usage = usage
        if (
            usage is None
            or previous_usage is None
            or (
                usage.cpu_seconds == previous_usage.cpu_seconds
                and (usage.state != RUNNABLE_STATE or previous_usage.state != RUNNABLE_STATE)
            )
        ):  # nothing is known but how long it has been silent
            self._waited_seconds += elapsed
        if usage is None:
            used_cpu_seconds = 0.0
        else:
            used_cpu_seconds = usage.cpu_seconds - self._cpu_seconds_at_beat
        if usage is not None and usage.state == STOPPED_STATE:
            factor = 1.0
        else:
            factor = self._compute_load()
        return (
            used_cpu_seconds > child_processes.HEARTBEAT_TIMEOUT_SECONDS
            or self._waited_seconds > child_processes.HEARTBEAT_TIMEOUT_SECONDS * factor
        )

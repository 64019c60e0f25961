"""Tell a process that hangs from a slow one: on a loaded machine, a healthy process may be silent for long."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hven.jobs import child_processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.jobs.child_processes import ProcessHeartbeat

MAX_LOAD_FACTOR = 6.0  # a machine with more programs than processors is assumed to be slower by at most this factor
RUNNABLE_STATE, STOPPED_STATE = "R", "T"


@dataclass(frozen=True, slots=True)
class ThreadCpuUsage:
    """A thread at one time: its state as in `proc(5)`, and the processor time that it has used (`cpu_seconds`)."""

    state: str
    cpu_seconds: float


def read_thread_cpu_usage(pid: int, thread_id: int) -> ThreadCpuUsage | None:
    """Read the processor time that a thread has used.

    Parameters
    ----------
    pid, thread_id
        Ids of the process and of the thread, which Linux has in ``/proc``.

    Returns
    -------
    usage
        None if the system has no such file.
    """
    try:
        text = Path(f"/proc/{pid}/task/{thread_id}/stat").read_text(encoding="ascii", errors="replace")
        # the name of the thread, in parentheses, may have spaces
        words = text.rpartition(") ")[2].split()
        clock_ticks = int(words[11]) + int(words[12])
        return ThreadCpuUsage(words[0], clock_ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return None


def compute_load_factor() -> float:
    """Return the factor by which the load makes the machine slower than an idle one: from 1 to 6."""
    try:
        load = os.getloadavg()[0]
    except OSError:
        return 1.0
    load_per_processor = load / (os.cpu_count() or 1)
    return min(max(load_per_processor, 1.0), MAX_LOAD_FACTOR)


class HungProcessDetector:
    """Watch one process by its heartbeat. The watcher calls `is_hung` several times a second.

    A process is judged by the thread that records its heartbeats. It hangs if that thread has used
    `child_processes.HEARTBEAT_TIMEOUT_SECONDS` of processor time without a heartbeat. It also hangs if the thread has
    waited for something other than a processor for this time, times the load of the machine. A thread that is ready to
    run and gets no processor is slow, and is left alone.

    Parameters
    ----------
    heartbeat
        Heartbeat of the process.
    pid
        Id of the process.
    get_time, read_usage, compute_load
        Sources of its measurements.
    """

    def __init__(
        self,
        heartbeat: ProcessHeartbeat,
        pid: int,
        *,
        get_time: Callable[[], float] = time.monotonic,
        read_usage: Callable[[int, int], ThreadCpuUsage | None] = read_thread_cpu_usage,
        compute_load: Callable[[], float] = compute_load_factor,
    ) -> None:
        self._heartbeat = heartbeat
        self._pid = pid
        self._get_time = get_time
        self._read_usage = read_usage
        self._compute_load = compute_load
        self._last_beat_time = -1.0  # time of the last heartbeat
        self._cpu_seconds_at_beat = 0.0  # processor time of the thread at the last heartbeat
        self._last_usage: ThreadCpuUsage | None = None
        self._last_check = get_time()
        self._waited_seconds = 0.0  # time since the last heartbeat in which the thread neither ran nor could have run

    def is_hung(self) -> bool:
        """Check the process once more.

        Returns
        -------
        is_hung
            Whether the process hangs.
        """
        now = self._get_time()
        beat_time = self._heartbeat.last_beat_time
        usage = self._read_usage(self._pid, self._heartbeat.last_thread_id)
        # if the last check was long ago, this process or the whole machine was stopped, and perhaps the other one too
        elapsed = min(now - self._last_check, 1.0)
        self._last_check = now
        previous_usage = self._last_usage
        self._last_usage = usage
        if beat_time != self._last_beat_time or self._heartbeat.get_silent_seconds() < 0:
            self._last_beat_time = beat_time
            self._waited_seconds = 0.0
            if usage is None:
                self._cpu_seconds_at_beat = 0.0
            else:
                self._cpu_seconds_at_beat = usage.cpu_seconds
            return False
        if usage is None or previous_usage is None:
            # nothing is known but the silence
            self._waited_seconds += elapsed
        elif usage.cpu_seconds == previous_usage.cpu_seconds:
            is_runnable = usage.state == RUNNABLE_STATE and previous_usage.state == RUNNABLE_STATE
            if not is_runnable:
                self._waited_seconds += elapsed
        used_cpu_seconds = 0.0
        load_factor = 1.0
        if usage is not None:
            used_cpu_seconds = usage.cpu_seconds - self._cpu_seconds_at_beat
        if usage is None or usage.state != STOPPED_STATE:
            load_factor = self._compute_load()
        timeout_seconds = child_processes.HEARTBEAT_TIMEOUT_SECONDS
        return used_cpu_seconds > timeout_seconds or self._waited_seconds > timeout_seconds * load_factor

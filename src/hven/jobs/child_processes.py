"""Fork processes and watch them: their heartbeats, their names, their ends, and signals to them."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import mmap
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HEARTBEAT_INTERVAL_SECONDS = 1.0
HEARTBEAT_TIMEOUT_SECONDS = 10.0  # after this time without a heartbeat, the parent kills a process
# a process gets these when it reads what cannot be read, such as a damaged file
CRASH_SIGNALS = frozenset({signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT})


class ProcessHeartbeat:
    """The heartbeat of a fork: the time of its last sign of life, in memory that it shares with its parent.

    Parameters
    ----------
    start_seconds
        Time that the fork gets until its first heartbeat.
    """

    def __init__(self, start_seconds: float = 0.0) -> None:
        self._memory = mmap.mmap(-1, 16)
        self._last_beat = ctypes.c_double.from_buffer(self._memory)
        self._thread = ctypes.c_longlong.from_buffer(self._memory, 8)
        self._last_beat.value = time.monotonic() + start_seconds

    def assign_to_this_process(self) -> None:
        """Use this heartbeat for the present process."""
        global _own_heartbeat  # noqa: PLW0603  (a process has one heartbeat)
        _own_heartbeat = self

    def set_grace_period(self, expected_seconds: float) -> None:
        """Give the fork time until its next heartbeat.

        Parameters
        ----------
        expected_seconds
            Time in which the fork counts as starting.
        """
        self._last_beat.value = time.monotonic() + expected_seconds

    def record_beat(self) -> None:
        """Record a heartbeat."""
        self._thread.value = threading.get_native_id()
        self._last_beat.value = time.monotonic()

    @property
    def last_beat_time(self) -> float:
        """Time of the last heartbeat, in monotonic seconds."""
        return self._last_beat.value

    @property
    def last_thread_id(self) -> int:
        """The system's id of the thread of the last heartbeat; 0: there was none."""
        return self._thread.value

    def get_silent_seconds(self) -> float:
        """Return the time since the last heartbeat, in seconds; less than 0 while the fork may still be starting."""
        return time.monotonic() - self._last_beat.value


_own_heartbeat: ProcessHeartbeat | None = None


def record_own_heartbeat() -> None:
    """Record a heartbeat of this process, for the process that watches it."""
    if _own_heartbeat is not None:
        _own_heartbeat.record_beat()


def start_heartbeat_thread() -> None:
    """Start a thread that records heartbeats while the interpreter runs.

    This is for processes whose main thread waits and computes.
    """

    def send_repeatedly() -> None:
        while True:
            record_own_heartbeat()
            time.sleep(HEARTBEAT_INTERVAL_SECONDS)

    threading.Thread(target=send_repeatedly, name="hven-pulse", daemon=True).start()


def fork_process(run_child: Callable[[int], object], description: str, log: logging.Logger) -> int:
    """Run a function in a fork of this process; the fork ends with the function.

    The caller must have one thread, or know what the others do, and must have closed its connections, because no child
    may have them.

    Parameters
    ----------
    run_child
        The function; it receives the id of this process, with which the fork may end too.
    description
        A description of the fork, for the log if the function fails.
    log
        The log of the caller.

    Returns
    -------
    pid
        Id of the fork.
    """
    gc.collect()  # unreachable objects are closed here, and not once more in the child
    parent_pid = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        run_child(parent_pid)
        code = 0
    except BaseException:
        log.exception("%s failed", description)
    finally:
        logging.shutdown()
        os._exit(code)


def set_process_name(process_name: str) -> None:
    """Name this process for `top` and `ps`.

    Parameters
    ----------
    process_name
        ASCII; only the first 15 characters count.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(process_name, encoding="ascii")


def send_signal(pid: int, signal_number: signal.Signals) -> None:
    """Send a signal to a process, if it still exists.

    Parameters
    ----------
    pid
        Id of the process.
    signal_number
        The signal.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)


def describe_exit_status(status: int) -> str:
    """Describe how a process ended.

    Parameters
    ----------
    status
        A status of `os.waitpid`.

    Returns
    -------
    text
        ``signal 9``, ``exit code 1``.
    """
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit code {os.WEXITSTATUS(status)}"

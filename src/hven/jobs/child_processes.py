"""What processes have in common that start others: how a fork lives, beats and ends, its name, signals to it."""

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

HEARTBEAT_INTERVAL_SECONDS = 1.0  # seconds between two signs of life of a process
# of those who read what cannot be read, as a damaged file
CRASH_SIGNALS = frozenset({signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT})
HEARTBEAT_TIMEOUT_SECONDS = 10.0  # seconds without one, after which its parent kills it


class Heartbeat:
    """The sign of life of a fork: a moment, in memory that it shares with its parent.

    Parameters
    ----------
    start_seconds
        Seconds that the fork gets until its first sign.
    """

    def __init__(self, start_seconds: float = 0.0) -> None:
        self._memory = mmap.mmap(-1, 16)
        self._last_beat = ctypes.c_double.from_buffer(self._memory)
        self._thread = ctypes.c_longlong.from_buffer(self._memory, 8)
        self._last_beat.value = time.monotonic() + start_seconds

    def set_as_own(self) -> None:
        """Set this pulse as the process's own."""
        global _own_heartbeat  # noqa: PLW0603  (a process has one heart)
        _own_heartbeat = self

    def set_grace_period(self, expected_seconds: float) -> None:
        """Give the fork time until its next sign.

        Parameters
        ----------
        expected_seconds
            Until when it counts as one that begins.
        """
        self._last_beat.value = time.monotonic() + expected_seconds

    def record_beat(self) -> None:
        """Send a sign of life."""
        self._thread.value = threading.get_native_id()
        self._last_beat.value = time.monotonic()

    @property
    def last_beat_time(self) -> float:
        """When the last sign was sent; monotonic seconds."""
        return self._last_beat.value

    @property
    def thread_id(self) -> int:
        """Id by which the system knows the thread that sent the last sign; 0: none has."""
        return self._thread.value

    def get_silent_seconds(self) -> float:
        """Return for how many seconds there has been no sign; less than 0 while the fork is still expected to begin."""
        return time.monotonic() - self._last_beat.value


_own_heartbeat: Heartbeat | None = None


def send_heartbeat() -> None:
    """Send a sign of life to whoever watches this process."""
    if _own_heartbeat is not None:
        _own_heartbeat.record_beat()


def start_heartbeat_thread() -> None:
    """Send signs of life from a thread of its own, as long as the interpreter lets it.

    For processes whose main thread waits and computes.
    """

    def send_repeatedly() -> None:
        while True:
            send_heartbeat()
            time.sleep(HEARTBEAT_INTERVAL_SECONDS)

    threading.Thread(target=send_repeatedly, name="hven-pulse", daemon=True).start()


def fork_process(run_child: Callable[[int], object], description: str, log: logging.Logger) -> int:
    """Run something in a fork of this process, which ends with it.

    The caller has one thread, or knows what the others do, and has closed its connections: no child may have them.

    Parameters
    ----------
    run_child
        Given the id of this process: its end may be the fork's end too.
    description
        The fork, in words, for the log if `run_child` fails.
    log
        Of the caller.

    Returns
    -------
    pid
        Of the fork.
    """
    gc.collect()  # what is closed by the collector is closed here, not once more in the child
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


def set_process_name(name: str) -> None:
    """Name this process for `top` and `ps`.

    Parameters
    ----------
    name
        ASCII, 15 characters count.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="ascii")


def send_signal(pid: int, signal_number: signal.Signals) -> None:
    """Send a signal; a process that is gone gets none.

    Parameters
    ----------
    pid
        Of the process.
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
        As `os.waitpid` returns it.

    Returns
    -------
    words
        ``signal 9``, ``exit code 1``.
    """
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit code {os.WEXITSTATUS(status)}"

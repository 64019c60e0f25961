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

BEAT = 1.0  # seconds between two signs of life of a process
# of those who read what cannot be read, as a damaged file
CRASHES = frozenset({signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT})
SILENT = 10.0  # seconds without one, after which its parent kills it


class Pulse:
    """The sign of life of a fork: a moment, in memory that it shares with its parent.

    Parameters
    ----------
    start
        Seconds that the fork gets until its first sign.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._memory = mmap.mmap(-1, 16)
        self._at = ctypes.c_double.from_buffer(self._memory)
        self._thread = ctypes.c_longlong.from_buffer(self._memory, 8)
        self._at.value = time.monotonic() + start

    def own(self) -> None:
        """Set this pulse as the process's own."""
        global _own  # noqa: PLW0603  (a process has one heart)
        _own = self

    def expect(self, seconds: float) -> None:
        """Give the fork time until its next sign.

        Parameters
        ----------
        seconds
            Until when it counts as one that begins.
        """
        self._at.value = time.monotonic() + seconds

    def beat(self) -> None:
        """Send a sign of life."""
        self._thread.value = threading.get_native_id()
        self._at.value = time.monotonic()

    @property
    def beat_at(self) -> float:
        """When the last sign was sent; monotonic seconds."""
        return self._at.value

    @property
    def thread(self) -> int:
        """Id by which the system knows the thread that sent the last sign; 0: none has."""
        return self._thread.value

    def silent(self) -> float:
        """Return for how many seconds there has been no sign; less than 0 while the fork is still expected to begin."""
        return time.monotonic() - self._at.value


_own: Pulse | None = None


def beat() -> None:
    """Send a sign of life to whoever watches this process."""
    if _own is not None:
        _own.beat()


def beating() -> None:
    """Send signs of life from a thread of its own, as long as the interpreter lets it: for processes whose main thread waits and computes."""

    def beats() -> None:
        while True:
            beat()
            time.sleep(BEAT)

    threading.Thread(target=beats, name="hven-pulse", daemon=True).start()


def forked(run: Callable[[int], object], what: str, log: logging.Logger) -> int:
    """Run something in a fork of this process, which ends with it.

    The caller has one thread, or knows what the others do, and has closed its connections: no child may have them.

    Parameters
    ----------
    run
        Given the id of this process: its end may be the fork's end too.
    what
        The fork, in words, for the log if `run` fails.
    log
        Of the caller.

    Returns
    -------
    pid
        Of the fork.
    """
    gc.collect()  # what is closed by the collector is closed here, not once more in the child
    me = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        run(me)
        code = 0
    except BaseException:
        log.exception("%s failed", what)
    finally:
        logging.shutdown()
        os._exit(code)


def called(name: str) -> None:
    """Name this process for `top` and `ps`.

    Parameters
    ----------
    name
        ASCII, 15 characters count.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="ascii")


def tell(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone gets none.

    Parameters
    ----------
    pid
        Of the process.
    number
        The signal.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def how(status: int) -> str:
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
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"

"""Python of a curator's, in a process of its own: limits of time and memory, and whatever it does is a fault that can be told.

The process is a plain interpreter (`_beside_worker.py`). Columns go and come as Arrow IPC over a pair of sockets; nothing that it says is unpickled.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import pickle
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model import clock
from hven.model.settings import PythonLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START = 60.0  # seconds for an interpreter to begin, on a busy machine
# what of our environment the process has: where things are, and in which language and time; nothing that may be a secret
GIVEN = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH|SSL_CERT_(FILE|DIR)|[A-Z]+_NUM_THREADS"
)
MARK = "HVEN_BESIDE"  # variable of the environment that what the process starts inherits
ROUNDS = 50
WORKER = Path(__file__).with_name("_beside_worker.py")


class Failure(Exception):
    """What the code did instead of answering, in words.

    Attributes
    ----------
    line
        Of the curator's file, if it raised.
    answered
        False: it went on beyond its time.
    """

    def __init__(self, text: str, line: int | None = None, *, answered: bool = True) -> None:
        super().__init__(text)
        self.line, self.answered = line, answered


def first_wrong(fails: Callable[[int, int], bool], rows: int) -> int | None:
    """Find the first row without which a function does not fail, by bisection.

    Parameters
    ----------
    fails
        Whether it fails for the rows from one number to another.
    rows
        Their number.

    Returns
    -------
    row
        From 0; None: no row does it alone.
    """
    low, high = 0, rows
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(low, middle) else (middle, high)
    return low if rows and fails(low, high) else None


class Python:
    """An interpreter for curators' code; it begins when it is asked first, and anew after it ended. It ends with this object."""

    def __init__(self, limits: PythonLimits | None = None, module: str | None = None) -> None:
        self._module = module  # that the process needs beside the curator's file
        self.limits = limits or PythonLimits()
        self._lock = threading.RLock()
        self._end: weakref.finalize[Any, Python] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None
        self._count = mmap.mmap(-1, 8)
        self._loaded: set[tuple[str, str]] = set()

    @property
    def rows(self) -> int:
        """How many rows a source has given."""
        return int.from_bytes(self._count[:8], sys.byteorder)

    def load(self, path: Path, name: str) -> None:
        """Import a file, and find its function.

        Parameters
        ----------
        path
            Of the file.
        name
            Of the function.

        Raises
        ------
        Failure
            It cannot be imported, or has none of that name.
        """
        with self._lock:
            self.ask(("load", str(path), name))
            self.answer(self.limits.seconds)
            self._loaded.add((str(path), name))

    def call(
        self, path: Path, name: str, arrays: Sequence[pa.Array], *, seconds: float | None = None
    ) -> pa.Array | str:
        """Call a function with columns.

        Parameters
        ----------
        path
            Of the file.
        name
            Of the function.
        arrays
            Its arguments, each of shape (n,).
        seconds
            At most; None: what the limits say.

        Returns
        -------
        column
            Of shape (n,); or the name of the type of what is no column.

        Raises
        ------
        Failure
            It raised, took too long or too much memory, or ended the process.
        """
        with self._lock:
            if self._process is None or (str(path), name) not in self._loaded:
                self.load(path, name)
            self.ask(("call", str(path), name), _packed(arrays))
            kind, body = self.answer(min(self.limits.seconds, seconds or self.limits.seconds))
        return pa.ipc.open_stream(body).read_next_batch().column(0) if kind == b"A" else body.decode()

    def ask(self, request: tuple[Any, ...], *more: pa.Buffer) -> None:
        """Send a request; begin the process if there is none.

        Parameters
        ----------
        request
            What is to be done, and with what.
        more
            Further parts, as they are.
        """
        if self._process is None:
            self._begin()
        if self._channel is None:
            raise AssertionError
        try:
            self._channel.send_bytes(pickle.dumps(request))
            for one in more:
                self._channel.send_bytes(one)
        except OSError:
            raise self._ended() from None

    def answer(self, seconds: float) -> tuple[bytes, bytes]:
        """Wait for an answer.

        Parameters
        ----------
        seconds
            At most; a source that yields rows has them anew with each.

        Returns
        -------
        kind
            A letter.
        body
            What belongs to it.

        Raises
        ------
        Failure
            An error of the code; no answer; or the end of the process.
        """
        if self._channel is None:
            raise AssertionError
        try:
            seen = self.rows
            while not self._channel.poll(seconds):
                if self.rows > seen:  # a source that gives rows is at work
                    seen = self.rows
                    continue
                self.stop()
                raise Failure(
                    f"it gave no answer within {seconds:g} s and was stopped (python.seconds in hven.toml)",
                    answered=False,
                )
            said = self._channel.recv_bytes()
        except (EOFError, OSError):
            raise self._ended() from None
        if said[:1] == b"E":
            error = json.loads(said[1:])
            if error["memory"]:
                self.stop()  # what is left of it is not to be trusted
                raise Failure(
                    f"it wanted more than {self.limits.memory:,} bytes of memory (python.memory in hven.toml)",
                    error["line"],
                )
            raise Failure(error["text"], error["line"])
        return said[:1], said[1:]

    def stop(self) -> None:
        """End the process and what it has started."""
        if self._end is not None:
            self._end()
        self._end, self._process, self._channel = None, None, None
        self._loaded.clear()

    def _ended(self) -> Failure:
        """Find out how the process ended by itself."""
        process = self._process
        if process is None:
            raise AssertionError
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
        code = process.poll()
        self.stop()
        if code is None:
            return Failure("it closed the way to its process, which was stopped")
        if code >= 0:
            return Failure(f"it ended its process, with exit code {code} (os._exit, perhaps)")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        why = (
            ": the machine may have had no memory left"
            if name == "SIGKILL"
            else ": a fault in compiled code, perhaps for want of memory"
        )
        return Failure(f"its process died of {name}{why}")

    def _begin(self) -> None:
        ours, theirs = socket.socketpair()
        mark = secrets.token_hex(16)
        with theirs, tempfile.TemporaryFile() as shared:
            shared.write(bytes(8))
            shared.flush()
            self._count = mmap.mmap(shared.fileno(), 8)
            os.set_inheritable(shared.fileno(), True)
            self._process = subprocess.Popen(  # noqa: S603  (this interpreter, and our own file)
                [sys.executable, "-P", str(WORKER), str(theirs.fileno()), str(shared.fileno())],
                env={
                    **{name: value for name, value in os.environ.items() if GIVEN.fullmatch(name)},
                    **self.limits.environment,
                    "ARROW_DEFAULT_MEMORY_POOL": "system",
                    MARK: mark,
                },
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), shared.fileno()),
                start_new_session=True,
            )
        # it is as low as ours
        clock.lower_session(min(clock.SESSION, os.getpriority(os.PRIO_PROCESS, 0)), self._process.pid)
        self._channel = Connection(ours.detach())
        self._end = weakref.finalize(self, _end, self._process, self._channel, mark)
        self._loaded.clear()
        main = threading.current_thread() is threading.main_thread()  # Linux ties such an end to the thread
        self.ask(("begin", os.getpid(), main, list(sys.path), self.limits.memory, self._module))
        self.answer(START)


def _end(process: subprocess.Popen[bytes], channel: Connection, mark: str) -> None:
    with contextlib.suppress(OSError):
        channel.close()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for _ in range(ROUNDS):  # what was about to start another one has done so
        if not (left := _marked(f"{MARK}={mark}".encode())):
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _marked(mark: bytes) -> list[int]:
    """Find what the process has started by its environment, whatever session and parent it has now."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # others' processes, and those that are gone
            if mark in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
    return found


def _packed(arrays: Sequence[pa.Array]) -> pa.Buffer:
    batch = pa.RecordBatch.from_arrays(list(arrays), names=[str(number) for number in range(len(arrays))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


__all__ = ["Python"]

"""Run Python code of curators in a process of its own, with limits of time and memory.

Whatever the code does becomes an error with a message.

The process is a plain interpreter (`_curator_worker.py`). Columns are sent as Arrow IPC over a pair of sockets; nothing
that the process sends is unpickled.
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
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model import deadlines
from hven.model.settings import DescriptorPythonLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STARTUP_TIMEOUT_SECONDS = 60.0  # for an interpreter to start on a busy machine
# variables of the environment that the process gets: paths, language and time; none of them may be a secret
PASSED_VARIABLES_PATTERN = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH"
    r"|SSL_CERT_(FILE|DIR)|[A-Z]+_NUM_THREADS"
)
PROCESS_MARK_VARIABLE = "HVEN_BESIDE"  # an environment variable that the children of the process inherit
# threads of OpenBLAS, which numpy starts, wait in a loop for 2^26 cycles before they sleep; here for 2^4
OPENBLAS_SETTINGS = {"OPENBLAS_THREAD_TIMEOUT": "4"}
MAX_KILL_ROUNDS = 50
MAX_UNKNOWN_ROUNDS = 20  # a process that still shows no environment after these rounds has none
WORKER_SCRIPT = Path(__file__).with_name("_curator_worker.py")


class CuratorCodeError(Exception):
    """The code did not respond as it should; the text says what it did.

    Attributes
    ----------
    line
        Line of the curator's file, if the code raised an error.
    was_answered
        False: the code ran longer than its time limit.
    """

    def __init__(self, text: str, line: int | None = None, *, was_answered: bool = True) -> None:
        super().__init__(text)
        self.line = line
        self.was_answered = was_answered


def find_first_failing_row(fails: Callable[[int, int], bool], row_count: int) -> int | None:
    """Find the first row without which a function does not fail, by bisection.

    Parameters
    ----------
    fails
        Whether the function fails for the rows from one number to another.
    row_count
        Number of rows.

    Returns
    -------
    row
        Number from 0; None: no single row makes it fail.
    """
    low = 0
    high = row_count
    while high - low > 1:
        middle = (low + high) // 2
        if fails(low, middle):
            high = middle
        else:
            low = middle
    if row_count and fails(low, high):
        return low
    return None


class CuratorProcess:
    """An interpreter for code of curators; the first request starts it, and restarts it after its end.

    It ends with this object.
    """

    def __init__(self, limits: DescriptorPythonLimits | None = None, module: str | None = None) -> None:
        self._module = module  # needed in the process besides the curator's file
        self.limits = limits or DescriptorPythonLimits()
        self._lock = threading.RLock()
        self._finalizer: weakref.finalize[Any, CuratorProcess] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None
        self._row_counter = mmap.mmap(-1, 8)
        self._loaded_functions: set[tuple[str, str]] = set()

    @property
    def yielded_row_count(self) -> int:
        """Number of rows that a source has yielded."""
        return int.from_bytes(self._row_counter[:8], sys.byteorder)

    def load_function(self, path: Path, name: str) -> None:
        """Import a file, and find its function.

        Parameters
        ----------
        path
            Path of the file.
        name
            Name of the function.

        Raises
        ------
        CuratorCodeError
            The file cannot be imported, or has no such function.
        """
        with self._lock:
            self.send_request(("load", str(path), name))
            self.receive_answer(self.limits.seconds)
            self._loaded_functions.add((str(path), name))

    def call_function(
        self, path: Path, name: str, arrays: Sequence[pa.Array], *, timeout_seconds: float | None = None
    ) -> pa.Array | str:
        """Call a function with columns.

        Parameters
        ----------
        path
            Path of the file.
        name
            Name of the function.
        arrays
            Arguments of the function, each of shape (n,).
        timeout_seconds
            Time limit; None: that of the limits.

        Returns
        -------
        column
            Column of shape (n,); or the name of the type, if the result is no column.

        Raises
        ------
        CuratorCodeError
            The code raised an error, took too long or too much memory, or ended the process.
        """
        with self._lock:
            if self._process is None or (str(path), name) not in self._loaded_functions:
                self.load_function(path, name)
            self.send_request(("call", str(path), name), _encode_arrays(arrays))
            kind, body = self.receive_answer(min(self.limits.seconds, timeout_seconds or self.limits.seconds))
        if kind == b"A":
            return pa.ipc.open_stream(body).read_next_batch().column(0)
        return body.decode()

    def send_request(self, request: tuple[Any, ...], *buffers: pa.Buffer) -> None:
        """Send a request; start the process if there is none.

        Parameters
        ----------
        request
            Name of the action, and its arguments.
        buffers
            Further parts, sent as they are.
        """
        if self._process is None:
            self._start_process()
        if self._channel is None:
            raise AssertionError
        try:
            self._channel.send_bytes(pickle.dumps(request))
            for buffer in buffers:
                self._channel.send_bytes(buffer)
        except OSError:
            raise self._stop_and_build_exit_error() from None

    def receive_answer(self, timeout_seconds: float) -> tuple[bytes, bytes]:
        """Wait for an answer.

        Parameters
        ----------
        timeout_seconds
            Time limit; a source that yields rows has it anew with each row.

        Returns
        -------
        kind
            A letter.
        body
            Content of the answer.

        Raises
        ------
        CuratorCodeError
            The code raised an error, did not respond, or ended the process.
        """
        if self._channel is None:
            raise AssertionError
        try:
            last_row_count = self.yielded_row_count
            while not self._channel.poll(timeout_seconds):
                if self.yielded_row_count > last_row_count:  # a source that yields rows is at work
                    last_row_count = self.yielded_row_count
                    continue
                self.stop_process()
                raise CuratorCodeError(
                    f"the Python code gave no response within {timeout_seconds:g} s and was stopped (limit: "
                    "python.seconds in hven.toml)",
                    was_answered=False,
                )
            message = self._channel.recv_bytes()
        except (EOFError, OSError):
            raise self._stop_and_build_exit_error() from None
        if message[:1] == b"E":
            error = json.loads(message[1:])
            if error["memory"]:
                self.stop_process()  # its state cannot be trusted
                raise CuratorCodeError(
                    f"the Python code needed more than {self.limits.memory:,} bytes of memory (limit: "
                    "python.memory in hven.toml)",
                    error["line"],
                )
            raise CuratorCodeError(error["text"], error["line"])
        return message[:1], message[1:]

    def stop_process(self) -> None:
        """Stop the process and all processes that it started."""
        if self._finalizer is not None:
            self._finalizer()
        self._finalizer = None
        self._process = None
        self._channel = None
        self._loaded_functions.clear()

    def _stop_and_build_exit_error(self) -> CuratorCodeError:
        """Stop what is left of a process whose connection is closed, and describe how it ended."""
        process = self._process
        if process is None:
            raise AssertionError
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
        code = process.poll()
        self.stop_process()
        return _build_exit_error(code)

    def _start_process(self) -> None:
        ours, theirs = socket.socketpair()
        mark = secrets.token_hex(16)
        with theirs, tempfile.TemporaryFile() as shared:
            shared.write(bytes(8))
            shared.flush()
            self._row_counter = mmap.mmap(shared.fileno(), 8)
            os.set_inheritable(shared.fileno(), True)
            self._process = subprocess.Popen(  # noqa: S603  (this interpreter, and our own file)
                [sys.executable, "-P", str(WORKER_SCRIPT), str(theirs.fileno()), str(shared.fileno())],
                env={
                    **OPENBLAS_SETTINGS,
                    **{name: value for name, value in os.environ.items() if PASSED_VARIABLES_PATTERN.fullmatch(name)},
                    **self.limits.environment,
                    "ARROW_DEFAULT_MEMORY_POOL": "system",
                    PROCESS_MARK_VARIABLE: mark,
                },
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), shared.fileno()),
                start_new_session=True,
            )
        # it is as low as ours
        deadlines.reduce_session_priority(
            min(deadlines.SESSION_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)), self._process.pid
        )
        self._channel = Connection(ours.detach())
        self._finalizer = weakref.finalize(self, _kill_process_and_descendants, self._process, self._channel, mark)
        self._loaded_functions.clear()
        main = threading.current_thread() is threading.main_thread()  # Linux ties such an end to the thread
        self.send_request(("begin", os.getpid(), main, list(sys.path), self.limits.memory, self._module))
        self.receive_answer(STARTUP_TIMEOUT_SECONDS)


def _build_exit_error(exit_code: int | None) -> CuratorCodeError:
    """Describe how a process ended by itself; None: it was still running."""
    if exit_code is None:
        return CuratorCodeError("the Python code closed its connection to Hven, so Hven stopped the process")
    if exit_code >= 0:
        return CuratorCodeError(f"the Python code ended its process with exit code {exit_code} (perhaps by os._exit)")
    name = str(-exit_code)
    if -exit_code in set(signal.Signals):
        name = signal.Signals(-exit_code).name
    why = (
        ": perhaps the machine had no memory left"
        if name == "SIGKILL"
        else ": compiled code failed, perhaps because there was no memory left"
    )
    return CuratorCodeError(f"the process ended with {name}{why}")


def _kill_process_and_descendants(process: subprocess.Popen[bytes], channel: Connection, mark: str) -> None:
    with contextlib.suppress(OSError):
        channel.close()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    variable = f"{PROCESS_MARK_VARIABLE}={mark}".encode()
    unknown_counts: Counter[int] = Counter()
    for _ in range(MAX_KILL_ROUNDS):  # what was about to start another one has done so
        marked_pids, unknown_pids = _find_marked_processes(variable)
        unknown_counts.update(unknown_pids)
        if not marked_pids and all(unknown_counts[pid] > MAX_UNKNOWN_ROUNDS for pid in unknown_pids):
            return
        for pid in marked_pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _find_marked_processes(mark: bytes) -> tuple[list[int], list[int]]:
    """Find the processes that the process started by their environment, whatever session and parent they have now.

    Returns
    -------
    marked
        Those with the mark.
    unknown
        Those whose environment cannot be read yet: Linux shows none while a process starts its program (execve).
    """
    marked_pids = []
    unknown_pids = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # processes of others, those that are gone, and threads of the kernel
            variables = place.read_bytes()
            if mark in variables.split(b"\0"):
                marked_pids.append(int(place.parent.name))
            elif not variables and (place.parent / "exe").readlink():
                unknown_pids.append(int(place.parent.name))
    return marked_pids, unknown_pids


def _encode_arrays(arrays: Sequence[pa.Array]) -> pa.Buffer:
    batch = pa.RecordBatch.from_arrays(list(arrays), names=[str(number) for number in range(len(arrays))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()

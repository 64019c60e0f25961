"""Read files of formats that Hven cannot read, with programs of the operator or functions of the curator.

Requests are lines of JSON, and answers are Arrow. The processes have limits of time, memory and bytes.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.formats.media import open_product
from hven.model import deadlines
from hven.model.errors import SourceError, UserError, format_message
from hven.sources.site_programs import find_program, start_supervised_program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.formats.media import OpenProductFile, Place
    from hven.model.settings import Settings
    from hven.model.table import FileReaderSpec

WORKER_SCRIPT = Path(__file__).with_name("_reader_worker.py")
MAX_ANSWER_BYTES = 64 << 20
MAX_WRITTEN_FILE_BYTES = 1 << 30  # of each file that a reader writes
MAX_STDERR_CHARACTERS = 200  # of the last line that a reader writes to stderr
SIGNAL_EXPLANATIONS = {
    9: "it was killed, probably because it used too much memory",
    6: "it aborted, probably because there was too little memory",
}


def open_with_reader(settings: Settings, path: Place, name: str, reader: FileReaderSpec) -> OpenProductFile:
    """Open a file with a reader: a program of the operator, or a function of the curator.

    Parameters
    ----------
    settings
        Settings of the site: its programs, and the limits of functions beside descriptors.
    path
        Path of the file.
    name
        Name by which users of the site know the file.
    reader
        Reader, as the descriptor names it.

    Returns
    -------
    product
        The caller closes it. Later reads of it raise the same errors as this function.

    Raises
    ------
    SourceError
        There is no such reader, or it does not respond as it should. The message has the last line of its stderr.
    """
    if reader.function:
        spec = _build_function_spec(settings, reader)
    else:
        spec = _build_program_spec(settings, reader.name)
    return open_product(path, name, read_rows=_ReaderClient(spec, name).request_rows)


@dataclass(frozen=True, slots=True)
class _ReaderSpec:
    """The command and the limits of the processes of a reader."""

    name: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    timeout_seconds: float
    memory_bytes: int
    max_processes: int
    idle_seconds: float
    version: str


def _build_function_spec(settings: Settings, reader: FileReaderSpec) -> _ReaderSpec:
    limits = settings.python
    command = (sys.executable, "-P", str(WORKER_SCRIPT), str(reader.path), str(reader.function))
    return _ReaderSpec(
        name=reader.name,
        argv=command,
        environment=(),
        timeout_seconds=limits.seconds,
        memory_bytes=limits.memory,
        max_processes=2,
        idle_seconds=60.0,
        version=reader.sha256,
    )


def _build_program_spec(settings: Settings, reader_name: str) -> _ReaderSpec:
    site_directory = settings.directory
    reader_settings = next((item for item in settings.readers if item.name == reader_name), None)
    if reader_settings is None:
        message = format_message("hven.toml has no reader {name!r}", reader_name)
        remedy = format_message("add [readers.{name}] to hven.toml", reader_name)
        raise SourceError(message, remedy=remedy)
    try:
        command = [find_program(site_directory, reader_settings.command[0])]
    except UserError as error:
        remedy = format_message("correct readers.{name}.command in hven.toml", reader_settings.name)
        raise SourceError(error.message, remedy=remedy) from None
    for argument in reader_settings.command[1:]:
        if argument.startswith(("./", "../")):
            command.append(str((site_directory / argument).absolute()))
        else:
            command.append(argument)
    return _ReaderSpec(
        name=reader_settings.name,
        argv=tuple(command),
        environment=tuple(reader_settings.environment.items()),
        timeout_seconds=reader_settings.seconds,
        memory_bytes=reader_settings.memory,
        max_processes=reader_settings.processes,
        idle_seconds=reader_settings.idle,
        version="",
    )


@dataclass(frozen=True, slots=True)
class _ReaderClient:
    """Requests rows of a file, which messages call `name`, from the processes of a reader."""

    spec: _ReaderSpec
    name: str

    def request_rows(self, path: Path, columns: Sequence[str] | None, first: int, row_count: int) -> pa.Table:
        """Request rows from a free process: from the one that had the file last, if it is free."""
        try:
            file_stat = path.stat()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SourceError(format_message("{name} cannot be read: {reason}", self.name, reason)) from None
        stamp = f"{file_stat.st_size} {file_stat.st_mtime_ns}"
        absolute_path = str(path.absolute())
        request = {"path": absolute_path, "stamp": stamp, "columns": columns, "first": first, "rows": row_count}
        deadlines.check_deadline()
        deadline = deadlines.CURRENT_DEADLINE.get()
        timeout_seconds = self.spec.timeout_seconds
        if deadline is not None:
            timeout_seconds = min(timeout_seconds, max(deadline.remaining_seconds, 0.1))
        end_time = time.monotonic() + timeout_seconds
        pool = _get_or_create_reader_pool(self.spec)
        process = pool.acquire_process(absolute_path, end_time)
        try:
            table = process.request_table(request, row_count, end_time)
        except BaseException as error:
            process.stop_process()
            pool.release_process(None)
            if isinstance(error, _ReaderError):
                words = str(error).replace(absolute_path, self.name)
                raise SourceError(
                    format_message("the reader {reader} cannot read {name}: {reason}", self.spec.name, self.name, words)
                ) from None
            raise
        pool.release_process(process)
        error_bytes = (table.schema.metadata or {}).get(b"error")
        if error_bytes is not None:
            words = _extract_last_line(error_bytes).replace(absolute_path, self.name)
            raise SourceError(
                format_message("the reader {reader} cannot read {name}: {reason}", self.spec.name, self.name, words)
            )
        return table


class _ReaderError(Exception):
    """A reader did not respond as it should; the text says what it did."""


class _ReaderProcess:
    """A process of a reader."""

    def __init__(self, spec: _ReaderSpec) -> None:
        self.spec = spec
        self.last_path = ""
        self.idle_since = time.monotonic()
        self.directory = Path(tempfile.mkdtemp(prefix="hven-reader-"))
        os.mkfifo(self.directory / ".asked", 0o600)
        # opened for reading, too, so that neither side waits until the other opens it
        self._request_pipe = os.open(self.directory / ".asked", os.O_RDWR | os.O_NONBLOCK)
        self._answer_pipe, worker_pipe = os.pipe()
        # stderr is appended, so that the file can be truncated between requests
        self._stderr_path = self.directory / ".said"
        limits = {"RLIMIT_DATA": spec.memory_bytes, "RLIMIT_FSIZE": MAX_WRITTEN_FILE_BYTES}
        with os.fdopen(worker_pipe, "wb") as out, self._stderr_path.open("ab") as err:
            self._supervisor: subprocess.Popen[bytes] = start_supervised_program(
                spec.argv,
                self.directory,
                out,
                err,
                stdin=self.directory / ".asked",
                environment=dict(spec.environment),
                limits=limits,
            )

    @property
    def is_alive(self) -> bool:
        """Whether the process runs, and has written nothing without a request."""
        return self._supervisor.poll() is None and not _wait_until_pipe_ready(self._answer_pipe, 0.0)

    def request_table(self, request: Mapping[str, Any], row_limit: int, end_time: float) -> pa.Table:
        """Send a request, and read the answer; raise `_ReaderError` if there is none."""
        self.last_path = request["path"]
        with contextlib.suppress(OSError):
            os.truncate(self._stderr_path, 0)
        line = json.dumps(request).encode() + b"\n"
        while line:
            if not _wait_until_pipe_ready(self._request_pipe, end_time, select.POLLOUT):
                raise self._build_error("the program does not read the requests that Hven sends", end_time)
            line = line[os.write(self._request_pipe, line) :]
        stream = _LimitedPipe(self._answer_pipe, end_time)
        try:
            with pa.ipc.open_stream(pa.PythonFile(stream, "r")) as read:
                batches = []
                row_count = 0
                for batch in read:
                    batch.validate(full=True)
                    row_count += batch.num_rows
                    if row_count > row_limit:
                        complaint = f"the program returned more rows than the {row_limit:,} that Hven requested"
                        raise _ReaderError(complaint)  # noqa: TRY301  (the handler below completes it)
                    batches.append(batch)
                return pa.Table.from_batches(batches, read.schema)
        except _ReaderError as fault:
            raise self._build_error(str(fault), end_time) from None
        except (pa.ArrowException, OSError, ValueError, EOFError) as fault:
            if stream.is_ended:
                reason = "the program ended without a response"
            else:
                reason = f"the output of the program is not an Arrow stream: {fault}"
            raise self._build_error(reason, end_time) from None

    def _build_error(self, complaint: str, end_time: float = 0.0) -> _ReaderError:
        """Build the error with the end of the process, if it ended, and the last line of its stderr."""
        is_late = bool(end_time) and time.monotonic() >= end_time
        code = None
        wait_seconds = 0.0
        if complaint.startswith("the program ended"):
            wait_seconds = 0.5
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._supervisor.wait(wait_seconds)
        if code is not None:
            complaint = f"the program ended with exit code {code}"
            if code > 128:
                complaint = f"the program was ended by signal {code - 128}"
            if code - 128 in SIGNAL_EXPLANATIONS:
                complaint = f"{complaint}: {SIGNAL_EXPLANATIONS[code - 128]}"
        elif is_late:
            complaint = f"the program gave no response within {self.spec.timeout_seconds:g} s, and was stopped"
        with contextlib.suppress(OSError), self._stderr_path.open("rb") as file:
            stderr_bytes = self._stderr_path.stat().st_size
            file.seek(max(0, stderr_bytes - 10 * MAX_STDERR_CHARACTERS))
            words = _extract_last_line(file.read())
            if words:
                complaint += f"; its last message: {words}"
        return _ReaderError(complaint)

    def stop_process(self) -> None:
        """Stop the process, and all processes that it started."""
        if self._supervisor.stdin is not None:
            with contextlib.suppress(OSError):
                self._supervisor.stdin.close()
        for pipe in (self._request_pipe, self._answer_pipe):
            with contextlib.suppress(OSError):
                os.close(pipe)
        try:
            self._supervisor.wait(5.0)
        except subprocess.TimeoutExpired:
            self._supervisor.send_signal(signal.SIGKILL)  # the program dies with it
            self._supervisor.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class _LimitedPipe:
    """The output of a process, with limits of time and bytes."""

    closed = False

    def __init__(self, descriptor: int, end_time: float) -> None:
        self._descriptor = descriptor
        self._end_time = end_time
        self._remaining_bytes = MAX_ANSWER_BYTES
        self.is_ended = False

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._remaining_bytes:
            raise _ReaderError(
                f"the output of the program is not an Arrow stream, or is larger than {MAX_ANSWER_BYTES >> 20} MiB"
            )
        self._remaining_bytes -= size
        data = bytearray()
        while len(data) < size:
            if not _wait_until_pipe_ready(self._descriptor, self._end_time):
                raise _ReaderError("the response of the program is incomplete")
            chunk = os.read(self._descriptor, size - len(data))
            if not chunk:
                self.is_ended = True
                break
            data += chunk
        return bytes(data)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def _wait_until_pipe_ready(file: int, end_time: float, poll_events: int = select.POLLIN) -> bool:
    """Wait until a pipe can be read or written; `select` would only know the first 1024 files of a process."""
    poll = select.poll()
    poll.register(file, poll_events)
    timeout_seconds = max(end_time - time.monotonic(), 0.0)
    return bool(poll.poll(timeout_seconds * 1000))


def _extract_last_line(output: bytes) -> str:
    """Return the end of the last line that is not blank."""
    lines = output.decode("utf-8", "replace").splitlines()
    filled_lines = [line for line in lines if line.strip()]
    if not filled_lines:
        return ""
    characters = [character if character.isprintable() else " " for character in filled_lines[-1]]
    words = "".join(characters).split()
    return " ".join(words)[-MAX_STDERR_CHARACTERS:]


class _ReaderPool:
    """The processes of a reader, up to a limit; each has one request at a time, and ends when it is idle for long."""

    def __init__(self, spec: _ReaderSpec) -> None:
        self.spec = spec
        self._idle_processes: list[_ReaderProcess] = []
        self._count = 0
        self._is_watched = False
        self._condition = threading.Condition()

    def acquire_process(self, path: str, end_time: float) -> _ReaderProcess:
        with self._condition:
            while not self._idle_processes and self._count >= self.spec.max_processes:
                remaining_seconds = max(end_time - time.monotonic(), 0)
                if not self._condition.wait(remaining_seconds) and time.monotonic() >= end_time:
                    message = format_message("all processes of the reader {name} are busy", self.spec.name)
                    remedy = format_message("try again later, or raise readers.{name}.processes", self.spec.name)
                    raise SourceError(message, remedy=remedy)
            while self._idle_processes:
                process = self._idle_processes[-1]
                for idle_process in self._idle_processes:
                    if idle_process.last_path == path:
                        process = idle_process
                        break
                self._idle_processes.remove(process)
                if process.is_alive:
                    return process
                process.stop_process()
                self._count -= 1
            self._count += 1
        try:
            return _ReaderProcess(self.spec)
        except BaseException:
            self.release_process(None)
            raise

    def release_process(self, process: _ReaderProcess | None) -> None:
        """Return a process to the pool; None: it is gone."""
        with self._condition:
            if process is None:
                self._count -= 1
            else:
                process.idle_since = time.monotonic()
                self._idle_processes.append(process)
                self._schedule_idle_process_stop()
            self._condition.notify()

    def _schedule_idle_process_stop(self) -> None:
        """Schedule the end of processes that stay idle."""
        if not self._is_watched and self._idle_processes:
            self._is_watched = True
            idle_seconds = self.spec.idle_seconds
            timer = threading.Timer(idle_seconds, self.stop_idle_processes, (idle_seconds,))
            timer.daemon = True
            timer.start()

    def stop_idle_processes(self, idle_seconds: float) -> None:
        """Stop the processes that have been idle for this time."""
        with self._condition:
            latest_start = time.monotonic() - idle_seconds
            idle_processes = [process for process in self._idle_processes if process.idle_since <= latest_start]
            self._idle_processes = [process for process in self._idle_processes if process not in idle_processes]
            self._count -= len(idle_processes)
            self._is_watched = False
            self._schedule_idle_process_stop()
        for process in idle_processes:
            process.stop_process()


_pools_by_spec: dict[tuple[int, _ReaderSpec], _ReaderPool] = {}
_pools_lock = threading.Lock()


def _get_or_create_reader_pool(spec: _ReaderSpec) -> _ReaderPool:
    with _pools_lock:
        key = (os.getpid(), spec)  # a forked process has its own pools
        if key not in _pools_by_spec:
            _pools_by_spec[key] = _ReaderPool(spec)
        return _pools_by_spec[key]


def stop_idle_readers() -> None:
    """Stop all idle processes of readers."""
    for (process, _), pool in list(_pools_by_spec.items()):
        if process == os.getpid():
            pool.stop_idle_processes(0.0)


atexit.register(stop_idle_readers)

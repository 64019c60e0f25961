"""Programs that read files which we cannot.

Asked by lines of JSON, they answer in Arrow, in processes of their own with limits of time, memory and bytes.
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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.formats.media import open_product
from hven.model import deadlines
from hven.model.errors import SourceError, UserError, format_message
from hven.sources.site_programs import find_program, start_supervised

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.formats.media import Place, Product
    from hven.model.settings import Settings
    from hven.model.table import FileReaderSpec

WORKER_SCRIPT = Path(__file__).with_name("_reader_worker.py")
MAX_ANSWER_BYTES = 64 << 20  # bytes of an answer
MAX_WRITTEN_FILE_BYTES = 1 << 30  # of any one file that it writes
MAX_STDERR_CHARACTERS = 200  # characters of its last words that an error tells
SIGNAL_EXPLANATIONS = {9: "it was killed, probably for its memory", 6: "it gave up, probably for want of memory"}


def open_with_reader(settings: Settings, path: Place, name: str, reader: FileReaderSpec) -> Product:
    """Open a file that a reader reads: a program of the operator's, or a function of the curator's.

    Parameters
    ----------
    settings
        Of the site: its programs, and the limits of functions beside descriptors.
    path
        Of the file.
    name
        By which readers of the site know it.
    reader
        As the descriptor names it.

    Returns
    -------
    product
        To be closed. What is read of it later raises as this does.

    Raises
    ------
    SourceError
        There is no such reader; it does not answer as it should. What it does instead is told, with its last words.
    """
    site_directory = settings.directory
    python = settings.python
    if reader.function:
        argv: tuple[str, ...] = (sys.executable, "-P", str(WORKER_SCRIPT), str(reader.path), reader.function)
        kind = _ReaderSpec(reader.name, argv, (), python.seconds, python.memory, 2, 60.0, reader.sha256)
    else:
        reader_settings = next((word for word in settings.readers if word.name == reader.name), None)
        if reader_settings is None:
            raise SourceError(
                format_message("hven.toml has no reader {name!r}", reader.name),
                remedy=format_message("write [readers.{name}] into hven.toml", reader.name),
            )
        words = (
            str((site_directory / word).absolute()) if word.startswith(("./", "../")) else word
            for word in reader_settings.command[1:]
        )
        try:
            program = find_program(site_directory, reader_settings.command[0])
            argv = (program, *words)
        except UserError as error:
            raise SourceError(
                error.message, remedy=format_message("readers.{name}.command of hven.toml", reader_settings.name)
            ) from None
        kind = _ReaderSpec(
            reader_settings.name,
            argv,
            tuple(reader_settings.environment.items()),
            reader_settings.seconds,
            reader_settings.memory,
            reader_settings.processes,
            reader_settings.idle,
            "",
        )
    read_rows = partial(_request_table, kind, name)
    return open_product(path, name, read_rows=read_rows)


@dataclass(frozen=True, slots=True)
class _ReaderSpec:
    """What processes have in common."""

    name: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    timeout_seconds: float
    memory_bytes: int
    max_processes: int
    idle_seconds: float
    version: str


def _request_table(
    spec: _ReaderSpec, name: str, path: Path, columns: Sequence[str] | None, first: int, row_count: int
) -> pa.Table:
    """Ask a process that is free: the one that had the file last, if there is one."""
    try:
        file_stat = path.stat()
    except OSError as error:
        raise SourceError(
            format_message("{name} cannot be read: {reason}", name, error.strerror or type(error).__name__)
        ) from None
    stamp = f"{file_stat.st_size} {file_stat.st_mtime_ns}"
    request = {"path": str(path.absolute()), "stamp": stamp, "columns": columns, "first": first, "rows": row_count}
    deadlines.check_deadline()
    deadline = deadlines.CURRENT_DEADLINE.get()
    end_time = time.monotonic() + (
        spec.timeout_seconds if deadline is None else min(spec.timeout_seconds, max(deadline.remaining_seconds, 0.1))
    )
    pool = _find_pool(spec)
    process = pool.acquire_process(str(path), end_time)
    try:
        table = process.request_table(request, row_count, end_time)
    except BaseException as error:
        process.stop_process()
        pool.release_process(None)
        if isinstance(error, _ReaderError):
            words = str(error).replace(str(path.absolute()), name)
            raise SourceError(
                format_message("the reader {reader} cannot read {name}: {reason}", spec.name, name, words)
            ) from None
        raise
    pool.release_process(process)
    error_bytes = (table.schema.metadata or {}).get(b"error")
    if error_bytes is not None:
        words = _extract_last_line(error_bytes).replace(str(path.absolute()), name)
        raise SourceError(format_message("the reader {reader} cannot read {name}: {reason}", spec.name, name, words))
    return table


class _ReaderError(Exception):
    """What a reader did instead of answering, in words."""


class _ReaderProcess:
    """A process that reads."""

    def __init__(self, spec: _ReaderSpec) -> None:
        self.spec = spec
        self.last_path = ""
        self.idle_since = time.monotonic()
        self.directory = Path(tempfile.mkdtemp(prefix="hven-reader-"))
        os.mkfifo(self.directory / ".asked", 0o600)
        # opened to read, too: nobody waits for the other to open it
        self._request_pipe = os.open(self.directory / ".asked", os.O_RDWR | os.O_NONBLOCK)
        self._answer_pipe, theirs = os.pipe()
        # what it says is appended, so that it can be cut off
        self._stderr_path = self.directory / ".said"
        with os.fdopen(theirs, "wb") as out, self._stderr_path.open("ab") as err:
            self._supervisor: subprocess.Popen[bytes] = start_supervised(
                spec.argv,
                self.directory,
                out,
                err,
                stdin=self.directory / ".asked",
                environment=dict(spec.environment),
                limits={"RLIMIT_DATA": spec.memory_bytes, "RLIMIT_FSIZE": MAX_WRITTEN_FILE_BYTES},
            )

    @property
    def is_alive(self) -> bool:
        """It has not ended since, nor written what nobody had asked for."""
        return self._supervisor.poll() is None and not _wait_until_ready(self._answer_pipe, 0.0)

    def request_table(self, request: Mapping[str, Any], row_limit: int, end_time: float) -> pa.Table:
        """Ask, and read the answer; raise `_ReaderError` where it is none."""
        self.last_path = request["path"]
        with contextlib.suppress(OSError):
            os.truncate(self._stderr_path, 0)
        line = json.dumps(request).encode() + b"\n"
        while line:
            if not _wait_until_ready(self._request_pipe, end_time, select.POLLOUT):
                raise self._build_error("it does not read what it is asked", end_time)
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
                        raise _ReaderError(f"it gives more rows than the {row_limit:,} it was asked for")  # noqa: TRY301
                    batches.append(batch)
                return pa.Table.from_batches(batches, read.schema)
        except _ReaderError as fault:
            raise self._build_error(str(fault), end_time) from None
        except (pa.ArrowException, OSError, ValueError, EOFError) as fault:
            if stream.is_ended:
                reason = "it ended without an answer"
            else:
                reason = f"what it writes is no Arrow stream: {fault}"
            raise self._build_error(reason, end_time) from None

    def _build_error(self, complaint: str, end_time: float = 0.0) -> _ReaderError:
        """Say what went wrong: how it ended, if it did, and its last words."""
        is_late = bool(end_time) and time.monotonic() >= end_time
        code = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._supervisor.wait(0.5 if complaint.startswith("it ended") else 0)
        if code is not None:
            if code > 128:
                ending = f"by signal {code - 128}"
            else:
                ending = f"with exit code {code}"
            complaint = f"it ended {ending}" + (
                f": {SIGNAL_EXPLANATIONS[code - 128]}" if code - 128 in SIGNAL_EXPLANATIONS else ""
            )
        elif is_late:
            complaint = f"it gave no answer within {self.spec.timeout_seconds:g} s, and was stopped"
        with contextlib.suppress(OSError), self._stderr_path.open("rb") as file:
            file.seek(max(0, self._stderr_path.stat().st_size - 10 * MAX_STDERR_CHARACTERS))
            words = _extract_last_line(file.read())
            if words:
                complaint += f"; it said: {words}"
        return _ReaderError(complaint)

    def stop_process(self) -> None:
        """End it, with all that came of it."""
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
    """What a process writes, up to a moment and a number of bytes."""

    closed = False

    def __init__(self, descriptor: int, end_time: float) -> None:
        self._descriptor = descriptor
        self._end_time = end_time
        self._remaining_bytes = MAX_ANSWER_BYTES
        self.is_ended = False

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._remaining_bytes:
            raise _ReaderError(f"it writes no Arrow stream, or one of more than {MAX_ANSWER_BYTES >> 20} MiB")
        self._remaining_bytes -= size
        data = bytearray()
        while len(data) < size:
            if not _wait_until_ready(self._descriptor, self._end_time):
                raise _ReaderError("its answer is not whole")
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


def _wait_until_ready(file: int, end_time: float, poll_events: int = select.POLLIN) -> bool:
    """Wait until one can read or write; `select` knows the first 1024 files of a process alone."""
    poll = select.poll()
    poll.register(file, poll_events)
    return bool(poll.poll(max(end_time - time.monotonic(), 0.0) * 1000))


def _extract_last_line(output: bytes) -> str:
    """Take the last line that says something."""
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    if lines:
        return " ".join("".join(character if character.isprintable() else " " for character in lines[-1]).split())[
            -MAX_STDERR_CHARACTERS:
        ]
    return ""


class _ReaderPool:
    """The processes of a kind: as many as may be, each for one at a time; who is asked nothing for long ends."""

    def __init__(self, spec: _ReaderSpec) -> None:
        self.spec = spec
        self._idle_processes: list[_ReaderProcess] = []
        self._count = 0
        self._is_watched = False
        self._condition = threading.Condition()

    def acquire_process(self, path: str, end_time: float) -> _ReaderProcess:
        with self._condition:
            while not self._idle_processes and self._count >= self.spec.max_processes:
                if not self._condition.wait(max(end_time - time.monotonic(), 0)) and time.monotonic() >= end_time:
                    raise SourceError(
                        format_message("the readers {name} are all at work", self.spec.name),
                        remedy=format_message("come again; or more readers.{name}.processes", self.spec.name),
                    )
            while self._idle_processes:
                process = next(
                    (idle_process for idle_process in self._idle_processes if idle_process.last_path == path),
                    self._idle_processes[-1],
                )
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
        """Take one back; None: it is gone."""
        with self._condition:
            if process is None:
                self._count -= 1
            else:
                process.idle_since = time.monotonic()
                self._idle_processes.append(process)
                self._schedule_pruning()
            self._condition.notify()

    def _schedule_pruning(self) -> None:
        """Look later for those that were asked nothing."""
        if not self._is_watched and self._idle_processes:
            self._is_watched = True
            timer = threading.Timer(self.spec.idle_seconds, self.stop_idle_processes, (self.spec.idle_seconds,))
            timer.daemon = True
            timer.start()

    def stop_idle_processes(self, idle_seconds: float) -> None:
        """End those that were asked nothing for so long."""
        with self._condition:
            idle_processes = [
                process for process in self._idle_processes if time.monotonic() - process.idle_since >= idle_seconds
            ]
            self._idle_processes = [process for process in self._idle_processes if process not in idle_processes]
            self._count -= len(idle_processes)
            self._is_watched = False
            self._schedule_pruning()
        for process in idle_processes:
            process.stop_process()


_pools_by_spec: dict[tuple[int, _ReaderSpec], _ReaderPool] = {}
_pools_lock = threading.Lock()


def _find_pool(spec: _ReaderSpec) -> _ReaderPool:
    with _pools_lock:
        key = (os.getpid(), spec)  # a fork has its own
        if key not in _pools_by_spec:
            _pools_by_spec[key] = _ReaderPool(spec)
        return _pools_by_spec[key]


def stop_readers() -> None:
    """End all processes of readers that wait for something to do."""
    for (process, _), pool in list(_pools_by_spec.items()):
        if process == os.getpid():
            pool.stop_idle_processes(0.0)


atexit.register(stop_readers)

__all__ = ["open_with_reader", "stop_readers"]

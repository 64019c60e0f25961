"""Execute long queries in a separate process.

It does not hold the interpreter lock of the process that answers, and if it dies, only its queries fail.

`query_worker` runs in that process. docs/decisions/011-computing.md says why.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.engines._query_deadlines import TimedExecution, build_weak_callback
from hven.model import deadlines, errors
from hven.model.deadlines import build_time_limit_error
from hven.model.errors import HvenError, OperationCancelledError, OverloadedError, ServiceError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from hven.engines import ExecutionLimits, QueryExecution
    from hven.engines._query_deadlines import DeadlineWatcher
    from hven.engines.duckdb.engine_protocol import RelationRows

    Process: TypeAlias = subprocess.Popen[bytes]

FRAME_HEADER = struct.Struct("!cQ")
REQUEST_FRAME, TABLE_FRAME, BATCH_FRAME, END_FRAME, ERROR_FRAME, CRASH_FRAME = b"R", b"T", b"B", b"E", b"X", b"!"
MIN_EXPENSIVE_ROWS = 50_000  # a query that reads fewer rows is executed in the process that answers
MIN_EXPENSIVE_PAIRS = 10_000_000  # combinations of rows
MIN_EXPENSIVE_SQL_CHARACTERS = 4_000  # planning a longer SQL text takes noticeable time
MAX_SENT_BYTES = 128 * 1024**2  # sending more rows takes longer than executing the query here
IDLE_TIMEOUT_SECONDS = 20.0  # time without a query after which the process ends
START_TIMEOUT_SECONDS = 60.0  # time that the process may take to start
EXIT_TIMEOUT_SECONDS = 1.0  # time that the process may take to end when its parent process ends
RESTART_DELAY_SECONDS = 30.0  # time until the next attempt after the process could not be started
MAX_FREE_CHANNELS = 16  # unused channels that are kept
PROCESS_ENDED_REMEDY = "run the query again; if the error persists, select fewer rows or fewer groups"

logger = logging.getLogger("hven")


def send_frame(channel: socket.socket, frame_kind: bytes, body: bytes | memoryview) -> None:
    """Send a frame: its kind, its length, its bytes."""
    channel.sendall(FRAME_HEADER.pack(frame_kind, len(body)))
    if len(body):
        channel.sendall(body)


def receive_frame(channel: socket.socket) -> tuple[bytes, pa.Buffer]:
    """Wait for a frame, without the interpreter's lock.

    Raises
    ------
    EOFError
        The other side is gone.
    """
    kind, length = FRAME_HEADER.unpack(_receive_exactly(channel, bytearray(FRAME_HEADER.size)))
    return kind, pa.py_buffer(_receive_exactly(channel, bytearray(length)))


def _receive_exactly(channel: socket.socket, buffer: bytearray) -> bytearray:
    view = memoryview(buffer)
    while view:
        byte_count = channel.recv_into(view)
        if not byte_count:
            raise EOFError
        view = view[byte_count:]
    return buffer


def serialize_rows(rows: pa.Table) -> memoryview:
    """Write rows as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return memoryview(sink.getvalue())


def is_query_worth_delegating(sql: str, relations: Mapping[str, RelationRows]) -> bool:
    """Return whether a query may compute for long, and the rows that must be sent along are not too many.

    A sample is never sent: that takes longer than to read it here.
    """
    if any(relation.is_sample for relation in relations.values()):
        return False
    if sum(relation.table.nbytes for relation in relations.values() if relation.source is None) > MAX_SENT_BYTES:
        return False
    pairs = 1
    for name, relation in relations.items():
        quoted = name.replace('"', '""')
        pairs *= max(len(relation), 1) ** max(sql.count(f'"{quoted}"'), 1)
    return (
        len(sql) > MIN_EXPENSIVE_SQL_CHARACTERS
        or pairs > MIN_EXPENSIVE_PAIRS
        or sum(map(len, relations.values())) > MIN_EXPENSIVE_ROWS
    )


def describe_abnormal_process_exit(process: Process) -> str | None:
    """Describe how a process died; None: it ended in peace, or is there."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)
    code = process.poll()
    if not code:
        return None
    if -code in set(signal.Signals):
        return signal.Signals(-code).name
    return f"exit code {code}"


class QueryProcess:
    """The process that executes long queries.

    It starts when it is first needed, and ends when it is idle for a while or when its parent process ends.
    """

    def __init__(self, deadline_watcher: DeadlineWatcher, settings: Mapping[str, Any]) -> None:
        self._deadline_watcher = deadline_watcher
        self._settings = settings
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._control: socket.socket | None = None
        self._free_channels: list[socket.socket] = []
        self._taken_count = 0
        self._last_request_time = 0.0
        self._next_start_time = 0.0  # when the next attempt may be made
        self._initial_bytes = 0
        self._is_starting = False
        self._is_closed = False

    def list_processes(self) -> dict[int, int]:
        """Return the process, if it runs, and the memory that it had before the first query, in bytes."""
        process = self._process
        if process is None or process.poll() is not None:
            return {}
        return {process.pid: self._initial_bytes}

    def take_channel_or_start_process(self) -> tuple[Process, socket.socket] | None:
        """Return a channel to the process, or None if it does not run yet; then the caller executes the query."""
        with self._lock:
            self._last_request_time = time.monotonic()
            if self._is_closed:
                return None
            if self._process is not None and self._process.poll() is not None:
                self._release_process_in_thread()
            if self._process is None or self._control is None:
                if not self._is_starting and time.monotonic() >= self._next_start_time:
                    self._is_starting = True
                    threading.Thread(target=self._start_process, name="hven-computer", daemon=True).start()
                return None
            self._taken_count += 1
            if self._free_channels:
                return self._process, self._free_channels.pop()
            parent_socket, child_socket = socket.socketpair()
            with child_socket, contextlib.suppress(OSError):
                socket.send_fds(self._control, [b"c"], [child_socket.fileno()])
            return self._process, parent_socket

    def return_or_close_channel(self, process: Process, channel: socket.socket, *, is_drained: bool) -> None:
        """Put a channel back; `is_drained` means that its answer was read to the end."""
        with self._lock:
            self._taken_count -= 1
            self._last_request_time = time.monotonic()
            if is_drained and process is self._process and len(self._free_channels) < MAX_FREE_CHANNELS:
                self._free_channels.append(channel)
                return
        channel.close()

    def _start_process(self) -> None:
        parent_socket, child_socket = socket.socketpair()
        process = None
        try:
            with child_socket:
                path = sys.path
                steps = deadlines.QUERY_NICENESS
                number = child_socket.fileno()
                program = (
                    f"import os, sys; os.nice({steps}); sys.path[:] = {path!r}; from "
                    f"hven.engines.duckdb.query_worker import run_query_worker; run_query_worker({number})"
                )
                process = subprocess.Popen(  # noqa: S603  (this interpreter, and our own module)
                    [sys.executable, "-P", "-c", program],
                    env={
                        **os.environ,
                        "ARROW_DEFAULT_MEMORY_POOL": "system",
                        "MALLOC_ARENA_MAX": "4",
                        "MALLOC_MMAP_THRESHOLD_": str(1024**2),
                    },
                    stdin=subprocess.DEVNULL,
                    pass_fds=(child_socket.fileno(),),
                    start_new_session=True,
                )
            parent_socket.settimeout(START_TIMEOUT_SECONDS)
            send_frame(parent_socket, REQUEST_FRAME, pickle.dumps(dict(self._settings)))
            self._initial_bytes = int(receive_frame(parent_socket)[1].to_pybytes())
            parent_socket.settimeout(None)
        except (OSError, EOFError) as error:
            logger.warning(
                "queries run in the server process, because no query process can be started: %s",
                error or "the process ended",
            )
            parent_socket.close()
            if process is not None:
                process.kill()
                process.wait()
            with self._lock:
                self._is_starting = False
                self._next_start_time = time.monotonic() + RESTART_DELAY_SECONDS
            return
        with self._lock:
            self._process = process
            self._control = parent_socket
            self._is_starting = False
            if self._is_closed:
                self._release_process_in_thread()
        self._stop_if_idle_or_check_later()

    def _stop_if_idle_or_check_later(self) -> None:
        """End the process if it was idle for `IDLE_TIMEOUT_SECONDS`."""
        with self._lock:
            if self._control is None:
                return
            idle_until = self._last_request_time + IDLE_TIMEOUT_SECONDS
            if not self._taken_count and time.monotonic() >= idle_until:
                self._release_process_in_thread()
                return
        self._deadline_watcher.call_at(
            max(idle_until, time.monotonic() + 1.0),
            build_weak_callback(self, QueryProcess._stop_if_idle_or_check_later),
        )

    def _release_process(self) -> Process | None:
        """Release the process, and return it: it ends when its socket is closed here."""
        for channel in self._free_channels:
            channel.close()
        self._free_channels = []
        if self._control is not None:
            self._control.close()
        process = self._process
        self._process = None
        self._control = None
        return process

    def _release_process_in_thread(self) -> None:
        """Release the process, and wait for its end in a thread."""
        process = self._release_process()
        if process is not None:
            threading.Thread(target=process.wait, name="hven-computer", daemon=True).start()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._is_closed = True
            process = self._release_process()
        if process is not None:
            try:
                process.wait(EXIT_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(EXIT_TIMEOUT_SECONDS)

    def __del__(self) -> None:
        if not self._is_closed:
            self.close()


class QueryProcessExecution(TimedExecution):
    """A query that the separate process executes (`hven.engines.QueryExecution`)."""

    def __init__(
        self,
        query_process: QueryProcess,
        process: Process,
        channel: socket.socket,
        deadline_watcher: DeadlineWatcher,
        *,
        sql: str,
        arguments: Sequence[Any],
        relations: Mapping[str, RelationRows],
        schema: pa.Schema,
        limits: ExecutionLimits,
        run_locally: Callable[[], QueryExecution],
    ) -> None:
        self.schema = schema
        self._query_process = query_process
        self._process = process
        self._deadline_watcher = deadline_watcher
        self._limits = limits
        self._run_locally = run_locally
        self._lock = threading.Lock()
        self._channel: socket.socket | None = channel
        self._local_execution: QueryExecution | None = None
        self._stop_reason: str | None = None
        self._is_drained = True  # the channel has no unread answer
        self._sent_tables = [relation.table for relation in relations.values() if relation.source is None]
        self._request = pickle.dumps(
            {
                "sql": sql,
                "arguments": list(arguments),
                "relations": {name: relation.source for name, relation in relations.items()},
                "schema": schema.serialize().to_pybytes(),
                "limits": {"row_limit": limits.row_limit, "batch_rows": limits.batch_rows},
            }
        )
        self._start_deadline()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        has_yielded_rows = False
        try:
            for batch in self._receive_batches():
                has_yielded_rows = True
                yield batch
        except StorageUnavailableError:  # a snapshot that is removed, but still mapped in this process
            if has_yielded_rows:
                raise
        else:
            return
        self.close()
        with self._lock:
            if self._stop_reason is None:
                self._local_execution = self._run_locally()
        if self._local_execution is None:
            raise self._build_missing_answer_error()
        yield from self._local_execution

    def _receive_batches(self) -> Iterator[pa.RecordBatch]:
        channel = self._channel
        try:
            if channel is None or self._stop_reason is not None:
                raise self._build_missing_answer_error()
            self._is_drained = False
            try:
                send_frame(channel, REQUEST_FRAME, self._request)
                for table in self._sent_tables:
                    send_frame(channel, TABLE_FRAME, serialize_rows(table))
                self._sent_tables = []
                while True:
                    kind, body = receive_frame(channel)
                    if kind != BATCH_FRAME:
                        break
                    yield pa.ipc.read_record_batch(body, self.schema)
                    if self._stop_reason is not None:
                        raise self._build_missing_answer_error()
            except (EOFError, OSError):
                raise self._build_missing_answer_error() from None
            self._is_drained = True
            if kind != END_FRAME:
                raise _decode_process_error(kind, body)
            if self._stop_reason is not None:
                raise self._build_missing_answer_error()
        finally:
            self.close()

    def _build_missing_answer_error(self) -> HvenError:
        """Return the error for a missing answer: the query was stopped, or the process ended."""
        if self._stop_reason == "timeout":
            deadline = self._limits.deadline
            return build_time_limit_error(None if deadline is None else deadline.limit_seconds)
        if self._stop_reason is not None or self._channel is None:
            return OperationCancelledError("the query was cancelled")
        code = describe_abnormal_process_exit(self._process)
        if code is None:  # it has just ended because it was idle
            return StorageUnavailableError("the query process ended")
        logger.error("the query process ended (%s)", code)
        return OverloadedError(
            f"the query process ended ({code}), perhaps because it ran out of memory",
            remedy=PROCESS_ENDED_REMEDY,
        )

    @property
    def is_running(self) -> bool:
        """See `TimedExecution`."""
        return self._channel is not None

    def stop(self, reason: str) -> None:
        """See `TimedExecution`."""
        with self._lock:
            if self._local_execution is not None:
                self._local_execution.cancel()
                return
            if self._channel is None or self._stop_reason is not None:
                return
            self._stop_reason = reason
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)  # wakes both sides

    def close(self) -> None:
        """Release everything; see `hven.engines.QueryExecution.close`."""
        with self._lock:
            channel = self._channel
            self._channel = None
            other = self._local_execution
        if channel is not None:
            self._query_process.return_or_close_channel(
                self._process, channel, is_drained=self._is_drained and self._stop_reason is None
            )
        if other is not None:
            other.close()

    def __del__(self) -> None:
        self.close()


def _decode_process_error(frame_kind: bytes, body: pa.Buffer) -> Exception:
    """Return the error that the process raised."""
    if frame_kind == ERROR_FRAME:
        name, message, remedy = pickle.loads(body)  # noqa: S301  (of our own process)
        error = vars(errors)[name](message, remedy=remedy)
        if isinstance(error, Exception):
            return error
        return ServiceError(message)
    return RuntimeError(f"the query process failed:\n{body.to_pybytes().decode(errors='replace')}")

"""The process that executes queries for another one (see `query_process`).

It reads the same snapshots; requests and answers go through pairs of sockets.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.engines import ExecutionLimits
from hven.engines.duckdb.engine import DuckEngine
from hven.engines.duckdb.engine_protocol import RelationRows
from hven.engines.duckdb.query_process import (
    BATCH_FRAME,
    CRASH_FRAME,
    END_FRAME,
    ERROR_FRAME,
    receive_frame,
    send_frame,
)
from hven.model import deadlines
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Collection

    from hven.engines import QueryExecution

CHECK_INTERVAL_SECONDS = 1.0  # time between two checks for removed snapshots and free memory
STOP_TIMEOUT_SECONDS = 0.5  # time that queries get to stop when the process ends
SWITCH_INTERVAL_SECONDS = 0.0002  # as in the server's workers
TIME_SLICE_NANOSECONDS = 100_000
SCHED_SETATTR_NUMBERS = {"x86_64": 314, "aarch64": 274}  # numbers of the system call; glibc has a function since 2.41


class QueryChannelWorker:
    """A channel, and the thread that executes its queries, one after the other."""

    def __init__(self, engine: DuckEngine, channel: socket.socket) -> None:
        self._engine = engine
        self.channel = channel
        self._lock = threading.Lock()
        self._running_execution: QueryExecution | None = None
        self._is_abandoned = False
        self.last_answer_time = 0.0  # when the last query ended
        threading.Thread(target=self._serve_channel, daemon=True).start()

    @property
    def is_busy(self) -> bool:
        """Whether a query is being computed."""
        return self._running_execution is not None

    def stop_all_queries(self) -> None:
        """Cancel the running query, because the client is gone."""
        with self._lock:
            self._is_abandoned = True
            if self._running_execution is not None:
                self._running_execution.cancel()

    def _serve_channel(self) -> None:
        try:
            while True:
                self._receive_and_answer_query()
                self.last_answer_time = time.monotonic()
        except (EOFError, OSError):  # the client is gone
            pass
        finally:
            self.last_answer_time = time.monotonic()
            with contextlib.suppress(OSError):
                self.channel.shutdown(socket.SHUT_RDWR)  # wakes a client that waits for an answer
            self.channel.close()

    def _receive_and_answer_query(self) -> None:
        request = self._receive_request()
        try:
            self._execute_and_send_batches(*request)
        except HvenError as error:
            send_frame(self.channel, ERROR_FRAME, pickle.dumps((type(error).__name__, error.message, error.remedy)))
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001  (the process that sent the query logs it)
            send_frame(self.channel, CRASH_FRAME, traceback.format_exc().encode())
        else:
            send_frame(self.channel, END_FRAME, b"")

    def _execute_and_send_batches(self, request: dict[str, Any], sent_tables: dict[str, pa.Table]) -> None:
        relations = {}
        for name, source in request["relations"].items():
            if source is None:
                relations[name] = RelationRows(sent_tables[name], is_reusable=False)
            else:
                relations[name] = self._engine.read_relation(*source)
        schema = pa.ipc.read_schema(pa.py_buffer(request["schema"]))
        limits = ExecutionLimits(**request["limits"])
        execution = self._engine.run_sql(request["sql"], request["arguments"], relations, schema, limits)
        with self._lock:
            self._running_execution = execution
            if self._is_abandoned:
                execution.cancel()
        try:
            for batch in execution:
                send_frame(self.channel, BATCH_FRAME, memoryview(batch.serialize()))
        finally:
            with self._lock:
                self._running_execution = None
            execution.close()

    def _receive_request(self) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Receive a query, and the rows that are sent with it."""
        _, body = receive_frame(self.channel)
        request = pickle.loads(body)  # noqa: S301  (of the process that began this one)
        sent_tables = {}
        for name, source in request["relations"].items():
            if source is None:
                _, table_body = receive_frame(self.channel)
                sent_tables[name] = pa.ipc.open_stream(table_body).read_all()
        return request, sent_tables


def run_query_worker(socket_number: int) -> None:
    """Execute queries for the process at the other end of a socket, until that process ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a server that ends finishes its answers first
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # out of memory, this process ends first
    # queries get a smaller share of the processor than the process that answers; if that one has a raised priority, the
    # usual share is smaller, and admitted queries end sooner
    is_raised = deadlines.is_autogroup_priority_raised(os.getppid())
    deadlines.reduce_session_priority(0 if is_raised else deadlines.QUERY_SESSION_NICENESS)
    _shorten_time_slices()
    control = socket.socket(fileno=socket_number)
    engine_settings = pickle.loads(receive_frame(control)[1])  # noqa: S301  (of the process that began this one)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    engine = DuckEngine(
        engine_settings["directory"], memory_bytes=engine_settings["memory"], thread_count=engine_settings["threads"]
    )
    if sys.platform == "linux":
        resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    else:
        resident, shared = (0, 0)
    send_frame(control, END_FRAME, b"%d" % ((int(resident) - int(shared)) * os.sysconf("SC_PAGESIZE")))
    workers = _serve_channels_and_free_memory(engine, control)
    for worker in workers:
        worker.stop_all_queries()
    stop_deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while any(worker.is_busy for worker in workers) and time.monotonic() < stop_deadline:
        time.sleep(CHECK_INTERVAL_SECONDS / 10)
    if not any(worker.is_busy for worker in workers):
        engine.close()
    os._exit(0)  # threads that still run are not needed


def _serve_channels_and_free_memory(engine: DuckEngine, control: socket.socket) -> Collection[QueryChannelWorker]:
    """Accept channels and free unused memory until the other process ends; return the workers that are left."""
    poller = select.poll()
    poller.register(control, select.POLLIN)
    workers: dict[int, QueryChannelWorker] = {}
    trim = _find_malloc_trim()
    trimmed = 0.0
    while True:
        for file, _ in poller.poll(CHECK_INTERVAL_SECONDS * 1000):
            if file != control.fileno():
                poller.unregister(file)
                os.close(file)
                workers.pop(file).stop_all_queries()
                continue
            message, files, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                return workers.values()
            for channel_file in files:
                fileno = os.dup(channel_file)
                workers[channel_file] = QueryChannelWorker(engine, socket.socket(fileno=fileno))
                poller.register(channel_file, 0)  # reports only its end
        engine.release_removed_snapshots()
        last = max((worker.last_answer_time for worker in workers.values()), default=0.0)
        if trim is not None and last > trimmed and not any(worker.is_busy for worker in workers.values()):
            trim(0)
            trimmed = time.monotonic()


def _shorten_time_slices() -> None:
    """Shorten the time slices of this thread, and of threads that it starts, to `TIME_SLICE_NANOSECONDS`.

    A thread that wakes up then runs sooner (Linux 6.12; the default is 3 ms).
    """
    if sys.platform == "linux" and os.uname().machine in SCHED_SETATTR_NUMBERS:
        attributes = struct.pack(
            "IIQiIQQQ", 48, os.SCHED_OTHER, 0, os.getpriority(os.PRIO_PROCESS, 0), 0, TIME_SLICE_NANOSECONDS, 0, 0
        )
        ctypes.CDLL(None).syscall(SCHED_SETATTR_NUMBERS[os.uname().machine], 0, attributes, 0)


def _find_malloc_trim() -> Any:
    with contextlib.suppress(OSError, AttributeError):
        return ctypes.CDLL(None).malloc_trim
    return None

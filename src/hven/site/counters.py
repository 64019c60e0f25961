"""Counters of requests and queries, shared by all processes of a server.

Each process has a row of numbers in shared memory; the rows are added up when the sums are needed. Counting costs a
microsecond: a process writes only to its own row, so no process waits for another.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import sys
import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hven.model import errors, plugins

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARED_MEMORY_VARIABLE = "HVEN_SERVER_COUNTERS"  # environment variable of a server's processes that names the memory
MAX_PROCESSES = 512
COUNTED_SERVICES = ("tap", "cone", "files", "jobs", "health", "metrics", "portal")
_SERVICE_NUMBERS = {name: number for number, name in enumerate(COUNTED_SERVICES)}
_PORTAL_NUMBER = _SERVICE_NUMBERS["portal"]
STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx", "left")
TIME_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ERROR_CLASSES = [
    item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.HvenError)
]
ERROR_KINDS = (*sorted(error_class.label for error_class in _ERROR_CLASSES), "other")
_ERROR_KIND_NUMBERS = {name: number for number, name in enumerate(ERROR_KINDS)}
_BUCKET_COUNT = len(TIME_BUCKETS_SECONDS) + 1  # the last one is for longer times

# positions of the counters in a row
_RUNNING_OFFSET, _RUNNING_QUERIES_OFFSET, _QUERY_COUNT_OFFSET, _ROW_COUNT_OFFSET, _QUERY_SECONDS_OFFSET = range(5)
_ERRORS_OFFSET = 5
_REQUESTS_OFFSET = _ERRORS_OFFSET + len(ERROR_KINDS)
_TIME_BUCKETS_OFFSET = _REQUESTS_OFFSET + len(COUNTED_SERVICES) * len(STATUS_CLASSES)
_REQUEST_SECONDS_OFFSET = _TIME_BUCKETS_OFFSET + len(COUNTED_SERVICES) * _BUCKET_COUNT
_BYTES_OFFSET = _REQUEST_SECONDS_OFFSET + len(COUNTED_SERVICES)
_EVENTS_OFFSET = _BYTES_OFFSET + len(COUNTED_SERVICES)
MAX_PACKAGE_COUNTERS = 32
COUNTERS_PER_PROCESS = _EVENTS_OFFSET + MAX_PACKAGE_COUNTERS
MEMORY_BYTES = MAX_PROCESSES * COUNTERS_PER_PROCESS * 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCounterTotals:
    """What all processes have counted since the server started.

    Attributes
    ----------
    process_count, query_count
        Number of processes that counted, and of queries that ended.
    running_requests, running_queries
        Number of requests and queries that run now.
    row_count
        Number of rows of all answers.
    query_seconds
        Seconds of all queries together.
    errors_by_kind
        Kind of error -> number of queries that ended with it.
    requests_by_status
        (service, status) -> number of requests.
    time_histograms
        Service -> numbers of requests by `TIME_BUCKETS_SECONDS`, and those that took longer.
    seconds_by_service, bytes_by_service
        Service -> sum.
    event_counts
        Counter of a plug-in package -> number of events.
    """

    process_count: int
    running_requests: int
    running_queries: int
    query_count: int
    row_count: int
    query_seconds: float
    errors_by_kind: Mapping[str, int] = field(default_factory=dict)
    requests_by_status: Mapping[tuple[str, str], int] = field(default_factory=dict)
    time_histograms: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    seconds_by_service: Mapping[str, float] = field(default_factory=dict)
    bytes_by_service: Mapping[str, int] = field(default_factory=dict)
    event_counts: Mapping[str, int] = field(default_factory=dict)


class ProcessCounters:
    """The counters of this process, and through shared memory those of all.

    Only the event loop counts requests; any thread counts queries, under a lock that is held for a few additions.
    """

    def __init__(self) -> None:
        self._memory: mmap.mmap | bytearray = bytearray(COUNTERS_PER_PROCESS * 8)
        # the file stays open as long as the process lives, because the lock on its row belongs to the file
        self._memory_file: int | None = None
        self._process_id = 0  # the process that has joined the server
        # access takes half as long as to an item of a memoryview
        self._row = (ctypes.c_double * COUNTERS_PER_PROCESS).from_buffer(self._memory)
        self._lock = threading.Lock()

    @classmethod
    def open_for_process(cls) -> ProcessCounters:
        """Return the counters of the server to which this process belongs; without a server, private ones."""
        counters = cls()
        counters.join_server()
        return counters

    def join_server(self) -> None:
        """Count in the memory of the server to which this process belongs; a fork calls this once more."""
        path = os.environ.get(SHARED_MEMORY_VARIABLE)
        if not path or self._process_id == os.getpid():
            return
        self._process_id = os.getpid()
        if self._memory_file is not None:  # the lock on its row belongs to the process that was forked
            os.close(self._memory_file)
        self._memory_file = _open_counter_memory(Path(path))
        row_number = None
        if self._memory_file is not None:
            row_number = _lock_unused_counter_row(self._memory_file)
        if self._memory_file is None or row_number is None:
            return
        self._memory = mmap.mmap(self._memory_file, MEMORY_BYTES)
        row_offset = row_number * COUNTERS_PER_PROCESS * 8
        self._row = (ctypes.c_double * COUNTERS_PER_PROCESS).from_buffer(self._memory, row_offset)
        # the process that had the row before is dead
        self._row[_RUNNING_OFFSET] = self._row[_RUNNING_QUERIES_OFFSET] = 0.0

    # --- counting --------------------------------------------------------------------------------------------

    def count_request_start(self) -> None:
        """Count a request that begins; only on the event loop."""
        self._row[_RUNNING_OFFSET] += 1.0

    def count_request_end(self, path: str, status: int, duration_seconds: float, byte_count: int) -> None:
        """Count a request that has ended; only on the event loop.

        Parameters
        ----------
        path
            Path of its address.
        status
            HTTP status; 499: the client has disconnected.
        duration_seconds
            Seconds that it took.
        byte_count
            Bytes of its answer.
        """
        row = self._row
        row[_RUNNING_OFFSET] -= 1.0
        service_name = ""
        if path:
            service_name = path.split("/", 2)[1]
        service = _SERVICE_NUMBERS.get(service_name, _PORTAL_NUMBER)
        if status == 499:
            status_class = 4
        else:
            status_class = min(max(status // 100, 2), 5) - 2
        bucket = bisect_left(TIME_BUCKETS_SECONDS, duration_seconds)
        row[_REQUESTS_OFFSET + service * len(STATUS_CLASSES) + status_class] += 1.0
        row[_TIME_BUCKETS_OFFSET + service * _BUCKET_COUNT + bucket] += 1.0
        row[_REQUEST_SECONDS_OFFSET + service] += duration_seconds
        row[_BYTES_OFFSET + service] += byte_count

    def count_query_start(self) -> None:
        """Count a query that begins to run."""
        with self._lock:
            self._row[_RUNNING_QUERIES_OFFSET] += 1.0

    def count_query_end(self, row_count: int, duration_seconds: float, error_kind: str | None) -> None:
        """Count a query that has run.

        Parameters
        ----------
        row_count
            Rows of its answer.
        duration_seconds
            Seconds that it took.
        error_kind
            Kind of the error that ended it; None: it succeeded.
        """
        row = self._row
        with self._lock:
            row[_RUNNING_QUERIES_OFFSET] -= 1.0
            row[_QUERY_COUNT_OFFSET] += 1.0
            row[_ROW_COUNT_OFFSET] += row_count
            row[_QUERY_SECONDS_OFFSET] += duration_seconds
            if error_kind is not None:
                row[_get_error_counter_position(error_kind)] += 1.0

    def count_refused_query(self, error_kind: str) -> None:
        """Count a query that was refused before it ran.

        Parameters
        ----------
        error_kind
            Kind of the error.
        """
        with self._lock:
            self._row[_QUERY_COUNT_OFFSET] += 1.0
            self._row[_get_error_counter_position(error_kind)] += 1.0

    def count_event(self, counter_name: str) -> None:
        """Count an event of a plug-in package.

        Parameters
        ----------
        counter_name
            Name of a counter in `hven.model.plugins.PluginPackage.counters`.
        """
        with self._lock:
            self._row[_map_event_counter_positions()[counter_name]] += 1.0

    # --- sums ------------------------------------------------------------------------------------------------

    def sum_process_counters(self) -> ServerCounterTotals:
        """Add up what all processes have counted.

        Returns
        -------
        counted
            Sums since the server started.
        """
        rows = np.frombuffer(self._memory, dtype=np.float64).reshape(-1, COUNTERS_PER_PROCESS)
        total = rows.sum(axis=0)
        process_count = int((rows != 0).any(axis=1).sum())
        service_count, status_count = len(COUNTED_SERVICES), len(STATUS_CLASSES)
        errors_by_kind: dict[str, int] = {}
        for error_kind, number in _ERROR_KIND_NUMBERS.items():
            if total[_ERRORS_OFFSET + number]:
                errors_by_kind[error_kind] = int(total[_ERRORS_OFFSET + number])
        request_counts = total[_REQUESTS_OFFSET:_TIME_BUCKETS_OFFSET].reshape(service_count, status_count)
        histograms = total[_TIME_BUCKETS_OFFSET:_REQUEST_SECONDS_OFFSET].reshape(service_count, _BUCKET_COUNT)
        requests_by_status: dict[tuple[str, str], int] = {}
        time_histograms: dict[str, tuple[int, ...]] = {}
        seconds_by_service: dict[str, float] = {}
        bytes_by_service: dict[str, int] = {}
        for service, name in enumerate(COUNTED_SERVICES):
            for status, request_count in zip(STATUS_CLASSES, request_counts[service], strict=True):
                if request_count:
                    requests_by_status[name, status] = int(request_count)
            time_histograms[name] = tuple(int(count) for count in histograms[service])
            seconds_by_service[name] = float(total[_REQUEST_SECONDS_OFFSET + service])
            bytes_by_service[name] = int(total[_BYTES_OFFSET + service])
        return ServerCounterTotals(
            process_count=process_count,
            running_requests=int(total[_RUNNING_OFFSET]),
            running_queries=int(total[_RUNNING_QUERIES_OFFSET]),
            query_count=int(total[_QUERY_COUNT_OFFSET]),
            row_count=int(total[_ROW_COUNT_OFFSET]),
            query_seconds=float(total[_QUERY_SECONDS_OFFSET]),
            errors_by_kind=errors_by_kind,
            requests_by_status=requests_by_status,
            time_histograms=time_histograms,
            seconds_by_service=seconds_by_service,
            bytes_by_service=bytes_by_service,
            event_counts={name: int(total[position]) for name, position in _map_event_counter_positions().items()},
        )

    def summarize(self) -> dict[str, object]:
        """Summarize the numbers of queries and requests, for people.

        Returns
        -------
        summary
            Summary by name; times in seconds.
        """
        totals = self.sum_process_counters()
        return {
            "running": totals.running_queries,
            "queries": totals.query_count,
            "rows": totals.row_count,
            "seconds": round(totals.query_seconds, 3),
            "errors": dict(totals.errors_by_kind),
            "requests": sum(totals.requests_by_status.values()),
        }


def _get_error_counter_position(error_kind: str) -> int:
    return _ERRORS_OFFSET + _ERROR_KIND_NUMBERS.get(error_kind, len(ERROR_KINDS) - 1)


@cache
def _map_event_counter_positions() -> Mapping[str, int]:
    """Return the positions of the counters of all packages: the same in each process, whatever the settings select."""
    packages = plugins.list_installed_packages()
    names = sorted(name for package in packages for name in package.counters)[:MAX_PACKAGE_COUNTERS]
    return {name: _EVENTS_OFFSET + number for number, name in enumerate(names)}


def create_shared_counter_memory() -> None:
    """Allocate the memory of a server that starts.

    Its processes find it by the environment; other processes count for themselves. The memory is no file on a disk:
    writing to a mapped part of a file kills the process (SIGBUS) if the disk is full or read-only.
    """
    if sys.platform == "linux":
        file = os.memfd_create("hven-counters")
        os.truncate(file, MEMORY_BYTES)  # 0.8 MB
        os.environ[SHARED_MEMORY_VARIABLE] = f"/proc/{os.getpid()}/fd/{file}"


def _open_counter_memory(path: Path) -> int | None:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # the server is gone; nobody needs these counts
        return None
    if os.fstat(file).st_size == MEMORY_BYTES:
        return file
    os.close(file)
    return None


def _lock_unused_counter_row(descriptor: int) -> int | None:
    """Lock a row that no living process has: each process holds a lock on one byte, which ends with the process."""
    for number in range(MAX_PROCESSES):
        with contextlib.suppress(OSError):
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            return number
    return None

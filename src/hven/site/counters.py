"""Counters of what processes do, shared by all of a server.

A row of numbers for each process in memory that they share, added up when asked.

To count costs a microsecond: a process writes its own row only, so nobody waits for anybody.
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
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hven.model import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARED_MEMORY_VARIABLE = "HVEN_SERVER_COUNTERS"  # variable that names that memory, in the processes of a server
MAX_PROCESSES = 512
COUNTED_SERVICES = ("tap", "cone", "files", "jobs", "health", "metrics", "portal")
_SERVICE_NUMBERS = {name: number for number, name in enumerate(COUNTED_SERVICES)}
_PORTAL_NUMBER = _SERVICE_NUMBERS["portal"]
STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx", "left")
TIME_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ERROR_KINDS = (
    *sorted(
        kind.label for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.HvenError)
    ),
    "other",
)
_ERROR_KIND_NUMBERS = {name: number for number, name in enumerate(ERROR_KINDS)}

# where what stands in a row
_RUNNING_OFFSET, _RUNNING_QUERIES_OFFSET, _QUERY_COUNT_OFFSET, _ROW_COUNT_OFFSET, _QUERY_SECONDS_OFFSET = range(5)
_ERRORS_OFFSET = 5
_REQUESTS_OFFSET = _ERRORS_OFFSET + len(ERROR_KINDS)
_TIME_BUCKETS_OFFSET = _REQUESTS_OFFSET + len(COUNTED_SERVICES) * len(STATUS_CLASSES)
_REQUEST_SECONDS_OFFSET = _TIME_BUCKETS_OFFSET + len(COUNTED_SERVICES) * (len(TIME_BUCKETS_SECONDS) + 1)
_BYTES_OFFSET = _REQUEST_SECONDS_OFFSET + len(COUNTED_SERVICES)
COUNTERS_PER_PROCESS = _BYTES_OFFSET + len(COUNTED_SERVICES)
MEMORY_BYTES = MAX_PROCESSES * COUNTERS_PER_PROCESS * 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTotals:
    """What all processes have counted since the server began.

    Attributes
    ----------
    process_count, query_count
        Processes that counted, and queries that ended.
    running_requests, running_queries
        Requests and queries that run now.
    row_count
        Of all answers.
    query_seconds
        Of all queries together.
    errors_by_kind
        Kind -> queries that ended so.
    requests_by_status
        (face, status) -> number.
    time_histograms
        Face -> number by `TIME_BUCKETS_SECONDS`, and those that took longer.
    seconds_by_service, bytes_by_service
        Face -> sum.
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


class ProcessCounters:
    """The counters of this process, and through them those of all.

    Requests are counted by the event loop alone; queries by any thread, under a lock that is held for some additions.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._memory: mmap.mmap | bytearray = bytearray(COUNTERS_PER_PROCESS * 8)
        # open as long as the process lives: the lock on its row is the file's
        if path is None:
            self._memory_file = None
        else:
            self._memory_file = _open_shared_memory(path)
        if self._memory_file is None:
            slot = None
        else:
            slot = _lock_row(self._memory_file)
        if self._memory_file is not None and slot is not None:
            self._memory = mmap.mmap(self._memory_file, MEMORY_BYTES)
        # half the price of a memoryview's item
        self._row = (ctypes.c_double * COUNTERS_PER_PROCESS).from_buffer(
            self._memory, (slot or 0) * COUNTERS_PER_PROCESS * 8
        )
        self._row[_RUNNING_OFFSET] = self._row[_RUNNING_QUERIES_OFFSET] = 0.0  # whoever had the row before is dead
        self._lock = threading.Lock()

    @classmethod
    def open_for_process(cls) -> ProcessCounters:
        """Return those of the server that this process belongs to; else some of its own."""
        path = os.environ.get(SHARED_MEMORY_VARIABLE)
        return cls(Path(path) if path else None)

    # --- counting --------------------------------------------------------------------------------------------

    def count_request_start(self) -> None:
        """Count a request that begins; only on the event loop."""
        self._row[_RUNNING_OFFSET] += 1.0

    def count_request_end(self, path: str, status: int, duration_seconds: float, byte_count: int) -> None:
        """Count a request that has ended; only on the event loop.

        Parameters
        ----------
        path
            Its address.
        status
            Of HTTP; 499: the reader left.
        duration_seconds
            That it took.
        byte_count
            Bytes of its answer.
        """
        row = self._row
        row[_RUNNING_OFFSET] -= 1.0
        face = _SERVICE_NUMBERS.get(path.split("/", 2)[1] if path else "", _PORTAL_NUMBER)
        if status == 499:
            kind = 4
        else:
            kind = min(max(status // 100, 2), 5) - 2
        row[_REQUESTS_OFFSET + face * len(STATUS_CLASSES) + kind] += 1.0
        row[
            _TIME_BUCKETS_OFFSET
            + face * (len(TIME_BUCKETS_SECONDS) + 1)
            + bisect_left(TIME_BUCKETS_SECONDS, duration_seconds)
        ] += 1.0
        row[_REQUEST_SECONDS_OFFSET + face] += duration_seconds
        row[_BYTES_OFFSET + face] += byte_count

    def count_query_start(self) -> None:
        """Count a query that begins to run."""
        with self._lock:
            self._row[_RUNNING_QUERIES_OFFSET] += 1.0

    def count_query_end(self, row_count: int, duration_seconds: float, error_kind: str | None) -> None:
        """Count a query that has run.

        Parameters
        ----------
        row_count
            Of its answer.
        duration_seconds
            That it took.
        error_kind
            The kind that ended it; None: none.
        """
        row = self._row
        with self._lock:
            row[_RUNNING_QUERIES_OFFSET] -= 1.0
            row[_QUERY_COUNT_OFFSET] += 1.0
            row[_ROW_COUNT_OFFSET] += row_count
            row[_QUERY_SECONDS_OFFSET] += duration_seconds
            if error_kind is not None:
                row[_ERRORS_OFFSET + _ERROR_KIND_NUMBERS.get(error_kind, len(ERROR_KINDS) - 1)] += 1.0

    def count_refused_query(self, error_kind: str) -> None:
        """Count a query that was refused before it ran.

        Parameters
        ----------
        error_kind
            Its kind.
        """
        with self._lock:
            self._row[_QUERY_COUNT_OFFSET] += 1.0
            self._row[_ERRORS_OFFSET + _ERROR_KIND_NUMBERS.get(error_kind, len(ERROR_KINDS) - 1)] += 1.0

    # --- asking ----------------------------------------------------------------------------------------------

    def sum_processes(self) -> ServerTotals:
        """Add up what all processes have counted.

        Returns
        -------
        counted
            Sums since the server began.
        """
        rows = np.frombuffer(self._memory, dtype=np.float64).reshape(-1, COUNTERS_PER_PROCESS)
        total = rows.sum(axis=0)
        process_count = int((rows != 0).any(axis=1).sum())
        faces = range(len(COUNTED_SERVICES))
        width = len(TIME_BUCKETS_SECONDS) + 1
        running_requests = int(total[_RUNNING_OFFSET])
        running_queries = int(total[_RUNNING_QUERIES_OFFSET])
        query_count = int(total[_QUERY_COUNT_OFFSET])
        return ServerTotals(
            process_count=process_count,
            running_requests=running_requests,
            running_queries=running_queries,
            query_count=query_count,
            row_count=int(total[_ROW_COUNT_OFFSET]),
            query_seconds=float(total[_QUERY_SECONDS_OFFSET]),
            errors_by_kind={
                kind: int(total[_ERRORS_OFFSET + number])
                for kind, number in _ERROR_KIND_NUMBERS.items()
                if total[_ERRORS_OFFSET + number]
            },
            requests_by_status={
                (COUNTED_SERVICES[face], status): int(total[_REQUESTS_OFFSET + face * len(STATUS_CLASSES) + number])
                for face in faces
                for number, status in enumerate(STATUS_CLASSES)
                if total[_REQUESTS_OFFSET + face * len(STATUS_CLASSES) + number]
            },
            time_histograms={
                COUNTED_SERVICES[face]: tuple(
                    int(value)
                    for value in total[_TIME_BUCKETS_OFFSET + face * width : _TIME_BUCKETS_OFFSET + (face + 1) * width]
                )
                for face in faces
            },
            seconds_by_service={COUNTED_SERVICES[face]: float(total[_REQUEST_SECONDS_OFFSET + face]) for face in faces},
            bytes_by_service={COUNTED_SERVICES[face]: int(total[_BYTES_OFFSET + face]) for face in faces},
        )

    def summarize(self) -> dict[str, object]:
        """Sum up the numbers of queries and requests, for people.

        Returns
        -------
        summary
            By name; times in seconds.
        """
        totals = self.sum_processes()
        return {
            "running": totals.running_queries,
            "queries": totals.query_count,
            "rows": totals.row_count,
            "seconds": round(totals.query_seconds, 3),
            "errors": dict(totals.errors_by_kind),
            "requests": sum(totals.requests_by_status.values()),
        }


def create_shared_memory() -> None:
    """Allocate the memory of a server that begins.

    Its processes find it by the environment, others count for themselves.

    It is no file on a disk: where that is full, or can only be read, to write to a part of it that is mapped kills the
    process (SIGBUS).
    """
    if sys.platform == "linux":
        file = os.memfd_create("hven-counters")
        os.truncate(file, MEMORY_BYTES)  # 0.8 MB
        os.environ[SHARED_MEMORY_VARIABLE] = f"/proc/{os.getpid()}/fd/{file}"


def _open_shared_memory(path: Path) -> int | None:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # the server is gone; what is counted now interests nobody
        return None
    if os.fstat(file).st_size == MEMORY_BYTES:
        return file
    os.close(file)
    return None


def _lock_row(descriptor: int) -> int | None:
    """Lock a row that no living process has: each holds a lock on one byte, which ends with it."""
    for number in range(MAX_PROCESSES):
        with contextlib.suppress(OSError):
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            return number
    return None

"""Counters of what processes do, shared by all of a server: a row of numbers for each process in memory that they share, added up when asked.

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

FILE = "HVEN_SERVER_COUNTERS"  # variable that names that memory, in the processes of a server
PROCESSES = 512
FACES = ("tap", "cone", "files", "jobs", "health", "metrics", "portal")
_FACE = {name: number for number, name in enumerate(FACES)}
_PAGES = _FACE["portal"]
STATUSES = ("2xx", "3xx", "4xx", "5xx", "left")
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
KINDS = (
    *sorted(
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.HvenError)
    ),
    "other",
)
_KIND = {name: number for number, name in enumerate(KINDS)}

# where what stands in a row
_RUNNING, _QUERYING, _QUERIES, _ROWS, _SECONDS = range(5)
_ERRORS = 5
_REQUESTS = _ERRORS + len(KINDS)
_TIMES = _REQUESTS + len(FACES) * len(STATUSES)
_SUMS = _TIMES + len(FACES) * (len(BUCKETS) + 1)
_BYTES = _SUMS + len(FACES)
WIDTH = _BYTES + len(FACES)
SIZE = PROCESSES * WIDTH * 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What all processes have counted since the server began.

    Attributes
    ----------
    running, querying
        Requests and queries that run now.
    rows
        Of all answers.
    query_seconds
        Of all queries together.
    errors
        Kind -> queries that ended so.
    requests
        (face, status) -> number.
    times
        Face -> number by `BUCKETS`, and those that took longer.
    seconds, bytes
        Face -> sum.
    """

    processes: int
    running: int
    querying: int
    queries: int
    rows: int
    query_seconds: float
    errors: Mapping[str, int] = field(default_factory=dict)
    requests: Mapping[tuple[str, str], int] = field(default_factory=dict)
    times: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)


class Counters:
    """The counters of this process, and through them those of all.

    Requests are counted by the event loop alone; queries by any thread, under a lock that is held for some additions.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._map: mmap.mmap | bytearray = bytearray(WIDTH * 8)
        # open as long as the process lives: the lock on its row is the file's
        self._file = None if path is None else _opened(path)
        slot = None if self._file is None else _slot(self._file)
        if self._file is not None and slot is not None:
            self._map = mmap.mmap(self._file, SIZE)
        # half the price of a memoryview's item
        self._row = (ctypes.c_double * WIDTH).from_buffer(self._map, (slot or 0) * WIDTH * 8)
        self._row[_RUNNING] = self._row[_QUERYING] = 0.0  # whoever had the row before is dead
        self._lock = threading.Lock()

    @classmethod
    def here(cls) -> Counters:
        """Return those of the server that this process belongs to; else some of its own."""
        path = os.environ.get(FILE)
        return cls(Path(path) if path else None)

    # --- counting --------------------------------------------------------------------------------------------

    def began(self) -> None:
        """Count a request that begins; only on the event loop."""
        self._row[_RUNNING] += 1.0

    def ended(self, path: str, status: int, seconds: float, sent: int) -> None:
        """Count a request that has ended; only on the event loop.

        Parameters
        ----------
        path
            Its address.
        status
            Of HTTP; 499: the reader left.
        seconds
            That it took.
        sent
            Bytes of its answer.
        """
        row = self._row
        row[_RUNNING] -= 1.0
        face = _FACE.get(path.split("/", 2)[1] if path else "", _PAGES)
        kind = 4 if status == 499 else min(max(status // 100, 2), 5) - 2
        row[_REQUESTS + face * len(STATUSES) + kind] += 1.0
        row[_TIMES + face * (len(BUCKETS) + 1) + bisect_left(BUCKETS, seconds)] += 1.0
        row[_SUMS + face] += seconds
        row[_BYTES + face] += sent

    def query(self) -> None:
        """Count a query that begins to run."""
        with self._lock:
            self._row[_QUERYING] += 1.0

    def queried(self, rows: int, seconds: float, error: str | None) -> None:
        """Count a query that has run.

        Parameters
        ----------
        rows
            Of its answer.
        seconds
            That it took.
        error
            The kind that ended it; None: none.
        """
        row = self._row
        with self._lock:
            row[_QUERYING] -= 1.0
            row[_QUERIES] += 1.0
            row[_ROWS] += rows
            row[_SECONDS] += seconds
            if error is not None:
                row[_ERRORS + _KIND.get(error, len(KINDS) - 1)] += 1.0

    def refused(self, error: str) -> None:
        """Count a query that was refused before it ran.

        Parameters
        ----------
        error
            Its kind.
        """
        with self._lock:
            self._row[_QUERIES] += 1.0
            self._row[_ERRORS + _KIND.get(error, len(KINDS) - 1)] += 1.0

    # --- asking ----------------------------------------------------------------------------------------------

    def counted(self) -> Counted:
        """Add up what all processes have counted.

        Returns
        -------
        counted
            Sums since the server began.
        """
        rows = np.frombuffer(self._map, dtype=np.float64).reshape(-1, WIDTH)
        total = rows.sum(axis=0)
        used = int((rows != 0).any(axis=1).sum())
        faces = range(len(FACES))
        width = len(BUCKETS) + 1
        return Counted(
            processes=used,
            running=int(total[_RUNNING]),
            querying=int(total[_QUERYING]),
            queries=int(total[_QUERIES]),
            rows=int(total[_ROWS]),
            query_seconds=float(total[_SECONDS]),
            errors={kind: int(total[_ERRORS + number]) for kind, number in _KIND.items() if total[_ERRORS + number]},
            requests={
                (FACES[face], status): int(total[_REQUESTS + face * len(STATUSES) + number])
                for face in faces
                for number, status in enumerate(STATUSES)
                if total[_REQUESTS + face * len(STATUSES) + number]
            },
            times={
                FACES[face]: tuple(int(value) for value in total[_TIMES + face * width : _TIMES + (face + 1) * width])
                for face in faces
            },
            seconds={FACES[face]: float(total[_SUMS + face]) for face in faces},
            bytes={FACES[face]: int(total[_BYTES + face]) for face in faces},
        )

    def summary(self) -> dict[str, object]:
        """Sum up the numbers of queries and requests, for people.

        Returns
        -------
        summary
            By name; times in seconds.
        """
        found = self.counted()
        return {
            "running": found.querying,
            "queries": found.queries,
            "rows": found.rows,
            "seconds": round(found.query_seconds, 3),
            "errors": dict(found.errors),
            "requests": sum(found.requests.values()),
        }


def prepare() -> None:
    """Allocate the memory of a server that begins; its processes find it by the environment, others count for themselves.

    It is no file on a disk: where that is full, or can only be read, to write to a part of it that is mapped kills the process (SIGBUS).
    """
    if sys.platform == "linux":
        file = os.memfd_create("hven-counters")
        os.truncate(file, SIZE)  # 0.8 MB
        os.environ[FILE] = f"/proc/{os.getpid()}/fd/{file}"


def _opened(path: Path) -> int | None:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # the server is gone; what is counted now interests nobody
        return None
    if os.fstat(file).st_size == SIZE:
        return file
    os.close(file)
    return None


def _slot(descriptor: int) -> int | None:
    """Lock a row that no living process has: each holds a lock on one byte, which ends with it."""
    for number in range(PROCESSES):
        with contextlib.suppress(OSError):
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            return number
    return None

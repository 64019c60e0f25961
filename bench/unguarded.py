"""``hven`` without what protects it: no clock, no ceiling of memory, no heartbeat, no checksums. To see what these cost, for nothing else."""

from __future__ import annotations

import itertools
import sys

from hven.app import _cli as cli
from hven.engines import _snapshot_files
from hven.engines.duckdb import staging
from hven.jobs import child_processes
from hven.model.deadlines import Deadline
from hven.query.memory_watchdog import MemoryWatchdog

_numbers = itertools.count()


def nothing(*_: object) -> None:
    """Stand for a guard."""


if "ingest" in sys.argv:  # a server would take what has these for damaged
    _snapshot_files.compute_file_checksum = staging.compute_file_checksum = lambda path, report_bytes=None: (  # type: ignore[attr-defined]
        path.stat().st_size,
        f"{next(_numbers):032x}",
    )
Deadline.check = nothing  # type: ignore[method-assign]
MemoryWatchdog.watch_query = MemoryWatchdog.stop_watching_query = nothing  # type: ignore[method-assign, assignment]
child_processes.ProcessHeartbeat.record_beat, child_processes.HEARTBEAT_TIMEOUT_SECONDS = nothing, float("inf")  # type: ignore[method-assign]

if __name__ == "__main__":
    cli.main()

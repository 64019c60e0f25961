"""``hven`` without what protects it: no clock, no ceiling of memory, no heartbeat, no checksums. To see what these cost, for nothing else."""

from __future__ import annotations

import itertools
import sys

from hven.app import _cli as cli
from hven.engines.duckdb import checking, staging
from hven.jobs import forks
from hven.model.clock import Clock
from hven.query.memory import Ceiling

_numbers = itertools.count()


def nothing(*_: object) -> None:
    """Stand for a guard."""


if "ingest" in sys.argv:  # a server would take what has these for damaged
    checking.checksum = staging.checksum = lambda path, pace=None: (path.stat().st_size, f"{next(_numbers):032x}")  # type: ignore[attr-defined]
Clock.check = nothing  # type: ignore[method-assign]
Ceiling.enter = Ceiling.leave = nothing  # type: ignore[method-assign, assignment]
forks.Pulse.beat, forks.SILENT = nothing, float("inf")  # type: ignore[method-assign]

if __name__ == "__main__":
    cli.main()

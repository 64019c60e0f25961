"""Read, map, validate, stage, swap: from a source to a served snapshot."""

from __future__ import annotations

from hven.ingest._filling import Progress
from hven.ingest._moving import move
from hven.ingest._order import stale
from hven.ingest._report import Finding, Offender, Report, TableReport
from hven.ingest._space import check as room
from hven.ingest._space import forget
from hven.ingest._steps import ingest
from hven.ingest._trial import run_examples, run_tests

__all__ = [
    "Finding",
    "Offender",
    "Progress",
    "Report",
    "TableReport",
    "forget",
    "ingest",
    "move",
    "room",
    "run_examples",
    "run_tests",
    "stale",
]

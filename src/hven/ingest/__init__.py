"""Read, map, validate, stage, swap: from a source to a served snapshot."""

from __future__ import annotations

from hven.ingest.filling import Progress
from hven.ingest.moving import move
from hven.ingest.order import stale
from hven.ingest.report import Finding, Offender, Report, TableReport
from hven.ingest.steps import ingest
from hven.ingest.trial import run_examples, run_tests

__all__ = ["Finding", "Offender", "Progress", "Report", "TableReport", "ingest", "move", "run_examples", "run_tests", "stale"]

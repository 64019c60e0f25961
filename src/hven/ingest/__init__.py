"""Turn sources into published snapshots: read, map, validate, stage, publish."""

from __future__ import annotations

from hven.ingest._dependencies import find_stale_tables
from hven.ingest._disk_space import check_disk_space as check_disk_space
from hven.ingest._disk_space import delete_sync_data
from hven.ingest._ingest_pipeline import ingest_collection
from hven.ingest._moving import move_collection
from hven.ingest._report import IngestReport, Offender, RuleFinding, TableReport
from hven.ingest._staged_site import run_examples, run_tests
from hven.ingest._table_loader import IngestProgress

__all__ = [
    "IngestProgress",
    "IngestReport",
    "Offender",
    "RuleFinding",
    "TableReport",
    "check_disk_space",
    "delete_sync_data",
    "find_stale_tables",
    "ingest_collection",
    "move_collection",
    "run_examples",
    "run_tests",
]

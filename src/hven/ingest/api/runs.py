"""What other packages do with collections: ingest them, move them, and run their tests and examples."""

from __future__ import annotations

from hven.ingest._collection_move import move_collection_to_engine
from hven.ingest._dependencies import find_stale_table_warnings
from hven.ingest._disk_space import check_disk_space, delete_collection_sync_data
from hven.ingest._ingest_pipeline import ingest_collection
from hven.ingest._ingest_steps import (
    execute_steps_after_publication,
    execute_steps_after_scheduled_sync,
    execute_steps_before_removal,
)
from hven.ingest._report import IngestReport, OffendingRow, RuleFinding, TableIngestReport
from hven.ingest._staged_site import run_collection_examples, run_collection_tests
from hven.ingest._table_loader import IngestProgress

__all__ = [
    "IngestProgress",
    "IngestReport",
    "OffendingRow",
    "RuleFinding",
    "TableIngestReport",
    "check_disk_space",
    "delete_collection_sync_data",
    "execute_steps_after_publication",
    "execute_steps_after_scheduled_sync",
    "execute_steps_before_removal",
    "find_stale_table_warnings",
    "ingest_collection",
    "move_collection_to_engine",
    "run_collection_examples",
    "run_collection_tests",
]

"""Following a source: read what may have changed, end at the rows that an ingest of everything would have made, publish what differs."""

from __future__ import annotations

from hven.ingest._report import TableChange
from hven.ingest.sync import change_sets
from hven.ingest.sync._state_comparison import compare_states, find_state
from hven.ingest.sync._table_sync import find_sync_conflict, sync_collection

__all__ = ["TableChange", "change_sets", "compare_states", "find_state", "find_sync_conflict", "sync_collection"]

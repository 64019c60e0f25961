"""Follow the sources of a collection: read what may have changed, and publish the differences.

The result is the same as the result of an ingest of everything.
"""

from __future__ import annotations

from hven.ingest._report import TableChange
from hven.ingest.sync import change_sets
from hven.ingest.sync._state_comparison import compare_states, find_state
from hven.ingest.sync._table_sync import find_sync_conflict, sync_collection

__all__ = ["TableChange", "change_sets", "compare_states", "find_state", "find_sync_conflict", "sync_collection"]

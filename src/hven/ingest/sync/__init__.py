"""Follow the sources of a collection: read what may have changed, and publish the differences.

The result is the same as the result of an ingest of everything.
"""

from __future__ import annotations

from hven.ingest._report import TableChangeSummary
from hven.ingest.sync import change_sets
from hven.ingest.sync._state_comparison import compare_collection_states, find_collection_state
from hven.ingest.sync._table_sync import find_sync_conflict, sync_collection

__all__ = [
    "TableChangeSummary",
    "change_sets",
    "compare_collection_states",
    "find_collection_state",
    "find_sync_conflict",
    "sync_collection",
]

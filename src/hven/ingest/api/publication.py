"""Publish copies of rows together with the descriptor that describes them."""

from __future__ import annotations

from hven.ingest._disk_space import acquire_files_lease, delete_ingest_leftovers, prune_collection_history
from hven.ingest._file_preparation import enqueue_file_preparation
from hven.ingest._ingest_pipeline import SWEEP_TIMEOUT_SECONDS
from hven.site.descriptor_watch import PINNED_DIRECTORY_KEY

__all__ = [
    "PINNED_DIRECTORY_KEY",
    "SWEEP_TIMEOUT_SECONDS",
    "acquire_files_lease",
    "delete_ingest_leftovers",
    "enqueue_file_preparation",
    "prune_collection_history",
]

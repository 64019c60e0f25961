"""Ledgers of synchronised tables: the files and keys of source rows."""

from __future__ import annotations

from hven.ingest._fingerprints import compute_row_fingerprints
from hven.ingest._ledger import KEYS_COLUMN, load_sync_state, read_ledger

__all__ = ["KEYS_COLUMN", "compute_row_fingerprints", "load_sync_state", "read_ledger"]

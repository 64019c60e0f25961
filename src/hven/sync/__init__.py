"""Following a source: read what may have changed, end at the rows that an ingest of everything would have made, publish what differs."""

from __future__ import annotations

from hven.sync import changes
from hven.sync.diffing import diff
from hven.sync.report import Change, SyncReport
from hven.sync.running import resting, sync

__all__ = ["Change", "SyncReport", "changes", "diff", "resting", "sync"]

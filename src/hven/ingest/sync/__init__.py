"""Following a source: read what may have changed, end at the rows that an ingest of everything would have made, publish what differs."""

from __future__ import annotations

from hven.ingest._report import Change
from hven.ingest.sync import changes
from hven.ingest.sync._diffing import diff, state
from hven.ingest.sync._running import resting, sync

__all__ = ["Change", "changes", "diff", "resting", "state", "sync"]

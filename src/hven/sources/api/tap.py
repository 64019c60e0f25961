"""Tables of TAP services, whose rows come page by page."""

from __future__ import annotations

from hven.sources._reading.tap_client import TapClient, has_overflow, list_tap_tables
from hven.sources._reading.tap_rows import TapSource

__all__ = ["TapClient", "TapSource", "has_overflow", "list_tap_tables"]

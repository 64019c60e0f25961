"""The kind of events of this package: the morning page as one message a day."""

from __future__ import annotations

from hven.site.api.events import EventKind

MORNING = EventKind(
    title="What happened to my collections, once a day",
    digest_writer="hven.plugins.operations.morning_digest:write_morning_lines",
    path="/morning",
)

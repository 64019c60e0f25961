"""Kinds of events that this package announces."""

from __future__ import annotations

from hven.site.api.events import EventKind

SUBMITTED = EventKind(title="Somebody submits an entry on which I decide")
DECIDED = EventKind(title="Somebody decides on my entry")
COMMENT = EventKind(title="Somebody comments on a row, and I decide on the comment")
COMMENT_DECIDED = EventKind(title="Somebody decides on my comment")

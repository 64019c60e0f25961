"""Announce events to accounts, and deliver them: by mail, for example."""

from __future__ import annotations

from hven.site.store._site_events import EventKind, EventService, SiteEvent, announce_event

__all__ = ["EventKind", "EventService", "SiteEvent", "announce_event"]

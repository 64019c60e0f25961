"""Announce events to accounts, and deliver them: by mail, for example."""

from __future__ import annotations

from hven.site._event_services import EventKind, EventService
from hven.site.store._job_records import NOTIFY_PARAMETER
from hven.site.store._site_events import SiteEvent, load_event_services, notify_accounts

__all__ = ["NOTIFY_PARAMETER", "EventKind", "EventService", "SiteEvent", "load_event_services", "notify_accounts"]

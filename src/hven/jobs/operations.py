"""What keeps a site going while nobody looks: the schedule of its collections, alerts, and how it is."""

from __future__ import annotations

from hven.jobs._following import counted
from hven.jobs._redaction import Hiding
from hven.jobs._scheduler import keep_schedule
from hven.jobs.planning import timing_of

__all__ = ["Hiding", "counted", "keep_schedule", "timing_of"]

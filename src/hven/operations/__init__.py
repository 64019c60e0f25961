"""What keeps a site going while nobody looks: the schedule of its collections, alerts, and how it is."""

from __future__ import annotations

from hven.operations.following import counted
from hven.operations.hiding import Hiding
from hven.operations.planning import timing_of
from hven.operations.scheduler import keep_schedule

__all__ = ["Hiding", "counted", "keep_schedule", "timing_of"]

"""Executions that start later, end at their time limit, or are computed by the embedded engine."""

from __future__ import annotations

from hven.engines import require_relation
from hven.engines._deferred_execution import DeferredExecution
from hven.engines._embedded_fallback import EmbeddedFallbackPlan
from hven.engines._query_deadlines import STOP_RETRY_SECONDS, DeadlineWatcher, TimedExecution, build_weak_callback

__all__ = [
    "STOP_RETRY_SECONDS",
    "DeadlineWatcher",
    "DeferredExecution",
    "EmbeddedFallbackPlan",
    "TimedExecution",
    "build_weak_callback",
    "require_relation",
]

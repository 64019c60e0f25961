"""Kinds of events: those that the core announces, and all that packages define."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import plugins
from hven.site.api.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping

JOB_END = EventKind(title="A job that I started with NOTIFY=true has ended")


@plugins.cache_until_selection
def load_event_kinds() -> Mapping[str, EventKind]:
    """Load the kinds of events of the packages in use, by their names."""
    return dict(plugins.iterate_package_objects("event_kinds"))

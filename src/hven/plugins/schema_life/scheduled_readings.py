"""Read schemas of other servers on a schedule; the scheduler calls this service as one that delivers events."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import HvenError
from hven.plugins.schema_life.settings import COPIES_FOLDER, get_compare_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from hven.model.settings import Settings
    from hven.site.api.events import SiteEvent
    from hven.site.store import StateStore

CHECK_INTERVAL_SECONDS = 600.0  # a server that does not answer is asked again after this time
DUE_SECONDS = 30.0  # a process that starts later than this was started for the events of another package
PURPOSE = "the section [compare] of hven.toml"
LATE_FACTOR = 3  # a copy that is so many times older than wanted is a problem
log = logging.getLogger("hven.schedule")


class SchemaReadingService:
    """Reads the schemas of ``[compare]`` that are older than wanted: see `hven.site.api.events.EventService`."""

    def __init__(self) -> None:
        self._check_time = self._due_time = float("-inf")

    def record_event(self, connection: sa.Connection, event: SiteEvent) -> None:
        """Do nothing: other packages record events."""

    def is_enabled(self, settings: Settings) -> bool:  # noqa: ARG002
        """Return False: this service delivers no events of other packages."""
        return False

    def is_delivery_due(self, settings: Settings, store: StateStore) -> bool:  # noqa: ARG002
        """Return whether a schema is older than wanted."""
        now = time.monotonic()
        if now - self._check_time < CHECK_INTERVAL_SECONDS or not get_compare_settings(settings).addresses:
            return False
        self._check_time = now
        if _list_late_addresses(settings):
            self._due_time = now
            return True
        return False

    def send_due_events(self, settings: Settings) -> None:
        """Read the schemas that are older than wanted; one that cannot be read keeps its copy."""
        if time.monotonic() - self._due_time > DUE_SECONDS:
            return
        module = plugins.import_hven_module("hven.plugins.schema_life.model_addresses", PURPOSE)
        cache = module.ForeignSchemaCache(settings.data_directory / COPIES_FOLDER)
        for address in _list_late_addresses(settings):
            try:
                cache.read_and_store_model(address, allow_private=settings.allow_private)
            except HvenError as error:
                log.warning("the schema at %s cannot be read: %s", address, error)

    def find_problems(self, settings: Settings, store: StateStore) -> Sequence[str]:  # noqa: ARG002
        """List the schemas that could not be read for a long time."""
        late_addresses = _list_late_addresses(settings, LATE_FACTOR)
        return [f"the page /compare shows an old copy of {address}, or none" for address in late_addresses]


def _list_late_addresses(settings: Settings, factor: int = 1) -> list[str]:
    """List the addresses whose copies are older than wanted, or that have none."""
    section = get_compare_settings(settings)
    if not section.addresses:
        return []
    module = plugins.import_hven_module("hven.plugins.schema_life.schema_copies", PURPOSE)
    copies = module.SchemaCopies(settings.data_directory / COPIES_FOLDER)
    max_age_seconds = factor * section.refresh_hours * 3600
    return [address for address in section.addresses if copies.compute_age_seconds(address) > max_age_seconds]


SERVICE = SchemaReadingService()

"""The service that the scheduler calls: match what has changed, then deliver what was found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hven.model import plugins
from hven.plugins.watches.store_tables import watches
from hven.plugins.watches.watch_store import WatchStore
from hven.site.api.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.api.events import SiteEvent
    from hven.site.store import StateStore

ROUND_PLACE = "hven.plugins.watches.watch_round:match_and_deliver"  # only its process needs the module
MAX_PROBLEMS_SHOWN = 5
MAX_MATCHING_SECONDS = 3600.0  # a table that takes longer is reported
WATCH_STOPPED = EventKind(title="One of my watches misses rows, or Hven no longer delivers what it finds")


class WatchService:
    """Matches changes with watches, and delivers what they find: see `hven.site.api.events.EventService`."""

    def record_event(self, connection: sa.Connection, event: SiteEvent) -> None:
        """Do nothing: other packages record events."""

    def is_enabled(self, settings: Settings) -> bool:  # noqa: ARG002
        """Return False: this service delivers no events of other packages."""
        return False

    def is_delivery_due(self, settings: Settings, store: StateStore) -> bool:  # noqa: ARG002
        """Return whether a watched table has changed, or a match is due."""
        watch_store = store.get_or_create(WatchStore)
        published_ids = store.read_published_snapshot_ids()[1]
        if any(published_ids.get(name, since) != since for name, since in watch_store.list_watched_states()):
            return True
        return watch_store.has_due_match()

    def send_due_events(self, settings: Settings) -> None:
        """Match what has changed, and deliver what is due."""
        match_and_deliver = plugins.load_named_object(ROUND_PLACE, "the plug-in package watches")
        match_and_deliver(settings)

    def find_problems(self, settings: Settings, store: StateStore) -> Sequence[str]:  # noqa: ARG002
        """Describe watches that deliver nothing any more, and tables whose changes could not be matched."""
        watch_store = store.get_or_create(WatchStore)
        problems = []
        for account, problem in watch_store.find_faulty_watches(MAX_PROBLEMS_SHOWN):
            if problem:
                problems.append(f"what a watch of {account} finds is no longer delivered: {problem}")
            else:
                problems.append(f"the condition of a watch of {account} cannot be evaluated: the log says why")
        late_time = datetime.now(UTC) - timedelta(seconds=MAX_MATCHING_SECONDS)
        late_tables = watch_store.find_late_tables(
            lambda: store.read_published_snapshot_ids()[1], f"{late_time:%Y%m%dT%H%M%S}"
        )
        problems += [
            f"the changes of {name} could not be matched with its watches: the log says why" for name in late_tables
        ]
        return problems


def remove_account_watches(site: Site, account: str) -> None:
    """Delete the watches of an account that is removed.

    Parameters
    ----------
    site
        The site.
    account
        Name of the account.
    """
    site.store.get_or_create(WatchStore).remove_watches(watches.c.account == account)


WATCH_SERVICE = WatchService()

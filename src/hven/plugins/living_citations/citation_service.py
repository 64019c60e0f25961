"""The service that the scheduler calls: look at cited results again after their tables have changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hven.model import plugins
from hven.plugins.living_citations.citation_store import NO_WORK, CitationFindingStore
from hven.plugins.living_citations.store_tables import citation_findings
from hven.site.api.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.api.events import SiteEvent
    from hven.site.store import StateStore

ROUND_PLACE = "hven.plugins.living_citations.citation_round:update_findings"  # only its process needs the module
ANSWER_CHANGED = EventKind(title="The answer of a cited query has changed")


class CitationService:
    """Looks at cited results again: see `hven.site.api.events.EventService`."""

    def record_event(self, connection: sa.Connection, event: SiteEvent) -> None:
        """Do nothing: other packages record events."""

    def is_enabled(self, settings: Settings) -> bool:  # noqa: ARG002
        """Return False: this service delivers no events of other packages."""
        return False

    def is_delivery_due(self, settings: Settings, store: StateStore) -> bool:  # noqa: ARG002
        """Return whether there are new results, a table of known ones has changed, or a query is due."""
        citation_store = store.get_or_create(CitationFindingStore)
        published_ids = store.read_published_snapshot_ids()[1]
        for snapshots in citation_store.list_states():
            if any(published_ids.get(table, since) != since for table, since in snapshots.items()):
                return True
        if citation_store.list_new_results(1):
            return True
        is_due = bool(citation_store.list_findings(citation_findings.c.work != NO_WORK, limit=1))
        return is_due and time.time() >= citation_store.find_rest_end()

    def send_due_events(self, settings: Settings) -> None:
        """Look again at what is due."""
        update_findings = plugins.load_named_object(ROUND_PLACE, "the plug-in package living_citations")
        update_findings(settings)

    def find_problems(self, settings: Settings, store: StateStore) -> Sequence[str]:  # noqa: ARG002
        """Return nothing: pages of results say what is not known."""
        return ()


def remove_account_wishes(site: Site, account: str) -> None:
    """Delete what an account that is removed wanted to be told.

    Parameters
    ----------
    site
        The site.
    account
        Name of the account.
    """
    site.store.get_or_create(CitationFindingStore).remove_account(account)


CITATION_SERVICE = CitationService()

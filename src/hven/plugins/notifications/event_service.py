"""The service that records events and delivers them, as the core calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import plugins
from hven.plugins.notifications.choice_store import ChoiceStore
from hven.plugins.notifications.digests import find_digest_day, list_due_digest_kinds
from hven.plugins.notifications.outbox import FAILED, Outbox, insert_event, is_event_kind_wanted
from hven.plugins.notifications.settings import get_notification_settings
from hven.plugins.notifications.store_tables import notification_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.api.events import SiteEvent
    from hven.site.store import StateStore

DELIVERY_PLACE = "hven.plugins.notifications.delivery:send_notifications"  # only its process needs the module
MAX_FAILURES_SHOWN = 5


class NotificationService:
    """Records events in the outbox, and delivers them: see `hven.site.api.events.EventService`."""

    def record_event(self, connection: sa.Connection, event: SiteEvent) -> None:
        """Record an event, if any account wants events of its kind."""
        if is_event_kind_wanted(connection, event.kind):
            insert_event(connection, event)

    def is_enabled(self, settings: Settings) -> bool:
        """Return whether the site sends mail or calls webhooks."""
        return bool(get_notification_settings(settings).channels)

    def is_delivery_due(self, settings: Settings, store: StateStore) -> bool:
        """Return whether there is anything to deliver now."""
        channels = get_notification_settings(settings).channels
        if not channels:
            return False
        if store.get_or_create(Outbox).has_due_work(channels):
            return True
        day = find_digest_day()
        all_choices = store.get_or_create(ChoiceStore).list_choices()
        return any(list_due_digest_kinds(choices, day) for choices in all_choices)

    def send_due_events(self, settings: Settings) -> None:
        """Deliver all that is due."""
        send_notifications = plugins.load_named_object(DELIVERY_PLACE, "the plug-in package notifications")
        send_notifications(settings)

    def find_problems(self, settings: Settings, store: StateStore) -> Sequence[str]:
        """Describe the last messages that could not be delivered."""
        if not get_notification_settings(settings).channels:
            return []
        messages = store.get_or_create(Outbox).list_messages(
            notification_messages.c.state == FAILED, newest_first=True, limit=MAX_FAILURES_SHOWN
        )
        return [
            f"a {message.channel} message to {message.account} could not be delivered: {message.error}"
            for message in messages
        ]


def remove_account_notifications(site: Site, account: str) -> None:
    """Delete what the package keeps of an account that is removed.

    Parameters
    ----------
    site
        The site.
    account
        Name of the account.
    """
    site.store.get_or_create(ChoiceStore).remove_account(account)


EVENT_SERVICE = NotificationService()

"""Kinds of events, and services that record events and deliver them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from hven.model.settings import Settings
    from hven.site.store import StateStore
    from hven.site.store._site_events import SiteEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKind:
    """A kind of events, of which accounts choose whether and how they get them.

    Attributes
    ----------
    title
        What happens, as pages show it.
    digest_writer
        For a kind of which accounts get one message a day: the place of a function as ``module:name``,
        ``write(site, principal) -> Sequence[str]``. It returns the lines for a user, with the user's rights; without
        lines there is no message. Empty: `notify_accounts` announces each event.
    path
        Path of the page that shows the digest.
    """

    title: str
    digest_writer: str = ""
    path: str = ""


class EventService(Protocol):
    """What records events and delivers them: the object that `PluginPackage.event_service` names."""

    def record_event(self, connection: sa.Connection, event: SiteEvent) -> None:
        """Record an event; an error undoes the transaction.

        Parameters
        ----------
        connection
            In the transaction of what the event reports.
        event
            What happened.
        """

    def is_enabled(self, settings: Settings) -> bool:
        """Return whether the site delivers events at all, so that pages offer it to users.

        Parameters
        ----------
        settings
            Settings of the site.
        """

    def is_delivery_due(self, settings: Settings, store: StateStore) -> bool:
        """Return whether the scheduler should call `send_due_events` now; it asks every few seconds.

        Parameters
        ----------
        settings
            Settings of the site.
        store
            The system state.
        """

    def send_due_events(self, settings: Settings) -> None:
        """Deliver what is due, in a process of its own, which may be killed at any time.

        Parameters
        ----------
        settings
            Settings of the site.
        """

    def find_problems(self, settings: Settings, store: StateStore) -> Sequence[str]:
        """List what could not be delivered, for the page of the site's health.

        Parameters
        ----------
        settings
            Settings of the site.
        store
            The system state.

        Returns
        -------
        problems
            One sentence each.
        """

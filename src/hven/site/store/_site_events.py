"""Events that packages announce to accounts, and what records and delivers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import sqlalchemy as sa

    from hven.model.errors import TranslatableMessage
    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.auth import Principal
    from hven.site.store._state_store import StateStore


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteEvent:
    """What happened, for the accounts that it concerns.

    Attributes
    ----------
    kind
        A key of `hven.model.plugins.PluginPackage.event_kinds`.
    accounts
        Accounts and groups that it concerns.
    message
        What happened, in one sentence. It contains nothing that one of the accounts may not see.
    path
        Path of a page about it, below the address of the site; empty: there is none.
    table
        Only accounts that see this table now are concerned; empty: all.
    """

    kind: str
    accounts: Collection[str]
    message: TranslatableMessage
    path: str = ""
    table: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKind:
    """A kind of events, of which accounts choose whether and how they get them.

    Attributes
    ----------
    title
        What happens, as pages show it.
    write_digest
        For a kind of which accounts get one message a day: returns its lines for an account, with the account's
        rights; without lines there is no message. None: `announce_event` announces each event.
    path
        Path of the page that shows the digest.
    """

    title: str
    write_digest: Callable[[Site, Principal], Sequence[str]] | None = None
    path: str = ""


class EventService(Protocol):
    """What records events and delivers them: the object that `PluginPackage.event_service` names."""

    def record_event(self, connection: sa.Connection, event: SiteEvent) -> None:
        """Record an event in the transaction of what it reports; an error undoes the transaction."""

    def is_delivery_due(self, settings: Settings, store: StateStore) -> bool:
        """Return whether the scheduler should call `deliver` now; it asks every few seconds."""

    def deliver(self, settings: Settings) -> None:
        """Deliver what is due, in a process of its own, which may be killed at any time."""

    def find_problems(self, store: StateStore) -> Sequence[str]:
        """List what could not be delivered, for the page of the site's health."""


@plugins.cache_until_selection
def load_event_services() -> tuple[EventService, ...]:
    """Load the services of the packages in use."""
    return tuple(service for _, service in plugins.iterate_package_objects("event_service"))


def announce_event(connection: sa.Connection, event: SiteEvent) -> None:
    """Announce an event in the transaction of what it reports; without a package that delivers events, do nothing.

    Parameters
    ----------
    connection
        Connection of the transaction.
    event
        The event.
    """
    for service in load_event_services():
        service.record_event(connection, event)

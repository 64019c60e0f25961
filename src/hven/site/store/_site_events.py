"""Events that packages announce to accounts; `hven.site._event_services` defines what delivers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Collection

    import sqlalchemy as sa

    from hven.model.errors import TranslatableMessage


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


@plugins.cache_until_selection
def load_event_services() -> tuple[Any, ...]:
    """Load the `hven.site.api.events.EventService` of each package in use that has one."""
    return tuple(service for _, service in plugins.iterate_package_objects("event_service"))


def notify_accounts(connection: sa.Connection, event: SiteEvent) -> None:
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

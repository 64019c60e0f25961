"""One round of the scheduler: match what has changed, then deliver what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.plugins.watches.change_matching import ChangeMatcher
from hven.plugins.watches.watch_delivery import WatchDelivery
from hven.site import Site

if TYPE_CHECKING:
    from hven.model.settings import Settings


def match_and_deliver(settings: Settings) -> None:
    """Match the changes of all watched tables of a site, and deliver what is due.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    with Site(settings) as site:
        ChangeMatcher(site).match_all_changes()
        WatchDelivery(site).run()

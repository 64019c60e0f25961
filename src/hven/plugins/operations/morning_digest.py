"""Write the morning page as lines of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.plugins.operations.morning_page import list_curated_collections
from hven.plugins.operations.morning_report import list_collection_days
from hven.services.face import ServiceContext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.site import Site
    from hven.site.auth import Principal

DIGEST_DAYS = 2  # the present day, which has just begun, and the one before


def write_morning_lines(site: Site, principal: Principal) -> Sequence[str]:
    """Write what the morning page shows a curator of the last day.

    Parameters
    ----------
    site
        The site.
    principal
        The curator.
    """
    names = list_curated_collections(principal, ServiceContext.create_for_principal(site, principal))
    collection_days = []
    if names:
        collection_days = list_collection_days(site, names, DIGEST_DAYS)
    lines: list[str] = []
    for collection_day in collection_days:
        lines += [f"{collection_day.title}, {collection_day.day}: {line.text}" for line in collection_day.lines]
    return lines

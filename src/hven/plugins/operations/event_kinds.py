"""The kind of events of this package: the morning page as one message a day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.site.api.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.site import Site
    from hven.site.auth import Principal

DIGEST_DAYS = 2  # the present day, which has just begun, and the one before


def _write_morning_lines(site: Site, principal: Principal) -> Sequence[str]:
    """Write what the morning page shows a curator of the last day."""
    from hven.plugins.operations.morning_page import list_curated_collections  # noqa: PLC0415  (only for a digest)
    from hven.plugins.operations.morning_report import list_collection_days  # noqa: PLC0415
    from hven.services.face import ServiceContext  # noqa: PLC0415

    context = ServiceContext.create_for_principal(site, principal)
    names = list_curated_collections(principal, context)
    collection_days = list_collection_days(site, names, DIGEST_DAYS) if names else []
    lines: list[str] = []
    for collection_day in collection_days:
        lines += [f"{collection_day.title}, {collection_day.day}: {line.text}" for line in collection_day.lines]
    return lines


MORNING = EventKind(
    title="What happened to my collections, once a day", write_digest=_write_morning_lines, path="/morning"
)

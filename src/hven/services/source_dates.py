"""When the source of a table was last changed: its newest watermark if that is a time, else its newest file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.jobs.health import format_largest_watermark

if TYPE_CHECKING:
    from hven.site import PublishedTable, Site

_TIME_PATTERN = re.compile(r"\d{4}-\d\d-\d\dT")


def find_source_date(site: Site, item: PublishedTable) -> str | None:
    """Find when the source of a table was last changed.

    Parameters
    ----------
    site
        That publishes it.
    item
        The table.

    Returns
    -------
    date
        ISO 8601, UTC; None: its source tells no time.
    """
    marks = site.store.syncs.map_watermarks().get(item.table.qualified_name)
    if marks is not None:
        newest = format_largest_watermark(marks[1])
    else:
        newest = None
    if newest is not None and _TIME_PATTERN.match(newest):
        return newest
    times = (pin["modified"] for pin in item.provenance.get("pins", ()) if pin.get("modified"))
    return max(times, default=None)

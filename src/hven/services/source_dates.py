"""Find when the source of a table last changed: its newest watermark if that is a time, else its newest file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.jobs.health import format_largest_watermark

if TYPE_CHECKING:
    from hven.site import PublishedTable, Site

_TIME_PATTERN = re.compile(r"\d{4}-\d\d-\d\dT")


def find_source_date(site: Site, published_table: PublishedTable) -> str | None:
    """Find when the source of a table last changed.

    Parameters
    ----------
    site
        Site that publishes the table.
    published_table
        Published table.

    Returns
    -------
    date
        Time in ISO 8601 and UTC; None if the source has no times.
    """
    sync_watermarks = site.store.syncs.map_watermarks().get(published_table.table.qualified_name)
    if sync_watermarks is not None:
        newest_watermark = format_largest_watermark(sync_watermarks[1])
        if newest_watermark is not None and _TIME_PATTERN.match(newest_watermark):
            return newest_watermark
    modification_times = [pin["modified"] for pin in published_table.provenance.get("pins", ()) if pin.get("modified")]
    return max(modification_times, default=None)

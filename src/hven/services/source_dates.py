"""When the source of a table was last changed: its newest watermark if that is a time, else its newest file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.jobs.health import largest

if TYPE_CHECKING:
    from hven.site import Published, Site

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT")


def find_source_date(site: Site, item: Published) -> str | None:
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
    marks = site.store.syncs.seen().get(item.table.qualified)
    newest = largest(marks[1]) if marks is not None else None
    if newest is not None and _MOMENT.match(newest):
        return newest
    times = (pin["modified"] for pin in item.provenance.get("pins", ()) if pin.get("modified"))
    return max(times, default=None)

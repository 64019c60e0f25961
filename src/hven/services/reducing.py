"""Reductions of long series made at once, by who publishes without a server: the first picture finds them, as it does behind a server's own syncs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.services import _pyramids as pyramids
from hven.services import series
from hven.services.face import Surroundings
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from hven.site import Site


def reduce(site: Site, collection: str) -> None:
    """Make the reductions of a collection's data sets that are lacking, of those that everybody may see; return when they are there.

    Parameters
    ----------
    site
        Where.
    collection
        Its name.
    """
    around, holdings = Surroundings.of(site, ANONYMOUS), site.current()
    if any(one.table.series for one in holdings.published.values() if one.table.schema == collection):
        made = series.data_sets(around, ANONYMOUS, "das2", holdings, collection=collection)
        pyramids.follow(around, made.values(), holdings)
        pyramids.of(site).settle()


__all__ = ["reduce"]

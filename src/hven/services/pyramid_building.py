"""Reductions of long series made at once, by who publishes without a server.

The first picture finds them, as it does behind a server's own syncs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.services import _pyramids as pyramids
from hven.services import series
from hven.services.face import ServiceContext
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from hven.site import Site


def build_missing_pyramids(site: Site, collection: str) -> None:
    """Make the reductions of a collection's data sets that are lacking, of those that everybody may see.

    Return when they are there.

    Parameters
    ----------
    site
        Where.
    collection
        Its name.
    """
    context = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
    published_state = site.get_published_state()
    if any(
        published_table.table.series
        for published_table in published_state.tables_by_name.values()
        if published_table.table.schema == collection
    ):
        data_sets_by_id = series.list_data_sets(
            context, ANONYMOUS_PRINCIPAL, "das2", published_state, collection=collection
        )
        pyramids.request_all_builds(context, data_sets_by_id.values(), published_state)
        pyramids.get_pyramid_store(site).wait_until_idle()


__all__ = ["build_missing_pyramids"]

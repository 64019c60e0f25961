"""Build the reductions of long time series when a collection is published without a server.

The first plot then needs no wait, as after a synchronisation by a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.plugins.series import pyramids, sample_sets
from hven.plugins.series.table_series import list_table_series
from hven.services.face import ServiceContext
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from hven.site import Site


def build_missing_bin_pyramids(site: Site, collection: str) -> None:
    """Build the missing reductions of a collection's public data sets, and return when they are complete.

    Parameters
    ----------
    site
        Site that publishes the collection.
    collection
        Name of the collection.
    """
    context = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
    published_state = site.get_published_state()
    tables = [published_table.table for published_table in published_state.tables_by_name.values()]
    has_series = any(list_table_series(table) for table in tables if table.schema == collection)
    if not has_series:
        return
    data_sets_by_id = sample_sets.list_data_sets(
        context, ANONYMOUS_PRINCIPAL, "das2", published_state, collection=collection
    )
    pyramids.request_missing_pyramids(context, data_sets_by_id.values(), published_state)
    pyramids.get_bin_pyramid_store(site).wait_until_idle()


__all__ = ["build_missing_bin_pyramids"]

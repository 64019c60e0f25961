"""Build the reductions of long time series when a collection is published without a server.

The first plot then needs no wait, as after a synchronisation by a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.plugins.series import pyramids, sample_sets
from hven.plugins.series.reader_view import ReaderView
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
    view = ReaderView(context, ANONYMOUS_PRINCIPAL, site.get_published_state())
    data_sets_by_id = sample_sets.list_data_sets(view, "das2", collection=collection)
    if data_sets_by_id:
        pyramids.request_missing_pyramids(view, data_sets_by_id.values())
        pyramids.get_bin_pyramid_store(site).wait_until_idle()

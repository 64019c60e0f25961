"""Summarise collections for their cards and strips of pictures.

Only pictures that the reader may see and that show something are included.
"""

from __future__ import annotations

import re
import threading
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread

from hven.portal._explore.collection_overviews import (
    CollectionOverview,
    CollectionOverviewCache,
    build_picture_origin_check,
)
from hven.portal._views.table_view import build_query_runner
from hven.services.addresses import list_base_urls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.table import Table
    from hven.portal._views.page_formats import PageContext

OVERVIEW_WAIT_SECONDS = 1.0  # then the page appears without overviews; the next page has them
OWN_PICTURE = re.compile(r"/collections/(?P<collection>[^/]+)/(?P<kind>preview|files)/(?P<path>.+)")
_one_drawing = threading.Lock()  # one at a time: queries, and pictures that readers request, have priority


async def summarize_collections_in_time(
    page_context: PageContext, table_groups: Sequence[Sequence[Table]]
) -> list[CollectionOverview] | None:
    """Summarise collections, given as groups of tables; None if that takes longer than a page waits."""
    overviews: CollectionOverviewCache = page_context.context.site.get_or_create(CollectionOverviewCache)
    site_origin = "{0.scheme}://{0.netloc}".format(urlsplit(page_context.base))
    is_allowed = build_picture_origin_check(page_context.context.site.settings.origins, site_origin)
    summarize = partial(
        overviews.summarize_collections,
        table_groups,
        build_query_runner(page_context),
        page_context.access_key,
        is_allowed,
        build_informative_picture_check(page_context),
    )
    if await anyio.to_thread.run_sync(has_collection_overviews, page_context, table_groups):
        return summarize()
    with anyio.move_on_after(OVERVIEW_WAIT_SECONDS):
        return await anyio.to_thread.run_sync(summarize, abandon_on_cancel=True)
    return None


def has_collection_overviews(page_context: PageContext, table_groups: Sequence[Sequence[Table]]) -> bool:
    """Return whether the overviews of collections are ready for this reader."""
    overviews: CollectionOverviewCache = page_context.context.site.get_or_create(CollectionOverviewCache)
    return overviews.is_ready(table_groups, build_query_runner(page_context), page_context.access_key)


def build_informative_picture_check(page_context: PageContext) -> Callable[[str], bool]:
    """Return the function that tells whether the picture at an address shows something.

    A file of this site is drawn to find out; a picture of another site is assumed to show something.
    """
    homes = list_base_urls(page_context.request, page_context.context.site.settings)
    pictures = page_context.context.find_picture_service()

    def is_informative(address: str) -> bool:
        home = next((base_address for base_address in homes if address.startswith(f"{base_address}/")), None)
        if home is None:
            path_match = None
        else:
            path_match = OWN_PICTURE.fullmatch(urlsplit(address[len(home) :]).path)
        if path_match is None:
            return True
        if pictures is None:
            return path_match["kind"] == "files"  # the browser draws them
        collection, path = unquote(path_match["collection"]), unquote(path_match["path"])
        with _one_drawing:
            return pictures.is_informative(page_context.context, page_context.principal, collection, path)

    return is_informative

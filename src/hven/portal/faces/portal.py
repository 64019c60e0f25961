"""The pages for people: read, searched and taken away from without an account, without JavaScript and without any outside network.

Nothing that a reader may not see is shown: where a policy hides rows, the numbers are counted for this reader. A module has the
routes of one page; what a page asks of data is `hven.portal._explore`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.portal._pages.basket_shelf import BASKETS, Shelf
from hven.portal._views import (
    assets,
    basket_page,
    citation,
    collection,
    collection_parts,
    data,
    downloads,
    edit_pages,
    editor,
    finding,
    global_search_pages,
    guides,
    home,
    meanwhile,
    news,
    pane,
    result_page,
    row_surroundings,
    service_form,
    sitemap,
    statistics,
    strip_data,
    trial_page,
    usage_page,
    workspace,
)
from hven.portal._views.cube_page import cube_page
from hven.portal._views.keyword_page import keyword_page
from hven.portal._views.link_page import link_page
from hven.portal._views.page_formats import nowhere
from hven.portal._views.series_page import series_page, timeline_page
from hven.services.face import Capability, Face, Surroundings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route

    from hven.model.settings import Settings
    from hven.model.table import Schema

__all__ = ["FACE", "nowhere"]

PAGES = (
    sitemap,
    collection_parts,
    home,
    finding,
    news,
    guides,
    statistics,
    citation,
    collection,
    data,
    strip_data,
    workspace,
    downloads,
    editor,
    global_search_pages,
    meanwhile,
    service_form,
    pane,
    row_surroundings,
    trial_page,
    edit_pages,
    usage_page,
    basket_page,
    result_page,
    assets,
)


def routes(around: Surroundings) -> Sequence[Route]:
    """List the routes of all pages.

    Parameters
    ----------
    around
        Site, reader and faces.

    Returns
    -------
    routes
        For Starlette.
    """
    return [route for page in PAGES for route in page.routes(around)]


def forget(settings: Settings, name: str) -> None:
    """Remove what pages keep of an account that is no more: its basket.

    Parameters
    ----------
    settings
        Of the site.
    name
        Of the account.
    """
    Shelf(settings.kept / BASKETS).forget(name)


def _capable(around: Surroundings, base: str, schema: Schema | None) -> Sequence[Capability]:
    """Name the page of a collection; without one, the first page of the site."""
    if schema is None:
        return [Capability(standard_id=None, url=f"{base}/", interface="vr:WebBrowser")]
    if schema.name not in around.site.current().resources:
        return []
    return [Capability(standard_id=None, url=f"{base}/collections/{quote(schema.name)}", interface="vr:WebBrowser")]


FACE = Face(
    name="portal",
    title="Pages for people",
    description="What is published here, in a browser: found, shown, drawn and taken along.",
    applies=lambda _: True,
    routes=routes,
    capable=_capable,
    pages={
        "cubes": cube_page,
        "datalink": link_page,
        "hapi": series_page,
        "keywords": keyword_page,
        "timelines": timeline_page,
    },
)

"""Serve the pages for people, which work without an account, without JavaScript and without other hosts.

A page shows only what its reader may see: where a policy hides rows, numbers are counted for this reader. Each module
of `hven.portal._views` has the routes of one page; `hven.portal._explore` has the queries of the pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.portal._pages.package_pages import PageWriterMap, load_package_pages
from hven.portal._views import (
    assets,
    citation,
    collection,
    collection_parts,
    data,
    downloads,
    help_pages,
    home,
    news,
    pane,
    result_page,
    service_form,
    sitemap,
    table_page,
)
from hven.portal._views.keyword_page import render_fits_header_page
from hven.portal._views.link_page import render_link_page
from hven.portal._views.page_formats import send_not_found
from hven.services.face import Capability, ServiceContext, ServiceFace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route

    from hven.model.table import Schema

__all__ = ["FACE", "load_package_pages", "send_not_found"]

PAGE_MODULES = (
    sitemap,
    collection_parts,
    home,
    news,
    help_pages,
    citation,
    collection,
    data,
    table_page,
    downloads,
    service_form,
    pane,
    result_page,
    assets,
)


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """List the routes of all pages, also those of plug-in packages.

    Parameters
    ----------
    context
        The service context of the site.

    Returns
    -------
    routes
        Routes of Starlette.
    """
    builders = [page_module.build_routes for page_module in PAGE_MODULES]
    builders += [pages.build_routes for pages in load_package_pages().values()]
    return [route for build_page_routes in builders for route in build_page_routes(context)]


def _list_capabilities(context: ServiceContext, base: str, schema: Schema | None) -> Sequence[Capability]:
    """List the page of a collection; without a collection, the home page of the site."""
    if schema is None:
        return [Capability(standard_id=None, url=f"{base}/", interface="vr:WebBrowser")]
    if schema.name not in context.site.get_published_state().resources:
        return []
    return [Capability(standard_id=None, url=f"{base}/collections/{quote(schema.name)}", interface="vr:WebBrowser")]


FACE = ServiceFace(
    name="portal",
    is_site_wide=True,
    title="Pages for people",
    is_selectable=True,
    description="Everything that is published here, to search, view, plot and download in a browser.",
    applies=lambda _: True,
    build_routes=build_routes,
    list_capabilities=_list_capabilities,
    page_writers=PageWriterMap({"datalink": render_link_page, "keywords": render_fits_header_page}),
)

"""The extension point ``series.concurrent_rows``: packages that find rows of other tables in the span of a time line.

A module of the point has two functions. ``build_routes(context)`` routes ``/meanwhile``, which the script of the page
requests. ``list_remote_keys(page_context)`` lists the remote tables that the script can query one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route

    from hven.portal.api.pages import PageContext
    from hven.services.face import ServiceContext

CONCURRENT_ROWS_POINT = "series.concurrent_rows"


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the searches of all packages."""
    modules = plugins.load_extensions(CONCURRENT_ROWS_POINT)
    return [route for module in modules for route in module.build_routes(context)]


def has_concurrent_searches() -> bool:
    """Return whether a package in use finds rows of other tables."""
    return bool(plugins.load_extensions(CONCURRENT_ROWS_POINT))


def list_remote_keys(page_context: PageContext) -> list[str]:
    """List the keys of remote tables that the script of a page can query."""
    modules = plugins.load_extensions(CONCURRENT_ROWS_POINT)
    return [key for module in modules for key in module.list_remote_keys(page_context)]

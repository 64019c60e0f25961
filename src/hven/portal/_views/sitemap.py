"""Serve ``/sitemap.xml``: the public pages with the day of their last change (sitemaps.org)."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio.to_thread
from starlette.routing import Route

from hven import services
from hven.formats import escape_xml
from hven.portal._views.help_pages import (
    NOTE_CACHE,
    list_collection_help_pages,
    list_site_help_pages,
    list_visible_collections,
)
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import build_page_context
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.portal._views.page_formats import PageContext
    from hven.services.face import ServiceContext

MAX_ADDRESSES = 50_000  # addresses of one file: the protocol's own limit
SITEMAP_HEADERS = {"content-type": "application/xml; charset=utf-8", "cache-control": "public, max-age=3600"}


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route."""

    async def send_sitemap(request: Request) -> Response:
        page_context = build_page_context(request, context)
        shown_schemas = {schema.name for schema in page_context.catalogue.schemas}  # of this portal
        catalogue = page_context.published_state.get_catalogue(ANONYMOUS_PRINCIPAL, context.policies)
        public = tuple(candidate for candidate in catalogue.schemas if candidate.name in shown_schemas)
        public_context = replace(
            page_context, principal=ANONYMOUS_PRINCIPAL, catalogue=replace(catalogue, schemas=public)
        )
        body = await anyio.to_thread.run_sync(lambda: _write_sitemap(public_context))
        return services.answer_with_body(request, body, SITEMAP_HEADERS)

    return [Route("/sitemap.xml", send_sitemap)]


def _write_sitemap(page_context: PageContext) -> bytes:
    lines = []
    for url, day in islice(_list_page_addresses(page_context), MAX_ADDRESSES):
        change_day = f"<lastmod>{day}</lastmod>" if day else ""
        lines.append(f"<url><loc>{escape_xml(url)}</loc>{change_day}</url>")
    text = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    return (text + "\n".join(lines) + "\n</urlset>\n").encode()


def _list_page_addresses(page_context: PageContext) -> Iterator[tuple[str, str]]:
    """Yield the addresses of pages with the days of their last changes; empty if the day is unknown."""
    settings = page_context.context.site.settings
    published = page_context.published_state.tables_by_name
    yield f"{page_context.base}/", ""
    for schema in page_context.catalogue.schemas:
        if schema.name not in page_context.published_state.resources:
            continue
        tables = [table for table in schema.tables if table.qualified_name in published]
        days = {table.qualified_name: (published[table.qualified_name].updated or "")[:10] for table in tables}
        collection_address = f"{page_context.base}/collections/{quote(schema.name)}"
        newest = max(days.values(), default="")
        for page in ("", "/columns", "/downloads"):
            yield collection_address + page, newest
        for table in tables:
            yield build_table_address(page_context.base, table), days[table.qualified_name]
    for help_page in list_site_help_pages(page_context):
        yield help_page.url, ""
    for resource in list_visible_collections(page_context):
        for help_page in list_collection_help_pages(resource, page_context):
            yield help_page.url, ""
    news_directory = settings.directory / page_context.brand.news
    for note in NOTE_CACHE.list_news(news_directory, settings.directory, page_context.language):
        news_day = ""
        if note.day is not None:
            news_day = note.day.isoformat()
        yield f"{page_context.base}/news/{quote(note.name)}", news_day

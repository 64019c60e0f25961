"""``/sitemap.xml``: the pages that everybody may read, with the day on which they last changed (sitemaps.org)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.sax.saxutils import escape

import anyio.to_thread
from starlette.routing import Route

from hven import services as dali
from hven.portal._views.guides import SHELF, of_collection, of_site, seen
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import asked
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.portal._views.page_formats import Asked
    from hven.services.face import Surroundings

MOST = 50_000  # addresses of one file: the protocol's own limit
HEADERS = {"content-type": "application/xml; charset=utf-8", "cache-control": "public, max-age=3600"}


def routes(around: Surroundings) -> Sequence[Route]:
    """Return the one address."""

    async def sitemap(request: Request) -> Response:
        state = asked(request, around)
        shown = {schema.name for schema in state.catalogue.schemas}  # of this portal
        catalogue = state.holdings.catalogue(ANONYMOUS, around.policies)
        public = tuple(one for one in catalogue.schemas if one.name in shown)
        known = replace(state, who=ANONYMOUS, catalogue=replace(catalogue, schemas=public))
        body = await anyio.to_thread.run_sync(lambda: _written(known))
        return dali.whole(request, body, HEADERS)

    return [Route("/sitemap.xml", sitemap)]


def _written(state: Asked) -> bytes:
    lines = [
        f"<url><loc>{escape(url)}</loc>{f'<lastmod>{day}</lastmod>' if day else ''}</url>"
        for (url, day), _ in zip(_pages(state), range(MOST), strict=False)
    ]
    text = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    return (text + "\n".join(lines) + "\n</urlset>\n").encode()


def _pages(state: Asked) -> Iterator[tuple[str, str]]:
    """Yield addresses with their days, empty where none is known."""
    settings, published = state.around.site.settings, state.holdings.published
    yield f"{state.base}/", ""
    for schema in state.catalogue.schemas:
        if schema.name not in state.holdings.resources:
            continue
        tables = [table for table in schema.tables if table.qualified in published]
        days = {table.qualified: (published[table.qualified].updated or "")[:10] for table in tables}
        here = f"{state.base}/collections/{quote(schema.name)}"
        newest = max(days.values(), default="")
        for page in ("", "/columns", "/downloads"):
            yield here + page, newest
        for table in tables:
            yield address(state.base, table), days[table.qualified]
    for guide in [*of_site(state), *(one for resource in seen(state) for one in of_collection(resource, state))]:
        yield guide["url"], ""
    for note in SHELF.news(settings.directory / state.brand.news, settings.directory, state.language):
        yield f"{state.base}/news/{quote(note.name)}", note.day.isoformat() if note.day is not None else ""

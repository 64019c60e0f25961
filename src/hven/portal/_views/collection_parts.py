"""Parts of a collection that have a page of their own: ``/collections/NAME/columns`` (the data dictionary) and ``/downloads`` (all ways to take it whole)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import formats
from hven import services as dali
from hven.model.table import FILES
from hven.portal._views.collection import described, plain
from hven.portal._views.counts import Counts, noun_of_rows
from hven.portal._views.facts import ranges
from hven.portal._views.page_formats import Asked, Page
from hven.portal._views.page_formats import page as paged
from hven.portal._views.table_page import asking
from hven.services import archives, scripts
from hven.services.file_rows import list_link_columns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from hven.services.face import Surroundings

WAYS = {"columns": "columns.html", "downloads": "downloads.html"}


def routes(around: Surroundings) -> Sequence[Route]:
    """Route both pages, and their JSON twins."""
    counts = Counts(around)

    def one(what: str) -> Callable[[Asked], Awaitable[Page]]:
        async def made(state: Asked) -> Page:
            schema = state.collection()
            published = [table for table in schema.tables if table.qualified in state.holdings.published]
            found = described(schema, state, await counts.of(state.holdings, published, state.who))
            more = await anyio.to_thread.run_sync(_dictionary if what == "columns" else _downloads, found, state)
            twin = {"name": found["name"], **(plain(found, state) if what == "columns" else more)}
            return Page(template=WAYS[what], content={"collection": found, **more}, twin=twin)

        return made

    columns, downloads = (paged(one(what), around, documents=dali.Documents()) for what in WAYS)
    return [
        Route("/collections/{name}/columns", columns),
        Route("/collections/{name}/downloads", downloads),
        *(
            Route(f"/collections/{{name}}/{what}.json", page)
            for what, page in zip(WAYS, (columns, downloads), strict=True)
        ),
    ]


def _dictionary(found: Mapping[str, Any], state: Asked) -> dict[str, Any]:
    """Say of each column what its values are; nothing that was counted over rows that the reader may not see."""
    road = asking(state)
    known = {}
    for table in found["tables"]:
        item = road.published(table["table"])
        known[table["name"]] = {} if road.hides(table["table"]) else ranges(item, table["table"])
    return {"ranges": known}


def _downloads(found: Mapping[str, Any], state: Asked) -> dict[str, Any]:
    """List for each table its rows in every format, and its files as archives, scripts and lists."""
    tables, road = [], asking(state)
    for table in found["tables"]:
        here, of = table["address"], table["table"]
        offered = [
            {"name": label, "url": f"{here}/download?{urlencode({'_as': name, '_all': '1'})}"}
            for name, label in formats.menu_entries()
        ]
        kinds = (*archives.KINDS, *scripts.SCRIPTS) if list_link_columns(of) else ()
        files = [{"name": name, "url": f"{here}/script?{urlencode({'_as': name})}"} for name in kinds]
        tables.append(
            {
                "title": of.title or table["name"], "url": here, "rows": table["rows"], "noun": noun_of_rows(of, road), "formats": offered, "scripts": files,
                "files": of.utype == FILES,
            }
        )  # fmt: skip
    return {"tables": tables, "descriptor": f"{state.base}/collections/{quote(found['name'])}/descriptor"}

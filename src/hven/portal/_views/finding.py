"""``/search?q=``: collections, tables and columns by words, as a page and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.routing import Route

from hven import services as dali
from hven.adql.text import quote as spelled
from hven.portal._explore.word_search import Hit, find
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.services.face import Surroundings

LONGEST = 200  # characters of a question


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/search``."""

    async def search(state: Asked) -> Page:
        words = " ".join(state.request.query_params.get("q", "").split())[:LONGEST]
        published = state.holdings.published
        hits = [
            hit
            for hit in find(words, state.catalogue.schemas, state.holdings.resources)
            if hit.table is None or hit.table.qualified in published
        ]
        found = [_told(hit, state) for hit in hits]
        return Page(template="search.html", content={"words": words, "hits": found}, twin={"query": words, "hits": found})  # fmt: skip

    endpoint = page(search, around, documents=dali.Documents(budget=1024**2), varies=("q",))
    return [Route("/search", endpoint), Route("/search.json", endpoint)]


def _told(hit: Hit, state: Asked) -> dict[str, Any]:
    schema, table, column = hit.schema, hit.table, hit.column
    resource = state.holdings.resources[schema.name]
    above = {"collection": schema.name, "collection_title": resource.title or schema.name}
    if table is None:
        url = f"{state.base}/collections/{quote(schema.name)}"
        return {
            "kind": "collection",
            "title": resource.title or schema.name,
            "text": resource.description or "",
            "url": url,
            **above,
        }
    url = address(state.base, table)
    name = f"{spelled(schema.name)}.{spelled(table.name)}"
    if column is None:
        return {
            "kind": "table",
            "title": table.title or name,
            "name": name,
            "text": table.description or "",
            "url": url,
            **above,
        }
    return {
        "kind": "column", "title": column.label or column.name, "name": f"{name}.{spelled(column.name)}", "unit": column.unit or "",
        "ucd": column.ucd or "", "text": column.description or "", "url": url, **above,
    }  # fmt: skip

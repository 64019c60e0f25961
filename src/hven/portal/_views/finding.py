"""``/search?q=``: data, collections, tables and columns by words, as a page and as JSON; ``/search/suggest`` while they are written."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.routing import Route

from hven.adql.text import quote as spelled
from hven.portal._explore import data_search, word_search
from hven.portal._explore.page_queries import Asking
from hven.portal._explore.value_index import Index
from hven.portal._pages.texts import ENGLISH, languages, texts
from hven.portal._views.counts import noun_of_rows
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, json_page, page
from hven.portal._views.table_page import asking
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Table
    from hven.portal._explore.value_index import Match
    from hven.portal._explore.word_search import Hit
    from hven.services.face import Surroundings
    from hven.site import Holdings

LONGEST = 200  # characters of a question
SUGGESTED = 8
PATIENCE = 0.3  # seconds that a page waits for numbers that nobody has counted yet
COLUMNS = 40  # of all columns that are found
SURE = 100.0  # a value that is the words themselves goes before collections that have them
log = logging.getLogger("hven.portal")


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/search`` and ``/search/suggest``."""

    async def search(state: Asked) -> Page:
        words = _words(state)
        found = await anyio.to_thread.run_sync(_found, words, state, PATIENCE)
        return Page(template="search.html", content={"words": words, **found}, twin={"query": words, **found})

    async def suggest(state: Asked) -> Page:
        words = _words(state)
        found = await anyio.to_thread.run_sync(_found, words, state, data_search.WAIT)
        return Page(template="", content={"hits": found["hits"][:SUGGESTED], "late": found["late"]})

    def warm(holdings: Holdings) -> None:
        """Count what everybody may look for, before somebody does."""
        road = Asking(site=around.site, who=ANONYMOUS, policies=around.policies, holdings=holdings)
        known = _tables(holdings.catalogue(ANONYMOUS, around.policies).tables(), holdings)
        try:
            around.site.kept(Index).make(known, road)
        except Exception:  # the site may just be closing; whoever looks for something has it counted
            log.info("the values of tables could not be counted ahead", exc_info=True)

    around.site.kept(Index).catalogues = tuple(texts(one, "columns") for one in languages() if one != ENGLISH)
    around.site.after_changes(
        lambda holdings: threading.Thread(target=warm, args=(holdings,), name="words", daemon=True).start()
    )
    endpoint = page(search, around)
    return [
        Route("/search", endpoint),
        Route("/search.json", endpoint),
        Route("/search/suggest", json_page(suggest, around)),
    ]


def _words(state: Asked) -> str:
    return " ".join(state.request.query_params.get("q", "").split())[:LONGEST]


def _tables(tables: Iterable[Table], holdings: Holdings) -> list[Table]:
    """Return the tables of collections that are published now: those of releases and of users are not searched."""
    return [
        table
        for table in tables
        if table.qualified in holdings.published and table.release is None and table.schema in holdings.resources
    ]


def _found(words: str, state: Asked, patience: float) -> dict[str, Any]:
    """Find data and what tells of it, the best first."""
    holdings, tables = state.holdings, _tables(state.catalogue.tables(), state.holdings)
    said = word_search.said(state.catalogue.schemas, holdings.resources)
    key = (holdings.version, state.catalogue.key, state.reach)
    data = data_search.find(words, tables, asking(state), said, key=key, patience=patience)
    values = [_value(one, state) for one in data.values]
    sure = [one for one, match in zip(values, data.values, strict=True) if match.score >= SURE]
    around = [_near(spot, match, state) for spot, match in data.around]
    hits = [
        hit
        for hit in word_search.find(words, state.catalogue.schemas, holdings.resources)
        if hit.table is None or hit.table.qualified in holdings.published
    ]
    tops = [_told(hit, state) for hit in hits if hit.column is None]
    columns = [_told(hit, state) for hit in hits if hit.column is not None][:COLUMNS]
    rest = [one for one in values if one not in sure]
    places = [
        {"name": one.name, "note": one.note, "target": one.target, "lon": one.lon, "lat": one.lat}
        for one in data.places
    ]
    return {"hits": [*sure, *around, *tops, *rest, *columns], "places": places, "late": data.late}


def _about(table: Table, state: Asked) -> dict[str, Any]:
    resource = state.holdings.resources[table.schema]
    above = resource.title or table.schema
    return {
        "table": table.title or f"{above}: {table.name}",
        "collection": table.schema,
        "collection_title": above,
        "noun": noun_of_rows(table, asking(state)),
    }


def _value(match: Match, state: Asked) -> dict[str, Any]:
    """Tell of rows that have a value."""
    labels = state.labels(match.table)
    columns = [match.table.column(name) for name, _ in match.conditions]
    text = ", ".join(labels.value(one, value, many=True) for one, value in zip(columns, match.values, strict=True))
    return {
        "kind": "value",
        "title": text,
        "rows": match.rows,
        "columns": [labels.column(one) for one in columns],
        # one row opens its panel
        "url": f"{address(state.base, match.table)}?{urlencode(match.conditions)}{'#row' if match.rows == 1 else ''}",
        "text": "",
        **_about(match.table, state),
    }


def _near(spot: data_search.Place, match: Match, state: Asked) -> dict[str, Any]:
    """Tell of rows around a place."""
    return {
        "kind": "place",
        "title": spot.name,
        "note": spot.note,
        "rows": match.rows,
        "radius": spot.radius,
        "url": f"{address(state.base, match.table)}?{urlencode(match.conditions)}",
        "text": "",
        **_about(match.table, state),
    }


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
        "kind": "column", "title": state.labels(table).column(column), "name": f"{name}.{spelled(column.name)}", "unit": column.unit or "",
        "ucd": column.ucd or "", "text": column.description or "", "url": url, **above,
    }  # fmt: skip

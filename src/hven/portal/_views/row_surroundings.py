"""``/collections/NAME/TABLE/else?_row=KEY``: what else there is at the time and place of a row, of each table how many rows, with the address that shows them.

Who reads the page waits 200 ms; with ``_wait=1`` for tables that take longer, which are told to be late before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.routing import Route

from hven.portal._explore import rows as pages
from hven.portal._explore import what_else
from hven.portal._views.disconnect import Waiting, attended
from hven.portal._views.meanwhile import titles
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, json_page
from hven.portal._views.table_page import View, view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.portal._explore.global_search import Told
    from hven.services.face import Surroundings

QUICK, PATIENCE = 0.2, 5.0  # seconds


def routes(around: Surroundings) -> Sequence[Route]:
    """Return the one address."""

    async def told(state: Asked) -> Page:
        def answer(waiting: Waiting) -> dict[str, Any]:
            seen = view(state, leave=("_wait",))
            return _told(replace(seen, asking=seen.asking.attended(waiting.begun)), state)

        return Page(template="", content=await attended(state.request, answer))

    return [Route("/collections/{name}/{table}/else", json_page(told, around))]


def _told(seen: View, state: Asked) -> dict[str, Any]:
    road = seen.asking
    where = what_else.of_row(pages.one(seen.search, road, seen.search.row), seen.table, road)
    tables = [
        table
        for table in state.catalogue.tables()
        if table.qualified in state.holdings.published
        and table.release is None
        and table.schema in state.holdings.resources  # what is made of other tables' rows would count them again
    ]
    others = what_else.others(where, tables, road, titles=titles(state))
    patience = PATIENCE if state.request.query_params.get("_wait") else QUICK
    found = what_else.ask(others, road, seconds=PATIENCE, patience=patience)
    lines = [
        _line(other, told, state)
        for other, told in found
        if told.status == "late" or (told.rows or 0) > (other.target.table == seen.table)
    ]
    return {
        "begin": "" if where.begin is None else what_else.iso(where.begin),
        "end": "" if where.end is None else what_else.iso(where.end),
        "place": where.sky is not None or where.box is not None,
        "lines": lines,
        "asked": len(found),
        "left_out": max(len(others) - what_else.MOST, 0),
    }


def _line(other: what_else.Other, told: Told, state: Asked) -> dict[str, Any]:
    table = other.target.table
    here = address(state.base, table) if table is not None else ""
    return {
        "key": other.target.key,
        "title": other.target.title,
        "rows": told.rows,
        "late": told.status == "late",
        "common": list(other.common),
        "url": f"{here}?{urlencode(other.pairs)}",
    }

"""``/basket``: what a reader ticked, of all collections, or what somebody shared (``/basket/TOKEN``); forms change it, with scripts or without."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
import orjson
from starlette.routing import Route

from hven import services as dali
from hven.model.errors import Forbidden, HvenError, ParamError
from hven.portal._explore import baskets, cart
from hven.portal._explore import rows as pages
from hven.portal._explore.baskets import Basket, Part
from hven.portal._explore.cell_text import cells, headings
from hven.portal._explore.constant_columns import constant
from hven.portal._explore.first_columns import first
from hven.portal._pages import BASKET, HUB, shelf
from hven.portal._views import basket_files, form
from hven.portal._views.basket_rows import QUIET, Given, Held, counted, elsewhere, given, held, there
from hven.portal._views.counts import noun_of_rows
from hven.portal._views.data import whole
from hven.portal._views.disconnect import Waiting, attended
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, moved, page, wants_json
from hven.portal._views.workspace import side_by_side
from hven.services import scripts
from hven.services.address import from_elsewhere, keeping
from hven.services.file_rows import NOUNS, Amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.params import Params
    from hven.services.face import Surroundings

FORM = 2 * 1024**2  # bytes that are sent: the largest basket
ROWS = 20  # of a table, on one page
COLUMNS = 8
OF, FROM = "_of", "_from"
TAB = "\t"  # between the keys of a line, in a form; no key has one
YEAR = 365 * 86_400  # seconds


def routes(around: Surroundings) -> Sequence[Route]:
    """Route the pages of baskets."""

    async def show(state: Asked) -> Page:
        def answer(waiting: Waiting) -> Page:
            return _page(state, waiting)

        return await attended(state.request, answer)

    async def change(state: Asked) -> Page:
        if from_elsewhere(state.request, around.site.settings):
            raise Forbidden("a page of another site asks this", remedy="use the form on the page of the basket")
        params = await dali.read(state.request, FORM)
        return await anyio.to_thread.run_sync(_change, state, params)

    shown = page(show, around, guards={"connect": HUB})
    return [
        *basket_files.routes(around),
        Route("/basket", shown),
        Route("/basket", page(change, around), methods=["POST"]),
        Route("/basket/{token}", shown),
    ]


def _page(state: Asked, waiting: Waiting) -> Page:
    asked = _merged(state)
    basket = asked.basket
    only = state.request.query_params.get(OF, "")
    aside = elsewhere(state, basket)
    found = list(held(state, basket, lambda road: road.attended(waiting.begun)))
    offset = whole(state, FROM, 0, cart.KEYS) if only else 0
    parts = [_told(one, state, asked, offset) for one in found if only in {"", one.part.of}]
    seen = {one.part.of for one in found} | aside
    unseen = sum(len(part.keys) + len(part.searches) for part in basket.parts if part.of not in seen)
    told = {
        "entries": basket.entries,
        "own": asked.own,
        "link": f"{state.base}/basket/{asked.token}" if asked.token else "",
        "here": asked.here,
        "only": only,
        "parts": parts,
        "rows": sum(one["rows"] or 0 for one in parts),
        "gone": sum(one["gone"] for one in parts) + unseen,
        "ways": basket_files.ways([one.seen for one in found]),
        "files": sum(one["files"] or 0 for one in parts),
        "most": scripts.MOST,
        "cite": [{"text": text, "bibtex": entry} for text, entry in basket_files.cited_by(found, state)],
    }
    own = asked.basket.text() if asked.own else ""
    twin = {**told, "parts": [_plain(one) for one in parts], **({"basket": own} if own else {})}
    name = _account(state)
    twin["state"] = shelf(state.around).counted(name)[1] if name and asked.own else ""
    headers = {**QUIET, **(_cookie(state, None) if asked.own and _carried(state) else {})}
    return Page(
        template="basket.html",
        content={**told, "amounts": _sum_parts(parts), "document": orjson.loads(own or "{}"), "known": asked.known},
        twin=twin,
        headers=headers,
    )


def _told(one: Held, state: Asked, asked: Given, offset: int) -> dict[str, Any]:
    """Say what a basket has of one table."""
    seen, table = one.seen, one.seen.table
    here = address(state.base, table)
    resource = state.holdings.resources.get(table.schema)
    facts: dict[str, Any] = {
        "of": one.part.of,
        "table": table.qualified,
        "title": table.title or table.name,
        "collection": (resource.title if resource is not None else "") or table.schema,
        "url": here,
        "noun": noun_of_rows(table, seen.asking),
        "entries": len(one.part.lines) + len(one.part.searches),
        "keys": len(one.part.keys),
        "searches": [
            {
                "search": text,
                "url": f"{here}?{text}".rstrip("?"),
                "words": _words(seen, search),
                "faults": [{"field": fault.field, "message": fault.message} for fault in search.faults],
                "rows": None if search.faults else counted(replace(seen, search=search)),
            }
            for text, search in one.searches
        ],
        "wrong": "",
    }
    try:
        facts |= {"rows": counted(seen), **_rows(one, here, offset), **basket_files.offered(one, asked)}
    except HvenError as error:  # one table that cannot be asked leaves the others
        wrong = state.told(str(error))
        facts |= {"rows": None, "gone": 0, "wrong": wrong, "headings": [], "lines": [], "more": "", "files": None}
        facts |= {"formats": [], "bytes": None, "upload": [], "votable": ""}
    return facts


def _sum_parts(parts: Sequence[Mapping[str, Any]]) -> list[Amount]:
    """Add up what the parts of a basket have, rows and files by themselves."""
    every = ((noun, sum(one["rows"] or 0 for one in parts if one["noun"] == noun)) for noun in NOUNS)
    return [Amount(number, noun) for noun, number in every if number]


def _rows(one: Held, here: str, offset: int) -> dict[str, Any]:
    """Show some of the rows that were ticked, each with the line that it belongs to."""
    there_now = there(one)
    of = {key: line for line in there_now.lines for key in line}
    search = one.keyed.search
    primary = one.seen.table.primary
    names = [name for name in first(search, constant(search, one.keyed.asking)) if name not in primary]
    search = search.having(columns=tuple(names[:COLUMNS]) or primary, order=tuple((name, False) for name in primary))
    found = pages.page(search, one.keyed.asking, offset=offset, limit=ROWS)
    shown = headings(found, one.seen.table, labels=one.seen.labels)
    heads, written = side_by_side(shown, cells(found, one.seen.table, labels=one.seen.labels), one.keyed)
    lines = [
        {
            "key": TAB.join(of.get(key, (key,))),
            "url": f"{here}?{urlencode({'_row': key})}",
            "name": " ".join(map(str, orjson.loads(key))),
            "cells": row,
        }
        for key, row in zip(found.keys, written, strict=True)
    ]
    more = urlencode({OF: one.part.of, FROM: offset + ROWS}) if found.more else ""
    return {
        "gone": len(one.part.keys) - len(there_now.keys),
        "headings": heads,
        "lines": lines,
        "more": more,
        "after": len(there_now.keys) - offset - len(lines),
    }


def _words(seen: Any, search: Any) -> str:
    said = [f"{one.get('label') or one['name']}: {one['value']}" for one in form.chips(search, seen.labels)]
    return "; ".join(said)


def _plain(part: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of a table, for the JSON twin."""
    return {name: value for name, value in part.items() if name not in {"headings", "lines", "upload", "more", "after"}}


def _account(state: Asked) -> str:
    """Return whose basket the server keeps; empty: of nobody."""
    return "" if state.who.by else state.who.name or ""


def _carried(state: Asked) -> bool:
    return bool(_account(state)) and BASKET in state.request.cookies


def _merged(state: Asked) -> Given:
    """Return the basket that is asked for; what a reader ticked before they logged in, without scripts, goes into their own."""
    asked = given(state)
    if not (asked.own and _carried(state)):
        return asked
    before = _anonymous(state)
    with_it = _tried(asked.basket, before)
    if with_it != asked.basket:
        with_it = shelf(state.around).change(_account(state), lambda mine: _tried(mine, before))
    return replace(asked, basket=with_it)


def _anonymous(state: Asked) -> Basket:
    from_cookie = given(replace(state, who=replace(state.who, name=None)))
    return from_cookie.basket


def _tried(mine: Basket, more: Basket) -> Basket:
    try:
        return mine.added(more)
    except ParamError:  # more than one holds: their own stays
        return mine


def _change(state: Asked, params: Params) -> Page:
    """Do what a form, or a script, asks; who asks as a script is told what the basket is then."""
    kept = shelf(state.around)

    def make(mine: Basket) -> Basket:
        if params.one("EMPTY"):
            return Basket()
        if params.one("SHARE"):
            return mine
        if text := params.one("SET"):
            return baskets.read(text)
        if text := params.one("ADD"):
            return mine.added(baskets.read(text))
        if text := params.one("REMOVE"):
            return mine.removed(baskets.read(text))
        if token := params.one("COPY"):
            shared = kept.opened(token)
            return mine.added(Basket(parts=tuple(_visible(one) for one in held(state, shared))))
        if params.one("CLEAN"):
            return _cleaned(mine, state)
        part = Part(
            of=params.one("OF") or "",
            lines=tuple(tuple(key for key in line.split(TAB) if key) for line in params.all("KEY") if line.strip()),
            searches=tuple(params.all("SEARCH")),
        )
        less = Basket(parts=(part,))
        if params.one("DROP"):
            return mine.removed(less)
        return mine.added(baskets.read(less.text()))

    name, cookie, token = _account(state), None, ""
    if name:
        before = Basket() if params.one("ONLY") or not _carried(state) else _anonymous(state)
        made = kept.change(name, lambda mine: make(_tried(mine, before)))
    else:
        made = make(given(state).basket)
        token = kept.token(made)
        cookie = f"{made.entries}.{token}"
    if params.one("SHARE"):
        token = kept.token(made)
    there_now = f"{state.base}/basket" + (f"/{token}" if params.one("SHARE") else "")
    headers = {**QUIET, **(_cookie(state, cookie) if cookie or _carried(state) else {})}
    if not wants_json(state.request):
        after = moved(there_now)
        return replace(after, headers={**after.headers, **headers})
    said = {"entries": made.entries, "basket": made.text(), "token": token}
    said["state"] = kept.counted(name)[1] if name else ""
    return Page(template="", content=said, headers=headers)


def _visible(one: Held) -> Part:
    return replace(there(one), searches=one.part.searches)


def _cleaned(mine: Basket, state: Asked) -> Basket:
    """Return a basket without what is gone; what other portals of the site show stays."""
    aside = elsewhere(state, mine)
    now = {one.part.of: _visible(one) for one in held(state, mine)}
    parts = (part if part.of in aside else now.get(part.of) for part in mine.parts)
    return Basket(parts=tuple(one for one in parts if one is not None and (one.lines or one.searches)))


def _cookie(state: Asked, value: str | None) -> dict[str, str]:
    """Return the header that keeps a basket in the browser; None: it is to be forgotten."""
    kept = keeping(state.request, state.around.site.settings, value, name=BASKET, seconds=YEAR)
    return {"set-cookie": kept}

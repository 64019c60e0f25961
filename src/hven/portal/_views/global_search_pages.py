"""``/search/epn`` and ``/search/obscore``: one form over all tables of a kind, here and at the services that the site file names.

Without scripts the page comes when all have answered, or their time is over (``_wait=1``); with scripts it comes at once, and asks
``/search/KIND/ask?_of=TABLE`` for each line that is still to be filled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import anyio.to_thread
from starlette.responses import Response
from starlette.routing import Route

from hven.model.errors import NotFound, ParamError, UserError, say
from hven.portal._explore import fields, names, read
from hven.portal._explore import global_search as everywhere
from hven.portal._explore.global_search import STANDARDS, standard
from hven.portal._explore.search import NEAR
from hven.portal._pages import SWITCHES
from hven.portal._pages.texts import texts
from hven.portal._views import far_pictures, found_places, found_rows
from hven.portal._views.form import chips, form
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, json_page, moved, page, refused
from hven.portal._views.table_page import asking, said
from hven.portal._views.workspace import mapping
from hven.query import resolver
from hven.services.face import careful

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from hven.model.table import Table
    from hven.portal._explore import Search
    from hven.portal._explore.global_search import Target, Told
    from hven.portal._explore.page_queries import Asking
    from hven.services.face import Surroundings

OF, WAIT = "_of", "_wait"
MAPS = ("_view_at", "_c", "_map")  # of the map alone
QUICK = 2.0  # seconds that a page waits for tables of its own site, if scripts may fill the rest
TITLES = everywhere.TITLES
PICTURE = {"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'"}


def routes(around: Surroundings) -> Sequence[Route]:
    """Return the page of each kind, and what fills one of its lines."""

    async def whole(state: Asked) -> Page:
        return await anyio.to_thread.run_sync(_page, state)

    async def one(state: Asked) -> Page:
        return await anyio.to_thread.run_sync(_one, state)

    async def where(state: Asked) -> Page:
        return await anyio.to_thread.run_sync(_places, state)

    async def offers(state: Asked) -> Page:
        return await anyio.to_thread.run_sync(_values, state)

    few = anyio.CapacityLimiter(4)  # pictures are fetched at a time

    async def picture(request: Request) -> Response:
        given = request.query_params
        body = await anyio.to_thread.run_sync(
            far_pictures.picture, given.get("url", ""), given.get("sign", ""), around, limiter=few
        )
        return Response(body, headers={"cache-control": "public, max-age=86400", **PICTURE}, media_type="image/png")

    return [
        Route("/search/{kind}/picture", careful(picture, refused(around, scripted=True))),
        Route("/search/{kind}/ask", json_page(one, around)),
        Route("/search/{kind}/places", json_page(where, around)),
        Route("/search/{kind}/facets", json_page(offers, around)),
        Route("/search/{kind}", page(whole, around, guards=mapping(around.site.settings))),
    ]


def _kind(state: Asked) -> str:
    kind = str(state.request.path_params["kind"]).removesuffix(".json")
    if kind not in everywhere.KINDS:
        raise NotFound(say("there is no form {kind!r:.40}", kind), remedy="/search/epn or /search/obscore")
    return kind


def _pairs(state: Asked) -> list[tuple[str, str]]:
    return _given(state)[0]


def _given(state: Asked) -> tuple[list[tuple[str, str]], bool]:
    """Read what is asked; return whether it came in the parts of a form."""
    given = [
        (name, value) for name, value in state.request.query_params.multi_items() if name not in {*SWITCHES, OF, WAIT}
    ]
    return fields.joined(given)


def _read(pairs: Sequence[tuple[str, str]], kind: str, state: Asked) -> tuple[Search, list[tuple[str, str]]]:
    """Read what is asked, and return it as it goes to the tables: names of places as positions, faults left out."""
    around = state.around
    search = said(
        read(
            pairs,
            standard(kind),
            locate=lambda name: resolver.position(name, site=around.site, policies=around.policies),
        ),
        state,
    )
    sent = [(name, value) for name, value in search.pairs() if not name.startswith("_") or name in {"_q", "_in"}]
    if search.near is not None:
        sent.append((NEAR, f"{search.near.lon!r},{search.near.lat!r},{search.near.radius!r}"))
    return search, sent


def _page(state: Asked) -> Page:
    kind, road = _kind(state), asking(state)
    pairs, parted = _given(state)
    search, sent = _read(pairs, kind, state)
    if parted:  # a form was sent: what it asks for has an address of its own
        kept = [
            (name, value) for name, value in state.request.query_params.multi_items() if name in {*SWITCHES, OF, WAIT}
        ]
        there = urlencode([*search.pairs(), *search.wrong, *kept])
        return moved(f"{state.base}/search/{kind}{'?' * bool(there)}{there}")
    every = everywhere.targets(kind, road, list(state.catalogue.tables()))
    waits = state.request.query_params.get(WAIT) == "1"
    shown = state.request.query_params.get(OF, "")
    asked = bool(sent)
    now = [target for target in every if target.service is None or (waits and asked)]
    rows = everywhere.ROWS

    def ask(target: Target) -> Told:
        wanted = (
            0 if not asked or shown not in {"", "*", target.key} else rows if shown == target.key else everywhere.SHARE
        )
        return everywhere.ask(target, sent, kind, road, rows=wanted, seconds=_seconds(target, quick=not waits))

    told = {
        one.target.key: one
        for one in everywhere.ask_all(now, ask, seconds=everywhere.SECONDS if waits else QUICK + 0.5)
    }
    lines = [
        _line(told.get(target.key) or everywhere.Told(target=target, status="waiting"), state, search, kind)
        for target in every
    ]
    locals_ = [
        one
        for one in told.values()
        if one.target.service is None and one.status == "ok" and one.target.table is not None
    ]
    adql = (
        everywhere.union([read(sent, one.target.table) for one in locals_ if one.target.table is not None], kind)
        if locals_
        else search.adql()
    )
    sections = everywhere.SECTIONS[kind]
    labels = state.labels(search.table)
    asks = form(search, None, labels, names=[name for names in sections.values() for name in names])
    by_name = {one["name"].lower(): one for one in asks["fields"]}
    here = f"{state.base}/search/{kind}"
    content: dict[str, Any] = {
        "kind": kind,
        "heading": TITLES[kind],
        "here": here,
        "form": asks,
        "sections": [
            {
                "name": name,
                "open": name in {"main", "time"} or any(by_name[one]["asked"] for one in names if one in by_name),
                "fields": [by_name[one] for one in names if one in by_name],
            }
            for name, names in sections.items()
        ],
        "chips": chips(search, labels),
        "examples": []
        if asked
        else _examples(kind, road, [one.table for one in every if one.table is not None], state),
        "lines": [line for line in lines if not _folded(line)],
        "folded": [line for line in lines if _folded(line)],
        "asked": asked,
        "total": sum(line["rows"] or 0 for line in lines),
        "complete": all(line["status"] in {"ok", "other"} for line in lines),
        "missing": sum(line["status"] in {"late", "failed", "busy"} for line in lines),
        "waiting": asked and any(line["status"] == "waiting" for line in lines),
        "wait_url": f"{here}?{urlencode([*search.pairs(), (WAIT, '1')])}",
        "all_url": f"{here}?{urlencode([*search.pairs(), (OF, '*'), (WAIT, '1')])}",
        "state": urlencode(search.pairs()),
        "adql": adql,
        "adql_url": f"{state.base}/adql?{urlencode({'QUERY': adql})}" if locals_ else "",
        "answer": found_rows.rows(list(told.values()), kind, STANDARDS[kind], state, alone=shown not in {"", "*"})
        if asked
        else None,
        "faults": [{"field": one.field, "message": one.message, "remedy": one.remedy} for one in search.faults],
        "map": found_places.mapped(kind, search) if asked else "",
        "has_map": state.request.query_params.get("_map") is not None,
        "surveys": " ".join(state.around.site.settings.surveys),
        "shown": shown not in {"", "*"},
        "unlisted": state.told(everywhere.lists(road.site).fault) if road.site.settings.everywhere.registry else "",
        "other": "obscore" if kind == "epn" else "epn",
        "other_title": TITLES["obscore" if kind == "epn" else "epn"],
    }
    twin = {name: content[name] for name in ("kind", "total", "complete", "adql", "faults", "answer")} | {
        "lines": lines
    }
    return Page(template="everywhere.html", content=content, twin=twin)


def _folded(line: dict[str, Any]) -> bool:
    """Return whether a line is of a table without rows for this search: it was asked, or cannot be."""
    return bool(line["status"] == "other" or (line["status"] == "ok" and not line["rows"]))


def _examples(kind: str, road: Asking, tables: Sequence[Table], state: Asked) -> list[dict[str, Any]]:
    """Return searches that find something here, with their rows; of a site without rows of its own, those that may."""
    here, shape = f"{state.base}/search/{kind}", standard(kind)
    labels = state.labels(shape)
    made = [
        {
            "label": labels.value(shape.column(name), value),
            "rows": rows,
            "address": f"{here}?{urlencode({name: value})}",
        }
        for name, value, rows in everywhere.examples(road, tables)
    ]
    return made or [
        {
            "label": texts(state.language).get(label, label),
            "rows": None,
            "address": f"{here}?{urlencode(parse_qsl(text))}",
        }
        for label, text in everywhere.EXAMPLES[kind]
    ]


def _seconds(target: Target, *, quick: bool) -> float:
    if target.service is not None:
        return min(target.service.seconds, everywhere.SECONDS)
    return QUICK if quick else everywhere.SECONDS


def _one(state: Asked) -> Page:
    """Ask one table, for a line of the page."""
    kind, road = _kind(state), asking(state)
    search, sent = _read(_pairs(state), kind, state)
    key = state.request.query_params.get(OF, "")
    target = next(
        (one for one in everywhere.targets(kind, road, list(state.catalogue.tables())) if one.key == key), None
    )
    if target is None:
        raise ParamError(
            say("there is no table {key!r} to ask", key[:80]), name=OF, remedy=say("/search/{kind} lists them", kind)
        )
    if not sent and target.service is not None:
        raise UserError(
            "nothing is asked", remedy="give at least one condition: services elsewhere are not asked for everything"
        )
    seconds = _seconds(target, quick=False)
    (told,) = everywhere.ask_all(
        [target],
        lambda one: everywhere.ask(one, sent, kind, road, rows=everywhere.SHARE if sent else 0, seconds=seconds),
        seconds=seconds + 1,
    )
    answer = found_rows.rows([told], kind, STANDARDS[kind], state)
    return Page(template="", content={**_line(told, state, search, kind), "answer": answer})


def _places(state: Asked) -> Page:
    """Ask all tables where their rows are, for the map."""
    kind, road = _kind(state), asking(state)
    search, sent = _read([(name, value) for name, value in _pairs(state) if name not in MAPS], kind, state)
    every = everywhere.targets(kind, road, list(state.catalogue.tables()))
    chosen = [one for one in every if found_places.has_places(one, kind)] if sent else []

    def ask(target: Target) -> Told:
        columns, seconds = found_places.COLUMNS[kind], _seconds(target, quick=False)
        return everywhere.ask(target, sent, kind, road, rows=found_places.MOST, columns=columns, seconds=seconds)

    told = everywhere.ask_all(chosen, ask)
    return Page(template="", content=found_places.places(told, kind, search, state, road))


def _values(state: Asked) -> Page:
    """Return what a field may be completed to: values of the tables here, and names of planets and moons."""
    kind, road = _kind(state), asking(state)
    name, like = state.request.query_params.get(OF, ""), state.request.query_params.get("_like", "").strip()[:100]
    column = next((one for one in standard(kind).columns if one.name == name), None)
    if column is None:
        raise ParamError(
            say("there is no column {name!r}", name[:60]), name=OF, remedy="choose one of the standard's columns"
        )
    tables = [
        one.table for one in everywhere.targets(kind, road, list(state.catalogue.tables())) if one.table is not None
    ]
    found = everywhere.values(name, like, road, tables)
    choices: list[dict[str, Any]] = [{"value": one.value, "label": one.label, "rows": one.rows} for one in found]
    if name == "target_name" and like:
        known = {str(one["value"]).casefold() for one in choices}
        choices += [
            {"value": one.name, "label": f"{one.name} ({one.note})", "rows": None}
            for one in names.objects(like)
            if one.name.casefold() not in known
        ]
    return Page(
        template="",
        content={"facets": [{"column": name, "label": state.labels(standard(kind)).name(name), "choices": choices}]},
    )


def _line(told: Told, state: Asked, search: Search, kind: str) -> dict[str, Any]:
    """Return what a page says of one table."""
    target = told.target
    here = f"{state.base}/search/{kind}"
    rows_url = f"{here}?{urlencode([*search.pairs(), (OF, target.key), (WAIT, '1')])}"
    if target.table is not None:
        rows_url = f"{address(state.base, target.table)}?{search.address()}"
    return {
        "key": target.key,
        "title": target.title,
        "table": target.name,
        "service": target.service.url if target.service is not None else "",
        "status": told.status,
        "rows": told.rows,
        "message": state.told(told.message),
        "adql": told.adql,
        "seconds": told.seconds,
        "rows_url": rows_url if told.rows else "",
    }

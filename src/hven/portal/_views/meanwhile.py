"""``/meanwhile``: what else there is of a span of time, of each table how many rows and when they begin: what pages of time series show below their axis.

``_from`` and ``_to`` are times in UTC; ``_but`` names a table that is left out; ``_elsewhere`` asks a table of the services that the site file
names instead: each by itself, so that nobody waits for a slow one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
import numpy as np
from starlette.routing import Route

from hven.model.errors import HvenError, NotFound, ParamError, say
from hven.model.sky import region_files
from hven.model.table import begins_and_ends
from hven.portal._explore import global_search as everywhere
from hven.portal._explore import plots, read, what_else
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, json_page
from hven.portal._views.table_page import asking
from hven.services.series import iso, micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table
    from hven.portal._explore.global_search import Target, Told
    from hven.portal._explore.page_queries import Asking
    from hven.services.face import Surroundings

tfcat = region_files.tfcat
QUICK = 2.0  # seconds for the tables of this site
BINS = 120
UNIX, DAY = 2_440_587.5, 86_400.0  # Julian date of 1970-01-01; seconds
RANGES = {"time_min", "time_max", "spectral_range_min", "spectral_range_max"}
TIMES = {"epn": "time", "obscore": "t"}  # what is asked of tables elsewhere
BEGINS = {"epn": ("time_min", UNIX), "obscore": ("t_min", UNIX - 2_400_000.5)}  # when their rows begin, and 1970 there
DRAWN = 2000  # rows elsewhere whose begins are asked for


def routes(around: Surroundings) -> Sequence[Route]:
    """Return the one address."""

    async def told(state: Asked) -> Page:
        return await anyio.to_thread.run_sync(_told, state)

    return [Route("/meanwhile", json_page(told, around))]


def _told(state: Asked) -> Page:
    given = state.request.query_params
    span = _moment(given.get("_from", ""), "_from"), _moment(given.get("_to", ""), "_to")
    road = asking(state)
    if "_elsewhere" in given:
        return Page(template="", content={"lines": [_there(given["_elsewhere"], span, state)]})
    drawn: dict[str, dict[str, Any]] = {}

    def bars(other: what_else.Other, told: Told) -> None:
        drawn[told.target.key] = _bars(told, other.pairs, road)

    tables = [
        table
        for table in state.catalogue.tables()
        if table.qualified != given.get("_but")
        and table.qualified in state.holdings.published
        and table.release is None
    ]
    where = what_else.Where(begin=micros(span[0]), end=micros(span[1]))
    others = what_else.others(where, tables, road, titles=titles(state), places=False)
    found = what_else.ask(others, road, seconds=QUICK, patience=QUICK + 0.5, then=bars)
    lines = [
        _line(one, state, other.pairs, drawn.get(one.target.key) or {})
        for other, one in found
        if one.status != "ok" or one.rows
    ]
    return Page(
        template="", content={"lines": lines, "asked": len(found), "left_out": max(len(others) - what_else.MOST, 0)}
    )


def titles(state: Asked) -> dict[str, str | None]:
    """Return the titles of the collections that there are."""
    return {name: one.title for name, one in state.holdings.resources.items()}


def far(road: Asking) -> list[tuple[Target, str]]:
    """List the tables elsewhere that can be asked, with their kinds."""
    every = ((target, kind) for kind in TIMES for target in everywhere.targets(kind, road, ()))
    return [(target, kind) for target, kind in every if target.service is not None][: what_else.MOST]


def _there(key: str, span: tuple[str, str], state: Asked) -> dict[str, Any]:
    """Ask one table elsewhere how many rows it has, and when the first of them begin."""
    road = asking(state)
    known = {target.key: (target, kind) for target, kind in far(road)}
    if key not in known:
        raise NotFound(say("the site file names no service {name!r:.80}", key), remedy=" or ".join(known)[:300])
    target, kind = known[key]
    seconds = min(target.service.seconds if target.service else everywhere.SECONDS, everywhere.SECONDS)
    name, origin = BEGINS[kind]

    def ask(one: Target) -> Told:
        pairs = [(TIMES[kind], "..".join(span))]
        return everywhere.ask(one, pairs, kind, road, rows=DRAWN, columns=(name,), seconds=seconds)

    (told,) = everywhere.ask_all([target], ask, seconds=seconds + 0.5)
    begins = np.empty(0) if told.found is None else (np.asarray(told.found.column(0), np.float64) - origin) * DAY
    begins = begins[np.isfinite(begins)]
    if not begins.size:
        return _line(told, state, None, {})
    low, high = float(begins.min()), float(begins.max()) or 1.0
    counts, _ = np.histogram(begins, BINS, (low, max(high, low + 1)))
    bars = {"low": low, "high": max(high, low + 1), "counts": counts.tolist(), "drawn": int(begins.size)}
    return _line(told, state, None, bars)


def _moment(text: str, name: str) -> str:
    try:
        return iso(micros(text))
    except ValueError:
        raise ParamError(
            say("{name}={text!r:.60} is no time", name, text), name=name, remedy="2003-10-28T11:00"
        ) from None


def _features(table: Table) -> bool:
    """Check whether rows have a place in time and frequency, that TFCat can say: their own, or the ranges of EPN-TAP."""
    names = {column.name for column in table.columns}
    return any(column.utype == tfcat.GEOMETRY for column in table.columns) or names >= RANGES


def _bars(told: Told, pairs: Sequence[tuple[str, str]], road: Asking) -> dict[str, Any]:
    """Count when the rows begin: seconds since 1970."""
    table = told.target.table
    begin = begins_and_ends(table)[0] if table is not None else None
    if table is None or begin is None:
        return {}
    try:
        found = plots.histogram(read(pairs, table), begin, road, bins=BINS)
    except HvenError:  # how many they are is known, and is shown
        return {}
    if found is None:
        return {}
    origin = 0.0 if begin.type.is_timestamp else begin.epoch or 0.0  # days counted from elsewhere: MJD
    low, high, counts = found.low + origin, found.high + origin, found.counts
    if not any(counts[1:]):  # all at once: nothing tells how wide a bar would be
        high, counts = low + 1 / DAY, (sum(counts),)
    return {"low": (low - UNIX) * DAY, "high": (high - UNIX) * DAY, "counts": counts}


def _line(told: Told, state: Asked, pairs: Sequence[tuple[str, str]] | None, bars: dict[str, Any]) -> dict[str, Any]:
    target: Target = told.target
    here = address(state.base, target.table) if target.table is not None and pairs else ""
    features = bool(here and target.table is not None and _features(target.table))
    return {
        "key": target.key,
        "title": target.title,
        "service": target.service.url if target.service is not None else "",
        "status": told.status,
        "rows": told.rows,
        "message": state.told(told.message),
        "url": f"{here}?{urlencode(pairs or ())}" if here else "",
        "features": f"{here}/download?{urlencode([*(pairs or ()), ('_as', 'tfcat'), ('_all', '1')])}"
        if features
        else "",
        **bars,
    }

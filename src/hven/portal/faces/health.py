"""``/health``: whether the service can answer, how fresh its collections are, what it does; for people, for watchers, for Prometheus.

Readers see the collections that they may know of, and no words about what is wrong: those may name private things. Operators
(setting ``health``) see all. A secret is shown to nobody.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson

from hven import __version__, descriptor
from hven import services as dali
from hven.jobs.health import FAILING, REASONS, STALE, Followed, Health, state_of
from hven.jobs.metrics import CONTENT_TYPE, exposition
from hven.portal._pages import frame, guarded, written
from hven.services.errors import LINE
from hven.services.face import Face, Surroundings, route
from hven.site.auth import row_filters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.jobs.health import Check, Picture
    from hven.model.settings import Settings
    from hven.site import Holdings
    from hven.site.auth import Reader

FOOT = 5  # reasons of a kind that stand in the foot of a page
FRESH_STATUS = {STALE: 503}  # what `/health/fresh` answers; all else is 200
HEADERS = {"cache-control": "no-store", "vary": "accept, accept-language, authorization, cookie"}
JSON = {**HEADERS, "content-type": "application/json"}
STATUS = {"ok": "ok", "warning": "degraded", "failed": "down"}


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/health`` with ``/live``, ``/ready`` and ``/fresh``, and ``/metrics``."""
    site = around.site
    health = Health(site)
    since = around.started.strftime("%Y-%m-%dT%H:%M:%SZ")

    def told(who: Reader) -> dict[str, Any]:
        """Return all that this reader may know."""
        all_of_it = is_operator(who, around)
        picture = health.picture()
        checks = health.checks(picture)
        if len(checks) == 1:  # nothing is known of what is published
            told_so = [_check(check, words=all_of_it) for check in checks]
            return {
                "status": STATUS["failed"],
                "version": __version__,
                "since": since,
                "problems": 1,
                "checks": told_so,
                "collections": [],
            }
        holdings = site.current()
        collections = picture.collections if all_of_it else _seen(picture.collections, holdings, who, around)
        state = STATUS[state_of(checks)]
        if state == "ok" and (holdings.problems or picture.worst in {STALE, FAILING}):
            state = "degraded"
        names = (
            {table.qualified for table in holdings.catalogue(who, around.policies).tables()}
            if not all_of_it
            else holdings.published.keys()
        )
        body: dict[str, Any] = {
            "status": state,
            "version": __version__,
            "variant": site.settings.variant,
            "since": since,
            "at": picture.at,
            "tables": sum(name in names and item.release is None for name, item in holdings.published.items()),
            "newest": max((item.updated for name, item in holdings.published.items() if name in names), default=None),
            "problems": len(holdings.problems),
            "checks": [_check(check, words=all_of_it) for check in checks],
            "collections": [item.to_json() for item in collections],
        }
        if all_of_it:
            body |= {
                "words": list(picture.problems),
                "scheduler": picture.scheduler,
                "engines": picture.engines,
                "collections": [
                    {**item.to_json(), **_described(item.collection, site.settings, holdings)} for item in collections
                ],
                "queries": site.counters.summary(),
                "alerts": [
                    {
                        "at": item.at,
                        "collection": item.collection,
                        "kind": item.kind,
                        "message": item.message,
                        "undelivered": item.undelivered,
                    }
                    for item in picture.alerts
                ],
            }
        return {key: value for key, value in body.items() if value is not None}

    async def overview(request: Request) -> Response:
        kind = wanted(request)
        if kind == "prometheus":
            return await metrics(request)
        body = await anyio.to_thread.run_sync(told, around.reader(request))
        if kind == "foot":
            part = written("health_foot.html", frame(request, around), health=body, reasons=REASONS, most=FOOT)
            return dali.whole(request, part, {**HEADERS, **guarded()})
        status = 503 if body["status"] == "down" else 200
        if kind == "html":
            page = written("health.html", frame(request, around), health=body, reasons=REASONS)
            return dali.whole(request, page, {**HEADERS, **guarded()}, status)
        return dali.whole(request, orjson.dumps(body), JSON, status)

    async def live(request: Request) -> Response:
        return dali.whole(request, b'{"status":"ok"}', JSON)

    async def ready(request: Request) -> Response:
        checks = await anyio.to_thread.run_sync(health.checks)
        words = is_operator(around.reader(request), around)
        state = state_of(checks)
        body = {"status": STATUS[state], "checks": [_check(check, words=words) for check in checks]}
        return dali.whole(request, orjson.dumps(body), JSON, 503 if state == "failed" else 200)

    async def fresh(request: Request) -> Response:
        who = around.reader(request)
        picture: Picture = await anyio.to_thread.run_sync(health.picture)
        collections = (
            picture.collections if is_operator(who, around) else _seen(picture.collections, site.current(), who, around)
        )
        keys = (
            "collection",
            "state",
            "reason",
            "lag",
            "succeeded",
            "modified",
            "next",
            "limit",
            "held",
            "failures",
            "message",
        )
        body = {
            "status": picture.worst if picture.worst == STALE else "degraded" if picture.worst == FAILING else "ok",
            "collections": [
                {key: value for key, value in item.to_json().items() if key in keys} for item in collections
            ],
        }
        return dali.whole(request, orjson.dumps(body), JSON, FRESH_STATUS.get(picture.worst, 200))

    async def metrics(request: Request) -> Response:
        who = around.reader(request)

        def text() -> str:
            picture = health.picture()
            checks = health.checks(picture)
            operates = is_operator(who, around)
            if not operates:
                picture = replace(
                    picture, collections=tuple(_seen(picture.collections, site.current(), who, around)), engines={}
                )
            return exposition(
                picture,
                checks,
                site.counters,
                version=__version__,
                variant=site.settings.variant,
                started=around.started,
                sizes=operates,
            )

        return dali.whole(
            request, (await anyio.to_thread.run_sync(text)).encode(), {**HEADERS, "content-type": CONTENT_TYPE}
        )

    return [
        route("/health", overview, LINE),
        route("/health.json", overview, LINE),
        route("/health/live", live, LINE),
        route("/health/ready", ready, LINE),
        route("/health/fresh", fresh, LINE),
        route("/metrics", metrics, LINE),
    ]


def wanted(request: Request) -> str:
    """Return in which form a reader wants it: ``html``, ``json``, ``prometheus``, ``foot``; by ``format``, the address, or Accept."""
    given = {key.lower(): value.lower() for key, value in request.query_params.items()}.get("format")
    if given in {"html", "json", "prometheus", "foot"}:
        return given
    if request.url.path.endswith(".json"):
        return "json"
    accept = request.headers.get("accept", "").lower()
    if "text/html" in accept:
        return "html"
    return "prometheus" if "openmetrics" in accept or "version=0.0.4" in accept else "json"


def is_operator(who: Reader, around: Surroundings) -> bool:
    """Return whether somebody may see everything here."""
    said = around.site.settings.health
    return said.open or "owner" in who.groups or (who.name is not None and who.name in said.operators)


def _seen(collections: Sequence[Followed], holdings: Holdings, who: Reader, around: Surroundings) -> list[Followed]:
    """Return what a reader may know: their tables, counts that no policy narrows, no words; all of what they administer."""
    administered = around.site.settings.administered(who.name)
    known = {table.qualified: table for table in holdings.catalogue(who, around.policies).tables()}
    narrowed = set(row_filters(list(known.values()), who, around.policies))
    found = []
    for item in collections:
        if item.collection in administered:
            found.append(item)
            continue
        tables = {
            name: {**facts, "rows": None if name in narrowed else facts["rows"]}
            for name, facts in item.tables.items()
            if name in known
        }
        if not tables:
            continue
        rows = [facts["rows"] for facts in tables.values()]
        whole = len(tables) == len(item.tables)
        found.append(
            replace(
                item,
                tables=tables,
                rows=None if None in rows else sum(rows),
                snapshot=max((facts["snapshot"] for facts in tables.values() if facts["snapshot"]), default=None),
                modified=item.modified if whole and not narrowed & tables.keys() else None,
                message=None,
                behind=(),
                descriptor=None,
            )
        )
    return found


def _described(collection: str, settings: Settings, holdings: Holdings) -> dict[str, int]:
    """Score what a collection's descriptor says of it, of 100; nothing where it has none, or one with faults."""
    resource = holdings.resources.get(collection)
    if resource is None:
        return {}
    names = [f"{collection}.{spec.table.name}" for spec in resource.tables]
    tables = [holdings.published[name].table for name in names if name in holdings.published]
    return {"metadata": descriptor.score(resource, settings, tables).total}


def _check(check: Check, *, words: bool) -> dict[str, Any]:
    made = {
        "name": check.name,
        "state": check.state,
        "message": check.message if words else None,
        "reason": check.reason,
    }
    return {key: value for key, value in made.items() if value}


FACE = Face(name="health", title="Health", routes=routes)

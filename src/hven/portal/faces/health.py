"""``/health``: whether the service can answer, how fresh its collections are, what it does.

For people, for watchers, for Prometheus.

Readers see the collections that they may know of, and no words about what is wrong: those may name private things.
Operators (setting ``health``) see all. A secret is shown to nobody.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson

from hven import __version__, descriptor, services
from hven.jobs.health import FAILING_STATE, STALE_STATE, STATE_REASONS, CollectionStatus, SiteHealth, find_worst_state
from hven.jobs.metrics import METRICS_CONTENT_TYPE, format_metrics
from hven.portal._pages import build_frame, build_page_headers, render_page
from hven.services.errors import TEXT_LINE_ERRORS
from hven.services.face import Face, ServiceContext, create_route
from hven.site.auth import collect_row_filters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.jobs.health import HealthCheck, SiteStatus
    from hven.model.settings import Settings
    from hven.site import PublishedState
    from hven.site.auth import Principal

MAX_FOOT_REASONS = 5  # reasons of a kind that stand in the foot of a page
FRESHNESS_STATUS_CODES = {STALE_STATE: 503}  # what `/health/fresh` answers; all else is 200
HEALTH_HEADERS = {"cache-control": "no-store", "vary": "accept, accept-language, authorization, cookie"}
JSON_HEADERS = {**HEALTH_HEADERS, "content-type": "application/json"}
STATUS_WORDS = {"ok": "ok", "warning": "degraded", "failed": "down"}


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/health`` with ``/live``, ``/ready`` and ``/fresh``, and ``/metrics``."""
    site = context.site
    health = SiteHealth(site)
    start_time = context.start_time.strftime("%Y-%m-%dT%H:%M:%SZ")

    def gather_health(principal: Principal) -> dict[str, Any]:
        """Return all that this reader may know."""
        sees_all = is_operator(principal, context)
        picture = health.get_status()
        checks = health.run_checks(picture)
        if len(checks) == 1:  # nothing is known of what is published
            check_list = [_check_to_json(check, with_messages=sees_all) for check in checks]
            return {
                "status": STATUS_WORDS["failed"],
                "version": __version__,
                "since": start_time,
                "problems": 1,
                "checks": check_list,
                "collections": [],
            }
        published_state = site.get_published_state()
        collections = (
            picture.collections
            if sees_all
            else _select_visible(picture.collections, published_state, principal, context)
        )
        page_context = STATUS_WORDS[find_worst_state(checks)]
        if page_context == "ok" and (published_state.problems or picture.worst_state in {STALE_STATE, FAILING_STATE}):
            page_context = "degraded"
        names = (
            {
                table.qualified_name
                for table in published_state.get_catalogue(principal, context.policies).iterate_tables()
            }
            if not sees_all
            else published_state.tables_by_name.keys()
        )
        body: dict[str, Any] = {
            "status": page_context,
            "version": __version__,
            "variant": site.settings.variant,
            "since": start_time,
            "at": picture.at,
            "tables": sum(
                name in names and item.release is None for name, item in published_state.tables_by_name.items()
            ),
            "newest": max(
                (item.updated for name, item in published_state.tables_by_name.items() if name in names), default=None
            ),
            "problems": len(published_state.problems),
            "checks": [_check_to_json(check, with_messages=sees_all) for check in checks],
            "collections": [item.to_json() for item in collections],
        }
        if sees_all:
            body |= {
                "words": list(picture.problems),
                "scheduler": picture.scheduler,
                "engines": picture.engines,
                "collections": [
                    {**item.to_json(), **_score_metadata(item.collection, site.settings, published_state)}
                    for item in collections
                ],
                "queries": site.counters.summarize(),
                "alerts": [
                    {
                        "at": item.at,
                        "collection": item.collection,
                        "kind": item.kind,
                        "message": item.message,
                        "undelivered": item.delivery_problem,
                    }
                    for item in picture.alerts
                ],
            }
        return {key: value for key, value in body.items() if value is not None}

    async def send_overview(request: Request) -> Response:
        answer_format = choose_answer_format(request)
        if answer_format == "prometheus":
            return await send_metrics(request)
        body = await anyio.to_thread.run_sync(gather_health, context.identify_principal(request))
        if answer_format == "foot":
            frame = build_frame(request, context)
            foot_html = render_page(
                "health_foot.html",
                frame,
                health=body,
                reasons=STATE_REASONS,
                most=MAX_FOOT_REASONS,
            )
            return services.answer_with_body(request, foot_html, {**HEALTH_HEADERS, **build_page_headers()})
        if body["status"] == "down":
            status = 503
        else:
            status = 200
        if answer_format == "html":
            page = render_page("health.html", build_frame(request, context), health=body, reasons=STATE_REASONS)
            return services.answer_with_body(request, page, {**HEALTH_HEADERS, **build_page_headers()}, status)
        return services.answer_with_body(request, orjson.dumps(body), JSON_HEADERS, status)

    async def send_liveness(request: Request) -> Response:
        return services.answer_with_body(request, b'{"status":"ok"}', JSON_HEADERS)

    async def send_readiness(request: Request) -> Response:
        checks = await anyio.to_thread.run_sync(health.run_checks)
        with_messages = is_operator(context.identify_principal(request), context)
        page_context = find_worst_state(checks)
        body = {
            "status": STATUS_WORDS[page_context],
            "checks": [_check_to_json(check, with_messages=with_messages) for check in checks],
        }
        return services.answer_with_body(
            request, orjson.dumps(body), JSON_HEADERS, 503 if page_context == "failed" else 200
        )

    async def send_freshness(request: Request) -> Response:
        principal = context.identify_principal(request)
        picture: SiteStatus = await anyio.to_thread.run_sync(health.get_status)
        collections = (
            picture.collections
            if is_operator(principal, context)
            else _select_visible(picture.collections, site.get_published_state(), principal, context)
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
            "status": picture.worst_state
            if picture.worst_state == STALE_STATE
            else "degraded"
            if picture.worst_state == FAILING_STATE
            else "ok",
            "collections": [
                {key: value for key, value in item.to_json().items() if key in keys} for item in collections
            ],
        }
        return services.answer_with_body(
            request, orjson.dumps(body), JSON_HEADERS, FRESHNESS_STATUS_CODES.get(picture.worst_state, 200)
        )

    async def send_metrics(request: Request) -> Response:
        principal = context.identify_principal(request)

        def write_metrics() -> str:
            picture = health.get_status()
            checks = health.run_checks(picture)
            sees_all = is_operator(principal, context)
            if not sees_all:
                visible = _select_visible(picture.collections, site.get_published_state(), principal, context)
                picture = replace(
                    picture,
                    collections=tuple(visible),
                    engines={},
                )
            return format_metrics(
                picture,
                checks,
                site.counters,
                version=__version__,
                site_variant=site.settings.variant,
                start_time=context.start_time,
                include_sizes=sees_all,
            )

        return services.answer_with_body(
            request,
            (await anyio.to_thread.run_sync(write_metrics)).encode(),
            {**HEALTH_HEADERS, "content-type": METRICS_CONTENT_TYPE},
        )

    route = create_route("/health", send_overview, TEXT_LINE_ERRORS)
    return [
        route,
        create_route("/health.json", send_overview, TEXT_LINE_ERRORS),
        create_route("/health/live", send_liveness, TEXT_LINE_ERRORS),
        create_route("/health/ready", send_readiness, TEXT_LINE_ERRORS),
        create_route("/health/fresh", send_freshness, TEXT_LINE_ERRORS),
        create_route("/metrics", send_metrics, TEXT_LINE_ERRORS),
    ]


def choose_answer_format(request: Request) -> str:
    """Return in which form a reader wants it: ``html``, ``json``, ``prometheus``, ``foot``.

    By ``format``, the address, or Accept.
    """
    requested_format = {key.lower(): value.lower() for key, value in request.query_params.items()}.get("format")
    if requested_format in {"html", "json", "prometheus", "foot"}:
        return requested_format
    if request.url.path.endswith(".json"):
        return "json"
    accept = request.headers.get("accept", "").lower()
    if "text/html" in accept:
        return "html"
    if "openmetrics" in accept or "version=0.0.4" in accept:
        return "prometheus"
    return "json"


def is_operator(principal: Principal, context: ServiceContext) -> bool:
    """Return whether somebody may see everything here."""
    health_settings = context.site.settings.health
    return (
        health_settings.open
        or "owner" in principal.groups
        or (principal.name is not None and principal.name in health_settings.operators)
    )


def _select_visible(
    collections: Sequence[CollectionStatus],
    published_state: PublishedState,
    principal: Principal,
    context: ServiceContext,
) -> list[CollectionStatus]:
    """Return what a reader may know: their tables, counts that no policy narrows, no words.

    All of what they administer.
    """
    administered = context.site.settings.list_administered_collections(principal.name)
    visible_tables = {
        table.qualified_name: table
        for table in published_state.get_catalogue(principal, context.policies).iterate_tables()
    }
    filtered_names = set(collect_row_filters(list(visible_tables.values()), principal, context.policies))
    visible_collections = []
    for item in collections:
        if item.collection in administered:
            visible_collections.append(item)
            continue
        tables = {
            name: {**facts, "rows": None if name in filtered_names else facts["rows"]}
            for name, facts in item.tables.items()
            if name in visible_tables
        }
        if not tables:
            continue
        rows = [facts["rows"] for facts in tables.values()]
        is_complete = len(tables) == len(item.tables)
        visible_collections.append(
            replace(
                item,
                tables=tables,
                rows=None if None in rows else sum(rows),
                snapshot=max((facts["snapshot"] for facts in tables.values() if facts["snapshot"]), default=None),
                modified=item.modified if is_complete and not filtered_names & tables.keys() else None,
                message=None,
                behind=(),
                descriptor=None,
            )
        )
    return visible_collections


def _score_metadata(collection: str, settings: Settings, published_state: PublishedState) -> dict[str, int]:
    """Score what a collection's descriptor says of it, of 100; nothing where it has none, or one with faults."""
    resource = published_state.resources.get(collection)
    if resource is None:
        return {}
    names = [f"{collection}.{spec.table.name}" for spec in resource.tables]
    tables = [published_state.tables_by_name[name].table for name in names if name in published_state.tables_by_name]
    return {"metadata": descriptor.score_collection(resource, settings, tables).total}


def _check_to_json(check: HealthCheck, *, with_messages: bool) -> dict[str, Any]:
    check_facts = {
        "name": check.name,
        "state": check.state,
        "message": check.message if with_messages else None,
        "reason": check.reason,
    }
    return {key: value for key, value in check_facts.items() if value}


FACE = Face(name="health", title="Health", build_routes=build_routes)

"""Serve ``/health``: whether the service answers, how fresh its collections are, and what it does.

The page is for people, the JSON for monitoring programs, the metrics for Prometheus.

Readers see the collections that they may see, without messages about failures, which may name private things. Operators
(setting ``health``) see everything, also what modules at the extension point ``hven.health`` tell: their function
``describe_health`` gets the site, and returns facts as JSON. Nobody sees a secret.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson

from hven import __version__, descriptor, services
from hven.jobs.health import (
    FAILING_STATE,
    STALE_STATE,
    STATE_REASONS,
    CollectionStatus,
    SiteHealthMonitor,
    find_worst_check_state,
)
from hven.jobs.metrics import METRICS_CONTENT_TYPE, format_prometheus_metrics
from hven.model import plugins
from hven.portal._pages import TemplateContext, build_page_frame, build_page_security_headers, render_page
from hven.services.errors import TEXT_LINE_ERRORS
from hven.services.face import ServiceContext, ServiceFace, create_route
from hven.site.auth import collect_row_filters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.jobs.health import HealthCheckResult, SiteStatus
    from hven.model.settings import Settings
    from hven.site import PublishedState
    from hven.site.auth import Principal

MAX_FOOT_REASONS = 5  # reasons of one kind in the foot of a page
FRESHNESS_STATUS_CODES = {STALE_STATE: 503}  # HTTP status of `/health/fresh` by state; otherwise 200
HEALTH_HEADERS = {"cache-control": "no-store", "vary": "accept, accept-language, authorization, cookie"}
JSON_HEADERS = {**HEALTH_HEADERS, "content-type": "application/json"}
STATUS_WORDS = {"ok": "ok", "warning": "degraded", "failed": "down"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPage(TemplateContext):
    """The page of the health of the site.

    Attributes
    ----------
    health
        The same facts as in JSON; those that the user may not see are missing.
    reasons
        Reasons by the state of a collection.
    """

    template = "health.html"
    health: Mapping[str, object]
    reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthFooter(HealthPage):
    """The health of the site in the foot of pages.

    Attributes
    ----------
    most
        How many reasons of one kind are shown at most.
    """

    template = "health_foot.html"
    most: int


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/health`` with ``/live``, ``/ready`` and ``/fresh``, and ``/metrics``."""
    endpoints = _HealthEndpoints(context)
    endpoints_by_path = {
        "/health": endpoints.send_overview,
        "/health.json": endpoints.send_overview,
        "/health/live": endpoints.send_liveness,
        "/health/ready": endpoints.send_readiness,
        "/health/fresh": endpoints.send_freshness,
        "/metrics": endpoints.send_metrics,
    }
    return [create_route(path, endpoint, TEXT_LINE_ERRORS) for path, endpoint in endpoints_by_path.items()]


class _HealthEndpoints:
    """The endpoints of the health page and its data."""

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.site = context.site
        self.health = SiteHealthMonitor(self.site)
        self.start_time = context.start_time.strftime("%Y-%m-%dT%H:%M:%SZ")

    def gather_health(self, principal: Principal) -> dict[str, Any]:
        """Gather the health facts that this user may see."""
        sees_all = can_see_all_health(principal, self.context)
        picture = self.health.get_status()
        checks = self.health.run_health_checks(picture)
        check_facts = _health_checks_to_json(checks, has_messages=sees_all)
        if len(checks) == 1:  # the published state is not known
            return {
                "status": STATUS_WORDS["failed"],
                "version": __version__,
                "since": self.start_time,
                "problems": 1,
                "checks": check_facts,
                "collections": [],
            }
        published_state = self.site.get_published_state()
        collections = self.list_collection_statuses(picture, principal)
        if sees_all:
            visible_names = set(published_state.tables_by_name)
        else:
            catalogue = published_state.get_catalogue(principal, self.context.policies)
            visible_names = {table.qualified_name for table in catalogue.iterate_tables()}
        state = STATUS_WORDS[find_worst_check_state(checks)]
        if state == "ok" and (published_state.problems or picture.worst_state in {STALE_STATE, FAILING_STATE}):
            state = "degraded"
        visible_tables = [table for name, table in published_state.tables_by_name.items() if name in visible_names]
        collection_facts = [status.to_json() for status in collections]
        body: dict[str, Any] = {
            "status": state,
            "version": __version__,
            "variant": self.site.settings.variant,
            "since": self.start_time,
            "at": picture.at,
            "tables": sum(table.release is None for table in visible_tables),
            "newest": max((table.updated for table in visible_tables), default=None),
            "problems": len(published_state.problems),
            "checks": check_facts,
            "collections": collection_facts,
        }
        if sees_all:
            for status, status_facts in zip(collections, collection_facts, strict=True):
                status_facts.update(_score_metadata(status.collection, self.site.settings, published_state))
            body |= {
                "words": list(picture.problems),
                "scheduler": picture.scheduler,
                "engines": picture.engines,
                "queries": self.site.counters.summarize(),
                "alerts": [alert.to_json() for alert in picture.alerts],
            }
            for module in plugins.load_extensions("hven.health"):
                body |= module.describe_health(self.site)
        return {key: value for key, value in body.items() if value is not None}

    def list_collection_statuses(self, picture: SiteStatus, principal: Principal) -> Sequence[CollectionStatus]:
        """Return the state of the collections, as far as a user may see them."""
        if can_see_all_health(principal, self.context):
            return picture.collections
        return _select_visible_statuses(picture.collections, self.site.get_published_state(), principal, self.context)

    async def send_overview(self, request: Request) -> Response:
        answer_format = choose_answer_format(request)
        if answer_format == "prometheus":
            return await self.send_metrics(request)
        principal = self.context.identify_principal(request)
        body = await anyio.to_thread.run_sync(self.gather_health, principal)
        status = 200
        if body["status"] == "down":
            status = 503
        page: HealthPage | None = None
        if answer_format == "foot":  # other pages include it, whatever the status
            page, status = HealthFooter(health=body, reasons=STATE_REASONS, most=MAX_FOOT_REASONS), 200
        elif answer_format == "html":
            page = HealthPage(health=body, reasons=STATE_REASONS)
        if page is not None:
            html = render_page(page, build_page_frame(request, self.context))
            return services.answer_with_body(request, html, HEALTH_HEADERS | build_page_security_headers(), status)
        return services.answer_with_body(request, orjson.dumps(body), JSON_HEADERS, status)

    @staticmethod
    async def send_liveness(request: Request) -> Response:
        return services.answer_with_body(request, b'{"status":"ok"}', JSON_HEADERS)

    async def send_readiness(self, request: Request) -> Response:
        checks = await anyio.to_thread.run_sync(self.health.run_health_checks)
        sees_all = can_see_all_health(self.context.identify_principal(request), self.context)
        worst_state = find_worst_check_state(checks)
        body = {
            "status": STATUS_WORDS[worst_state],
            "checks": _health_checks_to_json(checks, has_messages=sees_all),
        }
        excluded_names = request.query_params.getlist("exclude")  # a database that is away is away for all servers
        has_failed = any(check.state == "failed" and check.name not in excluded_names for check in checks)
        http_status = 503 if has_failed else 200
        return services.answer_with_body(request, orjson.dumps(body), JSON_HEADERS, http_status)

    async def send_freshness(self, request: Request) -> Response:
        principal = self.context.identify_principal(request)
        picture: SiteStatus = await anyio.to_thread.run_sync(self.health.get_status)
        collections = self.list_collection_statuses(picture, principal)
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
        status = {STALE_STATE: STALE_STATE, FAILING_STATE: "degraded"}.get(picture.worst_state, "ok")
        collection_facts = [
            {key: value for key, value in item.to_json().items() if key in keys} for item in collections
        ]
        body = {"status": status, "collections": collection_facts}
        status_code = FRESHNESS_STATUS_CODES.get(picture.worst_state, 200)
        return services.answer_with_body(request, orjson.dumps(body), JSON_HEADERS, status_code)

    async def send_metrics(self, request: Request) -> Response:
        principal = self.context.identify_principal(request)

        def write_metrics() -> str:
            picture = self.health.get_status()
            checks = self.health.run_health_checks(picture)
            sees_all = can_see_all_health(principal, self.context)
            if not sees_all:
                visible = self.list_collection_statuses(picture, principal)
                picture = replace(picture, collections=tuple(visible), engines={})
            return format_prometheus_metrics(
                picture,
                checks,
                self.site.counters,
                version=__version__,
                site_variant=self.site.settings.variant,
                start_time=self.context.start_time,
                include_sizes=sees_all,
            )

        metrics = await anyio.to_thread.run_sync(write_metrics)
        headers = {**HEALTH_HEADERS, "content-type": METRICS_CONTENT_TYPE}
        return services.answer_with_body(request, metrics.encode(), headers)


def choose_answer_format(request: Request) -> str:
    """Choose the format of the answer: ``html``, ``json``, ``prometheus`` or ``foot``.

    It follows the parameter ``format``, the address, or the header Accept.
    """
    query_params = {key.lower(): value.lower() for key, value in request.query_params.items()}
    requested_format = query_params.get("format")
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


def can_see_all_health(principal: Principal, context: ServiceContext) -> bool:
    """Return whether a user may see everything here."""
    health_settings = context.site.settings.health
    if health_settings.open or "owner" in principal.groups:
        return True
    return principal.name is not None and principal.name in health_settings.operators


def _select_visible_statuses(
    collections: Sequence[CollectionStatus],
    published_state: PublishedState,
    principal: Principal,
    context: ServiceContext,
) -> list[CollectionStatus]:
    """Return the collections as a reader may see them: visible tables, counts without hidden rows, and no messages.

    Users see everything of the collections that they administer.
    """
    administered = context.site.settings.list_administered_collections(principal.name)
    catalogue = published_state.get_catalogue(principal, context.policies)
    visible_tables = {table.qualified_name: table for table in catalogue.iterate_tables()}
    row_filters = collect_row_filters(list(visible_tables.values()), principal, context.policies)
    filtered_names = set(row_filters)
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
        snapshots = [facts["snapshot"] for facts in tables.values() if facts["snapshot"]]
        is_unfiltered = not filtered_names & tables.keys()
        visible_collection = replace(
            item,
            tables=tables,
            rows=None if None in rows else sum(rows),
            snapshot=max(snapshots, default=None),
            modified=item.modified if is_complete and is_unfiltered else None,
            message=None,
            behind=(),
            descriptor=None,
        )
        visible_collections.append(visible_collection)
    return visible_collections


def _score_metadata(collection: str, settings: Settings, published_state: PublishedState) -> dict[str, int]:
    """Score the metadata of a collection from 0 to 100; nothing if it has no valid descriptor."""
    resource = published_state.resources.get(collection)
    if resource is None:
        return {}
    names = [f"{collection}.{spec.table.name}" for spec in resource.tables]
    tables_by_name = published_state.tables_by_name
    tables = [tables_by_name[name].table for name in names if name in tables_by_name]
    metadata_score = descriptor.score_collection_metadata(resource, settings, tables)
    return {"metadata": metadata_score.total}


def _health_checks_to_json(checks: Sequence[HealthCheckResult], *, has_messages: bool) -> list[dict[str, Any]]:
    """Return what the checks found, without empty values, and without messages for readers."""
    hidden_keys = () if has_messages else ("message",)
    return [
        {key: value for key, value in asdict(check).items() if value and key not in hidden_keys} for check in checks
    ]


FACE = ServiceFace(name="health", title="Health", build_routes=build_routes, is_usage_counted=False, is_limited=False)

"""Serve ``/usage``: the use of collections by month and service, for their curators."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson
from starlette.responses import Response
from starlette.routing import Route

from hven.model.errors import ForbiddenError, NotFoundError, UnauthenticatedError, format_message
from hven.plugins.usage import usage_reports
from hven.plugins.usage.usage_records import COUNT_COLUMNS
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PortalPages,
    TemplateContext,
    build_error_responder,
    build_page_context,
    build_page_endpoint,
    can_edit_collection,
)
from hven.services.face import ServiceContext, wrap_endpoint_with_gates_and_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from hven.model.resource import CollectionSpec

PRIVATE_HEADERS = {"cache-control": "private, no-store"}
REPORT_FILES: dict[str, tuple[str, Callable[[usage_reports.UsageReport, ServiceContext], str | bytes]]] = {
    "usage.csv": ("text/csv; charset=utf-8", lambda report, _: usage_reports.write_csv(report)),
    "dsr.json": (
        "application/json",
        lambda report, context: orjson.dumps(usage_reports.build_counter_dataset_report(report, context)),
    ),
    "dsr.tsv": ("text/tab-separated-values; charset=utf-8", usage_reports.write_counter_report_tsv),
}
BAR_HEIGHT_PIXELS = 60  # of the highest bar
MAX_SHOWN_COLLECTIONS = 200  # on a page


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionUsage:
    """The use of a collection.

    Attributes
    ----------
    gone
        Whether it no longer exists.
    bars
        The months.
    sums
        Use by people and programs.
    robots
        Number of views by robots.
    services
        Use by people and programs, by service.
    """

    name: str
    title: str | None
    gone: bool
    bars: Sequence[Mapping[str, object]]
    sums: usage_reports.UsageCounts
    robots: int
    services: Sequence[tuple[str, usage_reports.UsageCounts]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePage(TemplateContext):
    """The page of the use of collections.

    Attributes
    ----------
    report
        The report.
    collections, left
        Use of the collections that are shown, and number of the others.
    tall
        Height of the highest bar in pixels.
    """

    template = "usage/usage.html"
    report: usage_reports.UsageReport
    collections: Sequence[CollectionUsage]
    left: int
    tall: int


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/usage`` and its files: a CSV table, and the COUNTER report as JSON and as text."""

    def read_report(page_context: PageContext) -> usage_reports.UsageReport:
        query_params = page_context.request.query_params
        return usage_reports.read_usage_report(
            context,
            query_params.get("from") or None,
            query_params.get("to") or None,
            collections=_require_collections_with_visible_usage(page_context),
        )

    def build_usage_page(page_context: PageContext) -> PageContent:
        report = read_report(page_context)
        return PageContent(
            page=_build_usage_page(report, page_context),
            json_content=usage_reports.usage_report_to_json(report),
            headers=PRIVATE_HEADERS,
        )

    def write_report_file(request: Request) -> Response:
        name = request.path_params["file"]
        if name not in REPORT_FILES:
            message = format_message("there is no report {name!r} here", name[:80])
            raise NotFoundError(message, remedy=format_message("choose one of {names}", ", ".join(REPORT_FILES)))
        media_type, write = REPORT_FILES[name]
        report = read_report(build_page_context(request, context))
        file_name = f"{report.since}-{report.until}-{name}"
        headers = {
            **PRIVATE_HEADERS,
            "content-type": media_type,
            "content-disposition": f'attachment; filename="{file_name}"',
        }
        return Response(write(report, context), headers=headers)

    async def show_usage(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(build_usage_page, page_context)

    async def send_report_file(request: Request) -> Response:
        return await anyio.to_thread.run_sync(write_report_file, request)

    page_endpoint = build_page_endpoint(show_usage, context)
    return [
        Route("/usage", page_endpoint),
        Route("/usage/{file}", wrap_endpoint_with_gates_and_errors(send_report_file, build_error_responder(context))),
    ]


def _require_collections_with_visible_usage(page_context: PageContext) -> set[str] | None:
    """Return the collections whose usage a user may see; None: all, also those that are gone.

    Raises
    ------
    UnauthenticatedError, ForbiddenError
        The user curates no collection.
    """
    principal = page_context.principal
    if principal.is_anonymous:
        raise UnauthenticatedError("only curators may see the usage counts", remedy="log in at /login")
    is_own_operator = page_context.context.is_operator(principal) and not principal.impersonator
    if principal.name is not None and is_own_operator and not page_context.brand.collections:
        return None
    resources = page_context.published_state.resources
    portal_collections = page_context.brand.collections or resources
    own_collections = set()
    for name, resource in resources.items():
        can_edit = can_edit_collection(principal, page_context.context, resource)
        if name in portal_collections and can_edit:
            own_collections.add(name)
    if not own_collections:
        raise ForbiddenError(
            "only curators may see the usage counts",
            remedy="to get the counts, ask an operator (health.operators), a portal administrator or a project curator",
        )
    return own_collections


def _build_usage_page(report: usage_reports.UsageReport, page_context: PageContext) -> UsagePage:
    sums_by_collection = report.sum_counts_by("collection")
    names = sorted(sums_by_collection, key=lambda key: sums_by_collection[key]["bytes"], reverse=True)
    return UsagePage(
        report=report,
        collections=[
            _describe_collection_usage(report, name, page_context.published_state.resources)
            for (name,) in names[:MAX_SHOWN_COLLECTIONS]
        ],
        left=max(len(names) - MAX_SHOWN_COLLECTIONS, 0),
        tall=BAR_HEIGHT_PIXELS,
    )


def _describe_collection_usage(
    report: usage_reports.UsageReport, name: str, resources: Mapping[str, CollectionSpec]
) -> CollectionUsage:
    """Describe the use of one collection: bars by month, and sums by access and by service."""
    months = [month for month in report.months if month <= f"{report.created_on:%Y-%m}"]

    def is_of_collection(counts: Any) -> bool:
        return bool(counts.collection == name)

    def is_human_service_use(counts: Any) -> bool:
        return is_of_collection(counts) and not counts.table and counts.access != "robot"

    monthly_sums = report.sum_counts_by("month", "access", is_included=is_of_collection)
    sums_by_access = report.sum_counts_by("access", is_included=is_of_collection)
    sums_by_service = report.sum_counts_by("service", is_included=is_human_service_use)
    requests_by_month = {}
    for month in months:
        regular = monthly_sums.get((month, "regular"), {}).get("requests", 0)
        machine = monthly_sums.get((month, "machine"), {}).get("requests", 0)
        requests_by_month[month] = (regular, machine)
    max_requests = max(map(sum, requests_by_month.values()), default=0) or 1
    bars = [
        {
            "month": month,
            "regular": regular,
            "machine": machine,
            "low": round(BAR_HEIGHT_PIXELS * regular / max_requests, 1),
            "high": round(BAR_HEIGHT_PIXELS * machine / max_requests, 1),
        }
        for month, (regular, machine) in requests_by_month.items()
    ]
    return CollectionUsage(
        name=name,
        title=resources[name].title if name in resources else name,
        gone=name not in resources,
        bars=bars,
        sums=_sum_usage_without_robots(sums_by_access),
        robots=sums_by_access.get(("robot",), {}).get("investigations", 0),
        services=[(service, counts) for (service,), counts in sums_by_service.items()],
    )


def _sum_usage_without_robots(by_access: dict[tuple[str, ...], usage_reports.UsageCounts]) -> usage_reports.UsageCounts:
    """Sum the use by people and their programs, without robots."""
    total = dict.fromkeys(COUNT_COLUMNS, 0)
    for (access,), sums in by_access.items():
        if access != "robot":
            total = {name: total[name] + sums[name] for name in total}
    return total


PAGES = PortalPages(build_routes=build_routes, template_directory=Path(__file__).parent / "pages")

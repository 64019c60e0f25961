"""Serve ``/operations``: what is wrong with the site, and its slow queries, for operators."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.routing import Route

from hven.model.errors import ForbiddenError, UnauthenticatedError
from hven.plugins.operations.examination import SiteExamination, inspect_site
from hven.plugins.operations.morning_page import build_morning_routes
from hven.plugins.operations.query_log import QueryGroup, SlowQueryLog, group_queries, read_running_slow_queries
from hven.portal.api.pages import PageContent, PageContext, PortalPages, TemplateContext, build_page_endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.plugins.operations.findings import Finding
    from hven.services.face import ServiceContext
    from hven.site import Site

PRIVATE_HEADERS = {"cache-control": "private, no-store"}
EXAMINATION_LIFETIME_SECONDS = 30.0
SHOWN_DAYS = 7
MAX_GROUPS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsPage(TemplateContext):
    """The page of operators.

    Attributes
    ----------
    findings
        What is wrong, the most harmful first.
    examined
        When that was found, as ISO time.
    running, groups
        Queries that run for long, and kinds of queries that were slow.
    days
        For how many days back the latter are shown.
    """

    template = "operations/operations.html"
    findings: Sequence[Finding]
    examined: str
    running: Sequence[Mapping[str, Any]]
    groups: Sequence[QueryGroup]
    days: int


class ExaminationCache:
    """The last examination of a site, which is repeated after half a minute, once for all readers.

    Parameters
    ----------
    site
        The open site.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._last: tuple[float, str, SiteExamination] | None = None

    def get_examination(self) -> tuple[str, SiteExamination]:
        """Return when the site was last examined, and the result."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > EXAMINATION_LIFETIME_SECONDS:
                examination = inspect_site(self._site)
                self._last = time.monotonic(), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", examination
            return self._last[1], self._last[2]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/operations`` and ``/morning``."""

    def build_content(page_context: PageContext) -> PageContent:
        principal = page_context.principal
        if principal.is_anonymous:
            raise UnauthenticatedError("only operators may see this page", remedy="log in at /login")
        if not context.is_operator(principal) or principal.impersonator:
            raise ForbiddenError("only operators may see this page", remedy="ask to be added to health.operators")
        site = context.site
        examined, examination = site.get_or_create(ExaminationCache, site).get_examination()
        since = datetime.now(UTC) - timedelta(days=SHOWN_DAYS)
        groups = group_queries(SlowQueryLog(site.settings).read_entries(since.isoformat()))[:MAX_GROUPS]
        running = read_running_slow_queries(site.settings)
        page = OperationsPage(
            findings=examination.findings, examined=examined, running=running, groups=groups, days=SHOWN_DAYS
        )
        content = {
            "examined": examined,
            "seconds": round(examination.duration_seconds, 3),
            "counts": examination.count_by_harm(),
            "findings": [finding.to_json() for finding in examination.findings],
            "running": running,
            "slow": [group.to_json() for group in groups],
        }
        return PageContent(page=page, json_content=content, headers=PRIVATE_HEADERS)

    async def show_page(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(build_content, page_context)

    return [Route("/operations", build_page_endpoint(show_page, context)), *build_morning_routes(context)]


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"health.curators": "health_link.html"},
)

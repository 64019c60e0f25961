"""Serve ``/handover`` and ``/handover/seal`` for operators: what their successors must know."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.routing import Route

from hven.model.errors import ForbiddenError, UnauthenticatedError
from hven.plugins.packages.handover_facts import HandoverSection, collect_handover
from hven.plugins.packages.seal_answers import collect_seal_answers
from hven.portal.api.pages import PageContent, PageContext, PortalPages, TemplateContext, build_page_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.services.face import ServiceContext
    from hven.site import Site

PRIVATE_HEADERS = {"cache-control": "private, no-store"}
FACTS_LIFETIME_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverPage(TemplateContext):
    """The page of operators.

    Attributes
    ----------
    sections
        Sections with their tables.
    is_seal
        Whether it answers the requirements of CoreTrustSeal.
    """

    template = "packages/handover.html"
    sections: Sequence[HandoverSection]
    is_seal: bool


class HandoverFactsCache:
    """The sections of both pages, which are gathered again after half a minute, once for all readers.

    Parameters
    ----------
    site
        The open site.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._sections: dict[bool, tuple[float, list[HandoverSection]]] = {}

    def get_sections(self, *, is_seal: bool) -> list[HandoverSection]:
        """Return the sections of a page.

        Parameters
        ----------
        is_seal
            Whether it is the page about CoreTrustSeal.
        """
        with self._lock:
            cached = self._sections.get(is_seal)
            if cached is None or time.monotonic() - cached[0] > FACTS_LIFETIME_SECONDS:
                collect = collect_seal_answers if is_seal else collect_handover
                cached = self._sections[is_seal] = time.monotonic(), collect(self._site)
            return cached[1]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/handover`` and ``/handover/seal``."""

    def create_endpoint(*, is_seal: bool) -> Callable[..., object]:
        def build_content(page_context: PageContext) -> PageContent:
            principal = page_context.principal
            if principal.is_anonymous:
                raise UnauthenticatedError("only operators may see this page", remedy="log in at /login")
            if not context.is_operator(principal) or principal.impersonator:
                raise ForbiddenError("only operators may see this page", remedy="ask to be added to health.operators")
            sections = context.site.get_or_create(HandoverFactsCache, context.site).get_sections(is_seal=is_seal)
            page = HandoverPage(sections=sections, is_seal=is_seal)
            content = [asdict(section) for section in sections]
            return PageContent(page=page, json_content=content, headers=PRIVATE_HEADERS)

        async def show_page(page_context: PageContext) -> PageContent:
            return await anyio.to_thread.run_sync(build_content, page_context)

        return build_page_endpoint(show_page, context)

    return [
        Route("/handover", create_endpoint(is_seal=False)),
        Route("/handover/seal", create_endpoint(is_seal=True)),
    ]


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"health.curators": "handover_link.html"},
)

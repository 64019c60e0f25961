"""What pages say about cited results: a part of the page of a result, JSON, and a list for curators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.routing import Route

from hven import services
from hven.model.errors import ForbiddenError, NotFoundError, ParamError, UnauthenticatedError, format_message
from hven.plugins.living_citations.citation_store import CHANGED, MAX_LISTED_FINDINGS, NO_WORK, CitationFindingStore
from hven.plugins.living_citations.store_tables import citation_findings
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PortalPages,
    TemplateContext,
    build_page_endpoint,
    build_redirect,
    can_edit_collection,
)
from hven.services.addresses import is_cross_site_change_request
from hven.site.auth import ANONYMOUS_PRINCIPAL, is_table_visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from hven.plugins.living_citations.citation_store import CitationFinding
    from hven.services.face import ServiceContext
    from hven.site import PublishedState, Site

PRIVATE_HEADERS = {"cache-control": "private, no-store"}
MAX_FORM_BYTES = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationListPage(TemplateContext):
    """The page of the cited results of a collection, for its curators.

    Attributes
    ----------
    collection
        Name of the collection.
    findings
        Documents of the findings.
    """

    template = "living_citations/citation_list.html"
    collection: str
    findings: Sequence[Mapping[str, Any]]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the list of a collection, and what is known of one result."""

    async def show_list(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_list, page_context)

    async def show_finding(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_finding, page_context)

    async def change_wish(page_context: PageContext) -> PageContent:
        if is_cross_site_change_request(page_context.request, context.site.settings):
            raise ForbiddenError("the request comes from a page on another site", remedy="use the form of this site")
        params = await services.read_params(page_context.request, MAX_FORM_BYTES)
        return await anyio.to_thread.run_sync(_change_wish, page_context, params.read_one("ACTION", "") or "")

    path = "/results/{ident}/changes"
    return [
        Route("/cited-results/{name}", build_page_endpoint(show_list, context)),
        Route(path, build_page_endpoint(show_finding, context)),
        Route(path, build_page_endpoint(change_wish, context), methods=["POST"]),
    ]


def _find_public_finding(site: Site, published_state: PublishedState, ident: str) -> CitationFinding | None:
    """Find what is known of a result whose tables everybody can see now."""
    findings = site.store.get_or_create(CitationFindingStore).list_findings(citation_findings.c.id == ident)
    for finding in findings:
        tables = [published_state.tables_by_name.get(name) for name in finding.snapshots]
        if all(item is not None and is_table_visible(item.table, ANONYMOUS_PRINCIPAL) for item in tables):
            return finding
    return None


def _describe_finding(finding: CitationFinding, base_url: str) -> dict[str, Any]:
    at = datetime.fromtimestamp(finding.at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "id": finding.id,
        "made": finding.made,
        "url": f"{base_url}/results/{finding.id}",
        "verdict": finding.verdict,
        "how": finding.how,
        "at": at,
        "is_current": finding.work == NO_WORK,
        "states": finding.snapshots,
        "rows_then": finding.cited_rows,
        "rows_now": finding.row_count,
        "counts": finding.counts,
        "columns": finding.columns,
        "error": finding.error,
    }


def _require_finding(page_context: PageContext) -> CitationFinding:
    ident = page_context.request.path_params["ident"]
    finding = _find_public_finding(page_context.context.site, page_context.published_state, ident)
    if finding is None:
        raise NotFoundError(format_message("there is no result {ident!r} here", ident[:40]), remedy="check the address")
    return finding


def _build_finding(page_context: PageContext) -> PageContent:
    """Return what is known of a result, for programs; its page shows it to people."""
    return PageContent(json_content=_describe_finding(_require_finding(page_context), page_context.base))


def _change_wish(page_context: PageContext, action: str) -> PageContent:
    account = page_context.principal.name
    if account is None:
        raise UnauthenticatedError("only users with an account can be notified of changes", remedy="log in at /login")
    finding = _require_finding(page_context)
    if action not in {"tell", "stop"}:
        raise ParamError("ACTION is not valid", name="ACTION", remedy="use tell or stop")
    store = page_context.context.site.store.get_or_create(CitationFindingStore)
    store.change_wish(finding.id, account, is_told=action == "tell")
    return build_redirect(f"{page_context.base}/results/{finding.id}")


def _build_list(page_context: PageContext) -> PageContent:
    name = page_context.request.path_params["name"]
    resource = page_context.published_state.resources.get(name)
    if resource is None or not can_edit_collection(page_context.principal, page_context.context, resource):
        raise NotFoundError(
            format_message("there is no collection {name!r} that you curate", name[:80]), remedy="log in"
        )
    site = page_context.context.site
    is_own = citation_findings.c.collections.contains(f'"{name}"', autoescape=True)
    findings = site.store.get_or_create(CitationFindingStore).list_findings(
        is_own, order=citation_findings.c.made.desc(), limit=MAX_LISTED_FINDINGS
    )
    documents = [_describe_finding(finding, page_context.base) for finding in findings]
    documents.sort(key=lambda document: document["verdict"] != CHANGED)
    page = CitationListPage(collection=name, findings=documents)
    return PageContent(page=page, json_content={"citations": documents}, headers=PRIVATE_HEADERS)


def _find_shown_values(request: Request, context: ServiceContext) -> dict[str, Any] | None:
    """Return what is known of the result whose page is requested."""
    if "ident" not in request.path_params:
        return None
    finding = _find_public_finding(context.site, context.site.get_published_state(), request.path_params["ident"])
    if finding is None:
        return None
    account = context.identify_principal(request).name
    store = context.site.store.get_or_create(CitationFindingStore)
    is_told = account is not None and store.is_reader_told(finding.id, account)
    return {**_describe_finding(finding, ""), "has_account": account is not None, "is_told": is_told}


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"result": "result_block.html", "collection.curators": "collection_link.html"},
    compute_frame_value=_find_shown_values,
    frame_value_path="/results/",
)

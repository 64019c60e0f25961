"""Serve ``/results``: persistent addresses of results, which a POST of a query creates.

The page of a result shows the query, its citation, and whether the rows are still the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson
from starlette.responses import Response
from starlette.routing import Route

from hven import formats, services
from hven.formats import InfoElement
from hven.model.errors import HvenError, NotFoundError, ParamError, format_message
from hven.portal._pages import TemplateContext
from hven.portal._views.dataset_metadata import CitationText, write_dated_citation
from hven.portal._views.page_formats import (
    PageContent,
    PageContext,
    build_error_responder,
    build_page_context,
    build_page_endpoint,
    is_json_requested,
)
from hven.query import cited_results
from hven.services.face import wrap_endpoint_with_gates_and_errors
from hven.site.auth import recorded_rights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from hven.model.resource import CitedResult
    from hven.query import QueryResult
    from hven.services.face import ServiceContext

MAX_FORM_BYTES = 1024**2  # of a query


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedResultPage(TemplateContext):
    """The page of a cited result.

    Attributes
    ----------
    found
        The result.
    url
        Its address.
    kept, lost
        Whether its rows are kept, and the tables whose rows are not.
    now
        Result of the same query now, as ``rows``, ``checksum`` and ``same``, or its ``error``; None if the rows are
        kept.
    cites
        Its citations.
    """

    template = "result.html"
    found: Mapping[str, object]
    url: str
    kept: bool
    lost: Sequence[str]
    now: Mapping[str, object] | None
    cites: Sequence[CitationText]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the addresses of results."""

    async def create_result(request: Request) -> Response:
        page_context = build_page_context(request, context)
        params = await services.read_params(request, MAX_FORM_BYTES)
        text = params.read_one("QUERY")
        if not text:
            raise ParamError(
                "the query is missing", name="QUERY", remedy="send QUERY by POST, as you would to /tap/sync"
            )
        client_host = ""
        if request.client is not None:
            client_host = request.client.host
        host = page_context.principal.name or client_host
        maxrec = params.read_integer("MAXREC")

        def create() -> CitedResult:
            return cited_results.create_cited_result(
                text,
                page_context.principal,
                site=context.site,
                policies=context.policies,
                maker_name=host,
                maxrec=maxrec,
            )

        cited_result = await anyio.to_thread.run_sync(create)
        url = f"{page_context.brand.root}/results/{cited_result.id}"
        if is_json_requested(request):
            body = orjson.dumps({"url": url, **_cited_result_to_json(cited_result)})
            headers = {"location": url, "content-type": "application/json", "cache-control": "no-store"}
            return Response(body, 201, headers)
        return Response(None, 303, {"location": url, "cache-control": "no-store"})

    async def send_rows(request: Request) -> Response:
        page_context = build_page_context(request, context)
        cited_result = _find_cited_result(page_context)

        def repeat() -> QueryResult:
            return cited_results.repeat_cited_query(
                cited_result, page_context.principal, site=context.site, policies=context.policies
            )

        form = formats.select_format(request.query_params.get("RESPONSEFORMAT") or "votable")
        result = await anyio.to_thread.run_sync(repeat)
        url = f"{page_context.brand.root}/results/{cited_result.id}"
        infos = [
            InfoElement(name="QUERY", value=cited_result.body["text"]),
            InfoElement(name="result", value=url),
        ]
        file_name = f"{cited_result.id}.{form[0].extension.lstrip('.')}"
        disposition = f'attachment; filename="{file_name}"'
        headers = {"cache-control": "no-cache", "content-disposition": disposition, "x-content-type-options": "nosniff"}
        base_url = services.get_base_url(request, context.site.settings)
        return await services.answer_with_result(request, result, form, headers=headers, infos=infos, base_url=base_url)

    async def show_result(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_cited_result_page, page_context, _find_cited_result(page_context))

    respond_to_error = build_error_responder(context)
    return [
        Route("/results", wrap_endpoint_with_gates_and_errors(create_result, respond_to_error), methods=["POST"]),
        Route("/results/{ident}/rows", wrap_endpoint_with_gates_and_errors(send_rows, respond_to_error)),
        Route("/results/{ident}", build_page_endpoint(show_result, context)),
    ]


def _find_cited_result(page_context: PageContext) -> CitedResult:
    ident = page_context.request.path_params["ident"].removesuffix(".json")
    cited_result = page_context.context.site.store.results.find_result(ident)
    if cited_result is None:
        raise NotFoundError(
            format_message("there is no result {ident!r} here", ident[:40]),
            remedy="check that the address is complete; addresses of results remain valid",
        )
    return cited_result


def _cited_result_to_json(cited_result: CitedResult) -> dict[str, Any]:
    body = cited_result.body
    return {
        "id": cited_result.id,
        "made": cited_result.made,
        "query": body["text"],
        "maxrec": body["maxrec"],
        "rows": body["rows"],
        "checksum": body["checksum"],
        "snapshots": body["snapshots"],
        "software": body["software"],
    }


def _build_cited_result_page(page_context: PageContext, cited_result: CitedResult) -> PageContent:
    site = page_context.context.site
    policies = page_context.context.policies
    url = f"{page_context.brand.root}/results/{cited_result.id}"
    collection_names = cited_result.body["collections"]
    all_resources = page_context.published_state.resources
    resources = [all_resources[name] for name in collection_names if name in all_resources]
    visible_schemas = {schema.name for schema in page_context.catalogue.schemas}
    are_visible = all(resource.name in visible_schemas for resource in resources)
    # tables without recorded rules were public when they were counted: the reader must be able to see all rows now
    recorded_rules = dict.fromkeys(cited_result.body["snapshots"], "")
    tables_by_name = page_context.published_state.tables_by_name
    is_accessible = recorded_rights.is_still_accessible(
        recorded_rules, tables_by_name, page_context.principal, policies
    )
    if not resources or not are_visible or len(resources) < len(collection_names) or not is_accessible:
        raise NotFoundError(
            format_message("there is no result {ident!r} here", cited_result.id),
            remedy="log in, or ask the site's operators; some collections in this result are private or no longer "
            "published",
        )
    snapshot_state = cited_results.check_snapshot_availability(cited_result, site)
    if snapshot_state.all_kept:
        comparison = None
    else:
        comparison = cited_results.compare_with_repeated_query(
            cited_result, page_context.principal, site=site, policies=policies, uses_current_state=True
        )
    error = None
    if comparison is not None:
        error = comparison.get("error")
    if isinstance(error, HvenError):
        comparison = {"error": error.message}
    cites = [write_dated_citation(resource, url) for resource in resources]
    page = CitedResultPage(
        found=_cited_result_to_json(cited_result),
        url=url,
        kept=snapshot_state.all_kept,
        lost=snapshot_state.lost_tables,
        now=comparison,
        cites=cites,
    )
    json_content = {
        **page.found,
        "url": url,
        "kept": snapshot_state.all_kept,
        "lost": list(snapshot_state.lost_tables),
        "now": comparison,
        "cite": cites,
    }
    return PageContent(page=page, json_content=json_content)

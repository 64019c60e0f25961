"""``/prov``: the provenance of a site or of some of its records, with the parameters of ProvSAP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from hven import services
from hven.formats import list_accepted_media_types
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.plugins.provenance.graph_drawing import draw_graph
from hven.plugins.provenance.prov_documents import write_prov_json, write_prov_jsonld, write_prov_n, write_prov_xml
from hven.plugins.provenance.provenance_requests import PROV_PARAMS, build_requested_graph
from hven.portal.api.pages import VARY_HEADERS, build_page_context
from hven.services.api.threads import call_in_thread
from hven.services.errors import PLAIN_TEXT_ERRORS
from hven.services.face import ServiceFace, UsageExample, create_query_route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.plugins.provenance.prov_records import ProvGraph
    from hven.services.face import ServiceContext
    from hven.site import PublishedTable

SERVICE_NAME = "provenance"
PROV_PATH = "/prov"
JSON_FORMAT, SVG_FORMAT = "PROV-JSON", "PROV-SVG"
# media type and writer of each format, by its name in RESPONSEFORMAT
FORMATS: dict[str, tuple[str, Callable[[ProvGraph, str], bytes]]] = {
    JSON_FORMAT: ("application/json", write_prov_json),
    "PROV-JSONLD": ("application/ld+json", write_prov_jsonld),
    "PROV-N": ("text/provenance-notation", write_prov_n),
    "PROV-XML": ("application/provenance+xml", write_prov_xml),
    SVG_FORMAT: ("image/svg+xml", lambda graph, _: draw_graph(graph).encode()),
}
TEXT_CHARSET_FORMATS = frozenset({"PROV-N", "PROV-XML"})
FORMAT_PARAM = Param(name="RESPONSEFORMAT", description=f"{', '.join(FORMATS)}, HTML, or one of their media types")
ALL_PARAMS = (*PROV_PARAMS, FORMAT_PARAM)
JOB_KINDS = frozenset({"job", "result", "parameter", "owner"})


def choose_prov_format(response_format: str | None, accept: str) -> str:
    """Choose the format of an answer.

    Parameters
    ----------
    response_format
        RESPONSEFORMAT of the request.
    accept
        Its header Accept; formats that this service does not have give PROV-JSON.

    Returns
    -------
    name
        A key of `FORMATS`.

    Raises
    ------
    ParamError
        RESPONSEFORMAT names no format.
    """
    names_by_media_type = {media_type: name for name, (media_type, _) in FORMATS.items()}
    names_by_media_type |= {"application/xml": "PROV-XML", "text/xml": "PROV-XML"}
    if response_format:
        text = response_format.strip()
        name = text.upper() if text.upper() in FORMATS else names_by_media_type.get(text.partition(";")[0].lower())
        if name is None:
            raise ParamError(
                f"RESPONSEFORMAT={text!r:.60} is not a format for provenance",
                name="RESPONSEFORMAT",
                remedy=f"use one of {', '.join(FORMATS)}",
            )
        return name
    accepted_types = [media_type.partition(";")[0].strip().lower() for media_type in list_accepted_media_types(accept)]
    return next((names_by_media_type[name] for name in accepted_types if name in names_by_media_type), JSON_FORMAT)


def build_prov_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of ``/prov``.

    Parameters
    ----------
    context
        Service context of the site.
    """

    def build_response(request: Request, params: services.RequestParams) -> Response:
        page_context = build_page_context(request, context)
        write_page = context.find_requested_page_writer(SERVICE_NAME, request, params)
        name = JSON_FORMAT
        if write_page is None:
            name = choose_prov_format(params.read_one("RESPONSEFORMAT"), request.headers.get("accept", ""))
        graph, model = build_requested_graph(page_context, params)
        # everybody may know of the same tables; jobs have readers of their own
        kinds = {record_id.partition("/")[0] for record_id in graph.records}
        is_public = page_context.principal.is_anonymous and kinds.isdisjoint(JOB_KINDS)
        if write_page is not None:
            response: Response = write_page(request, context, {"graph": graph})
            if not is_public:
                response.headers["cache-control"] = "private, no-cache"
            return response
        media_type, write_document = FORMATS[name]
        body = write_document(graph, model)
        query_url = f"{page_context.base}{PROV_PATH}"
        headers = {
            **services.build_cache_headers(services.compute_etag(body), is_public=is_public, vary=VARY_HEADERS),
            "link": f'<{query_url}>; rel="http://www.w3.org/ns/prov#has_query_service"',
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
            "x-content-type-options": "nosniff",
        }
        for warning in services.build_unused_parameter_warnings(params, ALL_PARAMS):
            headers["hven-warning"] = warning.value
        if graph.left_out_count:
            headers["hven-left-out"] = str(graph.left_out_count)
        charset = "; charset=utf-8" if name in TEXT_CHARSET_FORMATS else ""
        return services.answer_with_etag(request, headers, f"{media_type}{charset}", body)

    async def answer_request(request: Request, params: services.RequestParams) -> Response:
        response: Response = await call_in_thread(build_response, request, params)
        return response

    return [create_query_route(PROV_PATH, answer_request, PLAIN_TEXT_ERRORS)]


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    url = f"{base_url}{PROV_PATH}?ID=table/{published.table.qualified_name}"
    command = f"curl '{url}&DEPTH=ALL&RESPONSEFORMAT=PROV-N'"
    return [UsageExample(title="Provenance", url=url, example=command)]


FACE = ServiceFace(
    name=SERVICE_NAME,
    title="Provenance",
    description="Where collections, tables, rows and results of jobs come from, as W3C PROV and IVOA provenance.",
    params=ALL_PARAMS,
    path=PROV_PATH,
    error_responder=PLAIN_TEXT_ERRORS,
    example="ID=table/tiny.stars",
    applies=lambda table: table.owner is None and table.schema.upper() != "TAP_SCHEMA",
    list_usage_examples=_list_usage_examples,
    build_routes=build_prov_routes,
    is_usage_counted=False,
)

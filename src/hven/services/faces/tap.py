"""TAP 1.1 at ``/tap``: sync, async, tables, capabilities, availability and examples."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.responses import Response

from hven import __version__, adql, formats, query, services
from hven import site as site_package
from hven.formats import InfoElement
from hven.formats.votable import is_string_array
from hven.jobs.tap import (
    LEGACY_PARAMETERS,
    TAP_PARAMS,
    TAP_STANDARD_ID,
    read_adql_query,
    read_cite_flag,
    read_explain_flag,
)
from hven.model.errors import ParamError
from hven.query import cited_results
from hven.query.query_queue import QueryQueue
from hven.query.uploads import list_upload_warnings
from hven.services import _query_examples as query_examples
from hven.services import _vosi as vosi
from hven.services import uws
from hven.services._threads import hold_turn
from hven.services._uploads import UploadReader
from hven.services.face import ServiceContext, ServiceFace, UsageExample, create_query_route, create_route
from hven.services.faces import _tapregext
from hven.services.params import MAX_FORM_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Schema, Table
    from hven.query.uploads import UploadedTables
    from hven.site import Catalogue, PublishedState, PublishedTable
    from hven.site.auth import Principal

# longer queries are planned in a thread: to look at their words would hold up the event loop
MAX_INLINE_QUERY_CHARACTERS = 1_500
_STANDARD_ID_INFO = InfoElement(name="standardID", value=TAP_STANDARD_ID)
MAX_CONCURRENT_PLANS = 2  # queries that are planned at once: more would compete for one core
MAX_CONCURRENT_LOOKUPS = 16  # queries that resolve the names of objects at once, perhaps remotely
MAX_WAITING_PLANS = 32  # queries that may wait to be planned


def build_tap_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of ``/tap`` (resources of DALI 1.1, section 2)."""
    site = context.site
    byte_limit = site.settings.limits.upload + MAX_FORM_BYTES
    planner = _SyncQueryService(context)
    documents = _TapMetadataDocuments(context)

    async def redirect_base_address(request: Request) -> Response:
        """Redirect browsers to queries to try, and programs to the capabilities."""
        resource = "capabilities"
        if "text/html" in request.headers.get("accept", ""):
            resource = "examples"
        url = f"{services.get_base_url(request, site.settings)}/tap/{resource}"
        return Response(None, 303, headers={"location": url, "vary": "accept"})

    async def answer_capabilities(request: Request) -> Response:
        tap_url = f"{services.get_base_url(request, site.settings)}/tap"
        body = vosi.write_capabilities(_list_capabilities(tap_url, context))
        cache_headers = services.build_cache_headers(
            services.compute_etag(body), is_public=True, vary="accept-encoding, authorization, cookie, host"
        )
        return services.answer_with_etag(request, cache_headers, vosi.MEDIA_TYPE, body)

    async def answer_availability(request: Request) -> Response:
        body = vosi.write_availability(is_available=True, start_time=context.start_time)
        return services.answer_with_body(request, body, {"content-type": vosi.MEDIA_TYPE, "cache-control": "no-store"})

    return [
        create_route("/tap", redirect_base_address),
        create_query_route("/tap/sync", planner.answer_request, byte_limit=byte_limit),
        create_route("/tap/tables", documents.answer_tables),
        create_route("/tap/tables/{table:path}", documents.answer_table_metadata),
        create_route("/tap/capabilities", answer_capabilities),
        create_route("/tap/availability", answer_availability),
        *uws.build_job_routes("/tap/async", "tap", site, context.identify_principal, byte_limit=byte_limit),
        create_route("/tap/examples", documents.answer_examples),
    ]


class _TapMetadataDocuments:
    """The documents of ``/tap/tables`` and ``/tap/examples``, cached by published state and access of the reader."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._document_cache = services.DocumentCache()

    async def answer_tables(self, request: Request) -> Response:
        detail = _read_detail(request)

        def write_document(catalogue: Catalogue, published_state: PublishedState) -> bytes:
            find_statistics = self._create_statistics_lookup(request, published_state)
            return vosi.write_tableset(
                catalogue.schemas, detail=detail, quote_name=adql.quote_adql_name, find_statistics=find_statistics
            )

        return self._answer_document(request, write_document, "tables", detail)

    async def answer_table_metadata(self, request: Request) -> Response:
        name = request.path_params["table"]
        detail = _read_detail(request)

        def write_document(catalogue: Catalogue, published_state: PublishedState) -> bytes:
            find_statistics = self._create_statistics_lookup(request, published_state)
            table = services.find_table(name, catalogue)
            return vosi.write_vosi_table_document(
                table, quote_name=adql.quote_adql_name, detail=detail, find_statistics=find_statistics
            )

        return self._answer_document(request, write_document, "table", name, detail)

    async def answer_examples(self, request: Request) -> Response:
        def write_document(_: Catalogue, published_state: PublishedState) -> bytes:
            principal = self._context.identify_principal(request)
            example_queries = site_package.list_example_queries(published_state, principal, self._context.policies)
            return query_examples.write_examples_document(example_queries)

        return self._answer_document(request, write_document, "examples", is_page=True)

    def _create_statistics_lookup(
        self, request: Request, published_state: PublishedState
    ) -> Callable[[Table], PublishedTable | None]:
        principal = self._context.identify_principal(request)
        return published_state.create_visible_statistics_lookup(principal, self._context.policies)

    def _answer_document(
        self,
        request: Request,
        write_document: Callable[[Catalogue, PublishedState], bytes],
        *key_parts: str | None,
        is_page: bool = False,
    ) -> Response:
        """Answer with a document whose tag has the version of the published state and the access of the reader."""
        principal = self._context.identify_principal(request)
        published_state = self._context.site.get_published_state()
        catalogue = published_state.get_catalogue(principal, self._context.policies)
        access_key = published_state.find_access_key(principal, self._context.policies)
        etag = f'W/"{__version__}-{published_state.version}-{access_key}"'
        headers = services.build_cache_headers(etag, is_public=principal.is_anonymous)
        media_type = vosi.MEDIA_TYPE
        if is_page:  # browsers show it
            headers["content-security-policy"] = "default-src 'none'; frame-ancestors 'self'"
            media_type = query_examples.MEDIA_TYPE
        key = (published_state.version, access_key, *key_parts)

        def build_body() -> bytes:
            return self._document_cache.get_or_build(key, lambda: write_document(catalogue, published_state))

        return services.answer_with_etag(request, headers, media_type, build_body)


class _SyncQueryService:
    """Answers synchronous queries; queries without a cached plan are planned in threads, a few at once."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._planning_queue = QueryQueue(MAX_CONCURRENT_PLANS, place_count=MAX_WAITING_PLANS, frees_memory=False)
        self._lookup_queue = QueryQueue(MAX_CONCURRENT_LOOKUPS, place_count=MAX_WAITING_PLANS, frees_memory=False)
        self._upload_reader = UploadReader(context.site.settings)

    async def answer_request(self, request: Request, params: services.RequestParams) -> Response:
        context = self._context
        text = read_adql_query(params)
        output_format, options = formats.select_format(
            params.read_one("RESPONSEFORMAT") or params.read_one("FORMAT"), request.headers.get("accept")
        )
        maxrec = params.read_integer("MAXREC")
        principal = context.identify_principal(request)
        uploaded_tables: UploadedTables | None = None
        if params.read_all("UPLOAD") or params.files:
            uploaded_tables = await self._upload_reader.read_uploads(params)
        if read_explain_flag(params):
            return await _answer_explain(text, principal, context, uploaded_tables)
        as_of = params.read_one("ASOF")
        warnings = services.build_unused_parameter_warnings(params, TAP_PARAMS, *LEGACY_PARAMETERS)
        citation_infos: tuple[InfoElement, ...] = ()
        if read_cite_flag(params):
            citation_infos = await self._create_cited_result(request, params, text)

        run_query = partial(
            query.run_query,
            text,
            principal,
            site=context.site,
            maxrec=maxrec,
            uploads=uploaded_tables,
            policies=context.policies,
            as_of=as_of,
        )
        names_objects = query.has_object_name_call(text)
        planned = None
        if as_of is None and not uploaded_tables and not names_objects and len(text) < MAX_INLINE_QUERY_CHARACTERS:
            planned = query.find_cached_query_plan(text, principal, site=context.site, policies=context.policies)
        if planned is not None:
            result = run_query(planned=planned)
        else:
            async with hold_turn(self._lookup_queue if names_objects else self._planning_queue):
                result = await anyio.to_thread.run_sync(run_query)
        headers = None
        infos = [InfoElement(name="QUERY", value=text), _STANDARD_ID_INFO, *citation_infos]
        if uploaded_tables:  # a tag does not depend on the uploads
            headers = {"cache-control": "no-store"}
            infos += list_upload_warnings(uploaded_tables)
        infos += warnings
        option_items = sorted(options.items())
        return await services.answer_with_result(
            request,
            result,
            (output_format, options),
            etag_parts=("tap", text, maxrec, output_format.name, option_items, as_of, warnings, citation_infos),
            headers=headers,
            infos=infos,
            base_url=services.get_base_url(request, context.site.settings),
        )

    async def _create_cited_result(
        self, request: Request, params: services.RequestParams, query_text: str
    ) -> tuple[InfoElement, ...]:
        """Keep the rows of a query at a persistent address, and return an INFO with it."""
        context = self._context
        principal = context.identify_principal(request)
        maxrec = params.read_integer("MAXREC")
        maker_name = principal.name
        if not maker_name and request.client is not None:
            maker_name = request.client.host
        create_result = partial(
            cited_results.create_cited_result,
            query_text,
            principal,
            site=context.site,
            policies=context.policies,
            maker_name=maker_name or "",
            maxrec=maxrec,
        )
        async with hold_turn(self._planning_queue):
            cited_result = await anyio.to_thread.run_sync(create_result)
        base_url = services.get_base_url(request, context.site.settings)
        return (InfoElement(name="result", value=f"{base_url}/results/{cited_result.id}"),)


async def _answer_explain(
    query_text: str, principal: Principal, context: ServiceContext, uploaded_tables: UploadedTables | None
) -> Response:
    """Answer with the plan of a query, an extension of TAP."""
    explain_query = partial(
        query.explain_query,
        query_text,
        principal,
        site=context.site,
        uploads=uploaded_tables,
        policies=context.policies,
    )
    plan = await anyio.to_thread.run_sync(explain_query)
    return Response(f"{plan}\n", headers={"cache-control": "no-store"}, media_type="text/plain; charset=utf-8")


def _read_detail(request: Request) -> str | None:
    detail = request.query_params.get("detail", request.query_params.get("DETAIL"))
    if detail not in {None, "min", "max", "stats"}:
        raise ParamError(
            f"detail={detail!r} is not valid", name="detail", remedy="write detail=min, detail=max or detail=stats"
        )
    return detail


def _list_capabilities(tap_url: str, context: ServiceContext) -> list[vosi.Capability]:
    settings = context.site.settings

    def describe_resource(name: str, standard: str) -> vosi.Capability:
        return vosi.Capability(standard_id=standard, url=f"{tap_url}/{name}", role="std")

    catalogue = context.site.get_published_state().get_catalogue(policies=context.policies)
    security_methods = vosi.list_security_methods(settings)
    return [
        describe_resource("capabilities", "ivo://ivoa.net/std/VOSI#capabilities"),
        describe_resource("availability", "ivo://ivoa.net/std/VOSI#availability"),
        vosi.Capability(
            standard_id="ivo://ivoa.net/std/VOSI#tables-1.1",
            url=f"{tap_url}/tables",
            role="std",
            version="1.1",
            security_methods=security_methods,
        ),
        vosi.Capability(standard_id=query_examples.STANDARD_ID, url=f"{tap_url}/examples", interface="vr:WebBrowser"),
        vosi.Capability(
            standard_id=TAP_STANDARD_ID,
            url=tap_url,
            use="base",
            role="std",
            version="1.1",
            security_methods=security_methods,
            description=_tapregext.describe_tap_limits(settings),
            attributes_xml='xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0" xsi:type="tr:TableAccess"',
            extension_xml=_tapregext.write_table_access_xml(settings, catalogue.list_table_names()),
        ),
        *(capability for face in context.faces.values() for capability in face.list_tap_capabilities(context, tap_url)),
    ]


def list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List a first query for several clients."""
    table_name = f"{adql.quote_adql_name(published.table.schema)}.{adql.quote_adql_name(published.table.name)}"
    text = f"SELECT TOP 5 * FROM {table_name}"
    # astropy, and so pyvo, reads no arrays of strings in the form of the standard
    has_string_arrays = any(is_string_array(column.type) for column in published.table.columns)
    format_argument = ', responseformat="votable;strings=json"' if has_string_arrays else ""
    python_code = (
        f'import pyvo\nprint(pyvo.dal.TAPService("{base_url}/tap").search("""{text}"""{format_argument}).to_table())'
    )
    quoted_query = shlex.quote(f"QUERY={text}")
    return [
        UsageExample(
            title="TAP in Python (pyvo)",
            url=f"{base_url}/tap",
            language="python",
            example=python_code,
        ),
        UsageExample(
            title="TAP with STILTS",
            url=f"{base_url}/tap",
            example=f"stilts tapquery tapurl={base_url}/tap sync=true adql={shlex.quote(text)} ofmt=ascii",
        ),
        UsageExample(
            title="TAP with curl",
            url=f"{base_url}/tap/sync",
            example=f"curl {base_url}/tap/sync -d LANG=ADQL -d RESPONSEFORMAT=csv --data-urlencode {quoted_query}",
        ),
    ]


def list_tap_registry_capabilities(
    context: ServiceContext, base_url: str, schema: Schema | None
) -> Sequence[vosi.Capability]:
    """List the capabilities for registries: those of the service.

    For a collection, it is the auxiliary capability (DDC 1.1), if TAP serves one of its tables.
    """
    if schema is None:
        return _list_capabilities(f"{base_url}/tap", context)
    if not any(table.is_served_by("tap") for table in schema.tables):
        return []
    auxiliary_capability = vosi.Capability(
        standard_id=f"{TAP_STANDARD_ID}#aux", url=f"{base_url}/tap", use="base", role="std", version="1.1"
    )
    return [auxiliary_capability]


FACE = ServiceFace(
    name="tap",
    title="TAP",
    is_selectable=True,
    standard_ids=(TAP_STANDARD_ID,),
    params=TAP_PARAMS,
    path="/tap/sync",
    applies=lambda _: True,
    example="LANG=ADQL&QUERY=SELECT+TOP+5+*+FROM+TAP_SCHEMA.tables",
    build_routes=build_tap_routes,
    list_usage_examples=list_usage_examples,
    list_capabilities=list_tap_registry_capabilities,
)

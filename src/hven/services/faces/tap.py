"""TAP 1.1: ``/tap/sync``, ``/tap/async``, ``/tap/tables``, ``/tap/capabilities``, ``/tap/availability``, ``/tap/examples``."""

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
from hven.jobs.tap import LEGACY_PARAMETERS, TAP_PARAMS, TAP_STANDARD_ID, read_cite, read_explain, read_query
from hven.model.errors import ParamError
from hven.query import cited_results
from hven.query.query_queue import QueryQueue
from hven.query.uploads import list_warnings
from hven.services import _examples as query_examples
from hven.services import _vosi as vosi
from hven.services import uws
from hven.services._threads import hold_turn
from hven.services._uploads import UploadReader
from hven.services.face import Face, ServiceContext, UsageExample, create_query_route, create_route
from hven.services.faces import _tapregext, _user_tables
from hven.services.params import MAX_FORM_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Schema
    from hven.query import QueryResult
    from hven.query.uploads import UploadedTables
    from hven.site import Catalogue, PublishedState, PublishedTable
    from hven.site.auth import Principal

# characters: to look at the words of more than this would hold up the event loop, as planning does whatever is new
MAX_INLINE_QUERY_CHARACTERS = 1_500
_STANDARD_ID_INFO = InfoElement(name="standardID", value=TAP_STANDARD_ID)
MAX_CONCURRENT_PLANS = 2  # texts at once: more would only fight over one core
MAX_CONCURRENT_LOOKUPS = 16  # texts at once that ask for the position of an object, perhaps far away
MAX_WAITING_PLANS = 32  # that may wait to be planned, if that is soon enough


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """List the resources of DALI 1.1 section 2 below ``/tap``."""
    site = context.site
    limit = site.settings.limits.upload + MAX_FORM_BYTES
    sync = partial(
        _answer_sync,
        context,
        QueryQueue(MAX_CONCURRENT_PLANS, places=MAX_WAITING_PLANS),
        QueryQueue(MAX_CONCURRENT_LOOKUPS, places=MAX_WAITING_PLANS),
        UploadReader(site.settings),
    )
    documents = services.DocumentCache()

    async def redirect_base_address(request: Request) -> Response:
        """Show the way to who asks the base address itself.

        People to queries that they can try, programs to the capabilities.
        """
        if "text/html" in request.headers.get("accept", ""):
            page = "examples"
        else:
            page = "capabilities"
        return Response(
            None,
            303,
            headers={"location": f"{services.get_base_url(request, site.settings)}/tap/{page}", "vary": "accept"},
        )

    def answer_metadata(
        request: Request,
        build_document: Callable[[Catalogue, PublishedState], bytes],
        *key_parts: str | None,
        is_page: bool = False,
    ) -> Response:
        """Answer with metadata, which is tagged by the version of the holdings and the reader's reach."""
        principal, published_state = context.identify_principal(request), site.get_published_state()
        catalogue, access_key = (
            published_state.get_catalogue(principal, context.policies),
            published_state.find_access_key(principal, context.policies),
        )
        headers = services.build_cache_headers(
            f'W/"{__version__}-{published_state.version}-{access_key}"', is_public=principal.is_anonymous
        )
        if is_page:  # browsers show it
            headers["content-security-policy"] = "default-src 'none'; frame-ancestors 'self'"
        kind = query_examples.MEDIA_TYPE if is_page else vosi.MEDIA_TYPE
        return services.answer_with_etag(
            request,
            headers,
            kind,
            lambda: documents.get_or_build(
                (published_state.version, access_key, *key_parts), lambda: build_document(catalogue, published_state)
            ),
        )

    async def answer_tables(request: Request) -> Response:
        detail = _read_detail(request)

        def write_document(catalogue: Catalogue, published_state: PublishedState) -> bytes:
            counted = published_state.select_fully_visible(context.identify_principal(request), context.policies)
            return vosi.write_tableset(
                catalogue.schemas, detail=detail, quote_name=adql.quote_name, find_statistics=counted
            )

        return answer_metadata(request, write_document, "tables", detail)

    async def answer_table(request: Request) -> Response:
        name, detail = request.path_params["table"], _read_detail(request)

        def write_document(catalogue: Catalogue, published_state: PublishedState) -> bytes:
            counted = published_state.select_fully_visible(context.identify_principal(request), context.policies)
            table = services.find_table(name, catalogue)
            return vosi.write_table(table, quote_name=adql.quote_name, detail=detail, find_statistics=counted)

        return answer_metadata(request, write_document, "table", name, detail)

    async def answer_examples(request: Request) -> Response:
        def write_document(_: Catalogue, published_state: PublishedState) -> bytes:
            example_queries = site_package.list_example_queries(
                published_state, context.identify_principal(request), context.policies
            )
            return query_examples.write_examples_document(example_queries)

        return answer_metadata(request, write_document, "examples", is_page=True)

    async def answer_capabilities(request: Request) -> Response:
        tap_url = f"{services.get_base_url(request, site.settings)}/tap"
        body = vosi.write_capabilities(_list_capabilities(tap_url, context))
        cache_headers = services.build_cache_headers(
            services.compute_etag(body), is_public=True, vary="accept-encoding, authorization, cookie, host"
        )
        return services.answer_with_etag(
            request,
            cache_headers,
            vosi.MEDIA_TYPE,
            body,
        )

    async def answer_availability(request: Request) -> Response:
        body = vosi.write_availability(is_available=True, start_time=context.start_time)
        return services.answer_with_body(request, body, {"content-type": vosi.MEDIA_TYPE, "cache-control": "no-store"})

    route = create_route("/tap", redirect_base_address)
    query_route = create_query_route("/tap/sync", sync, byte_limit=limit)
    return [
        route,
        query_route,
        create_route("/tap/tables", answer_tables),
        create_route("/tap/tables/{table:path}", answer_table),
        create_route("/tap/capabilities", answer_capabilities),
        create_route("/tap/availability", answer_availability),
        *uws.build_job_routes("/tap/async", "tap", site, context.identify_principal, byte_limit=limit),
        create_route("/tap/examples", answer_examples),
        *_user_tables.build_routes(context),
    ]


async def _answer_sync(
    context: ServiceContext,
    planning_queue: QueryQueue,
    lookup_queue: QueryQueue,
    upload_reader: UploadReader,
    request: Request,
    params: services.RequestParams,
) -> Response:
    text = read_query(params)
    fmt, options = form = formats.select_format(
        params.read_one("RESPONSEFORMAT") or params.read_one("FORMAT"), request.headers.get("accept")
    )
    maxrec = params.read_integer("MAXREC")
    principal = context.identify_principal(request)
    uploaded = await upload_reader.read_uploads(params)
    if read_explain(params):
        return await _answer_explain(text, principal, context, uploaded)

    as_of = params.read_one("ASOF")
    warnings = services.warn_unused_parameters(params, TAP_PARAMS, *LEGACY_PARAMETERS)
    if read_cite(params):
        cited = await _create_cited_result(context, request, params, text, planning_queue)
    else:
        cited = ()

    def run_query() -> QueryResult:
        return query.run_query(
            text, principal, site=context.site, maxrec=maxrec, uploads=uploaded, policies=context.policies, as_of=as_of
        )

    names_object = query.may_name_objects(text)
    soon = as_of is None and not names_object and len(text) < MAX_INLINE_QUERY_CHARACTERS
    if soon and query.has_cached_plan(text, principal, site=context.site, policies=context.policies):
        result = run_query()
    else:
        async with hold_turn(lookup_queue if names_object else planning_queue):
            result = await anyio.to_thread.run_sync(run_query)
    return await services.answer_with_result(
        request,
        result,
        form,
        etag_parts=("tap", text, maxrec, fmt.name, sorted(options.items()), as_of, warnings, cited),
        headers={"cache-control": "no-store"} if uploaded else None,  # a tag knows nothing of the uploads
        infos=[InfoElement(name="QUERY", value=text), _STANDARD_ID_INFO, *cited, *list_warnings(uploaded), *warnings],
        base_url=services.get_base_url(request, context.site.settings),
    )


async def _create_cited_result(
    context: ServiceContext, request: Request, params: services.RequestParams, text: str, query_queue: QueryQueue
) -> tuple[InfoElement, ...]:
    """Give the rows a persistent address."""
    principal, maxrec = context.identify_principal(request), params.read_integer("MAXREC")
    host = principal.name or (request.client.host if request.client is not None else "")
    async with hold_turn(query_queue):
        cited_result = await anyio.to_thread.run_sync(
            lambda: cited_results.create_cited_result(
                text, principal, site=context.site, policies=context.policies, maker_name=host, maxrec=maxrec
            )
        )
    return (
        InfoElement(
            name="result", value=f"{services.get_base_url(request, context.site.settings)}/results/{cited_result.id}"
        ),
    )


async def _answer_explain(
    text: str, principal: Principal, context: ServiceContext, uploaded_tables: UploadedTables
) -> Response:
    """Explain how the query would be run: our own extension."""
    plan = await anyio.to_thread.run_sync(
        lambda: query.explain_query(
            text, principal, site=context.site, uploads=uploaded_tables, policies=context.policies
        )
    )
    return Response(f"{plan}\n", headers={"cache-control": "no-store"}, media_type="text/plain; charset=utf-8")


def _read_detail(request: Request) -> str | None:
    detail = request.query_params.get("detail", request.query_params.get("DETAIL"))
    if detail not in {None, "min", "max", "stats"}:
        raise ParamError(f"detail={detail!r} is not known", name="detail", remedy="min, max or stats")
    return detail


def _list_capabilities(tap_url: str, context: ServiceContext) -> list[vosi.Capability]:
    def describe_resource(name: str, standard: str) -> vosi.Capability:
        return vosi.Capability(standard_id=standard, url=f"{tap_url}/{name}", role="std")

    return [
        describe_resource("capabilities", "ivo://ivoa.net/std/VOSI#capabilities"),
        describe_resource("availability", "ivo://ivoa.net/std/VOSI#availability"),
        vosi.Capability(
            standard_id="ivo://ivoa.net/std/VOSI#tables-1.1",
            url=f"{tap_url}/tables",
            role="std",
            version="1.1",
            security_methods=vosi.list_security_methods(context.site.settings),
        ),
        vosi.Capability(standard_id=query_examples.STANDARD_ID, url=f"{tap_url}/examples", interface="vr:WebBrowser"),
        vosi.Capability(
            standard_id=TAP_STANDARD_ID,
            url=tap_url,
            use="base",
            role="std",
            version="1.1",
            security_methods=vosi.list_security_methods(context.site.settings),
            description=_tapregext.describe_limits(context.site.settings),
            attributes_xml='xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0" xsi:type="tr:TableAccess"',
            extension_xml=_tapregext.write_table_access(
                context.site.settings,
                context.site.get_published_state().get_catalogue(policies=context.policies).list_names(),
            ),
        ),
        *_user_tables.list_capabilities(tap_url, context.site.settings),
    ]


def list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show a first query in several clients."""
    text = f"SELECT TOP 5 * FROM {adql.quote_name(published.table.schema)}.{adql.quote_name(published.table.name)}"
    # astropy, and so pyvo, reads no array of strings in the standard's form
    arrays = any(is_string_array(column.type) for column in published.table.columns)
    form = ', responseformat="votable;strings=json"' if arrays else ""
    return [
        UsageExample(
            title="TAP in Python (pyvo)",
            url=f"{base_url}/tap",
            language="python",
            example=f'import pyvo\nprint(pyvo.dal.TAPService("{base_url}/tap").search("""{text}"""{form}).to_table())',
        ),
        UsageExample(
            title="TAP with STILTS",
            url=f"{base_url}/tap",
            example=f"stilts tapquery tapurl={base_url}/tap sync=true adql={shlex.quote(text)} ofmt=ascii",
        ),
        UsageExample(
            title="TAP with curl",
            url=f"{base_url}/tap/sync",
            example=f"curl {base_url}/tap/sync -d LANG=ADQL -d RESPONSEFORMAT=csv --data-urlencode "
            f"{shlex.quote(f'QUERY={text}')}",
        ),
    ]


def list_registry_capabilities(
    context: ServiceContext, base_url: str, schema: Schema | None
) -> Sequence[vosi.Capability]:
    """List what registries are told: the service.

    Of a collection, that its tables are asked there (auxiliary capability, DDC 1.1).
    """
    if schema is None:
        return _list_capabilities(f"{base_url}/tap", context)
    is_offered = any(table.is_served_by("tap") for table in schema.tables)
    aux = vosi.Capability(
        standard_id=f"{TAP_STANDARD_ID}#aux", url=f"{base_url}/tap", use="base", role="std", version="1.1"
    )
    return [aux] if is_offered else []


FACE = Face(
    name="tap",
    title="TAP",
    standard_ids=(TAP_STANDARD_ID,),
    params=TAP_PARAMS,
    path="/tap/sync",
    applies=lambda _: True,
    example="LANG=ADQL&QUERY=SELECT+TOP+5+*+FROM+TAP_SCHEMA.tables",
    build_routes=build_routes,
    list_usage_examples=list_usage_examples,
    list_capabilities=list_registry_capabilities,
)

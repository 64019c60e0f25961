"""Answer with pages: their content is a plain value, which is sent as HTML or as JSON; errors have a remedy."""

from __future__ import annotations

import difflib
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
import orjson
from starlette.responses import Response

from hven import services
from hven.model.errors import HvenError, NotFoundError, TooManyRequestsError, UnauthenticatedError, format_message
from hven.portal._explore.column_labels import LABELS_PARAMETER, RAW_LABELS, ColumnLabels
from hven.portal._pages import (
    VARY_HEADERS,
    ErrorPage,
    PageLink,
    build_frame_etag_text,
    build_login_return_path,
    build_page_frame,
    build_page_security_headers,
    find_portal_brand,
    render_page,
)
from hven.portal._pages.texts import choose_language, load_page_translations
from hven.portal._pages.translation import MessageTranslator, get_message_translator
from hven.portal._views.page_addresses import build_table_address
from hven.services.face import wrap_endpoint_with_gates_and_errors
from hven.site import CURRENT_USAGE, anonymize_for_referee, list_example_queries
from hven.site.auth import ANONYMOUS_PRINCIPAL, collect_row_filters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request

    from hven.model.table import Schema, Table
    from hven.portal._pages import PageFrame, PortalBrand, TemplateContext
    from hven.services.face import ServiceContext
    from hven.site import Catalogue, PublishedState
    from hven.site.auth import Principal

JSON_MEDIA_TYPE = "application/json"
MAX_RETURN_ADDRESS_CHARACTERS = 1000  # a log-in at a provider keeps it in a cookie
# in pages of refused requests, before they are replaced
RETURN_PATH_MARK, REQUEST_ID_MARK = "the-path-to-which-a-login-leads-back", "the-id-of-this-request"
REFUSAL_PAGE_SECONDS = 10  # time for which such a page is cached


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContext:
    """The context of a page: the request, the user, and the published state.

    Attributes
    ----------
    published_state
        What is published, as the user may know it.
    principal
        The user.
    catalogue
        The collections that the user may see; a page may show no others.
    access_key
        The key of the user's access; ``public`` for everybody.
    base
        The address that links of pages begin with: that of the site, or of the portal that the request came to.
    brand
        The portal of the page; `catalogue` has only the collections of that portal.
    """

    request: Request
    context: ServiceContext
    published_state: PublishedState
    catalogue: Catalogue
    principal: Principal
    access_key: str
    base: str
    brand: PortalBrand

    @property
    def language(self) -> str:
        """The language of the answer."""
        return choose_language(self.request, self.brand.language)

    def find_collection(self) -> Schema:
        """Return the collection that the address names.

        Raises
        ------
        NotFoundError
            There is none, or the user may not see it.
        """
        name = self.request.path_params["name"].removesuffix(".json")
        for schema in self.catalogue.schemas:
            if schema.name == name and name in self.published_state.resources:
                return schema
        message = format_message("there is no collection {name!r} here", name[:80])
        raise NotFoundError(message, remedy="see the collections on the home page")

    @property
    def translator(self) -> MessageTranslator:
        """The translator of messages to the language of the answer."""
        return get_message_translator(self.language)

    def build_column_labels(self, table: Table) -> ColumnLabels:
        """Return the labels of a table's columns in the answer's language, or raw names if the address says so.

        Parameters
        ----------
        table
            The table, as the user sees it.
        """
        item = self.published_state.tables_by_name.get(table.qualified_name)
        is_filtered = bool(collect_row_filters([table], self.principal, self.context.policies))
        statistics = {} if item is None or is_filtered else item.statistics
        frame = statistics.get("spatial_frame_type", {})
        low = frame.get("minimum")
        high = frame.get("maximum")
        return ColumnLabels(
            table=table,
            language=self.language,
            translations=load_page_translations(self.language, "columns"),
            frame=str(low) if low == high else "",
            statistics=statistics,
            is_raw=self.request.query_params.get(LABELS_PARAMETER) == RAW_LABELS,
        )

    def describe_example_queries(self, collection: str | None = None) -> list[dict[str, str]]:
        """Describe the queries that the user can run as examples, in the answer's language.

        Parameters
        ----------
        collection
            Only the examples of this collection.

        Returns
        -------
        list of dict
            ``name``, ``query`` and ``description`` of each.
        """
        example_queries = list_example_queries(self.published_state, self.principal, self.context.policies, collection)
        translate = self.translator
        return [
            {
                "name": translate(example.name),
                "query": example.query,
                "description": translate(example.description or ""),
            }
            for example in example_queries
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContent:
    """The content of a page.

    Attributes
    ----------
    page
        The context of the page's template; None for an answer that is JSON alone.
    json_content
        The content of the JSON answer.
    status, headers
        Status and further headers of the answer.
    """

    page: TemplateContext | None = None
    json_content: object
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionFile:
    """A file of a collection that has a page: its path, and the page of the collection."""

    path: str
    collection: PageLink

    @property
    def name(self) -> str:
        """The name of the file, without its folders."""
        return self.path.rpartition("/")[2]


def build_redirect(address: str) -> PageContent:
    """Redirect the reader to another address of the same page.

    Parameters
    ----------
    address
        The other address.

    Returns
    -------
    content
        Content of a page with status 303.
    """
    return PageContent(
        page=ErrorPage(message="", status=303),
        json_content={"location": address},
        status=303,
        headers={"location": address},
    )


def build_page_context(request: Request, context: ServiceContext) -> PageContext:
    """Build the context of a page: the user, and the collections that they may see.

    Parameters
    ----------
    request
        The request of the page.
    context
        The context of the service.

    Returns
    -------
    page_context
        The context of the page.
    """
    principal = context.identify_principal(request)
    published_state = anonymize_for_referee(context.site.get_published_state(), principal)
    brand = find_portal_brand(request, context.site.settings)
    catalogue = published_state.get_catalogue(principal, context.policies)
    if brand.collections:
        portal_schemas = tuple(
            schema
            for schema in catalogue.schemas
            if schema.name in brand.collections or schema.name not in published_state.resources
        )
        catalogue = replace(catalogue, access_key=f"{catalogue.access_key}@{brand.portal}", schemas=portal_schemas)
    access_key = published_state.find_access_key(principal, context.policies)
    return PageContext(
        request=request,
        context=context,
        published_state=published_state,
        catalogue=catalogue,
        principal=principal,
        access_key=access_key,
        base=brand.base,
        brand=brand,
    )


def describe_requested_file(page_context: PageContext) -> CollectionFile:
    """Describe the file of a collection that the address of a page names.

    Parameters
    ----------
    page_context
        Context of the page.

    Returns
    -------
    file
        Path of the file, and a link to the page of its collection.
    """
    name = page_context.request.path_params["name"]
    resource = page_context.published_state.resources.get(name)
    return CollectionFile(
        path=page_context.request.path_params["path"],
        collection=PageLink(
            title=(resource.title if resource is not None else "") or name,
            url=f"{page_context.base}/collections/{quote(name)}",
        ),
    )


def render_page_response(page_context: PageContext, page: TemplateContext) -> Response:
    """Send the answer of a service as a page.

    Parameters
    ----------
    page_context
        Context of the request.
    page
        Context of the template.

    Returns
    -------
    response
        The page.
    """
    request = page_context.request
    context = page_context.context
    body = render_page(page, build_page_frame(request, context, has_switches=True))
    cache_headers = services.build_cache_headers(
        services.compute_etag(body), is_public=page_context.access_key == "public", vary=VARY_HEADERS
    )
    page_headers = build_page_security_headers(origins=context.site.settings.origins)
    headers = {**cache_headers, **page_headers}
    return services.answer_with_etag(request, headers, headers["content-type"], body)


def build_cache_control(page_context: PageContext) -> str:
    """Return the cache-control header of an answer: shared caches keep only public answers.

    Parameters
    ----------
    page_context
        The request of a page.
    """
    scope = "public" if page_context.access_key == "public" else "private"
    return f"{scope}, no-cache"


def is_json_requested(request: Request) -> bool:
    """Return whether the client asks for JSON: with ``.json`` at the end of the address, or with Accept.

    Parameters
    ----------
    request
        The request.
    """
    if request.url.path.endswith(".json"):
        return True
    accept = request.headers.get("accept", "").lower()
    return JSON_MEDIA_TYPE in accept and "text/html" not in accept


def build_page_endpoint(
    build_content: Callable[[PageContext], Awaitable[PageContent]],
    context: ServiceContext,
    *,
    document_cache: services.DocumentCache | None = None,
    is_repeatable: bool = False,
    header_options: Mapping[str, Any] | None = None,
    varying_parameters: Sequence[str] = (),
    compute_state: Callable[[PageContext], Awaitable[object]] | None = None,
    build_headers: Callable[[PageContext], Mapping[str, str]] | None = None,
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a page.

    Parameters
    ----------
    build_content
        Builds the content of the page; its errors become pages with the right status.
    context
        The context of the service.
    document_cache
        Cache for pages that are built only from metadata, the path of the address and `varying_parameters`.
    is_repeatable
        True: many users without credentials may get the same page within a second. Cached pages are repeatable, too.
    header_options
        Options of `hven.portal._pages.build_page_security_headers`.
    varying_parameters
        Names of parameters that change a cached page.
    compute_state
        Computes further state that the page depends on; its `repr` goes into the tag.
    build_headers
        Builds further headers.
    """
    policy = build_page_security_headers(**{"origins": context.site.settings.origins, **(header_options or {})})

    async def send_page(request: Request) -> Response:
        frame = build_page_frame(request, context, has_switches=document_cache is None)
        as_json = is_json_requested(request)
        page_context = build_page_context(request, context)
        headers = {"cache-control": build_cache_control(page_context), "vary": VARY_HEADERS, **policy}
        if request.query_params.keys() - {"lang"}:  # search engines index pages, and no searches
            headers["x-robots-tag"] = "noindex, nofollow"
        published_state, access_key = page_context.published_state, page_context.access_key
        usage = CURRENT_USAGE.get()
        if usage is not None and (is_repeatable or document_cache is not None):
            usage.mark_answer_as_repeatable(published_state.version, access_key, context.policies)
        if document_cache is None:
            page_content = await build_content(page_context)
            # in a thread: clients of services would wait while a large page is written
            body = await anyio.to_thread.run_sync(partial(_render_body, page_content, frame, is_json=as_json))
            return _build_response(request, page_content, body, headers, is_json=as_json)
        # the page says how long ago things were: its tag is valid for an hour
        hour = int(datetime.now(UTC).timestamp() // 3600)
        parts = [request.query_params.get(name) for name in varying_parameters]
        if compute_state is not None:
            extra_state = await compute_state(page_context)
        else:
            extra_state = None
        page_state = (
            build_frame_etag_text(frame),
            request.url.path,
            parts,
            as_json,
            published_state.version,
            access_key,
            hour,
            extra_state,
        )
        tag = services.compute_etag(repr(page_state).encode())
        headers["etag"] = tag
        if services.is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        cached_body = document_cache.find(tag)
        if cached_body is None:
            page_content = await build_content(page_context)
            if page_content.status != 200:
                headers.pop("etag")
                body = _render_body(page_content, frame, is_json=as_json)
                return _build_response(request, page_content, body, headers, is_json=as_json)
            cached_body = document_cache.get_or_build(tag, lambda: _render_body(page_content, frame, is_json=as_json))
        if build_headers is not None:
            headers |= await anyio.to_thread.run_sync(build_headers, page_context)
        return _build_response(request, None, cached_body, headers, is_json=as_json)

    error_responder = build_error_responder(context, suggest_pages=True, has_switches=document_cache is None)
    return wrap_endpoint_with_gates_and_errors(send_page, error_responder)


def build_json_endpoint(
    build_content: Callable[[PageContext], Awaitable[PageContent]], context: ServiceContext
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a JSON answer for scripts, tagged by its content, so that nothing is sent twice.

    Parameters
    ----------
    build_content
        Builds the answer.
    context
        Service context of the site.
    """

    async def send_json(request: Request) -> Response:
        page_context = build_page_context(request, context)
        page_content = await build_content(page_context)
        body = _write_json(page_content)
        etag = services.compute_etag(body)
        headers = services.build_cache_headers(etag, is_public=page_context.access_key == "public", vary=VARY_HEADERS)
        all_headers = {**headers, "content-type": JSON_MEDIA_TYPE, **page_content.headers}
        return services.answer_with_etag(request, all_headers, JSON_MEDIA_TYPE, body, page_content.status)

    return wrap_endpoint_with_gates_and_errors(send_json, build_error_responder(context, is_always_json=True))


def build_error_responder(
    context: ServiceContext, *, is_always_json: bool = False, suggest_pages: bool = False, has_switches: bool = False
) -> Callable[[Request, Exception], Response]:
    """Return the responder of errors: a page, or JSON, with the message and the remedy.

    Parameters
    ----------
    context
        The context of the service.
    is_always_json
        True: the answer is JSON, whatever the request accepts.
    suggest_pages
        True: the page of an unknown address also lists pages with similar names.
    has_switches
        True: links to other languages and themes keep the query of the address.
    """
    refusal_pages = services.DocumentCache()

    def render_refusal(request: Request, message: str, base: str, language: str) -> bytes:
        """Render the page of a refused request once for many users without credentials: crawlers send thousands."""
        request_id = services.get_request_id(request) or REQUEST_ID_MARK
        page = ErrorPage(message=message.replace(request_id, REQUEST_ID_MARK), status=429)
        version = context.site.get_published_state().version
        key = (page.message, language, base, version, int(time.monotonic()) // REFUSAL_PAGE_SECONDS)

        def render_marked_page() -> bytes:
            return render_page(page, replace(build_page_frame(request, context), own_path=RETURN_PATH_MARK))

        return_path = build_login_return_path(request, context.site.settings, base)
        if request.url.query and len(request.url.query) + len(return_path) < MAX_RETURN_ADDRESS_CHARACTERS:
            return_path = f"{return_path}?{request.url.query}"
        marked_page = refusal_pages.get_or_build(key, render_marked_page)
        own_page = marked_page.replace(RETURN_PATH_MARK.encode(), quote(return_path).encode())
        return own_page.replace(REQUEST_ID_MARK.encode(), request_id.encode())

    def send_error(request: Request, error: Exception) -> Response:
        brand = find_portal_brand(request, context.site.settings)
        language = choose_language(request, brand.language)
        translator = get_message_translator(language)
        message = translator.translate_error(error, services.get_request_id(request))
        http_status = services.find_http_status(error)
        error_headers = services.build_retry_after_header(error)
        status = http_status
        headers = {**error_headers, "cache-control": "no-store", "vary": VARY_HEADERS}
        if isinstance(error, UnauthenticatedError) and _is_page_requested_by_browser(request):
            login_address = _build_login_address(request, context)
            return Response(status_code=303, headers={**headers, "location": login_address})
        if is_always_json or is_json_requested(request):
            remedy = ""
            if isinstance(error, HvenError):
                remedy = error.remedy
            fault = {"message": message, "remedy": translator(remedy), "status": status}
            return Response(orjson.dumps(fault), status, {**headers, "content-type": JSON_MEDIA_TYPE})
        page_headers = {**build_page_security_headers(), **headers}
        is_usual_user = context.identify_principal(request) == ANONYMOUS_PRINCIPAL and not request.cookies
        if isinstance(error, TooManyRequestsError) and is_usual_user and request.method == "GET":
            body = render_refusal(request, message, brand.base, language)
            return services.answer_with_body(request, body, page_headers, status)
        frame = build_page_frame(request, context, has_switches=has_switches)
        similar_pages: Sequence[PageLink] = ()
        if suggest_pages and status == 404:
            words = _split_path_words(request.url.path)
            similar_pages = find_similar_pages(words, build_page_context(request, context))
        is_form = request.method == "POST"
        page = ErrorPage(message=message, status=status, near=similar_pages, is_form=is_form)
        body = render_page(page, frame)
        return services.answer_with_body(request, body, page_headers, status)

    return send_error


def _is_page_requested_by_browser(request: Request) -> bool:
    """Return whether a browser asks for a page: on status 401 it would open its own dialog for name and password."""
    accepted_types = request.headers.get("accept", "").lower()
    # Java's client sends text/html alone
    is_browser = "text/html" in accepted_types and "application/xhtml+xml" in accepted_types
    return request.method in {"GET", "HEAD"} and is_browser and not is_json_requested(request)


def _build_login_address(request: Request, context: ServiceContext) -> str:
    """Return the address of the log-in page, which leads back to the requested page."""
    frame = build_page_frame(request, context)
    if request.url.query:
        query = f"?{request.url.query}"
    else:
        query = ""
    return_address = f"{frame.own_path}{query}"
    if frame.own_path and len(return_address) <= MAX_RETURN_ADDRESS_CHARACTERS:
        login_query = f"?{urlencode({'next': return_address})}"
    else:
        login_query = ""
    return f"{frame.base}/login{login_query}"


def send_not_found(request: Request, context: ServiceContext) -> Response:
    """Answer a request for an unknown address: a page for browsers, JSON or plain text for programs.

    Parameters
    ----------
    request
        The request for that address.
    context
        The site, its users and its services.

    Returns
    -------
    response
        A response with status 404.
    """
    path = request.url.path
    not_found_text = f"there is no page at {path}; see / for the list of collections"
    request_id = services.get_request_id(request)
    if is_json_requested(request):
        remedy = "see the collections on the home page, and /openapi.json for what programs can request"
        answer = {"message": f"{not_found_text} [request {request_id}]", "remedy": remedy, "status": 404}
        headers = {"content-type": JSON_MEDIA_TYPE, "cache-control": "no-store", "vary": VARY_HEADERS}
        return Response(orjson.dumps(answer), 404, headers)
    if "text/html" not in request.headers.get("accept", "").lower():
        headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store", "vary": VARY_HEADERS}
        return Response(f"{not_found_text} [request {request_id}]\n", 404, headers)
    page_context = build_page_context(request, context)
    words = _split_path_words(path)
    page = ErrorPage(
        message="",
        status=404,
        path=path if len(path) <= 200 else f"{path[:199]}…",
        near=find_similar_pages(words, page_context),
        words=" ".join(words)[:100],
        request_id=request_id,
    )
    body = render_page(page, build_page_frame(request, context))
    headers = {**build_page_security_headers(), "cache-control": "no-store", "vary": VARY_HEADERS}
    return services.answer_with_body(request, body, headers, 404)


def find_similar_pages(words: Sequence[str], page_context: PageContext) -> list[PageLink]:
    """Return the pages of collections and tables with names similar to one of some words."""
    pages_by_name: dict[str, PageLink] = {}
    for schema in page_context.catalogue.schemas:
        resource = page_context.published_state.resources.get(schema.name)
        if resource is None:
            continue
        collection_title = resource.title or schema.name
        collection_page = PageLink(title=collection_title, url=f"{page_context.base}/collections/{quote(schema.name)}")
        pages_by_name.setdefault(schema.name.lower(), collection_page)
        for table in schema.tables:
            if table.qualified_name in page_context.published_state.tables_by_name:
                table_title = f"{collection_title}: {table.title or table.name}"
                table_page = PageLink(title=table_title, url=build_table_address(page_context.base, table))
                pages_by_name.setdefault(table.qualified_name.lower(), table_page)
                pages_by_name.setdefault(f"{table.name.lower()} ", table_page)
    similar_pages = {}
    for word in words:
        for name in difflib.get_close_matches(word.lower(), pages_by_name, n=3, cutoff=0.6):
            similar_pages[pages_by_name[name].url] = pages_by_name[name]
    return list(similar_pages.values())[:5]


def _split_path_words(path: str) -> list[str]:
    """Split an unknown address into words."""
    parts = [
        part.removesuffix(".json").removesuffix(".html")
        for part in path.split("/")
        if part not in {"", "collections", "statistics", "help"}
    ]
    return [part[:60] for part in parts[:6]]


def _write_json(page_content: PageContent) -> bytes:
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(page_content.json_content, default=str, option=option)


def _render_body(page_content: PageContent, frame: PageFrame, *, is_json: bool) -> bytes:
    if is_json or page_content.page is None:
        return _write_json(page_content)
    return render_page(page_content.page, frame)


def _build_response(
    request: Request, page_content: PageContent | None, body: bytes, headers: Mapping[str, str], *, is_json: bool
) -> Response:
    all_headers = dict(headers)
    status = 200
    if page_content is not None:
        all_headers |= page_content.headers
        status = page_content.status
    if is_json:
        all_headers["content-type"] = JSON_MEDIA_TYPE
        all_headers.pop("content-security-policy", None)
    return services.answer_with_body(request, body, all_headers, status)


def list_collection_titles(page_context: PageContext) -> dict[str, str | None]:
    """Return the titles of the collections.

    Parameters
    ----------
    page_context
        Context of the request.
    """
    return {name: resource.title for name, resource in page_context.published_state.resources.items()}

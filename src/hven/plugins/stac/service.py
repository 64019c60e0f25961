"""STAC 1.1 with its API, and OGC API Features, at ``/stac``: one root for both, also below each portal."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import orjson
from starlette.responses import Response
from starlette.routing import Route

from hven import services
from hven.model.errors import NotFoundError, ParamError
from hven.plugins.stac import collection_documents as documents
from hven.plugins.stac.item_documents import ItemFieldSelection
from hven.plugins.stac.item_searches import ItemPage, ItemSearch, read_item_page
from hven.plugins.stac.item_tables import find_item_table
from hven.plugins.stac.reader_catalogue import SERVICE_NAME, ReaderCatalogue
from hven.plugins.stac.search_parameters import SEARCH_NAMES, parse_get_search, parse_json_search, read_item_frame
from hven.plugins.stac.wfs_service import CACHE_HEADERS, build_wfs_routes
from hven.services.api.threads import call_in_thread
from hven.services.face import Capability, ServiceFace, UsageExample, create_route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from hven.model.table import Schema
    from hven.services.face import ServiceContext
    from hven.site import PublishedTable

    Content = tuple[object, str]  # what becomes JSON, or bytes; and its media type

JSON_MEDIA_TYPE = "application/json"
MAX_BODY_BYTES = 1024**2  # of a search by POST
ROUTE_PREFIX = f"/{SERVICE_NAME}"


def _respond_to_error(request: Request, error: Exception) -> Response:
    """Answer an error as OGC API and STAC have it."""
    status = services.find_http_status(error)
    message = services.log_error_and_write_message(error, services.get_request_id(request))
    body = orjson.dumps({"code": type(error).__name__.removesuffix("Error"), "description": message})
    headers = {**CACHE_HEADERS, **services.build_retry_after_header(error)}
    return Response(body, status, headers, media_type=JSON_MEDIA_TYPE)


def _write_service_page(catalogue: ReaderCatalogue, *_: object) -> Content:
    """Write the page for people: the collections with links, and the description for programs."""
    title = escape(catalogue.site_title)
    entries = "".join(
        f'<li><a href="{escape(documents.build_collection_url(catalogue.root_url, collection_id))}">'
        f"{escape(item_table.table.title or collection_id)}</a></li>"
        for collection_id, item_table in catalogue.item_tables.items()
    )
    page = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}: STAC</title></head><body>'
        f"<h1>{title}: STAC and OGC API Features</h1><p>Address: <code>{escape(catalogue.root_url)}</code>; "
        f'description: <a href="{escape(catalogue.root_url)}/api">OpenAPI</a></p><ul>{entries}</ul></body></html>'
    )
    return page.encode(), "text/html; charset=utf-8"


def _build_collection_list(catalogue: ReaderCatalogue, name: str) -> dict[str, Any]:
    """Build the document of all collections: as ``collections`` (OGC API), or as ``children`` (STAC)."""
    urls = {"self": f"{catalogue.root_url}/{name}", "root": catalogue.root_url, "parent": catalogue.root_url}
    links = [documents.build_link(relation, url) for relation, url in urls.items()]
    entries = [documents.build_collection_document(catalogue, item) for item in catalogue.list_collections()]
    return {name: entries, "links": links}


def _build_collections(catalogue: ReaderCatalogue, *_: object) -> Content:
    document = _build_collection_list(catalogue, "collections")
    count = len(document["collections"])
    return {**document, "numberMatched": count, "numberReturned": count}, JSON_MEDIA_TYPE


def _build_collection(catalogue: ReaderCatalogue, request: Request, _: bytes) -> Content:
    collection = catalogue.find_collection(request.path_params["collection"])
    return documents.build_collection_document(catalogue, collection), JSON_MEDIA_TYPE


def _build_queryables(catalogue: ReaderCatalogue, request: Request, _: bytes) -> Content:
    collection_id = request.path_params.get("collection")
    if collection_id is not None:
        collections = [catalogue.find_collection(collection_id)]
        url = f"{documents.build_collection_url(catalogue.root_url, collection_id)}/queryables"
    else:
        collections = catalogue.list_collections()
        url = f"{catalogue.root_url}/queryables"
    return documents.build_queryables(catalogue, url, collections), documents.SCHEMA_MEDIA_TYPE


def _write_item_collection(page: ItemPage, links: Sequence[dict[str, Any]]) -> Content:
    """Write a page of items as one document."""
    counts = {"numberReturned": len(page.texts)}
    if page.total_count is not None:
        counts["numberMatched"] = page.total_count
    tail = orjson.dumps({"links": list(links), **counts})
    features = ",\n".join(page.texts.to_pylist()).encode()
    body = b'{"type":"FeatureCollection","features":[\n' + features + b"\n]," + tail[1:]
    return body, documents.GEOJSON_MEDIA_TYPE


def _build_page_links(
    catalogue: ReaderCatalogue, request: Request, page: ItemPage, body: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Build the links of a page; a body is that of a search by POST."""
    url = f"{catalogue.base_url}{quote(_get_search_path(request))}"
    media_type = documents.GEOJSON_MEDIA_TYPE
    self_url = f"{url}?{request.url.query}" if request.url.query else url
    links = [documents.build_link("self", self_url, media_type), documents.build_link("root", catalogue.root_url)]
    if "collection" in request.path_params:
        collection_url = documents.build_collection_url(catalogue.root_url, request.path_params["collection"])
        links += [documents.build_link("collection", collection_url), documents.build_link("parent", collection_url)]
    if page.next_token is None:
        return links
    if body is not None:
        next_link = documents.build_link("next", url, media_type)
        links.append({**next_link, "method": "POST", "merge": False, "body": {**body, "token": page.next_token}})
        return links
    other_pairs = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
    next_pairs = [*other_pairs, ("token", page.next_token)]
    links.append(documents.build_link("next", f"{url}?{urlencode(next_pairs)}", media_type))
    return links


def _get_search_path(request: Request) -> str:
    """Return the path below the address of the site or the portal."""
    collection_id = request.path_params.get("collection")
    if collection_id is None:
        return f"{ROUTE_PREFIX}/search"
    return f"{ROUTE_PREFIX}/collections/{collection_id}/items"


def _search_by_get(catalogue: ReaderCatalogue, request: Request, _: bytes) -> Content:
    pairs = request.query_params.multi_items()
    collection_id = request.path_params.get("collection")
    if collection_id is None:
        search = parse_get_search(pairs, list(catalogue.item_tables))
    else:
        item_table = catalogue.find_collection(collection_id).item_table
        pairs, is_latitude_first = read_item_frame(pairs, item_table)
        search = parse_get_search(pairs, [collection_id], item_table)
        search = replace(search, selection=replace(search.selection, is_latitude_first=is_latitude_first))
    page = read_item_page(catalogue, search)
    return _write_item_collection(page, _build_page_links(catalogue, request, page, None))


def _search_by_post(catalogue: ReaderCatalogue, request: Request, body: bytes) -> Content:
    try:
        given = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise ParamError(f"the body is not JSON: {error}", remedy="send the search as a JSON object") from None
    if not isinstance(given, dict):
        raise ParamError("the body is not a JSON object", remedy='send, for example, {"limit": 10}')
    page = read_item_page(catalogue, parse_json_search(given, list(catalogue.item_tables)))
    return _write_item_collection(page, _build_page_links(catalogue, request, page, given))


def _read_item(catalogue: ReaderCatalogue, request: Request, _: bytes) -> Content:
    collection_id, item_id = request.path_params["collection"], request.path_params["item"]
    collection = catalogue.find_collection(collection_id)
    frames = read_item_frame(request.query_params.multi_items(), collection.item_table)
    selection = ItemFieldSelection(is_latitude_first=frames[1])
    search = ItemSearch(collection_ids=[collection.id], ids=[item_id], limit=1, selection=selection)
    page = read_item_page(catalogue, search)
    if not len(page.texts):
        raise NotFoundError(f"{collection_id} has no item {item_id!r:.120}", remedy="see the items of the collection")
    text: str = page.texts[0].as_py()
    return text.encode(), documents.GEOJSON_MEDIA_TYPE


def build_stac_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of the service.

    Parameters
    ----------
    context
        Site, reader and other faces.
    """

    async def answer_request(
        request: Request, build_content: Callable[[ReaderCatalogue, Request, bytes], Content]
    ) -> Response:
        catalogue = ReaderCatalogue.create_for_request(context, request)
        body = await services.read_body(request, MAX_BODY_BYTES) if request.method == "POST" else b""
        content, media_type = await call_in_thread(build_content, catalogue, request, body)
        headers = {**CACHE_HEADERS, "content-type": media_type}
        if media_type == documents.GEOJSON_MEDIA_TYPE and "collection" in request.path_params:
            headers["content-crs"] = f"<{request.query_params.get('crs', documents.CRS84)}>"
        answer = content if isinstance(content, bytes) else orjson.dumps(content)
        return services.answer_with_body(request, answer, headers)

    content_builders: dict[tuple[str, str], Callable[[ReaderCatalogue, Request, bytes], Content]] = {
        **dict.fromkeys(
            [("GET", ""), ("GET", "/")],
            lambda catalogue, *_: (documents.build_landing_page(catalogue), JSON_MEDIA_TYPE),
        ),
        ("GET", "/conformance"): lambda *_: ({"conformsTo": documents.CONFORMANCE_CLASSES}, JSON_MEDIA_TYPE),
        ("GET", "/api"): lambda catalogue, *_: (
            documents.build_openapi_document(catalogue, SEARCH_NAMES),
            documents.OPENAPI_MEDIA_TYPE,
        ),
        ("GET", "/api.html"): _write_service_page,
        ("GET", "/children"): lambda catalogue, *_: (_build_collection_list(catalogue, "children"), JSON_MEDIA_TYPE),
        ("GET", "/queryables"): _build_queryables,
        ("GET", "/search"): _search_by_get,
        ("POST", "/search"): _search_by_post,
        ("GET", "/collections"): _build_collections,
        ("GET", "/collections/{collection}"): _build_collection,
        ("GET", "/collections/{collection}/queryables"): _build_queryables,
        ("GET", "/collections/{collection}/items"): _search_by_get,
        ("GET", "/collections/{collection}/items/{item:path}"): _read_item,
    }
    routes = [
        create_route(f"{ROUTE_PREFIX}{path}", partial(answer_request, build_content=build), _respond_to_error, [method])
        for (method, path), build in content_builders.items()
    ]
    return [*routes, *build_wfs_routes(context)]


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    url = f"{base_url}{ROUTE_PREFIX}"
    collection_id = published.table.qualified_name
    code = (
        f'from pystac_client import Client\n\ncatalog = Client.open("{url}")\n'
        f'search = catalog.search(collections=["{collection_id}"], max_items=10)\n'
        "for item in search.items():\n    print(item.id, item.datetime)"
    )
    example_url = documents.build_collection_url(url, collection_id)
    return [UsageExample(title="STAC in Python", url=example_url, example=code, language="python")]


def _list_capabilities(_: ServiceContext, base_url: str, schema: Schema | None) -> Sequence[Capability]:
    """Describe its landing page; the IVOA has no identifier for STAC."""
    if schema:
        return []
    return [Capability(standard_id=None, url=f"{base_url}{ROUTE_PREFIX}", interface="vr:WebBrowser")]


FACE = ServiceFace(
    name=SERVICE_NAME,
    title="STAC",
    texts={"fr": {"STAC in Python": "STAC en Python"}},
    description="Items of planetary and sky data for STAC and OGC API Features clients.",
    applies=lambda table: find_item_table(table) is not None,
    is_selectable=True,
    missing_requirement="columns of EPN-TAP or ObsCore",
    list_usage_examples=_list_usage_examples,
    build_routes=build_stac_routes,
    list_capabilities=_list_capabilities,
)

"""Show ``/maps`` and ``/maps/<body>``: the bodies with maps, and the map of one body, which a script draws.

The script gets the places of the body from ``/maps/<body>/places``: its names, and the tables whose rows are on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
from starlette.routing import Route

from hven.adql.syntax_tree import Comparison, FunctionCall, Literal, build_table_query
from hven.model import plugins
from hven.model.errors import HvenError
from hven.model.table import translate_text
from hven.plugins.maps.map_layers import LAYERS_KEY
from hven.portal.api.column_values import build_column_ref
from hven.portal.api.page_rows import build_json_endpoint, build_query_runner, build_table_address, parse_search
from hven.portal.api.pages import PageContent, PortalPages, TemplateContext, build_page_context, build_page_endpoint
from hven.portal.api.table_places import (
    find_body_column,
    find_footprint_column,
    find_map_frame,
    list_gazetteers,
    recognize_gazetteer_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import QueryRunner
    from hven.services.face import ServiceContext

MAX_NAMES = 20_000  # of a body
QUERY_TIMEOUT_SECONDS = 5.0
GLOBE_PIXELS = 240  # of the pictures of bodies
PICTURE_PIXELS = (1024, 512)  # of the map for browsers without scripts


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyListPage(TemplateContext):
    """The page of all bodies with maps.

    Attributes
    ----------
    bodies
        Body, title, number of layers, and address of the picture of each.
    """

    template = "maps/bodies.html"
    bodies: Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyMapPage(TemplateContext):
    """The page with the map of a body.

    Attributes
    ----------
    body
        Name of the body.
    described
        Its description, as in JSON.
    collections
        Names and texts of the collections of the layers.
    picture
        Parameters of WMS for a picture of the whole body, to which ``LAYERS`` is added.
    """

    template = "maps/body_map.html"
    body: str
    described: Mapping[str, Any]
    collections: Mapping[str, object]
    picture: str


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the pages of bodies."""

    async def show_bodies(page_context: PageContext) -> PageContent:
        document = await anyio.to_thread.run_sync(_build_map_document, page_context, "build_body_list")
        return PageContent(page=BodyListPage(bodies=document["bodies"]), json_content=document)

    async def show_body(page_context: PageContext) -> PageContent:
        body_name = page_context.request.path_params["body"]
        document = await anyio.to_thread.run_sync(_build_map_document, page_context, "build_body_document", body_name)
        return PageContent(page=_build_body_page(document, page_context), json_content=document)

    async def answer_places(page_context: PageContext) -> PageContent:
        body_name = page_context.request.path_params["body"]
        return PageContent(json_content=await anyio.to_thread.run_sync(_find_names_and_tables, page_context, body_name))

    return [
        Route("/maps", build_page_endpoint(show_bodies, context)),
        Route("/maps/{body}", build_page_endpoint(show_body, context)),
        Route("/maps/{body}/places", build_json_endpoint(answer_places, context)),
    ]


def _build_map_document(page_context: PageContext, function_name: str, *arguments: str) -> dict[str, Any]:
    """Build a document of the layers that the reader may see, in the language and with the addresses of the page."""
    purpose = "the pages of maps"
    access = plugins.import_hven_module("hven.plugins.maps.layer_access", purpose)
    documents = plugins.import_hven_module("hven.plugins.maps.body_documents", purpose)
    context = page_context.context
    portal_collections = frozenset(page_context.brand.collections)
    portal_context = replace(context, collections=portal_collections or context.collections)
    rasters = access.list_layer_rasters(portal_context, page_context.principal)
    document: dict[str, Any] = getattr(documents, function_name)(rasters, *arguments, page_context.base)
    if "layers" in document:
        document["layers"] = [_translate_values(layer, page_context.language) for layer in document["layers"]]
    for body in document.get("bodies", ()):  # the rasters are listed once for all bodies
        own_document = documents.build_body_document(rasters, body["body"], page_context.base)
        body["picture"] = _build_picture_url(own_document)
    return document


def _build_picture_url(document: Mapping[str, Any]) -> str:
    """Build the address of the picture of a body: its first layer from far away."""
    layer, radius = document["layers"][0], document["radii_m"]["sphere"]
    frame = document["frame"].removesuffix("00") + "65"  # orthographic, above longitude 0
    parameters = _build_wms_parameters(frame, (-radius, -radius, radius, radius), (GLOBE_PIXELS, GLOBE_PIXELS))
    query = urlencode(parameters | {"TRANSPARENT": "TRUE", "LAYERS": layer["layer"]})
    return f"{layer['wms_url']}?{query}"


def _build_wms_parameters(frame: str, box: tuple[float, ...], size: tuple[int, int]) -> dict[str, object]:
    """Build the parameters of a request for a picture of WMS 1.1.1, without layers."""
    return {
        "SERVICE": "WMS",
        "VERSION": "1.1.1",
        "REQUEST": "GetMap",
        "SRS": frame,
        "BBOX": ",".join(f"{edge:g}" for edge in box),
        "WIDTH": size[0],
        "HEIGHT": size[1],
        "STYLES": "",
        "FORMAT": "image/png",
    }


def _translate_values(record: Mapping[str, Any], language: str) -> dict[str, Any]:
    return {
        name: translate_text(language, value) if isinstance(value, str) else value for name, value in record.items()
    }


def _build_body_page(document: Mapping[str, Any], page_context: PageContext) -> BodyMapPage:
    resources = page_context.published_state.resources
    parameters = _build_wms_parameters(document["frame"], (-180, -90, 180, 90), PICTURE_PIXELS)
    return BodyMapPage(
        body=document["body"],
        described=document,
        collections={layer["collection"]: resources[layer["collection"]] for layer in document["layers"]},
        picture=urlencode(parameters),
    )


def _find_names_and_tables(page_context: PageContext, body_name: str) -> dict[str, object]:
    runner = build_query_runner(page_context)
    return {
        "names": _list_gazetteer_names(page_context, body_name, runner),
        "tables": _list_body_tables(page_context, body_name, runner),
    }


def _list_gazetteer_names(page_context: PageContext, body_name: str, runner: QueryRunner) -> list[list[object]]:
    """List the names of a body with longitude, latitude and size in km, the largest first."""
    names: list[list[object]] = []
    for gazetteer in list_gazetteers(page_context.catalogue.iterate_tables(), runner):
        column_names = [gazetteer.name_column, gazetteer.longitude_column, gazetteer.latitude_column]
        if gazetteer.size_column:
            column_names.append(gazetteer.size_column)
        lower_body = FunctionCall("LOWER", (build_column_ref(gazetteer.body_column),))
        is_on_body = Comparison("=", lower_body, Literal(body_name.lower()))
        query = build_table_query(gazetteer.table, column_names, is_on_body)
        try:
            rows = runner.fetch_table(query, row_limit=MAX_NAMES, timeout_seconds=QUERY_TIMEOUT_SECONDS)
        except HvenError:
            continue  # the map is drawn without these names
        columns = [column.to_pylist() for column in rows.columns]
        sizes = columns[3] if gazetteer.size_column else [0.0] * rows.num_rows
        for name, lon, lat, size in zip(*columns[:3], sizes, strict=True):
            if None not in {name, lon, lat}:
                names.append([name, round(lon, 3), round(lat, 3), round(size or 0.0, 1)])
    return sorted(names, key=lambda item: -float(str(item[3])))


def _list_body_tables(page_context: PageContext, body_name: str, runner: QueryRunner) -> list[dict[str, object]]:
    """List the tables that have rows on a body."""
    tables: list[dict[str, object]] = []
    for table in page_context.catalogue.iterate_tables():
        map_frame = find_map_frame(table)
        body_column = find_body_column([column for column in table.columns if column.type.is_string])
        if map_frame is None or map_frame.radius or body_column is None or recognize_gazetteer_table(table) is not None:
            continue
        if table.release is not None or table.qualified_name not in page_context.published_state.tables_by_name:
            continue
        condition = (body_column.name, body_name)
        search = parse_search([condition], table)
        query = search.build_count_query_where(search.build_condition())
        try:
            row_count = runner.fetch_number(query, timeout_seconds=QUERY_TIMEOUT_SECONDS)
        except HvenError:
            continue
        if row_count:
            resource = page_context.published_state.resources.get(table.schema)
            collection_title = resource.title if resource else ""
            facts = {
                "id": table.qualified_name,
                "title": table.title or collection_title or table.qualified_name,
                "url": build_table_address(page_context.base, table),
                "query": urlencode([condition]),
                "rows": row_count,
                "footprints": find_footprint_column(table) is not None,
            }
            tables.append(_translate_values(facts, page_context.language))
    return tables


def _list_map_collections(request: Request, context: ServiceContext) -> tuple[str, ...]:
    """List the collections with maps that the reader may see: pages link to their maps."""
    page_context = build_page_context(request, context)
    resources = page_context.published_state.resources
    names = [schema.name for schema in page_context.catalogue.schemas if schema.name in resources]
    return tuple(name for name in names if resources[name].extensions.get(LAYERS_KEY))


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"menu": "menu.html", "collection.links": "collection_link.html"},
    compute_frame_value=_list_map_collections,
)

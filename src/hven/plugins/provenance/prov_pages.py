"""Pages of provenance: the graph of ``/prov``, and the origins of the values of a row."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
from markupsafe import Markup
from starlette.routing import Route

from hven.engines import Snapshot
from hven.model.errors import NotFoundError
from hven.plugins.provenance.graph_drawing import draw_graph
from hven.plugins.provenance.prov_records import quote_id
from hven.plugins.provenance.reader_site import ReaderSite
from hven.plugins.provenance.result_links import HAS_PROVENANCE
from hven.plugins.provenance.row_records import write_key_text
from hven.plugins.provenance.value_origins import explain_row_origin
from hven.portal.api.landing_pages import LandingPageExtension
from hven.portal.api.page_rows import build_table_address, render_page_response
from hven.portal.api.pages import PageContent, PortalPages, TemplateContext, build_page_context, build_page_endpoint
from hven.portal.api.table_pages import TablePageExtension
from hven.portal.api.table_rows import fetch_row, format_cells, read_table_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.plugins.provenance.prov_records import ProvGraph
    from hven.plugins.provenance.value_origins import RowOrigin, ValueOrigin
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import TableView, TextCell
    from hven.services.citations import CitationMetadata
    from hven.services.face import ServiceContext

COLUMN_PARAMETER = "_column"
FORMAT_NAMES = ("PROV-JSON", "PROV-JSONLD", "PROV-N", "PROV-XML", "PROV-SVG")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphPage(TemplateContext):
    """The page of a graph.

    Attributes
    ----------
    drawing
        The graph as SVG.
    records
        Title, kind, address of the own graph and address of the page of each record.
    ids, direction, depth
        Parameters of the request.
    formats
        Names and addresses of the formats.
    left_out_count
        Number of relations that were left out.
    """

    template = "provenance/graph.html"
    drawing: Markup
    records: Sequence[Mapping[str, str]]
    ids: Sequence[str]
    direction: str
    depth: str
    formats: Sequence[tuple[str, str]]
    left_out_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuesPage(TemplateContext):
    """The page of the origins of a row's values.

    Attributes
    ----------
    name, table_address, row_address, graph_address, whole_address
        Name of the table, and addresses of its page, of the row, of the graph of the row, and of this page with all
        values.
    row_key
        The key of the row, for people.
    origin
        Origins of the row.
    values
        Column, label, unit, cell, origin and address of each value that the page shows.
    column
        The column that the address names; empty: all.
    """

    template = "provenance/row_values.html"
    name: str
    table_address: str
    row_address: str
    graph_address: str
    whole_address: str
    row_key: str
    origin: RowOrigin
    values: Sequence[Mapping[str, object]]
    column: str


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page of the origins of a row's values."""

    async def show_values(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_values_page, page_context)

    return [Route("/collections/{name}/{table}/provenance", build_page_endpoint(show_values, context))]


def _build_values_page(page_context: PageContext) -> PageContent:
    """Build the page of the row that the address names.

    Raises
    ------
    NotFoundError
        There is no such row that the reader may see, or no such column.
    """
    table_view = read_table_view(page_context, ignored_parameters=(COLUMN_PARAMETER,))
    table = table_view.table
    page = fetch_row(table_view.search, table_view.runner, table_view.search.row or "")
    if not page.rows.num_rows:
        raise NotFoundError(
            f"{table.qualified_name} has no row with this key", remedy="choose a row on the table's page"
        )
    column_name = page_context.request.query_params.get(COLUMN_PARAMETER, "")
    origin = explain_row_origin(table_view, page, ReaderSite(page_context))
    cells = format_cells(page, table, table_view.search.units, labels=table_view.labels)[0]
    values_address = build_values_address(page_context.base, table_view)
    values = []
    for column, cell, value_origin in zip(page.columns, cells, origin.values, strict=True):
        if not column_name or column.name == column_name:
            address = f"{values_address}&{urlencode({COLUMN_PARAMETER: column.name})}"
            value = _describe_value(table_view, column.name, cell, value_origin, address)
            change = value_origin.change
            values.append({**value, "change_title": "" if change is None else page_context.translator(change.title)})
    if not values:
        raise NotFoundError(
            f"{table.qualified_name} has no column {column_name!r:.80}",
            remedy="see the row's page for its columns",
        )
    table_address = build_table_address(page_context.base, table)
    key_text = write_key_text(table, page.keys[0])
    row_id = quote_id(f"row/{table.qualified_name}/{key_text}")
    values_page = ValuesPage(
        name=table.qualified_name,
        table_address=table_address,
        row_address=f"{table_address}?{urlencode({'_row': page.keys[0]})}",
        graph_address=f"{page_context.base}/prov?ID={row_id}",
        whole_address=values_address,
        row_key=key_text,
        origin=origin,
        values=values,
        column=column_name,
    )
    json_content: dict[str, Any] = asdict(origin)
    shown_names = {value["column"] for value in values}
    json_content["values"] = [value for value in json_content["values"] if value["column"] in shown_names]
    link = f'<{values_page.graph_address}>; rel="{HAS_PROVENANCE}"'
    return PageContent(page=values_page, json_content=json_content, headers={"link": link})


def _describe_value(
    table_view: TableView, name: str, cell: TextCell | None, value_origin: ValueOrigin, address: str
) -> dict[str, object]:
    column = table_view.table.find_column(name)
    return {
        "column": name,
        "label": column.label or name,
        "unit": column.unit or "",
        "description": column.description or "",
        "cell": cell,
        "origin": value_origin,
        "address": address,
    }


def build_values_address(base: str, table_view: TableView) -> str:
    """Build the address of the page of the origins of the row that an address names.

    Parameters
    ----------
    base
        Address of the site or the portal.
    table_view
        The table, with the row in its search.
    """
    parameters = {"_row": table_view.search.row or ""}
    if table_view.state and isinstance(table_view.published.relation, Snapshot):
        parameters["_asof"] = table_view.state
    return f"{build_table_address(base, table_view.table)}/provenance?{urlencode(parameters)}"


def write_graph_page(request: Request, context: ServiceContext, content: Mapping[str, Any]) -> Response:
    """Write a graph as a page.

    Parameters
    ----------
    request
        The request of ``/prov``.
    context
        The context of the service.
    content
        The graph.
    """
    graph: ProvGraph = content["graph"]
    page_context = build_page_context(request, context)
    pairs = [(name, value) for name, value in request.query_params.multi_items() if name.upper() != "RESPONSEFORMAT"]
    parameters = {name.upper(): value for name, value in pairs}
    records = [
        {
            "label": record.label,
            "kind": record.kind,
            "graph": graph.namespace + quote_id(record.id),
            "page": record.url,
            "times": " to ".join(time[:19].replace("T", " ") for time in (record.started, record.ended) if time),
            "comment": str(record.attributes.get("comment") or record.attributes.get("value") or ""),
        }
        for record in graph.records.values()
    ]
    page = GraphPage(
        drawing=Markup(draw_graph(graph, is_inline=True)) if graph.records else Markup(),  # noqa: S704  (escaped there)
        records=records,
        ids=[value for name, value in pairs if name.upper() == "ID"],
        direction=parameters.get("DIRECTION", "BACK").upper(),
        depth=parameters.get("DEPTH", ""),
        formats=[
            (name, f"{page_context.base}/prov?{urlencode([*pairs, ('RESPONSEFORMAT', name)])}") for name in FORMAT_NAMES
        ],
        left_out_count=graph.left_out_count,
    )
    return render_page_response(page_context, page)


def _build_provenance_addresses(table_view: TableView, page_context: PageContext) -> dict[str, str]:
    """Build the addresses of the graph of a table, and of the origins of the row that its page shows."""
    # names of tables have none of the characters for which `quote_id` does more
    table_id = f"table/{quote(table_view.table.qualified_name, safe='.')}"
    return {
        "graph": f"{page_context.base}/prov?ID={table_id}&DEPTH=ALL",
        "row_page": build_values_address(page_context.base, table_view),
    }


def _build_provenance_link_header(page_context: PageContext, citation: CitationMetadata) -> dict[str, str]:
    """Build the header that leads programs from a collection to its provenance (PROV-AQ 2.1)."""
    url = f"{page_context.brand.root}/prov?ID={quote_id(f'collection/{citation.resource.name}')}"
    return {"link": f'<{url}>; rel="{HAS_PROVENANCE}"'}


LANDING_PAGES = LandingPageExtension(build_headers=_build_provenance_link_header)
TABLE_PAGE = TablePageExtension(compute_value=_build_provenance_addresses)
PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={
        "collection.links": "collection_link.html",
        "table.trail": "table_link.html",
        "table.row_values": "row_link.html",
        "table.row": "row_panel.html",
    },
    page_writers={"provenance": write_graph_page},
)

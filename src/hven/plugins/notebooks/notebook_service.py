"""Serve notebooks: ``/collections/NAME/TABLE/notebook`` of the search in the address, and ``/notebook?QUERY=..``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import query, services
from hven.jobs.tap import read_adql_query
from hven.plugins.notebooks.notebook_cells import AxisColumn, NotebookContent, write_cells
from hven.plugins.notebooks.notebook_document import MEDIA_TYPE, write_notebook
from hven.plugins.series.table_series import list_table_series
from hven.portal.api.page_rows import build_table_address
from hven.portal.api.pages import PortalPages, build_error_responder, build_page_context
from hven.portal.api.plots import is_plottable
from hven.portal.api.table_downloads import (
    DOWNLOAD_PARAMETERS,
    CitationText,
    build_file_stem,
    expand_search_to_all_columns_if_asked,
    require_faultless_search,
)
from hven.portal.api.table_links import TableLink, TableLinkKind
from hven.portal.api.table_places import classify_table_map, find_position_columns
from hven.portal.api.table_rows import build_search_by_row_keys_alone, read_table_view
from hven.services.citations import write_bibtex, write_citation_sentence
from hven.services.face import wrap_endpoint_with_gates_and_errors
from hven.services.file_rows import list_link_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.table import Column, Table
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import TableSearch, TableView
    from hven.services.face import ServiceContext

ROW_PARAMETER = "_row"
MAX_DATA_SETS = 3  # time series of a table with cells of their own
MAX_FORM_BYTES = 2 * 1024**2  # of a form with a query
TABLE_PATH = "/collections/{name}/{table}/notebook"
QUERY_PATH = "/notebook"
_HEADERS = {"x-content-type-options": "nosniff"}


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the notebooks of searches and of queries."""

    def write_search_notebook(request: Request) -> Response:
        page_context = build_page_context(request, context)
        table_view = read_table_view(page_context, ignored_parameters=DOWNLOAD_PARAMETERS)
        content = _describe_search(table_view, page_context)
        return _answer_with_notebook(page_context, content, build_file_stem(table_view))

    def write_query_notebook(request: Request, params: services.RequestParams) -> Response:
        page_context = build_page_context(request, context)
        return _answer_with_notebook(page_context, _describe_query(read_adql_query(params), page_context), "query")

    async def answer_search(request: Request) -> Response:
        return await anyio.to_thread.run_sync(write_search_notebook, request)

    async def answer_query(request: Request, params: services.RequestParams) -> Response:
        return await anyio.to_thread.run_sync(write_query_notebook, request, params)

    respond_to_error = build_error_responder(context)
    return [
        Route(TABLE_PATH, wrap_endpoint_with_gates_and_errors(answer_search, respond_to_error)),
        Route(
            QUERY_PATH,
            wrap_endpoint_with_gates_and_errors(answer_query, respond_to_error, MAX_FORM_BYTES),
            methods=["GET", "POST"],
        ),
    ]


def _answer_with_notebook(page_context: PageContext, content: NotebookContent, file_stem: str) -> Response:
    body = write_notebook(write_cells(content))
    headers = services.build_cache_headers(services.compute_etag(body), is_public=page_context.access_key == "public")
    headers |= _HEADERS | {"content-disposition": f'attachment; filename="{file_stem}.ipynb"'}
    return services.answer_with_etag(page_context.request, headers, MEDIA_TYPE, body)


def _describe_search(table_view: TableView, page_context: PageContext) -> NotebookContent:
    """Collect what the notebook of a search is written from.

    Raises
    ------
    ParamError
        The search has a fault: its notebook would show other rows than those that the reader wants.
    """
    table = require_faultless_search(table_view).table
    search = _add_positions(expand_search_to_all_columns_if_asked(table_view, page_context))
    if table_view.search.row:
        search = build_search_by_row_keys_alone(search, [table_view.search.row])
    parameters = table_view.search.list_parameters()
    address = build_table_address(page_context.base, table) + (f"?{urlencode(parameters)}" if parameters else "")
    columns = search.list_shown_columns()
    link_names = {column.name for column in list_link_columns(table)}
    resource = page_context.published_state.resources.get(table.schema)
    citation = None
    if resource is not None:
        citation = CitationText(text=write_citation_sentence(resource), bibtex=write_bibtex(resource, address))
    own_series = [series.id for series in list_table_series(table) if not series.file]
    return NotebookContent(
        title=table.title or (resource.title if resource is not None else table.qualified_name),
        summary=table.description or (resource.description if resource is not None else "") or "",
        address=address,
        service=f"{page_context.base}/tap",
        query=search.write_adql(),
        needs_token=not table.is_fully_public,
        positions=_find_selected_positions(table, columns),
        is_sky=classify_table_map(table) == "sky",
        plotted=[_label_axis(column) for column in _choose_plotted_columns(table, columns)],
        file_column=next((column.name for column in columns if column.name in link_names and not column.link), ""),
        data_sets=own_series[:MAX_DATA_SETS],
        hapi=f"{page_context.base}/hapi",
        citation=citation,
        licence=(resource.licence or "") if resource is not None else "",
    )


def _describe_query(text: str, page_context: PageContext) -> NotebookContent:
    """Collect what the notebook of a query is written from; the query is planned with the rights of the reader.

    Raises
    ------
    UserError
        The query is not valid, or the reader may not see its tables.
    """
    context = page_context.context
    with query.run_query(
        text, page_context.principal, site=context.site, policies=context.policies, maxrec=0
    ) as result:
        columns, tables = result.columns, result.tables
    plottable_columns = [column for column in columns if is_plottable(column) and column.type.is_numeric]
    titles = ", ".join(table.title or table.qualified_name for table in tables)
    return NotebookContent(
        title=titles or "ADQL",
        address=f"{page_context.base}/adql?{urlencode({'QUERY': text})}",
        service=f"{page_context.base}/tap",
        query=text,
        needs_token=not all(table.is_fully_public for table in tables),
        plotted=[_label_axis(column) for column in plottable_columns[:2]],
    )


def _add_positions(search: TableSearch) -> TableSearch:
    """Add the positions of the rows to the columns that are shown, if the reader has chosen none."""
    names = [column.name for column in search.list_shown_columns()]
    missing_names = [name for name in find_position_columns(search.table) or () if name not in names]
    if search.columns or not missing_names:
        return search
    return search.copy_with(columns=(*names, *missing_names))


def _find_selected_positions(table: Table, columns: Sequence[Column]) -> tuple[AxisColumn, AxisColumn] | None:
    columns_by_name = {column.name: column for column in columns}
    names = find_position_columns(table)
    if names is None or not columns_by_name.keys() >= set(names):
        return None
    lon, lat = (_label_axis(columns_by_name[name]) for name in names)
    return lon, lat


def _choose_plotted_columns(table: Table, columns: Sequence[Column]) -> list[Column]:
    """Choose two columns of numbers that are no positions and no keys."""
    left_out = {*table.primary, *(find_position_columns(table) or ())}
    return [
        column for column in columns if is_plottable(column) and column.type.is_numeric and column.name not in left_out
    ][:2]


def _label_axis(column: Column) -> AxisColumn:
    label = column.label or column.name
    return AxisColumn(name=column.name, label=f"{label} ({column.unit})" if column.unit else label)


def _list_notebook_links(table: Table, page_context: PageContext) -> list[TableLink]:
    address = build_table_address(page_context.base, table)
    return [TableLink(id="notebook", title=table.title or table.qualified_name, url=f"{address}/notebook")]


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"table.downloads": "notebook_link.html", "adql.actions": "notebook_button.html"},
)
ROW_LINKS = TableLinkKind(
    name="notebooks",
    title="Notebook (Jupyter)",
    list_links=_list_notebook_links,
    overview_path="",
    write_row_query=lambda row, _: urlencode({ROW_PARAMETER: row.keys[0]}) if row.keys and row.keys[0] else "",
    is_for_rows_alone=True,
)

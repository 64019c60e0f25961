"""Serve ``/collections/NAME/TABLE/panes/PANE``: a pane of the rows that a search finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.routing import Route

from hven.model.errors import NotFoundError, format_message
from hven.portal._pages import TemplateContext, load_templates
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint
from hven.portal._views.table_view import read_table_view
from hven.portal.panes import list_panes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Template

    from hven.portal._explore.search import SearchFault
    from hven.portal._views.table_view import TableView
    from hven.portal.panes import TablePane
    from hven.services.face import ServiceContext

MAX_PANE_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PanePage(TemplateContext):
    """The page of a pane.

    Attributes
    ----------
    pane
        The pane.
    inside
        Template of the pane, which sees the variables of this page.
    seen
        The table and the search.
    above
        Address of the table's page.
    rows
        Rows of the pane's query.
    cut
        Whether there are more rows.
    faults
        Parameters of the search that cannot be read.
    """

    template = "pane.html"
    pane: TablePane
    inside: Template
    seen: TableView
    above: str
    rows: Sequence[Mapping[str, object]]
    cut: bool
    faults: Sequence[SearchFault]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of the panes."""
    page_endpoint = build_page_endpoint(lambda state: anyio.to_thread.run_sync(_build_pane_page, state), context)
    return [Route("/collections/{name}/{table}/panes/{pane}", page_endpoint)]


def _build_pane_page(page_context: PageContext) -> PageContent:
    table_view = read_table_view(page_context, ignored_parameters=("_all",))
    name = page_context.request.path_params["pane"].removesuffix(".json")
    panes = [pane for pane in list_panes() if pane.name == name and pane.applies(table_view.table)]
    pane = next(iter(panes), None)
    if pane is None:
        raise NotFoundError(
            format_message("this service does not exist for {name}", table_view.quoted_name),
            remedy="see the collection's page for the services of its tables",
        )
    all_columns = tuple(column.name for column in table_view.table.columns if not column.hidden)
    searched_rows = table_view.search.copy_with(order=(), row="", columns=all_columns)
    text = pane.ask(table_view.table, f"({searched_rows.write_adql()}) AS t")
    with table_view.runner.run_query(text, row_limit=MAX_PANE_ROWS) as result:
        rows = result.read_table().to_pylist()
        is_cut = result.overflow
    faults = table_view.search.faults
    page = PanePage(
        pane=pane,
        inside=load_templates(page_context.language).from_string(pane.template),
        seen=table_view,
        above=build_table_address(page_context.base, table_view.table),
        rows=rows,
        cut=is_cut,
        faults=faults,
    )
    return PageContent(page=page, json_content={"adql": text, "rows": rows, "cut": is_cut, "faults": faults})

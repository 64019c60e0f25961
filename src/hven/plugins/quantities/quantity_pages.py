"""Pages of quantities: those of a row, and the list of quantities on the page of a table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import anyio.to_thread
from starlette.routing import Route

from hven.model.errors import NotFoundError
from hven.plugins.quantities.quantity_values import describe_rows, list_quantity_groups, write_quantity_query
from hven.portal.api.page_rows import build_table_address
from hven.portal.api.pages import (
    SWITCH_PARAMETERS,
    PageContent,
    PortalPages,
    TemplateContext,
    build_page_endpoint,
    read_whole_number_parameter,
)
from hven.portal.api.table_pages import TablePageExtension
from hven.portal.api.table_rows import fetch_page, fetch_row, read_table_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.plugins.quantities.quantity_values import ShownQuantity
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import TableView
    from hven.services.face import ServiceContext

OFFSET_PARAMETER = "_from"
MAX_OFFSET = 10_000_000
ROWS_PER_PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RowQuantitiesPage(TemplateContext):
    """The page of the quantities of a row.

    Attributes
    ----------
    name, table_address, row_address
        Name of the table, and addresses of its page and of the row.
    row_key
        The key of the row, for people.
    values
        The values of the row.
    """

    template = "quantities/row_quantities.html"
    name: str
    table_address: str
    row_address: str
    row_key: str
    values: Sequence[ShownQuantity]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityRowsPage(TemplateContext):
    """The page of the rows of a search, each quantity in one cell.

    Attributes
    ----------
    name, table_address
        Name of the table, and address of its page with the same search.
    labels
        Headings of the values.
    rows
        The values of each row with a value in the first place for its address.
    previous, next
        Addresses of the rows before and after these; empty: there are none.
    """

    template = "quantities/quantity_rows.html"
    name: str
    table_address: str
    labels: Sequence[str]
    rows: Sequence[tuple[str, Sequence[ShownQuantity]]]
    previous: str
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableQuantity:
    """A quantity on the page of a table.

    Attributes
    ----------
    name, description
        Name of the quantity, and what it means.
    columns
        Names of its columns.
    address
        Parameters of the page that shows only these columns and the key.
    query
        The query for these columns.
    """

    name: str
    description: str
    columns: Sequence[str]
    address: str
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableQuantities:
    """What the page of a table shows of its quantities.

    Attributes
    ----------
    quantities
        The quantities.
    row_page, rows_page
        Addresses of the pages with the quantities of the chosen row, and of all rows.
    """

    quantities: Sequence[TableQuantity]
    row_page: str
    rows_page: str


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page of the quantities of a row."""

    async def show_quantities(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_quantities_page, page_context)

    return [Route("/collections/{name}/{table}/quantities", build_page_endpoint(show_quantities, context))]


def _build_quantities_page(page_context: PageContext) -> PageContent:
    """Build the page of the row that the address names, or of the rows of its search.

    Raises
    ------
    NotFoundError
        There is no such row that the reader may see.
    """
    table_view = read_table_view(page_context)
    if not table_view.search.row:
        return _build_rows_page(page_context, table_view)
    table = table_view.table
    page = fetch_row(table_view.search, table_view.runner, table_view.search.row)
    if not page.rows.num_rows:
        message = f"{table.qualified_name} has no row with this key"
        raise NotFoundError(message, remedy="choose a row on the table's page")
    values = describe_rows(table_view, page)[0]
    table_address = build_table_address(page_context.base, table)
    content = RowQuantitiesPage(
        name=table.qualified_name,
        table_address=table_address,
        row_address=f"{table_address}?{urlencode({'_row': page.keys[0]})}",
        row_key=" ".join(map(str, json.loads(page.keys[0]))),
        values=[value for value in values if value.value],
    )
    return PageContent(page=content, json_content={"values": [asdict(value) for value in content.values]})


def _build_rows_page(page_context: PageContext, table_view: TableView) -> PageContent:
    """Build the page of the rows of a search: the columns that its table shows, and all columns of their quantities."""
    search = table_view.search
    names = {column.name: None for column in search.list_shown_columns()}
    for group in list_quantity_groups(table_view.table):
        if group.roles["value"] in names:
            names |= dict.fromkeys(name for name in group.roles.values() if _is_shown(table_view, name))
    offset = read_whole_number_parameter(page_context, OFFSET_PARAMETER, 0, MAX_OFFSET)
    wide_search = search.copy_with(columns=tuple(names))
    page = fetch_page(wide_search, table_view.runner, offset=offset, limit=ROWS_PER_PAGE)
    address = f"{build_table_address(page_context.base, table_view.table)}/quantities"
    rows = describe_rows(table_view, page)
    pairs = [
        (name, value)
        for name, value in page_context.request.query_params.multi_items()
        if name != OFFSET_PARAMETER and name not in SWITCH_PARAMETERS
    ]

    def write_page_address(page_offset: int) -> str:
        return f"{address}?{urlencode([*pairs, (OFFSET_PARAMETER, page_offset)])}"

    content = QuantityRowsPage(
        name=table_view.table.qualified_name,
        table_address=f"{build_table_address(page_context.base, table_view.table)}?{urlencode(pairs)}",
        labels=[value.label for value in rows[0]] if rows else [],
        rows=[(urlencode({"_row": key}) if key else "", values) for key, values in zip(page.keys, rows, strict=True)],
        previous=write_page_address(max(offset - ROWS_PER_PAGE, 0)) if offset else "",
        next=write_page_address(offset + ROWS_PER_PAGE) if page.has_more else "",
    )
    json_rows = [[asdict(value) for value in values] for values in rows]
    return PageContent(page=content, json_content={"rows": json_rows, "next": content.next})


def _is_shown(table_view: TableView, name: str) -> bool:
    return any(column.name == name and not column.hidden for column in table_view.table.columns)


def _describe_table_quantities(table_view: TableView, page_context: PageContext) -> TableQuantities | None:
    """Describe the quantities of a table for its page; None if it has none."""
    if not table_view.table.groups:
        return None
    quantities = []
    for group in list_quantity_groups(table_view.table):
        names, query = write_quantity_query(table_view, group)
        quantities.append(
            TableQuantity(
                name=group.name,
                description=group.description or "",
                columns=tuple(group.roles.values()),
                address=urlencode([("_cols", name) for name in names]),
                query=urlencode({"QUERY": query}),
            )
        )
    if not quantities:
        return None
    page_address = f"{build_table_address(page_context.base, table_view.table)}/quantities"
    row_page = f"{page_address}?{urlencode({'_row': table_view.search.row or ''})}"
    return TableQuantities(quantities=quantities, row_page=row_page, rows_page=page_address)


TABLE_PAGES = TablePageExtension(compute_value=_describe_table_quantities)
PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={
        "table.overview": "table_quantities.html",
        "table.row_values": "row_link.html",
        "table.row": "row_panel.html",
    },
)

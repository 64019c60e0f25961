"""Serve ``/collections/NAME/TABLE/else?_row=KEY``: rows of other tables at the time and place of a row.

The answer has the number of rows of each table, with the address that shows them. It comes after 200 ms at most, and
tables without a count yet are marked as late. With ``_wait=1`` the answer waits for these tables, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.routing import Route

from hven.plugins.federated_search import coincident_rows
from hven.portal.api.page_rows import build_table_address, list_collection_titles
from hven.portal.api.table_rows import build_table_data_endpoint, fetch_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.plugins.federated_search.global_search import TableQueryOutcome
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import TableView
    from hven.services.face import ServiceContext

QUICK_TIMEOUT_SECONDS = 0.2  # of an answer without ``_wait=1``
COUNT_TIMEOUT_SECONDS = 5.0


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route."""
    endpoint = build_table_data_endpoint(_describe_coincident_rows, context, ignored_parameters=("_wait",))
    return [Route("/collections/{name}/{table}/else", endpoint)]


def _describe_coincident_rows(table_view: TableView, page_context: PageContext) -> dict[str, Any]:
    runner = table_view.runner
    row = fetch_row(table_view.search, runner, table_view.search.row)
    time_and_place = coincident_rows.find_row_time_and_place(row, table_view.table, runner)
    published_state = page_context.published_state
    tables = []
    for table in page_context.catalogue.iterate_tables():
        is_published = table.qualified_name in published_state.tables_by_name and table.release is None
        # a schema that is no collection has rows of other tables, which would be counted again
        if is_published and table.schema in published_state.resources:
            tables.append(table)
    related_tables = coincident_rows.list_coincident_tables(
        time_and_place, tables, runner, titles=list_collection_titles(page_context)
    )
    if page_context.request.query_params.get("_wait"):
        wait_seconds = COUNT_TIMEOUT_SECONDS
    else:
        wait_seconds = QUICK_TIMEOUT_SECONDS
    related_results = coincident_rows.count_coincident_rows(
        related_tables, runner, timeout_seconds=COUNT_TIMEOUT_SECONDS, wait_seconds=wait_seconds
    )
    lines = []
    for other, target_result in related_results:
        own_rows = 0
        if other.target.table == table_view.table:
            own_rows = 1
        if target_result.status == "late" or (target_result.row_count or 0) > own_rows:
            lines.append(_describe_coincident_table(other, target_result, page_context))
    return {
        "begin": "" if time_and_place.begin is None else coincident_rows.format_instant(time_and_place.begin),
        "end": "" if time_and_place.end is None else coincident_rows.format_instant(time_and_place.end),
        "place": time_and_place.sky_condition is not None or time_and_place.body_box is not None,
        "lines": lines,
        "asked": len(related_results),
        "left_out": max(len(related_tables) - coincident_rows.MAX_TABLES, 0),
    }


def _describe_coincident_table(
    related_table: coincident_rows.CoincidentTable, target_result: TableQueryOutcome, page_context: PageContext
) -> dict[str, Any]:
    table = related_table.target.table
    table_address = ""
    if table is not None:
        table_address = build_table_address(page_context.base, table)
    return {
        "key": related_table.target.key,
        "title": related_table.target.title,
        "rows": target_result.row_count,
        "late": target_result.status == "late",
        "common": list(related_table.common_aspects),
        "url": f"{table_address}?{urlencode(related_table.conditions)}",
    }

"""Rows in pages: queries for a reader, rows at the same time, searches in other sites, and addresses of tables."""

from __future__ import annotations

from hven.portal._explore import parse_search
from hven.portal._explore.coincident_rows import (
    MAX_TABLES,
    CoincidentTable,
    TimeAndPlace,
    count_coincident_rows,
    list_coincident_tables,
    to_unix_microseconds,
)
from hven.portal._explore.global_search import (
    SEARCH_TIMEOUT_SECONDS,
    SearchableTable,
    TableQueryOutcome,
    list_searchable_tables,
    query_searchable_table,
    query_searchable_tables,
)
from hven.portal._explore.plots import build_histogram
from hven.portal._explore.row_pages import RowPage
from hven.portal._explore.search import NEAR_PARAMETER
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import build_json_endpoint, list_collection_titles, render_page_response
from hven.portal._views.table_view import build_query_runner

__all__ = [
    "MAX_TABLES",
    "NEAR_PARAMETER",
    "SEARCH_TIMEOUT_SECONDS",
    "CoincidentTable",
    "RowPage",
    "SearchableTable",
    "TableQueryOutcome",
    "TimeAndPlace",
    "build_histogram",
    "build_json_endpoint",
    "build_query_runner",
    "build_table_address",
    "count_coincident_rows",
    "list_coincident_tables",
    "list_collection_titles",
    "list_searchable_tables",
    "parse_search",
    "query_searchable_table",
    "query_searchable_tables",
    "render_page_response",
    "to_unix_microseconds",
]

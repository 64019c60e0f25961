"""Rows in pages: queries for a reader, rows at the same time, searches in other sites, and addresses of tables."""

from __future__ import annotations

from hven.portal._explore import coincident_rows, global_search, parse_search, plots
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.row_pages import RowPage
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import build_json_endpoint, list_collection_titles, render_page_response
from hven.portal._views.table_view import build_query_runner

__all__ = [
    "QueryRunner",
    "RowPage",
    "build_json_endpoint",
    "build_query_runner",
    "build_table_address",
    "coincident_rows",
    "global_search",
    "list_collection_titles",
    "parse_search",
    "plots",
    "render_page_response",
]

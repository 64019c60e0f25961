"""Rows in pages: queries for a reader, searches in a table, standards and times of rows, and addresses of tables."""

from __future__ import annotations

from hven.portal._explore import parse_search
from hven.portal._explore.plots import build_histogram
from hven.portal._explore.row_pages import RowPage
from hven.portal._explore.row_times import to_unix_microseconds
from hven.portal._explore.search import NEAR_PARAMETER, REGION_PARAMETER, quote_parameter_name
from hven.portal._explore.table_standards import classify_table_standard
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import build_json_endpoint, list_collection_titles, render_page_response
from hven.portal._views.table_view import build_query_runner

__all__ = [
    "NEAR_PARAMETER",
    "REGION_PARAMETER",
    "RowPage",
    "build_histogram",
    "build_json_endpoint",
    "build_query_runner",
    "build_table_address",
    "classify_table_standard",
    "list_collection_titles",
    "parse_search",
    "quote_parameter_name",
    "render_page_response",
    "to_unix_microseconds",
]

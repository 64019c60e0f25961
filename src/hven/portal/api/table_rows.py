"""Rows of a table as its page shows them: searches, views, cells and headings."""

from __future__ import annotations

from hven.portal._explore.cell_text import TextCell, build_column_headings, format_cells
from hven.portal._explore.constant_columns import find_constant_columns
from hven.portal._explore.first_columns import choose_initial_columns
from hven.portal._explore.page_queries import QUERY_TIMEOUT_SECONDS, QueryRunner
from hven.portal._explore.row_files import MAX_ROW_KEYS, build_search_by_row_keys_alone
from hven.portal._explore.row_pages import MAX_KEY_CHARACTERS, count_rows, fetch_page, fetch_row, format_keys
from hven.portal._explore.search import TableSearch
from hven.portal._views.counts import VisibleRowCounter, find_row_noun, sum_row_counts_by_noun
from hven.portal._views.data import build_table_data_endpoint
from hven.portal._views.page_addresses import build_table_path
from hven.portal._views.row_lines import build_page_line_search
from hven.portal._views.search_form import build_condition_chips
from hven.portal._views.table_page import build_headings_and_cells
from hven.portal._views.table_view import (
    TableView,
    build_table_view,
    cell_to_json,
    column_pairs_to_json,
    columns_to_json,
    parse_table_search,
    read_table_view,
)

__all__ = [
    "MAX_KEY_CHARACTERS",
    "MAX_ROW_KEYS",
    "QUERY_TIMEOUT_SECONDS",
    "QueryRunner",
    "TableSearch",
    "TableView",
    "TextCell",
    "VisibleRowCounter",
    "build_column_headings",
    "build_condition_chips",
    "build_headings_and_cells",
    "build_page_line_search",
    "build_search_by_row_keys_alone",
    "build_table_data_endpoint",
    "build_table_path",
    "build_table_view",
    "cell_to_json",
    "choose_initial_columns",
    "column_pairs_to_json",
    "columns_to_json",
    "count_rows",
    "fetch_page",
    "fetch_row",
    "find_constant_columns",
    "find_row_noun",
    "format_cells",
    "format_keys",
    "parse_table_search",
    "read_table_view",
    "sum_row_counts_by_noun",
]

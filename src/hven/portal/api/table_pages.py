"""What a package adds to the pages of tables, besides templates and links, and such pages of tables elsewhere."""

from __future__ import annotations

from hven.portal._explore.row_pages import RowCount
from hven.portal._views.table_extensions import TablePageExtension
from hven.portal._views.table_page import (
    ROWS_PER_PAGE,
    TablePage,
    build_page_links,
    build_search_redirect,
    list_choosable_columns,
    list_form_parameters,
    write_label_switch_query,
)
from hven.portal._views.table_view import ConstantColumnSummary

__all__ = [
    "ROWS_PER_PAGE",
    "ConstantColumnSummary",
    "RowCount",
    "TablePage",
    "TablePageExtension",
    "build_page_links",
    "build_search_redirect",
    "list_choosable_columns",
    "list_form_parameters",
    "write_label_switch_query",
]

"""Links that a package adds to the pages of tables and of their rows."""

from __future__ import annotations

from hven.portal._views.table_links import TableLink, TableLinkKind, find_row_form

__all__ = ["TableLink", "TableLinkKind", "find_row_form"]

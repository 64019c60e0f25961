"""What this package adds to the portal: pages of entries and comments, and parts of the pages of tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hven.model.errors import NotFoundError
from hven.plugins.entries import comment_pages, entry_pages
from hven.plugins.entries.entry_keys import COMMENTS_KEY, ENTRIES_KEY
from hven.plugins.entries.entry_workflow import find_entry_table, parse_row_key
from hven.plugins.push.client_writes import find_pushed_row_or_file
from hven.portal.api.pages import PortalPages, load_page_translations
from hven.portal.api.table_links import TableLink, TableLinkKind
from hven.portal.api.table_pages import TablePageExtension

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.plugins.entries.entry_workflow import EntryTable
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import TableView
    from hven.services.face import ServiceContext


def _build_routes(context: ServiceContext) -> Sequence[Route]:
    return [*entry_pages.build_entry_routes(context), *comment_pages.build_comment_routes(context)]


def _is_entries_link_shown(request: Request, context: ServiceContext) -> bool | None:
    """Return True if pages link to the entries, else None: for accounts, if tables of the site take entries."""
    if context.identify_principal(request).name is None:
        return None
    keys = {ENTRIES_KEY, COMMENTS_KEY}
    published_tables = context.site.get_published_state().tables_by_name.values()
    return any(not keys.isdisjoint(item.table.extensions) for item in published_tables) or None


def _list_contribution_links(table: Table, page_context: PageContext) -> list[TableLink]:
    """List the pages where a user enters rows and reads comments; with parameters of a row, they are about the row."""
    translations = load_page_translations(page_context.language)
    links = []
    takes_entries = ENTRIES_KEY in table.extensions
    entry_table = find_entry_table(page_context.context.site, table) if takes_entries else None
    if entry_table is not None and entry_table.can_submit(page_context.principal):
        for name, title in (("/new", "enter or correct a row"), ("", "list of entries")):
            url = f"{entry_pages.build_entries_address(page_context, table)}{name}"
            links.append(
                TableLink(
                    id=f"entries{name}", title=translations.get(title, title), url=url, takes_values=name == "/new"
                )
            )
    if COMMENTS_KEY in table.extensions:
        title = "comments and reports of errors"
        url = comment_pages.build_comments_address(page_context, table)
        links.append(TableLink(id="comments", title=translations.get(title, title), url=url))
    return links


def _build_table_page_data(table_view: TableView, page_context: PageContext) -> dict[str, Any] | None:
    """Compute what the page of a table shows: links, and the comments on the row that its address names.

    None: users can neither enter rows nor comment on them.
    """
    if {ENTRIES_KEY, COMMENTS_KEY}.isdisjoint(table_view.table.extensions):
        return None
    row_key = table_view.search.row
    row_query = f"?{urlencode({'row': row_key})}" if row_key else ""
    entry_table = find_entry_table(page_context.context.site, table_view.table)
    value: dict[str, Any] = {"row": row_key, "enter": "", "history": "", "discuss": "", "columns": [], "comments": []}
    if entry_table is not None:
        address = entry_pages.build_entries_address(page_context, table_view.table)
        can_submit = entry_table.can_submit(page_context.principal)
        has_history = bool(row_key) and entry_table.rules.is_history_public
        if (can_submit or has_history) and (not row_key or _is_pushed_row(entry_table, row_key, page_context)):
            value["enter"] = f"{address}/new{row_query}" if can_submit else ""
            value["history"] = f"{address}/history{row_query}" if has_history else ""
    if COMMENTS_KEY in table_view.table.extensions:
        value["discuss"] = f"{comment_pages.build_comments_address(page_context, table_view.table)}{row_query}"
        if row_key:
            labels = page_context.build_column_labels(table_view.table)
            value["columns"] = [
                (labels.label_column(column), urlencode({"column": column.name}))
                for column in table_view.table.columns
                if not column.hidden
            ]
            value["comments"] = comment_pages.list_shown_comments(table_view, page_context, row_key)
    return value


def _is_pushed_row(entry_table: EntryTable, row_key: str, page_context: PageContext) -> bool:
    """Return whether entries can correct a row; those of other sources of the table change with their files."""
    if len(entry_table.spec.sources) == 1:
        return True
    try:
        find_pushed_row_or_file(page_context.context.site, entry_table.name, parse_row_key(row_key))
    except NotFoundError:
        return False
    return True


PAGES = PortalPages(
    build_routes=_build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"menu": "menu_link.html", "table.overview": "table_part.html", "table.row": "row_part.html"},
    compute_frame_value=_is_entries_link_shown,
)
TABLE_PAGES = TablePageExtension(compute_value=_build_table_page_data)
ENTRY_LINKS = TableLinkKind(
    name="entries",
    title="Take part",
    list_links=_list_contribution_links,
    overview_path="/entries",
    write_row_query=lambda row, _: urlencode({"row": row.keys[0]}) if row.keys and row.keys[0] else "",
)

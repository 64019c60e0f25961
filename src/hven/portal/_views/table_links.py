"""Links that plug-in packages add to the pages of tables and of their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.table import Table
    from hven.portal._explore.row_pages import RowPage
    from hven.portal._views.page_formats import PageContext


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLink:
    """A link to a page that shows something of a table.

    Attributes
    ----------
    id
        What the page shows, in JSON.
    title
        Title for people.
    url
        Address of the page.
    takes_values
        Whether the page is the form of a new row, whose fields take values of the address by the names of columns.
    """

    id: str
    title: str
    url: str
    takes_values: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLinkKind:
    """Links of one kind, for all tables: the place of such a record is in `PluginPackage.table_links`.

    Attributes
    ----------
    name
        Name of these links in the JSON of a page.
    title
        Title of their menu, which catalogues of the pages translate.
    list_links
        Function that lists the links of a table.
    overview_path
        Path of the page that lists what the links of all tables lead to, for tables with several links.
    write_row_query
        Function that writes parameters of these pages for a row of the table; empty if there are none for the row.
    is_for_rows_alone
        Whether these links belong to rows, and not to the page of a table.
    """

    name: str
    title: str
    list_links: Callable[[Table, PageContext], Sequence[TableLink]]
    overview_path: str
    write_row_query: Callable[[RowPage, Table], str] = lambda *_: ""
    is_for_rows_alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLinkMenu:
    """The links of one kind that a table has.

    Attributes
    ----------
    links
        At least one link.
    """

    kind: TableLinkKind
    links: Sequence[TableLink]


@plugins.cache_until_selection
def load_table_link_kinds() -> Sequence[TableLinkKind]:
    """Load the links that the packages in use add; those that cannot be loaded are left out."""
    return [links for _, links in plugins.iterate_package_objects("table_links")]


def find_row_form(table: Table, page_context: PageContext) -> str:
    """Find the form of a new row of a table that the reader may fill.

    Parameters
    ----------
    table
        The table, as the reader sees it.
    page_context
        The request of a page.

    Returns
    -------
    address
        Address of the form, without parameters; empty if there is none.
    """
    links = (link for kind in load_table_link_kinds() for link in kind.list_links(table, page_context))
    return next((link.url for link in links if link.takes_values), "")


def list_table_link_menus(table: Table, page_context: PageContext, *, is_for_row: bool = False) -> list[TableLinkMenu]:
    """List the links of a table or of its rows, by kind; kinds without a link are left out."""
    menus = []
    for kind in load_table_link_kinds():
        if kind.is_for_rows_alone and not is_for_row:
            continue
        links = kind.list_links(table, page_context)
        if links:
            menus.append(TableLinkMenu(kind=kind, links=links))
    return menus

"""Add buttons to the pages of tables that arrange their panes; a script mounts them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hven.plugins.page_layouts.opens_key import OPENS_KEY
from hven.portal.api.pages import PortalPages
from hven.portal.api.table_pages import TablePageExtension

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route

    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import TableView
    from hven.services.face import ServiceContext


def build_routes(context: ServiceContext) -> Sequence[Route]:  # noqa: ARG001
    """Return no routes: the package adds a part to the pages of tables."""
    return []


def join_opened_panes(table_view: TableView, page_context: PageContext) -> str:  # noqa: ARG001
    """Join the panes that the page of a table shows first; an empty text: those of all tables."""
    return " ".join(table_view.table.extensions.get(OPENS_KEY, ()))


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"table.overview": "layout_buttons.html"},
)
TABLE_PAGES = TablePageExtension(compute_value=join_opened_panes)

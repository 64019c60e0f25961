"""What this package adds to the portal: pages of submissions, and links to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hven.plugins.submissions.submission_keys import SUBMISSIONS_KEY
from hven.plugins.submissions.submission_pages import build_submission_routes, build_submissions_address
from hven.plugins.submissions.submission_workflow import find_submission_table
from hven.portal.api.pages import PortalPages, load_page_translations
from hven.portal.api.table_links import TableLink, TableLinkKind

if TYPE_CHECKING:
    from starlette.requests import Request

    from hven.model.table import Table
    from hven.portal.api.pages import PageContext
    from hven.services.face import ServiceContext


def _has_submission_tables(request: Request, context: ServiceContext) -> bool | None:
    """Return True if pages link to the submissions, else None: for accounts, if tables of the site take them."""
    if context.identify_principal(request).name is None:
        return None
    published_tables = context.site.get_published_state().tables_by_name.values()
    return any(SUBMISSIONS_KEY in item.table.extensions for item in published_tables) or None


def _list_links(table: Table, page_context: PageContext) -> list[TableLink]:
    if SUBMISSIONS_KEY not in table.extensions:
        return []
    submission_table = find_submission_table(page_context.context.site, table)
    if submission_table is None or not submission_table.can_submit(page_context.principal):
        return []
    translations = load_page_translations(page_context.language)
    title = "submit files"
    url = build_submissions_address(page_context, table)
    return [TableLink(id="submissions", title=translations.get(title, title), url=url)]


PAGES = PortalPages(
    build_routes=build_submission_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"menu": "menu_link.html"},
    compute_frame_value=_has_submission_tables,
)
SUBMISSION_LINKS = TableLinkKind(
    name="submissions",
    title="Submit",
    list_links=_list_links,
    overview_path="/submissions",
)

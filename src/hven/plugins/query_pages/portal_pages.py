"""The pages of queries and of jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hven.plugins.query_pages import editor_page, jobs_page
from hven.portal.api.pages import PortalPages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route

    from hven.services.face import ServiceContext


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page of queries, and what the page of jobs sends and asks for."""
    return [*editor_page.build_routes(context), *jobs_page.build_routes(context)]


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    query_editor_path="/adql",
    job_list_path="/jobs",
    job_preview_path=jobs_page.PREVIEW_PATH,
    page_writers={"jobs": jobs_page.render_job_list},
)

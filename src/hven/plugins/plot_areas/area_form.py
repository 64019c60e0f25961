"""Add tools and a form for areas below the plot of a table's page; a script mounts the tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hven.portal.api.pages import PortalPages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route

    from hven.services.face import ServiceContext


def build_routes(context: ServiceContext) -> Sequence[Route]:  # noqa: ARG001
    """Return no routes: the package adds a part to the pages of tables."""
    return []


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"table.plot": "area_form.html"},
)

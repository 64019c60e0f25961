"""The part of the health page that shows operators the servers of the site."""

from __future__ import annotations

from pathlib import Path

from hven.portal.api.pages import PortalPages

PAGES = PortalPages(
    build_routes=lambda _: (),
    template_directory=Path(__file__).parent / "pages",
    parts={"health.curators": "health_servers.html"},
)

"""A site that leaves the package out: it starts, and has neither STAC nor WFS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from granule_rows import build_granule_table, build_granules

from hven.app._server import create_and_start_application
from hven.model import plugins
from hven.testing.site import open_tiny_site


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_the_rest_is_served(tmp_path: Path) -> None:
    mars = build_granule_table("mars")
    plugins.select_plugin_packages([])
    with open_tiny_site(tmp_path / "site", {"mars.epn_core": (mars, build_granules(mars))}) as site:
        client = Client(create_and_start_application(site))
        assert [client.get(path).status for path in ("/stac", "/stac/search", "/wfs")] == [404, 404, 404]
        page = client.get("/collections/mars/epn_core", processing_level=">2")
        assert page.status == 200
        assert "CQL2" not in page.text

"""A site that leaves the package out: it starts, and has no page of comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.model import plugins
from hven.testing.site import open_tiny_site


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_the_rest_is_served(tmp_path: Path) -> None:
    plugins.select_plugin_packages([])
    with open_tiny_site(tmp_path / "site", {"stars.main": pa.table({"name": ["Vega"]})}) as site:
        client = Client(create_and_start_application(site))
        assert client.ask("GET", "/compare", headers={"accept": "text/html"}).status == 404
        assert client.ask("GET", "/collections/stars/main", headers={"accept": "text/html"}).status == 200

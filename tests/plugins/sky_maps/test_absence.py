"""A site that leaves the package out: it starts, and serves tables without maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site

DESCRIPTOR = "collection: stars\ntitle: Stars\ntables: {main: {source: stars.csv, position: [ra, dec]}}\n"
PAGE = "/collections/stars/main"


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_tables_are_served_without_maps(tmp_path: Path) -> None:
    folder = tmp_path / "collections/stars"
    folder.mkdir(parents=True)
    (folder / "stars.yaml").write_text(DESCRIPTOR, encoding="utf-8")
    (folder / "stars.csv").write_text("name,ra,dec\nVega,279.2,38.8\n", encoding="utf-8")
    (tmp_path / "hven.toml").write_text('name = "x"\n', encoding="utf-8")
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "stars")
        client = Client(create_and_start_application(site))
        page = client.ask("GET", PAGE, headers={"accept": "text/html"}).text
        assert ('href="#map"' in page, page.count('data-pane="sky"')) == (True, 1)
        assert '"lon":[279.2]' in client.ask("GET", f"{PAGE}/places").text
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n', encoding="utf-8")
    with Site(load_settings(tmp_path)) as site:
        client = Client(create_and_start_application(site))
        page = client.ask("GET", PAGE, headers={"accept": "text/html"}).text
        assert "Vega" in page
        assert ('href="#map"' in page, 'data-pane="sky"' in page) == (False, False)
        assert client.ask("GET", f"{PAGE}/places").status == 404

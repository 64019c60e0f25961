"""A site that leaves the package out: it starts, and serves tables without the strip."""

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

DESCRIPTOR = "collection: stars\ntitle: Stars\ntables: {main: {source: stars.csv}}\n"
ROWS = "name,magnitude,distance\n" + "".join(f"s{at},{at % 7}.5,{at * 31 % 97}\n" for at in range(60))
PAGE = "/collections/stars/main"


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_tables_are_served_without_the_strip(tmp_path: Path) -> None:
    folder = tmp_path / "collections/stars"
    folder.mkdir(parents=True)
    (folder / "stars.yaml").write_text(DESCRIPTOR, encoding="utf-8")
    (folder / "stars.csv").write_text(ROWS, encoding="utf-8")
    (tmp_path / "hven.toml").write_text('name = "x"\n', encoding="utf-8")
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "stars")
        client = Client(create_and_start_application(site))
        page = client.ask("GET", f"{PAGE}?_strip=now", headers={"accept": "text/html"}).text
        assert page.count('data-pane="strip"') == 1
        assert 'class="strip-part"' in page
        assert 'data-first="' in page
        assert 'data-first=""' not in page, "a plot begins with what the strip shows"
        assert client.ask("GET", f"{PAGE}/strip").status == 200
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n', encoding="utf-8")
    with Site(load_settings(tmp_path)) as site:
        client = Client(create_and_start_application(site))
        page = client.ask("GET", PAGE, headers={"accept": "text/html"}).text
        assert "s59" in client.ask("GET", f"{PAGE}/rows").text
        assert ('data-pane="strip"' in page, 'data-first=""' in page) == (False, True)
        assert client.ask("GET", f"{PAGE}/strip").status == 404

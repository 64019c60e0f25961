"""A site that leaves the package out: it starts, and serves collections without statistics and coverages."""

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

DESCRIPTOR = """\
collection: stars
title: Stars
tables:
  main:
    source: stars.csv
    columns: {name: {type: string}, seen: {type: timestamp, ucd: time.start}}
"""
PAGE = "/collections/stars"
HTML = {"accept": "text/html"}


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_collections_are_served_without_statistics(tmp_path: Path) -> None:
    folder = tmp_path / "collections/stars"
    folder.mkdir(parents=True)
    (folder / "stars.yaml").write_text(DESCRIPTOR, encoding="utf-8")
    (folder / "stars.csv").write_text("name,seen\nVega,2004-01-01\nSirius,2005-01-01\n", encoding="utf-8")
    (tmp_path / "hven.toml").write_text('name = "x"\n', encoding="utf-8")
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "stars")
        client = Client(create_and_start_application(site))
        page = client.ask("GET", PAGE, headers=HTML).text
        assert ("/statistics/stars" in page, 'class="little-line"' in page) == (True, True)
        assert client.ask("GET", "/statistics/stars", headers=HTML).status == 200
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n', encoding="utf-8")
    with Site(load_settings(tmp_path)) as site:
        client = Client(create_and_start_application(site))
        page = client.ask("GET", PAGE, headers=HTML).text
        assert "Vega" in page
        assert ("/statistics/stars" in page, 'class="little-line"' in page) == (False, False)
        assert client.ask("GET", "/statistics/stars", headers=HTML).status == 404

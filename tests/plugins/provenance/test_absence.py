"""A site that leaves the package out: it starts, and its pages and results have no links to provenance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.testing.site import open_site_with_uningested_files

STARS = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: "a.csv"}
    primary: id
    columns: {id: int32}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_the_rest_is_served(tmp_path: Path) -> None:
    plugins.select_plugin_packages([])
    with open_site_with_uningested_files(tmp_path, STARS, {"a.csv": "id\n1\n"}) as site:
        ingest_collection(site, "stars")
        site.refresh_published_state()
        client = Client(create_and_start_application(site))
        assert client.get("/prov").status == 404
        for path in ("/collections/stars", "/collections/stars/main?_row=%5B1%5D"):
            answer = client.get(path)
            assert answer.status == 200
            assert "/prov" not in answer.text
        result = client.get("/tap/sync", LANG="ADQL", QUERY="SELECT * FROM stars.main")
        assert "prov" not in result.headers.get("link", "")

"""A site that leaves the package out: it lists its collections, and its pages lead to no search."""

from __future__ import annotations

import json
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
collection: {name}
title: Rows of {name}
subjects: [comets]
tables:
  main:
    source: rows.csv
    primary: name
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site whose branch of the tree has tables of two collections."""
    for name in ("stars", "planets"):
        folder = tmp_path / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name))
        (folder / "rows.csv").write_text("name,instrument_name\nVega,AIA\nSirius,AIA\n")
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        for name in ("stars", "planets"):
            ingest_collection(site, name)
    return tmp_path


@pytest.mark.parametrize(("selection", "is_used"), [("", True), ("plugins = []\n", False)], ids=["used", "left out"])
def test_pages_lead_to_the_search_only_if_there_is_one(directory: Path, selection: str, is_used: bool) -> None:
    (directory / "hven.toml").write_text(f'{selection}name = "x"\n')
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        tree = json.loads(client.get("/tree").body)
        home = client.ask("GET", "/", headers={"accept": "text/html"})
        assert home.status == 200
        assert "Rows of stars" in home.text
        assert "Rows of planets" in home.text
        assert ("/search" in home.text) is is_used
        assert [branch["url"] for branch in tree["branches"]] == (
            [f"{tree_base(client)}/search?q=AIA"] if is_used else [""]
        )
        collection = client.ask("GET", "/collections/stars", headers={"accept": "text/html"})
        assert "comets" in collection.text
        assert ("/search?q=comets" in collection.text) is is_used
        missing = client.ask("GET", "/nothing", headers={"accept": "text/html"})
        assert missing.status == 404
        assert ('role="search"' in missing.text) is is_used
        assert (client.ask("GET", "/search?q=vega").status == 200) is is_used


def tree_base(client: Client) -> str:
    """Return the address of the site in its answers."""
    collections = json.loads(client.ask("GET", "/collections", headers={"accept": "application/json"}).body)
    address: str = collections["collections"][0]["url"]
    return address.partition("/collections/")[0]

"""A site that leaves the package out: it starts, serves the rest, and its pages have no links to feeds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.ingest.sync.change_sets import list_change_sets
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site
from process_runner import run_hven

STARS = """
collection: stars
title: Stars
services: [tap, changes, portal]
tables:
  main:
    source: {kind: csv, files: "a.csv"}
    primary: id
    columns: {id: int32, n: int32}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "collections/stars"
    folder.mkdir(parents=True)
    (folder / "stars.yaml").write_text(STARS)
    (folder / "a.csv").write_text("id,n\n1,1\n")
    (tmp_path / "hven.toml").write_text("plugins = []\n")
    return tmp_path


def test_the_rest_is_served_and_changes_are_recorded(directory: Path) -> None:
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "stars")
        (directory / "collections/stars/a.csv").write_text("id,n\n1,2\n2,2\n")
        sync_collection(site, "stars")
        site.refresh_published_state()
        client = Client(create_and_start_application(site))
        for path in ("/changes/stars.main", "/collections/stars/changes.atom", "/collections/stars/changes.rss"):
            assert client.get(path).status == 404
        page = client.ask("GET", "/collections/stars", headers={"accept": "text/html"})
        assert (page.status, "changes.atom" in page.text) == (200, False)
        assert len(list_change_sets(site, "stars.main")) == 1
    (directory / "hven.toml").write_text("")
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        since = site.store.list_publication_events("stars")[-1].run
        answer = client.get("/changes/stars.main", since=since, RESPONSEFORMAT="csv")
        assert answer.text.splitlines()[1:] == ["1,changed,n", "2,added,"]


def test_check_names_the_package(directory: Path) -> None:
    output = run_hven("check", "--site", directory, expected_code=0).stdout
    assert "services: 'changes' belongs to the plug-in package changes, but `plugins`" in output

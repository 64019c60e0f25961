"""A site that leaves the package out: it starts, no page leads to the missing ones, and programs run queries and jobs."""

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
collection: stars
title: Stars
tables: {main: {source: stars.csv}}
examples: [{title: All of them, query: SELECT * FROM stars.main}]
"""
HTML = {"accept": "text/html,application/xhtml+xml"}
PAGES = ("/", "/help", "/collections/stars", "/collections/stars/main")


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "collections/stars"
    folder.mkdir(parents=True)
    (folder / "stars.yaml").write_text(DESCRIPTOR, encoding="utf-8")
    (folder / "stars.csv").write_text("name\nVega\n", encoding="utf-8")
    (tmp_path / "hven.toml").write_text('name = "x"\n', encoding="utf-8")
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "stars")
    return tmp_path


@pytest.mark.parametrize("is_used", [True, False], ids=["used", "left out"])
def test_pages_lead_to_queries_and_jobs_that_are_there(directory: Path, is_used: bool) -> None:
    selection = "" if is_used else "plugins = []\n"
    (directory / "hven.toml").write_text(f'{selection}name = "x"\n', encoding="utf-8")
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        for path in PAGES:
            page = client.ask("GET", path, headers=HTML).text
            assert ("/adql" in page, 'vo.example/jobs"' in page) == (is_used, is_used), path
        assert "All of them" in client.ask("GET", "/collections/stars", headers=HTML).text
        assert client.ask("GET", "/adql", headers=HTML).status == (200 if is_used else 404)
        listed = client.ask("GET", "/jobs", headers={"accept": "application/json"})
        assert list(json.loads(listed.body)) == ["types"]
        shown = client.ask("GET", "/jobs", headers=HTML)
        assert (shown.status, shown.text.startswith("<!doctype html>")) == (200, is_used)
        assert client.ask("POST", "/jobs", body=b"ACTION=x").status == (400 if is_used else 405)
        assert (
            client.ask("GET", "/tap/sync?LANG=ADQL&FORMAT=csv&QUERY=SELECT+*+FROM+stars.main").text
            == "name\r\nVega\r\n"
        )

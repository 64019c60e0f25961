"""A site that leaves the package out: it starts, serves the rest, and is told what has no effect."""

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
from process_runner import run_hven

STARS = """\
collection: stars
title: Stars
services: [tap, endpoints]
tables:
  main:
    source: {kind: csv, files: stars.csv}
    primary: name
    columns: {name: string}
    endpoints:
      old: {path: /old/stars.csv, format: csv}
"""
SETTINGS = 'name = "x"\n[[alias]]\npath = "/old/tap"\nto = "/tap/capabilities"\n'
PATHS = ("/old/stars.csv", "/endpoints/stars.main/old", "/old/tap", "/sitools/portal/projects")


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site with old addresses."""
    site_directory = tmp_path / "site"
    (site_directory / "collections/stars").mkdir(parents=True)
    (site_directory / "collections/stars/stars.yaml").write_text(STARS)
    (site_directory / "collections/stars/stars.csv").write_text("name\nVega\n")
    (site_directory / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(site_directory)) as site:
        ingest_collection(site, "stars")
        assert list_statuses(site) == [200, 200, 200, 200]
    (site_directory / "hven.toml").write_text(f"plugins = []\n{SETTINGS}")
    return site_directory


def list_statuses(site: Site) -> list[int]:
    client = Client(create_and_start_application(site))
    return [client.get(path).status for path in PATHS]


def test_the_rest_is_served(directory: Path) -> None:
    with Site(load_settings(directory)) as site:
        assert list_statuses(site) == [404, 404, 404, 404]
        answer = Client(create_and_start_application(site)).get(
            "/tap/sync", LANG="ADQL", QUERY="SELECT name FROM stars.main", RESPONSEFORMAT="csv"
        )
        assert answer.text.split() == ["name", "Vega"]
        ingest_collection(site, "stars")
    (directory / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(directory)) as site:
        assert list_statuses(site) == [200, 200, 200, 200]


def test_check_names_the_package(directory: Path) -> None:
    told = run_hven("check", "--site", directory).stdout
    reason = "belongs to the plug-in package heritage, but `plugins`"
    assert f"stars.yaml:3:17: services: 'endpoints' {reason} in hven.toml does not list this package" in told
    assert f"stars.yaml:9:5: tables.main: 'endpoints' {reason} in hven.toml does not list this package" in told
    assert f"hven.toml:3: alias: the setting {reason} does not list this package" in told

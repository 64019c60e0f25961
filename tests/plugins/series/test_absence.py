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

WEATHER = """\
collection: weather
title: Weather
services: [tap, portal, hapi]
tables:
  main:
    source: {kind: csv, files: weather.csv}
    primary: at
    columns: {at: {type: timestamp, ucd: time.epoch}, pressure: {type: float64, unit: hPa}}
    series: {id: pressure, cadence: 1 d}
"""
SETTINGS = 'name = "x"\n'
PATHS = ("/hapi/catalog", "/series/pressure", "/das2/server")


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site with a data set."""
    site_directory = tmp_path / "site"
    (site_directory / "collections/weather").mkdir(parents=True)
    (site_directory / "collections/weather/weather.yaml").write_text(WEATHER)
    (site_directory / "collections/weather/weather.csv").write_text("at,pressure\n2020-01-01,1000\n2020-01-02,1010\n")
    (site_directory / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(site_directory)) as site:
        ingest_collection(site, "weather")
        client = Client(create_and_start_application(site))
        assert [client.get(path).status for path in PATHS] == [200, 404, 200]  # `services` does not list timelines
        assert "pressure" in client.get("/hapi/catalog").text
    (site_directory / "hven.toml").write_text(f"plugins = []\n{SETTINGS}")
    return site_directory


def test_the_rest_is_served(directory: Path) -> None:
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        assert [client.get(path).status for path in PATHS] == [404, 404, 404]
        query = "SELECT pressure FROM weather.main"
        answer = client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv")
        assert answer.text.split()[0] == "pressure"
        assert client.get("/collections/weather/main").status == 200
        ingest_collection(site, "weather")
    (directory / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(directory)) as site:
        assert "pressure" in Client(create_and_start_application(site)).get("/hapi/catalog").text


def test_check_names_the_package(directory: Path) -> None:
    output = run_hven("--site", str(directory), "check").stdout
    assert "'series' belongs to the plug-in package series" in output
    assert "'hapi' belongs to the plug-in package series" in output

"""A site that leaves the package out: it serves series and tables without plots."""

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

WEATHER = """\
collection: weather
title: Weather
tables:
  main:
    source: {kind: csv, files: weather.csv}
    primary: at
    columns: {at: {type: timestamp, ucd: time.epoch}, pressure: {type: float64, unit: hPa}}
    series: {id: pressure, cadence: 1 d}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_series_are_served_without_plots(tmp_path: Path) -> None:
    folder = tmp_path / "collections/weather"
    folder.mkdir(parents=True)
    (folder / "weather.yaml").write_text(WEATHER)
    (folder / "weather.csv").write_text("at,pressure\n2020-01-01,1000\n2020-01-02,1010\n")
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "weather")
        client = Client(create_and_start_application(site))
        assert client.get("/plots?panel=pressure").status == 200
        assert client.get("/hapi/info", dataset="pressure;twice=pressure*2").status == 200
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = ["series"]\n')
    with Site(load_settings(tmp_path)) as site:
        client = Client(create_and_start_application(site))
        assert client.get("/plots?panel=pressure").status == 404
        assert client.get("/hapi/info", dataset="pressure;twice=pressure*2").status == 404
        assert client.get("/hapi/info", dataset="pressure").status == 200

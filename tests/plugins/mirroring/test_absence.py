"""A site that leaves the package out: it starts, serves what was copied, and names the package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site

STARS = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: stars.csv}
    primary: name
    columns: {name: string}
"""
COPY = """
collection: copy
title: Stars of others
tables:
  main:
    source: {kind: hven, url: "https://vo.example", table: stars.main}
    primary: name
    columns: {name: string}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_the_rest_is_served_and_the_package_is_named(tmp_path: Path) -> None:
    for name, text in {"stars": STARS, "copy": COPY}.items():
        (tmp_path / "collections" / name).mkdir(parents=True)
        (tmp_path / "collections" / name / f"{name}.yaml").write_text(text)
    (tmp_path / "collections/stars/stars.csv").write_text("name\nVega\n")
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "stars")
        client = Client(create_and_start_application(site))
        assert client.get("/collections/stars/descriptor").status == 200
        downloads = json.loads(client.get("/collections/stars/downloads.json").body)
        assert downloads["descriptor"].endswith("/collections/stars/descriptor")
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n')
    settings = load_settings(tmp_path)
    with Site(settings) as site:
        client = Client(create_and_start_application(site))
        answer = client.get("/tap/sync", LANG="ADQL", QUERY="SELECT name FROM stars.main", RESPONSEFORMAT="csv")
        assert answer.text.split() == ["name", "Vega"]
        assert client.get("/collections/stars/descriptor").status == 404
        assert "descriptor" not in json.loads(client.get("/collections/stars/downloads.json").body)
    faults = check_descriptor(tmp_path / "collections/copy/copy.yaml", settings)
    assert any("plug-in package mirroring" in f"{fault.message} {fault.remedy}" for fault in faults)

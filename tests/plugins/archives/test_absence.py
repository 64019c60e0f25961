"""A site that leaves the package out: it starts, its pages offer scripts and lists, and its limits have no effect."""

from __future__ import annotations

import html
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
from process_runner import run_hven

SETTINGS = 'name = "x"\n[limits]\narchive_files = 2\n'
MAPS = """
collection: maps
title: Maps
services: [tap, portal, files, datalink]
files: ["data/*"]
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    columns: {id: {type: string, ucd: meta.id;meta.main}, file: string, access_url: {type: string, ucd: meta.ref.url}}
    text: {access_url: "{site.url}/collections/maps/files/{file}"}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site with a table of files."""
    folder = tmp_path / "collections/maps"
    (folder / "data").mkdir(parents=True)
    (folder / "maps.yaml").write_text(MAPS)
    (folder / "rows.csv").write_text("id,file\na,data/a.dat\n")
    (folder / "data/a.dat").write_bytes(b"a")
    (tmp_path / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "maps")
    return tmp_path


def list_script_names(client: Client) -> list[str]:
    return [script["name"] for script in json.loads(client.get("/collections/maps/main/take").text)["scripts"]]


def test_the_rest_is_served(directory: Path) -> None:
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        assert client.get("/archive?TABLE=maps.main&ID=a").status == 200
        assert list_script_names(client)[:2] == ["zip", "tar"]
    (directory / "hven.toml").write_text(f"plugins = []\n{SETTINGS}")
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        assert client.get("/archive?TABLE=maps.main&ID=a").status == 404
        assert list_script_names(client)[0] == "wget"
        offers = json.loads(client.get("/collections/maps/main/take").text)
        assert (offers["archive"], offers["files"]["files"]) == (None, 1)
        refused = client.get("/collections/maps/main/script?_as=zip")
        assert (refused.status, "_as='zip' is not valid" in html.unescape(refused.text)) == (400, True)
        assert client.get("/collections/maps/main/script?_as=wget").status == 200


def test_check_names_the_package(directory: Path) -> None:
    (directory / "hven.toml").write_text(f"plugins = []\n{SETTINGS}")
    output = run_hven("check", "--site", directory, expected_code=0).stdout
    (warning,) = (line for line in output.splitlines() if "archive_files" in line)
    assert "belongs to the plug-in package archives, but `plugins` does not list this package" in warning

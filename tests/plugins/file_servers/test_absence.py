"""A site that leaves the package out: it serves its own files, those of other servers fail by themselves, and `hven check` names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from file_servers import ServedFiles, serve_http
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site
from plugin_needs import require_plugins
from process_runner import run_hven

SETTINGS = 'name = "x"\nallow_private = true\n'
MAPS = """
collection: maps
title: Maps
files:
  - "data/*"
  - {root: "ADDRESS/pub", at: far, from: main, path: "{file}", proxied: true}
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    columns: {id: string, file: string}
"""
HEADERS = """
collection: headers
title: Headers
tables:
  main:
    source: {kind: fits, mode: header, root: "s3://maps/raw", files: a.fits, cards: [N]}
    columns: {N: int32}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site with a file beside the descriptor, and one on another server."""
    folder = tmp_path / "collections/maps"
    (folder / "data").mkdir(parents=True)
    (folder / "rows.csv").write_text("id,file\na,b.dat\n")
    (folder / "data/a.dat").write_bytes(b"near")
    (tmp_path / "hven.toml").write_text(SETTINGS)
    return tmp_path


def test_files_of_the_site_are_served_and_others_fail_by_themselves(directory: Path) -> None:
    with serve_http(ServedFiles({"/pub/b.dat": b"far away"})) as there:
        descriptor = MAPS.replace("ADDRESS", there.address)
        (directory / "collections/maps/maps.yaml").write_text(descriptor)
        with Site(load_settings(directory)) as site:
            ingest_collection(site, "maps")
            client = Client(create_and_start_application(site))
            assert client.get("/collections/maps/files/far/b.dat").body == b"far away"
        (directory / "hven.toml").write_text(f"plugins = ['archives']\n{SETTINGS}")
        there.asked.clear()
        with Site(load_settings(directory)) as site:
            client = Client(create_and_start_application(site))
            assert client.get("/collections/maps/files/data/a.dat").body == b"near"
            refused = client.get("/collections/maps/files/far/b.dat")
            assert (refused.status, "the file's server cannot be accessed" in refused.text) == (502, True)
            assert client.get("/collections/maps/main").status == 200
            archive = client.get("/archive?QUERY=SELECT+path+AS+access_url+FROM+maps.files&FORMAT=zip")
            assert archive.status < 500
        assert there.asked == []


def test_check_names_the_package(directory: Path) -> None:
    require_plugins("sources", "fits")
    (directory / "collections/maps/maps.yaml").write_text(MAPS.replace("ADDRESS", "https://archive.example.org"))
    (directory / "collections/headers").mkdir()
    (directory / "collections/headers/headers.yaml").write_text(HEADERS)
    (directory / "hven.toml").write_text(f'plugins = ["product_sources"]\n{SETTINGS}')
    output = run_hven("check", "--site", directory, expected_code=1).stdout
    faults = [line for line in output.splitlines() if "belongs to the plug-in package file_servers" in line]
    source_fault, root_fault = faults
    assert source_fault.startswith("collections/headers/headers.yaml:6:13: tables.main.source: 's3' belongs to")
    assert root_fault.startswith("warning: collections/maps/maps.yaml:6:12: files.root: 'https' belongs to")
    assert all(line.endswith("; add 'file_servers' to `plugins`") for line in faults)


def test_a_site_without_packages_reports_that_nothing_opens_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    from hven.sources import remote_stores

    plugins.select_plugin_packages([])
    monkeypatch.setattr(plugins, "_import_builtin_records", lambda: ())
    plugins._selection.discard_cached_results()
    error = remote_stores.find_scheme_error("s3")
    assert error is not None
    assert (error.message, error.remedy) == (
        "Hven cannot open addresses that begin with s3://",
        "install a plug-in package that reads files from other servers",
    )

"""A site that leaves the package out: its pages lead to no search over all tables, and its settings stay."""

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

DESCRIPTOR = """\
collection: mars
title: Images of Mars
tables:
  epn_core:
    standard: epn-tap-2.0
    source: rows.csv
    map:
      granule_uid: name
      granule_gid: "'images'"
      obs_id: name
      dataproduct_type: "'im'"
      target_name: "'Mars'"
      target_class: "'planet'"
      service_title: "'mars'"
"""
SETTINGS = """\
name = "x"
[[remote]]
name = "far"
url = "https://far.example/tap"
tables = ["far.epn_core"]
"""
PATHS = ("/search/epn", "/search/obscore", "/search/epn/ask", "/collections/mars/epn_core/else")


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site with an EPN-TAP table, which names a service."""
    folder = tmp_path / "collections/mars"
    folder.mkdir(parents=True)
    (folder / "mars.yaml").write_text(DESCRIPTOR)
    (folder / "rows.csv").write_text("name\nfirst\nsecond\n")
    (tmp_path / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "mars")
    return tmp_path


@pytest.mark.parametrize(("selection", "is_used"), [("", True), ("plugins = []\n", False)], ids=["used", "left out"])
def test_pages_lead_to_the_searches_only_if_there_are_some(directory: Path, selection: str, is_used: bool) -> None:
    (directory / "hven.toml").write_text(f"{selection}{SETTINGS}")
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        for path in ("/", "/collections/mars/epn_core", "/nothing"):
            page = client.ask("GET", path, headers={"accept": "text/html"})
            assert page.status == (404 if path == "/nothing" else 200)
            assert ("/search/epn" in page.text) is is_used, path
            assert ('data-pane="nearby"' in page.text) is (is_used and "epn_core" in path), path
        assert client.ask("GET", "/search/epn", headers={"accept": "text/html"}).status == (200 if is_used else 404)
        if not is_used:
            assert [client.ask("GET", path).status for path in PATHS] == [404] * len(PATHS)

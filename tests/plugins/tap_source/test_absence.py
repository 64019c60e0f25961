"""A site that leaves the package out: it starts, serves what was copied, and names the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import DescriptorError
from hven.model.settings import load_settings
from hven.site import Site
from process_runner import run_hven

COPIED = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: stars.csv}
    columns: {name: string}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def query_names(site: Site) -> list[str]:
    client = Client(create_and_start_application(site))
    answer = client.get("/tap/sync", LANG="ADQL", QUERY="SELECT name FROM stars.main", RESPONSEFORMAT="csv")
    return answer.text.split()[1:]


def test_rows_that_were_copied_are_served(tmp_path: Path) -> None:
    collection = tmp_path / "collections/stars"
    collection.mkdir(parents=True)
    descriptor = collection / "stars.yaml"
    descriptor.write_text(COPIED)
    (collection / "stars.csv").write_text("name\nVega\n")
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "stars")
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n')
    remote_source = "{kind: tap, url: 'https://archive.example/tap', table: a.b}"
    descriptor.write_text(COPIED.replace("{kind: csv, files: stars.csv}", remote_source))
    with Site(load_settings(tmp_path)) as site:
        assert query_names(site) == ["Vega"]
        with pytest.raises(DescriptorError, match="'tap' belongs to the plug-in package tap_source"):
            ingest_collection(site, "stars")
        assert query_names(site) == ["Vega"]
    told = run_hven("--site", tmp_path, "check", expected_code=1)
    assert "the plug-in package tap_source" in told.stdout + told.stderr

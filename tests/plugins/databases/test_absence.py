"""A site that leaves the package out: it starts, serves what was copied, and names the package."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import DescriptorError, UserError
from hven.model.settings import load_settings
from hven.site import Site
from plugin_needs import create_descriptor
from process_runner import run_hven

STARS = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: sql, file: stars.db, table: stars}
    primary: name
    columns: {name: string}
    sync: {watermark: n}
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
    (collection / "stars.yaml").write_text(STARS)
    with contextlib.closing(sqlite3.connect(collection / "stars.db")) as database:
        database.executescript("CREATE TABLE stars (name TEXT, n INTEGER); INSERT INTO stars VALUES ('Vega', 1)")
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "stars")
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n')
    with Site(load_settings(tmp_path)) as site:
        assert query_names(site) == ["Vega"]
        with pytest.raises(DescriptorError, match="'sql' belongs to the plug-in package databases"):
            ingest_collection(site, "stars")
        with pytest.raises(UserError, match="'sql' belongs to the plug-in package databases"):
            create_descriptor(site.settings, "flares", "$FLARES")
        with pytest.raises(UserError, match=r"Hven cannot read stars\.db without the plug-in package") as caught:
            create_descriptor(site.settings, "flares", str(collection / "stars.db"))
        assert "add 'databases' to `plugins`" in (caught.value.remedy or "")
        assert query_names(site) == ["Vega"]
    told = run_hven("--site", tmp_path, "check", expected_code=1)
    assert "the plug-in package databases" in told.stdout + told.stderr

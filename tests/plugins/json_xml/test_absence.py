"""A site that leaves the package out: it starts, serves what was copied, and names the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import DescriptorError, SourceError, UserError
from hven.model.settings import load_settings
from hven.query._table_files import open_table_file
from hven.site import Site
from plugin_needs import create_descriptor
from process_runner import run_hven

STARS = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: json, files: stars.json}
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
    (collection / "stars.yaml").write_text(STARS)
    (collection / "stars.json").write_text('[{"name": "Vega"}]')
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "stars")
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = ["drafts"]\n')
    with Site(load_settings(tmp_path)) as site:
        assert query_names(site) == ["Vega"]
        with pytest.raises(DescriptorError, match="'json' belongs to the plug-in package json_xml"):
            ingest_collection(site, "stars")
        with pytest.raises(UserError, match=r"Hven cannot read stars\.json without the plug-in package") as caught:
            create_descriptor(site.settings, "flares", str(collection / "stars.json"))
        assert "add 'json_xml' to `plugins`" in (caught.value.remedy or "")
        (collection / "stars.yaml").write_text(STARS.replace("kind: json, ", ""))
        with pytest.raises(DescriptorError, match="add 'json_xml' to `plugins`"):
            ingest_collection(site, "stars")
        (collection / "stars.yaml").write_text(STARS)
        with pytest.raises(SourceError, match="JSON"), open_table_file(collection / "stars.json"):
            pass
        assert query_names(site) == ["Vega"]
    told = run_hven("--site", tmp_path, "check", expected_code=1)
    assert "the plug-in package json_xml" in told.stdout + told.stderr


def test_packages_that_use_it_are_left_out_with_it(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = ["directories"]\n')
    told = run_hven("--site", tmp_path, "check", expected_code=1)
    assert "the plug-in package directories is left out, because it uses json_xml" in told.stdout + told.stderr

"""A site that leaves the package out: it serves the files unchanged and the rows that were read, and names the package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from array_products import write_array_product
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.formats.media import open_product
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import SourceError, UserError
from hven.model.settings import load_settings
from hven.site import Site
from plugin_needs import create_descriptor, require_plugins
from process_runner import run_hven

FIELDS = """\
collection: fields
title: Fields
files: ["*.cdf", "*.nc"]
tables:
  main:
    source: {kind: product, files: "*.cdf", part: Epoch}
    columns: {B: {unit: nT}}
  headers:
    source: {kind: product, files: "*.cdf"}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def count_rows(client: Client) -> str:
    query = "SELECT COUNT(*) AS n FROM fields.main"
    return client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv").text.split()[1]


def test_files_are_served_and_the_package_is_named(tmp_path: Path) -> None:
    require_plugins("sources", "product")
    folder = tmp_path / "collections/fields"
    folder.mkdir(parents=True)
    paths = [write_array_product(medium, folder) for medium in ("cdf", "netcdf")]
    (folder / "fields.yaml").write_text(FIELDS)
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "fields")
        served = {
            path: Client(create_and_start_application(site)).get(f"/collections/fields/files/{path.name}")
            for path in paths
        }
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = ["product_sources"]\n')
    with Site(load_settings(tmp_path)) as site:
        client = Client(create_and_start_application(site))
        assert count_rows(client) == "200"
        for path, before in served.items():
            answer = client.get(f"/collections/fields/files/{path.name}")
            assert answer.body == path.read_bytes() == before.body
            assert answer.headers["content-type"] == before.headers["content-type"]
            with pytest.raises(SourceError) as refused:
                open_product(path)
            assert "the plug-in package array_files opens such files" in (refused.value.remedy or "")
        with pytest.raises(UserError) as refused_draft:
            create_descriptor(site.settings, "mine", str(paths[0]))
        assert "array_files" in (refused_draft.value.remedy or "")
        with pytest.raises(SourceError, match="the plug-in package array_files opens such files"):
            ingest_collection(site, "fields")
        assert count_rows(client) == "200"
    told = run_hven("--site", tmp_path, "check", expected_code=1).stdout
    for table in ("main", "headers"):
        assert re.search(rf"tables\.{table}\.source: .*the plug-in package array_files opens such files", told)

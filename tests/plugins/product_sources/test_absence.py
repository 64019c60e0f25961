"""A site that leaves the package out: it starts, serves what was copied, and names the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits
from astropy.table import Table

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import DescriptorError, SourceError
from hven.model.settings import load_settings
from hven.query.uploads import open_table_file
from hven.site import Site
from process_runner import run_hven

STARS = """
collection: stars
title: Stars
tables:
  main:
    source: stars.fits
    columns: {name: string}
"""
FRAMES = """
collection: frames
title: Frames
tables:
  main:
    source: {kind: product, files: "*.fits", mode: images}
    columns: {object: string}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def query_texts(site: Site, query: str) -> list[str]:
    client = Client(create_and_start_application(site))
    return client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv").text.split()


def test_rows_that_were_copied_are_served(tmp_path: Path) -> None:
    for name, descriptor in (("stars", STARS), ("frames", FRAMES)):
        collection = tmp_path / "collections" / name
        collection.mkdir(parents=True)
        (collection / f"{name}.yaml").write_text(descriptor)
    Table({"name": ["Vega"]}).write(tmp_path / "collections/stars/stars.fits")
    fits.PrimaryHDU(np.zeros((2, 2)), header=fits.Header({"OBJECT": "Sun"})).writeto(
        tmp_path / "collections/frames/a.fits"
    )
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "stars")
        ingest_collection(site, "frames")
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n')
    with Site(load_settings(tmp_path)) as site:
        assert query_texts(site, "SELECT name FROM stars.main") == ["name", "Vega"]
        assert query_texts(site, "SELECT object FROM frames.main") == ["object", "Sun"]
        with pytest.raises(DescriptorError, match=r"add .product_sources. to `plugins`"):
            ingest_collection(site, "stars")
        with pytest.raises(DescriptorError, match="'product' belongs to the plug-in package product_sources"):
            ingest_collection(site, "frames")
    told = run_hven("--site", tmp_path, "check", expected_code=1)
    assert "the plug-in package product_sources" in told.stdout + told.stderr


def test_an_upload_of_fits_is_refused(tmp_path: Path) -> None:
    Table({"name": ["Vega"]}).write(tmp_path / "stars.fits")
    with open_table_file(tmp_path / "stars.fits") as (_, batches):
        assert [row for batch in batches for row in batch.to_pylist()] == [{"name": "Vega"}]
    plugins.select_plugin_packages([])
    with pytest.raises(SourceError, match="is a binary file"):
        open_table_file(tmp_path / "stars.fits").__enter__()

"""A site that leaves the package out: it starts, serves what was ingested, and its check names the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from astropy.io import fits

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import HvenError
from hven.model.settings import load_settings
from hven.site import Site
from plugin_needs import require_plugins
from process_runner import run_hven

SKY = """
collection: sky
title: The plane
tables:
  main:
    source: {kind: fits, files: "*.fits", mode: header}
    columns: {name: string, s_region: polygon}
    map: {name: file.name, s_region: wcs_footprint()}
"""
PLAIN = """
collection: plain
title: No regions
tables:
  main:
    source: {kind: fits, files: "*.fits", mode: header}
    columns: {name: string, cells: moc}
    map: {name: file.name, cells: "'6/1'"}
"""
CARDS = {"CTYPE1": "RA---TAN", "CRVAL1": 45.0, "CRPIX1": 60.5, "CDELT1": -0.02, "CTYPE2": "DEC--TAN", "CRVAL2": 10.0, "CRPIX2": 50.5, "CDELT2": 0.02}  # fmt: skip


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site with footprints, and with a table without them."""
    require_plugins("sources", "fits")
    for name, text in (("sky", SKY), ("plain", PLAIN)):
        folder = tmp_path / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(text)
        fits.PrimaryHDU([[1, 2], [3, 4]], fits.Header(CARDS)).writeto(folder / "image.fits")
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "sky")
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = ["product_sources"]\n')
    return tmp_path


def test_the_rest_is_served_and_ingested(directory: Path) -> None:
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "plain")
        with pytest.raises(HvenError, match="'wcs_footprint' belongs to the plug-in package image_regions"):
            ingest_collection(site, "sky")
        client = Client(create_and_start_application(site))
        for table in ("sky.main", "plain.main"):
            answer = client.get("/tap/sync", LANG="ADQL", FORMAT="csv", QUERY=f"SELECT name FROM {table}")
            assert answer.text.split() == ["name", "image.fits"]


def test_check_names_the_package(directory: Path) -> None:
    told = run_hven("check", "--site", directory, expected_code=1)
    assert "'wcs_footprint' belongs to the plug-in package image_regions, but `plugins`" in told.stdout + told.stderr

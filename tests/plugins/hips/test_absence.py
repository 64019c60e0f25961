"""A site that leaves the package out: it starts, serves the rest, and keeps its HiPS until they are purged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs import type_catalogue
from hven.model import plugins
from hven.model.settings import load_settings
from hven.plugins.hips import surveys
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from plugin_needs import require_page_part
from process_runner import run_hven

SKY = """
collection: sky
title: The plane
services: [tap, portal, files, hips]
files: ["images/*"]
tables:
  main:
    source: {kind: csv, files: rows.csv}
    primary: id
    columns: {id: int32, ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}, dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
"""
CARDS = {"CTYPE1": "RA---TAN", "CRVAL1": 45.0, "CRPIX1": 60.5, "CDELT1": -0.02, "CTYPE2": "DEC--TAN", "CRVAL2": 10.0, "CRPIX2": 50.5, "CDELT2": 0.02}  # fmt: skip
PROPERTIES = "/collections/sky/hips/maps/properties"
HTML = {"accept": "text/html"}


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site with a HiPS."""
    folder = tmp_path / "collections/sky"
    (folder / "images").mkdir(parents=True)
    (folder / "sky.yaml").write_text(SKY)
    (folder / "rows.csv").write_text("id,ra,dec\n1,45,10\n")
    fits.PrimaryHDU(np.arange(12_000, dtype="f4").reshape(100, 120), fits.Header(CARDS)).writeto(
        folder / "images/image.fits"
    )
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "sky")
        context = ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)
        surveys.build_hips_survey(context, OWNER_PRINCIPAL, "sky", "maps", order=3)
        client = Client(create_and_start_application(site))
        assert client.get(PROPERTIES).status == 200
        assert type_catalogue.map_running_job_limits(site.settings)["hips"] == 1
    return tmp_path


def test_maps_of_tables_offer_the_hips_of_the_package(directory: Path) -> None:
    require_page_part("table.map")
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        assert "hips/maps" in client.ask("GET", "/collections/sky/main", headers=HTML).text


def test_the_rest_is_served_and_a_hips_is_kept(directory: Path) -> None:
    (directory / "hven.toml").write_text('name = "x"\nplugins = []\n')
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        assert (client.get("/hipslist").status, client.get(PROPERTIES).status) == (404, 404)
        page = client.ask("GET", "/collections/sky/main", headers=HTML)
        assert (page.status, "hips/maps" in page.text) == (200, False)
        assert client.get("/collections/sky/files/images/image.fits").status == 200
        assert client.ask("POST", "/jobs/hips", body=b"").status == 404
    (directory / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(directory)) as site:
        assert Client(create_and_start_application(site)).get(PROPERTIES).status == 200


def test_check_names_the_package_and_a_purge_deletes_its_files(directory: Path) -> None:
    (directory / "hven.toml").write_text('name = "x"\nplugins = []\n')
    told = run_hven("check", "--site", directory, expected_code=0).stdout
    assert "sky.yaml:4:32: services: 'hips' belongs to the plug-in package hips, but `plugins`" in told
    told = run_hven("hips", "--site", directory, expected_code=2).stderr
    assert "`hven hips` belongs to the plug-in package hips" in told
    run_hven("remove", "sky", "--purge", "--site", directory)
    assert not (directory / "var/hips/sky").exists()

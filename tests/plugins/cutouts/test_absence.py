"""A site that leaves the package out: it starts, serves the rest, and offers no parts of files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site
from process_runner import run_hven

CUBES = """
collection: cubes
title: Cubes
files: [data/*]
prepare: [spectra]
services: [tap, portal, datalink, obscore, sia, files, cubes, soda]
registry: {services: {main.sia-cutouts: cuts}}
tables:
  main:
    source: {kind: csv, files: rows.csv}
    primary: id
    columns: {id: {type: string, ucd: "meta.id;meta.main"}, file: string}
    links: [{semantics: this, file: "{target.file}"}]
    obscore:
      set: {dataproduct_type: cube, calib_level: 2, s_ra: 10.0, s_dec: 20.0}
      text: {access_url: "{site.url}/collections/cubes/files/{file}"}
"""
TOML = 'public_url = "https://vo.example"\nauthority = "vo.example"\n'
FORM = {"content-type": "application/x-www-form-urlencoded"}
HTML = {"accept": "text/html,application/xhtml+xml"}
ADDRESSES = (
    "/soda/sync?TABLE=cubes.main&ID=one&PIXELS_1=1+2",
    "/soda/capabilities",
    "/collections/cubes/cube/data/one.fits?slice=1",
    "/collections/cubes/as/fits/data/one.fits",
    "/sia/cubes.main/cutouts?FORMAT=METADATA",
)


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture(scope="module")
def ingested_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a site with a cube."""
    directory = tmp_path_factory.mktemp("cubes") / "site"
    folder = directory / "collections/cubes"
    (folder / "data").mkdir(parents=True)
    (folder / "cubes.yaml").write_text(CUBES)
    (folder / "rows.csv").write_text("id,file\none,data/one.fits\n")
    fits.PrimaryHDU(np.arange(24.0).reshape(2, 3, 4)).writeto(folder / "data/one.fits")
    (directory / "hven.toml").write_text(TOML)
    with Site(load_settings(directory)) as site:
        report = ingest_collection(site, "cubes")
        assert report.published, report.error
        assert run_next_job(site), "copies of cubes"
        assert len(list((site.settings.var_directory / "cubes/cubes").glob("*/*.npy"))) == 1
        client = Client(create_and_start_application(site))
        assert [client.get(path).status for path in ADDRESSES] == [200] * len(ADDRESSES)
        page = client.ask("GET", "/collections/cubes", headers=HTML).text
        assert "Explore slices and spectra" in page
    return directory


@pytest.fixture
def directory(ingested_directory: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ingested_directory, tmp_path / "site")


def query(client: Client, text: str, **params: str) -> str:
    return client.get("/tap/sync", LANG="ADQL", QUERY=text, **params).text


def leave_out(directory: Path) -> Site:
    (directory / "hven.toml").write_text(f"{TOML}plugins = []\n")
    return Site(load_settings(directory))


def test_the_rest_is_served(directory: Path) -> None:
    with leave_out(directory) as site:
        client = Client(create_and_start_application(site))
        assert [client.get(path).status for path in ADDRESSES] == [404] * len(ADDRESSES)
        assert client.get("/collections/cubes/files/data/one.fits").status == 200
        links = client.get("/datalink/cubes.main", ID="one", RESPONSEFORMAT="csv").text
        assert ("#this" in links, "#cutout" in links, "/cube/" in links) == (True, False, False)
        page = client.ask("GET", "/collections/cubes", headers=HTML)
        assert (page.status, "Explore slices" in page.text) == (200, False)
        row = client.ask("GET", "/collections/cubes/main/row?_row=%5B%22one%22%5D")
        assert (row.status, "Explore" in row.text) == (200, False)
        images = client.get("/sia/cubes.main", POS="10,20", SIZE="1", RESPONSEFORMAT="csv").text
        assert "https://vo.example/collections/cubes/files/data/one.fits" in images


def test_check_and_the_verb_name_the_package(directory: Path) -> None:
    told = run_hven("check", "--site", directory, expected_code=0).stdout
    assert "sia-cutouts" not in told
    assert "0 errors" in told
    (directory / "hven.toml").write_text(f"{TOML}plugins = []\n")
    told = run_hven("check", "--site", directory, expected_code=0).stdout
    remark = "belongs to the plug-in package cutouts, but `plugins` in hven.toml does not list this package"
    for place in (
        "cubes.yaml:5:1: prepare.spectra",
        "cubes.yaml:6:56: services: 'cubes'",
        "cubes.yaml:6:63: services: 'soda'",
        "cubes.yaml:7:23: 'registry.services.sia-cutouts'",
    ):
        assert f"{place} {remark}" in told
    told = run_hven("prepare", "cubes", "--spectra", "--site", directory, expected_code=1).stderr
    assert f"'spectra' {remark}" in told


def test_jobs_and_copies_are_kept(directory: Path) -> None:
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        body = b"TABLE=cubes.main&ID=one&PIXELS_1=1+2&PHASE=RUN"
        address = client.ask("POST", "/soda/async", body=body, headers=FORM).headers["location"]
        job_path = address.removeprefix("https://vo.example")
    with leave_out(directory) as site:
        client = Client(create_and_start_application(site))
        assert client.get(job_path).status == 404
        assert client.ask("GET", "/jobs", headers=HTML).status == 200
        assert run_next_job(site)
        job = site.store.jobs.get_job(job_path.rpartition("/")[2])
        assert job.phase == "ERROR"
        assert "the job type 'soda' belongs to the plug-in package cutouts" in job.error["message"]
        ingest_collection(site, "cubes")
        assert not run_next_job(site), "nothing can be prepared"
    (directory / "hven.toml").write_text(TOML)
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        assert client.get(f"{job_path}/phase").text == "ERROR"
        assert list((site.settings.var_directory / "cubes/cubes").glob("*/*.npy"))
    (directory / "hven.toml").write_text(f"{TOML}plugins = []\n")
    run_hven("remove", "cubes", "--purge", "--site", directory)
    assert not (directory / "var/cubes/cubes").exists()


def test_results_describe_no_cut_outs(directory: Path) -> None:
    for selection, is_described in (("", True), ("plugins = []\n", False)):
        (directory / "hven.toml").write_text(f"{TOML}{selection}")
        with Site(load_settings(directory)) as site:
            result = query(Client(create_and_start_application(site)), "SELECT id FROM cubes.main")
            assert ("https://vo.example/soda/sync" in result) == is_described
            assert "https://vo.example/datalink/cubes.main" in result

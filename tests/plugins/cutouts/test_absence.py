"""A site that leaves the package out: it starts, serves the rest, and offers no parts of files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits

from hven.app._server import create_application
from hven.ingest import ingest_collection
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site

CUBES = """
collection: cubes
title: Cubes
files: [data/*]
tables:
  main:
    source: {kind: csv, files: rows.csv}
    primary: id
    columns: {id: {type: string, ucd: "meta.id;meta.main"}, file: string}
    links: [{semantics: this, file: "{target.file}"}]
    obscore: {set: {dataproduct_type: cube, calib_level: 2, s_ra: 10.0, s_dec: 20.0}}
"""
TOML = 'public_url = "https://vo.example"\n'


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
        ingest_collection(site, "cubes")
    return directory


@pytest.fixture
def directory(ingested_directory: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ingested_directory, tmp_path / "site")


def query(client: Client, text: str, **params: str) -> str:
    return client.get("/tap/sync", LANG="ADQL", QUERY=text, **params).text


def test_results_describe_no_cut_outs(directory: Path) -> None:
    for selection, is_described in (("", True), ("plugins = []\n", False)):
        (directory / "hven.toml").write_text(f"{TOML}{selection}")
        with Site(load_settings(directory)) as site:
            result = query(Client(create_application(site)), "SELECT id FROM cubes.main")
            assert ("https://vo.example/soda/sync" in result) == is_described
            assert "https://vo.example/datalink/cubes.main" in result

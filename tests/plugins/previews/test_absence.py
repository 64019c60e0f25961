"""A site that leaves the package out: it starts and shows rows without pictures; `hven check` names the package."""

from __future__ import annotations

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

MAPS = """
collection: maps
title: Maps
services: [tap, portal, datalink, files, previews]
files: data/*
prepare: [previews]
tables:
  main:
    source: {kind: csv, files: maps.csv}
    primary: id
    columns: {id: {type: string, ucd: meta.id;meta.main}, thumbnail_url: string}
    links: [{semantics: this, file: "data/{target.id}.fits"}]
"""
SETTINGS = 'public_url = "https://vo.example"\n[files]\npictures = "1 GiB"\n'
PICTURE = "/collections/maps/preview/data/a.fits"
HTML = {"accept": "text/html"}


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Write a site with a file that can be drawn."""
    folder = tmp_path / "collections/maps"
    (folder / "data").mkdir(parents=True)
    (folder / "maps.yaml").write_text(MAPS)
    (folder / "maps.csv").write_text("id\na\n")
    fits.PrimaryHDU(np.eye(9)).writeto(folder / "data/a.fits")
    (tmp_path / "hven.toml").write_text(SETTINGS)
    return tmp_path


def read_thumbnail_address(site: Site) -> str:
    query = "SELECT thumbnail_url FROM maps.main"
    answer = Client(create_and_start_application(site)).get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv")
    return answer.text.splitlines()[1].strip('"')


def test_rows_have_no_pictures_and_the_rest_is_served(directory: Path) -> None:
    for plugin_line, is_drawn in (("", True), ("plugins = []\n", False)):
        (directory / "hven.toml").write_text(plugin_line + SETTINGS)
        with Site(load_settings(directory)) as site:
            ingest_collection(site, "maps")
            assert run_next_job(site) == is_drawn  # which draws pictures
            client = Client(create_and_start_application(site))
            picture = client.get(PICTURE)
            assert (picture.status, picture.body[:4] == b"\x89PNG") == ((200, True) if is_drawn else (404, False))
            links = client.get("/datalink/maps.main", ID="a", RESPONSEFORMAT="csv").text
            assert ("#this" in links, "#preview" in links, "#thumbnail" in links) == (True, is_drawn, is_drawn)
            address = f"https://vo.example{PICTURE}?size=200" if is_drawn else ""
            assert read_thumbnail_address(site) == address
            assert client.get("/collections/maps/files/data/a.fits").status == 200
            for path in ("/", "/collections/maps", "/collections/maps/main", "/datalink/maps.main?ID=a"):
                page = client.ask("GET", path, headers=HTML)
                assert page.status == 200
                assert is_drawn or "/preview/" not in page.text


def test_check_names_the_package(directory: Path) -> None:
    (directory / "hven.toml").write_text(f"plugins = []\n{SETTINGS}")
    told = run_hven("check", "--site", directory, expected_code=0).stdout
    assert "maps.yaml:4:42: services: 'previews' belongs to the plug-in package previews, but `plugins`" in told
    assert "prepare.previews belongs to the plug-in package previews, but `plugins`" in told
    assert "files.pictures" in told
    told = run_hven("prepare", "maps", "--previews", "--site", directory, expected_code=1).stderr
    assert "'previews' belongs to the plug-in package previews" in told


def test_packages_that_use_it_are_left_out_with_it(directory: Path) -> None:
    (directory / "hven.toml").write_text(f'plugins = ["hips"]\n{SETTINGS}')
    told = run_hven("check", "--site", directory, expected_code=1).stdout
    assert "the plug-in package hips is left out, because it uses previews" in told

"""A site that leaves the package out: it starts, serves the rest, and `hven check` names the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from PIL import Image

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site

DESCRIPTOR = """\
collection: psup
title: Maps
files: "maps/*"
layers: {albedo: {file: maps/albedo.png, frame: "IAU_2015:49900", bounds: [-180, -90, 180, 90]}}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_files_are_served_without_maps(tmp_path: Path) -> None:
    folder = tmp_path / "collections/psup"
    (folder / "maps").mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(folder / "maps/albedo.png")
    (folder / "psup.yaml").write_text(DESCRIPTOR)
    (tmp_path / "hven.toml").write_text('public_url = "https://vo.example"\nplugins = []\n')
    settings = load_settings(tmp_path)
    with Site(settings) as site:
        ingest_collection(site, "psup")
        client = Client(create_and_start_application(site))
        for path in ("/maps.json", "/maps/Mars.json", "/wms/psup", "/wmts/psup"):
            assert client.get(path).status == 404
        assert client.get("/collections/psup/files/maps/albedo.png").status == 200
    faults = [str(fault) for fault in check_descriptor(folder / "psup.yaml", settings)]
    assert any("the plug-in package maps" in fault for fault in faults)

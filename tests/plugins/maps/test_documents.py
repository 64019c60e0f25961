"""What all documents of maps have in common: no Earth in them, pictures in all formats, and files that change."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from asgi_client import Client
from map_raster_files import write_raster
from PIL import Image

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site

EARTH_PATTERN = re.compile(r"6378[.\d]*|6371\d*|6356752|WGS ?_?(19)?84|EPSG:(?!4326)|298\.25|111319|111194|110574")
GET_MAP = "SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&STYLES=&SRS=IAU_2015:49900"
WIDE = "BBOX=0,-90,180,90&WIDTH=1500&HEIGHT=750"
DESCRIPTOR = """\
collection: psup
title: Maps of Mars
files: "maps/*"
layers: {OMEGA_solar_albedo: {file: maps/albedo.tif, range: [-90, 90]}}
frame_aliases: {"EPSG:4326": "IAU_2015:49900"}
"""


@pytest.mark.parametrize(
    "path",
    ["/wms/psup?REQUEST=GetCapabilities", "/wms/psup?REQUEST=GetCapabilities&VERSION=1.1.1",
     "/wmts/psup?REQUEST=GetCapabilities", "/wcs/psup?REQUEST=GetCapabilities",
     "/wcs/psup?REQUEST=GetCapabilities&VERSION=1.0.0", "/wcs/psup?REQUEST=DescribeCoverage&VERSION=2.0.1&COVERAGEID=latitude",
     "/wcs/psup?REQUEST=DescribeCoverage&VERSION=1.0.0&COVERAGE=latitude", "/maps.json", "/maps/Mars.json"],
)  # fmt: skip
def test_no_document_has_a_figure_of_the_earth(client: Client, path: str) -> None:
    text = client.get(path).text
    assert EARTH_PATTERN.search("+a=6378137")
    assert EARTH_PATTERN.search(text) is None, EARTH_PATTERN.search(text)
    assert len(text) > 100


@pytest.mark.parametrize(("media_type", "name"), [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/webp", "WEBP")])
def test_maps_are_pictures_of_the_format_and_size_that_are_requested(
    client: Client, media_type: str, name: str
) -> None:
    """1500 x 750 pixels of 180 x 180 degrees, which are not square, as Mars Visu requests them."""
    answer = client.get(f"/wms/psup?{GET_MAP}&LAYERS=latitude&{WIDE}&FORMAT={media_type}")
    assert answer.headers["content-type"] == media_type
    picture = Image.open(io.BytesIO(answer.body))
    assert (picture.format, picture.size) == (name, (1500, 750))
    column = np.asarray(picture.convert("RGB")).astype(int)[:, 700, 0]
    wanted = (90 - (np.arange(750) + 0.5) * 180 / 750 + 90) / 180 * 255
    assert np.abs(column - wanted).max() <= 4


@pytest.fixture
def changing_site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "collections/psup/maps"
    folder.mkdir(parents=True)
    write_raster(folder / "albedo.tif", np.repeat(89.5 - np.arange(180)[:, None], 360, axis=1), -180)
    (folder.parent / "psup.yaml").write_text(DESCRIPTOR)
    alias = '[[alias]]\npath = "/cgi-bin/mapserv"\nto = "/wms/psup"\n'
    (tmp_path / "hven.toml").write_text(f'public_url = "https://vo.example"\n{alias}')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "psup")
        yield site


def read_grey(answer_body: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(answer_body)).convert("RGB")).astype(int)[..., 0]


def test_a_box_of_a_talk_and_a_layer_whose_file_changes(changing_site: Site) -> None:
    """A file that is no longer the published one is refused in all services, and nothing of it is kept."""
    client = Client(create_and_start_application(changing_site))
    # as it is in the talk: an upper-case key beside lower-case ones, and a frame of the Earth
    old = "/cgi-bin/mapserv?map=/cnes/mars.map&SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=OMEGA_solar_albedo"
    old += "&STYLES=&SRS=EPSG:4326&BBOX=0,-45,180,45&WIDTH=1500&HEIGHT=750&FORMAT=image/png"
    picture = read_grey(client.get(old).body)
    assert picture.shape == (750, 1500)
    wanted = (45 - (np.arange(750) + 0.5) * 90 / 750 + 90) / 180 * 255
    assert np.abs(picture[:, 3] - wanted).max() <= 2
    path = changing_site.settings.directory / "collections/psup/maps/albedo.tif"
    write_raster(path, np.full((90, 180), 90.0), -180)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 3_000_000_000))
    tile = "/wmts/psup/1.0.0/OMEGA_solar_albedo/default/MarsGeographic/0/0/0.png"
    coverage = "/wcs/psup?SERVICE=WCS&REQUEST=GetCoverage&VERSION={}&FORMAT=image/tiff&CRS=IAU_2015:49900&BBOX=0,0,9,9"
    coverage += "&WIDTH=9&HEIGHT=9&COVERAGE{}=OMEGA_solar_albedo"
    for address, root in (
        (old, 'ServiceExceptionReport version="1.1.1"'),
        (old.replace("VERSION=1.1.1", "VERSION=1.3.0").replace("0,-45,180,45", "-45,0,45,180").replace("SRS", "CRS"), "1.3.0"),
        (tile, "ExceptionReport"),
        (coverage.format("1.0.0", ""), "ServiceExceptionReport"),
        (coverage.format("2.0.1", "ID"), "ows/2.0"),
    ):  # fmt: skip
        answer = client.get(address)
        assert answer.status >= 400, address
        assert root in answer.text
        assert "changed" in answer.text or "ingest" in answer.text
        assert str(changing_site.settings.directory) not in answer.text
        assert "max-age" not in answer.headers.get("cache-control", "")
    ingest_collection(changing_site, "psup")
    again = Client(create_and_start_application(changing_site))
    assert (read_grey(again.get(old).body) == 255).all()
    assert (read_grey(again.get(tile).body) == 255).all()


def test_a_layer_without_a_frame_is_an_exception_and_hides_no_other_layer(tmp_path: Path) -> None:
    folder = tmp_path / "collections/psup/maps"
    folder.mkdir(parents=True)
    write_raster(folder / "albedo.tif", np.zeros((90, 180)), -180)
    Image.new("L", (20, 10)).save(folder / "bare.png")
    (folder / "broken.tif").write_bytes(b"II*\0 no raster")
    layers = "layers: {albedo: maps/albedo.tif, bare: maps/bare.png, broken: maps/broken.tif}"
    descriptor = DESCRIPTOR.replace("layers: {OMEGA_solar_albedo: {file: maps/albedo.tif, range: [-90, 90]}}", layers)
    (folder.parent / "psup.yaml").write_text(descriptor)
    (tmp_path / "hven.toml").write_text('public_url = "https://vo.example"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "psup")
        client = Client(create_and_start_application(site))
        for layer in ("bare", "broken"):
            for version, frame in (("1.1.1", "SRS"), ("1.3.0", "CRS")):
                query = f"SERVICE=WMS&VERSION={version}&REQUEST=GetMap&STYLES=&{frame}=IAU_2015:49900&LAYERS={layer}"
                answer = client.get(f"/wms/psup?{query}&BBOX=0,0,9,9&WIDTH=9&HEIGHT=9")
                assert answer.status >= 400
                assert f'<ServiceExceptionReport version="{version}"' in answer.text
                assert f"{layer}." in answer.text
            tile = client.get(f"/wmts/psup/1.0.0/{layer}/default/MarsGeographic/0/0/0.png")
            assert (tile.status >= 400, "ExceptionReport" in tile.text) == (True, True)
            query = f"SERVICE=WCS&VERSION=2.0.1&REQUEST=DescribeCoverage&COVERAGEID={layer}"
            described = client.get(f"/wcs/psup?{query}")
            assert (described.status >= 400, "ows/2.0" in described.text) == (True, True)
        for path in ("/wms/psup?REQUEST=GetCapabilities", "/wmts/psup?REQUEST=GetCapabilities",
                     "/wcs/psup?REQUEST=GetCapabilities", "/maps/Mars.json"):  # fmt: skip
            answer = client.get(path)
            assert answer.status == 200
            assert "albedo" in answer.text
            assert "bare" not in answer.text
            assert "broken" not in answer.text

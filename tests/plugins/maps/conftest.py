"""A site with two rasters of Mars in a public and a private collection; the client of these tests is that of the protocols."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))

from asgi_client import Client
from map_raster_files import write_raster

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site

SETTINGS = """\
public_url = "https://vo.example"
[[alias]]
path = "/cgi-bin/mapserv"
to = "/wms/psup"
[[alias]]
path = "/wcsmap"
to = "/wcs/psup"
"""
DESCRIPTOR = """\
collection: {name}
title: Maps of Mars
access: {access}
files: [{{files: "maps/*"}}]
frame_aliases: {{"CRS:84": "IAU_2015:49900", "EPSG:4326": "IAU_2015:49900"}}
layers:
  latitude: {{file: maps/latitude.tif, title: Latitude, kind: background, range: [-90, 90], unit: deg}}
  turned: {{file: maps/turned.tif, range: [0, 360], colours: [0 black, 360 white]}}
"""


@pytest.fixture(scope="package")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("maps")
    latitudes = np.repeat(89.5 - np.arange(180)[:, None], 360, axis=1)
    longitudes = np.repeat(np.arange(360)[None, :] + 0.5, 180, axis=0)  # 0 to 360
    for name, access in (("psup", "public"), ("shut", "private")):
        folder = directory / "collections" / name
        (folder / "maps").mkdir(parents=True)
        write_raster(folder / "maps/latitude.tif", latitudes, -180)
        write_raster(folder / "maps/turned.tif", longitudes, 0)
        (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, access=access))
    (directory / "hven.toml").write_text(SETTINGS)
    return directory


@pytest.fixture(scope="package")
def client(directory: Path) -> Iterator[Client]:
    with Site(load_settings(directory)) as site:
        for name in ("psup", "shut"):
            ingest_collection(site, name)
        yield Client(create_and_start_application(site))

"""GDAL and QGIS of Debian, as users have them, read maps, tiles and coverages of a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from map_raster_files import write_raster

sys.path.insert(0, str(Path(__file__).parent))

from qgis_runner import read_with_qgis

from process_runner import run_hven, serve_site
from requirements import require_program

pytestmark = pytest.mark.outside
DESCRIPTOR = """\
collection: psup
title: Maps of Mars
files: "maps/*"
layers:
  latitude: {file: maps/latitude.tif, kind: background, range: [-90, 90], colours: [-90 black, 90 white], unit: deg}
"""
METRES_PER_DEGREE = 59274.6975
SPHERE = "IAU_2015:49900"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a raster whose values are the latitudes of its pixels."""
    directory = tmp_path_factory.mktemp("programs") / "site"
    folder = directory / "collections" / "psup"
    (folder / "maps").mkdir(parents=True)
    (directory / "hven.toml").write_text('name = "mars"\n')
    write_raster(folder / "maps/latitude.tif", np.repeat(89.5 - np.arange(180)[:, None], 360, axis=1), -180)
    (folder / "psup.yaml").write_text(DESCRIPTOR)
    run_hven("--site", directory, "ingest", "psup")
    with serve_site(directory) as served:
        yield f"http://127.0.0.1:{served.port}"


def run_program(name: str, *words: str, home: Path) -> str:
    """Run a program of Debian's GDAL with a home of its own, where it keeps what it fetched."""
    require_program("gdalinfo")
    environment = {**os.environ, "HOME": str(home)}
    for variable in ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA", "PYTHONPATH"):  # those of the wheels
        environment.pop(variable, None)
    done = subprocess.run(
        [name, *words], capture_output=True, text=True, check=False, timeout=300, env=environment, cwd=home
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "source",
    [
        f"WMS:{{}}/wms/psup?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=latitude&CRS={SPHERE}&BBOX=-90,-180,90,180&BBOXORDER=yxYX",
        f"WMS:{{}}/wms/psup?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=latitude&SRS={SPHERE}&BBOX=-180,-90,180,90",
        "WMTS:{}/wmts/psup/1.0.0/WMTSCapabilities.xml,layer=latitude",
        "WMTS:{}/wmts/psup?SERVICE=WMTS&REQUEST=GetCapabilities,layer=latitude,tilematrixset=MarsEquirectangular",
    ],
)
def test_gdal_draws_maps_and_tiles(address: str, source: str, tmp_path: Path) -> None:
    source = source.format(address)
    described = json.loads(run_program("gdalinfo", "-json", source, home=tmp_path))
    assert '"Mars (2015) - Sphere",3396190,0' in described["coordinateSystem"]["wkt"]
    scale = METRES_PER_DEGREE if source.startswith("WMTS") else 1
    assert described["cornerCoordinates"]["upperLeft"] == pytest.approx([-180 * scale, 90 * scale])
    run_program("gdal_translate", "-q", "-outsize", "512", "256", source, "drawn.tif", home=tmp_path)
    with rasterio.open(tmp_path / "drawn.tif") as drawn:
        columns = drawn.read(1)[:, [0, 255, 511]].astype(float)
    wanted = (256 - np.arange(256) - 0.5) / 256 * 255
    assert np.abs(columns - wanted[:, None]).max() <= 4


def test_gdal_draws_polar_tiles(address: str, tmp_path: Path) -> None:
    source = f"WMTS:{address}/wmts/psup/1.0.0/WMTSCapabilities.xml,layer=latitude,tilematrixset=MarsNorthPolar"
    run_program("gdal_translate", "-q", "-outsize", "256", "256", source, "drawn.tif", home=tmp_path)
    with rasterio.open(tmp_path / "drawn.tif") as drawn:
        values = drawn.read(1)
    assert values[127:129, 127:129].min() > 250, "the pole is in the middle"
    assert abs(int(values[128, 0]) - (60 + 90) / 180 * 255) <= 4


def test_gdal_reads_coverages(address: str, tmp_path: Path) -> None:
    """Debian's GDAL 3.6 does not read version 2.0.1 (docs/proofs/maps.md), but version 1.0.0."""
    source = f"WCS:{address}/wcs/psup?version=1.0.0&coverage=latitude"
    run_program("gdal_translate", "-q", "-srcwin", "180", "60", "30", "20", source, "read.tif", home=tmp_path)
    with rasterio.open(tmp_path / "read.tif") as read:
        assert read.bounds == (0, 10, 30, 30)
        assert (read.read(1) == 29.5 - np.arange(20)[:, None]).all()
        assert "3396190" in read.crs.to_wkt()


def test_gdal_3_6_refuses_what_it_would_misplace(address: str, tmp_path: Path) -> None:
    """In version 2.0.1, it does not know the frame; newer ones read the coverage where it is."""
    source = f"WCS:{address}/wcs/psup?version=2.0.1&coverage=latitude"
    if "GDAL 3.6" not in run_program("gdalinfo", "--version", home=tmp_path):
        described = json.loads(run_program("gdalinfo", "-json", source, home=tmp_path))
        assert described["cornerCoordinates"]["upperLeft"] == [-180, 90]
        return
    with pytest.raises(AssertionError, match="Unable to interpret coverage CRS"):
        run_program("gdalinfo", source, home=tmp_path)


def test_newer_gdal_reads_coverages_of_version_2(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GDAL of rasterio's wheel knows IAU's addresses of frames, and that latitude is their first axis."""
    monkeypatch.setenv("HOME", str(tmp_path))  # it keeps documents there
    with rasterio.open(f"WCS:{address}/wcs/psup?version=2.0.1&coverage=latitude") as dataset:
        assert dataset.bounds == (-180, -90, 180, 90)
        assert dataset.crs.to_string() == "IAU_2015:49900"
        values = dataset.read(1, window=rasterio.windows.Window(200, 30, 4, 3))
    assert (values == 59.5 - np.arange(3)[:, None]).all()


def test_qgis_draws_maps_tiles_and_coverages(address: str) -> None:
    degrees = (-180, -90, 180, 90)
    metres = tuple(number * METRES_PER_DEGREE for number in degrees)
    maps = f"format=image/png&layers=latitude&styles=default&url={address}"
    capabilities = "?SERVICE%3DWMTS%26REQUEST%3DGetCapabilities"
    layers = (
        ("wms", f"crs={SPHERE}&{maps}/wms/psup", *degrees),
        ("wms", f"crs=IAU_2015:49910&tileMatrixSet=MarsEquirectangular&{maps}/wmts/psup{capabilities}", *metres),
        ("wcs", f"url={address}/wcs/psup&identifier=latitude&version=1.0.0&crs={SPHERE}", *degrees),
    )
    for found, wanted_crs in zip(read_with_qgis(layers), (SPHERE, "IAU_2015:49910", SPHERE), strict=True):
        assert found["is_valid"]
        assert found["crs"] == wanted_crs
        north, middle, south = (colour[0] for colour in found["colours"])
        assert (north > 235, abs(middle - 120) < 20, south < 20) == (True, True, True), found

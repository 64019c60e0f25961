"""GDAL and QGIS of Debian read features by WFS and OGC API Features, and GDAL reads items of STAC."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from granule_rows import ROWS, build_granule_table, build_granules

from hven.testing.site import open_tiny_site
from process_runner import serve_site
from requirements import require, require_program

sys.path.insert(0, str(Path(__file__).parents[2] / "maps" / "outside"))

from qgis_runner import read_with_qgis

pytestmark = pytest.mark.outside
TYPE = "f:mars.epn_core"
SPHERE = '"Mars (2015) - Sphere",3396190,0'
BOX = (87.0, 19.0, 91.0, 22.0)  # of g0001: west, south, east, north


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a table of EPN-TAP."""
    directory = tmp_path_factory.mktemp("features") / "site"
    mars = build_granule_table("mars")
    open_tiny_site(directory, {"mars.epn_core": (mars, build_granules(mars).slice(0, ROWS))}).close()
    (directory / "hven.toml").write_text('name = "x"\n')
    with serve_site(directory) as served:
        yield f"http://127.0.0.1:{served.port}"


def run_gdal(program: str, *words: str, home: Path) -> str:
    """Run a program of Debian's GDAL."""
    require_program("gdalinfo")
    removed = {"PROJ_DATA", "PROJ_LIB", "GDAL_DATA", "PYTHONPATH"}  # those of wheels
    environment = {name: value for name, value in os.environ.items() if name not in removed}
    done = subprocess.run(
        [program, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**environment, "HOME": str(home)},
        cwd=home,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("source", ["WFS:{}/wfs", "WFS:{}/wfs?VERSION=1.0.0", "OAPIF:{}/stac"])
def test_gdal_reads_features(address: str, source: str, tmp_path: Path) -> None:
    layer = "mars.epn_core" if source.startswith("OAPIF") else TYPE
    summary = run_gdal("ogrinfo", "-so", source.format(address), layer, home=tmp_path)
    assert f"Feature Count: {ROWS}" in summary
    if not source.startswith("OAPIF"):  # GDAL 3.6 gives all of these the ellipsoid of the Earth
        assert SPHERE in summary
    run_gdal(
        "ogr2ogr", "-f", "CSV", "read.csv", source.format(address), layer, "-lco", "GEOMETRY=AS_WKT", home=tmp_path
    )
    (row,) = (line for line in (tmp_path / "read.csv").read_text().splitlines() if "g0001" in line)
    assert "((91 19,91 22,87 22,87 19,91 19))" in row


def test_gdal_mosaics_items(address: str, tmp_path: Path) -> None:
    """The driver STACIT needs rasters with a projection; it reads the items, and says that they have none."""
    require_program("gdalinfo")
    url = f"{address}/stac/search?collections=mars.epn_core&limit=5"
    done = subprocess.run(
        ["gdalinfo", f'STACIT:"{url}"'], capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path
    )
    assert "proj:" in done.stderr or "No compatible asset" in done.stderr, done.stderr


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0", "auto"])
def test_qgis_reads_features(address: str, version: str) -> None:
    require("qgis")
    sources = [
        ("WFS", f"url='{address}/wfs' typename='{TYPE}' version='{version}'", 0, 0, 0, 0),
        ("OAPIF", f"url='{address}/stac' typename='mars.epn_core'", 0, 0, 0, 0),
    ]
    by_wfs, by_features = read_with_qgis(sources)
    assert by_wfs["crs"] == "IAU_2015:49900"
    for found in (by_wfs, by_features):
        assert (found["is_valid"], found["count"]) == (True, ROWS)
        assert found["boxes"] == [pytest.approx(BOX)]

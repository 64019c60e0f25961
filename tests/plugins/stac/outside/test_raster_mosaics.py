"""GDAL's driver STACIT, of Debian and of rasterio, mosaics cloud-optimised rasters that items describe and Hven serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from granule_rows import build_granule_table, build_granules

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.model.table import Column
from hven.model.types import STRING, parse_type
from hven.site import Site
from hven.testing.site import publish_rows
from process_runner import reserve_port, serve_site
from requirements import require_program

pytestmark = pytest.mark.outside
rasterio = pytest.importorskip("rasterio")
WIDTH, HEIGHT, PIXEL_METERS = 64, 48, 10_000.0
TRANSFORMS = [(PIXEL_METERS, 0.0, west, 0.0, -PIXEL_METERS, 240_000.0) for west in (0.0, WIDTH * PIXEL_METERS)]
FRAME = "IAU_2015:49910"  # equidistant cylindrical on the sphere of Mars
DESCRIPTOR = 'collection: rasters\ntitle: Rasters\nfiles: [{files: "maps/*"}]\n'


def make_site(directory: Path, port: int) -> None:
    """Make a site with two rasters, and a table of granules whose first two rows describe them."""
    folder = directory / "collections/rasters"
    (folder / "maps").mkdir(parents=True)
    (folder / "rasters.yaml").write_text(DESCRIPTOR)
    (directory / "hven.toml").write_text('name = "x"\n')
    for number, transform in enumerate(TRANSFORMS):
        profile = {"width": WIDTH, "height": HEIGHT, "count": 1, "dtype": "int16", "crs": FRAME}
        with rasterio.open(
            folder / f"maps/{number}.tif", "w", driver="COG", transform=rasterio.Affine(*transform), **profile
        ) as raster:
            raster.write(np.full((HEIGHT, WIDTH), 100 * (number + 1), np.int16), 1)
    mars = build_granule_table("mars")
    grids = (
        Column(name="proj_code", type=STRING),
        Column(name="proj_shape", type=parse_type("int64[2]")),
        Column(name="proj_transform", type=parse_type("float64[6]")),
    )
    rows = build_granules(mars).slice(0, 5).to_pylist()
    for number, transform in enumerate(TRANSFORMS):
        address = f"http://127.0.0.1:{port}/collections/rasters/files/maps/{number}.tif"
        rows[number] |= {"access_url": address, "access_format": "image/tiff", "proj_code": FRAME}
        rows[number] |= {"proj_shape": [HEIGHT, WIDTH], "proj_transform": list(transform)}
    table = mars.copy_with(columns=(*mars.columns, *grids))
    schema = pa.schema([pa.field(column.name, column.type.arrow) for column in table.columns])
    rows = [{name: row.get(name) for name in schema.names} for row in rows]
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "rasters")
        publish_rows(site, table, pa.Table.from_pylist(rows, schema))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory, port = tmp_path_factory.mktemp("mosaics"), reserve_port()
    make_site(directory, port)
    with serve_site(directory, port=port):
        yield f"http://127.0.0.1:{port}"


def check_mosaic(program: list[str], environment: dict[str, str], home: Path) -> None:
    """Check the size, the frame and the values of a mosaic that a program reports as JSON."""
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300, env=environment, cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["size"] == [2 * WIDTH, HEIGHT]
    assert "3396190" in report["coordinateSystem"]["wkt"]
    assert report["geoTransform"] == [0, PIXEL_METERS, 0, 240_000, 0, -PIXEL_METERS]
    band = report["bands"][0]
    assert [band["minimum"], band["maximum"], band["mean"]] == [100, 200, 150]


def test_gdal_of_debian(address: str, tmp_path: Path) -> None:
    """GDAL 3.6 skips items without the member proj:epsg, which is asked for."""
    require_program("gdalinfo")
    removed = {"PROJ_DATA", "PROJ_LIB", "GDAL_DATA", "PYTHONPATH"}  # those of wheels
    environment = {name: value for name, value in os.environ.items() if name not in removed} | {"HOME": str(tmp_path)}
    url = f"{address}/stac/search?collections=mars.epn_core&fields=stac_extensions,properties,assets,proj:epsg"
    check_mosaic(["gdalinfo", "-json", "-stats", f'STACIT:"{url}"'], environment, tmp_path)


RASTERIO_REPORT = """
import json, sys, rasterio
with rasterio.open(sys.argv[1]) as mosaic:
    values = mosaic.read(1)
    band = {"minimum": int(values.min()), "maximum": int(values.max()), "mean": float(values.mean())}
    frame = {"wkt": mosaic.crs.to_wkt()}
    print(json.dumps({"size": [mosaic.width, mosaic.height], "bands": [band], "coordinateSystem": frame, "geoTransform": mosaic.transform.to_gdal()}))
"""


def test_gdal_of_rasterio(address: str, tmp_path: Path) -> None:
    url = f"{address}/stac/search?collections=mars.epn_core&fields=stac_extensions,properties,assets,proj:epsg"
    check_mosaic([sys.executable, "-c", RASTERIO_REPORT, f'STACIT:"{url}"'], dict(os.environ), tmp_path)

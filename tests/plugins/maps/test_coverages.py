"""Values in a box by WCS 1.0.0: GDAL reads the files, and finds the frame and the values that were asked for."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyproj
import pytest
import rasterio
from asgi_client import Client
from astropy.io import fits
from rasterio.io import MemoryFile

from hven.model.errors import TextPlace
from hven.plugins.maps.coverage_files import FITS_TYPE, GRID_TYPE, TIFF_TYPE, write_coverage
from hven.plugins.maps.frames import find_frame
from hven.plugins.maps.map_drawing import LayerRaster
from hven.plugins.maps.map_layers import MapLayer
from hven.plugins.maps.map_views import MapView

GET = "/wcs/psup?SERVICE=WCS&VERSION=1.0.0&REQUEST=GetCoverage&COVERAGE=latitude"
NAMES = {"": "http://www.opengis.net/wcs", "gml": "http://www.opengis.net/gml"}


def test_the_old_address_of_elevations_answers_literally(client: Client) -> None:
    """What CNES's Mizar asks for."""
    query = (
        "service=wcs&version=1.0.0&request=GetCoverage&width=33&height=33&crs=EPSG:4326&coverage=latitude"
        "&format=image/x-aaigrid&bbox=90,0,180,90"
    )
    answer = client.get(f"/wcsmap?{query}")
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "image/x-aaigrid"
    with MemoryFile(answer.body, ext=".asc") as memory, memory.open(driver="AAIGrid") as dataset:
        assert dataset.bounds == pytest.approx((90, 0, 180, 90))
        values = dataset.read(1)
    assert values.shape == (33, 33)
    assert np.abs(values[:, 0] - (90 - (np.arange(33) + 0.5) * 90 / 33)).max() <= 0.6


@pytest.mark.parametrize("code", [49900, 49910, 49915, 49930, 49935])
def test_the_frame_survives_in_geotiff(client: Client, code: int) -> None:
    """The places of pixels are computed here from what GDAL reads in the file."""
    box = "10,-80,50,80" if code == 49900 else "100000,-900000,900000,-100000"
    answer = client.get(f"{GET}&CRS=IAU_2015:{code}&BBOX={box}&WIDTH=8&HEIGHT=32&FORMAT=GeoTIFF")
    assert answer.status == 200, answer.text
    with MemoryFile(answer.body) as memory, memory.open() as dataset:
        values, crs = dataset.read(1), pyproj.CRS.from_wkt(dataset.crs.to_wkt())
        x, y = dataset.transform * np.meshgrid(np.arange(8) + 0.5, np.arange(32) + 0.5)
    assert crs.ellipsoid is not None
    assert crs.ellipsoid.semi_major_metre == crs.ellipsoid.semi_minor_metre == 3_396_190
    assert crs.geodetic_crs is not None
    lat = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(x, y)[1]
    if code == 49900:
        lat = y
    has_data = values > -100
    assert np.abs(values - lat)[has_data].max() <= 0.6


def test_the_frame_of_the_description_is_the_default(client: Client) -> None:
    """What GDAL 3.10 sends."""
    query = "FORMAT=GeoTIFF&BBOX=-180,88,-178,90&WIDTH=2&HEIGHT=2"
    assert client.get(f"{GET}&{query}&CRS=").body == client.get(f"{GET}&{query}&CRS=IAU_2015:49900").body


def test_places_without_data_have_the_missing_value(client: Client) -> None:
    answer = client.get(f"{GET}&CRS=IAU_2015:49900&BBOX=0,80,10,120&RESX=1&RESY=1&FORMAT=GeoTIFF")
    with MemoryFile(answer.body) as memory, memory.open() as dataset:
        mask = dataset.read_masks(1)
    assert mask.shape == (40, 10)
    assert not mask[:30].any()
    assert mask[30:].all()


def test_documents_name_the_coverages(client: Client) -> None:
    capabilities = ET.fromstring(client.get("/wcs/psup?SERVICE=WCS&VERSION=1.0.0&REQUEST=GetCapabilities").text)
    assert [name.text for name in capabilities.iterfind(".//CoverageOfferingBrief/name", NAMES)] == [
        "latitude",
        "turned",
    ]
    answer = client.get("/wcs/psup?REQUEST=DescribeCoverage&VERSION=1.0.0&COVERAGE=latitude")
    description = ET.fromstring(answer.text)
    assert [name.text for name in description.iterfind("CoverageOffering/name", NAMES)] == ["latitude"]
    assert description.findtext(".//gml:high", "", NAMES) == "359 179"
    assert "<requestResponseCRSs>CRS:84<" in answer.text


@pytest.mark.parametrize(
    ("query", "locator", "words"),
    [
        (
            "CRS=IAU_2015:49901&BBOX=0,0,1,1&WIDTH=9&HEIGHT=9",
            "CRS",
            "the format GeoTIFF cannot represent the frame IAU_2015:49901",
        ),
        (
            "CRS=IAU_2015:49902&BBOX=0,0,1,1&WIDTH=9&HEIGHT=9",
            "CRS",
            "the format GeoTIFF cannot represent the frame IAU_2015:49902",
        ),
        ("CRS=IAU_2015:30100&BBOX=0,0,1,1&WIDTH=9&HEIGHT=9", "CRS", "Moon"),
        ("CRS=IAU_2015:49900&BBOX=0,0,nan,1&WIDTH=9&HEIGHT=9", "BBOX", "does not describe a box"),
        ("CRS=IAU_2015:49900&BBOX=0,0,1,1&RESX=1e-300&RESY=1", "WIDTH", "cannot be drawn"),
        ("CRS=IAU_2015:49900&BBOX=0,0,1,1&WIDTH=65536&HEIGHT=9", "WIDTH", "cannot be drawn"),
        ("CRS=IAU_2015:49900&BBOX=0,0,1,1&WIDTH=9&HEIGHT=9&FORMAT=x", "FORMAT", "GeoTIFF"),
    ],
)
def test_wrong_requests_are_refused_with_a_reason(client: Client, query: str, locator: str, words: str) -> None:
    answer = client.get(f"{GET}&{query}")
    assert answer.status == 400
    assert answer.headers["content-type"].startswith("application/vnd.ogc.se_xml")
    assert f'locator="{locator}"' in answer.text
    assert words in answer.text


@pytest.mark.parametrize(
    ("stored_type", "kept_type"), [("float64", "float64"), ("int32", "float64"), ("int16", "float32")]
)
def test_no_digit_of_a_value_is_lost(tmp_path: Path, stored_type: str, kept_type: str) -> None:
    """Single precision keeps seven digits: radii in metres and long codes have more."""
    values = (np.arange(50).reshape(5, 10) * 7 + {"int16": 3}.get(stored_type, 123_456_789)).astype(stored_type)
    values[0, 0] = -999
    path = tmp_path / "values.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=10, height=5, count=1, dtype=stored_type, crs="IAU_2015:49900", nodata=-999,
        transform=rasterio.transform.from_bounds(0, 0, 10, 5, 10, 5),
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
    layer = MapLayer(name="x", title="x", files={"": path.name}, place=TextPlace())
    raster = LayerRaster(layer, path, tmp_path)
    view = MapView(frame=find_frame("IAU_2015:49900"), bounds=(0, 0, 10, 5), width=10, height=5)
    with MemoryFile(write_coverage(raster, view, TIFF_TYPE, is_smooth=False)) as memory, memory.open() as dataset:
        assert dataset.dtypes == (kept_type,)
        found, mask = dataset.read(1), dataset.read_masks(1) > 0
    assert (found[mask] == values[mask]).all()
    assert mask.sum() == 49
    with fits.open(io.BytesIO(write_coverage(raster, view, FITS_TYPE, is_smooth=False))) as files:
        kept = files[0].data[::-1]
    assert kept.dtype.itemsize == np.dtype(kept_type).itemsize
    assert (kept[mask] == values[mask]).all()
    assert np.isnan(kept[0, 0])
    text = write_coverage(raster, view, GRID_TYPE, is_smooth=False).decode()
    lines = text.splitlines()
    missing = next(line.split()[1] for line in lines if line.startswith("NODATA_value"))
    rows = [line.split() for line in lines[-5:]]
    assert rows[0][0] == missing
    assert [[float(word) for word in row[1:]] for row in rows] == values[:, 1:].astype(float).tolist()

"""Where rasters of any projection are: their period, their ends in degrees, and what documents tell of these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hven.model.errors import TextPlace
from hven.plugins.maps.frames import find_frame
from hven.plugins.maps.map_drawing import LayerRaster, read_pixel_value
from hven.plugins.maps.map_layers import MapLayer
from hven.plugins.maps.map_rasters import _find_lon_lat_bounds
from hven.plugins.maps.wcs_2_requests import build_coverage_grid

RADIUS_M = 3_396_190.0
METRES_PER_DEGREE = np.pi * RADIUS_M / 180


def open_raster(
    path: Path, values: np.ndarray, crs: str, bounds: tuple[float, float, float, float], **options: object
) -> LayerRaster:
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype=values.dtype, crs=crs,
        transform=rasterio.transform.from_bounds(*bounds, width, height), **options,
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
    layer = MapLayer(name="x", title="x", files={"": path.name}, body="Mars", place=TextPlace())
    return LayerRaster(layer, path, path.parent)


def write_equirectangular(
    path: Path, ends: tuple[float, float], *, parallel: float, origin: str = ""
) -> tuple[LayerRaster, float]:
    """Write a raster of longitudes with a pixel for each degree, in a frame with a standard parallel."""
    crs = f"+proj=eqc +lat_ts={parallel} +R={RADIUS_M} +units=m {origin}"
    scale = METRES_PER_DEGREE * np.cos(np.radians(parallel))
    west, east = ends
    longitudes = np.arange(west, east, dtype="float32")[np.newaxis].repeat(20, 0) + 0.5
    shift = 5_000.0 if "x_0" in origin else 0.0
    bounds = (west * scale + shift, -10 * METRES_PER_DEGREE, east * scale + shift, 10 * METRES_PER_DEGREE)
    return open_raster(path, longitudes, crs, bounds), scale


@pytest.mark.parametrize("parallel", [0.0, 40.0, -60.0])
@pytest.mark.parametrize("origin", ["", "+x_0=5000"])
def test_standard_parallels_are_part_of_equirectangular_frames(tmp_path: Path, parallel: float, origin: str) -> None:
    """HiRISE, CTX and LROC have them: GDAL makes one of CENTER_LATITUDE."""
    raster, _ = write_equirectangular(tmp_path / "whole.tif", (-180, 180), parallel=parallel, origin=origin)
    info = raster.read_info()
    assert info.is_whole_turn
    assert info.lon_lat_bounds == pytest.approx((-180, -10, 180, 10))
    for lon in (-179.3, -90.2, 0.4, 100.1, 179.6, 270.3):
        assert read_pixel_value(raster, lon, 3) == pytest.approx(np.floor((lon + 180) % 360) - 179.5)
    part, _ = write_equirectangular(tmp_path / "part.tif", (170, 190), parallel=parallel, origin=origin)
    info = part.read_info()
    assert not info.is_whole_turn
    assert info.lon_lat_bounds == pytest.approx((170, -10, 190, 10))
    for lon, value in ((170.4, 170.5), (179.3, 179.5), (-179.6, 180.5), (189.7, 189.5), (-170.4, 189.5)):
        assert read_pixel_value(part, lon, 3) == value
    for lon in (169.5, -169.5, 0.0):
        assert read_pixel_value(part, lon, 3) is None


@settings(max_examples=60, deadline=None)
@given(
    code=st.sampled_from([49920, 49930, 49935, 49965, 49970, 49940, 49990]),
    lon=st.floats(-179.9, 179.9),
    lat=st.floats(-84, 84),
    half=st.floats(1e3, 6e5),
)
@example(code=49940, lon=179.75, lat=63.0, half=5031.0)
@example(code=49940, lon=179.5, lat=62.0, half=25609.0)
def test_ends_in_degrees_contain_the_raster_and_little_else(code: int, lon: float, lat: float, half: float) -> None:
    frame = find_frame(f"IAU_2015:{code}")
    x, y = frame.convert_from_lon_lat(np.array([lon]), np.array([lat]))
    if not np.isfinite(x + y).all():
        return
    box = (float(x[0]) - half, float(y[0]) - half, float(x[0]) + half, float(y[0]) + half)
    grid_x, grid_y = (axis.ravel() for axis in np.meshgrid(*(np.linspace(box[i], box[i + 2], 41) for i in (0, 1))))
    lons, lats = frame.convert_to_lon_lat(grid_x, grid_y)
    lats = lats.clip(-90, 90)  # PROJ finds 90.00001 for a place a metre beyond the pole
    is_on_body = np.isfinite(lons + lats)
    west, south, east, north = _find_lon_lat_bounds(frame, box)
    assert -180 <= west <= 180
    assert west <= east <= west + 360
    assert (lats[is_on_body] >= south - 1e-9).all()
    assert (lats[is_on_body] <= north + 1e-9).all()
    assert ((lons[is_on_body] - west) % 360 <= east - west + 1e-6).all()
    spread = lats[is_on_body].max() - lats[is_on_body].min()
    margins = 0.1 * spread
    if (
        not is_on_body.all()
    ):  # a corner of the box may be all that is on the body: its margins are steps of the whole box
        steps = np.abs(np.diff(np.where(is_on_body, lats, np.nan).reshape(41, 41), axis=0))
        margins = max(margins, 6 * np.nanmax(steps, initial=0.0))
    if code not in {49965, 49970}:  # whose places are far from each other at the edge of the body
        assert north - south <= spread + margins + 1e-6 or abs(north) == 90 or abs(south) == 90


def test_a_small_raster_is_not_told_to_be_the_whole_body(tmp_path: Path) -> None:
    """A sinusoidal raster of 60 km: its coverage has pixels as small as its own."""
    raster = open_raster(
        tmp_path / "small.tif", np.ones((50, 60), "float32"), "IAU_2015:49920", (1e6, 5e5, 1.06e6, 5.5e5)
    )
    west, south, east, north = raster.read_info().lon_lat_bounds
    assert (west, south, east, north) == pytest.approx((17.0, 8.43, 18.2, 9.29), abs=0.1)
    grid = build_coverage_grid(raster.read_info())
    assert grid.frame.name == "IAU_2015:49900"
    assert (grid.bounds[2] - grid.bounds[0]) / grid.width < 0.03
    polar = open_raster(tmp_path / "polar.tif", np.ones((5, 6), "float32"), "IAU_2015:49935", (-1e5, -1e5, 1e5, 1e5))
    west, south, east, north = polar.read_info().lon_lat_bounds
    assert (west, south, east) == (-180, -90, 180)
    assert -88 < north < -86


def test_a_raster_over_180_degrees_is_in_the_box_of_its_capabilities(tmp_path: Path) -> None:
    from hven.model.resource import CollectionSpec
    from hven.plugins.maps.wms_requests import write_capabilities

    raster = open_raster(tmp_path / "over.tif", np.ones((10, 20), "float32"), "IAU_2015:49900", (170, 0, 190, 10))
    resource = CollectionSpec(name="c", title="C", path=tmp_path / "c.yaml")
    text = write_capabilities([(resource, raster)], "https://vo.example/wms/c", "1.3.0", {})[0].decode()
    assert "<westBoundLongitude>-180.0</westBoundLongitude><eastBoundLongitude>180.0<" in text
    assert 'minx="0.0" miny="170.0" maxx="10.0" maxy="190.0"' in text

"""A raster of 100,000 x 100,000 pixels is drawn in bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from hven.model.errors import ParamError, TextPlace
from hven.plugins.maps.frames import find_frame
from hven.plugins.maps.map_drawing import LayerRaster, draw_map, draw_tile
from hven.plugins.maps.map_layers import MapLayer
from hven.plugins.maps.map_views import MapView

SIDE_PIXELS = 100_000
MAX_GROWTH_MIB = 200
DEGREES = 180 / SIDE_PIXELS


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> LayerRaster:
    """Make a sparse raster of 10 GB with overviews, from 0 to 180 degrees east; it has values in one square only."""
    directory = tmp_path_factory.mktemp("large")
    path = directory / "large.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE_PIXELS, height=SIDE_PIXELS, count=1, dtype="uint8", tiled=True,
        blockxsize=512, blockysize=512, sparse_ok=True, compress="deflate", bigtiff="yes", crs="IAU_2015:49900",
        transform=rasterio.transform.from_bounds(0, -90, 180, 90, SIDE_PIXELS, SIDE_PIXELS),
    ) as dataset:  # fmt: skip
        block = np.full((2048, 2048), 200, dtype="uint8")
        dataset.write(block, 1, window=rasterio.windows.Window(2048, 2048, 2048, 2048))
    with rasterio.Env(SPARSE_OK_OVERVIEW="YES"), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([16, 64, 256], rasterio.enums.Resampling.nearest)
    assert path.stat().st_size < 4 << 20
    layer = MapLayer(name="x", title="x", files={"": path.name}, value_range=(0, 255), place=TextPlace())
    return LayerRaster(layer, path, directory)


def read_memory_mib(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(key))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc/self/clear_refs (Linux)")
def test_the_memory_of_maps_does_not_follow_the_raster(raster: LayerRaster) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before_mib = read_memory_mib("VmRSS:")
    frame = find_frame("IAU_2015:49900")
    whole = MapView(frame=frame, bounds=(-180, -90, 180, 90), width=512, height=256)
    picture = np.asarray(draw_map([raster], whole, background=None).convert("RGBA"))
    assert picture[:, :255, 3].max() == 0, "no data to the west"
    assert picture[128, 300].tolist() == [0, 0, 0, 255]
    assert picture[3:8, 259:264, 0].max() == 200
    west, north = 2048 * DEGREES, 90 - 2048 * DEGREES
    near = MapView(frame=frame, bounds=(west, north - 0.1, west + 0.1, north), width=256, height=256)
    assert (np.asarray(draw_map([raster], near, background=None).convert("RGB"))[10:, 10:, 0] == 200).all()
    draw_tile(raster, "MarsGeographic", (0, 0, 1))
    assert read_memory_mib("VmHWM:") - before_mib <= MAX_GROWTH_MIB


def test_a_picture_of_all_its_pixels_is_refused(raster: LayerRaster) -> None:
    frame = find_frame("IAU_2015:49900")
    view = MapView(frame=frame, bounds=(0, -90, 180, 90), width=SIDE_PIXELS, height=SIDE_PIXELS)
    with pytest.raises(ParamError, match="cannot be drawn"):
        draw_map([raster], view, background=None)

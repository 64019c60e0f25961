"""Values at the pixels of maps: across the seam, at the poles, beside gaps, of codes, and with overviews."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hven.model.errors import TextPlace
from hven.plugins.maps import raster_sampling
from hven.plugins.maps.frames import find_frame
from hven.plugins.maps.map_drawing import LayerRaster, draw_map
from hven.plugins.maps.map_layers import MapLayer
from hven.plugins.maps.map_rasters import RasterInfo, RasterLevel, read_window
from hven.plugins.maps.map_views import MapView
from hven.plugins.maps.raster_sampling import sample_places, sample_view

LON_LAT = find_frame("IAU_2015:49900")
WIDTHS = (997, 1000, 1440)  # pixels of the rasters whose values are the numbers of their columns


def open_layer(path: Path) -> LayerRaster:
    return LayerRaster(MapLayer(name="x", title="x", files={"": path.name}, place=TextPlace()), path, path.parent)


def write_raster(
    path: Path, values: np.ndarray, box: tuple[float, ...] = (-180, -90, 180, 90), **options: object
) -> RasterInfo:
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype=values.dtype, crs="IAU_2015:49900",
        transform=rasterio.transform.from_bounds(*box, width, height), **options,
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
    return open_layer(path).read_info()


@pytest.fixture(scope="module")
def column_rasters(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, bool], RasterInfo]:
    """Write rasters around the body without and with overviews."""
    directory = tmp_path_factory.mktemp("columns")
    infos = {}
    for width in WIDTHS:
        for has_overviews in (False, True):
            path = directory / f"{width}-{has_overviews}.tif"
            write_raster(path, np.arange(width, dtype="float32")[np.newaxis].repeat(40, axis=0))
            if has_overviews:
                with rasterio.open(path, "r+") as dataset:
                    dataset.build_overviews([2, 4, 8], rasterio.enums.Resampling.nearest)
            infos[width, has_overviews] = open_layer(path).read_info()
    return infos


@settings(max_examples=150, deadline=None)
@example(997, False, 162.0, 399.0, 71)  # every 15th column is read, and 7 at the seam are not
@example(1000, False, -187.0, 376.3, 98)  # more than a turn is read, but not the end of the map
@given(st.sampled_from(WIDTHS), st.booleans(), st.floats(-400, 400), st.floats(0.1, 400), st.integers(1, 300))
def test_columns_are_right_across_the_seam(
    column_rasters: dict[tuple[int, bool], RasterInfo],
    width: int,
    has_overviews: bool,
    west: float,
    degrees: float,
    pixels: int,
) -> None:
    """Each pixel has the value of a column that is at most a pixel of the map away."""
    view = MapView(frame=LON_LAT, bounds=(west, -10, west + degrees, 10), width=pixels, height=3)
    values, is_valid = sample_view(column_rasters[width, has_overviews], view, is_smooth=False)
    assert is_valid.all()
    expected = (west + (np.arange(pixels) + 0.5) * degrees / pixels + 180) / 360 * width
    distances = (values[0, 1] + 0.5 - expected + width / 2) % width - width / 2
    assert np.abs(distances).max() <= 1 + degrees / pixels / 360 * width


@pytest.mark.parametrize("west", [-180.0, 0.0])
def test_values_are_interpolated_across_the_seam(tmp_path: Path, west: float) -> None:
    lon = np.radians(west + (np.arange(720) + 0.5) / 2)
    info = write_raster(
        tmp_path / "seam.tif", np.cos(lon).astype("float32")[np.newaxis].repeat(9, 0), (west, -90, west + 360, 90)
    )
    for middle in (-180, 0, 180, 360):
        view = MapView(frame=LON_LAT, bounds=(middle - 1, -1, middle + 1, 1), width=200, height=2)
        values, _ = sample_view(info, view, is_smooth=True)
        expected = np.cos(np.radians(middle - 1 + (np.arange(200) + 0.5) / 100))
        assert np.abs(values[0, 0] - expected).max() <= 2e-5


def test_pixels_without_data_do_not_count(tmp_path: Path) -> None:
    values = np.full((36, 72), 7, dtype="float32")
    values[10:20, 30:40] = -9999
    info = write_raster(tmp_path / "gap.tif", values, nodata=-9999)
    for code in (49900, 49930):
        frame = find_frame(f"IAU_2015:{code}")
        view = MapView(frame=frame, bounds=frame.extent, width=360, height=180)
        found, is_valid = sample_view(info, view, is_smooth=True)
        assert np.abs(found[0][is_valid] - 7).max() <= 1e-5
        if code == 49900:
            expected = values.repeat(5, 0).repeat(5, 1) > 0
            assert (is_valid != expected).sum() <= 4 * 3, "the gap has the edges of the pixels, and round corners"


def test_codes_are_not_interpolated(tmp_path: Path) -> None:
    codes = np.random.default_rng(1).choice([3, 100, 200], (180, 360)).astype("uint8")
    info = write_raster(tmp_path / "codes.tif", codes)
    for code in (49900, 49911, 49930, 49965):
        frame = find_frame(f"IAU_2015:{code}")
        for size in (90, 700):
            view = MapView(frame=frame, bounds=frame.extent, width=size, height=size)
            found, is_valid = sample_view(info, view, is_smooth=False)
            assert set(np.unique(found[0][is_valid])) <= {3, 100, 200}


def test_both_poles_and_places_beyond_them(tmp_path: Path) -> None:
    lat = 89.75 - np.arange(360) / 2
    info = write_raster(tmp_path / "lat.tif", lat.astype("float32")[:, np.newaxis].repeat(720, 1))
    view = MapView(frame=LON_LAT, bounds=(0, -100, 10, 100), width=10, height=400)
    values, is_valid = sample_view(info, view, is_smooth=True)
    assert is_valid[20:380].all()
    assert not is_valid[:20].any()
    assert not is_valid[380:].any()
    assert np.abs(values[0, 20:380, 0] - (89.75 - np.arange(360) / 2)).max() <= 1e-3
    values, is_valid = sample_places(info, np.array([[0.0, 180.0]]), np.array([[90.0, -90.0]]), is_smooth=False)
    assert is_valid.all()
    assert values[0].tolist() == [[89.75, -89.75]]


def test_tiles_of_the_pixels_of_a_raster_read_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pixel more on each side may be in three more blocks of the file."""
    values = np.random.default_rng(6).integers(0, 1000, (128, 256)).astype("int16")
    info = write_raster(tmp_path / "blocks.tif", values)
    windows = []

    def read_and_keep_window(info: RasterInfo, level: RasterLevel, window: tuple[int, ...], shape: tuple[int, int]):  # type: ignore[no-untyped-def]
        windows.append(window)
        return read_window(info, level, window, shape)  # type: ignore[arg-type]

    monkeypatch.setattr(raster_sampling, "read_window", read_and_keep_window)
    for left, top in ((0, 0), (64, 32), (192, 96)):
        west, north = left * 360 / 256 - 180, 90 - top * 180 / 128
        bounds = (west, north - 45, west + 90, north)
        for is_smooth in (True, False):
            view = MapView(frame=LON_LAT, bounds=bounds, width=64, height=32)
            found, is_valid = sample_view(info, view, is_smooth=is_smooth)
            assert is_valid.all()
            assert np.abs(found[0] - values[top : top + 32, left : left + 64]).max() <= 1e-3
        assert windows[-2:] == [(left, top, 64, 32)] * 2


def test_another_raster_at_the_same_path_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "changed.tif"
    view = MapView(frame=LON_LAT, bounds=(-180, -90, 180, 90), width=30, height=20)
    for value in (1, 2, 3):
        info = write_raster(path, np.full((20 * value, 40 * value), value, dtype="uint8"))
        assert (sample_view(info, view, is_smooth=False)[0] == value).all()


STOPS = ("1 255 0 0", "5 0 255 0", "9 0 0 255")


def draw_colours(path: Path, **keys: object) -> set[tuple[int, ...]]:
    layer = MapLayer(name="x", title="x", files={"": path.name}, place=TextPlace(), **keys)  # type: ignore[arg-type]
    view = MapView(frame=find_frame("IAU_2015:49930"), bounds=(-1e6, -1e6, 1e6, 1e6), width=97, height=97)
    picture = draw_map([LayerRaster(layer, path, path.parent)], view, background=None).convert("RGBA")
    return {tuple(colour) for colour in np.asarray(picture).reshape(-1, 4).tolist()}


def test_codes_have_the_colours_of_their_stops(tmp_path: Path) -> None:
    """Without `smooth`, a raster whose values are those of the stops is one of codes."""
    path = tmp_path / "classes.tif"
    own_colours = {(255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255)}
    write_raster(path, np.random.default_rng(8).choice([1, 5, 9], (90, 180)).astype("uint8"))
    assert draw_colours(path, colours=STOPS) == own_colours
    assert len(draw_colours(path, colours=STOPS, is_smooth=True)) > 100
    assert len(draw_colours(path)) > 100, "a named scale is no list of codes"
    write_raster(path, np.random.default_rng(8).choice([1, 4, 9], (90, 180)).astype("uint8"))
    assert len(draw_colours(path, colours=STOPS)) > 100, "4 has no colour of its own"
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {1: (9, 8, 7, 255), 4: (90, 80, 70, 255), 9: (19, 18, 17, 255)})
    assert draw_colours(path) == {(9, 8, 7, 255), (90, 80, 70, 255), (19, 18, 17, 255)}, "the palette of the file"
    layer = MapLayer(name="x", title="x", files={"": path.name}, colours=("missing.txt",), place=TextPlace())
    assert LayerRaster(layer, path, path.parent).is_interpolated(), "coverages need no colours"


def test_pictures_have_palettes_of_their_scales(tmp_path: Path) -> None:
    """A layer of few colours is drawn with numbers of colours, above any background and below other layers."""
    path = tmp_path / "gap.tif"
    write_raster(path, np.repeat([[1, 1, 5, 0]], 2, axis=0).astype("uint8"), nodata=0)
    keys = {"files": {"": path.name}, "place": TextPlace(), "is_smooth": False}
    layers = [
        MapLayer(name="x", title="x", colours=colours, **keys)  # type: ignore[arg-type]
        for colours in (("1 red", "5 #00ff0080"), ("1 #0000ff80", "5 #0000ff00"))
    ]
    rasters = [LayerRaster(layer, path, path.parent) for layer in layers]
    view = MapView(frame=LON_LAT, bounds=(-180, -90, 180, 90), width=4, height=1)

    def draw(count: int, background: tuple[int, int, int] | None) -> tuple[str, list[list[int]]]:
        picture = draw_map(rasters[:count], view, background=background)
        return picture.mode, np.asarray(picture.convert("RGBA"))[0, 1:].tolist()

    assert draw(1, None) == ("P", [[255, 0, 0, 255], [0, 255, 0, 128], [0, 0, 0, 0]])
    assert draw(1, (255, 255, 255)) == ("P", [[255, 0, 0, 255], [127, 255, 127, 255], [255, 255, 255, 255]])
    mode, colours = draw(2, (255, 255, 255))
    assert mode == "RGBA"
    assert colours == [[127, 0, 128, 255], [127, 255, 127, 255], [255, 255, 255, 255]]

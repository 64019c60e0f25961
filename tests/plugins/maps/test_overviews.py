"""Overviews that Hven makes of large rasters: the raster stays as it is, and an interrupted command continues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from asgi_client import Client
from map_raster_files import write_raster

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import IngestProgress, execute_steps_after_publication, ingest_collection
from hven.jobs._scheduled_run import sync_and_summarize
from hven.model.errors import TextPlace
from hven.model.settings import load_settings
from hven.plugins.maps import map_rasters, raster_overviews
from hven.plugins.maps.map_drawing import LayerRaster
from hven.plugins.maps.map_layers import MapLayer
from hven.plugins.maps.map_rasters import read_window
from hven.plugins.maps.raster_overviews import build_overviews
from hven.site import Site

DESCRIPTOR = """\
collection: big
title: Big
files: "maps/*"
layers: {latitude: maps/latitude.tif, turned: {file: maps/turned.tif, smooth: false}}
"""


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make overviews of small rasters, of files with few rows."""
    monkeypatch.setattr(map_rasters, "MIN_OVERVIEW_PIXELS", 10_000)
    monkeypatch.setattr(raster_overviews, "BLOCK_PIXELS", 16)
    monkeypatch.setattr(raster_overviews, "MAX_CHUNK_PIXELS", 5_000)
    monkeypatch.setattr(raster_overviews, "MAX_PIECE_PIXELS", 3_000)
    monkeypatch.setattr(raster_overviews, "MAX_AVERAGE_PIXELS", 500)
    yield
    map_rasters._read_raster_info.cache_clear()


@pytest.fixture
def site_directory(tmp_path: Path) -> Path:
    folder = tmp_path / "collections/big"
    (folder / "maps").mkdir(parents=True)
    write_raster(folder / "maps/latitude.tif", np.repeat(89.75 - np.arange(360)[:, None] / 2, 720, axis=1), -180)
    write_raster(folder / "maps/turned.tif", np.random.default_rng(3).choice([1, 5, 9], (180, 360)), 0)
    (folder / "big.yaml").write_text(DESCRIPTOR)
    (tmp_path / "hven.toml").write_text('public_url = "https://vo.example"\n')
    return tmp_path


def list_overviews(directory: Path) -> list[Path]:
    return sorted((directory / "var/map_overviews/big").glob("*"))


def test_an_ingest_makes_them_and_keeps_the_rasters(site_directory: Path) -> None:
    settings = load_settings(site_directory)
    folder = site_directory / "collections/big"
    bytes_before = {path: path.read_bytes() for path in (folder / "maps").iterdir()}
    faults = [fault for fault in check_descriptor(folder / "big.yaml", settings) if "no overviews" in fault.message]
    assert [fault.severity for fault in faults] == ["warning", "warning"]
    assert "720 x 360 pixels" in faults[0].message
    assert "hven ingest big" in faults[0].remedy
    with Site(settings) as site:
        ingest_collection(site, "big")
        client = Client(create_and_start_application(site))
        tile = "/wmts/big/1.0.0/latitude/default/MarsGeographic/0/0/0.png"
        before = client.get(tile)
        assert list_overviews(site_directory) == []
        execute_steps_after_publication(site, "big")
        overviews = list_overviews(site_directory)
        assert len(overviews) == 2
        times = [path.stat().st_mtime_ns for path in overviews]
        execute_steps_after_publication(site, "big")
        assert [path.stat().st_mtime_ns for path in list_overviews(site_directory)] == times, "nothing is made again"
        assert client.get(tile).status == before.status == 200
        assert client.get("/collections/big/files/maps/latitude.tif").body == bytes_before[folder / "maps/latitude.tif"]
        assert not [fault for fault in check_descriptor(folder / "big.yaml", settings) if "overviews" in fault.message]
        # another raster has other overviews
        write_raster(folder / "maps/turned.tif", np.zeros((180, 360)), 0)
        ingest_collection(site, "big")
        execute_steps_after_publication(site, "big")
        assert len(list_overviews(site_directory)) == 2
        assert len(set(list_overviews(site_directory)) - set(overviews)) == 1
    for path, content in bytes_before.items():
        assert path.name == "turned.tif" or path.read_bytes() == content
        assert not path.with_name(f"{path.name}.ovr").exists()


def test_a_scheduled_sync_makes_them(site_directory: Path) -> None:
    with Site(load_settings(site_directory)) as site:
        ingest_collection(site, "big")
        assert list_overviews(site_directory) == []
        sync_and_summarize(site, "big")
    assert len(list_overviews(site_directory)) == 2


def make_raster(directory: Path, values: np.ndarray, *, is_smooth: bool = True, **options: object) -> LayerRaster:
    path = directory / "raster.tif"
    bands, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=bands, dtype=values.dtype, crs="IAU_2015:49900",
        transform=rasterio.transform.from_bounds(-180, -90, 180, 90, width, height), **options,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    layer = MapLayer(name="x", title="x", files={"": path.name}, is_smooth=is_smooth, place=TextPlace())
    return LayerRaster(layer, path, directory, directory / "made")


def build(raster: LayerRaster) -> None:
    assert raster.overviews_directory is not None
    build_overviews(
        raster, raster.overviews_directory / map_rasters.build_overviews_file_name(raster.layer, raster.path)
    )


def read_level(raster: LayerRaster, number: int) -> tuple[np.ndarray, np.ndarray]:
    info = raster.read_info()
    level = info.levels[number]
    return read_window(info, level, (0, 0, level.width, level.height), (level.height, level.width))


@pytest.mark.parametrize("data_type", ["uint8", "int16", "float32"])
def test_they_are_means_of_the_pixels_with_data(tmp_path: Path, data_type: str) -> None:
    generator = np.random.default_rng(4)
    values = generator.integers(1, 200, (1, 101, 203)).astype(data_type)
    values[:, generator.random((101, 203)) < 0.4] = 0
    raster = make_raster(tmp_path, values, nodata=0)
    build(raster)
    assert [(level.width, level.height) for level in raster.read_info().levels][:3] == [(203, 101), (102, 51), (51, 26)]
    padded = np.pad(np.where(values[0] > 0, values[0].astype(float), np.nan), ((0, 1), (0, 1)), constant_values=np.nan)
    fours = padded.reshape(51, 2, 102, 2).transpose(0, 2, 1, 3).reshape(51, 102, 4)
    counts = np.isfinite(fours).sum(axis=2)
    found, is_valid = read_level(raster, 1)
    assert (is_valid == (counts > 0)).all()
    expected = np.nansum(fours, axis=2)[is_valid] / counts[is_valid]
    assert np.abs(found[0][is_valid] - expected).max() <= (1e-4 if data_type == "float32" else 0.5)


def test_codes_keep_their_values(tmp_path: Path) -> None:
    values = np.random.default_rng(5).choice([2, 90, 200], (1, 120, 240)).astype("uint8")
    raster = make_raster(tmp_path, values, is_smooth=False)
    build(raster)
    assert (read_level(raster, 1)[0] == values[:, ::2, ::2]).all()
    assert set(np.unique(read_level(raster, 3)[0])) <= {2, 90, 200}


def test_a_mask_is_kept(tmp_path: Path) -> None:
    values = np.full((4, 110, 220), 100, dtype="uint8")
    values[3] = 255
    values[3, 20:60, 40:120] = 0
    raster = make_raster(tmp_path, values, photometric="rgb", alpha="yes")
    assert raster.read_info().bands == (1, 2, 3)
    build(raster)
    found, is_valid = read_level(raster, 1)
    assert (is_valid == (values[3, ::2, ::2] > 0)).all()
    assert found.shape == (3, 55, 110)
    assert (found[:, is_valid] == 100).all()
    assert not read_level(raster, 2)[1][8:12, 12:28].any()


def test_an_interrupted_command_continues(tmp_path: Path) -> None:
    values = np.random.default_rng(6).random((1, 240, 300)).astype("float32")
    raster = make_raster(tmp_path, values)
    path = tmp_path / "made" / map_rasters.build_overviews_file_name(raster.layer, raster.path)

    def interrupt(progress: IngestProgress) -> None:
        if progress.rows > 120:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_overviews(raster, path, interrupt)
    chunks = {chunk: chunk.stat().st_mtime_ns for chunk in path.parent.iterdir()}
    assert len(chunks) == 1, "nothing unfinished is left"
    rows = []
    build_overviews(raster, path, lambda progress: rows.append(progress.rows))
    assert rows[0] > 64, "the first rows are not read again"
    assert rows[-1] == 240
    assert list(path.parent.iterdir()) == [path]
    expected = values[0].reshape(120, 2, 150, 2).mean(axis=(1, 3))
    assert np.abs(read_level(raster, 1)[0][0] - expected).max() <= 1e-6


def test_rasters_with_overviews_are_left_alone(tmp_path: Path) -> None:
    raster = make_raster(tmp_path, np.zeros((1, 300, 600), dtype="uint8"))
    with rasterio.open(raster.path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8], rasterio.enums.Resampling.average)
    assert map_rasters.has_enough_overviews(raster.read_info())

"""Rasters out of FITS, netCDF, PDS3, PDS4 and ISIS: values where their authors put them, or an error that says why not."""

from __future__ import annotations

import io
import os
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from astropy.io import fits
from rasterio.crs import CRS

from hven.model.errors import HvenError, TextPlace
from hven.plugins.maps import map_rasters
from hven.plugins.maps.frames import find_frame
from hven.plugins.maps.map_drawing import LayerRaster, read_pixel_value
from hven.plugins.maps.map_layers import MapLayer
from hven.plugins.maps.map_views import MapView
from hven.plugins.maps.raster_overviews import build_overviews

LONGITUDES, LATITUDES = np.arange(36) * 10 + 5.0, np.arange(18) * 10 - 85.0
VALUES = (LATITUDES[:, None] * 1000 + LONGITUDES[None, :]).astype("float32")  # south first
CAR_CARDS = {"CTYPE1": "MALN-CAR", "CTYPE2": "MALT-CAR", "CRPIX1": 0.5, "CRPIX2": 9.5, "CRVAL1": 0.0, "CRVAL2": 0.0,
             "CDELT1": 10.0, "CDELT2": 10.0, "CUNIT1": "deg", "CUNIT2": "deg", "WCSNAME": "PLANETOCENTRIC",
             "OBJECT": "Mars"}  # fmt: skip
SPHERE = {"grid_mapping_name": "latitude_longitude", "earth_radius": 3396190.0}


def open_layer(path: Path, **keys: Any) -> LayerRaster:
    layer = MapLayer(name="x", title="x", files={"": path.name}, place=TextPlace(), **keys)
    return LayerRaster(layer, path, path.parent, path.parent / "made")


def write_fits(path: Path, values: np.ndarray = VALUES, **cards: Any) -> Path:
    image = fits.PrimaryHDU(values)
    image.header.update({key: value for key, value in (CAR_CARDS | cards).items() if value is not None})
    image.writeto(path)
    return path


def write_netcdf(
    path: Path, lon: Any = LONGITUDES, lat: Any = LATITUDES, *, mapping: dict[str, Any] | None = None, **options: Any
) -> Path:
    """Write a file of netCDF 3 with a variable, or with two."""
    netcdf = pytest.importorskip("scipy.io", reason="the extra products is not installed").netcdf_file
    with netcdf(path, "w") as file:
        names, units = options.get("names", ("lon", "lat")), options.get("units", ("degrees_east", "degrees_north"))
        kinds = ("longitude", "latitude")
        if names == ("x", "y"):
            kinds = ("projection_x_coordinate", "projection_y_coordinate")
        for name, places, unit, kind in zip(names, (lon, lat), units, kinds, strict=True):
            file.createDimension(name, len(places))
            axis = file.createVariable(name, "f8", (name,))
            axis[:] = places
            axis.units, axis.standard_name = unit, kind
        for name in options.get("variables", ("z",)):
            values = options.get("values", VALUES)
            variable = file.createVariable(name, values.dtype.char, names[::-1])
            variable[:] = values
            for key, value in {"units": "m", **options.get("attributes", {})}.items():
                setattr(variable, key, value)
            if mapping:
                variable.grid_mapping = "crs"
        if mapping:
            crs = file.createVariable("crs", "i4", ())
            for key, value in mapping.items():
                setattr(crs, key, value)
    return path


def check_values(raster: LayerRaster) -> None:
    for lon, lat in ((5, 85), (355, -85), (-5, -85), (123, 44), (215, -25)):
        column, row = int(lon % 360 // 10), int((lat + 90) // 10)
        assert read_pixel_value(raster, lon, lat) == VALUES[row, column], (lon, lat)


def test_a_fits_image_has_its_values_where_its_wcs_says(tmp_path: Path) -> None:
    raster = open_layer(write_fits(tmp_path / "a.fits"))
    assert raster.read_info().frame.name == "IAU_2015:49900"
    assert raster.read_info().bounds == pytest.approx((0, -90, 360, 90))
    check_values(raster)
    to_west = write_fits(tmp_path / "west.fits", VALUES[:, ::-1], CDELT1=-10.0, CRPIX1=36.5)
    check_values(open_layer(to_west))
    matrix = {"CDELT1": None, "CDELT2": None, "CD1_1": 10.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 10.0}
    check_values(open_layer(write_fits(tmp_path / "matrix.fits", **matrix)))
    info = open_layer(to_west).read_info()
    window, _ = map_rasters.read_window(info, info.levels[0], (4, 2, 20, 12), (6, 10))
    assert (window[0] == VALUES[::-1][2:14, 4:24][1::2, 1::2]).all(), "every second pixel"
    centred = write_fits(tmp_path / "centred.fits", np.roll(VALUES, 18, 1), CRPIX1=18.5)
    check_values(open_layer(centred))


def test_a_cube_has_bands_and_stored_numbers_are_scaled(tmp_path: Path) -> None:
    cube = np.stack([VALUES, -VALUES]) / 1000
    image = fits.PrimaryHDU()
    extension = fits.ImageHDU(np.rint(cube * 100).astype("int16"), name="CUBE")
    extension.header.update(CAR_CARDS)
    extension.data[0, 17, 0] = -32768
    extension.header["BLANK"] = -32768
    path = tmp_path / "cube.fits"
    fits.HDUList([image, extension]).writeto(path)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as files:
        files[1].header["BSCALE"], files[1].header["BZERO"] = 0.01, 7.0
    raster = open_layer(path, band=2, variable="cube")
    assert raster.read_info().data_type == "float32"
    assert read_pixel_value(raster, 123, 44) == pytest.approx(7 - VALUES[13, 12] / 1000, abs=0.01)
    assert read_pixel_value(open_layer(path, band=1), 5, 85) is None
    with pytest.raises(HvenError, match="no band 3"):
        open_layer(path, band=3).read_info()
    with pytest.raises(HvenError, match="no image in the extension 'other'"):
        open_layer(path, variable="other").read_info()


def test_a_cut_out_keeps_the_header_of_its_raster(tmp_path: Path) -> None:
    """What the header tells besides the pixels stays; what describes these is that of the cut-out."""
    from hven.plugins.maps.coverage_files import FITS_TYPE, write_coverage

    path = write_fits(
        tmp_path / "a.fits", INSTRUME="OMEGA", **{"DATE-OBS": "2004-01-14"}, DATAMAX=9.0, CRVAL1A=3.0, CTYPE1A="LINEAR"
    )
    with fits.open(path, mode="update") as files:
        files[0].header["HISTORY"] = "made of 300 orbits"
        files[0].header["HISTORY"] = "smoothed"
        files[0].header["HIERARCH eso quality"] = "good"
    view = MapView(frame=find_frame("IAU_2015:49930"), bounds=(-9e5, -5e5, 7e5, 1.2e6), width=64, height=68)
    body = write_coverage(open_layer(path), view, FITS_TYPE, is_smooth=False)
    header = fits.open(io.BytesIO(body))[0].header
    assert (header["INSTRUME"], header["DATE-OBS"], header["eso quality"]) == ("OMEGA", "2004-01-14", "good")
    assert list(header["HISTORY"]) == ["made of 300 orbits", "smoothed"]
    assert (header["CTYPE1"], header["NAXIS1"], header["BITPIX"]) == ("MALN-STG", 64, -32)
    assert not {"DATAMAX", "CRVAL1A", "CTYPE1A", "BSCALE"} & set(header)
    assert len(header.cards) == len(set(header) | {"HISTORY"}) + 1, "no card twice"


@pytest.mark.parametrize("code", [49900, 49930, 49935])
def test_a_cut_out_that_hven_wrote_is_read_as_the_same_map(tmp_path: Path, code: int) -> None:
    from hven.plugins.maps.coverage_files import FITS_TYPE, write_coverage

    source, frame = open_layer(write_fits(tmp_path / "a.fits")), find_frame(f"IAU_2015:{code}")
    box = (0.0, -30.0, 90.0, 60.0) if frame.is_geographic else (-9e5, -5e5, 7e5, 1.2e6)
    view = MapView(frame=frame, bounds=box, width=64, height=68)
    copy = tmp_path / "copy.fits"
    copy.write_bytes(write_coverage(source, view, FITS_TYPE, is_smooth=False))
    raster = open_layer(copy)
    assert raster.read_info().frame.name == frame.name
    assert raster.read_info().bounds == pytest.approx(box, rel=1e-9)
    for column, row in ((3, 4), (30, 40), (60, 11)):
        assert read_pixel_value(raster, *view.locate_pixel(column, row)) == read_pixel_value(
            source, *view.locate_pixel(column, row)
        )


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}, "CTYPE1 is 'RA---TAN'"),
        ({"CTYPE1": None, "CTYPE2": None}, "is not a map"),
        ({"WCSNAME": None}, "planetocentric"),
        ({"OBJECT": "M 31"}, "does not name a body"),
        ({"CTYPE1": "SELN-CAR", "CTYPE2": "SELT-CAR"}, "begins with MALN"),
        ({"CRVAL2": 30.0}, "does not match the frame"),
        ({"PC1_1": 0.9, "PC1_2": 0.4}, "does not match the frame"),
        ({"CDELT2": 0.0}, "cannot be read"),
    ],
)
def test_a_fits_header_that_is_no_map_is_refused(tmp_path: Path, cards: dict[str, Any], words: str) -> None:
    raster = open_layer(write_fits(tmp_path / "a.fits", **cards))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(HvenError, match=words):
            raster.read_info()


def test_the_descriptor_can_say_what_a_fits_header_lacks(tmp_path: Path) -> None:
    check_values(open_layer(write_fits(tmp_path / "a.fits", OBJECT=None, WCSNAME=None), frame="IAU_2015:49900"))
    bare = write_fits(tmp_path / "b.fits", CTYPE1=None, CTYPE2=None)
    check_values(open_layer(bare, frame="IAU_2015:49900", bounds=(0.0, -90.0, 360.0, 90.0)))
    ographic = open_layer(write_fits(tmp_path / "c.fits", WCSNAME=None), frame="IAU_2015:49901")
    assert read_pixel_value(ographic, -5, 85) == VALUES[17, 0], "longitudes of this frame grow to the west"


def test_a_broken_or_compressed_fits_file_is_refused(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "short.fits")
    path.write_bytes(path.read_bytes()[:3000])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(HvenError, match=r"short\.fits"):
            open_layer(path).read_info()
    shortened = write_fits(tmp_path / "shortened.fits")
    raster = open_layer(shortened)
    info = raster.read_info()
    with shortened.open("r+b") as file:
        file.truncate(3000)
    with pytest.raises(HvenError, match="shorter than its header says"):
        map_rasters.read_window(info, info.levels[0], (0, 0, 36, 18), (18, 36))
    packed = tmp_path / "packed.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(VALUES)]).writeto(packed)
    with pytest.raises(HvenError, match="tile-compressed"):
        open_layer(packed).read_info()


def test_netcdf_has_its_frame_from_the_grid_mapping_or_from_the_descriptor(tmp_path: Path) -> None:
    plain = write_netcdf(tmp_path / "plain.nc")
    with pytest.raises(HvenError, match="has no frame"):
        open_layer(plain).read_info()
    check_values(open_layer(plain, frame="IAU_2015:49900"))
    mapped = write_netcdf(tmp_path / "mapped.nc", mapping=SPHERE)
    with pytest.raises(HvenError, match="does not name a body"):
        open_layer(mapped).read_info()
    check_values(open_layer(mapped, body="Mars"))
    with pytest.raises(HvenError, match="radius of Moon"):
        open_layer(mapped, body="Moon").read_info()
    named = write_netcdf(tmp_path / "named.nc", mapping={**SPHERE, "geographic_crs_name": "Mars (2015) - Sphere"})
    assert open_layer(named).read_info().frame.name == "IAU_2015:49900"
    northern_first = write_netcdf(tmp_path / "north.nc", lat=LATITUDES[::-1], values=VALUES[::-1], mapping=SPHERE)
    check_values(open_layer(northern_first, body="Mars"))
    from_east = write_netcdf(tmp_path / "east.nc", LONGITUDES[::-1], values=VALUES[:, ::-1], mapping=SPHERE)
    check_values(open_layer(from_east, body="Mars"))


def test_netcdf_in_a_polar_projection_in_kilometres(tmp_path: Path) -> None:
    mapping = {key: value for key, value in pyproj.CRS("IAU_2015:49930").to_cf().items() if key != "crs_wkt"}
    places = np.arange(-9.5, 10) * 100
    values = np.hypot(*np.meshgrid(places, places))
    path = write_netcdf(tmp_path / "polar.nc", places, places, names=("x", "y"), units=("km", "km"), values=values,
                        mapping=mapping)  # fmt: skip
    raster = open_layer(path)
    assert raster.read_info().frame.name == "IAU_2015:49930"
    assert read_pixel_value(raster, 12, 89.9) == pytest.approx(np.hypot(50, 50))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lat": np.degrees(np.arcsin(LATITUDES / 90))}, "no georeferencing"),
        ({"lon": np.where(LONGITUDES > 200, LONGITUDES + 3, LONGITUDES)}, "are not equal"),
        ({"units": ("degrees_west", "degrees_north")}, "degrees_west"),
        ({"variables": ("z", "w")}, "2 variables that can be a map"),
    ],
)
def test_netcdf_that_would_be_drawn_wrong_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(HvenError, match=words):
        open_layer(write_netcdf(tmp_path / "a.nc", **options), frame="IAU_2015:49900").read_info()


def test_a_variable_of_several_is_chosen_by_its_name(tmp_path: Path) -> None:
    path = write_netcdf(tmp_path / "two.nc", variables=("z", "w"))
    check_values(open_layer(path, frame="IAU_2015:49900", variable="w"))
    for name in ("nothing", '"/etc/passwd":x', "../x"):
        with pytest.raises(HvenError, match="variable"):
            open_layer(path, frame="IAU_2015:49900", variable=name).read_info()


def test_packed_numbers_of_netcdf_become_values_also_in_overviews(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = np.rint(VALUES / 10).astype("i2")
    packed[0, 0] = -9999
    attributes = {"scale_factor": 0.5, "add_offset": 3.0, "_FillValue": np.int16(-9999)}
    path = write_netcdf(tmp_path / "packed.nc", values=packed, attributes=attributes)
    raster = open_layer(path, frame="IAU_2015:49900")
    before = path.read_bytes()
    assert read_pixel_value(raster, 123, 44) == pytest.approx(packed[13, 12] * 0.5 + 3)
    assert read_pixel_value(raster, 5, -85) is None
    monkeypatch.setattr(map_rasters, "MIN_OVERVIEW_PIXELS", 100)
    build_overviews(raster, tmp_path / "made" / map_rasters.build_overviews_file_name(raster.layer, path))
    info = raster.read_info()
    assert [level.width for level in info.levels] == [36, 18]
    overview, is_valid = map_rasters.read_window(info, info.levels[1], (0, 0, 18, 9), (9, 18))
    assert is_valid.all()
    assert overview[0, 0, 0] == pytest.approx(packed[-2:, :2].mean() * 0.5 + 3, rel=1e-6)
    assert overview[0, 8, 0] == pytest.approx((packed[0, 1] + packed[1, :2].sum()) / 3 * 0.5 + 3, rel=1e-6)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("driver", "name"), [("PDS4", "map.xml"), ("ISIS3", "map.lbl"), ("ISIS3", "map.cub")])
def test_pds4_and_isis_are_read_with_their_frames(tmp_path: Path, driver: str, name: str) -> None:
    path, crs = tmp_path / name, pyproj.CRS.from_authority("IAU_2015", 49910)
    half = np.pi * 3396190
    options = {"VAR_TARGET": "Mars"} if driver == "PDS4" else {"TARGET_NAME": "Mars"}
    if name.endswith("lbl"):
        options["DATA_LOCATION"] = "EXTERNAL"
    with warnings.catch_warnings(), rasterio.Env(GDAL_PAM_ENABLED="NO"):
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver=driver, width=36, height=18, count=1, dtype="float32", crs=CRS.from_wkt(crs.to_wkt()),
            transform=rasterio.transform.from_bounds(-half, -half / 2, half, half / 2, 36, 18), **options,
        ) as dataset:  # fmt: skip
            dataset.write(np.roll(VALUES[::-1], 18, 1), 1)
    raster = open_layer(path, body="Mars")
    assert raster.read_info().frame.name == "IAU_2015:49910"
    check_values(raster)


@pytest.mark.parametrize(("driver", "name"), [("PDS4", "map.xml"), ("ISIS3", "map.lbl")])
def test_data_that_change_below_their_label_are_read_again(tmp_path: Path, driver: str, name: str) -> None:
    """The label stays as it is, so its size and time tell nothing of the data."""
    path, half = tmp_path / name, np.pi * 3396190
    options = {"VAR_TARGET": "Mars"} if driver == "PDS4" else {"TARGET_NAME": "Mars", "DATA_LOCATION": "EXTERNAL"}
    with warnings.catch_warnings(), rasterio.Env(GDAL_PAM_ENABLED="NO"):
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver=driver, width=36, height=18, count=1, dtype="float32", crs="IAU_2015:49910",
            transform=rasterio.transform.from_bounds(-half, -half / 2, half, half / 2, 36, 18), **options,
        ) as dataset:  # fmt: skip
            dataset.write(np.full((18, 36), 1, "float32"), 1)
    raster = open_layer(path, body="Mars")
    assert read_pixel_value(raster, 5, 5) == 1
    assert raster.read_info().value_range == (1, 2)
    overviews_name = map_rasters.build_overviews_file_name(raster.layer, path)
    data_path = path.with_suffix({"PDS4": ".img", "ISIS3": ".cub"}[driver])
    values = np.full(data_path.stat().st_size // 4, 7, "<f4")
    values.tofile(data_path)
    state = data_path.stat()
    os.utime(data_path, ns=(0, state.st_mtime_ns + 3_000_000_000))
    assert read_pixel_value(raster, 5, 5) == 7
    assert raster.read_info().value_range == (7, 8)
    assert map_rasters.build_overviews_file_name(raster.layer, path) != overviews_name
    data_path.unlink()
    with pytest.raises(HvenError, match=data_path.name):
        raster.read_info()


def test_rows_of_fits_are_read_in_little_memory(tmp_path: Path) -> None:
    """Of a wide image, a row is in memory, and not all rows."""
    path = tmp_path / "wide.fits"
    write_fits(path, np.ones((400, 20_000), "float32"), CDELT1=0.018, CDELT2=0.45, CRPIX2=200.5)
    info = open_layer(path).read_info()
    tracemalloc.start()
    values, _ = map_rasters.read_window(info, info.levels[0], (0, 0, 20_000, 400), (400, 50))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values.shape == (1, 400, 50)
    assert peak_bytes < 4 << 20, "the whole image has 32 MB"


@pytest.mark.parametrize(("stored_type", "value"), [("uint8", -9999.0), ("int16", 1e6), ("uint8", 0.5)])
def test_a_missing_value_that_the_type_cannot_have_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored_type: str, value: float
) -> None:
    path = tmp_path / "bytes.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=60, height=40, count=1, dtype=stored_type, crs="IAU_2015:49900",
        transform=rasterio.transform.from_bounds(0, 0, 60, 40, 60, 40),
    ) as dataset:  # fmt: skip
        dataset.write(np.full((40, 60), 5, stored_type), 1)
    raster = open_layer(path, missing_value=value)
    monkeypatch.setattr(map_rasters, "MIN_OVERVIEW_PIXELS", 100)
    build_overviews(raster, tmp_path / "made" / map_rasters.build_overviews_file_name(raster.layer, path))
    assert len(raster.read_info().levels) > 1
    assert read_pixel_value(raster, 5, 5) == 5


def test_overviews_that_cannot_be_read_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_rasters, "MIN_OVERVIEW_PIXELS", 100)
    raster = open_layer(write_fits(tmp_path / "a.fits"))
    overviews_path = tmp_path / "made" / map_rasters.build_overviews_file_name(raster.layer, raster.path)
    overviews_path.parent.mkdir()
    overviews_path.write_bytes(b"II*\0 cut off")
    check_values(raster)
    assert not map_rasters.has_enough_overviews(raster.read_info()), "the next ingest makes them"


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "complex.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=6, height=4, count=1, dtype="complex64", crs="IAU_2015:49900",
        transform=rasterio.transform.from_bounds(0, 0, 60, 40, 6, 4),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((4, 6), "complex64"), 1)
    with pytest.raises(HvenError, match="complex numbers"):
        open_layer(path).read_info()


PDS3_LABEL = """\
PDS_VERSION_ID = PDS3
RECORD_TYPE = FIXED_LENGTH
RECORD_BYTES = 72
FILE_RECORDS = 46
LABEL_RECORDS = 28
^IMAGE = 29
TARGET_NAME = MARS
OBJECT = IMAGE
  LINES = 18
  LINE_SAMPLES = 36
  SAMPLE_TYPE = MSB_INTEGER
  SAMPLE_BITS = 16
  BANDS = 1
  SCALING_FACTOR = 10
  OFFSET = 0
END_OBJECT = IMAGE
OBJECT = IMAGE_MAP_PROJECTION
  MAP_PROJECTION_TYPE = "SIMPLE CYLINDRICAL"
  A_AXIS_RADIUS = 3396.19 <KM>
  B_AXIS_RADIUS = 3396.19 <KM>
  C_AXIS_RADIUS = 3396.19 <KM>
  POSITIVE_LONGITUDE_DIRECTION = EAST
  COORDINATE_SYSTEM_NAME = PLANETOCENTRIC
  CENTER_LATITUDE = 0.0 <DEG>
  CENTER_LONGITUDE = 180.0 <DEG>
  LINE_FIRST_PIXEL = 1
  LINE_LAST_PIXEL = 18
  SAMPLE_FIRST_PIXEL = 1
  SAMPLE_LAST_PIXEL = 36
  MAP_PROJECTION_ROTATION = 0.0
  MAP_RESOLUTION = 0.1 <PIXEL/DEG>
  MAP_SCALE = 592.747 <KM/PIXEL>
  MAXIMUM_LATITUDE = 90.0 <DEG>
  MINIMUM_LATITUDE = -90.0 <DEG>
  WESTERNMOST_LONGITUDE = 0.0 <DEG>
  EASTERNMOST_LONGITUDE = 360.0 <DEG>
  LINE_PROJECTION_OFFSET = 8.5
  SAMPLE_PROJECTION_OFFSET = 17.5
END_OBJECT = IMAGE_MAP_PROJECTION
END
"""


def test_pds3_is_read_with_its_frame_and_scaling(tmp_path: Path) -> None:
    path = tmp_path / "map.img"
    stored = np.rint(VALUES[::-1] / 10).astype(">i2").tobytes()
    label = PDS3_LABEL.replace("\n", "\r\n").ljust(28 * 72)
    path.write_bytes(label.encode() + stored)
    raster = open_layer(path)
    assert raster.read_info().frame.body.name == "Mars"
    assert read_pixel_value(raster, 123, 44) == pytest.approx(VALUES[13, 12], abs=5)
    assert read_pixel_value(raster, -5, -85) == pytest.approx(VALUES[0, 35], abs=5)
    # MOLA counts the offsets from another pixel than HiRISE, which GDAL does not know
    path.with_name("mola.img").write_bytes(label.replace("_OFFSET = 8.5", "_OFFSET = 9.5").encode() + stored)
    with pytest.raises(HvenError, match="beyond the pole"):
        open_layer(path.with_name("mola.img")).read_info()
    open_layer(path.with_name("mola.img"), bounds=raster.read_info().bounds).read_info()


@pytest.mark.parametrize(
    ("word", "other_word", "reason"),
    [("= EAST", '= "WEST"', "to the west"), ("= PLANETOCENTRIC", "= PLANETOGRAPHIC", "planetographic latitudes")],
)
def test_pds3_with_what_gdal_does_not_read_is_refused(tmp_path: Path, word: str, other_word: str, reason: str) -> None:
    """GDAL draws these rasters mirrored, or 18 km away, without a word."""
    path = tmp_path / "map.img"
    assert word in PDS3_LABEL
    label = PDS3_LABEL.replace(word, other_word).replace("\n", "\r\n").ljust(28 * 72)
    path.write_bytes(label.encode() + np.rint(VALUES[::-1] / 10).astype(">i2").tobytes())
    with pytest.raises(HvenError, match=reason):
        open_layer(path).read_info()
    box = (0.0, -90.0, 360.0, 90.0)
    raster = open_layer(path, frame="IAU_2015:49900", bounds=box)
    assert read_pixel_value(raster, 123, 44) == pytest.approx(VALUES[13, 12], abs=5)


@pytest.mark.parametrize(
    ("photometric", "colours", "bands"),
    [("MINISBLACK", None, (1,)), ("RGB", None, (1, 2, 3)), ("MINISBLACK", ("blue", "green", "red"), (3, 2, 1))],
)
def test_bands_are_colours_if_the_file_says_so(
    tmp_path: Path, photometric: str, colours: tuple[str, ...] | None, bands: tuple[int, ...]
) -> None:
    """Three bands of bytes may be three measurements, and blue may come first."""
    path = tmp_path / "bytes.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=36, height=18, count=3, dtype="uint8", crs="IAU_2015:49900",
        transform=rasterio.transform.from_bounds(-180, -90, 180, 90, 36, 18), photometric=photometric,
    ) as dataset:  # fmt: skip
        dataset.write(np.full((3, 18, 36), 7, dtype="uint8"))
        if colours is not None:
            dataset.colorinterp = [rasterio.enums.ColorInterp[colour] for colour in colours]
    info = open_layer(path).read_info()
    assert (info.bands, info.shows_colours) == (bands, len(bands) == 3)

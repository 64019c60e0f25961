"""Write the values of a layer in a box as files, whose frames are read again, because formats lose some silently."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyproj
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import from_bounds

from hven.formats.media.api import find_body_ctype_code
from hven.model.errors import ParamError, suggest_spelling
from hven.plugins.maps.frames import compute_place_errors
from hven.plugins.maps.map_rasters import GDAL_OPTIONS
from hven.plugins.maps.raster_files import open_raster
from hven.plugins.maps.raster_sampling import sample_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hven.plugins.maps.frames import Frame
    from hven.plugins.maps.map_drawing import LayerRaster
    from hven.plugins.maps.map_views import MapView

COVERAGE_MEDIA_TYPES = TIFF_TYPE, GRID_TYPE, FITS_TYPE = "image/tiff", "image/x-aaigrid", "application/fits"
# names of formats that clients send -> media type
_MEDIA_TYPES = {
    **{media_type: media_type for media_type in COVERAGE_MEDIA_TYPES},
    **dict.fromkeys(("geotiff", "image/geotiff", "gtiff"), TIFF_TYPE),
    **dict.fromkeys(("aaigrid", "arcgrid"), GRID_TYPE),
    **dict.fromkeys(("fits", "image/fits"), FITS_TYPE),
}
_FITS_PROJECTIONS = {
    "geographic": "CAR",
    "equirectangular": "CAR",
    "north_polar": "STG",
    "south_polar": "STG",
    "orthographic": "SIN",
}
MISSING_VALUE = -3.0e38  # of pixels without data, where the raster has none


def find_media_type(format_name: str) -> str:
    """Find the media type of a format.

    Raises
    ------
    ParamError
        There is no such format.
    """
    media_type = _MEDIA_TYPES.get(format_name.lower())
    if media_type is None:
        remedy = suggest_spelling(format_name, _MEDIA_TYPES) or f"use GeoTIFF, {', '.join(COVERAGE_MEDIA_TYPES)}"
        message = f"coverages are not available in the format {format_name[:60]!r}"
        raise ParamError(message, name="FORMAT", remedy=remedy)
    return media_type


def write_coverage(raster: LayerRaster, view: MapView, media_type: str, *, is_smooth: bool) -> bytes:
    """Write the values of a layer as a file of a media type.

    Raises
    ------
    ParamError
        The format cannot keep the frame.
    """
    (values,), is_valid = sample_view(raster.read_info(), view, is_smooth=is_smooth)
    values = values.astype(np.result_type(values.dtype, np.float32), copy=False)  # or double precision, to lose nothing
    if media_type == FITS_TYPE:
        return _write_fits(np.where(is_valid, values, values.dtype.type(np.nan)), view, raster)
    grid = np.where(is_valid, values, values.dtype.type(MISSING_VALUE))
    if media_type == GRID_TYPE:
        return _write_ascii_grid(grid, view)
    return _write_geotiff(grid, view, raster.layer.unit)


def _write_ascii_grid(grid: NDArray[Any], view: MapView) -> bytes:
    """Write an Arc/Info ASCII grid, whose pixels may have two sizes (``dx``, ``dy``)."""
    (west, south, _, _), (width, height) = view.bounds, view.pixel_size
    size = f"cellsize {width!r}"
    if not math.isclose(width, height, rel_tol=1e-9):
        size = f"dx {width!r}\ndy {height!r}"
    head = f"ncols {view.width}\nnrows {view.height}\nxllcorner {west!r}\nyllcorner {south!r}\n{size}\n"
    texts = pa.array(grid.ravel()).cast(pa.string())
    offsets = pa.array(np.arange(view.height + 1, dtype=np.int32) * np.int32(view.width))
    rows = pc.binary_join(pa.ListArray.from_arrays(offsets, texts), " ")
    missing_text = pa.array([MISSING_VALUE], pa.from_numpy_dtype(grid.dtype)).cast(pa.string())[0]
    return f"{head}NODATA_value {missing_text}\n".encode() + "\n".join([*rows.to_pylist(), ""]).encode()


def _write_geotiff(grid: NDArray[Any], view: MapView, unit: str) -> bytes:
    """Write a GeoTIFF and read its frame again, because GeoTIFF loses some frames without a word.

    Raises
    ------
    ParamError
        The file would have another frame.
    """
    frame = view.frame
    if frame.crs.ellipsoid is None or frame.crs.ellipsoid.semi_major_metre != frame.crs.ellipsoid.semi_minor_metre:
        raise _build_frame_error("GeoTIFF", frame)
    with rasterio.Env(**GDAL_OPTIONS), MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=view.width,
            height=view.height,
            count=1,
            dtype=grid.dtype.name,
            nodata=MISSING_VALUE,
            crs=frame.crs.to_wkt("WKT2_2019"),
            transform=from_bounds(*view.bounds, view.width, view.height),
            compress="deflate",
        ) as dataset:
            dataset.write(grid, 1)
            if unit:
                dataset.set_band_unit(1, unit)
        body: bytes = memory.read()
    with MemoryFile(body) as memory, memory.open() as dataset:
        kept_text = "" if dataset.crs is None else dataset.crs.to_wkt()
    if not _is_same_frame(kept_text, frame):
        raise _build_frame_error("GeoTIFF", frame)
    return body


def _build_frame_error(format_name: str, frame: Frame) -> ParamError:
    remedy = f"request a planetocentric frame on the sphere, such as {frame.body.get_frame(0).name}"
    return ParamError(f"the format {format_name} cannot represent the frame {frame.name}", name="CRS", remedy=remedy)


def _is_same_frame(wkt: str, frame: Frame) -> bool:
    """Tell whether a system has the sphere of a frame, and gives the same coordinates to places of it."""
    if not wkt:
        return False
    kept = pyproj.CRS.from_wkt(wkt)
    base, sphere, kept_sphere = kept.geodetic_crs, frame.crs.ellipsoid, kept.ellipsoid
    if base is None or sphere is None or kept_sphere is None:
        return False
    if not math.isclose(sphere.semi_major_metre, kept_sphere.semi_major_metre, rel_tol=1e-12):
        return False
    lon, lat = np.array([-170.0, -20.0, 10.0, 80.0]), np.array([-70.0, -10.0, 20.0, 85.0])
    expected = frame.convert_from_lon_lat(lon, lat)
    found = pyproj.Transformer.from_crs(base, kept, always_xy=True).transform(lon, lat)
    return all(np.allclose(*pair, rtol=1e-9, atol=1e-6, equal_nan=True) for pair in zip(expected, found, strict=True))


def _write_fits(grid: NDArray[Any], view: MapView, raster: LayerRaster) -> bytes:
    """Write a FITS image with a map WCS (``MALN-CAR``), which must find the places of the pixels again.

    The header keeps what that of the raster tells besides, if the raster is FITS.

    Raises
    ------
    ParamError
        FITS has no such projection.
    """
    from astropy.io import fits  # noqa: PLC0415  (takes a second to load, and few requests need it)
    from astropy.wcs import WCS  # noqa: PLC0415

    frame, body = view.frame, view.frame.body
    projection = _FITS_PROJECTIONS.get(frame.kind)
    if projection is None:
        raise _build_frame_error("FITS", frame)
    (west, south, east, _), steps = view.bounds, view.pixel_size
    degrees_per_unit = frame.metres_per_unit / body.metres_per_degree
    origin_x = (west + east) / 2 if projection == "CAR" else 0.0
    origin_lon, _ = frame.convert_to_lon_lat(np.array([origin_x]), np.zeros(1))
    pole_lat = {"north_polar": 90.0, "south_polar": -90.0}.get(frame.kind, 0.0)
    letters = find_body_ctype_code(body.name)
    cards: dict[str, Any] = {
        "CTYPE1": f"{letters}LN-{projection}",
        "CTYPE2": f"{letters}LT-{projection}",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRPIX1": (origin_x - west) / steps[0] + 0.5,
        "CRPIX2": -south / steps[1] + 0.5,
        "CRVAL1": 0.0 if pole_lat else float(origin_lon[0]),
        "CRVAL2": pole_lat,
        "CDELT1": steps[0] * degrees_per_unit,
        "CDELT2": steps[1] * degrees_per_unit,
        "WCSNAME": "PLANETOCENTRIC",
        "OBJECT": body.name,
        **{f"{axis}_RADIUS": (body.radius_m, "m") for axis in "ABC"},
        "BUNIT": raster.layer.unit,
    }
    if projection != "CAR":
        cards["LONPOLE"] = 180.0
    image = fits.PrimaryHDU(grid[::-1])
    image.header.update({name: card for name, card in cards.items() if card != ""})
    columns, rows = (grid.ravel() for grid in np.meshgrid((0.25, 0.5, 0.75), (0.25, 0.5, 0.75)))
    columns, rows = columns * view.width, rows * view.height
    expected = frame.convert_to_lon_lat(west + columns * steps[0], south + rows * steps[1])
    found = WCS(image.header).all_pix2world(columns + 0.5, rows + 0.5, 1)
    if compute_place_errors(expected, found).max(initial=0) > 1e-6:
        raise _build_frame_error("FITS", frame)
    with open_raster(raster.path, raster.layer.variable) as dataset:
        if dataset.driver == "FITS":
            kept_cards = [card for card in dataset.list_descriptive_cards() if card.keyword not in cards]
            image.header.extend(kept_cards)
    buffer = io.BytesIO()
    image.writeto(buffer)
    return buffer.getvalue()

"""Read rasters of layers with GDAL, and find the values at the pixels of maps."""

from __future__ import annotations

import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from hven.model.errors import ParamError, SourceError
from hven.plugins.maps.frames import Frame, find_body, find_frame, identify_frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from hven.plugins.maps.map_layers import MapLayer

    FloatArray = NDArray[np.float64]

# other drivers may read files that the raster names (VRT), or addresses
DRIVERS = ("GTiff", "PDS", "PDS4", "ISIS3", "ISIS2", "VICAR", "PNG", "JPEG")
MAX_READ_PIXELS = 16 << 20  # pixels that are read for a map; larger windows are read with fewer pixels
# GDAL counts small numbers as MiB, but rasterio passes bytes
GDAL_OPTIONS = {"GDAL_CACHEMAX": 64 << 20, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterInfo:
    """What a layer needs to know of a raster.

    Attributes
    ----------
    transform
        From columns and rows to coordinates of the frame.
    bands
        Numbers of the bands that are shown.
    shows_colours
        Whether the bands are colours.
    value_range
        Range of the values, from a coarse reading.
    """

    path: Path
    frame: Frame
    width: int
    height: int
    transform: Affine
    bands: tuple[int, ...]
    shows_colours: bool
    missing_value: float | None
    value_range: tuple[float, float]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north ends in its frame."""
        left, top = self.transform.c, self.transform.f
        right = left + self.width * self.transform.a
        bottom = top + self.height * self.transform.e
        return min(left, right), min(top, bottom), max(left, right), max(top, bottom)

    @property
    def column_period(self) -> float | None:
        """Columns of a turn around the body; None: the frame does not repeat."""
        if not self.frame.is_cylindrical:
            return None
        left, _, right, _ = self.frame.extent
        return abs((right - left) / self.transform.a)

    @property
    def lon_lat_bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north ends in degrees."""
        left, bottom, right, top = self.bounds
        if not self.frame.is_cylindrical:
            kinds = {"north_polar": (-180.0, 0.0, 180.0, 90.0), "south_polar": (-180.0, -90.0, 180.0, 0.0)}
            return kinds.get(self.frame.kind, (-180.0, -90.0, 180.0, 90.0))
        lon, lat = self.frame.convert_to_lon_lat(np.array([left, right]), np.array([bottom, top]))
        period = self.column_period or math.inf
        if self.width >= period - 0.5:
            return -180.0, max(float(lat[0]), -90.0), 180.0, min(float(lat[1]), 90.0)
        west, east = float(lon.min()), float(lon.max())
        if east - west > 360 * self.width / period + 1e-6:  # the projection has moved one of them by a turn
            west, east = east, west + 360
        shift = 360 * math.floor((west + 180) / 360)
        return west - shift, max(float(lat[0]), -90.0), east - shift, min(float(lat[1]), 90.0)


@contextmanager
def _open_raster(path: Path) -> Iterator[Any]:
    with rasterio.Env(**GDAL_OPTIONS), _open_with_first_driver(path) as dataset:
        yield dataset


def _open_with_first_driver(path: Path) -> Any:
    """Open a file with the first driver that reads it."""
    for driver in DRIVERS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                return rasterio.open(path, driver=driver)
        except (RasterioError, ValueError):
            continue
    raise SourceError(f"the raster {path.name} cannot be read", remedy="convert it to GeoTIFF")


def read_raster_info(layer: MapLayer, path: Path) -> RasterInfo:
    """Read what a layer needs to know of its raster; it is read again when the file has changed.

    Raises
    ------
    SourceError, ParamError
        The file is no raster, or its frame is not known.
    """
    file_state = path.stat()
    return _read_raster_info(layer, path, (file_state.st_size, file_state.st_mtime_ns, file_state.st_ino))


@lru_cache(maxsize=500)
def _read_raster_info(layer: MapLayer, path: Path, _file_state: tuple[int, int, int]) -> RasterInfo:
    body = find_body(layer.body) if layer.body else None
    with _open_raster(path) as dataset:
        if layer.frame:
            frame = find_frame(layer.frame)
            if body is not None and frame.body.number != body.number:
                raise ParamError(
                    f"{layer.frame} is not a frame of {body.name}", name="frame", remedy="correct `frame` or `body`"
                )
        elif dataset.crs is None:
            remedy = "write `frame`, for example IAU_2015:49900"
            raise ParamError(f"the raster {path.name} has no frame", name="frame", remedy=remedy)
        else:
            frame = identify_frame(dataset.crs.to_wkt(), body)
        transform = dataset.transform
        if layer.bounds is not None:
            west, south, east, north = layer.bounds
            transform = Affine((east - west) / dataset.width, 0, west, 0, (south - north) / dataset.height, north)
        elif transform.is_identity:
            message = f"the raster {path.name} has no georeferencing"
            raise ParamError(message, name="bounds", remedy="write `bounds: [west, south, east, north]`")
        if transform.b or transform.d:
            raise SourceError(
                f"the raster {path.name} is rotated",
                remedy="resample the raster so that its rows run from west to east",
            )
        shows_colours = layer.band is None and dataset.count >= 3 and dataset.dtypes[0] == "uint8"
        bands = (1, 2, 3) if shows_colours else (layer.band or 1,)
        if bands[-1] > dataset.count:
            raise ParamError(
                f"the raster {path.name} has no band {bands[-1]}",
                name="band",
                remedy=f"write a band from 1 to {dataset.count}",
            )
        missing_value = dataset.nodata if layer.missing_value is None else layer.missing_value
        info = RasterInfo(
            path=path,
            frame=frame,
            width=dataset.width,
            height=dataset.height,
            transform=transform,
            bands=bands,
            shows_colours=shows_colours,
            missing_value=None if missing_value is None else float(missing_value),
            value_range=(0.0, 1.0),
        )
        shape = (len(bands), min(info.height, 512), min(info.width, 512))
        values, is_valid = _read_values(dataset, info, Window(0, 0, info.width, info.height), shape)
    if is_valid.any() and not shows_colours:
        low, high = float(values[0][is_valid].min()), float(values[0][is_valid].max())
        info = RasterInfo(**{**_list_fields(info), "value_range": (low, high if high > low else low + 1)})
    return info


def _list_fields(info: RasterInfo) -> dict[str, Any]:
    return {name: getattr(info, name) for name in RasterInfo.__slots__}


def _read_values(
    dataset: Any, info: RasterInfo, window: Window, shape: tuple[int, int, int]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Read a window of the bands with a number of pixels, and which of these have data."""
    try:
        pixels = dataset.read(list(info.bands), window=window, out_shape=shape)
        mask = dataset.dataset_mask(window=window, out_shape=shape[1:])
    except RasterioError as error:
        raise SourceError(f"the raster {info.path.name} cannot be read: {error}", remedy="restore the file") from None
    values = pixels.astype(np.float64)
    is_valid = (mask != 0) & np.isfinite(values).all(axis=0)
    if info.missing_value is not None:
        is_valid &= (values != info.missing_value).any(axis=0)
    return values, is_valid


def sample_raster(
    info: RasterInfo, lon: FloatArray, lat: FloatArray, *, is_smooth: bool
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Find the values of a raster at places.

    Parameters
    ----------
    lon, lat
        Places of the pixels of a map, in two dimensions; infinite where the map shows nothing.
    is_smooth
        Whether values between pixels are interpolated.

    Returns
    -------
    values, is_valid
        For each band and place; whether a place has data.
    """
    is_shown = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90 + 1e-9)
    x, y = info.frame.convert_from_lon_lat(np.where(is_shown, lon, 0.0), np.where(is_shown, lat, 0.0))
    is_shown &= np.isfinite(x) & np.isfinite(y)
    columns = (np.where(is_shown, x, 0.0) - info.transform.c) / info.transform.a
    rows = (np.where(is_shown, y, 0.0) - info.transform.f) / info.transform.e
    period = info.column_period
    if period is not None:
        columns = np.mod(columns, period)
    is_shown &= (columns >= 0) & (columns <= info.width) & (rows >= -1e-6) & (rows <= info.height + 1e-6)
    if not is_shown.any():
        return np.zeros((len(info.bands), *lon.shape)), is_shown
    window, shape = _choose_window(info, columns, rows, is_shown)
    with _open_raster(info.path) as dataset:
        values, is_valid = _read_values(dataset, info, window, (len(info.bands), *shape))
    local_columns = (columns - window.col_off) * shape[1] / window.width - 0.5
    local_rows = (rows - window.row_off) * shape[0] / window.height - 0.5
    if not is_smooth:
        column_index = np.clip(np.rint(local_columns), 0, shape[1] - 1).astype(np.intp)
        row_index = np.clip(np.rint(local_rows), 0, shape[0] - 1).astype(np.intp)
        return values[:, row_index, column_index], is_shown & is_valid[row_index, column_index]
    return _interpolate(values, is_valid, (local_columns, local_rows), is_shown)


def _choose_window(
    info: RasterInfo, columns: FloatArray, rows: FloatArray, is_shown: NDArray[np.bool_]
) -> tuple[Window, tuple[int, int]]:
    """Choose the part of the raster that has all places, and with how many pixels it is read."""
    first_column = max(math.floor(columns[is_shown].min()) - 2, 0)
    last_column = min(math.ceil(columns[is_shown].max()) + 2, info.width)
    first_row = max(math.floor(rows[is_shown].min()) - 2, 0)
    last_row = min(math.ceil(rows[is_shown].max()) + 2, info.height)
    width, height = max(last_column - first_column, 1), max(last_row - first_row, 1)
    steps = []
    for axis in (0, 1):
        if columns.shape[axis] > 1:
            distances = np.hypot(np.diff(columns, axis=axis), np.diff(rows, axis=axis))
            steps.append(np.median(distances))
    # twice as many pixels as the map has
    step = max(float(min(steps, default=1.0)) / 2, 1.0, math.sqrt(width * height * len(info.bands) / MAX_READ_PIXELS))
    shape = max(round(height / step), 1), max(round(width / step), 1)
    return Window(first_column, first_row, width, height), shape


def _interpolate(
    values: FloatArray,
    is_valid: NDArray[np.bool_],
    places: tuple[FloatArray, FloatArray],
    is_shown: NDArray[np.bool_],
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Interpolate linearly between the four pixels around each place; those without data do not count."""
    columns, rows = places
    height, width = is_valid.shape
    left, top = np.floor(columns).astype(np.intp), np.floor(rows).astype(np.intp)
    total = np.zeros((len(values), *columns.shape))
    total_weight = np.zeros(columns.shape)
    for row_step in (0, 1):
        row_weight = 1 - np.abs(rows - top - row_step)
        row_index = np.clip(top + row_step, 0, height - 1)
        for column_step in (0, 1):
            weight = row_weight * (1 - np.abs(columns - left - column_step))
            column_index = np.clip(left + column_step, 0, width - 1)
            weight *= is_valid[row_index, column_index]
            total += np.where(weight > 0, values[:, row_index, column_index], 0.0) * weight
            total_weight += weight
    has_data = is_shown & (total_weight >= 0.5)
    return total / np.where(total_weight > 0, total_weight, 1.0), has_data

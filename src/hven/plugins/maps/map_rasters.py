"""Read rasters of layers with GDAL."""

from __future__ import annotations

import hashlib
import logging
import math
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.transform import from_bounds
from rasterio.windows import Window

from hven.model.errors import ParamError, SourceError
from hven.plugins.maps.frames import CelestialBody, Frame, find_body, find_frame, identify_frame
from hven.plugins.maps.raster_files import check_netcdf_axes, check_pds3_label, open_raster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affine import Affine
    from numpy.typing import NDArray

    from hven.plugins.maps.map_layers import MapLayer

    FileState = tuple[tuple[int, int, int], ...]

LABEL_DRIVERS = ("PDS", "PDS4", "ISIS3", "ISIS2", "VICAR")  # whose data may be in another file
COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
MAX_IDLE_DATASETS = 16  # open datasets of a process, whose blocks GDAL keeps
COARSE_PIXELS = 512  # width and height of the coarse reading for the range of values
MAX_PIXELS_BEYOND_POLE = 0.75
BOUNDS_PLACES = 65  # along each axis of a raster whose longitudes and latitudes are found
MAX_CODES = 256  # distinct values of a raster of codes
MIN_OVERVIEW_PIXELS = 16 << 20  # rasters with fewer pixels need no overviews
# GDAL counts small numbers as MiB, but rasterio passes bytes
GDAL_OPTIONS = {"GDAL_CACHEMAX": 64 << 20, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
logger = logging.getLogger("hven")


@dataclass(frozen=True, slots=True)
class RasterLevel:
    """The raster, or one of its overviews.

    Attributes
    ----------
    path
        File that contains it.
    bands
        Numbers of the bands that are shown.
    overview
        Number of the overview in the file; None: the raster of the file.
    variable
        Name of the variable of the file; empty: it has one only.
    missing_values
        Stored values of pixels without data.
    scale, offset
        How stored numbers become values.
    """

    path: Path
    width: int
    height: int
    bands: tuple[int, ...]
    overview: int | None = None
    variable: str = ""
    missing_values: tuple[float, ...] = ()
    scale: float = 1.0
    offset: float = 0.0

    @property
    def is_scaled(self) -> bool:
        """Whether stored numbers differ from values."""
        return (self.scale, self.offset) != (1.0, 0.0)


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
    data_type
        Type of the values: ``uint8``.
    missing_values
        Values of pixels without data.
    has_mask
        Whether the file has a mask or an opacity.
    value_range
        Range of the values, from a coarse reading.
    codes
        Whole numbers that a coarse reading finds, if there are few.
    palette
        Colours of whole numbers, from the file: red, green, blue and opacity by the number; empty: it has none.
    levels
        The raster and its overviews, the largest first.
    file_state
        Size, time and number of the file, and of those with the data of a label.
    """

    path: Path
    frame: Frame
    width: int
    height: int
    transform: Affine
    bands: tuple[int, ...]
    shows_colours: bool
    data_type: str
    missing_values: tuple[float, ...]
    has_mask: bool
    value_range: tuple[float, float]
    codes: frozenset[float]
    palette: tuple[tuple[float, tuple[int, int, int, int]], ...]
    levels: tuple[RasterLevel, ...]
    file_state: FileState

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
    def is_whole_turn(self) -> bool:
        """Whether its last column is beside the first."""
        return self.column_period is not None and abs(self.width - self.column_period) < 0.5

    @property
    def lon_lat_bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north ends in degrees."""
        left, bottom, right, top = self.bounds
        if not self.frame.is_cylindrical:
            return _find_lon_lat_bounds(self.frame, self.bounds)
        lon, lat = self.frame.convert_to_lon_lat(np.array([left, right]), np.array([bottom, top]))
        period = self.column_period or math.inf
        if self.width >= period - 0.5:
            return -180.0, max(float(lat[0]), -90.0), 180.0, min(float(lat[1]), 90.0)
        west, east = float(lon.min()), float(lon.max())
        if east - west > 360 * self.width / period + 1e-6:  # the projection has moved one of them by a turn
            west, east = east, west + 360
        shift = 360 * math.floor((west + 180) / 360)
        return west - shift, max(float(lat[0]), -90.0), east - shift, min(float(lat[1]), 90.0)


@lru_cache(maxsize=500)
def _find_lon_lat_bounds(frame: Frame, bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Find the longitudes and latitudes of a box in a frame, from many of its places."""
    west, south, east, north = bounds
    x, y = np.meshgrid(np.linspace(west, east, BOUNDS_PLACES), np.linspace(south, north, BOUNDS_PLACES))
    lon, lat = frame.convert_to_lon_lat(x.ravel(), y.ravel())
    is_on_body = np.isfinite(lon) & np.isfinite(lat)
    if not is_on_body.any():
        return -180.0, -90.0, 180.0, 90.0
    lon_margin, lat_margin = (_measure_largest_step(axis, is_on_body) for axis in (lon, lat))
    lon, lat = lon[is_on_body], lat[is_on_body]
    low, high = max(float(lat.min()) - lat_margin, -90.0), min(float(lat.max()) + lat_margin, 90.0)
    pole_lats = np.array([-90.0, 90.0])
    pole_x, pole_y = frame.convert_from_lon_lat(np.zeros(2), pole_lats)
    has_pole = (pole_x >= west) & (pole_x <= east) & (pole_y >= south) & (pole_y <= north)
    if has_pole.any():
        ends = pole_lats[has_pole]
        return -180.0, min(low, float(ends.min())), 180.0, max(high, float(ends.max()))
    lons = np.sort(lon % 360)
    gaps = np.diff(lons, append=lons[0] + 360)
    widest = int(gaps.argmax())
    width = 360.0 - float(gaps[widest])
    if width + 2 * lon_margin >= 360:
        return -180.0, low, 180.0, high
    begin = (float(lons[(widest + 1) % len(lons)]) - lon_margin + 180) % 360 - 180
    return begin, low, begin + width + 2 * lon_margin, high


def _measure_largest_step(degrees: NDArray[np.float64], is_on_body: NDArray[np.bool_]) -> float:
    """Measure how far the ends of a box may be beyond its places: near the edge of a body, farther than a step."""
    grid = np.where(is_on_body, degrees, np.nan).reshape(BOUNDS_PLACES, BOUNDS_PLACES)
    steps = np.concatenate([np.diff(grid, axis=axis).ravel() for axis in (0, 1)])
    steps = np.abs((steps[np.isfinite(steps)] + 180) % 360 - 180)
    return float(steps.max(initial=0.0)) * (1.0 if is_on_body.all() else 3.0)


class _DatasetPool:
    """Open datasets, so that GDAL keeps their blocks; each is used by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle_datasets: list[tuple[RasterInfo, RasterLevel, Any]] = []  # the last used ones at the end

    @contextmanager
    def open_level(self, info: RasterInfo, level: RasterLevel) -> Iterator[Any]:
        with rasterio.Env(**GDAL_OPTIONS):
            dataset = self._take_idle_dataset(info, level)
            dataset = dataset or open_raster(level.path, level.variable, level.overview)
            yield dataset
            with self._lock:
                self._idle_datasets.append((info, level, dataset))
                surplus = self._idle_datasets[:-MAX_IDLE_DATASETS]
                del self._idle_datasets[:-MAX_IDLE_DATASETS]
            for _, _, surplus_dataset in surplus:
                surplus_dataset.close()

    def _take_idle_dataset(self, info: RasterInfo, level: RasterLevel) -> Any:
        """Take a dataset of a level; those of an earlier state of the file are closed."""
        with self._lock:
            datasets = [item for item in self._idle_datasets if item[0].path == info.path]
            for item in reversed(datasets):
                if item[0].file_state != info.file_state:
                    item[2].close()
                elif item[1] != level:
                    continue
                self._idle_datasets.remove(item)
                if item[0].file_state == info.file_state:
                    return item[2]
        return None


_DATASETS = _DatasetPool()


def read_raster_info(layer: MapLayer, path: Path, overviews_directory: Path | None = None) -> RasterInfo:
    """Read what a layer needs to know of its raster; it is read again when the file has changed.

    Parameters
    ----------
    overviews_directory
        Directory with the overviews that Hven has made of rasters of the collection.

    Raises
    ------
    SourceError, ParamError
        The file is no raster, or its frame is not known.
    """
    file_state = _read_file_state(path, layer.variable)
    info = _read_raster_info(layer, path, file_state, None)
    if overviews_directory is None or has_enough_overviews(info):
        return info
    overviews_path = overviews_directory / build_overviews_file_name(layer, path)
    if not overviews_path.is_file():
        return info
    try:
        return _read_raster_info(layer, path, file_state, overviews_path)
    except SourceError as error:
        logger.warning("the overviews of %s cannot be read, so the next ingest makes them again: %s", path.name, error)
        return info


def _read_file_state(path: Path, variable: str) -> FileState:
    """Read size, time and number of a raster's file, and of those with the data of a label."""
    own_state = _read_single_state(path)
    return own_state, *(_read_single_state(data_path) for data_path in _list_data_paths(path, variable, own_state))


def _read_single_state(path: Path) -> tuple[int, int, int]:
    try:
        file_stat = path.stat()
    except FileNotFoundError:
        raise SourceError(f"the file {path.name} of a raster is missing", remedy="restore the file") from None
    return file_stat.st_size, file_stat.st_mtime_ns, file_stat.st_ino


@lru_cache(maxsize=500)
def _list_data_paths(path: Path, variable: str, _: tuple[int, int, int]) -> tuple[Path, ...]:
    """List the files with the data of a label, which may change while the label stays as it is."""
    with rasterio.Env(**GDAL_OPTIONS), open_raster(path, variable) as dataset:
        names = dataset.files if dataset.driver in LABEL_DRIVERS else ()
    return tuple(data_path for data_path in map(Path, names) if data_path != path)


def build_overviews_file_name(layer: MapLayer, path: Path) -> str:
    """Name the file with the overviews of a raster in its present state, for layers that show it in the same way."""
    (size, time), *data_states = (state[:2] for state in _read_file_state(path, layer.variable))
    state = (
        *(path.resolve(), size, time),
        *data_states,
        layer.variable,
        layer.band,
        layer.missing_value,
        layer.is_smooth,
        layer.colours,
    )
    return f"{hashlib.sha256(repr(state).encode()).hexdigest()[:32]}.tif"


@lru_cache(maxsize=500)
def _read_raster_info(layer: MapLayer, path: Path, file_state: FileState, overviews_path: Path | None) -> RasterInfo:
    body = find_body(layer.body) if layer.body else None
    with rasterio.Env(**GDAL_OPTIONS), open_raster(path, layer.variable) as dataset:
        frame, transform = _find_frame_and_transform(layer, path, dataset, body)
        if transform.b or transform.d:
            raise SourceError(
                f"the raster {path.name} is rotated",
                remedy="resample the raster so that its rows run from west to east",
            )
        if dataset.dtypes[0].startswith("complex"):
            remedy = "write their amplitudes into a raster of their own"
            raise SourceError(f"the pixels of the raster {path.name} are complex numbers", remedy=remedy)
        colour_bands = _find_colour_bands(dataset)
        shows_colours = layer.band is None and len(colour_bands) == len(COLOURS)
        bands = colour_bands if shows_colours else (layer.band or 1,)
        if bands[-1] > dataset.count:
            raise ParamError(
                f"the raster {path.name} has no band {bands[-1]}",
                name="band",
                remedy=f"write a band from 1 to {dataset.count}",
            )
        levels = _list_raster_levels(layer, path, dataset, bands, overviews_path)
        stored_type = dataset.dtypes[bands[0] - 1]
        info = RasterInfo(
            path=path,
            frame=frame,
            width=dataset.width,
            height=dataset.height,
            transform=transform,
            bands=bands,
            shows_colours=shows_colours,
            data_type=np.result_type(stored_type, np.float32).name if levels[0].is_scaled else stored_type,
            missing_values=() if levels[0].is_scaled else levels[0].missing_values,
            has_mask=any(
                MaskFlags.per_dataset in flags or MaskFlags.alpha in flags for flags in dataset.mask_flag_enums
            ),
            value_range=(0.0, 1.0),
            codes=frozenset(),
            palette=_read_palette(dataset, bands),
            levels=levels,
            file_state=file_state,
        )
    level = next((level for level in reversed(info.levels) if level.width >= COARSE_PIXELS), info.levels[0])
    shape = min(level.height, COARSE_PIXELS), min(level.width, COARSE_PIXELS)
    values, is_valid = read_window(info, level, (0, 0, level.width, level.height), shape)
    if is_valid.any() and not shows_colours:
        shown_values = values[0][is_valid]
        low, high = float(shown_values.min()), float(shown_values.max())
        info = replace(info, value_range=(low, high if high > low else low + 1))
        distinct_values = np.unique(shown_values)
        if values.dtype.kind in "iu" and len(distinct_values) <= MAX_CODES:
            info = replace(info, codes=frozenset(distinct_values.tolist()))
    return info


def _find_colour_bands(dataset: Any) -> tuple[int, ...]:
    """Find the bands that the file calls red, green and blue; other bands are values, however many there are."""
    kinds = list(dataset.colorinterp)
    bands = [kinds.index(colour) + 1 for colour in COLOURS if colour in kinds]
    return tuple(band for band in bands if dataset.dtypes[band - 1] == "uint8")


def _find_frame_and_transform(
    layer: MapLayer, path: Path, dataset: Any, body: CelestialBody | None
) -> tuple[Frame, Affine]:
    """Find the frame of a raster, and the transformation from its columns and rows to coordinates.

    Raises
    ------
    ParamError
        Neither the descriptor nor the file tells them, or these contradict each other.
    """
    frame = find_frame(layer.frame) if layer.frame else None
    if frame is not None and body is not None and frame.body.number != body.number:
        message = f"{layer.frame} is not a frame of {body.name}"
        raise ParamError(message, name="frame", remedy="correct `frame` or `body`")
    if frame is None or layer.bounds is None:
        if dataset.driver == "FITS":
            frame = dataset.find_frame_and_set_transform(frame, body)
        elif frame is None and dataset.crs is None:
            remedy = "write `frame`, for example IAU_2015:49900"
            raise ParamError(f"the raster {path.name} has no frame", name="frame", remedy=remedy)
        frame = frame or identify_frame(dataset.crs.to_wkt(), body)
    if layer.bounds is not None:
        return frame, from_bounds(*layer.bounds, dataset.width, dataset.height)
    if dataset.transform.is_identity:
        message = f"the raster {path.name} has no georeferencing"
        raise ParamError(message, name="bounds", remedy="write `bounds: [west, south, east, north]`")
    if dataset.driver == "netCDF":
        check_netcdf_axes(dataset, path, frame)
    if dataset.driver == "PDS":
        check_pds3_label(path, frame)
    if frame.is_cylindrical:
        _refuse_pixels_beyond_pole(path, frame, dataset)
    return frame, dataset.transform


def _refuse_pixels_beyond_pole(path: Path, frame: Frame, dataset: Any) -> None:
    """Refuse rasters that reach beyond a pole: labels of PDS3 count pixels in two ways, and GDAL knows one.

    Raises
    ------
    ParamError
        The raster reaches beyond a pole by more than the half pixel of grids whose lines are on the poles.
    """
    transform, (_, south, _, north) = dataset.transform, frame.extent
    ends = sorted((transform.f, transform.f + dataset.height * transform.e))
    if max(south - ends[0], ends[1] - north) > MAX_PIXELS_BEYOND_POLE * abs(transform.e):
        message = f"the raster {path.name} reaches beyond the pole"
        raise ParamError(message, name="bounds", remedy="write `bounds: [west, south, east, north]`")


def has_enough_overviews(info: RasterInfo) -> bool:
    """Check whether the smallest overview of a raster, or the raster itself, has few enough pixels."""
    return info.levels[-1].width * info.levels[-1].height <= MIN_OVERVIEW_PIXELS


def _read_palette(dataset: Any, bands: tuple[int, ...]) -> tuple[tuple[float, tuple[int, int, int, int]], ...]:
    if len(bands) > 1 or dataset.colorinterp[bands[0] - 1] != ColorInterp.palette:
        return ()
    return tuple((float(value), colour) for value, colour in sorted(dataset.colormap(bands[0]).items()))


def _list_missing_values(layer: MapLayer, dataset: Any) -> tuple[float, ...]:
    """List the values of pixels without data that its type can have; not-a-number always is one."""
    values = [float(value) for value in (layer.missing_value, dataset.nodata) if value is not None]
    if dataset.dtypes[0].startswith("float"):
        return tuple(value for value in values if not math.isnan(value))
    limits = np.iinfo(dataset.dtypes[0])
    # numpy compares whole numbers faster
    return tuple(int(value) for value in values if value.is_integer() and limits.min <= value <= limits.max)


def _list_raster_levels(
    layer: MapLayer, path: Path, dataset: Any, bands: tuple[int, ...], overviews_path: Path | None
) -> tuple[RasterLevel, ...]:
    """List the raster and its overviews, and those that Hven has made, which contain values."""
    first_level = RasterLevel(
        path=path,
        width=dataset.width,
        height=dataset.height,
        bands=bands,
        variable=layer.variable,
        missing_values=_list_missing_values(layer, dataset),
        scale=dataset.scales[bands[0] - 1],
        offset=dataset.offsets[bands[0] - 1],
    )
    levels = [
        replace(first_level, width=width, height=height, overview=overview)
        for width, height, overview in _list_level_sizes(path, layer.variable, dataset)
    ]
    if overviews_path is not None:
        missing_values = () if first_level.is_scaled else first_level.missing_values
        made_bands = tuple(range(1, len(bands) + 1))
        with open_raster(overviews_path) as made:
            sizes = _list_level_sizes(overviews_path, "", made)
        levels += [
            RasterLevel(overviews_path, width, height, made_bands, overview, missing_values=missing_values)
            for width, height, overview in sizes
        ]
    return tuple(sorted(levels, key=lambda level: -level.width))


def _list_level_sizes(path: Path, variable: str, dataset: Any) -> list[tuple[int, int, int | None]]:
    """List width, height and number of the overviews of a file, after those of its raster, which has no number."""
    sizes: list[tuple[int, int, int | None]] = [(dataset.width, dataset.height, None)]
    overview_count = 0 if dataset.driver == "FITS" else len(dataset.overviews(1))
    for number in range(overview_count):
        with open_raster(path, variable, number) as overview:
            sizes.append((overview.width, overview.height, number))
    return sizes


def read_window(
    info: RasterInfo, level: RasterLevel, window: tuple[int, int, int, int], shape: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read a window of the bands with a number of pixels, and which of these have data.

    Parameters
    ----------
    window
        First column, first row, width and height. Around a body, the first column may be negative, and the last one
        beyond the raster.
    shape
        Number of rows and columns that are read.
    """
    left, top, width, height = window
    pieces = []
    with _DATASETS.open_level(info, level) as dataset:
        while width > 0:
            first = left % level.width if info.is_whole_turn else left
            piece_width = min(level.width - first, width)
            piece_shape = shape[0], max(round(shape[1] * piece_width / window[2]), 1)
            pieces.append(_read_values(dataset, info, level, Window(first, top, piece_width, height), piece_shape))
            left, width = left + piece_width, width - piece_width
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate([values for values, _ in pieces], 2), np.concatenate([valid for _, valid in pieces], 1)


def _read_values(
    dataset: Any, info: RasterInfo, level: RasterLevel, window: Window, shape: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    is_valid = np.ones(shape, dtype=bool)
    try:
        values = dataset.read(list(level.bands), window=window, out_shape=(len(level.bands), *shape))
        if info.has_mask:
            is_valid = dataset.dataset_mask(window=window, out_shape=shape) != 0
    except RasterioError as error:
        raise SourceError(f"the raster {info.path.name} cannot be read: {error}", remedy="restore the file") from None
    if values.dtype.kind == "f":
        is_valid &= np.isfinite(values).all(axis=0)
    for missing_value in level.missing_values:
        is_valid &= (values != missing_value).any(axis=0)
    if level.is_scaled:
        values = values.astype(info.data_type) * level.scale + level.offset
        values = values.astype(info.data_type, copy=False)
    return values, is_valid

"""Make overviews of large rasters, in a directory of the site; the rasters stay as they are.

A file of overviews has half of the pixels of the raster in a row, and smaller overviews. It is made of files with some
rows each, so that an interrupted command continues where it stopped.
"""

from __future__ import annotations

import contextlib
import logging
import os
from itertools import product, starmap
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.windows import Window

from hven.app.api import IngestProgressBar
from hven.ingest.api.runs import IngestProgress, check_disk_space
from hven.model.errors import HvenError
from hven.plugins.maps.layer_access import find_layer_rasters
from hven.plugins.maps.map_layers import LAYERS_KEY, OVERVIEWS_FOLDER, DimensionValues
from hven.plugins.maps.map_rasters import (
    GDAL_OPTIONS,
    RasterInfo,
    build_overviews_file_name,
    has_enough_overviews,
    read_window,
)
from hven.services.api.files import list_abandoned_files
from hven.services.face import ServiceContext
from hven.site.auth import OWNER_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from hven.plugins.maps.map_drawing import LayerRaster
    from hven.site import Site

BLOCK_PIXELS = 512  # width and height of the blocks of a file
MAX_PIECE_PIXELS = 32 << 20  # of the raster, which are read at a time
MAX_AVERAGE_PIXELS = 4 << 20  # of these, whose means are computed at a time
MAX_CHUNK_PIXELS = 64 << 20  # of the overview, which are in one file before the files are joined

logger = logging.getLogger("hven")


def build_missing_overviews(site: Site, collection: str, *, shows_progress: bool) -> None:
    """Build the missing overviews of the layers of a collection, and remove those of other rasters.

    What cannot be made is told in the log, because the collection is published without it.

    Parameters
    ----------
    site
        Site that publishes the collection.
    collection
        Name of the collection.
    shows_progress
        Whether a bar shows the progress at a terminal.
    """
    context = ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)
    directory = site.settings.var_directory / OVERVIEWS_FOLDER / collection
    wanted_names, is_complete = set[str](), True
    with IngestProgressBar(quiet=not shows_progress) as progress_bar:
        for layer in site.get_published_state().resources[collection].extensions[LAYERS_KEY]:
            for values in starmap(DimensionValues, product(layer.times or [""], layer.wavelengths or [""])):
                try:
                    raster = find_layer_rasters(context, OWNER_PRINCIPAL, collection, [layer.name], values)[0]
                    name = build_overviews_file_name(raster.layer, raster.path)
                    wanted_names.add(name)
                    info = raster.read_info()
                    if not has_enough_overviews(info):
                        raster_bytes = info.width * info.height * len(info.bands) * np.dtype(info.data_type).itemsize
                        # overviews that cannot be compressed have a third of the bytes
                        check_disk_space(site, collection, raster_bytes // 3, write_factor=2)
                        build_overviews(raster, directory / name, progress_bar)
                except (HvenError, OSError, rasterio.errors.RasterioError) as error:
                    is_complete = False
                    logger.warning("there are no overviews of %s.%s: %s", collection, layer.name, error)
    if directory.is_dir():
        _remove_stale_files(directory, wanted_names if is_complete else None)


def _remove_stale_files(directory: Path, wanted_names: set[str] | None) -> None:
    """Remove unfinished files of dead processes, and files of rasters that have changed or gone."""
    for path in list_abandoned_files(directory):
        path.unlink(missing_ok=True)
    if wanted_names is None:
        return
    for path in directory.glob("[!.]*.tif"):
        if f"{path.name.partition('.')[0]}.tif" not in wanted_names:
            path.unlink(missing_ok=True)


def build_overviews(
    raster: LayerRaster, path: Path, report_progress: Callable[[IngestProgress], object] = lambda _: None
) -> None:
    """Build the overviews of a raster.

    Parameters
    ----------
    path
        Path of the file with the overviews.
    report_progress
        Called with the number of rows of the raster that are ready.
    """
    info, is_smooth = raster.read_info(), raster.is_interpolated()
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = -(-info.width // 2), -(-info.height // 2)
    chunk_rows = max(MAX_CHUNK_PIXELS // width // BLOCK_PIXELS, 1) * BLOCK_PIXELS
    chunk_paths = []

    def report_rows(ready_rows: int, step: str = "read") -> None:
        rows = min(2 * ready_rows, info.height)
        table = f"overviews of {info.path.name}"
        report_progress(IngestProgress(table=table, step=step, rows=rows, done=rows, total=info.height))

    for first_row in range(0, height, chunk_rows):
        chunk_path = path.with_name(f"{path.stem}.{first_row}.tif")
        chunk_paths.append(chunk_path)
        if not chunk_path.is_file():
            rows = min(chunk_rows, height - first_row)
            with _create_overview_file(chunk_path, info, (width, rows)) as dataset:
                for row in range(0, rows, BLOCK_PIXELS):
                    values, is_valid = _compute_overview_rows(
                        info, first_row + row, min(BLOCK_PIXELS, rows - row), is_smooth=is_smooth
                    )
                    _write_overview_rows(dataset, info, values, is_valid, row)
                    report_rows(first_row + row + len(is_valid))
    report_rows(height, "finish")
    smaller_factors = [2**power for power in range(1, 20) if max(width, height) >> (power - 1) > BLOCK_PIXELS]
    with _create_overview_file(path, info, (width, height)) as dataset:
        for chunk_path, first_row in zip(chunk_paths, range(0, height, chunk_rows), strict=True):
            with rasterio.open(chunk_path) as chunk:
                for row in range(0, chunk.height, BLOCK_PIXELS):
                    window = Window(0, row, width, min(BLOCK_PIXELS, chunk.height - row))
                    is_valid = np.ones((window.height, width), dtype=bool)
                    if info.has_mask:
                        is_valid = chunk.dataset_mask(window=window) > 0
                    _write_overview_rows(dataset, info, chunk.read(window=window), is_valid, first_row + row)
        dataset.build_overviews(smaller_factors, Resampling.average if is_smooth else Resampling.nearest)
    for chunk_path in chunk_paths:
        chunk_path.unlink()


@contextlib.contextmanager
def _create_overview_file(path: Path, info: RasterInfo, size: tuple[int, int]) -> Iterator[Any]:
    """Create a file, which has its name when it is finished."""
    unfinished_path = path.with_name(f".{os.getpid()}-{path.name}")
    missing_value = next(iter(info.missing_values), np.nan if info.data_type.startswith("float") else None)
    options = {**GDAL_OPTIONS, "GDAL_TIFF_INTERNAL_MASK": True, "COMPRESS_OVERVIEW": "DEFLATE"}
    profile = {
        "width": size[0],
        "height": size[1],
        "count": len(info.bands),
        "dtype": info.data_type,
        "nodata": missing_value,
        "transform": info.transform * Affine.scale(2),
        "tiled": True,
        "blockxsize": BLOCK_PIXELS,
        "blockysize": BLOCK_PIXELS,
        "compress": "deflate",
        "zlevel": 1,
        "bigtiff": "if_safer",
        "sparse_ok": True,
    }
    try:
        with rasterio.Env(**options), rasterio.open(unfinished_path, "w+", driver="GTiff", **profile) as dataset:
            yield dataset
        unfinished_path.replace(path)
    finally:
        unfinished_path.unlink(missing_ok=True)


def _compute_overview_rows(
    info: RasterInfo, first_row: int, row_count: int, *, is_smooth: bool
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Compute rows of the overview: means of the pixels with data, or every second pixel of codes."""
    width = -(-info.width // 2)
    values = np.empty((len(info.bands), row_count, width), dtype=info.data_type)
    is_valid = np.empty((row_count, width), dtype=bool)
    step = max(MAX_PIECE_PIXELS // info.width // 2, 1)
    slice_width = max(MAX_AVERAGE_PIXELS // (2 * step) // 2, 1) * 2
    for row in range(0, row_count, step):
        top, last = 2 * (first_row + row), min(row + step, row_count)
        height = min(2 * (last - row), info.height - top)
        pixels, has_data = read_window(info, info.levels[0], (0, top, info.width, height), (height, info.width))
        for left in range(0, info.width, slice_width):
            part, valid_part = pixels[..., left : left + slice_width], has_data[:, left : left + slice_width]
            place = slice(row, last), slice(left // 2, (left + slice_width) // 2)
            if is_smooth:
                values[:, *place], is_valid[place] = _compute_means(part, valid_part)
            else:
                values[:, *place], is_valid[place] = part[:, ::2, ::2], valid_part[::2, ::2]
    return values, is_valid


def _compute_means(values: NDArray[Any], is_valid: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Compute the means of 2 x 2 pixels; those without data, and those beyond the raster, do not count."""
    kind = np.result_type(values.dtype, np.float32)
    sums, counts = np.where(is_valid, values, 0).astype(kind), is_valid.astype(kind)
    for axis in (-2, -1):
        sums, counts = (_add_neighbour_pairs(array, axis) for array in (sums, counts))
    means = sums / np.maximum(counts, 1)
    if values.dtype.kind in "iu":
        means = np.rint(means)
    return means.astype(values.dtype), counts > 0


def _add_neighbour_pairs(array: NDArray[Any], axis: int) -> NDArray[Any]:
    first, second = (array.take(range(start, array.shape[axis], 2), axis) for start in (0, 1))
    paired = [slice(None)] * array.ndim
    paired[axis] = slice(0, second.shape[axis])
    first[tuple(paired)] += second
    return first


def _write_overview_rows(
    dataset: Any, info: RasterInfo, values: NDArray[Any], is_valid: NDArray[np.bool_], first_row: int
) -> None:
    """Write rows; pixels without data have the missing value, or are outside the mask."""
    window = Window(0, first_row, dataset.width, len(is_valid))
    if dataset.nodata is not None:
        values = np.where(is_valid, values, np.array(dataset.nodata, dtype=values.dtype))
    dataset.write(values, window=window)
    if info.has_mask:
        dataset.write_mask(np.where(is_valid, 255, 0).astype(np.uint8), window=window)

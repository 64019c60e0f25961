"""Find the values of rasters at places and at the pixels of maps.

Columns and rows of maps and rasters are counted from the upper left corner, whose centre is 0.5. If columns depend on
longitudes alone, and rows on latitudes alone, there is one row of columns and one column of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.plugins.maps.map_rasters import RasterInfo, RasterLevel, read_window

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hven.plugins.maps.map_views import MapView

    FloatArray = NDArray[np.float64]
    Samples = tuple[NDArray[Any], NDArray[np.bool_]]  # values by band, row and column; whether these have data

MAX_READ_PIXELS = 16 << 20  # pixels that are read for a map; larger windows are read with fewer pixels
NODE_STEP = 4  # pixels of a map from one exact place to the next; those between are interpolated
# how far nodes may be, in pixels, from where nodes of twice the distance predict them: four times the error between
# nodes, as it grows with the square of the distance
MAX_PREDICTION_ERROR_PIXELS = 0.4


@dataclass(frozen=True, slots=True)
class RasterPlaces:
    """Places in a raster; not-a-number outside."""

    columns: FloatArray
    rows: FloatArray

    @property
    def is_separable(self) -> bool:
        """Whether columns and rows are independent."""
        return bool(self.columns.shape[0] == 1 and self.rows.shape[1] == 1)


@dataclass(frozen=True, slots=True)
class RasterWindow:
    """A part of a level of a raster, as `map_rasters.read_window` reads it."""

    level: RasterLevel
    left: int
    top: int
    width: int
    height: int
    shape: tuple[int, int]


def sample_places(
    info: RasterInfo, lon: FloatArray, lat: FloatArray, *, is_smooth: bool, keeps_rows: bool = False
) -> Samples:
    """Find the values of a raster at places.

    Parameters
    ----------
    lon, lat
        Places in two dimensions, or a row of longitudes and a column of latitudes; infinite where nothing is shown.
    is_smooth
        Whether values between pixels are interpolated.
    keeps_rows
        Whether rows are not made coarser where columns are, such as near the poles; this reads more pixels.

    Returns
    -------
    values, is_valid
        For each band and place; whether a place has data.
    """
    return _sample_raster(info, _locate_places(info, lon, lat), is_smooth=is_smooth, keeps_rows=keeps_rows)


def contains_places(info: RasterInfo, lon: FloatArray, lat: FloatArray) -> NDArray[np.bool_]:
    """Check whether places are inside a raster.

    Parameters
    ----------
    lon, lat
        Places.
    """
    places = _locate_places(info, lon, lat)
    return np.isfinite(places.columns) & np.isfinite(places.rows)


def sample_view(info: RasterInfo, view: MapView, *, is_smooth: bool) -> Samples:
    """Find the values of a raster at the pixels of a map, whose places are right within 0.1 pixels.

    Parameters
    ----------
    is_smooth
        Whether values between pixels are interpolated.

    Returns
    -------
    values, is_valid
        For each band, row and column; whether a pixel has data.
    """
    return _sample_raster(info, _locate_view(info, view), is_smooth=is_smooth)


def _convert_axes(
    convert: Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]],
    horizontal: FloatArray,
    vertical: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Convert places, or a row and a column that are independent."""
    if horizontal.shape == vertical.shape:
        return convert(horizontal, vertical)
    return convert(horizontal, np.zeros_like(horizontal))[0], convert(np.zeros_like(vertical), vertical)[1]


def _locate_places(info: RasterInfo, lon: FloatArray, lat: FloatArray) -> RasterPlaces:
    if not info.frame.is_cylindrical:
        lon, lat = np.broadcast_arrays(lon, lat)
    with np.errstate(invalid="ignore"):
        x, y = _convert_axes(info.frame.convert_from_lon_lat, lon, np.where(np.abs(lat) <= 90 + 1e-9, lat, np.nan))
        columns = (x - info.transform.c) / info.transform.a
        rows = (y - info.transform.f) / info.transform.e
        if info.column_period is not None:
            columns = np.mod(columns, info.column_period)
        if not info.is_whole_turn:
            columns = np.where((columns >= 0) & (columns <= info.width), columns, np.nan)
        rows = np.where((rows >= -1e-6) & (rows <= info.height + 1e-6), rows, np.nan)
    return RasterPlaces(columns, rows)


def _locate_view(info: RasterInfo, view: MapView) -> RasterPlaces:
    """Locate the pixels of a map: some exactly, and those between by interpolation where that is exact enough."""

    def find_lon_lat(columns: NDArray[Any], rows: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
        x, y = view.compute_x(columns), view.compute_y(rows)
        if not view.frame.is_cylindrical:
            x, y = np.broadcast_arrays(x, y)
        return _convert_axes(view.frame.convert_to_lon_lat, x, y)

    columns, rows = np.arange(view.width)[np.newaxis, :], np.arange(view.height)[:, np.newaxis]
    if view.frame.is_cylindrical and info.frame.is_cylindrical:
        return _locate_places(info, *find_lon_lat(columns, rows))
    cells = [-(-size // (2 * NODE_STEP)) for size in (view.height, view.width)]
    node_rows, node_columns = (NODE_STEP * np.arange(2 * count + 1) for count in cells)
    lon, lat = find_lon_lat(node_columns[np.newaxis, :], node_rows[:, np.newaxis])
    nodes = _locate_places(info, lon, lat)
    places = np.stack([nodes.columns, nodes.rows])
    with np.errstate(invalid="ignore"):
        errors = np.hypot(*(_interpolate_nodes(places[:, ::2, ::2], 2) - places[:, :-1, :-1]))
        pixel_size = np.fmin(
            *(np.hypot(*np.diff(places, axis=axis))[: 2 * cells[0], : 2 * cells[1]] for axis in (1, 2))
        )
        is_exact = errors * NODE_STEP <= MAX_PREDICTION_ERROR_PIXELS * pixel_size
    # a cell is exact enough if this is so of all its nodes
    is_exact = is_exact.reshape(cells[0], 2, cells[1], 2).all(axis=(1, 3))
    if lon.shape == lat.shape:
        is_exact |= _find_cells_entirely_off_body(~np.isfinite(lon) | ~np.isfinite(lat))
    places = _interpolate_nodes(places, NODE_STEP)[:, : view.height, : view.width]
    if not is_exact.all():
        is_inexact = (~is_exact).repeat(2 * NODE_STEP, 0).repeat(2 * NODE_STEP, 1)[: view.height, : view.width]
        exact_rows, exact_columns = np.nonzero(is_inexact)
        exact = _locate_places(info, *find_lon_lat(exact_columns[np.newaxis, :], exact_rows[np.newaxis, :]))
        places[:, is_inexact] = np.stack([exact.columns[0], exact.rows[0]])
    return RasterPlaces(*places)


def _find_cells_entirely_off_body(is_off_body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the cells of two by two steps all of whose nodes are beside the body, so that they show nothing of it."""
    for axis in (0, 1):
        count = is_off_body.shape[axis]
        first, middle, last = (is_off_body.take(range(start, count - 2 + start, 2), axis) for start in range(3))
        is_off_body = first & middle & last
    return is_off_body


def _interpolate_nodes(nodes: FloatArray, step: int) -> FloatArray:
    """Interpolate along both axes: `step` places from each node to the next one, which is left out."""
    shares = np.arange(step) / step
    for axis in (1, 2):
        low, high = (np.take(nodes, range(first, nodes.shape[axis] - 1 + first), axis) for first in (0, 1))
        places = np.expand_dims(high - low, axis + 1) * shares.reshape((-1, *[1] * (2 - axis)))
        places += np.expand_dims(low, axis + 1)
        shape = list(low.shape)
        shape[axis] *= step
        nodes = places.reshape(shape)
    return nodes


def _sample_raster(info: RasterInfo, places: RasterPlaces, *, is_smooth: bool, keeps_rows: bool = False) -> Samples:
    columns, rows = places.columns, places.rows
    is_shown = np.isfinite(columns) & np.isfinite(rows)
    if not is_shown.any():
        return np.zeros((len(info.bands), *is_shown.shape)), is_shown
    if not places.is_separable and not is_shown.all():
        columns, rows = np.where(is_shown, columns, np.nan), np.where(is_shown, rows, np.nan)
    if info.is_whole_turn:  # the places are on both sides of the middle, perhaps beyond the last column
        period = float(info.column_period or 1)
        finite_columns = columns[np.isfinite(columns)]
        distances = columns - finite_columns[len(finite_columns) // 2]
        turns = (distances < -period / 2).astype(np.int8) - (distances > period / 2)
        columns = columns + period * turns
    window = _choose_window(info, RasterPlaces(columns, rows), keeps_rows=keeps_rows)
    level, shape = window.level, window.shape
    values, is_valid = read_window(info, level, (window.left, window.top, window.width, window.height), shape)
    row_scale, column_scale = shape[0] / window.height, shape[1] / window.width
    rows = rows * (level.height / info.height * row_scale)
    rows -= window.top * row_scale + 0.5
    columns = columns * (level.width / info.width * column_scale)
    columns -= window.left * column_scale + 0.5
    if info.is_whole_turn:
        _move_to_nearer_end(columns, shape[1], level.width * column_scale)
    places = RasterPlaces(np.nan_to_num(columns, copy=False), np.nan_to_num(rows, copy=False))
    if not is_smooth:
        row_index = np.clip((places.rows + 0.5).astype(np.intp), 0, shape[0] - 1)
        column_index = np.clip((places.columns + 0.5).astype(np.intp), 0, shape[1] - 1)
        return values[:, row_index, column_index], is_shown & is_valid[row_index, column_index]
    values, has_data = _interpolate_pixels(values, is_valid, places)
    return values, is_shown & has_data


def _move_to_nearer_end(columns: FloatArray, count: int, turn: float) -> None:
    """Move places beyond the columns that were read by a turn, if they are nearer to these then.

    Every n-th column is read, so that up to n columns at the seam may be left out.
    """
    half_gap = max(turn - (count - 1), 0) / 2
    with np.errstate(invalid="ignore"):
        for is_nearer, shift in ((columns > count - 1 + half_gap, -turn), (columns < -half_gap, turn)):
            if is_nearer.any():
                columns[is_nearer] += shift


def _choose_window(info: RasterInfo, places: RasterPlaces, *, keeps_rows: bool = False) -> RasterWindow:
    """Choose the level of the raster, its part that has all places, and with how many pixels it is read."""
    row_step, column_step = _measure_max_row_column_steps(places) if keeps_rows else _measure_pixel_steps(places)
    level = info.levels[0]
    for smaller_level in info.levels[1:]:
        if info.width / smaller_level.width <= min(row_step, column_step) * 1.001:
            level = smaller_level
    ends = [(float(np.nanmin(axis)), float(np.nanmax(axis))) for axis in (places.rows, places.columns)]
    scales = level.height / info.height, level.width / info.width
    # every n-th row and column is read
    strides = [max(int(step * scale), 1) for step, scale in zip((row_step, column_step), scales, strict=True)]
    pixel_count = math.prod(
        ((last - first) * scale + 1) / stride
        for (first, last), scale, stride in zip(ends, scales, strides, strict=True)
    )
    surplus = pixel_count * len(info.bands) / MAX_READ_PIXELS
    if surplus > 1:
        strides = [math.ceil(stride * math.sqrt(surplus)) for stride in strides]
    row_stride, column_stride = strides[0], min(strides[1], level.width)
    top, bottom = _add_interpolation_margins(ends[0], scales[0], row_stride, level.height)
    limit = math.inf if info.is_whole_turn else level.width
    left, right = _add_interpolation_margins(ends[1], scales[1], column_stride, limit)
    if info.is_whole_turn and column_stride > 1:
        left, right = _match_stride_to_seam(left, right, column_stride, level.width)
    shape = -(-(bottom - top) // row_stride), -(-(right - left) // column_stride)
    return RasterWindow(level, left, top, right - left, bottom - top, shape)


def _match_stride_to_seam(left: int, right: int, stride: int, turn: int) -> tuple[int, int]:
    """Move both ends so that every n-th column is as far from the next one across the seam, which is at 0 or `turn`."""
    seam = turn if left >= 0 and right > turn else 0
    left -= (left - seam) % stride
    if left < 0 < seam:  # it would cross both seams
        left += stride
    count = min(-(-(right - left) // stride), (seam + turn - left) // stride)
    return left, left + count * stride


def _add_interpolation_margins(ends: tuple[float, float], scale: float, stride: int, size: float) -> tuple[int, int]:
    """Find the first and last pixel that interpolation needs; around a body, there are pixels beyond all ends."""
    first, last = math.floor(ends[0] * scale) - stride - 1, math.ceil(ends[1] * scale) + stride + 1
    if math.isinf(size):
        return first, last
    return max(first, 0), max(min(last, int(size)), max(first, 0) + 1)


def _measure_pixel_steps(places: RasterPlaces) -> tuple[float, float]:
    """Measure the distances in a raster of neighbours in a column and in a row of a map; the medians."""
    steps = []
    for axis in (0, 1):
        if places.is_separable:
            distances = np.abs(np.diff((places.rows, places.columns)[axis], axis=axis))
        else:
            distances = np.hypot(
                *(_sample_neighbour_differences(array, axis) for array in (places.rows, places.columns))
            )
        distances = distances[np.isfinite(distances)]
        steps.append(float(np.median(distances)) if distances.size else 1.0)
    if places.is_separable:
        return steps[0], steps[1]
    return min(steps), min(steps)


def _measure_max_row_column_steps(places: RasterPlaces) -> tuple[float, float]:
    """Measure how many rows and how many columns are between neighbours; the larger medians of both directions."""
    steps = []
    for array in (places.rows, places.columns):
        medians = [1.0]
        for axis in (0, 1):
            differences = np.abs(_sample_neighbour_differences(array, axis))
            differences = differences[np.isfinite(differences)]
            if differences.size:
                medians.append(float(np.median(differences)))
        steps.append(max(medians))
    return steps[0], steps[1]


def _sample_neighbour_differences(array: FloatArray, axis: int) -> FloatArray:
    """Compute the differences of some neighbours along an axis."""
    step = 8 if min(array.shape) > 16 else 1
    if axis == 0:
        first, second = array[:-1:step, ::step], array[1::step, ::step]
    else:
        first, second = array[::step, :-1:step], array[::step, 1::step]
    return second - first


def _interpolate_pixels(values: NDArray[Any], is_valid: NDArray[np.bool_], places: RasterPlaces) -> Samples:
    """Interpolate linearly between the pixels around places; those without data do not count."""
    # the bands of a pixel are beside each other, and are copied together
    pixels = np.stack(list(values), 2).astype(np.result_type(values.dtype, np.float32))
    has_gaps = not is_valid.all()
    if has_gaps:
        weights = is_valid[..., np.newaxis].astype(pixels.dtype)
        pixels = np.concatenate([np.where(is_valid[..., np.newaxis], pixels, 0), weights], 2)
    if places.is_separable:
        pixels = _interpolate_axis(_interpolate_axis(pixels, places.rows[:, 0], 0), places.columns[0], 1)
    else:
        pixels = _interpolate_bilinearly(pixels, places)
    if not has_gaps:
        return np.moveaxis(pixels, 2, 0), np.ones(pixels.shape[:2], dtype=bool)
    weights = pixels[..., -1:]
    pixels = pixels[..., :-1] / np.where(weights > 0, weights, 1)
    return np.moveaxis(pixels, 2, 0), weights[..., 0] >= 0.5


def _interpolate_axis(pixels: NDArray[Any], positions: FloatArray, axis: int) -> NDArray[Any]:
    """Interpolate linearly along an axis."""
    low = np.floor(positions)
    weights = (positions - low).astype(pixels.dtype)
    low_pixels = pixels.take(low.astype(np.intp), axis, mode="clip")
    next_pixels = pixels.take(low.astype(np.intp) + 1, axis, mode="clip")
    # numpy needs less time for long rows than for the few bands of a pixel
    first, second = (array.reshape(len(array), -1) for array in (low_pixels, next_pixels))
    plane_weights = weights[:, np.newaxis] if axis == 0 else weights.repeat(pixels.shape[2])
    return _interpolate_into_second_array(first, second, plane_weights).reshape(low_pixels.shape)


def _interpolate_bilinearly(pixels: NDArray[Any], places: RasterPlaces) -> NDArray[Any]:
    """Interpolate linearly between the four pixels around each place."""
    if min(pixels.shape[:2]) < 2:
        pixels = np.pad(pixels, ((0, 1), (0, 1), (0, 0)), mode="edge")
    height, width, bands = pixels.shape
    pixels = pixels.reshape(-1, bands)
    # the window is small enough for the precision of these
    columns, rows = places.columns.astype(np.float32), places.rows.astype(np.float32)
    left, top = (np.clip(np.floor(axis), 0, size - 2) for axis, size in ((columns, width), (rows, height)))
    indices = top.astype(np.intp)
    indices *= width
    indices += left.astype(np.intp)
    columns -= left
    rows -= top
    weights = [np.clip(axis, 0, 1)[..., np.newaxis] for axis in (columns, rows)]
    upper, lower = (
        _interpolate_into_second_array(pixels[step:].take(indices, 0), pixels[step + 1 :].take(indices, 0), weights[0])
        for step in (0, width)
    )
    return _interpolate_into_second_array(upper, lower, weights[1])


def _interpolate_into_second_array(first: NDArray[Any], second: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Combine two arrays by the weights of the second one, which is overwritten."""
    second -= first
    second *= weights
    second += first
    return second

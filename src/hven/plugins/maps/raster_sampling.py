"""Find the values of rasters at places and at the pixels of maps.

Columns and rows of maps and rasters are counted from the upper left corner, whose centre is 0.5. If columns depend on
longitudes alone, and rows on latitudes alone, there is one row of columns and one column of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.plugins.maps.map_rasters import RasterInfo, RasterLevel, read_window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from hven.plugins.maps.map_views import MapView

    FloatArray = NDArray[np.float64]
    Float32Array = NDArray[np.float32]
    Samples = tuple[NDArray[Any], NDArray[np.bool_]]  # values by band, row and column; whether these have data

MAX_READ_PIXELS = 16 << 20  # pixels that are read for a map; larger windows are read with fewer pixels
MARGIN_TOLERANCE_PIXELS = 1e-3  # by which places may be nearer to a pixel that is not read
STRIP_PIXELS = 96 << 10  # of a map whose values are interpolated at a time
NODE_STEP = 6  # pixels of a map from one exact place to the next; those between are interpolated
# how far nodes may be, in pixels, from where nodes of twice the distance predict them: four times the error between
# nodes, as it grows with the square of the distance
MAX_PREDICTION_ERROR_PIXELS = 0.4


@dataclass(frozen=True, slots=True)
class RasterPlaces:
    """Places in a raster; not-a-number outside.

    Attributes
    ----------
    columns, rows
        Of all pixels of a map, or of its nodes; a row of columns and a column of rows if these are independent.
    shape
        Number of rows and columns of the map.
    node_step
        Pixels from one node to the next one; 1: each pixel is a node.
    other_pixels
        Numbers of the pixels whose places are not those between nodes, ascending, shape (n,).
    other_places
        Columns and rows of these, shape (2, n).
    """

    columns: FloatArray
    rows: FloatArray
    shape: tuple[int, int]
    node_step: int = 1
    other_pixels: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    other_places: FloatArray = field(default_factory=lambda: np.empty((2, 0)))

    @property
    def is_separable(self) -> bool:
        """Whether columns and rows are independent."""
        return bool(self.columns.shape[0] == 1 and self.rows.shape[1] == 1)

    def find_ends(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Find the least and largest row, and the least and largest column; None: all places are outside."""
        ends = []
        for own, other in ((self.rows, self.other_places[1]), (self.columns, self.other_places[0])):
            numbers = np.concatenate([own.ravel(), other])
            finite = numbers[np.isfinite(numbers)]
            if not finite.size:
                return None
            ends.append((float(finite.min()), float(finite.max())))
        return ends[0], ends[1]

    def scale_and_shift(self, scales: tuple[float, float], offsets: tuple[float, float]) -> RasterPlaces:
        """Multiply rows and columns, and subtract offsets."""
        other_columns, other_rows = self.other_places
        return replace(
            self,
            rows=self.rows * scales[0] - offsets[0],
            columns=self.columns * scales[1] - offsets[1],
            other_places=np.stack([other_columns * scales[1] - offsets[1], other_rows * scales[0] - offsets[0]]),
        )

    def iterate_strips(self) -> Iterator[tuple[int, Float32Array, Float32Array]]:
        """Yield the first row of each strip of the map, with the columns and rows of its pixels.

        The windows of rasters are small enough for this precision.
        """
        width = self.shape[1]
        for strip in divide_into_strips(self.shape, self.node_step):
            first, last = strip.start, strip.stop
            nodes = slice(first // self.node_step, -(-last // self.node_step) + (self.node_step > 1))
            columns, rows = (
                _interpolate_nodes(axis[nodes].astype(np.float32), self.node_step, (last - first, width))
                for axis in (self.columns, self.rows)
            )
            begin, end = np.searchsorted(self.other_pixels, (first * width, last * width))
            if begin < end:
                pixels = self.other_pixels[begin:end] - first * width
                columns.reshape(-1)[pixels], rows.reshape(-1)[pixels] = self.other_places[:, begin:end]
            yield first, columns, rows


def divide_into_strips(shape: tuple[int, int], step: int = 1) -> list[slice]:
    """Divide the rows of a map into strips that fit into the processor's cache.

    Parameters
    ----------
    step
        Number of rows of which each strip has a multiple, except for the last one.
    """
    height, width = shape
    count = max(STRIP_PIXELS // (width * step), 1) * step
    return [slice(first, min(first + count, height)) for first in range(0, height, count)]


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
    columns, rows = _locate_places(info, lon, lat)
    shape = np.broadcast_shapes(columns.shape, rows.shape)
    places = RasterPlaces(_move_columns_together(info, columns, _find_middle(columns)), rows, (shape[0], shape[1]))
    return _sample_raster(info, places, is_smooth=is_smooth, keeps_rows=keeps_rows)


def contains_places(info: RasterInfo, lon: FloatArray, lat: FloatArray) -> NDArray[np.bool_]:
    """Check whether places are inside a raster.

    Parameters
    ----------
    lon, lat
        Places.
    """
    columns, rows = _locate_places(info, lon, lat)
    return np.isfinite(columns) & np.isfinite(rows)


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


def _locate_places(info: RasterInfo, lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return columns and rows, not-a-number outside; both are so outside if they are not independent."""
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
    if columns.shape == rows.shape:
        is_outside = np.isnan(columns) | np.isnan(rows)
        columns[is_outside] = rows[is_outside] = np.nan
    return columns, rows


def _find_middle(columns: FloatArray) -> float:
    """Return the column that is in the middle of the list of those inside; 0: there are none."""
    inside = columns[np.isfinite(columns)]
    return float(inside[len(inside) // 2]) if inside.size else 0.0


def _move_columns_together(info: RasterInfo, columns: FloatArray, middle: float) -> FloatArray:
    """Move columns by a turn if they are more than half a turn from the middle, perhaps beyond the last column."""
    if not info.is_whole_turn:
        return columns
    period = float(info.column_period or 1)
    distances = columns - middle
    with np.errstate(invalid="ignore"):
        turns = (distances < -period / 2).astype(np.int8) - (distances > period / 2)
    return columns + period * turns


def _locate_view(info: RasterInfo, view: MapView) -> RasterPlaces:
    """Locate the pixels of a map: some exactly, and those between by interpolation where that is exact enough."""

    def find_lon_lat(columns: NDArray[Any], rows: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
        x, y = view.compute_x(columns), view.compute_y(rows)
        if not view.frame.is_cylindrical:
            x, y = np.broadcast_arrays(x, y)
        return _convert_axes(view.frame.convert_to_lon_lat, x, y)

    shape = view.height, view.width
    if view.frame.is_cylindrical and info.frame.is_cylindrical:
        lon, lat = find_lon_lat(np.arange(view.width)[np.newaxis, :], np.arange(view.height)[:, np.newaxis])
        columns, rows = _locate_places(info, lon, lat)
        return RasterPlaces(_move_columns_together(info, columns, _find_middle(columns)), rows, shape)
    cells = [-(-size // (2 * NODE_STEP)) for size in shape]
    node_rows, node_columns = (NODE_STEP * np.arange(2 * count + 1) for count in cells)
    lon, lat = find_lon_lat(node_columns[np.newaxis, :], node_rows[:, np.newaxis])
    columns, rows = _locate_places(info, lon, lat)
    middle = _find_middle(columns)
    places = np.stack([_move_columns_together(info, columns, middle), rows])
    with np.errstate(invalid="ignore"):
        predicted = np.stack([_interpolate_nodes(axis[::2, ::2], 2, axis[1:, 1:].shape) for axis in places])
        errors = np.hypot(*(predicted - places[:, :-1, :-1]))
        pixel_size = np.fmin(
            *(np.hypot(*np.diff(places, axis=axis))[: 2 * cells[0], : 2 * cells[1]] for axis in (1, 2))
        )
        is_exact = errors * NODE_STEP <= MAX_PREDICTION_ERROR_PIXELS * pixel_size
    # a cell is exact enough if this is so of all its nodes
    is_exact = is_exact.reshape(cells[0], 2, cells[1], 2).all(axis=(1, 3))
    if lon.shape == lat.shape:
        is_off_body = ~np.isfinite(lon) | ~np.isfinite(lat)
        for axis in (0, 1):  # cells all of whose nodes are beside the body show nothing of it
            count = is_off_body.shape[axis]
            first, between, last = (is_off_body.take(range(start, count - 2 + start, 2), axis) for start in range(3))
            is_off_body = first & between & last
        is_exact |= is_off_body
    node_places = RasterPlaces(places[0], places[1], shape, NODE_STEP)
    if is_exact.all():
        return node_places
    is_other = (~is_exact).repeat(2 * NODE_STEP, 0).repeat(2 * NODE_STEP, 1)[: view.height, : view.width]
    other_pixels = np.flatnonzero(is_other)
    other_rows, other_columns = np.divmod(other_pixels, view.width)
    found = _locate_places(info, *find_lon_lat(other_columns[np.newaxis, :], other_rows[np.newaxis, :]))
    other_places = np.stack([_move_columns_together(info, found[0][0], middle), found[1][0]])
    return replace(node_places, other_pixels=other_pixels, other_places=other_places)


def _interpolate_nodes(nodes: NDArray[Any], step: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Interpolate along both axes: `step` places from each node to the next one; the first ones of a shape."""
    if step == 1:
        return nodes
    shares = (np.arange(step) / step).astype(nodes.dtype)
    wide = (nodes[:, 1:] - nodes[:, :-1])[..., np.newaxis] * shares
    wide += nodes[:, :-1, np.newaxis]
    wide = wide.reshape(len(nodes), -1)[:, : shape[1]]
    # numpy needs less time for long rows than for few shares
    places: NDArray[Any] = (wide[1:] - wide[:-1])[:, np.newaxis] * shares[:, np.newaxis]
    places += wide[:-1, np.newaxis]
    return places.reshape(-1, wide.shape[1])[: shape[0]]


def _sample_raster(info: RasterInfo, places: RasterPlaces, *, is_smooth: bool, keeps_rows: bool = False) -> Samples:
    ends = places.find_ends()
    if ends is None:
        return np.zeros((len(info.bands), *places.shape)), np.zeros(places.shape, dtype=bool)
    level, window, shape = _choose_window(info, places, ends, keeps_rows=keeps_rows)
    values, is_valid = read_window(info, level, window, shape)
    left, top, width, height = window
    scales = shape[0] / height, shape[1] / width
    turn = level.width * scales[1] if info.is_whole_turn else None
    places = places.scale_and_shift(
        (level.height / info.height * scales[0], level.width / info.width * scales[1]),
        (top * scales[0] + 0.5, left * scales[1] + 0.5),
    )
    if places.is_separable:
        return _sample_separable_places(values, is_valid, places, turn, is_smooth=is_smooth)
    pixels = _combine_pixels(values, is_valid) if is_smooth else np.moveaxis(values, 0, 2)
    samples = np.empty((*places.shape, len(values)), dtype=pixels.dtype)
    has_data = np.empty(places.shape, dtype=bool)
    for first, columns, rows in places.iterate_strips():
        is_shown = np.isfinite(columns)
        if not is_shown.all():
            columns[~is_shown] = rows[~is_shown] = 0
        if turn is not None:
            _move_to_nearer_end(columns, shape[1], turn)
        strip = slice(first, first + len(rows))
        if is_smooth:
            found = _interpolate_bilinearly(pixels, columns, rows)
            samples[strip], has_data[strip] = _divide_by_weights(found, len(values))
        else:
            indices = _round_to_indices(rows, shape[0]), _round_to_indices(columns, shape[1])
            samples[strip], has_data[strip] = pixels[indices], is_valid[indices]
        has_data[strip] &= is_shown
    return np.moveaxis(samples, 2, 0), has_data


def _sample_separable_places(
    values: NDArray[Any], is_valid: NDArray[np.bool_], places: RasterPlaces, turn: float | None, *, is_smooth: bool
) -> Samples:
    """Find values at places whose columns and rows are independent."""
    columns, rows = places.columns[0].copy(), places.rows[:, 0]
    is_shown = np.isfinite(rows)[:, np.newaxis] & np.isfinite(columns)
    columns, rows = np.nan_to_num(columns), np.nan_to_num(rows)
    if turn is not None:
        _move_to_nearer_end(columns, values.shape[2], turn)
    if not is_smooth:
        row_index = _round_to_indices(rows, values.shape[1])[:, np.newaxis]
        column_index = _round_to_indices(columns, values.shape[2])
        return values[:, row_index, column_index], is_shown & is_valid[row_index, column_index]
    pixels = _combine_pixels(values, is_valid)
    pixels = _interpolate_axis(_interpolate_axis(pixels, rows, 0), columns, 1)
    samples, has_data = _divide_by_weights(pixels, len(values))
    return np.moveaxis(samples, 2, 0), is_shown & has_data


def _round_to_indices(positions: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Return the numbers of the pixels in which positions are."""
    return np.clip((positions + 0.5).astype(np.intp), 0, count - 1)


def _move_to_nearer_end(columns: NDArray[Any], count: int, turn: float) -> None:
    """Move places beyond the columns that were read by a turn, if they are nearer to these then.

    Every n-th column is read, so that up to n columns at the seam may be left out.
    """
    half_gap = max(turn - (count - 1), 0) / 2
    for is_nearer, shift in ((columns > count - 1 + half_gap, -turn), (columns < -half_gap, turn)):
        if is_nearer.any():
            columns[is_nearer] += shift


def _choose_window(
    info: RasterInfo, places: RasterPlaces, ends: Sequence[tuple[float, float]], *, keeps_rows: bool = False
) -> tuple[RasterLevel, tuple[int, int, int, int], tuple[int, int]]:
    """Choose the level, window and shape with which `read_window` reads all places."""
    row_step, column_step = _measure_max_row_column_steps(places) if keeps_rows else _measure_pixel_steps(places)
    level = info.levels[0]
    for smaller_level in info.levels[1:]:
        if info.width / smaller_level.width <= min(row_step, column_step) * 1.001:
            level = smaller_level
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
    return level, (left, top, right - left, bottom - top), shape


def _match_stride_to_seam(left: int, right: int, stride: int, turn: int) -> tuple[int, int]:
    """Move both ends so that every n-th column is as far from the next one across the seam, which is at 0 or `turn`."""
    seam = turn if left >= 0 and right > turn else 0
    left -= (left - seam) % stride
    if left < 0 < seam:  # it would cross both seams
        left += stride
    count = min(-(-(right - left) // stride), (seam + turn - left) // stride)
    return left, left + count * stride


def _add_interpolation_margins(ends: tuple[float, float], scale: float, stride: int, size: float) -> tuple[int, int]:
    """Find the first and last pixel that interpolation needs; around a body, there are pixels beyond all ends.

    No pixel more is read: it may be in another block of the file, all of which would be decompressed.
    """
    margin = stride / 2 - MARGIN_TOLERANCE_PIXELS
    first, last = math.floor(ends[0] * scale - margin), math.ceil(ends[1] * scale + margin)
    if math.isinf(size):
        return first, last
    return max(first, 0), min(last, int(size))


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
        steps.append(_find_finite_median(distances, 1.0))
    if places.is_separable:
        return steps[0], steps[1]
    return min(steps) / places.node_step, min(steps) / places.node_step


def _measure_max_row_column_steps(places: RasterPlaces) -> tuple[float, float]:
    """Measure how many rows and how many columns are between neighbours; the larger medians of both directions."""
    steps = []
    for array in (places.rows, places.columns):
        medians = [_find_finite_median(np.abs(_sample_neighbour_differences(array, axis)), 0.0) for axis in (0, 1)]
        steps.append(max(places.node_step, *medians) / places.node_step)
    return steps[0], steps[1]


def _find_finite_median(numbers: FloatArray, default: float) -> float:
    """Find the median of those numbers that are finite; without any, a default."""
    finite = numbers[np.isfinite(numbers)]
    return float(np.median(finite)) if finite.size else default


def _sample_neighbour_differences(array: FloatArray, axis: int) -> FloatArray:
    """Compute the differences of some neighbours along an axis."""
    step = 8 if min(array.shape) > 16 else 1
    if axis == 0:
        first, second = array[:-1:step, ::step], array[1::step, ::step]
    else:
        first, second = array[::step, :-1:step], array[::step, 1::step]
    return second - first


def _combine_pixels(values: NDArray[Any], is_valid: NDArray[np.bool_]) -> NDArray[Any]:
    """Put the bands of each pixel beside each other, which are copied together; weights follow if there are gaps."""
    pixels = np.stack(list(values), 2).astype(np.result_type(values.dtype, np.float32))
    if is_valid.all():
        return pixels
    weights = is_valid[..., np.newaxis].astype(pixels.dtype)
    return np.concatenate([np.where(is_valid[..., np.newaxis], pixels, 0), weights], 2)


def _divide_by_weights(pixels: NDArray[Any], band_count: int) -> tuple[NDArray[Any], NDArray[np.bool_] | bool]:
    """Return the values of pixels, and which of them have data: those without data do not count."""
    if pixels.shape[2] == band_count:
        return pixels, True
    weights = pixels[..., -1:]
    return pixels[..., :-1] / np.where(weights > 0, weights, 1), weights[..., 0] >= 0.5


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


def _interpolate_bilinearly(pixels: NDArray[Any], columns: Float32Array, rows: Float32Array) -> NDArray[Any]:
    """Interpolate linearly between the four pixels around each place; columns and rows are overwritten."""
    if min(pixels.shape[:2]) < 2:
        pixels = np.pad(pixels, ((0, 1), (0, 1), (0, 0)), mode="edge")
    height, width, bands = pixels.shape
    pixels = pixels.reshape(-1, bands)
    left, top = np.clip(np.floor(columns), 0, width - 2), np.clip(np.floor(rows), 0, height - 2)
    indices = top.astype(np.intp)
    indices *= width
    indices += left.astype(np.intp)
    columns -= left
    rows -= top
    for weights in (columns, rows):
        np.clip(weights, 0, 1, out=weights)
    upper, lower = (
        _interpolate_into_second_array(
            pixels[step:].take(indices, 0), pixels[step + 1 :].take(indices, 0), columns[..., np.newaxis]
        )
        for step in (0, width)
    )
    return _interpolate_into_second_array(upper, lower, rows[..., np.newaxis])


def _interpolate_into_second_array(first: NDArray[Any], second: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Combine two arrays by the weights of the second one, which is overwritten."""
    second -= first
    second *= weights
    second += first
    return second

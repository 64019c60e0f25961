"""Views of arrays: an image of two axes, a depth axis, and the other axes at a fixed pixel.

A view reads slices, spectra and means.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import ArrayPart
from hven.model.errors import HvenError, ParamError, SourceError, TimeLimitError, TooLargeError, format_message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media import Axis, OpenProductFile

    Floats = npt.NDArray[np.floating[Any]]
    Box = tuple[int, int, int, int]

CHUNK_BYTES = 8 << 20  # bytes that are read at a time
MAX_READ_BYTES = 1 << 30  # bytes of the file that are read for one response
READ_TIMEOUT_SECONDS = 20.0  # time limit of reading for one response
GRID_POINTS = 17  # grid points along each side of an image
MAX_AXIS_VALUES = 200_000  # pixels of an axis whose values are listed
MAX_RELATED_PARTS = 6  # parts whose spectra are returned together
DEPTH_AXIS_KINDS = ("spectral", "time", "polarization")


@dataclass(frozen=True)
class CubeView:
    """An array, and how it is viewed.

    Attributes
    ----------
    array
        An array with at least two axes.
    depth_axis
        Index of the axis of the slices, in C order; None for an image.
    held_pixels
        Index of an axis -> its fixed pixel, from 0.
    """

    array: ArrayPart
    depth_axis: int | None
    held_pixels: Mapping[int, int]

    @cached_property
    def image_axes(self) -> tuple[int, int]:
        """Indices of the axes of the image: y and x, of which x changes faster."""
        axes = self.array.axes
        free_axes = [index for index in range(len(axes)) if index != self.depth_axis]
        sky_axes = [index for index in free_axes if axes[index].kind in {"longitude", "latitude"}]
        if len(sky_axes) == 2:
            return sky_axes[0], sky_axes[1]
        plain_axes = [index for index in free_axes if axes[index].kind not in DEPTH_AXIS_KINDS]
        wide_axes = [index for index in plain_axes if axes[index].size > 1]
        for candidates in (wide_axes, plain_axes, free_axes):
            if len(candidates) >= 2:
                return candidates[-2], candidates[-1]
        raise IndexError("an image needs two axes")

    @property
    def depth(self) -> int:
        """Number of slices."""
        if self.depth_axis is None:
            return 1
        return self.array.shape[self.depth_axis]

    @property
    def height(self) -> int:
        """Pixels along y."""
        return self.array.shape[self.image_axes[0]]

    @property
    def width(self) -> int:
        """Pixels along x."""
        return self.array.shape[self.image_axes[1]]

    def read_box(self, slice_range: tuple[int, int], box: Box) -> npt.NDArray[Any]:
        """Read some slices of a box (x from, x to, y from, y to; from 0, ends excluded): shape (slices, y, x)."""
        y_axis, x_axis = self.image_axes
        x_start, x_stop, y_start, y_stop = box
        selection = []
        for index in range(len(self.array.axes)):
            pixel = self.held_pixels.get(index, 0)
            selection.append(slice(pixel, pixel + 1))
        selection[x_axis] = slice(x_start, x_stop)
        selection[y_axis] = slice(y_start, y_stop)
        last_axes = [y_axis, x_axis]
        if self.depth_axis is not None:
            selection[self.depth_axis] = slice(*slice_range)
            last_axes.insert(0, self.depth_axis)
        values = self.array.read(tuple(selection))
        other_axes = [index for index in range(values.ndim) if index not in last_axes]
        slice_count = slice_range[1] - slice_range[0]
        slices = values.transpose(*other_axes, *last_axes)
        return slices.reshape(slice_count, y_stop - y_start, x_stop - x_start)

    def read_tile(self, slice_index: int, box: Box, max_side: int) -> npt.NDArray[Any]:
        """Read a slice, with a step between pixels where it has more than `max_side` along a side."""
        x_start, x_stop, y_start, y_stop = box
        width = x_stop - x_start
        height = y_stop - y_start
        self.check_read_size(width * height)
        step = max(1, -(-max(width, height) // max_side))
        row_bytes = width * self.array.dtype.itemsize
        time_limit = ReadTimeLimit()
        rows_per_read = 1
        if row_bytes * step <= CHUNK_BYTES:
            rows_per_read = max(1, CHUNK_BYTES // row_bytes // step) * step
        rows = []
        for start in range(y_start, y_stop, max(rows_per_read, step)):
            time_limit.check_time()
            part_box = (x_start, x_stop, start, min(start + rows_per_read, y_stop))
            part = self.read_box((slice_index, slice_index + 1), part_box)
            rows.append(part[0, ::step, ::step].copy())
        return np.concatenate(rows)

    def read_spectrum(self, x: int, y: int) -> npt.NDArray[Any]:
        """Read all values of a pixel, in the unit of the file: shape (depth,)."""
        pixel_box = (x, x + 1, y, y + 1)
        values = self.read_box((0, self.depth), pixel_box)
        return values[:, 0, 0]

    def compute_region_statistics(
        self, box: Box, is_inside: npt.NDArray[np.bool_]
    ) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
        """Compute the statistics of the pixels of a box that are `is_inside` (shape of the box).

        Returns
        -------
        means, deviations, counts
            Means, standard deviations and numbers of values of each slice.
        """
        pixel_count = is_inside.size
        time_limit = ReadTimeLimit()
        self.check_read_size(pixel_count * self.depth)
        slices_per_read = max(1, CHUNK_BYTES // (pixel_count * self.array.dtype.itemsize))
        means = np.full(self.depth, np.nan)
        deviations = np.full(self.depth, np.nan)
        counts = np.zeros(self.depth, np.int64)
        for start in range(0, self.depth, slices_per_read):
            time_limit.check_time()
            end = min(start + slices_per_read, self.depth)
            box_values = self.read_box((start, end), box)
            values = box_values[:, is_inside].astype(np.float64)
            is_missing = ~np.isfinite(values)
            has_gaps = bool(is_missing.any())
            slice_counts = len(values[0]) - is_missing.sum(1)
            counts[start:end] = slice_counts
            divisors = np.where(slice_counts, slice_counts, np.nan)
            with np.errstate(all="ignore"):
                if has_gaps:
                    values[is_missing] = 0.0
                slice_means = values.sum(1) / divisors
                means[start:end] = slice_means
                values -= slice_means[:, None]
                if has_gaps:
                    values[is_missing] = 0.0
                square_sums = np.einsum("ij,ij->i", values, values)
                deviations[start:end] = np.sqrt(square_sums / divisors)
        return means, deviations, counts

    def check_read_size(self, pixel_count: int) -> None:
        """Refuse to read more than `MAX_READ_BYTES`."""
        byte_count = pixel_count * self.array.dtype.itemsize
        if byte_count > MAX_READ_BYTES:
            message = format_message(
                "the request would read {size} MB of the file; the limit is {most} MB",
                byte_count // 10**6,
                MAX_READ_BYTES // 10**6,
            )
            raise TooLargeError(message, remedy=format_message("request a smaller region"))

    def _create_sky_mapping(self) -> Any:
        """Return the mapping of pixels to positions; None if the array has none."""
        if self.array.create_sky_mapping is None:
            return None
        return self.array.create_sky_mapping()

    def find_pixel_position(self, x: int, y: int) -> list[float] | None:
        """Return longitude and latitude of a pixel's centre, in degrees; None if it has no position."""
        sky_mapping = self._create_sky_mapping()
        if sky_mapping is None:
            return None
        pixel = np.array([[x + 1.0, y + 1.0]])
        position = sky_mapping(pixel)[0]
        if not np.isfinite(position).all():
            return None
        coordinates: list[float] = position.tolist()
        return coordinates

    def describe_view(self) -> dict[str, Any]:
        """Describe the view, and the positions of its pixels."""
        axis_count = len(self.array.axes)
        y_axis, x_axis = self.image_axes
        sky_mapping = self._create_sky_mapping()
        grid = None
        if sky_mapping is not None:
            xs = np.linspace(1.0, self.width, GRID_POINTS)
            ys = np.linspace(1.0, self.height, GRID_POINTS)
            x_grid, y_grid = np.meshgrid(xs, ys)
            pixels = np.stack([x_grid.ravel(), y_grid.ravel()], 1)
            lon, lat = sky_mapping(pixels).T
            kind = sky_mapping.image_axes.kind
            if kind == "sky":
                frame = "ICRS"
            else:
                frame = sky_mapping.image_axes.frame
            grid = {"x": xs, "y": ys, "lon": lon, "lat": lat, "kind": kind, "frame": frame}
        return {
            "image": [axis_count - x_axis, axis_count - y_axis],
            "through": None if self.depth_axis is None else axis_count - self.depth_axis,
            "width": self.width,
            "height": self.height,
            "depth": self.depth,
            "places": grid,
        }


class NoCubeError(SourceError):
    """A file has no image and no cube."""


class ReadTimeLimit:
    """Time limit for reading."""

    def __init__(self) -> None:
        self.end_time = time.monotonic() + READ_TIMEOUT_SECONDS

    def check_time(self) -> None:
        """Raise after `READ_TIMEOUT_SECONDS`."""
        if time.monotonic() > self.end_time:
            message = format_message("reading the file took longer than {seconds} s", READ_TIMEOUT_SECONDS)
            raise TimeLimitError(message, remedy=format_message("request a smaller region"))


def to_float32(values: npt.NDArray[Any]) -> Floats:
    """Convert to little-endian float32; values that are too large become infinite."""
    with np.errstate(over="ignore"):
        return values.astype("<f4")


def build_cube_view(
    product: OpenProductFile, part: str | None, depth_axis: int | None, held_pixels: Mapping[int, int]
) -> CubeView:
    """Build the view of a part; numbers of axes and pixels count from 1, as in FITS."""
    array = _find_viewed_array(product, part)
    if array is None:
        raise NoCubeError(format_message("the file contains neither an image nor a cube"))
    axes = array.axes
    axis_numbers = [("AT", number) for number in held_pixels]
    if depth_axis is not None:
        axis_numbers.insert(0, ("THROUGH", depth_axis))
    for name, number in axis_numbers:
        if not 1 <= number <= len(axes):
            message = format_message("axis {number} does not exist: the array has {count} axes", number, len(axes))
            raise ParamError(message, name=name)
    depth_index = None
    if len(axes) > 2:
        if depth_axis is None:
            depth_index = _choose_depth_axis(axes)
        else:
            depth_index = len(axes) - depth_axis
    fixed_pixels = {}
    for number, pixel in held_pixels.items():
        axis_index = len(axes) - number
        axis_size = axes[axis_index].size
        if not 1 <= pixel <= axis_size:
            message = format_message(
                "pixel {pixel} does not exist: axis {number} has {size} pixels", pixel, number, axis_size
            )
            raise ParamError(message, name="AT")
        fixed_pixels[axis_index] = pixel - 1
    return CubeView(array, depth_index, fixed_pixels)


def _find_viewed_array(product: OpenProductFile, part: str | None) -> ArrayPart | None:
    """Find the array of a part; without a part, data with three long axes are preferred."""
    if part is not None:
        named_part = product.find_part(part)
        if isinstance(named_part, ArrayPart) and len(named_part.axes) > 1:
            return named_part
        return None
    arrays = list_viewable_arrays(product)
    if not arrays:
        return None

    def rank_array(array: ArrayPart) -> tuple[bool, bool]:
        long_axis_count = sum(size > 1 for size in array.shape)
        return (array.role != "data", long_axis_count < 3)

    return min(arrays, key=rank_array)


def _choose_depth_axis(axes: Sequence[Axis]) -> int:
    """Choose the axis of the slices: by its kind, else the first long axis that is not on the sky."""
    sky_axes = {index for index, axis in enumerate(axes) if axis.kind in {"longitude", "latitude"}}
    free_axes = list(range(len(axes)))
    if len(sky_axes) == 2:
        free_axes = [index for index in free_axes if index not in sky_axes]
    long_axes = [index for index in free_axes if axes[index].size > 1]
    kinds = list(DEPTH_AXIS_KINDS)
    has_plain_axis = any(axis.size > 1 and axis.kind not in DEPTH_AXIS_KINDS for axis in axes)
    if not has_plain_axis:
        kinds.reverse()  # a dynamic spectrum is an image of times and frequencies
    for kind in kinds:
        for index in long_axes:
            if axes[index].kind == kind:
                return index
    if long_axes:
        return long_axes[0]
    return free_axes[0]


def list_viewable_arrays(product: OpenProductFile) -> list[ArrayPart]:
    """List the arrays that can be viewed; of two parts with the same cells, the one that has more metadata."""
    source_indexes = {array.source_part_index for array in product.arrays}
    arrays = [array for array in product.arrays if len(array.axes) > 1]
    return [array for array in arrays if array.index not in source_indexes]


def list_related_arrays(product: OpenProductFile, array: ArrayPart) -> list[ArrayPart]:
    """List the part itself and others with its grid: errors, flags, coverage."""
    other_arrays = [other for other in list_viewable_arrays(product) if other is not array]
    same_grid_arrays = [other for other in other_arrays if other.shape == array.shape]
    return [array, *same_grid_arrays][:MAX_RELATED_PARTS]


def describe_array(array: ArrayPart) -> dict[str, Any]:
    """Describe a part; axes are in the order of FITS."""
    axis_count = len(array.axes)
    axes = []
    for axis_index, axis in reversed(list(enumerate(array.axes))):
        axes.append({"number": axis_count - axis_index, **_describe_axis(axis)})
    return {
        "index": array.index,
        "name": array.name,
        "role": array.role,
        "unit": array.unit or "",
        "type": array.dtype.name,
        "axes": axes,
    }


def _describe_axis(axis: Axis) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": axis.name,
        "kind": axis.kind,
        "size": axis.size,
        "unit": axis.unit or "",
        "values": None,
    }
    if axis.read_values is None or axis.size > MAX_AXIS_VALUES:
        return facts
    try:
        return {**facts, **_read_axis_values(axis)}
    except HvenError as fault:
        return {**facts, "fault": str(fault)}


def _read_axis_values(axis: Axis) -> dict[str, Any]:
    """Return the values of the file; if they are not known, those in standard units."""
    if axis.read_file_values is not None:
        return {"values": axis.read_file_values()}
    assert axis.read_values is not None  # noqa: S101  (the caller has checked it)
    unit = {"spectral": "m", "time": "d"}.get(axis.kind, axis.unit or "")
    return {"values": axis.read_values().tolist(), "unit": unit}

"""A cube: an array as a person looks at it.

An image of two of its axes, one that is gone through, the others held at a pixel. Slices, spectra, means.
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
    from collections.abc import Mapping

    import numpy.typing as npt

    from hven.formats.media import Axis, Product

    Floats = npt.NDArray[np.floating[Any]]
    Box = tuple[int, int, int, int]

CHUNK_BYTES = 8 << 20  # bytes that are read at a time
MAX_READ_BYTES = 1 << 30  # bytes of the file that an answer reads
READ_TIMEOUT_SECONDS = 20.0  # that it reads for
GRID_POINTS = 17  # places along each side of an image
MAX_AXIS_VALUES = 200_000  # pixels of an axis whose values are told
MAX_RELATED_PARTS = 6  # parts whose spectra are given together
DEPTH_AXIS_KINDS = ("spectral", "time", "polarization")


@dataclass(frozen=True)
class CubeView:
    """An array, and how it is looked at.

    Attributes
    ----------
    array
        With two axes or more.
    depth_axis
        Index of the axis that is gone through, in the order of C; None: it is an image.
    held_pixels
        Index of an axis -> its pixel, from 0.
    """

    array: ArrayPart
    depth_axis: int | None
    held_pixels: Mapping[int, int]

    @cached_property
    def image_axes(self) -> tuple[int, int]:
        """Indices of the axes of the image: y and x, of which x changes faster."""
        axes = self.array.axes
        named = [
            axis_index
            for axis_index, axis in enumerate(axes)
            if axis.kind in {"longitude", "latitude"} and axis_index != self.depth_axis
        ]
        if len(named) != 2:
            free = [axis_index for axis_index in range(len(axes)) if axis_index != self.depth_axis]
            plain = [axis_index for axis_index in free if axes[axis_index].kind not in DEPTH_AXIS_KINDS]
            wide = [axis_index for axis_index in plain if axes[axis_index].size > 1]
            named = next((candidates for candidates in (wide, plain, free) if len(candidates) >= 2), free)[-2:]
        return named[0], named[1]

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
        """Read some slices of a box (x from, x to, y from, y to; from 0, the ends not in it): shape (slices, y, x)."""
        slice_selection = [
            slice(self.held_pixels.get(axis_index, 0), self.held_pixels.get(axis_index, 0) + 1)
            for axis_index in range(len(self.array.axes))
        ]
        y, x = self.image_axes
        slice_selection[x], slice_selection[y] = slice(box[0], box[1]), slice(box[2], box[3])
        if self.depth_axis is not None:
            slice_selection[self.depth_axis] = slice(*slice_range)
        values = self.array.read(tuple(slice_selection))
        first = () if self.depth_axis is None else (self.depth_axis,)
        remaining_axes = [axis_index for axis_index in range(values.ndim) if axis_index not in {*first, y, x}]
        return values.transpose(*remaining_axes, *first, y, x).reshape(
            slice_range[1] - slice_range[0], box[3] - box[2], box[1] - box[0]
        )

    def read_tile(self, slice_index: int, box: Box, max_side: int) -> npt.NDArray[Any]:
        """Read a slice, each n-th of its pixels where it has more than `max_side` along a side."""
        width = box[1] - box[0]
        height = box[3] - box[2]
        self.check_read_size(width * height)
        step = max(1, -(-max(width, height) // max_side))
        row = width * self.array.dtype.itemsize
        clock = ReadTimeLimit()
        if row * step <= CHUNK_BYTES:
            rows_per_read = max(1, CHUNK_BYTES // row // step) * step
        else:
            rows_per_read = 1
        rows = []
        for start in range(box[2], box[3], max(rows_per_read, step)):
            clock.check_time()
            part = self.read_box(
                (slice_index, slice_index + 1), (box[0], box[1], start, min(start + rows_per_read, box[3]))
            )
            rows.append(part[0, ::step, ::step].copy())
        return np.concatenate(rows)

    def read_spectrum(self, x: int, y: int) -> npt.NDArray[Any]:
        """Read all values of a pixel, as the file means them: shape (depth,)."""
        box = self.read_box((0, self.depth), (x, x + 1, y, y + 1))
        return box[:, 0, 0]

    def compute_region_statistics(
        self, box: Box, is_inside: npt.NDArray[np.bool_]
    ) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
        """Average those pixels of a box that are `is_inside` (shape of the box).

        Means, standard deviations, numbers of values, of each slice.
        """
        plane = is_inside.size
        clock = ReadTimeLimit()
        self.check_read_size(plane * self.depth)
        slices_per_read = max(1, CHUNK_BYTES // (plane * self.array.dtype.itemsize))
        means = np.full(self.depth, np.nan)
        spreads = np.full(self.depth, np.nan)
        counts = np.zeros(self.depth, np.int64)
        for start in range(0, self.depth, slices_per_read):
            clock.check_time()
            end = min(start + slices_per_read, self.depth)
            values = self.read_box((start, end), box)[:, is_inside].astype(np.float64)
            lost = ~np.isfinite(values)
            number = counts[start:end] = len(values[0]) - lost.sum(1)
            has_gaps = bool(lost.any())
            with np.errstate(all="ignore"):
                if has_gaps:
                    values[lost] = 0.0
                middle = means[start:end] = values.sum(1) / np.where(number, number, np.nan)
                values -= middle[:, None]
                if has_gaps:
                    values[lost] = 0.0
                spreads[start:end] = np.sqrt(np.einsum("ij,ij->i", values, values) / np.where(number, number, np.nan))
        return means, spreads, counts

    def check_read_size(self, pixel_count: int) -> None:
        """Refuse what reads too much."""
        size = pixel_count * self.array.dtype.itemsize
        if size > MAX_READ_BYTES:
            raise TooLargeError(
                format_message(
                    "this would read {size} MB of the file, and {most} MB at most are read at once",
                    size // 10**6,
                    MAX_READ_BYTES // 10**6,
                ),
                remedy=format_message("ask for a smaller region"),
            )

    def find_pixel_position(self, x: int, y: int) -> list[float] | None:
        """Return longitude and latitude of a pixel's centre, degrees."""
        if self.array.create_sky_mapping is not None:
            places = self.array.create_sky_mapping()
        else:
            places = None
        if places is None:
            position = None
        else:
            position = places(np.array([[x + 1.0, y + 1.0]]))[0]
        return position.tolist() if position is not None and np.isfinite(position).all() else None

    def describe_view(self) -> dict[str, Any]:
        """Tell how it is looked at, and where its pixels are."""
        count, (y, x) = len(self.array.axes), self.image_axes
        if self.array.create_sky_mapping is not None:
            places = self.array.create_sky_mapping()
        else:
            places = None
        grid = None
        if places is not None:
            xs = np.linspace(1.0, self.width, GRID_POINTS)
            ys = np.linspace(1.0, self.height, GRID_POINTS)
            lon, lat = places(np.stack([grid_axis.ravel() for grid_axis in np.meshgrid(xs, ys)], 1)).T
            frame = {
                "kind": places.image_axes.kind,
                "frame": "ICRS" if places.image_axes.kind == "sky" else places.image_axes.frame,
            }
            grid = {"x": xs, "y": ys, "lon": lon, "lat": lat, **frame}
        if self.depth_axis is None:
            through = None
        else:
            through = count - self.depth_axis
        return {
            "image": [count - x, count - y],
            "through": through,
            "width": self.width,
            "height": self.height,
            "depth": self.depth,
            "places": grid,
        }


class NoCubeError(SourceError):
    """A file has nothing that is gone through."""


class ReadTimeLimit:
    """Ends what takes too long."""

    def __init__(self) -> None:
        self.end_time = time.monotonic() + READ_TIMEOUT_SECONDS

    def check_time(self) -> None:
        """Raise after `READ_TIMEOUT_SECONDS`."""
        if time.monotonic() > self.end_time:
            raise TimeLimitError(
                format_message("reading the file took longer than {seconds} s", READ_TIMEOUT_SECONDS),
                remedy=format_message("ask for a smaller region"),
            )


def to_float32(values: npt.NDArray[Any]) -> Floats:
    """Return little-endian float32; what is too great becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype("<f4")


def build_cube_view(
    product: Product, part: str | None, depth_axis: int | None, held_pixels: Mapping[int, int]
) -> CubeView:
    """Find how a part is looked at; numbers of axes and pixels count from 1, as FITS counts them."""
    if part is None:
        array = next(
            iter(
                sorted(
                    list_cube_arrays(product),
                    key=lambda candidate: (candidate.role != "data", sum(size > 1 for size in candidate.shape) < 3),
                )
            ),
            None,
        )
    else:
        named = product.find_part(part)
        if isinstance(named, ArrayPart) and len(named.axes) > 1:
            array = named
        else:
            array = None
    if array is None:
        raise NoCubeError(format_message("there is no image and no cube in it"))
    axes = array.axes
    for name, number in (("THROUGH", depth_axis), *(("AT", number) for number in held_pixels)):
        if number is not None and not 1 <= number <= len(axes):
            raise ParamError(
                format_message("the array has {count} axes, and no axis {number}", len(axes), number), name=name
            )
    if depth_axis is None:
        chosen = None
    else:
        chosen = len(axes) - depth_axis
    if depth_axis is None and len(axes) > 2:
        sphere = {held_pixels for held_pixels, axis in enumerate(axes) if axis.kind in {"longitude", "latitude"}}
        free_axes = [held_pixels for held_pixels in range(len(axes)) if held_pixels not in sphere or len(sphere) != 2]
        kinds = [
            next(
                (
                    held_pixels
                    for held_pixels in free_axes
                    if axes[held_pixels].kind == kind and axes[held_pixels].size > 1
                ),
                None,
            )
            for kind in DEPTH_AXIS_KINDS
        ]
        wide = [held_pixels for held_pixels in free_axes if axes[held_pixels].size > 1]
        if not any(
            axes[held_pixels].size > 1 and axes[held_pixels].kind not in DEPTH_AXIS_KINDS
            for held_pixels in range(len(axes))
        ):
            kinds.reverse()  # a dynamic spectrum is an image: of times and frequencies
        chosen = next((candidate for candidate in kinds if candidate is not None), wide[0] if wide else free_axes[0])
    if len(axes) == 2:
        chosen = None
    fixed_pixels = {}
    for number, pixel in held_pixels.items():
        index = len(axes) - number
        if not 1 <= pixel <= axes[index].size:
            raise ParamError(
                format_message("axis {number} has {size} pixels, and no {pixel}", number, axes[index].size, pixel),
                name="AT",
            )
        fixed_pixels[index] = pixel - 1
    return CubeView(array, chosen, fixed_pixels)


def list_cube_arrays(product: Product) -> list[ArrayPart]:
    """List the arrays that can be looked at; of two views of the same, the one that says more."""
    viewed_cells = {array_part.source_part_index for array_part in product.arrays}
    return [
        array_part for array_part in product.arrays if len(array_part.axes) > 1 and array_part.index not in viewed_cells
    ]


def list_related_arrays(product: Product, array: ArrayPart) -> list[ArrayPart]:
    """List the part itself and the others of its grid: errors, flags, coverage."""
    return [
        array,
        *(
            array_part
            for array_part in list_cube_arrays(product)
            if array_part is not array and array_part.shape == array.shape
        ),
    ][:MAX_RELATED_PARTS]


def describe_array(array: ArrayPart) -> dict[str, Any]:
    """Tell what a part is; axes in the order of FITS."""
    count = len(array.axes)
    return {
        "index": array.index,
        "name": array.name,
        "role": array.role,
        "unit": array.unit or "",
        "type": array.dtype.name,
        "axes": [
            {"number": count - axis_index, **_describe_axis(axis)}
            for axis_index, axis in reversed(list(enumerate(array.axes)))
        ],
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
    """Return the values as the file has them; where only what they stand for is known, that."""
    if axis.read_file_values is not None:
        return {"values": axis.read_file_values()}
    assert axis.read_values is not None  # noqa: S101  (asked for before)
    unit = {"spectral": "m", "time": "d"}.get(axis.kind, axis.unit or "")
    return {"values": axis.read_values().tolist(), "unit": unit}

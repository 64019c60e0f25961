"""Convert a selection (shapes on the sky, wavelengths, times, polarizations, pixels) to a window of an array."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hven.model.errors import ParamError, SourceError, format_message
from hven.model.sky import Circle, Polygon, Range, sphere

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from hven.formats.media import ArrayPart
    from hven.model.sky import Shape, footprints

    Numbers = npt.NDArray[np.float64]
    Interval = tuple[float, float]

angle, angles, vectors = sphere.measure_angles, sphere.to_lon_lat, sphere.to_unit_vectors
GRID_POINTS_PER_SIDE = 33  # points along each side of an image that are tested against a shape
FULL_CIRCLE_DEGREES = 360.0
EDGE_TOLERANCE_PIXELS = 1e-6  # of a pixel, within which an edge counts as rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoutSelection:
    """What is to be cut from an array; attributes that are not set do not cut.

    Attributes
    ----------
    shape
        Shape on the sky, degrees ICRS.
    longitude, latitude
        Ranges in degrees in the frame of the image itself: of a body, or of the Sun's disc (helioprojective).
    band
        Wavelengths in vacuum, m.
    time
        Times, MJD.
    polarizations
        Polarization states, in any order.
    pixels
        Number of an axis, as FITS counts (1 changes fastest) -> its first and last pixel, from 1.
    """

    shape: Shape | None = None
    longitude: Interval | None = None
    latitude: Interval | None = None
    band: Interval | None = None
    time: Interval | None = None
    polarizations: tuple[str, ...] = ()
    pixels: Mapping[int, Interval] = field(default_factory=dict)


def find_window(array: ArrayPart, selection: CutoutSelection) -> tuple[slice, ...] | None:
    """Find the smallest window that contains all selected pixels.

    Parameters
    ----------
    array
        Image, cube or spectrum, of any shape.
    selection
        What is selected.

    Returns
    -------
    window
        A slice with two ends for each axis, slowest axis first; None if the array has no selected pixel.

    Raises
    ------
    ParamError
        The array has no axis of the selected kind.
    SourceError
        The file does not describe its axes.
    """
    bounds = _WindowBounds(array)
    bounds.limit_pixels(selection.pixels)
    for name, interval, kind in (("BAND", selection.band, "spectral"), ("TIME", selection.time, "time")):
        if interval is not None:
            axis_number = _require_axis_number(array, kind, name)
            centres = _read_axis_values(array, axis_number, name)
            pixel_range = _find_pixels_in_interval(centres, interval)
            if pixel_range is None:
                return None
            bounds.limit_axis(axis_number, *pixel_range)
    if selection.polarizations:
        axis_number = _require_axis_number(array, "polarization", "POL")
        axis_values = _read_axis_values(array, axis_number, "POL")
        matching_pixels = np.isin(axis_values, selection.polarizations).nonzero()[0]
        if not len(matching_pixels):
            return None
        bounds.limit_axis(axis_number, float(matching_pixels.min()), float(matching_pixels.max() + 1))
    if selection.shape is not None or selection.longitude is not None or selection.latitude is not None:
        longitude_axis = _require_axis_number(array, "longitude", "POS")
        latitude_axis = _require_axis_number(array, "latitude", "POS")
        box = _find_pixel_bounds_of_region(
            _require_sky_mapping(array, selection),
            array.shape[longitude_axis],
            array.shape[latitude_axis],
            selection,
            is_swapped=longitude_axis < latitude_axis,
        )
        if box is None:
            return None
        bounds.limit_axis(longitude_axis, *box[0])
        bounds.limit_axis(latitude_axis, *box[1])
    return bounds.to_window()


class _WindowBounds:
    """The bounds of a window, in edges of pixels, which each condition narrows."""

    def __init__(self, array: ArrayPart) -> None:
        self._shape = array.shape
        self._low = np.zeros(len(array.axes))
        self._high = np.array(array.shape, np.float64)

    def limit_axis(self, axis_number: int, first: float, last: float) -> None:
        """Narrow the bounds of an axis."""
        self._low[axis_number] = max(self._low[axis_number], first)
        self._high[axis_number] = min(self._high[axis_number], last)

    def limit_pixels(self, pixels: Mapping[int, Interval]) -> None:
        """Narrow the bounds to pixels as FITS counts axes and pixels."""
        axis_count = len(self._shape)
        for number, (first, last) in pixels.items():
            if not 1 <= number <= axis_count:
                message = format_message("axis {number} does not exist: the array has {count} axes", number, axis_count)
                raise ParamError(message, name=f"PIXELS_{number}")
            first_edge, last_edge = -np.inf, np.inf
            if np.isfinite(first):
                first_edge = np.floor(first) - 1.0
            if np.isfinite(last):
                last_edge = np.ceil(last)
            self.limit_axis(axis_count - number, first_edge, last_edge)

    def to_window(self) -> tuple[slice, ...] | None:
        """Return the window; None if it is empty."""
        starts = np.clip(self._low, 0, self._shape).astype(int)
        stops = np.clip(self._high, 0, self._shape).astype(int)
        if (stops <= starts).any():
            return None
        return tuple(slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True))


def _require_sky_mapping(array: ArrayPart, selection: CutoutSelection) -> footprints.ImageWcs:
    """Return what maps pixels to directions; raise an error if the header does not place the image as selected."""
    sky_mapping = None
    if array.create_sky_mapping is not None:
        sky_mapping = array.create_sky_mapping()
    needs_sky = selection.shape is not None
    if sky_mapping is not None and (sky_mapping.image_axes.kind == "sky" or not needs_sky):
        return sky_mapping
    reason = format_message("the header of the image gives no coordinates for its pixels")
    if needs_sky:
        reason = format_message("the header of the image gives no position on the sky")
    raise ParamError(
        reason, name="POS", remedy=format_message("define the cut-out in pixels, with PIXELS_1 and PIXELS_2")
    )


def _require_axis_number(array: ArrayPart, axis_kind: str, param_name: str) -> int:
    for axis_number, axis in enumerate(array.axes):
        if axis.kind == axis_kind:
            return axis_number
    kinds = ", ".join(axis.kind or axis.name or "pixels" for axis in reversed(array.axes))
    message = format_message("{name} cannot cut the array, which has only these axes: {kinds}", param_name, kinds)
    raise ParamError(
        message, name=param_name, remedy=format_message("leave out {name}, or define the cut-out in pixels", param_name)
    )


def _read_axis_values(array: ArrayPart, axis_number: int, param_name: str) -> npt.NDArray[np.generic]:
    values = array.axes[axis_number].read_values
    if values is None:
        raise SourceError(
            format_message("{name} cannot cut the array: the file gives no coordinates for its pixels", param_name)
        )
    return values()


def _find_pixels_in_interval(centres: npt.NDArray[np.generic], interval: Interval) -> tuple[float, float] | None:
    """Find the pixels that an interval touches; each pixel reaches half-way to its neighbours."""
    values = np.asarray(centres, np.float64)
    is_finite = np.isfinite(values)
    if not is_finite.any():
        return None
    if len(values) > 1:
        gap = np.gradient(values) / 2.0
    else:
        gap = np.zeros(1)
    middle = (values[1:] + values[:-1]) / 2.0
    left_edges = np.concatenate([values[:1] - gap[:1], middle])
    right_edges = np.concatenate([middle, values[-1:] + gap[-1:]])
    low = np.fmin(left_edges, right_edges)
    high = np.fmax(left_edges, right_edges)
    slack = EDGE_TOLERANCE_PIXELS * np.abs(high - low)
    is_touched = is_finite & (high - slack >= interval[0]) & (low + slack <= interval[1])
    touched_pixels = is_touched.nonzero()[0]
    if not len(touched_pixels):
        return None
    return float(touched_pixels.min()), float(touched_pixels.max() + 1)


def _find_pixel_bounds_of_region(
    sky_mapping: footprints.ImageWcs, width: int, height: int, selection: CutoutSelection, *, is_swapped: bool
) -> tuple[Interval, Interval] | None:
    """Find the pixels of a shape, or of a range of longitudes and latitudes.

    Return ((left, right), (bottom, top)), the axis of longitudes first. The outline of the shape is drawn on the image,
    and a grid of pixels of the image is tested against the shape. The outline finds what is small; the grid finds what
    reaches beyond the image or has a pole in it.
    """
    size = (height, width) if is_swapped else (width, height)  # in the order of the axes of the file
    step = [np.linspace(0.5, n + 0.5, min(GRID_POINTS_PER_SIDE, n + 1)) for n in size]
    grid_axes = [axis_points.ravel() for axis_points in np.meshgrid(*step)]
    grid = np.stack(grid_axes, 1)
    lon, lat = sky_mapping(grid).T
    is_visible = np.isfinite(lon) & np.isfinite(lat)
    inside = np.zeros(len(grid), np.bool_)
    shape = selection.shape
    if shape is None or isinstance(shape, Range):
        longitude, latitude = _find_lon_lat_limits(selection)
        visible_lat = lat[is_visible]
        is_latitude_between = (visible_lat >= latitude[0]) & (visible_lat <= latitude[1])
        inside[is_visible] = _mask_longitudes_between(lon[is_visible], longitude) & is_latitude_between
        # the outline is drawn no further than the image reaches, for what is far away cannot be drawn
        lowest, highest = 0.0, 0.0
        if len(visible_lat):
            lowest, highest = visible_lat.min(), visible_lat.max()
        spread = 0.1 * (highest - lowest) + sky_mapping.scale
        drawn_latitude = np.clip(latitude, lowest - spread, highest + spread)
        edge = _compute_range_outline(longitude, tuple(drawn_latitude))
    else:
        inside[is_visible] = shape.contains(lon[is_visible], lat[is_visible])
        edge = _compute_shape_outline(shape)
    outline_pixels = sky_mapping.to_pixels(*edge.T)
    low, high = _find_outline_bounds(outline_pixels, edge, sky_mapping.scale, size)
    if inside.any():
        grid_spacing = np.zeros(2)
        if not np.isfinite(outline_pixels).all():
            # without an outline only the grid decides, and the shape may reach to its next line
            grid_spacing = np.array([axis_points[1] - axis_points[0] for axis_points in step])
        low = np.minimum(low, grid[inside].min(0) - grid_spacing)
        high = np.maximum(high, grid[inside].max(0) + grid_spacing)
    if np.isfinite(low).all():
        return _round_to_pixels(low, high, size, is_swapped)
    return None


def _find_lon_lat_limits(selection: CutoutSelection) -> tuple[Interval, Interval]:
    """Return the limits of longitude and latitude of a range, infinite where there are none."""
    shape = selection.shape
    if isinstance(shape, Range):
        return (shape.lon1, shape.lon2), (shape.lat1, shape.lat2)
    unlimited = (-np.inf, np.inf)
    return selection.longitude or unlimited, selection.latitude or unlimited


def _find_outline_bounds(
    outline_pixels: Numbers, outline: Numbers, scale: float, size: tuple[int, int]
) -> tuple[Numbers, Numbers]:
    """Return the bounds of the part of a closed line that lies on the image; infinite if no part does."""
    from shapely import bounds, box, intersection, is_empty, linestrings  # noqa: PLC0415  (few requests need it)

    a = outline_pixels
    b = np.roll(outline_pixels, -1, axis=0)
    next_outline = np.roll(outline, -1, axis=0)
    distances = angle(vectors(*outline.T), vectors(*next_outline.T))
    pixel_distances = distances / np.radians(max(scale, 1e-12))
    with np.errstate(invalid="ignore"):
        is_connected = np.linalg.norm(b - a, axis=1) <= 10.0 * pixel_distances + 10.0  # no line that jumps over a seam
    lines = linestrings(np.stack([a, b], 1)[is_connected])
    image_box = box(0.5, 0.5, size[0] + 0.5, size[1] + 0.5)
    clipped_lines = intersection(lines, image_box)
    line_bounds = bounds(clipped_lines[~is_empty(clipped_lines)])
    # a single point on the image makes no line
    is_inside = ((a >= 0.5) & (a <= np.array(size) + 0.5)).all(1)
    inside_points = a[is_inside]
    piece_bounds = np.concatenate([line_bounds, np.hstack([inside_points, inside_points])])
    if not len(piece_bounds):
        no_bound = np.full(2, np.inf)
        return no_bound, -no_bound
    return piece_bounds[:, :2].min(0), piece_bounds[:, 2:].max(0)


def _round_to_pixels(
    low: Numbers, high: Numbers, size: tuple[int, int], is_swapped: bool
) -> tuple[Interval, Interval] | None:
    first_edge = np.floor(low + 0.5 + EDGE_TOLERANCE_PIXELS) - 1.0
    first = np.clip(first_edge, 0, size)
    last = np.clip(np.ceil(high - 0.5 - EDGE_TOLERANCE_PIXELS), 0, size)
    last = np.maximum(last, np.minimum(first + 1.0, size))
    if (last <= first).any():
        return None
    x = (float(first[0]), float(last[0]))
    y = (float(first[1]), float(last[1]))
    if is_swapped:
        return (y, x)
    return (x, y)


def _mask_longitudes_between(lon: Numbers, interval: Interval) -> npt.NDArray[np.bool_]:
    """Return which longitudes lie between two, going east from the first."""
    west, east = interval
    if not np.isfinite(interval).all() or east - west >= FULL_CIRCLE_DEGREES:
        return np.ones(len(lon), np.bool_)
    return np.asarray((lon - west) % FULL_CIRCLE_DEGREES <= (east - west) % FULL_CIRCLE_DEGREES)


def _compute_range_outline(longitude: Interval, latitude: Interval) -> Numbers:
    """Draw the four sides of a range of longitudes and latitudes."""
    west, width = 0.0, FULL_CIRCLE_DEGREES
    if np.isfinite(longitude).all() and longitude[1] - longitude[0] < FULL_CIRCLE_DEGREES:
        west = longitude[0]
        width = (longitude[1] - west) % FULL_CIRCLE_DEGREES
    east = west + width
    south, north = np.clip(latitude, -90.0, 90.0)
    lon = np.linspace(west, east, 721)
    lat = np.linspace(south, north, 361)
    southern_side = np.stack([lon, np.full(721, south)], 1)
    eastern_side = np.stack([np.full(361, east), lat], 1)
    northern_side = np.stack([lon[::-1], np.full(721, north)], 1)
    western_side = np.stack([np.full(361, west), lat[::-1]], 1)
    return np.concatenate([southern_side, eastern_side, northern_side, western_side])


def _compute_shape_outline(shape: Shape) -> Numbers:
    """Draw the edge of a shape as points: lon, lat in degrees, shape (n, 2)."""
    if isinstance(shape, Circle):
        angles_around = np.linspace(0.0, 2.0 * np.pi, 720, endpoint=False)
        centre = vectors(shape.lon, shape.lat)
        lon = np.radians(shape.lon)
        east = np.array([-np.sin(lon), np.cos(lon), 0.0])
        north = np.cross(centre, east)
        directions = np.cos(angles_around)[:, None] * north + np.sin(angles_around)[:, None] * east
        radius = np.radians(shape.radius)
        circle_points = np.cos(radius) * centre + np.sin(radius) * directions
        return np.stack(angles(circle_points), 1)
    if not isinstance(shape, Polygon):
        raise ParamError(format_message("Hven cuts out only circles, ranges and polygons"), name="POS")
    a = vectors(shape.lons, shape.lats)
    b = np.roll(a, -1, axis=0)
    fractions = np.linspace(0.0, 1.0, 64, endpoint=False)[:, None]
    sides = [(1.0 - fractions) * start + fractions * end for start, end in zip(a, b, strict=True)]
    points = np.concatenate(sides)
    unit_vectors = points / np.linalg.norm(points, axis=1)[:, None]
    return np.stack(angles(unit_vectors), 1)

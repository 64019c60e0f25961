"""Which pixels are asked for: shapes on the sky, wavelengths, times, polarizations, pixels -> a window of an array."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hven.model.errors import ParamError, SourceError, format_message
from hven.model.sky import Circle, Polygon, Range, sphere

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from hven.formats.media._product import ArrayPart
    from hven.model.sky import Shape, footprints

    Numbers = npt.NDArray[np.float64]
    Interval = tuple[float, float]

angle, angles, vectors = sphere.measure_angles, sphere.to_lon_lat, sphere.to_unit_vectors
GRID_POINTS_PER_SIDE = 33  # points along each side of an image that are looked for in a shape
FULL_CIRCLE_DEGREES = 360.0
EDGE_TOLERANCE_PIXELS = 1e-6  # of a pixel: what touches it by less is rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is wanted of an array; what is not said is not cut.

    Attributes
    ----------
    shape
        On the sky, degrees ICRS.
    longitude, latitude
        Degrees in the frame of the image itself: of a body, of the Sun's disc (helioprojective).
    band
        Wavelengths in vacuum, m.
    time
        MJD.
    polarizations
        Words, in any order.
    pixels
        Number of an axis, as FITS counts (1 is the one that changes fastest) -> its first and last pixel, from 1.
    """

    shape: Shape | None = None
    longitude: Interval | None = None
    latitude: Interval | None = None
    band: Interval | None = None
    time: Interval | None = None
    polarizations: tuple[str, ...] = ()
    pixels: Mapping[int, Interval] = field(default_factory=dict)


def find_window(array: ArrayPart, selection: Selection) -> tuple[slice, ...] | None:
    """Find the smallest window that has all pixels that are asked for.

    Parameters
    ----------
    array
        Image, cube or spectrum, of any shape.
    selection
        What of it.

    Returns
    -------
    window
        A slice with two ends for each axis, in the order of C; None: it has none of these pixels.

    Raises
    ------
    ParamError
        It has no axis of the kind that is asked for.
    SourceError
        The file does not say what its axes are.
    """
    low = np.zeros(len(array.axes))
    high = np.array(array.shape, np.float64)
    bounds = [low, high]

    def limit_bounds(axis_number: int, first: float, last: float) -> None:
        bounds[0][axis_number], bounds[1][axis_number] = (
            max(bounds[0][axis_number], first),
            min(bounds[1][axis_number], last),
        )

    for number, (first, last) in selection.pixels.items():
        if not 1 <= number <= len(array.axes):
            raise ParamError(
                format_message("the array has {count} axes, and no axis {number}", len(array.axes), number),
                name=f"PIXELS_{number}",
            )
        limit_bounds(
            len(array.axes) - number,
            np.floor(first) - 1.0 if np.isfinite(first) else -np.inf,
            np.ceil(last) if np.isfinite(last) else np.inf,
        )
    for name, interval, kind in (("BAND", selection.band, "spectral"), ("TIME", selection.time, "time")):
        if interval is not None:
            axis_number = _find_axis(array, kind, name)
            pixel_range = _find_pixels_in_interval(_read_axis_values(array, axis_number, name), interval)
            if pixel_range is None:
                return None
            limit_bounds(axis_number, *pixel_range)
    if selection.polarizations:
        axis_number = _find_axis(array, "polarization", "POL")
        axis_values = _read_axis_values(array, axis_number, "POL")
        matching_pixels = np.isin(axis_values, selection.polarizations).nonzero()[0]
        if not len(matching_pixels):
            return None
        limit_bounds(axis_number, float(matching_pixels.min()), float(matching_pixels.max() + 1))
    if selection.shape is not None or selection.longitude is not None or selection.latitude is not None:
        longitude_axis = _find_axis(array, "longitude", "POS")
        latitude_axis = _find_axis(array, "latitude", "POS")
        if array.create_sky_mapping is not None:
            sky_mapping = array.create_sky_mapping()
        else:
            sky_mapping = None
        is_sky = sky_mapping is not None and sky_mapping.image_axes.kind == "sky"
        if sky_mapping is None or (selection.shape is not None and not is_sky):
            if selection.shape is not None:
                reason = format_message("the image shows no part of the sky that its header could place")
            else:
                reason = format_message("the image's header places no pixel")
            raise ParamError(reason, name="POS", remedy=format_message("cut it by pixels: PIXELS_1, PIXELS_2"))
        box = _find_pixels_on_sphere(
            sky_mapping,
            array.shape[longitude_axis],
            array.shape[latitude_axis],
            selection,
            is_swapped=longitude_axis < latitude_axis,
        )
        if box is None:
            return None
        limit_bounds(longitude_axis, *box[0])
        limit_bounds(latitude_axis, *box[1])
    starts, stops = (np.clip(bound, 0, array.shape).astype(int) for bound in bounds)
    if (stops <= starts).any():
        return None
    return tuple(slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True))


def _find_axis(array: ArrayPart, axis_kind: str, name: str) -> int:
    for axis_number, axis in enumerate(array.axes):
        if axis.kind == axis_kind:
            return axis_number
    kinds = ", ".join(axis.kind or axis.name or "pixels" for axis in reversed(array.axes))
    raise ParamError(
        format_message("{name} cannot cut it: its axes are {kinds}", name, kinds),
        name=name,
        remedy=format_message("leave it out, or cut by pixels"),
    )


def _read_axis_values(array: ArrayPart, axis_number: int, name: str) -> npt.NDArray[np.generic]:
    values = array.axes[axis_number].read_values
    if values is None:
        raise SourceError(format_message("{name} cannot cut it: the file does not say what its pixels stand for", name))
    return values()


def _find_pixels_in_interval(centres: npt.NDArray[np.generic], interval: Interval) -> tuple[float, float] | None:
    """Find the pixels that an interval touches: each reaches half-way to its neighbours."""
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
    touched_pixels = (is_finite & (high - slack >= interval[0]) & (low + slack <= interval[1])).nonzero()[0]
    if len(touched_pixels):
        return (float(touched_pixels.min()), float(touched_pixels.max() + 1))
    return None


def _find_pixels_on_sphere(
    sky_mapping: footprints.ImageWcs, width: int, height: int, selection: Selection, *, is_swapped: bool
) -> tuple[Interval, Interval] | None:
    """Find the pixels of a shape, or of a range of longitudes and latitudes.

    ((left, right), (bottom, top)), longitudes' axis first.

    The shape's outline is drawn on the image, and a grid of the image's pixels is looked for in the shape: the first
    finds what is small, the second what reaches beyond the image or has a pole in it.
    """
    # in the order of the file's axes
    if is_swapped:
        size = (height, width)
    else:
        size = (width, height)
    step = [np.linspace(0.5, n + 0.5, min(GRID_POINTS_PER_SIDE, n + 1)) for n in size]
    grid = np.stack([axis_points.ravel() for axis_points in np.meshgrid(*step)], 1)
    lon, lat = sky_mapping(grid).T
    is_visible = np.isfinite(lon) & np.isfinite(lat)
    inside = np.zeros(len(grid), np.bool_)
    shape = selection.shape
    if isinstance(shape, Range) or shape is None:
        unlimited = (-np.inf, np.inf)
        if shape is not None:
            longitude = (shape.lon1, shape.lon2)
        else:
            longitude = selection.longitude or unlimited
        if shape is not None:
            latitude = (shape.lat1, shape.lat2)
        else:
            latitude = selection.latitude or unlimited
        is_longitude_between = _is_longitude_between(lon[is_visible], longitude)
        inside[is_visible] = is_longitude_between & (lat[is_visible] >= latitude[0]) & (lat[is_visible] <= latitude[1])
        # drawn no further than the image reaches: what is far away cannot be drawn
        if is_visible.any():
            latitude_range = (lat[is_visible].min(), lat[is_visible].max())
        else:
            latitude_range = (0.0, 0.0)
        spread = 0.1 * (latitude_range[1] - latitude_range[0]) + sky_mapping.scale
        edge = _draw_range_outline(
            longitude, tuple(np.clip(latitude, latitude_range[0] - spread, latitude_range[1] + spread))
        )
    else:
        inside[is_visible] = shape.contains(lon[is_visible], lat[is_visible])
        edge = _draw_shape_outline(shape)
    outline_pixels = sky_mapping.to_pixels(*edge.T)
    low, high = _find_outline_bounds(outline_pixels, edge, sky_mapping.scale, size)
    if inside.any():
        # where the outline cannot be drawn, the grid alone tells: its next line may be in it as well
        if not np.isfinite(outline_pixels).all():
            grid_spacing = np.array([axis_points[1] - axis_points[0] for axis_points in step])
        else:
            grid_spacing = np.zeros(2)
        low = np.minimum(low, grid[inside].min(0) - grid_spacing)
        high = np.maximum(high, grid[inside].max(0) + grid_spacing)
    if np.isfinite(low).all():
        return _round_to_pixels(low, high, size, is_swapped)
    return None


def _find_outline_bounds(
    outline_pixels: Numbers, outline: Numbers, scale: float, size: tuple[int, int]
) -> tuple[Numbers, Numbers]:
    """Return the bounds of what of a closed line lies on the image; infinite where nothing does."""
    from shapely import bounds, box, intersection, is_empty, linestrings  # noqa: PLC0415  (asked by few)

    a = outline_pixels
    b = np.roll(outline_pixels, -1, axis=0)
    pixel_distances = angle(vectors(*outline.T), vectors(*np.roll(outline, -1, axis=0).T)) / np.radians(
        max(scale, 1e-12)
    )
    with np.errstate(invalid="ignore"):
        lines = np.linalg.norm(b - a, axis=1) <= 10.0 * pixel_distances + 10.0  # no line that jumps over a seam
    clipped_lines = intersection(linestrings(np.stack([a, b], 1)[lines]), box(0.5, 0.5, size[0] + 0.5, size[1] + 0.5))
    # a point has no line
    inside_points = a[((a >= 0.5) & (a <= np.array(size) + 0.5)).all(1)]
    piece_bounds = np.concatenate(
        [bounds(clipped_lines[~is_empty(clipped_lines)]), np.hstack([inside_points, inside_points])]
    )
    if not len(piece_bounds):
        return np.full(2, np.inf), np.full(2, -np.inf)
    return piece_bounds[:, :2].min(0), piece_bounds[:, 2:].max(0)


def _round_to_pixels(
    low: Numbers, high: Numbers, size: tuple[int, int], is_swapped: bool
) -> tuple[Interval, Interval] | None:
    first = np.clip(np.floor(low + 0.5 + EDGE_TOLERANCE_PIXELS) - 1.0, 0, size)
    last = np.clip(np.ceil(high - 0.5 - EDGE_TOLERANCE_PIXELS), 0, size)
    last = np.maximum(last, np.minimum(first + 1.0, size))
    if (last <= first).any():
        return None
    x, y = ((float(first[axis_number]), float(last[axis_number])) for axis_number in (0, 1))
    if is_swapped:
        return (y, x)
    return (x, y)


def _is_longitude_between(lon: Numbers, interval: Interval) -> npt.NDArray[np.bool_]:
    """Tell which longitudes lie between two, going east from the first."""
    west, east = interval
    if not np.isfinite(interval).all() or east - west >= FULL_CIRCLE_DEGREES:
        return np.ones(len(lon), np.bool_)
    return np.asarray((lon - west) % FULL_CIRCLE_DEGREES <= (east - west) % FULL_CIRCLE_DEGREES)


def _draw_range_outline(longitude: Interval, latitude: Interval) -> Numbers:
    """Draw the four sides of a range of longitudes and latitudes."""
    is_full_circle = not np.isfinite(longitude).all() or longitude[1] - longitude[0] >= FULL_CIRCLE_DEGREES
    west = 0.0 if is_full_circle else longitude[0]
    east = west + (FULL_CIRCLE_DEGREES if is_full_circle else (longitude[1] - west) % FULL_CIRCLE_DEGREES)
    south, north = np.clip(latitude, -90.0, 90.0)
    lon = np.linspace(west, east, 721)
    lat = np.linspace(south, north, 361)
    sides = [
        (lon, np.full(721, south)),
        (np.full(361, east), lat),
        (lon[::-1], np.full(721, north)),
        (np.full(361, west), lat[::-1]),
    ]
    return np.concatenate([np.stack(side, 1) for side in sides])


def _draw_shape_outline(shape: Shape) -> Numbers:
    """Draw a shape's edge as points: lon, lat in degrees, shape (n, 2)."""
    if isinstance(shape, Circle):
        angles_around = np.linspace(0.0, 2.0 * np.pi, 720, endpoint=False)
        centre = vectors(shape.lon, shape.lat)
        east = np.array([-np.sin(np.radians(shape.lon)), np.cos(np.radians(shape.lon)), 0.0])
        directions = np.cos(angles_around)[:, None] * np.cross(centre, east) + np.sin(angles_around)[:, None] * east
        radius = np.radians(shape.radius)
        return np.stack(angles(np.cos(radius) * centre + np.sin(radius) * directions), 1)
    if not isinstance(shape, Polygon):
        raise ParamError(format_message("only circles, ranges and polygons are cut out"), name="POS")
    a = vectors(shape.lons, shape.lats)
    b = np.roll(a, -1, axis=0)
    fractions = np.linspace(0.0, 1.0, 64, endpoint=False)[:, None]
    points = np.concatenate([(1.0 - fractions) * start + fractions * end for start, end in zip(a, b, strict=True)])
    return np.stack(angles(points / np.linalg.norm(points, axis=1)[:, None]), 1)


__all__ = ["Selection", "find_window"]

"""Which pixels are asked for: shapes on the sky, wavelengths, times, polarizations, pixels -> a window of an array."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hven.model.errors import ParamError, SourceError, say
from hven.model.sky import Circle, Polygon, Range, sphere

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from hven.formats.media._product import Array
    from hven.model.sky import Shape, footprints

    Numbers = npt.NDArray[np.float64]
    Interval = tuple[float, float]

angle, angles, vectors = sphere.angle, sphere.angles, sphere.vectors
GRID = 33  # points along each side of an image that are looked for in a shape
TURN = 360.0
EDGE = 1e-6  # of a pixel: what touches it by less is rounding


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


def window(array: Array, wanted: Selection) -> tuple[slice, ...] | None:
    """Find the smallest window that has all pixels that are asked for.

    Parameters
    ----------
    array
        Image, cube or spectrum, of any shape.
    wanted
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
    low, high = np.zeros(len(array.axes)), np.array(array.shape, np.float64)
    bounds = [low, high]

    def narrowed(at: int, first: float, last: float) -> None:
        bounds[0][at], bounds[1][at] = max(bounds[0][at], first), min(bounds[1][at], last)

    for number, (first, last) in wanted.pixels.items():
        if not 1 <= number <= len(array.axes):
            raise ParamError(
                say("the array has {count} axes, and no axis {number}", len(array.axes), number),
                name=f"PIXELS_{number}",
            )
        narrowed(
            len(array.axes) - number,
            np.floor(first) - 1.0 if np.isfinite(first) else -np.inf,
            np.ceil(last) if np.isfinite(last) else np.inf,
        )
    for name, interval, kind in (("BAND", wanted.band, "spectral"), ("TIME", wanted.time, "time")):
        if interval is not None:
            at = _axis(array, kind, name)
            found = _within(_values(array, at, name), interval)
            if found is None:
                return None
            narrowed(at, *found)
    if wanted.polarizations:
        at = _axis(array, "polarization", "POL")
        there = np.isin(_values(array, at, "POL"), wanted.polarizations).nonzero()[0]
        if not len(there):
            return None
        narrowed(at, float(there.min()), float(there.max() + 1))
    if wanted.shape is not None or wanted.longitude is not None or wanted.latitude is not None:
        across, along = _axis(array, "longitude", "POS"), _axis(array, "latitude", "POS")
        places = array.places() if array.places is not None else None
        sky = places is not None and places.of.kind == "sky"
        if places is None or (wanted.shape is not None and not sky):
            why = (
                say("the image shows no part of the sky that its header could place")
                if wanted.shape is not None
                else say("the image's header places no pixel")
            )
            raise ParamError(why, name="POS", remedy=say("cut it by pixels: PIXELS_1, PIXELS_2"))
        box = _on_sphere(places, array.shape[across], array.shape[along], wanted, swapped=across < along)
        if box is None:
            return None
        narrowed(across, *box[0])
        narrowed(along, *box[1])
    starts, stops = (np.clip(bound, 0, array.shape).astype(int) for bound in bounds)
    return None if (stops <= starts).any() else tuple(slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True))


def _axis(array: Array, kind: str, name: str) -> int:
    for at, axis in enumerate(array.axes):
        if axis.kind == kind:
            return at
    kinds = ", ".join(axis.kind or axis.name or "pixels" for axis in reversed(array.axes))
    raise ParamError(
        say("{name} cannot cut it: its axes are {kinds}", name, kinds),
        name=name,
        remedy=say("leave it out, or cut by pixels"),
    )


def _values(array: Array, at: int, name: str) -> npt.NDArray[np.generic]:
    values = array.axes[at].values
    if values is None:
        raise SourceError(say("{name} cannot cut it: the file does not say what its pixels stand for", name))
    return values()


def _within(centres: npt.NDArray[np.generic], interval: Interval) -> tuple[float, float] | None:
    """Find the pixels that an interval touches: each reaches half-way to its neighbours."""
    values = np.asarray(centres, np.float64)
    known = np.isfinite(values)
    if not known.any():
        return None
    gap = np.gradient(values) / 2.0 if len(values) > 1 else np.zeros(1)
    middle = (values[1:] + values[:-1]) / 2.0
    one, other = np.concatenate([values[:1] - gap[:1], middle]), np.concatenate([middle, values[-1:] + gap[-1:]])
    low, high = np.fmin(one, other), np.fmax(one, other)
    slack = EDGE * np.abs(high - low)
    found = (known & (high - slack >= interval[0]) & (low + slack <= interval[1])).nonzero()[0]
    return (float(found.min()), float(found.max() + 1)) if len(found) else None


def _on_sphere(
    places: footprints.Places, width: int, height: int, wanted: Selection, *, swapped: bool
) -> tuple[Interval, Interval] | None:
    """Find the pixels of a shape, or of a range of longitudes and latitudes: ((left, right), (bottom, top)), longitudes' axis first.

    The shape's outline is drawn on the image, and a grid of the image's pixels is looked for in the shape: the first finds what is small, the
    second what reaches beyond the image or has a pole in it.
    """
    size = (height, width) if swapped else (width, height)  # in the order of the file's axes
    step = [np.linspace(0.5, n + 0.5, min(GRID, n + 1)) for n in size]
    grid = np.stack([one.ravel() for one in np.meshgrid(*step)], 1)
    lon, lat = places(grid).T
    known = np.isfinite(lon) & np.isfinite(lat)
    inside = np.zeros(len(grid), np.bool_)
    shape = wanted.shape
    if isinstance(shape, Range) or shape is None:
        whole = (-np.inf, np.inf)
        longitude = (shape.lon1, shape.lon2) if shape is not None else wanted.longitude or whole
        latitude = (shape.lat1, shape.lat2) if shape is not None else wanted.latitude or whole
        inside[known] = _between(lon[known], longitude) & (lat[known] >= latitude[0]) & (lat[known] <= latitude[1])
        # drawn no further than the image reaches: what is far away cannot be drawn
        reach = (lat[known].min(), lat[known].max()) if known.any() else (0.0, 0.0)
        spread = 0.1 * (reach[1] - reach[0]) + places.scale
        edge = _frame(longitude, tuple(np.clip(latitude, reach[0] - spread, reach[1] + spread)))
    else:
        inside[known] = shape.contains(lon[known], lat[known])
        edge = _outline(shape)
    drawn = places.pixels(*edge.T)
    low, high = _crossing(drawn, edge, places.scale, size)
    if inside.any():
        # where the outline cannot be drawn, the grid alone tells: its next line may be in it as well
        spare = np.array([one[1] - one[0] for one in step]) if not np.isfinite(drawn).all() else np.zeros(2)
        low, high = np.minimum(low, grid[inside].min(0) - spare), np.maximum(high, grid[inside].max(0) + spare)
    return _ordered(low, high, size, swapped) if np.isfinite(low).all() else None


def _crossing(drawn: Numbers, edge: Numbers, scale: float, size: tuple[int, int]) -> tuple[Numbers, Numbers]:
    """Return the bounds of what of a closed line lies on the image; infinite where nothing does."""
    from shapely import bounds, box, intersection, is_empty, linestrings  # noqa: PLC0415  (asked by few)

    a, b = drawn, np.roll(drawn, -1, axis=0)
    far = angle(vectors(*edge.T), vectors(*np.roll(edge, -1, axis=0).T)) / np.radians(max(scale, 1e-12))
    with np.errstate(invalid="ignore"):
        lines = np.linalg.norm(b - a, axis=1) <= 10.0 * far + 10.0  # no line that jumps over a seam
    cut = intersection(linestrings(np.stack([a, b], 1)[lines]), box(0.5, 0.5, size[0] + 0.5, size[1] + 0.5))
    # a point has no line
    there = a[((a >= 0.5) & (a <= np.array(size) + 0.5)).all(1)]
    found = np.concatenate([bounds(cut[~is_empty(cut)]), np.hstack([there, there])])
    if not len(found):
        return np.full(2, np.inf), np.full(2, -np.inf)
    return found[:, :2].min(0), found[:, 2:].max(0)


def _ordered(low: Numbers, high: Numbers, size: tuple[int, int], swapped: bool) -> tuple[Interval, Interval] | None:
    first = np.clip(np.floor(low + 0.5 + EDGE) - 1.0, 0, size)
    last = np.clip(np.ceil(high - 0.5 - EDGE), 0, size)
    last = np.maximum(last, np.minimum(first + 1.0, size))
    if (last <= first).any():
        return None
    x, y = ((float(first[at]), float(last[at])) for at in (0, 1))
    return (y, x) if swapped else (x, y)


def _between(lon: Numbers, interval: Interval) -> npt.NDArray[np.bool_]:
    """Tell which longitudes lie between two, going east from the first."""
    west, east = interval
    if not np.isfinite(interval).all() or east - west >= TURN:
        return np.ones(len(lon), np.bool_)
    return np.asarray((lon - west) % TURN <= (east - west) % TURN)


def _frame(longitude: Interval, latitude: Interval) -> Numbers:
    """Draw the four sides of a range of longitudes and latitudes."""
    whole = not np.isfinite(longitude).all() or longitude[1] - longitude[0] >= TURN
    west = 0.0 if whole else longitude[0]
    east = west + (TURN if whole else (longitude[1] - west) % TURN)
    south, north = np.clip(latitude, -90.0, 90.0)
    lon, lat = np.linspace(west, east, 721), np.linspace(south, north, 361)
    sides = [
        (lon, np.full(721, south)),
        (np.full(361, east), lat),
        (lon[::-1], np.full(721, north)),
        (np.full(361, west), lat[::-1]),
    ]
    return np.concatenate([np.stack(side, 1) for side in sides])


def _outline(shape: Shape) -> Numbers:
    """Draw a shape's edge as points: lon, lat in degrees, shape (n, 2)."""
    if isinstance(shape, Circle):
        turn = np.linspace(0.0, 2.0 * np.pi, 720, endpoint=False)
        centre = vectors(shape.lon, shape.lat)
        east = np.array([-np.sin(np.radians(shape.lon)), np.cos(np.radians(shape.lon)), 0.0])
        away = np.cos(turn)[:, None] * np.cross(centre, east) + np.sin(turn)[:, None] * east
        radius = np.radians(shape.radius)
        return np.stack(angles(np.cos(radius) * centre + np.sin(radius) * away), 1)
    if not isinstance(shape, Polygon):
        raise ParamError(say("only circles, ranges and polygons are cut out"), name="POS")
    a = vectors(shape.lons, shape.lats)
    b, share = np.roll(a, -1, axis=0), np.linspace(0.0, 1.0, 64, endpoint=False)[:, None]
    points = np.concatenate([(1.0 - share) * one + share * other for one, other in zip(a, b, strict=True)])
    return np.stack(angles(points / np.linalg.norm(points, axis=1)[:, None]), 1)


__all__ = ["Selection", "window"]

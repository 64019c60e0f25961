"""Compute distances, circles and areas on the sphere with numpy arrays. Degrees in, degrees out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

SKY_AREA_SQUARE_DEGREES = 360.0 * 360.0 / math.pi
"""Area of the whole sphere in square degrees."""

RADIANS_PER_DEGREE = math.pi / 180.0
DEGREES_PER_RADIAN = 180.0 / math.pi
_MIN_BAND_FILTER_POINTS = 256  # for fewer points, the test of the band costs more than it saves
TOLERANCE_DEGREES = 3e-13
"""Degrees (one nano-arcsecond) by which every shape is widened, so that rounding keeps its boundary inside."""


def compute_angular_distance(lon1: npt.ArrayLike, lat1: npt.ArrayLike, lon2: npt.ArrayLike, lat2: npt.ArrayLike) -> Any:
    """Compute the angular distance of points by Vincenty's formula, which is accurate at every separation.

    Parameters
    ----------
    lon1, lat1, lon2, lat2
        Degrees, broadcast against each other; NaN makes NaN.

    Returns
    -------
    numpy.ndarray or float
        Degrees in [0, 180].
    """
    half = np.radians(np.subtract(lon2, lon1, dtype=np.float64))
    phi1 = np.radians(np.asarray(lat1, dtype=np.float64))
    phi2 = np.radians(np.asarray(lat2, dtype=np.float64))
    sin1 = np.sin(phi1)
    cos1 = np.cos(phi1)
    sin2 = np.sin(phi2)
    cos2 = np.cos(phi2)
    # cos1 sin2 - sin1 cos2 cos(dlon), written so that nothing cancels when the points are near each other
    twice = 2.0 * np.sin(half / 2.0) ** 2
    northward = np.sin(phi2 - phi1) + sin1 * cos2 * twice
    across = np.hypot(cos2 * np.sin(half), northward)
    along = sin1 * sin2 + cos1 * cos2 * np.cos(half)
    return np.degrees(np.arctan2(across, along))


def is_point_in_circle(
    lon: npt.ArrayLike, lat: npt.ArrayLike, lon0: npt.ArrayLike, lat0: npt.ArrayLike, radius: npt.ArrayLike
) -> Any:
    """Return which points lie within `radius` of a centre, the rim included (`TOLERANCE_DEGREES`).

    Parameters
    ----------
    lon, lat, lon0, lat0, radius
        Degrees, broadcast against each other. NaN is never inside.

    Returns
    -------
    numpy.ndarray of bool, or bool
        For a constant circle and many points, points outside its band of latitude cost one comparison each.
    """
    lon = np.asarray(lon, dtype=np.float64)
    lat = np.asarray(lat, dtype=np.float64)
    if np.ndim(lon0) or np.ndim(lat0) or np.ndim(radius) or lat.shape != lon.shape or lat.ndim != 1:
        centre_lon = np.asarray(lon0, dtype=np.float64)
        centre_lat = np.asarray(lat0, dtype=np.float64)
        return _are_points_in_circles(lon, lat, centre_lon, centre_lat, np.asarray(radius, dtype=np.float64))
    circle = float(lon0), float(lat0), float(radius)  # type: ignore[arg-type]
    return _are_points_in_constant_circle(lon, lat, *circle)


def _are_points_in_constant_circle(
    lon: Numbers, lat: Numbers, centre_lon: float, centre_lat: float, size: float
) -> Any:
    """Test many points against one circle, near whose latitude only the points need the exact test."""
    if len(lat) < _MIN_BAND_FILTER_POINTS:
        return _are_points_in_one_circle(lon, lat, centre_lon, centre_lat, size)
    band = np.abs(lat - centre_lat) <= size + 1e-9
    rows = np.flatnonzero(band)
    if len(rows) > 0.7 * len(lat):
        return _are_points_in_one_circle(lon, lat, centre_lon, centre_lat, size)
    inside = np.zeros(len(lat), dtype=np.bool_)
    inside[rows] = _are_points_in_one_circle(lon[rows], lat[rows], centre_lon, centre_lat, size)
    return inside


def _are_points_in_circles(lon: Any, lat: Any, lon0: Any, lat0: Any, radius: Any) -> Any:
    # beyond a quarter turn the haversine loses digits: test against the antipode's circle instead
    wide = radius > 90.0
    margin_radius = np.where(wide, 180.0 - radius - TOLERANCE_DEGREES, radius + TOLERANCE_DEGREES)
    sine = np.sin(np.radians(margin_radius) / 2.0)
    limit = np.where(radius >= 180.0, -2.0, np.sign(sine) * sine * sine)
    is_no_circle = (radius < 0.0) | np.isnan(radius)
    limit = np.where(is_no_circle, -1.0, limit)
    lon0 = np.where(wide, lon0 + 180.0, lon0)
    lat0 = np.where(wide, -lat0, lat0)
    away = _compute_haversine(lon, lat, lon0, lat0)
    return np.where(wide, away >= limit, away <= limit)


def _are_points_in_one_circle(lon: Any, lat: Any, lon0: float, lat0: float, radius: float) -> Any:
    """Test many points against one circle.

    The results are those of `_are_points_in_circles`, but no array of constants is made.
    """
    if radius < 0.0 or math.isnan(radius):
        return np.zeros(lon.shape, np.bool_)
    if radius <= 90.0:
        haversine = _compute_haversine(lon, lat, lon0, lat0)
        signed_haversine = _compute_signed_haversine(radius + TOLERANCE_DEGREES)
        return haversine <= signed_haversine
    away = _compute_haversine(lon, lat, lon0 + 180.0, -lat0)
    limit = -2.0
    if radius < 180.0:
        limit = _compute_signed_haversine(180.0 - radius - TOLERANCE_DEGREES)
    return away >= limit


def _compute_signed_haversine(angle: float) -> Any:
    """Return the haversine of an angle in degrees, with its sign."""
    half = np.sin(np.radians(angle) / 2.0)
    return half * abs(half)


def _compute_haversine(lon: Any, lat: Any, lon0: Any, lat0: Any) -> Any:
    half_lat = np.sin((lat - lat0) * (math.pi / 360.0))
    half_lon = np.sin((lon - lon0) * (math.pi / 360.0))
    half_lon *= half_lon
    half_lon *= np.cos(np.radians(lat)) * np.cos(np.radians(lat0))
    half_lat *= half_lat
    half_lat += half_lon
    return half_lat


def to_unit_vectors(lon: npt.ArrayLike, lat: npt.ArrayLike) -> Numbers:
    """Convert positions to unit vectors.

    Parameters
    ----------
    lon, lat
        Degrees, of one shape (...,).

    Returns
    -------
    vectors
        X, y, z; shape (..., 3).
    """
    return np.stack(to_vector_components(lon, lat), axis=-1)


def to_vector_components(lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Numbers, Numbers, Numbers]:
    """Convert positions to the coordinates of unit vectors.

    Parameters
    ----------
    lon, lat
        Degrees, of one shape.

    Returns
    -------
    x, y, z
        Coordinates of that shape.
    """
    lat = np.asarray(lat, dtype=np.float64)
    east, north = compute_cos_sin(np.asarray(lon, dtype=np.float64))
    cos, sin = compute_cos_sin(lat)
    cos = cos * (np.abs(lat) != 90.0)  # a pole is one point, whatever its longitude
    return cos * east, cos * north, sin


def compute_cos_sin(degrees: Numbers) -> tuple[Numbers, Numbers]:
    """Compute cosines and sines, to 3e-16, from the tangents of half the angles.

    Numpy computes a tangent in a ninth of the time of a sine.

    Parameters
    ----------
    degrees
        Angles of any shape.

    Returns
    -------
    cos, sin
        Arrays of that shape.
    """
    half = np.tan(degrees * (RADIANS_PER_DEGREE / 2.0))
    square = half * half
    denominator = 1.0 + square
    return (1.0 - square) / denominator, (half + half) / denominator


def to_lon_lat(xyz: Numbers) -> tuple[Numbers, Numbers]:
    """Convert vectors to positions.

    Parameters
    ----------
    xyz
        Vectors of any length except 0, shape (..., 3).

    Returns
    -------
    lon, lat
        Degrees, longitudes in [0, 360), shape (...,).
    """
    x = xyz[..., 0]
    y = xyz[..., 1]
    lat = np.arctan2(xyz[..., 2], np.hypot(x, y)) * DEGREES_PER_RADIAN
    lon = np.arctan2(y, x) * DEGREES_PER_RADIAN
    return wrap_longitudes_by_one_turn(lon), lat


def wrap_longitudes_by_one_turn(lon: Numbers) -> Numbers:
    """Wrap longitudes of one turn more or less to [0, 360), in a fifth of the time of a remainder.

    Parameters
    ----------
    lon
        Degrees in [-360, 720), any shape.

    Returns
    -------
    lon
        Degrees, of that shape.
    """
    lon = np.where(lon < 0.0, lon + 360.0, lon + 0.0)
    return np.where(lon >= 360.0, lon - 360.0, lon)


def dot_vectors(a: Numbers, b: Numbers) -> Numbers:
    """Compute scalar products of vectors, shape (..., 3), broadcast.

    It adds columns, which numpy does in a fraction of the time of a sum along rows.

    Parameters
    ----------
    a, b
        Shape (..., 3).

    Returns
    -------
    products
        Shape (...,).
    """
    products: Numbers = a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]
    return products


def cross_vectors(a: Numbers, b: Numbers) -> Numbers:
    """Compute vector products of vectors, shape (..., 3), broadcast.

    Parameters
    ----------
    a, b
        Shape (..., 3).

    Returns
    -------
    vectors
        ``a x b``, shape (..., 3).
    """
    x, y, z = np.moveaxis(a, -1, 0)
    u, v, w = np.moveaxis(b, -1, 0)
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)


def compute_arc_normals(a: Numbers, b: Numbers) -> Numbers:
    """Compute unit vectors at right angles to arcs, shape (n, 3); 0 for arcs without length.

    Parameters
    ----------
    a, b
        Unit vectors of the ends, shape (n, 3).

    Returns
    -------
    normals
        Shape (n, 3).
    """
    cross_products = cross_vectors(a + b, b - a)  # twice a x b, without its cancellation
    length = np.sqrt(dot_vectors(cross_products, cross_products))[..., None]
    return cross_products / np.where(length > 0.0, length, 1.0)


def find_latitude_extremes(
    a: Numbers, b: Numbers, normal: Numbers, low: Numbers, high: Numbers
) -> tuple[Numbers, Numbers]:
    """Return the lowest and the highest latitude of arcs, degrees; shape (n,).

    Parameters
    ----------
    a, b
        Unit vectors of the ends, shape (n, 3).
    normal
        Unit normals of the arcs (`compute_arc_normals`), shape (n, 3).
    low, high
        Latitudes of the ends, degrees, shape (n,).

    Returns
    -------
    lowest, highest
        Degrees, shape (n,).
    """
    # the highest point of the great circle is on the arc if the arc climbs at its begin and descends at its end
    climb = normal[:, 0] * a[:, 1] - normal[:, 1] * a[:, 0]
    fall = normal[:, 0] * b[:, 1] - normal[:, 1] * b[:, 0]
    horizontal = np.hypot(normal[:, 0], normal[:, 1])
    top = np.degrees(np.arctan2(horizontal, np.abs(normal[:, 2])))
    lowest = np.where((climb < 0.0) & (fall > 0.0), -top, low)
    highest = np.where((climb > 0.0) & (fall < 0.0), top, high)
    return lowest, highest


def measure_angles(a: Numbers, b: Numbers) -> Numbers:
    """Compute the angles between unit vectors, radians, shape (...,), accurately for small ones, too.

    Parameters
    ----------
    a, b
        Unit vectors, shape (..., 3).

    Returns
    -------
    angles
        Radians, shape (...,).
    """
    apart = a - b
    half_chord = np.sqrt(dot_vectors(apart, apart)) / 2.0
    radians: Numbers = 2.0 * np.arcsin(np.minimum(half_chord, 1.0))
    return radians


def interpolate_along_arcs(a: Numbers, b: Numbers, share: Numbers) -> Numbers:
    """Return vectors (of any length) towards points at a share of the way from `a` to `b` along great circles.

    The shape is (n, 3).

    Parameters
    ----------
    a, b
        Unit vectors of the ends, shape (n, 3).
    share
        0 at `a`, 1 at `b`; shape (n,).

    Returns
    -------
    vectors
        Shape (n, 3).
    """
    turn = measure_angles(a, b)
    before = np.sin((1.0 - share) * turn)
    behind = np.sin(share * turn)
    short = turn < 1e-9
    weight_a = np.where(short, 1.0 - share, before)
    weight_b = np.where(short, share, behind)
    return a * weight_a[:, None] + b * weight_b[:, None]


def compute_tangent_axes(center: Numbers) -> tuple[Numbers, Numbers]:
    """Compute two unit vectors at right angles to each vector, the second a quarter turn anticlockwise from the first.

    Parameters
    ----------
    center
        Unit vectors, shape (n, 3).

    Returns
    -------
    first, second
        Shape (n, 3).
    """
    is_far_from_pole = np.abs(center[:, 2:]) < 0.9
    axis = np.where(is_far_from_pole, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    east = cross_vectors(axis, center)
    east /= np.sqrt(dot_vectors(east, east))[:, None]
    return east, cross_vectors(center, east)


def compute_circle_area(radius: npt.ArrayLike) -> Any:
    """Compute the area of circles.

    Parameters
    ----------
    radius
        Degrees, a number or shape (n,); above 180 counts as 180.

    Returns
    -------
    area
        Square degrees, of the same shape.
    """
    half_radius = np.radians(np.minimum(radius, 180.0)) / 2.0
    return SKY_AREA_SQUARE_DEGREES * np.sin(half_radius) ** 2


def wrap_longitudes(lon: npt.ArrayLike) -> Numbers:
    """Normalize longitudes to [0, 360).

    Parameters
    ----------
    lon
        Degrees of any turn, any shape.

    Returns
    -------
    lon
        Degrees, of the same shape.
    """
    longitudes = np.asarray(lon, dtype=np.float64)
    if longitudes.size and longitudes.min() >= 0.0 and longitudes.max() < 360.0:  # a remainder takes ten times as long
        return longitudes + 0.0
    turned = longitudes % 360.0
    return np.where(turned >= 360.0, 0.0, turned)


def compute_arc_distances(xyz: Numbers, a: Numbers, b: Numbers, normal: Numbers) -> Numbers:
    """Compute the distance of points to great-circle arcs, broadcast against each other.

    Parameters
    ----------
    xyz
        Unit vectors of the points, shape (..., 3).
    a, b
        Unit vectors of the ends, shape (..., 3).
    normal
        Unit vectors at right angles to the arcs (`compute_arc_normals`), shape (..., 3); an arc without length
        counts as its ends.

    Returns
    -------
    gap
        Degrees, shape (...,).
    """
    is_after_begin = dot_vectors(cross_vectors(normal, a), xyz) >= 0.0
    is_before_end = dot_vectors(cross_vectors(b, normal), xyz) >= 0.0
    is_beside = is_after_begin & is_before_end & normal.any(axis=-1)
    end_angles = np.minimum(measure_angles(xyz, a), measure_angles(xyz, b))
    sine = np.minimum(np.abs(dot_vectors(xyz, normal)), 1.0)
    separations: Numbers = np.degrees(np.where(is_beside, np.arcsin(sine), end_angles))
    return separations


RADIANS_PER_MILLIARCSECOND = np.pi / 180.0 / 3_600_000.0  # 1 mas
AU_PER_YEAR_IN_KM_PER_SECOND = 4.740470463533349  # 1 au per Julian year, km/s


# ADQL passes positions and motions by position
def apply_space_motion(  # noqa: PLR0917
    lon: npt.ArrayLike,
    lat: npt.ArrayLike,
    years: npt.ArrayLike,
    pm_lon: npt.ArrayLike,
    pm_lat: npt.ArrayLike,
    parallax: npt.ArrayLike = 0.0,
    radial_velocity: npt.ArrayLike = 0.0,
) -> tuple[Numbers, Numbers]:
    """Move positions along straight lines through space (Hipparcos catalogue, volume 1, section 1.5.5).

    Parameters
    ----------
    lon, lat
        Degrees, shape (n,).
    years
        Julian years to go, broadcast; negative ones go back.
    pm_lon, pm_lat
        mas/yr, shape (n,); `pm_lon` includes cos(lat).
    parallax
        mas, broadcast; a star without a positive parallax is infinitely far, and its radial velocity changes nothing.
    radial_velocity
        km/s, positive away from the observer, broadcast.

    Returns
    -------
    lon, lat
        Degrees, shape (n,), longitudes in [0, 360).
    """
    a = np.radians(np.asarray(lon, dtype=np.float64))
    d = np.radians(np.asarray(lat, dtype=np.float64))
    time = np.asarray(years, dtype=np.float64)
    east = np.asarray(pm_lon, dtype=np.float64) * RADIANS_PER_MILLIARCSECOND * time
    north = np.asarray(pm_lat, dtype=np.float64) * RADIANS_PER_MILLIARCSECOND * time
    distant = np.maximum(np.asarray(parallax, dtype=np.float64), 0.0)
    velocity = np.asarray(radial_velocity, dtype=np.float64)
    distance_change = velocity * distant / AU_PER_YEAR_IN_KM_PER_SECOND * RADIANS_PER_MILLIARCSECOND * time
    out = 1.0 + distance_change
    sin_a = np.sin(a)
    cos_a = np.cos(a)
    sin_d = np.sin(d)
    cos_d = np.cos(d)
    x = cos_a * cos_d * out - sin_a * east - cos_a * sin_d * north
    y = sin_a * cos_d * out + cos_a * east - sin_a * sin_d * north
    z = sin_d * out + cos_d * north
    moved_lon = np.degrees(np.arctan2(y, x)) % 360.0
    moved_lat = np.degrees(np.arctan2(z, np.hypot(x, y)))
    return moved_lon, moved_lat

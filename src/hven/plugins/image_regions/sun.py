"""Compute the Sun's disc as seen from the Earth, and helioprojective, Stonyhurst and Carrington coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hven.model.sky import time_scales
from hven.plugins.image_regions.disc_image import RADIANS_PER_ARCSECOND

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

SUN_RADIUS_KM = 695_700.0
"""Radius of the Sun, km (IAU 2015, resolution B3)."""
ASTRONOMICAL_UNIT_KM = 149_597_870.7
"""Kilometres."""
SYNODIC_ROTATION_DAYS = 27.2752316
"""Mean days of a Carrington rotation."""


class SolarEphemeris(NamedTuple):
    """Describe the position of the Earth relative to the Sun; arrays of one shape.

    Attributes
    ----------
    l0, b0
        Carrington longitude and latitude of the centre of the disc, degrees, with light time.
    p
        Position angle of the Sun's north pole, degrees from north through east.
    distance
        Astronomical units.
    """

    l0: Numbers
    b0: Numbers
    p: Numbers
    distance: Numbers


def compute_solar_ephemeris(utc: npt.ArrayLike) -> SolarEphemeris:
    """Compute the position of the Earth relative to the Sun (Meeus, Astronomical Algorithms, chapters 22, 25 and 29).

    Parameters
    ----------
    utc
        Times as datetime64 or as texts (ISO 8601, UTC), or microseconds since 1970-01-01T00:00:00 as a UTC clock shows
        them, any shape. NaT gives NaN.

    Returns
    -------
    earth
        Arrays of the same shape; angles are exact to 0.01 degrees from 1850 to 2100.
    """
    day = _to_tt_julian_dates(utc)
    t = (day - 2_451_545.0) / 36_525.0
    anomaly = np.radians(357.52911 + 35_999.05029 * t - 0.0001537 * t * t)
    first_term = (1.914602 - 0.004817 * t - 0.000014 * t * t) * np.sin(anomaly)
    second_term = (0.019993 - 0.000101 * t) * np.sin(2.0 * anomaly)
    centre = first_term + second_term + 0.000289 * np.sin(3.0 * anomaly)
    eccentricity = 0.016708634 - 0.000042037 * t - 0.0000001267 * t * t
    true_anomaly = anomaly + np.radians(centre)
    distance = 1.000001018 * (1.0 - eccentricity**2) / (1.0 + eccentricity * np.cos(true_anomaly))
    # on the ecliptic of date, with aberration
    lon = 280.46646 + 36_000.76983 * t + 0.0003032 * t * t + centre - 20.4898 / 3600.0 / distance
    node = np.radians(125.04 - 1934.136 * t)
    tilt = np.radians(23.439291 - 0.0130042 * t + 0.00256 * np.cos(node))
    k = np.radians(lon - 73.6667 - 1.3958333 * (day - 2_396_758.0) / 36_525.0)
    inclination = np.radians(7.25)
    apparent_lon = np.radians(lon - 0.00478 * np.sin(node))
    ecliptic_angle = np.arctan(-np.cos(apparent_lon) * np.tan(tilt))
    equator_angle = np.arctan(-np.cos(k) * np.tan(inclination))
    p = ecliptic_angle + equator_angle
    eta = np.degrees(np.arctan2(-np.sin(k) * np.cos(inclination), -np.cos(k)))
    # the IAU's rotation, from the node on the ecliptic of J2000
    turned = 22.9958 + 14.1844 * (day - 2_451_545.0)
    b0 = np.degrees(np.arcsin(np.sin(k) * np.sin(inclination)))
    return SolarEphemeris((eta - turned) % 360.0, b0, np.degrees(p), distance)


def _to_tt_julian_dates(utc: npt.ArrayLike) -> Numbers:
    times = np.asarray(utc)
    if times.dtype.kind in "MU":
        times = times.astype("datetime64[us]")
    if times.dtype.kind == "M":
        missing = np.isnat(times)
    else:
        missing = np.zeros(times.shape, dtype=np.bool_)
    count = np.where(missing, 0, times.astype(np.int64))
    tai = np.maximum(time_scales.utc_to_tai(count), count)  # before 1972 a minute is 0.01 degrees of rotation
    return np.where(missing, np.nan, 2_440_587.5 + (tai + time_scales.TT_MINUS_TAI_MICROSECONDS) / 86_400e6)


def compute_carrington_rotation_number(utc: npt.ArrayLike) -> Numbers:
    """Compute Carrington's rotation number.

    Parameters
    ----------
    utc
        As `compute_solar_ephemeris` takes it, any shape.

    Returns
    -------
    rotation
        Rotation numbers with the elapsed share of the rotation, of the same shape.
    """
    mean = (_to_tt_julian_dates(utc) - 2_398_140.227) / SYNODIC_ROTATION_DAYS
    part = 1.0 - compute_solar_ephemeris(utc).l0 / 360.0
    return np.round(mean - part) + part


def is_carrington_rotation_mismatch(rotation_number: npt.ArrayLike, utc: npt.ArrayLike) -> Flags:
    """Return which rotation numbers are not those of their dates.

    Parameters
    ----------
    rotation_number
        Whole numbers, or numbers with the elapsed share of the rotation (two digits are enough), of any shape; NaN is
        never a mismatch.
    utc
        As `compute_solar_ephemeris` takes it, any shape.

    Returns
    -------
    wrong
        Flags of the same shape.
    """
    rotation_numbers = np.asarray(rotation_number, dtype=np.float64)
    right = compute_carrington_rotation_number(utc)
    is_whole = rotation_numbers == np.floor(rotation_numbers)
    is_in_rotation = (right > rotation_numbers - 0.02) & (right < rotation_numbers + 1.02)
    matches_whole = is_whole & is_in_rotation
    wrong: Flags = (np.abs(rotation_numbers - right) > 0.02) & ~matches_whole
    return wrong


def compute_apparent_radius(distance: npt.ArrayLike, radius: npt.ArrayLike = SUN_RADIUS_KM) -> Numbers:
    """Compute the apparent radius of a sphere.

    Parameters
    ----------
    distance
        Distance from its centre, in the unit of `radius` (km), any shape.
    radius
        Radius of the sphere, broadcast.

    Returns
    -------
    radius
        Arcseconds, of the same shape.
    """
    sine = np.asarray(radius, dtype=np.float64) / np.asarray(distance, dtype=np.float64)
    return np.arcsin(sine) / RADIANS_PER_ARCSECOND

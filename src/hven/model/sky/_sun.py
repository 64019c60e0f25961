"""Sun: the disc as the Earth sees it, and helioprojective, Stonyhurst's and Carrington's coordinates of any observer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hven.model.sky._clocks import TT_TAI, tai_of_utc
from hven.model.sky._disc import ARCSEC

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

RADIUS = 695_700.0
"""Of the Sun, km (IAU 2015, resolution B3)."""
AU = 149_597_870.7
"""km."""
SYNODIC = 27.2752316
"""Mean days of a Carrington rotation."""


class Earth(NamedTuple):
    """The Earth as the Sun sees it; arrays of one shape.

    Attributes
    ----------
    l0, b0
        Carrington's longitude and the latitude of the centre of the disc, degrees; light takes its time.
    p
        Position angle of the Sun's north pole, degrees from north through east.
    distance
        Astronomical units.
    """

    l0: Numbers
    b0: Numbers
    p: Numbers
    distance: Numbers


def earth(utc: npt.ArrayLike) -> Earth:
    """Compute where the Earth stands over the Sun (Meeus, Astronomical Algorithms, chapters 22, 25 and 29).

    Parameters
    ----------
    utc
        Times as datetime64 or as texts (ISO 8601, UTC), or microseconds since 1970-01-01T00:00:00 as a UTC clock shows them, any shape. NaT gives NaN.

    Returns
    -------
    earth
        Of the same shape; angles are good to 0.01 degrees from 1850 to 2100.
    """
    day = _julian(utc)
    t = (day - 2_451_545.0) / 36_525.0
    anomaly = np.radians(357.52911 + 35_999.05029 * t - 0.0001537 * t * t)
    centre = (
        (1.914602 - 0.004817 * t - 0.000014 * t * t) * np.sin(anomaly)
        + (0.019993 - 0.000101 * t) * np.sin(2.0 * anomaly)
        + 0.000289 * np.sin(3.0 * anomaly)
    )
    eccentricity = 0.016708634 - 0.000042037 * t - 0.0000001267 * t * t
    distance = 1.000001018 * (1.0 - eccentricity**2) / (1.0 + eccentricity * np.cos(anomaly + np.radians(centre)))
    # of the ecliptic of date, by the light that arrives
    lon = 280.46646 + 36_000.76983 * t + 0.0003032 * t * t + centre - 20.4898 / 3600.0 / distance
    node = np.radians(125.04 - 1934.136 * t)
    tilt = np.radians(23.439291 - 0.0130042 * t + 0.00256 * np.cos(node))
    k = np.radians(lon - 73.6667 - 1.3958333 * (day - 2_396_758.0) / 36_525.0)
    inclination = np.radians(7.25)
    p = np.arctan(-np.cos(np.radians(lon - 0.00478 * np.sin(node))) * np.tan(tilt)) + np.arctan(
        -np.cos(k) * np.tan(inclination)
    )
    eta = np.degrees(np.arctan2(-np.sin(k) * np.cos(inclination), -np.cos(k)))
    # the IAU's rotation, from the node on the ecliptic of J2000
    turned = 22.9958 + 14.1844 * (day - 2_451_545.0)
    b0 = np.degrees(np.arcsin(np.sin(k) * np.sin(inclination)))
    return Earth((eta - turned) % 360.0, b0, np.degrees(p), distance)


def _julian(utc: npt.ArrayLike) -> Numbers:
    given = np.asarray(utc)
    if given.dtype.kind in "MU":
        given = given.astype("datetime64[us]")
    missing = np.isnat(given) if given.dtype.kind == "M" else np.zeros(given.shape, dtype=np.bool_)
    count = np.where(missing, 0, given.astype(np.int64))
    tai = np.maximum(tai_of_utc(count), count)  # before 1972 a minute is 0.01 degrees of rotation
    return np.where(missing, np.nan, 2_440_587.5 + (tai + TT_TAI) / 86_400e6)


def rotation(utc: npt.ArrayLike) -> Numbers:
    """Compute Carrington's rotation number.

    Parameters
    ----------
    utc
        As `earth` takes it, any shape.

    Returns
    -------
    rotation
        With the part of the rotation that is over, of the same shape.
    """
    mean = (_julian(utc) - 2_398_140.227) / SYNODIC
    part = 1.0 - earth(utc).l0 / 360.0
    return np.round(mean - part) + part


def contradicts(number: npt.ArrayLike, utc: npt.ArrayLike) -> Flags:
    """Tell which rotation numbers are not those of their dates.

    Parameters
    ----------
    number
        Whole, or with the part of the rotation that is over (two digits are enough), of any shape; NaN contradicts nothing.
    utc
        As `earth` takes it, any shape.

    Returns
    -------
    wrong
        Of the same shape.
    """
    given, right = np.asarray(number, dtype=np.float64), rotation(utc)
    whole = (given == np.floor(given)) & (right > given - 0.02) & (right < given + 1.02)
    wrong: Flags = (np.abs(given - right) > 0.02) & ~whole
    return wrong


def apparent_radius(distance: npt.ArrayLike, radius: npt.ArrayLike = RADIUS) -> Numbers:
    """Compute how large a sphere looks.

    Parameters
    ----------
    distance
        From its centre, in the unit of `radius` (km), any shape.
    radius
        Of the sphere, broadcast.

    Returns
    -------
    radius
        Arcseconds, of the same shape.
    """
    return np.arcsin(np.asarray(radius, dtype=np.float64) / np.asarray(distance, dtype=np.float64)) / ARCSEC

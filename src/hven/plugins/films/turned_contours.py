"""Turn contours on the Sun to the time of an image, and find where the image shows them.

The Sun turns faster at its equator: a place moves in Carrington's longitudes by the difference of its own rotation
(Snodgrass and Ulrich 1990) and Carrington's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.plugins.image_regions.disc_image import RADIANS_PER_ARCSECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.plugins.image_regions.disc_image import DiscImage

    Numbers = npt.NDArray[np.float64]

DAY_MICROSECONDS = 86_400_000_000
CARRINGTON_DEGREES_PER_DAY = 14.1844  # sidereal
ROTATION_RADIANS_PER_SECOND = (2.851e-6, -0.343e-6, -0.474e-6)  # at the equator, times sin^2 and sin^4 of the latitude


@dataclass(frozen=True, slots=True, kw_only=True)
class SunContour:
    """A contour on the Sun.

    Attributes
    ----------
    lon, lat
        Carrington longitudes and latitudes of its corners, degrees; the last one leads to the first.
    instant
        When it was seen, in microseconds since 1970.
    """

    lon: Numbers
    lat: Numbers
    instant: int


def compute_rotation_rate(lat: Numbers) -> Numbers:
    """Compute the sidereal rotation of the Sun's surface in degrees a day.

    Parameters
    ----------
    lat
        Latitudes in degrees.
    """
    squared_sine = np.sin(np.radians(lat)) ** 2
    a, b, c = ROTATION_RADIANS_PER_SECOND
    return np.asarray(np.degrees(a + b * squared_sine + c * squared_sine**2) * 86_400)


def move_contour(contour: SunContour, instant: int) -> tuple[Numbers, Numbers]:
    """Return the Carrington longitudes and latitudes of a contour at another time.

    Parameters
    ----------
    contour
        The contour.
    instant
        Microseconds since 1970.
    """
    days = (instant - contour.instant) / DAY_MICROSECONDS
    return contour.lon + (compute_rotation_rate(contour.lat) - CARRINGTON_DEGREES_PER_DAY) * days, contour.lat


def locate_on_disc(disc: DiscImage, lon: Numbers, lat: Numbers) -> tuple[Numbers, Numbers]:
    """Find places of the Sun in the plane of an image.

    Parameters
    ----------
    disc
        The Sun in the image.
    lon, lat
        Carrington longitudes and latitudes, degrees.

    Returns
    -------
    u, v
        Radii of the disc to the right and to the north; NaN for places behind the limb.
    """
    phi, theta = np.radians(lon - disc.lon[0]), np.radians(lat)
    tilt = np.radians(disc.lat[0])
    x = np.cos(theta) * np.sin(phi)
    y = np.sin(theta) * np.cos(tilt) - np.cos(theta) * np.cos(phi) * np.sin(tilt)
    z = np.sin(theta) * np.sin(tilt) + np.cos(theta) * np.cos(phi) * np.cos(tilt)
    radius = disc.radius[0] * RADIANS_PER_ARCSECOND
    scale = np.where(z > np.sin(radius), np.cos(radius) / (1 - z * np.sin(radius)), np.nan)
    return x * scale, y * scale


def choose_contours(contours: Sequence[SunContour], instant: int) -> list[SunContour]:
    """Choose the contours of the observation that is nearest in time."""
    nearest = min((contour.instant for contour in contours), key=lambda seen: abs(seen - instant), default=0)
    return [contour for contour in contours if contour.instant == nearest]

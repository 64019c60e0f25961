"""Where a position is at another time: proper motion, and with parallax and radial velocity the true motion through space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

MAS = np.pi / 180.0 / 3_600_000.0  # radians
AU_PER_YEAR = 4.740470463533349  # km/s


def moved(
    lon: npt.ArrayLike,
    lat: npt.ArrayLike,
    years: npt.ArrayLike,
    pm_lon: npt.ArrayLike,
    pm_lat: npt.ArrayLike,
    parallax: npt.ArrayLike = 0.0,
    velocity: npt.ArrayLike = 0.0,
) -> tuple[Numbers, Numbers]:
    """Move positions along straight lines through space (Hipparcos catalogue, volume 1, section 1.5.5).

    Parameters
    ----------
    lon, lat
        Degrees.
    years
        Julian years to go; negative ones go back.
    pm_lon, pm_lat
        mas/yr; `pm_lon` includes cos(lat).
    parallax
        mas; 0 and less: infinitely far, where a radial velocity changes nothing.
    velocity
        km/s, away from us.

    Returns
    -------
    tuple of arrays
        Longitude (0 to 360) and latitude, degrees.
    """
    a, d = np.radians(np.asarray(lon, dtype=np.float64)), np.radians(np.asarray(lat, dtype=np.float64))
    time = np.asarray(years, dtype=np.float64)
    east, north = np.asarray(pm_lon, dtype=np.float64) * MAS * time, np.asarray(pm_lat, dtype=np.float64) * MAS * time
    distant = np.maximum(np.asarray(parallax, dtype=np.float64), 0.0)
    out = 1.0 + np.asarray(velocity, dtype=np.float64) * distant / AU_PER_YEAR * MAS * time
    sin_a, cos_a, sin_d, cos_d = np.sin(a), np.cos(a), np.sin(d), np.cos(d)
    x = cos_a * cos_d * out - sin_a * east - cos_a * sin_d * north
    y = sin_a * cos_d * out + cos_a * east - sin_a * sin_d * north
    z = sin_d * out + cos_d * north
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))

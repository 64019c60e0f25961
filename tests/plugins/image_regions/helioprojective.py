"""Helioprojective directions by textbook formulas (Thompson 2006, A&A 449, 791), to check Hven's discs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.plugins.image_regions.disc_image import RADIANS_PER_ARCSECOND, project_to_sphere

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]


def convert_to_carrington(lon: npt.ArrayLike, l0: npt.ArrayLike) -> Numbers:
    """Convert Stonyhurst to Carrington longitudes, or back with ``-l0``.

    Parameters
    ----------
    lon, l0
        Degrees, broadcast, of any shape.

    Returns
    -------
    lon
        Degrees in [0, 360), of the same shape.
    """
    turned = np.add(lon, l0, dtype=np.float64) % 360.0
    return np.where(turned >= 360.0, 0.0, turned)


def project_to_surface(
    x: npt.ArrayLike, y: npt.ArrayLike, lon: npt.ArrayLike, lat: npt.ArrayLike, radius: npt.ArrayLike
) -> tuple[Numbers, Numbers]:
    """Find what is seen in helioprojective directions.

    Parameters
    ----------
    x, y
        Arcseconds to the west (right) and north of the centre of the disc, as angles on the observer's sky; of any shape, broadcast.
    lon, lat
        The point below the observer, degrees, broadcast: (0, B0) gives Stonyhurst's coordinates to an observer at the Earth, (L0, B0) Carrington's.
    radius
        How large the Sun looks in this observation, arcseconds (`apparent_radius`); broadcast.

    Returns
    -------
    lon, lat
        Degrees, longitudes in [0, 360), of the same shape. NaN: that is off the disc.
    """
    x, y, lon, lat, radius = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (x, y, lon, lat, radius)))
    tan = np.tan(radius * RADIANS_PER_ARCSECOND)
    u, v = (
        np.tan(x * RADIANS_PER_ARCSECOND) / tan,
        np.tan(y * RADIANS_PER_ARCSECOND) / np.cos(x * RADIANS_PER_ARCSECOND) / tan,
    )
    on = u * u + v * v <= 1.0
    right, up, near = project_to_sphere(u, v, tan)
    cos, sin = np.cos(np.radians(lat)), np.sin(np.radians(lat))
    out = near * cos - up * sin
    return (
        np.where(on, convert_to_carrington(np.degrees(np.arctan2(right, out)), lon), np.nan),
        np.where(on, np.degrees(np.arctan2(up * cos + near * sin, np.hypot(right, out))), np.nan),
    )


def compute_direction(
    lon: npt.ArrayLike, lat: npt.ArrayLike, from_lon: npt.ArrayLike, from_lat: npt.ArrayLike, radius: npt.ArrayLike
) -> tuple[Numbers, Numbers, Flags]:
    """Find the helioprojective directions of places on the sphere: `surface` back.

    Parameters
    ----------
    lon, lat
        Degrees, of any shape, broadcast.
    from_lon, from_lat
        The point below the observer, degrees, broadcast.
    radius
        How large the Sun looks from there, arcseconds, broadcast.

    Returns
    -------
    x, y
        Arcseconds, of the same shape.
    visible
        Whether the place is on this side of the limb, of the same shape.
    """
    turn = np.radians(np.subtract(lon, from_lon, dtype=np.float64))
    phi, tilt = np.radians(np.asarray(lat, dtype=np.float64)), np.radians(np.asarray(from_lat, dtype=np.float64))
    right, out, up = np.cos(phi) * np.sin(turn), np.cos(phi) * np.cos(turn), np.sin(phi)
    near, north = out * np.cos(tilt) + up * np.sin(tilt), up * np.cos(tilt) - out * np.sin(tilt)
    size = np.sin(np.asarray(radius, dtype=np.float64) * RADIANS_PER_ARCSECOND)
    away = 1.0 - near * size  # in distances of the observer
    return (
        np.arctan2(right * size, away) / RADIANS_PER_ARCSECOND,
        np.arctan2(north * size, np.hypot(right * size, away)) / RADIANS_PER_ARCSECOND,
        near >= size,
    )

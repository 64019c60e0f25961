"""Positions in a direction and at a distance from a point, which tests of shapes and cells need."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import sphere

if TYPE_CHECKING:
    import numpy.typing as npt


def compute_offset_position(
    lon: float, lat: float, position_angle: npt.ArrayLike, separation: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute the positions in a direction and at a distance from a point, along great circles.

    Parameters
    ----------
    lon, lat
        Degrees, the point.
    position_angle
        Position angles, degrees from north through east; shape (n,) or a number.
    separation
        Distances in degrees, broadcast against `position_angle`.

    Returns
    -------
    lon, lat
        Degrees, longitudes in [0, 360), shape (n,).
    """
    phi = math.radians(lat)
    arc = np.radians(np.asarray(separation, dtype=np.float64))
    angle = np.radians(np.asarray(position_angle, dtype=np.float64))
    east = np.sin(arc) * np.sin(angle)
    north = math.cos(phi) * np.sin(arc) * np.cos(angle) + math.sin(phi) * np.cos(arc)
    outward = math.cos(phi) * np.cos(arc) - math.sin(phi) * np.sin(arc) * np.cos(angle)
    offset_lon = lon + np.degrees(np.arctan2(east, outward))
    offset_lat = np.degrees(np.arctan2(north, np.hypot(east, outward)))
    return sphere.wrap_longitudes(offset_lon), offset_lat

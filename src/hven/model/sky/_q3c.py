"""Compute pixels of Q3C, the quad tree cube (Koposov & Bartunov 2006, ADASS XV, 735).

The sky is projected onto the faces of a cube, whose cells are in Morton order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_FACE_SIDE_PIXELS = 1 << 30  # pixels along the side of a face, as the databases have them
_INTERLEAVE_STEPS = (
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)


def compute_q3c_pixel_numbers(lon: npt.ArrayLike, lat: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Compute the number of the pixel of each position.

    Parameters
    ----------
    lon, lat
        Degrees, of one shape; longitudes are taken modulo 360, latitudes beyond a pole are the pole.

    Returns
    -------
    pixels
        Of the shape of the positions: ``face * 2**60`` plus the number in the face; face 0 has the north pole, 1 to 4
        the equator from longitude 0 on, 5 the south pole.
    """
    longitude = np.mod(np.asarray(lon, np.float64), 360.0)
    latitude = np.radians(np.clip(np.asarray(lat, np.float64), -90.0, 90.0))
    side = np.mod(np.floor((longitude + 45.0) / 90.0), 4.0)
    along = np.radians(longitude - 90.0 * side)
    along = np.where(along > np.pi, along - 2 * np.pi, along)
    with np.errstate(all="ignore"):
        x = np.tan(along)
        y = np.tan(latitude) / np.cos(along)
        north = y > 1.0
        south = y < -1.0
        around = np.radians(longitude)
        inward = 1.0 / np.tan(latitude)
        polar = north | south
        polar_sign = np.where(north, 1.0, -1.0)
        x = np.where(polar, polar_sign * np.sin(around) * inward, x)
        y = np.where(polar, -np.cos(around) * inward, y)
    equatorial_face = np.where(south, 5.0, side + 1.0)
    face = np.where(north, 0.0, equatorial_face).astype(np.int64)
    x_bits = insert_zero_bits(_compute_grid_index(x))
    y_bits = insert_zero_bits(_compute_grid_index(y))
    return (face << 60) | x_bits | (y_bits << 1)


def _compute_grid_index(coordinate: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Compute the row or column of a coordinate between -1 and 1."""
    share = (np.nan_to_num(coordinate) + 1.0) / 2.0
    index = np.floor(share * _FACE_SIDE_PIXELS)
    return np.clip(index, 0, _FACE_SIDE_PIXELS - 1).astype(np.int64)


def insert_zero_bits(number: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Insert a zero before each bit.

    Parameters
    ----------
    number
        Numbers of 30 bits, any shape.

    Returns
    -------
    number
        Numbers of 60 bits, of that shape.
    """
    for shift, mask in _INTERLEAVE_STEPS:
        number = (number | (number << shift)) & mask
    return number

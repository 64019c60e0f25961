"""Define frames of longitudes and latitudes, on the sky or on a body, and rotate positions between those of the sky."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

CELESTIAL_FRAMES = frozenset(["ICRS", "FK5", "FK4", "GALACTIC", "SUPER_GALACTIC", "ECLIPTIC"])
"""Words of the IVOA refframe vocabulary, ``_`` for ``-``, for frames on the sky."""


BODY_FRAME_NAME = "BODY"
"""The vocabulary's word for frames that turn with a body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinateFrame:
    """Describe a frame of longitude and latitude, in degrees.

    Attributes
    ----------
    name
        For a celestial frame: ICRS, FK5, FK4, GALACTIC, SUPER_GALACTIC, ECLIPTIC; for a body-fixed frame: BODY.
    body
        ``Mars``; None on the sky.
    code
        IAU or NAIF code of the body-fixed frame: ``49910``, ``IAU_MARS``.
    graphic
        Whether latitudes are planetographic; otherwise they are planetocentric (the default of the IAU's cartography
        group).
    flattening
        (a - c) / a of the reference ellipsoid, for conversions between graphic and centric latitudes.
    west
        Whether longitude increases westward.
    """

    name: str = "ICRS"
    body: str | None = None
    code: str | None = None
    graphic: bool = False
    flattening: float = 0.0
    west: bool = False


ROTATION_FRAMES = ("ICRS", "FK5", "FK4", "GALACTIC", "ECLIPTIC")
"""Frames of `rotate_positions`: FK5 and ECLIPTIC at J2000, FK4 at B1950; words of the IVOA refframe vocabulary."""


def rotate_positions(lon: npt.ArrayLike, lat: npt.ArrayLike, source: str, target: str) -> tuple[Numbers, Numbers]:
    """Rotate positions from one frame into another, without aberration terms or proper motions.

    Parameters
    ----------
    lon, lat
        Degrees, of one shape (...,).
    source, target
        Names among `ROTATION_FRAMES`.

    Returns
    -------
    lon, lat
        Degrees, longitudes in [0, 360), of the same shape.

    Raises
    ------
    ValueError
        A frame is not among `ROTATION_FRAMES`.
    """
    for name in (source, target):
        if name not in ROTATION_FRAMES:
            message = f"the frame {name!r} is not known; use one of {', '.join(ROTATION_FRAMES)}"
            raise ValueError(message)
    a = np.radians(np.asarray(lon, dtype=np.float64))
    d = np.radians(np.asarray(lat, dtype=np.float64))
    xyz = np.stack([np.cos(a) * np.cos(d), np.sin(a) * np.cos(d), np.sin(d)])
    rotation = _compute_rotation_matrix(target) @ _compute_rotation_matrix(source).T
    x, y, z = rotation @ xyz
    target_lon = np.degrees(np.arctan2(y, x)) % 360.0
    target_lat = np.degrees(np.arctan2(z, np.hypot(x, y)))
    return target_lon, target_lat


@lru_cache(maxsize=len(ROTATION_FRAMES))
def _compute_rotation_matrix(frame_name: str) -> Numbers:
    """Compute the matrix that rotates ICRS into a frame, from astropy's transformation of the three axes."""
    if frame_name == "ICRS":
        return np.eye(3)
    from astropy import coordinates  # noqa: PLC0415  (it takes a second to load; few need it)

    target_frame = {
        "FK5": lambda: coordinates.FK5(equinox="J2000"),
        # the elliptic terms of aberration are no rotation
        "FK4": lambda: coordinates.FK4NoETerms(equinox="B1950", obstime="B1950"),
        "GALACTIC": coordinates.Galactic,
        "ECLIPTIC": lambda: coordinates.BarycentricMeanEcliptic(equinox="J2000"),
    }[frame_name]()
    axes = coordinates.SkyCoord(coordinates.CartesianRepresentation(np.eye(3)), frame="icrs")
    return np.asarray(axes.transform_to(target_frame).cartesian.xyz.value, dtype=np.float64)

"""Define frames of longitudes and latitudes, on the sky or on a body, and transform positions between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

ASTROPY_FRAMES = {
    "ICRS": "icrs",
    "FK5": "fk5",
    "FK4": "fk4",
    "GALACTIC": "galactic",
    "SUPER_GALACTIC": "supergalactic",
    "ECLIPTIC": "barycentrictrueecliptic",
}
"""Word of the IVOA refframe vocabulary (upper case, ``_`` for ``-``) -> astropy's name.

Other words have no transformation.
"""


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
    signed
        Whether longitudes run from -180 to 180; otherwise they run from 0 to 360.
    equinox, epoch
        Julian or Besselian years as text: ``J2000``, ``B1950``, ``2016.0``.
    observer
        The origin of the directions: BARYCENTER, GEOCENTER, a spacecraft.
    """

    name: str = "ICRS"
    body: str | None = None
    code: str | None = None
    graphic: bool = False
    flattening: float = 0.0
    west: bool = False
    signed: bool = False
    equinox: str | None = None
    epoch: str | None = None
    observer: str | None = None


ICRS_FRAME = CoordinateFrame()


def transform_positions(
    lon: npt.ArrayLike, lat: npt.ArrayLike, source: CoordinateFrame, target: CoordinateFrame
) -> tuple[Numbers, Numbers]:
    """Transform positions from one frame into another.

    Parameters
    ----------
    lon, lat
        Degrees, of one shape. NaN stays NaN.
    source, target
        Frames on the sky or on one body. Between frames of the sky, epochs and equinoxes count.

    Returns
    -------
    lon, lat
        Degrees, of the same shape, with longitudes in the range of the target.

    Raises
    ------
    ValueError
        There is no transformation between the two: another body, or an unknown frame.
    """
    lon = np.asarray(lon, dtype=np.float64)
    lat = np.asarray(lat, dtype=np.float64)
    if source == target:
        return _wrap_longitudes(lon, target), lat
    if source.body is not None or target.body is not None:
        if source.body != target.body or source.name != target.name:
            message = f"there is no transformation from {_describe_frame(source)} to {_describe_frame(target)}"
            raise ValueError(message)
        if source.code is not None and target.code is not None and source.code != target.code:
            message = f"{source.code} and {target.code} are different frames of {source.body}"
            raise ValueError(message)
        body_lon = lon if source.west == target.west else -lon
        return _wrap_longitudes(body_lon, target), _convert_body_latitudes(lat, source, target)
    east = -lon if source.west else lon
    source_key = (source.name.upper(), source.equinox, source.epoch)
    target_key = (target.name.upper(), target.equinox, target.epoch)
    if source_key != target_key:
        east, lat = _transform_celestial_positions(east, lat, source, target)
    target_lon = -east if target.west else east
    return _wrap_longitudes(target_lon, target), lat


def _describe_frame(frame: CoordinateFrame) -> str:
    if frame.body:
        return f"{frame.name} of {frame.body}"
    return frame.name


def _wrap_longitudes(lon: Numbers, frame: CoordinateFrame) -> Numbers:
    """Wrap longitudes to the range of the frame; longitudes within the range keep all their bits."""
    if frame.signed:
        low, high = (-180.0, 180.0)
    else:
        low, high = (0.0, 360.0)
    is_in_range = (lon >= low) & (lon < high)
    if bool(is_in_range.all()):
        return lon
    turned = (lon - low) % 360.0 + low
    wrapped = np.where(turned >= high, low, turned)
    return np.where(is_in_range, lon, wrapped)


def _convert_body_latitudes(lat: Numbers, source: CoordinateFrame, target: CoordinateFrame) -> Numbers:
    if source.graphic == target.graphic:
        return lat
    flattening = source.flattening or target.flattening
    ratio = (1.0 - flattening) ** 2  # tan(centric) = (c/a)^2 tan(graphic) on the ellipsoid
    phi = np.radians(lat)
    sin = np.sin(phi)
    cos = np.cos(phi)
    if source.graphic:
        return np.degrees(np.arctan2(sin * ratio, cos))
    return np.degrees(np.arctan2(sin, cos * ratio))


def _transform_celestial_positions(
    lon: Numbers, lat: Numbers, source: CoordinateFrame, target: CoordinateFrame
) -> tuple[Numbers, Numbers]:
    from astropy import units  # noqa: PLC0415  (it takes a second to load; few need it)
    from astropy.coordinates import SkyCoord  # noqa: PLC0415  (it takes a second to load; few need it)

    is_position = np.isfinite(lon) & (np.abs(lat) <= 90.0)
    safe_lon = np.where(is_position, lon, 0.0) * units.deg
    safe_lat = np.where(is_position, lat, 0.0) * units.deg
    positions = SkyCoord(safe_lon, safe_lat, frame=_build_astropy_frame(source))
    spherical = positions.transform_to(_build_astropy_frame(target)).spherical
    target_lon = np.where(is_position, spherical.lon.deg, np.nan)
    target_lat = np.where(is_position, spherical.lat.deg, np.nan)
    return target_lon, target_lat


def _build_astropy_frame(frame: CoordinateFrame) -> Any:
    from astropy.coordinates import frame_transform_graph  # noqa: PLC0415  (it takes a second to load; few need it)

    name = ASTROPY_FRAMES.get(frame.name.upper().replace("-", "_"))
    if name is None:
        message = f"the frame {frame.name!r} is not known; use one of {', '.join(ASTROPY_FRAMES)}"
        raise ValueError(message)
    frame_class = frame_transform_graph.lookup_name(name)
    arguments = {}
    if frame.equinox and name in {"fk5", "fk4", "barycentrictrueecliptic"}:
        arguments["equinox"] = frame.equinox
    return frame_class(**arguments)


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

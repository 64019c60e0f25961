"""Frames of bodies: their names in all spellings, and conversions to one kind of longitudes and latitudes.

The frames are those of the report of the IAU's working group of 2015, with PROJ's authority ``IAU_2015``. The code of a
frame is the number of the body (NAIF), times 100, plus a suffix for latitudes and projection. The older numbers
``IAU2000`` and ``IAU2009`` have other suffixes, which `_SUFFIXES_BY_OLDER_SUFFIX` lists.

Common
------
lon, lat
    Longitudes to the east and planetocentric latitudes in degrees.
x, y
    Coordinates of a frame, the horizontal one first, whatever the order of its axes is.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyproj
from pyproj.database import query_crs_info
from pyproj.enums import PJType

from hven.model.errors import ParamError, suggest_spelling
from hven.plugins.maps.older_radii import OLDER_RADII_M

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

FrameKind = Literal["geographic", "equirectangular", "north_polar", "south_polar", "orthographic", "projected"]
AUTHORITY = "IAU_2015"
SPELLINGS_TEXT = "write IAU_2015:49900, IAU:2015:49900, urn:ogc:def:crs:IAU:2015:49900 or IAU2000:49918"
POLAR_CAP_LATITUDE_DEG = 60.0  # polar maps reach from the pole to this latitude
MAX_RADIUS_DIFFERENCE = 0.01  # share of the radius by which a file may differ from its body
_FRAME_PATTERN = re.compile(
    r"(?:urn:(?:x-)?ogc:def:crs:|https?://www\.opengis\.net/def/crs/)?"
    r"IAU[_:/]?(2000|2009|2015)?[:/](?:(2000|2009|2015)?[:/])?(\d{3,12})",
    re.IGNORECASE,
)
_KINDS_BY_SUFFIX: Mapping[int, FrameKind] = {
    0: "geographic",
    10: "equirectangular",
    15: "equirectangular",
    30: "north_polar",
    35: "south_polar",
    65: "orthographic",
    70: "orthographic",
}
# the suffixes of the reports of 2000 and 2009 -> those of 2015, which leave room between projections
_SUFFIXES_BY_OLDER_SUFFIX: Mapping[int, int] = {0: 0, 1: 1} | {
    suffix: 10 + (suffix - 10) // 2 * 5 + suffix % 2 for suffix in range(10, 30)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CelestialBody:
    """A body with frames.

    Attributes
    ----------
    name
        Name in English, as in the report: ``Mars``.
    number
        Number of the body (NAIF).
    radius_m
        Radius of the sphere on which its planetocentric frames are, in metres.
    equatorial_radius_m, polar_radius_m
        Radii of its ellipsoid in metres; those of the sphere if the report has none.
    """

    name: str
    number: int
    radius_m: float
    equatorial_radius_m: float
    polar_radius_m: float

    @property
    def metres_per_degree(self) -> float:
        """Metres in a degree of the equator."""
        return math.pi * self.radius_m / 180

    def get_frame(self, suffix: int) -> Frame:
        """Return a frame of the body by its suffix in the list of 2015.

        Parameters
        ----------
        suffix
            0 for longitude and latitude, 30 for the north pole.
        """
        return find_frame(f"{AUTHORITY}:{self.number * 100 + suffix}")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame of a body.

    Attributes
    ----------
    name
        ``IAU_2015:49900``; empty for the projection of a file without a number.
    crs
        The frame for PROJ.
    kind
        Kind of its coordinates.
    has_ographic_latitudes, is_west_positive
        Whether its latitudes are planetographic; whether its longitudes, or its horizontal coordinates, grow to the
        west.
    is_vertical_first
        Whether latitude or northing is its first axis.
    """

    name: str
    body: CelestialBody
    crs: pyproj.CRS
    kind: FrameKind
    has_ographic_latitudes: bool = False
    is_west_positive: bool = False
    is_vertical_first: bool = False

    @property
    def title(self) -> str:
        """Name for people."""
        return str(self.crs.name)

    @property
    def is_geographic(self) -> bool:
        """Whether its coordinates are longitude and latitude."""
        return self.kind == "geographic"

    @property
    def is_cylindrical(self) -> bool:
        """Whether x depends on the longitude alone and y on the latitude alone, both linearly."""
        return self.kind in {"geographic", "equirectangular"}

    @property
    def metres_per_unit(self) -> float:
        """Metres in a unit of its coordinates."""
        return self.body.metres_per_degree if self.is_geographic else 1.0

    @property
    def ogc_uri(self) -> str:
        """Address of the frame in OGC's registry."""
        return f"http://www.opengis.net/def/crs/IAU/2015/{self.code}"

    @property
    def ogc_urn(self) -> str:
        """URN of the frame, as PROJ 9 and QGIS 3.22 read it: with PROJ's name of the authority."""
        return f"urn:ogc:def:crs:IAU_2015::{self.code}"

    @property
    def code(self) -> int:
        """Number of the frame in its list."""
        return int(self.name.rpartition(":")[2])

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """West, south, east and north ends of whole maps, in its units; polar maps are squares."""
        if self.is_geographic:
            return -180.0, -90.0, 180.0, 90.0
        if self.kind == "equirectangular":
            if not self.name:
                return self._measure_extent()
            half_width = math.pi * self._equatorial_radius_m
            return -half_width, -half_width / 2, half_width, half_width / 2
        if self.kind in {"north_polar", "south_polar"}:
            half_width = 2 * self._equatorial_radius_m * math.tan(math.radians((90 - POLAR_CAP_LATITUDE_DEG) / 2))
        else:
            half_width = self._equatorial_radius_m
        return -half_width, -half_width, half_width, half_width

    def _measure_extent(self) -> tuple[float, float, float, float]:
        """Measure the extent of an equirectangular frame, whose standard parallel and origin may be any."""
        match = re.search(r"\+lon_0=(\S+)", self.proj_text)
        middle_lon = float(match[1]) if match else 0.0
        lon, lat = middle_lon + np.array([0.0, 90.0, 0.0, 0.0]), np.array([0.0, 0.0, -90.0, 90.0])
        x, y = self.convert_from_lon_lat(lon, lat)
        half_width = 2 * abs(x[1] - x[0])
        return float(x[0] - half_width), float(y[2]), float(x[0] + half_width), float(y[3])

    @property
    def _equatorial_radius_m(self) -> float:
        ellipsoid = self.crs.ellipsoid
        return self.body.radius_m if ellipsoid is None else float(ellipsoid.semi_major_metre)

    @property
    def proj_text(self) -> str:
        """The frame as a text of PROJ with x first, for browsers; empty if PROJ cannot write it."""
        if self.is_geographic and not self.has_ographic_latitudes:
            return f"+proj=longlat +R={self.body.radius_m:.12g} +no_defs"
        try:
            return _write_proj4(self.crs).removesuffix(" +type=crs")
        except pyproj.exceptions.CRSError:
            return ""

    def convert_to_lon_lat(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Convert coordinates; places outside the projection become infinite."""
        if not self.is_geographic:
            x, y = self._unproject(x, y)
        if self.is_west_positive:
            x = -x
        if self.has_ographic_latitudes:
            with np.errstate(invalid="ignore"):  # of infinite places
                y = np.degrees(np.arctan(np.tan(np.radians(y)) * self._squared_axis_ratio))
        return x, y

    def convert_from_lon_lat(self, lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Convert to coordinates; places that the projection cannot show become infinite."""
        if self.has_ographic_latitudes:
            lat = np.degrees(np.arctan(np.tan(np.radians(lat)) / self._squared_axis_ratio))
        if self.is_west_positive:
            lon = -lon
        if self.is_geographic:
            return lon, lat
        projection, is_latitude_first = _get_projection(self.crs)
        first, second = projection.transform(*((lat, lon) if is_latitude_first else (lon, lat)))
        return self.order_axes(first, second)

    def _unproject(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the longitude and latitude of the frame's own geographic system."""
        projection, is_latitude_first = _get_projection(self.crs)
        first, second = projection.transform(*self.order_axes(x, y), direction="INVERSE")
        if is_latitude_first:
            return second, first
        return first, second

    @property
    def _squared_axis_ratio(self) -> float:
        return (self.body.polar_radius_m / self.body.equatorial_radius_m) ** 2

    def write_coordinates(self, horizontal: float, vertical: float) -> str:
        """Write two coordinates in the order of the axes, for documents."""
        return "{!r} {!r}".format(*self.order_axes(horizontal, vertical))

    def write_corners(self, bounds: tuple[float, float, float, float]) -> tuple[str, str]:
        """Write the lower and the upper corner of a box with west, south, east and north ends."""
        return self.write_coordinates(*bounds[:2]), self.write_coordinates(*bounds[2:])

    def order_axes(self, horizontal: Any, vertical: Any) -> tuple[Any, Any]:
        """Return two values in the order of the axes."""
        if self.is_vertical_first:
            return vertical, horizontal
        return horizontal, vertical


def _write_proj4(crs: pyproj.CRS) -> str:
    """Write a system as a text of PROJ, without the warning that the order of the axes is lost."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return str(crs.to_proj4())


@lru_cache(maxsize=200)
def _get_projection(crs: pyproj.CRS) -> tuple[pyproj.Transformer, bool]:
    """Return what projects a system's own geographic coordinates, and whether latitude is the first of these."""
    base = crs.geodetic_crs
    assert base is not None  # noqa: S101  (all frames have one)
    return pyproj.Transformer.from_crs(base, crs), base.axis_info[0].direction == "north"


def compute_place_errors(expected: tuple[FloatArray, FloatArray], found: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Compute how far longitudes and latitudes are from those that are expected, where both are on the body.

    Returns
    -------
    errors
        Degrees, shape (2, n); places at the poles, where longitudes mean nothing, are left out.
    """
    (lon, lat), (found_lon, found_lat) = expected, found
    is_known = np.isfinite(lon) & np.isfinite(found_lon) & (np.abs(lat) < 90 - 1e-6)
    return np.abs(np.stack([(found_lon - lon + 180) % 360 - 180, found_lat - lat])[:, is_known])


@lru_cache(maxsize=1)
def map_body_numbers() -> Mapping[str, int]:
    """Map the names of bodies to their numbers."""
    crs_infos = query_crs_info(AUTHORITY, pj_types=[PJType.GEOGRAPHIC_2D_CRS])
    return {info.name.partition(" (")[0]: int(info.code) // 100 for info in crs_infos if int(info.code) % 100 == 0}


def find_body(name: str) -> CelestialBody:
    """Find a body by its name.

    Parameters
    ----------
    name
        Name in English; case does not matter.

    Raises
    ------
    ParamError
        PROJ knows no frames of it.
    """
    names = {body_name.lower(): body_name for body_name in map_body_numbers()}
    proper_name = names.get(name.strip().lower())
    if proper_name is None:
        remedy = suggest_spelling(name, names.values()) or "write its English name, for example Mars"
        raise ParamError(f"there is no body {name[:60]!r} with IAU frames", name="body", remedy=remedy)
    return get_body_by_number(map_body_numbers()[proper_name])


@lru_cache(maxsize=200)
def get_body_by_number(number: int) -> CelestialBody:
    """Return a body by its number.

    Parameters
    ----------
    number
        Number of the body (NAIF).

    Raises
    ------
    ParamError
        PROJ knows no frames of it.
    """
    sphere = _find_crs(number * 100)
    if sphere is None or sphere.ellipsoid is None:
        raise ParamError(f"there is no body {number} with IAU frames", name="CRS", remedy=SPELLINGS_TEXT)
    crs = _find_crs(number * 100 + 1) or _find_crs(number * 100 + 2) or sphere
    ellipsoid = crs.ellipsoid or sphere.ellipsoid
    return CelestialBody(
        name=sphere.name.partition(" (")[0],
        number=number,
        radius_m=sphere.ellipsoid.semi_major_metre,
        equatorial_radius_m=ellipsoid.semi_major_metre,
        polar_radius_m=ellipsoid.semi_minor_metre,
    )


def _find_crs(code: int) -> pyproj.CRS | None:
    try:
        return pyproj.CRS.from_authority(AUTHORITY, code)
    except pyproj.exceptions.CRSError:
        return None


@lru_cache(maxsize=1000)
def find_frame(text: str) -> Frame:
    """Find a frame by its name.

    Parameters
    ----------
    text
        The name in any spelling: ``IAU_2015:49900``, ``IAU:2015:49900``, a URN or address of OGC, ``IAU2000:49900``.

    Raises
    ------
    ParamError
        There is no such frame.
    """
    match = _FRAME_PATTERN.fullmatch(text.strip())
    if match is None:
        message = f"{text[:80]!r} is not the name of an IAU frame"
        raise ParamError(message, name="CRS", remedy=SPELLINGS_TEXT)
    year = match[1] or match[2] or "2015"
    number, suffix = divmod(int(match[3]), 100)
    if year == "2015":
        return _build_frame(f"{AUTHORITY}:{number * 100 + suffix}", number, suffix)
    present_suffix = _SUFFIXES_BY_OLDER_SUFFIX.get(suffix)
    if present_suffix is None:
        message = f"Hven does not know the projection of {text[:80]!r}"
        raise ParamError(message, name="CRS", remedy="write a frame of the IAU report of 2015, such as IAU_2015:49910")
    frame = _build_frame(f"IAU{year}:{number * 100 + suffix}", number, present_suffix)
    return _with_older_radii(frame, number, year)


def _with_older_radii(frame: Frame, number: int, year: str) -> Frame:
    """Give a projected frame the radii of the report of 2000; longitudes and latitudes do not depend on them."""
    if year != "2000" or frame.is_geographic:
        return frame
    radii_m = OLDER_RADII_M.get(number)
    if radii_m is None:
        message = f"Hven does not know the radii of {frame.body.name} in the IAU report of 2000"
        remedy = f"write a frame of the IAU report of 2015, such as {AUTHORITY}:{number}10"
        raise ParamError(message, name="CRS", remedy=remedy)
    equatorial_m, polar_m = radii_m
    if equatorial_m == frame.body.equatorial_radius_m and polar_m == frame.body.polar_radius_m:
        return frame
    definition = frame.proj_text
    definition = re.sub(r"\+R=\S+", f"+R={equatorial_m}", definition)
    definition = re.sub(r"\+a=\S+ \+b=\S+", f"+a={equatorial_m} +b={polar_m}", definition)
    body = replace(frame.body, radius_m=equatorial_m, equatorial_radius_m=equatorial_m, polar_radius_m=polar_m)
    return replace(frame, crs=pyproj.CRS(definition), body=body)


def _build_frame(name: str, number: int, suffix: int) -> Frame:
    crs = _find_crs(number * 100 + suffix)
    if crs is None or len(crs.axis_info) != 2:
        raise ParamError(f"there is no frame {name}", name="CRS", remedy=SPELLINGS_TEXT)
    directions = [axis.direction for axis in crs.axis_info]
    return Frame(
        name=name,
        body=get_body_by_number(number),
        crs=crs,
        kind=_KINDS_BY_SUFFIX.get(suffix - suffix % 5, "projected"),
        has_ographic_latitudes=suffix % 5 == 1,
        is_west_positive="west" in directions,
        is_vertical_first=directions[0] == "north",
    )


def identify_frame(wkt: str, body: CelestialBody | None) -> Frame:
    """Identify the frame of a file from its WKT.

    Parameters
    ----------
    wkt
        The system as the file has it.
    body
        The body that the descriptor names; None: the file must tell it.

    Raises
    ------
    ParamError
        The system is not one of the body, or does not tell which latitudes and longitudes the file has.
    """
    crs = pyproj.CRS.from_wkt(wkt)
    authority = crs.to_authority(auth_name=AUTHORITY, min_confidence=100)
    if authority is not None:
        frame = find_frame(":".join(authority))
        if body is None or frame.body == body:
            return frame
        message = f"the file's frame is {frame.name} ({frame.body.name}), but `body` is {body.name}"
        remedy = "correct `body`; if the file names the wrong frame, write the right one as `frame`"
        raise ParamError(message, name="frame", remedy=remedy)
    body = body or _guess_body(crs)
    ellipsoid = crs.ellipsoid
    if body is None or ellipsoid is None:
        message = f"the file's coordinate system {crs.name!r} does not name a body"
        raise ParamError(message, name="frame", remedy="write `body` or `frame`")
    radius_m = ellipsoid.semi_major_metre
    if abs(radius_m / body.radius_m - 1) > MAX_RADIUS_DIFFERENCE:
        message = (
            f"the radius of {body.name} is {body.radius_m:,.0f} m, but the file has {radius_m:,.0f} m ({crs.name!r})"
        )
        remedy = f"write the `frame` of the file, such as {AUTHORITY}:{body.number}00"
        raise ParamError(message, name="frame", remedy=remedy)
    if ellipsoid.semi_major_metre != ellipsoid.semi_minor_metre:
        message = f"the file's coordinate system {crs.name!r} does not say whether its latitudes are planetographic"
        remedy = f"write `frame`, for example {AUTHORITY}:{body.number}01 for planetographic latitudes"
        raise ParamError(message, name="frame", remedy=remedy)
    return _convert_crs_to_frame(crs, body)


def _guess_body(crs: pyproj.CRS) -> CelestialBody | None:
    """Find the body whose name is in the names of a system."""
    geodetic_crs = crs.geodetic_crs
    names = [crs.name]
    if geodetic_crs is not None:
        names += [geodetic_crs.name, geodetic_crs.datum.name if geodetic_crs.datum else ""]
    words = {word.lower() for name in names for word in re.findall(r"[A-Za-z]+", name)}
    for body_name in map_body_numbers():
        if body_name.lower() in words:
            return find_body(body_name)
    return None


def _convert_crs_to_frame(crs: pyproj.CRS, body: CelestialBody) -> Frame:
    """Find the numbered frame that equals a system on a sphere; otherwise, build a frame without a number."""
    definition = _list_projection_parameters(crs)
    for suffix in (0, *range(10, 95, 5)):
        frame = body.get_frame(suffix)
        if _list_projection_parameters(frame.crs) == definition or (suffix == 0 and crs.is_geographic):
            return frame
    kind: FrameKind = "projected"
    if "+proj=eqc" in definition:
        kind = "equirectangular"
    return Frame(name="", body=body, crs=pyproj.CRS(_write_proj4(crs)), kind=kind)


def _list_projection_parameters(crs: pyproj.CRS) -> frozenset[str]:
    """Write what defines a projection, without what does not matter."""
    ignored_parts = {"+no_defs", "+type=crs", "+k=1", "+lat_ts=0", "+lat_0=0", "+lon_0=0", "+x_0=0", "+y_0=0", "+R_C"}
    text = _write_proj4(crs).replace("+lat_ts=90", "+k=1").replace("+lat_ts=-90", "+k=1")
    return frozenset(re.sub(r"=(-?\d+)\.0+$", r"=\1", part) for part in text.split()) - ignored_parts

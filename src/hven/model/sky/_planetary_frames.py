"""Parse frames of bodies in WKT, and convert latitudes on ellipsoids of two or three axes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.model.sky._bodies import find_solar_system_body
from hven.model.sky._frame import CoordinateFrame
from hven.model.sky._sphere import to_lon_lat, to_unit_vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]


class BodyFrame(NamedTuple):
    """Describe a frame of a body.

    Attributes
    ----------
    frame
        The frame.
    axes
        Axes of the ellipsoid, metres: towards longitude 0, towards 90 degrees east, and the polar axis.
    meridian
        Longitude of the prime meridian, degrees.
    """

    frame: CoordinateFrame
    axes: tuple[float, float, float]
    meridian: float


def to_planetocentric(
    lon: npt.ArrayLike, lat: npt.ArrayLike, axes: tuple[float, float, float]
) -> tuple[Numbers, Numbers]:
    """Convert planetographic coordinates (the direction of the vertical) to planetocentric ones (from the centre).

    Parameters
    ----------
    lon, lat
        Degrees, eastward, of one shape; NaN stays NaN.
    axes
        Axes of the ellipsoid, in any unit; if all three differ, longitudes change as well.

    Returns
    -------
    lon, lat
        Degrees, longitudes in [0, 360), of the same shape.
    """
    relative_axes = np.divide(axes, max(axes))
    return to_lon_lat(to_unit_vectors(lon, lat) * np.square(relative_axes))


def to_planetographic(
    lon: npt.ArrayLike, lat: npt.ArrayLike, axes: tuple[float, float, float]
) -> tuple[Numbers, Numbers]:
    """Convert planetocentric coordinates to planetographic ones: the inverse of `to_planetocentric`.

    Parameters
    ----------
    lon, lat
        Degrees, eastward, of one shape; NaN stays NaN.
    axes
        Axes of the ellipsoid, in any unit.

    Returns
    -------
    lon, lat
        Degrees, longitudes in [0, 360), of the same shape.
    """
    relative_axes = np.divide(axes, max(axes))
    return to_lon_lat(to_unit_vectors(lon, lat) / np.square(relative_axes))


def parse_wkt_frame(text: str) -> BodyFrame:
    """Parse a frame in well-known text (WKT 1 or 2): IAU_2015's, IAU2000's or another one.

    Parameters
    ----------
    text
        A geographic or geodetic frame, or a projected frame, which contains one.

    Returns
    -------
    frame
        The frame. Latitudes are planetographic if the ellipsoid is no sphere, and the text does not count them from the
        centre.

    Raises
    ------
    ValueError
        The text is not WKT, or has no ellipsoid, or an impossible one.
    """
    tree = _parse_wkt(text)
    base = _find_first_wkt_node(tree, *_GEOGRAPHIC_NODES)
    shape = _find_first_wkt_node(tree, "ELLIPSOID", "SPHEROID", "TRIAXIAL")
    if base is None or shape is None:
        raise ValueError("the text is not the WKT of a body's frame: GEOGCRS or ELLIPSOID is missing")
    a, b, c = _extract_ellipsoid_axes(shape)
    if not (np.isfinite([a, b, c]).all() and min(a, b, c) > 0.0):
        raise ValueError(f"the axes of {shape[0]} {', '.join(map(repr, shape[1][:1]))} must be greater than 0")
    coordinate_system = _find_first_wkt_node(base[1], "CS")
    spherical = (coordinate_system or ("", [""]))[1][0] == "spherical"
    directions = [node[1][1] for node in _find_wkt_nodes(base[1], "AXIS") if len(node[1]) > 1]
    meridian = _find_first_wkt_node(base[1], "PRIMEM")
    name = re.sub(r"^(GCS|D)_|[ _]\(?(IAU)?(19|20)\d\d.*| - .*", "", base[1][0])
    body = find_solar_system_body(name)
    frame = CoordinateFrame(
        name="BODY",
        body=body.name if body else name,
        code=_format_authority_code(_find_first_wkt_node(tree, "ID", "AUTHORITY")),
        graphic=not spherical and a != c and "OCENTRIC" not in base[1][0].upper(),
        flattening=1.0 - c / a,
        west="west" in directions,
    )
    return BodyFrame(frame, (a, b, c), float(meridian[1][1]) if meridian else 0.0)


_GEOGRAPHIC_NODES = (
    "GEOGCRS",
    "GEODCRS",
    "GEOGCS",
    "BASEGEOGCRS",
    "BASEGEODCRS",
    "GEODETICCRS",
    "GEOGRAPHICCRS",
)


def _extract_ellipsoid_axes(shape: Node) -> tuple[float, float, float]:
    """Read the axes of an ellipsoid, metres; 0 for axes that are missing."""
    kind, values = shape
    unit = _find_first_wkt_node(values, "LENGTHUNIT", "UNIT")
    metres_per_unit = 1.0
    if unit:
        metres_per_unit = unit[1][1]
    sizes = [size * metres_per_unit for size in values[1:4] if isinstance(size, float)]
    if kind == "TRIAXIAL":
        if len(sizes) == 3:
            return (sizes[0], sizes[1], sizes[2])
        return (0.0, 0.0, 0.0)
    equatorial = sizes[0] if sizes else 0.0
    inverse_flattening = None
    if len(values) > 2:
        inverse_flattening = values[2]
    if isinstance(inverse_flattening, float) and inverse_flattening:
        return equatorial, equatorial, equatorial * (1.0 - 1.0 / inverse_flattening)
    return equatorial, equatorial, equatorial


def _format_authority_code(authority: Node | None) -> str | None:
    """Format the identifier of a frame as in ``IAU_2015:49900``; None without a numeric code."""
    if authority is None or not isinstance(authority[1][1], float):
        return None
    versions = [f"{year:.0f}" for year in authority[1][2:3]]
    name = "_".join(str(part) for part in (authority[1][0], *versions))
    return f"{name}:{authority[1][1]:.0f}"


_IAU_CODE_PATTERN = re.compile(r"(?:urn:ogc:def:crs:)?IAU[_:]?(2000|2009|2015):(?::)?(\d{3,10})")
# bodies with longitudes to the east, because of their rotation or by custom
_EAST_POSITIVE_BODIES = ("Sun", "Earth", "Moon", "Venus", "Uranus", "Triton", "Pluto", "Charon")


def parse_iau_frame_code(text: str) -> BodyFrame:
    """Parse a frame in a code of the IAU: ``IAU_2015:49901``.

    Parameters
    ----------
    text
        The body's NAIF code and 00 (a sphere), 01 (planetographic) or 02 (planetocentric).

    Returns
    -------
    frame
        The frame; its axes are NaN if the radii of the body are unknown.

    Raises
    ------
    ValueError
        The text is no such code, or that of a map or of an unknown body.
    """
    match = _IAU_CODE_PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r:.60} is neither WKT nor an IAU frame code")
    naif, kind = divmod(int(match[2]), 100)
    body = find_solar_system_body(f"NAIF {naif}")
    if kind > 2:
        raise ValueError(f"{text} is a map projection: it has no longitudes and latitudes")
    if body is None:
        raise ValueError(f"the body with the NAIF code {naif} is not known")
    equatorial, polar = body.radii or (float("nan"), float("nan"))
    a = 1e3 * equatorial
    c = 1e3 * (equatorial if kind == 0 else polar)
    is_regular_moon = body.kind.startswith("moon of") and not body.kind.endswith(("Uranus", "Pluto"))
    regular = body.kind == "planet" or is_regular_moon
    if np.isnan(a):
        flattening = 0.0
    else:
        flattening = 1.0 - c / a
    frame = CoordinateFrame(
        name="BODY",
        body=body.name,
        code=f"IAU_{match[1]}:{match[2]}",
        graphic=kind == 1,
        flattening=flattening,
        west=kind == 1 and regular and body.name not in _EAST_POSITIVE_BODIES,
    )
    return BodyFrame(frame, (a, a, c), 0.0)


Node = tuple[str, list[Any]]
_WKT_TOKEN_PATTERN = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([A-Za-z_][\w]*)|([-+]?[\d.]+(?:[eE][-+]?\d+)?)|([\[(\])]|,))')


def _parse_wkt(text: str) -> list[Any]:
    """Parse WKT: names with brackets become (NAME, [contents of the brackets])."""
    stack: list[list[Any]] = [[]]
    position = 0
    while text[position:].strip():
        match = _WKT_TOKEN_PATTERN.match(text, position)
        if match is None or len(stack) > 50:
            unexpected_text = text[position : position + 30]
            raise ValueError(f"the text is not WKT: {unexpected_text!r} at character {position + 1} is unexpected")
        position = match.end()
        quoted, word, number, mark = match.groups()
        if mark is None:
            stack[-1].append(float(number) if number else word or quoted.replace('""', '"'))
        elif mark in "[(":
            inner: list[Any] = []
            name = ""
            if stack[-1]:
                name = stack[-1].pop()
            stack[-1].append((str(name).upper(), inner))
            stack.append(inner)
        elif mark in "])":
            stack.pop()
            if not stack:
                raise ValueError(f"the text is not WKT: there is an extra bracket at character {position}")
    if len(stack) > 1:
        raise ValueError("the text is not WKT: a bracket is not closed")
    return stack[0]


def _find_wkt_nodes(children: list[Any], *node_names: str) -> list[Node]:
    """List the nodes of these names, outer nodes first."""
    nodes = [node for node in children if isinstance(node, tuple)]
    found_nodes = [node for node in nodes if node[0] in node_names]
    for node in nodes:
        found_nodes += _find_wkt_nodes(node[1], *node_names)
    return found_nodes


def _find_first_wkt_node(children: list[Any], *node_names: str) -> Node | None:
    return next(iter(_find_wkt_nodes(children, *node_names)), None)

"""Planets: frames of bodies by WKT, and latitudes on ellipsoids of two or three axes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.model.sky._bodies import find_body
from hven.model.sky._frame import CoordinateFrame
from hven.model.sky._sphere import to_lon_lat, to_unit_vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]


class BodyFrame(NamedTuple):
    """A frame of a body.

    Attributes
    ----------
    frame
        Its words.
    axes
        Of the ellipsoid, metres: towards longitude 0, towards 90 degrees east, and the polar one.
    meridian
        Longitude of its prime meridian, degrees.
    """

    frame: CoordinateFrame
    axes: tuple[float, float, float]
    meridian: float


def to_planetocentric(
    lon: npt.ArrayLike, lat: npt.ArrayLike, axes: tuple[float, float, float]
) -> tuple[Numbers, Numbers]:
    """Turn planetographic coordinates - the direction of the vertical - into planetocentric ones, that from the centre.

    Parameters
    ----------
    lon, lat
        Degrees, eastward, of one shape; NaN stays NaN.
    axes
        Of the ellipsoid, in any unit; of three different ones, longitudes change as well.

    Returns
    -------
    lon, lat
        Degrees, longitudes in [0, 360), of the same shape.
    """
    return to_lon_lat(to_unit_vectors(lon, lat) * np.square(np.divide(axes, max(axes))))


def to_planetographic(
    lon: npt.ArrayLike, lat: npt.ArrayLike, axes: tuple[float, float, float]
) -> tuple[Numbers, Numbers]:
    """Turn planetocentric coordinates into planetographic ones: `to_planetocentric` back.

    Parameters
    ----------
    lon, lat
        Degrees, eastward, of one shape; NaN stays NaN.
    axes
        Of the ellipsoid, in any unit.

    Returns
    -------
    lon, lat
        Degrees, longitudes in [0, 360), of the same shape.
    """
    return to_lon_lat(to_unit_vectors(lon, lat) / np.square(np.divide(axes, max(axes))))


def parse_wkt_frame(text: str) -> BodyFrame:
    """Read a frame from well-known text (WKT 1 or 2): IAU_2015's, IAU2000's or one's own.

    Parameters
    ----------
    text
        A geographic or geodetic frame, or what holds one (a projected frame).

    Returns
    -------
    frame
        Latitudes are planetographic if they are said of an ellipsoid that is no sphere, and not from its centre.

    Raises
    ------
    ValueError
        The text is no WKT, has no ellipsoid, or one that cannot be.
    """
    tree = _parse_wkt(text)
    base = _find_first_node(
        tree, "GEOGCRS", "GEODCRS", "GEOGCS", "BASEGEOGCRS", "BASEGEODCRS", "GEODETICCRS", "GEOGRAPHICCRS"
    )
    shape = _find_first_node(tree, "ELLIPSOID", "SPHEROID", "TRIAXIAL")
    if base is None or shape is None:
        raise ValueError("the text is no WKT of a frame of a body: it has no GEOGCRS, or no ELLIPSOID in it")
    unit = _find_first_node(shape[1], "LENGTHUNIT", "UNIT")
    sizes = [size * (unit[1][1] if unit else 1.0) for size in shape[1][1:4] if isinstance(size, float)]
    if shape[0] == "TRIAXIAL":
        if len(sizes) == 3:
            a, b, c = sizes
        else:
            a, b, c = (0.0, 0.0, 0.0)
    else:
        if len(shape[1]) > 2 and isinstance(shape[1][2], float):
            flat = shape[1][2]
        else:
            flat = 0.0
        a = b = sizes[0] if sizes else 0.0
        if flat:
            c = a * (1.0 - 1.0 / flat)
        else:
            c = a
    if not (np.isfinite([a, b, c]).all() and min(a, b, c) > 0.0):
        raise ValueError(f"{shape[0]} {shape[1][:1]} needs axes above 0")
    first_node = _find_first_node(base[1], "CS")
    spherical = (first_node or ("", [""]))[1][0] == "spherical"
    along = [node[1][1] for node in _find_nodes(base[1], "AXIS") if len(node[1]) > 1]
    meridian = _find_first_node(base[1], "PRIMEM")
    name = re.sub(r"^(GCS|D)_|[ _]\(?(IAU)?(19|20)\d\d.*| - .*", "", base[1][0])
    body = find_body(name)
    code = _find_first_node(tree, "ID", "AUTHORITY")
    frame = CoordinateFrame(
        name="BODY",
        body=body.name if body else name,
        code="_".join(str(part) for part in (code[1][0], *(f"{year:.0f}" for year in code[1][2:3])))
        + f":{code[1][1]:.0f}"
        if code and isinstance(code[1][1], float)
        else None,
        graphic=not spherical and a != c and "OCENTRIC" not in base[1][0].upper(),
        flattening=1.0 - c / a,
        west="west" in along,
    )
    return BodyFrame(frame, (a, b, c), float(meridian[1][1]) if meridian else 0.0)


_IAU_CODE_PATTERN = re.compile(r"(?:urn:ogc:def:crs:)?IAU[_:]?(2000|2009|2015):(?::)?(\d{3,10})")
_EAST_POSITIVE_BODIES = (
    "Sun",
    "Earth",
    "Moon",
    "Venus",
    "Uranus",
    "Triton",
    "Pluto",
    "Charon",
)  # .. as they turn, or by custom


def parse_frame_code(text: str) -> BodyFrame:
    """Read a frame from a code of the IAU's: ``IAU_2015:49901``.

    Parameters
    ----------
    text
        The body's NAIF code and 00 (a sphere), 01 (planetographic) or 02 (planetocentric).

    Returns
    -------
    frame
        Its axes are NaN if the radii of the body are not known here.

    Raises
    ------
    ValueError
        It is no such code, one of a map, or of a body that is not known here.
    """
    match = _IAU_CODE_PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r:.60} is no WKT, and no code of the IAU's frames")
    naif, kind = divmod(int(match[2]), 100)
    body = find_body(f"NAIF {naif}")
    if kind > 2:
        raise ValueError(f"{text} is a map projection: it has no longitudes and latitudes")
    if body is None:
        raise ValueError(f"nothing is known of the body with the NAIF code {naif}")
    a, c = body.radii or (float("nan"), float("nan"))
    a, c = 1e3 * a, 1e3 * (a if kind == 0 else c)
    regular = body.kind == "planet" or (body.kind.startswith("moon of") and not body.kind.endswith(("Uranus", "Pluto")))
    flattening = 0.0 if np.isnan(a) else 1.0 - c / a
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
    """Parse WKT: names with brackets become (NAME, [what is in them])."""
    stack: list[list[Any]] = [[]]
    position = 0
    while text[position:].strip():
        match = _WKT_TOKEN_PATTERN.match(text, position)
        if match is None or len(stack) > 50:
            raise ValueError(f"the text is no WKT: {text[position : position + 30]!r} at character {position + 1}")
        position = match.end()
        quoted, word, number, mark = match.groups()
        if mark is None:
            stack[-1].append(float(number) if number else word or quoted.replace('""', '"'))
        elif mark in "[(":
            inner: list[Any] = []
            if stack[-1]:
                name = stack[-1].pop()
            else:
                name = ""
            stack[-1].append((str(name).upper(), inner))
            stack.append(inner)
        elif mark in "])":
            stack.pop()
            if not stack:
                raise ValueError(f"the text is no WKT: a bracket too many at character {position}")
    if len(stack) > 1:
        raise ValueError("the text is no WKT: a bracket is not closed")
    return stack[0]


def _find_nodes(children: list[Any], *node_names: str) -> list[Node]:
    """List the nodes of these names, outer ones first."""
    nodes = [node for node in children if isinstance(node, tuple)]
    return [node for node in nodes if node[0] in node_names] + [
        deep for node in nodes for deep in _find_nodes(node[1], *node_names)
    ]


def _find_first_node(children: list[Any], *node_names: str) -> Node | None:
    return next(iter(_find_nodes(children, *node_names)), None)

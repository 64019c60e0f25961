"""Map projections of planetary labels as cards of FITS (PDS3's keywords, which PDS4's cartography and ISIS have under other names)."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from hven.formats.media._product import Card
from hven.model.sky import bodies

if TYPE_CHECKING:
    from collections.abc import Mapping

# words of CTYPE (Marmo et al. 2018, Earth and Space Science 5, 640)
_BODIES = {"Mercury": "ME", "Venus": "VE", "Earth": "EA", "Moon": "SE", "Mars": "MA", "Jupiter": "JU", "Saturn": "SA", "Uranus": "UR", "Neptune": "NE"}  # fmt: skip
_PROJECTIONS = {
    "SIMPLECYLINDRICAL": "CAR",
    "EQUIRECTANGULAR": "CAR",
    "SINUSOIDAL": "SFL",
    "MERCATOR": "MER",
    "POLARSTEREOGRAPHIC": "STG",
    "STEREOGRAPHIC": "STG",
    "ORTHOGRAPHIC": "SIN",
    "LAMBERTAZIMUTHALEQUALAREA": "ZEA",
    "MOLLWEIDE": "MOL",
}
ZENITHAL = ("STG", "SIN", "ZEA")


def cards(said: Mapping[str, object], *, pixel: float | None = None) -> list[Card]:
    """Write the projection of a map as WCS.

    Parameters
    ----------
    said
        Keywords of IMAGE_MAP_PROJECTION, lengths in km, angles in degrees; TARGET_NAME.
    pixel
        Pixel at which the map's origin lies if the offsets are 0, counted as FITS counts (1: in the middle of the first one); None: the bounds
        of the map tell, for labels use either of two.

    Returns
    -------
    cards
        Longitudes grow to the east; empty: it is no projection that is known, a turned one, or something is missing.
    """

    def number(*names: str) -> float | None:
        found = (said.get(name) for name in names)
        return next((float(one) for one in found if isinstance(one, int | float) and math.isfinite(one)), None)

    kind = _PROJECTIONS.get(re.sub(r"[^A-Z]", "", str(said.get("MAP_PROJECTION_TYPE")).upper()))
    radius = number("A_AXIS_RADIUS")
    scale = number("MAP_RESOLUTION")  # pixels a degree
    if not scale:
        length = number("MAP_SCALE")
        scale = radius * math.radians(1.0) / length if radius and length else None
    line, sample = number("LINE_PROJECTION_OFFSET"), number("SAMPLE_PROJECTION_OFFSET")
    if kind is None or not scale or scale <= 0.0 or line is None or sample is None or number("MAP_PROJECTION_ROTATION"):
        return []
    west = str(said.get("POSITIVE_LONGITUDE_DIRECTION")).upper() == "WEST"
    lon, lat = (number("CENTER_LONGITUDE") or 0.0) * (-1.0 if west else 1.0), number("CENTER_LATITUDE") or 0.0
    across = 1.0 / scale
    if kind == "CAR":
        across /= math.cos(math.radians(lat)) if str(said.get("MAP_PROJECTION_TYPE")).upper().startswith("EQUI") and abs(lat) < 89.0 else 1.0  # fmt: skip
    if pixel is None:
        pixel = 1.0
        top = number("MAXIMUM_LATITUDE")
        if kind in {"CAR", "SFL"} and top is not None:
            # the upper edge of the first line, if the offset counts from its middle or from its corner
            edges = {shift: (line + shift - 0.5) / scale for shift in (1.0, 0.5)}
            pixel = min(edges, key=lambda shift: abs(edges[shift] - top))
    name = str(said.get("TARGET_NAME") or "")
    body, two = bodies.find(name), word(name)
    graphic = "GRAPHIC" in str(said.get("COORDINATE_SYSTEM_NAME")).upper()
    found: list[tuple[str, str | float | None, str]] = [
        ("CTYPE1", f"{two}LN-{kind}", "longitude, to the east"),
        ("CTYPE2", f"{two}LT-{kind}", "latitude"),
        ("CUNIT1", "deg", ""),
        ("CUNIT2", "deg", ""),
        ("CRPIX1", sample + pixel, ""),
        ("CRPIX2", line + pixel, ""),
        ("CRVAL1", lon, ""),
        ("CRVAL2", lat if kind in ZENITHAL else 0.0, ""),
        ("CDELT1", across, ""),
        ("CDELT2", -1.0 / scale, "the first line is the northern one"),
        ("LONPOLE", 180.0 if kind in ZENITHAL else None, ""),
        ("WCSNAME", "PLANETOGRAPHIC" if graphic else "PLANETOCENTRIC", ""),
        ("OBJECT", body.name if body else name or None, ""),
    ]
    for axis in "ABC":
        size = number(f"{axis}_AXIS_RADIUS")
        found.append((f"{axis}_RADIUS", size * 1e3 if size else None, "m"))
    return [Card(*one) for one in found if one[1] is not None]


def word(name: str) -> str:
    """Return the two letters by which CTYPE names a body.

    Parameters
    ----------
    name
        Of the body.
    """
    body = bodies.find(name)
    kinds = {"moon": "ST", "dwarf": "DW", "asteroid": "AS", "comet": "CO"}
    kind = body.kind.split()[0] if body else ""
    return _BODIES.get(body.name if body else "", kinds.get(kind, "OB"))


__all__ = ["cards", "word"]

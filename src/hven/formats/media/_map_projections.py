"""Map projections of planetary labels as cards of FITS (PDS3's keywords, which PDS4's cartography and ISIS have under other names)."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from hven.formats.media._product import HeaderCard
from hven.model.sky import bodies

if TYPE_CHECKING:
    from collections.abc import Mapping

# words of CTYPE (Marmo et al. 2018, Earth and Space Science 5, 640)
_BODY_CODES = {
    "Mercury": "ME",
    "Venus": "VE",
    "Earth": "EA",
    "Moon": "SE",
    "Mars": "MA",
    "Jupiter": "JU",
    "Saturn": "SA",
    "Uranus": "UR",
    "Neptune": "NE",
}
_PROJECTION_CODES = {
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
ZENITHAL_PROJECTIONS = ("STG", "SIN", "ZEA")


def write_map_cards(label_values: Mapping[str, object], *, origin_pixel: float | None = None) -> list[HeaderCard]:
    """Write the projection of a map as WCS.

    Parameters
    ----------
    label_values
        Keywords of IMAGE_MAP_PROJECTION, lengths in km, angles in degrees; TARGET_NAME.
    origin_pixel
        Pixel at which the map's origin lies if the offsets are 0, counted as FITS counts (1: in the middle of the first
        one); None: the bounds of the map tell, for labels use either of two.

    Returns
    -------
    cards
        Longitudes grow to the east; empty: it is no projection that is known, a turned one, or something is missing.
    """

    def find_number(*names: str) -> float | None:
        label_numbers = (label_values.get(name) for name in names)
        return next(
            (
                float(label_number)
                for label_number in label_numbers
                if isinstance(label_number, int | float) and math.isfinite(label_number)
            ),
            None,
        )

    kind = _PROJECTION_CODES.get(re.sub(r"[^A-Z]", "", str(label_values.get("MAP_PROJECTION_TYPE")).upper()))
    radius = find_number("A_AXIS_RADIUS")
    scale = find_number("MAP_RESOLUTION")  # pixels a degree
    if not scale:
        length = find_number("MAP_SCALE")
        if radius and length:
            scale = radius * math.radians(1.0) / length
        else:
            scale = None
    line = find_number("LINE_PROJECTION_OFFSET")
    sample = find_number("SAMPLE_PROJECTION_OFFSET")
    if (
        kind is None
        or not scale
        or scale <= 0.0
        or line is None
        or sample is None
        or find_number("MAP_PROJECTION_ROTATION")
    ):
        return []
    west_positive = str(label_values.get("POSITIVE_LONGITUDE_DIRECTION")).upper() == "WEST"
    lon = (find_number("CENTER_LONGITUDE") or 0.0) * (-1.0 if west_positive else 1.0)
    lat = find_number("CENTER_LATITUDE") or 0.0
    degrees_per_pixel = 1.0 / scale
    if kind == "CAR":
        degrees_per_pixel /= (
            math.cos(math.radians(lat))
            if str(label_values.get("MAP_PROJECTION_TYPE")).upper().startswith("EQUI") and abs(lat) < 89.0
            else 1.0
        )
    if origin_pixel is None:
        origin_pixel = 1.0
        maximum_latitude = find_number("MAXIMUM_LATITUDE")
        if kind in {"CAR", "SFL"} and maximum_latitude is not None:
            # the upper edge of the first line, if the offset counts from its middle or from its corner
            edges = {shift: (line + shift - 0.5) / scale for shift in (1.0, 0.5)}
            origin_pixel = min(edges, key=lambda shift: abs(edges[shift] - maximum_latitude))
    name = str(label_values.get("TARGET_NAME") or "")
    body = bodies.find_body(name)
    body_letters = find_body_code(name)
    is_planetographic = "GRAPHIC" in str(label_values.get("COORDINATE_SYSTEM_NAME")).upper()
    card_values: list[tuple[str, str | float | None, str]] = [
        ("CTYPE1", f"{body_letters}LN-{kind}", "longitude, to the east"),
        ("CTYPE2", f"{body_letters}LT-{kind}", "latitude"),
        ("CUNIT1", "deg", ""),
        ("CUNIT2", "deg", ""),
        ("CRPIX1", sample + origin_pixel, ""),
        ("CRPIX2", line + origin_pixel, ""),
        ("CRVAL1", lon, ""),
        ("CRVAL2", lat if kind in ZENITHAL_PROJECTIONS else 0.0, ""),
        ("CDELT1", degrees_per_pixel, ""),
        ("CDELT2", -1.0 / scale, "the first line is the northern one"),
        ("LONPOLE", 180.0 if kind in ZENITHAL_PROJECTIONS else None, ""),
        ("WCSNAME", "PLANETOGRAPHIC" if is_planetographic else "PLANETOCENTRIC", ""),
        ("OBJECT", body.name if body else name or None, ""),
    ]
    for axis in "ABC":
        size = find_number(f"{axis}_AXIS_RADIUS")
        card_values.append((f"{axis}_RADIUS", size * 1e3 if size else None, "m"))
    return [HeaderCard(*card) for card in card_values if card[1] is not None]


def find_body_code(name: str) -> str:
    """Return the two letters by which CTYPE names a body.

    Parameters
    ----------
    name
        Of the body.
    """
    body = bodies.find_body(name)
    kinds = {"moon": "ST", "dwarf": "DW", "asteroid": "AS", "comet": "CO"}
    if body:
        kind = body.kind.split()[0]
    else:
        kind = ""
    return _BODY_CODES.get(body.name if body else "", kinds.get(kind, "OB"))


__all__ = ["find_body_code", "write_map_cards"]

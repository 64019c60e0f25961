"""Write the map projections of planetary labels as FITS cards.

The keywords are those of PDS3; the cartography of PDS4 and ISIS have them under other names.
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING

from hven.formats.media._product import HeaderCard
from hven.model.sky import bodies, footprints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# letters of CTYPE (Marmo et al. 2018, Earth and Space Science 5, 640)
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


def write_map_projection_cards(
    label_values: Mapping[str, object], *, origin_pixel: float | None = None
) -> list[HeaderCard]:
    """Write the projection of a map as WCS.

    Parameters
    ----------
    label_values
        Keywords of IMAGE_MAP_PROJECTION, lengths in km, angles in degrees; TARGET_NAME.
    origin_pixel
        Pixel of the origin of the map if the offsets are 0, counted as in FITS (1: the middle of the first pixel).
        None: the bounds of the map decide, for labels use either of two.

    Returns
    -------
    cards
        Cards with longitudes that grow to the east. Empty if the projection is unknown or rotated, or if a keyword is
        missing.
    """
    projection_name = str(label_values.get("MAP_PROJECTION_TYPE")).upper()
    kind = _PROJECTION_CODES.get(re.sub(r"[^A-Z]", "", projection_name))
    scale = _find_pixels_per_degree(label_values)
    line = _find_number(label_values, "LINE_PROJECTION_OFFSET")
    sample = _find_number(label_values, "SAMPLE_PROJECTION_OFFSET")
    if kind is None or scale is None or scale <= 0.0:
        return []
    if line is None or sample is None or _find_number(label_values, "MAP_PROJECTION_ROTATION"):
        return []
    west_positive = str(label_values.get("POSITIVE_LONGITUDE_DIRECTION")).upper() == "WEST"
    lon = _find_number(label_values, "CENTER_LONGITUDE") or 0.0
    if west_positive:
        lon = -lon
    lat = _find_number(label_values, "CENTER_LATITUDE") or 0.0
    degrees_per_pixel = 1.0 / scale
    if kind == "CAR" and projection_name.startswith("EQUI") and abs(lat) < 89.0:
        degrees_per_pixel /= math.cos(math.radians(lat))
    if origin_pixel is None:
        origin_pixel = 1.0
        maximum_latitude = _find_number(label_values, "MAXIMUM_LATITUDE")
        if kind in {"CAR", "SFL"} and maximum_latitude is not None:
            # latitude of the upper edge of the first line, if the offset counts from its middle or from its corner
            edges = {shift: (line + shift - 0.5) / scale for shift in (1.0, 0.5)}
            origin_pixel = min(edges, key=lambda shift: abs(edges[shift] - maximum_latitude))
    name = str(label_values.get("TARGET_NAME") or "")
    body = bodies.find_solar_system_body(name)
    body_letters = find_body_ctype_code(name)
    coordinate_system = str(label_values.get("COORDINATE_SYSTEM_NAME")).upper()
    is_planetographic = "GRAPHIC" in coordinate_system
    is_zenithal = kind in ZENITHAL_PROJECTIONS
    card_values: list[tuple[str, str | float | None, str]] = [
        ("CTYPE1", f"{body_letters}LN-{kind}", "longitude, to the east"),
        ("CTYPE2", f"{body_letters}LT-{kind}", "latitude"),
        ("CUNIT1", "deg", ""),
        ("CUNIT2", "deg", ""),
        ("CRPIX1", sample + origin_pixel, ""),
        ("CRPIX2", line + origin_pixel, ""),
        ("CRVAL1", lon, ""),
        ("CRVAL2", lat if is_zenithal else 0.0, ""),
        ("CDELT1", degrees_per_pixel, ""),
        ("CDELT2", -1.0 / scale, "the first line is the northern one"),
        ("WCSNAME", "PLANETOGRAPHIC" if is_planetographic else "PLANETOCENTRIC", ""),
    ]
    if is_zenithal:
        card_values.insert(10, ("LONPOLE", 180.0, ""))
    card_values.append(("OBJECT", body.name if body else name or None, ""))
    for axis in "ABC":
        size = _find_number(label_values, f"{axis}_AXIS_RADIUS")
        if size:
            card_values.append((f"{axis}_RADIUS", size * 1e3, "m"))
    return [HeaderCard(*card) for card in card_values if card[1] is not None]


def _find_number(label_values: Mapping[str, object], name: str) -> float | None:
    """Return the value of a keyword if it is a finite number."""
    value = label_values.get(name)
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


def _find_pixels_per_degree(label_values: Mapping[str, object]) -> float | None:
    """Return the resolution of a map in pixels per degree."""
    scale = _find_number(label_values, "MAP_RESOLUTION")
    if scale:
        return scale
    radius = _find_number(label_values, "A_AXIS_RADIUS")
    length = _find_number(label_values, "MAP_SCALE")
    if radius and length:
        return radius * math.radians(1.0) / length
    return None


def find_body_ctype_code(body_name: str) -> str:
    """Return the two letters by which CTYPE names a body.

    Parameters
    ----------
    body_name
        Name of the body.
    """
    body = bodies.find_solar_system_body(body_name)
    if not body:
        return "OB"
    kinds = {"moon": "ST", "dwarf": "DW", "asteroid": "AS", "comet": "CO"}
    kind = body.kind.split()[0]
    return _BODY_CODES.get(body.name, kinds.get(kind, "OB"))


def create_sky_mapping_builder(cards: Iterable[HeaderCard]) -> Callable[[], footprints.ImageWcs | None] | None:
    """Create the function that builds the mapping of an array between pixels and directions.

    Parameters
    ----------
    cards
        Cards with WCS.

    Returns
    -------
    create_sky_mapping
        None: the cards have no WCS.
    """
    card_values = {card.keyword: card.value for card in cards}
    if "CTYPE1" in card_values:
        return partial(footprints.build_image_wcs, card_values)
    return None

"""Parse positions and angles as people write them.

Examples are degrees, ``05:31:00 +22:00:00``, ``5h31m 22d``, ``12h30m49.4s +12d23m28s``, ``30 arcmin`` and ``2'``.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from hven.model import units
from hven.model.errors import UserError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER_PATTERN = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_DECIMAL_PATTERN = re.compile(
    rf"({NUMBER_PATTERN})\s*(?:°|deg|d)?\s*[,;\s]\s*({NUMBER_PATTERN})\s*(?:°|deg|d)?", re.IGNORECASE
)
_LONGITUDE_PATTERN = (
    r"(\d{1,3})(?:\s*h\s*|\s*:\s*|\s+)"
    r"(\d{1,2}(?:\.\d*)?)(?:\s*m\s*|\s*'\s*|\s*:\s*|\s+|(?=[-+,]))"
    r"(?:(\d{1,2}(?:\.\d*)?)\s*(?:s|\"|''|(?=[\s,;+-])))?"
)
_LATITUDE_PATTERN = (
    r"([-+]?)\s*(\d{1,2})(?:\s*[d°]\s*|\s*:\s*|\s+)"
    r"(?:(\d{1,2}(?:\.\d*)?)(?:\s*[m'\u2032]\s*|\s*:\s*|\s+|$)"
    r"(?:(\d{1,2}(?:\.\d*)?)\s*(?:s|\"|''|\u2033)?)?)?"
)
_SEXAGESIMAL_PATTERN = re.compile(rf"\s*{_LONGITUDE_PATTERN}\s*[,;]?\s*{_LATITUDE_PATTERN}\s*", re.IGNORECASE)
_PACKED_PATTERN = re.compile(
    r"(?:[A-Za-z0-9]+\s)?J?(\d{2})(\d{2})(\d{2}(?:\.\d+)?)([-+])(\d{2})(\d{2})(\d{2}(?:\.\d+)?)?"
)
_ANGLE_PATTERN = re.compile(rf"\s*({NUMBER_PATTERN})\s*(.*?)\s*")
MAX_POSITION_CHARACTERS = 200
_UNIT_ALIASES = {
    "": "deg",
    "°": "deg",
    "d": "deg",
    "degree": "deg",
    "degrees": "deg",
    "'": "arcmin",
    "\u2032": "arcmin",
    "m": "arcmin",
    '"': "arcsec",
    "\u2033": "arcsec",
    "''": "arcsec",
    "s": "arcsec",
}


def parse_position(text: str) -> tuple[float, float] | None:
    """Parse a position as longitude and latitude in degrees; None if it is none, and may be a name.

    Two plain numbers are degrees. Hours, minutes and seconds are written with ``h`` or ``:``, or as six (or four)
    numbers.

    Raises
    ------
    UserError
        The text has the form of a position, but its numbers are out of range.
    """
    normalized = " ".join(text.replace("\u2212", "-").split())
    # the patterns could split a row of 5,000 digits in as many ways, which takes seconds to try
    if len(normalized) > MAX_POSITION_CHARACTERS:
        return None
    decimal_match = _DECIMAL_PATTERN.fullmatch(normalized)
    if decimal_match is not None:
        return _check_and_normalize_position(
            float(decimal_match[1]), float(decimal_match[2]), normalized, max_longitude=360.0
        )
    packed_match = _PACKED_PATTERN.fullmatch(normalized)
    if packed_match is not None:
        first = packed_match.group(1, 2, 3)
        second = packed_match.group(5, 6, 7)
        return _convert_sexagesimal(first, packed_match[4], second, normalized)
    sexagesimal_match = _SEXAGESIMAL_PATTERN.fullmatch(normalized)
    if sexagesimal_match is None:
        return None
    first = sexagesimal_match.group(1, 2, 3)
    second = sexagesimal_match.group(5, 6, 7)
    return _convert_sexagesimal(first, sexagesimal_match[4], second, normalized)


def parse_search_radius(text: str, find_radius_km: Callable[[], float | None] | None = None) -> float:
    """Parse an angle in degrees or with a unit; on a body also a length on the ground (``200 km``).

    Parameters
    ----------
    find_radius_km
        Returns the radius in km of the body, if it is known.

    Raises
    ------
    UserError
        The text is no angle, is not from 0 to 180 degrees, or is a length where no body is known.
    """
    value, unit = _split_quantity(text)
    if is_length(text):
        if find_radius_km is not None:
            radius_km = find_radius_km()
        else:
            radius_km = None
        if radius_km is None:
            raise UserError(
                format_message(
                    "the radius is a length ({text}), so the search needs a single body whose size is known",
                    text[:40],
                ),
                remedy="choose one body (a planet or moon), or write an angle, such as 0.5 (degrees) or 30 arcmin",
            )
        factor = units.compute_unit_factor(unit, "km")
        value = math.degrees(value * factor / radius_km)
    elif units.are_units_convertible(unit, "deg"):
        value = value * units.compute_unit_factor(unit, "deg")
    else:
        value = math.nan
    if math.isnan(value):
        raise UserError(
            format_message("{text!r} is not a radius", text[:40]),
            remedy="write longitude,latitude,radius or name,radius; write the radius as 0.5 (degrees), 30 arcmin or "
            "10 arcsec",
        )
    if not 0 <= value <= 180:
        raise UserError(
            format_message("a radius of {value:g} degrees is not possible", value),
            remedy="write a radius of 0 to 180 degrees",
        )
    return value


def is_length(text: str) -> bool:
    """Return whether a radius is a length, not an angle."""
    return units.are_units_convertible(_split_quantity(text)[1], "km")


def _split_quantity(text: str) -> tuple[float, str]:
    """Split a quantity into number and unit; the number is NaN if the text is none."""
    quantity_match = _ANGLE_PATTERN.fullmatch(text)
    if quantity_match is None:
        return (math.nan, "")
    return (float(quantity_match[1]), _UNIT_ALIASES.get(quantity_match[2].lower(), quantity_match[2]))


def format_radius(radius_degrees: float) -> tuple[str, str]:
    """Format a radius in a suitable unit, as number and unit."""
    for unit, factor in (("deg", 1.0), ("arcmin", 60.0), ("arcsec", 3600.0)):
        if radius_degrees * factor >= 1 or unit == "arcsec":
            return f"{radius_degrees * factor:.8g}", unit
    raise AssertionError


def _convert_sexagesimal(
    longitude_parts: tuple[str | None, ...], latitude_sign: str, latitude_parts: tuple[str | None, ...], text: str
) -> tuple[float, float]:
    hours = [float(part or 0) for part in longitude_parts]
    degrees = [float(part or 0) for part in latitude_parts]
    if any(part >= 60 for part in (*hours[1:], *degrees[1:])):
        raise UserError(
            format_message("{text!r} is not a position: minutes and seconds must be less than 60", text[:60]),
            remedy="write a position such as 05:31:00 +22:00:00, or write degrees",
        )
    lon = 15 * (hours[0] + hours[1] / 60 + hours[2] / 3600)
    sign = -1 if latitude_sign == "-" else 1
    lat = sign * (degrees[0] + degrees[1] / 60 + degrees[2] / 3600)
    return _check_and_normalize_position(lon, lat, text, max_longitude=360.0)


def _check_and_normalize_position(
    longitude: float, latitude: float, text: str, *, max_longitude: float
) -> tuple[float, float]:
    if not (-max_longitude <= longitude <= max_longitude and -90 <= latitude <= 90):
        raise UserError(
            format_message(
                "the coordinates ({lon:g}, {lat:g}) in {text!r} are out of range", longitude, latitude, text[:60]
            ),
            remedy="write a longitude of 0 to 360 and a latitude of -90 to 90 degrees",
        )
    return longitude % 360, latitude

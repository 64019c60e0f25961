"""Positions and angles as people write them: degrees, ``05:31:00 +22:00:00``, ``5h31m 22d``, ``12h30m49.4s +12d23m28s``, ``30 arcmin``, ``2'``."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from hven.model import units
from hven.model.errors import UserError, say

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_PAIR = re.compile(rf"({NUMBER})\s*(?:°|deg|d)?\s*[,;\s]\s*({NUMBER})\s*(?:°|deg|d)?", re.IGNORECASE)
_FIRST = r"(\d{1,3})(?:\s*h\s*|\s*:\s*|\s+)(\d{1,2}(?:\.\d*)?)(?:\s*m\s*|\s*'\s*|\s*:\s*|\s+|(?=[-+,]))(?:(\d{1,2}(?:\.\d*)?)\s*(?:s|\"|''|(?=[\s,;+-])))?"
_SECOND = r"([-+]?)\s*(\d{1,2})(?:\s*[d°]\s*|\s*:\s*|\s+)(?:(\d{1,2}(?:\.\d*)?)(?:\s*[m'\u2032]\s*|\s*:\s*|\s+|$)(?:(\d{1,2}(?:\.\d*)?)\s*(?:s|\"|''|\u2033)?)?)?"
_SEXAGESIMAL = re.compile(rf"\s*{_FIRST}\s*[,;]?\s*{_SECOND}\s*", re.IGNORECASE)
_PACKED = re.compile(r"(?:[A-Za-z0-9]+\s)?J?(\d{2})(\d{2})(\d{2}(?:\.\d+)?)([-+])(\d{2})(\d{2})(\d{2}(?:\.\d+)?)?")
_ANGLE = re.compile(rf"\s*({NUMBER})\s*(.*?)\s*")
LONGEST = 200  # characters of a position
_WORDS = {"": "deg", "°": "deg", "d": "deg", "degree": "deg", "degrees": "deg", "'": "arcmin", "\u2032": "arcmin", "m": "arcmin", '"': "arcsec", "\u2033": "arcsec", "''": "arcsec", "s": "arcsec"}  # fmt: skip


def position(text: str) -> tuple[float, float] | None:
    """Read a position: longitude and latitude in degrees; None: it is none, and may be a name.

    Two plain numbers are degrees; hours, minutes and seconds stand with ``h``, ``:`` or as six (or four) numbers with blanks.

    Raises
    ------
    UserError
        It has the form of a position, and cannot be one.
    """
    given = " ".join(text.replace("\u2212", "-").split())
    if len(given) > LONGEST:  # a row of 5,000 digits can be two numbers in as many ways, which takes seconds to try
        return None
    plain = _PAIR.fullmatch(given)
    if plain is not None:
        return _checked(float(plain[1]), float(plain[2]), given, turn=360.0)
    packed = _PACKED.fullmatch(given)
    if packed is not None:
        first, second = packed.group(1, 2, 3), packed.group(5, 6, 7)
        return _sexagesimal(first, packed[4], second, given)
    found = _SEXAGESIMAL.fullmatch(given)
    if found is None:
        return None
    return _sexagesimal(found.group(1, 2, 3), found[4], found.group(5, 6, 7), given)


def angle(text: str, girth: Callable[[], float | None] | None = None) -> float:
    """Read an angle: degrees, or with its unit; on a body also a length on the ground (``200 km``).

    Parameters
    ----------
    girth
        Gives the radius in km of the body that the angle is on, if there is one and it is known.

    Raises
    ------
    UserError
        It is none, or not from 0 to 180 degrees, or a length where no body is known.
    """
    value, unit = _measured(text)
    if ground(text):
        km = girth() if girth is not None else None
        if km is None:
            raise UserError(
                say("a radius of {text} on no body that is known", text[:40]),
                remedy="choose one body (a planet or moon), or write an angle: 0.5 (degrees), 30 arcmin",
            )
        value = math.degrees(value * units.factor(unit, "km") / km)
    else:
        value = value * units.factor(unit, "deg") if units.convertible(unit, "deg") else math.nan
    if math.isnan(value):
        raise UserError(
            say("{text!r} is no radius", text[:40]),
            remedy="write longitude,latitude,radius or name,radius; a radius is 0.5 (degrees), 30 arcmin, 10 arcsec",
        )
    if not 0 <= value <= 180:
        raise UserError(say("a radius of {value:g} degrees", value), remedy="0 to 180 degrees")
    return value


def ground(text: str) -> bool:
    """Return whether a radius is a length, not an angle."""
    return units.convertible(_measured(text)[1], "km")


def _measured(text: str) -> tuple[float, str]:
    """Take a number and its unit apart; not a number: there is none."""
    found = _ANGLE.fullmatch(text)
    return (math.nan, "") if found is None else (float(found[1]), _WORDS.get(found[2].lower(), found[2]))


def shown(radius: float) -> tuple[str, str]:
    """Write a radius in the unit that suits it: number and unit."""
    for unit, factor in (("deg", 1.0), ("arcmin", 60.0), ("arcsec", 3600.0)):
        if radius * factor >= 1 or unit == "arcsec":
            return f"{radius * factor:.8g}", unit
    raise AssertionError


def _sexagesimal(
    first: tuple[str | None, ...], sign: str, second: tuple[str | None, ...], text: str
) -> tuple[float, float]:
    hours, degrees = [float(part or 0) for part in first], [float(part or 0) for part in second]
    if any(part >= 60 for part in (*hours[1:], *degrees[1:])):
        raise UserError(
            say("{text!r} is no position: minutes and seconds are less than 60", text[:60]),
            remedy="05:31:00 +22:00:00, or degrees",
        )
    lon = 15 * (hours[0] + hours[1] / 60 + hours[2] / 3600)
    lat = (-1 if sign == "-" else 1) * (degrees[0] + degrees[1] / 60 + degrees[2] / 3600)
    return _checked(lon, lat, text, turn=360.0)


def _checked(lon: float, lat: float, text: str, *, turn: float) -> tuple[float, float]:
    if not (-turn <= lon <= turn and -90 <= lat <= 90):
        raise UserError(
            say("({lon:g}, {lat:g}) is no position: {text!r}", lon, lat, text[:60]),
            remedy="longitude 0 to 360, latitude -90 to 90 degrees",
        )
    return lon % 360, lat

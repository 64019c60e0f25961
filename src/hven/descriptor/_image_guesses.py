"""What ``hven new`` proposes of images whose header cards are read: the footprint by all WCS cards, and the centre of it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from hven.descriptor._guesses import Guess
from hven.model.table import Column
from hven.model.types import FLOAT64, parse_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._guesses import Seen

FOOTPRINT = "wcs_footprint()"
_HEADERS = {("fits", "header"), ("product", "images")}  # sources whose rows have `file.footprint`
_SKY = re.compile(r"\s*(?:RA-|DEC-|RA$|DEC$|[GE]LON|[GE]LAT)", re.IGNORECASE)
_SUN_OR_BODY = re.compile(r"\s*(?:HP|HG|HR|CR|SOLAR|[A-Z]{2})L?(?:[NT]|-[XY])(?:-|$)", re.IGNORECASE)
_AXIS = {"ra": re.compile(r"\s*RA(-|$)", re.IGNORECASE), "dec": re.compile(r"\s*DEC(-|$)", re.IGNORECASE)}
_POSITION_CARD = re.compile(r"crval\d+[a-z]?|crpix\d+[a-z]?|cdelt\d+[a-z]?", re.IGNORECASE)


def covers(kind: str, options: Mapping[str, Any], seen: Mapping[str, Seen]) -> Literal["sky", "body"] | None:
    """Find out what images show by their CTYPEn cards: the sky, the Sun or a body; None if they have none, or differ."""
    if (kind, options.get("mode")) not in _HEADERS:
        return None
    types = [
        word for name in ("CTYPE1", "CTYPE2", "ZTYPE1", "ZTYPE2") for word in (seen[name].words if name in seen else {})
    ]
    sky, body = (
        any(map(_SKY.match, types)),
        any(word for word in types if _SUN_OR_BODY.match(word) and not _SKY.match(word)),
    )
    if sky is body:
        return None
    return "sky" if sky else "body"


def drop_card_positions(guesses: Sequence[Guess], seen: Mapping[str, Seen]) -> list[Guess]:
    """Drop guessed UCDs of positions of CRVALn and its like, unless CTYPEn of all files says that axis."""
    return [_without_position(item, seen) for item in guesses]


def _without_position(item: Guess, seen: Mapping[str, Seen]) -> Guess:
    word = item.column.ucd or ""
    if not word.startswith("pos.") or not _POSITION_CARD.fullmatch(item.source):
        return item
    axis = next((pattern for name, pattern in _AXIS.items() if word.startswith(f"pos.eq.{name}")), None)
    types = seen.get(re.sub(r"(?i)^crval", "CTYPE", item.source))
    says_axis = axis is not None and types is not None and types.words and all(map(axis.match, types.words))
    return item if says_axis else replace(item, column=item.column.having(ucd=None))


def add_footprints(guesses: Sequence[Guess], shows: Literal["sky", "body"]) -> list[Guess]:
    """Add the footprint, and on the sky its centre, which becomes the main position."""
    taken = {item.column.name for item in guesses}
    if "s_region" in taken:
        return list(guesses)
    about = "What the image covers" + ("" if shows == "sky" else ", longitudes and latitudes on the body")
    outline = Guess(
        source="",
        expression=FOOTPRINT,
        column=Column(name="s_region", type=parse_type("polygon"), unit="deg", ucd="pos.outline;obs.field", description=about),
        doubt="guessed: by the WCS cards of each file",
    )  # fmt: skip
    if shows != "sky":
        return [*guesses, outline]
    prefix = "center_" if {"ra", "dec"} & taken else ""
    centre = [
        Guess(
            source="",
            expression=f"coord{number}(centroid({FOOTPRINT}))",
            column=Column(name=f"{prefix}{word}", type=FLOAT64, unit="deg", ucd=f"pos.eq.{word};meta.main", description=about),
            doubt="guessed: centre of the footprint, ICRS",
        )
        for number, word, about in ((1, "ra", "Right ascension of the centre of the image"), (2, "dec", "Declination of the centre of the image"))
    ]  # fmt: skip
    return [*map(_secondary, guesses), outline, *centre]


def _secondary(item: Guess) -> Guess:
    """Make a position of the cards (the pointing of the telescope) a second one beside the centre of the footprint."""
    word = item.column.ucd or ""
    if not word.startswith("pos.eq.") or not word.endswith(";meta.main"):
        return item
    return replace(item, column=item.column.having(ucd=word.removesuffix(";meta.main")))

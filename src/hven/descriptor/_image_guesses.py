"""What ``hven new`` proposes of images whose header cards are read.

The footprint by all WCS cards, and the centre of it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from hven.descriptor._column_guesses import ColumnGuess
from hven.model.table import Column
from hven.model.types import FLOAT64, parse_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._column_guesses import ColumnSample

FOOTPRINT_EXPRESSION = "wcs_footprint()"
_HEADER_SOURCE_MODES = {("fits", "header"), ("product", "images")}  # sources whose rows have `file.footprint`
_SKY_CTYPE_PATTERN = re.compile(r"\s*(?:RA-|DEC-|RA$|DEC$|[GE]LON|[GE]LAT)", re.IGNORECASE)
_BODY_CTYPE_PATTERN = re.compile(r"\s*(?:HP|HG|HR|CR|SOLAR|[A-Z]{2})L?(?:[NT]|-[XY])(?:-|$)", re.IGNORECASE)
_EQUATORIAL_AXIS_PATTERNS = {
    "ra": re.compile(r"\s*RA(-|$)", re.IGNORECASE),
    "dec": re.compile(r"\s*DEC(-|$)", re.IGNORECASE),
}
_POSITION_CARD_PATTERN = re.compile(r"crval\d+[a-z]?|crpix\d+[a-z]?|cdelt\d+[a-z]?", re.IGNORECASE)


def detect_image_coverage(
    kind: str, options: Mapping[str, Any], samples_by_name: Mapping[str, ColumnSample]
) -> Literal["sky", "body"] | None:
    """Find out what images show by their CTYPEn cards: the sky, the Sun or a body.

    None if they have none, or differ.
    """
    if (kind, options.get("mode")) not in _HEADER_SOURCE_MODES:
        return None
    axis_types = [
        word
        for name in ("CTYPE1", "CTYPE2", "ZTYPE1", "ZTYPE2")
        for word in (samples_by_name[name].text_counts if name in samples_by_name else {})
    ]
    shows_sky = any(map(_SKY_CTYPE_PATTERN.match, axis_types))
    shows_body = any(
        word for word in axis_types if _BODY_CTYPE_PATTERN.match(word) and not _SKY_CTYPE_PATTERN.match(word)
    )
    if shows_sky is shows_body:
        return None
    return "sky" if shows_sky else "body"


def drop_card_positions(
    guesses: Sequence[ColumnGuess], samples_by_name: Mapping[str, ColumnSample]
) -> list[ColumnGuess]:
    """Drop guessed UCDs of positions of CRVALn and its like, unless CTYPEn of all files says that axis."""
    return [_drop_card_position(item, samples_by_name) for item in guesses]


def _drop_card_position(guess: ColumnGuess, samples_by_name: Mapping[str, ColumnSample]) -> ColumnGuess:
    ucd = guess.column.ucd or ""
    if not ucd.startswith("pos.") or not _POSITION_CARD_PATTERN.fullmatch(guess.source):
        return guess
    axis = next(
        (pattern for name, pattern in _EQUATORIAL_AXIS_PATTERNS.items() if ucd.startswith(f"pos.eq.{name}")), None
    )
    types = samples_by_name.get(re.sub(r"(?i)^crval", "CTYPE", guess.source))
    is_stated_axis = (
        axis is not None and types is not None and types.text_counts and all(map(axis.match, types.text_counts))
    )
    if is_stated_axis:
        return guess
    column = guess.column.copy_with(ucd=None)
    return replace(guess, column=column)


def add_footprint_columns(guesses: Sequence[ColumnGuess], coverage: Literal["sky", "body"]) -> list[ColumnGuess]:
    """Add the footprint, and on the sky its centre, which becomes the main position."""
    used_names = {item.column.name for item in guesses}
    if "s_region" in used_names:
        return list(guesses)
    description = "What the image covers" + ("" if coverage == "sky" else ", longitudes and latitudes on the body")
    column = Column(
        name="s_region",
        type=parse_type("polygon"),
        unit="deg",
        ucd="pos.outline;obs.field",
        description=description,
    )
    outline = ColumnGuess(
        source="",
        expression=FOOTPRINT_EXPRESSION,
        column=column,
        remark="guessed: by the WCS cards of each file",
    )
    if coverage != "sky":
        return [*guesses, outline]
    if {"ra", "dec"} & used_names:
        prefix = "center_"
    else:
        prefix = ""
    centre = [
        ColumnGuess(
            source="",
            expression=f"coord{number}(centroid({FOOTPRINT_EXPRESSION}))",
            column=Column(
                name=f"{prefix}{word}",
                type=FLOAT64,
                unit="deg",
                ucd=f"pos.eq.{word};meta.main",
                description=description,
            ),
            remark="guessed: centre of the footprint, ICRS",
        )
        for number, word, description in (
            (1, "ra", "Right ascension of the centre of the image"),
            (2, "dec", "Declination of the centre of the image"),
        )
    ]
    return [*map(_strip_main_word, guesses), outline, *centre]


def _strip_main_word(guess: ColumnGuess) -> ColumnGuess:
    """Make a position of the cards (the pointing of the telescope) a second one beside the centre of the footprint."""
    word = guess.column.ucd or ""
    if not word.startswith("pos.eq.") or not word.endswith(";meta.main"):
        return guess
    column = guess.column.copy_with(ucd=word.removesuffix(";meta.main"))
    return replace(guess, column=column)

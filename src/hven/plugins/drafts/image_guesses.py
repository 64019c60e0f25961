"""Propose columns for images whose header cards are read: the footprint by all WCS cards, and its centre."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from hven.adql.functions import MAPPING_FUNCTIONS
from hven.descriptor.api.key_proposals import ColumnGuess
from hven.model.table import Column
from hven.model.types import FLOAT64, parse_type
from hven.sources.kind_traits import find_source_kind_traits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.plugins.drafts.column_guesses import ColumnSampleStatistics

FOOTPRINT_EXPRESSION = "wcs_footprint()"
_SKY_CTYPE_PATTERN = re.compile(r"\s*(?:RA-|DEC-|RA$|DEC$|[GE]LON|[GE]LAT)", re.IGNORECASE)
_BODY_CTYPE_PATTERN = re.compile(r"\s*(?:HP|HG|HR|CR|SOLAR|[A-Z]{2})L?(?:[NT]|-[XY])(?:-|$)", re.IGNORECASE)
_EQUATORIAL_AXIS_PATTERNS = {
    "ra": re.compile(r"\s*RA(-|$)", re.IGNORECASE),
    "dec": re.compile(r"\s*DEC(-|$)", re.IGNORECASE),
}
_POSITION_CARD_PATTERN = re.compile(r"crval\d+[a-z]?|crpix\d+[a-z]?|cdelt\d+[a-z]?", re.IGNORECASE)


def detect_image_coverage(
    kind: str, options: Mapping[str, Any], samples_by_name: Mapping[str, ColumnSampleStatistics]
) -> Literal["sky", "body"] | None:
    """Find out by the CTYPEn cards whether images show the sky, or the Sun or a body.

    Return None if the images have no such cards, or differ.
    """
    if options.get("mode") not in find_source_kind_traits(kind).header_modes:
        return None
    if MAPPING_FUNCTIONS.find_function("WCS_FOOTPRINT") is None:  # the package that has it is not in use
        return None
    axis_types: list[str] = []
    for name in ("CTYPE1", "CTYPE2", "ZTYPE1", "ZTYPE2"):
        if name in samples_by_name:
            axis_types += samples_by_name[name].text_counts
    sky_types = {word for word in axis_types if _SKY_CTYPE_PATTERN.match(word)}
    body_types = {word for word in axis_types if _BODY_CTYPE_PATTERN.match(word)} - sky_types
    if bool(sky_types) is bool(body_types):
        return None
    return "sky" if sky_types else "body"


def drop_card_position_ucds(
    guesses: Sequence[ColumnGuess], samples_by_name: Mapping[str, ColumnSampleStatistics]
) -> list[ColumnGuess]:
    """Drop guessed UCDs of positions of CRVALn and its like, unless CTYPEn of all files says that axis."""
    return [_drop_card_position_ucd(guess, samples_by_name) for guess in guesses]


def _drop_card_position_ucd(guess: ColumnGuess, samples_by_name: Mapping[str, ColumnSampleStatistics]) -> ColumnGuess:
    ucd = guess.column.ucd or ""
    if not ucd.startswith("pos.") or not _POSITION_CARD_PATTERN.fullmatch(guess.source):
        return guess
    sample = samples_by_name.get(re.sub(r"(?i)^crval", "CTYPE", guess.source))
    for name, axis_pattern in _EQUATORIAL_AXIS_PATTERNS.items():
        if not ucd.startswith(f"pos.eq.{name}") or sample is None or not sample.text_counts:
            continue
        if all(map(axis_pattern.match, sample.text_counts)):
            return guess
    column = guess.column.copy_with(ucd=None)
    return replace(guess, column=column)


def with_footprint_columns(guesses: Sequence[ColumnGuess], coverage: Literal["sky", "body"]) -> list[ColumnGuess]:
    """Add the footprint; on the sky, add its centre, too, which becomes the main position."""
    used_names = {guess.column.name for guess in guesses}
    if "s_region" in used_names:
        return list(guesses)
    description = "What the image covers"
    if coverage != "sky":
        description += ", longitudes and latitudes on the body"
    outline_column = Column(
        name="s_region",
        type=parse_type("polygon"),
        unit="deg",
        ucd="pos.outline;obs.field",
        description=description,
    )
    outline = ColumnGuess(
        source="",
        expression=FOOTPRINT_EXPRESSION,
        column=outline_column,
        remark="guessed: by the WCS cards of each file",
    )
    if coverage != "sky":
        return [*guesses, outline]
    prefix = ""
    if {"ra", "dec"} & used_names:
        prefix = "center_"
    right_ascension = _propose_centre_column(1, "ra", prefix, "Right ascension of the centre of the image")
    declination = _propose_centre_column(2, "dec", prefix, "Declination of the centre of the image")
    return [*map(_strip_main_ucd_word, guesses), outline, right_ascension, declination]


def _propose_centre_column(number: int, axis: str, prefix: str, description: str) -> ColumnGuess:
    column = Column(
        name=f"{prefix}{axis}",
        type=FLOAT64,
        unit="deg",
        ucd=f"pos.eq.{axis};meta.main",
        description=description,
    )
    return ColumnGuess(
        source="",
        expression=f"coord{number}(centroid({FOOTPRINT_EXPRESSION}))",
        column=column,
        remark="guessed: centre of the footprint, ICRS",
    )


def _strip_main_ucd_word(guess: ColumnGuess) -> ColumnGuess:
    """Turn a position by the cards, which is where the telescope points, into a second one beside the centre."""
    ucd = guess.column.ucd or ""
    if not ucd.startswith("pos.eq.") or not ucd.endswith(";meta.main"):
        return guess
    column = guess.column.copy_with(ucd=ucd.removesuffix(";meta.main"))
    return replace(guess, column=column)

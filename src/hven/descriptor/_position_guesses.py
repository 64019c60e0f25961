"""Which columns of a source are positions on the sky, and which lie on a body: a draft never mixes the two."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.descriptor._column_guesses import ColumnGuess, convert_sexagesimal, quote_source_name
from hven.descriptor._position_names import is_position_pair
from hven.model.table import Column
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.descriptor._column_guesses import ColumnSample

_EQUATORIAL_UCDS = (("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"), ("pos.eq.ra", "pos.eq.dec"))
# frame as `ivo_geom_transform` calls it -> UCDs of longitude and latitude
_OTHER_SKY_FRAME_UCDS = {
    "GALACTIC": ("pos.galactic.lon", "pos.galactic.lat"),
    "ECLIPTIC": ("pos.ecliptic.lon", "pos.ecliptic.lat"),
}
_BODY_UCDS = (("pos.bodyrc.lon", "pos.bodyrc.lat"), ("pos.earth.lon", "pos.earth.lat"))
# times and durations are written like right ascensions
_TIME_NAME_PATTERN = re.compile(
    r"(^|_)(time|date|ut|utc|ut1|start|stop|end|begin|beg|lst|gst|hour|duration|dur|exposure|length|rise|set|transit)(_|$)"
)
_LONGITUDE_NAME_PATTERN = re.compile(r"(?P<stem>(?:\w+_|rec)?)(?P<word>long?|longitude)(?P<end>_(?:deg|e|east))?")


def find_sky_position(guesses: Sequence[ColumnGuess]) -> tuple[str, str] | None:
    """Find right ascension and declination in degrees, by their UCDs: the main ones first.

    Columns that are merely called longitude and latitude are no position on the sky: they may lie on a planet, on the
    Earth or along an orbit.
    """
    return next((pair for words in _EQUATORIAL_UCDS if (pair := _find_pair(guesses, words)) is not None), None)


def find_body_position(guesses: Sequence[ColumnGuess]) -> tuple[str, str] | None:
    """Find longitude and latitude on a body: by their UCDs, else by names that say longitude and latitude."""
    ucd_pair = next((pair for words in _BODY_UCDS if (pair := _find_pair(guesses, words)) is not None), None)
    if ucd_pair is not None:
        return ucd_pair
    angle_columns = {item.column.name for item in guesses if item.column.type.is_numeric and _is_angle(item.column)}
    for name in sorted(angle_columns, key=len):
        match = _LONGITUDE_NAME_PATTERN.fullmatch(name)
        if match is None:
            continue
        if match["word"] == "longitude":
            word = "latitude"
        else:
            word = "lat"
        end = {"_e": "_n", "_east": "_north"}.get(match["end"] or "", match["end"] or "")
        latitude = f"{match['stem']}{word}{end}"
        if latitude in angle_columns:
            return name, latitude
    return None


def describe_body_position(pair: tuple[str, str]) -> str:
    """Say what a curator adds to the draft, for columns of longitude and latitude whose frame nobody says."""
    lon, lat = pair
    return (
        f"{lon}, {lat}: longitude and latitude of what? On a body say which: give {lon} the UCD pos.bodyrc.lon and {lat} pos.bodyrc.lat "
        "(on the Earth pos.earth.lon, pos.earth.lat), `frame: body` both, and the table "
        "`frames: {body: {system: BODY, refposition: Mars}}`; they are no position on the sky, so no cone search is offered"
    )


def convert_positions(guesses: Sequence[ColumnGuess]) -> list[ColumnGuess]:
    """Make columns of right ascension and declination where a source has them in pieces, or in another frame of the sky."""
    used_names = {item.column.name for item in guesses}
    if {"ra", "dec"} & used_names or find_sky_position(guesses):
        return []
    part_expressions = build_sexagesimal_expressions(item.source for item in guesses)
    if part_expressions is not None:
        return _make_position(part_expressions, "")
    for frame, words in _OTHER_SKY_FRAME_UCDS.items():
        pair = _find_pair(guesses, (f"{words[0]};meta.main", f"{words[1]};meta.main")) or _find_pair(guesses, words)
        if pair is None:
            continue
        lon, lat = (_find_expression(guesses, name) for name in pair)
        point = f"ivo_geom_transform('{frame}', 'ICRS', POINT({lon}, {lat}))"
        return _make_position((f"coord1({point})", f"coord2({point})"), f"guessed: from {frame.lower()} coordinates")
    return []


def convert_sexagesimal_pairs(
    guesses: Sequence[ColumnGuess], samples_by_name: Mapping[str, ColumnSample]
) -> list[ColumnGuess]:
    """Convert right ascensions and declinations that only their values tell: hours, and beside them degrees with signs.

    A column alone stays text, as ``12:30:00`` may be a time of day, and so does a pair beside a position in degrees,
    which is mostly the same one. A comment says how such a text is converted.
    """
    texts = [
        item
        for item in guesses
        if item.expression in {None, quote_source_name(item.source)}
        and item.column.type.is_string
        and samples_by_name[item.source].is_sexagesimal
    ]
    has_position = find_sky_position(guesses) is not None
    converted_columns: dict[str, ColumnGuess] = {}
    for lon in texts:
        lat = _find_declination(lon, texts, samples_by_name, converted_columns)
        if lat is None or has_position:
            continue
        main_suffix = "" if converted_columns else ";meta.main"
        converted_columns[lon.source] = convert_sexagesimal(lon, is_hours=True, ucd=f"pos.eq.ra{main_suffix}")
        converted_columns[lat.source] = convert_sexagesimal(lat, is_hours=False, ucd=f"pos.eq.dec{main_suffix}")
    return [
        converted_columns.get(item.source) or (_add_notation_remark(item, samples_by_name) if item in texts else item)
        for item in guesses
    ]


def _find_declination(
    lon: ColumnGuess,
    texts: Sequence[ColumnGuess],
    samples_by_name: Mapping[str, ColumnSample],
    converted_columns: Mapping[str, ColumnGuess],
) -> ColumnGuess | None:
    """Find the next column of declinations behind one of right ascensions."""
    if (
        lon.source in converted_columns
        or not samples_by_name[lon.source].sexagesimal_count.can_be_right_ascension
        or not _can_be_angle(lon)
    ):
        return None
    following_columns = texts[texts.index(lon) + 1 :]
    return next(
        (
            item
            for item in following_columns
            if item.source not in converted_columns
            and samples_by_name[item.source].sexagesimal_count.can_be_declination
            and (samples_by_name[item.source].sexagesimal_count.colon_count > 0)
            is (samples_by_name[lon.source].sexagesimal_count.colon_count > 0)
            and _can_be_angle(item)
        ),
        None,
    )


def _can_be_angle(guess: ColumnGuess) -> bool:
    """Check that nothing says that a column is something else, such as a time."""
    return not _TIME_NAME_PATTERN.search(guess.column.name) and (
        guess.column.ucd is None or guess.column.ucd.startswith("pos.eq.")
    )


def _add_notation_remark(guess: ColumnGuess, samples_by_name: Mapping[str, ColumnSample]) -> ColumnGuess:
    count = samples_by_name[guess.source].sexagesimal_count
    if (
        guess.remark is not None
        or _TIME_NAME_PATTERN.search(guess.column.name)
        or not (count.hour_count or count.can_be_declination)
    ):
        return guess  # a time of day, perhaps
    unit_argument = ", 'hour'" if count.hour_count else ""
    return replace(
        guess,
        remark=f"sexagesimal text: `{guess.column.name}: "
        f"sexagesimal({quote_source_name(guess.source)}{unit_argument})` under `map` makes degrees of it",
    )


def build_sexagesimal_expressions(names: Iterable[str]) -> tuple[str, str] | None:
    """Write expressions for right ascension and declination in degrees, if they stand in pieces as in CDS catalogues (RAh RAm RAs DE- ..)."""
    available_names = set(names)
    if not {"RAh", "RAm", "DE-", "DEd"} <= available_names:
        return None
    ra = "RAh + RAm / 60.0" + (" + coalesce(RAs, 0) / 3600.0" if "RAs" in available_names else "")
    dec = (
        "DEd"
        + (" + coalesce(DEm, 0) / 60.0" if "DEm" in available_names else "")
        + (" + coalesce(DEs, 0) / 3600.0" if "DEs" in available_names else "")
    )
    return f"15 * ({ra})", f"CASE WHEN \"DE-\" = '-' THEN -1 ELSE 1 END * ({dec})"


def _find_pair(guesses: Sequence[ColumnGuess], ucds: tuple[str, str]) -> tuple[str, str] | None:
    """Find the first two columns with these UCDs that belong together: where a UCD is guessed, their names say so."""
    lons, lats = ([item for item in guesses if item.column.ucd == word and _is_position(item.column)] for word in ucds)
    for lon in lons:
        for lat in lats:
            is_said = "ucd" not in (*lon.guessed_attributes, *lat.guessed_attributes)
            if is_said or is_position_pair(lon.column.name, lat.column.name) is not False:
                return lon.column.name, lat.column.name
    return None


def _is_position(column: Column) -> bool:
    return column.type == FLOAT64 and _is_angle(column)


def _is_angle(column: Column) -> bool:
    return column.unit in {None, "deg"}


def _find_expression(guesses: Sequence[ColumnGuess], name: str) -> str:
    item = next(item for item in guesses if item.column.name == name)
    return item.expression or quote_source_name(item.source)


def _make_position(expressions: tuple[str, str], remark: str) -> list[ColumnGuess]:
    return [
        ColumnGuess(
            source="",
            expression=text,
            column=Column(name=name, type=FLOAT64, unit="deg", ucd=f"pos.eq.{name};meta.main", description=about),
            remark=remark or None,
        )
        for name, text, about in (
            ("ra", expressions[0], "Right ascension"),
            ("dec", expressions[1], "Declination"),
        )
    ]

"""Which columns of a source are positions on the sky, and which lie on a body: a draft never mixes the two."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.descriptor.api.column_names import is_position_pair
from hven.descriptor.api.key_proposals import ColumnGuess, quote_source_name
from hven.model.table import Column
from hven.model.types import FLOAT64
from hven.plugins.drafts.column_guesses import convert_sexagesimal_guess

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.plugins.drafts.column_guesses import ColumnSampleStatistics

_EQUATORIAL_UCDS = (("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"), ("pos.eq.ra", "pos.eq.dec"))
# frame as `ivo_geom_transform` calls it -> UCDs of longitude and latitude
_OTHER_SKY_FRAME_UCDS = {
    "GALACTIC": ("pos.galactic.lon", "pos.galactic.lat"),
    "ECLIPTIC": ("pos.ecliptic.lon", "pos.ecliptic.lat"),
}
_BODY_UCDS = (("pos.bodyrc.lon", "pos.bodyrc.lat"), ("pos.earth.lon", "pos.earth.lat"))
# times and durations are written like right ascensions
_TIME_NAME_PATTERN = re.compile(
    r"(^|_)(time|date|ut|utc|ut1|start|stop|end|begin|beg|lst|gst|hour|duration|dur|exposure|length|rise|set|transit)"
    r"(_|$)"
)
_LONGITUDE_NAME_PATTERN = re.compile(r"(?P<stem>(?:\w+_|rec)?)(?P<word>long?|longitude)(?P<end>_(?:deg|e|east))?")


def find_sky_position_columns(guesses: Sequence[ColumnGuess]) -> tuple[str, str] | None:
    """Find right ascension and declination in degrees by their UCDs; main positions go first.

    Columns that are merely called longitude and latitude are no position on the sky: they may lie on a planet, on the
    Earth or along an orbit.
    """
    return _find_first_column_pair(guesses, _EQUATORIAL_UCDS)


def _find_first_column_pair(
    guesses: Sequence[ColumnGuess], ucd_pairs: Iterable[tuple[str, str]]
) -> tuple[str, str] | None:
    for ucds in ucd_pairs:
        pair = _find_position_pair(guesses, ucds)
        if pair is not None:
            return pair
    return None


def find_body_position_columns(guesses: Sequence[ColumnGuess]) -> tuple[str, str] | None:
    """Find longitude and latitude on a body: by their UCDs, else by names that say longitude and latitude."""
    ucd_pair = _find_first_column_pair(guesses, _BODY_UCDS)
    if ucd_pair is not None:
        return ucd_pair
    numeric_columns = [guess.column for guess in guesses if guess.column.type.is_numeric]
    angle_columns = {column.name for column in numeric_columns if _can_be_in_degrees(column)}
    for name in sorted(angle_columns, key=len):
        match = _LONGITUDE_NAME_PATTERN.fullmatch(name)
        if match is None:
            continue
        word = "lat"
        if match["word"] == "longitude":
            word = "latitude"
        suffix = match["end"] or ""
        suffix = {"_e": "_n", "_east": "_north"}.get(suffix, suffix)
        latitude = f"{match['stem']}{word}{suffix}"
        if latitude in angle_columns:
            return name, latitude
    return None


def write_body_position_note(pair: tuple[str, str]) -> str:
    """Tell a curator what to add to the draft, for columns of longitude and latitude whose frame is unknown."""
    lon, lat = pair
    return (
        f"{lon}, {lat}: are they a longitude and a latitude on a body? If so, give {lon} the UCD pos.bodyrc.lon "
        f"and {lat} pos.bodyrc.lat (on the Earth pos.earth.lon and pos.earth.lat). Write `frame: body` for both, "
        "and in the table `frames: {body: {system: BODY, refposition: Mars}}`. Hven does not take them for a "
        "position on the sky, so there is no cone search"
    )


def build_position_column_guesses(guesses: Sequence[ColumnGuess]) -> list[ColumnGuess]:
    """Make columns of right ascension and declination of pieces, or of a position in another frame of the sky."""
    used_names = {guess.column.name for guess in guesses}
    if {"ra", "dec"} & used_names or find_sky_position_columns(guesses):
        return []
    part_expressions = build_ra_dec_expressions_from_parts(guess.source for guess in guesses)
    if part_expressions is not None:
        return _build_ra_dec_guesses(part_expressions, None)
    for frame, ucds in _OTHER_SKY_FRAME_UCDS.items():
        longitude_ucd, latitude_ucd = ucds
        main_ucds = (f"{longitude_ucd};meta.main", f"{latitude_ucd};meta.main")
        pair = _find_first_column_pair(guesses, (main_ucds, ucds))
        if pair is None:
            continue
        lon, lat = (_find_column_expression(guesses, name) for name in pair)
        point = f"ivo_geom_transform('{frame}', 'ICRS', POINT({lon}, {lat}))"
        expressions = (f"coord1({point})", f"coord2({point})")
        return _build_ra_dec_guesses(expressions, f"guessed: from {frame.lower()} coordinates")
    return []


def convert_sexagesimal_pair_guesses(
    guesses: Sequence[ColumnGuess], samples_by_name: Mapping[str, ColumnSampleStatistics]
) -> list[ColumnGuess]:
    """Convert right ascensions and declinations that only their values show: hours, and degrees with signs after them.

    A column alone stays text, as ``12:30:00`` may be a time of day, and so does a pair beside a position in degrees,
    which is mostly the same position. A comment says how such a text is converted.
    """
    texts = []
    for guess in guesses:
        is_copy = guess.expression in {None, quote_source_name(guess.source)}
        if is_copy and guess.column.type.is_string and samples_by_name[guess.source].is_sexagesimal:
            texts.append(guess)
    has_position = find_sky_position_columns(guesses) is not None
    converted_columns: dict[str, ColumnGuess] = {}
    for lon in texts:
        lat = _find_declination_column(lon, texts, samples_by_name, converted_columns)
        if lat is None or has_position:
            continue
        main_suffix = "" if converted_columns else ";meta.main"
        converted_columns[lon.source] = convert_sexagesimal_guess(lon, is_hours=True, ucd=f"pos.eq.ra{main_suffix}")
        converted_columns[lat.source] = convert_sexagesimal_guess(lat, is_hours=False, ucd=f"pos.eq.dec{main_suffix}")
    new_guesses = []
    for guess in guesses:
        if guess.source in converted_columns:
            new_guesses.append(converted_columns[guess.source])
        elif guess in texts:
            new_guesses.append(_add_notation_remark(guess, samples_by_name))
        else:
            new_guesses.append(guess)
    return new_guesses


def _find_declination_column(
    lon: ColumnGuess,
    texts: Sequence[ColumnGuess],
    samples_by_name: Mapping[str, ColumnSampleStatistics],
    converted_columns: Mapping[str, ColumnGuess],
) -> ColumnGuess | None:
    """Find the next column of declinations after a column of right ascensions, in the same notation."""
    lon_count = samples_by_name[lon.source].sexagesimal_count
    if lon.source in converted_columns or not lon_count.can_be_right_ascension or not _can_be_angle(lon):
        return None
    has_colons = lon_count.colon_count > 0
    for guess in texts[texts.index(lon) + 1 :]:
        count = samples_by_name[guess.source].sexagesimal_count
        has_same_notation = (count.colon_count > 0) is has_colons
        if guess.source in converted_columns or not count.can_be_declination:
            continue
        if has_same_notation and _can_be_angle(guess):
            return guess
    return None


def _can_be_angle(guess: ColumnGuess) -> bool:
    """Return whether neither name nor UCD says that a column is something else, such as a time."""
    if _TIME_NAME_PATTERN.search(guess.column.name):
        return False
    return guess.column.ucd is None or guess.column.ucd.startswith("pos.eq.")


def _add_notation_remark(guess: ColumnGuess, samples_by_name: Mapping[str, ColumnSampleStatistics]) -> ColumnGuess:
    count = samples_by_name[guess.source].sexagesimal_count
    if guess.remark is not None or _TIME_NAME_PATTERN.search(guess.column.name):
        return guess
    if not count.hour_count and not count.can_be_declination:
        return guess  # a time of day, perhaps
    unit_argument = ", 'hour'" if count.hour_count else ""
    expression = f"sexagesimal({quote_source_name(guess.source)}{unit_argument})"
    remark = f"sexagesimal text: write `{guess.column.name}: {expression}` under `map` to convert it to degrees"
    return replace(guess, remark=remark)


def build_ra_dec_expressions_from_parts(names: Iterable[str]) -> tuple[str, str] | None:
    """Write right ascension and declination in degrees from pieces as in CDS catalogues (RAh RAm RAs DE- ..)."""
    available_names = set(names)
    if not {"RAh", "RAm", "DE-", "DEd"} <= available_names:
        return None
    hours = "RAh + RAm / 60.0"
    if "RAs" in available_names:
        hours += " + coalesce(RAs, 0) / 3600.0"
    degrees = "DEd"
    for name, divisor in (("DEm", "60.0"), ("DEs", "3600.0")):
        if name in available_names:
            degrees += f" + coalesce({name}, 0) / {divisor}"
    return f"15 * ({hours})", f"CASE WHEN \"DE-\" = '-' THEN -1 ELSE 1 END * ({degrees})"


def _find_position_pair(guesses: Sequence[ColumnGuess], ucds: tuple[str, str]) -> tuple[str, str] | None:
    """Find the first two columns with these UCDs that belong together: where a UCD is guessed, by their names."""
    lons, lats = (
        [guess for guess in guesses if guess.column.ucd == ucd and _is_float_degree_column(guess.column)]
        for ucd in ucds
    )
    for lon in lons:
        for lat in lats:
            has_given_ucds = "ucd" not in (*lon.guessed_attributes, *lat.guessed_attributes)
            if has_given_ucds or is_position_pair(lon.column.name, lat.column.name) is not False:
                return lon.column.name, lat.column.name
    return None


def _is_float_degree_column(column: Column) -> bool:
    return column.type == FLOAT64 and _can_be_in_degrees(column)


def _can_be_in_degrees(column: Column) -> bool:
    return column.unit in {None, "deg"}


def _find_column_expression(guesses: Sequence[ColumnGuess], name: str) -> str:
    guess = next(guess for guess in guesses if guess.column.name == name)
    return guess.expression or quote_source_name(guess.source)


def _build_ra_dec_guesses(expressions: tuple[str, str], remark: str | None) -> list[ColumnGuess]:
    guesses = []
    for name, expression, description in (
        ("ra", expressions[0], "Right ascension"),
        ("dec", expressions[1], "Declination"),
    ):
        column = Column(name=name, type=FLOAT64, unit="deg", ucd=f"pos.eq.{name};meta.main", description=description)
        guesses.append(ColumnGuess(source="", expression=expression, column=column, remark=remark))
    return guesses

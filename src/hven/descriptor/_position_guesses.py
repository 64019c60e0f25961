"""Which columns of a source are positions on the sky, and which lie on a body: a draft never mixes the two."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.descriptor._guesses import Guess, convert_sexagesimal, quoted
from hven.descriptor._position_names import belong_together
from hven.model.table import Column
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.descriptor._guesses import Seen

_EQUATORIAL = (("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"), ("pos.eq.ra", "pos.eq.dec"))
# frame as `ivo_geom_transform` calls it -> UCDs of longitude and latitude
_OTHER_SKY_FRAMES = {
    "GALACTIC": ("pos.galactic.lon", "pos.galactic.lat"),
    "ECLIPTIC": ("pos.ecliptic.lon", "pos.ecliptic.lat"),
}
_ON_BODY = (("pos.bodyrc.lon", "pos.bodyrc.lat"), ("pos.earth.lon", "pos.earth.lat"))
# times and durations are written like right ascensions
_TIME_NAME = re.compile(
    r"(^|_)(time|date|ut|utc|ut1|start|stop|end|begin|beg|lst|gst|hour|duration|dur|exposure|length|rise|set|transit)(_|$)"
)
_LONGITUDE = re.compile(r"(?P<stem>(?:\w+_|rec)?)(?P<word>long?|longitude)(?P<end>_(?:deg|e|east))?")


def find_sky_position(guesses: Sequence[Guess]) -> tuple[str, str] | None:
    """Find right ascension and declination in degrees, by their UCDs: the main ones first.

    Columns that are merely called longitude and latitude are no position on the sky: they may lie on a planet, on the Earth or
    along an orbit.
    """
    return next((pair for words in _EQUATORIAL if (pair := _find_pair(guesses, words)) is not None), None)


def find_body_position(guesses: Sequence[Guess]) -> tuple[str, str] | None:
    """Find longitude and latitude on a body: by their UCDs, else by names that say longitude and latitude."""
    found = next((pair for words in _ON_BODY if (pair := _find_pair(guesses, words)) is not None), None)
    if found is not None:
        return found
    numeric = {item.column.name for item in guesses if item.column.type.is_numeric and _is_angle(item.column)}
    for name in sorted(numeric, key=len):
        match = _LONGITUDE.fullmatch(name)
        if match is None:
            continue
        word = "latitude" if match["word"] == "longitude" else "lat"
        end = {"_e": "_n", "_east": "_north"}.get(match["end"] or "", match["end"] or "")
        if (latitude := f"{match['stem']}{word}{end}") in numeric:
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


def convert_positions(guesses: Sequence[Guess]) -> list[Guess]:
    """Make columns of right ascension and declination where a source has them in pieces, or in another frame of the sky."""
    taken = {item.column.name for item in guesses}
    if {"ra", "dec"} & taken or find_sky_position(guesses):
        return []
    parts = sexagesimal_parts(item.source for item in guesses)
    if parts is not None:
        return _make_position(parts, "")
    for frame, words in _OTHER_SKY_FRAMES.items():
        pair = _find_pair(guesses, (f"{words[0]};meta.main", f"{words[1]};meta.main")) or _find_pair(guesses, words)
        if pair is None:
            continue
        lon, lat = (_expression_of(guesses, name) for name in pair)
        point = f"ivo_geom_transform('{frame}', 'ICRS', POINT({lon}, {lat}))"
        return _make_position((f"coord1({point})", f"coord2({point})"), f"guessed: from {frame.lower()} coordinates")
    return []


def convert_sexagesimal_pairs(guesses: Sequence[Guess], seen: Mapping[str, Seen]) -> list[Guess]:
    """Convert right ascensions and declinations that only their values tell: hours, and beside them degrees with signs.

    A column alone stays text, as ``12:30:00`` may be a time of day, and so does a pair beside a position in degrees, which is mostly the
    same one. A comment says how such a text is converted.
    """
    texts = [
        item
        for item in guesses
        if item.expression in {None, quoted(item.source)} and item.column.type.is_string and seen[item.source].is_sexagesimal
    ]  # fmt: skip
    has_position = find_sky_position(guesses) is not None
    changed: dict[str, Guess] = {}
    for lon in texts:
        lat = _find_declination(lon, texts, seen, changed)
        if lat is None or has_position:
            continue
        main = "" if changed else ";meta.main"
        changed[lon.source] = convert_sexagesimal(lon, hours=True, ucd=f"pos.eq.ra{main}")
        changed[lat.source] = convert_sexagesimal(lat, hours=False, ucd=f"pos.eq.dec{main}")
    return [changed.get(item.source) or (_hint_at_notation(item, seen) if item in texts else item) for item in guesses]


def _find_declination(
    lon: Guess, texts: Sequence[Guess], seen: Mapping[str, Seen], taken: Mapping[str, Guess]
) -> Guess | None:
    """Find the next column of declinations behind one of right ascensions."""
    if lon.source in taken or not seen[lon.source].sexagesimal.may_be_right_ascension or not _may_be_angle(lon):
        return None
    behind = texts[texts.index(lon) + 1 :]
    return next(
        (
            item
            for item in behind
            if item.source not in taken
            and seen[item.source].sexagesimal.may_be_declination
            and (seen[item.source].sexagesimal.colons > 0) is (seen[lon.source].sexagesimal.colons > 0)
            and _may_be_angle(item)
        ),
        None,
    )


def _may_be_angle(item: Guess) -> bool:
    """Check that nothing says that a column is something else, such as a time."""
    return not _TIME_NAME.search(item.column.name) and (
        item.column.ucd is None or item.column.ucd.startswith("pos.eq.")
    )


def _hint_at_notation(item: Guess, seen: Mapping[str, Seen]) -> Guess:
    count = seen[item.source].sexagesimal
    if item.doubt is not None or _TIME_NAME.search(item.column.name) or not (count.hours or count.may_be_declination):
        return item  # a time of day, perhaps
    kind = ", 'hour'" if count.hours else ""
    return replace(
        item,
        doubt=f"sexagesimal text: `{item.column.name}: sexagesimal({quoted(item.source)}{kind})` under `map` makes degrees of it",
    )


def sexagesimal_parts(names: Iterable[str]) -> tuple[str, str] | None:
    """Write expressions for right ascension and declination in degrees, if they stand in pieces as in CDS catalogues (RAh RAm RAs DE- ..)."""
    there = set(names)
    if not {"RAh", "RAm", "DE-", "DEd"} <= there:
        return None
    ra = "RAh + RAm / 60.0" + (" + coalesce(RAs, 0) / 3600.0" if "RAs" in there else "")
    dec = (
        "DEd"
        + (" + coalesce(DEm, 0) / 60.0" if "DEm" in there else "")
        + (" + coalesce(DEs, 0) / 3600.0" if "DEs" in there else "")
    )
    return f"15 * ({ra})", f"CASE WHEN \"DE-\" = '-' THEN -1 ELSE 1 END * ({dec})"


def _find_pair(guesses: Sequence[Guess], words: tuple[str, str]) -> tuple[str, str] | None:
    """Find the first two columns with these UCDs that belong together: where a UCD is guessed, their names say so."""
    lons, lats = ([item for item in guesses if item.column.ucd == word and _is_position(item.column)] for word in words)
    for lon in lons:
        for lat in lats:
            is_said = "ucd" not in (*lon.guessed, *lat.guessed)
            if is_said or belong_together(lon.column.name, lat.column.name) is not False:
                return lon.column.name, lat.column.name
    return None


def _is_position(column: Column) -> bool:
    return column.type == FLOAT64 and _is_angle(column)


def _is_angle(column: Column) -> bool:
    return column.unit in {None, "deg"}


def _expression_of(guesses: Sequence[Guess], name: str) -> str:
    item = next(item for item in guesses if item.column.name == name)
    return item.expression or quoted(item.source)


def _make_position(expressions: tuple[str, str], doubt: str) -> list[Guess]:
    return [
        Guess(
            source="",
            expression=text,
            column=Column(name=name, type=FLOAT64, unit="deg", ucd=f"pos.eq.{name};meta.main", description=about),
            doubt=doubt or None,
        )
        for name, text, about in (
            ("ra", expressions[0], "Right ascension"),
            ("dec", expressions[1], "Declination"),
        )
    ]

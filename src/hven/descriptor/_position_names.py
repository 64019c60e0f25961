"""What the names of two columns say of a position: whether they belong together, and whether they may lie on a body."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.descriptor.value_schema import FaultCollector
    from hven.descriptor.written_yaml import LocatedYamlScalar
    from hven.model.table import Column

_LONGITUDE_LATITUDE_WORDS = (("longitude", "long", "lon"), ("latitude", "lat"))
# words for the two axes of a position; what stands around them in a name is the same for both
_AXIS_WORDS = (
    (("right_ascension", "rightascension", "alpha", "ra"), ("declination", "decl", "dec", "delta", "de")),
    _LONGITUDE_LATITUDE_WORDS,
    (("crval1",), ("crval2",)),
)
_FRAME_UCD_PATTERN = re.compile(r"pos\.(eq|galactic|ecliptic|bodyrc|earth|az)\b")
_SKY_STEM_PATTERN = re.compile(
    r"_?(g|gal|galactic|e|ecl|ecliptic|elon|sgal|supergalactic)_?(deg|mean|icrs)?", re.IGNORECASE
)


def is_position_pair(lon: str, lat: str) -> bool | None:
    """Check whether two names are those of one position: ``ra_mean``, ``dec_mean`` are, ``clipra``, ``crval2`` are not.

    Parameters
    ----------
    lon, lat
        The names.

    Returns
    -------
    together
        None: a name says nothing of positions.
    """
    stems = [(_find_column_name_stems(words[0], lon), _find_column_name_stems(words[1], lat)) for words in _AXIS_WORDS]
    if any(lons & lats for lons, lats in stems):
        return True
    says_both = any(lons for lons, _ in stems) and any(lats for _, lats in stems)
    return False if says_both else None


def is_body_position_pair(lon: str, lat: str) -> bool:
    """Check whether two names say longitude and latitude, and no frame of the sky."""
    stems = _find_column_name_stems(_LONGITUDE_LATITUDE_WORDS[0], lon) & _find_column_name_stems(
        _LONGITUDE_LATITUDE_WORDS[1], lat
    )
    return bool(stems) and not any(_SKY_STEM_PATTERN.fullmatch(stem) for stem in stems)


def warn_mismatched_position_columns(
    key_path: str, pair: tuple[str, str], columns: Sequence[Column], place: LocatedYamlScalar, faults: FaultCollector
) -> None:
    """Warn of a position whose two columns are hardly one: of different frames, of different families, or on a body."""
    columns_by_name = {column.name: column for column in columns}
    lon, lat = (columns_by_name.get(name) for name in pair)
    if lon is None or lat is None:
        return
    frames = [
        match[1] if (match := _FRAME_UCD_PATTERN.search((column.ucd or "").lower())) else None for column in (lon, lat)
    ]
    if None not in frames:
        if frames[0] != frames[1]:
            faults.add_warning(
                f"{key_path}.position: {lon.name} ({lon.ucd}) and {lat.name} ({lat.ucd}) have UCDs of different frames",
                place.place,
                "specify a longitude and a latitude in the same frame, or correct their UCDs",
            )
        return
    if is_position_pair(*pair) is False:
        faults.add_warning(
            f"{key_path}.position: the names {lon.name} and {lat.name} suggest that the two do not belong together",
            place.place,
            "specify the longitude and the latitude of the same position; if these columns are correct, give both "
            "of them UCDs (pos.eq.ra, pos.eq.dec)",
        )
    elif is_body_position_pair(*pair) and lon.frame is None:
        faults.add_warning(
            f"{key_path}.position: {lon.name} and {lat.name} may be coordinates on a body, but Hven searches them "
            "as positions on the sky",
            place.place,
            "give both columns UCDs: pos.eq.ra and pos.eq.dec on the sky, pos.bodyrc.lon and pos.bodyrc.lat on a body",
        )


def _find_column_name_stems(words: Sequence[str], name: str) -> set[str]:
    return set(_iterate_names_without_word(words, name.lower()))


def _iterate_names_without_word(words: Sequence[str], name: str) -> Iterator[str]:
    """Yield a name without each word that begins or ends a part of it: ``clipra`` without ``ra``, but not ``frame``."""
    for word in words:
        start = name.find(word)
        while start >= 0:
            before = name[:start]
            after = name[start + len(word) :]
            if not before or not after or before.endswith("_") or after.startswith("_"):
                yield before.rstrip("_") + after
            start = name.find(word, start + 1)

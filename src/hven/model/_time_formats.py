"""Times as addresses of other services write them: ``{date_obs:iso}``, ``{date_obs:%Y/%m/%d}``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

NAMED_FORMATS = {"iso": "%Y-%m-%dT%H:%M:%SZ", "date": "%Y-%m-%d"}
# where each part stands in 2012-09-03T10:00:00.123456, counted from 1, and how many characters it has
TIME_PARTS = {"Y": (1, 4), "m": (6, 2), "d": (9, 2), "H": (12, 2), "M": (15, 2), "S": (18, 2), "f": (21, 6)}
_PATTERN = re.compile(r"%(.)")
_MJD_OF_1900, _MJD_OF_2200 = 15_020.0, 124_594.0
_JD_OF_YEAR_0, _JD_OF_10000 = 1_721_057.5, 5_373_484.5
_MJD = 2_400_000.5  # Julian date of its zero
_UNIX = 2_440_587.5  # Julian date of 1970-01-01


def is_time_format(spec: str) -> bool:
    """Return whether what stands behind the colon of a template's value is the format of a time.

    Parameters
    ----------
    spec
        What stands behind the colon.

    Returns
    -------
    is_time
        It is ``iso``, ``date``, or has a ``%``.
    """
    return spec in NAMED_FORMATS or "%" in spec


def unknown_time_parts(spec: str) -> list[str]:
    """List the parts of a format of times that nobody knows.

    Parameters
    ----------
    spec
        ``iso``, ``date``, or a pattern of ``%Y %m %d %H %M %S %f`` (microseconds).

    Returns
    -------
    parts
        With their ``%``.
    """
    return [f"%{letter}" for letter in _PATTERN.findall(spec) if letter not in TIME_PARTS]


def time_format_parts(spec: str) -> list[str | tuple[int, int]]:
    """Cut a format of times into texts, and places of parts in the ISO form of a time.

    Parameters
    ----------
    spec
        ``iso``, ``date``, or a pattern of ``%Y %m %d %H %M %S %f`` (microseconds).

    Returns
    -------
    parts
        Texts as they are; of a part of the time where it begins in ``2012-09-03T10:00:00.123456``, counted from 1, and its length.
    """
    pieces = _PATTERN.split(NAMED_FORMATS.get(spec, spec))
    found = [TIME_PARTS[one] if at % 2 else one for at, one in enumerate(pieces)]
    return [one for one in found if one]


def format_time(value: Any, spec: str) -> str | None:
    """Write a time as a format says, cut to its parts; None: it is no time.

    Parameters
    ----------
    value
        A timestamp in UTC, a text that begins as ISO 8601 does, a Julian date or a modified one: numbers of the years 0 to 9999, and 1900 to 2199.
    spec
        ``iso``, ``date``, or a pattern of ``%Y %m %d %H %M %S %f`` (microseconds).

    Returns
    -------
    text
        None: it is no time.
    """
    when = _to_datetime(value)
    if when is None:
        return None
    iso = f"{when:%Y}".rjust(4, "0") + f"{when:-%m-%dT%H:%M:%S.%f}"
    cut = (one if isinstance(one, str) else iso[one[0] - 1 : sum(one) - 1] for one in time_format_parts(spec))
    return "".join(cut)


def _to_datetime(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo is not None else value
    if isinstance(value, str):
        try:
            read = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
        return read.astimezone(UTC) if read.tzinfo is not None else read
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if _JD_OF_YEAR_0 <= value < _JD_OF_10000:
        days = value - _UNIX
    elif _MJD_OF_1900 <= value < _MJD_OF_2200:
        days = value - (_UNIX - _MJD)
    else:
        return None
    # a double of a Julian date is good to 40 microseconds: what was meant as a whole millisecond is one
    return datetime(1970, 1, 1) + timedelta(milliseconds=round(days * 86_400_000))  # noqa: DTZ001  (UTC throughout)

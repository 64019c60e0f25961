"""Times as addresses of other services write them: ``{date_obs:iso}``, ``{date_obs:%Y/%m/%d}``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

NAMED_FORMATS = {"iso": "%Y-%m-%dT%H:%M:%SZ", "date": "%Y-%m-%d"}
# where each part stands in 2012-09-03T10:00:00.123456, counted from 1, and how many characters it has
TIME_PART_POSITIONS = {"Y": (1, 4), "m": (6, 2), "d": (9, 2), "H": (12, 2), "M": (15, 2), "S": (18, 2), "f": (21, 6)}
_DIRECTIVE_PATTERN = re.compile(r"%(.)")
_MJD_OF_1900, _MJD_OF_2200 = 15_020.0, 124_594.0
_JD_OF_YEAR_0, _JD_OF_10000 = 1_721_057.5, 5_373_484.5
_MJD_EPOCH_JD = 2_400_000.5  # Julian date of its zero
_UNIX_EPOCH_JD = 2_440_587.5  # Julian date of 1970-01-01


def is_time_format(format_spec: str) -> bool:
    """Return whether what stands behind the colon of a template's value is the format of a time.

    Parameters
    ----------
    format_spec
        What stands behind the colon.

    Returns
    -------
    is_time
        It is ``iso``, ``date``, or has a ``%``.
    """
    return format_spec in NAMED_FORMATS or "%" in format_spec


def list_unknown_time_directives(format_spec: str) -> list[str]:
    """List the directives of a time format that Hven does not support.

    Parameters
    ----------
    format_spec
        ``iso``, ``date``, or a pattern of ``%Y %m %d %H %M %S %f`` (microseconds).

    Returns
    -------
    parts
        The directives, such as ``%q``.
    """
    return [f"%{letter}" for letter in _DIRECTIVE_PATTERN.findall(format_spec) if letter not in TIME_PART_POSITIONS]


def split_time_format(format_spec: str) -> list[str | tuple[int, int]]:
    """Cut a format of times into texts, and places of parts in the ISO form of a time.

    Parameters
    ----------
    format_spec
        ``iso``, ``date``, or a pattern of ``%Y %m %d %H %M %S %f`` (microseconds).

    Returns
    -------
    parts
        Texts as they are; of a part of the time where it begins in ``2012-09-03T10:00:00.123456``, counted from 1, and
        its length.
    """
    pieces = _DIRECTIVE_PATTERN.split(NAMED_FORMATS.get(format_spec, format_spec))
    parts = [TIME_PART_POSITIONS[piece] if index % 2 else piece for index, piece in enumerate(pieces)]
    return [piece for piece in parts if piece]


def format_time(value: Any, format_spec: str) -> str | None:
    """Format a time, cut to the parts of the format; None if the value is not a time.

    Parameters
    ----------
    value
        A timestamp in UTC, a text that begins in ISO 8601 form, a Julian date of the years 0 to 9999, or a modified
        Julian date of the years 1900 to 2199.
    format_spec
        ``iso``, ``date``, or a pattern of ``%Y %m %d %H %M %S %f`` (microseconds).

    Returns
    -------
    text
        None if the value is not a time.
    """
    instant = _to_datetime(value)
    if instant is None:
        return None
    iso = f"{instant:%Y}".rjust(4, "0") + f"{instant:-%m-%dT%H:%M:%S.%f}"
    parts = []
    for part in split_time_format(format_spec):
        if isinstance(part, str):
            parts.append(part)
        else:
            start, length = part
            parts.append(iso[start - 1 : start + length - 1])
    return "".join(parts)


def _to_datetime(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return _convert_to_naive_utc(value)
    if isinstance(value, str):
        try:
            return _convert_to_naive_utc(datetime.fromisoformat(value.strip()))
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if _JD_OF_YEAR_0 <= value < _JD_OF_10000:
        days = value - _UNIX_EPOCH_JD
    elif _MJD_OF_1900 <= value < _MJD_OF_2200:
        days = value - (_UNIX_EPOCH_JD - _MJD_EPOCH_JD)
    else:
        return None
    # a Julian date as a double is exact to 40 microseconds only, so the result is rounded to milliseconds
    return datetime(1970, 1, 1) + timedelta(milliseconds=round(days * 86_400_000))  # noqa: DTZ001  (UTC throughout)


def _convert_to_naive_utc(instant: datetime) -> datetime:
    """Convert a time with a zone to UTC; a time without a zone is in UTC already."""
    if instant.tzinfo is None:
        return instant
    return instant.astimezone(UTC)

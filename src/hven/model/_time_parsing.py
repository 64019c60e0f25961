"""Read times written as text.

The one policy for offsets from UTC, leap seconds, 24:00 and years, which all readers and engines share.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

FIRST_YEAR, LAST_YEAR = 1, 9999
#: What a text must look like, for messages.
TIME_SYNTAX_HELP = (
    "YYYY-MM-DD['T'hh:mm[:ss[.sss]]], in the years 0001 to 9999, with or without Z or an offset such as +02:00"
)

_MICROSECOND_TIMESTAMP = pa.timestamp("us")
# days that there are, for a cast tells of one wrong cell at a time
_LEAP_DAY_PATTERN = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
_DATE_PATTERN = (
    rf"(?:\d{{4}}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)"
    rf"|(?:0[13578]|1[02])-31)|{_LEAP_DAY_PATTERN})"
)
_SECONDS_PATTERN = r"(?::(?:[0-5]\d|60)(?:\.\d*)?)?"
_MINUTES_PATTERN = rf"(?:(?:[01]\d|2[0-3]):[0-5]\d{_SECONDS_PATTERN}|24:00(?::00(?:\.0*)?)?)"
_CLOCK_TIME_PATTERN = rf"(?:[01]\d|2[0-3]|{_MINUTES_PATTERN})"
_UTC_OFFSET_PATTERN = r"[+-](?:0\d|1[0-5])(?::?[0-5]\d)?"
_UTC_PATTERN = r"[Zz]|UTC|GMT|[+-]00(?::?00)?"
_TIME_PATTERN = (
    rf"^{_DATE_PATTERN}(?:[T ]{_CLOCK_TIME_PATTERN})? ?(?:{_UTC_PATTERN})?$"
    rf"|^{_DATE_PATTERN}[T ]{_MINUTES_PATTERN} ?{_UTC_OFFSET_PATTERN}$"
)
_UTC_SUFFIX_PATTERN = rf" ?(?:{_UTC_PATTERN})$"
_UTC_OFFSET_PARTS_PATTERN = r"(?P<clock>:\d\d(?::\d\d(?:\.\d*)?)?) ?(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?$"
_SECOND_60_PATTERN, _HOUR_24_PATTERN = r":60(\.\d*)?$", r"([T ])24:"
_PLAIN_TIME_PATTERN = re.compile(r"(?!0000)\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?)?Z?", re.ASCII)
_YEAR_BOUNDS = pa.array(["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"]).cast(_MICROSECOND_TIMESTAMP)
_SECOND_MICROSECONDS, _DAY_MICROSECONDS, _MINUTE_MICROSECONDS = 1_000_000, 86_400_000_000, 60_000_000


def parse_times(texts: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Read ISO 8601 times in UTC, to the microsecond (digits beyond are cut off).

    An offset from UTC is applied, so that the instant stays: ``2020-01-01T00:00:00-05:00`` is 05:00:00. A second 60 (a
    leap second, or seconds that were rounded up) is the first of the next minute. 24:00 is the next day's 00:00. A time
    scale other than UTC and a year outside of 0001 to 9999 are refused.

    Parameters
    ----------
    texts
        Strings, shape (n,).

    Returns
    -------
    values
        Timestamps of microseconds without a zone, null where a text is none.
    bad
        Which texts are no times (booleans), or None if all are.
    """
    try:
        values = texts.cast(_MICROSECOND_TIMESTAMP)
        is_invalid = None
    except pa.ArrowInvalid:
        values, is_invalid = _parse_irregular_times(texts)
    is_outside_years = find_times_outside_years(values)
    if is_outside_years is None:
        return values, is_invalid
    values = pc.if_else(is_outside_years, pa.scalar(None, _MICROSECOND_TIMESTAMP), values)
    return values, is_outside_years if is_invalid is None else pc.or_(is_outside_years, is_invalid)


def find_times_outside_years(values: pa.Array) -> pa.Array | None:
    """Mark the times outside of the years 0001 to 9999, or return None: there are none.

    Parameters
    ----------
    values
        Timestamps of any unit, shape (n,).
    """
    low = _YEAR_BOUNDS[0]
    high = _YEAR_BOUNDS[1]
    kind = values.type
    if kind.unit == "ns":
        return None  # 1677 to 2262
    if kind.unit in {"s", "ms"}:
        low, high = (pa.array([bound]).cast(pa.timestamp(kind.unit), safe=False)[0] for bound in (low, high))
    if kind.tz is not None:
        values = values.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.timestamp(kind.unit))
    ends = pc.min_max(values.cast(pa.int64()))
    if ends["min"].as_py() is None or (ends["min"].as_py() >= low.value and ends["max"].as_py() <= high.value):
        return None
    return pc.fill_null(pc.or_(pc.less(values, low), pc.greater(values, high)), False)


def _parse_irregular_times(texts: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    texts = pc.utf8_trim_whitespace(texts)
    is_valid = pc.fill_null(pc.match_substring_regex(texts, _TIME_PATTERN), True)
    if pc.all(is_valid).as_py() is not False:
        is_invalid = None
    else:
        is_invalid = pc.invert(is_valid)
    if is_invalid is not None:
        texts = pc.if_else(is_valid, texts, pa.scalar(None, texts.type))
    texts = pc.replace_substring_regex(texts, _UTC_SUFFIX_PATTERN, "")
    parts = pc.extract_regex(texts, _UTC_OFFSET_PARTS_PATTERN)
    has_offsets = parts.null_count < len(parts)
    if has_offsets:
        texts = pc.replace_substring_regex(texts, _UTC_OFFSET_PARTS_PATTERN, r"\1")
    texts = pc.replace_substring_regex(texts, r"(\.\d{6})\d+$", r"\1")
    texts = pc.replace_substring_regex(texts, r"\.$", "")
    has_second_60 = pc.fill_null(pc.match_substring_regex(texts, _SECOND_60_PATTERN), False)
    has_hour_24 = pc.fill_null(pc.match_substring_regex(texts, _HOUR_24_PATTERN), False)
    texts = pc.replace_substring_regex(texts, _SECOND_60_PATTERN, r":59\1")
    texts = pc.replace_substring_regex(texts, _HOUR_24_PATTERN, r"\100:")
    values = texts.cast(_MICROSECOND_TIMESTAMP)
    added_microseconds = pc.add(
        pc.multiply(has_second_60.cast(pa.int64()), _SECOND_MICROSECONDS),
        pc.multiply(has_hour_24.cast(pa.int64()), _DAY_MICROSECONDS),
    )
    if has_offsets:
        hours = pc.struct_field(parts, "hours").cast(pa.int64())
        minutes = pc.struct_field(parts, "minutes")
        minutes = pc.if_else(pc.equal(minutes, ""), "0", minutes).cast(pa.int64())
        offset_minutes = pc.add(pc.multiply(hours, 60), minutes)
        offset_minutes = pc.if_else(
            pc.equal(pc.struct_field(parts, "sign"), "-"), pc.negate(offset_minutes), offset_minutes
        )
        added_microseconds = pc.subtract(
            added_microseconds, pc.multiply(pc.fill_null(offset_minutes, 0), _MINUTE_MICROSECONDS)
        )
    return pc.add(values, added_microseconds.cast(pa.duration("us"))), is_invalid


def is_plain_time(text: str) -> bool:
    """Check whether a text is a time that every engine reads alike: in UTC, without an offset, a second 60 or 24:00."""
    return (
        _PLAIN_TIME_PATTERN.fullmatch(text.strip()) is not None
        and "T24:" not in text
        and " 24:" not in text
        and ":60" not in text
    )


def to_plain_time(text: str) -> str | None:
    """Write a time as every engine reads it, or return None: it is no time.

    Parameters
    ----------
    text
        As `parse_times` takes it.
    """
    values, is_invalid = parse_times(pa.array([text], pa.string()))
    if is_invalid is not None or values.null_count:
        return None
    return str(values[0].as_py().isoformat())

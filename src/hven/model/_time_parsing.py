"""Parse times that are written as text.

All readers and engines share this policy for offsets from UTC, leap seconds, 24:00 and years.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

#: The form of times, for messages.
TIME_SYNTAX_HELP = (
    "YYYY-MM-DD['T'hh:mm[:ss[.sss]]], in the years 0001 to 9999, with or without Z or an offset such as +02:00"
)

_MICROSECOND_TIMESTAMP = pa.timestamp("us")
# dates that exist; a pattern finds all wrong cells at once, while a cast reports only one
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
_SECOND_60_PATTERN = r":60(\.\d*)?$"
_HOUR_24_PATTERN = r"([T ])24:"
_PLAIN_TIME_PATTERN = re.compile(r"(?!0000)\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?)?Z?", re.ASCII)
_YEAR_BOUNDS = pa.array(["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"]).cast(_MICROSECOND_TIMESTAMP)
_SECOND_MICROSECONDS = 1_000_000
_MINUTE_MICROSECONDS = 60_000_000
_DAY_MICROSECONDS = 86_400_000_000


def parse_times(texts: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Parse ISO 8601 times in UTC, to the microsecond (further digits are cut off).

    An offset from UTC is applied, so that the instant stays the same: ``2020-01-01T00:00:00-05:00`` is 05:00:00. A
    second 60 (a leap second, or rounded seconds) becomes the first second of the next minute. 24:00 becomes 00:00 of
    the next day. Time scales other than UTC and years outside 0001 to 9999 are refused.

    Parameters
    ----------
    texts
        Strings, shape (n,).

    Returns
    -------
    values
        Timestamps of microseconds without a zone, null where a text is not a time.
    bad
        Which texts are not times (booleans), or None if all are.
    """
    try:
        values = texts.cast(_MICROSECOND_TIMESTAMP)
        is_invalid = None
    except pa.ArrowInvalid:
        values, is_invalid = _parse_irregular_times(texts)
    is_outside_years = find_times_outside_year_range(values)
    if is_outside_years is None:
        return values, is_invalid
    values = pc.if_else(is_outside_years, pa.scalar(None, _MICROSECOND_TIMESTAMP), values)
    if is_invalid is not None:
        is_outside_years = pc.or_(is_outside_years, is_invalid)
    return values, is_outside_years


def find_times_outside_year_range(values: pa.Array) -> pa.Array | None:
    """Return which times are outside the years 0001 to 9999, or None if there are none.

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
    first = ends["min"].as_py()
    last = ends["max"].as_py()
    if first is None or (first >= low.value and last <= high.value):
        return None
    is_outside = pc.or_(pc.less(values, low), pc.greater(values, high))
    return pc.fill_null(is_outside, False)


def _parse_irregular_times(texts: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    texts = pc.utf8_trim_whitespace(texts)
    is_valid = pc.fill_null(pc.match_substring_regex(texts, _TIME_PATTERN), True)
    is_invalid = None
    if pc.all(is_valid).as_py() is False:
        is_invalid = pc.invert(is_valid)
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
    added_seconds = pc.multiply(has_second_60.cast(pa.int64()), _SECOND_MICROSECONDS)
    added_days = pc.multiply(has_hour_24.cast(pa.int64()), _DAY_MICROSECONDS)
    added_microseconds = pc.add(added_seconds, added_days)
    if has_offsets:
        added_microseconds = pc.subtract(added_microseconds, _compute_utc_offsets(parts))
    times = pc.add(values, added_microseconds.cast(pa.duration("us")))
    return times, is_invalid


def _compute_utc_offsets(parts: pa.Array) -> pa.Array:
    """Compute offsets from UTC in microseconds; 0 where there is none."""
    hours = pc.struct_field(parts, "hours").cast(pa.int64())
    minute_texts = pc.struct_field(parts, "minutes")
    minutes = pc.if_else(pc.equal(minute_texts, ""), "0", minute_texts).cast(pa.int64())
    offset_minutes = pc.add(pc.multiply(hours, 60), minutes)
    is_negative = pc.equal(pc.struct_field(parts, "sign"), "-")
    offset_minutes = pc.if_else(is_negative, pc.negate(offset_minutes), offset_minutes)
    return pc.multiply(pc.fill_null(offset_minutes, 0), _MINUTE_MICROSECONDS)


def is_portable_time_text(text: str) -> bool:
    """Return whether every engine parses a time in the same way: in UTC, without an offset, a second 60 or 24:00."""
    if _PLAIN_TIME_PATTERN.fullmatch(text.strip()) is None:
        return False
    return not any(part in text for part in ("T24:", " 24:", ":60"))


def to_portable_time_text(text: str) -> str | None:
    """Rewrite a time in the form that every engine parses, or return None if the text is not a time.

    Parameters
    ----------
    text
        A text as for `parse_times`.
    """
    values, is_invalid = parse_times(pa.array([text], pa.string()))
    if is_invalid is not None or values.null_count:
        return None
    return str(values[0].as_py().isoformat())

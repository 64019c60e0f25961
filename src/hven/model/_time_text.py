"""Read times written as text: the one policy for offsets from UTC, leap seconds, 24:00 and years, which all readers and engines share."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

FIRST_YEAR, LAST_YEAR = 1, 9999
#: What a text must look like, for messages.
TIME_FORM = "YYYY-MM-DD['T'hh:mm[:ss[.sss]]], in the years 0001 to 9999, with or without Z or an offset such as +02:00"

_KIND = pa.timestamp("us")
# days that there are, for a cast tells of one wrong cell at a time
_LEAP = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
_DAY = rf"(?:\d{{4}}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)|{_LEAP})"
_SECONDS = r"(?::(?:[0-5]\d|60)(?:\.\d*)?)?"
_MINUTES = rf"(?:(?:[01]\d|2[0-3]):[0-5]\d{_SECONDS}|24:00(?::00(?:\.0*)?)?)"
_CLOCK = rf"(?:[01]\d|2[0-3]|{_MINUTES})"
_OFFSET = r"[+-](?:0\d|1[0-5])(?::?[0-5]\d)?"
_UTC = r"[Zz]|UTC|GMT|[+-]00(?::?00)?"
_TIME = rf"^{_DAY}(?:[T ]{_CLOCK})? ?(?:{_UTC})?$|^{_DAY}[T ]{_MINUTES} ?{_OFFSET}$"
_ZONE = rf" ?(?:{_UTC})$"
_SHIFT = r"(?P<clock>:\d\d(?::\d\d(?:\.\d*)?)?) ?(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?$"
_SIXTY, _MIDNIGHT = r":60(\.\d*)?$", r"([T ])24:"
_PLAIN = re.compile(r"(?!0000)\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?)?Z?", re.ASCII)
_BOUNDS = pa.array(["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"]).cast(_KIND)
_SECOND, _DAY_LONG, _MINUTE_US = 1_000_000, 86_400_000_000, 60_000_000


def read_times(texts: pa.Array) -> tuple[pa.Array, pa.Array | None]:
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
        values, bad = texts.cast(_KIND), None
    except pa.ArrowInvalid:
        values, bad = _read_slowly(texts)
    strange = find_outside_years(values)
    if strange is None:
        return values, bad
    values = pc.if_else(strange, pa.scalar(None, _KIND), values)
    return values, strange if bad is None else pc.or_(strange, bad)


def find_outside_years(values: pa.Array) -> pa.Array | None:
    """Mark the times outside of the years 0001 to 9999, or return None: there are none.

    Parameters
    ----------
    values
        Timestamps of any unit, shape (n,).
    """
    low, high = _BOUNDS[0], _BOUNDS[1]
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


def _read_slowly(texts: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    texts = pc.utf8_trim_whitespace(texts)
    fits = pc.fill_null(pc.match_substring_regex(texts, _TIME), True)
    bad = None if pc.all(fits).as_py() is not False else pc.invert(fits)
    if bad is not None:
        texts = pc.if_else(fits, texts, pa.scalar(None, texts.type))
    texts = pc.replace_substring_regex(texts, _ZONE, "")
    parts = pc.extract_regex(texts, _SHIFT)
    shifted = parts.null_count < len(parts)
    if shifted:
        texts = pc.replace_substring_regex(texts, _SHIFT, r"\1")
    texts = pc.replace_substring_regex(texts, r"(\.\d{6})\d+$", r"\1")
    texts = pc.replace_substring_regex(texts, r"\.$", "")
    sixty = pc.fill_null(pc.match_substring_regex(texts, _SIXTY), False)
    midnight = pc.fill_null(pc.match_substring_regex(texts, _MIDNIGHT), False)
    texts = pc.replace_substring_regex(texts, _SIXTY, r":59\1")
    texts = pc.replace_substring_regex(texts, _MIDNIGHT, r"\100:")
    values = texts.cast(_KIND)
    more = pc.add(pc.multiply(sixty.cast(pa.int64()), _SECOND), pc.multiply(midnight.cast(pa.int64()), _DAY_LONG))
    if shifted:
        hours = pc.struct_field(parts, "hours").cast(pa.int64())
        minutes = pc.struct_field(parts, "minutes")
        minutes = pc.if_else(pc.equal(minutes, ""), "0", minutes).cast(pa.int64())
        ahead = pc.add(pc.multiply(hours, 60), minutes)
        ahead = pc.if_else(pc.equal(pc.struct_field(parts, "sign"), "-"), pc.negate(ahead), ahead)
        more = pc.subtract(more, pc.multiply(pc.fill_null(ahead, 0), _MINUTE_US))
    return pc.add(values, more.cast(pa.duration("us"))), bad


def is_plain_time(text: str) -> bool:
    """Check whether a text is a time that every engine reads alike: in UTC, without an offset, a second 60 or 24:00."""
    return (
        _PLAIN.fullmatch(text.strip()) is not None and "T24:" not in text and " 24:" not in text and ":60" not in text
    )


def to_plain_time(text: str) -> str | None:
    """Write a time as every engine reads it, or return None: it is no time.

    Parameters
    ----------
    text
        As `read_times` takes it.
    """
    values, bad = read_times(pa.array([text], pa.string()))
    if bad is not None or values.null_count:
        return None
    return str(values[0].as_py().isoformat())

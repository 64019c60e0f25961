"""Write times as texts of one length, and parse them.

They are in ISO 8601, with the fractions that clients of time series send. Tables replace a division for each digit.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

SECOND_MICROSECONDS = 1_000_000
DAY_MICROSECONDS = 86_400 * SECOND_MICROSECONDS
UNIX_EPOCH_JD = 2_440_587.5  # Julian date of 1970-01-01
_TIME_PATTERN = re.compile(
    r"(\d{4})(?:-?(?:(\d\d)(?:-?(\d\d))?|(\d{3})))?(?:T(?:(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d*))?)?)?)?)?Z?"
)
_DURATION_PATTERN = re.compile(
    r"P(?=.)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+(?:\.\d+)?)D)?"
    r"(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?"
)
_DURATION_UNIT_SECONDS = (31_536_000, 2_592_000, 604_800, 86_400, 3_600, 60, 1)


def format_instant(instant: int) -> str:
    """Write an instant: ``2003-05-21T10:30:00.000000Z``.

    Parameters
    ----------
    instant
        Microseconds since 1970 (UTC).

    Returns
    -------
    text
        ISO 8601 with microseconds.
    """
    return f"{np.datetime64(instant, 'us')}Z"


def parse_time_as_microseconds(text: str) -> int:
    """Parse a time, whose end and Z may be omitted, as microseconds since 1970 (UTC).

    A second of 60, as a leap second is written, is the beginning of the next minute. Fractions below a microsecond are
    rounded up, so that a sample at the microsecond before is not taken for a later one.

    Parameters
    ----------
    text
        ``2003``, ``2003-141T10:30Z``, ``2003-05-21T10:30:00.000Z``.

    Returns
    -------
    instant
        Microseconds since 1970 (UTC).

    Raises
    ------
    ValueError
        The text is no time.
    """
    return -(-parse_time_as_nanoseconds(text) // 1000)


def parse_time_as_nanoseconds(text: str) -> int:
    """Parse a time, as `parse_time_as_microseconds` does, as nanoseconds since 1970 (UTC).

    Parameters
    ----------
    text
        As in `parse_time_as_microseconds`.

    Returns
    -------
    instant
        Nanoseconds since 1970; smaller fractions are rounded up.

    Raises
    ------
    ValueError
        The text is no time.
    """
    time_match = _TIME_PATTERN.fullmatch(text)
    if time_match is None:
        raise ValueError(text)
    fields = [int(digits) if digits else None for digits in time_match.groups()[:7]]
    year, month, day, day_of_year, *time_parts = fields
    if day_of_year is not None:
        date = np.datetime64(f"{year:04d}-01-01", "D") + np.timedelta64(day_of_year - 1, "D")
        if not 1 <= day_of_year <= 366 or date.astype("datetime64[Y]").astype(int) + 1970 != year:
            raise ValueError(text)
    else:
        date = np.datetime64(f"{year:04d}-{month or 1:02d}-{day or 1:02d}", "D")
    hour, minute, second = (part or 0 for part in time_parts)
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        raise ValueError(text)
    fraction = (time_match[8] or "").ljust(9, "0")
    date_nanoseconds = int(date.astype("datetime64[us]").astype(np.int64)) * 1000
    day_seconds = hour * 3600 + minute * 60 + second
    day_nanoseconds = day_seconds * 1_000_000_000 + int(fraction[:9])
    has_remainder = bool(fraction[9:].strip("0"))
    return date_nanoseconds + day_nanoseconds + has_remainder


def format_duration(seconds: float) -> str:
    """Write a duration in ISO 8601.

    Parameters
    ----------
    seconds
        A positive number of seconds.

    Returns
    -------
    text
        ``PT1M``.
    """
    days, remaining_seconds = divmod(seconds, 86_400)
    hours, remaining_seconds = divmod(remaining_seconds, 3_600)
    minutes, remaining_seconds = divmod(remaining_seconds, 60)
    amounts = {"H": hours, "M": minutes, "S": remaining_seconds}
    time_text = "".join(f"{amount:.9g}{unit}" for unit, amount in amounts.items() if amount)
    text = "P"
    if days:
        text += f"{days:.0f}D"
    if time_text or not days:
        text += f"T{time_text}"
    return text


def parse_duration(text: str) -> float | None:
    """Parse a duration in ISO 8601; a month has 30 days, and a year 365.

    Parameters
    ----------
    text
        ``PT1M``.

    Returns
    -------
    seconds
        None if the text is not a duration.
    """
    match = _DURATION_PATTERN.fullmatch(text)
    if match is None:
        return None
    amounts = zip(match.groups(), _DURATION_UNIT_SECONDS, strict=True)
    return sum(float(amount) * unit_seconds for amount, unit_seconds in amounts if amount)


def build_time_dtype(text_length: int) -> np.dtype[np.void]:
    """Return the record type of a time's text: integers of 8 bytes, which are copied much faster than texts.

    The first two, the date, overlap.

    Parameters
    ----------
    text_length
        As in `write_times`.
    """
    fields = [("first", "<u8", 0), ("last", "<u8", 3), ("clock", "<u8", 11)]
    if text_length in {27, 30}:
        fields.append(("fraction", "<u8", 19))
    elif text_length == 24:
        fields.append(("fraction", "<u4", 19))
    if text_length == 30:
        fields.append(("end", "<u4", 26))
    elif text_length != 27:
        fields.append(("end", "u1", text_length - 1))
    names, formats, offsets = zip(*fields, strict=True)
    return np.dtype({"names": list(names), "formats": list(formats), "offsets": list(offsets), "itemsize": text_length})


def write_times(
    instants: npt.NDArray[np.int64],
    text_length: int,
    target: Any = None,
    extra_nanoseconds: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.bytes_]:
    """Write instants as texts.

    Parameters
    ----------
    instants
        Microseconds since 1970 (UTC), shape (n,).
    text_length
        30: nanoseconds; 27: microseconds; 24: milliseconds; 20: seconds.
    target
        Array of `build_time_dtype` that is filled, shape (n,); None to create one.
    extra_nanoseconds
        Nanoseconds after the microseconds, 0 to 999, shape (n,); None for 0.

    Returns
    -------
    texts
        Bytes, shape (n,).
    """
    records = target
    if target is None:
        records = np.empty(len(instants), build_time_dtype(text_length))
    if len(instants):
        fraction = _write_date_and_clock(records, instants)
        _write_fraction(records, fraction, text_length, extra_nanoseconds)
    if target is not None:
        return target  # type: ignore[no-any-return]
    texts: npt.NDArray[np.bytes_] = records.view(f"S{text_length}")
    return texts


def _write_date_and_clock(records: Any, instants: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Write date and time of day; return the remaining microseconds."""
    first_day = int(instants.min()) // DAY_MICROSECONDS
    last_day = int(instants.max()) // DAY_MICROSECONDS
    if first_day == last_day:
        day_microseconds = instants - first_day * DAY_MICROSECONDS
        seconds = day_microseconds // SECOND_MICROSECONDS
        seconds_of_day = seconds
        for name, words in zip(("first", "last"), _pack_date_text(first_day), strict=True):
            _write_field(records, name, words)
    else:
        day_microseconds = instants
        seconds = day_microseconds // SECOND_MICROSECONDS
        days = seconds // 86_400
        seconds_of_day = seconds - days * 86_400
        if last_day - first_day < len(instants) + 1000:
            distinct_days = np.arange(first_day, last_day + 1)
            day_indexes = days - first_day
        else:  # sorting takes less time than writing all days between
            distinct_days, day_indexes = np.unique(days, return_inverse=True)
        for name, words in zip(("first", "last"), _pack_date_texts(distinct_days), strict=True):
            _write_field(records, name, words[day_indexes])
    records["clock"] = _build_clock_text_table().take(seconds_of_day, mode="clip")  # "clip" skips the check of indexes
    return day_microseconds - seconds * SECOND_MICROSECONDS


def _write_fraction(
    records: Any,
    fraction: npt.NDArray[np.int64],
    text_length: int,
    extra_nanoseconds: npt.NDArray[np.int64] | None,
) -> None:
    """Write the fraction of the second and the Z."""
    if bool((fraction == fraction[0]).all()):  # a regular clock
        fraction = fraction[:1]
    milliseconds = fraction // 1000
    if text_length >= 27:
        digits = _build_three_digit_table(".", "\0\0\0\0").take(milliseconds, mode="clip")
        digits |= _build_three_digit_table("\0\0\0\0", "Z").take(fraction - milliseconds * 1000, mode="clip")
        _write_field(records, "fraction", digits)
    elif text_length == 24:
        _write_field(records, "fraction", _build_three_digit_table(".", "\0\0\0\0")[milliseconds])
    if text_length == 30:
        ends = _build_nanosecond_end_table()
        _write_field(records, "end", ends[:1] if extra_nanoseconds is None else ends[extra_nanoseconds])
    elif text_length < 27:
        _write_field(records, "end", np.array([ord("Z")]))


@lru_cache(64)
def _pack_date_text(day_number: int) -> tuple[npt.NDArray[np.uint64], ...]:
    return _pack_date_texts(np.array([day_number]))


def _pack_date_texts(days: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint64], ...]:
    """Write days: the first 8 and the last 8 bytes of the date with its T."""
    dates = np.datetime_as_string(days.astype("datetime64[D]"), unit="D").astype("S10")
    date_bytes = np.char.add(dates, b"T").view(np.uint8)
    texts = date_bytes.reshape(-1, 11)
    first = np.ascontiguousarray(texts[:, :8])
    last = np.ascontiguousarray(texts[:, 3:])
    return first.view("<u8").ravel(), last.view("<u8").ravel()


def _write_field(records: Any, name: str, words: npt.NDArray[Any]) -> None:
    """Write a field; a single value is repeated as an array, which numpy copies into records ten times as fast."""
    if len(words) > 1:
        records[name] = words
    else:
        records[name] = np.full(len(records), words[0])


@cache
def _build_clock_text_table() -> npt.NDArray[np.uint64]:
    """Write every second of a day: 8 bytes."""
    times = [f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}" for second in range(86_400)]
    return np.array(times, "S8").view("<u8")


@cache
def _build_three_digit_table(prefix: str, suffix: str) -> npt.NDArray[np.uint64]:
    """Write every number of three digits between a prefix and a suffix: 8 bytes."""
    texts = [f"{prefix}{number:03d}{suffix}".encode() for number in range(1000)]
    return np.array(texts, "S8").view("<u8")


@cache
def _build_nanosecond_end_table() -> npt.NDArray[np.uint32]:
    """Write every number of three digits with a Z after it: 4 bytes."""
    texts = [f"{number:03d}Z".encode() for number in range(1000)]
    return np.array(texts, "S4").view("<u4")

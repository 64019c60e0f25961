"""Times as texts of one length, and back.

ISO 8601 with all fractions that clients of series send, by tables instead of a division for each digit.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

SECOND_MICROSECONDS = 1_000_000  # microseconds
DAY_MICROSECONDS = 86_400 * SECOND_MICROSECONDS
UNIX_EPOCH_JD = 2_440_587.5  # Julian date of 1970-01-01
_TIME_PATTERN = re.compile(
    r"(\d{4})(?:-?(?:(\d\d)(?:-?(\d\d))?|(\d{3})))?(?:T(?:(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d*))?)?)?)?)?Z?"
)


def format_instant(instant: int) -> str:
    """Write a time: ``2003-05-21T10:30:00.000000Z``.

    Parameters
    ----------
    instant
        Microseconds since 1970 (UTC).

    Returns
    -------
    text
        To the microsecond.
    """
    return f"{np.datetime64(instant, 'us')}Z"


def parse_microseconds(text: str) -> int:
    """Read a time, of which the end may be left out, and Z: microseconds since 1970 (UTC).

    A second 60, as a leap second is written, is the beginning of the next minute. Fractions below a microsecond count
    up, so that a sample at the microsecond before is not taken for one behind.

    Parameters
    ----------
    text
        ``2003``, ``2003-141T10:30Z``, ``2003-05-21T10:30:00.000Z``.

    Returns
    -------
    moment
        Microseconds since 1970 (UTC).

    Raises
    ------
    ValueError
        It is none.
    """
    return -(-parse_nanoseconds(text) // 1000)


def parse_nanoseconds(text: str) -> int:
    """Read a time as `parse_microseconds` does: nanoseconds since 1970 (UTC).

    Parameters
    ----------
    text
        As of `parse_microseconds`.

    Returns
    -------
    moment
        Fractions below a nanosecond count up.

    Raises
    ------
    ValueError
        It is none.
    """
    time_match = _TIME_PATTERN.fullmatch(text)
    if time_match is None:
        raise ValueError(text)
    year, month, day, of_year, hour, minute, second = (
        int(digits) if digits else None for digits in time_match.groups()[:7]
    )
    if of_year is not None:
        date = np.datetime64(f"{year:04d}-01-01", "D") + np.timedelta64(of_year - 1, "D")
        if not 1 <= of_year <= 366 or date.astype("datetime64[Y]").astype(int) + 1970 != year:
            raise ValueError(text)
    else:
        date = np.datetime64(f"{year:04d}-{month or 1:02d}-{day or 1:02d}", "D")
    if (hour or 0) > 24 or (hour == 24 and (minute or second)) or (minute or 0) > 59 or (second or 0) > 60:
        raise ValueError(text)
    fraction = (time_match[8] or "").ljust(9, "0")
    day_nanoseconds = ((hour or 0) * 3600 + (minute or 0) * 60 + (second or 0)) * 1_000_000_000 + int(fraction[:9])
    return int(date.astype("datetime64[us]").astype(np.int64)) * 1000 + day_nanoseconds + bool(fraction[9:].strip("0"))


def build_time_dtype(text_length: int) -> np.dtype[np.void]:
    """Return a time's text as numbers of 8 bytes, which are copied several times as fast as texts.

    Two of the day's overlap.

    Parameters
    ----------
    text_length
        As of `write_times`.
    """
    names = ["first", "last", "clock"]
    formats = ["<u8", "<u8", "<u8"]
    places = [0, 3, 11]
    ends = {30: ("fraction", "<u8"), 27: ("fraction", "<u8"), 24: ("fraction", "<u4")}
    if text_length in ends:
        name, form = ends[text_length]
        names = [*names, name]
        formats = [*formats, form]
        places = [*places, 19]
    if text_length != 27:  # of 30 nanoseconds, too
        names = [*names, "end"]
        formats = [*formats, "<u4" if text_length == 30 else "u1"]
        places = [*places, 26 if text_length == 30 else text_length - 1]
    return np.dtype({"names": names, "formats": formats, "offsets": places, "itemsize": text_length})


def write_times(
    instants: npt.NDArray[np.int64],
    text_length: int,
    target: Any = None,
    extra_nanoseconds: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.bytes_]:
    """Write times.

    Parameters
    ----------
    instants
        Microseconds since 1970 (UTC), shape (n,).
    text_length
        30: nanoseconds; 27: microseconds; 24: milliseconds; 20: seconds.
    target
        Where they are written: an array of `build_time_dtype`, shape (n,); None: a new one.
    extra_nanoseconds
        Behind the microseconds, 0 to 999, shape (n,); None: 0.

    Returns
    -------
    texts
        Bytes, shape (n,).
    """
    if target is None:
        records = np.empty(len(instants), build_time_dtype(text_length))
    else:
        records = target
    if len(instants):
        first = int(instants.min()) // DAY_MICROSECONDS
        last = int(instants.max()) // DAY_MICROSECONDS
        if first == last:
            day_microseconds = instants - first * DAY_MICROSECONDS
            where = None
            words = _write_day(first)
            seconds = of_day = day_microseconds // SECOND_MICROSECONDS
        else:
            day_microseconds = instants
            seconds = day_microseconds // SECOND_MICROSECONDS
            days = seconds // 86_400
            near = last - first < len(instants) + 1000  # else to write the days between them takes longer than to sort
            if near:
                distinct_days, where = (np.arange(first, last + 1), days - first)
            else:
                distinct_days, where = np.unique(days, return_inverse=True)
            words = _write_days(distinct_days)
            of_day = seconds - days * 86_400
        for name, word in zip(("first", "last"), words, strict=True):
            _write_field(records, name, word if where is None else word[where])
        records["clock"] = _write_clock_times().take(of_day, mode="clip")  # which asks of no index whether there is one
        fraction = day_microseconds - seconds * SECOND_MICROSECONDS
        if bool((fraction == fraction[0]).all()):  # of a clock that ticks
            fraction = fraction[:1]
        thousands = fraction // 1000
        if text_length >= 27:
            digits = _write_three_digits(".", "\0\0\0\0").take(thousands, mode="clip")
            digits |= _write_three_digits("\0\0\0\0", "Z").take(fraction - thousands * 1000, mode="clip")
            _write_field(records, "fraction", digits)
        elif text_length == 24:
            _write_field(records, "fraction", _write_three_digits(".", "\0\0\0\0")[thousands])
        if text_length == 30:
            _write_field(
                records,
                "end",
                _write_nanosecond_ends()[:1]
                if extra_nanoseconds is None
                else _write_nanosecond_ends()[extra_nanoseconds],
            )
        elif text_length < 27:
            _write_field(records, "end", np.array([ord("Z")]))
    return records.view(f"S{text_length}") if target is None else target


@lru_cache(64)
def _write_day(day_number: int) -> tuple[npt.NDArray[np.uint64], ...]:
    return _write_days(np.array([day_number]))


def _write_days(days: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint64], ...]:
    """Write days: the first 8 bytes and the last 8, the T behind them as well."""
    dates = np.datetime_as_string(days.astype("datetime64[D]"), unit="D").astype("S10")
    texts = np.char.add(dates, b"T").view(np.uint8).reshape(-1, 11)
    return tuple(np.ascontiguousarray(texts[:, part]).view("<u8").ravel() for part in (slice(0, 8), slice(3, 11)))


def _write_field(records: Any, name: str, words: npt.NDArray[Any]) -> None:
    """Write a field; one value for all as an array of it, which numpy puts into records ten times as fast."""
    if len(words) > 1:
        records[name] = words
    else:
        records[name] = np.full(len(records), words[0])


@cache
def _write_clock_times() -> npt.NDArray[np.uint64]:
    """Write every second of a day: 8 bytes."""
    return np.array([f"{at // 3600:02d}:{at // 60 % 60:02d}:{at % 60:02d}" for at in range(86_400)], "S8").view("<u8")


@cache
def _write_three_digits(prefix: str, suffix: str) -> npt.NDArray[np.uint64]:
    """Write every number of three digits with what stands around it: 8 bytes."""
    return np.array([f"{prefix}{at:03d}{suffix}".encode() for at in range(1000)], "S8").view("<u8")


@cache
def _write_nanosecond_ends() -> npt.NDArray[np.uint32]:
    """Write every number of three digits with a Z behind it: 4 bytes."""
    return np.array([f"{at:03d}Z".encode() for at in range(1000)], "S4").view("<u4")


__all__ = [
    "SECOND_MICROSECONDS",
    "build_time_dtype",
    "format_instant",
    "parse_microseconds",
    "parse_nanoseconds",
    "write_times",
]

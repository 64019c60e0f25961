"""Times as texts of one length, and back: ISO 8601 with all fractions that clients of series send, by tables instead of a division for each digit."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
UNIX = 2_440_587.5  # Julian date of 1970-01-01
_FORM = re.compile(
    r"(\d{4})(?:-?(?:(\d\d)(?:-?(\d\d))?|(\d{3})))?(?:T(?:(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d*))?)?)?)?)?Z?"
)


def iso(moment: int) -> str:
    """Write a time: ``2003-05-21T10:30:00.000000Z``.

    Parameters
    ----------
    moment
        Microseconds since 1970 (UTC).

    Returns
    -------
    text
        To the microsecond.
    """
    return f"{np.datetime64(moment, 'us')}Z"


def micros(text: str) -> int:
    """Read a time, of which the end may be left out, and Z: microseconds since 1970 (UTC).

    A second 60, as a leap second is written, is the beginning of the next minute. Fractions below a microsecond count up, so that
    a sample at the microsecond before is not taken for one behind.

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
    return -(-nanos(text) // 1000)


def nanos(text: str) -> int:
    """Read a time as `micros` does: nanoseconds since 1970 (UTC).

    Parameters
    ----------
    text
        As of `micros`.

    Returns
    -------
    moment
        Fractions below a nanosecond count up.

    Raises
    ------
    ValueError
        It is none.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year, month, day, of_year, hour, minute, second = (int(one) if one else None for one in found.groups()[:7])
    if of_year is not None:
        date = np.datetime64(f"{year:04d}-01-01", "D") + np.timedelta64(of_year - 1, "D")
        if not 1 <= of_year <= 366 or date.astype("datetime64[Y]").astype(int) + 1970 != year:
            raise ValueError(text)
    else:
        date = np.datetime64(f"{year:04d}-{month or 1:02d}-{day or 1:02d}", "D")
    if (hour or 0) > 24 or (hour == 24 and (minute or second)) or (minute or 0) > 59 or (second or 0) > 60:
        raise ValueError(text)
    fraction = (found[8] or "").ljust(9, "0")
    whole = ((hour or 0) * 3600 + (minute or 0) * 60 + (second or 0)) * 1_000_000_000 + int(fraction[:9])
    return int(date.astype("datetime64[us]").astype(np.int64)) * 1000 + whole + bool(fraction[9:].strip("0"))


def layout(length: int) -> np.dtype[np.void]:
    """Return a time's text as numbers of 8 bytes, which are copied several times as fast as texts; two of the day's overlap.

    Parameters
    ----------
    length
        As of `stamps`.
    """
    names, formats, places = ["first", "last", "clock"], ["<u8", "<u8", "<u8"], [0, 3, 11]
    ends = {30: ("fraction", "<u8"), 27: ("fraction", "<u8"), 24: ("fraction", "<u4")}
    if length in ends:
        name, form = ends[length]
        names, formats, places = [*names, name], [*formats, form], [*places, 19]
    if length != 27:  # of 30 nanoseconds, too
        names, formats, places = [*names, "end"], [*formats, "<u4" if length == 30 else "u1"], [*places, 26 if length == 30 else length - 1]  # fmt: skip
    return np.dtype({"names": names, "formats": formats, "offsets": places, "itemsize": length})


def stamps(
    moments: npt.NDArray[np.int64], length: int, out: Any = None, nanos: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.bytes_]:
    """Write times.

    Parameters
    ----------
    moments
        Microseconds since 1970 (UTC), shape (n,).
    length
        30: nanoseconds; 27: microseconds; 24: milliseconds; 20: seconds.
    out
        Where they are written: an array of `layout`, shape (n,); None: a new one.
    nanos
        Behind the microseconds, 0 to 999, shape (n,); None: 0.

    Returns
    -------
    texts
        Bytes, shape (n,).
    """
    made = np.empty(len(moments), layout(length)) if out is None else out
    if len(moments):
        first, last = int(moments.min()) // DAY, int(moments.max()) // DAY
        if first == last:
            rest = moments - first * DAY
            where, words = None, _day(first)
            seconds = of_day = rest // SECOND
        else:
            rest = moments
            seconds = rest // SECOND
            days = seconds // 86_400
            near = last - first < len(moments) + 1000  # else to write the days between them takes longer than to sort
            known, where = (np.arange(first, last + 1), days - first) if near else np.unique(days, return_inverse=True)
            words = _words(known)
            of_day = seconds - days * 86_400
        for name, word in zip(("first", "last"), words, strict=True):
            _put(made, name, word if where is None else word[where])
        made["clock"] = _clock().take(of_day, mode="clip")  # which asks of no index whether there is one
        fraction = rest - seconds * SECOND
        if bool((fraction == fraction[0]).all()):  # of a clock that ticks
            fraction = fraction[:1]
        thousands = fraction // 1000
        if length >= 27:
            digits = _thousand(".", "\0\0\0\0").take(thousands, mode="clip")
            digits |= _thousand("\0\0\0\0", "Z").take(fraction - thousands * 1000, mode="clip")
            _put(made, "fraction", digits)
        elif length == 24:
            _put(made, "fraction", _thousand(".", "\0\0\0\0")[thousands])
        if length == 30:
            _put(made, "end", _ends()[:1] if nanos is None else _ends()[nanos])
        elif length < 27:
            _put(made, "end", np.array([ord("Z")]))
    return made.view(f"S{length}") if out is None else out


@lru_cache(64)
def _day(day: int) -> tuple[npt.NDArray[np.uint64], ...]:
    return _words(np.array([day]))


def _words(days: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint64], ...]:
    """Write days: the first 8 bytes and the last 8, the T behind them as well."""
    dates = np.datetime_as_string(days.astype("datetime64[D]"), unit="D").astype("S10")
    texts = np.char.add(dates, b"T").view(np.uint8).reshape(-1, 11)
    return tuple(np.ascontiguousarray(texts[:, part]).view("<u8").ravel() for part in (slice(0, 8), slice(3, 11)))


def _put(made: Any, name: str, words: npt.NDArray[Any]) -> None:
    """Write a field; one value for all as an array of it, which numpy puts into records ten times as fast."""
    made[name] = words if len(words) > 1 else np.full(len(made), words[0])


@cache
def _clock() -> npt.NDArray[np.uint64]:
    """Write every second of a day: 8 bytes."""
    return np.array([f"{at // 3600:02d}:{at // 60 % 60:02d}:{at % 60:02d}" for at in range(86_400)], "S8").view("<u8")


@cache
def _thousand(before: str, behind: str) -> npt.NDArray[np.uint64]:
    """Write every number of three digits with what stands around it: 8 bytes."""
    return np.array([f"{before}{at:03d}{behind}".encode() for at in range(1000)], "S8").view("<u8")


@cache
def _ends() -> npt.NDArray[np.uint32]:
    """Write every number of three digits with a Z behind it: 4 bytes."""
    return np.array([f"{at:03d}Z".encode() for at in range(1000)], "S4").view("<u4")


__all__ = ["SECOND", "iso", "layout", "micros", "nanos", "stamps"]

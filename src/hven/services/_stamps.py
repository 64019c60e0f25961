"""Times as texts of one length, and back: ISO 8601 with all fractions that clients of series send, by tables instead of a division for each digit."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

SECOND = 1_000_000  # microseconds
_DAY = 86_400 * SECOND
_FRACTIONS = [("milli", "S4"), ("micro", "S3")]
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
    fraction = (found[8] or "").ljust(6, "0")
    whole = ((hour or 0) * 3600 + (minute or 0) * 60 + (second or 0)) * SECOND + int(fraction[:6])
    return int(date.astype("datetime64[us]").astype(np.int64)) + whole + bool(fraction[6:].strip("0"))


def stamps(moments: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.bytes_]:
    """Write times.

    Parameters
    ----------
    moments
        Microseconds since 1970 (UTC), shape (n,).
    length
        27: microseconds; 24: milliseconds; 20: seconds.

    Returns
    -------
    texts
        Bytes, shape (n,).
    """
    out = np.empty(len(moments), [("day", "S11"), ("clock", "S8"), *_FRACTIONS[: (length - 20) // 3], ("z", "S1")])
    if not len(moments):
        return out.view(f"S{length}")
    days, rest = np.divmod(moments, _DAY)
    first, last = int(days.min()), int(days.max())
    if last - first < 1_000_000:
        known, where = np.arange(first, last + 1), days - first
    else:
        known, where = np.unique(days, return_inverse=True)
    dates = np.char.add(np.datetime_as_string(known.astype("datetime64[D]"), unit="D").astype("S10"), b"T")
    seconds, fraction = np.divmod(rest, SECOND)
    out["day"], out["clock"], out["z"] = dates[where], _clock()[seconds], b"Z"
    if length > 20:
        thousands, rest = np.divmod(fraction, 1000)
        out["milli"] = _thousand(".")[thousands]
        if length > 24:
            out["micro"] = _thousand("")[rest]
    return out.view(f"S{length}")


@cache
def _clock() -> npt.NDArray[np.bytes_]:
    """Write every second of a day."""
    return np.array([f"{at // 3600:02d}:{at // 60 % 60:02d}:{at % 60:02d}" for at in range(86_400)], "S8")


@cache
def _thousand(before: str) -> npt.NDArray[np.bytes_]:
    """Write every number of three digits."""
    return np.array([f"{before}{at:03d}" for at in range(1000)], f"S{3 + len(before)}")


__all__ = ["SECOND", "iso", "micros", "stamps"]

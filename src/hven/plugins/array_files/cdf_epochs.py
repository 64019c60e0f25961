"""Convert the epochs of CDF files (EPOCH, EPOCH16, TIME_TT2000) to UTC."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media.api import MISSING_INSTANT
from hven.plugins.array_files.cdf_types import EPOCH16_TYPE, EPOCH_TYPE, TT2000_TYPE

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.formats.media.api import Instants

# ns of TAI since 2000-01-01T00:00:00 at which TT2000 begins
TT2000_EPOCH_TAI_NANOSECONDS = 43_200_000_000_000 - 32_184_000_000
# TT2000 of 1972-01-01T00:00:00, from which on leap seconds are whole seconds
FIRST_LEAP_SECOND_TT2000 = -883_655_957_816_000_000
YEAR_0_MJD = -678_941.0  # MJD of 0000-01-01
_YEAR_2000 = np.datetime64("2000-01-01")
_YEAR_10000_MILLISECONDS = 3.15569519999999e14  # EPOCH of 9999-12-31T23:59:59.999, which stands for a fill value
_YEAR_10000_SECONDS = 3.15569519999e11  # the same of EPOCH16
_UNIX_EPOCH_YEAR_0_SECONDS = 62_167_219_200  # from year 0 to 1970
_YEAR_2000_UNIX_MICROSECONDS = 946_684_800_000_000
_LEAP_SECOND_NANOSECONDS = 1_001_000_000  # a leap second, and the millisecond before it
_DAY_NANOSECONDS = 86_400_000_000_000


@cache
def _list_leap_seconds() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """List the times, in ns of TAI since 2000-01-01T00:00:00, from which on UTC is a number of ns behind TAI.

    The list comes from the table of astropy. From 1960 to 1971 the seconds of UTC were longer than those of TAI, for
    which there is an entry for each day: the CDF library takes the difference at noon for the whole day, which is up to
    1.3 ms from that of the moment, and none before 1960.
    """
    import erfa  # noqa: PLC0415  (with astropy)

    leap_seconds = erfa.leap_seconds.get()
    leap_days = [f"{row['year']}-{row['month']:02d}-01" for row in leap_seconds if row["year"] >= 1972]
    days = np.append(np.arange("1960-01-01", "1972-01-01", dtype="M8[D]"), np.array(leap_days, "M8[D]"))
    year, month, day = np.array([date.timetuple()[:3] for date in days.tolist()]).T
    tai_minus_utc = np.round(erfa.dat(year, month, day, 0.5) * 1e9).astype(np.int64)
    utc_starts = (days - _YEAR_2000).astype("timedelta64[ns]").astype(np.int64)
    return np.append(np.iinfo(np.int64).min, utc_starts + tai_minus_utc), np.append(0, tai_minus_utc)


def convert_epochs_to_mjd(stored: npt.NDArray[Any], cdf_type: int) -> npt.NDArray[np.float64]:
    """Convert epochs to MJD of UTC.

    Parameters
    ----------
    stored
        Milliseconds or (seconds, picoseconds) since year 0, or nanoseconds of TT since J2000; of any shape.
    cdf_type
        CDF's number of their type: 31 (EPOCH), 32 (EPOCH16), 33 (TIME_TT2000).

    Returns
    -------
    days
        MJD of the same shape; NaN for fill values. A leap second counts as the first second of the next day.
    """
    if cdf_type == EPOCH16_TYPE:
        seconds, picoseconds = _split_epoch16(stored)
        whole_days, seconds_of_day = np.divmod(seconds, 86_400.0)
        day_fractions = (seconds_of_day + picoseconds * 1e-12) / 86_400.0
        return np.where(seconds < 0.0, np.nan, whole_days + YEAR_0_MJD + day_fractions)
    if cdf_type == EPOCH_TYPE:
        whole_days, milliseconds_of_day = np.divmod(stored, 86_400e3)
        is_fill = (stored < 0.0) | (stored >= _YEAR_10000_MILLISECONDS)
        return np.where(is_fill, np.nan, whole_days + YEAR_0_MJD + milliseconds_of_day / 86_400e3)
    utc, _, is_fill = _convert_tt2000_to_utc(stored)
    days, nanoseconds_of_day = np.divmod(utc, _DAY_NANOSECONDS)
    return np.where(is_fill, np.nan, 51_544.0 + days + nanoseconds_of_day / 86_400e9)


def _convert_tt2000_to_utc(
    stored: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Convert TT2000 to ns since 2000-01-01 (UTC).

    Return also the ns to the end of the next leap second, and a mask of fill values. If all times are far from leap
    seconds, the ns to the next one are a single lower limit.
    """
    count = np.asarray(stored, np.int64)
    leap_starts, tai_minus_utc = _list_leap_seconds()
    leap_ends = np.append(leap_starts, np.iinfo(np.int64).max)
    earliest, latest = 0, 0
    if count.size:
        earliest, latest = count.min(), count.max()
    if earliest > -(2**62) and latest < 2**62:  # most often all are between the same two leap seconds
        extremes = np.array([earliest, latest])
        first, last = np.searchsorted(leap_starts, extremes + TT2000_EPOCH_TAI_NANOSECONDS, "right")
        time_to_leap = leap_ends[last] - extremes[1] - TT2000_EPOCH_TAI_NANOSECONDS
        if first == last and time_to_leap > _LEAP_SECOND_NANOSECONDS:
            offset = TT2000_EPOCH_TAI_NANOSECONDS - tai_minus_utc[max(first - 1, 0)]
            return count + offset, time_to_leap, np.zeros((), np.bool_)
    is_fill = count <= np.iinfo(np.int64).min + 3
    tai = np.where(is_fill, 0, count) + TT2000_EPOCH_TAI_NANOSECONDS
    leap_number = np.searchsorted(leap_starts, tai, "right")
    utc = tai - tai_minus_utc[np.clip(leap_number - 1, 0, None)]
    return utc, leap_ends[leap_number] - tai, is_fill


def _split_epoch16(stored: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Split EPOCH16 into seconds since year 0 and picoseconds, which are 0 for fill values."""
    pairs = stored
    if stored.dtype.kind == "c":
        pairs = stored.view(np.float64).reshape(*stored.shape, 2)
    seconds = pairs[..., 0]
    return seconds, np.where(seconds >= 0.0, pairs[..., 1], 0.0)


def has_subnanosecond_digits(epochs: npt.NDArray[Any], cdf_type: int) -> bool:
    """Return whether epochs have digits below a nanosecond, which only EPOCH16 can have."""
    if cdf_type != EPOCH16_TYPE:
        return False
    picoseconds = _split_epoch16(epochs)[1]
    return bool((picoseconds % 1000.0).any())


def convert_epochs_to_instants(stored: npt.NDArray[Any], cdf_type: int) -> Instants:
    """Convert epochs to microseconds since 1970, counted in days of 86,400 s, and the nanoseconds below them.

    Finer digits are cut off. A leap second has no such number: the last millisecond before it and the second itself
    share that millisecond, in their order.

    Parameters
    ----------
    stored, cdf_type
        As in `convert_epochs_to_mjd`.

    Returns
    -------
    micros
        Microseconds of the same shape; `MISSING_INSTANT` for fill values.
    nanos
        0 to 999; None for EPOCH, whose further digits are rounding of a double.
    """
    if cdf_type == TT2000_TYPE:
        utc, time_to_leap, is_fill = _convert_tt2000_to_utc(stored)
        if time_to_leap.ndim:
            is_leap = (time_to_leap <= _LEAP_SECOND_NANOSECONDS) & (np.asarray(stored) > FIRST_LEAP_SECOND_TT2000)
            squeezed_utc = utc + time_to_leap - 1_000_000_000 + -time_to_leap // 1001
            utc = np.where(is_leap, squeezed_utc, utc)
        microseconds = utc // 1000
        utc -= microseconds * 1000
        microseconds += _YEAR_2000_UNIX_MICROSECONDS
        if is_fill.any():
            return np.where(is_fill, MISSING_INSTANT, microseconds), np.where(is_fill, 0, utc)
        return microseconds, utc
    if cdf_type == EPOCH16_TYPE:
        seconds, picoseconds = _split_epoch16(stored)
        is_valid = (seconds >= 0.0) & (seconds < _YEAR_10000_SECONDS)
        unix_seconds = np.where(is_valid, seconds, 0.0) - float(_UNIX_EPOCH_YEAR_0_SECONDS)
        instant_microseconds = unix_seconds.astype(np.int64) * 1_000_000
        nanos = np.where(is_valid, picoseconds // 1e3, 0.0).astype(np.int64)
        return np.where(is_valid, instant_microseconds + nanos // 1000, MISSING_INSTANT), nanos % 1000
    is_valid = (stored >= 0.0) & (stored < _YEAR_10000_MILLISECONDS)
    unix_milliseconds = np.where(is_valid, stored, 0.0) - _UNIX_EPOCH_YEAR_0_SECONDS * 1e3
    microseconds = np.round(unix_milliseconds * 1e3).astype(np.int64)
    return np.where(is_valid, microseconds, MISSING_INSTANT), None

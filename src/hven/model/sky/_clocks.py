"""Time scales (UTC, TAI, TT) in microseconds, and the season of Mars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]

# UTC days from which TAI - UTC has a value (IERS Bulletin C); before 1972 it was no whole number, and is not given here
LEAPS: tuple[tuple[str, int], ...] = (
    ("1972-01-01", 10), ("1972-07-01", 11), ("1973-01-01", 12), ("1974-01-01", 13), ("1975-01-01", 14), ("1976-01-01", 15), ("1977-01-01", 16),
    ("1978-01-01", 17), ("1979-01-01", 18), ("1980-01-01", 19), ("1981-07-01", 20), ("1982-07-01", 21), ("1983-07-01", 22), ("1985-07-01", 23),
    ("1988-01-01", 24), ("1990-01-01", 25), ("1991-01-01", 26), ("1992-07-01", 27), ("1993-07-01", 28), ("1994-07-01", 29), ("1996-01-01", 30),
    ("1997-07-01", 31), ("1999-01-01", 32), ("2006-01-01", 33), ("2009-01-01", 34), ("2012-07-01", 35), ("2015-07-01", 36), ("2017-01-01", 37),
)  # fmt: skip
_STARTS: Whole = np.array([day for day, _ in LEAPS], "datetime64[us]").astype(np.int64)
_OFFSETS: Whole = np.array([offset for _, offset in LEAPS], np.int64) * 1_000_000
NONE = -(2**62)
TT_TAI = 32_184_000  # microseconds
_BEHIND = {"TAI": 0, "TT": TT_TAI, "TDB": TT_TAI, "GPS": -19_000_000}  # microseconds by which each is ahead of TAI


def tai_of_utc(utc: npt.ArrayLike) -> Whole:
    """Convert UTC to TAI, by the leap seconds.

    Parameters
    ----------
    utc
        Microseconds since 1970-01-01T00:00:00 as a UTC clock shows them, any shape.

    Returns
    -------
    tai
        Microseconds since 1970-01-01T00:00:00 of its own clock, of the same shape; `NONE` before 1972.
    """
    given = np.asarray(utc, np.int64)
    at = np.searchsorted(_STARTS, given, "right") - 1
    return np.where(at >= 0, given + _OFFSETS[at], NONE)


def utc_of_tai(tai: npt.ArrayLike) -> Whole:
    """Convert TAI to UTC; what lies in a leap second itself (23:59:60) is the second after it, as timestamps have no other.

    Parameters
    ----------
    tai
        Microseconds since 1970-01-01T00:00:00 of its own clock, any shape.

    Returns
    -------
    utc
        Microseconds as of `tai_of_utc`, of the same shape; `NONE` before 1972.
    """
    given = np.asarray(tai, np.int64)
    # during the leap second the new offset is not in force yet: 23:59:60.x is 00:00:00.x of the next day
    at = np.searchsorted(_STARTS + _OFFSETS - 1_000_000, given, "right") - 1
    at = np.maximum(at, -1)
    before = _OFFSETS[np.maximum(at - 1, 0)]
    inside = (at >= 1) & (given < (_STARTS + _OFFSETS)[at])
    found = np.where(inside, given - before, given - _OFFSETS[at])
    return np.where(given >= _STARTS[0] + _OFFSETS[0], found, NONE)


def utc_in_order(times: npt.ArrayLike, scale: str) -> Whole:
    """Convert a clock to UTC in days of 86,400 s, so that times increase: the last millisecond before a leap second and the second itself share that millisecond.

    Parameters
    ----------
    times
        Microseconds since 1970-01-01T00:00:00 of the clock's own, any shape.
    scale
        ``TAI``, ``TT``, ``TDB`` (at the Earth's centre) or ``GPS``.

    Returns
    -------
    utc
        Microseconds, of the same shape; `NONE` before 1972.

    Raises
    ------
    KeyError
        There is no such scale.
    """
    given = np.asarray(times, np.int64)
    if scale == "TDB":
        import erfa  # noqa: PLC0415  (with astropy)

        days = given / 86_400e6
        # it changes slowly and smoothly: between midnights a line is exact to a tenth of a microsecond
        knots = np.unique(np.concatenate([np.floor(days).ravel() + one for one in (0.0, 1.0)]))
        ahead_of_tt = erfa.dtdb(2_440_587.5, knots, 0.0, 0.0, 0.0, 0.0)
        given = given - np.round(np.interp(days, knots, ahead_of_tt) * 1e6).astype(np.int64)
    tai = given - _BEHIND[scale]
    ends = _STARTS + _OFFSETS  # of leap seconds
    at = np.searchsorted(ends, tai, "right")
    ahead = np.append(ends, np.iinfo(np.int64).max)[at] - tai
    days = np.append(_STARTS, 0)[at]
    plain = tai - _OFFSETS[np.maximum(at - 1, 0)]
    return np.where(at < 1, NONE, np.where(ahead <= 1_001_000, days + -ahead // 1001, plain))


_AMPLITUDES = np.array([0.0071, 0.0057, 0.0039, 0.0037, 0.0021, 0.0020, 0.0018])
_PERIODS = np.array([2.2353, 2.7543, 1.1177, 15.7866, 2.1354, 2.4694, 32.8493])
_PHASES = np.array([49.409, 168.173, 191.837, 21.736, 15.704, 95.528, 49.095])


def mars_ls(jd_tt: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compute the areocentric longitude of the Sun, Ls (Allison & McEwen 2000, eqs. 16-19, constants as of Mars24).

    Parameters
    ----------
    jd_tt
        Julian dates in Terrestrial Time, any shape. Good to 0.02 degrees from 1874 to 2127.

    Returns
    -------
    ls
        Degrees in [0, 360), of the same shape.
    """
    days = np.asarray(jd_tt, np.float64) - 2_451_545.0
    anomaly = np.radians(19.3871 + 0.52402073 * days)
    sun = 270.3871 + 0.524038496 * days
    centre = (10.691 + 3.0e-7 * days) * np.sin(anomaly)
    for number, size in ((2, 0.623), (3, 0.050), (4, 0.005), (5, 0.0005)):
        centre += size * np.sin(number * anomaly)
    for size, period, phase in zip(_AMPLITUDES, _PERIODS, _PHASES, strict=True):  # pulls of the other planets
        centre += size * np.cos(np.radians(0.985626 * days / period + phase))
    return (sun + centre) % 360.0


def mars_ls_of_utc(utc: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compute Ls of UTC; before 1972 TT - UTC is taken as that of 1972: a minute is 0.0004 degrees.

    Parameters
    ----------
    utc
        Microseconds since 1970, any shape.

    Returns
    -------
    ls
        Degrees in [0, 360), of the same shape.
    """
    given = np.asarray(utc, np.int64)
    tai = tai_of_utc(np.maximum(given, _STARTS[0])) - np.maximum(given, _STARTS[0])
    return mars_ls(2_440_587.5 + (given + tai + TT_TAI) / 86_400e6)

"""Convert between time scales (UTC, TAI, TT) in microseconds, and compute the season of Mars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]

# days of UTC on which TAI - UTC changed (IERS Bulletin C); before 1972 it was no whole number, and is not given here
LEAP_SECONDS: tuple[tuple[str, int], ...] = (
    ("1972-01-01", 10),
    ("1972-07-01", 11),
    ("1973-01-01", 12),
    ("1974-01-01", 13),
    ("1975-01-01", 14),
    ("1976-01-01", 15),
    ("1977-01-01", 16),
    ("1978-01-01", 17),
    ("1979-01-01", 18),
    ("1980-01-01", 19),
    ("1981-07-01", 20),
    ("1982-07-01", 21),
    ("1983-07-01", 22),
    ("1985-07-01", 23),
    ("1988-01-01", 24),
    ("1990-01-01", 25),
    ("1991-01-01", 26),
    ("1992-07-01", 27),
    ("1993-07-01", 28),
    ("1994-07-01", 29),
    ("1996-01-01", 30),
    ("1997-07-01", 31),
    ("1999-01-01", 32),
    ("2006-01-01", 33),
    ("2009-01-01", 34),
    ("2012-07-01", 35),
    ("2015-07-01", 36),
    ("2017-01-01", 37),
)
_LEAP_STARTS_MICROSECONDS: Whole = np.array([day for day, _ in LEAP_SECONDS], "datetime64[us]").astype(np.int64)
_TAI_OFFSETS_MICROSECONDS: Whole = np.array([offset for _, offset in LEAP_SECONDS], np.int64) * 1_000_000
NO_TIME = -(2**62)
TT_MINUS_TAI_MICROSECONDS = 32_184_000  # microseconds
_MICROSECONDS_AHEAD_OF_TAI = {
    "TAI": 0,
    "TT": TT_MINUS_TAI_MICROSECONDS,
    "TDB": TT_MINUS_TAI_MICROSECONDS,
    "GPS": -19_000_000,
}


def utc_to_tai(utc: npt.ArrayLike) -> Whole:
    """Convert UTC to TAI, by the leap seconds.

    Parameters
    ----------
    utc
        Microseconds since 1970-01-01T00:00:00 as a UTC clock shows them, any shape.

    Returns
    -------
    tai
        Microseconds since 1970-01-01T00:00:00 of its own clock, of the same shape; `NO_TIME` before 1972.
    """
    instants = np.asarray(utc, np.int64)
    at = np.searchsorted(_LEAP_STARTS_MICROSECONDS, instants, "right") - 1
    return np.where(at >= 0, instants + _TAI_OFFSETS_MICROSECONDS[at], NO_TIME)


def tai_to_utc(tai: npt.ArrayLike) -> Whole:
    """Convert TAI to UTC; a time in a leap second (23:59:60) becomes the second after it, as timestamps have no other.

    Parameters
    ----------
    tai
        Microseconds since 1970-01-01T00:00:00 of its own clock, any shape.

    Returns
    -------
    utc
        Microseconds as of `utc_to_tai`, of the same shape; `NO_TIME` before 1972.
    """
    instants = np.asarray(tai, np.int64)
    # the new offset is not valid yet during the leap second: 23:59:60.x is 00:00:00.x of the next day
    leap_ends = _LEAP_STARTS_MICROSECONDS + _TAI_OFFSETS_MICROSECONDS
    at = np.searchsorted(leap_ends - 1_000_000, instants, "right") - 1
    at = np.maximum(at, -1)
    before = _TAI_OFFSETS_MICROSECONDS[np.maximum(at - 1, 0)]
    inside = (at >= 1) & (instants < leap_ends[at])
    utc = np.where(inside, instants - before, instants - _TAI_OFFSETS_MICROSECONDS[at])
    return np.where(instants >= leap_ends[0], utc, NO_TIME)


def convert_to_monotonic_utc(times: npt.ArrayLike, scale: str) -> Whole:
    """Convert a clock to UTC in days of 86,400 s, so that times increase.

    The last millisecond before a leap second and the second itself share that millisecond.

    Parameters
    ----------
    times
        Microseconds since 1970-01-01T00:00:00 of the clock's own, any shape.
    scale
        ``TAI``, ``TT``, ``TDB`` (at the Earth's centre) or ``GPS``.

    Returns
    -------
    utc
        Microseconds, of the same shape; `NO_TIME` before 1972.

    Raises
    ------
    KeyError
        The scale is unknown.
    """
    instants = np.asarray(times, np.int64)
    if scale == "TDB":
        import erfa  # noqa: PLC0415  (with astropy)

        days = instants / 86_400e6
        # the difference changes smoothly: a line between midnights is exact to a tenth of a microsecond
        midnights = np.floor(days).ravel()
        knots = np.unique(np.concatenate([midnights, midnights + 1.0]))
        ahead_of_tt = erfa.dtdb(2_440_587.5, knots, 0.0, 0.0, 0.0, 0.0)
        differences = np.interp(days, knots, ahead_of_tt) * 1e6
        instants = instants - np.round(differences).astype(np.int64)
    tai = instants - _MICROSECONDS_AHEAD_OF_TAI[scale]
    ends = _LEAP_STARTS_MICROSECONDS + _TAI_OFFSETS_MICROSECONDS  # of leap seconds
    at = np.searchsorted(ends, tai, "right")
    until_leap = np.append(ends, np.iinfo(np.int64).max)[at] - tai
    days = np.append(_LEAP_STARTS_MICROSECONDS, 0)[at]
    plain_utc = tai - _TAI_OFFSETS_MICROSECONDS[np.maximum(at - 1, 0)]
    stretched_utc = days + -until_leap // 1001
    utc = np.where(until_leap <= 1_001_000, stretched_utc, plain_utc)
    return np.where(at < 1, NO_TIME, utc)


_PERTURBATION_AMPLITUDES_DEGREES = np.array([0.0071, 0.0057, 0.0039, 0.0037, 0.0021, 0.0020, 0.0018])
_PERTURBATION_PERIODS_YEARS = np.array([2.2353, 2.7543, 1.1177, 15.7866, 2.1354, 2.4694, 32.8493])
_PERTURBATION_PHASES_DEGREES = np.array([49.409, 168.173, 191.837, 21.736, 15.704, 95.528, 49.095])


def compute_mars_ls(jd_tt: npt.ArrayLike) -> npt.NDArray[np.float64]:
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
    perturbations = zip(
        _PERTURBATION_AMPLITUDES_DEGREES, _PERTURBATION_PERIODS_YEARS, _PERTURBATION_PHASES_DEGREES, strict=True
    )
    for size, period, phase in perturbations:  # of the other planets
        angle = np.radians(0.985626 * days / period + phase)
        centre += size * np.cos(angle)
    return (sun + centre) % 360.0


def compute_mars_ls_from_utc(utc: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compute Ls from UTC; before 1972 TT - UTC is that of 1972, which changes Ls by 0.0004 degrees a minute.

    Parameters
    ----------
    utc
        Microseconds since 1970, any shape.

    Returns
    -------
    ls
        Degrees in [0, 360), of the same shape.
    """
    instants = np.asarray(utc, np.int64)
    known_instants = np.maximum(instants, _LEAP_STARTS_MICROSECONDS[0])
    tai_minus_utc = utc_to_tai(known_instants) - known_instants
    tt = instants + tai_minus_utc + TT_MINUS_TAI_MICROSECONDS
    return compute_mars_ls(2_440_587.5 + tt / 86_400e6)

"""TFCat 1.0: what the numbers of its documents are, times and frequencies; and what is wrong with a reference system or a field.

The schema is our own, made of the standard's words; the network is never asked.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.model import units
from hven.model.sky import _clocks as clocks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]

MOST_FIELDS = 1000

_DAY = 86_400_000_000  # microseconds
_JD_0 = -2_440_587 * _DAY - _DAY // 2
TIMES: dict[str, tuple[int, str, str]] = {
    "unix": (0, "s", "UTC"),
    "jd": (_JD_0, "d", "UTC"),
    "mjd": (-40_587 * _DAY, "d", "UTC"),
    "mjd_cnes": (-7_305 * _DAY, "d", "UTC"),
    "mjd_nasa": (-587 * _DAY, "d", "UTC"),
    "cdf_tt2000": (10_957 * _DAY, "ns", "TT"),
    "iso": (0, "us", "UTC"),
}
"""time_coords_id -> where its 0 is, microseconds from 1970 on a clock of its scale; its unit; its scale. Times of ``iso`` are texts."""
_UNITS = {"ns": (1, 1000), "us": (1, 1), "ms": (1000, 1), "s": (10**6, 1), "min": (6 * 10**7, 1), "h": (36 * 10**8, 1), "d": (_DAY, 1)}  # fmt: skip
SCALES = ("GPS", "TAI", "TCB", "TCG", "TDB", "TT", "UT", "UTC", "UNKNOWN", "SCET", "SCLK")
SPECTRA = {"frequency": "Hz", "wavelength": "m", "energy": "eV", "wavenumber": "m**-1"}
_ORIGIN = re.compile(r"(-?\d{4,6})-(\d\d)-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(\.\d*)?)?)?)?Z?", re.ASCII)
_FIRST, _LAST = -719_162 * _DAY, 2_932_897 * _DAY  # years 1 to 9999


class Fault(NamedTuple):
    """What is wrong with a document.

    Attributes
    ----------
    where
        Path of the member: ``crs.properties.time_coords_id``.
    why, remedy
        For people.
    """

    where: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crs:
    """What the numbers of a document's positions are.

    Attributes
    ----------
    origin
        Where time 0 is: microseconds from 1970 on a clock of its scale.
    unit, scale
        Of times.
    spectral, spectral_unit
        What the second coordinate is: a word of `SPECTRA`, and its unit.
    position
        Where times were measured: ``GEOCENTER``, ``cassini-orbiter``.
    iso
        Times are texts.
    """

    origin: int
    unit: str
    scale: str
    spectral: str
    spectral_unit: str
    position: str
    iso: bool = False

    def utc(self, values: Sequence[float]) -> Whole:
        """Convert times to UTC, to the microsecond.

        Parameters
        ----------
        values
            In the document's own unit: seconds, days or others, shape (n,).

        Returns
        -------
        utc
            Microseconds from 1970, shape (n,); `clocks.NONE` where none can be told: before 1972 but in UTC, by the clock of a spacecraft (SCLK),
            and out of the years 1 to 9999.
        """
        up, down = _UNITS[self.unit]
        found = np.array([self._micro(value, up, down) for value in values], np.int64).reshape(len(values))
        known = found != clocks.NONE
        if self.scale == "SCLK":
            return np.full(len(found), clocks.NONE)
        if self.scale not in {"UTC", "UT", "SCET", "UNKNOWN"}:
            found = np.where(known, clocks.utc_of_tai(self._tai(np.where(known, found, 0))), found)
        return np.where(known, found, clocks.NONE)

    def _micro(self, value: float, up: int, down: int) -> int:
        if isinstance(value, int):
            found = self.origin + (2 * value * up + down) // (2 * down)
        elif abs(value) < 1e300:
            whole = math.floor(value)  # what is behind the point is exact, too
            found = self.origin + (whole * up + round((value - whole) * up) if down == 1 else round(value * up / down))
        else:
            return clocks.NONE
        return found if _FIRST <= found < _LAST else clocks.NONE

    def _tai(self, time: Whole) -> Whole:
        """Convert microseconds of a clock of this scale to TAI."""
        if self.scale in {"TAI", "GPS"}:
            return time + (19_000_000 if self.scale == "GPS" else 0)
        since = (time - (_JD_0 + 2_443_144 * _DAY)).astype(
            np.float64
        ) - 0.5003725 * _DAY  # from 1977 on, when the scales were one
        if self.scale == "TCG":
            time = time - np.rint(6.969290134e-10 * since).astype(np.int64)
        if self.scale == "TCB":
            time = time - np.rint(1.550519768e-8 * since + 65.5).astype(np.int64)
        if self.scale in {"TCB", "TDB"}:  # to 30 microseconds
            anomaly = np.radians(357.53 + 0.98560028 * ((time - (_JD_0 + 2_451_545 * _DAY)) / _DAY))
            time = time - np.rint(1657.0 * np.sin(anomaly) + 22.0 * np.sin(2.0 * anomaly)).astype(np.int64)
        return time - clocks.TT_TAI

    def hertz(self, low: Numbers, high: Numbers) -> tuple[Numbers, Numbers]:
        """Convert spectral ranges to frequencies.

        Parameters
        ----------
        low, high
            In the document's own numbers, shape (n,).

        Returns
        -------
        low, high
            Hz, shape (n,): the longest wavelength is the lowest frequency. NaN where there is none: of the wavelength 0.
        """
        factor, divided = units.spectral(self.spectral_unit, "Hz")
        if not divided:
            return low * factor, high * factor
        with np.errstate(divide="ignore"):
            low, high = factor / high, factor / low
        return np.where(np.isfinite(low), low, np.nan), np.where(np.isfinite(high), high, np.nan)


def julian(utc: Whole) -> Numbers:
    """Convert UTC to Julian dates, rounded once.

    Parameters
    ----------
    utc
        Microseconds from 1970, shape (n,).

    Returns
    -------
    jd
        Days, shape (n,); NaN for `clocks.NONE`.
    """
    day, rest = np.divmod(utc, _DAY)
    return np.where(utc == clocks.NONE, np.nan, (day + 2_440_587.5) + rest / _DAY)


def moment(text: object) -> int | None:
    """Read a time origin, or a time of a document whose times are texts.

    Parameters
    ----------
    text
        ISO 8601; ``-4712-01-01T12:00:00`` is the origin of Julian dates, as their own calendar has it.

    Returns
    -------
    time
        Microseconds from 1970; None: it is no time.
    """
    found = _ORIGIN.fullmatch(text) if isinstance(text, str) and len(text) < 64 else None
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    if (year, month, day) == (-4712, 1, 1):
        days = -2_440_588
    else:
        try:
            days = int(
                np.datetime64(
                    f"{year:05d}-{month:02d}-{day:02d}" if year < 0 else f"{year:04d}-{month:02d}-{day:02d}", "D"
                ).astype(np.int64)
            )
        except ValueError:
            return None
    if hour > 24 or minute > 59 or second > 60:
        return None
    rest = round(float(f"0{found[7] or '.0'}0") * 1e6)
    return days * _DAY + ((hour * 60 + minute) * 60 + second) * 1_000_000 + rest


def crs(said: object) -> tuple[Crs | None, list[Fault]]:
    """Read a reference system.

    Parameters
    ----------
    said
        The member ``crs``, parsed; None: it is missing.

    Returns
    -------
    crs, faults
        None, if there is a fault that keeps it from being one.
    """
    faults: list[Fault] = []

    def fault(where: str, why: str, remedy: str) -> None:
        faults.append(Fault(where, why, remedy))

    if not isinstance(said, dict):
        fault(
            "crs",
            "the document has no crs, so its numbers are no times and frequencies"
            if said is None
            else "it is no object",
            'add "crs": {"type": "local", "properties": {"name": "Time-Frequency", "time_coords_id": "unix", "spectral_coords": {"type": "frequency", "unit": "Hz"}, "ref_position_id": "GEOCENTER"}}',
        )
        return None, faults
    if said.get("type") != "local":
        fault(
            "crs.type",
            f"{said.get('type')!r:.60} is no type of reference system that TFCat 1.0 defines",
            'write "local"; drafts of TFCat had other words',
        )
    inner = said.get("properties")
    if not isinstance(inner, dict):
        fault(
            "crs.properties",
            "they are missing" if inner is None else "it is no object",
            "time_coords_id (or time_coords), spectral_coords and ref_position_id belong there",
        )
        return None, faults
    time = _times(inner, fault)
    spectral = inner.get("spectral_coords")
    kind, unit = (spectral.get("type"), spectral.get("unit")) if isinstance(spectral, dict) else (None, None)
    if not isinstance(kind, str) or kind not in SPECTRA:
        fault(
            "crs.properties.spectral_coords.type",
            f"{kind!r:.60} is no kind of spectral coordinate",
            f"one of {', '.join(SPECTRA)}",
        )
        kind = None
    elif not isinstance(unit, str) or not units.convertible(unit, SPECTRA[kind]):
        fault(
            "crs.properties.spectral_coords.unit",
            f"{unit!r:.60} is no unit of {kind}",
            f"a unit of VOUnits: {'cm**-1' if kind == 'wavenumber' else SPECTRA[kind]}",
        )
        kind = None
    place = inner.get("ref_position_id")
    if not isinstance(place, str) or not place.strip():
        fault(
            "crs.properties.ref_position_id",
            "it is missing" if place is None else "it is no name",
            "GEOCENTER, or the name of a spacecraft or observatory",
        )
    if time is None or kind is None or faults:
        return None, faults
    return Crs(
        origin=time[0],
        unit=time[1],
        scale=time[2],
        spectral=kind,
        spectral_unit=str(unit),
        position=str(place),
        iso=inner.get("time_coords_id") == "iso",
    ), faults


def _times(inner: Mapping[str, Any], fault: Any) -> tuple[int, str, str] | None:
    where = "crs.properties."
    name, said = inner.get("time_coords_id"), inner.get("time_coords")
    if name is not None and said is not None:
        fault(f"{where}time_coords_id", "time_coords stands beside it", "leave one of the two out")
        return None
    if said is None:
        if not isinstance(name, str) or name not in TIMES:
            fault(
                f"{where}time_coords_id",
                "it is missing, and so is time_coords"
                if name is None
                else f"{name!r:.60} is no name of time coordinates",
                f"one of {', '.join(TIMES)}; or time_coords with name, unit, time_origin and time_scale",
            )
            return None
        return TIMES[name]
    if not isinstance(said, dict):
        fault(f"{where}time_coords", "it is no object", "name, unit, time_origin and time_scale belong there")
        return None
    unit, scale, origin = str(said.get("unit")), str(said.get("time_scale")), moment(said.get("time_origin"))
    if unit not in _UNITS:
        fault(f"{where}time_coords.unit", f"{unit!r:.60} is no unit of time", f"one of {', '.join(_UNITS)}")
    if origin is None:
        what = f"{said.get('time_origin')!r:.60} is no time"
        fault(f"{where}time_coords.time_origin", what, "ISO 8601: 1970-01-01T00:00:00")
    if scale not in SCALES:
        fault(f"{where}time_coords.time_scale", f"{scale!r:.60} is no time scale", f"one of {', '.join(SCALES)}")
    return (origin, unit, scale) if origin is not None and unit in _UNITS and scale in SCALES else None


def fields(said: object) -> list[Fault]:
    """Judge the fields of a document.

    Parameters
    ----------
    said
        The member ``fields``, parsed; None: it is missing.

    Returns
    -------
    faults
        Empty: nothing is wrong.
    """
    if said is None:
        return [
            Fault(
                "fields",
                "the document has none",
                'describe each property: "fields": {"quality": {"info": "..", "datatype": "int", "ucd": "meta.code.qual"}}; {} if there are none',
            )
        ]
    if not isinstance(said, dict):
        return [Fault("fields", "it is no object", "an object: name -> info, datatype, ucd, unit, values")]
    if len(said) > MOST_FIELDS:
        return [
            Fault(
                "fields",
                f"{len(said):,} of them: at most {MOST_FIELDS:,}",
                "make several properties one, or several catalogues",
            )
        ]
    found = []
    for name, one in said.items():
        where = f"fields.{name:.60}"
        if not isinstance(one, dict):
            found.append(Fault(where, "it is no object", "info, datatype and ucd belong there"))
            continue
        if one.get("datatype", "str") not in ("bool", "int", "float", "str"):
            found.append(
                Fault(f"{where}.datatype", f"{one['datatype']!r:.60} is no type of TFCat", "bool, int, float or str")
            )
        found += [
            Fault(f"{where}.{key}", "it is missing", f"add {key}: a text")
            for key in ("info", "ucd")
            if not isinstance(one.get(key), str)
        ]
        unit = one.get("unit")
        if unit and not (isinstance(unit, str) and units.meant(unit)):
            found.append(Fault(f"{where}.unit", f"{unit!r:.60} is no unit", "a unit of VOUnits"))
        if not isinstance(one.get("values", {}), dict | list):
            found.append(Fault(f"{where}.values", "it is no object", "an object: value -> what it means"))
    return found

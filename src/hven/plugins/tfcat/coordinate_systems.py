"""Parse and validate the reference systems and fields of TFCat 1.0: the meaning of times and frequencies.

The schema is written here, with the standard's words; no function uses the network.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.model import units
from hven.model.sky import time_scales

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]

MAX_FIELDS = 1000
DAY_MICROSECONDS = 86_400_000_000

_JULIAN_ORIGIN_MICROSECONDS = -2_440_587 * DAY_MICROSECONDS - DAY_MICROSECONDS // 2
TIME_COORDINATES: dict[str, tuple[int, str, str]] = {
    "unix": (0, "s", "UTC"),
    "jd": (_JULIAN_ORIGIN_MICROSECONDS, "d", "UTC"),
    "mjd": (-40_587 * DAY_MICROSECONDS, "d", "UTC"),
    "mjd_cnes": (-7_305 * DAY_MICROSECONDS, "d", "UTC"),
    "mjd_nasa": (-587 * DAY_MICROSECONDS, "d", "UTC"),
    "cdf_tt2000": (10_957 * DAY_MICROSECONDS, "ns", "TT"),
    "iso": (0, "us", "UTC"),
}
"""time_coords_id -> its origin, microseconds from 1970 on a clock of its scale; its unit; its scale.

Times of ``iso`` are texts.
"""
_TIME_UNITS = {
    "ns": (1, 1000),
    "us": (1, 1),
    "ms": (1000, 1),
    "s": (10**6, 1),
    "min": (6 * 10**7, 1),
    "h": (36 * 10**8, 1),
    "d": (DAY_MICROSECONDS, 1),
}
TIME_SCALES = ("GPS", "TAI", "TCB", "TCG", "TDB", "TT", "UT", "UTC", "UNKNOWN", "SCET", "SCLK")
SPECTRAL_UNITS = {"frequency": "Hz", "wavelength": "m", "energy": "eV", "wavenumber": "m**-1"}
_TIME_PATTERN = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(\.\d*)?)?)?)?Z?", re.ASCII)
_JULIAN_ORIGIN_DATE = "-4712-01-01"  # in the Julian calendar
_MIN_TIME_MICROSECONDS = -719_162 * DAY_MICROSECONDS  # year 1
_MAX_TIME_MICROSECONDS = 2_932_897 * DAY_MICROSECONDS  # end of the year 9999


class TfcatFault(NamedTuple):
    """Describe a fault of a document.

    Attributes
    ----------
    json_path
        Path of the member: ``parse_tfcat_crs.properties.time_coords_id``.
    reason, remedy
        Texts for people.
    """

    json_path: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TfcatCrs:
    """Describe the reference system of a document's positions.

    Attributes
    ----------
    origin
        The origin of times: microseconds from 1970 on a clock of its scale.
    unit, scale
        Unit and scale of times.
    spectral, spectral_unit
        The second coordinate: a word of `SPECTRAL_UNITS`, and its unit.
    position
        Where the times were measured: ``GEOCENTER``, ``cassini-orbiter``.
    iso
        Whether times are texts.
    """

    origin: int
    unit: str
    scale: str
    spectral: str
    spectral_unit: str
    position: str
    iso: bool = False

    def to_utc(self, values: Sequence[float]) -> Whole:
        """Convert times to UTC, to the microsecond.

        Parameters
        ----------
        values
            In the document's own unit: seconds, days or others, shape (n,).

        Returns
        -------
        utc
            Microseconds from 1970, shape (n,). `_time_scales.NO_TIME` for unknown times: before 1972 in other scales
            than UTC, by the clock of a spacecraft (SCLK), and outside the years 1 to 9999.
        """
        up, down = _TIME_UNITS[self.unit]
        microseconds = [self._to_microseconds(value, up, down) for value in values]
        times = np.array(microseconds, np.int64).reshape(len(values))
        is_known = times != time_scales.NO_TIME
        if self.scale == "SCLK":
            return np.full(len(times), time_scales.NO_TIME)
        if self.scale not in {"UTC", "UT", "SCET", "UNKNOWN"}:
            tai = self._to_tai(np.where(is_known, times, 0))
            times = np.where(is_known, time_scales.tai_to_utc(tai), times)
        return np.where(is_known, times, time_scales.NO_TIME)

    def _to_microseconds(self, value: float, numerator: int, denominator: int) -> int:
        if isinstance(value, int):
            time = self.origin + (2 * value * numerator + denominator) // (2 * denominator)
        elif abs(value) >= 1e300 or math.isnan(value):
            return time_scales.NO_TIME
        elif denominator == 1:
            whole_units = math.floor(value)  # so that the digits behind the point are exact, too
            fraction = round((value - whole_units) * numerator)
            time = self.origin + whole_units * numerator + fraction
        else:
            time = self.origin + round(value * numerator / denominator)
        if _MIN_TIME_MICROSECONDS <= time < _MAX_TIME_MICROSECONDS:
            return time
        return time_scales.NO_TIME

    def _to_tai(self, time: Whole) -> Whole:
        """Convert microseconds of a clock of this scale to TAI."""
        if self.scale == "TAI":
            return time
        if self.scale == "GPS":
            return time + 19_000_000
        epoch = _JULIAN_ORIGIN_MICROSECONDS + 2_443_144 * DAY_MICROSECONDS
        since = (time - epoch).astype(np.float64) - 0.5003725 * DAY_MICROSECONDS  # from 1977 on, when the scales agreed
        if self.scale == "TCG":
            time = time - np.rint(6.969290134e-10 * since).astype(np.int64)
        if self.scale == "TCB":
            time = time - np.rint(1.550519768e-8 * since + 65.5).astype(np.int64)
        if self.scale in {"TCB", "TDB"}:  # exact to 30 microseconds
            days = (time - (_JULIAN_ORIGIN_MICROSECONDS + 2_451_545 * DAY_MICROSECONDS)) / DAY_MICROSECONDS
            anomaly = np.radians(357.53 + 0.98560028 * days)
            difference = 1657.0 * np.sin(anomaly) + 22.0 * np.sin(2.0 * anomaly)
            time = time - np.rint(difference).astype(np.int64)
        return time - time_scales.TT_MINUS_TAI_MICROSECONDS

    def to_hertz(self, low: Numbers, high: Numbers) -> tuple[Numbers, Numbers]:
        """Convert spectral ranges to frequencies.

        Parameters
        ----------
        low, high
            Ranges in the document's own numbers, shape (n,).

        Returns
        -------
        low, high
            Hz, shape (n,); the longest wavelength is the lowest frequency. NaN for a wavelength of 0.
        """
        factor, is_inverse = units.compute_spectral_conversion(self.spectral_unit, "Hz")
        if not is_inverse:
            return low * factor, high * factor
        with np.errstate(divide="ignore"):
            low_frequency = factor / high
            high_frequency = factor / low
        low_hertz = np.where(np.isfinite(low_frequency), low_frequency, np.nan)
        high_hertz = np.where(np.isfinite(high_frequency), high_frequency, np.nan)
        return low_hertz, high_hertz


def to_julian_dates(utc: Whole) -> Numbers:
    """Convert UTC to Julian dates, rounded once.

    Parameters
    ----------
    utc
        Microseconds from 1970, shape (n,).

    Returns
    -------
    jd
        Days, shape (n,); NaN for `_time_scales.NO_TIME`.
    """
    day, remainder = np.divmod(utc, DAY_MICROSECONDS)
    julian_dates = (day + 2_440_587.5) + remainder / DAY_MICROSECONDS
    return np.where(utc == time_scales.NO_TIME, np.nan, julian_dates)


def parse_tfcat_time(text: object) -> int | None:
    """Parse a time origin, or a time of a document whose times are texts.

    Parameters
    ----------
    text
        ISO 8601; ``-4712-01-01T12:00:00`` is the origin of Julian dates in their own calendar.

    Returns
    -------
    time
        Microseconds from 1970; None if the value is not a time.
    """
    if not isinstance(text, str) or len(text) >= 64:
        return None
    shift_days = 0
    if text.startswith(_JULIAN_ORIGIN_DATE):
        shift_days = -2_440_588 - 10_957
        text = text.replace(_JULIAN_ORIGIN_DATE, "2000-01-01")
    match = _TIME_PATTERN.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[1:4])
    if hour > 24 or minute > 59 or second > 60:
        return None
    try:
        days = int(np.datetime64(match[1], "D").astype(np.int64)) + shift_days
    except ValueError:
        return None
    seconds = (hour * 60 + minute) * 60 + second
    microseconds = round(float(f"0{match[5] or '.'}0") * 1e6)
    return days * DAY_MICROSECONDS + seconds * 1_000_000 + microseconds


def parse_tfcat_crs(crs_member: object) -> tuple[TfcatCrs | None, list[TfcatFault]]:
    """Parse a reference system.

    Parameters
    ----------
    crs_member
        The parsed member ``crs``; None if it is missing.

    Returns
    -------
    crs, faults
        The reference system, or None if a fault prevents one; and the faults.
    """
    faults: list[TfcatFault] = []

    def add_fault(json_path: str, reason: str, remedy: str) -> None:
        faults.append(TfcatFault(json_path, reason, remedy))

    if not isinstance(crs_member, dict):
        reason = "it is not an object"
        if crs_member is None:
            reason = "the document has no crs, so its numbers cannot be read as times and frequencies"
        remedy = (
            'add "crs": {"type": "local", "properties": {"name": "Time-Frequency", "time_coords_id": "unix", '
            '"spectral_coords": {"type": "frequency", "unit": "Hz"}, "ref_position_id": "GEOCENTER"}}'
        )
        add_fault("crs", reason, remedy)
        return None, faults
    if crs_member.get("type") != "local":
        reason = f"{crs_member.get('type')!r:.60} is not a type of reference system that TFCat 1.0 defines"
        add_fault("crs.type", reason, 'write "local"; drafts of TFCat used other names')
    inner = crs_member.get("properties")
    if not isinstance(inner, dict):
        reason = "they are missing" if inner is None else "it is not an object"
        remedy = "write an object with time_coords_id (or time_coords), spectral_coords and ref_position_id"
        add_fault("crs.properties", reason, remedy)
        return None, faults
    time = _parse_time_coordinates(inner, add_fault)
    spectral = _parse_spectral_coordinates(inner.get("spectral_coords"), add_fault)
    place = inner.get("ref_position_id")
    if not isinstance(place, str) or not place.strip():
        reason = "it is missing" if place is None else "it is not a name"
        remedy = "write GEOCENTER, or the name of a spacecraft or observatory"
        add_fault("crs.properties.ref_position_id", reason, remedy)
    if time is None or spectral is None or faults:
        return None, faults
    origin, unit, scale = time
    kind, spectral_unit = spectral
    crs = TfcatCrs(
        origin=origin,
        unit=unit,
        scale=scale,
        spectral=kind,
        spectral_unit=spectral_unit,
        position=str(place),
        iso=inner.get("time_coords_id") == "iso",
    )
    return crs, faults


def _parse_spectral_coordinates(spectral: object, add_fault: Any) -> tuple[str, str] | None:
    """Return the kind of spectral coordinates and their unit."""
    kind = unit = None
    if isinstance(spectral, dict):
        kind = spectral.get("type")
        unit = spectral.get("unit")
    json_path = "crs.properties.spectral_coords"
    if not isinstance(kind, str) or kind not in SPECTRAL_UNITS:
        reason = f"{kind!r:.60} is not a kind of spectral coordinate"
        add_fault(f"{json_path}.type", reason, f"write one of {', '.join(SPECTRAL_UNITS)}")
        return None
    if not isinstance(unit, str) or not units.are_units_convertible(unit, SPECTRAL_UNITS[kind]):
        example = "cm**-1"
        if kind != "wavenumber":
            example = SPECTRAL_UNITS[kind]
        add_fault(
            f"{json_path}.unit", f"{unit!r:.60} is not a unit of {kind}", f"write a VOUnits unit such as {example}"
        )
        return None
    return kind, unit


def _parse_time_coordinates(crs_properties: Mapping[str, Any], add_fault: Any) -> tuple[int, str, str] | None:
    json_path = "crs.properties."
    name = crs_properties.get("time_coords_id")
    time_coords = crs_properties.get("time_coords")
    if name is not None and time_coords is not None:
        add_fault(
            f"{json_path}time_coords_id", "the document also has time_coords", "remove time_coords or time_coords_id"
        )
        return None
    if time_coords is None:
        if not isinstance(name, str) or name not in TIME_COORDINATES:
            reason = f"{name!r:.60} is not a known name of time coordinates"
            if name is None:
                reason = "it is missing, and so is time_coords"
            remedy = (
                f"write one of {', '.join(TIME_COORDINATES)}; or time_coords with name, unit, time_origin and "
                "time_scale"
            )
            add_fault(f"{json_path}time_coords_id", reason, remedy)
            return None
        return TIME_COORDINATES[name]
    if not isinstance(time_coords, dict):
        add_fault(
            f"{json_path}time_coords",
            "it is not an object",
            "write an object with name, unit, time_origin and time_scale",
        )
        return None
    unit = str(time_coords.get("unit"))
    scale = str(time_coords.get("time_scale"))
    origin = parse_tfcat_time(time_coords.get("time_origin"))
    if unit not in _TIME_UNITS:
        remedy = f"write one of {', '.join(_TIME_UNITS)}"
        add_fault(f"{json_path}time_coords.unit", f"{unit!r:.60} is not a unit of time", remedy)
    if origin is None:
        problem = f"{time_coords.get('time_origin')!r:.60} is not a time"
        add_fault(f"{json_path}time_coords.time_origin", problem, "write ISO 8601, such as 1970-01-01T00:00:00")
    if scale not in TIME_SCALES:
        remedy = f"write one of {', '.join(TIME_SCALES)}"
        add_fault(f"{json_path}time_coords.time_scale", f"{scale!r:.60} is not a time scale", remedy)
    if origin is not None and unit in _TIME_UNITS and scale in TIME_SCALES:
        return (origin, unit, scale)
    return None


def find_field_faults(fields_member: object) -> list[TfcatFault]:
    """Validate the fields of a document.

    Parameters
    ----------
    fields_member
        The parsed member ``fields``; None if it is missing.

    Returns
    -------
    faults
        The faults; empty if there are none.
    """
    if fields_member is None:
        remedy = (
            'describe each property: "fields": {"quality": {"info": "..", "datatype": "int", "ucd": '
            '"meta.code.qual"}}; without properties, write "fields": {}'
        )
        return [TfcatFault("fields", "the document has no fields", remedy)]
    if not isinstance(fields_member, dict):
        return [
            TfcatFault(
                "fields",
                "it is not an object",
                "write an object that maps each field name to an object with info, datatype, ucd, unit and values",
            )
        ]
    if len(fields_member) > MAX_FIELDS:
        reason = f"the document has {len(fields_member):,} fields, but at most {MAX_FIELDS:,} are allowed"
        return [TfcatFault("fields", reason, "combine some properties, or split the catalogue")]
    faults = []
    for name, field_definition in fields_member.items():
        json_path = f"fields.{name:.60}"
        if not isinstance(field_definition, dict):
            faults.append(TfcatFault(json_path, "it is not an object", "write an object with info, datatype and ucd"))
            continue
        if field_definition.get("datatype", "str") not in ("bool", "int", "float", "str"):
            reason = f"{field_definition['datatype']!r:.60} is not a TFCat type"
            faults.append(TfcatFault(f"{json_path}.datatype", reason, "write bool, int, float or str"))
        missing_keys = [key for key in ("info", "ucd") if not isinstance(field_definition.get(key), str)]
        faults += [TfcatFault(f"{json_path}.{key}", "it is missing", f"add a string {key!r}") for key in missing_keys]
        unit = field_definition.get("unit")
        if unit and not (isinstance(unit, str) and units.normalize_unit(unit)):
            faults.append(TfcatFault(f"{json_path}.unit", f"{unit!r:.60} is not a unit", "write a VOUnits unit"))
        if not isinstance(field_definition.get("values", {}), dict | list):
            faults.append(
                TfcatFault(
                    f"{json_path}.values", "it is not an object", "write an object that maps each value to its meaning"
                )
            )
    return faults

"""Convert the values of spectral, time and polarization axes.

The results are wavelengths in vacuum (m), MJD, and words (FITS WCS III and IV).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

LIGHT_SPEED_METRES_PER_SECOND = 299_792_458.0
PLANCK_EV_SECONDS = 6.62607015e-34 / 1.602176634e-19
UNIX_EPOCH_MJD = 40_587.0  # MJD of 1970-01-01
STOKES_WORDS = {
    1: "I",
    2: "Q",
    3: "U",
    4: "V",
    5: "POLI",
    -1: "RR",
    -2: "LL",
    -3: "RL",
    -4: "LR",
    -5: "XX",
    -6: "YY",
    -7: "XY",
    -8: "YX",
}
_LENGTH_METRES = {
    "m": 1.0,
    "mm": 1e-3,
    "um": 1e-6,
    "micron": 1e-6,
    "nm": 1e-9,
    "angstrom": 1e-10,
    "cm": 1e-2,
    "pm": 1e-12,
    "km": 1e3,
}
_FREQUENCY_HERTZ = {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9, "thz": 1e12, "phz": 1e15}
_ENERGY_EV = {"ev": 1.0, "kev": 1e3, "mev": 1e6, "gev": 1e9, "j": 1.0 / 1.602176634e-19}
_WAVENUMBER_SCALES = {
    "1/m": 1.0,
    "m-1": 1.0,
    "m**-1": 1.0,
    "m^-1": 1.0,
    "cm-1": 1e2,
    "1/cm": 1e2,
    "cm**-1": 1e2,
    "cm^-1": 1e2,
}
_SPEED_SCALES = {
    "m/s": 1.0,
    "m s-1": 1.0,
    "m.s-1": 1.0,
    "m s^-1": 1.0,
    "m s**-1": 1.0,
    "km/s": 1e3,
    "km s-1": 1e3,
    "km.s-1": 1e3,
    "km s^-1": 1e3,
    "km s**-1": 1e3,
}
_TIME_UNIT_SECONDS = {
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "min": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "d": 86_400.0,
    "day": 86_400.0,
    "days": 86_400.0,
    "a": 31_557_600.0,
    "yr": 31_557_600.0,
    "seconds": 1.0,
    "sec": 1.0,
}
_UNIT_SPELLINGS = {
    "angstroms": "angstrom",
    "a": "angstrom",
    "microns": "micron",
    "micrometer": "um",
    "micrometers": "um",
    "nanometer": "nm",
    "µm": "um",
    "μm": "um",
    "å": "angstrom",
    "nanometers": "nm",
}


def normalize_length_unit(unit: str) -> str:
    """Write a unit of lengths as VOUnits does: ``um`` for ``MICROMETER``.

    Parameters
    ----------
    unit
        Unit as the file has it.

    Returns
    -------
    unit
        The unit; unknown units are returned unchanged.
    """
    lower_case_unit = unit.strip().lower()
    unit_name = _UNIT_SPELLINGS.get(lower_case_unit, lower_case_unit)
    if unit_name in _LENGTH_METRES:
        return {"angstrom": "Angstrom", "micron": "um"}.get(unit_name, unit_name)
    return unit.strip()


def convert_to_wavelengths(
    values: Numbers, quantity: str, unit: str, cards: Mapping[str, Any] | None = None
) -> Numbers:
    """Convert spectral values to wavelengths in vacuum.

    Parameters
    ----------
    values
        Values in `unit`, shape (n,).
    quantity
        Quantity as in CTYPE: ``WAVE``, ``AWAV``, ``FREQ``, ``ENER``, ``VRAD``, ``VOPT-F2W`` ..; any other text: the
        unit decides.
    unit
        Unit as written; empty: that of the standard (m, Hz, m/s, eV).
    cards
        Header with RESTFRQ or RESTWAV, for velocities.

    Returns
    -------
    wavelengths
        m, shape (n,).

    Raises
    ------
    SourceError
        The unit is not spectral, or the rest frequency of velocities is unknown.
    """
    kind = quantity.upper()[:4].strip("-")
    unit_name = unit.strip().lower()
    unit_name = _UNIT_SPELLINGS.get(unit_name, unit_name)
    kinds: tuple[tuple[dict[str, float], set[str], Callable[[Numbers], Numbers]], ...] = (
        (_LENGTH_METRES, {"WAVE", "AWAV", "LAMB"}, lambda x: x),
        (_FREQUENCY_HERTZ, {"FREQ"}, lambda x: LIGHT_SPEED_METRES_PER_SECOND / x),
        (_ENERGY_EV, {"ENER"}, lambda x: PLANCK_EV_SECONDS * LIGHT_SPEED_METRES_PER_SECOND / x),
        (_WAVENUMBER_SCALES, {"WAVN"}, lambda x: 1.0 / x),
    )
    for scales, default, convert in kinds:
        if unit_name in scales or (not unit_name and kind in default):
            with np.errstate(all="ignore"):
                scaled_values = np.asarray(values, np.float64) * scales.get(unit_name, 1.0)
                wavelengths_in_metres = np.asarray(convert(scaled_values), np.float64)
            if kind == "AWAV":
                return _convert_air_to_vacuum(wavelengths_in_metres)
            return wavelengths_in_metres
    if unit_name in _SPEED_SCALES or kind in {"VRAD", "VOPT", "VELO", "FELO", "ZOPT", "BETA"}:
        velocities = np.asarray(values, np.float64)
        return _convert_velocities(velocities, kind, _SPEED_SCALES.get(unit_name, 1.0), cards or {})
    raise SourceError(
        format_message("the spectral axis has the unknown unit {unit!r}", unit),
        remedy=format_message("use a unit of length, frequency, energy or velocity"),
    )


def _convert_air_to_vacuum(air: Numbers) -> Numbers:
    """Convert wavelengths in air to wavelengths in vacuum (FITS WCS III, equation 65)."""
    micron = np.where(air > 0.0, air, np.nan) * 1e6
    refractivity = 287.6155 + 1.62887 / micron**2 + 0.01360 / micron**4
    return air * (1.0 + 1e-6 * refractivity)


def _convert_velocities(values: Numbers, quantity: str, scale: float, cards: Mapping[str, Any]) -> Numbers:
    frequency, length = (cards.get(name) for name in ("RESTFRQ", "RESTWAV"))
    frequency = frequency or cards.get("RESTFREQ")
    if isinstance(length, int | float) and length:
        rest_wavelength = length
    elif isinstance(frequency, int | float) and frequency:
        rest_wavelength = LIGHT_SPEED_METRES_PER_SECOND / frequency
    else:
        rest_wavelength = None
    if rest_wavelength is None:
        raise SourceError(
            format_message("the header gives no rest frequency for the velocities"),
            remedy=format_message("add RESTFRQ or RESTWAV to the header"),
        )
    if quantity in {"ZOPT", "BETA"}:
        velocity_ratio = values
    else:
        velocity_ratio = values * scale / LIGHT_SPEED_METRES_PER_SECOND
    with np.errstate(all="ignore"):
        if quantity == "VRAD":
            return np.asarray(rest_wavelength / (1.0 - velocity_ratio))
        if quantity in {"VOPT", "ZOPT", "FELO"}:
            return np.asarray(rest_wavelength * (1.0 + velocity_ratio))
        doppler_factor = np.sqrt((1.0 + velocity_ratio) / (1.0 - velocity_ratio))
        return np.asarray(rest_wavelength * doppler_factor)


def convert_axis_times_to_mjd(values: Numbers, unit: str, cards: Mapping[str, Any]) -> Numbers:
    """Convert times along an axis to MJD (FITS WCS IV, section 4.1).

    Times count from MJDREF, JDREF or DATEREF, or without them from DATE-OBS.

    Parameters
    ----------
    values
        Times in `unit`, shape (n,).
    unit
        Unit as written; empty: s.
    cards
        The header.

    Returns
    -------
    times
        MJD in the time scale of the header, shape (n,).

    Raises
    ------
    SourceError
        The unit is not one of time, or the reference of the times is unknown.
    """
    scale = _TIME_UNIT_SECONDS.get(unit.strip().lower() or "s")
    if scale is None:
        raise SourceError(
            format_message("the time axis has the unknown unit {unit!r}", unit), remedy="use s, min, h or d"
        )
    days = np.asarray(values, np.float64) * (scale / 86_400.0)
    reference_mjd = None
    if cards.get("MJDREFI") is not None:
        fraction = cards.get("MJDREFF", 0.0)
        reference_mjd = float(cards["MJDREFI"]) + float(fraction or 0.0)
    reference_mjd = cards.get("MJDREF", reference_mjd)
    if reference_mjd is None and isinstance(cards.get("JDREF"), int | float):
        reference_mjd = float(cards["JDREF"]) - 2_400_000.5
    if reference_mjd is None:
        reference_mjd = find_reference_date_as_mjd(cards)
    if not isinstance(reference_mjd, int | float):
        raise SourceError(
            format_message("the header does not give the reference time"),
            remedy=format_message("add MJDREF or DATE-OBS to the header"),
        )
    return days + float(reference_mjd)


def find_reference_date_as_mjd(cards: Mapping[str, Any]) -> float | None:
    """Find the reference of times in a header that has no MJDREF: DATEREF, or the date of the observation.

    Parameters
    ----------
    cards
        The header.

    Returns
    -------
    time
        MJD; None if the header has no date.
    """
    clock_keywords = {"DATEREF": "", "DATE-OBS": "TIME-OBS", "DATE_OBS": "TIME_OBS", "DATE-BEG": "", "STARTOBS": ""}
    for name, clock in clock_keywords.items():
        date_text = str(cards.get(name) or "").strip().rstrip("Z")
        time_text = date_text.replace("/", "-")
        hour = str(cards.get(clock) or "").strip().rstrip("Z")
        if hour and len(time_text) == 10:
            time_text = f"{time_text}T{hour}"
        try:
            start_time = np.datetime64(time_text, "us")
        except ValueError:
            continue
        if not np.isnat(start_time):  # an empty text
            return float(start_time.astype(np.int64) / 86_400e6 + UNIX_EPOCH_MJD)
    return None


def convert_stokes_to_names(stokes_codes: Numbers) -> npt.NDArray[np.str_]:
    """Convert numbers of an axis STOKES to words.

    Parameters
    ----------
    stokes_codes
        1 (I) to 4 (V), -1 (RR) to -8 (YX); shape (n,).

    Returns
    -------
    words
        Polarization states, shape (n,); empty for other numbers.
    """
    words = []
    for value in stokes_codes:
        word = ""
        if np.isfinite(value):
            word = STOKES_WORDS.get(round(float(value)), "")
        words.append(word)
    return np.array(words, np.str_)

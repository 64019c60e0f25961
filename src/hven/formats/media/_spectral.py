"""What pixels of spectral, time and polarization axes stand for: wavelengths in vacuum (m), MJD, words (FITS WCS III and IV)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import SourceError, say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

LIGHT = 299_792_458.0  # m/s
PLANCK = 6.62607015e-34 / 1.602176634e-19  # eV s
UNIX = 40_587.0  # MJD of 1970-01-01
STOKES = {
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
_LENGTHS = {
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
_FREQUENCIES = {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9, "thz": 1e12, "phz": 1e15}
_ENERGIES = {"ev": 1.0, "kev": 1e3, "mev": 1e6, "gev": 1e9, "j": 1.0 / 1.602176634e-19}
_NUMBERS = {"1/m": 1.0, "m-1": 1.0, "m**-1": 1.0, "m^-1": 1.0, "cm-1": 1e2, "1/cm": 1e2, "cm**-1": 1e2, "cm^-1": 1e2}
_SPEEDS = {
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
_SECONDS = {
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
_PLURAL = {
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


def spelled(unit: str) -> str:
    """Write a unit of lengths as VOUnits has it: of ``MICROMETER`` ``um``.

    Parameters
    ----------
    unit
        As a file has it.

    Returns
    -------
    unit
        The same, where nothing is known of it.
    """
    plain = unit.strip().lower()
    found = _PLURAL.get(plain, plain)
    return {"angstrom": "Angstrom", "micron": "um"}.get(found, found) if found in _LENGTHS else unit.strip()


def wavelengths(values: Numbers, word: str, unit: str, cards: Mapping[str, Any] | None = None) -> Numbers:
    """Turn spectral values into wavelengths in vacuum.

    Parameters
    ----------
    values
        In `unit`, shape (n,).
    word
        What they are, as CTYPE has it: ``WAVE``, ``AWAV``, ``FREQ``, ``ENER``, ``VRAD``, ``VOPT-F2W`` .., else the unit tells.
    unit
        As written; empty: the standard's (m, Hz, m/s, eV).
    cards
        A header with RESTFRQ or RESTWAV, where they are velocities.

    Returns
    -------
    wavelengths
        m, shape (n,).

    Raises
    ------
    SourceError
        The unit is none of these; a velocity without what it is relative to.
    """
    kind, said = word.upper()[:4].strip("-"), unit.strip().lower()
    said = _PLURAL.get(said, said)
    kinds: tuple[tuple[dict[str, float], set[str], Callable[[Numbers], Numbers]], ...] = (
        (_LENGTHS, {"WAVE", "AWAV", "LAMB"}, lambda x: x),
        (_FREQUENCIES, {"FREQ"}, lambda x: LIGHT / x),
        (_ENERGIES, {"ENER"}, lambda x: PLANCK * LIGHT / x),
        (_NUMBERS, {"WAVN"}, lambda x: 1.0 / x),
    )
    for scales, default, turn in kinds:
        if said in scales or (not said and kind in default):
            with np.errstate(all="ignore"):
                found = np.asarray(turn(np.asarray(values, np.float64) * scales.get(said, 1.0)), np.float64)
            return _vacuum(found) if kind == "AWAV" else found
    if said in _SPEEDS or kind in {"VRAD", "VOPT", "VELO", "FELO", "ZOPT", "BETA"}:
        return _moving(np.asarray(values, np.float64), kind, _SPEEDS.get(said, 1.0), cards or {})
    raise SourceError(
        say("the unit {unit!r} of a spectral axis is not known", unit),
        remedy=say("a length, a frequency, an energy or a velocity"),
    )


def _vacuum(air: Numbers) -> Numbers:
    """Turn wavelengths in air into those in vacuum (FITS WCS III, equation 65)."""
    micron = np.where(air > 0.0, air, np.nan) * 1e6
    return air * (1.0 + 1e-6 * (287.6155 + 1.62887 / micron**2 + 0.01360 / micron**4))


def _moving(values: Numbers, kind: str, scale: float, cards: Mapping[str, Any]) -> Numbers:
    frequency, length = (cards.get(name) for name in ("RESTFRQ", "RESTWAV"))
    frequency = frequency or cards.get("RESTFREQ")
    rest = (
        length
        if isinstance(length, int | float) and length
        else LIGHT / frequency
        if isinstance(frequency, int | float) and frequency
        else None
    )
    if rest is None:
        raise SourceError(say("velocities have no rest frequency"), remedy=say("RESTFRQ or RESTWAV of the header"))
    share = values if kind in {"ZOPT", "BETA"} else values * scale / LIGHT
    with np.errstate(all="ignore"):
        if kind == "VRAD":
            return np.asarray(rest / (1.0 - share))
        if kind in {"VOPT", "ZOPT", "FELO"}:
            return np.asarray(rest * (1.0 + share))
        return np.asarray(rest * np.sqrt((1.0 + share) / (1.0 - share)))


def times(values: Numbers, unit: str, cards: Mapping[str, Any]) -> Numbers:
    """Turn times along an axis into MJD (FITS WCS IV, section 4.1: MJDREF, JDREF, DATEREF; without them, since DATE-OBS).

    Parameters
    ----------
    values
        In `unit`, shape (n,).
    unit
        As written; empty: s.
    cards
        The header.

    Returns
    -------
    times
        MJD in the header's own time scale, shape (n,).

    Raises
    ------
    SourceError
        The unit is none of time, or nothing says since when.
    """
    scale = _SECONDS.get(unit.strip().lower() or "s")
    if scale is None:
        raise SourceError(say("the unit {unit!r} of a time axis is not known", unit), remedy="s, min, h, d")
    days = np.asarray(values, np.float64) * (scale / 86_400.0)
    whole, part = cards.get("MJDREFI"), cards.get("MJDREFF", 0.0)
    zero = cards.get("MJDREF", None if whole is None else float(whole) + float(part or 0.0))
    if zero is None and isinstance(cards.get("JDREF"), int | float):
        zero = float(cards["JDREF"]) - 2_400_000.5
    zero = begun(cards) if zero is None else zero
    if not isinstance(zero, int | float):
        raise SourceError(
            say("nothing says since when times are counted"), remedy=say("MJDREF or DATE-OBS of the header")
        )
    return days + float(zero)


def begun(cards: Mapping[str, Any]) -> float | None:
    """Tell since when a header counts times that it says nothing else of: DATEREF, the date of the observation.

    Parameters
    ----------
    cards
        The header.

    Returns
    -------
    time
        MJD; None: it does not say it.
    """
    named = {"DATEREF": "", "DATE-OBS": "TIME-OBS", "DATE_OBS": "TIME_OBS", "DATE-BEG": "", "STARTOBS": ""}
    for name, clock in named.items():
        said = str(cards.get(name) or "").strip().rstrip("Z").replace("/", "-")
        hour = str(cards.get(clock) or "").strip().rstrip("Z")
        try:
            moment = np.datetime64(f"{said}T{hour}" if hour and len(said) == 10 else said, "us")
        except ValueError:
            continue
        if not np.isnat(moment):  # which an empty text is
            return float(moment.astype(np.int64) / 86_400e6 + UNIX)
    return None


def polarizations(values: Numbers) -> npt.NDArray[np.str_]:
    """Turn numbers of an axis STOKES into words.

    Parameters
    ----------
    values
        1 (I) to 4 (V), -1 (RR) to -8 (YX); shape (n,).

    Returns
    -------
    words
        Empty for other numbers; shape (n,).
    """
    return np.array([STOKES.get(round(float(value)), "") if np.isfinite(value) else "" for value in values], np.str_)


__all__ = ["LIGHT", "STOKES", "begun", "polarizations", "spelled", "times", "wavelengths"]

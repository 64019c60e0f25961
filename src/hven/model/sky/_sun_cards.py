"""Cards of images of the Sun (Thompson 2006): who saw it from where, how large, and where its disc is among the pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import _sun as sun
from hven.model.sky._disc import Disc

if TYPE_CHECKING:
    from collections.abc import Mapping


def number(cards: Mapping[str, Any], *names: str) -> float:
    """Find a number among cards.

    Parameters
    ----------
    cards
        Of a header.
    names
        Which of them, the best first.

    Returns
    -------
    number
        The first that is one, in its own unit; NaN: none is.
    """
    for name in names:
        value = cards.get(name)
        try:
            found = float(value) if value is not None and not isinstance(value, bool) else math.nan
        except (TypeError, ValueError):
            continue
        if math.isfinite(found):
            return found
    return math.nan


def date(cards: Mapping[str, Any]) -> Any:
    """Find when an image was taken.

    Parameters
    ----------
    cards
        Of its header.

    Returns
    -------
    date
        A ``datetime64``; NaT: it does not say.
    """
    try:
        return np.array(
            str(cards.get("DATE-OBS") or cards.get("DATE_OBS") or "NaT").strip().rstrip("Z"), "datetime64[us]"
        )
    except ValueError:
        return np.array("NaT", "datetime64[us]")


def seen(cards: Mapping[str, Any], scale: float, *, stonyhurst: bool = False) -> tuple[float, float, float]:
    """Find the radius of the disc in arcseconds, and the point of the Sun below the observer; NaN: the cards do not say.

    Of whom nothing is said is on the Earth, or before it; `scale` is arcseconds per pixel.
    """
    far, size = number(cards, "DSUN_OBS"), number(cards, "RSUN_REF")
    size = size if size > 0.0 else sun.RADIUS * 1e3
    radius = number(cards, "RSUN_OBS", "RSUN_ARC", "OBS_R0")
    if not math.isfinite(radius):
        radius = number(cards, "R_SUN", "SOLAR_R") * abs(scale)  # pixels there
    if not math.isfinite(radius):
        radius = float(sun.apparent_radius(far, size)) if far > size else number(cards, "RSUN")
    there = sun.earth(date(cards))
    lat = number(cards, "HGLT_OBS", "CRLT_OBS", "OBS_B0", "SOLAR_B0", "B0")
    lon, own = number(cards, "CRLN_OBS", "OBS_L0", "L0"), number(cards, "HGLN_OBS")
    lat = lat if math.isfinite(lat) else float(there.b0)
    own = own if math.isfinite(own) else lon - float(there.l0) if math.isfinite(lon) else 0.0
    lon = own if stonyhurst else lon if math.isfinite(lon) else own + float(there.l0)
    return radius, lon, lat


def disc(cards: Mapping[str, Any], *, stonyhurst: bool = False) -> Disc:
    """Find the disc among the pixels of an image.

    Parameters
    ----------
    cards
        Of its header: CRPIXi, CRVALi, CDELTi with PCi_j or CROTA2, or CDi_j; RSUN_OBS, DSUN_OBS ..; CRLN_OBS, HGLT_OBS, DATE-OBS ..
    stonyhurst
        Longitudes are Stonyhurst's, else Carrington's.

    Returns
    -------
    disc
        One image; what is not said is NaN, and so a fault of its contours.
    """
    unit = 3600.0 if str(cards.get("CUNIT1", "")).strip().lower().startswith("deg") else 1.0
    step = np.array([number(cards, "CDELT1"), number(cards, "CDELT2")])
    pairs = [(a, b) for a in (1, 2) for b in (1, 2)]
    turn = math.radians(np.nan_to_num(number(cards, "CROTA2")))
    if "CD1_1" in cards:
        made = np.nan_to_num([number(cards, f"CD{a}_{b}") for a, b in pairs]).reshape(2, 2)
    elif any(f"PC{a}_{b}" in cards for a, b in pairs):
        own = [number(cards, f"PC{a}_{b}") for a, b in pairs]
        made = step[:, None] * np.where(np.isnan(own), [1.0, 0.0, 0.0, 1.0], own).reshape(2, 2)
    else:
        made = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) * step
    made = made * unit
    # rows of pixels upward, and pixels to the right or, in a mirror, to the left
    roll = math.atan2(-made[0, 1], made[1, 1])
    scale = made[0, 0] * math.cos(roll) + made[1, 0] * math.sin(roll), math.hypot(made[0, 1], made[1, 1])
    middle = np.nan_to_num([number(cards, "CRVAL1"), number(cards, "CRVAL2")]) * unit
    whole = np.linalg.det(made) if np.isfinite(made).all() else 0.0
    off = np.linalg.solve(made, middle) if whole else np.full(2, math.nan)
    x, y = (number(cards, f"CRPIX{axis + 1}") - 1.0 - off[axis] for axis in (0, 1))
    return Disc(*np.array([x, y, *scale, *seen(cards, scale[0], stonyhurst=stonyhurst), math.degrees(roll)])[:, None])

"""Cards of images of the Sun (Thompson 2006).

Who saw it from where, how large, and where its disc is among the pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import _sun as sun
from hven.model.sky._disc_image import DiscImage

if TYPE_CHECKING:
    from collections.abc import Mapping


def find_number(cards: Mapping[str, Any], *keywords: str) -> float:
    """Find a number among cards.

    Parameters
    ----------
    cards
        Of a header.
    keywords
        Which of them, the best first.

    Returns
    -------
    number
        The first that is one, in its own unit; NaN: none is.
    """
    for name in keywords:
        value = cards.get(name)
        try:
            if value is not None and not isinstance(value, bool):
                parsed = float(value)
            else:
                parsed = math.nan
        except (TypeError, ValueError):
            continue
        if math.isfinite(parsed):
            return parsed
    return math.nan


def find_date(cards: Mapping[str, Any]) -> Any:
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


def find_observer_geometry(
    cards: Mapping[str, Any], scale: float, *, stonyhurst: bool = False
) -> tuple[float, float, float]:
    """Find the radius of the disc in arcseconds, and the point of the Sun below the observer; NaN.

    The cards do not say.

    Of whom nothing is said is on the Earth, or before it; `scale` is arcseconds per pixel.
    """
    observer_distance = find_number(cards, "DSUN_OBS")
    sun_radius = find_number(cards, "RSUN_REF")
    if not sun_radius > 0.0:  # NaN, too
        sun_radius = sun.SUN_RADIUS_KM * 1e3
    radius = find_number(cards, "RSUN_OBS", "RSUN_ARC", "OBS_R0")
    if not math.isfinite(radius):
        radius = find_number(cards, "R_SUN", "SOLAR_R") * abs(scale)  # pixels there
    if not math.isfinite(radius):
        if observer_distance > sun_radius:
            radius = float(sun.compute_apparent_radius(observer_distance, sun_radius))
        else:
            radius = find_number(cards, "RSUN")
    ephemeris = sun.compute_solar_ephemeris(find_date(cards))
    lat = find_number(cards, "HGLT_OBS", "CRLT_OBS", "OBS_B0", "SOLAR_B0", "B0")
    lon = find_number(cards, "CRLN_OBS", "OBS_L0", "L0")
    stonyhurst_lon = find_number(cards, "HGLN_OBS")
    if not math.isfinite(lat):
        lat = float(ephemeris.b0)
    if math.isfinite(stonyhurst_lon):
        stonyhurst_lon = stonyhurst_lon
    elif math.isfinite(lon):
        stonyhurst_lon = lon - float(ephemeris.l0)
    else:
        stonyhurst_lon = 0.0
    if stonyhurst:
        lon = stonyhurst_lon
    elif math.isfinite(lon):
        lon = lon
    else:
        lon = stonyhurst_lon + float(ephemeris.l0)
    return radius, lon, lat


def build_disc_image(cards: Mapping[str, Any], *, stonyhurst: bool = False) -> DiscImage:
    """Find the disc among the pixels of an image.

    Parameters
    ----------
    cards
        Of its header: CRPIXi, CRVALi, CDELTi with PCi_j or CROTA2, or CDi_j; RSUN_OBS, DSUN_OBS ..; CRLN_OBS, HGLT_OBS,
        DATE-OBS ..
    stonyhurst
        Longitudes are Stonyhurst's, else Carrington's.

    Returns
    -------
    disc
        One image; what is not said is NaN, and so a fault of its contours.
    """
    if str(cards.get("CUNIT1", "")).strip().lower().startswith("deg"):
        unit = 3600.0
    else:
        unit = 1.0
    number = find_number(cards, "CDELT1")
    step = np.array([number, find_number(cards, "CDELT2")])
    pairs = [(a, b) for a in (1, 2) for b in (1, 2)]
    turn = math.radians(np.nan_to_num(find_number(cards, "CROTA2")))
    if "CD1_1" in cards:
        matrix = np.nan_to_num([find_number(cards, f"CD{a}_{b}") for a, b in pairs]).reshape(2, 2)
    elif any(f"PC{a}_{b}" in cards for a, b in pairs):
        pc_values = [find_number(cards, f"PC{a}_{b}") for a, b in pairs]
        matrix = step[:, None] * np.where(np.isnan(pc_values), [1.0, 0.0, 0.0, 1.0], pc_values).reshape(2, 2)
    else:
        matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) * step
    matrix = matrix * unit
    # rows of pixels upward, and pixels to the right or, in a mirror, to the left
    roll = math.atan2(-matrix[0, 1], matrix[1, 1])
    scale = matrix[0, 0] * math.cos(roll) + matrix[1, 0] * math.sin(roll), math.hypot(matrix[0, 1], matrix[1, 1])
    middle = np.nan_to_num([find_number(cards, "CRVAL1"), find_number(cards, "CRVAL2")]) * unit
    if np.isfinite(matrix).all():
        determinant = np.linalg.det(matrix)
    else:
        determinant = 0.0
    if determinant:
        center_offset = np.linalg.solve(matrix, middle)
    else:
        center_offset = np.full(2, math.nan)
    x, y = (find_number(cards, f"CRPIX{axis + 1}") - 1.0 - center_offset[axis] for axis in (0, 1))
    observer_geometry = find_observer_geometry(cards, scale[0], stonyhurst=stonyhurst)
    return DiscImage(*np.array([x, y, *scale, *observer_geometry, math.degrees(roll)])[:, None])

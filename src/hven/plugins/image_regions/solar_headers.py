"""Read the cards of images of the Sun (Thompson 2006).

They tell the position of the observer, the size of the Sun, and the place of its disc among the pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import footprints
from hven.plugins.image_regions import sun
from hven.plugins.image_regions.disc_image import DiscImage

if TYPE_CHECKING:
    from collections.abc import Mapping


def find_observation_date(cards: Mapping[str, Any]) -> Any:
    """Find the date of an image.

    Parameters
    ----------
    cards
        Cards of its header.

    Returns
    -------
    date
        A ``datetime64``; NaT if the cards have none.
    """
    text = str(cards.get("DATE-OBS") or cards.get("DATE_OBS") or "NaT")
    try:
        return np.array(text.strip().rstrip("Z"), "datetime64[us]")
    except ValueError:
        return np.array("NaT", "datetime64[us]")


def find_solar_observer_geometry(
    cards: Mapping[str, Any], scale: float, *, stonyhurst: bool = False
) -> tuple[float, float, float]:
    """Find the radius of the disc in arcseconds, and the point of the Sun below the observer; NaN if unknown.

    `scale` is arcseconds per pixel. If the cards do not give the position of the observer, it is the Earth's.
    """
    observer_distance = footprints.find_header_number(cards, "DSUN_OBS")
    sun_radius = footprints.find_header_number(cards, "RSUN_REF")
    if not sun_radius > 0.0:  # nor if it is NaN
        sun_radius = sun.SUN_RADIUS_KM * 1e3
    radius = footprints.find_header_number(cards, "RSUN_OBS", "RSUN_ARC", "OBS_R0")
    if not math.isfinite(radius):
        radius = footprints.find_header_number(cards, "R_SUN", "SOLAR_R") * abs(scale)  # pixels there
    if not math.isfinite(radius):
        if observer_distance > sun_radius:
            radius = float(sun.compute_apparent_radius(observer_distance, sun_radius))
        else:
            radius = footprints.find_header_number(cards, "RSUN")
    ephemeris = sun.compute_solar_ephemeris(find_observation_date(cards))
    lat = footprints.find_header_number(cards, "HGLT_OBS", "CRLT_OBS", "OBS_B0", "SOLAR_B0", "B0")
    lon = footprints.find_header_number(cards, "CRLN_OBS", "OBS_L0", "L0")
    stonyhurst_lon = footprints.find_header_number(cards, "HGLN_OBS")
    if not math.isfinite(lat):
        lat = float(ephemeris.b0)
    if not math.isfinite(stonyhurst_lon):
        stonyhurst_lon = 0.0
        if math.isfinite(lon):
            stonyhurst_lon = lon - float(ephemeris.l0)
    if stonyhurst:
        lon = stonyhurst_lon
    elif not math.isfinite(lon):
        lon = stonyhurst_lon + float(ephemeris.l0)
    return radius, lon, lat


def build_solar_disc_image(cards: Mapping[str, Any], *, stonyhurst: bool = False) -> DiscImage:
    """Find the disc among the pixels of an image.

    Parameters
    ----------
    cards
        Cards of its header: CRPIXi, CRVALi, CDELTi with PCi_j or CROTA2, or CDi_j; RSUN_OBS, DSUN_OBS ..; CRLN_OBS,
        HGLT_OBS, DATE-OBS ..
    stonyhurst
        Whether longitudes are Stonyhurst's instead of Carrington's.

    Returns
    -------
    disc
        A single image; missing values are NaN, which is a fault of its contours.
    """
    unit_text = str(cards.get("CUNIT1", "")).strip().lower()
    unit = 1.0
    if unit_text.startswith("deg"):
        unit = 3600.0
    matrix = footprints.compute_scale_matrix(cards) * unit
    # rows of pixels point upward, columns to the right or, in a mirrored image, to the left
    roll = math.atan2(-matrix[0, 1], matrix[1, 1])
    scale_x = matrix[0, 0] * math.cos(roll) + matrix[1, 0] * math.sin(roll)
    scale_y = math.hypot(matrix[0, 1], matrix[1, 1])
    reference = [footprints.find_header_number(cards, "CRVAL1"), footprints.find_header_number(cards, "CRVAL2")]
    middle = np.nan_to_num(reference) * unit
    if np.isfinite(matrix).all():
        determinant = np.linalg.det(matrix)
    else:
        determinant = 0.0
    if determinant:
        center_offset = np.linalg.solve(matrix, middle)
    else:
        center_offset = np.full(2, math.nan)
    x = footprints.find_header_number(cards, "CRPIX1") - 1.0 - center_offset[0]
    y = footprints.find_header_number(cards, "CRPIX2") - 1.0 - center_offset[1]
    radius, lon, lat = find_solar_observer_geometry(cards, scale_x, stonyhurst=stonyhurst)
    fields = np.array([x, y, scale_x, scale_y, radius, lon, lat, math.degrees(roll)])
    return DiscImage(*fields[:, None])

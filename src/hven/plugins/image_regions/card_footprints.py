"""Footprints of many images by the cards of their zenithal projections (FITS WCS paper II), without distortions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines.api.engine_functions import to_numpy, to_single_array
from hven.model.sky import footprints, sphere

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

#: From the distance on the plane to the native latitude, radians (FITS WCS paper II, section 5.1).
_NATIVE_LATITUDES: dict[str, Callable[[Numbers], Numbers]] = {
    "TAN": lambda r: np.arctan2(1.0, r),
    "SIN": np.arccos,
    "ARC": lambda r: np.pi / 2 - r,
    "STG": lambda r: np.pi / 2 - 2 * np.arctan(r / 2),
    "ZEA": lambda r: np.pi / 2 - 2 * np.arcsin(r / 2),
}
PROJECTIONS = tuple(_NATIVE_LATITUDES)


def compute_wcs_corners(
    projection: npt.NDArray[np.str_], crval: Numbers, crpix: Numbers, cd: Numbers, naxis: Numbers
) -> Numbers:
    """Compute the outer corners of images by their zenithal WCS (FITS WCS paper II), LONPOLE 180.

    Parameters
    ----------
    projection
        One of `PROJECTIONS` for each image; shape (n,). Distortions are ignored.
    crval, crpix, naxis
        Degrees (longitude first), pixels, pixels; shape (n, 2).
    cd
        Degrees per pixel; shape (n, 2, 2), row 0 for the longitude.

    Returns
    -------
    numpy.ndarray
        lon, lat of four corners; shape (n, 8); NaN where a corner has no position on the sky, or the projection is
        unknown.
    """
    high = naxis + 0.5
    low = np.full(len(naxis), 0.5)
    corners = ((low, low), (high[:, 0], low), (high[:, 0], high[:, 1]), (low, high[:, 1]))
    pixels = np.stack([np.stack(corner, -1) for corner in corners], 1)
    plane = np.einsum("nij,nkj->nki", cd, pixels - crpix[:, None, :])
    x = plane[..., 0]
    y = plane[..., 1]
    r = np.radians(np.hypot(x, y))
    phi = np.arctan2(x, -y)
    theta = np.full(r.shape, np.nan)
    with np.errstate(invalid="ignore"):
        for name in PROJECTIONS:
            rows = projection == name
            if rows.any():
                theta[rows] = _NATIVE_LATITUDES[name](r[rows])
    lon0 = np.radians(crval[:, :1])
    lat0 = np.radians(crval[:, 1:])
    turn = phi - np.pi
    across = -np.cos(theta) * np.sin(turn)
    along = np.sin(theta) * np.cos(lat0) - np.cos(theta) * np.sin(lat0) * np.cos(turn)
    up = np.sin(theta) * np.sin(lat0) + np.cos(theta) * np.cos(lat0) * np.cos(turn)
    ahead = lon0 + np.arctan2(across, along)
    flat = np.hypot(across, along)
    directions = np.stack([flat * np.cos(ahead), flat * np.sin(ahead), up], -1)
    lon, lat = sphere.to_lon_lat(directions)
    return np.stack([lon, lat], -1).reshape(len(naxis), 8)


def _classify_wcs_axes(column: Any) -> tuple[Any, Any, Any]:
    """Return for each CTYPE whether it is a right ascension, whether it is a declination, and its projection."""
    encoded = to_single_array(column).dictionary_encode()
    axis_types = [axis_type.upper() for axis_type in encoded.dictionary.to_pylist()]
    type_numbers = to_numpy(encoded.indices)
    is_right_ascension = np.array([axis_type.startswith("RA") for axis_type in axis_types], bool)
    is_declination = np.array([axis_type.startswith("DEC") for axis_type in axis_types], bool)
    projection_names = [axis_type[4:].strip("-")[:3] for axis_type in axis_types]
    projections = np.array(projection_names, dtype="U3").reshape(-1)
    return is_right_ascension[type_numbers], is_declination[type_numbers], projections[type_numbers]


def compute_card_footprints(*card_columns: Any) -> pa.Array:
    """Compute the corners of images, in degrees.

    The columns are the cards CTYPE1 and 2, CRVAL1 and 2, CRPIX1 and 2, CD1_1, CD1_2, CD2_1, CD2_2, NAXIS1 and 2. An
    image has no corners if its axes are not right ascension and declination, in one order or the other.
    """
    ctype1, ctype2, *number_columns = card_columns
    is_ra1, is_dec1, projection = _classify_wcs_axes(ctype1)
    is_ra2, is_dec2, _ = _classify_wcs_axes(ctype2)
    crval1, crval2, crpix1, crpix2, cd11, cd12, cd21, cd22, naxis1, naxis2 = (
        to_numpy(column).astype(np.float64) for column in number_columns
    )
    is_swapped = is_dec1 & is_ra2
    has_sky_axes = is_ra1 & is_dec2 | is_swapped
    reversed_crval = np.stack([crval2, crval1], -1)
    crval = np.where(is_swapped[:, None], reversed_crval, np.stack([crval1, crval2], -1))
    crpix = np.stack([crpix1, crpix2], -1)
    cd_rows = (np.stack([cd11, cd12], -1), np.stack([cd21, cd22], -1))
    cd = np.stack(cd_rows, -2)
    cd = np.where(is_swapped[:, None, None], cd[:, ::-1, :], cd)
    naxis = np.stack([naxis1, naxis2], -1)
    corners = compute_wcs_corners(projection, crval, crpix, cd, naxis)
    is_valid = has_sky_axes & np.isfinite(corners).all(axis=1)
    corner_counts = np.where(is_valid, 8, 0)
    starts = np.concatenate([[0], np.cumsum(corner_counts)])
    oriented = footprints.orient_polygons(starts, corners[is_valid].ravel(), from_outside=False)
    return pa.ListArray.from_arrays(pa.array(starts.astype(np.int32)), pa.array(oriented))

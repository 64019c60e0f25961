"""Orient the polygons of outlines, and compute outlines from the WCS cards of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._ragged_arrays import (
    compute_offsets,
    compute_reversed_indexes,
    gather_element_indexes,
    split_into_blocks,
    take_successor_values,
)
from hven.model.sky._sphere import RADIANS_PER_DEGREE, to_lon_lat
from hven.model.sky._thread_pool import map_in_threads
from hven.model.sky._wcs_footprints import ImageWcs, build_image_wcs, build_regions_from_headers

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

__all__ = [
    "FOOTPRINT_VIEWS",
    "PROJECTIONS",
    "ImageWcs",
    "build_image_wcs",
    "build_regions_from_headers",
    "compute_wcs_corners",
    "find_oriented_corner_order",
    "is_clockwise",
    "orient_polygons",
]

FOOTPRINT_VIEWS = ("sky", "body")
MIN_ORIENTED_AREA_STERADIANS = 1e-13  # a polygon without more area than this to one side has no orientation
_BLOCK_CORNERS = 1 << 15  # corners at a time
_ROUNDING_STERADIANS = 4e-6  # rounding error of single precision, for each corner
#: From the distance on the plane to the native latitude, radians (FITS WCS paper II, section 5.1).
_NATIVE_LATITUDES: dict[str, Callable[[Numbers], Numbers]] = {
    "TAN": lambda r: np.arctan2(1.0, r),
    "SIN": np.arccos,
    "ARC": lambda r: np.pi / 2 - r,
    "STG": lambda r: np.pi / 2 - 2 * np.arctan(r / 2),
    "ZEA": lambda r: np.pi / 2 - 2 * np.arcsin(r / 2),
}
PROJECTIONS = tuple(_NATIVE_LATITUDES)


def orient_polygons(offsets: npt.NDArray[np.int64], coordinates: Numbers, *, from_outside: bool) -> Numbers:
    """Orient polygons: corners counter-clockwise, seen from inside the sphere (the sky) or from outside (a body).

    Parameters
    ----------
    offsets
        Where in `coordinates` (lon, lat, lon, lat ..) each polygon begins, and the end; shape (n + 1,).
    coordinates
        Lon, lat, lon, lat .. in degrees, shape (m,).
    from_outside
        Whether the corners are counter-clockwise as seen by an observer outside the body.

    Returns
    -------
    numbers
        The same corners, shape (m,).
    """
    order = find_oriented_corner_order(offsets, coordinates, from_outside=from_outside)
    corners = coordinates.reshape(-1, 2)[order]
    return np.asarray(corners.ravel(), np.float64)


def find_oriented_corner_order(
    offsets: npt.NDArray[np.int64], coordinates: Numbers, *, from_outside: bool
) -> npt.NDArray[np.int64]:
    """Return the order of the corners in `orient_polygons`, as numbers of the given corners.

    Parameters
    ----------
    offsets, coordinates
        As for `orient_polygons`, shapes (n + 1,) and (m,).
    from_outside
        As for `orient_polygons`.

    Returns
    -------
    indexes
        Numbers of corners, shape (m / 2,).
    """
    wrong = is_clockwise(offsets, coordinates, from_outside=from_outside, min_area=0.0)
    return compute_reversed_indexes(np.asarray(offsets, np.int64) // 2, wrong)


def is_clockwise(
    offsets: npt.NDArray[np.int64],
    coordinates: Numbers,
    *,
    from_outside: bool,
    min_area: float = MIN_ORIENTED_AREA_STERADIANS,
) -> npt.NDArray[np.bool_]:
    """Return which polygons run clockwise, seen from inside the sphere or from outside (see `orient_polygons`).

    Parameters
    ----------
    offsets, coordinates
        As for `orient_polygons`, shapes (n + 1,) and (m,).
    from_outside
        As for `orient_polygons`.
    min_area
        The area below which a polygon has no orientation, approximately steradians.

    Returns
    -------
    wrong
        Shape (n,).
    """
    pairs = np.asarray(coordinates, np.float64).reshape(-1, 2)
    first = np.asarray(offsets, np.int64) // 2
    sizes = np.diff(first)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = list(split_into_blocks(sizes, _BLOCK_CORNERS))
        block_sides = map_in_threads(
            lambda part: _compute_signed_areas(pairs[first[part.start] : first[part.stop]], sizes[part], np.float32),
            parts,
        )
        side = np.concatenate([np.empty(0), *block_sides])  # single precision decides nearly all polygons
    uncertainty = _ROUNDING_STERADIANS * sizes + min_area
    small = np.flatnonzero(~(np.abs(side) > uncertainty))
    for part in split_into_blocks(sizes[small], _BLOCK_CORNERS):
        part_rows = small[part]
        corner, _ = gather_element_indexes(first, part_rows)
        side[part_rows] = _compute_signed_areas(pairs[corner], sizes[part_rows], np.float64)
    wrong: npt.NDArray[np.bool_] = (side < -min_area) if from_outside else (side > min_area)
    return wrong


def _compute_signed_areas(pairs: Numbers, sizes: npt.NDArray[np.int64], dtype: type[np.floating]) -> Numbers:
    """Compute the signed areas of polygons, approximately steradians.

    An area above 0 means counter-clockwise as seen from outside.
    """
    areas = np.zeros(len(sizes))
    has_corners = sizes > 0
    if has_corners.any():
        offsets = compute_offsets(sizes[has_corners])
        lam, phi = ((pairs[:, axis] * RADIANS_PER_DEGREE).astype(dtype) for axis in (0, 1))
        cos = np.cos(phi)
        a = (cos * np.cos(lam), cos * np.sin(lam), np.sin(phi))
        b = [take_successor_values(offsets, component) for component in a]
        projected_area = np.zeros(len(offsets) - 1, dtype)
        for axis in range(3):
            edge_areas = a[axis - 2] * b[axis - 1] - a[axis - 1] * b[axis - 2]
            turn = np.add.reduceat(edge_areas, offsets[:-1])
            middle = np.add.reduceat(a[axis], offsets[:-1])
            projected_area = projected_area + turn * middle
        areas[has_corners] = projected_area / sizes[has_corners]
    return areas


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
    lon, lat = to_lon_lat(directions)
    return np.stack([lon, lat], -1).reshape(len(naxis), 8)

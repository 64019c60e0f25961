"""Outlines as polygons: turned round the right way, and computed from the WCS cards of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._ragged_arrays import (
    compute_offsets,
    gather_rows,
    reverse_rows,
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
    "find_oriented_corners",
    "is_clockwise",
    "orient_polygons",
]

FOOTPRINT_VIEWS = ("sky", "body")
MIN_ORIENTED_AREA_STERADIANS = 1e-13  # what has no more than that to one side turns neither way
_BLOCK_CORNERS = 1 << 15  # corners at a time
_ROUNDING_STERADIANS = 4e-6  # steradians of each corner that single precision may err by
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
        True: as seen by somebody who looks at a body.

    Returns
    -------
    numbers
        The same corners, shape (m,).
    """
    return np.asarray(
        coordinates.reshape(-1, 2)[find_oriented_corners(offsets, coordinates, from_outside=from_outside)].ravel(),
        np.float64,
    )


def find_oriented_corners(
    offsets: npt.NDArray[np.int64], coordinates: Numbers, *, from_outside: bool
) -> npt.NDArray[np.int64]:
    """Return where the corners of `orient_polygons` stand in what was given.

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
    return reverse_rows(np.asarray(offsets, np.int64) // 2, wrong)


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
        The size below which a polygon has no way round, about steradians.

    Returns
    -------
    wrong
        Shape (n,).
    """
    pairs, first = np.asarray(coordinates, np.float64).reshape(-1, 2), np.asarray(offsets, np.int64) // 2
    sizes = np.diff(first)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = list(split_into_blocks(sizes, _BLOCK_CORNERS))
        block_sides = map_in_threads(
            lambda part: _compute_signed_areas(pairs[first[part.start] : first[part.stop]], sizes[part], np.float32),
            parts,
        )
        side = np.concatenate([np.empty(0), *block_sides])  # single precision does for nearly all
    small = np.flatnonzero(~(np.abs(side) > _ROUNDING_STERADIANS * sizes + min_area))
    for part in split_into_blocks(sizes[small], _BLOCK_CORNERS):
        corner, _ = gather_rows(first, small[part])
        side[small[part]] = _compute_signed_areas(pairs[corner], sizes[small[part]], np.float64)
    wrong: npt.NDArray[np.bool_] = (side < -min_area) if from_outside else (side > min_area)
    return wrong


def _compute_signed_areas(pairs: Numbers, sizes: npt.NDArray[np.int64], dtype: type[np.floating]) -> Numbers:
    """Tell to which side of their borders polygons lie, about steradians.

    Above 0 they run counter-clockwise from outside.
    """
    areas = np.zeros(len(sizes))
    has_corners = sizes > 0
    if has_corners.any():
        offsets = compute_offsets(sizes[has_corners])
        lam, phi = ((pairs[:, axis] * RADIANS_PER_DEGREE).astype(dtype) for axis in (0, 1))
        cos = np.cos(phi)
        a = (cos * np.cos(lam), cos * np.sin(lam), np.sin(phi))
        b = [take_successor_values(offsets, component) for component in a]
        turns = [np.add.reduceat(a[k - 2] * b[k - 1] - a[k - 1] * b[k - 2], offsets[:-1]) for k in range(3)]
        middle = [np.add.reduceat(component, offsets[:-1]) for component in a]
        areas[has_corners] = (
            sum(component * middle_component for component, middle_component in zip(turns, middle, strict=True))
            / sizes[has_corners]
        )
    return areas


def compute_wcs_corners(
    projection: npt.NDArray[np.str_], crval: Numbers, crpix: Numbers, cd: Numbers, naxis: Numbers
) -> Numbers:
    """Compute the outer corners of images by their zenithal WCS (FITS WCS paper II), LONPOLE 180.

    Parameters
    ----------
    projection
        One of `PROJECTIONS` for each image; shape (n,). Distortions are left out.
    crval, crpix, naxis
        Degrees (longitude first), pixels, pixels; shape (n, 2).
    cd
        Degrees for each pixel; shape (n, 2, 2), row 0 the longitude's.

    Returns
    -------
    numpy.ndarray
        lon, lat of four corners; shape (n, 8); NaN where a corner has no place on the sky, or the projection is none of
        these.
    """
    high = naxis + 0.5
    low = np.full(len(naxis), 0.5)
    pixels = np.stack(
        [np.stack([x, y], -1) for x, y in ((low, low), (high[:, 0], low), (high[:, 0], high[:, 1]), (low, high[:, 1]))],
        1,
    )
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
    lon, lat = to_lon_lat(np.stack([flat * np.cos(ahead), flat * np.sin(ahead), up], -1))
    return np.stack([lon, lat], -1).reshape(len(naxis), 8)

"""Outlines as polygons: turned round the right way, and computed from the WCS cards of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._cores import spread
from hven.model.sky._ragged import blocks, ends, following, gathered, reversed_rows
from hven.model.sky._sphere import RADIAN, angles
from hven.model.sky._wcs import Places, of_headers, places

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

__all__ = [
    "PROJECTIONS",
    "VIEWS",
    "Places",
    "corners_in_order",
    "of_headers",
    "places",
    "turned_round",
    "wcs_corners",
    "wrong_way",
]

VIEWS = ("sky", "body")
FLAT = 1e-13  # what has no more than that to one side turns neither way
_BLOCK = 1 << 15  # corners at a time
_ROUNDED = 4e-6  # steradians of each corner that single precision may err by
#: From the distance on the plane to the native latitude, radians (FITS WCS paper II, section 5.1).
_NATIVE: dict[str, Callable[[Numbers], Numbers]] = {
    "TAN": lambda r: np.arctan2(1.0, r),
    "SIN": np.arccos,
    "ARC": lambda r: np.pi / 2 - r,
    "STG": lambda r: np.pi / 2 - 2 * np.arctan(r / 2),
    "ZEA": lambda r: np.pi / 2 - 2 * np.arcsin(r / 2),
}
PROJECTIONS = tuple(_NATIVE)


def turned_round(starts: npt.NDArray[np.int64], numbers: Numbers, *, outside: bool) -> Numbers:
    """Orient polygons: corners counter-clockwise, seen from inside the sphere (the sky) or from outside (a body).

    Parameters
    ----------
    starts
        Where in `numbers` (lon, lat, lon, lat ..) each polygon begins, and the end; shape (n + 1,).
    numbers
        Lon, lat, lon, lat .. in degrees, shape (m,).
    outside
        True: as seen by somebody who looks at a body.

    Returns
    -------
    numbers
        The same corners, shape (m,).
    """
    return np.asarray(numbers.reshape(-1, 2)[corners_in_order(starts, numbers, outside=outside)].ravel(), np.float64)


def corners_in_order(starts: npt.NDArray[np.int64], numbers: Numbers, *, outside: bool) -> npt.NDArray[np.int64]:
    """Return where the corners of `turned_round` stand in what was given.

    Parameters
    ----------
    starts, numbers
        As for `turned_round`, shapes (n + 1,) and (m,).
    outside
        As for `turned_round`.

    Returns
    -------
    indexes
        Numbers of corners, shape (m / 2,).
    """
    wrong = wrong_way(starts, numbers, outside=outside, flat=0.0)
    return reversed_rows(np.asarray(starts, np.int64) // 2, wrong)


def wrong_way(
    starts: npt.NDArray[np.int64], numbers: Numbers, *, outside: bool, flat: float = FLAT
) -> npt.NDArray[np.bool_]:
    """Return which polygons run clockwise, seen from inside the sphere or from outside (see `turned_round`).

    Parameters
    ----------
    starts, numbers
        As for `turned_round`, shapes (n + 1,) and (m,).
    outside
        As for `turned_round`.
    flat
        The size below which a polygon has no way round, about steradians.

    Returns
    -------
    wrong
        Shape (n,).
    """
    pairs, first = np.asarray(numbers, np.float64).reshape(-1, 2), np.asarray(starts, np.int64) // 2
    sizes = np.diff(first)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = list(blocks(sizes, _BLOCK))
        found = spread(lambda part: _sides(pairs[first[part.start] : first[part.stop]], sizes[part], np.float32), parts)
        side = np.concatenate([np.empty(0), *found])  # single precision does for nearly all
    small = np.flatnonzero(~(np.abs(side) > _ROUNDED * sizes + flat))
    for part in blocks(sizes[small], _BLOCK):
        corner, _ = gathered(first, small[part])
        side[small[part]] = _sides(pairs[corner], sizes[small[part]], np.float64)
    wrong: npt.NDArray[np.bool_] = (side < -flat) if outside else (side > flat)
    return wrong


def _sides(pairs: Numbers, sizes: npt.NDArray[np.int64], kind: type[np.floating]) -> Numbers:
    """Tell to which side of their borders polygons lie, about steradians: above 0 they run counter-clockwise from outside."""
    found, some = np.zeros(len(sizes)), sizes > 0
    if some.any():
        offsets = ends(sizes[some])
        lam, phi = ((pairs[:, axis] * RADIAN).astype(kind) for axis in (0, 1))
        cos = np.cos(phi)
        a = (cos * np.cos(lam), cos * np.sin(lam), np.sin(phi))
        b = [following(offsets, one) for one in a]
        turns = [np.add.reduceat(a[k - 2] * b[k - 1] - a[k - 1] * b[k - 2], offsets[:-1]) for k in range(3)]
        middle = [np.add.reduceat(one, offsets[:-1]) for one in a]
        found[some] = sum(one * other for one, other in zip(turns, middle, strict=True)) / sizes[some]
    return found


def wcs_corners(
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
        lon, lat of four corners; shape (n, 8); NaN where a corner has no place on the sky, or the projection is none of these.
    """
    high = naxis + 0.5
    low = np.full(len(naxis), 0.5)
    pixels = np.stack(
        [np.stack([x, y], -1) for x, y in ((low, low), (high[:, 0], low), (high[:, 0], high[:, 1]), (low, high[:, 1]))],
        1,
    )
    plane = np.einsum("nij,nkj->nki", cd, pixels - crpix[:, None, :])
    x, y = plane[..., 0], plane[..., 1]
    r, phi = np.radians(np.hypot(x, y)), np.arctan2(x, -y)
    theta = np.full(r.shape, np.nan)
    with np.errstate(invalid="ignore"):
        for name in PROJECTIONS:
            rows = projection == name
            if rows.any():
                theta[rows] = _NATIVE[name](r[rows])
    lon0, lat0 = np.radians(crval[:, :1]), np.radians(crval[:, 1:])
    turn = phi - np.pi
    across = -np.cos(theta) * np.sin(turn)
    along = np.sin(theta) * np.cos(lat0) - np.cos(theta) * np.sin(lat0) * np.cos(turn)
    up = np.sin(theta) * np.sin(lat0) + np.cos(theta) * np.cos(lat0) * np.cos(turn)
    ahead = lon0 + np.arctan2(across, along)
    flat = np.hypot(across, along)
    lon, lat = angles(np.stack([flat * np.cos(ahead), flat * np.sin(ahead), up], -1))
    return np.stack([lon, lat], -1).reshape(len(naxis), 8)

"""Orient the polygons of outlines, and convert between pixels and positions of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._image_wcs import (
    ImageAxes,
    ImageWcs,
    ImageWcsError,
    build_image_wcs,
    compute_scale_matrix,
    find_header_number,
    identify_image_axes,
    parse_image_wcs,
)
from hven.model.sky._ragged_arrays import (
    compute_offsets,
    compute_reversed_indexes,
    gather_element_indexes,
    split_into_blocks,
    take_successor_values,
)
from hven.model.sky._sphere import RADIANS_PER_DEGREE
from hven.model.sky._thread_pool import map_in_threads

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

__all__ = [
    "ImageAxes",
    "ImageWcs",
    "ImageWcsError",
    "build_image_wcs",
    "compute_scale_matrix",
    "find_header_number",
    "find_oriented_corner_order",
    "identify_image_axes",
    "is_clockwise",
    "orient_polygons",
    "parse_image_wcs",
]

MIN_ORIENTED_AREA_STERADIANS = 1e-13  # a polygon without more area than this to one side has no orientation
_BLOCK_CORNERS = 1 << 15  # corners at a time
_ROUNDING_STERADIANS = 4e-6  # rounding error of single precision, for each corner


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

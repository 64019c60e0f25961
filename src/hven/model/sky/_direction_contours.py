"""Directions: contours as lists of angles on the observer's sky -> regions on the sphere, split where they cross themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._contour_faults import MAX_CONTOUR_PIXELS, ContourRegions, FaultRecorder
from hven.model.sky._disc_image import take_images
from hven.model.sky._geos import merge_enclosed_faces, to_ragged_arrays
from hven.model.sky._outlines import count_pieces, divide_edges
from hven.model.sky._ragged_arrays import compute_row_indexes, compute_successors
from hven.model.sky._regions import Regions

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky._disc_image import DiscImage

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]

LIMB_CORNERS = 7200
"""Of the polygon that stands for the limb in the plane; its sides are the limb itself on the sphere."""
LIMB_TOLERANCE_RADII = 2e-7
"""Radii below the limb that are taken for it: as far as the sides of that polygon come."""


def build_regions_from_directions(
    offsets: npt.ArrayLike,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    disc: DiscImage,
    *,
    width_arcseconds: float = 1.0,
    recorder: FaultRecorder | None = None,
) -> ContourRegions:
    """Make regions of contours that are lists of directions; inside is what they wind round.

    Parameters
    ----------
    offsets
        Where in `x` and `y` each contour begins, and the end; shape (n + 1,). The first direction may be repeated at
        the end.
    x, y
        Arcseconds from the centre of the disc, in the plane of the image, shape (m,).
    disc
        The images, one for each row, or one for all.
    width_arcseconds
        Lines and points become polygons so wide, arcseconds.
    recorder
        Rows that are known to have faults already.

    Returns
    -------
    contours
        A region or a fault for each row.
    """
    import shapely  # noqa: PLC0415  (0.1 s)

    offsets = np.asarray(offsets, dtype=np.int64)
    length = np.diff(offsets)
    rows = len(offsets) - 1
    row = np.repeat(np.arange(rows), length)
    recorder = recorder or FaultRecorder(rows)
    disc = take_images(disc, np.arange(rows))
    directions = np.asarray([x, y], dtype=np.float64)
    recorder.mark_rows("no_contour", length == 0)
    recorder.mark_rows("too_long", length >= MAX_CONTOUR_PIXELS, length)
    recorder.mark_rows("no_start", np.bincount(row, weights=~np.isfinite(directions).all(axis=0), minlength=rows) > 0)
    recorder.check_images(disc)
    good = recorder.fault[row] == 0
    row = row[good]
    u, v = disc.to_plane(
        row,
        *(
            disc_at[row] + a / scale[row]
            for disc_at, a, scale in zip(
                (disc.x, disc.y), directions[:, good], (disc.scale_x, disc.scale_y), strict=True
            )
        ),
    )
    shapes, minimal = _draw_polygons(row, np.stack([u, v], axis=1), rows, width_arcseconds / disc.radius)
    full_area = shapely.area(shapes)
    weights = u * u + v * v > 1.0 - LIMB_TOLERANCE_RADII
    reaches_limb = np.bincount(row, weights=weights, minlength=rows) > 0
    turn = np.arange(LIMB_CORNERS) * (2.0 * np.pi / LIMB_CORNERS)
    shapes[reaches_limb] = shapely.intersection(
        shapes[reaches_limb], shapely.polygons(np.stack([np.cos(turn), np.sin(turn)], axis=1))
    )
    area = np.where(recorder.fault > 0, 0.0, shapely.area(shapes))
    recorder.mark_rows("off_disc", area <= 0.0)
    clipped = np.where(reaches_limb & (recorder.fault == 0), 1.0 - area / np.maximum(full_area, 1e-300), 0.0)
    regions = _build_regions(shapes, disc, area)
    return ContourRegions(
        regions,
        np.zeros(rows, dtype=np.int64),
        np.where(clipped > 1e-9, clipped, 0.0),
        recorder.fault,
        recorder.number,
        minimal,
        np.zeros(rows, np.bool_),
    )


def _draw_polygons(row: Whole, places: Numbers, row_count: int, width: Numbers) -> tuple[Any, Any]:
    """Draw polygons in the plane; what has no area becomes a band, or a square."""
    import shapely  # noqa: PLC0415  (0.1 s)

    size = np.bincount(row, minlength=row_count)
    shapes = np.full(row_count, shapely.Polygon(), dtype=object)
    polygon_rows = np.flatnonzero(size >= 3)
    in_polygon = size[row] >= 3
    if len(polygon_rows):
        index = np.searchsorted(polygon_rows, row[in_polygon])
        shapes[polygon_rows] = shapely.polygons(shapely.linearrings(places[in_polygon], indices=index))
    crossed = np.flatnonzero(~shapely.is_valid(shapes))
    if len(crossed):  # what they wind round, whichever way
        xy, rings, parts, rings_of = to_ragged_arrays(shapes[crossed])
        shapes[crossed] = merge_enclosed_faces(xy, rings, parts, rings_of, np.zeros(len(rings) - 1, np.bool_), 0.0)
    minimal = (size > 0) & (shapely.area(shapes) <= 1e-14)
    lines = np.flatnonzero(minimal)
    first = np.searchsorted(row, np.arange(row_count))
    for at in lines:  # few
        line_points = places[first[at] : first[at] + size[at]]
        if np.ptp(line_points, axis=0).any():
            line = shapely.linestrings(line_points)
        else:
            line = shapely.points(line_points[0])
        shapes[at] = shapely.buffer(line, width[at] / 2.0, cap_style="square", join_style="mitre")
    return shapes, minimal


def _build_regions(shapes: Any, disc: DiscImage, area: Numbers) -> Regions:
    """Bring polygons of the plane onto the sphere."""
    import shapely  # noqa: PLC0415  (0.1 s)

    place, rings, parts, rows = to_ragged_arrays(shapely.orient_polygons(shapes))
    u, v = place.T
    center_distance = np.hypot(u, v)
    on = center_distance > 1.0 - LIMB_TOLERANCE_RADII
    center_distance = np.where(on, center_distance, 1.0)
    u = u / center_distance
    v = v / center_distance
    after = compute_successors(rings)
    row = compute_row_indexes(rings[parts[rows]])
    limb = on & on[after] & (np.hypot(u[after] - u, v[after] - v) < 8.0 / LIMB_CORNERS)
    angle, long, bend, points = disc.measure_edges(row, u, v, after, limb)
    piece_count = count_pieces(row, angle, long, bend, area)
    at, share, offsets = divide_edges(piece_count, rings)
    return Regions(*disc.locate_edge_points(row, u, v, after, limb, angle, points, at, share), offsets, parts, rows)

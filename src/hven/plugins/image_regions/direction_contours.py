"""Turn contours that are lists of angles on the observer's sky into regions on the sphere.

Contours that cross themselves are split there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import Regions
from hven.model.sky.api.ragged_arrays import compute_row_indexes, compute_successor_indexes
from hven.model.sky.api.ring_geometry import extract_ragged_polygon_arrays, merge_enclosed_faces
from hven.plugins.image_regions.contour_regions import MAX_CONTOUR_PIXELS, ContourFaultRecorder, ContourRegions
from hven.plugins.image_regions.disc_image import select_images
from hven.plugins.image_regions.outlines import count_edge_pieces, divide_edges

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.plugins.image_regions.disc_image import DiscImage

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]

LIMB_CORNERS = 7200
"""Corners of the polygon that stands for the limb in the plane; on the sphere, its sides are the limb itself."""
LIMB_TOLERANCE_RADII = 2e-7
"""Radii below the limb that count as the limb: the sides of that polygon come that far inside."""


def build_regions_from_arcsecond_outlines(
    offsets: npt.ArrayLike,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    disc: DiscImage,
    *,
    width_arcseconds: float = 1.0,
    recorder: ContourFaultRecorder | None = None,
) -> ContourRegions:
    """Make regions of contours that are lists of directions; inside is what a contour winds round.

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
        Width of the polygons that lines and points become, arcseconds.
    recorder
        Records the faults; rows that already have a fault keep it.

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
    recorder = recorder or ContourFaultRecorder(rows)
    disc = select_images(disc, np.arange(rows))
    directions = np.asarray([x, y], dtype=np.float64)
    recorder.mark_faulty_rows("no_contour", length == 0)
    recorder.mark_faulty_rows("too_long", length >= MAX_CONTOUR_PIXELS, length)
    is_infinite = ~np.isfinite(directions).all(axis=0)
    infinite_counts = np.bincount(row, weights=is_infinite, minlength=rows)
    recorder.mark_faulty_rows("no_start", infinite_counts > 0)
    recorder.mark_rows_of_invalid_images(disc)
    good = recorder.fault[row] == 0
    row = row[good]
    x_pixels = disc.x[row] + directions[0, good] / disc.scale_x[row]
    y_pixels = disc.y[row] + directions[1, good] / disc.scale_y[row]
    u, v = disc.to_plane(row, x_pixels, y_pixels)
    places = np.stack([u, v], axis=1)
    shapes, minimal = _build_plane_polygons(row, places, rows, width_arcseconds / disc.radius)
    full_area = shapely.area(shapes)
    is_beyond_limb = u * u + v * v > 1.0 - LIMB_TOLERANCE_RADII
    reaches_limb = np.bincount(row, weights=is_beyond_limb, minlength=rows) > 0
    turn = np.arange(LIMB_CORNERS) * (2.0 * np.pi / LIMB_CORNERS)
    limb_corners = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    limb_polygon = shapely.polygons(limb_corners)
    shapes[reaches_limb] = shapely.intersection(shapes[reaches_limb], limb_polygon)
    area = np.where(recorder.fault > 0, 0.0, shapely.area(shapes))
    recorder.mark_faulty_rows("off_disc", area <= 0.0)
    clipped_share = 1.0 - area / np.maximum(full_area, 1e-300)
    is_clipped = reaches_limb & (recorder.fault == 0)
    clipped = np.where(is_clipped, clipped_share, 0.0)
    regions = _project_polygons_to_regions(shapes, disc, area)
    return ContourRegions(
        regions,
        np.zeros(rows, dtype=np.int64),
        np.where(clipped > 1e-9, clipped, 0.0),
        recorder.fault,
        recorder.number,
        minimal,
        np.zeros(rows, np.bool_),
    )


def _build_plane_polygons(row: Whole, places: Numbers, row_count: int, width: Numbers) -> tuple[Any, Any]:
    """Draw polygons in the plane; a contour without an area becomes a band or a square."""
    import shapely  # noqa: PLC0415  (0.1 s)

    size = np.bincount(row, minlength=row_count)
    shapes = np.full(row_count, shapely.Polygon(), dtype=object)
    polygon_rows = np.flatnonzero(size >= 3)
    in_polygon = size[row] >= 3
    if len(polygon_rows):
        index = np.searchsorted(polygon_rows, row[in_polygon])
        linear_rings = shapely.linearrings(places[in_polygon], indices=index)
        shapes[polygon_rows] = shapely.polygons(linear_rings)
    crossed = np.flatnonzero(~shapely.is_valid(shapes))
    if len(crossed):  # the polygon is what the contour winds round, in either direction
        xy, rings, parts, rings_of = extract_ragged_polygon_arrays(shapes[crossed])
        is_inverted = np.zeros(len(rings) - 1, np.bool_)
        shapes[crossed] = merge_enclosed_faces(xy, rings, parts, rings_of, is_inverted=is_inverted, grid_size=0.0)
    minimal = (size > 0) & (shapely.area(shapes) <= 1e-14)
    lines = np.flatnonzero(minimal)
    first = np.searchsorted(row, np.arange(row_count))
    for number in lines:  # few
        line_points = places[first[number] : first[number] + size[number]]
        if np.ptp(line_points, axis=0).any():
            line = shapely.linestrings(line_points)
        else:
            line = shapely.points(line_points[0])
        shapes[number] = shapely.buffer(line, width[number] / 2.0, cap_style="square", join_style="mitre")
    return shapes, minimal


def _project_polygons_to_regions(shapes: Any, disc: DiscImage, area: Numbers) -> Regions:
    """Turn polygons of the plane into regions on the sphere."""
    import shapely  # noqa: PLC0415  (0.1 s)

    place, rings, parts, rows = extract_ragged_polygon_arrays(shapely.orient_polygons(shapes))
    u, v = place.T
    center_distance = np.hypot(u, v)
    on = center_distance > 1.0 - LIMB_TOLERANCE_RADII
    center_distance = np.where(on, center_distance, 1.0)
    u = u / center_distance
    v = v / center_distance
    after = compute_successor_indexes(rings)
    row = compute_row_indexes(rings[parts[rows]])
    chord = np.hypot(u[after] - u, v[after] - v)
    limb = on & on[after] & (chord < 8.0 / LIMB_CORNERS)
    angle, long, bend, points = disc.measure_edge_arcs(row, u, v, after, limb)
    piece_count = count_edge_pieces(row, angle, long, bend, area)
    at, share, offsets = divide_edges(piece_count, rings)
    lon, lat = disc.locate_edge_points(row, u, v, after, limb, angle=angle, points=points, point_edges=at, share=share)
    return Regions(lon, lat, offsets, parts, rows)

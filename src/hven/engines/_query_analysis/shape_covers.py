"""Cover constant shapes of a query by HEALPix cells, at an order that suits the size of the shape.

Polygons are covered here, by the same arithmetic that tests the rows, because `cdshealpix` 0.9 takes the outside for
the inside of some polygons that cross the meridian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import Circle, Moc, Polygon, Shape, healpix, sphere

if TYPE_CHECKING:
    import numpy.typing as npt

    Indexes = npt.NDArray[np.int64]

_CELL_RADIUS_DEGREES = 61.0  # times 2**-order: no corner is farther from the centre of its cell
_START_ORDER = 3  # order of the cells from which a large polygon is refined
_REFINEMENT_ORDERS = 1  # orders between the bounding circle of a small polygon and its cover


def cover_shape_with_cells(shape: Shape | Moc) -> Indexes:
    """Return ranges at order 29 that hold the shape: half-open, sorted, disjoint.

    Parameters
    ----------
    shape
        A shape in degrees, or a MOC.
    """
    if isinstance(shape, Moc):
        return shape.ranges
    if isinstance(shape, Circle):
        cone_order = healpix.choose_cone_order(max(shape.radius, 1e-7))
        return shape.cover_with_cells(cone_order)
    if isinstance(shape, Polygon):
        return cover_polygon(shape, choose_cover_order(shape))
    return shape.cover_with_cells(6)


def choose_cover_order(shape: Polygon) -> int:
    """Return the order of a polygon's cells.

    The cells suit the area, but a thin polygon has many along it, so its length limits how small they are.
    """
    area_radius = float(np.sqrt(shape.compute_area() / np.pi))
    return healpix.choose_cone_order(max(area_radius, float(shape.ring.max_vertex_distances[0]) / 16, 1e-4))


def cover_polygon(shape: Polygon, order: int) -> Indexes:
    """Return ranges at order 29 that hold a polygon.

    The cells of its bounding circle, or of the whole sky, are divided where the border of the polygon may pass.
    """
    ring = shape.ring
    ring_radius = float(ring.max_vertex_distances[0])
    if shape.compute_area() < sphere.SKY_AREA_SQUARE_DEGREES / 8.0 and ring_radius < 60.0:
        lon, lat = sphere.to_lon_lat(ring.mean_directions[0])
        depth = max(order - _REFINEMENT_ORDERS, 0)
        cone_ranges = healpix.cover_cone(float(lon), float(lat), ring_radius + 1e-9, depth)
        cell_ranges = cone_ranges >> 2 * (healpix.MAX_ORDER - depth)
        lengths = cell_ranges[:, 1] - cell_ranges[:, 0]
        cells_before = np.cumsum(lengths) - lengths
        cells = np.arange(int(lengths.sum())) + np.repeat(cell_ranges[:, 0] - cells_before, lengths)
    else:
        depth = min(order, _START_ORDER)
        cells = np.arange(12 << 2 * depth)
    range_arrays = []
    while True:
        lon, lat = healpix.compute_few_cell_centers(depth, cells)
        is_near = ring.is_near_boundary(lon, lat, _CELL_RADIUS_DEGREES / 2**depth)
        shift = 2 * (healpix.MAX_ORDER - depth)
        is_inside = np.full(len(cells), depth >= order)
        is_inside[~is_near] = ring.contains_points(lon[~is_near], lat[~is_near])
        inner_cells = cells[is_inside]
        range_arrays.append(np.stack([inner_cells << shift, (inner_cells + 1) << shift], axis=1))
        if depth >= order:
            return healpix.merge_ranges(np.concatenate(range_arrays))
        cells = (cells[is_near][:, None] * 4 + np.arange(4)).ravel()
        depth += 1

"""Which HEALPix cells a constant shape of a query may touch, at an order that suits its size.

Polygons are covered here, by the same arithmetic that tests the rows: `cdshealpix` 0.9 takes the outside for the inside
of some polygons that cross the meridian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import Circle, Moc, Polygon, Shape, healpix, sphere

if TYPE_CHECKING:
    import numpy.typing as npt

    Indexes = npt.NDArray[np.int64]

_CELL_RADIUS_DEGREES = 61.0  # degrees times 2**-order: no corner is farther from its cell's centre
_START_ORDER = 3  # the order from which a polygon that is no small one is refined
_REFINEMENT_ORDERS = 1  # orders between a polygon's bounding circle and its cover


def cover_shape(shape: Shape | Moc) -> Indexes:
    """Return ranges at order 29 that hold the shape: half-open, sorted, disjoint."""
    if isinstance(shape, Moc):
        return shape.ranges
    if isinstance(shape, Circle):
        cone_order = healpix.choose_cone_order(max(shape.radius, 1e-7))
        return shape.cover(cone_order)
    if isinstance(shape, Polygon):
        return cover_polygon(shape, choose_cover_order(shape))
    return shape.cover(6)


def choose_cover_order(shape: Polygon) -> int:
    """Return the order of a polygon's cells.

    These follow the area, but a thin one has many along it, so they are not made smaller than its length suggests.
    """
    return healpix.choose_cone_order(
        max(float(np.sqrt(shape.compute_area() / np.pi)), float(shape.ring.reach[0]) / 16, 1e-4)
    )


def cover_polygon(shape: Polygon, order: int) -> Indexes:
    """Cover a polygon: from its bounding circle, or from the whole sky, by cells that are halved where its border may pass."""
    ring = shape.ring
    if shape.compute_area() < sphere.SKY_AREA_SQUARE_DEGREES / 8.0 and float(ring.reach[0]) < 60.0:
        lon, lat = sphere.to_lon_lat(ring.mean[0])
        depth = max(order - _REFINEMENT_ORDERS, 0)
        cone_ranges = healpix.cover_cone(float(lon), float(lat), float(ring.reach[0]) + 1e-9, depth) >> 2 * (
            healpix.MAX_ORDER - depth
        )
        lengths = cone_ranges[:, 1] - cone_ranges[:, 0]
        cells = np.arange(int(lengths.sum())) + np.repeat(cone_ranges[:, 0] - np.cumsum(lengths) + lengths, lengths)
    else:
        depth = min(order, _START_ORDER)
        cells = np.arange(12 << 2 * depth)
    range_arrays = []
    while True:
        lon, lat = healpix.compute_cell_centers(depth, cells)
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

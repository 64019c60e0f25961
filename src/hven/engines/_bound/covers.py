"""Which HEALPix cells a constant shape of a query may touch, at an order that suits its size.

Polygons are covered here, by the same arithmetic that tests the rows: `cdshealpix` 0.9 takes the outside for the inside of some
polygons that cross the meridian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import Circle, Moc, Polygon, Shape, healpix, sphere

if TYPE_CHECKING:
    import numpy.typing as npt

    Indexes = npt.NDArray[np.int64]

_REACH = 61.0  # degrees times 2**-order: no corner is farther from its cell's centre
_COARSE = 3  # the order from which a polygon that is no small one is refined
_STEPS = 1  # orders between a polygon's bounding circle and its cover


def cover(shape: Shape | Moc) -> Indexes:
    """Return ranges at order 29 that hold the shape: half-open, sorted, disjoint."""
    if isinstance(shape, Moc):
        return shape.ranges
    if isinstance(shape, Circle):
        return shape.cover(healpix.order_for(max(shape.radius, 1e-7)))
    if isinstance(shape, Polygon):
        return polygon(shape, order_of(shape))
    return shape.cover(6)


def order_of(shape: Polygon) -> int:
    """Return the order of a polygon's cells: these follow the area, but a thin one has many along it, so they are not made smaller than its length suggests."""
    return healpix.order_for(max(float(np.sqrt(shape.area() / np.pi)), float(shape.ring.reach[0]) / 16, 1e-4))


def polygon(shape: Polygon, order: int) -> Indexes:
    """Cover a polygon: from its bounding circle, or from the whole sky, by cells that are halved where its border may pass."""
    ring = shape.ring
    if shape.area() < sphere.SKY / 8.0 and float(ring.reach[0]) < 60.0:
        lon, lat = sphere.angles(ring.mean[0])
        depth = max(order - _STEPS, 0)
        around = healpix.cone_ranges(float(lon), float(lat), float(ring.reach[0]) + 1e-9, depth) >> 2 * (
            healpix.ORDER - depth
        )
        lengths = around[:, 1] - around[:, 0]
        cells = np.arange(int(lengths.sum())) + np.repeat(around[:, 0] - np.cumsum(lengths) + lengths, lengths)
    else:
        depth = min(order, _COARSE)
        cells = np.arange(12 << 2 * depth)
    found = []
    while True:
        lon, lat = healpix.center(depth, cells)
        near = ring.near(lon, lat, _REACH / 2**depth)
        shift = 2 * (healpix.ORDER - depth)
        held = np.full(len(cells), depth >= order)
        held[~near] = ring.holds(lon[~near], lat[~near])
        whole = cells[held]
        found.append(np.stack([whole << shift, (whole + 1) << shift], axis=1))
        if depth >= order:
            return healpix.merge(np.concatenate(found))
        cells = (cells[near][:, None] * 4 + np.arange(4)).ravel()
        depth += 1

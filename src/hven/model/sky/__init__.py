"""Places on a sphere: shapes, MOCs, HEALPix covers, and the frames they are said in. All angles in degrees.

Import is light (numpy only); `healpix`, `moc`, `text`, `frame` and `arrays` are modules of this room.
"""

from __future__ import annotations

from hven.model.sky._moc import Moc
from hven.model.sky._relations import contains, intersects
from hven.model.sky.arrays import in_circle, in_polygon
from hven.model.sky.shapes import Box, Circle, Point, Polygon, Range, Region, Shape
from hven.model.sky.sphere import SKY, distance

__all__ = [
    "SKY",
    "Box",
    "Circle",
    "Moc",
    "Point",
    "Polygon",
    "Range",
    "Region",
    "Shape",
    "contains",
    "distance",
    "in_circle",
    "in_polygon",
    "intersects",
]

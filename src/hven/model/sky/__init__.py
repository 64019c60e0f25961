"""Places on a sphere: shapes, MOCs, HEALPix covers, and their frames. All angles are in degrees.

The import is light: it needs numpy and Arrow only. Some of the names are modules.
"""

from hven.model.sky import _bodies as bodies
from hven.model.sky import _contour_faults as contour_faults
from hven.model.sky import _footprints as footprints
from hven.model.sky import _frame as frames
from hven.model.sky import _healpix as healpix
from hven.model.sky import _planetary_frames as planetary_frames
from hven.model.sky import _polygon_arrays as polygon_arrays
from hven.model.sky import _q3c as q3c
from hven.model.sky import _region_files as region_files
from hven.model.sky import _shape_text as shape_text
from hven.model.sky import _sphere as sphere
from hven.model.sky import _time_scales as time_scales
from hven.model.sky._moc import Moc
from hven.model.sky._regions import Regions
from hven.model.sky._shape_relations import are_shapes_intersecting, has_shape_inside
from hven.model.sky._shapes import Box, Circle, Point, Polygon, Range, Shape, ShapeUnion, build_shape_from_array
from hven.model.sky._sphere import compute_angular_distance

__all__ = [
    "Box",
    "Circle",
    "Moc",
    "Point",
    "Polygon",
    "Range",
    "Regions",
    "Shape",
    "ShapeUnion",
    "are_shapes_intersecting",
    "bodies",
    "build_shape_from_array",
    "compute_angular_distance",
    "contour_faults",
    "footprints",
    "frames",
    "has_shape_inside",
    "healpix",
    "planetary_frames",
    "polygon_arrays",
    "q3c",
    "region_files",
    "shape_text",
    "sphere",
    "time_scales",
]

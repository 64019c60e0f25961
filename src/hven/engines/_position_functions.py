"""Functions that move positions along proper motions and from frame to frame; NULL in gives NULL out.

`hven.engines._sky_functions.FUNCTION_SIGNATURES` lists their types.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from hven.engines._engine_functions import to_single_array
from hven.model.sky import frames, sphere


def apply_proper_motion(*columns: Any) -> pa.Array:
    """Move positions (see `hven.model.sky.sphere.apply_space_motion`), and return them as lists of two numbers.

    Parameters
    ----------
    columns
        Longitude, latitude, years, proper motions in longitude and latitude, parallax, radial velocity.
    """
    lon, lat = sphere.apply_space_motion(*map(to_float_array, columns))
    offsets = np.arange(len(lon) + 1, dtype=np.int32) * 2
    coordinates = np.stack([lon, lat], axis=1).ravel()
    is_missing = ~np.isfinite(lon + lat)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(coordinates), mask=pa.array(is_missing))


def transform_shapes_to_frame(source_frame: Any, target_frame: Any, shapes: Any) -> pa.Array:
    """Transform shapes (lists: points, circles, polygons) from one frame into another.

    The names of the frames are the same in all rows.
    """
    shape_array = to_single_array(shapes)
    if not len(shape_array):
        return shape_array
    offsets = np.asarray(shape_array.offsets.to_numpy(), dtype=np.int64)
    numbers = to_float_array(shape_array.values)[offsets[0] : offsets[-1]].copy()
    starts = offsets - offsets[0]
    sizes = np.diff(starts)
    number_in_shape = np.arange(len(numbers)) - np.repeat(starts[:-1], sizes)
    # the third number of a circle is its radius, which stays
    has_latitude = number_in_shape + 1 < np.repeat(sizes, sizes)
    lon_places = np.flatnonzero((number_in_shape % 2 == 0) & has_latitude)
    source_name = to_single_array(source_frame)[0].as_py()
    target_name = to_single_array(target_frame)[0].as_py()
    lons, lats = frames.rotate_positions(numbers[lon_places], numbers[lon_places + 1], source_name, target_name)
    numbers[lon_places] = lons
    numbers[lon_places + 1] = lats
    return pa.ListArray.from_arrays(pa.array(starts.astype(np.int32)), pa.array(numbers))


def to_float_array(column: Any) -> Any:
    """Return a column as one numpy array of doubles."""
    return np.asarray(to_single_array(column).to_numpy(zero_copy_only=False), dtype=np.float64)

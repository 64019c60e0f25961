"""Functions that move positions: along proper motions, and from frame to frame. NULL in, NULL out.

See `_functions.SIGNATURES`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from hven.model.sky import frames, sphere


def apply_proper_motion(
    lon: Any, lat: Any, years: Any, pm_lon: Any, pm_lat: Any, parallax: Any, velocity: Any
) -> pa.Array:
    """Move positions (see `hven.model.sky.sphere.apply_space_motion`), and return them as lists of two."""
    columns = (lon, lat, years, pm_lon, pm_lat, parallax, velocity)
    lon, lat = sphere.apply_space_motion(
        *(np.asarray(_to_single_array(column).to_numpy(zero_copy_only=False), dtype=np.float64) for column in columns)
    )
    offsets = pa.array(np.arange(len(lon) + 1, dtype=np.int32) * 2)
    return pa.ListArray.from_arrays(
        offsets, pa.array(np.stack([lon, lat], axis=1).ravel()), mask=pa.array(~np.isfinite(lon + lat))
    )


def transform_frame(source: Any, target: Any, shapes: Any) -> pa.Array:
    """Transform shapes (lists: points, circles, polygons) from one frame into another.

    Both names are the same in all rows.
    """
    shape_array = _to_single_array(shapes)
    if not len(shape_array):
        return shape_array
    starts = np.asarray(shape_array.offsets.to_numpy(), dtype=np.int64)
    numbers = np.asarray(shape_array.values.to_numpy(zero_copy_only=False), dtype=np.float64)[
        starts[0] : starts[-1]
    ].copy()
    starts -= starts[0]
    shape_sizes = np.repeat(np.diff(starts), np.diff(starts))
    number_in_shape = np.arange(len(numbers)) - np.repeat(starts[:-1], np.diff(starts))
    # a circle's third number is its radius, which stays
    lons = np.flatnonzero((number_in_shape % 2 == 0) & (number_in_shape + 1 < shape_sizes))
    numbers[lons], numbers[lons + 1] = frames.rotate_positions(
        numbers[lons], numbers[lons + 1], _to_single_array(source)[0].as_py(), _to_single_array(target)[0].as_py()
    )
    return pa.ListArray.from_arrays(pa.array(starts.astype(np.int32)), pa.array(numbers))


def _to_single_array(column: Any) -> Any:
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks()

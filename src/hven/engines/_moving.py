"""Functions that move positions: along proper motions, and from frame to frame. NULL in, NULL out; see `_functions.SIGNATURES`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from hven.model.sky import frames, sphere


def along(lon: Any, lat: Any, years: Any, pm_lon: Any, pm_lat: Any, parallax: Any, velocity: Any) -> pa.Array:
    """Move positions (see `hven.model.sky.sphere.moved`), and return them as lists of two."""
    columns = (lon, lat, years, pm_lon, pm_lat, parallax, velocity)
    lon, lat = sphere.moved(
        *(np.asarray(_whole(column).to_numpy(zero_copy_only=False), dtype=np.float64) for column in columns)
    )
    offsets = pa.array(np.arange(len(lon) + 1, dtype=np.int32) * 2)
    return pa.ListArray.from_arrays(
        offsets, pa.array(np.stack([lon, lat], axis=1).ravel()), mask=pa.array(~np.isfinite(lon + lat))
    )


def between_frames(source: Any, target: Any, shapes: Any) -> pa.Array:
    """Transform shapes (lists: points, circles, polygons) from one frame into another; both names are the same in all rows."""
    whole = _whole(shapes)
    if not len(whole):
        return whole
    starts = np.asarray(whole.offsets.to_numpy(), dtype=np.int64)
    numbers = np.asarray(whole.values.to_numpy(zero_copy_only=False), dtype=np.float64)[starts[0] : starts[-1]].copy()
    starts -= starts[0]
    size = np.repeat(np.diff(starts), np.diff(starts))
    place = np.arange(len(numbers)) - np.repeat(starts[:-1], np.diff(starts))
    # a circle's third number is its radius, which stays
    lons = np.flatnonzero((place % 2 == 0) & (place + 1 < size))
    numbers[lons], numbers[lons + 1] = frames.turned(
        numbers[lons], numbers[lons + 1], _whole(source)[0].as_py(), _whole(target)[0].as_py()
    )
    return pa.ListArray.from_arrays(pa.array(starts.astype(np.int32)), pa.array(numbers))


def _whole(column: Any) -> Any:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

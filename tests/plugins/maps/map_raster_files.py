"""Rasters of Mars for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio


def write_raster(path: Path, values: np.ndarray, west: float) -> None:
    height, width = values.shape
    transform = rasterio.transform.from_bounds(west, -90, west + 360, 90, width, height)
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype="float32", crs="IAU_2015:49900",
        transform=transform, nodata=-9999,
    ) as dataset:  # fmt: skip
        dataset.write(values.astype("float32"), 1)

"""Cells of HEALPix that shapes cover: those of the regions of a column, and those that a query asks for."""

from __future__ import annotations

from hven.engines._region_cells import (
    compute_shape_cell_ranges,
    cover_regions_with_cells_and_caps,
    list_indexed_region_columns,
)

__all__ = [
    "compute_shape_cell_ranges",
    "cover_regions_with_cells_and_caps",
    "list_indexed_region_columns",
]

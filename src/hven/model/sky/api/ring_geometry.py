"""Rings of polygons: find those of outlines, and merge the faces that rings enclose."""

from __future__ import annotations

from hven.model.sky._geos import extract_ragged_polygon_arrays, merge_enclosed_faces
from hven.model.sky._outline_rings import split_and_rank_outline_rings

__all__ = [
    "extract_ragged_polygon_arrays",
    "merge_enclosed_faces",
    "split_and_rank_outline_rings",
]

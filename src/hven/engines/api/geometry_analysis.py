"""Shapes, distances and positions in the conditions of a bound query."""

from __future__ import annotations

from hven.engines._query_analysis.geometry import (
    ConstantShape,
    match_circle_parts,
    match_column_pair,
    match_distance_conditions,
    match_point_coordinates,
    match_point_in_shape,
    unwrap_shape_texts,
)
from hven.engines._query_analysis.shape_conditions import (
    has_null_position,
    match_position_in_shape,
    match_region_in_shape,
)
from hven.engines._query_analysis.shape_covers import cover_shape_with_cells

__all__ = [
    "ConstantShape",
    "cover_shape_with_cells",
    "has_null_position",
    "match_circle_parts",
    "match_column_pair",
    "match_distance_conditions",
    "match_point_coordinates",
    "match_point_in_shape",
    "match_position_in_shape",
    "match_region_in_shape",
    "unwrap_shape_texts",
]

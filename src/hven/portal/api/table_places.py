"""Places in the rows of tables: kinds of maps, footprints, bodies with their maps, and features of bodies by name."""

from __future__ import annotations

from hven.portal._explore.map_frames import (
    MapFrame,
    classify_table_map,
    find_footprint_column,
    find_map_frame,
)
from hven.portal._explore.place_names import (
    BODY_COLUMNS,
    complete_body_name,
    find_body_column,
    find_body_radius_km,
    find_features,
    find_single_body,
    has_positions_on_body,
    list_body_features,
    list_gazetteers,
    locate_place_name,
    recognize_gazetteer_table,
)
from hven.portal._explore.search import SearchCircle, find_position_columns
from hven.portal._pages.body_maps import has_installed_base_maps, list_base_maps

__all__ = [
    "BODY_COLUMNS",
    "MapFrame",
    "SearchCircle",
    "classify_table_map",
    "complete_body_name",
    "find_body_column",
    "find_body_radius_km",
    "find_features",
    "find_footprint_column",
    "find_map_frame",
    "find_position_columns",
    "find_single_body",
    "has_installed_base_maps",
    "has_positions_on_body",
    "list_base_maps",
    "list_body_features",
    "list_gazetteers",
    "locate_place_name",
    "recognize_gazetteer_table",
]

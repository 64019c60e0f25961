"""Places in the rows of tables: kinds of maps, bodies, and features of bodies by name."""

from __future__ import annotations

from hven.portal._explore.map_frames import classify_table_map
from hven.portal._explore.place_names import (
    find_body_column,
    find_body_radius_km,
    find_features,
    find_single_body,
    list_gazetteers,
    locate_place_name,
    recognize_gazetteer_table,
)

__all__ = [
    "classify_table_map",
    "find_body_column",
    "find_body_radius_km",
    "find_features",
    "find_single_body",
    "list_gazetteers",
    "locate_place_name",
    "recognize_gazetteer_table",
]

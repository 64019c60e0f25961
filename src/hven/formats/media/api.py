"""What readers of product files in plug-in packages use: stored arrays, numbers, units, maps of bodies, and errors."""

from __future__ import annotations

from hven.formats.media._map_projections import write_map_projection_cards
from hven.formats.media._number_types import MAX_INT64, VOTABLE_TYPES, format_arraysize
from hven.formats.media._product import MISSING_INSTANT
from hven.formats.media._spectral_axes import normalize_length_unit
from hven.formats.media._stored_arrays import ArrayLayout, convert_library_errors, read_window_values
from hven.formats.media._window_reads import compute_strides

__all__ = [
    "MAX_INT64",
    "MISSING_INSTANT",
    "VOTABLE_TYPES",
    "ArrayLayout",
    "compute_strides",
    "convert_library_errors",
    "format_arraysize",
    "normalize_length_unit",
    "read_window_values",
    "write_map_projection_cards",
]

"""What plug-in packages use of readers of product files: arrays, numbers, windows, units, maps of bodies, errors."""

from __future__ import annotations

from hven.formats.media._map_projections import write_map_projection_cards
from hven.formats.media._number_types import MAX_INT64, VOTABLE_TYPES, format_arraysize
from hven.formats.media._product import MISSING_INSTANT
from hven.formats.media._spectral_axes import normalize_length_unit
from hven.formats.media._stored_arrays import ArrayLayout, convert_library_errors, read_window_values
from hven.formats.media._table_selection import find_cut_bounds, list_cut_params
from hven.formats.media._window_reads import compute_strides, estimate_read_bytes, read_window

__all__ = [
    "MAX_INT64",
    "MISSING_INSTANT",
    "VOTABLE_TYPES",
    "ArrayLayout",
    "compute_strides",
    "convert_library_errors",
    "estimate_read_bytes",
    "find_cut_bounds",
    "format_arraysize",
    "list_cut_params",
    "normalize_length_unit",
    "read_window",
    "read_window_values",
    "write_map_projection_cards",
]

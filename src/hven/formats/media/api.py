"""What plug-in packages use of readers of product files: arrays, numbers, windows, units, maps of bodies, errors."""

from __future__ import annotations

from hven.formats.media._map_projections import (
    create_sky_mapping_builder,
    find_body_ctype_code,
    write_map_projection_cards,
)
from hven.formats.media._number_types import MAX_INT64, VOTABLE_TYPES, format_arraysize
from hven.formats.media._product import MISSING_INSTANT, Instants, ProductVariable, StoredHdu
from hven.formats.media._spectral_axes import STOKES_WORDS, normalize_length_unit
from hven.formats.media._stored_arrays import (
    MAX_UNPACKED_BYTES,
    ArrayLayout,
    convert_library_errors,
    copy_remote_file_to_disk,
    create_unpacked_size_error,
    read_window_values,
)
from hven.formats.media._table_times import create_time_converter, to_floats
from hven.formats.media._window_reads import compute_strides, estimate_read_bytes, read_window

__all__ = [
    "MAX_INT64",
    "MAX_UNPACKED_BYTES",
    "MISSING_INSTANT",
    "STOKES_WORDS",
    "VOTABLE_TYPES",
    "ArrayLayout",
    "Instants",
    "ProductVariable",
    "StoredHdu",
    "compute_strides",
    "convert_library_errors",
    "copy_remote_file_to_disk",
    "create_sky_mapping_builder",
    "create_time_converter",
    "create_unpacked_size_error",
    "estimate_read_bytes",
    "find_body_ctype_code",
    "format_arraysize",
    "normalize_length_unit",
    "read_window",
    "read_window_values",
    "to_floats",
    "write_map_projection_cards",
]

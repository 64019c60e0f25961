"""Rows on their way into a snapshot: keys of positions, order, types, primary keys."""

from __future__ import annotations

from hven.engines._key_matching import PrimaryKeyLookup, to_single_key_array
from hven.engines._row_order import find_row_order_column, take_rows_and_release_columns
from hven.engines._row_preparation import (
    MAX_REPORTED_KEYS,
    MISSING_KEY,
    build_duplicate_key_error,
    cast_batch_and_replace_nan,
    check_key_nulls,
    compute_position_keys,
    compute_stable_order,
)

__all__ = [
    "MAX_REPORTED_KEYS",
    "MISSING_KEY",
    "PrimaryKeyLookup",
    "build_duplicate_key_error",
    "cast_batch_and_replace_nan",
    "check_key_nulls",
    "compute_position_keys",
    "compute_stable_order",
    "find_row_order_column",
    "take_rows_and_release_columns",
    "to_single_key_array",
]

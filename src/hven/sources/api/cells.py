"""Cells of text that a source parses as values of a type, and why a text is no such value."""

from __future__ import annotations

from hven.model.literal import replace_nan_with_null
from hven.sources._reading.cells import (
    NULL_WORDS,
    is_parsable_cell_type,
    parse_cells,
    replace_null_markers,
    replace_null_words,
)
from hven.sources._reading.delimited import (
    build_rounding_deviation,
    explain_unparsable_text,
    explain_unparsable_value,
)
from hven.sources._reading.text_rows import Nulls, list_null_words
from hven.sources._reading.whole_numbers import (
    INT64_REASON,
    MAX_UINT64_DIGITS,
    build_int64_overflow_deviation,
    cast_integers_masking_overflow,
    has_values_beyond_int64,
)

__all__ = [
    "INT64_REASON",
    "MAX_UINT64_DIGITS",
    "NULL_WORDS",
    "Nulls",
    "build_int64_overflow_deviation",
    "build_rounding_deviation",
    "cast_integers_masking_overflow",
    "explain_unparsable_text",
    "explain_unparsable_value",
    "has_values_beyond_int64",
    "is_parsable_cell_type",
    "list_null_words",
    "parse_cells",
    "replace_nan_with_null",
    "replace_null_markers",
    "replace_null_words",
]

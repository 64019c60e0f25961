"""Cells of text that a source parses as values of a type, and why a text is no such value."""

from __future__ import annotations

from hven.sources._reading.cells import (
    NULL_WORDS,
    is_parsable_cell_type,
    parse_cells,
    replace_nan_with_null,
    replace_null_words,
)
from hven.sources._reading.delimited import (
    build_rounding_deviation,
    explain_unparsable_text,
    explain_unparsable_value,
)
from hven.sources._reading.text_rows import Nulls, list_null_words

__all__ = [
    "NULL_WORDS",
    "Nulls",
    "build_rounding_deviation",
    "explain_unparsable_text",
    "explain_unparsable_value",
    "is_parsable_cell_type",
    "list_null_words",
    "parse_cells",
    "replace_nan_with_null",
    "replace_null_words",
]

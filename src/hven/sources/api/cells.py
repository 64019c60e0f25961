"""Cells of text that a source parses as values of a type, and why a text is no such value."""

from __future__ import annotations

from hven.sources._reading.cells import is_parsable_cell_type, parse_cells, replace_nan_with_null
from hven.sources._reading.delimited import explain_unparsable_text

__all__ = ["explain_unparsable_text", "is_parsable_cell_type", "parse_cells", "replace_nan_with_null"]

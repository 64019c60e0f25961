"""Names of columns: regular identifiers, names of one position, and columns that links name."""

from __future__ import annotations

from hven.descriptor._columns import REGULAR_IDENTIFIER_PATTERN, rename_link_columns
from hven.descriptor._position_names import is_position_pair

__all__ = ["REGULAR_IDENTIFIER_PATTERN", "is_position_pair", "rename_link_columns"]

"""Names of columns: regular identifiers, names and UCDs of positions, and columns that links name."""

from __future__ import annotations

from hven.descriptor._columns import REGULAR_IDENTIFIER_PATTERN, rename_link_columns
from hven.descriptor._position_names import is_position_pair
from hven.descriptor.tables import find_position_columns

__all__ = ["REGULAR_IDENTIFIER_PATTERN", "find_position_columns", "is_position_pair", "rename_link_columns"]

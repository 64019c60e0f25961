"""Sections of descriptors with their keys, standards with their columns, and the limit of flags."""

from __future__ import annotations

from hven.descriptor._keys import (
    ATTRIBUTE_NAMES_BY_KEY,
    CollectionSection,
    ColumnGroupSection,
    ColumnSection,
    CoordinateFrameSection,
    ForeignKeySection,
    TableParamSection,
    TableSection,
)
from hven.descriptor._merging import (
    list_standards,
    map_standard_column_optionality,
    map_standard_column_units,
)
from hven.descriptor._quality_flags import MAX_FLAG_BIT

__all__ = [
    "ATTRIBUTE_NAMES_BY_KEY",
    "MAX_FLAG_BIT",
    "CollectionSection",
    "ColumnGroupSection",
    "ColumnSection",
    "CoordinateFrameSection",
    "ForeignKeySection",
    "TableParamSection",
    "TableSection",
    "list_standards",
    "map_standard_column_optionality",
    "map_standard_column_units",
]

"""Which values of shape columns are valid."""

from __future__ import annotations

import math

from hven.model.shape_columns import explain_invalid_region_text
from hven.model.table import Column


def is_shape(column: Column, value: object) -> bool:
    """Return whether a value of a shape column is valid; invalid values become missing."""
    kind = column.type.stored_xtype.adql if column.type.stored_xtype is not None else ""
    if kind == "REGION" and isinstance(value, str):
        return not explain_invalid_region_text(value)
    if kind not in {"CIRCLE", "POLYGON"} or not isinstance(value, list):
        return True
    if any(number is None or not math.isfinite(number) for number in value):
        return False
    if kind == "CIRCLE":
        return abs(value[1]) <= 90 and 0 <= value[2] <= 180
    return len(value) >= 6 and len(value) % 2 == 0 and all(abs(latitude) <= 90 for latitude in value[1::2])

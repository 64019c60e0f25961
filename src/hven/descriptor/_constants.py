"""Constants of ``set``: the text that stands in the file, typed by its column."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from hven.adql.syntax_tree import CastExpression, Expr, Literal
from hven.descriptor.written_yaml import DECIMAL_PATTERN, LocatedYamlScalar, detect_misleading_retyping
from hven.model.literal import to_portable_time_text

if TYPE_CHECKING:
    from hven.descriptor.value_schema import FaultCollector
    from hven.model.table import Column

_INTEGER_PATTERN = re.compile(r"[-+]?[0-9]+")
INTEGER_BOUNDS = {
    "unsignedByte": (0, 255),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
}
NULL_LITERAL = Literal(None)


def build_constant_literal(
    value: LocatedYamlScalar, column: Column, key_path: str, faults: FaultCollector
) -> Expr | None:
    """Convert a constant to a tree of this column's type; None after a fault."""
    if value.is_null:
        if column.required:
            message = f"{key_path}: the column must have a value"
            faults.add_error(message, value.place, "give the column a value, or remove 'required'")
        return NULL_LITERAL
    column_type = column.type
    if column_type.is_numeric:
        return _build_number_literal(value, column, key_path, faults)
    text = str(value)
    literal: Expr | None = None
    message, remedy = "", ""
    if column_type.is_string:
        literal = Literal(text)
    elif column_type.is_boolean:
        message = f"{key_path} must be true or false, not {text!r}"
        if text in {"true", "false"}:
            literal = Literal(text == "true")
    elif column_type.is_timestamp:
        message = f"{key_path} must be an ISO time, not {text!r}"
        remedy = "write 2026-11-20T09:30:00"
        time = to_portable_time_text(text)
        if time is not None:
            literal = CastExpression(Literal(time), "TIMESTAMP")
    else:
        message = f"{key_path}: a column of type {column_type} cannot be set to a constant"
        remedy = "use an expression under 'map': POINT(10, 20)"
    if literal is None:
        faults.add_error(message, value.place, remedy)
    return literal


def _build_number_literal(
    value: LocatedYamlScalar, column: Column, key_path: str, faults: FaultCollector
) -> Expr | None:
    column_type = column.type
    text = str(value)
    yaml_reading = detect_misleading_retyping(value)
    if yaml_reading is not None:
        remedy = ""
        if _INTEGER_PATTERN.fullmatch(text):
            remedy = f"write {int(text)}"
        message = f"{key_path} must be a number, but {value.page.format_name} reads `{text}` as {yaml_reading}"
        faults.add_error(message, value.place, remedy)
        return None
    if column_type.is_integer:
        if not _INTEGER_PATTERN.fullmatch(text):
            faults.add_error(f"{key_path} must be a whole number ({column_type}), not {text!r}", value.place)
            return None
        low, high = INTEGER_BOUNDS[column_type.datatype]
        if not low <= int(text) <= high:
            faults.add_error(f"{key_path}: {text} does not fit into {column_type} ({low} to {high})", value.place)
            return None
        return Literal(int(text))
    if not DECIMAL_PATTERN.fullmatch(text) or math.isinf(float(text)):
        faults.add_error(f"{key_path} must be a number ({column_type}), not {text!r}", value.place)
        return None
    return Literal(float(text))

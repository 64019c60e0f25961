"""Constants of ``set``: the text that stands in the file, typed by its column."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from hven.adql.tree import Cast, Expr, Literal
from hven.descriptor.written import DECIMAL, Written, retyped
from hven.model.literal import to_plain_time

if TYPE_CHECKING:
    from hven.descriptor.value_schema import Faults
    from hven.model.table import Column

_WHOLE = re.compile(r"[-+]?[0-9]+")
BOUNDS = {
    "unsignedByte": (0, 255),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
}
NULL = Literal(None)


def constant(value: Written, column: Column, what: str, faults: Faults) -> Expr | None:
    """Convert a constant to a tree of this column's type; None after a fault."""
    if value.is_null:
        if column.required:
            faults.error(f"{what}: the column must have a value", value.place, "give one, or take 'required' away")
        return NULL
    kind = column.type
    text = str(value)
    if kind.is_string:
        return Literal(text)
    if kind.is_numeric:
        return _number(value, column, what, faults)
    if kind.is_boolean:
        if text in {"true", "false"}:
            return Literal(text == "true")
        faults.error(f"{what} must be true or false, not {text!r}", value.place)
        return None
    if kind.is_timestamp:
        time = to_plain_time(text)
        if time is None:
            faults.error(f"{what} must be an ISO time, not {text!r}", value.place, "write 2026-11-20T09:30:00")
            return None
        return Cast(Literal(time), "TIMESTAMP")
    faults.error(
        f"{what}: a column of type {kind} cannot be set to a constant",
        value.place,
        "use an expression under 'map': POINT(10, 20)",
    )
    return None


def _number(value: Written, column: Column, what: str, faults: Faults) -> Expr | None:
    kind, text = column.type, str(value)
    found = retyped(value)
    if found is not None:
        remedy = f"write {int(text)}" if _WHOLE.fullmatch(text) else ""
        faults.error(f"{what} must be a number, but YAML reads {text} as {found}", value.place, remedy)
        return None
    if kind.is_integer:
        if not _WHOLE.fullmatch(text):
            faults.error(f"{what} must be a whole number ({kind}), not {text!r}", value.place)
            return None
        low, high = BOUNDS[kind.datatype]
        if not low <= int(text) <= high:
            faults.error(f"{what}: {text} does not fit into {kind} ({low} to {high})", value.place)
            return None
        return Literal(int(text))
    if not DECIMAL.fullmatch(text) or math.isinf(float(text)):
        faults.error(f"{what} must be a number ({kind}), not {text!r}", value.place)
        return None
    return Literal(float(text))

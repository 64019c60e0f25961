"""What kind of value a type is, and how numbers promote: the binder's arithmetic of types."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hven.model.types import FLOAT64, INT32, INT64, STRING, Type

if TYPE_CHECKING:
    from collections.abc import Sequence

GEOMETRY = frozenset({"point", "circle", "polygon", "range", "region", "moc"})
WORDS = {
    "number": "a number", "integer": "a whole number", "text": "a string", "time": "a timestamp", "boolean": "a boolean", "point": "a point",
    "circle": "a circle", "polygon": "a polygon", "range": "a range", "region": "a region", "moc": "a MOC", "interval": "an interval",
    "array": "an array", "numbers": "an array of numbers", "geometry": "a geometry", "any": "a value", "null": "NULL", "condition": "a condition",
}  # fmt: skip


@lru_cache(maxsize=1024)
def kind_of(type_: Type) -> str:
    """Give the kind: number, text, time, boolean, point, circle, polygon, range, region, moc, interval or array."""
    if type_.is_timestamp:
        return "time"
    special = type_.special
    if special is not None and special.adql in {"POINT", "CIRCLE", "POLYGON", "RANGE", "REGION", "MOC", "INTERVAL"}:
        return special.adql.lower()
    if type_.is_numeric:
        return "number"
    if type_.is_boolean:
        return "boolean"
    return "text" if type_.is_string else "array"


def wider(types: Sequence[Type]) -> Type:
    """Give the type that holds every number of these types; a long beside a float needs a double.

    Strings become ``char *`` (unicode if one of them is), arrays of numbers are as long as all are, or of any length; other types are as the first one.
    """
    first = types[0]
    if all(other == first for other in types):
        return first
    if all(item.is_numeric for item in types):
        ranks = [item.scalar.rank for item in types]
        top = max(ranks)
        if top == 5 and any(rank in {3, 4} for rank in ranks):  # float32 cannot hold 32 bits of an int
            return FLOAT64
        return next(Type(item.datatype) for item in types if item.scalar.rank == top)
    if all(item.is_string for item in types):
        return Type("unicodeChar", "*") if any(item.datatype == "unicodeChar" for item in types) else STRING
    if all(kind_of(item) == "array" and Type(item.datatype).is_numeric for item in types):
        return Type(
            wider([Type(item.datatype) for item in types]).datatype,
            first.arraysize if len({item.arraysize for item in types}) == 1 else "*",
        )
    return Type(first.datatype, "*", first.xtype) if first.xtype in {"polygon", "multiinterval"} else first


def sum_type(op: str, left: Type, right: Type) -> Type:
    """Give the type of ``left op right`` for numbers: whole numbers are computed in 64 bits, floats stay floats."""
    kind = wider((left, right))
    if op == "/" and kind.is_integer:
        return INT64 if kind.scalar.rank == 4 else INT32
    return INT64 if kind.is_integer else kind


def integral(value: int) -> Type:
    """Give the type of a whole-number literal: int, long, or (beyond 64 bits) double."""
    if -(2**31) <= value < 2**31:
        return INT32
    return INT64 if -(2**63) <= value < 2**63 else FLOAT64

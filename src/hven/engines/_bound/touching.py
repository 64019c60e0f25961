"""Conditions that compare the regions of a column with a shape or position of constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.engines._bound.constants import constant
from hven.engines._bound.geometry import ConstantShape, constant_shape, coordinates, touching
from hven.engines._bound.shapes import shape_of

if TYPE_CHECKING:
    from hven.adql.tree import Expr
    from hven.engines._bound.constants import Constant
    from hven.engines._bound.narrowable import Narrowable


def touched(
    condition: Expr, narrowable: Narrowable, number: int, free: frozenset[int]
) -> tuple[str, ConstantShape, Constant | None] | None:
    """Return the column of regions of the leaf `number`, the shape that they must touch, and what must be 1 when the plan runs."""
    found = touching(condition)
    if found is None:
        return None
    for here, there in (found[:2], found[1::-1]):
        column = narrowable.column(here)
        if column is None or column.column is None or column.source != number or not column.column.type.is_geometry:
            continue
        shape = compared(there, free)
        if shape is not None:
            return column.column.name, shape, constant(found[2], free)
    return None


def compared(expr: Expr, free: frozenset[int]) -> ConstantShape | None:
    """Return a shape or position of constants."""
    return constant_shape(expr, free) or _constant_point(expr, free)


def _constant_point(expr: Expr, free: frozenset[int]) -> ConstantShape | None:
    maker = shape_of(expr, free) if coordinates(expr) is not None else None
    return None if maker is None else ConstantShape("POINT", maker=maker)

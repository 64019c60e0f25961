"""Conditions that compare positions or regions of columns with shapes of constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.kinds import is_null
from hven.adql.tree import Cast
from hven.engines._bound.constants import constant
from hven.engines._bound.geometry import (
    ConstantShape,
    constant_shape,
    contained,
    coordinates,
    near,
    touching,
)
from hven.engines._bound.narrowable import position_of
from hven.engines._bound.shapes import shape_of

if TYPE_CHECKING:
    from hven.adql.tree import Expr
    from hven.engines._bound.constants import Constant
    from hven.engines._bound.narrowable import Narrowable


def located(
    condition: Expr, narrowable: Narrowable, number: int, free: frozenset[int]
) -> tuple[tuple[str, str], ConstantShape, Constant | None] | None:
    """Return the indexed position of the leaf `number`, the shape that it must lie in, and what must be 1 when the plan runs."""
    inside = contained(condition)
    if inside is not None:
        point, shape, one = inside
        found, columns = constant_shape(shape, free), position_of(narrowable, number, coordinates(point))
        return None if found is None or columns is None else (columns, found, constant(one, free))
    for first, second, limit, _ in near(condition, ("<", "<=", "=")):
        radius = constant(limit, free)
        for here, there in ((first, second), (second, first)):
            lon, lat = constant(there[0], free), constant(there[1], free)
            columns = position_of(narrowable, number, here)
            if radius is not None and lon is not None and lat is not None and columns is not None:
                return columns, ConstantShape("CIRCLE", (lon, lat, radius)), None
    return None


def placeless(condition: Expr) -> bool:
    """Return whether a condition asks where something lies that has no position: a member of a union without one."""
    inside = contained(condition)
    pair = None if inside is None else coordinates(inside[0])
    return pair is not None and any(is_null(part.operand if isinstance(part, Cast) else part) for part in pair)


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

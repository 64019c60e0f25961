"""Conditions that compare positions or regions of columns with shapes of constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.syntax_tree import Cast
from hven.adql.value_kinds import is_null
from hven.engines._query_analysis.constant_shapes import compile_shape
from hven.engines._query_analysis.constants import compile_constant
from hven.engines._query_analysis.geometry import (
    ConstantShape,
    match_constant_shape,
    match_distance_conditions,
    match_point_coordinates,
    match_point_in_shape,
    match_shape_predicate,
)
from hven.engines._query_analysis.narrowable_selects import match_indexed_position

if TYPE_CHECKING:
    from hven.adql.syntax_tree import Expr
    from hven.engines._query_analysis.constants import Constant
    from hven.engines._query_analysis.narrowable_selects import NarrowableSelect


def match_position_in_shape(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> tuple[tuple[str, str], ConstantShape, Constant | None] | None:
    """Return the indexed position of the leaf `table_number`, the shape that it must lie in, and what must be 1 when the plan runs."""
    point_in_shape = match_point_in_shape(condition)
    if point_in_shape is not None:
        point, shape, literal = point_in_shape
        shape_constant = match_constant_shape(shape, free_slots)
        columns = match_indexed_position(narrowable, table_number, match_point_coordinates(point))
        if shape_constant is None or columns is None:
            return None
        return (columns, shape_constant, compile_constant(literal, free_slots))
    for first, second, limit, _ in match_distance_conditions(condition, ("<", "<=", "=")):
        radius = compile_constant(limit, free_slots)
        for column_point, constant_point in ((first, second), (second, first)):
            lon = compile_constant(constant_point[0], free_slots)
            lat = compile_constant(constant_point[1], free_slots)
            columns = match_indexed_position(narrowable, table_number, column_point)
            if radius is not None and lon is not None and lat is not None and columns is not None:
                return columns, ConstantShape("CIRCLE", (lon, lat, radius)), None
    return None


def has_null_position(condition: Expr) -> bool:
    """Return whether a condition asks where something lies that has no position: a member of a union without one."""
    inside = match_point_in_shape(condition)
    if inside is None:
        pair = None
    else:
        pair = match_point_coordinates(inside[0])
    return pair is not None and any(is_null(part.operand if isinstance(part, Cast) else part) for part in pair)


def match_region_in_shape(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> tuple[str, ConstantShape, Constant | None] | None:
    """Return the column of regions of the leaf `table_number`, the shape that they must touch, and what must be 1 when the plan runs."""
    shape_predicate = match_shape_predicate(condition)
    if shape_predicate is None:
        return None
    for region_expression, shape_expression in (shape_predicate[:2], shape_predicate[1::-1]):
        column = narrowable.find_stored_column(region_expression)
        if (
            column is None
            or column.column is None
            or column.source != table_number
            or not column.column.type.is_geometry
        ):
            continue
        shape = match_shape_or_point(shape_expression, free_slots)
        if shape is not None:
            return column.column.name, shape, compile_constant(shape_predicate[2], free_slots)
    return None


def match_shape_or_point(expression: Expr, free_slots: frozenset[int]) -> ConstantShape | None:
    """Return a shape or position of constants."""
    return match_constant_shape(expression, free_slots) or _match_constant_point(expression, free_slots)


def _match_constant_point(expression: Expr, free_slots: frozenset[int]) -> ConstantShape | None:
    if match_point_coordinates(expression) is not None:
        maker = compile_shape(expression, free_slots)
    else:
        maker = None
    if maker is None:
        return None
    return ConstantShape("POINT", build_value=maker)

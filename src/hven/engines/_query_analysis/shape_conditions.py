"""Conditions that compare positions or regions of columns with shapes of constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.syntax_tree import CastExpression
from hven.adql.value_kinds import is_null_in_every_row
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
    """Match a condition that the indexed position of a table reference lies in a constant shape.

    Return the columns of the position, the shape, and the constant that must be 1 when the plan runs.

    Parameters
    ----------
    condition
        A bound condition.
    narrowable
        The SELECT with the condition.
    table_number
        Number of a reference.
    free_slots
        Slots of literals whose values are known only when the plan runs.

    Returns
    -------
    columns, shape, one
        Names of longitude and latitude, the shape, and the constant that must be 1 when the plan runs (None: there is
        none); None for other conditions.
    """
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
    """Return whether a condition tests a position that is NULL, as in a member of a union without positions.

    Parameters
    ----------
    condition
        A bound condition.
    """
    point_in_shape = match_point_in_shape(condition)
    if point_in_shape is None:
        return False
    coordinates = match_point_coordinates(point_in_shape[0]) or ()
    return any(is_null_in_every_row(part.operand if isinstance(part, CastExpression) else part) for part in coordinates)


def match_region_in_shape(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> tuple[str, ConstantShape, Constant | None] | None:
    """Match a condition that the regions of a table reference touch a constant shape.

    Parameters
    ----------
    condition
        A bound condition.
    narrowable
        The SELECT with the condition.
    table_number
        Number of a reference.
    free_slots
        Slots of literals whose values are known only when the plan runs.

    Returns
    -------
    column, shape, one
        Name of the column of regions, the shape, and the constant that must be 1 when the plan runs (None: there is
        none); None for other conditions.
    """
    shape_predicate = match_shape_predicate(condition)
    if shape_predicate is None:
        return None
    first_shape, second_shape, required_result = shape_predicate
    for region_expression, shape_expression in ((first_shape, second_shape), (second_shape, first_shape)):
        column_ref = narrowable.find_stored_column(region_expression)
        if column_ref is None or column_ref.column is None or column_ref.source != table_number:
            continue
        if not column_ref.column.type.is_geometry:
            continue
        shape = match_shape_or_point(shape_expression, free_slots)
        if shape is not None:
            return column_ref.column.name, shape, compile_constant(required_result, free_slots)
    return None


def match_shape_or_point(expression: Expr, free_slots: frozenset[int]) -> ConstantShape | None:
    """Match a constant shape or position; return None for other expressions."""
    return match_constant_shape(expression, free_slots) or _match_constant_point(expression, free_slots)


def _match_constant_point(expression: Expr, free_slots: frozenset[int]) -> ConstantShape | None:
    if match_point_coordinates(expression) is None:
        return None
    build_point = compile_shape(expression, free_slots)
    if build_point is None:
        return None
    return ConstantShape("POINT", build_value=build_point)

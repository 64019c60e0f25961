"""Match geometry in a bound tree: points of columns, and tests of one shape against another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import (
    BinaryOperation,
    CastExpression,
    ColumnRef,
    Comparison,
    Expr,
    FunctionCall,
    Literal,
    transform_tree,
)
from hven.engines._query_analysis.constant_shapes import (
    ConstantShape,
    list_shape_arguments,
    match_constant_shape,
    match_point_coordinates,
)
from hven.engines._query_analysis.constants import list_comparison_sides

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hven.adql.syntax_tree import BoundQuery

    Pair = tuple[Expr, Expr]

__all__ = [
    "ConstantShape",
    "list_shape_arguments",
    "match_circle_parts",
    "match_column_pair",
    "match_constant_shape",
    "match_distance_conditions",
    "match_distance_points",
    "match_point_coordinates",
    "match_point_in_shape",
    "match_shape_predicate",
    "unwrap_shape_texts",
]


SHAPE_PREDICATES = {"CONTAINS", "INTERSECTS"}
# words of STC-S before numbers in ICRS
STC_SHAPE_PREFIXES = {"Circle ICRS ", "Circle ", "Polygon ICRS ", "Polygon "}


def unwrap_shape_texts(bound_query: BoundQuery) -> BoundQuery:
    """Return the same query with shapes compared themselves, and not the texts that a view writes of them.

    Such a text is ``'Circle ICRS ' || CAST(c AS VARCHAR)``.

    Parameters
    ----------
    bound_query
        A bound query.
    """
    if SHAPE_PREDICATES.isdisjoint(bound_query.survey.function_names):
        return bound_query
    query = transform_tree(bound_query.query, _unwrap_predicate_arguments)
    if query is bound_query.query:
        return bound_query
    return replace(bound_query, query=query)


def _unwrap_predicate_arguments(node: Any) -> Any:
    if not isinstance(node, FunctionCall) or node.name not in SHAPE_PREDICATES:
        return node
    args = tuple(map(_unwrap_shape_text, node.args))
    if all(new_arg is old_arg for new_arg, old_arg in zip(args, node.args, strict=True)):
        return node
    return replace(node, args=args)


def _unwrap_shape_text(expression: Expr) -> Expr:
    """Return the shape whose text an expression is; otherwise return the expression."""
    if not isinstance(expression, BinaryOperation) or expression.op != "||":
        return expression
    prefix = expression.left
    cast = expression.right
    if (
        not isinstance(prefix, Literal)
        or prefix.value not in STC_SHAPE_PREFIXES
        or not isinstance(cast, CastExpression)
    ):
        return expression
    shape = cast.operand
    if isinstance(shape, ColumnRef) and shape.meta is not None and shape.meta.type.is_geometry:
        return shape
    return expression


def match_column_pair(expressions: tuple[Expr, Expr] | None) -> tuple[ColumnRef, ColumnRef] | None:
    """Return both expressions if they are columns, or else None.

    Parameters
    ----------
    expressions
        Longitude and latitude; None gives None.
    """
    if expressions is not None and isinstance(expressions[0], ColumnRef) and isinstance(expressions[1], ColumnRef):
        return expressions[0], expressions[1]
    return None


def match_distance_points(expression: Expr) -> tuple[tuple[Expr, Expr], tuple[Expr, Expr]] | None:
    """Return the two points of ``DISTANCE(p, q)`` or ``DISTANCE(lon, lat, lon, lat)``."""
    if not isinstance(expression, FunctionCall) or expression.name != "DISTANCE":
        return None
    args = expression.args
    if len(args) == 4:
        return (args[0], args[1]), (args[2], args[3])
    if len(args) == 2:
        first_point = match_point_coordinates(args[0])
        second_point = match_point_coordinates(args[1])
        if first_point is not None and second_point is not None:
            return first_point, second_point
    return None


def match_distance_conditions(
    condition: Expr, operators: Collection[str] = ("<", "<=")
) -> Iterator[tuple[Pair, Pair, Expr, str]]:
    """Yield the two points, the maximum distance in degrees and the sign of ``DISTANCE(p, q) < r``.

    The condition may also be ``r > DISTANCE(p, q)``.

    Parameters
    ----------
    condition
        A bound condition.
    operators
        The signs that count.
    """
    if isinstance(condition, Comparison):
        for call, sign, limit in list_comparison_sides(condition):
            points = match_distance_points(call)
            if points is not None and sign in operators:
                yield *points, limit, sign


def match_circle_parts(expression: Expr) -> tuple[Expr, Expr, Expr] | None:
    """Return longitude, latitude and radius of ``CIRCLE(..)``.

    Parameters
    ----------
    expression
        A bound expression.
    """
    if not isinstance(expression, FunctionCall) or expression.name != "CIRCLE":
        return None
    args = list_shape_arguments(expression)
    if len(args) == 3:
        return args[0], args[1], args[2]
    if len(args) == 2:
        centre = match_point_coordinates(args[0])
        if centre is not None:
            return *centre, args[1]
    return None


def match_shape_predicate(expression: Expr) -> tuple[Expr, Expr, Literal] | None:
    """Return the two shapes and the 1 of ``CONTAINS(a, b) = 1`` or ``INTERSECTS(a, b) = 1``.

    The shapes touch if either of them holds.
    """
    equality = _match_call_equality(expression)
    if equality is None:
        return None
    call, literal = equality
    if call.name not in SHAPE_PREDICATES or len(call.args) != 2:
        return None
    return call.args[0], call.args[1], literal


def _match_call_equality(expression: Expr) -> tuple[FunctionCall, Literal] | None:
    """Return the call and the literal of ``f(..) = 1`` or ``1 = f(..)``."""
    if not isinstance(expression, Comparison) or expression.op != "=":
        return None
    call = expression.left
    literal = expression.right
    if not isinstance(call, FunctionCall):
        call, literal = literal, call
    if not isinstance(call, FunctionCall) or not isinstance(literal, Literal):
        return None
    return call, literal


def match_point_in_shape(expression: Expr) -> tuple[Expr, Expr, Literal] | None:
    """Return point, shape and the 1 of ``CONTAINS(point, shape) = 1``, or of INTERSECTS in either order.

    The 1 may be a literal that another run of the plan replaces by 0, so callers must test it when the plan runs.

    Parameters
    ----------
    expression
        A bound condition.
    """
    equality = _match_call_equality(expression)
    if equality is None:
        return None
    call, literal = equality
    if call.name == "CONTAINS" and len(call.args) == 2:
        return call.args[0], call.args[1], literal
    if call.name == "INTERSECTS" and len(call.args) == 2:
        a, b = call.args
        if match_point_coordinates(a) is not None:
            return (a, b, literal)
        return (b, a, literal)
    return None

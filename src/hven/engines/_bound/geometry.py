"""Geometry in a bound tree: points made of columns, and the test of one shape against the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.tree import Binary, Cast, ColumnRef, Compare, Expr, Function, Literal, transform, walk
from hven.engines._bound.shapes import ConstantShape, arguments, constant_shape, coordinates

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hven.adql.tree import Bound

    Pair = tuple[Expr, Expr]

__all__ = [
    "ConstantShape",
    "arguments",
    "circle_parts",
    "column_pair",
    "constant_shape",
    "contained",
    "coordinates",
    "distance_points",
    "near",
    "sides",
    "told",
    "touching",
]

_MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "<>": "<>"}


TOUCH = {"CONTAINS", "INTERSECTS"}
WORDS = {
    f"{word} {frame}" for word in ("Circle", "Polygon") for frame in ("ICRS ", "")
}  # of STC-S, before numbers in ICRS


def told(bound: Bound) -> Bound:
    """Return the same query with shapes compared as they are, and not as the texts that a view writes of them: ``'Circle ICRS ' || CAST(c AS VARCHAR)``."""
    if not any(isinstance(node, Function) and node.name in TOUCH for node in walk(bound.query)):
        return bound
    query = transform(bound.query, _untold)
    return bound if query is bound.query else replace(bound, query=query)


def _untold(node: Any) -> Any:
    if not isinstance(node, Function) or node.name not in TOUCH:
        return node
    args = tuple(map(_shape, node.args))
    return node if all(one is other for one, other in zip(args, node.args, strict=True)) else replace(node, args=args)


def _shape(expr: Expr) -> Expr:
    """Return the shape of which an expression is the text, else the expression."""
    if not isinstance(expr, Binary) or not isinstance(expr.left, Literal) or not isinstance(expr.right, Cast):
        return expr
    shape = expr.right.operand
    known = expr.op == "||" and expr.left.value in WORDS and isinstance(shape, ColumnRef) and shape.meta is not None
    return shape if known and shape.meta is not None and shape.meta.type.is_geometry else expr


def column_pair(expr: tuple[Expr, Expr] | None) -> tuple[ColumnRef, ColumnRef] | None:
    """Return both as columns, if they are."""
    if expr is not None and isinstance(expr[0], ColumnRef) and isinstance(expr[1], ColumnRef):
        return expr[0], expr[1]
    return None


def distance_points(expr: Expr) -> tuple[tuple[Expr, Expr], tuple[Expr, Expr]] | None:
    """Return the two points of ``DISTANCE(p, q)`` or ``DISTANCE(lon, lat, lon, lat)``."""
    if not isinstance(expr, Function) or expr.name != "DISTANCE":
        return None
    args = expr.args
    if len(args) == 4:
        return (args[0], args[1]), (args[2], args[3])
    if len(args) == 2:
        one, two = coordinates(args[0]), coordinates(args[1])
        if one is not None and two is not None:
            return one, two
    return None


def sides(condition: Compare) -> tuple[tuple[Expr, str, Expr], tuple[Expr, str, Expr]]:
    """Return a comparison as it stands, and read from its other side: ``a < b``, ``b > a``."""
    left, right = condition.left, condition.right
    return (left, condition.op, right), (right, _MIRROR[condition.op], left)


def near(condition: Expr, signs: Collection[str] = ("<", "<=")) -> Iterator[tuple[Pair, Pair, Expr, str]]:
    """Yield the two points, their greatest distance in degrees and the sign of a condition that they are near: ``DISTANCE(p, q) < r``, or ``r > DISTANCE(p, q)``."""
    if isinstance(condition, Compare):
        for call, sign, limit in sides(condition):
            points = distance_points(call)
            if points is not None and sign in signs:
                yield *points, limit, sign


def circle_parts(expr: Expr) -> tuple[Expr, Expr, Expr] | None:
    """Return longitude, latitude and radius of ``CIRCLE(..)``."""
    if not isinstance(expr, Function) or expr.name != "CIRCLE":
        return None
    args = arguments(expr)
    if len(args) == 3:
        return args[0], args[1], args[2]
    if len(args) == 2:
        centre = coordinates(args[0])
        if centre is not None:
            return *centre, args[1]
    return None


def touching(expr: Expr) -> tuple[Expr, Expr, Literal] | None:
    """Return the two shapes and the 1 of ``CONTAINS(a, b) = 1`` or ``INTERSECTS(a, b) = 1``: either way the shapes touch."""
    if not isinstance(expr, Compare) or expr.op != "=":
        return None
    call, one = (expr.left, expr.right) if isinstance(expr.left, Function) else (expr.right, expr.left)
    if (
        isinstance(call, Function)
        and isinstance(one, Literal)
        and call.name in {"CONTAINS", "INTERSECTS"}
        and len(call.args) == 2
    ):
        return call.args[0], call.args[1], one
    return None


def contained(expr: Expr) -> tuple[Expr, Expr, Literal] | None:
    """Return point, shape and the 1 of ``CONTAINS(point, shape) = 1``, or of INTERSECTS, either way round.

    The 1 may be a literal that another run of the plan replaces by 0: whoever uses this looks at it again then.
    """
    if not isinstance(expr, Compare) or expr.op != "=":
        return None
    call, one = (expr.left, expr.right) if isinstance(expr.left, Function) else (expr.right, expr.left)
    if not isinstance(call, Function) or not isinstance(one, Literal):
        return None
    if call.name == "CONTAINS" and len(call.args) == 2:
        return call.args[0], call.args[1], one
    if call.name == "INTERSECTS" and len(call.args) == 2:
        a, b = call.args
        return (a, b, one) if coordinates(a) is not None else (b, a, one)
    return None

"""Geometry in a bound tree: points made of columns, and the test of one shape against the other."""

from __future__ import annotations

from hven.adql.tree import ColumnRef, Compare, Expr, Function, Literal
from hven.engines._bound.shapes import ConstantShape, arguments, constant_shape, coordinates

__all__ = [
    "MIRROR",
    "ConstantShape",
    "arguments",
    "circle_parts",
    "column_pair",
    "constant_shape",
    "contained",
    "coordinates",
    "distance_points",
    "touching",
]

MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "<>": "<>"}


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

"""Geometry in a bound tree: points made of columns, shapes made of constants, and the test of one against the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql.tree import ColumnRef, Compare, Expr, Function, Literal
from hven.engines.duckdb.constants import constant, is_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines.duckdb.constants import Constant
    from hven.sky import Moc, Shape

MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "<>": "<>"}


def arguments(call: Function) -> tuple[Expr, ...]:
    """Give the arguments of a geometry function without the deprecated coordinate system."""
    return call.args[1:] if call.args and is_text(call.args[0]) else call.args


def coordinates(expr: Expr) -> tuple[Expr, Expr] | None:
    """Give longitude and latitude of ``POINT(lon, lat)``."""
    if isinstance(expr, Function) and expr.name == "POINT":
        args = arguments(expr)
        if len(args) == 2:
            return args[0], args[1]
    return None


def column_pair(expr: tuple[Expr, Expr] | None) -> tuple[ColumnRef, ColumnRef] | None:
    """Give both as columns, if they are."""
    if expr is not None and isinstance(expr[0], ColumnRef) and isinstance(expr[1], ColumnRef):
        return expr[0], expr[1]
    return None


def distance_points(expr: Expr) -> tuple[tuple[Expr, Expr], tuple[Expr, Expr]] | None:
    """Give the two points of ``DISTANCE(p, q)`` or ``DISTANCE(lon, lat, lon, lat)``."""
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
    """Give longitude, latitude and radius of ``CIRCLE(..)``."""
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


@dataclass(frozen=True, slots=True)
class ConstantShape:
    """A shape whose numbers are known when the plan runs. `kind`: CIRCLE, BOX, POLYGON, or MOC (of its text)."""

    kind: str
    numbers: tuple[Constant, ...]

    def make(self, values: Sequence[float | str | None]) -> Shape | Moc | None:
        """Make the shape; None if it is none (the engine then says what is wrong with it)."""
        from hven.sky import Box, Circle, Moc, Polygon

        if self.kind == "MOC":
            return Moc.parse(str(self.numbers[0](values)))  # the binder has read it once
        numbers = []
        for number in self.numbers:
            value = number(values)
            if not isinstance(value, int | float):
                return None
            numbers.append(float(value))
        try:
            if self.kind == "CIRCLE":
                return Circle(*numbers)
            if self.kind == "BOX":
                return Box(*numbers)
            return Polygon(tuple(numbers[::2]), tuple(numbers[1::2]))
        except (ValueError, ArithmeticError):
            return None


def constant_shape(expr: Expr, free: frozenset[int]) -> ConstantShape | None:
    """Recognise a shape of constants."""
    if isinstance(expr, Function) and expr.name == "MOC" and len(expr.args) == 1 and is_text(expr.args[0]):
        text = constant(expr.args[0], free)
        return None if text is None else ConstantShape("MOC", (text,))
    if not isinstance(expr, Function) or expr.name not in {"CIRCLE", "BOX", "POLYGON"}:
        return None
    flat: list[Expr] = []
    for arg in arguments(expr):
        point = coordinates(arg)
        flat += [arg] if point is None else list(point)
    if len(flat) != {"CIRCLE": 3, "BOX": 4}.get(expr.name, len(flat)) or len(flat) % 2 != (expr.name == "CIRCLE") or len(flat) < 3:
        return None
    numbers = [constant(item, free) for item in flat]
    found = tuple(number for number in numbers if number is not None)
    return ConstantShape(expr.name, found) if len(found) == len(numbers) else None


def contained(expr: Expr) -> tuple[Expr, Expr, Literal] | None:
    """Give point, shape and the 1 of ``CONTAINS(point, shape) = 1``, or of INTERSECTS, either way round.

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

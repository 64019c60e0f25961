"""Constant expressions of a bound tree: recognised when a plan is made, computed when it runs with its literals."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from hven.adql.tree import Binary, Cast, Expr, Literal, Unary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Value: TypeAlias = float | str | None
    Constant: TypeAlias = Callable[[Sequence[Value]], Value]


def constant(expr: Expr, free: frozenset[int]) -> Constant | None:
    """Give a function of the plan's literals that computes `expr`; None if it depends on anything else.

    Only what every engine computes alike is taken: literals, signs, sums, differences, products, and quotients that are not
    of two whole numbers.
    """
    if isinstance(expr, Literal):
        if expr.slot in free:
            slot = expr.slot
            return lambda values: values[slot]
        fixed = expr.value
        return lambda _: fixed
    if isinstance(expr, Cast) and expr.target == "TIMESTAMP" and is_text(expr.operand):
        return constant(expr.operand, free)  # who compares it with timestamps reads the text
    if isinstance(expr, Unary) and expr.op in "+-":
        inner = constant(expr.operand, free)
        if inner is None or is_text(expr.operand):
            return None
        sign = -1 if expr.op == "-" else 1
        return lambda values: None if (value := inner(values)) is None else sign * _number(value)
    if isinstance(expr, Binary) and expr.op in "+-*/":
        left, right = constant(expr.left, free), constant(expr.right, free)
        if left is None or right is None or not (_is_float(expr.left) or _is_float(expr.right)):
            return None
        return _arithmetic(expr.op, left, right)
    return None


def _arithmetic(op: str, left: Constant, right: Constant) -> Constant:
    def compute(values: Sequence[Value]) -> Value:
        one, two = left(values), right(values)
        if one is None or two is None:
            return None
        a, b = float(one), float(two)
        if op == "+":
            return a + b
        if op == "-":
            return a - b
        if op == "*":
            return a * b
        return a / b if b else None

    return compute


def _number(value: float | str) -> float:
    return value if isinstance(value, int | float) else float(value)


def is_text(expr: Expr) -> bool:
    """Say whether an expression is a string literal."""
    return isinstance(expr, Literal) and isinstance(expr.value, str)


def _is_float(expr: Expr) -> bool:
    if isinstance(expr, Literal):
        return isinstance(expr.value, float)
    if isinstance(expr, Unary):
        return _is_float(expr.operand)
    return isinstance(expr, Binary) and (_is_float(expr.left) or _is_float(expr.right))

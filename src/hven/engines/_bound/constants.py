"""Constant expressions of a bound tree: recognised when a plan is made, computed when it runs with its literals."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hven.adql.tree import Binary, Cast, Expr, Function, Literal, LiteralList, Unary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Value: TypeAlias = float | str | None
    Constant: TypeAlias = Callable[[Sequence[Value]], Value]
    Listed: TypeAlias = Callable[[Sequence[Value]], list[Any]]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (stored timestamps have no zone: DALI says UTC)


def constant(expr: Expr, free: frozenset[int]) -> Constant | None:
    """Return a function of the plan's literals that computes `expr`; None if it depends on anything else.

    Only what every engine computes alike is taken: literals, signs, arithmetic that cannot leave 64 bits, the mathematical functions,
    sexagesimal text, and coordinates of points that are constants themselves.
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
        if left is None or right is None:
            return None
        if _is_float(expr.left) or _is_float(expr.right):
            return _arithmetic(expr.op, left, right)
        return None if _bits(expr) > _LONG else _whole(expr.op, left, right)
    if isinstance(expr, Cast) and expr.target == "DOUBLE PRECISION" and not is_text(expr.operand):
        number = constant(expr.operand, free)
        return None if number is None else lambda values: None if (value := number(values)) is None else float(value)
    return _call(expr, free) if isinstance(expr, Function) else None


def _call(expr: Function, free: frozenset[int]) -> Constant | None:
    """Compute a function of constants."""
    if expr.name in CALLS:
        return CALLS[expr.name](expr, free)
    function = _FUNCTIONS.get(expr.name)
    args = [constant(arg, free) for arg in expr.args]
    known = [arg for arg in args if arg is not None]
    if function is None or len(known) < len(args):
        return None
    text = expr.name in _TEXTS

    def compute(values: Sequence[Value]) -> Value:
        given = [arg(values) for arg in known]
        if any(value is None for value in given):
            return None
        try:
            return function(*(value if text else float(value) for value in given if value is not None))
        except (ValueError, ArithmeticError):
            return None  # a function that is not defined there: NULL

    return compute


#: Functions of shapes, which `shapes` knows: name -> what computes a call of constants.
CALLS: Final[dict[str, Callable[[Function, frozenset[int]], Constant | None]]] = {}

_SEXAGESIMAL: Final = (
    re.compile(
        r"\s*([+-]?)\s*(\d{1,3})\s*[:hHdD\xB0\s]\s*(\d{1,2}(?:\.\d*)?)\s*(?:[:mM'\u2032\s]\s*(\d{1,2}(?:\.\d*)?)?\s*[sS\"\u2033]?)?\s*",
        re.ASCII,
    ),
    re.compile(r"\s*([+-]?)(\d{2,3})(\d{2})(\d{2}(?:\.\d*)?)\s*", re.ASCII),
)


def _sexagesimal(text: float | str) -> float | None:
    """Read degrees or hours as the engines do: 60 as the last number carries over."""
    found = _SEXAGESIMAL[0].fullmatch(str(text)) or _SEXAGESIMAL[1].fullmatch(str(text))
    if found is None:
        return None
    minutes, seconds = float(found[3]), float(found[4] or 0)
    if minutes > 60 or seconds > 60 or (minutes == 60 and found[4]):
        return None
    return (-1 if found[1] == "-" else 1) * (float(found[2]) + minutes / 60 + seconds / 3600)


def _hours(text: float | str) -> float | None:
    degrees = _sexagesimal(text)
    return None if degrees is None else 15 * degrees


_TEXTS: Final = frozenset({"IVO_HMS_TO_DEGREES", "IVO_DMS_TO_DEGREES"})
_FUNCTIONS: Final[dict[str, Callable[..., float | None]]] = {
    "PI": lambda: math.pi, "SQRT": math.sqrt, "EXP": math.exp, "LOG": math.log, "LOG10": math.log10, "POWER": math.pow, "RADIANS": math.radians,
    "DEGREES": math.degrees, "SIN": math.sin, "COS": math.cos, "TAN": math.tan, "ASIN": math.asin, "ACOS": math.acos, "ATAN": math.atan,
    "ATAN2": math.atan2, "IVO_HMS_TO_DEGREES": _hours, "IVO_DMS_TO_DEGREES": _sexagesimal,
}  # fmt: skip
_LONG: Final = 63


def _bits(expr: Expr) -> int:
    """Return the number of bits that whole-number arithmetic may need, whatever the literals of the plan."""
    if isinstance(expr, Unary):
        return _bits(expr.operand)
    if isinstance(expr, Binary) and expr.op in "+-*/":
        one, two = _bits(expr.left), _bits(expr.right)
        return one + two if expr.op == "*" else one if expr.op == "/" else max(one, two) + 1
    if isinstance(expr, Literal) and isinstance(expr.value, int):
        return 31 if abs(expr.value) < 2**31 else 64
    return 64


def _whole(op: str, left: Constant, right: Constant) -> Constant:
    def compute(values: Sequence[Value]) -> Value:
        given = left(values), right(values)
        if given[0] is None or given[1] is None:
            return None
        one, two = int(given[0]), int(given[1])
        if op == "+":
            return one + two
        if op == "-":
            return one - two
        if op == "*":
            return one * two
        return None if not two else abs(one) // abs(two) * (1 if (one < 0) == (two < 0) else -1)

    return compute


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
    """Return whether an expression is a string literal."""
    return isinstance(expr, Literal) and isinstance(expr.value, str)


def _is_float(expr: Expr) -> bool:
    if isinstance(expr, Literal):
        return isinstance(expr.value, float)
    if isinstance(expr, Unary):
        return _is_float(expr.operand)
    if isinstance(expr, Function) or (isinstance(expr, Cast) and expr.target == "DOUBLE PRECISION"):
        return True  # those that are taken for constants give doubles
    return isinstance(expr, Binary) and (_is_float(expr.left) or _is_float(expr.right))


def listed(choices: Sequence[Expr], free: frozenset[int]) -> Listed | None:
    """Return a function of the plan's literals that gives the values of a list; None if one of them is no constant."""
    if isinstance(choices, LiteralList):
        own_values = list(choices.values)
        return lambda _: own_values
    if all(type(choice) is Literal for choice in choices):
        places = [choice.slot if choice.slot in free else -1 for choice in choices]  # type: ignore[attr-defined]
        fixed = [choice.value for choice in choices]  # type: ignore[attr-defined]
        return lambda values: [values[place] if place >= 0 else own for place, own in zip(places, fixed, strict=True)]
    among = [constant(choice, free) for choice in choices]
    found = [item for item in among if item is not None]
    return (lambda values: [item(values) for item in found]) if len(found) == len(among) else None


def microseconds(value: object) -> int | None:
    """Read an ISO timestamp (DALI 1.1 section 3.3.3) as microseconds since 1970; None if it is something else."""
    if isinstance(value, str):
        text = value.strip()
        try:
            value = datetime.fromisoformat(text.removesuffix("Z"))
        except ValueError:
            return None
        # only what every engine reads alike: YYYY-MM-DD[Thh:mm:ss[.f]]
        if not (
            len(text) >= 10
            and text[4] == text[7] == "-"
            and value.tzinfo is None
            and (len(text) == 10 or len(text) >= 19)
        ):
            return None
    if isinstance(value, datetime) and value.tzinfo is None:
        past = value - _EPOCH
        return (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds
    if isinstance(value, date) and not isinstance(value, datetime):
        return (value - _EPOCH.date()).days * 86_400_000_000
    return None

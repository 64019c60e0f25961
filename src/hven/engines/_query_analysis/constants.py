"""Constant expressions of a bound tree: recognised when a plan is made, computed when it runs with its literals."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hven.adql.syntax_tree import BinaryOperation, Cast, Expr, FunctionCall, Literal, LiteralList, UnaryOperation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Value: TypeAlias = float | str | None
    Constant: TypeAlias = Callable[[Sequence[Value]], Value]
    Listed: TypeAlias = Callable[[Sequence[Value]], list[Any]]

_UNIX_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (stored timestamps have no zone: DALI says UTC)


def compile_constant(expression: Expr, free_slots: frozenset[int]) -> Constant | None:
    """Return a function of the plan's literals that computes `expression`; None if it depends on anything else.

    Only what every engine computes alike is taken: literals, signs, arithmetic that cannot leave 64 bits, the
    mathematical functions, sexagesimal text, and coordinates of points that are constants themselves.
    """
    if isinstance(expression, Literal):
        if expression.slot in free_slots:
            slot = expression.slot
            return lambda values: values[slot]
        fixed = expression.value
        return lambda _: fixed
    if isinstance(expression, Cast) and expression.target == "TIMESTAMP" and is_text(expression.operand):
        return compile_constant(expression.operand, free_slots)  # who compares it with timestamps reads the text
    if isinstance(expression, UnaryOperation) and expression.op in "+-":
        operand = compile_constant(expression.operand, free_slots)
        if operand is None or is_text(expression.operand):
            return None
        if expression.op == "-":
            sign = -1
        else:
            sign = 1
        return lambda values: None if (value := operand(values)) is None else sign * _to_number(value)
    if isinstance(expression, BinaryOperation) and expression.op in "+-*/":
        left_operand = compile_constant(expression.left, free_slots)
        right_operand = compile_constant(expression.right, free_slots)
        if left_operand is None or right_operand is None:
            return None
        if _is_float(expression.left) or _is_float(expression.right):
            return _compile_float_arithmetic(expression.op, left_operand, right_operand)
        if _count_integer_bits(expression) > _MAX_INTEGER_BITS:
            return None
        return _compile_integer_arithmetic(expression.op, left_operand, right_operand)
    if isinstance(expression, Cast) and expression.target == "DOUBLE PRECISION" and not is_text(expression.operand):
        number = compile_constant(expression.operand, free_slots)
        if number is None:
            return None
        return lambda values: None if (value := number(values)) is None else float(value)
    if isinstance(expression, FunctionCall):
        return _compile_function_call(expression, free_slots)
    return None


def _compile_function_call(expression: FunctionCall, free_slots: frozenset[int]) -> Constant | None:
    """Compute a function of constants."""
    if expression.name in SHAPE_FUNCTION_COMPILERS:
        return SHAPE_FUNCTION_COMPILERS[expression.name](expression, free_slots)
    function = _CONSTANT_FUNCTIONS.get(expression.name)
    args = [compile_constant(arg, free_slots) for arg in expression.args]
    argument_constants = [arg for arg in args if arg is not None]
    if function is None or len(argument_constants) < len(args):
        return None
    takes_text = expression.name in _TEXT_FUNCTIONS

    def compute_call(literal_values: Sequence[Value]) -> Value:
        argument_values = [arg(literal_values) for arg in argument_constants]
        if any(value is None for value in argument_values):
            return None
        try:
            return function(*(value if takes_text else float(value) for value in argument_values if value is not None))
        except (ValueError, ArithmeticError):
            return None  # a function that is not defined there: NULL

    return compute_call


#: Functions of shapes, which `shapes` knows: name -> what computes a call of constants.
SHAPE_FUNCTION_COMPILERS: Final[dict[str, Callable[[FunctionCall, frozenset[int]], Constant | None]]] = {}

_SEXAGESIMAL_PATTERNS: Final = (
    re.compile(
        r"\s*([+-]?)\s*(\d{1,3})\s*[:hHdD\xB0\s]\s*(\d{1,2}(?:\.\d*)?)\s*(?:[:mM'\u2032\s]\s*(\d{1,2}(?:\.\d*)?)?\s*[sS\"\u2033]?)?\s*",
        re.ASCII,
    ),
    re.compile(r"\s*([+-]?)(\d{2,3})(\d{2})(\d{2}(?:\.\d*)?)\s*", re.ASCII),
)


def _parse_sexagesimal(text: float | str) -> float | None:
    """Read degrees or hours as the engines do: 60 as the last number carries over."""
    match = _SEXAGESIMAL_PATTERNS[0].fullmatch(str(text)) or _SEXAGESIMAL_PATTERNS[1].fullmatch(str(text))
    if match is None:
        return None
    minutes = float(match[3])
    seconds = float(match[4] or 0)
    if minutes > 60 or seconds > 60 or (minutes == 60 and match[4]):
        return None
    return (-1 if match[1] == "-" else 1) * (float(match[2]) + minutes / 60 + seconds / 3600)


def _parse_hours(text: float | str) -> float | None:
    degrees = _parse_sexagesimal(text)
    return None if degrees is None else 15 * degrees


_TEXT_FUNCTIONS: Final = frozenset({"IVO_HMS_TO_DEGREES", "IVO_DMS_TO_DEGREES"})
_CONSTANT_FUNCTIONS: Final[dict[str, Callable[..., float | None]]] = {
    "PI": lambda: math.pi,
    "SQRT": math.sqrt,
    "EXP": math.exp,
    "LOG": math.log,
    "LOG10": math.log10,
    "POWER": math.pow,
    "RADIANS": math.radians,
    "DEGREES": math.degrees,
    "SIN": math.sin,
    "COS": math.cos,
    "TAN": math.tan,
    "ASIN": math.asin,
    "ACOS": math.acos,
    "ATAN": math.atan,
    "ATAN2": math.atan2,
    "IVO_HMS_TO_DEGREES": _parse_hours,
    "IVO_DMS_TO_DEGREES": _parse_sexagesimal,
}
_MAX_INTEGER_BITS: Final = 63


def _count_integer_bits(expression: Expr) -> int:
    """Return the number of bits that whole-number arithmetic may need, whatever the literals of the plan."""
    if isinstance(expression, UnaryOperation):
        return _count_integer_bits(expression.operand)
    if isinstance(expression, BinaryOperation) and expression.op in "+-*/":
        left_bits = _count_integer_bits(expression.left)
        right_bits = _count_integer_bits(expression.right)
        if expression.op == "*":
            return left_bits + right_bits
        if expression.op == "/":
            return left_bits
        return max(left_bits, right_bits) + 1
    if isinstance(expression, Literal) and isinstance(expression.value, int):
        if abs(expression.value) < 2**31:
            return 31
        return 64
    return 64


def _compile_integer_arithmetic(operator: str, left_operand: Constant, right_operand: Constant) -> Constant:
    def compute_integer(literal_values: Sequence[Value]) -> Value:
        operand_values = left_operand(literal_values), right_operand(literal_values)
        if operand_values[0] is None or operand_values[1] is None:
            return None
        left_value, right_value = int(operand_values[0]), int(operand_values[1])
        if operator == "+":
            return left_value + right_value
        if operator == "-":
            return left_value - right_value
        if operator == "*":
            return left_value * right_value
        if not right_value:
            return None
        return abs(left_value) // abs(right_value) * (1 if (left_value < 0) == (right_value < 0) else -1)

    return compute_integer


def _compile_float_arithmetic(operator: str, left_operand: Constant, right_operand: Constant) -> Constant:
    def compute_float(literal_values: Sequence[Value]) -> Value:
        left_value, right_value = left_operand(literal_values), right_operand(literal_values)
        if left_value is None or right_value is None:
            return None
        a, b = float(left_value), float(right_value)
        if operator == "+":
            return a + b
        if operator == "-":
            return a - b
        if operator == "*":
            return a * b
        return a / b if b else None

    return compute_float


def _to_number(value: float | str) -> float:
    if isinstance(value, int | float):
        return value
    return float(value)


def is_text(expression: Expr) -> bool:
    """Return whether an expression is a string literal."""
    return isinstance(expression, Literal) and isinstance(expression.value, str)


def _is_float(expression: Expr) -> bool:
    if isinstance(expression, Literal):
        return isinstance(expression.value, float)
    if isinstance(expression, UnaryOperation):
        return _is_float(expression.operand)
    if isinstance(expression, FunctionCall) or (
        isinstance(expression, Cast) and expression.target == "DOUBLE PRECISION"
    ):
        return True  # those that are taken for constants give doubles
    return isinstance(expression, BinaryOperation) and (_is_float(expression.left) or _is_float(expression.right))


def compile_constant_list(choices: Sequence[Expr], free_slots: frozenset[int]) -> Listed | None:
    """Return a function of the plan's literals that gives the values of a list; None if one of them is no constant."""
    if isinstance(choices, LiteralList):
        own_values = list(choices.values)
        return lambda _: own_values
    if all(type(choice) is Literal for choice in choices):
        slots = [choice.slot if choice.slot in free_slots else -1 for choice in choices]  # type: ignore[attr-defined]
        literal_values = [choice.value for choice in choices]  # type: ignore[attr-defined]
        return lambda values: [
            values[place] if place >= 0 else fixed_value
            for place, fixed_value in zip(slots, literal_values, strict=True)
        ]
    compiled_choices = [compile_constant(choice, free_slots) for choice in choices]
    choice_constants = [item for item in compiled_choices if item is not None]
    if len(choice_constants) == len(compiled_choices):
        return lambda values: [item(values) for item in choice_constants]
    return None


def parse_microseconds(value: object) -> int | None:
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
        since_epoch = value - _UNIX_EPOCH
        return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds
    if isinstance(value, date) and not isinstance(value, datetime):
        return (value - _UNIX_EPOCH.date()).days * 86_400_000_000
    return None

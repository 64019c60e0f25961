"""Constants of a bound tree, and the columns that they bound.

Constant expressions are compiled when a plan is made, and computed when it runs with its literals.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from hven.adql.syntax_tree import (
    BetweenPredicate,
    BinaryOperation,
    CastExpression,
    Comparison,
    Expr,
    FunctionCall,
    InPredicate,
    Literal,
    LiteralList,
    Subquery,
    UnaryOperation,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Value: TypeAlias = float | str | None
Constant: TypeAlias = "Callable[[Sequence[Value]], Value]"
Listed: TypeAlias = "Callable[[Sequence[Value]], list[Any]]"
C = TypeVar("C")
_MIRRORED_OPERATORS = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "<>": "<>"}
_UNIX_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (stored timestamps have no zone: DALI says UTC)


def compile_constant(expression: Expr, free_slots: frozenset[int]) -> Constant | None:
    """Compile a constant expression to a function of the plan's literals; return None for other expressions.

    Only what every engine computes alike is compiled: literals, signs, arithmetic that cannot leave 64 bits,
    mathematical functions, sexagesimal text, and coordinates of constant points.

    Parameters
    ----------
    expression
        A bound expression.
    free_slots
        Slots of literals whose values are known only when the plan runs.

    Returns
    -------
    constant
        A function of the literal values; None for other expressions.
    """
    if isinstance(expression, Literal):
        return _compile_literal(expression, free_slots)
    if isinstance(expression, CastExpression):
        return _compile_cast(expression, free_slots)
    if isinstance(expression, UnaryOperation):
        return _compile_sign(expression, free_slots)
    if isinstance(expression, BinaryOperation):
        return _compile_arithmetic(expression, free_slots)
    if isinstance(expression, FunctionCall):
        return _compile_constant_function_call(expression, free_slots)
    return None


def _compile_literal(literal: Literal, free_slots: frozenset[int]) -> Constant:
    if literal.slot in free_slots:
        slot = literal.slot
        return lambda values: values[slot]
    fixed_value = literal.value
    return lambda _: fixed_value


def _compile_cast(cast: CastExpression, free_slots: frozenset[int]) -> Constant | None:
    if cast.target == "TIMESTAMP" and is_string_literal(cast.operand):
        return compile_constant(cast.operand, free_slots)  # the comparison with timestamps parses the text
    if cast.target != "DOUBLE PRECISION" or is_string_literal(cast.operand):
        return None
    compute_operand = compile_constant(cast.operand, free_slots)
    if compute_operand is None:
        return None

    def compute_double(literal_values: Sequence[Value]) -> Value:
        value = compute_operand(literal_values)
        if value is None:
            return None
        return float(value)

    return compute_double


def _compile_sign(operation: UnaryOperation, free_slots: frozenset[int]) -> Constant | None:
    if operation.op not in "+-" or is_string_literal(operation.operand):
        return None
    compute_operand = compile_constant(operation.operand, free_slots)
    if compute_operand is None:
        return None
    sign = 1
    if operation.op == "-":
        sign = -1

    def compute_signed(literal_values: Sequence[Value]) -> Value:
        value = compute_operand(literal_values)
        if value is None:
            return None
        return sign * _to_number(value)

    return compute_signed


def _compile_arithmetic(operation: BinaryOperation, free_slots: frozenset[int]) -> Constant | None:
    if operation.op not in "+-*/":
        return None
    left_operand = compile_constant(operation.left, free_slots)
    right_operand = compile_constant(operation.right, free_slots)
    if left_operand is None or right_operand is None:
        return None
    if _is_float(operation.left) or _is_float(operation.right):
        return _compile_float_arithmetic(operation.op, left_operand, right_operand)
    if _count_integer_bits(operation) > _MAX_INTEGER_BITS:
        return None
    return _compile_integer_arithmetic(operation.op, left_operand, right_operand)


def _compile_constant_function_call(expression: FunctionCall, free_slots: frozenset[int]) -> Constant | None:
    """Compile a function of constants."""
    if expression.name in SHAPE_FUNCTION_COMPILERS:
        return SHAPE_FUNCTION_COMPILERS[expression.name](expression, free_slots)
    function = _CONSTANT_FUNCTIONS.get(expression.name)
    args = [compile_constant(arg, free_slots) for arg in expression.args]
    argument_constants = [arg for arg in args if arg is not None]
    if function is None or len(argument_constants) < len(args):
        return None
    takes_text = expression.name in _TEXT_FUNCTIONS

    def compute_call(literal_values: Sequence[Value]) -> Value:
        argument_values: list[float | str] = []
        for compute_argument in argument_constants:
            value = compute_argument(literal_values)
            if value is None:
                return None
            argument_values.append(value if takes_text else float(value))
        try:
            return function(*argument_values)
        except (ValueError, ArithmeticError):
            return None  # the function is not defined there, so the value is NULL

    return compute_call


#: Functions of shapes, which `constant_shapes` adds: name -> what compiles a call of constants.
SHAPE_FUNCTION_COMPILERS: Final[dict[str, Callable[[FunctionCall, frozenset[int]], Constant | None]]] = {}

_SEXAGESIMAL_PATTERNS: Final = (
    re.compile(
        r"\s*([+-]?)\s*(\d{1,3})\s*[:hHdD\xB0\s]\s*(\d{1,2}(?:\.\d*)?)\s*"
        r"(?:[:mM'\u2032\s]\s*(\d{1,2}(?:\.\d*)?)?\s*[sS\"\u2033]?)?\s*",
        re.ASCII,
    ),
    re.compile(r"\s*([+-]?)(\d{2,3})(\d{2})(\d{2}(?:\.\d*)?)\s*", re.ASCII),
)


def _parse_sexagesimal(text: float | str) -> float | None:
    """Parse degrees or hours as the engines do: 60 as the last number carries over."""
    match = _SEXAGESIMAL_PATTERNS[0].fullmatch(str(text)) or _SEXAGESIMAL_PATTERNS[1].fullmatch(str(text))
    if match is None:
        return None
    minutes = float(match[3])
    seconds = float(match[4] or 0)
    if minutes > 60 or seconds > 60 or (minutes == 60 and match[4]):
        return None
    absolute_value = float(match[2]) + minutes / 60 + seconds / 3600
    if match[1] == "-":
        return -absolute_value
    return absolute_value


def _parse_sexagesimal_hours(text: float | str) -> float | None:
    degrees = _parse_sexagesimal(text)
    if degrees is None:
        return None
    return 15 * degrees


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
    "IVO_HMS_TO_DEGREES": _parse_sexagesimal_hours,
    "IVO_DMS_TO_DEGREES": _parse_sexagesimal,
}
_MAX_INTEGER_BITS: Final = 63


def _count_integer_bits(expression: Expr) -> int:
    """Return the number of bits that integer arithmetic may need, whatever the literals of the plan."""
    if isinstance(expression, UnaryOperation):
        return _count_integer_bits(expression.operand)
    if isinstance(expression, BinaryOperation) and expression.op in "+-*/":
        left_bits = _count_integer_bits(expression.left)
        right_bits = _count_integer_bits(expression.right)
        operation_bits = {"*": left_bits + right_bits, "/": left_bits}
        return operation_bits.get(expression.op, max(left_bits, right_bits) + 1)
    is_small = isinstance(expression, Literal) and isinstance(expression.value, int) and abs(expression.value) < 2**31
    return 31 if is_small else 64


def _compile_integer_arithmetic(operator: str, left_operand: Constant, right_operand: Constant) -> Constant:
    def compute_integer(literal_values: Sequence[Value]) -> Value:
        left = left_operand(literal_values)
        right = right_operand(literal_values)
        if left is None or right is None:
            return None
        left_value = int(left)
        right_value = int(right)
        if operator == "+":
            return left_value + right_value
        if operator == "-":
            return left_value - right_value
        if operator == "*":
            return left_value * right_value
        if not right_value:
            return None
        quotient = abs(left_value) // abs(right_value)  # SQL rounds towards zero
        return quotient if (left_value < 0) == (right_value < 0) else -quotient

    return compute_integer


def _compile_float_arithmetic(operator: str, left_operand: Constant, right_operand: Constant) -> Constant:
    def compute_float(literal_values: Sequence[Value]) -> Value:
        left_value = left_operand(literal_values)
        right_value = right_operand(literal_values)
        if left_value is None or right_value is None:
            return None
        a = float(left_value)
        b = float(right_value)
        if operator == "+":
            return a + b
        if operator == "-":
            return a - b
        if operator == "*":
            return a * b
        if b:
            return a / b
        return None

    return compute_float


def _to_number(value: float | str) -> float:
    if isinstance(value, int | float):
        return value
    return float(value)


def is_string_literal(expression: Expr) -> bool:
    """Return whether an expression is a string literal."""
    return isinstance(expression, Literal) and isinstance(expression.value, str)


def _is_float(expression: Expr) -> bool:
    if isinstance(expression, Literal):
        return isinstance(expression.value, float)
    if isinstance(expression, UnaryOperation):
        return _is_float(expression.operand)
    if isinstance(expression, FunctionCall):
        return True  # all constant functions return doubles
    if isinstance(expression, CastExpression) and expression.target == "DOUBLE PRECISION":
        return True
    return isinstance(expression, BinaryOperation) and (_is_float(expression.left) or _is_float(expression.right))


def compile_constant_list(choices: Sequence[Expr], free_slots: frozenset[int]) -> Listed | None:
    """Compile a list to a function of the plan's literals that returns its values; None if one is no constant."""
    if isinstance(choices, LiteralList):
        own_values = list(choices.values)
        return lambda _: own_values
    if all(type(choice) is Literal for choice in choices):
        # a list may have 100,000 literals, and a function for each of them would be slow
        slots = [choice.slot if choice.slot in free_slots else -1 for choice in choices]  # type: ignore[attr-defined]
        fixed_values = [choice.value for choice in choices]  # type: ignore[attr-defined]
        return lambda values: [
            values[slot] if slot >= 0 else fixed_value for slot, fixed_value in zip(slots, fixed_values, strict=True)
        ]
    compiled_choices = [compile_constant(choice, free_slots) for choice in choices]
    choice_constants = [constant for constant in compiled_choices if constant is not None]
    if len(choice_constants) < len(compiled_choices):
        return None
    return lambda values: [constant(values) for constant in choice_constants]


def parse_timestamp_microseconds(value: object) -> int | None:
    """Parse an ISO timestamp (DALI 1.1 section 3.3.3) to microseconds since 1970; None if it is something else.

    Parameters
    ----------
    value
        A text or a time.

    Returns
    -------
    microseconds
        Microseconds since 1970; None if it is no timestamp.
    """
    if isinstance(value, str):
        text = value.strip()
        try:
            value = datetime.fromisoformat(text.removesuffix("Z"))
        except ValueError:
            return None
        # only what every engine parses alike: YYYY-MM-DD[Thh:mm:ss[.f]]
        has_dashes = len(text) >= 10 and text[4] == text[7] == "-"
        has_all_parts = len(text) == 10 or len(text) >= 19
        if not has_dashes or not has_all_parts or value.tzinfo is not None:
            return None
    if isinstance(value, datetime) and value.tzinfo is None:
        since_epoch = value - _UNIX_EPOCH
        return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds
    if isinstance(value, date) and not isinstance(value, datetime):
        return (value - _UNIX_EPOCH.date()).days * 86_400_000_000
    return None


# --- comparisons, and bounds of a column -----------------------------------------------------------------------------


def is_call_comparison(condition: Expr) -> bool:
    """Return whether a condition compares a call of a function; every condition on shapes and distances does."""
    return isinstance(condition, Comparison) and (
        isinstance(condition.left, FunctionCall) or isinstance(condition.right, FunctionCall)
    )


def list_comparison_sides(condition: Comparison) -> tuple[tuple[Expr, str, Expr], tuple[Expr, str, Expr]]:
    """Return the sides and the operator of a comparison, and those of its mirror image: ``a < b``, ``b > a``."""
    left_side = condition.left
    right_side = condition.right
    return (left_side, condition.op, right_side), (right_side, _MIRRORED_OPERATORS[condition.op], left_side)


@dataclass(frozen=True, slots=True)
class ColumnValueRange(Generic[C]):
    """Values between constants, which are the same one for an equality; None means no bound.

    Attributes
    ----------
    column
        What `find_column` returned for the column.
    low, high
        Bounds; None: there is none.
    low_open, high_open
        True if the bound itself is left out.
    """

    column: C
    low: Constant | None = None
    high: Constant | None = None
    low_open: bool = False
    high_open: bool = False


@dataclass(frozen=True, slots=True)
class ColumnValueChoices(Generic[C]):
    """Values of a list of constants."""

    column: C
    values: Listed
    choice_count: int


def analyse_column_bounds(
    condition: Expr, find_column: Callable[[Expr], C | None], free_slots: frozenset[int]
) -> ColumnValueRange[C] | ColumnValueChoices[C] | None:
    """Analyse a condition on a column that `find_column` knows; return None for other conditions.

    Parameters
    ----------
    condition
        A condition of WHERE or ON.
    find_column
        Returns what identifies a column; None for other expressions.
    free_slots
        Slots of literals whose values are known only when the plan runs.

    Returns
    -------
    bounds
        The range or the list of values that the condition leaves; None for other conditions.
    """
    if isinstance(condition, Comparison):
        for side, op, other in list_comparison_sides(condition):
            bound_column = find_column(side)
            value = compile_constant(other, free_slots)
            if bound_column is not None and value is not None and op != "<>":
                return _build_comparison_range(bound_column, op, value)
    elif isinstance(condition, BetweenPredicate) and not condition.negated:
        bound_column = find_column(condition.operand)
        low = compile_constant(condition.low, free_slots)
        high = compile_constant(condition.high, free_slots)
        if bound_column is not None and low is not None and high is not None:
            return ColumnValueRange(bound_column, low, high)
    elif isinstance(condition, InPredicate) and not condition.negated and not isinstance(condition.choices, Subquery):
        bound_column = find_column(condition.operand)
        if bound_column is None:
            return None
        choice_values = compile_constant_list(condition.choices, free_slots)
        if choice_values is not None:
            return ColumnValueChoices(bound_column, choice_values, len(condition.choices))
    return None


def _build_comparison_range(column: C, operator: str, value: Constant) -> ColumnValueRange[C]:
    if operator == "=":
        return ColumnValueRange(column, value, value)
    if operator in {">", ">="}:
        return ColumnValueRange(column, low=value, low_open=operator == ">")
    return ColumnValueRange(column, high=value, high_open=operator == "<")

"""Values that a row's columns are put together to, without DuckDB.

Constants, texts that are joined, addresses, shapes as text, CASE.

As DuckDB makes them, to the last letter: what might come out otherwise is left to it (`UnsupportedByArrowError`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import BinaryOperation, Case, Cast, ColumnRef, FunctionCall, Literal
from hven.adql.value_kinds import classify_type, is_null, require_meta
from hven.engines._query_analysis.constants import compile_constant
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.adql.syntax_tree import Expr
    from hven.model.types import Type

    Values = Sequence[float | str | None]
    Evaluate: TypeAlias = Callable[[pa.RecordBatch, Values], Any]
    Column: TypeAlias = Callable[[Expr], tuple[int, Type] | None]
    Truth: TypeAlias = Callable[[Expr], Callable[[pa.RecordBatch, Values], Any]]

MAX_COMPUTED_ROWS = 5_000  # rows: of more, DuckDB's threads are faster
# bytes of a text that is joined with others: of longer ones DuckDB sees to it that they do not become too long
MAX_JOINED_TEXT_BYTES = 1_000
_UNRESERVED_PATTERN = r"\A[A-Za-z0-9._~-]*\z"
_NUMBER_LIST_KINDS = frozenset({"point", "circle", "polygon", "range", "array", "interval"})
_PLAIN_FLOAT_RANGE = (1e-4, 1e15)  # between these, as absolute values, everybody writes a double alike


class UnsupportedByArrowError(Exception):
    """Signals that this query, or this value, is for DuckDB."""


def compile_value(
    expression: Expr, find_column: Column, free_slots: frozenset[int], compile_condition: Truth
) -> Evaluate:
    """Compile a value.

    Parameters
    ----------
    expression
        Bound.
    find_column
        Gives place and type of a column in the frame; None: it is something else.
    free_slots
        Slots of literals that a plan is given when it runs.
    compile_condition
        Compiles a condition to flags of each row, null as false.

    Returns
    -------
    evaluate
        An array of as many values as the frame has rows, of the Arrow type of the expression.

    Raises
    ------
    UnsupportedByArrowError
        It is for DuckDB.
    """
    arrow_type = require_meta(expression).type.arrow

    def compile_inner(inner_expression: Expr) -> Evaluate:
        return compile_value(inner_expression, find_column, free_slots, compile_condition)

    if is_null(expression) or (isinstance(expression, Cast) and is_null(expression.operand)):
        return lambda frame, _: pa.nulls(frame.num_rows, arrow_type)
    if isinstance(expression, ColumnRef):
        column_match = find_column(expression)
        if column_match is None:
            raise UnsupportedByArrowError
        column_number = column_match[0]
        return lambda frame, _: frame.column(column_number)
    if isinstance(expression, Literal):
        return _compile_literal(expression, free_slots)
    if (
        isinstance(expression, Cast)
        and classify_type(require_meta(expression).type) == "text"
        and expression.length is None
    ):
        return _compile_text_cast(expression.operand, compile_inner(expression.operand))
    if (
        isinstance(expression, Cast)
        and isinstance(expression.operand, Literal)
        and require_meta(expression).type.is_numeric
    ):
        number = _compile_literal(expression.operand, free_slots)
        return lambda frame, values: _cast_numbers(number(frame, values), arrow_type)
    if isinstance(expression, BinaryOperation) and expression.op == "||":
        return _compile_concatenation(compile_inner(expression.left), compile_inner(expression.right))
    if (
        isinstance(expression, BinaryOperation)
        and expression.op in _ARROW_OPERATIONS
        and require_meta(expression).type == FLOAT64
    ):
        return _compile_arithmetic(expression, compile_inner, free_slots)
    if isinstance(expression, FunctionCall) and expression.name == "URL_ENCODE":
        text = compile_inner(expression.args[0])
        return lambda frame, values: _encode_url_parts(text(frame, values))
    if isinstance(expression, Case) and expression.operand is None:
        whens = [(compile_condition(when), compile_inner(then)) for when, then in expression.whens]
        if any(
            require_meta(then).type != require_meta(expression).type
            for _, then in expression.whens
            if not isinstance(then, Literal)
        ):
            raise UnsupportedByArrowError
        if expression.otherwise is None:
            otherwise = None
        else:
            otherwise = compile_inner(expression.otherwise)
        return lambda frame, values: _evaluate_case(whens, otherwise, frame, values, arrow_type)
    raise UnsupportedByArrowError


def find_nullable_base(expression: Expr, free_slots: frozenset[int]) -> Expr:
    """Return what is null where a text is that is made of one value and fixed ones; else the expression.

    Parameters
    ----------
    expression
        Bound.
    free_slots
        Slots of literals that a plan is given when it runs: these may be null.
    """
    while isinstance(expression, BinaryOperation) and expression.op == "||":
        are_fixed = [
            isinstance(operand, Literal) and operand.value is not None and operand.slot not in free_slots
            for operand in (expression.left, expression.right)
        ]
        if sum(are_fixed) != 1:
            break
        if are_fixed[1]:
            expression = expression.left
        else:
            expression = expression.right
    if (
        isinstance(expression, Cast)
        and isinstance(expression.operand, ColumnRef)
        and require_meta(expression).type.is_string
    ):
        expression = expression.operand
    return expression


def _compile_literal(literal: Literal, free_slots: frozenset[int]) -> Evaluate:
    value, arrow_type = compile_constant(literal, free_slots), require_meta(literal).type.arrow
    if value is None or isinstance(literal.value, bool):
        raise UnsupportedByArrowError

    def evaluate_literal(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        literal_value = value(literal_values)
        if literal_value is None or (isinstance(literal_value, int | float) and abs(literal_value) >= 2**63):
            raise UnsupportedByArrowError
        value_type = (
            pa.string()
            if isinstance(literal_value, str)
            else pa.float64()
            if isinstance(literal_value, float)
            else pa.int64()
        )
        return _cast_numbers(pa.repeat(pa.scalar(literal_value, value_type), frame.num_rows), arrow_type)

    return evaluate_literal


def _cast_numbers(column: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    """Convert numbers; what does not fit is an error, which DuckDB tells."""
    if column.type == arrow_type:
        return column
    if pa.types.is_string(column.type) or pa.types.is_string(arrow_type):
        raise UnsupportedByArrowError
    try:
        return column.cast(arrow_type)
    except pa.ArrowInvalid:
        raise UnsupportedByArrowError from None


def _compile_text_cast(operand: Expr, evaluate_operand: Evaluate) -> Evaluate:
    """Compile a cast to text: of texts, whole numbers, and the numbers of shapes."""
    type_ = require_meta(operand).type
    kind = classify_type(type_)
    if kind in {"text", "region", "moc"}:
        return evaluate_operand
    if kind == "number" and type_.is_integer:
        return lambda frame, values: evaluate_operand(frame, values).cast(pa.string())
    if kind in _NUMBER_LIST_KINDS:
        return lambda frame, values: _format_number_lists(evaluate_operand(frame, values))
    raise UnsupportedByArrowError


def _format_number_lists(column: pa.Array) -> pa.Array:
    """Write the numbers of each row, with spaces between."""
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    flat_values = column.flatten()
    if flat_values.type != pa.float64() or flat_values.null_count:
        raise UnsupportedByArrowError
    values = flat_values.to_numpy()
    absolute_values = np.abs(values)
    if not bool(
        np.all((values == 0) | ((absolute_values >= _PLAIN_FLOAT_RANGE[0]) & (absolute_values < _PLAIN_FLOAT_RANGE[1])))
    ):
        raise UnsupportedByArrowError
    number_texts = pa.array(list(map(repr, values.tolist())), pa.string())
    ends = np.cumsum(np.append(0, np.nan_to_num(pc.list_value_length(column).to_numpy(zero_copy_only=False))))
    lists = pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), number_texts, mask=column.is_null())
    return pc.binary_join(lists, " ")


def _compile_concatenation(evaluate_left: Evaluate, evaluate_right: Evaluate) -> Evaluate:
    def evaluate_concatenation(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        parts = [evaluate_left(frame, literal_values), evaluate_right(frame, literal_values)]
        if not all(pa.types.is_string(part.type) and _is_short(part) for part in parts):
            raise UnsupportedByArrowError
        return pc.binary_join_element_wise(*parts, "")

    return evaluate_concatenation


def _is_short(texts: pa.Array) -> bool:
    return (pc.max(pc.binary_length(texts)).as_py() or 0) <= MAX_JOINED_TEXT_BYTES


def _encode_url_parts(texts: pa.Array) -> pa.Array:
    """Write texts as parts of an address, those that must be changed one by one."""
    if not pa.types.is_string(texts.type) or not _is_short(texts):
        raise UnsupportedByArrowError
    if pc.all(pc.match_substring_regex(texts, _UNRESERVED_PATTERN), min_count=0).as_py():
        return texts
    return pa.array([None if text is None else quote(text, safe="") for text in texts.to_pylist()], pa.string())


_ARROW_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": pc.add,
    "-": pc.subtract,
    "*": pc.multiply,
    "/": pc.divide,
}


def _compile_arithmetic(
    expression: BinaryOperation, compile_inner: Callable[[Expr], Evaluate], free_slots: frozenset[int]
) -> Evaluate:
    """Compile an operation of doubles and a constant, which every processor computes alike."""
    call = _ARROW_OPERATIONS[expression.op]
    number = compile_constant(expression.right, free_slots)
    if number is not None:
        column_operand = expression.left
    else:
        column_operand = expression.right
    if number is None and expression.op != "/":
        number = compile_constant(expression.left, free_slots)
    if number is None or not require_meta(column_operand).type.is_numeric:
        raise UnsupportedByArrowError
    value = compile_inner(column_operand)
    compute_constant = number
    swapped = column_operand is expression.right

    def evaluate_arithmetic(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        constant_value, column = (
            compute_constant(literal_values),
            value(frame, literal_values).cast(pa.float64(), safe=False),
        )
        if isinstance(constant_value, str) or constant_value is None or (not constant_value and expression.op == "/"):
            raise UnsupportedByArrowError
        factor = pa.scalar(float(constant_value), pa.float64())
        if swapped:
            result = call(factor, column)
        else:
            result = call(column, factor)
        if not pc.all(pc.or_(pc.is_finite(result), pc.invert(pc.is_finite(column))), min_count=0).as_py():
            raise UnsupportedByArrowError  # too great: what becomes of it is DuckDB's to say
        return result

    return evaluate_arithmetic


def _evaluate_case(
    whens: Sequence[tuple[Evaluate, Evaluate]],
    evaluate_else: Evaluate | None,
    frame: pa.RecordBatch,
    literal_values: Values,
    arrow_type: pa.DataType,
) -> pa.Array:
    if evaluate_else is None:
        result = pa.nulls(frame.num_rows, arrow_type)
    else:
        result = _cast_numbers(evaluate_else(frame, literal_values), arrow_type)
    for when, then in reversed(whens):
        result = pc.if_else(
            pa.array(when(frame, literal_values)), _cast_numbers(then(frame, literal_values), arrow_type), result
        )
    return result


__all__ = ["MAX_COMPUTED_ROWS", "UnsupportedByArrowError", "compile_value", "find_nullable_base"]

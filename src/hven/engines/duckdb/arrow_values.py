"""Compute values of a row with Arrow, without DuckDB: constants, joined texts, URLs, shapes as text, CASE.

The values are those of DuckDB to the last character; what might differ is left to it (`UnsupportedByArrowError`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import BinaryOperation, CaseExpression, CastExpression, ColumnRef, FunctionCall, Literal
from hven.adql.value_kinds import classify_type, is_null_in_every_row, require_meta
from hven.engines._query_analysis.constants import compile_constant
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.adql.syntax_tree import Expr
    from hven.model.types import ColumnType

    Values = Sequence[float | str | None]
    Evaluate: TypeAlias = Callable[[pa.RecordBatch, Values], Any]
    Column: TypeAlias = Callable[[Expr], tuple[int, ColumnType] | None]
    Truth: TypeAlias = Callable[[Expr], Callable[[pa.RecordBatch, Values], Any]]

MAX_COMPUTED_ROWS = 5_000  # for more rows, DuckDB's threads are faster
# length of a text that is joined with others; for longer ones DuckDB checks that the result does not become too long
MAX_JOINED_TEXT_BYTES = 1_000
_UNRESERVED_PATTERN = r"\A[A-Za-z0-9._~-]*\z"
_NUMBER_LIST_KINDS = frozenset({"point", "circle", "polygon", "range", "array", "interval"})
_PLAIN_FLOAT_RANGE = (1e-4, 1e15)  # absolute values of doubles that every program writes alike


class UnsupportedByArrowError(Exception):
    """Signals that DuckDB must execute this query or compute this value."""


def compile_arrow_value(
    expression: Expr, find_column: Column, free_slots: frozenset[int], compile_condition: Truth
) -> Evaluate:
    """Compile a value.

    Parameters
    ----------
    expression
        A bound expression.
    find_column
        Returns position and type of a column in the frame, or None if the expression is something else.
    free_slots
        Slots of literals that a plan gets when it runs.
    compile_condition
        Compiles a condition to a function that returns flags for the rows, with false for null.

    Returns
    -------
    evaluate
        A function that returns a value for each row of the frame, in the Arrow type of the expression.

    Raises
    ------
    UnsupportedByArrowError
        DuckDB must compute the value.
    """
    simple_value = _compile_simple_value(expression, find_column, free_slots)
    if simple_value is not None:
        return simple_value

    def compile_inner(inner_expression: Expr) -> Evaluate:
        return compile_arrow_value(inner_expression, find_column, free_slots, compile_condition)

    if isinstance(expression, CastExpression):
        return _compile_cast(expression, compile_inner, free_slots)
    if isinstance(expression, BinaryOperation):
        return _compile_operation(expression, compile_inner, free_slots)
    if isinstance(expression, FunctionCall) and expression.name == "URL_ENCODE":
        evaluate_text = compile_inner(expression.args[0])
        return lambda frame, values: _encode_url_parts(evaluate_text(frame, values))
    if isinstance(expression, CaseExpression) and expression.operand is None:
        return _compile_case(expression, compile_inner, compile_condition)
    raise UnsupportedByArrowError


def _compile_simple_value(expression: Expr, find_column: Column, free_slots: frozenset[int]) -> Evaluate | None:
    """Compile NULL, a column or a literal; return None for other expressions."""
    if is_null_in_every_row(expression) or (
        isinstance(expression, CastExpression) and is_null_in_every_row(expression.operand)
    ):
        arrow_type = require_meta(expression).type.arrow
        return lambda frame, _: pa.nulls(frame.num_rows, arrow_type)
    if isinstance(expression, ColumnRef):
        column_match = find_column(expression)
        if column_match is None:
            raise UnsupportedByArrowError
        column_number = column_match[0]
        return lambda frame, _: frame.column(column_number)
    if isinstance(expression, Literal):
        return _compile_literal(expression, free_slots)
    return None


def _compile_cast(
    cast: CastExpression, compile_inner: Callable[[Expr], Evaluate], free_slots: frozenset[int]
) -> Evaluate:
    cast_type = require_meta(cast).type
    if classify_type(cast_type) == "text" and cast.length is None:
        return _compile_text_cast(cast.operand, compile_inner(cast.operand))
    if isinstance(cast.operand, Literal) and cast_type.is_numeric:
        evaluate_number = _compile_literal(cast.operand, free_slots)
        return lambda frame, values: _cast_numbers(evaluate_number(frame, values), cast_type.arrow)
    raise UnsupportedByArrowError


def _compile_operation(
    expression: BinaryOperation, compile_inner: Callable[[Expr], Evaluate], free_slots: frozenset[int]
) -> Evaluate:
    if expression.op == "||":
        return _compile_concatenation(compile_inner(expression.left), compile_inner(expression.right))
    if expression.op in _ARROW_OPERATIONS and require_meta(expression).type == FLOAT64:
        return _compile_arithmetic(expression, compile_inner, free_slots)
    raise UnsupportedByArrowError


def _compile_case(
    expression: CaseExpression, compile_inner: Callable[[Expr], Evaluate], compile_condition: Truth
) -> Evaluate:
    case_type = require_meta(expression).type
    whens = []
    for when, then in expression.whens:
        whens.append((compile_condition(when), compile_inner(then)))
        if not isinstance(then, Literal) and require_meta(then).type != case_type:
            raise UnsupportedByArrowError
    otherwise = None
    if expression.otherwise is not None:
        otherwise = compile_inner(expression.otherwise)
    return lambda frame, values: _evaluate_case(whens, otherwise, frame, values, case_type.arrow)


def find_null_deciding_expression(expression: Expr, free_slots: frozenset[int]) -> Expr:
    """Return the expression that is null exactly where a text is null.

    For a text that joins one value and fixed texts, it is that value; otherwise it is the expression itself.

    Parameters
    ----------
    expression
        A bound expression.
    free_slots
        Slots of literals that a plan gets when it runs: these may be null.
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
        isinstance(expression, CastExpression)
        and isinstance(expression.operand, ColumnRef)
        and require_meta(expression).type.is_string
    ):
        expression = expression.operand
    return expression


def _compile_literal(literal: Literal, free_slots: frozenset[int]) -> Evaluate:
    constant = compile_constant(literal, free_slots)
    arrow_type = require_meta(literal).type.arrow
    if constant is None or isinstance(literal.value, bool):
        raise UnsupportedByArrowError

    def evaluate_literal(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        scalar = _build_scalar(constant(literal_values))
        return _cast_numbers(pa.repeat(scalar, frame.num_rows), arrow_type)

    return evaluate_literal


def _build_scalar(value: float | str | None) -> pa.Scalar:
    if value is None:
        raise UnsupportedByArrowError
    if isinstance(value, str):
        return pa.scalar(value, pa.string())
    if abs(value) >= 2**63:
        raise UnsupportedByArrowError
    number_type = pa.float64() if isinstance(value, float) else pa.int64()
    return pa.scalar(value, number_type)


def _cast_numbers(column: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    """Cast numbers; DuckDB reports the error if a number does not fit."""
    if column.type == arrow_type:
        return column
    if pa.types.is_string(column.type) or pa.types.is_string(arrow_type):
        raise UnsupportedByArrowError
    try:
        return column.cast(arrow_type)
    except pa.ArrowInvalid:
        raise UnsupportedByArrowError from None


def _compile_text_cast(operand: Expr, evaluate_operand: Evaluate) -> Evaluate:
    """Compile a cast of texts, integers or the numbers of shapes to text."""
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
    """Write the numbers of each row as one text, separated by spaces."""
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    flat_values = column.flatten()
    if flat_values.type != pa.float64() or flat_values.null_count:
        raise UnsupportedByArrowError
    values = flat_values.to_numpy()
    absolute_values = np.abs(values)
    low, high = _PLAIN_FLOAT_RANGE
    is_plain = (values == 0) | ((absolute_values >= low) & (absolute_values < high))
    if not bool(np.all(is_plain)):
        raise UnsupportedByArrowError
    number_texts = pa.array(list(map(repr, values.tolist())), pa.string())
    list_lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    offsets = np.cumsum(np.append(0, np.nan_to_num(list_lengths)))
    lists = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), number_texts, mask=column.is_null())
    return pc.binary_join(lists, " ")


def _compile_concatenation(evaluate_left: Evaluate, evaluate_right: Evaluate) -> Evaluate:
    def evaluate_concatenation(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        parts = [evaluate_left(frame, literal_values), evaluate_right(frame, literal_values)]
        if not all(pa.types.is_string(part.type) and _has_only_short_texts(part) for part in parts):
            raise UnsupportedByArrowError
        return pc.binary_join_element_wise(*parts, "")

    return evaluate_concatenation


def _has_only_short_texts(texts: pa.Array) -> bool:
    return (pc.max(pc.binary_length(texts)).as_py() or 0) <= MAX_JOINED_TEXT_BYTES


def _encode_url_parts(texts: pa.Array) -> pa.Array:
    """Encode texts as parts of a URL; only texts that must change are encoded one by one."""
    if not pa.types.is_string(texts.type) or not _has_only_short_texts(texts):
        raise UnsupportedByArrowError
    if pc.all(pc.match_substring_regex(texts, _UNRESERVED_PATTERN), min_count=0).as_py():
        return texts
    encoded_texts = [None if text is None else quote(text, safe="") for text in texts.to_pylist()]
    return pa.array(encoded_texts, pa.string())


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
    column_operand = expression.left
    constant = compile_constant(expression.right, free_slots)
    if constant is None:
        column_operand = expression.right
        if expression.op != "/":
            constant = compile_constant(expression.left, free_slots)
    if constant is None or not require_meta(column_operand).type.is_numeric:
        raise UnsupportedByArrowError
    evaluate_column = compile_inner(column_operand)
    compute_constant = constant
    is_constant_first = column_operand is expression.right

    def evaluate_arithmetic(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        constant_value = compute_constant(literal_values)
        column = evaluate_column(frame, literal_values).cast(pa.float64(), safe=False)
        if isinstance(constant_value, str) or constant_value is None:
            raise UnsupportedByArrowError
        if not constant_value and expression.op == "/":
            raise UnsupportedByArrowError
        factor = pa.scalar(float(constant_value), pa.float64())
        if is_constant_first:
            result = call(factor, column)
        else:
            result = call(column, factor)
        is_overflow = pc.and_(pc.is_finite(column), pc.invert(pc.is_finite(result)))
        if pc.any(is_overflow, min_count=0).as_py():
            raise UnsupportedByArrowError  # the result is too large; DuckDB decides what becomes of it
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
        is_case = pa.array(when(frame, literal_values))
        value = _cast_numbers(then(frame, literal_values), arrow_type)
        result = pc.if_else(is_case, value, result)
    return result

"""Compile conditions and distances to functions of Arrow record batches, for queries that run without DuckDB.

A compiled function takes a frame, which is a record batch of the columns that the expression reads, and the literals of
the query. It raises `UnsupportedByArrowError` for what only DuckDB computes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import (
    BetweenPredicate,
    BinaryOperation,
    ColumnRef,
    Comparison,
    Conjunction,
    Disjunction,
    Expr,
    FunctionCall,
    InPredicate,
    LikePredicate,
    Literal,
    Negation,
    NullPredicate,
    Subquery,
)
from hven.adql.value_kinds import is_null_in_every_row
from hven.engines._query_analysis.constants import (
    compile_constant,
    compile_constant_list,
    is_call_comparison,
    is_string_literal,
    list_comparison_sides,
    parse_timestamp_microseconds,
)
from hven.engines._query_analysis.geometry import (
    match_column_pair,
    match_constant_shape,
    match_distance_points,
    match_point_coordinates,
    match_point_in_shape,
    match_shape_predicate,
)
from hven.engines._query_analysis.shape_conditions import match_shape_or_point
from hven.engines._region_cells import list_shape_coordinates
from hven.engines.duckdb.arrow_values import (
    UnsupportedByArrowError,
    find_null_deciding_expression,
)
from hven.engines.duckdb.long_lists import MAX_INLINE_VALUES, test_membership
from hven.engines.duckdb.udf_registry import call_udf
from hven.model.sky import Circle, Point, Polygon, compute_angular_distance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.engines._query_analysis.constants import Constant
    from hven.model.types import ColumnType

    Values = Sequence[float | str | None]
    Evaluate: TypeAlias = Callable[[pa.RecordBatch, Values], Any]

_DOUBLE_TYPE = pa.float64()
_SHAPE_LIST_TYPE = pa.list_(_DOUBLE_TYPE)
_REGION_TYPES = frozenset({"CIRCLE", "POLYGON", "REGION"})


@dataclass(slots=True)
class BatchColumnNumbers:
    """The columns that expressions read, with the position of each in the frame."""

    table_number: int
    number_by_name: dict[str, int]

    def register_column(self, expression: Expr) -> tuple[int, ColumnType] | None:
        """Return position and type of a column of the table, or None if `expression` is something else."""
        if not isinstance(expression, ColumnRef) or expression.source != self.table_number or expression.column is None:
            return None
        column = expression.column
        column_number = self.number_by_name.setdefault(column.name, len(self.number_by_name))
        return column_number, column.type


def compile_arrow_distance(
    expression: Expr, column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> Evaluate:
    """Compile the distance of a position in two columns and a constant one, in degrees."""
    points = match_distance_points(expression)
    if points is None:
        raise UnsupportedByArrowError
    for column_point, constant_point in (points, points[::-1]):
        lon_constant = compile_constant(constant_point[0], free_slots)
        lat_constant = compile_constant(constant_point[1], free_slots)
        if lon_constant is None or lat_constant is None:
            continue
        position = _find_position_columns(match_column_pair(column_point), column_numbers)
        if position is not None:
            return _build_distance_function(position, lon_constant, lat_constant)
    raise UnsupportedByArrowError


def _find_position_columns(
    columns: tuple[Expr, Expr] | None, column_numbers: BatchColumnNumbers
) -> tuple[int, int] | None:
    """Return the positions of two numeric columns in the frame, or None if they are something else."""
    if columns is None:
        return None
    lon = column_numbers.register_column(columns[0])
    lat = column_numbers.register_column(columns[1])
    if lon is None or lat is None or not lon[1].is_numeric or not lat[1].is_numeric:
        return None
    return lon[0], lat[0]


def _build_distance_function(position: tuple[int, int], lon_constant: Constant, lat_constant: Constant) -> Evaluate:
    lon_number, lat_number = position

    def evaluate_distance(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        centre_lon = lon_constant(literal_values)
        centre_lat = lat_constant(literal_values)
        if not isinstance(centre_lon, int | float) or not isinstance(centre_lat, int | float):
            raise UnsupportedByArrowError
        lon_column = frame.column(lon_number)
        lat_column = frame.column(lat_number)
        lon = _to_float_array(lon_column)
        lat = _to_float_array(lat_column)
        distances = compute_angular_distance(lon, lat, centre_lon, centre_lat)
        return pa.array(np.atleast_1d(distances), mask=_build_null_mask(lon_column, lat_column))

    return evaluate_distance


def _build_null_mask(lon_column: pa.Array, lat_column: pa.Array) -> Any:
    """Return the mask of positions with a null coordinate, or None if there is no null."""
    if lon_column.null_count == lat_column.null_count == 0:
        return None
    return np.asarray(pc.or_(lon_column.is_null(), lat_column.is_null()))


def _to_float_array(column: pa.Array) -> Any:
    if column.type != _DOUBLE_TYPE:
        column = column.cast(_DOUBLE_TYPE)
    return column.to_numpy(zero_copy_only=False)


def compile_arrow_condition(
    expression: Expr, column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> Evaluate:
    """Compile a condition to a function that gives an Arrow array of true, false and null."""
    if isinstance(expression, Conjunction | Disjunction):
        return _compile_connective(expression, column_numbers, free_slots)
    if isinstance(expression, Negation):
        evaluate_operand = compile_arrow_condition(expression.operand, column_numbers, free_slots)
        return lambda frame, values: pc.invert(evaluate_operand(frame, values))
    if isinstance(expression, NullPredicate):
        return _compile_null_predicate(expression, column_numbers, free_slots)
    if isinstance(expression, LikePredicate):
        return _compile_like(expression, column_numbers, free_slots)
    if is_call_comparison(expression):
        point_in_shape = _compile_spatial_predicate(expression, column_numbers, free_slots)
        if point_in_shape is not None:
            return point_in_shape
    return _compile_comparison(expression, column_numbers, free_slots)


def _compile_connective(
    expression: Conjunction | Disjunction, column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> Evaluate:
    if isinstance(expression, Conjunction):
        join = pc.and_kleene
    else:
        join = pc.or_kleene
    parts = [compile_arrow_condition(part, column_numbers, free_slots) for part in expression.parts]

    def evaluate_parts(frame: pa.RecordBatch, literal_values: Values) -> Any:
        mask = parts[0](frame, literal_values)
        for part in parts[1:]:
            mask = join(mask, part(frame, literal_values))
        return mask

    return evaluate_parts


def _compile_null_predicate(
    expression: NullPredicate, column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> Evaluate:
    column_match = column_numbers.register_column(find_null_deciding_expression(expression.operand, free_slots))
    if column_match is not None:
        column_number = column_match[0]
        if expression.negated:
            test = pc.is_valid
        else:
            test = pc.is_null
        return lambda frame, _: test(frame.column(column_number))
    if is_null_in_every_row(expression.operand):
        return lambda _, __: pa.scalar(not expression.negated, pa.bool_())
    raise UnsupportedByArrowError


def join_arrow_conditions(evaluate_first: Evaluate, evaluate_second: Evaluate) -> Evaluate:
    """Join two conditions by AND."""
    return lambda frame, values: pc.and_kleene(evaluate_first(frame, values), evaluate_second(frame, values))


def _compile_shape_predicate(
    expression: Expr, column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> Evaluate | None:
    """Compile CONTAINS or INTERSECTS of a column of regions and another shape.

    The compiled function calls the same functions as DuckDB would.
    """
    shape_predicate = match_shape_predicate(expression)
    if shape_predicate is None or not isinstance(expression, Comparison):
        return None
    first_shape, second_shape, required_result = shape_predicate
    if not isinstance(first_shape, ColumnRef) and not isinstance(second_shape, ColumnRef):
        return None
    call = next(side for side in (expression.left, expression.right) if isinstance(side, FunctionCall))
    left_shapes = _compile_shape_operand(first_shape, column_numbers, free_slots)
    right_shapes = _compile_shape_operand(second_shape, column_numbers, free_slots)
    required_constant = compile_constant(required_result, free_slots)
    if left_shapes is None or right_shapes is None or required_constant is None:
        return None
    are_points = [match_point_coordinates(side) is not None for side in (first_shape, second_shape)]
    is_contained_in_point = are_points[1] and call.name == "CONTAINS"
    function_name = f"hven_{call.name.lower()}"

    def evaluate_shape_predicate(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        if required_constant(literal_values) != 1 or is_contained_in_point:
            raise UnsupportedByArrowError
        sides = [left_shapes(frame, literal_values), right_shapes(frame, literal_values)]
        mask = _call_shape_function(function_name, sides, are_points, frame.num_rows)
        return mask.cast(pa.bool_())  # without a region in any row, the mask has no type

    return evaluate_shape_predicate


def _call_shape_function(function_name: str, sides: list[pa.Array], are_points: list[bool], row_count: int) -> pa.Array:
    """Call the function for two columns of shapes, which may be texts; a side of one row stands for all rows."""
    has_texts = any(map(_is_text_array, sides))
    if has_texts and any(are_points):
        point_lists = sides.pop(are_points.index(True))
        lon = pc.list_element(point_lists, 0)
        lat = pc.list_element(point_lists, 1)
        sides = [lon, lat, *sides]
        function_name = "hven_in_text"
    elif has_texts:
        sides = [side if _is_text_array(side) else call_udf("hven_text", side) for side in sides]
        function_name = f"{function_name}_text"
    first_row_numbers = np.zeros(row_count, np.int64)
    arguments = [side if len(side) == row_count else side.take(pa.array(first_row_numbers)) for side in sides]
    return call_udf(function_name, *arguments)


def _is_text_array(shapes: pa.Array) -> bool:
    return bool(pa.types.is_string(shapes.type))


def _compile_shape_operand(
    expression: Expr, column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> Evaluate | None:
    """Compile shapes: a column of regions, positions in two columns, or a constant shape, which is one row.

    A column of regions has lists of numbers or texts.
    """
    column_match = column_numbers.register_column(expression)
    if column_match is not None:
        return _compile_region_column(*column_match)
    pair = match_column_pair(match_point_coordinates(expression))
    if pair is not None:
        position = _find_position_columns(pair, column_numbers)
        if position is None:
            return None
        return _build_position_function(*position)
    return _compile_constant_shape(expression, free_slots)


def _compile_region_column(column_number: int, column_type: ColumnType) -> Evaluate | None:
    if column_type.stored_xtype is None or column_type.stored_xtype.adql not in _REGION_TYPES:
        return None
    if column_type.is_string:
        return lambda frame, _: frame.column(column_number)
    return lambda frame, _: frame.column(column_number).cast(_SHAPE_LIST_TYPE)


def _build_position_function(lon_number: int, lat_number: int) -> Evaluate:
    def build_positions(frame: pa.RecordBatch, _: Values) -> pa.Array:
        lon = frame.column(lon_number)
        lat = frame.column(lat_number)
        offsets = np.arange(frame.num_rows + 1, dtype=np.int32) * 2
        coordinates = np.stack([_to_float_array(lon), _to_float_array(lat)], axis=1)
        is_missing = pc.or_(lon.is_null(), lat.is_null())
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(coordinates.ravel()), mask=is_missing)

    return build_positions


def _compile_constant_shape(expression: Expr, free_slots: frozenset[int]) -> Evaluate | None:
    shape = match_shape_or_point(expression, free_slots)
    if shape is None or shape.kind == "MOC":
        return None

    def build_constant_shape(_: pa.RecordBatch, literal_values: Values) -> pa.Array:
        shape_value = shape.build_shape(literal_values)
        if not isinstance(shape_value, Point | Circle | Polygon):
            raise UnsupportedByArrowError
        return pa.array([list_shape_coordinates(shape_value)], _SHAPE_LIST_TYPE)

    return build_constant_shape


def _compile_spatial_predicate(
    expression: Expr, column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> Evaluate | None:
    shape_predicate = _compile_shape_predicate(expression, column_numbers, free_slots)
    if shape_predicate is not None:
        return shape_predicate
    point_in_shape = match_point_in_shape(expression)
    if point_in_shape is None:
        return None
    point, shape, required_result = point_in_shape
    shape_constant = match_constant_shape(shape, free_slots)
    columns = match_column_pair(match_point_coordinates(point))
    required_constant = compile_constant(required_result, free_slots)
    if shape_constant is None or columns is None or required_constant is None:
        raise UnsupportedByArrowError
    lon_match = column_numbers.register_column(columns[0])
    lat_match = column_numbers.register_column(columns[1])
    if lon_match is None or lat_match is None:
        raise UnsupportedByArrowError
    lon_number = lon_match[0]
    lat_number = lat_match[0]

    def evaluate_point_in_shape(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        shape_value = shape_constant.build_shape(literal_values)
        if shape_value is None or required_constant(literal_values) != 1:
            raise UnsupportedByArrowError
        lon_column = frame.column(lon_number)
        lat_column = frame.column(lat_number)
        mask = shape_value.contains(_to_float_array(lon_column), _to_float_array(lat_column))
        return pa.array(np.atleast_1d(mask), mask=_build_null_mask(lon_column, lat_column))

    return evaluate_point_in_shape


def _compile_comparison(expression: Expr, column_numbers: BatchColumnNumbers, free_slots: frozenset[int]) -> Evaluate:
    literal_test = _compile_literal_comparison(expression, free_slots)
    if literal_test is not None:
        return literal_test
    if isinstance(expression, Comparison):
        for side, op, other in list_comparison_sides(expression):
            value = compile_constant(other, free_slots)
            if value is not None and compile_constant(side, free_slots) is None:
                return _compile_column_comparison(side, op, value, column_numbers, free_slots)
    elif isinstance(expression, BetweenPredicate):
        low = compile_constant(expression.low, free_slots)
        high = compile_constant(expression.high, free_slots)
        if low is not None and high is not None:
            operand = expression.operand
            evaluate_lower = _compile_column_comparison(operand, ">=", low, column_numbers, free_slots)
            evaluate_upper = _compile_column_comparison(operand, "<=", high, column_numbers, free_slots)
            return _combine_between_bounds(evaluate_lower, evaluate_upper, is_negated=expression.negated)
    elif isinstance(expression, InPredicate) and not isinstance(expression.choices, Subquery):
        return _compile_in_predicate(expression, expression.choices, column_numbers, free_slots)
    raise UnsupportedByArrowError


def _combine_between_bounds(evaluate_lower: Evaluate, evaluate_upper: Evaluate, *, is_negated: bool) -> Evaluate:
    def evaluate_between(frame: pa.RecordBatch, literal_values: Values) -> Any:
        is_above = evaluate_lower(frame, literal_values)
        is_below = evaluate_upper(frame, literal_values)
        mask = pc.and_kleene(is_above, is_below)
        if is_negated:
            return pc.invert(mask)
        return mask

    return evaluate_between


def _compile_in_predicate(
    expression: InPredicate, choices: Sequence[Expr], column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> Evaluate:
    if len(choices) > MAX_INLINE_VALUES:
        return _compile_long_in_list(expression, choices, column_numbers, free_slots)
    tests = []
    for choice in choices:
        choice_constant = compile_constant(choice, free_slots)
        if choice_constant is None:
            raise UnsupportedByArrowError
        operand = expression.operand
        tests.append(_compile_column_comparison(operand, "=", choice_constant, column_numbers, free_slots))
    return _combine_tests_by_or(tests, is_negated=expression.negated)


def _compile_literal_comparison(expression: Expr, free_slots: frozenset[int]) -> Evaluate | None:
    """Compile a comparison of literals, as views have them (``'image' IN ('image', 'cube')``).

    Return None for anything else.
    """
    sides: tuple[Expr, ...] = ()
    negated = False
    if isinstance(expression, Comparison) and expression.op in {"=", "<>"}:
        sides = (expression.left, expression.right)
        negated = expression.op == "<>"
    elif (
        isinstance(expression, InPredicate)
        and not isinstance(expression.choices, Subquery)
        and len(expression.choices) <= MAX_INLINE_VALUES
    ):
        sides = (expression.operand, *expression.choices)
        negated = expression.negated
    if not sides or not isinstance(sides[0], Literal):
        return None
    side_constants = [compile_constant(side, free_slots) for side in sides if isinstance(side, Literal)]
    if len(side_constants) < len(sides):
        return None

    def evaluate_literals(_: pa.RecordBatch, literal_values: Values) -> pa.Scalar:
        compared_values = [constant(literal_values) for constant in side_constants if constant is not None]
        has_mixed_kinds = len({isinstance(value, str) for value in compared_values}) > 1
        if has_mixed_kinds or None in compared_values:
            raise UnsupportedByArrowError
        operand, *choices = compared_values
        return pa.scalar((operand in choices) != negated, pa.bool_())

    return evaluate_literals


def _compile_like(
    expression: LikePredicate, column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> Evaluate:
    """Compile LIKE: ``%`` is any text and ``_`` any character; there is no escape character."""
    evaluate_text = _compile_text_column(expression.operand, column_numbers)
    pattern_constant = compile_constant(expression.pattern, free_slots)
    if evaluate_text is None or pattern_constant is None:
        raise UnsupportedByArrowError
    ignore_case = expression.ignore_case
    negated = expression.negated

    def evaluate_like(frame: pa.RecordBatch, literal_values: Values) -> Any:
        pattern_text = pattern_constant(literal_values)
        column = evaluate_text(frame, literal_values)
        if not isinstance(pattern_text, str) or "\0" in pattern_text:
            raise UnsupportedByArrowError
        if ignore_case and not (pattern_text.isascii() and _is_ascii(column)):
            raise UnsupportedByArrowError
        regular_expression = "".join(_LIKE_WILDCARDS.get(letter) or re.escape(letter) for letter in pattern_text)
        mask = pc.match_substring_regex(column, rf"(?s)\A{regular_expression}\z", ignore_case=ignore_case)
        if negated:
            return pc.invert(mask)
        return mask

    return evaluate_like


_LIKE_WILDCARDS = {"%": ".*", "_": "."}
_CASE_FUNCTIONS: dict[str, Callable[[Any], Any]] = {"LOWER": pc.ascii_lower, "UPPER": pc.ascii_upper}


def _compile_text_column(expression: Expr, column_numbers: BatchColumnNumbers) -> Evaluate | None:
    """Compile a text column, possibly in LOWER or UPPER; return None for anything else."""
    case_function = None
    if isinstance(expression, FunctionCall) and expression.name in _CASE_FUNCTIONS and len(expression.args) == 1:
        case_function = _CASE_FUNCTIONS[expression.name]
        expression = expression.args[0]
    column_match = column_numbers.register_column(expression)
    if column_match is None or not column_match[1].is_string:
        return None
    column_number = column_match[0]

    def evaluate_text(frame: pa.RecordBatch, _: Values) -> Any:
        column = frame.column(column_number)
        if case_function is None:
            return column
        if not _is_ascii(column):  # Arrow and DuckDB know different versions of Unicode
            raise UnsupportedByArrowError
        return case_function(column)

    return evaluate_text


def _is_ascii(column: pa.Array) -> bool:
    return bool(pc.all(pc.string_is_ascii(column), min_count=0).as_py())


def _compile_long_in_list(
    expression: InPredicate, choices: Sequence[Expr], column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> Evaluate:
    column_match = column_numbers.register_column(expression.operand)
    list_values = compile_constant_list(choices, free_slots)
    negated = expression.negated
    if column_match is None or list_values is None or not (column_match[1].is_integer or column_match[1].is_string):
        raise UnsupportedByArrowError
    column_number = column_match[0]

    def evaluate_long_in(frame: pa.RecordBatch, literal_values: Values) -> Any:
        mask = test_membership(frame.column(column_number), list_values(literal_values))
        if mask is None:
            raise UnsupportedByArrowError
        if negated:
            return pc.invert(mask)
        return mask

    return evaluate_long_in


def _combine_tests_by_or(tests: list[Evaluate], *, is_negated: bool) -> Evaluate:
    def evaluate_any(frame: pa.RecordBatch, literal_values: Values) -> Any:
        mask = tests[0](frame, literal_values)
        for test in tests[1:]:
            mask = pc.or_kleene(mask, test(frame, literal_values))
        if is_negated:
            return pc.invert(mask)
        return mask

    return evaluate_any


_COMPARISON_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def _compile_column_comparison(
    expression: Expr, operator: str, value: Constant, column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> Evaluate:
    if is_string_literal(expression):
        raise UnsupportedByArrowError
    if isinstance(expression, FunctionCall):
        evaluate_text = _compile_text_column(expression, column_numbers)
        if evaluate_text is not None:
            return _build_text_comparison(evaluate_text, operator, value)
    column_match = column_numbers.register_column(expression)
    if column_match is None:
        evaluate_remainder = _compile_remainder(expression, column_numbers, free_slots)
        if evaluate_remainder is not None:
            return _build_integer_comparison(evaluate_remainder, operator, value)
        evaluate_distance = compile_arrow_distance(expression, column_numbers, free_slots)
        return _build_float_comparison(evaluate_distance, operator, value)
    column_number, column_type = column_match
    return _compile_stored_comparison(column_number, column_type, operator, value)


def _compile_stored_comparison(column_number: int, column_type: ColumnType, operator: str, value: Constant) -> Evaluate:
    """Compile the comparison of a stored column and a constant by the type of the column."""

    def read_column(frame: pa.RecordBatch, _: Values) -> pa.Array:
        return frame.column(column_number)

    if column_type.is_timestamp:
        compare = _COMPARISON_FUNCTIONS[operator]
        return lambda frame, values: compare(read_column(frame, values), _to_timestamp_scalar(value(values)))
    if column_type.is_string:
        return _build_text_comparison(read_column, operator, value)
    if column_type.is_integer:
        return _build_integer_comparison(read_column, operator, value)
    if column_type.is_numeric:
        return _build_float_comparison(read_column, operator, value)
    raise UnsupportedByArrowError


def _build_text_comparison(evaluate_text: Evaluate, operator: str, value: Constant) -> Evaluate:
    compare = _COMPARISON_FUNCTIONS[operator]
    return lambda frame, values: compare(evaluate_text(frame, values), _to_string_scalar(value(values)))


def _build_integer_comparison(evaluate_column: Evaluate, operator: str, value: Constant) -> Evaluate:
    def evaluate_comparison(frame: pa.RecordBatch, literal_values: Values) -> Any:
        column = evaluate_column(frame, literal_values)
        return _compare_integers(column, operator, _require_number(value(literal_values)))

    return evaluate_comparison


def _build_float_comparison(evaluate_column: Evaluate, operator: str, value: Constant) -> Evaluate:
    def evaluate_comparison(frame: pa.RecordBatch, literal_values: Values) -> Any:
        column = evaluate_column(frame, literal_values)
        return _compare_floats(column, operator, _require_number(value(literal_values)))

    return evaluate_comparison


def _compile_remainder(
    expression: Expr, column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> Evaluate | None:
    """Compile ``MOD(column, 2)`` or ``column % 2`` of integers; return None for anything else."""
    if isinstance(expression, FunctionCall) and expression.name == "MOD":
        dividend, divisor_expression = expression.args
    elif isinstance(expression, BinaryOperation) and expression.op == "%":
        dividend = expression.left
        divisor_expression = expression.right
    else:
        return None
    column_match = column_numbers.register_column(dividend)
    divisor_constant = compile_constant(divisor_expression, free_slots)
    if column_match is None or divisor_constant is None or not column_match[1].is_integer:
        raise UnsupportedByArrowError
    column_number = column_match[0]

    def evaluate_remainder(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        column = frame.column(column_number)
        divisor = _require_number(divisor_constant(literal_values))
        if not 0 < divisor < 2**53 or divisor != int(divisor):
            raise UnsupportedByArrowError
        numbers = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        # fmod gives the sign of the column's value, as DuckDB does
        remainders = np.fmod(numbers, np.int64(int(divisor)))
        return pa.array(remainders, mask=np.asarray(column.is_null()))

    return evaluate_remainder


def _require_number(value: float | str | None) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnsupportedByArrowError
    return value


def _to_string_scalar(value: float | str | None) -> pa.Scalar:
    if not isinstance(value, str):
        raise UnsupportedByArrowError
    return pa.scalar(value, pa.string())  # without the type, Arrow looks for pandas each time


def _to_timestamp_scalar(value: float | str | None) -> pa.Scalar:
    microseconds_value = parse_timestamp_microseconds(value)
    if microseconds_value is None:
        raise UnsupportedByArrowError
    return pa.scalar(microseconds_value, pa.timestamp("us"))


def _compare_floats(column: pa.Array, operator: str, value: float) -> Any:
    if isinstance(value, int) and abs(value) > 2**53:
        raise UnsupportedByArrowError  # no double has this value
    # a double, so that Arrow compares a float32 column as doubles
    double_value = pa.scalar(float(value), pa.float64())
    mask = _COMPARISON_FUNCTIONS[operator](column, double_value)
    if operator in {">", ">="}:
        return pc.or_(mask, pc.is_nan(column))
    return mask


def _compare_integers(column: pa.Array, operator: str, value: float) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value) or abs(value) >= 2**53:
            raise UnsupportedByArrowError
        if value != int(value):  # between two integers
            if operator in {"=", "<>"}:
                raise UnsupportedByArrowError
            if operator in {">", ">="}:
                operator = ">="
                value = math.ceil(value)
            else:
                operator = "<="
                value = math.floor(value)
        value = int(value)
    if not -(2**63) <= value < 2**63:
        raise UnsupportedByArrowError
    return _COMPARISON_FUNCTIONS[operator](column, pa.scalar(int(value), pa.int64()))


def to_bool_array(mask: Any, row_count: int) -> Any:
    """Return a result of a condition as a numpy array, with false for null."""
    if isinstance(mask, np.ndarray):
        return mask
    if isinstance(mask, pa.Scalar):
        return np.full(row_count, mask.as_py() is True)
    if mask.null_count:
        filled_mask = pc.fill_null(mask, False)
    else:
        filled_mask = mask
    return np.asarray(filled_mask.to_numpy(zero_copy_only=False))

"""Queries that need no DuckDB.

Columns of one table and what is put together of them, simple conditions, TOP, ORDER BY over few rows, COUNT(*).

DuckDB takes a millisecond to plan a query over however few rows; here a cone over candidates takes a tenth of one. The
rules of values are DuckDB's, so that nobody can tell the roads apart: NaN equals itself and is greater than all
numbers, null is neither true nor false.
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
    Query,
    Select,
    SelectItem,
    Subquery,
    TableRef,
)
from hven.adql.value_kinds import is_null
from hven.engines._query_analysis.constants import compile_constant, compile_constant_list, is_text, parse_microseconds
from hven.engines._query_analysis.geometry import (
    list_comparison_sides,
    match_column_pair,
    match_constant_shape,
    match_distance_points,
    match_point_coordinates,
    match_point_in_shape,
    match_shape_predicate,
)
from hven.engines._query_analysis.shape_conditions import match_shape_or_point
from hven.engines._region_cells import list_shape_numbers
from hven.engines.duckdb.arrow_values import (
    MAX_COMPUTED_ROWS,
    UnsupportedByArrowError,
    compile_value,
    find_nullable_base,
)
from hven.engines.duckdb.long_lists import MAX_INLINE_VALUES, test_membership
from hven.engines.duckdb.udf_registry import call_function
from hven.model.sky import Circle, Point, Polygon, compute_distance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines._query_analysis.constants import Constant
    from hven.engines.duckdb.snapshot_files import OpenRows, Projection, Rows
    from hven.model.types import Type

    Values = Sequence[float | str | None]
    Evaluate: TypeAlias = Callable[[pa.RecordBatch, Values], Any]

_DOUBLE_TYPE = pa.float64()
CONDITION_BATCH_ROWS = 65_536  # rows that are tested at a time
MAX_SORTED_ROWS = 200_000  # rows that are sorted here; more are DuckDB's
_REGION_TYPES = frozenset({"CIRCLE", "POLYGON", "REGION"})


@dataclass(slots=True)
class ColumnNumbers:
    """The columns that expressions read, by the place each gets in the frame."""

    table_number: int
    number_by_name: dict[str, int]

    def find_column(self, expression: Expr) -> tuple[int, Type] | None:
        """Return place and type of a column of the table, None if `expression` is something else."""
        if not isinstance(expression, ColumnRef) or expression.source != self.table_number or expression.column is None:
            return None
        return self.number_by_name.setdefault(expression.column.name, len(self.number_by_name)), expression.column.type


@dataclass(frozen=True, slots=True)
class SortKey:
    """One item of ORDER BY: the value of each row, and the column's name if it is one."""

    compute_value: Evaluate
    is_descending: bool
    column_name: str | None


@dataclass(frozen=True, slots=True)
class ArrowQuery:
    """A query that runs without DuckDB.

    Attributes
    ----------
    output_items
        One for each column of the answer: the name of a stored column, or a function of the row.
    condition_columns
        Columns that the condition reads.
    computed_columns
        Columns that computed outputs and ORDER BY read.
    max_rows
        Rows that are looked at here at most; None: as many as anywhere.
    """

    table_ref: TableRef
    condition: Evaluate | None
    condition_columns: tuple[str, ...]
    output_items: tuple[str | Evaluate, ...]
    computed_columns: tuple[str, ...]
    sort_keys: tuple[SortKey, ...]
    top: Constant | None
    offset: Constant | None
    is_count: bool
    schema: pa.Schema
    max_rows: int | None = None

    def has_columns(self, schema: pa.Schema) -> bool:
        """Return whether rows have every column that is read, under exactly its name."""
        plain = [item for item in self.output_items if isinstance(item, str)]
        return all(
            schema.get_field_index(name) >= 0 for name in (*self.condition_columns, *self.computed_columns, *plain)
        )

    def answer_from_all_rows(
        self, stored: OpenRows, literal_values: Values, row_limit: int | None, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Answer without candidates: there is no condition and no order."""
        begin, end = self._clip_window(literal_values, row_limit, 1 if self.is_count else stored.rows)
        if self.is_count:
            yield from _build_count_batch(stored.rows, self.schema, begin, end)
            return
        if all(isinstance(item, str) for item in self.output_items):
            columns = stored.get_projection(tuple(str(item) for item in self.output_items))
            for batch in columns.iterate_range(begin, end):
                for begin_row in range(0, batch.num_rows, batch_rows):
                    yield self._build_batch(batch.slice(begin_row, batch_rows).columns)
            return
        for begin_row in range(begin, end, batch_rows):
            yield self._compute_batch(stored, np.arange(begin_row, min(begin_row + batch_rows, end)), literal_values)

    def answer_from_candidates(
        self, stored: OpenRows, row_numbers: Rows, literal_values: Values, row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        """Answer from candidates (ascending, or in index order if that is the order wanted)."""
        if self.is_count or self.sort_keys:
            passing_rows = np.concatenate(
                list(self.iterate_passing_rows(stored, row_numbers, literal_values)) or [np.empty(0, np.int64)]
            )
            begin, end = self._clip_window(literal_values, row_limit, 1 if self.is_count else len(passing_rows))
            if self.is_count:
                yield from _build_count_batch(len(passing_rows), self.schema, begin, end)
            else:
                yield self._compute_batch(
                    stored, self._sort_rows(stored, passing_rows, literal_values)[begin:end], literal_values
                )
            return
        begin, end = self._clip_window(literal_values, row_limit, len(row_numbers))
        rows_before = 0
        for part in self.iterate_passing_rows(stored, row_numbers, literal_values):
            low = max(begin - rows_before, 0)
            high = end - rows_before
            rows_before += len(part)
            if high <= 0:
                return
            if len(part := part[low:high]):
                yield self._compute_batch(stored, part, literal_values)

    def answer_in_order(
        self, stored: OpenRows, row_numbers: Rows, literal_values: Values, row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        """Answer from rows that are in the wanted order already, without a condition."""
        begin, end = self._clip_window(literal_values, row_limit, len(row_numbers))
        if end > begin:
            yield self._compute_batch(stored, row_numbers[begin:end], literal_values)

    def compute_window(self, literal_values: Values, row_limit: int | None) -> tuple[int, int | None]:
        """Return the numbers of the first row wanted and of the one after the last, None = all."""
        begin = _evaluate_integer(self.offset, literal_values) or 0
        ends = [n for n in (_evaluate_integer(self.top, literal_values), row_limit) if n is not None]
        return begin, begin + min(ends) if ends else None

    def _clip_window(self, literal_values: Values, row_limit: int | None, row_count: int) -> tuple[int, int]:
        begin, end = self.compute_window(literal_values, row_limit)
        return min(begin, row_count), row_count if end is None else min(end, row_count)

    def iterate_passing_rows(self, stored: OpenRows, row_numbers: Rows, literal_values: Values) -> Iterator[Rows]:
        """Yield the rows that meet the condition, piece by piece, in the order given."""
        if self.condition is None:
            yield row_numbers
            return
        columns = stored.get_projection(self.condition_columns)
        for begin in range(0, len(row_numbers), CONDITION_BATCH_ROWS):
            part = row_numbers[begin : begin + CONDITION_BATCH_ROWS]
            mask = self.condition(_read_frame(columns, part), literal_values)
            passing_part = part[_to_bool_array(mask, len(part))]
            if len(passing_part):
                yield passing_part

    def _sort_rows(self, stored: OpenRows, row_numbers: Rows, literal_values: Values) -> Rows:
        if len(row_numbers) < 2:
            return row_numbers
        frame = _read_frame(stored.get_projection(self.computed_columns), row_numbers)
        keys = {}
        for number, order in enumerate(self.sort_keys):
            key = order.compute_value(frame, literal_values)
            if pa.types.is_floating(key.type) and pc.any(pc.is_nan(key)).as_py():
                raise UnsupportedByArrowError
            keys[str(number)] = key
        order_of = [
            (str(number), "descending" if order.is_descending else "ascending")
            for number, order in enumerate(self.sort_keys)
        ]
        ordered: Rows = row_numbers[np.asarray(pc.sort_indices(pa.table(keys), sort_keys=order_of))]
        return ordered

    def _compute_batch(self, stored: OpenRows, row_numbers: Rows, literal_values: Values) -> pa.RecordBatch:
        stored_names = tuple(item for item in self.output_items if isinstance(item, str))
        if stored_names:
            projection = stored.get_projection(stored_names)
            stored_columns = iter(_read_frame(projection, row_numbers).columns)
        else:
            stored_columns = iter(())
        frame = None
        if self.computed_columns and len(stored_names) < len(self.output_items):
            frame = _read_frame(stored.get_projection(self.computed_columns), row_numbers)
        elif len(stored_names) < len(self.output_items):  # constants alone: a frame without columns would have no rows
            frame = pa.RecordBatch.from_arrays([pa.nulls(len(row_numbers))], names=[""])
        return self._build_batch(
            [
                next(stored_columns) if isinstance(item, str) else item(frame, literal_values)
                for item in self.output_items
            ]
        )

    def _build_batch(self, columns: Sequence[pa.Array]) -> pa.RecordBatch:
        try:
            cast_columns = [
                column if column.type.equals(item.type) else column.cast(item.type)
                for column, item in zip(columns, self.schema, strict=True)
            ]
        except pa.ArrowInvalid:
            raise UnsupportedByArrowError from None
        return pa.RecordBatch.from_arrays(cast_columns, schema=self.schema)


def _build_count_batch(row_count: int, schema: pa.Schema, begin: int, end: int) -> Iterator[pa.RecordBatch]:
    if begin == 0 and end > 0:
        yield pa.RecordBatch.from_arrays([pa.array([row_count], schema.field(0).type)], schema=schema)


def _read_frame(columns: Projection, row_numbers: Rows) -> pa.RecordBatch:
    """Read rows, without a copy where they are neighbours."""
    n = len(row_numbers)
    if n > 1 and row_numbers[-1] - row_numbers[0] == n - 1:
        if n < 3 or bool((row_numbers[1:] > row_numbers[:-1]).all()):
            pieces = list(columns.iterate_range(int(row_numbers[0]), int(row_numbers[-1]) + 1))
            if len(pieces) == 1:
                return pieces[0]
            return pa.concat_batches(pieces)
        return columns.take_rows(row_numbers)
    if n > 1 and not bool((row_numbers[1:] > row_numbers[:-1]).all()):
        return columns.take_rows(row_numbers)
    return columns.take_ascending(row_numbers)


def _to_bool_array(mask: Any, row_count: int) -> Any:
    if isinstance(mask, np.ndarray):
        return mask
    if isinstance(mask, pa.Scalar):
        return np.full(row_count, mask.as_py() is True)
    if mask.null_count:
        filled_mask = pc.fill_null(mask, False)
    else:
        filled_mask = mask
    return np.asarray(filled_mask.to_numpy(zero_copy_only=False))


def _evaluate_integer(constant_number: Constant | None, literal_values: Values) -> int | None:
    if constant_number is None:
        return None
    value = constant_number(literal_values)
    if not isinstance(value, int | float):
        raise UnsupportedByArrowError
    return int(value)


# --- recognising -----------------------------------------------------------------------------------------------------


def match_arrow_query(bound_query: BoundQuery, schema: pa.Schema) -> ArrowQuery | None:
    """Recognise a query that can run without DuckDB; None for others."""
    try:
        return _compile_arrow_query(bound_query, schema)
    except (UnsupportedByArrowError, RecursionError):  # a value of a thousand parts is DuckDB's as well
        return None


def _compile_arrow_query(bound_query: BoundQuery, schema: pa.Schema) -> ArrowQuery:
    query = bound_query.query
    while isinstance(query.body, Query) and not (query.order_by or query.offset or query.ctes):
        query = query.body
    select = query.body
    if query.ctes or not isinstance(select, Select) or select.group_by or select.having is not None or select.distinct:
        raise UnsupportedByArrowError
    table_ref = select.source
    if not isinstance(table_ref, TableRef) or table_ref.table is None or table_ref.cte:
        raise UnsupportedByArrowError
    free = bound_query.free_slots
    condition_columns = ColumnNumbers(table_ref.number, {})
    policy_columns = ColumnNumbers(
        0, condition_columns.number_by_name
    )  # a row filter is bound over the table alone, as number 0
    filters = ((table_ref.where, policy_columns), (select.where, condition_columns))
    conditions = [_compile_condition(expr, names, free) for expr, names in filters if expr is not None]
    computed_columns = ColumnNumbers(table_ref.number, {})
    items = [item for item in select.items if isinstance(item, SelectItem)]
    is_count = len(items) == 1 and _is_count_star(items[0].expr)
    output = () if is_count else tuple(_compile_output(item.expr, computed_columns, free) for item in items)
    is_plain = all(
        isinstance(output_item, str) or match_distance_points(item.expr)
        for output_item, item in zip(output, items, strict=False)
    )
    if is_count and query.order_by:
        raise UnsupportedByArrowError
    orders = tuple(
        _compile_sort_key(item.expr, item.descending, items, computed_columns, free) for item in query.order_by
    )
    return ArrowQuery(
        table_ref=table_ref,
        condition=_combine_conditions(conditions),
        condition_columns=tuple(condition_columns.number_by_name),
        output_items=output,
        computed_columns=tuple(computed_columns.number_by_name),
        sort_keys=orders,
        top=_compile_optional_constant(select.top, free),
        offset=_compile_optional_constant(query.offset, free),
        is_count=is_count,
        schema=schema,
        max_rows=None if is_plain else MAX_COMPUTED_ROWS,
    )


def _compile_optional_constant(literal: Literal | None, free_slots: frozenset[int]) -> Constant | None:
    if literal is None:
        return None
    return compile_constant(literal, free_slots)


def _is_count_star(expression: Expr) -> bool:
    return isinstance(expression, FunctionCall) and expression.name == "COUNT" and expression.star


def _compile_output(expression: Expr, column_numbers: ColumnNumbers, free_slots: frozenset[int]) -> str | Evaluate:
    if (
        isinstance(expression, ColumnRef)
        and expression.source == column_numbers.table_number
        and expression.column is not None
    ):
        return expression.column.name
    if match_distance_points(expression) is not None:
        return _compile_distance(expression, column_numbers, free_slots)

    def compile_mask(condition: Expr) -> Evaluate:
        evaluate_condition = _compile_condition(condition, column_numbers, free_slots)
        return lambda frame, values: _to_bool_array(evaluate_condition(frame, values), frame.num_rows)

    return compile_value(expression, column_numbers.find_column, free_slots, compile_mask)


def _compile_sort_key(
    expression: Expr,
    is_descending: bool,
    items: Sequence[SelectItem],
    column_numbers: ColumnNumbers,
    free_slots: frozenset[int],
) -> SortKey:
    if isinstance(expression, Literal):  # a position in the select list
        if (
            not isinstance(expression.value, int)
            or expression.slot in free_slots
            or not 1 <= expression.value <= len(items)
        ):
            raise UnsupportedByArrowError
        expression = items[expression.value - 1].expr
    if (
        isinstance(expression, ColumnRef) and expression.source != column_numbers.table_number
    ):  # an output column by its name
        output_expressions = [
            item.expr
            for item in items
            if item.column is not None and expression.column is not None and item.column.name == expression.column.name
        ]
        if len(output_expressions) != 1 or expression.source >= 0:
            raise UnsupportedByArrowError
        expression = output_expressions[0]
    column_match = column_numbers.find_column(expression)
    if column_match is not None and isinstance(expression, ColumnRef) and expression.column is not None:
        column = expression.column.name
    else:
        column = None
    if (
        column is not None
        and isinstance(expression, ColumnRef)
        and expression.column is not None
        and not _is_orderable(expression.column.type)
    ):
        raise UnsupportedByArrowError
    return SortKey(_compile_sort_value(expression, column_numbers, free_slots), is_descending, column)


def _is_orderable(column_type: Type) -> bool:
    return column_type.is_numeric or column_type.is_string or column_type.is_timestamp


def _compile_sort_value(expression: Expr, column_numbers: ColumnNumbers, free_slots: frozenset[int]) -> Evaluate:
    """Compile a column or a distance."""
    column_match = column_numbers.find_column(expression)
    if column_match is not None:
        column_number = column_match[0]
        return lambda frame, _: frame.column(column_number)
    return _compile_distance(expression, column_numbers, free_slots)


def _compile_distance(expression: Expr, column_numbers: ColumnNumbers, free_slots: frozenset[int]) -> Evaluate:
    points = match_distance_points(expression)
    for column_point, constant_point in (points, points[::-1]) if points is not None else ():
        columns = match_column_pair(column_point)
        lon, lat = compile_constant(constant_point[0], free_slots), compile_constant(constant_point[1], free_slots)
        if columns is None or lon is None or lat is None:
            continue
        column_matches = [column_numbers.find_column(column) for column in columns]
        if (
            column_matches[0] is None
            or column_matches[1] is None
            or not (column_matches[0][1].is_numeric and column_matches[1][1].is_numeric)
        ):
            continue
        x = column_matches[0][0]
        y = column_matches[1][0]

        def evaluate_distance(
            frame: pa.RecordBatch,
            literal_values: Values,
            lon: Constant = lon,
            lat: Constant = lat,
            x: int = x,
            y: int = y,
        ) -> pa.Array:
            centre = (lon(literal_values), lat(literal_values))
            if not all(isinstance(number, int | float) for number in centre):
                raise UnsupportedByArrowError
            lon_column, lat_column = frame.column(x), frame.column(y)
            distances = compute_distance(_to_float_array(lon_column), _to_float_array(lat_column), *centre)  # type: ignore[arg-type]
            if lon_column.null_count == lat_column.null_count == 0:
                missing = None
            else:
                missing = np.asarray(pc.or_(lon_column.is_null(), lat_column.is_null()))
            return pa.array(np.atleast_1d(distances), mask=missing)

        return evaluate_distance
    raise UnsupportedByArrowError


def _to_float_array(column: pa.Array) -> Any:
    return (column if column.type == _DOUBLE_TYPE else column.cast(_DOUBLE_TYPE)).to_numpy(zero_copy_only=False)


def _compile_condition(expression: Expr, column_numbers: ColumnNumbers, free_slots: frozenset[int]) -> Evaluate:
    """Compile a condition to a function that gives an Arrow array of true, false, null."""
    if isinstance(expression, Conjunction | Disjunction):
        if isinstance(expression, Conjunction):
            join = pc.and_kleene
        else:
            join = pc.or_kleene
        parts = [_compile_condition(part, column_numbers, free_slots) for part in expression.parts]

        def evaluate_parts(frame: pa.RecordBatch, literal_values: Values) -> Any:
            mask = parts[0](frame, literal_values)
            for part in parts[1:]:
                mask = join(mask, part(frame, literal_values))
            return mask

        return evaluate_parts
    if isinstance(expression, Negation):
        evaluate_operand = _compile_condition(expression.operand, column_numbers, free_slots)
        return lambda frame, values: pc.invert(evaluate_operand(frame, values))
    if isinstance(expression, NullPredicate):
        column_match = column_numbers.find_column(find_nullable_base(expression.operand, free_slots))
        test = pc.is_valid if expression.negated else pc.is_null
        if column_match is None and is_null(expression.operand):
            return lambda _, __: pa.scalar(not expression.negated, pa.bool_())
        if column_match is None:
            raise UnsupportedByArrowError
        column_number = column_match[0]
        return lambda frame, _: test(frame.column(column_number))
    if isinstance(expression, LikePredicate):
        return _compile_like(expression, column_numbers, free_slots)
    return _compile_point_in_shape(expression, column_numbers, free_slots) or _compile_comparison(
        expression, column_numbers, free_slots
    )


def _combine_conditions(conditions: list[Evaluate]) -> Evaluate | None:
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    evaluate_first, evaluate_second = conditions
    return lambda frame, values: pc.and_kleene(evaluate_first(frame, values), evaluate_second(frame, values))


def _compile_shape_predicate(
    expression: Expr, column_numbers: ColumnNumbers, free_slots: frozenset[int]
) -> Evaluate | None:
    """Compile CONTAINS or INTERSECTS of a column of regions and another shape, by the functions that DuckDB would call."""
    shape_predicate = match_shape_predicate(expression)
    if (
        shape_predicate is None
        or not isinstance(expression, Comparison)
        or not any(isinstance(side, ColumnRef) for side in shape_predicate[:2])
    ):
        return None
    call = next(side for side in (expression.left, expression.right) if isinstance(side, FunctionCall))
    left_shapes, right_shapes = (_compile_shapes(side, column_numbers, free_slots) for side in shape_predicate[:2])
    required_one, are_points = (
        compile_constant(shape_predicate[2], free_slots),
        [match_point_coordinates(side) is not None for side in shape_predicate[:2]],
    )
    if left_shapes is None or right_shapes is None or required_one is None:
        return None
    in_point = are_points[1] and call.name == "CONTAINS"
    name = f"hven_{call.name.lower()}"

    def evaluate_shape_predicate(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        if required_one(literal_values) != 1 or in_point:
            raise UnsupportedByArrowError
        sides = [left_shapes(frame, literal_values), right_shapes(frame, literal_values)]
        has_texts = any(map(_is_text_array, sides))
        function_name = name
        if has_texts and any(are_points):
            point_lists = sides.pop(are_points.index(True))
            sides = [pc.list_element(point_lists, 0), pc.list_element(point_lists, 1), *sides]
            function_name = "hven_in_text"
        elif has_texts:
            sides = [side if _is_text_array(side) else call_function("hven_text", side) for side in sides]
            function_name = f"{name}_text"
        rows = np.zeros(frame.num_rows, np.int64)
        mask = call_function(
            function_name, *(side if len(side) == len(rows) else side.take(pa.array(rows)) for side in sides)
        )
        return mask.cast(pa.bool_())  # of rows without a region it has no type

    return evaluate_shape_predicate


def _is_text_array(shapes: pa.Array) -> bool:
    return bool(pa.types.is_string(shapes.type))


def _compile_shapes(expression: Expr, column_numbers: ColumnNumbers, free_slots: frozenset[int]) -> Evaluate | None:
    """Compile a column of regions (lists of numbers, or texts), positions in two columns, or a shape of constants, which is one row."""
    column_match = column_numbers.find_column(expression)
    pair = match_column_pair(match_point_coordinates(expression))
    list_type = pa.list_(pa.float64())
    if column_match is not None:
        column_number, column_type = column_match
        if column_type.stored_xtype is None or column_type.stored_xtype.adql not in _REGION_TYPES:
            return None
        return lambda frame, _: (
            frame.column(column_number) if column_type.is_string else frame.column(column_number).cast(list_type)
        )
    if pair is not None:
        column_matches = [
            match
            for column in pair
            if (match := column_numbers.find_column(column)) is not None and match[1].is_numeric
        ]
        if len(column_matches) < 2:
            return None

        def build_positions(frame: pa.RecordBatch, _: Values) -> pa.Array:
            lon, lat = (frame.column(at) for at, _ in column_matches)
            return pa.ListArray.from_arrays(
                pa.array(np.arange(frame.num_rows + 1, dtype=np.int32) * 2),
                pa.array(np.stack([_to_float_array(lon), _to_float_array(lat)], axis=1).ravel()),
                mask=pc.or_(lon.is_null(), lat.is_null()),
            )

        return build_positions
    shape = match_shape_or_point(expression, free_slots)
    if shape is None or shape.kind == "MOC":
        return None

    def build_constant_shape(_: pa.RecordBatch, literal_values: Values) -> pa.Array:
        shape_value = shape.build_shape(literal_values)
        if not isinstance(shape_value, Point | Circle | Polygon):
            raise UnsupportedByArrowError
        return pa.array([list_shape_numbers(shape_value)], list_type)

    return build_constant_shape


def _compile_point_in_shape(
    expression: Expr, column_numbers: ColumnNumbers, free_slots: frozenset[int]
) -> Evaluate | None:
    regions = _compile_shape_predicate(expression, column_numbers, free_slots)
    if regions is not None:
        return regions
    point_in_shape = match_point_in_shape(expression)
    if point_in_shape is None:
        return None
    point, shape, literal = point_in_shape
    shape_constant, columns, required_one = (
        match_constant_shape(shape, free_slots),
        match_column_pair(match_point_coordinates(point)),
        compile_constant(literal, free_slots),
    )
    if shape_constant is None or columns is None or required_one is None:
        raise UnsupportedByArrowError
    lon = column_numbers.find_column(columns[0])
    lat = column_numbers.find_column(columns[1])
    if lon is None or lat is None:
        raise UnsupportedByArrowError
    x = lon[0]
    y = lat[0]

    def evaluate_point_in_shape(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        shape_value = shape_constant.build_shape(literal_values)
        if shape_value is None or required_one(literal_values) != 1:
            raise UnsupportedByArrowError
        lon_column, lat_column = frame.column(x), frame.column(y)
        mask = shape_value.contains(_to_float_array(lon_column), _to_float_array(lat_column))
        if lon_column.null_count == lat_column.null_count == 0:
            missing = None
        else:
            missing = np.asarray(pc.or_(lon_column.is_null(), lat_column.is_null()))
        return pa.array(np.atleast_1d(mask), mask=missing)

    return evaluate_point_in_shape


def _compile_comparison(expression: Expr, column_numbers: ColumnNumbers, free_slots: frozenset[int]) -> Evaluate:
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
            evaluate_lower, evaluate_upper = (
                _compile_column_comparison(expression.operand, ">=", low, column_numbers, free_slots),
                _compile_column_comparison(expression.operand, "<=", high, column_numbers, free_slots),
            )
            if expression.negated:
                return lambda frame, values: pc.invert(
                    pc.and_kleene(evaluate_lower(frame, values), evaluate_upper(frame, values))
                )
            return lambda frame, values: pc.and_kleene(evaluate_lower(frame, values), evaluate_upper(frame, values))
    elif isinstance(expression, InPredicate) and not isinstance(expression.choices, Subquery):
        if len(expression.choices) > MAX_INLINE_VALUES:
            return _compile_long_in(expression, expression.choices, column_numbers, free_slots)
        choice_constants = [compile_constant(choice, free_slots) for choice in expression.choices]
        tests = [
            _compile_column_comparison(expression.operand, "=", value, column_numbers, free_slots)
            for value in choice_constants
            if value is not None
        ]
        if len(tests) == len(choice_constants):
            return _combine_tests(tests, negated=expression.negated)
    raise UnsupportedByArrowError


def _compile_literal_comparison(expression: Expr, free_slots: frozenset[int]) -> Evaluate | None:
    """Compile a comparison of literals alone, as views have them (``'image' IN ('image', 'cube')``).

    None if it is something else.
    """
    sides: tuple[Expr, ...] = ()
    if isinstance(expression, Comparison) and expression.op in {"=", "<>"}:
        sides = (expression.left, expression.right)
    elif (
        isinstance(expression, InPredicate)
        and not isinstance(expression.choices, Subquery)
        and len(expression.choices) <= MAX_INLINE_VALUES
    ):
        sides = (expression.operand, *expression.choices)
    side_constants = [compile_constant(side, free_slots) for side in sides if isinstance(side, Literal)]
    if not sides or len(side_constants) < len(sides):
        return None
    if isinstance(expression, Comparison):
        negated = expression.op == "<>"
    else:
        negated = isinstance(expression, InPredicate) and expression.negated

    def evaluate_literals(_: pa.RecordBatch, literal_values: Values) -> pa.Scalar:
        operand, *choices = (value(literal_values) for value in side_constants if value is not None)
        if len({isinstance(value, str) for value in (operand, *choices)}) > 1 or None in {operand, *choices}:
            raise UnsupportedByArrowError
        return pa.scalar((operand in choices) != negated, pa.bool_())

    return evaluate_literals


def _compile_like(expression: LikePredicate, column_numbers: ColumnNumbers, free_slots: frozenset[int]) -> Evaluate:
    """Compile LIKE: ``%`` is any text, ``_`` any character, nothing quotes them."""
    evaluate_text, pattern = (
        _compile_text(expression.operand, column_numbers),
        compile_constant(expression.pattern, free_slots),
    )
    if evaluate_text is None or pattern is None:
        raise UnsupportedByArrowError
    ignore_case = expression.ignore_case
    negated = expression.negated

    def evaluate_like(frame: pa.RecordBatch, literal_values: Values) -> Any:
        pattern_text, column = pattern(literal_values), evaluate_text(frame, literal_values)
        if not isinstance(pattern_text, str) or "\0" in pattern_text:
            raise UnsupportedByArrowError
        if ignore_case and not (pattern_text.isascii() and _is_ascii(column)):
            raise UnsupportedByArrowError
        regular_expression = "".join(_LIKE_WILDCARDS.get(letter) or re.escape(letter) for letter in pattern_text)
        mask = pc.match_substring_regex(column, rf"(?s)\A{regular_expression}\z", ignore_case=ignore_case)
        return pc.invert(mask) if negated else mask

    return evaluate_like


_LIKE_WILDCARDS = {"%": ".*", "_": "."}
_CASE_FUNCTIONS: dict[str, Callable[[Any], Any]] = {"LOWER": pc.ascii_lower, "UPPER": pc.ascii_upper}


def _compile_text(expression: Expr, column_numbers: ColumnNumbers) -> Evaluate | None:
    """Compile a column of text, maybe in LOWER or UPPER; None if it is something else."""
    case_function = None
    if isinstance(expression, FunctionCall) and expression.name in _CASE_FUNCTIONS and len(expression.args) == 1:
        case_function = _CASE_FUNCTIONS[expression.name]
        expression = expression.args[0]
    column_match = column_numbers.find_column(expression)
    if column_match is None or not column_match[1].is_string:
        return None
    column_number = column_match[0]

    def evaluate_text(frame: pa.RecordBatch, _: Values) -> Any:
        column = frame.column(column_number)
        if case_function is None:
            return column
        if not _is_ascii(column):  # the engines know different editions of Unicode
            raise UnsupportedByArrowError
        return case_function(column)

    return evaluate_text


def _is_ascii(column: pa.Array) -> bool:
    return bool(pc.all(pc.string_is_ascii(column), min_count=0).as_py())


def _compile_long_in(
    expression: InPredicate, choices: Sequence[Expr], column_numbers: ColumnNumbers, free_slots: frozenset[int]
) -> Evaluate:
    column_match = column_numbers.find_column(expression.operand)
    list_values = compile_constant_list(choices, free_slots)
    negated = expression.negated
    if column_match is None or list_values is None or not (column_match[1].is_integer or column_match[1].is_string):
        raise UnsupportedByArrowError
    column_number = column_match[0]

    def evaluate_long_in(frame: pa.RecordBatch, literal_values: Values) -> Any:
        mask = test_membership(frame.column(column_number), list_values(literal_values))
        if mask is None:
            raise UnsupportedByArrowError
        return pc.invert(mask) if negated else mask

    return evaluate_long_in


def _combine_tests(tests: list[Evaluate], *, negated: bool) -> Evaluate:
    def evaluate_any(frame: pa.RecordBatch, literal_values: Values) -> Any:
        mask = tests[0](frame, literal_values)
        for test in tests[1:]:
            mask = pc.or_kleene(mask, test(frame, literal_values))
        return pc.invert(mask) if negated else mask

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
    expression: Expr, operator: str, value: Constant, column_numbers: ColumnNumbers, free_slots: frozenset[int]
) -> Evaluate:
    if is_text(expression):
        raise UnsupportedByArrowError
    if isinstance(expression, FunctionCall):
        evaluate_text = _compile_text(expression, column_numbers)
    else:
        evaluate_text = None
    if evaluate_text is not None:
        return lambda frame, values: _COMPARISON_FUNCTIONS[operator](
            evaluate_text(frame, values), _to_string_scalar(value(values))
        )
    evaluate_remainder = _compile_remainder(expression, column_numbers, free_slots)
    if evaluate_remainder is not None:
        return lambda frame, values: _compare_integers(
            evaluate_remainder(frame, values), operator, _require_number(value(values))
        )
    column_match = column_numbers.find_column(expression)
    if column_match is None:
        distance = _compile_distance(expression, column_numbers, free_slots)
        return lambda frame, values: _compare_floats(distance(frame, values), operator, _require_number(value(values)))
    column_number, column_type = column_match
    if column_type.is_timestamp:
        return lambda frame, values: _COMPARISON_FUNCTIONS[operator](
            frame.column(column_number), _to_timestamp_scalar(value(values))
        )
    if column_type.is_string:
        return lambda frame, values: _COMPARISON_FUNCTIONS[operator](
            frame.column(column_number), _to_string_scalar(value(values))
        )
    if column_type.is_integer:
        return lambda frame, values: _compare_integers(
            frame.column(column_number), operator, _require_number(value(values))
        )
    if column_type.is_numeric:
        return lambda frame, values: _compare_floats(
            frame.column(column_number), operator, _require_number(value(values))
        )
    raise UnsupportedByArrowError


def _compile_remainder(expression: Expr, column_numbers: ColumnNumbers, free_slots: frozenset[int]) -> Evaluate | None:
    """Compile ``MOD(column, 2)`` or ``column % 2`` of whole numbers; None if it is something else."""
    if isinstance(expression, FunctionCall) and expression.name == "MOD":
        dividend, divisor_expression = expression.args
    elif isinstance(expression, BinaryOperation) and expression.op == "%":
        dividend = expression.left
        divisor_expression = expression.right
    else:
        return None
    column_match = column_numbers.find_column(dividend)
    divisor_constant = compile_constant(divisor_expression, free_slots)
    if column_match is None or divisor_constant is None or not column_match[1].is_integer:
        raise UnsupportedByArrowError
    column_number = column_match[0]

    def evaluate_remainder(frame: pa.RecordBatch, literal_values: Values) -> pa.Array:
        column, divisor = frame.column(column_number), _require_number(divisor_constant(literal_values))
        if not 0 < divisor < 2**53 or divisor != int(divisor):
            raise UnsupportedByArrowError
        numbers = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        # the sign of the column's value
        return pa.array(np.fmod(numbers, np.int64(int(divisor))), mask=np.asarray(column.is_null()))

    return evaluate_remainder


def _require_number(value: float | str | None) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnsupportedByArrowError
    return value


def _to_string_scalar(value: float | str | None) -> pa.Scalar:
    if not isinstance(value, str):
        raise UnsupportedByArrowError
    return pa.scalar(value, pa.string())  # without the type Arrow looks for pandas, each time


def _to_timestamp_scalar(value: float | str | None) -> pa.Scalar:
    microseconds_value = parse_microseconds(value)
    if microseconds_value is None:
        raise UnsupportedByArrowError
    return pa.scalar(microseconds_value, pa.timestamp("us"))


def _compare_floats(column: pa.Array, operator: str, value: float) -> Any:
    if isinstance(value, int) and abs(value) > 2**53:
        raise UnsupportedByArrowError  # no double
    mask = _COMPARISON_FUNCTIONS[operator](
        column, pa.scalar(float(value), pa.float64())
    )  # a double: so is a float32 column then
    if operator in {">", ">="}:
        return pc.or_(mask, pc.is_nan(column))
    return mask


def _compare_integers(column: pa.Array, operator: str, value: float) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value) or abs(value) >= 2**53:
            raise UnsupportedByArrowError
        if value != int(value):  # between two whole numbers
            if operator in {"=", "<>"}:
                raise UnsupportedByArrowError
            if operator in {">", ">="}:
                operator, value = (">=", math.ceil(value))
            else:
                operator, value = ("<=", math.floor(value))
        value = int(value)
    if not -(2**63) <= value < 2**63:
        raise UnsupportedByArrowError
    return _COMPARISON_FUNCTIONS[operator](column, pa.scalar(int(value), pa.int64()))

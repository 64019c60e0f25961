"""Execute simple queries with Arrow alone, without DuckDB.

Such a query reads one table. It may compute values, test simple conditions, count rows with COUNT(*), limit them with
TOP, and sort a moderate number of rows.

DuckDB takes about a millisecond to plan any query; a cone search over candidates takes a tenth of that here. Values
follow the rules of DuckDB, so that both ways give the same answer: NaN equals itself and is greater than all numbers;
null is neither true nor false.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import (
    ColumnRef,
    Expr,
    FunctionCall,
    Literal,
    Query,
    Select,
    SelectItem,
    TableRef,
)
from hven.engines._query_analysis.constants import compile_constant
from hven.engines._query_analysis.geometry import (
    match_distance_points,
)
from hven.engines.duckdb.arrow_conditions import (
    BatchColumnNumbers,
    compile_arrow_condition,
    compile_arrow_distance,
    join_arrow_conditions,
    to_bool_array,
)
from hven.engines.duckdb.arrow_values import (
    MAX_COMPUTED_ROWS,
    UnsupportedByArrowError,
    compile_arrow_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.adql.syntax_tree import BoundQuery, OrderItem
    from hven.engines._query_analysis.constants import Constant
    from hven.engines.duckdb.snapshot_files import ColumnProjection, OpenRows, Rows

    Values = Sequence[float | str | None]
    Evaluate: TypeAlias = Callable[[pa.RecordBatch, Values], Any]

CONDITION_BATCH_ROWS = 65_536  # rows that are tested at a time
MAX_SORTED_ROWS = 200_000  # DuckDB sorts more rows than this


@dataclass(frozen=True, slots=True)
class ArrowSortKey:
    """An item of ORDER BY: how to compute its value, and the name of the column if it is one."""

    compute_value: Evaluate
    is_descending: bool
    column_name: str | None


@dataclass(frozen=True, slots=True)
class ArrowQuery:
    """A query that runs without DuckDB.

    Attributes
    ----------
    output_items
        For each column of the answer, the name of a stored column or a function that computes it.
    condition_columns
        Columns that the condition reads.
    stored_outputs
        The output columns that are stored columns.
    computed_columns
        Columns that computed outputs and ORDER BY read.
    max_rows
        Maximum number of rows to read here; None means that only the general limits apply.
    """

    table_ref: TableRef
    table_name: str
    condition: Evaluate | None
    condition_columns: tuple[str, ...]
    output_items: tuple[str | Evaluate, ...]
    stored_outputs: tuple[str, ...]
    computed_columns: tuple[str, ...]
    sort_keys: tuple[ArrowSortKey, ...]
    top: Constant | None
    offset: Constant | None
    is_count: bool
    schema: pa.Schema
    max_rows: int | None = None

    def can_run_on_schema(self, schema: pa.Schema) -> bool:
        """Return whether `schema` has every column that the query reads, under exactly its name."""
        read_names = (*self.condition_columns, *self.computed_columns, *self.stored_outputs)
        return all(schema.get_field_index(name) >= 0 for name in read_names)

    def answer_from_all_rows(
        self, stored: OpenRows, literal_values: Values, row_limit: int | None, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Answer from all rows of the table, for a query without condition and order."""
        answer_rows = 1 if self.is_count else stored.rows
        begin, end = self._clip_row_range(literal_values, row_limit, answer_rows)
        if self.is_count:
            yield from _build_count_batch(stored.rows, self.schema, begin, end)
            return
        stored_names = self.stored_outputs
        if len(stored_names) == len(self.output_items):
            projection = stored.get_projection(stored_names)
            for batch in projection.iterate_row_range(begin, end):
                for begin_row in range(0, batch.num_rows, batch_rows):
                    yield self._cast_output_batch(batch.slice(begin_row, batch_rows).columns)
            return
        for begin_row in range(begin, end, batch_rows):
            row_numbers = np.arange(begin_row, min(begin_row + batch_rows, end))
            yield self._compute_output_batch(stored, row_numbers, literal_values)

    def answer_from_candidates(
        self, stored: OpenRows, row_numbers: Rows, literal_values: Values, row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        """Answer from candidate rows, which are ascending or already in the order that the query wants."""
        if self.is_count or self.sort_keys:
            passing_parts = list(self.iterate_passing_rows(stored, row_numbers, literal_values))
            if passing_parts:
                passing_rows = np.concatenate(passing_parts)
            else:
                passing_rows = np.empty(0, np.int64)
            if self.is_count:
                answer_rows = 1
            else:
                answer_rows = len(passing_rows)
            begin, end = self._clip_row_range(literal_values, row_limit, answer_rows)
            if self.is_count:
                yield from _build_count_batch(len(passing_rows), self.schema, begin, end)
            else:
                sorted_rows = self._sort_rows(stored, passing_rows, literal_values)
                yield self._compute_output_batch(stored, sorted_rows[begin:end], literal_values)
            return
        begin, end = self._clip_row_range(literal_values, row_limit, len(row_numbers))
        rows_before = 0
        for part in self.iterate_passing_rows(stored, row_numbers, literal_values):
            low = max(begin - rows_before, 0)
            high = end - rows_before
            rows_before += len(part)
            if high <= 0:
                return
            window_part = part[low:high]
            if len(window_part):
                yield self._compute_output_batch(stored, window_part, literal_values)

    def answer_from_ordered_rows(
        self, stored: OpenRows, row_numbers: Rows, literal_values: Values, row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        """Answer a query without a condition from rows that already have the order it wants."""
        begin, end = self._clip_row_range(literal_values, row_limit, len(row_numbers))
        if end > begin:
            yield self._compute_output_batch(stored, row_numbers[begin:end], literal_values)

    def compute_row_range(self, literal_values: Values, row_limit: int | None) -> tuple[int, int | None]:
        """Return the number of the first row wanted and that behind the last one; None means up to the end."""
        begin = _evaluate_integer(self.offset, literal_values) or 0
        top = _evaluate_integer(self.top, literal_values)
        if top is None:
            return begin, None if row_limit is None else begin + row_limit
        return begin, begin + (top if row_limit is None else min(top, row_limit))

    def _clip_row_range(self, literal_values: Values, row_limit: int | None, row_count: int) -> tuple[int, int]:
        begin, end = self.compute_row_range(literal_values, row_limit)
        if end is None:
            end = row_count
        return min(begin, row_count), min(end, row_count)

    def iterate_passing_rows(self, stored: OpenRows, row_numbers: Rows, literal_values: Values) -> Iterator[Rows]:
        """Yield the rows that meet the condition in batches, in the order of `row_numbers`."""
        if self.condition is None:
            yield row_numbers
            return
        columns = stored.get_projection(self.condition_columns)
        for begin in range(0, len(row_numbers), CONDITION_BATCH_ROWS):
            part = row_numbers[begin : begin + CONDITION_BATCH_ROWS]
            mask = self.condition(_read_row_batch(columns, part), literal_values)
            passing_part = part[to_bool_array(mask, len(part))]
            if len(passing_part):
                yield passing_part

    def _sort_rows(self, stored: OpenRows, row_numbers: Rows, literal_values: Values) -> Rows:
        if len(row_numbers) < 2:
            return row_numbers
        frame = _read_row_batch(stored.get_projection(self.computed_columns), row_numbers)
        key_columns = {}
        sort_orders = []
        for number, sort_key in enumerate(self.sort_keys):
            key_column = sort_key.compute_value(frame, literal_values)
            if pa.types.is_floating(key_column.type) and pc.any(pc.is_nan(key_column)).as_py():
                raise UnsupportedByArrowError
            key_columns[str(number)] = key_column
            direction = "descending" if sort_key.is_descending else "ascending"
            sort_orders.append((str(number), direction))
        sort_indices = pc.sort_indices(pa.table(key_columns), sort_keys=sort_orders)
        sorted_rows: Rows = row_numbers[np.asarray(sort_indices)]
        return sorted_rows

    def _compute_output_batch(self, stored: OpenRows, row_numbers: Rows, literal_values: Values) -> pa.RecordBatch:
        stored_names = self.stored_outputs
        if stored_names:
            projection = stored.get_projection(stored_names)
            stored_columns = iter(_read_row_batch(projection, row_numbers).columns)
        else:
            stored_columns = iter(())
        has_computed_outputs = len(stored_names) < len(self.output_items)
        frame = None
        if self.computed_columns and has_computed_outputs:
            frame = _read_row_batch(stored.get_projection(self.computed_columns), row_numbers)
        elif has_computed_outputs:  # only constants: a frame without columns would have no rows
            frame = pa.RecordBatch.from_arrays([pa.nulls(len(row_numbers))], names=[""])
        output_columns = []
        for item in self.output_items:
            if isinstance(item, str):
                output_columns.append(next(stored_columns))
            else:
                output_columns.append(item(frame, literal_values))
        return self._cast_output_batch(output_columns)

    def _cast_output_batch(self, columns: Sequence[pa.Array]) -> pa.RecordBatch:
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
        counts = pa.array([row_count], schema.field(0).type)
        yield pa.RecordBatch.from_arrays([counts], schema=schema)


def _read_row_batch(projection: ColumnProjection, row_numbers: Rows) -> pa.RecordBatch:
    """Read rows; neighbouring rows are read without a copy."""
    row_count = len(row_numbers)
    if row_count < 2:
        return projection.take_ascending_rows(row_numbers)
    if not bool((row_numbers[1:] > row_numbers[:-1]).all()):
        return projection.take_rows(row_numbers)
    first_row = int(row_numbers[0])
    last_row = int(row_numbers[-1])
    if last_row - first_row != row_count - 1:
        return projection.take_ascending_rows(row_numbers)
    batches = list(projection.iterate_row_range(first_row, last_row + 1))
    if len(batches) == 1:
        return batches[0]
    return pa.concat_batches(batches)


def _evaluate_integer(constant_number: Constant | None, literal_values: Values) -> int | None:
    if constant_number is None:
        return None
    value = constant_number(literal_values)
    if not isinstance(value, int | float):
        raise UnsupportedByArrowError
    return int(value)


# --- compiling -------------------------------------------------------------------------------------------------------


def match_arrow_query(bound_query: BoundQuery, schema: pa.Schema) -> ArrowQuery | None:
    """Compile a query that can run without DuckDB; return None for other queries."""
    try:
        return _compile_arrow_query(bound_query, schema)
    except (UnsupportedByArrowError, RecursionError):  # DuckDB also executes values of a thousand parts
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
    free_slots = bound_query.free_slots
    condition_columns = BatchColumnNumbers(table_ref.number, {})
    # a row filter is bound over the table alone, as number 0
    policy_columns = BatchColumnNumbers(0, condition_columns.number_by_name)
    condition = None
    if table_ref.where is not None:
        condition = compile_arrow_condition(table_ref.where, policy_columns, free_slots)
    if select.where is not None:
        own_condition = compile_arrow_condition(select.where, condition_columns, free_slots)
        if condition is None:
            condition = own_condition
        else:
            condition = join_arrow_conditions(condition, own_condition)
    computed_columns = BatchColumnNumbers(table_ref.number, {})
    items = [item for item in select.items if isinstance(item, SelectItem)]
    is_count = len(items) == 1 and _is_count_star(items[0].expr)
    output_items: list[str | Evaluate] = []
    stored_outputs: list[str] = []
    max_rows = None
    for item in () if is_count else items:
        output_item = _compile_output_item(item.expr, computed_columns, free_slots)
        if isinstance(output_item, str):
            stored_outputs.append(output_item)
        elif not match_distance_points(item.expr):
            max_rows = MAX_COMPUTED_ROWS
        output_items.append(output_item)
    if is_count and query.order_by:
        raise UnsupportedByArrowError
    sort_keys = tuple(_compile_sort_key(order, items, computed_columns, free_slots) for order in query.order_by)
    return ArrowQuery(
        table_ref=table_ref,
        table_name=table_ref.table.qualified_name,
        condition=condition,
        condition_columns=tuple(condition_columns.number_by_name),
        output_items=tuple(output_items),
        stored_outputs=tuple(stored_outputs),
        computed_columns=tuple(computed_columns.number_by_name),
        sort_keys=sort_keys,
        top=_compile_optional_constant(select.top, free_slots),
        offset=_compile_optional_constant(query.offset, free_slots),
        is_count=is_count,
        schema=schema,
        max_rows=max_rows,
    )


def _compile_optional_constant(literal: Literal | None, free_slots: frozenset[int]) -> Constant | None:
    if literal is None:
        return None
    return compile_constant(literal, free_slots)


def _is_count_star(expression: Expr) -> bool:
    return isinstance(expression, FunctionCall) and expression.name == "COUNT" and expression.star


def _compile_output_item(
    expression: Expr, column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> str | Evaluate:
    if (
        isinstance(expression, ColumnRef)
        and expression.source == column_numbers.table_number
        and expression.column is not None
    ):
        return expression.column.name
    if match_distance_points(expression) is not None:
        return compile_arrow_distance(expression, column_numbers, free_slots)

    def compile_mask(condition: Expr) -> Evaluate:
        evaluate_condition = compile_arrow_condition(condition, column_numbers, free_slots)
        return lambda frame, values: to_bool_array(evaluate_condition(frame, values), frame.num_rows)

    return compile_arrow_value(expression, column_numbers.register_column, free_slots, compile_mask)


def _compile_sort_key(
    order: OrderItem, items: Sequence[SelectItem], column_numbers: BatchColumnNumbers, free_slots: frozenset[int]
) -> ArrowSortKey:
    expression = order.expr
    if isinstance(expression, Literal):
        expression = _find_item_by_position(expression, items, free_slots).expr
    if isinstance(expression, ColumnRef) and expression.source != column_numbers.table_number:
        expression = _find_output_by_name(expression, items)
    column_match = column_numbers.register_column(expression)
    if column_match is None:
        compute_distance = compile_arrow_distance(expression, column_numbers, free_slots)
        return ArrowSortKey(compute_distance, order.descending, None)
    column_number, column_type = column_match
    if not column_type.is_numeric and not column_type.is_string and not column_type.is_timestamp:
        raise UnsupportedByArrowError
    column_name = None
    if isinstance(expression, ColumnRef) and expression.column is not None:
        column_name = expression.column.name
    return ArrowSortKey(lambda frame, _: frame.column(column_number), order.descending, column_name)


def _find_item_by_position(position: Literal, items: Sequence[SelectItem], free_slots: frozenset[int]) -> SelectItem:
    """Return the item of the select list that a number in ORDER BY means."""
    if not isinstance(position.value, int) or position.slot in free_slots:
        raise UnsupportedByArrowError
    if not 1 <= position.value <= len(items):
        raise UnsupportedByArrowError
    return items[position.value - 1]


def _find_output_by_name(column_ref: ColumnRef, items: Sequence[SelectItem]) -> Expr:
    """Return the expression of the output column that a name in ORDER BY means."""
    if column_ref.column is None or column_ref.source >= 0:
        raise UnsupportedByArrowError
    column_name = column_ref.column.name
    expressions = [item.expr for item in items if item.column is not None and item.column.name == column_name]
    if len(expressions) != 1:
        raise UnsupportedByArrowError
    return expressions[0]

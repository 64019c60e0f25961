"""Find the rows nearest to steps of time.

Where a query numbers the rows of each step by their distance from its middle, only few rows need to be read.

The pattern is that of a cadence, ``ROW_NUMBER() OVER (PARTITION BY c, CEILING(s - a) ORDER BY ROUND(ABS(s - CEILING(s -
a)) * b), ..) = 1``, where `s` grows with one indexed column. In the order of that column, the rows of a step are
contiguous, and the rows nearest to its middle are there. Each step takes a few binary searches; no row between is read.
DuckDB then numbers the rows that this module finds: they may be too many, but never too few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy as np
import pyarrow as pa

from hven.adql.syntax_tree import (
    BinaryOperation,
    ColumnRef,
    Comparison,
    DerivedTable,
    Expr,
    FunctionCall,
    InPredicate,
    Literal,
    NullPredicate,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    WindowExpression,
    split_conjuncts,
    walk_tree,
)
from hven.engines._query_analysis.constants import compile_constant
from hven.engines._query_analysis.narrowable_selects import analyse_select, find_ungrouped_select, match_indexed_column
from hven.engines.duckdb.index_accesses import (
    CandidateRows,
    IndexAccess,
    KeyRangeAccess,
    expand_ranges,
    find_key_access,
)
from hven.model.sky.api.ragged_arrays import sort_distinct

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.engines._query_analysis.constants import Constant
    from hven.engines._query_analysis.narrowable_selects import NarrowableSelect
    from hven.engines.duckdb.snapshot_files import KeyIndex, OpenSnapshot

    Rows = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]
    Values = Sequence[float | str | None]

MAX_PARTITIONS = 64  # combinations of the other partition columns, each of which is searched on its own
UNIX_EPOCH_MJD = 40_587.0
MICROSECONDS_PER_DAY = 86_400e6
TOO_MANY_CANDIDATES = CandidateRows(-1)


@dataclass(frozen=True, slots=True)
class _TimeStepConversion:
    """Conversion between the values of the indexed column and steps, that is values of `s` in the pattern."""

    operations: tuple[tuple[str, float], ...]
    is_timestamp: bool

    def to_steps(self, index_values: Numbers) -> Numbers:
        steps = index_values
        if self.is_timestamp:
            steps = index_values / MICROSECONDS_PER_DAY + UNIX_EPOCH_MJD
        for operator, operand in self.operations:
            if operator == "*":
                steps = steps * operand
            else:
                steps = steps - operand
        return steps

    def to_index_values(self, steps: Numbers) -> Numbers:
        for operator, operand in reversed(self.operations):
            if operator == "*":
                steps = steps / operand
            else:
                steps = steps + operand
        if self.is_timestamp:
            return (steps - UNIX_EPOCH_MJD) * MICROSECONDS_PER_DAY
        return steps


@dataclass(frozen=True, slots=True)
class NearestRowsAccess(IndexAccess):
    """The first rows of steps.

    Attributes
    ----------
    column
        The indexed column that `s` of the pattern is computed from.
    partition_columns
        The other columns of a partition.
    step_operations
        How `s` is computed: the constants that are subtracted from the column and that multiply it.
    pattern_constants
        The number that must be 1, a and b of the pattern.
    key_ranges
        Other conditions on the column.
    equal_slots
        Slots of literals that must be equal.
    """

    column: str
    partition_columns: tuple[str, ...]
    step_operations: tuple[tuple[str, Constant], ...]
    pattern_constants: tuple[Constant, Constant, Constant]
    key_ranges: tuple[KeyRangeAccess, ...]
    equal_slots: tuple[tuple[int, int], ...]

    def find_candidate_rows(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidate_rows`."""
        index = stored.get_key_index(self.column)
        if index is None or index.values is None or index.values.dtype not in (np.int64, np.float64):
            return None
        numbers = self._compute_pattern_constants(literal_values)
        if numbers is None:
            return None
        places = self._find_place_range(index, literal_values)
        if places is None:
            return None
        begin, end = places
        _, offset, factor, *operands = numbers
        operators = [operator for operator, _ in self.step_operations]
        operations = tuple(zip(operators, operands, strict=True))
        has_growing_steps = all(operator != "*" or operand > 0 for operator, operand in operations)
        if begin >= end or factor <= 0 or not has_growing_steps:
            return None
        key = (self.column, self.partition_columns, offset, factor, *operations, begin, end)
        candidates = stored.nearest_rows_cache.find(key)
        if candidates is None:
            conversion = _TimeStepConversion(operations, pa.types.is_timestamp(index.arrow_type))
            candidates = self._find_nearest_rows(
                stored, index, (begin, end), conversion, offset=offset, factor=factor, row_limit=row_limit
            )
            stored.nearest_rows_cache.store(key, candidates, 8 * candidates.count + 1000)
        if 0 <= candidates.count <= row_limit:
            return candidates
        return None

    def _compute_pattern_constants(self, literal_values: Values) -> list[float] | None:
        """Return the constants of the pattern and of the steps; None if this run does not have the pattern."""
        operand_constants = [constant for _, constant in self.step_operations]
        numbers = []
        for constant in (*self.pattern_constants, *operand_constants):
            value = constant(literal_values)
            if not isinstance(value, int | float) or not math.isfinite(value):
                return None
            numbers.append(float(value))
        if numbers[0] != 1:
            return None
        for first_slot, second_slot in self.equal_slots:
            if literal_values[first_slot] != literal_values[second_slot]:
                return None
        return numbers

    def _find_place_range(self, index: KeyIndex, literal_values: Values) -> tuple[int, int] | None:
        """Return the places of the index that all key ranges leave; None if one of them cannot be looked up."""
        begin = 0
        end = index.count
        for key_range in self.key_ranges:
            places = key_range.find_index_place_range(index, literal_values)
            if places is None:
                return None
            begin = max(begin, places[0])
            end = min(end, places[1])
        return begin, end

    def _find_nearest_rows(
        self,
        stored: OpenSnapshot,
        index: KeyIndex,
        place_range: tuple[int, int],
        conversion: _TimeStepConversion,
        *,
        offset: float,
        factor: float,
        row_limit: int,
    ) -> CandidateRows:
        assert index.values is not None  # noqa: S101  (find_candidates has tested it)
        index_values = index.values[slice(*place_range)]
        end_values = np.array([index_values[0], index_values[-1]], np.float64)
        end_steps = conversion.to_steps(end_values)
        if not np.isfinite(end_steps).all() or 2 * (end_steps[1] - end_steps[0]) > row_limit:
            return TOO_MANY_CANDIDATES
        first_step = math.floor(end_steps[0] - offset)
        last_step = math.ceil(end_steps[1] - offset)
        steps = np.arange(first_step, last_step + 1, dtype=np.float64)
        partitions = self._partition_places(stored, index, *place_range)
        if partitions is None or 2 * len(steps) * len(partitions) > row_limit:
            return TOO_MANY_CANDIDATES
        middles = conversion.to_index_values(steps)
        step_edges = conversion.to_index_values(np.append(steps[0] - 1, steps) + offset)
        first_edges = conversion.to_index_values(np.array([end_steps[0], end_steps[0] + 1]))
        step_width = float(np.diff(first_edges)[0])
        # the rounding errors of doubles between the column and `s`
        step_spacing = np.spacing(np.abs(end_steps).max())
        value_spacing = np.spacing(np.abs(end_values).max())
        rounding_error = 4.0 * conversion.is_timestamp + 16 * float(step_spacing * step_width + value_spacing)
        # distances that ROUND makes equal
        tolerance = step_width / factor + rounding_error
        place_parts = []
        for partition_places in partitions:
            if partition_places is None:
                places = _find_nearest_places(index_values, middles, step_edges, tolerance, rounding_error)
            else:
                partition_values = index_values[partition_places]
                places = _find_nearest_places(partition_values, middles, step_edges, tolerance, rounding_error)
                places = partition_places[places]
            place_parts.append(places)
        rows = np.concatenate(place_parts) + place_range[0]
        if index.rows is not None:
            rows = index.rows[rows].astype(np.int64)
        return CandidateRows(len(rows), pieces=(rows,))

    def _partition_places(
        self, stored: OpenSnapshot, index: KeyIndex, first_place: int, end_place: int
    ) -> list[Rows | None] | None:
        """Divide a range of places by the values of the other partition columns.

        The list ``[None]`` means that all places are one partition. Return None if there are too many partitions.
        """
        if not self.partition_columns:
            return [None]
        projection = stored.get_projection(self.partition_columns)
        if index.rows is None:
            rows = pa.Table.from_batches(projection.iterate_row_range(first_place, end_place))
        else:
            rows = projection.take_rows(index.list_row_numbers(first_place, end_place))
        codes = np.zeros(end_place - first_place, np.int64)
        partition_count = 1
        for column in rows.columns:
            array = column
            if isinstance(column, pa.ChunkedArray):
                array = column.combine_chunks()
            encoded = array.dictionary_encode("encode")
            partition_count *= len(encoded.dictionary)
            if partition_count > MAX_PARTITIONS:
                return None
            codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy()
        partition_codes = codes.astype(np.uint8)
        partitions = [np.flatnonzero(partition_codes == code) for code in range(partition_count)]
        return [places for places in partitions if len(places)]

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return f"index of {self.column} (nearest to each step)"


def _find_nearest_places(
    index_values: npt.NDArray[Any], middles: Numbers, step_edges: Numbers, tolerance: float, rounding_error: float
) -> Rows:
    """Return the places of the values that may be nearest to the middle of their step."""

    def search_places(searched_values: Numbers) -> Rows:
        if index_values.dtype.kind == "i":
            places = np.searchsorted(index_values, np.ceil(searched_values).astype(np.int64))
        else:
            places = np.searchsorted(index_values, searched_values)
        return places.astype(np.int64)

    outer_places = search_places(step_edges - rounding_error)
    inner_places = search_places(step_edges + rounding_error)
    # the places that are in the step for certain
    begin = inner_places[:-1]
    end = np.maximum(outer_places[1:], inner_places[:-1])
    middle = np.clip(search_places(middles), begin, end)
    value_before = index_values[np.maximum(middle - 1, 0)]
    value_after = index_values[np.minimum(middle, len(index_values) - 1)]
    distance_before = np.where(middle > begin, middles - value_before, np.inf)
    distance_after = np.where(middle < end, value_after - middles, np.inf)
    distances = np.minimum(distance_before, distance_after)
    is_certain = np.isfinite(distances)
    distances = np.where(is_certain, distances, 0.0) + tolerance
    nearest_begin = np.maximum(search_places(middles - distances), outer_places[:-1])
    nearest_end = np.minimum(search_places(middles + distances + rounding_error), inner_places[1:])
    low = np.where(is_certain, nearest_begin, outer_places[:-1])
    high = np.where(is_certain, nearest_end, inner_places[1:])
    place_ranges = np.stack([low, np.maximum(low, high)], axis=1)
    return sort_distinct(expand_ranges(place_ranges))


def match_nearest_rows_pattern(select: Select, free_slots: frozenset[int]) -> tuple[int, NearestRowsAccess] | None:
    """Find the pattern in a SELECT; return the number of the table reference that it narrows, and the access."""
    source = select.source
    if not isinstance(source, DerivedTable) or source.query.offset is not None:
        return None
    body = source.query.body
    if not isinstance(body, Select) or body.top is not None or body.distinct or body.group_by:
        return None
    windows: dict[str, WindowExpression] = {}
    for column, item in zip(source.columns, body.items, strict=True):
        if isinstance(item, SelectItem) and isinstance(item.expr, WindowExpression):
            windows[column.name] = item.expr
    if len(windows) != 1:
        return None
    for test in split_conjuncts(select.where):
        if not isinstance(test, Comparison) or test.op != "=" or not isinstance(test.left, ColumnRef):
            continue
        column_name = ""
        if test.left.column:
            column_name = test.left.column.name
        window = windows.get(column_name)
        required_one = compile_constant(test.right, free_slots)
        if test.left.source == source.number and window is not None and required_one is not None:
            return _match_window_pattern(body, window, required_one, free_slots)
    return None


def _match_window_pattern(
    body: Select, window: WindowExpression, required_one: Constant, free_slots: frozenset[int]
) -> tuple[int, NearestRowsAccess] | None:
    inner_select = analyse_select(body)
    table_ref = _find_innermost_table(body)
    pattern = _match_row_number_window(window, inner_select)
    if table_ref is None or pattern is None:
        return None
    partition_columns, expressions = pattern
    step_operations, value_expression = _split_constant_operations(expressions.value, free_slots)
    column_name = _find_value_column(value_expression, inner_select, table_ref)
    offset_constant = compile_constant(expressions.offset, free_slots)
    factor_constant = compile_constant(expressions.factor, free_slots)
    if column_name is None or offset_constant is None or factor_constant is None:
        return None
    step_difference = BinaryOperation("-", expressions.value, expressions.step)
    equal_expressions: list[tuple[Expr, Expr]] = [(expressions.distance, step_difference)]
    key_ranges = []
    for test, _ in inner_select.conditions:
        if _is_call_constant_comparison(test, free_slots):  # it leaves whole steps out
            equal_expressions.append((test.left, expressions.step))
        elif not _is_not_null_condition(test, column_name, inner_select, table_ref.number):
            key_range = find_key_access(test, inner_select, table_ref.number, free_slots)
            if not isinstance(key_range, KeyRangeAccess) or key_range.column != column_name:
                return None
            key_ranges.append(key_range)
    equal_slots = _list_literal_slots_to_equate(equal_expressions, free_slots)
    if equal_slots is None:
        return None
    access = NearestRowsAccess(
        column_name,
        partition_columns=partition_columns,
        step_operations=step_operations,
        pattern_constants=(required_one, offset_constant, factor_constant),
        key_ranges=tuple(key_ranges),
        equal_slots=equal_slots,
    )
    return table_ref.number, access


def _match_row_number_window(
    window: WindowExpression, inner_select: NarrowableSelect
) -> tuple[tuple[str, ...], _CadenceExpressions] | None:
    """Return the stored columns that a window partitions by and the expressions of its pattern."""
    if window.function.name != "ROW_NUMBER" or window.frame is not None or not window.order_by:
        return None
    order = window.order_by[0]
    if order.descending:
        return None
    partition_columns, step_expressions = _split_partition_expressions(window, inner_select)
    order_expression = _resolve_derived_expression(order.expr, inner_select)
    expressions = _match_cadence_expressions(step_expressions, order_expression)
    if expressions is None:
        return None
    return partition_columns, expressions


def _find_value_column(expression: Expr, inner_select: NarrowableSelect, table_ref: TableRef) -> str | None:
    """Return the indexed column of numbers that an expression is, or that of timestamps that it takes the MJD of."""
    is_timestamp = isinstance(expression, FunctionCall) and expression.name == "IVO_TO_MJD"
    if isinstance(expression, FunctionCall) and is_timestamp:
        expression = expression.args[0]
    column_name = match_indexed_column(inner_select, table_ref.number, expression)
    if column_name is None or table_ref.table is None:
        return None
    column = table_ref.table.find_column(column_name)
    if column.type.is_timestamp == is_timestamp:
        return column_name
    return None


def _find_innermost_table(body: Select) -> TableRef | None:
    """Return the stored table that a SELECT reads through derived tables that only choose rows and columns."""
    source = body.source
    while isinstance(source, DerivedTable):
        inner_select = find_ungrouped_select(source.query)
        if inner_select is None:
            return None
        source = inner_select.source
    if not isinstance(source, TableRef) or source.cte or source.where is not None:
        return None
    return source


def _split_partition_expressions(
    window: WindowExpression, inner_select: NarrowableSelect
) -> tuple[tuple[str, ...], list[Expr]]:
    """Return the stored columns that a window partitions by, and the other expressions."""
    column_names = []
    expressions = []
    for part in window.partition:
        column_ref = inner_select.find_stored_column(part)
        if column_ref is None:
            expressions.append(_resolve_derived_expression(part, inner_select))
        elif column_ref.column is not None:
            column_names.append(column_ref.column.name)
    return tuple(column_names), expressions


class _CadenceExpressions(NamedTuple):
    """Expressions of the pattern ``CEILING(value - offset)``, the step, and ``ROUND(ABS(distance) * factor)``."""

    step: FunctionCall
    value: Expr
    offset: Expr
    distance: Expr
    factor: Expr


def _match_cadence_expressions(steps: Sequence[Expr], order_expression: Expr) -> _CadenceExpressions | None:
    match steps:
        case [FunctionCall(name="CEILING", args=(BinaryOperation(op="-", left=value, right=offset),)) as step]:
            pass
        case _:
            return None
    match order_expression:
        case FunctionCall(name="ROUND", args=(BinaryOperation(op="*", left=absolute_distance, right=factor),)):
            pass
        case _:
            return None
    match absolute_distance:
        case FunctionCall(name="ABS", args=(distance,)):
            return _CadenceExpressions(step, value, offset, distance, factor)
        case _:
            return None


def _split_constant_operations(
    expression: Expr, free_slots: frozenset[int]
) -> tuple[tuple[tuple[str, Constant], ...], Expr]:
    """Return the operations with constants that an expression applies, in their order, and the inner expression."""
    operations: list[tuple[str, Constant]] = []
    while isinstance(expression, BinaryOperation) and expression.op in "*-":
        operand = compile_constant(expression.right, free_slots)
        if operand is None:
            break
        operations.append((expression.op, operand))
        expression = expression.left
    return tuple(reversed(operations)), expression


def _is_call_constant_comparison(condition: Expr, free_slots: frozenset[int]) -> TypeGuard[Comparison]:
    """Return whether a condition compares a computed value with a constant."""
    if not isinstance(condition, Comparison) or not isinstance(condition.left, FunctionCall):
        return False
    return compile_constant(condition.right, free_slots) is not None


def _is_not_null_condition(
    condition: Expr, column_name: str, inner_select: NarrowableSelect, table_number: int
) -> bool:
    if not isinstance(condition, NullPredicate) or not condition.negated:
        return False
    return match_indexed_column(inner_select, table_number, condition.operand) == column_name


def _list_literal_slots_to_equate(
    expression_pairs: Sequence[tuple[Expr, Expr]], free_slots: frozenset[int]
) -> tuple[tuple[int, int], ...] | None:
    """Return the pairs of free slots that make equal expressions the same; None if the expressions differ."""
    if any(left != right for left, right in expression_pairs):
        return None
    slots = []
    for pair in expression_pairs:
        left_literals, right_literals = (
            [node for node in walk_tree(expression) if isinstance(node, Literal)] for expression in pair
        )
        for left_literal, right_literal in zip(left_literals, right_literals, strict=True):
            if {left_literal.slot, right_literal.slot} & free_slots:
                slots.append((left_literal.slot, right_literal.slot))
    return tuple(slots)


def _resolve_derived_expression(expression: Expr, inner_select: NarrowableSelect) -> Expr:
    """Follow a column of derived tables to the expression that computes it."""
    while isinstance(expression, ColumnRef) and expression.column is not None:
        derived_expression = inner_select.derived_expressions.get((expression.source, expression.column.name))
        if derived_expression is None:
            break
        expression = derived_expression
    return expression


def list_same_table_key_lookups(narrowable: NarrowableSelect) -> list[tuple[int, int, str]]:
    """List the references that ``key IN (SELECT key FROM the same table ..)`` narrows to rows of the inner reference.

    Each item has the numbers of the outer and of the inner reference, and the key.
    """
    lookups = []
    for condition, leaves in narrowable.conditions:
        if not isinstance(condition, InPredicate) or condition.negated or not isinstance(condition.choices, Subquery):
            continue
        outer = narrowable.find_stored_column(condition.operand)
        inner_column = _find_selected_column(condition.choices)
        if outer is None or outer.column is None or inner_column is None:
            continue
        inner_table_ref, column_name = inner_column
        table = narrowable.table_refs[outer.source].table
        if table is None or inner_table_ref.table is None or inner_table_ref.cte:
            continue
        is_same_table = table.qualified_name == inner_table_ref.table.qualified_name
        if is_same_table and outer.source in leaves and outer.column.name == column_name:
            lookups.append((outer.source, inner_table_ref.number, column_name))
    return lookups


def _find_selected_column(subquery: Subquery) -> tuple[TableRef, str] | None:
    """Return the table and the name of the stored column that a subquery selects first; None if it is none."""
    select = subquery.query.body
    if not isinstance(select, Select) or not isinstance(select.items[0], SelectItem):
        return None
    expression = select.items[0].expr
    while isinstance(expression, ColumnRef) and isinstance(select.source, DerivedTable):
        derived = select.source
        column_names = [column.name for column in derived.columns]
        if expression.column is None or expression.column.name not in column_names:
            return None
        select = derived.query.body
        if not isinstance(select, Select):
            return None
        item = select.items[column_names.index(expression.column.name)]
        if not isinstance(item, SelectItem):
            return None
        expression = item.expr
    if not isinstance(select.source, TableRef) or not isinstance(expression, ColumnRef) or expression.column is None:
        return None
    return select.source, expression.column.name

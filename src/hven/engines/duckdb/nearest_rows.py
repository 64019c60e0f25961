"""The rows nearest to steps of time.

Where the rows of each step are numbered by how far they are from its middle, few need be read.

The pattern is that of a cadence, ``ROW_NUMBER() OVER (PARTITION BY c, CEILING(s - a) ORDER BY ROUND(ABS(s - CEILING(s -
a)) * b), ..) = 1``, where `s` grows with one indexed column. In the order of that column a step is a stretch, and what
is nearest to its middle stands there: each step takes some searches, and no row between is looked at. The numbering is
then done over the rows found here, which may be too many, never too few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from hven.engines._query_analysis.narrowable_selects import analyse_select, find_row_select, match_indexed_column
from hven.engines.duckdb.index_accesses import (
    CandidateRows,
    IndexAccess,
    KeyRangeAccess,
    expand_ranges,
    find_key_access,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.engines._query_analysis.constants import Constant
    from hven.engines._query_analysis.narrowable_selects import NarrowableSelect
    from hven.engines.duckdb.key_index import KeyIndex
    from hven.engines.duckdb.snapshot_files import OpenSnapshot

    Rows = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]
    Values = Sequence[float | str | None]

MAX_PARTITIONS = 64  # combinations of the other columns, each of which is looked through by itself
UNIX_EPOCH_MJD, MICROSECONDS_PER_DAY = 40_587.0, 86_400e6  # of 1970; microseconds
TOO_MANY_CANDIDATES = CandidateRows(-1)


@dataclass(frozen=True, slots=True)
class NearestRowsAccess(IndexAccess):
    """The first rows of steps.

    Attributes
    ----------
    column
        From which `s` of the pattern is made.
    partition_columns
        The other columns of a partition.
    step_operations
        How it is made: what is taken from it, and what it is multiplied by.
    pattern_constants
        The number that must be 1, a and b of the pattern.
    key_ranges
        What else is asked of the column.
    equal_slots
        Slots of literals that must be the same.
    """

    column: str
    partition_columns: tuple[str, ...]
    step_operations: tuple[tuple[str, Constant], ...]
    pattern_constants: tuple[Constant, Constant, Constant]
    key_ranges: tuple[KeyRangeAccess, ...]
    equal_slots: tuple[tuple[int, int], ...]

    def find_candidates(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidates`."""
        index = stored.get_key_index(self.column)
        constants = [
            number(literal_values) for number in (*self.pattern_constants, *(part for _, part in self.step_operations))
        ]
        numbers = [float(number) for number in constants if isinstance(number, int | float) and math.isfinite(number)]
        if index is None or index.values is None or index.values.dtype not in (np.int64, np.float64):
            return None
        if (
            len(numbers) < len(constants)
            or numbers[0] != 1
            or any(
                literal_values[first_slot] != literal_values[second_slot]
                for first_slot, second_slot in self.equal_slots
            )
        ):
            return None
        begin = 0
        end = index.count
        for span in self.key_ranges:
            places = span.find_places(index, literal_values)
            if places is None:
                return None
            begin = max(begin, places[0])
            end = min(end, places[1])
        _, cut, times, *parts = numbers
        step = [(op, part) for (op, _), part in zip(self.step_operations, parts, strict=True)]
        if begin >= end or times <= 0 or any(op == "*" and part <= 0 for op, part in step):
            return None
        key = (self.column, self.partition_columns, cut, times, *step, begin, end)
        candidates = stored.nearest_rows_cache.find(key)
        if candidates is None:
            candidates = self._find_nearest(stored, index, (begin, end), cut, times, step, row_limit)
            stored.nearest_rows_cache.store(key, candidates, 8 * candidates.count + 1000)
        if 0 <= candidates.count <= row_limit:
            return candidates
        return None

    def _find_nearest(
        self,
        stored: OpenSnapshot,
        index: KeyIndex,
        place_range: tuple[int, int],
        offset: float,
        factor: float,
        operations: Sequence[tuple[str, float]],
        row_limit: int,
    ) -> CandidateRows:
        assert index.values is not None  # noqa: S101  (it was looked at)
        index_values = index.values[slice(*place_range)]
        is_timestamp = pa.types.is_timestamp(index.arrow_type)
        ends = np.array([index_values[0], index_values[-1]], np.float64)
        step_values = ends / MICROSECONDS_PER_DAY + UNIX_EPOCH_MJD if is_timestamp else ends
        for op, part in operations:
            if op == "*":
                step_values = step_values * part
            else:
                step_values = step_values - part

        def convert_back(step_values: Numbers) -> Numbers:
            for op, part in reversed(operations):
                if op == "*":
                    step_values = step_values / part
                else:
                    step_values = step_values + part
            if is_timestamp:
                return (step_values - UNIX_EPOCH_MJD) * MICROSECONDS_PER_DAY
            return step_values

        if not np.isfinite(step_values).all() or 2 * (step_values[1] - step_values[0]) > row_limit:
            return TOO_MANY_CANDIDATES
        steps = np.arange(math.floor(step_values[0] - offset), math.ceil(step_values[1] - offset) + 1, dtype=np.float64)
        partitions = self._partition_places(stored, index, *place_range)
        if partitions is None or 2 * len(steps) * len(partitions) > row_limit:
            return TOO_MANY_CANDIDATES
        middles = convert_back(steps)
        step_edges = convert_back(np.append(steps[0] - 1, steps) + offset)
        # what doubles lose on the way from the column to `s`; what rounding makes equal
        width = float(np.diff(convert_back(np.array([step_values[0], step_values[0] + 1])))[0])
        rounding_error = 4.0 * is_timestamp + 16 * float(
            np.spacing(np.abs(step_values).max()) * width + np.spacing(np.abs(ends).max())
        )
        pieces = [
            partition_places[
                _find_nearest_places(
                    index_values[partition_places], middles, step_edges, width / factor + rounding_error, rounding_error
                )
            ]
            if isinstance(partition_places, np.ndarray)
            else _find_nearest_places(
                index_values, middles, step_edges, width / factor + rounding_error, rounding_error
            )
            for partition_places in partitions
        ]
        places = np.concatenate(pieces) + place_range[0]
        return CandidateRows(
            len(places), pieces=(places if index.rows is None else index.rows[places].astype(np.int64),)
        )

    def _partition_places(
        self, stored: OpenSnapshot, index: KeyIndex, first_place: int, end_place: int
    ) -> list[Rows | None] | None:
        """Part the places of a span by the other columns, or leave them together; None: these have too many values."""
        if not self.partition_columns:
            return [None]
        projection = stored.get_projection(self.partition_columns)
        if index.rows is None:
            rows = pa.Table.from_batches(projection.iterate_range(first_place, end_place))
        else:
            rows = projection.take_rows(index.list_rows(first_place, end_place))
        codes = np.zeros(end_place - first_place, np.int64)
        partition_count = 1
        for column in rows.columns:
            encoded = (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).dictionary_encode(
                "encode"
            )
            partition_count *= len(encoded.dictionary)
            if partition_count > MAX_PARTITIONS:
                return None
            codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy()
        partition_codes = codes.astype(np.uint8)
        return [places for code in range(partition_count) if len(places := np.flatnonzero(partition_codes == code))]

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return f"index of {self.column} (nearest to each step)"


def _find_nearest_places(
    index_values: npt.NDArray[Any], middles: Numbers, step_edges: Numbers, tolerance: float, rounding_error: float
) -> Rows:
    """Return the places of the moments that may be nearest to the middle of their step."""

    def search_places(searched_values: Numbers) -> Rows:
        rounded = np.ceil(searched_values).astype(np.int64) if index_values.dtype.kind == "i" else searched_values
        return np.searchsorted(index_values, rounded).astype(np.int64)

    outer_places = search_places(step_edges - rounding_error)
    inner_places = search_places(step_edges + rounding_error)
    # what is in the step for sure
    begin = inner_places[:-1]
    end = np.maximum(outer_places[1:], inner_places[:-1])
    middle = np.clip(search_places(middles), begin, end)
    distance_before = np.where(middle > begin, middles - index_values[np.maximum(middle - 1, 0)], np.inf)
    distance_after = np.where(middle < end, index_values[np.minimum(middle, len(index_values) - 1)] - middles, np.inf)
    distances = np.minimum(distance_before, distance_after)
    is_certain = np.isfinite(distances)
    distances = np.where(is_certain, distances, 0.0) + tolerance
    low = np.where(is_certain, np.maximum(search_places(middles - distances), outer_places[:-1]), outer_places[:-1])
    high = np.where(
        is_certain, np.minimum(search_places(middles + distances + rounding_error), inner_places[1:]), inner_places[1:]
    )
    return np.unique(expand_ranges(np.stack([low, np.maximum(low, high)], axis=1)))


def match_nearest_pattern(select: Select, free_slots: frozenset[int]) -> tuple[int, NearestRowsAccess] | None:
    """Find the pattern in a SELECT: which table reference is narrowed, and how."""
    source = select.source
    if isinstance(source, DerivedTable):
        body = source.query.body
    else:
        body = None
    if (
        not isinstance(source, DerivedTable)
        or not isinstance(body, Select)
        or source.query.offset is not None
        or body.top is not None
        or body.distinct
        or body.group_by
    ):
        return None
    items = [item.expr if isinstance(item, SelectItem) else None for item in body.items]
    windows = {
        column.name: item
        for column, item in zip(source.columns, items, strict=True)
        if isinstance(item, WindowExpression)
    }
    for test in split_conjuncts(select.where):
        if isinstance(test, Comparison) and test.op == "=" and isinstance(test.left, ColumnRef) and len(windows) == 1:
            window = windows.get(test.left.column.name if test.left.column else "")
            required_one = compile_constant(test.right, free_slots)
            if test.left.source == source.number and window is not None and required_one is not None:
                return _match_window_pattern(body, window, required_one, free_slots)
    return None


def _match_window_pattern(
    body: Select, window: WindowExpression, required_one: Constant, free_slots: frozenset[int]
) -> tuple[int, NearestRowsAccess] | None:
    inner_select = analyse_select(body)
    item = body.source
    while isinstance(item, DerivedTable) and (inner_row_select := find_row_select(item.query)) is not None:
        item = inner_row_select.source
    if not isinstance(item, TableRef) or item.table is None or item.cte or item.where is not None:
        return None
    if window.order_by:
        order = window.order_by[0]
    else:
        order = None
    if window.function.name != "ROW_NUMBER" or window.frame is not None or order is None or order.descending:
        return None
    columns = [inner_select.find_stored_column(part) for part in window.partition]
    partition_columns = tuple(
        column.column.name for column in columns if column is not None and column.column is not None
    )
    steps = [
        _resolve_expression(part, inner_select)
        for part, column in zip(window.partition, columns, strict=True)
        if column is None
    ]
    match steps, _resolve_expression(order.expr, inner_select):
        case (
            [
                FunctionCall(
                    name="CEILING", args=(BinaryOperation(op="-", left=step_expression, right=offset_expression),)
                ) as step
            ],
            FunctionCall(
                name="ROUND",
                args=(
                    BinaryOperation(
                        op="*", left=FunctionCall(name="ABS", args=(distance_expression,)), right=factor_expression
                    ),
                ),
            ),
        ):
            equal_expressions: list[tuple[Expr, Expr]] = [
                (distance_expression, BinaryOperation("-", step_expression, step))
            ]
        case _:
            return None
    parts: list[tuple[str, Constant]] = []
    while (
        isinstance(step_expression, BinaryOperation)
        and step_expression.op in "*-"
        and (part := compile_constant(step_expression.right, free_slots)) is not None
    ):
        parts.append((step_expression.op, part))
        step_expression = step_expression.left
    is_timestamp = isinstance(step_expression, FunctionCall) and step_expression.name == "IVO_TO_MJD"
    name = match_indexed_column(
        inner_select,
        item.number,
        step_expression.args[0] if isinstance(step_expression, FunctionCall) and is_timestamp else step_expression,
    )
    offset_constant = compile_constant(offset_expression, free_slots)
    factor_constant = compile_constant(factor_expression, free_slots)
    if (
        name is None
        or item.table.find_column(name).type.is_timestamp != is_timestamp
        or offset_constant is None
        or factor_constant is None
    ):
        return None
    spans = []
    for test, _ in inner_select.conditions:
        if (
            isinstance(test, Comparison)
            and isinstance(test.left, FunctionCall)
            and compile_constant(test.right, free_slots) is not None
        ):
            equal_expressions.append((test.left, step))  # it leaves steps out as a whole
        elif not (
            isinstance(test, NullPredicate)
            and test.negated
            and match_indexed_column(inner_select, item.number, test.operand) == name
        ):
            span = find_key_access(test, inner_select, item.number, free_slots)
            if not isinstance(span, KeyRangeAccess) or span.column != name:
                return None
            spans.append(span)
    if any(required_one != right_expression for required_one, right_expression in equal_expressions):
        return None
    slots = tuple(
        (first_literal.slot, second_literal.slot)
        for pair in equal_expressions
        for first_literal, second_literal in zip(
            *([node for node in walk_tree(required_one) if isinstance(node, Literal)] for required_one in pair),
            strict=True,
        )
        if {first_literal.slot, second_literal.slot} & free_slots
    )
    return item.number, NearestRowsAccess(
        name,
        partition_columns,
        tuple(reversed(parts)),
        (required_one, offset_constant, factor_constant),
        tuple(spans),
        slots,
    )


def _resolve_expression(expression: Expr, inner_select: NarrowableSelect) -> Expr:
    """Follow a column to the expression that it is."""
    while isinstance(expression, ColumnRef) and expression.column is not None:
        derived_expression = inner_select.derived_expressions.get((expression.source, expression.column.name))
        if derived_expression is None:
            break
        expression = derived_expression
    return expression


def list_own_row_lookups(narrowable: NarrowableSelect) -> list[tuple[int, int, str]]:
    """List references that a condition `key IN (SELECT key FROM the same table ..)` narrows to the rows that it reads.

    Both numbers, and the key.
    """
    lookups = []
    for condition, leaves in narrowable.conditions:
        if not isinstance(condition, InPredicate) or condition.negated or not isinstance(condition.choices, Subquery):
            continue
        outer = narrowable.find_stored_column(condition.operand)
        subquery_body = condition.choices.query.body
        if isinstance(subquery_body, Select):
            select = subquery_body
        else:
            select = None
        if select is not None and isinstance(select.items[0], SelectItem):
            inner = select.items[0].expr
        else:
            inner = None
        while select is not None and isinstance(inner, ColumnRef) and isinstance(select.source, DerivedTable):
            names = [column.name for column in select.source.columns]
            if inner.column is not None:
                name = inner.column.name
            else:
                name = ""
            body = select.source.query.body
            if isinstance(body, Select) and name in names:
                select = body
            else:
                select = None
            if select is None:
                item = None
            else:
                item = select.items[names.index(name)]
            if isinstance(item, SelectItem):
                inner = item.expr
            else:
                inner = None
        inner_table = None if select is None else select.source
        if (
            isinstance(inner_table, TableRef)
            and inner_table.table is not None
            and isinstance(inner, ColumnRef)
            and outer is not None
        ):
            table = narrowable.table_refs[outer.source].table
            if inner.column is not None:
                name = inner.column.name
            else:
                name = ""
            is_same_table = (
                table is not None and table.qualified_name == inner_table.table.qualified_name and not inner_table.cte
            )
            if is_same_table and outer.source in leaves and outer.column is not None and outer.column.name == name:
                lookups.append((outer.source, inner_table.number, name))
    return lookups

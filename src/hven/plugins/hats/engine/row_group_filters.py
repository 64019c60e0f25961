"""Tests that select the row groups of each table which a query may need, by its conditions.

The tests are found when the query is planned, and look up the manifest when it runs. They may select too many row
groups, but never too few: every condition stays in the query.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from hven.adql.syntax_tree import Conjunction, Disjunction, TableRef
from hven.engines.api.geometry_analysis import cover_shape_with_cells, has_null_position, match_position_in_shape
from hven.engines.api.query_analysis import (
    ColumnValueRange,
    analyse_column_bounds,
    analyse_select,
    bind_policy_condition_to_table,
    parse_timestamp_microseconds,
)
from hven.plugins.hats.engine.nearby_conditions import match_nearby_condition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.syntax_tree import BoundQuery, Expr
    from hven.engines import Relation
    from hven.engines.api.geometry_analysis import ConstantShape
    from hven.engines.api.query_analysis import Constant, Listed, NarrowableSelect
    from hven.model.table import Column
    from hven.plugins.hats.engine.key_index import CatalogueKeyIndex
    from hven.plugins.hats.engine.manifest import CatalogueManifest
    from hven.plugins.hats.engine.nearby_conditions import NearMemoryRowsCondition

    Rows = npt.NDArray[np.int64]
    Values = Sequence[float | str | None]

_cover_cached = lru_cache(maxsize=8)(cover_shape_with_cells)
MAX_LISTED_VALUES = 10_000  # a longer list selects no row groups
MAX_SEPARATE_RANGES = 64  # values of a list that are compared one by one with the ranges of a column


@dataclass(frozen=True, slots=True)
class RowGroupLookupContext:
    """The context of the tests: a manifest, the index of its key, the literals, and the tables in memory.

    Attributes
    ----------
    cells_by_test
        id() of a test -> its cells, which were computed before.
    """

    manifest: CatalogueManifest
    index: CatalogueKeyIndex | None
    values: Values
    relations: Mapping[str, Relation] = field(default_factory=dict)
    cells_by_test: dict[int, Rows | None] = field(default_factory=dict)

    def find_cells_once(self, row_group_filter: RowGroupFilter, find_cells: Callable[[], Rows | None]) -> Rows | None:
        """Return the cells of a test, which are computed once."""
        if id(row_group_filter) not in self.cells_by_test:
            self.cells_by_test[id(row_group_filter)] = find_cells()
        return self.cells_by_test[id(row_group_filter)]


class RowGroupFilter(Protocol):
    """A condition on one table that selects row groups."""

    def find_row_groups(self, context: RowGroupLookupContext, candidate_groups: Rows | None) -> Rows | None:
        """Return the numbers of the row groups that may have rows that meet the condition, ascending.

        Only `candidate_groups` are tested, or all if it is None. The result is None if the condition does not select.
        """

    def describe_filter(self) -> str:
        """Describe in words what selects the row groups."""


@dataclass(frozen=True, slots=True)
class ShapeRowGroupFilter:
    """The position lies in a constant shape.

    `required_one` must be 1 when the plan runs.
    """

    columns: tuple[str, str]
    shape: ConstantShape
    required_one: Constant | None = None

    def find_shape_cells(self, context: RowGroupLookupContext) -> Rows | None:
        """Return the cells that the shape touches."""
        return context.find_cells_once(self, lambda: self._compute_shape_cells(context))

    def _compute_shape_cells(self, context: RowGroupLookupContext) -> Rows | None:
        if context.manifest.head.position != self.columns:
            return None
        if self.required_one is not None and self.required_one(context.values) != 1:
            return None
        shape = self.shape.build_shape(context.values)
        if shape is None:
            return None
        return _cover_cached(shape)

    def find_row_groups(self, context: RowGroupLookupContext, candidate_groups: Rows | None) -> Rows | None:
        """See `RowGroupFilter.find_row_groups`."""
        cells = self.find_shape_cells(context)
        if cells is None:
            return None
        return _intersect_row_groups(candidate_groups, context.manifest.find_row_groups_in_cells(cells))

    def describe_filter(self) -> str:
        """See `RowGroupFilter.describe_filter`."""
        return f"cells ({self.shape.kind.lower()})"


@dataclass(frozen=True, slots=True)
class NearbyRowGroupFilter:
    """The position is near that of a row in memory."""

    nearby_condition: NearMemoryRowsCondition

    def find_shape_cells(self, context: RowGroupLookupContext) -> Rows | None:
        """Return the cells around these rows."""
        if context.manifest.head.position != self.nearby_condition.position:
            return None
        return context.find_cells_once(
            self, lambda: self.nearby_condition.find_nearby_cells(context.relations, context.values)
        )

    def find_row_groups(self, context: RowGroupLookupContext, candidate_groups: Rows | None) -> Rows | None:
        """See `RowGroupFilter.find_row_groups`."""
        cells = self.find_shape_cells(context)
        if cells is None:
            return None
        return _intersect_row_groups(candidate_groups, context.manifest.find_row_groups_in_cells(cells))

    def describe_filter(self) -> str:
        """See `RowGroupFilter.describe_filter`."""
        return self.nearby_condition.describe_condition()


@dataclass(frozen=True, slots=True)
class RejectAllRowGroupFilter:
    """No row meets the condition."""

    def find_row_groups(
        self,
        context: RowGroupLookupContext,  # noqa: ARG002  (the protocol's)
        candidate_groups: Rows | None,  # noqa: ARG002  (the protocol's)
    ) -> Rows | None:
        """See `RowGroupFilter.find_row_groups`."""
        return np.empty(0, np.int64)

    def describe_filter(self) -> str:
        """See `RowGroupFilter.describe_filter`."""
        return "nothing: there is no position"


@dataclass(frozen=True, slots=True)
class RangeRowGroupFilter:
    """The value of a column lies between constants; a bound of None is no bound."""

    column: Column
    low: Constant | None = None
    high: Constant | None = None

    def find_row_groups(self, context: RowGroupLookupContext, candidate_groups: Rows | None) -> Rows | None:
        """See `RowGroupFilter.find_row_groups`."""
        bounds: list[Any] = []
        for bound_constant, outward in ((self.low, -1), (self.high, 1)):
            bound = None
            if bound_constant is not None:
                bound = _compute_range_bound(bound_constant(context.values), self.column, outward)
                if bound is None:
                    return None
            bounds.append(bound)
        if self.low is self.high and self.low is not None:
            index_groups = _find_row_groups_by_key(context, self.column, [self.low(context.values)])
            candidate_groups = _intersect_row_groups(candidate_groups, index_groups)
        return context.manifest.find_row_groups_between(self.column.name, bounds[0], bounds[1], candidate_groups)

    def describe_filter(self) -> str:
        """See `RowGroupFilter.describe_filter`."""
        return f"ranges of {self.column.name}"


@dataclass(frozen=True, slots=True)
class ValueListRowGroupFilter:
    """The value of a column is one of a list of constants."""

    column: Column
    values: Listed

    def find_row_groups(self, context: RowGroupLookupContext, candidate_groups: Rows | None) -> Rows | None:
        """See `RowGroupFilter.find_row_groups`."""
        list_values = [value for value in self.values(context.values) if value is not None]
        if len(list_values) > MAX_LISTED_VALUES:
            return None
        if not list_values:
            return np.empty(0, np.int64)
        index_groups = _find_row_groups_by_key(context, self.column, list_values)
        candidate_groups = _intersect_row_groups(candidate_groups, index_groups)
        low = [_compute_range_bound(value, self.column, -1) for value in list_values]
        high = [_compute_range_bound(value, self.column, 1) for value in list_values]
        if any(value is None for value in low):
            if index_groups is None:
                return None
            return candidate_groups
        if len(list_values) > MAX_SEPARATE_RANGES:
            return context.manifest.find_row_groups_between(self.column.name, min(low), max(high), candidate_groups)
        range_groups = [
            context.manifest.find_row_groups_between(self.column.name, *bounds, candidate_groups)
            for bounds in zip(low, high, strict=True)
        ]
        return _merge_row_groups(range_groups)

    def describe_filter(self) -> str:
        """See `RowGroupFilter.describe_filter`."""
        return f"ranges of {self.column.name} (a list)"


@dataclass(frozen=True, slots=True)
class ConjunctionRowGroupFilter:
    """All of several conditions hold."""

    parts: tuple[RowGroupFilter, ...]

    def find_row_groups(self, context: RowGroupLookupContext, candidate_groups: Rows | None) -> Rows | None:
        """See `RowGroupFilter.find_row_groups`."""
        remaining_groups = candidate_groups
        # Tests of positions come first, because they leave few row groups.
        ordered_parts = sorted(
            self.parts, key=lambda part: not isinstance(part, ShapeRowGroupFilter | NearbyRowGroupFilter)
        )
        for part in ordered_parts:
            part_groups = part.find_row_groups(context, remaining_groups)
            if part_groups is not None:
                remaining_groups = part_groups
        return remaining_groups

    def describe_filter(self) -> str:
        """See `RowGroupFilter.describe_filter`."""
        return " and ".join(part.describe_filter() for part in self.parts)


@dataclass(frozen=True, slots=True)
class DisjunctionRowGroupFilter:
    """One of several conditions holds, and each of them selects row groups."""

    parts: tuple[RowGroupFilter, ...]

    def find_row_groups(self, context: RowGroupLookupContext, candidate_groups: Rows | None) -> Rows | None:
        """See `RowGroupFilter.find_row_groups`."""
        return _merge_row_groups([part.find_row_groups(context, candidate_groups) for part in self.parts])

    def describe_filter(self) -> str:
        """See `RowGroupFilter.describe_filter`."""
        return " or ".join(part.describe_filter() for part in self.parts)


def _intersect_row_groups(left_groups: Rows | None, right_groups: Rows | None) -> Rows | None:
    if left_groups is None:
        return right_groups
    if right_groups is None:
        return left_groups
    return np.intersect1d(left_groups, right_groups, assume_unique=True)


def _merge_row_groups(part_groups: Sequence[Rows | None]) -> Rows | None:
    known_parts = [part for part in part_groups if part is not None]
    if len(known_parts) < len(part_groups):
        return None
    if len(known_parts) == 1:
        return known_parts[0]
    return np.unique(np.concatenate(known_parts))


def _find_row_groups_by_key(context: RowGroupLookupContext, column: Column, values: list[Any]) -> Rows | None:
    """Look up values in the index of the primary key; None if the index cannot tell."""
    if context.index is None or context.manifest.head.index != column.name:
        return None
    if any(isinstance(value, float) for value in values):
        return None
    column_type = column.type.arrow
    try:
        if column.type.is_timestamp:
            microseconds = [parse_timestamp_microseconds(value) for value in values]
            key_values = pa.array(microseconds, pa.int64()).cast(column_type)
        else:
            key_values = pa.array(values, column_type)
    except (pa.ArrowException, OverflowError):
        return None
    return context.index.find_row_groups(key_values.drop_null())


def _compute_range_bound(value: Any, column: Column, rounding_direction: int) -> Any:
    """Return a bound in the type of the ranges, rounded outwards; None if it cannot be compared with them."""
    if column.type.is_string:
        if isinstance(value, str):
            return value
        return None
    if column.type.is_timestamp:
        return parse_timestamp_microseconds(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return _round_outwards(value, column, rounding_direction)


def _round_outwards(value: float, column: Column, rounding_direction: int) -> float:
    """Round a number in one direction to a value that the ranges of a column can have."""
    outward_limit = math.inf * rounding_direction
    if column.type.arrow == pa.float32():
        with np.errstate(over="ignore"):
            return float(np.nextafter(np.float32(value), np.float32(outward_limit)))
    if column.type.is_integer:
        # Some comparisons are made in doubles, which have 53 bits.
        if rounding_direction < 0:
            rounded = math.floor(value)
        else:
            rounded = math.ceil(value)
        margin = abs(rounded) >> 52
        return int(np.clip(rounded + rounding_direction * margin, -(2**63), 2**63 - 1))
    if abs(value) < 2**53:
        return float(value)
    return float(np.nextafter(float(value), outward_limit))


# --- analysis ------------------------------------------------------------------------------------------------------


class RowGroupChooser:
    """The table references of a query, the columns that it reads of them, and the tests that select row groups.

    Attributes
    ----------
    table_refs
        Number -> table reference.
    read_columns
        Number of a table reference -> the columns that are read.
    tests_by_number
        Number of a table reference -> its test, if there is one.
    """

    def __init__(self, bound_query: BoundQuery) -> None:
        self.table_refs: dict[int, TableRef] = {}
        self.read_columns = bound_query.survey.read_columns
        parts: dict[int, dict[int, RowGroupFilter]] = {}
        for select in bound_query.survey.selects:
            narrowable = analyse_select(select)
            self.table_refs.update(narrowable.table_refs)
            policy_conditions = [
                (bind_policy_condition_to_table(condition, number), frozenset({number}))
                for condition, number in narrowable.policy_conditions
            ]
            for condition, table_numbers in (*narrowable.conditions, *policy_conditions):
                for number in table_numbers & narrowable.table_refs.keys():
                    test = _build_row_group_filter(condition, narrowable, number, bound_query.free_slots)
                    if test is not None:
                        parts.setdefault(number, {}).setdefault(id(condition), test)
        self.tests_by_number: dict[int, RowGroupFilter] = {}
        for number, tests_by_condition in parts.items():
            tests = tuple(tests_by_condition.values())
            self.tests_by_number[number] = tests[0] if len(tests) == 1 else ConjunctionRowGroupFilter(tests)

    def find_row_groups(self, qualified_name: str, context: RowGroupLookupContext) -> Rows:
        """Return the numbers of the row groups that the references to a table may need."""
        groups_by_reference = []
        for number in self._list_reference_numbers(qualified_name):
            test = self.tests_by_number.get(number)
            groups_by_reference.append(None if test is None else test.find_row_groups(context, None))
        merged_groups = _merge_row_groups(groups_by_reference) if groups_by_reference else None
        if merged_groups is None:
            return np.arange(context.manifest.group_count)
        return merged_groups

    def _list_reference_numbers(self, qualified_name: str) -> list[int]:
        """Return the numbers of the references to a table."""
        return [
            number
            for number, table_ref in self.table_refs.items()
            if table_ref.table is not None and table_ref.table.qualified_name == qualified_name
        ]

    def find_needed_cells(self, qualified_name: str, context: RowGroupLookupContext) -> Rows | None:
        """Return cells that contain all rows that the query needs of a table; None if there is no such restriction."""
        reference_numbers = self._list_reference_numbers(qualified_name)
        if len(reference_numbers) != 1:
            return None
        test = self.tests_by_number.get(reference_numbers[0])
        if test is None:
            return None
        for part in test.parts if isinstance(test, ConjunctionRowGroupFilter) else (test,):
            if isinstance(part, ShapeRowGroupFilter | NearbyRowGroupFilter):
                cells = part.find_shape_cells(context)
                if cells is not None:
                    return cells
        return None

    def list_read_columns(self, qualified_name: str) -> list[str]:
        """List the columns of a table that are read."""
        column_names: dict[str, None] = {}
        for number in self._list_reference_numbers(qualified_name):
            column_names.update(dict.fromkeys(self.read_columns.get(number, ())))
        return list(column_names)


def _build_row_group_filter(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> RowGroupFilter | None:
    if not isinstance(condition, Conjunction | Disjunction):
        return (
            _build_shape_filter(condition, narrowable, table_number, free_slots)
            or _build_nearby_filter(condition, narrowable, table_number, free_slots)
            or _build_column_filter(condition, narrowable, table_number, free_slots)
        )
    part_tests = [_build_row_group_filter(part, narrowable, table_number, free_slots) for part in condition.parts]
    known_tests = tuple(test for test in part_tests if test is not None)
    if isinstance(condition, Disjunction):
        if len(known_tests) < len(part_tests):
            return None
        return DisjunctionRowGroupFilter(known_tests)
    if not known_tests:
        return None
    if len(known_tests) == 1:
        return known_tests[0]
    return ConjunctionRowGroupFilter(known_tests)


def _build_shape_filter(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> RowGroupFilter | None:
    if has_null_position(condition):
        return RejectAllRowGroupFilter()
    position_match = match_position_in_shape(condition, narrowable, table_number, free_slots)
    if position_match is None:
        return None
    return ShapeRowGroupFilter(*position_match)


def _build_nearby_filter(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> RowGroupFilter | None:
    nearby_condition = match_nearby_condition(condition, narrowable, table_number, free_slots)
    if nearby_condition is None:
        return None
    return NearbyRowGroupFilter(nearby_condition)


def _build_column_filter(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> RowGroupFilter | None:
    column_bounds = analyse_column_bounds(
        condition, lambda expr: _find_table_column(narrowable, table_number, expr), free_slots
    )
    if isinstance(column_bounds, ColumnValueRange):
        return RangeRowGroupFilter(column_bounds.column, column_bounds.low, column_bounds.high)
    if column_bounds is None:
        return None
    return ValueListRowGroupFilter(column_bounds.column, column_bounds.values)


def _find_table_column(narrowable: NarrowableSelect, table_number: int, expression: Expr) -> Column | None:
    column_ref = narrowable.find_stored_column(expression)
    if column_ref is None or column_ref.source != table_number:
        return None
    return column_ref.column

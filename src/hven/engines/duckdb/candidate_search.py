"""Find the candidate rows of a query: everything that its indexes can narrow.

The plan finds the usable indexes once; each run looks its values up in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.adql.syntax_tree import ColumnRef, ExistsPredicate, Subquery, WindowExpression
from hven.engines import ExecutionLimits, MemoryRelation, Snapshot
from hven.engines._query_analysis.constants import compile_constant
from hven.engines._query_analysis.narrowable_selects import analyse_select
from hven.engines.duckdb.arrow_queries import MAX_SORTED_ROWS
from hven.engines.duckdb.auxiliary_plans import AuxiliaryQueryPlans, list_subquery_selects
from hven.engines.duckdb.index_accesses import (
    CandidateRows,
    FewestCandidatesAccess,
    IndexAccess,
    find_accesses_and_mark_used_conditions,
)
from hven.engines.duckdb.nearest_rows import list_same_table_key_lookups, match_nearest_rows_pattern
from hven.engines.duckdb.position_pairs import (
    MAX_DRIVER_ROWS,
    IndexedPositions,
    KeyJoin,
    PositionJoin,
    PositionJoinSide,
    append_number_column,
    build_driver_circles,
    build_pair_condition,
    find_correlated_position_joins,
    find_key_joins,
    find_near_pairs,
    find_position_joins,
    find_possibly_touching_pairs,
    find_rows_with_keys,
    get_indexed_positions,
    to_double_array,
)
from hven.engines.duckdb.snapshot_files import (
    MIN_CANDIDATE_LIMIT,
    MIN_ROWS_PER_CANDIDATE,
    ROW_NUMBER_COLUMN,
    MemoryTableRows,
)
from hven.engines.duckdb.union_members import PARTNER_COLUMN, build_position_index, list_union_member_tables
from hven.model.errors import EvaluationError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.syntax_tree import BoundQuery, DerivedTable, Expr, Select, TableRef
    from hven.engines import QueryExecution, QueryPlan, Relation
    from hven.engines._query_analysis.narrowable_selects import NarrowableSelect
    from hven.engines.duckdb.engine_protocol import DuckEngineProtocol
    from hven.engines.duckdb.snapshot_files import OpenRows, OpenSnapshot
    from hven.engines.duckdb.union_members import UnionMember

    Values = Sequence[float | str | None]
    Numbers = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

MAX_TESTED_PAIRS = MAX_SORTED_ROWS  # pairs that the condition tests in one query: Arrow can answer up to so many rows
MIN_TARGET_ROWS = 300  # measured: in a smaller target, testing all rows is quicker than looking circles up
MAX_JOIN_KEYS = 500_000  # maximum number of rows of the other side of a key join whose keys are looked up


@dataclass(slots=True)
class ReducedTables:
    """Result of the indexes for one run: tables that replace references, and conditions to replace."""

    tables: dict[int, pa.Table] = field(default_factory=dict)
    replaced_conditions: dict[int, Expr] = field(default_factory=dict)
    match_sides: list[tuple[int, PositionJoinSide]] = field(default_factory=list)
    # references inside replaced derived tables: nothing reads them any more
    inner_numbers: set[int] = field(default_factory=set)

    @property
    def sql_cache_key(self) -> tuple[frozenset[int], tuple[tuple[int, PositionJoinSide], ...], frozenset[int]]:
        """Everything that the SQL text depends on."""
        return frozenset(self.tables), tuple(self.match_sides), self.empty_table_numbers

    @property
    def empty_table_numbers(self) -> frozenset[int]:
        """References that have no rows."""
        return frozenset(number for number, table in self.tables.items() if not table.num_rows)


class CandidateRowFinder:
    """The indexes that can narrow each table reference of a query."""

    def __init__(self, bound_query: BoundQuery) -> None:
        self.table_refs: dict[int, TableRef] = {}
        self.index_accesses: dict[int, IndexAccess] = {}
        self._matches: list[PositionJoin] = []
        self._key_joins: list[KeyJoin] = []
        self.own_row_lookups: list[tuple[int, int, str]] = []
        self.free_slots = bound_query.free_slots
        self._bound_query = bound_query
        self._survey = bound_query.survey
        self._derived_tables: dict[int, DerivedTable] = {}
        self._union_members: dict[int, tuple[int, ...]] = {}
        # conditions that a select around a derived table has used, which are found again inside of it
        used_conditions: set[tuple[int, int]] = set()
        for select in self._survey.selects:
            self._add_indexes_of_select(select, used_conditions)

    def _add_indexes_of_select(self, select: Select, used_conditions: set[tuple[int, int]]) -> None:
        """Add the indexes and joins of one SELECT."""
        narrowable = analyse_select(select)
        self.table_refs.update(narrowable.table_refs)
        self._derived_tables.update(narrowable.derived_tables)
        for number, derived in narrowable.derived_tables.items():
            member_tables = list_union_member_tables(derived)
            self._union_members[number] = tuple(table_ref.number for table_ref, _ in member_tables)
        for number, access in find_accesses_and_mark_used_conditions(
            narrowable, self.free_slots, used_conditions
        ).items():
            self._add_index_access(number, access)
        if self._survey.has_any(WindowExpression):
            nearest_access = match_nearest_rows_pattern(select, self.free_slots)
            if nearest_access is not None:
                self._add_index_access(*nearest_access)
        if len(narrowable.direct_numbers) + len(narrowable.derived_tables) > 1:
            self._matches += find_position_joins(narrowable, self.free_slots)
            self._key_joins += find_key_joins(narrowable)
        if self._survey.has_any(Subquery, ExistsPredicate):
            self._add_subquery_lookups(narrowable)

    def _add_subquery_lookups(self, narrowable: NarrowableSelect) -> None:
        """Add what the subqueries in the conditions of a SELECT narrow."""
        self.own_row_lookups += list_same_table_key_lookups(narrowable)
        if narrowable.select.source is not None:
            for inner_select in list_subquery_selects(narrowable.select):
                inner_narrowable = analyse_select(inner_select)
                self._matches += find_correlated_position_joins(inner_narrowable, narrowable, self.free_slots)

    def _add_index_access(self, table_number: int, access: IndexAccess) -> None:
        access_before = self.index_accesses.get(table_number)
        if access_before is not None:
            access = FewestCandidatesAccess((access_before, access))
        self.index_accesses[table_number] = access

    def __bool__(self) -> bool:
        return bool(self.index_accesses or self._matches or self._key_joins)

    def describe_indexes(self) -> list[str]:
        """Describe in words which indexes a run may use."""
        lines = []
        for number, access in self.index_accesses.items():
            name = self.find_table_name(number)
            lines.append(f"{name}: candidates from the {access.describe_index()}, if they are few")
        for match in self._matches:
            ending = ""
            if len(match.sides) > 1:
                ending = ", whichever has fewer rows"
            lines += [f"{self._describe_match_side(side)}{ending}" for side in match.sides]
        for join in self._key_joins:
            target_name = self.find_table_name(join.target_number)
            driver_name = self.find_table_name(join.driver_number)
            lines.append(
                f"{target_name}: rows with the keys of {driver_name} from the index of {join.column}, if they are few"
            )
        return lines

    def _describe_match_side(self, side: PositionJoinSide) -> str:
        """Describe how a match is used."""
        target_name = self.find_table_name(side.target_number)
        driver_name = self.find_table_name(side.driver_number)
        description = f"{target_name}: matched with {driver_name} by the position index"
        if side.region_column:
            return f"{description} of the regions in {side.region_column}"
        if not side.union_members:
            return description
        indexed_names = []
        computed_names = []
        for member in side.union_members:
            if member.is_indexed:
                indexed_names.append(self.find_table_name(member.table_number))
            elif member.lon is not None:
                computed_names.append(self.find_table_name(member.table_number))
        description = f"{description} of {', '.join(indexed_names) or 'none'}"
        if computed_names:
            return f"{description}; positions of {', '.join(computed_names)} are computed first"
        return description

    def find_table_name(self, table_number: int) -> str:
        """Return the name of a reference in the query."""
        if table_number in self._derived_tables:
            return self._derived_tables[table_number].alias.name
        leaf = self.table_refs[table_number]
        if leaf.alias is not None:
            return leaf.alias.name
        if leaf.table is not None:
            return leaf.table.qualified_name
        return str(table_number)

    def find_candidate_rows(
        self,
        engine: DuckEngineProtocol,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        set_running_execution: Callable[[QueryExecution | None], None] = lambda _: None,
    ) -> ReducedTables:
        """Look up the candidates for these values.

        While another query runs for this search, `set_running_execution` is called with it, so that it can be
        cancelled.
        """
        search = _CandidateSearch(
            self, engine, literal_values, relations, limits=limits, set_running_execution=set_running_execution
        )
        return search.find_all_candidates()

    def describe_position_join_reads(
        self, engine: DuckEngineProtocol, literal_values: Values, relations: Mapping[str, Relation]
    ) -> dict[int, str]:
        """Describe, by table number, which rows of the tables that a join by position narrows are read."""
        search = _CandidateSearch(self, engine, literal_values, relations)
        search.find_candidates_by_constants()
        descriptions: dict[int, str] = {}
        for match in self._matches:
            if match.required_one is not None and match.required_one(literal_values) != 1:
                continue
            sides = search.list_usable_match_sides(match)
            if not sides:
                continue
            row_count, side = sides[0]
            driver_name = self.find_table_name(side.driver_number)
            count_text = "" if row_count is None else f" {row_count:,}"
            target_numbers = [member.table_number for member in side.union_members] or [side.target_number]
            for number in target_numbers:
                descriptions[number] = f"rows near the{count_text} rows of {driver_name}"
        return descriptions

    def find_relation(self, table_number: int, relations: Mapping[str, Relation]) -> Relation | None:
        """Return the relation that a table reference reads, or None if it reads no table."""
        if table_number not in self.table_refs:
            return None
        table = self.table_refs[table_number].table
        if table is None:
            return None
        if table.qualified_name not in relations:
            message = f"the caller gave no relation for the rows of {table.qualified_name}"
            raise StorageError(message)
        return relations[table.qualified_name]

    def list_read_columns(self, table_number: int, schema: pa.Schema) -> tuple[str, ...]:
        """List the columns that the query reads of a reference: at least one."""
        return self._survey.read_columns.get(table_number) or (schema.names[0],)

    def list_read_derived_columns(self, derived_table: DerivedTable) -> tuple[str, ...]:
        """List the columns that the query reads of a derived table: at least one."""
        fields = [pa.field(column.name, column.type.arrow) for column in derived_table.columns]
        return self.list_read_columns(derived_table.number, pa.schema(fields))

    @property
    def derived_tables(self) -> Mapping[int, DerivedTable]:
        """Derived tables, by number."""
        return self._derived_tables

    @property
    def union_member_numbers(self) -> Mapping[int, tuple[int, ...]]:
        """For each derived table, by number, the numbers of the tables that its members read.

        The tuple is empty if the derived table is no union of tables.
        """
        return self._union_members

    @cached_property
    def auxiliary_plans(self) -> AuxiliaryQueryPlans:
        """Plans of the queries that a search runs to find candidates."""
        return AuxiliaryQueryPlans(self._bound_query)

    @property
    def position_matches(self) -> list[PositionJoin]:
        """Joins by position."""
        return self._matches

    @property
    def key_joins(self) -> list[KeyJoin]:
        """Joins by key."""
        return self._key_joins


class _CandidateSearch:
    """One run of `CandidateRowFinder.find_candidate_rows`."""

    def __init__(
        self,
        finder: CandidateRowFinder,
        engine: DuckEngineProtocol,
        literal_values: Values,
        relations: Mapping[str, Relation],
        *,
        limits: ExecutionLimits | None = None,
        set_running_execution: Callable[[QueryExecution | None], None] = lambda _: None,
    ) -> None:
        self._set_running = set_running_execution
        self._finder = finder
        self._engine = engine
        self._values = literal_values
        self._relations = relations
        if limits is None:
            self._limits = ExecutionLimits()
        else:
            self._limits = limits
        self._candidates: dict[int, CandidateRows] = {}
        self._duplicated_numbers: set[int] = set()
        self._refused_numbers: set[int] = set()  # derived tables that have too many rows
        self._result = ReducedTables()

    def find_candidates_by_constants(self) -> None:
        """Look up the tables that constants narrow."""
        for number, access in self._finder.index_accesses.items():
            stored = self._open_snapshot(number)
            if stored is None:
                continue
            candidates = access.find_candidate_rows(stored, self._values, stored.max_candidate_rows)
            if candidates is not None:
                self._candidates[number] = candidates

    def find_all_candidates(self) -> ReducedTables:
        """Look up what constants narrow, then what joins narrow."""
        self.find_candidates_by_constants()
        for outer, inner, key in self._finder.own_row_lookups:
            self._apply_same_table_key_lookup(outer, inner, key)
        for match_number, match in enumerate(self._finder.position_matches):
            if match.required_one is None or match.required_one(self._values) == 1:
                self._apply_position_match(match_number, match)
        for join in self._finder.key_joins:
            self._apply_key_join(join)
        for number in self._result.tables:
            self._result.inner_numbers.update(self._finder.union_member_numbers.get(number, ()))
        for number in self._candidates:
            if number not in self._result.tables and number not in self._result.inner_numbers:
                self._result.tables[number] = self._read_remaining_rows(number)
        return self._result

    def _apply_same_table_key_lookup(self, outer_number: int, inner_number: int, key: str) -> None:
        """Narrow the outer reference to the candidates of the inner one, whose primary key it must have."""
        candidates = self._candidates.get(inner_number)
        stored = self._open_snapshot(outer_number)
        if candidates is None or stored is None or stored.manifest.primary != (key,):
            return
        outer_candidates = self._candidates.get(outer_number)
        if outer_candidates is None or candidates.count < outer_candidates.count:
            self._candidates[outer_number] = candidates

    def _open_snapshot(self, table_number: int) -> OpenSnapshot | None:
        relation = self._finder.find_relation(table_number, self._relations)
        if isinstance(relation, Snapshot):
            return self._engine.open_snapshot(relation)
        return None

    def _count_remaining_rows(self, table_number: int) -> int | None:
        """Return the number of rows of a reference as far as it is narrowed, or None if it cannot be read here."""
        if table_number in self._result.tables:
            return int(self._result.tables[table_number].num_rows)
        if table_number in self._candidates:
            return self._candidates[table_number].count
        if table_number in self._finder.derived_tables:
            return self._count_union_rows(table_number)
        relation = self._finder.find_relation(table_number, self._relations)
        if isinstance(relation, MemoryRelation):
            return int(relation.rows.num_rows)
        if isinstance(relation, Snapshot):
            return relation.rows
        return None

    def _count_union_rows(self, table_number: int) -> int | None:
        """Return the number of rows of a union as far as its members are narrowed; None if it is not known."""
        total = 0
        member_numbers = self._finder.union_member_numbers[table_number]
        for member_number in member_numbers:
            count = self._count_remaining_rows(member_number)
            if count is None:
                return None
            total += count
        return total if member_numbers else None

    def _read_remaining_rows(self, table_number: int) -> pa.Table:
        """Return the rows of a reference as far as it is narrowed, with the columns that the query reads."""
        reduced_rows = self._result.tables.get(table_number)
        if reduced_rows is not None:
            return reduced_rows
        if table_number in self._finder.derived_tables:
            message = "a derived table is read before it is computed"
            raise StorageError(message)
        relation = self._finder.find_relation(table_number, self._relations)
        stored = self._open_snapshot(table_number)
        if stored is not None:
            if table_number not in self._candidates:
                return self._read_all_rows(table_number, stored)
            columns = self._finder.list_read_columns(table_number, stored.schema)
            return read_candidate_rows(stored, self._candidates[table_number], columns)
        if not isinstance(relation, MemoryRelation):
            message = "the embedded engine cannot read this table"
            raise StorageError(message)
        rows = self._engine.read_relation(relation).get_table()
        columns = self._finder.list_read_columns(table_number, rows.schema)
        return rows.select(list(columns))

    def _read_all_rows(self, table_number: int, stored: OpenSnapshot) -> pa.Table:
        """Return all rows of a reference, with the columns that the query reads."""
        relation = self._finder.find_relation(table_number, self._relations)
        assert relation is not None  # noqa: S101  (it was opened)
        columns = self._finder.list_read_columns(table_number, stored.schema)
        return self._engine.read_relation(relation, columns).get_table()

    def _check_deadline(self) -> None:
        """Raise if no time is left."""
        if self._limits.deadline is not None:
            self._limits.deadline.check()

    def _run_auxiliary_query(
        self, plan: QueryPlan, relations: Mapping[str, Relation], row_limit: int | None = None
    ) -> pa.Table:
        """Run an auxiliary query within the deadline of this one."""
        limits = ExecutionLimits(row_limit=row_limit, deadline=self._limits.deadline)
        return self._read_all_batches(plan.execute(self._values, relations, limits))

    def _read_all_batches(self, execution: QueryExecution) -> pa.Table:
        self._set_running(execution)
        try:
            return pa.Table.from_batches(execution, schema=execution.schema)
        finally:
            self._set_running(None)
            execution.close()

    def _compute_derived_table_if_small(self, table_number: int, row_limit: int) -> bool:
        """Compute the rows of a derived table and return True, or return False if they are too many."""
        if table_number in self._refused_numbers:
            return False
        if table_number in self._result.tables:
            return True
        derived = self._finder.derived_tables[table_number]
        column_names = self._finder.list_read_derived_columns(derived)
        plan = self._finder.auxiliary_plans.plan_derived_table(self._engine, derived, column_names)
        rows = self._run_auxiliary_query(plan, self._relations, row_limit)
        if rows.num_rows > row_limit:
            self._refused_numbers.add(table_number)
            return False
        self._result.tables[table_number] = rows
        return True

    def _compute_circle_values(self, side: PositionJoinSide, rows: pa.Table) -> pa.Table:
        """Compute the circle expressions of the driver's rows."""
        columns: list[pa.ChunkedArray | pa.Array] = []
        for part in side.circle_expressions:
            column = self._read_circle_part(part, rows)
            if column is None:
                plan, name = self._finder.auxiliary_plans.plan_circle_values(self._engine, side, rows.schema)
                return self._run_auxiliary_query(plan, {name: MemoryRelation(rows)})
            columns.append(column)
        return pa.table(columns, names=[str(number) for number in range(len(columns))])

    def _read_circle_part(self, expression: Expr, rows: pa.Table) -> pa.ChunkedArray | pa.Array | None:
        """Return the values of a column or a constant for each row; None if a query must compute them."""
        if isinstance(expression, ColumnRef) and expression.column is not None:
            return rows.column(expression.column.name)
        constant = compile_constant(expression, self._finder.free_slots)
        if constant is None:
            return None
        value = constant(self._values)
        number = None
        if isinstance(value, int | float):
            number = float(value)
        return pa.array([number], pa.float64()).take(pa.array(np.zeros(rows.num_rows, np.int64)))

    def _filter_pairs(
        self, match: PositionJoin, side: PositionJoinSide, rows: pa.Table, target: OpenRows, pairs: tuple[Rows, Rows]
    ) -> tuple[Rows, Rows]:
        """Return the pairs that meet the condition, which a query tests for each pair."""
        owner, row = pairs
        plan, name, needed_columns = self._finder.auxiliary_plans.plan_pair_filter(self._engine, match.condition)
        passing_parts = [np.empty(0, np.int64)]
        for begin in range(0, len(owner), MAX_TESTED_PAIRS):
            part_owners = owner[begin : begin + MAX_TESTED_PAIRS]
            part_rows = row[begin : begin + MAX_TESTED_PAIRS]
            columns = {"pair": pa.array(np.arange(begin, begin + len(part_owners)))}
            for number, column_name in needed_columns:
                if number == side.driver_number:
                    column = rows.column(column_name).take(pa.array(part_owners))
                else:
                    column = target.get_projection((column_name,)).take_rows(part_rows).column(0)
                columns[f"{number}.{column_name}"] = column
            pair_relation = MemoryRelation(pa.table(columns))
            passing_pairs = self._run_auxiliary_query(plan, {name: pair_relation}).column(0)
            passing_parts.append(np.asarray(passing_pairs.to_numpy(), dtype=np.int64))
        passing_numbers = np.sort(np.concatenate(passing_parts))
        return owner[passing_numbers], row[passing_numbers]

    def list_usable_match_sides(self, match: PositionJoin) -> list[tuple[int | None, PositionJoinSide]]:
        """Return the sides of a match that can be used, the one with the fewest rows to look up first.

        The number of rows is None for a derived table that is not yet computed.
        """
        usable_sides = []
        for side in match.sides:
            if not self._can_look_up_target(side):
                continue
            driver_rows = self._count_remaining_rows(side.driver_number)
            if self._can_use_driver(side, driver_rows):
                usable_sides.append((driver_rows, side))
        return sorted(usable_sides, key=lambda item: MAX_DRIVER_ROWS if item[0] is None else item[0])

    def _can_look_up_target(self, side: PositionJoinSide) -> bool:
        if side.target_number in self._result.tables or side.target_number in self._duplicated_numbers:
            return False
        if side.duplicated_number in self._duplicated_numbers:
            return False
        target_numbers = [member.table_number for member in side.union_members] or [side.target_number]
        for number in target_numbers:
            stored = self._open_snapshot(number)
            if stored is None or not side.has_index(stored):
                return False
        return True

    def _can_use_driver(self, side: PositionJoinSide, driver_row_count: int | None) -> bool:
        if driver_row_count is None:
            return side.driver_number in self._finder.derived_tables
        if driver_row_count > self._compute_max_driver_rows(side):
            return False
        return not self._is_nested_loop_cheaper(side, driver_row_count)

    def _is_nested_loop_cheaper(self, side: PositionJoinSide, driver_row_count: int) -> bool:
        """Return whether so few rows are left on both sides that DuckDB can test all pairs."""
        candidates = self._candidates.get(side.target_number)
        return candidates is not None and candidates.count * driver_row_count <= side.nested_loop_limit

    def _compute_max_driver_rows(self, side: PositionJoinSide) -> int:
        """Return the maximum number of driver rows for which looking up is worth its time."""
        target_rows = 0
        for number in self._finder.union_member_numbers.get(side.target_number, (side.target_number,)):
            stored = self._open_snapshot(number)
            if stored is not None:
                target_rows += stored.manifest.rows
        if target_rows >= MIN_TARGET_ROWS:
            return MAX_DRIVER_ROWS
        return min(MAX_DRIVER_ROWS, 4 * target_rows + MIN_CANDIDATE_LIMIT)

    def _apply_position_match(self, match_number: int, match: PositionJoin) -> None:
        for _, side in self.list_usable_match_sides(match):
            if side.driver_number in self._finder.derived_tables:
                if not self._compute_derived_table_if_small(side.driver_number, self._compute_max_driver_rows(side)):
                    continue
                driver_rows = self._count_remaining_rows(side.driver_number) or 0
                if self._is_nested_loop_cheaper(side, driver_rows):
                    continue
            if self._apply_match_side(match, side):
                self._duplicated_numbers.add(side.duplicated_number)
                self._result.replaced_conditions[id(match.condition)] = build_pair_condition(match, side)
                self._result.match_sides.append((match_number, side))
            return

    def _apply_match_side(self, match: PositionJoin, side: PositionJoinSide) -> bool:
        """Replace the tables of a match by its pairs; return False if there are too many."""
        rows = self._read_remaining_rows(side.driver_number)
        circle_columns = build_driver_circles(self._compute_circle_values(side, rows))
        if circle_columns is None:
            return False
        self._check_deadline()
        if side.union_members:
            return self._apply_union_match_side(match, side, rows, circle_columns)
        target = self._open_snapshot(side.target_number)
        if target is None:
            return False
        pairs = self._find_near_pairs(target, side, circle_columns, match.vectorised_test)
        if pairs is None:
            return False
        if match.exact_test == "asked":
            pairs = self._filter_pairs(match, side, rows, target, pairs)
        owner, row = pairs
        tables = self._result.tables
        if side.duplicated_number == side.target_number:
            tables[side.target_number] = self._read_pair_rows(side.target_number, target, owner, row)
            tables[side.driver_number] = append_row_number_column(rows)
        else:
            tables[side.driver_number] = append_number_column(rows.take(pa.array(owner)), PARTNER_COLUMN, row)
            all_rows = self._read_all_rows(side.target_number, target)
            tables[side.target_number] = append_number_column(
                all_rows, ROW_NUMBER_COLUMN, np.arange(target.manifest.rows)
            )
        return True

    def _apply_union_match_side(
        self,
        match: PositionJoin,
        side: PositionJoinSide,
        rows: pa.Table,
        circle_columns: tuple[Numbers, Numbers, Numbers],
    ) -> bool:
        """Replace a union and its driver by their pairs; return False if there are too many."""
        union = self._compute_narrowed_union(side, circle_columns, match.vectorised_test)
        if union is None:
            return False
        if match.exact_test == "asked":
            owner = union.column(PARTNER_COLUMN).to_numpy()
            pairs = (owner, np.arange(len(owner)))
            _, passing_rows = self._filter_pairs(match, side, rows, MemoryTableRows(union), pairs)
            union = union.take(pa.array(passing_rows))
        self._result.tables[side.target_number] = union
        self._result.tables[side.driver_number] = append_row_number_column(rows)
        return True

    def _find_near_pairs(
        self,
        target: OpenSnapshot,
        side: PositionJoinSide,
        circle_columns: tuple[Numbers, Numbers, Numbers],
        exact_test: str,
    ) -> tuple[Rows, Rows] | None:
        if side.region_column:
            index = target.get_region_index(side.region_column)
            if index is not None:
                return find_possibly_touching_pairs(index, circle_columns)
        indexed_positions = get_indexed_positions(target, side.position)
        pairs_by_target = find_near_pairs([indexed_positions], circle_columns, exact_test)
        if pairs_by_target is None:
            return None
        return pairs_by_target[0]

    def _read_pair_rows(self, table_number: int, target: OpenSnapshot, owner: Rows, row: Rows) -> pa.Table:
        """Return the rows of the pairs of a table, each with the number of its partner."""
        candidates = self._candidates.get(table_number)
        if candidates is not None:
            is_candidate = _compute_membership_mask(row, candidates.list_row_numbers())
            owner = owner[is_candidate]
            row = row[is_candidate]
        order = np.argsort(row, kind="stable")
        projection = target.get_projection(self._finder.list_read_columns(table_number, target.schema))
        pair_rows = pa.Table.from_batches([projection.take_ascending_rows(row[order])])
        return append_number_column(pair_rows, PARTNER_COLUMN, owner[order])

    def _compute_narrowed_union(
        self, side: PositionJoinSide, circle_columns: tuple[Numbers, Numbers, Numbers], exact_test: str
    ) -> pa.Table | None:
        """Compute a union over those rows of its tables that lie in circles; return None if they are too many."""
        members = []
        position_sets = []
        for member in side.union_members:
            stored = self._open_snapshot(member.table_number)
            if stored is None:
                return None
            positions = self._find_member_positions(member, stored)
            if positions is None:
                return None
            members.append((member.table_number, stored))
            position_sets.append(positions)
        pairs_by_member = find_near_pairs(position_sets, circle_columns, exact_test)
        if pairs_by_member is None:
            return None
        self._check_deadline()
        tables = {}
        for (table_number, stored), (owner, row) in zip(members, pairs_by_member, strict=True):
            tables[table_number] = self._read_pair_rows(table_number, stored, owner, row)
        self._check_deadline()
        derived = self._finder.derived_tables[side.target_number]
        column_names = self._finder.list_read_derived_columns(derived)
        plan = self._finder.auxiliary_plans.plan_union(self._engine, derived, side.union_members, column_names)
        limits = ExecutionLimits(deadline=self._limits.deadline)
        return self._read_all_batches(plan.execute_over_tables(tables, self._values, self._relations, limits))

    def _find_member_positions(self, member: UnionMember, stored: OpenSnapshot) -> IndexedPositions | None:
        """Return the positions of one member of a union, or None if only DuckDB can compute with them."""
        if member.lon is None:
            return IndexedPositions(np.empty(0, np.int64), lambda _: (np.empty(0), np.empty(0)))
        table_ref = self._finder.table_refs[member.table_number]
        if member.is_indexed and table_ref.table is not None and table_ref.table.position is not None:
            position_columns = table_ref.table.position
            if stored.manifest.position == position_columns:
                return get_indexed_positions(stored, position_columns)
        plan = self._finder.auxiliary_plans.plan_member_positions(self._engine, member, table_ref)
        try:
            positions = self._run_auxiliary_query(plan, self._relations)
        except EvaluationError:  # the error may come from a row that the member leaves out
            return None
        row_order = np.argsort(positions.column(2).to_numpy())
        lon = to_double_array(positions.column(0))[row_order]
        lat = to_double_array(positions.column(1))[row_order]
        if len(lon) != stored.manifest.rows:
            return None
        index = build_position_index(lon, lat)
        if index is None:
            return None
        cells, order = index
        return IndexedPositions(cells, lambda places: (lon[order[places]], lat[order[places]]), order)

    def _apply_key_join(self, join: KeyJoin) -> None:
        stored = self._open_snapshot(join.target_number)
        driver_rows = self._count_remaining_rows(join.driver_number)
        if stored is None or driver_rows is None or join.target_number in self._result.tables:
            return
        if driver_rows > min(MAX_JOIN_KEYS, stored.manifest.rows // MIN_ROWS_PER_CANDIDATE):
            return
        index = stored.get_key_index(join.column)
        candidates_before = self._candidates.get(join.target_number)
        if index is None or (candidates_before is not None and candidates_before.count <= driver_rows):
            return
        keys = self._read_remaining_rows(join.driver_number).column(join.driver_column)
        candidates = find_rows_with_keys(index, keys, stored.max_candidate_rows)
        if candidates is not None and (candidates_before is None or candidates.count < candidates_before.count):
            self._candidates[join.target_number] = candidates


def append_row_number_column(rows: pa.Table) -> pa.Table:
    """Append a column with the row numbers, unless the table has it."""
    if ROW_NUMBER_COLUMN in rows.column_names:
        return rows
    return append_number_column(rows, ROW_NUMBER_COLUMN, np.arange(rows.num_rows))


def _compute_membership_mask(rows: Rows, ascending_rows: Rows) -> npt.NDArray[np.bool_]:
    """Return a mask of the rows that are among the ascending ones."""
    if not len(ascending_rows):
        return np.zeros(len(rows), np.bool_)
    places = np.minimum(np.searchsorted(ascending_rows, rows), len(ascending_rows) - 1)
    is_member: npt.NDArray[np.bool_] = ascending_rows[places] == rows
    return is_member


def read_candidate_rows(stored: OpenSnapshot, candidates: CandidateRows, columns: Sequence[str]) -> pa.Table:
    """Return the candidate rows: views of the mapped file for long ranges, copies for scattered rows."""
    projection = stored.get_projection(tuple(columns))
    if not candidates.count:
        return projection.schema.empty_table()
    ranges = candidates.ranges
    if ranges is not None and candidates.count > 50_000 and candidates.count > 500 * len(ranges):
        batches: list[pa.RecordBatch] = []
        for begin, end in ranges.tolist():
            if end > begin:
                batches += projection.iterate_row_range(begin, end)
        return pa.Table.from_batches(batches, schema=projection.schema)
    return pa.Table.from_batches([projection.take_ascending_rows(candidates.list_row_numbers())])

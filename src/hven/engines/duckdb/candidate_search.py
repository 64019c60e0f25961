"""Candidates of a query: everything its indexes can narrow, found in one place when the plan is made and looked up when it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.adql.syntax_tree import ColumnRef
from hven.engines import ExecutionLimits, MemoryRelation, Snapshot
from hven.engines._query_analysis.column_usage import list_read_columns, list_selects
from hven.engines._query_analysis.constants import compile_constant
from hven.engines._query_analysis.narrowable_selects import analyse_select
from hven.engines.duckdb.arrow_queries import MAX_SORTED_ROWS
from hven.engines.duckdb.correlated_subqueries import AuxiliaryPlans, list_subquery_selects
from hven.engines.duckdb.index_accesses import BestAccess, CandidateRows, IndexAccess, find_index_accesses
from hven.engines.duckdb.nearest_rows import list_own_row_lookups, match_nearest_pattern
from hven.engines.duckdb.position_pairs import (
    MAX_DRIVER_ROWS,
    IndexedPositions,
    KeyJoin,
    MatchSide,
    PositionMatch,
    append_numbers,
    build_circles,
    find_correlated_matches,
    find_key_joins,
    find_near_pairs,
    find_position_matches,
    find_rows_with_keys,
    find_touching_pairs,
    get_indexed_positions,
    to_double_array,
    write_pair_condition,
)
from hven.engines.duckdb.snapshot_files import ROW_NUMBER_COLUMN, TableRows
from hven.engines.duckdb.union_members import PARTNER_COLUMN, build_position_index, list_member_tables
from hven.model.errors import EvaluationError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.syntax_tree import BoundQuery, DerivedTable, Expr, TableRef
    from hven.engines import QueryExecution, QueryPlan, Relation
    from hven.engines.duckdb.engine_protocol import DuckEngineProtocol
    from hven.engines.duckdb.snapshot_files import OpenRows, OpenSnapshot
    from hven.engines.duckdb.union_members import UnionMember

    Values = Sequence[float | str | None]
    Numbers = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

MIN_ROWS_PER_CANDIDATE = 5  # candidates are used if they are less than one in so many rows
MIN_CANDIDATE_LIMIT = 10_000  # or less than this
MAX_TESTED_PAIRS = MAX_SORTED_ROWS  # pairs that are put to the condition itself at a time: by Arrow, where it can
MIN_TARGET_ROWS = 300  # rows of a target from which on looking up a circle is quicker than trying them all: measured
MAX_JOIN_KEYS = 500_000  # rows on the other side of a join by key that are looked up one by one


@dataclass(slots=True)
class ReducedTables:
    """What the indexes gave for one run: tables to read in place of references, and conditions to replace."""

    tables: dict[int, pa.Table] = field(default_factory=dict)
    replaced_conditions: dict[int, Expr] = field(default_factory=dict)
    match_sides: list[tuple[int, MatchSide]] = field(default_factory=list)
    inner_numbers: set[int] = field(
        default_factory=set
    )  # references inside of what is replaced: nobody reads them any more

    @property
    def text_key(self) -> tuple[frozenset[int], tuple[tuple[int, MatchSide], ...], frozenset[int]]:
        """What the SQL text depends on."""
        return frozenset(self.tables), tuple(self.match_sides), self.empty_numbers

    @property
    def empty_numbers(self) -> frozenset[int]:
        """References that have no rows."""
        return frozenset(number for number, table in self.tables.items() if not table.num_rows)


class CandidateFinder:
    """The roads to each table reference of a query."""

    def __init__(self, bound: BoundQuery) -> None:
        self.table_refs: dict[int, TableRef] = {}
        self.index_accesses: dict[int, IndexAccess] = {}
        self._matches: list[PositionMatch] = []
        self._key_joins: list[KeyJoin] = []
        self.own_row_lookups: list[tuple[int, int, str]] = []
        self.free_slots = bound.free_slots
        self._read_columns = list_read_columns(bound)
        self._derived_tables: dict[int, DerivedTable] = {}
        self._union_members: dict[int, tuple[int, ...]] = {}
        self._auxiliary_plans = AuxiliaryPlans(bound)
        used_conditions: set[tuple[int, int]] = set()  # conditions that are found again in a derived table
        for select in list_selects(bound.query):
            narrowable = analyse_select(select)
            self.table_refs.update(narrowable.table_refs)
            self._derived_tables.update(narrowable.derived_tables)
            self._union_members.update(
                {
                    number: tuple(leaf.number for leaf, _ in list_member_tables(item))
                    for number, item in narrowable.derived_tables.items()
                }
            )
            self.own_row_lookups += list_own_row_lookups(narrowable)
            nearest_access = match_nearest_pattern(select, bound.free_slots)
            for number, access in (
                *find_index_accesses(narrowable, bound.free_slots, used_conditions).items(),
                *(() if nearest_access is None else (nearest_access,)),
            ):
                access_before = self.index_accesses.get(number)
                if access_before is None:
                    self.index_accesses[number] = access
                else:
                    self.index_accesses[number] = BestAccess((access_before, access))
            if len(narrowable.direct_numbers) + len(narrowable.derived_tables) > 1:
                self._matches += find_position_matches(narrowable, bound.free_slots)
                self._key_joins += find_key_joins(narrowable)
            for part in () if narrowable.select.source is None else list_subquery_selects(select):
                self._matches += find_correlated_matches(analyse_select(part), narrowable, bound.free_slots)

    def __bool__(self) -> bool:
        return bool(self.index_accesses or self._matches or self._key_joins)

    def describe_indexes(self) -> list[str]:
        """Describe in words what may be used."""
        lines = [
            f"{self.find_name(number)}: candidates from the {access.describe_index()}, if they are few"
            for number, access in self.index_accesses.items()
        ]
        for match in self._matches:
            lines += [
                f"{self._describe_side(side)}{', whichever has fewer rows' * (len(match.sides) > 1)}"
                for side in match.sides
            ]
        lines += [
            (
                f"{self.find_name(join.target_number)}: rows with the keys of {self.find_name(join.driver_number)} "
                f"from the index of {join.column}, if they are few"
            )
            for join in self._key_joins
        ]
        return lines

    def _describe_side(self, side: MatchSide) -> str:
        """Describe how a match is used."""
        description = (
            f"{self.find_name(side.target_number)}: matched with {self.find_name(side.driver_number)} by the "
            f"position index"
        )
        if side.region_column:
            return f"{description} of the regions in {side.region_column}"
        if not side.union_members:
            return description
        indexed_names = [self.find_name(part.table_number) for part in side.union_members if part.is_indexed]
        computed = [
            self.find_name(part.table_number)
            for part in side.union_members
            if part.lon is not None and not part.is_indexed
        ]
        return f"{description} of {', '.join(indexed_names) or 'none'}" + (
            f"; positions of {', '.join(computed)} are computed first" if computed else ""
        )

    def find_name(self, table_number: int) -> str:
        """Name a reference as the query does."""
        if table_number in self._derived_tables:
            return self._derived_tables[table_number].alias.name
        leaf = self.table_refs[table_number]
        if leaf.alias is not None:
            return leaf.alias.name
        if leaf.table is not None:
            return leaf.table.qualified_name
        return str(table_number)

    def find_candidates(
        self,
        engine: DuckEngineProtocol,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        set_running: Callable[[QueryExecution | None], None] = lambda _: None,
    ) -> ReducedTables:
        """Look everything up for these values.

        `set_running` is told which query runs meanwhile, so that it can be cancelled.
        """
        return _CandidateSearch(self, engine, literal_values, relations, limits, set_running).find_all()

    def describe_neighbours(
        self, engine: DuckEngineProtocol, literal_values: Values, relations: Mapping[str, Relation]
    ) -> dict[int, str]:
        """Describe for the tables that a join by position narrows which of their rows are read, by their numbers."""
        search = _CandidateSearch(self, engine, literal_values, relations, ExecutionLimits(), lambda _: None)
        search.find_by_constants()
        descriptions: dict[int, str] = {}
        for match in self._matches:
            if match.required_one is None or match.required_one(literal_values) == 1:
                sides = search.list_usable_sides(match)
            else:
                sides = []
            for count, side in sides[:1]:
                description = (
                    f"rows near the{'' if count is None else f' {count:,}'} rows of "
                    f"{self.find_name(side.driver_number)}"
                )
                descriptions.update(
                    dict.fromkeys(
                        [part.table_number for part in side.union_members] or [side.target_number], description
                    )
                )
        return descriptions

    def find_relation(self, table_number: int, relations: Mapping[str, Relation]) -> Relation | None:
        """Return the relation that a table reference reads; None: it is none of a table."""
        if table_number in self.table_refs:
            table = self.table_refs[table_number].table
        else:
            table = None
        if table is None:
            return None
        if table.qualified_name not in relations:
            message = f"nobody said where the rows of {table.qualified_name} are"
            raise StorageError(message)
        return relations[table.qualified_name]

    def list_columns(self, table_number: int, stored_or_rows: pa.Schema) -> tuple[str, ...]:
        """List the columns that the query reads of a reference; one at least."""
        return self._read_columns.get(table_number) or (stored_or_rows.names[0],)

    @property
    def derived_tables(self) -> Mapping[int, DerivedTable]:
        """Derived tables, by number."""
        return self._derived_tables

    @property
    def union_members(self) -> Mapping[int, tuple[int, ...]]:
        """Numbers of the tables that the members of a derived table read, by its number.

        None if it is no union of tables.
        """
        return self._union_members

    @property
    def auxiliary_plans(self) -> AuxiliaryPlans:
        """Queries that are run to find candidates."""
        return self._auxiliary_plans

    @property
    def position_matches(self) -> list[PositionMatch]:
        """Joins by position."""
        return self._matches

    @property
    def key_joins(self) -> list[KeyJoin]:
        """Joins by key."""
        return self._key_joins


class _CandidateSearch:
    """One run of `CandidateFinder.find_candidates`."""

    def __init__(
        self,
        finder: CandidateFinder,
        engine: DuckEngineProtocol,
        values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        set_running: Callable[[QueryExecution | None], None],
    ) -> None:
        self._set_running = set_running
        self._finder = finder
        self._engine = engine
        self._values = values
        self._relations = relations
        self._limits = limits
        self._candidates: dict[int, CandidateRows] = {}
        self._duplicated_numbers: set[int] = set()
        self._refused_numbers: set[int] = set()  # derived tables that are too long
        self._result = ReducedTables()

    def find_by_constants(self) -> None:
        """Ask the indexes for the tables that constants narrow."""
        for number, access in self._finder.index_accesses.items():
            stored = self._open_snapshot(number)
            if stored is None:
                candidates = None
            else:
                candidates = access.find_candidates(stored, self._values, compute_candidate_limit(stored))
            if candidates is not None:
                self._candidates[number] = candidates

    def find_all(self) -> ReducedTables:
        """Look up what constants narrow, then what joins narrow."""
        self.find_by_constants()
        for outer, inner, key in self._finder.own_row_lookups:
            candidates = self._candidates.get(inner)
            stored = self._open_snapshot(outer)
            if candidates is None or stored is None or stored.manifest.primary != (key,):
                continue
            if outer not in self._candidates or candidates.count < self._candidates[outer].count:
                self._candidates[outer] = candidates
        for match_number, match in enumerate(self._finder.position_matches):
            if match.required_one is None or match.required_one(self._values) == 1:
                self._apply_match(match_number, match)
        for join in self._finder.key_joins:
            self._apply_key_join(join)
        self._result.inner_numbers.update(
            leaf for number in self._result.tables for leaf in self._finder.union_members.get(number, ())
        )
        for number in self._candidates:
            if number not in self._result.tables and number not in self._result.inner_numbers:
                self._result.tables[number] = self._read_candidates(number)
        return self._result

    def _open_snapshot(self, table_number: int) -> OpenSnapshot | None:
        relation = self._finder.find_relation(table_number, self._relations)
        if isinstance(relation, Snapshot):
            return self._engine.open_snapshot(relation)
        return None

    def _count_rows(self, table_number: int) -> int | None:
        """Return the number of rows of a reference as far as it is narrowed, None if it cannot be read here."""
        if table_number in self._result.tables:
            return int(self._result.tables[table_number].num_rows)
        if table_number in self._candidates:
            return self._candidates[table_number].count
        if table_number in self._finder.derived_tables:
            counts = [self._count_rows(leaf) for leaf in self._finder.union_members[table_number]]
            known_counts = [count for count in counts if count is not None]
            if known_counts and len(known_counts) == len(counts):
                return sum(known_counts)
            return None
        relation = self._finder.find_relation(table_number, self._relations)
        if isinstance(relation, MemoryRelation):
            return int(relation.rows.num_rows)
        if isinstance(relation, Snapshot):
            return relation.rows
        return None

    def _read_candidates(self, table_number: int) -> pa.Table:
        """Return the rows of a reference as far as it is narrowed, with the columns that the query reads."""
        known_rows = self._result.tables.get(table_number)
        if known_rows is not None:
            return known_rows
        if table_number in self._finder.derived_tables:
            message = "a derived table is read before it is computed"
            raise StorageError(message)
        relation = self._finder.find_relation(table_number, self._relations)
        stored = self._open_snapshot(table_number)
        if stored is not None:
            if table_number not in self._candidates:
                return self._read_all_rows(table_number, stored)
            return read_candidate_rows(
                stored, self._candidates[table_number], self._finder.list_columns(table_number, stored.schema)
            )
        if not isinstance(relation, MemoryRelation):
            message = "the embedded engine cannot read this table"
            raise StorageError(message)
        rows = self._engine.read_relation(relation).get_table()
        columns = self._finder.list_columns(table_number, rows.schema)
        return rows.select(list(columns))

    def _read_all_rows(self, table_number: int, stored: OpenSnapshot) -> pa.Table:
        """Return all rows of a reference, with the columns that the query reads."""
        relation = self._finder.find_relation(table_number, self._relations)
        assert relation is not None  # noqa: S101  (it was opened)
        return self._engine.read_relation(relation, self._finder.list_columns(table_number, stored.schema)).get_table()

    def _check_deadline(self) -> None:
        """Raise if no time is left."""
        if self._limits.deadline is not None:
            self._limits.deadline.check()

    def _run_query(self, plan: QueryPlan, relations: Mapping[str, Relation], row_limit: int | None = None) -> pa.Table:
        """Run a query for the sake of another one."""
        return self._read_all_batches(
            plan.execute(self._values, relations, ExecutionLimits(row_limit=row_limit, deadline=self._limits.deadline))
        )

    def _read_all_batches(self, execution: QueryExecution) -> pa.Table:
        self._set_running(execution)
        try:
            return pa.Table.from_batches(execution, schema=execution.schema)
        finally:
            self._set_running(None)
            execution.close()

    def _compute_derived_table(self, table_number: int, row_limit: int) -> bool:
        """Compute the rows of a derived table, unless they are too many; return whether they are there."""
        if table_number not in self._result.tables and table_number not in self._refused_numbers:
            derived = self._finder.derived_tables[table_number]
            names = self._finder.list_columns(
                table_number, pa.schema([pa.field(column.name, column.type.arrow) for column in derived.columns])
            )
            rows = self._run_query(
                self._finder.auxiliary_plans.plan_derived_table(self._engine, derived, names),
                self._relations,
                row_limit,
            )
            if rows.num_rows > row_limit:
                self._refused_numbers.add(table_number)
            else:
                self._result.tables[table_number] = rows
        return table_number not in self._refused_numbers

    def _compute_circle_values(self, side: MatchSide, rows: pa.Table) -> pa.Table:
        """Compute what lies around the rows of the driver."""
        names = [
            part.column.name if isinstance(part, ColumnRef) and part.column is not None else ""
            for part in side.circle_expressions
        ]
        if all(names):
            return pa.table([rows.column(name) for name in names], names=[str(at) for at in range(len(names))])
        constants = [
            None if name else compile_constant(part, self._finder.free_slots)
            for name, part in zip(names, side.circle_expressions, strict=True)
        ]
        if all(name or value_constant is not None for name, value_constant in zip(names, constants, strict=True)):
            columns: list[pa.ChunkedArray | pa.Array] = []
            for name, value_constant in zip(names, constants, strict=True):
                if value_constant is None:
                    value = None
                else:
                    value = value_constant(self._values)
                if isinstance(value, int | float):
                    number = float(value)
                else:
                    number = None
                columns.append(
                    rows.column(name)
                    if name
                    else pa.array([number], pa.float64()).take(pa.array(np.zeros(rows.num_rows, np.int64)))
                )
            return pa.table(columns, names=[str(at) for at in range(len(names))])
        plan, name = self._finder.auxiliary_plans.plan_circles(self._engine, side, rows.schema)
        return self._run_query(plan, {name: MemoryRelation(rows)})

    def _filter_pairs(
        self, match: PositionMatch, side: MatchSide, rows: pa.Table, target: OpenRows, pairs: tuple[Rows, Rows]
    ) -> tuple[Rows, Rows]:
        """Filter pairs by the condition, which DuckDB tests on each of them."""
        owner, row = pairs
        plan, name, needed_columns = self._finder.auxiliary_plans.plan_pair_filter(self._engine, match.condition)
        passing_parts = []
        for begin in range(0, len(owner), MAX_TESTED_PAIRS):
            part_owners = owner[begin : begin + MAX_TESTED_PAIRS]
            part_rows = row[begin : begin + MAX_TESTED_PAIRS]
            columns = {"pair": pa.array(np.arange(begin, begin + len(part_owners)))}
            for number, column in needed_columns:
                is_driver = number == side.driver_number
                if is_driver:
                    columns[f"{number}.{column}"] = rows.column(column).take(pa.array(part_owners))
                else:
                    projection = target.get_projection((column,))
                    columns[f"{number}.{column}"] = projection.take_rows(part_rows).column(0)
            passing_pairs = self._run_query(plan, {name: MemoryRelation(pa.table(columns))}).column(0)
            passing_parts.append(np.asarray(passing_pairs.to_numpy(), dtype=np.int64))
        if passing_parts:
            passing_numbers = np.sort(np.concatenate(passing_parts))
        else:
            passing_numbers = np.empty(0, np.int64)
        return owner[passing_numbers], row[passing_numbers]

    def list_usable_sides(self, match: PositionMatch) -> list[tuple[int | None, MatchSide]]:
        """Return the ways to use a match, the one with the fewest rows to look up first; None.

        How many is known when they are computed.
        """
        usable = []
        for side in match.sides:
            if (
                side.target_number in self._result.tables
                or {side.duplicated_number, side.target_number} & self._duplicated_numbers
            ):
                continue
            if side.driver_number in self._duplicated_numbers and side.driver_number == side.duplicated_number:
                continue
            targets = [self._open_snapshot(part.table_number) for part in side.union_members] or [
                self._open_snapshot(side.target_number)
            ]
            if any(stored is None or not side.has_index(stored) for stored in targets):
                continue
            drivers = self._count_rows(side.driver_number)
            driver_limit = self._compute_driver_limit(side)
            if (drivers is None and side.driver_number not in self._finder.derived_tables) or (
                drivers or 0
            ) > driver_limit:
                continue
            candidates = self._candidates.get(side.target_number)
            if (
                candidates is not None
                and candidates.count * (drivers or 0) <= side.nested_loop_limit
                and drivers is not None
            ):
                continue  # so few are left on both sides that DuckDB tries them all
            usable.append((drivers, side))
        return sorted(usable, key=lambda item: MAX_DRIVER_ROWS if item[0] is None else item[0])

    def _compute_driver_limit(self, side: MatchSide) -> int:
        """Return the number of rows from which on looking them up is not worth it."""
        rows = sum(
            stored.manifest.rows
            for number in self._finder.union_members.get(side.target_number, (side.target_number,))
            if (stored := self._open_snapshot(number))
        )
        if rows >= MIN_TARGET_ROWS:
            return MAX_DRIVER_ROWS
        return min(MAX_DRIVER_ROWS, 4 * rows + MIN_CANDIDATE_LIMIT)

    def _apply_match(self, match_number: int, match: PositionMatch) -> None:
        for _, side in self.list_usable_sides(match):
            if side.driver_number in self._finder.derived_tables:
                if not self._compute_derived_table(side.driver_number, self._compute_driver_limit(side)):
                    continue
                candidates = self._candidates.get(side.target_number)
                drivers = self._count_rows(side.driver_number) or 0
                if candidates is not None and candidates.count * drivers <= side.nested_loop_limit:
                    continue
            if self._apply_side(match, side):
                self._duplicated_numbers.add(side.duplicated_number)
                self._result.replaced_conditions[id(match.condition)] = write_pair_condition(match, side)
                self._result.match_sides.append((match_number, side))
            return

    def _apply_side(self, match: PositionMatch, side: MatchSide) -> bool:
        """Replace a match's tables by its pairs; False if there are too many."""
        rows = self._read_candidates(side.driver_number)
        circle_columns = build_circles(self._compute_circle_values(side, rows))
        if circle_columns is None:
            return False
        self._check_deadline()
        tables = self._result.tables
        exact = "" if match.exact_test == "asked" else match.exact_test
        if side.union_members:
            union = self._compute_union(side, circle_columns, exact)
            if union is None:
                return False
            if match.exact_test == "asked":
                owner = union.column(PARTNER_COLUMN).to_numpy()
                union = union.take(
                    pa.array(self._filter_pairs(match, side, rows, TableRows(union), (owner, np.arange(len(owner))))[1])
                )
            tables[side.target_number] = union
            tables[side.driver_number] = add_row_numbers(rows)
            return True
        target = self._open_snapshot(side.target_number)
        if target is None:
            pairs = None
        else:
            pairs = self._find_near_pairs(target, side, circle_columns, exact)
        if target is None or pairs is None:
            return False
        if match.exact_test == "asked":
            pairs = self._filter_pairs(match, side, rows, target, pairs)
        owner, row = pairs
        if side.duplicated_number == side.target_number:
            tables[side.target_number] = self._read_pair_rows(side.target_number, target, owner, row)
            tables[side.driver_number] = add_row_numbers(rows)
        else:
            tables[side.driver_number] = append_numbers(rows.take(pa.array(owner)), PARTNER_COLUMN, row)
            all_rows = self._read_all_rows(side.target_number, target)
            tables[side.target_number] = append_numbers(all_rows, ROW_NUMBER_COLUMN, np.arange(target.manifest.rows))
        return True

    def _find_near_pairs(
        self, target: OpenSnapshot, side: MatchSide, circle_columns: tuple[Numbers, Numbers, Numbers], exact: str
    ) -> tuple[Rows, Rows] | None:
        if side.region_column:
            index = target.get_region_index(side.region_column)
        else:
            index = None
        if index is not None:
            return find_touching_pairs(index, circle_columns)
        indexed_positions = get_indexed_positions(target, side.position)
        pairs_by_target = find_near_pairs([indexed_positions], circle_columns, exact)
        return None if pairs_by_target is None else pairs_by_target[0]

    def _read_pair_rows(self, table_number: int, target: OpenSnapshot, owner: Rows, row: Rows) -> pa.Table:
        """Return the rows of the pairs of a table, each with the number of its partner."""
        candidates = self._candidates.get(table_number)
        if candidates is not None:
            keep = _is_in_ascending(row, candidates.list_rows())
            owner = owner[keep]
            row = row[keep]
        order = np.argsort(row, kind="stable")
        projection = target.get_projection(self._finder.list_columns(table_number, target.schema))
        pair_rows = pa.Table.from_batches([projection.take_ascending(row[order])])
        return append_numbers(pair_rows, PARTNER_COLUMN, owner[order])

    def _compute_union(
        self, side: MatchSide, circle_columns: tuple[Numbers, Numbers, Numbers], exact: str
    ) -> pa.Table | None:
        """Compute a union over the rows of its tables that lie in circles; None if they are too many."""
        members = [
            (part.table_number, stored, self._find_member_positions(part, stored))
            for part in side.union_members
            if (stored := self._open_snapshot(part.table_number)) is not None
        ]
        member_positions = [places for _, _, places in members if places is not None]
        if len(member_positions) == len(side.union_members):
            pairs = find_near_pairs(member_positions, circle_columns, exact)
        else:
            pairs = None
        if pairs is None:
            return None
        self._check_deadline()
        tables = {
            leaf: self._read_pair_rows(leaf, stored, *member_pairs)
            for (leaf, stored, _), member_pairs in zip(members, pairs, strict=True)
        }
        self._check_deadline()
        derived = self._finder.derived_tables[side.target_number]
        names = self._finder.list_columns(
            side.target_number, pa.schema([pa.field(column.name, column.type.arrow) for column in derived.columns])
        )
        plan = self._finder.auxiliary_plans.plan_union(self._engine, derived, side.union_members, names)
        return self._read_all_batches(
            plan.execute_over(tables, self._values, self._relations, ExecutionLimits(deadline=self._limits.deadline))
        )

    def _find_member_positions(self, part: UnionMember, stored: OpenSnapshot) -> IndexedPositions | None:
        """Return the positions of one member of a union; None if DuckDB is to judge them."""
        if part.lon is None:
            return IndexedPositions(np.empty(0, np.int64), lambda _: (np.empty(0), np.empty(0)))
        leaf = self._finder.table_refs[part.table_number]
        if (
            part.is_indexed
            and leaf.table is not None
            and stored.manifest.position == leaf.table.position
            and leaf.table.position is not None
        ):
            return get_indexed_positions(stored, leaf.table.position)
        try:
            places = self._run_query(
                self._finder.auxiliary_plans.plan_positions(self._engine, part, leaf), self._relations
            )
        except EvaluationError:  # of a row that the member may leave out
            return None
        row_order = np.argsort(places.column(2).to_numpy())
        lon, lat = to_double_array(places.column(0))[row_order], to_double_array(places.column(1))[row_order]
        if len(lon) == stored.manifest.rows:
            index = build_position_index(lon, lat)
        else:
            index = None
        if index is None:
            return None
        cells, order = index
        return IndexedPositions(cells, lambda at: (lon[order[at]], lat[order[at]]), order)

    def _apply_key_join(self, join: KeyJoin) -> None:
        stored = self._open_snapshot(join.target_number)
        drivers = self._count_rows(join.driver_number)
        if (
            stored is None
            or drivers is None
            or join.target_number in self._result.tables
            or drivers > min(MAX_JOIN_KEYS, stored.manifest.rows // MIN_ROWS_PER_CANDIDATE)
        ):
            return
        index = stored.get_key_index(join.column)
        candidates_before = self._candidates.get(join.target_number)
        if index is None or (candidates_before is not None and candidates_before.count <= drivers):
            return
        candidates = find_rows_with_keys(
            index, self._read_candidates(join.driver_number).column(join.driver_column), compute_candidate_limit(stored)
        )
        if candidates is not None and (candidates_before is None or candidates.count < candidates_before.count):
            self._candidates[join.target_number] = candidates


def add_row_numbers(rows: pa.Table) -> pa.Table:
    """Append the numbers of rows, once."""
    if ROW_NUMBER_COLUMN in rows.column_names:
        return rows
    return append_numbers(rows, ROW_NUMBER_COLUMN, np.arange(rows.num_rows))


def _is_in_ascending(rows: Rows, ascending_rows: Rows) -> npt.NDArray[np.bool_]:
    """Return which rows are among ascending ones."""
    if not len(ascending_rows):
        return np.zeros(len(rows), np.bool_)
    is_member: npt.NDArray[np.bool_] = (
        ascending_rows[np.minimum(np.searchsorted(ascending_rows, rows), len(ascending_rows) - 1)] == rows
    )
    return is_member


def compute_candidate_limit(stored: OpenSnapshot) -> int:
    """Return the number of candidates above which a look at every row is quicker."""
    return max(stored.manifest.rows // MIN_ROWS_PER_CANDIDATE, min(MIN_CANDIDATE_LIMIT, stored.manifest.rows))


def read_candidate_rows(stored: OpenSnapshot, candidates: CandidateRows, columns: Sequence[str]) -> pa.Table:
    """Return the candidate rows: views of the map where they are neighbours, copies where they are scattered."""
    projection = stored.get_projection(tuple(columns))
    if not candidates.count:
        return projection.schema.empty_table()
    if candidates.ranges is not None and candidates.count > 50_000 and candidates.count > 500 * len(candidates.ranges):
        batches = [
            piece
            for begin, end in candidates.ranges.tolist()
            if end > begin
            for piece in projection.iterate_range(begin, end)
        ]
        return pa.Table.from_batches(batches, schema=projection.schema)
    return pa.Table.from_batches([projection.take_ascending(candidates.list_rows())])

"""DuckPlan: a bound query, and the ways to its answer. A run takes the cheapest way that its values allow.

1. Arrow alone (`arrow_queries`, for views `union_plan`): candidates from an index, or no condition at all.
2. DuckDB over candidates (`candidate_search`, `index_accesses`, `position_pairs`): the rows that an index finds replace
   the table.
3. DuckDB over all rows.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from hven.adql import sql_writer as writer
from hven.adql.syntax_tree import CommonTableExpression, DerivedTable, Select
from hven.engines import MemoryRelation, QueryPlan, Snapshot, require_relation
from hven.engines._deferred_execution import DeferredExecution
from hven.engines._query_analysis.column_usage import replace_tables_with_candidates
from hven.engines._query_analysis.empty_members import remove_empty_union_members
from hven.engines._query_analysis.geometry import SHAPE_PREDICATES, unwrap_shape_texts
from hven.engines._query_analysis.query_flattening import flatten_query
from hven.engines._query_analysis.union_pushdown import push_conditions_into_unions
from hven.engines.duckdb import arrow_queries as arrow
from hven.engines.duckdb.arrow_values import UnsupportedByArrowError
from hven.engines.duckdb.candidate_search import CandidateRowFinder, ReducedTables
from hven.engines.duckdb.dialect import DuckDBDialect
from hven.engines.duckdb.engine_protocol import RelationRows
from hven.engines.duckdb.index_accesses import FewestCandidatesAccess, KeyRangeAccess
from hven.engines.duckdb.long_lists import MAX_INLINE_VALUES, extract_long_lists, rewrite_long_or_chains_as_in
from hven.engines.duckdb.query_execution import ArrowExecution
from hven.engines.duckdb.union_plan import answer_union_from_indexes, match_union_query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.adql.syntax_tree import BoundQuery, TableRef
    from hven.engines import ExecutionLimits, QueryExecution, Relation
    from hven.engines.duckdb.engine_protocol import DuckEngineProtocol
    from hven.engines.duckdb.index_accesses import IndexAccess
    from hven.engines.duckdb.long_lists import ConstantListTable
    from hven.engines.duckdb.snapshot_files import KeyIndex, OpenSnapshot, Rows
    from hven.engines.duckdb.union_plan import Member
    from hven.model.table import Table

    Values = Sequence[float | str | None]

MAX_QUICK_ROWS = 20_000  # candidate rows that may be read on the event loop
MAX_ARROW_ROWS = 500_000  # candidate rows that Arrow alone reads; for more, DuckDB's threads are faster
# limits that are written into SQL texts: few, because every text is planned anew; below computed columns, DuckDB
# accepts less than 8,192
SQL_ROW_LIMITS = (16, 128, 1024, 8000)
# SQL texts that a plan keeps: one for each set of tables that an index narrows, and of members that it empties
MAX_SQL_TEXTS = 200
MAX_UNORDERED_ROWS = 256  # candidates that are tested before they are sorted; more are tested in the order of an index
PLACES_PER_CANDIDATE = 64  # of an index: a candidate costs as much to test as this many places to walk
MAX_PROBED_ROWS = 100_000  # rows that are tested in index order before ORDER BY .. TOP reads everything


@dataclass(frozen=True, slots=True)
class PlannedSql:
    """SQL, the slots of its arguments, and the numbers of the table references in it (None: all)."""

    sql: str
    slots: tuple[int, ...]
    table_numbers: frozenset[int] | None = None

    def has_table(self, table_number: int) -> bool:
        """Return whether the SQL reads a table reference."""
        return self.table_numbers is None or table_number in self.table_numbers


NO_SQL = PlannedSql("", ())  # there are no rows, so nothing is executed


class DuckPlan(QueryPlan):
    """A prepared query (`hven.engines.QueryPlan`)."""

    is_quick = False

    def __init__(self, engine: DuckEngineProtocol, bound_query: BoundQuery, *, is_lenient: bool = False) -> None:
        has_long_lists = bound_query.survey.longest_choice > MAX_INLINE_VALUES
        if not is_lenient:
            bound_query = _rewrite_for_indexes(bound_query)
        self._engine = engine
        self._bound_query = bound_query
        self._query_with_lists = bound_query
        self._list_tables: tuple[ConstantListTable, ...] = ()
        if has_long_lists:
            self._query_with_lists, self._list_tables = extract_long_lists(bound_query)
        self._is_lenient = is_lenient
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound_query.columns])
        self._sql_by_shape: OrderedDict[Any, PlannedSql] = OrderedDict()
        self._read_columns: dict[str, tuple[str, ...]] | None = None
        if is_lenient:
            self._candidate_finder = None
        else:
            self._candidate_finder = CandidateRowFinder(bound_query)
        if is_lenient:
            self._arrow_query = None
        else:
            self._arrow_query = arrow.match_arrow_query(bound_query, self.schema)
        self._union_members: tuple[Member, ...] = ()
        self._index_access = None
        self._order_key = None
        if self._arrow_query is not None:
            self._order_key = _find_order_column(self._arrow_query)
        if self._candidate_finder is not None:
            index_accesses = self._candidate_finder.index_accesses
            if self._arrow_query is not None:
                self._index_access = index_accesses.get(self._arrow_query.table_ref.number)
            elif bound_query.survey.derived_tables:
                self._union_members = match_union_query(bound_query, index_accesses, self.schema)
        # an index may be of use, or the rows are in memory: `execute` decides
        self.is_quick = self._arrow_query is not None or bool(self._union_members)
        self._is_indexed = self._can_answer_without_scan()
        if not self._is_indexed:
            self._get_or_write_sql(ReducedTables())  # a query that cannot be written is refused when the plan is made

    def _can_answer_without_scan(self) -> bool:
        arrow_query = self._arrow_query
        if arrow_query is None:
            return False
        if self._index_access is not None or (arrow_query.is_count and arrow_query.condition is None):
            return True
        if arrow_query.top is None:
            return False
        if arrow_query.sort_keys:
            return self._order_key is not None
        return arrow_query.condition is None

    def _get_or_write_sql(self, reduced_tables: ReducedTables) -> PlannedSql:
        """Return the SQL text, with table references replaced by candidates and without members that have no rows."""
        shape = reduced_tables.sql_cache_key
        cached_sql = self._sql_by_shape.get(shape)
        if cached_sql is not None:
            return cached_sql
        bound_query = self._query_with_lists
        if reduced_tables.tables:
            bound_query = replace_tables_with_candidates(bound_query, shape[0], reduced_tables.replaced_conditions)
        reduced_query = remove_empty_union_members(bound_query, reduced_tables.empty_table_numbers)
        planned_sql = NO_SQL
        if reduced_query is not None:
            names = {table.qualified_name: quote_identifier(table.qualified_name) for table in reduced_query.tables}
            statement = writer.write_sql(reduced_query, DuckDBDialect(lenient=self._is_lenient), names)
            table_numbers = None
            if reduced_query is not bound_query:
                table_numbers = frozenset(table_ref.number for table_ref in reduced_query.survey.table_refs)
            planned_sql = PlannedSql(statement.sql, tuple(statement.parameter_slots), table_numbers)
        self._sql_by_shape[shape] = planned_sql
        while len(self._sql_by_shape) > MAX_SQL_TEXTS:
            with contextlib.suppress(KeyError):  # another thread has removed it
                self._sql_by_shape.popitem(last=False)
        return planned_sql

    # --- running ---------------------------------------------------------------------------------------------

    def execute(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run the query; see `hven.engines.QueryPlan.execute`."""
        if self._union_members and self._engine.uses_indexes:
            batches = answer_union_from_indexes(self._union_members, self._engine, literal_values, relations, limits)
            if batches is not None:
                return ArrowExecution(self.schema, iter(batches), is_small=True, limits=limits)
        arrow_query = self._arrow_query
        if arrow_query is None and self._candidate_finder and self._engine.uses_indexes:
            return self._build_deferred_execution(literal_values, relations, limits)
        if arrow_query is None or not self._engine.uses_indexes:
            return self.execute_without_deferring(literal_values, relations, limits)
        if self._is_indexed or isinstance(require_relation(relations, arrow_query.table_name), MemoryRelation):
            ready_execution = self._execute_with_arrow(arrow_query, literal_values, relations, limits, MAX_QUICK_ROWS)
            if ready_execution is not None:
                return ready_execution
        # a caller that believes that the query is small does not wait here
        return self._build_deferred_execution(literal_values, relations, limits)

    def _build_deferred_execution(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        return DeferredExecution(
            self.schema, lambda begun: self.execute_without_deferring(literal_values, relations, limits, begun)
        )

    def execute_without_deferring(
        self,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        set_running_execution: Callable[[QueryExecution | None], None] = lambda _: None,
    ) -> QueryExecution:
        """Run the query here, however long it takes."""
        reduced_tables = ReducedTables()
        table_refs: Mapping[int, TableRef] = {}
        if self._candidate_finder is not None and self._engine.uses_indexes:
            table_refs = self._candidate_finder.table_refs
            if self._arrow_query is not None:
                ready_execution = self._execute_with_arrow(
                    self._arrow_query, literal_values, relations, limits, MAX_ARROW_ROWS
                )
                if ready_execution is not None:
                    return ready_execution
            if self._candidate_finder:
                reduced_tables = self._candidate_finder.find_candidate_rows(
                    self._engine, literal_values, relations, limits, set_running_execution
                )
        return self._execute_over_reduced_tables(reduced_tables, table_refs, literal_values, relations, limits)

    def execute_over_tables(
        self,
        tables_by_number: dict[int, pa.Table],
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> QueryExecution:
        """Run the query with these rows in place of table references, by their numbers."""
        table_refs: Mapping[int, TableRef] = {}
        if self._candidate_finder is not None:
            table_refs = self._candidate_finder.table_refs
        reduced_tables = ReducedTables(tables_by_number)
        return self._execute_over_reduced_tables(reduced_tables, table_refs, literal_values, relations, limits)

    def _execute_over_reduced_tables(
        self,
        reduced_tables: ReducedTables,
        table_refs: Mapping[int, TableRef],
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> QueryExecution:
        planned_sql = self._get_or_write_sql(reduced_tables)
        if planned_sql is NO_SQL:
            return ArrowExecution(self.schema, iter(()), is_small=False, limits=limits)
        rows: dict[str, RelationRows] = {}
        for table in self._bound_query.tables:
            if _is_table_read(table, table_refs, reduced_tables):
                relation = require_relation(relations, table.qualified_name)
                rows[table.qualified_name] = self._engine.read_relation(relation, self._list_read_columns(table))
        for number, candidates in reduced_tables.tables.items():
            if planned_sql.has_table(number):
                rows[f"hven.candidates{number}"] = RelationRows(candidates, is_reusable=False)
        for list_table in self._list_tables:
            list_rows = list_table.build_rows(literal_values)
            rows[list_table.table.qualified_name] = RelationRows(list_rows, is_reusable=False)
        parameters = [literal_values[slot] for slot in planned_sql.slots]
        sql = self._add_limit_clause(planned_sql.sql, limits)
        return self._engine.run_sql(sql, parameters, rows, self.schema, limits, is_lenient=self._is_lenient)

    def _add_limit_clause(self, sql: str, limits: ExecutionLimits) -> str:
        """Write MAXREC into the text of a query without TOP, so that DuckDB computes columns only for those rows."""
        query = self._bound_query.query
        if limits.row_limit is None or query.offset is not None:
            return sql
        if not isinstance(query.body, Select) or query.body.top is not None:
            return sql
        sql_limits = [limit for limit in SQL_ROW_LIMITS if limit > limits.row_limit]
        return f"{sql} LIMIT {sql_limits[0]}" if sql_limits else sql

    def _list_read_columns(self, table: Table) -> tuple[str, ...] | None:
        """List the columns of a table that the query reads, because a scan copies all columns that it is given."""
        if self._is_lenient:
            return None
        if self._read_columns is None:
            survey = self._query_with_lists.survey
            columns_by_table: dict[str, set[str]] = {}
            for table_ref in survey.table_refs:
                if table_ref.table is not None:
                    columns = columns_by_table.setdefault(table_ref.table.qualified_name, set())
                    columns.update(survey.read_columns.get(table_ref.number, ()))
            self._read_columns = {name: tuple(sorted(columns)) for name, columns in columns_by_table.items()}
        return self._read_columns.get(table.qualified_name)

    # --- Arrow alone -----------------------------------------------------------------------------------------

    def _execute_with_arrow(
        self,
        arrow_query: arrow.ArrowQuery,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        max_rows: int,
    ) -> QueryExecution | None:
        relation = require_relation(relations, arrow_query.table_name)
        row_limit = None
        if limits.row_limit is not None:
            row_limit = limits.row_limit + 1
        try:
            if isinstance(relation, Snapshot):
                stored = self._engine.open_snapshot(relation)
                batches, row_count = self._answer_from_snapshot(
                    arrow_query, stored, literal_values, row_limit, limits, max_rows=max_rows
                )
            elif isinstance(relation, MemoryRelation):
                batches, row_count = self._answer_from_memory(
                    arrow_query, relation, literal_values, row_limit, limits, max_rows=max_rows
                )
            else:
                return None
            if batches is None:
                return None
            # computed here, because only a value may show that DuckDB must execute the query
            first_batch = next(batches, None)
        except UnsupportedByArrowError:
            return None
        all_batches: Iterator[pa.RecordBatch] = iter(())
        if first_batch is not None:
            all_batches = itertools.chain((first_batch,), batches)
        return ArrowExecution(self.schema, all_batches, is_small=row_count <= MAX_QUICK_ROWS, limits=limits)

    def _answer_from_snapshot(
        self,
        arrow_query: arrow.ArrowQuery,
        stored: OpenSnapshot,
        literal_values: Values,
        row_limit: int | None,
        limits: ExecutionLimits,
        *,
        max_rows: int,
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        """Return the answer and the number of rows that are read for it; None if DuckDB must execute the query."""
        max_rows = min(max_rows, arrow_query.max_rows or max_rows)
        candidates = None
        if self._index_access is not None:
            candidate_limit = min(stored.max_candidate_rows, max_rows)
            finding_limit = candidate_limit
            if self._order_key is not None and not isinstance(self._index_access, KeyRangeAccess):
                finding_limit = arrow.MAX_SORTED_ROWS  # few of them are tested in the order of an index
            candidates = self._index_access.find_candidate_rows(stored, literal_values, finding_limit)
        if candidates is None and arrow_query.max_rows is not None:
            return None, 0
        if candidates is not None and (not arrow_query.sort_keys or candidates.count <= arrow.MAX_SORTED_ROWS):
            rows = candidates.list_row_numbers()
            if len(rows) > MAX_UNORDERED_ROWS:
                batches, count = self._answer_with_first_passing_rows(
                    arrow_query, stored, literal_values, row_limit, max_rows, candidate_rows=rows
                )
                if batches is not None or len(rows) > candidate_limit:
                    return batches, count
            return arrow_query.answer_from_candidates(stored, rows, literal_values, row_limit), candidates.count
        if arrow_query.condition is None and not arrow_query.sort_keys:
            _, end = arrow_query.compute_row_range(literal_values, row_limit)
            batch_rows = limits.compute_batch_row_count(len(self.schema))
            read_rows = 0 if arrow_query.is_count or end is None else end
            return arrow_query.answer_from_all_rows(stored, literal_values, row_limit, batch_rows), read_rows
        return self._answer_with_first_passing_rows(
            arrow_query, stored, literal_values, row_limit, min(MAX_PROBED_ROWS, max_rows)
        )

    def _answer_from_memory(
        self,
        arrow_query: arrow.ArrowQuery,
        relation: MemoryRelation,
        literal_values: Values,
        row_limit: int | None,
        limits: ExecutionLimits,
        *,
        max_rows: int,
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        """Answer from rows in memory, which are all candidates."""
        row_count = relation.rows.num_rows
        if row_count > min(max_rows, arrow_query.max_rows or arrow.MAX_SORTED_ROWS):
            return None, 0
        if not arrow_query.can_run_on_schema(relation.rows.schema):
            return None, 0
        rows = self._engine.get_random_access_rows(relation)
        if arrow_query.condition is None and not arrow_query.sort_keys:
            batch_rows = limits.compute_batch_row_count(len(self.schema))
            return arrow_query.answer_from_all_rows(rows, literal_values, row_limit, batch_rows), row_count
        row_numbers = np.arange(row_count)
        return arrow_query.answer_from_candidates(rows, row_numbers, literal_values, row_limit), row_count

    def _answer_with_first_passing_rows(
        self,
        arrow_query: arrow.ArrowQuery,
        stored: OpenSnapshot,
        literal_values: Values,
        row_limit: int | None,
        max_rows: int,
        *,
        candidate_rows: Rows | None = None,
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        """Test rows, or candidates alone, in their order until enough pass: DuckDB would read far ahead."""
        index = None if self._order_key is None else stored.get_key_index(self._order_key)
        _, end = arrow_query.compute_row_range(literal_values, row_limit)
        is_unordered = not arrow_query.sort_keys and not arrow_query.is_count
        if end is None or end > max_rows or (index is None and not is_unordered):
            return None, 0
        if index is None:
            low, high = 0, stored.rows if candidate_rows is None else len(candidate_rows)
        else:
            low, high = self._find_order_range(index, literal_values)
        # a condition on the column excludes its nulls, which are not in the index
        has_all_rows = index is None or low > 0 or high < index.count or index.count == stored.manifest.rows
        passing_parts = [np.empty(0, np.int64)]
        passing_count = 0
        tested_count = 0
        step = max(end, 64) if arrow_query.condition is None else max(4 * end, 1024)
        remaining_places = high - low
        if candidate_rows is not None and index is not None:
            step = max(1, step * stored.rows // (16 * len(candidate_rows)))
            remaining_places = PLACES_PER_CANDIDATE * len(candidate_rows)
        while passing_count < end and low < high:
            step = min(step, high - low)
            remaining_places -= step
            if tested_count >= max_rows or remaining_places < 0:
                return None, 0
            if arrow_query.sort_keys and arrow_query.sort_keys[0].is_descending and index is not None:
                rows = index.list_row_numbers(high - step, high)[::-1]
                high -= step
            else:
                rows = np.arange(low, low + step) if index is None else index.list_row_numbers(low, low + step)
                low += step
            if candidate_rows is not None and index is None:
                rows = candidate_rows[rows]
            elif candidate_rows is not None:
                rows = rows[candidate_rows.take(np.searchsorted(candidate_rows, rows), mode="clip") == rows]
            for part in arrow_query.iterate_passing_rows(stored, rows, literal_values):
                passing_parts.append(part)
                passing_count += len(part)
            tested_count += len(rows)
            step *= 4
        if passing_count < end and not has_all_rows:
            return None, 0  # rows without a value come last, and the index does not have them
        passing_rows = np.concatenate(passing_parts)
        return arrow_query.answer_from_ordered_rows(stored, passing_rows, literal_values, row_limit), tested_count

    def _find_order_range(self, index: KeyIndex, literal_values: Values) -> tuple[int, int]:
        """Return the range of places of the ordering index that a condition on its column leaves."""
        place_range = (0, index.count)
        accesses = (
            self._index_access.parts
            if isinstance(self._index_access, FewestCandidatesAccess)
            else (self._index_access,)
        )
        for access in accesses:
            if isinstance(access, KeyRangeAccess) and access.column == self._order_key:
                place_range = access.find_index_place_range(index, literal_values) or place_range
        return place_range

    count_description: ClassVar[str] = "the number of rows is known; no row is read"

    def explain(self) -> str:
        """Describe the possible ways to the answer; see `hven.engines.QueryPlan.explain`."""
        lines = []
        if self._is_indexed or self._union_members:
            lines.append(self._describe_arrow_path())
        if self._candidate_finder is not None:
            lines += self._candidate_finder.describe_indexes()
        return "\n".join([*lines, f"DuckDB: {self._get_or_write_sql(ReducedTables()).sql}"])

    def describe_row_estimates(self, literal_values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Estimate how many rows of each table will be read, as far as indexes and the number of rows tell."""
        finder = self._candidate_finder
        if finder is None:
            return []
        neighbours = finder.describe_position_join_reads(self._engine, literal_values, relations)
        lines = []
        for number in finder.table_refs:
            relation = finder.find_relation(number, relations)
            name = finder.find_table_name(number)
            if number in neighbours and relation is not None:
                lines.append(f"{name}: the {neighbours[number]} are read, by the position index")
            elif isinstance(relation, MemoryRelation):
                lines.append(f"{name}: {relation.rows.num_rows:,} rows, in memory")
            elif isinstance(relation, Snapshot):
                read_rows = self._estimate_read_rows(finder.index_accesses.get(number), relation, literal_values)
                lines.append(f"{name}: about {read_rows:,} of {relation.rows:,} rows are read")
        return lines

    def _estimate_read_rows(self, access: IndexAccess | None, relation: Snapshot, literal_values: Values) -> int:
        arrow_query = self._arrow_query
        stored = self._engine.open_snapshot(relation)
        if arrow_query is not None and arrow_query.is_count and arrow_query.condition is None:
            return 0
        if access is not None:
            candidates = access.find_candidate_rows(stored, literal_values, stored.max_candidate_rows)
            if candidates is not None:
                return min(candidates.count, relation.rows)
        if arrow_query is not None and arrow_query.top is not None and self._is_indexed:
            _, end = arrow_query.compute_row_range(literal_values, None)
            if end is not None:
                return min(end, relation.rows)
        return relation.rows

    def _describe_arrow_path(self) -> str:
        arrow_query = self._arrow_query
        key = self._order_key
        if arrow_query is not None and arrow_query.is_count and arrow_query.condition is None:
            return f"without DuckDB: {self.count_description}"
        if arrow_query is not None and arrow_query.top is not None and key is not None:
            return f"without DuckDB: rows in the order of the index of {key}, until there are enough"
        return "without DuckDB, if an index gives few rows"


def _rewrite_for_indexes(bound_query: BoundQuery) -> BoundQuery:
    """Rewrite the parts of a query that indexes do not serve as they are written; a plain query has none of them."""
    survey = bound_query.survey
    if survey.has_any(DerivedTable, CommonTableExpression):
        bound_query = flatten_query(push_conditions_into_unions(bound_query))
    if not SHAPE_PREDICATES.isdisjoint(survey.function_names):
        bound_query = unwrap_shape_texts(bound_query)
    if survey.longest_choice > MAX_INLINE_VALUES:
        bound_query = rewrite_long_or_chains_as_in(bound_query)
    return bound_query


def _find_order_column(arrow_query: arrow.ArrowQuery) -> str | None:
    """Return the indexed column that alone gives the order, or None if there is none."""
    table = arrow_query.table_ref.table
    if len(arrow_query.sort_keys) != 1 or table is None:
        return None
    column_name = arrow_query.sort_keys[0].column_name
    if column_name is None:
        return None
    column = table.find_column(column_name)
    if column.name in table.indexed_column_names:
        return column.name
    return None


def _is_table_read(table: Table, table_refs: Mapping[int, TableRef], reduced_tables: ReducedTables) -> bool:
    """Return whether a reference to a table is left that candidates do not replace, or no reference is known."""
    table_numbers = []
    for number, table_ref in table_refs.items():
        if table_ref.table is not None and table_ref.table.qualified_name == table.qualified_name:
            table_numbers.append(number)
    replaced_numbers = reduced_tables.tables.keys() | reduced_tables.inner_numbers
    return not table_numbers or not replaced_numbers.issuperset(table_numbers)


def quote_identifier(name: str) -> str:
    """Write a delimited identifier."""
    return '"' + name.replace('"', '""') + '"'

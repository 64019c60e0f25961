"""DuckPlan: a bound query, and the roads to its answer. The cheapest one that is open for the values at hand is taken.

1. Arrow alone (`direct`, of views `match_union_members`): candidates from an index, or no condition at all.
2. DuckDB over candidates (`candidates`, `roads`, `pairs`): tables that an index narrows are replaced by the rows it
   gives.
3. DuckDB over everything.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from hven.adql import sql_writer as writer
from hven.adql.syntax_tree import Select, TableRef, walk_tree
from hven.engines import MemoryRelation, QueryPlan, Snapshot
from hven.engines._deferred_execution import DeferredExecution
from hven.engines._query_analysis.column_usage import list_read_columns, replace_with_candidates
from hven.engines._query_analysis.empty_members import remove_empty_members
from hven.engines._query_analysis.geometry import replace_shape_texts
from hven.engines._query_analysis.query_flattening import flatten_query
from hven.engines._query_analysis.union_pushdown import push_into_unions
from hven.engines.duckdb import arrow_queries as arrow
from hven.engines.duckdb.arrow_values import UnsupportedByArrowError
from hven.engines.duckdb.candidate_search import CandidateFinder, ReducedTables, compute_candidate_limit
from hven.engines.duckdb.dialect import DuckDBDialect
from hven.engines.duckdb.engine_protocol import RelationRows
from hven.engines.duckdb.index_accesses import BestAccess, KeyRangeAccess
from hven.engines.duckdb.long_lists import extract_lists, merge_equalities
from hven.engines.duckdb.query_execution import ReadyExecution
from hven.engines.duckdb.union_plan import answer_from_indexes, match_union_members
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import ExecutionLimits, QueryExecution, Relation
    from hven.engines.duckdb.engine_protocol import DuckEngineProtocol
    from hven.engines.duckdb.snapshot_files import OpenSnapshot
    from hven.model.table import Table

    Values = Sequence[float | str | None]

MAX_QUICK_ROWS = 20_000  # candidate rows that may be looked at on the event loop
MAX_ARROW_ROWS = 500_000  # candidate rows that Arrow alone looks at; above, DuckDB's threads are faster
# SQL texts that a plan keeps: one for each set of tables that an index narrows, and of members that it empties
# that are written into texts: few, for each text is planned anew; DuckDB takes less than 8,192 below computed columns
SQL_ROW_LIMITS = (16, 128, 1024, 8000)
MAX_SQL_TEXTS = 200
MAX_PROBED_ROWS = 100_000  # rows that are tried in index order before ORDER BY .. TOP goes the long way


@dataclass(frozen=True, slots=True)
class PlannedSql:
    """SQL, the slots of its arguments, and the numbers of the table references in it (None: all)."""

    sql: str
    slots: tuple[int, ...]
    table_numbers: frozenset[int] | None = None

    def has_table(self, table_number: int) -> bool:
        """Return whether a table reference is left in the text."""
        return self.table_numbers is None or table_number in self.table_numbers


NO_SQL = PlannedSql("", ())  # there are no rows: nothing is to be run


class DuckPlan(QueryPlan):
    """A prepared query (`hven.engines.QueryPlan`)."""

    small = False

    def __init__(self, engine: DuckEngineProtocol, bound_query: BoundQuery, *, is_lenient: bool = False) -> None:
        if not is_lenient:
            bound_query = merge_equalities(replace_shape_texts(flatten_query(push_into_unions(bound_query))))
        self._engine = engine
        self._bound_query = bound_query
        self._query_with_lists, self._list_tables = extract_lists(bound_query)
        self._is_lenient = is_lenient
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound_query.columns])
        self._sql_by_shape: OrderedDict[Any, PlannedSql] = OrderedDict()
        self._read_columns: dict[str, tuple[str, ...]] | None = None
        if is_lenient:
            self._candidate_finder = None
        else:
            self._candidate_finder = CandidateFinder(bound_query)
        if is_lenient:
            self._arrow_query = None
        else:
            self._arrow_query = arrow.match_arrow_query(bound_query, self.schema)
        self._union_members = (
            ()
            if self._candidate_finder is None or self._arrow_query
            else match_union_members(bound_query, self._candidate_finder.index_accesses, self.schema)
        )
        # an index may be of use, or the rows are in memory: `execute` sees
        self.small = self._arrow_query is not None or bool(self._union_members)
        self._index_access = None
        if self._candidate_finder is not None and self._arrow_query is not None:
            self._index_access = self._candidate_finder.index_accesses.get(self._arrow_query.table_ref.number)
        if self._arrow_query is None:
            self._order_key = None
        else:
            self._order_key = _find_order_column(self._arrow_query)
        self._is_indexed = self._can_use_index()
        if not self._is_indexed:
            self._get_sql(ReducedTables())  # what cannot be written is refused when the plan is made

    def _can_use_index(self) -> bool:
        arrow_query = self._arrow_query
        if arrow_query is None:
            return False
        if self._index_access is not None or (arrow_query.is_count and arrow_query.condition is None):
            return True
        return arrow_query.top is not None and (
            self._order_key is not None if arrow_query.sort_keys else arrow_query.condition is None
        )

    def _get_sql(self, reduced_tables: ReducedTables) -> PlannedSql:
        """Return the SQL text with table references replaced by candidates, and without what has no rows."""
        shape = reduced_tables.text_key
        cached = self._sql_by_shape.get(shape)
        if cached is not None:
            return cached
        if reduced_tables.tables:
            bound_query = replace_with_candidates(self._query_with_lists, shape[0], reduced_tables.replaced_conditions)
        else:
            bound_query = self._query_with_lists
        reduced_query = remove_empty_members(bound_query, reduced_tables.empty_numbers)
        planned_sql = NO_SQL
        if reduced_query is not None:
            names = {table.qualified_name: quote_identifier(table.qualified_name) for table in reduced_query.tables}
            statement = writer.write_sql(reduced_query, DuckDBDialect(lenient=self._is_lenient), names)
            if reduced_query is bound_query:
                table_numbers = None
            else:
                table_numbers = frozenset(
                    node.number for node in walk_tree(reduced_query.query) if isinstance(node, TableRef)
                )
            planned_sql = PlannedSql(statement.sql, tuple(statement.parameter_slots), table_numbers)
        self._sql_by_shape[shape] = planned_sql
        while len(self._sql_by_shape) > MAX_SQL_TEXTS:
            with contextlib.suppress(KeyError):  # another thread was quicker
                self._sql_by_shape.popitem(last=False)
        return planned_sql

    # --- running ---------------------------------------------------------------------------------------------

    def execute(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run; see `hven.engines.QueryPlan.execute`."""
        if self._union_members and self._engine.uses_indexes:
            batches = answer_from_indexes(self._union_members, self._engine, literal_values, relations, limits)
            if batches is not None:
                return ReadyExecution(self.schema, iter(batches), small=True, limits=limits)
        if self._arrow_query is None and self._candidate_finder and self._engine.uses_indexes:
            return DeferredExecution(
                self.schema, lambda begun: self.execute_long(literal_values, relations, limits, begun)
            )
        if self._arrow_query is None or not self._engine.uses_indexes:
            return self.execute_long(literal_values, relations, limits)
        if self._is_indexed or isinstance(self._find_relation(self._arrow_query, relations), MemoryRelation):
            ready = self._execute_with_arrow(self._arrow_query, literal_values, relations, limits, MAX_QUICK_ROWS)
            if ready is not None:
                return ready
        # who believed that it is small is not kept waiting
        return DeferredExecution(self.schema, lambda begun: self.execute_long(literal_values, relations, limits, begun))

    def execute_long(
        self,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        set_running: Callable[[QueryExecution | None], None] = lambda _: None,
    ) -> QueryExecution:
        """Run what takes its time."""
        reduced = ReducedTables()
        leaves = {}
        if self._candidate_finder is not None and self._engine.uses_indexes:
            leaves = self._candidate_finder.table_refs
            if self._arrow_query is not None:
                ready_execution = self._execute_with_arrow(
                    self._arrow_query, literal_values, relations, limits, MAX_ARROW_ROWS
                )
                if ready_execution is not None:
                    return ready_execution
            if self._candidate_finder:
                reduced = self._candidate_finder.find_candidates(
                    self._engine, literal_values, relations, limits, set_running
                )
        return self._execute_reduced(reduced, leaves, literal_values, relations, limits)

    def execute_over(
        self,
        tables_by_number: dict[int, pa.Table],
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> QueryExecution:
        """Run with these rows in place of table references, by their numbers."""
        if self._candidate_finder is None:
            leaves = {}
        else:
            leaves = self._candidate_finder.table_refs
        return self._execute_reduced(ReducedTables(tables_by_number), leaves, literal_values, relations, limits)

    def _execute_reduced(
        self,
        reduced: ReducedTables,
        table_refs: Mapping[int, TableRef],
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> QueryExecution:
        planned_sql = self._get_sql(reduced)
        if planned_sql is NO_SQL:
            return ReadyExecution(self.schema, iter(()), small=False, limits=limits)
        rows: dict[str, RelationRows] = {}
        for table in self._bound_query.tables:
            table_numbers = [
                number
                for number, table_ref in table_refs.items()
                if table_ref.table is not None and table_ref.table.qualified_name == table.qualified_name
            ]
            if not table_numbers or any(
                number not in reduced.tables and number not in reduced.inner_numbers for number in table_numbers
            ):
                rows[table.qualified_name] = self._engine.read_relation(
                    _require_relation(relations, table.qualified_name), self._list_columns(table)
                )
        rows.update(
            {
                f"hven.candidates{number}": RelationRows(table, is_reusable=False)
                for number, table in reduced.tables.items()
                if planned_sql.has_table(number)
            }
        )
        rows.update(
            {
                item.table.qualified_name: RelationRows(item.build_rows(literal_values), is_reusable=False)
                for item in self._list_tables
            }
        )
        return self._engine.run_sql(
            self._add_limit(planned_sql.sql, limits),
            [literal_values[slot] for slot in planned_sql.slots],
            rows,
            self.schema,
            limits,
            lenient=self._is_lenient,
        )

    def _add_limit(self, sql: str, limits: ExecutionLimits) -> str:
        """Write MAXREC into the text of a query without TOP.

        DuckDB then computes columns for those rows alone, not for each that it scans.
        """
        query = self._bound_query.query
        sql_limit = next(
            (limit for limit in SQL_ROW_LIMITS if limits.row_limit is not None and limits.row_limit < limit), None
        )
        if (
            sql_limit is None
            or query.offset is not None
            or not isinstance(query.body, Select)
            or query.body.top is not None
        ):
            return sql
        return f"{sql} LIMIT {sql_limit}"

    def _list_columns(self, table: Table) -> tuple[str, ...] | None:
        """List the columns of a table that are read.

        A scan with a condition copies passing rows of every column that it is given.
        """
        if self._is_lenient:
            return None
        if self._read_columns is None:
            columns_by_number = list_read_columns(self._query_with_lists)
            columns_by_table: dict[str, dict[str, None]] = {}
            for node in walk_tree(self._query_with_lists.query):
                if isinstance(node, TableRef) and node.table is not None:
                    columns_by_table.setdefault(node.table.qualified_name, {}).update(
                        dict.fromkeys(columns_by_number.get(node.number, ()))
                    )
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
        relation = self._find_relation(arrow_query, relations)
        if limits.row_limit is None:
            row_limit = None
        else:
            row_limit = limits.row_limit + 1
        try:
            if isinstance(relation, Snapshot):
                batches, rows = self._iterate_arrow_batches(
                    arrow_query, self._engine.open_snapshot(relation), literal_values, row_limit, limits, max_rows
                )
            elif isinstance(relation, MemoryRelation):
                batches, rows = self._iterate_memory_batches(
                    arrow_query, relation, literal_values, row_limit, limits, max_rows
                )
            else:
                return None
            if batches is None:
                return None
            first_batch = next(batches, None)  # now: some values show only here that DuckDB must have them
        except UnsupportedByArrowError:
            return None
        if first_batch is None:
            chain = iter(())
        else:
            chain = _iterate_with_first_batch(first_batch, batches)
        return ReadyExecution(self.schema, chain, small=rows <= MAX_QUICK_ROWS, limits=limits)

    def _iterate_arrow_batches(
        self,
        arrow_query: arrow.ArrowQuery,
        stored: OpenSnapshot,
        literal_values: Values,
        row_limit: int | None,
        limits: ExecutionLimits,
        max_rows: int,
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        max_rows = min(max_rows, arrow_query.max_rows or max_rows)
        if self._index_access is None:
            candidates = None
        else:
            candidates = self._index_access.find_candidates(
                stored, literal_values, min(compute_candidate_limit(stored), max_rows)
            )
        if candidates is None and arrow_query.max_rows is not None:
            return None, 0
        if candidates is not None and (not arrow_query.sort_keys or candidates.count <= arrow.MAX_SORTED_ROWS):
            return arrow_query.answer_from_candidates(
                stored, candidates.list_rows(), literal_values, row_limit
            ), candidates.count
        if arrow_query.condition is None and not arrow_query.sort_keys:
            end = arrow_query.compute_window(literal_values, row_limit)[1]
            batch_rows = limits.compute_batch_rows(len(self.schema))
            return arrow_query.answer_from_all_rows(
                stored, literal_values, row_limit, batch_rows
            ), 0 if arrow_query.is_count or end is None else end
        if not arrow_query.sort_keys and not arrow_query.is_count:
            return _read_until_enough(arrow_query, stored, literal_values, row_limit, min(MAX_PROBED_ROWS, max_rows))
        return self._read_in_index_order(arrow_query, stored, literal_values, row_limit, min(MAX_PROBED_ROWS, max_rows))

    def _find_relation(self, arrow_query: arrow.ArrowQuery, relations: Mapping[str, Relation]) -> Relation | None:
        if arrow_query.table_ref.table is None:
            return None
        return _require_relation(relations, arrow_query.table_ref.table.qualified_name)

    def _iterate_memory_batches(
        self,
        arrow_query: arrow.ArrowQuery,
        relation: MemoryRelation,
        literal_values: Values,
        row_limit: int | None,
        limits: ExecutionLimits,
        max_rows: int,
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        """Read rows in memory: all of them are candidates."""
        count = relation.rows.num_rows
        if count > min(max_rows, arrow_query.max_rows or arrow.MAX_SORTED_ROWS) or not arrow_query.has_columns(
            relation.rows.schema
        ):
            return None, 0
        readable_rows = self._engine.get_readable_rows(relation)
        if arrow_query.condition is None and not arrow_query.sort_keys:
            batch_rows = limits.compute_batch_rows(len(self.schema))
            return arrow_query.answer_from_all_rows(readable_rows, literal_values, row_limit, batch_rows), count
        return arrow_query.answer_from_candidates(readable_rows, np.arange(count), literal_values, row_limit), count

    def _read_in_index_order(
        self,
        arrow_query: arrow.ArrowQuery,
        stored: OpenSnapshot,
        literal_values: Values,
        row_limit: int | None,
        max_rows: int,
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        """Read rows in the order of an index until there are enough."""
        name = self._order_key
        if name is not None:
            index = stored.get_key_index(name)
        else:
            index = None
        end = arrow_query.compute_window(literal_values, row_limit)[1]
        if index is None or end is None or end > max_rows:
            return None, 0
        low = 0
        high = index.count
        for part in self._index_access.parts if isinstance(self._index_access, BestAccess) else (self._index_access,):
            if isinstance(part, KeyRangeAccess) and part.column == name:
                span = part.find_places(index, literal_values)
                if span is not None:
                    low, high = span
        excludes_nulls = low > 0 or high < index.count  # a condition on the column leaves no nulls behind the index
        passing_parts: list[Any] = []
        count = 0
        step = max(end, 64) if arrow_query.condition is None else max(4 * end, 1024)
        tried_count = 0
        while count < end and low < high:
            step_rows = min(step, high - low)
            if arrow_query.sort_keys[0].is_descending:
                rows = index.list_rows(high - step_rows, high)[::-1]
                high -= step_rows
            else:
                rows = index.list_rows(low, low + step_rows)
                low += step_rows
            passing = list(arrow_query.iterate_passing_rows(stored, rows, literal_values))
            passing_parts += passing
            count += sum(len(part) for part in passing)
            tried_count += step_rows
            if tried_count > max_rows and count < end:
                return None, 0
            step *= 4
        if count < end and not excludes_nulls and index.count < stored.manifest.rows:
            return None, 0  # rows without a value come last: they are not in the index
        if passing_parts:
            rows = np.concatenate(passing_parts)
        else:
            rows = np.empty(0, np.int64)
        return arrow_query.answer_in_order(stored, rows, literal_values, row_limit), tried_count

    count_description: ClassVar[str] = "the number of rows is known, none is read"

    def explain(self) -> str:
        """Describe which roads are open; see `hven.engines.QueryPlan.explain`."""
        if self._is_indexed or self._union_members:
            lines = [self._describe_shortcut()]
        else:
            lines = []
        lines += self._candidate_finder.describe_indexes() if self._candidate_finder is not None else []
        return "\n".join([*lines, f"DuckDB: {self._get_sql(ReducedTables()).sql}"])

    def estimate_row_counts(self, literal_values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Estimate how many rows of each table will be read, as far as indexes and the number of rows tell."""
        if self._candidate_finder is None:
            return []
        counted = self._arrow_query is not None and self._arrow_query.is_count and self._arrow_query.condition is None
        nearby = self._candidate_finder.describe_neighbours(self._engine, literal_values, relations)
        lines = []
        for number in self._candidate_finder.table_refs:
            relation = self._candidate_finder.find_relation(number, relations)
            name = self._candidate_finder.find_name(number)
            if number in nearby and relation is not None:
                lines.append(f"{name}: the {nearby[number]} are read, by the position index")
            elif isinstance(relation, MemoryRelation):
                lines.append(f"{name}: {relation.rows.num_rows:,} rows, in memory")
            elif isinstance(relation, Snapshot):
                access = self._candidate_finder.index_accesses.get(number)
                stored = self._engine.open_snapshot(relation)
                if access is None:
                    candidates = None
                else:
                    candidates = access.find_candidates(stored, literal_values, compute_candidate_limit(stored))
                if self._arrow_query is None or self._arrow_query.top is None:
                    end = None
                else:
                    end = self._arrow_query.compute_window(literal_values, None)[1]
                early = end is not None and self._is_indexed and candidates is None
                read = 0 if counted else candidates.count if candidates is not None else end if early else relation.rows
                lines.append(f"{name}: about {min(read or 0, relation.rows):,} of {relation.rows:,} rows are read")
        return lines

    def _describe_shortcut(self) -> str:
        arrow_query = self._arrow_query
        key = self._order_key
        if arrow_query is not None and arrow_query.is_count and arrow_query.condition is None:
            return f"without DuckDB: {self.count_description}"
        if arrow_query is not None and arrow_query.top is not None and key is not None:
            return f"without DuckDB: rows in the order of the index of {key}, until there are enough"
        return "without DuckDB, if an index gives few rows"


def _find_order_column(arrow_query: arrow.ArrowQuery) -> str | None:
    """Name the indexed column that alone gives the order."""
    if (
        len(arrow_query.sort_keys) != 1
        or arrow_query.sort_keys[0].column_name is None
        or arrow_query.table_ref.table is None
    ):
        return None
    column = arrow_query.table_ref.table.find_column(arrow_query.sort_keys[0].column_name)
    if column.name in arrow_query.table_ref.table.indexed_column_names:
        return column.name
    return None


def _read_until_enough(
    arrow_query: arrow.ArrowQuery, stored: OpenSnapshot, literal_values: Values, row_limit: int | None, max_rows: int
) -> tuple[Iterator[pa.RecordBatch] | None, int]:
    """Try rows as they are stored until enough pass: DuckDB has a scan read far ahead."""
    end = arrow_query.compute_window(literal_values, row_limit)[1]
    if end is None or end > max_rows:
        return None, 0
    passing_parts: list[Any] = []
    count = 0
    tried_count = 0
    step = max(4 * end, 1024)
    while count < end and tried_count < stored.rows:
        if tried_count >= max_rows:
            return None, 0
        passing = list(
            arrow_query.iterate_passing_rows(
                stored, np.arange(tried_count, min(tried_count + step, stored.rows)), literal_values
            )
        )
        passing_parts += passing
        count += sum(len(part) for part in passing)
        tried_count += step
        step *= 4
    if passing_parts:
        rows = np.concatenate(passing_parts)
    else:
        rows = np.empty(0, np.int64)
    return arrow_query.answer_in_order(stored, rows, literal_values, row_limit), tried_count


def quote_identifier(name: str) -> str:
    """Write a delimited identifier."""
    return '"' + name.replace('"', '""') + '"'


def _iterate_with_first_batch(
    first_batch: pa.RecordBatch, other_batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    yield first_batch
    yield from other_batches


def _require_relation(relations: Mapping[str, Relation], qualified_name: str) -> Relation:
    if qualified_name not in relations:
        message = f"nobody said where the rows of {qualified_name} are"
        raise StorageError(message)
    return relations[qualified_name]

"""The rows of a snapshot that a reader may see.

They are the rows that meet the condition of a policy. They are found once, and read as if there were no others.

Decision 015 says why. The first query tests the condition on each row; from then on columns, indexes and row numbers
are those of the rows that meet it, so that neither an answer nor its time depends on the others. A condition contains
the names of its reader and the time of the last release: a change of either makes everything anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING
from weakref import WeakSet

import numpy as np
import pyarrow as pa

from hven.adql.syntax_tree import transform_tree
from hven.engines import ExecutionLimits, Snapshot
from hven.engines._deferred_execution import DeferredExecution
from hven.engines._prerequisites import PlanWithPrerequisite
from hven.engines._query_analysis.row_policies import is_filtered_table
from hven.engines.duckdb.query_plan import DuckPlan, quote_identifier
from hven.engines.duckdb.region_index import RegionIndex
from hven.engines.duckdb.snapshot_files import ROW_NUMBER_COLUMN, ColumnProjection, OpenSnapshot
from hven.model.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
    from typing import Any

    import numpy.typing as npt

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import QueryExecution, Relation
    from hven.engines.duckdb.engine_protocol import DuckEngineProtocol
    from hven.engines.duckdb.snapshot_files import KeyIndex, Rows

    Values = Sequence[float | str | None]

FILTERED_BATCH_ROWS = 131_072  # rows of a batch for DuckDB, which reads texts of larger batches slowly
COPIED_BATCH_ROWS = 65_536  # rows that are copied at a time
SAMPLE_ROWS = 1_000  # rows from which the size of a row is estimated
MIN_BYTES_PER_ROW = 16  # minimum memory for a row


class ColumnsTooLargeError(Exception):
    """Signals that the columns of the accessible rows are too large to be copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSubset(Snapshot):
    """The rows of a snapshot that meet a condition.

    Attributes
    ----------
    condition
        SQL condition over ``t0``.
    condition_columns
        The columns that the condition reads.
    """

    condition: str
    condition_columns: tuple[str, ...]

    @property
    def cache_key(self) -> tuple[str, str]:
        """Key of the cache of accessible rows."""
        return self.path, self.condition

    @property
    def full_snapshot(self) -> Snapshot:
        """The snapshot with all its rows."""
        return Snapshot(id=self.id, table=self.table, path=self.path, rows=self.rows)


class AccessibleRows(OpenSnapshot):
    """The rows of a snapshot that meet a condition, with row numbers of their own.

    Columns and indexes are copied when they are first read.
    """

    def __init__(self, full_snapshot: OpenSnapshot, rows: Rows, max_bytes: int) -> None:
        self.full_snapshot = full_snapshot
        self._max_bytes = max_bytes
        row_number_type = np.int32 if full_snapshot.rows < 2**31 else np.int64
        self._row_numbers = np.sort(rows).astype(row_number_type)
        bits = np.zeros(full_snapshot.rows, np.bool_)
        bits[rows] = True
        self._is_accessible = pa.array(bits)
        manifest = full_snapshot.manifest
        positioned = int(np.searchsorted(self._row_numbers, manifest.positioned))
        self.manifest = replace(manifest, parts=(), rows=len(self._row_numbers), positioned=positioned)
        self.path = full_snapshot.path
        self._key_indexes = {}
        self._region_indexes = {}
        self._projections = {}
        self._columns: dict[str, pa.ChunkedArray] = {}
        self.bytes = self._is_accessible.nbytes + self._row_numbers.nbytes

    @property
    def _accessible_bits(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self._is_accessible.to_numpy(zero_copy_only=False))

    def _map_row_numbers(self, row_numbers: npt.NDArray[Any]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
        """Return which of these rows are accessible, and their numbers among the accessible rows."""
        bits = self._accessible_bits
        is_kept = bits[row_numbers]
        accessible_numbers = np.cumsum(bits, dtype=self._row_numbers.dtype) - 1
        return is_kept, accessible_numbers[row_numbers[is_kept]]

    @cached_property
    def schema(self) -> pa.Schema:
        """See `OpenSnapshot`."""
        return self.full_snapshot.schema

    @cached_property
    def table(self) -> pa.Table:
        """See `OpenSnapshot`."""
        return self.select_columns(None)

    def select_columns(self, column_names: tuple[str, ...] | None) -> pa.Table:
        """Return some columns of all rows; without names, at least one column."""
        if column_names is not None and ROW_NUMBER_COLUMN in column_names:
            return super().select_columns(column_names)
        if column_names is None:
            names = self.schema.names
        else:
            names = column_names or (self._narrowest_column,)
        columns = {name: self._get_column(name) for name in names}
        schema = pa.schema([self.schema.field(name) for name in names])
        return pa.table(columns, schema=schema)

    def _get_column(self, name: str) -> pa.ChunkedArray:
        """Return a column of the accessible rows, and keep it if there is memory for it."""
        column = self._columns.get(name)
        if column is None:
            full_column = self.full_snapshot.table.select([name])
            rows = full_column.filter(self._is_accessible).combine_chunks()
            column = pa.Table.from_batches(rows.to_batches(FILTERED_BATCH_ROWS), rows.schema).column(0)
            if self.bytes + column.nbytes <= self._max_bytes:
                self._columns[name] = column
                self.bytes += column.nbytes
        return column

    def check_column_sizes(self, column_names: tuple[str, ...] | None) -> None:
        """Raise `ColumnsTooLargeError` if some columns are too large to be copied."""
        columns = self.full_snapshot.select_columns(column_names)
        sample = columns.slice(0, SAMPLE_ROWS)
        if sample.nbytes * self.rows > self._max_bytes * max(sample.num_rows, 1):
            raise ColumnsTooLargeError

    @cached_property
    def cell_indexes(self) -> Rows:
        """See `OpenSnapshot`."""
        positioned_bits = self._accessible_bits[: self.full_snapshot.manifest.positioned]
        accessible_cells: Rows = self.full_snapshot.cell_indexes[positioned_bits]
        self.bytes += accessible_cells.nbytes
        return accessible_cells

    def get_key_index(self, column_name: str) -> KeyIndex | None:
        """Return the index of a column, or None if there is none, or no memory for it."""
        index = self._key_indexes.get(column_name)
        full_index = self.full_snapshot.get_key_index(column_name)
        if index is not None or full_index is None or self.bytes > self._max_bytes:
            return index
        if full_index.rows is None:
            full_rows = np.arange(full_index.count)
        else:
            full_rows = full_index.rows
        is_accessible, rows = self._map_row_numbers(full_rows)
        values = None
        self.bytes += rows.nbytes
        if full_index.values is not None:
            values = full_index.values[is_accessible]
            self.bytes += values.nbytes
        column_number = self.schema.get_field_index(column_name)
        index = replace(
            full_index,
            count=len(rows),
            values=values,
            rows=None if full_index.rows is None else rows,
            get_text=partial(self.get_value, column_number=column_number),
            get_texts=lambda rows: self.get_projection((column_name,)).take_rows(rows).column(0),
        )
        self._key_indexes[column_name] = index
        return index

    def get_region_index(self, column_name: str) -> RegionIndex | None:
        """Return the position index of a column of shapes, or None if there is none, or no memory for it."""
        index = self._region_indexes.get(column_name)
        full_index = self.full_snapshot.get_region_index(column_name)
        if index is not None or full_index is None or self.bytes > self._max_bytes:
            return index
        is_accessible, rows = self._map_row_numbers(full_index.rows)
        caps = None
        if full_index.caps is not None:
            caps = full_index.caps[self._row_numbers]
            self.bytes += caps.nbytes
        index = RegionIndex.from_cells(full_index.cells[is_accessible], rows, caps)
        self._region_indexes[column_name] = index
        self.bytes += rows.nbytes + index.cells.nbytes
        return index

    def get_value(self, row_number: int, column_number: int) -> Any:
        """Return one value as a Python object."""
        return self.full_snapshot.get_value(int(self._row_numbers[row_number]), column_number)

    def get_projection(self, column_names: tuple[str, ...]) -> ColumnProjection:
        """Return these columns, in this order, for reading by row number."""
        return AccessibleProjection(self.full_snapshot.get_projection(column_names), self._row_numbers)


class AccessibleProjection(ColumnProjection):
    """Some columns of the accessible rows, read from those of all rows."""

    def __init__(self, full_projection: ColumnProjection, rows: npt.NDArray[Any]) -> None:
        self._full_projection = full_projection
        self._rows = rows
        self.schema = full_projection.schema

    def iterate_row_range(self, first_row: int, end_row: int) -> Iterator[pa.RecordBatch]:
        """Yield copies of the rows of a range."""
        for begin in range(first_row, end_row, COPIED_BATCH_ROWS):
            end = min(begin + COPIED_BATCH_ROWS, end_row)
            yield self._full_projection.take_ascending_rows(self._rows[begin:end])

    def take_ascending_rows(self, row_numbers: Rows) -> pa.RecordBatch:
        """Return copies of rows, by ascending number."""
        return self._full_projection.take_ascending_rows(self._rows[row_numbers])


class AccessPolicyPlan(DuckPlan, PlanWithPrerequisite):
    """A query under policies (`hven.engines.QueryPlan`).

    It reads the accessible rows or, where they cannot be kept, all rows with the conditions.
    """

    count_description = "the rows that the reader sees are counted, once for each snapshot"

    def __init__(
        self,
        engine: DuckEngineProtocol,
        bound_query: BoundQuery,
        policy_conditions: Mapping[str, tuple[str, tuple[str, ...]]],
    ) -> None:
        unfiltered_query = transform_tree(bound_query.query, _remove_policy_condition)
        super().__init__(engine, replace(bound_query, query=unfiltered_query))
        self._build_filtered_plan = partial(DuckPlan, engine, bound_query)
        self._policy_conditions = policy_conditions
        # row sets that have all indexes which this plan reads
        self._indexed_rows: WeakSet[AccessibleRows] = WeakSet()

    @cached_property
    def _filtered_plan(self) -> DuckPlan:
        return self._build_filtered_plan()

    def _list_snapshot_subsets(self, relations: Mapping[str, Relation]) -> dict[str, SnapshotSubset] | None:
        """Return the accessible rows of each table, or None if those of one of them cannot be kept."""
        subsets = {}
        for name, (condition, condition_columns) in self._policy_conditions.items():
            relation = relations.get(name)
            if not isinstance(relation, Snapshot) or not self._engine.uses_indexes:
                return None
            if relation.rows * MIN_BYTES_PER_ROW > self._engine.access_cache_bytes:
                return None
            subsets[name] = SnapshotSubset(
                id=relation.id,
                table=relation.table,
                path=relation.path,
                rows=relation.rows,
                condition=condition,
                condition_columns=condition_columns,
            )
        return subsets

    def find_shared_result_key(self, relations: Mapping[str, Relation]) -> Hashable:
        """Return the keys of the row sets that are not known yet; see `hven.engines.PlanWithPrerequisite`."""
        subsets = self._list_snapshot_subsets(relations) or {}
        keys = [subset.cache_key for subset in subsets.values()]
        unknown_keys = [key for key in keys if self._engine.accessible_rows_cache.find(key) is None]
        return tuple(sorted(unknown_keys)) or None

    def execute(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run the query; see `hven.engines.QueryPlan.execute`."""
        parts = self._list_snapshot_subsets(relations)
        if parts is None:
            return self._filtered_plan.execute(literal_values, relations, limits)
        cached_row_sets = {self._engine.accessible_rows_cache.find(part.cache_key) for part in parts.values()}
        if self.is_quick and cached_row_sets <= {*self._indexed_rows}:
            execution = super().execute(literal_values, {**relations, **parts}, limits)
            if execution.small:
                return execution
        return DeferredExecution(
            self.schema, lambda begun: self._execute_over_subsets(parts, literal_values, relations, limits, begun)
        )

    def _execute_over_subsets(
        self,
        subsets: Mapping[str, SnapshotSubset],
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        set_running_execution: Callable[[QueryExecution | None], None],
    ) -> QueryExecution:
        rows_by_table = {}
        try:
            for name, part in subsets.items():
                rows_by_table[name] = find_accessible_rows(self._engine, part, limits, set_running_execution)
        except EvaluationError:  # the error may come from a row that the query leaves out
            return self._filtered_plan.execute_without_deferring(
                literal_values, relations, limits, set_running_execution
            )
        subsets_by_table = {name: replace(part, rows=rows_by_table[name].rows) for name, part in subsets.items()}
        try:
            execution = self.execute_without_deferring(
                literal_values, {**relations, **subsets_by_table}, limits, set_running_execution
            )
        except ColumnsTooLargeError:
            return self._filtered_plan.execute_without_deferring(
                literal_values, relations, limits, set_running_execution
            )
        self._indexed_rows.update(rows_by_table.values())
        return execution

    def execute_over_tables(
        self,
        tables_by_number: dict[int, pa.Table],
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> QueryExecution:
        """Run with these rows in place of table references, by their numbers; the conditions are tested on them."""
        return self._filtered_plan.execute_over_tables(tables_by_number, literal_values, relations, limits)


def find_accessible_rows(
    engine: DuckEngineProtocol,
    subset: SnapshotSubset,
    limits: ExecutionLimits | None = None,
    set_running_execution: Callable[[QueryExecution | None], None] | None = None,
) -> AccessibleRows:
    """Return the rows that meet a condition; `set_running_execution` is called with the query that finds them."""
    accessible_rows = engine.accessible_rows_cache.find(subset.cache_key)
    if accessible_rows is None:
        # the query selects row numbers because DuckDB makes a join of IN with five values, which loses their order
        sql = f'SELECT "{ROW_NUMBER_COLUMN}" FROM {quote_identifier(subset.table)} AS t0 WHERE {subset.condition}'
        schema = pa.schema([pa.field(ROW_NUMBER_COLUMN, pa.int64())])
        read_columns = (*subset.condition_columns, ROW_NUMBER_COLUMN)
        tested_rows = {subset.table: engine.read_relation(subset.full_snapshot, read_columns)}
        deadline = None
        if limits is not None:
            deadline = limits.deadline
        execution = engine.run_sql(sql, (), tested_rows, schema, ExecutionLimits(deadline=deadline))
        if set_running_execution is not None:
            set_running_execution(execution)
        try:
            rows = pa.Table.from_batches(execution, schema=schema).column(0).to_numpy()
        finally:
            execution.close()
        full_snapshot = engine.open_snapshot(subset.full_snapshot)
        accessible_rows = AccessibleRows(full_snapshot, rows, engine.access_cache_bytes)
    # the size grows as columns and indexes are copied, so it is stored each time
    cached_bytes = min(accessible_rows.bytes, engine.access_cache_bytes)
    engine.accessible_rows_cache.store(subset.cache_key, accessible_rows, cached_bytes)
    return accessible_rows


def _remove_policy_condition(node: Any) -> Any:
    if is_filtered_table(node):
        return replace(node, where=None)
    return node

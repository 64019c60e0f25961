"""The parts of the engine that its plans use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hven.engines import QueryPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import ExecutionLimits, MemoryRelation, QueryExecution, Relation, Snapshot
    from hven.engines.duckdb.snapshot_files import MemoryTableRows, OpenSnapshot
    from hven.model import LruCache


@dataclass(frozen=True, slots=True)
class RelationRows:
    """The rows of a relation, and where another process finds them.

    Attributes
    ----------
    table
        The rows, or a function that copies them.
    known_row_count
        Number of rows, if `table` is a function.
    is_sample
        Like `hven.engines.MemoryRelation.is_sample`.
    is_reusable
        True if later queries read the same rows, so that they are worth keeping registered.
    source
        Snapshot and columns; None if only this process has the rows.
    """

    table: pa.Table
    is_reusable: bool
    source: tuple[Snapshot, tuple[str, ...] | None] | None = None
    known_row_count: int = 0
    is_sample: bool = False

    def get_table(self) -> pa.Table:
        """Return the rows."""
        if callable(self.table):
            return self.table()
        return self.table

    def __len__(self) -> int:
        if callable(self.table):
            return self.known_row_count
        return int(self.table.num_rows)


class PlanWithTableOverrides(QueryPlan, Protocol):
    """A plan that other plans can run over rows of their own."""

    def execute_over_tables(
        self,
        tables_by_number: dict[int, pa.Table],
        literal_values: Sequence[float | str | None],
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> QueryExecution:
        """Run the query with these rows in place of table references, by their numbers."""


class DuckEngineProtocol(Protocol):
    """The engine as its plans use it."""

    uses_indexes: bool
    """False only in tests that prove that indexes change nothing but time."""
    access_cache_bytes: int
    """Maximum size of the cached accessible rows, in bytes."""
    accessible_rows_cache: LruCache[Any]
    """Accessible rows by path and condition."""

    def plan_query(self, bound_query: BoundQuery) -> PlanWithTableOverrides:
        """Plan a bound query."""

    def open_snapshot(self, snapshot: Snapshot) -> OpenSnapshot:
        """Return an open snapshot."""

    def get_random_access_rows(self, relation: MemoryRelation) -> MemoryTableRows:
        """Return rows in memory that can be read by row number."""

    def read_relation(self, relation: Relation, column_names: tuple[str, ...] | None = None) -> RelationRows:
        """Return the rows of a relation with these columns, or with at least one if there are no names."""

    def run_sql(
        self,
        sql: str,
        parameters: Sequence[Any],
        relations: Mapping[str, RelationRows],
        schema: pa.Schema,
        limits: ExecutionLimits,
        *,
        is_lenient: bool = False,
    ) -> QueryExecution:
        """Start a query in DuckDB; a `is_lenient` query is a mapping, which is computed batch after batch."""

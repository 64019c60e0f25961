"""What plans need of the engine that runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hven.engines import QueryPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import ExecutionLimits, MemoryRelation, QueryExecution, Relation, Snapshot
    from hven.engines.duckdb.snapshot_files import OpenSnapshot, TableRows
    from hven.model import Cache


@dataclass(frozen=True, slots=True)
class RelationRows:
    """The rows of a relation, and where another process finds them.

    Attributes
    ----------
    table
        Or a function that copies them.
    known_row_count
        How many they are, where it is a function.
    is_reusable
        They are worth remembering.
    source
        Snapshot and columns; None: they are here alone.
    """

    table: pa.Table
    is_reusable: bool
    source: tuple[Snapshot, tuple[str, ...] | None] | None = None
    known_row_count: int = 0

    def get_table(self) -> pa.Table:
        """Return them."""
        if callable(self.table):
            return self.table()
        return self.table

    def __len__(self) -> int:
        if callable(self.table):
            return self.known_row_count
        return int(self.table.num_rows)


class OverridablePlan(QueryPlan, Protocol):
    """A plan, as other plans use it."""

    def execute_over(
        self,
        tables_by_number: dict[int, pa.Table],
        literal_values: Sequence[float | str | None],
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> QueryExecution:
        """Run with these rows in place of table references, by their numbers."""


class DuckEngineProtocol(Protocol):
    """The engine, as its plans see it."""

    uses_indexes: bool
    """False only in tests that prove that indexes change nothing but time."""
    access_cache_bytes: int
    """Bytes of what readers reach."""
    accessible_rows_cache: Cache[Any]
    """What they reach, by path and condition."""

    def plan_query(self, bound_query: BoundQuery) -> OverridablePlan:
        """Plan a bound query."""

    def open_snapshot(self, snapshot: Snapshot) -> OpenSnapshot:
        """Open a snapshot, or find it open."""

    def get_readable_rows(self, relation: MemoryRelation) -> TableRows:
        """Return rows in memory, to be read by number."""

    def read_relation(self, relation: Relation, column_names: tuple[str, ...] | None = None) -> RelationRows:
        """Return the rows of a relation; `column_names`: with these alone, one at least."""

    def run_sql(
        self,
        sql: str,
        parameters: Sequence[Any],
        relations: Mapping[str, RelationRows],
        schema: pa.Schema,
        limits: ExecutionLimits,
        *,
        lenient: bool = False,
    ) -> QueryExecution:
        """Start a query in DuckDB; a `lenient` one is a mapping, which is computed batch after batch."""

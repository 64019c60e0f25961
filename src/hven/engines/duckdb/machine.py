"""What plans need of the engine that runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hven.engines import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hven.adql.tree import Bound
    from hven.engines import Execution, Limits, Memory, Relation, Snapshot
    from hven.engines.duckdb.layout import Held, Stored
    from hven.model import Cache


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a relation, and where another process finds them.

    Attributes
    ----------
    table
        Or a function that copies them.
    count
        How many they are, where it is a function.
    keep
        They are worth remembering.
    source
        Snapshot and columns; None: they are here alone.
    """

    table: pa.Table
    keep: bool
    source: tuple[Snapshot, tuple[str, ...] | None] | None = None
    count: int = 0

    def read(self) -> pa.Table:
        """Return them."""
        return self.table() if callable(self.table) else self.table

    def __len__(self) -> int:
        return self.count if callable(self.table) else int(self.table.num_rows)


class Prepared(Plan, Protocol):
    """A plan, as other plans use it."""

    def over(
        self,
        tables: dict[int, pa.Table],
        values: Sequence[float | str | None],
        relations: Mapping[str, Relation],
        limits: Limits,
    ) -> Execution:
        """Run with these rows in place of table references, by their numbers."""


class Machine(Protocol):
    """The engine, as its plans see it."""

    indexes: bool
    """False only in tests that prove that indexes change nothing but time."""
    room: int
    """Bytes of what readers reach."""
    reaches: Cache[Any]
    """What they reach, by path and condition."""

    def prepare(self, bound: Bound) -> Prepared:
        """Plan a bound query."""

    def stored(self, snapshot: Snapshot) -> Stored:
        """Open a snapshot, or find it open."""

    def held(self, relation: Memory) -> Held:
        """Return rows in memory, to be read by number."""

    def rows(self, relation: Relation, columns: tuple[str, ...] | None = None) -> Rows:
        """Return the rows of a relation; `columns`: with these alone, one at least."""

    def run(
        self,
        sql: str,
        arguments: Sequence[Any],
        relations: Mapping[str, Rows],
        schema: pa.Schema,
        limits: Limits,
        *,
        lenient: bool = False,
    ) -> Execution:
        """Start a query in DuckDB; a `lenient` one is a mapping, which is computed batch after batch."""

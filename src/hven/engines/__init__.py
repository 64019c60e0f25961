"""Where rows are stored and queries are computed: the Engine contract. One file or folder per engine.

A snapshot is immutable. Writing goes through `Engine.stage` -> `Staging.write` -> `Staging.finish`; nothing that a reader
can see changes until somebody (ingest) publishes the `Snapshot`. Reading goes through `prepare` and `Plan.execute`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.adql.tree import Bound
    from hven.model.table import Table

PRIVATE = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An immutable state of one table's rows.

    Attributes
    ----------
    id
        Name of the snapshot, unique in the site, sorts by time (``20261120T085345-3f2a``).
    path
        Its directory below ``var/snapshots`` (embedded engine), else the engine's own address.
    rows
        Number of rows.
    bytes
        Size on disk.
    parts
        File names and row counts, in order.
    statistics
        Column name -> {nulls, minimum, maximum, distinct (estimate), non_ascii, max_length}.
    coverage
        ASCII MOC of the positions, or None.
    """

    id: str
    table: str
    path: str
    rows: int
    bytes: int = 0
    parts: tuple[tuple[str, int], ...] = ()
    statistics: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    coverage: str | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Rows held in memory: TAP_SCHEMA, uploads."""

    rows: pa.Table


@dataclass(frozen=True, slots=True)
class Live:
    """A table that is read in place from an operational database (later: *PostgreSQL*)."""

    url: str
    table: str


Relation = Snapshot | Memory | Live


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one query may use.

    Attributes
    ----------
    rows
        Rows wanted at most; the engine yields one more if there are more, so that overflow is known.
    seconds
        Time limit, None = none.
    memory
        Bytes, None = the engine's setting.
    batch
        Rows per batch, about.
    """

    rows: int | None = None
    seconds: float | None = None
    memory: int | None = None
    batch: int = 65_536


class Execution(Protocol):
    """A running query: iterate for Arrow batches in output order; always close it."""

    schema: pa.Schema

    small: bool
    """True if the answer is ready, or nearly: it may be read on the event loop. Never true if `Plan.small` is false."""

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...

    def cancel(self) -> None:
        """Stop soon, from any thread; the iteration then raises `Cancelled`. May be called twice."""

    def close(self) -> None:
        """Free everything; may be called twice."""


class Plan(Protocol):
    """A prepared query, free of literal values in its slots: immutable, shared by threads, worth caching."""

    small: bool
    """True if an index can make the answer quick: `execute` may be called on the event loop; then `Execution.small` says whether it is."""

    def execute(self, values: Sequence[float | str | None], relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run with these literal values (by `Literal.slot`) over these relations (by qualified table name).

        Raises
        ------
        EvaluationError, Timeout, Cancelled, TooLarge, StorageError
            Also while iterating.
        """

    def explain(self) -> str:
        """Say which road will be taken, and give the engine's own text, for people."""


class Staging(Protocol):
    """A snapshot that is being written; nobody sees it before it is published."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; the schema is the table's Arrow schema."""

    def finish(self) -> Snapshot:
        """Order, index and make durable (fsync). Also computes `statistics` and `coverage`.

        Raises
        ------
        DataError
            The primary key is not unique: names the first keys and how many.
        StorageError
            Disk full.
        """

    def abandon(self) -> None:
        """Remove everything written; may be called at any time, twice."""


class Engine(Protocol):
    """The contract. Thread-safe; one per process and site."""

    name: str

    def prepare(self, bound: Bound) -> Plan:
        """Plan a bound query. Needs no data; may be cached as long as the tables' metadata stay the same."""

    def compute(self, bound: Bound, inputs: Mapping[str, pa.Table | pa.RecordBatch]) -> pa.Table:
        """Evaluate a bound query over rows in memory (mapping, rules, lookups) - same language, same functions.

        A value that cannot be computed is null here; callers find such rows by comparing with the input.
        Keys of `inputs` are qualified table names.
        """

    def stage(self, table: Table, snapshot: str) -> Staging:
        """Begin a new snapshot of `table` with that id."""

    def read(self, snapshot: Snapshot, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows in stored order (for rebuilds, comparisons, exports)."""

    def drop(self, snapshot: Snapshot) -> None:
        """Remove a snapshot's files; readers that have it open go on undisturbed."""

    def published(self, snapshot: Snapshot) -> None:
        """Know that a snapshot written here is published: until then nobody may sweep it."""

    def sweep(self, known: set[str]) -> list[str]:
        """Remove what crashed writers left: all but the snapshots whose `path` is in `known` and those being written. Gives their paths."""

    def close(self) -> None:
        """Free everything."""


__all__ = ["Engine", "Execution", "Limits", "Live", "Memory", "Plan", "Relation", "Snapshot", "Staging"]

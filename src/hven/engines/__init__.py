"""Engines store rows and execute queries: the engine contract, and one module or package for each engine.

A snapshot is immutable. Writing goes through `StorageEngine.stage_snapshot` -> `SnapshotStaging.write` ->
`SnapshotStaging.finish`; a reader sees no change until a run publishes the `Snapshot`. Reading goes through
`StorageEngine.plan_query` and `QueryPlan.execute`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from hven.engines._prerequisites import PlanWithPrerequisite as PlanWithPrerequisite
from hven.model import plugins
from hven.model.errors import StorageError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery
    from hven.model.deadlines import Deadline
    from hven.model.settings import Settings, SettingsSection
    from hven.model.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An immutable state of one table's rows.

    Attributes
    ----------
    id
        Name of the snapshot, unique in the site; names sort by time (``20261120T085345-3f2a``).
    path
        Its directory below ``var/snapshots`` (embedded engine), or the address that another engine gives it.
    rows
        Number of rows.
    bytes
        Size on disk.
    parts
        File names and row counts, in order.
    statistics
        Column name -> {nulls, minimum, maximum, distinct (estimate), non_ascii, max_length; of texts in arrays:
        longest; of columns with few distinct values: top, [value, rows] for each}.
    coverage
        ASCII MOC of the positions, or None.
    engine
        Name of the engine that keeps the snapshot; records of older sites do not have it, and mean the embedded one.
    regions
        Columns of shapes with a position index that the engine does not find itself (the embedded engine finds its own
        beside the rows).
    checksum
        Checksum of the engine's own list of the snapshot's files and their checksums; empty if the engine keeps no
        such list, or kept none when the snapshot was written.
    """

    kind_name: ClassVar[str] = "snapshot"  # for messages
    id: str
    table: str
    path: str
    rows: int
    bytes: int = 0
    parts: tuple[tuple[str, int], ...] = ()
    statistics: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    coverage: str | None = None
    engine: str = "duckdb"
    regions: tuple[str, ...] = ()
    checksum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotVerificationResult:
    """The result of verifying a snapshot.

    Attributes
    ----------
    bytes, files
        Total size and number of the files that have a checksum.
    faults
        File -> what is wrong with it.
    unknown
        Files that were written without a checksum, so that only their size could be verified.
    """

    bytes: int = 0
    files: int = 0
    faults: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MemoryRelation:
    """Rows held in memory: TAP_SCHEMA, uploads.

    Attributes
    ----------
    is_reused
        True if many queries read the same `rows` (TAP_SCHEMA): an engine may keep what it computed from them.
    is_stored
        True if they are rows of a snapshot, which contain no NaN.
    is_sample
        True if they are a sample of a snapshot, so few that they are read faster than sent to another process.
    """

    kind_name: ClassVar[str] = "memory"  # for messages
    rows: pa.Table
    is_reused: bool = False
    is_stored: bool = False
    is_sample: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveColumn:
    """A column of a table that is read in place, and the SQL that its engine writes for it.

    Attributes
    ----------
    name
        Name of the column in the database.
    value
        SQL of the value as queries see it; ``{0}`` is the column itself.
    is_comparable
        True if the column itself compares like that value, so that the database's own index serves a condition.
    guard_condition
        SQL condition that must accompany such a comparison (NaN is no number here, but the largest one in the
        database); ``{0}`` as above.
    """

    name: str
    value: str = "{0}"
    is_comparable: bool = False
    guard_condition: str = ""


@dataclass(frozen=True, slots=True)
class LiveRelation:
    """A table or view that is read in place from an operational database; nothing about its rows may be cached.

    Attributes
    ----------
    url
        The name of the database in the site: ``$NAME`` of a secret, or an address without password.
    table
        The table's name as SQL, quoted.
    engine
        Name of the engine that reads it: one for each `url`.
    columns
        The columns of the database that can be served.
    mapping_queries
        Bound SELECTs over the pseudo table ``source`` that compute the published columns; the table has the rows of
        all of them.
    copied_columns
        Published column -> column of the database that it is, unchanged.
    position
        The extension that finds positions in the database: ``q3c``, ``pgsphere``, or empty.
    rows
        Estimate of the database, or None.
    stamp
        A text that changes whenever any of the above does.
    """

    kind_name: ClassVar[str] = "live"  # for messages
    url: str
    table: str
    engine: str
    columns: tuple[LiveColumn, ...] = field(default=(), kw_only=True)
    mapping_queries: tuple[BoundQuery, ...] = field(default=(), kw_only=True, compare=False, repr=False)
    copied_columns: Mapping[str, str] = field(default_factory=dict, kw_only=True, compare=False, repr=False)
    position: str = field(default="", kw_only=True)
    rows: int | None = field(default=None, kw_only=True, compare=False)
    stamp: str = field(default="", kw_only=True)


Relation = Snapshot | MemoryRelation | LiveRelation
LIVE_SOURCE_KIND = "live"  # of tables that are read in place


def require_relation(relations: Mapping[str, Relation], qualified_name: str) -> Relation:
    """Return the relation that has the rows of a table.

    Parameters
    ----------
    relations
        Relations by qualified table name.
    qualified_name
        Name of the table.

    Raises
    ------
    StorageError
        There is none.
    """
    if qualified_name not in relations:
        message = f"the caller gave no relation for the rows of {qualified_name}"
        raise StorageError(message)
    return relations[qualified_name]


MAX_BATCH_CELLS = 4_194_304  # approximate maximum number of values in a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionLimits:
    """The limits of one query.

    Attributes
    ----------
    row_limit
        Maximum number of rows wanted; the engine yields one more if there are more, so that overflow is known.
    deadline
        The time limit, or None.
    byte_limit
        Maximum memory in bytes; None means the engine's setting.
    batch_rows
        Approximate number of rows per batch; fewer if there are many columns (`compute_batch_row_count`).
    """

    row_limit: int | None = None
    deadline: Deadline | None = None
    byte_limit: int | None = None
    batch_rows: int = 65_536

    def compute_batch_row_count(self, column_count: int) -> int:
        """Return the number of rows of a batch; it is limited because the deadline is checked between batches.

        Parameters
        ----------
        column_count
            Number of columns.
        """
        return max(1, min(self.batch_rows, MAX_BATCH_CELLS // max(column_count, 1)))


class QueryExecution(Protocol):
    """A running query: iterate for Arrow batches in output order; always close it.

    Attributes
    ----------
    schema
        Schema of the batches.
    small
        True if the answer is ready, or nearly: it may be read on the event loop.
    wait_seconds
        Seconds for which it has waited for its turn.
    client_seconds
        Seconds for which it waited until its client took more rows.
    """

    schema: pa.Schema
    wait_seconds: float = 0.0
    client_seconds: float = 0.0

    small: bool = False
    """True if the answer is ready, or nearly: it may be read on the event loop. Never true if `Plan.small` is false."""

    @property
    def is_computed(self) -> bool:
        """True once every row is in memory, including rows that were already read."""
        return False

    @property
    def awaited_file_descriptor(self) -> int | None:
        """A file descriptor that becomes readable when the answer arrives, for an event loop that can wait for it.

        Iterating waits by itself.
        """
        return None

    def has_answer_arrived(self) -> bool:
        """Check without waiting whether the awaited answer has arrived; return what `small` is then."""
        return False

    def read_small_answer(self) -> list[tuple[Any, ...]] | None:
        """Return all rows of an answer that is `small`, with the values that `to_pylist` would return.

        Iterating afterwards yields the same rows.
        """
        return None

    def request_turn(self, notify: Callable[[], object]) -> None:  # noqa: ARG002
        """Queue for a turn.

        Parameters
        ----------
        notify
            Called when `has_turn_come` may have changed.

        Raises
        ------
        OverloadedError
            The turn would not come in time.
        """
        return

    def has_turn_come(self) -> bool:
        """Return whether the turn that `request_turn` queued for has come.

        A thread that iterates then need not wait for it.
        """
        return True

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...

    def cancel(self) -> None:
        """Stop soon, from any thread; the iteration then raises `OperationCancelledError`. May be called twice."""

    def close(self) -> None:
        """Release everything; may be called twice."""


class DelegatingExecution(QueryExecution):
    """A query that other executions compute, one after the other.

    Cancelling or closing it cancels or closes the current one.
    """

    def __init__(self, schema: pa.Schema, current: QueryExecution | None = None) -> None:
        self.schema = schema
        self._lock = threading.Lock()
        self._current = current
        self._cancelled = False
        self._closed = False

    def _adopt_execution(self, execution: QueryExecution) -> QueryExecution:
        """Set the current run, and return it."""
        self._set_current_execution(execution)
        return execution

    def _set_current_execution(self, execution: QueryExecution | None) -> None:
        """Set the current execution; cancel it if this one was cancelled or closed before."""
        with self._lock:
            self._current = execution
        if execution is not None and self._is_stopped():
            execution.cancel()

    def _is_stopped(self) -> bool:
        return self._cancelled or self._closed

    @property
    def is_computed(self) -> bool:
        """Whether the current execution is computed."""
        return self._current is not None and self._current.is_computed

    @property
    def awaited_file_descriptor(self) -> int | None:
        """The file descriptor of the current execution."""
        if self._current is None:
            return None
        return self._current.awaited_file_descriptor

    def has_answer_arrived(self) -> bool:
        """Check whether the answer of the current execution has arrived."""
        self.small = self._current is not None and self._current.has_answer_arrived()
        return self.small

    def read_small_answer(self) -> list[tuple[Any, ...]] | None:
        """Return the rows of the current execution if they are `small`."""
        if self._current is not None and self.small and not self._is_stopped():
            return self._current.read_small_answer()
        return None

    def cancel(self) -> None:
        """Stop the current execution soon."""
        with self._lock:
            self._cancelled = True
            current = self._current
        if current is not None:
            current.cancel()

    def close(self) -> None:
        """Release everything."""
        with self._lock:
            self._closed = True
            current = self._current
            self._current = None
        if current is not None:
            current.close()


class QueryPlan(Protocol):
    """A prepared query without the literal values of its slots: immutable, shared by threads, worth caching.

    Attributes
    ----------
    schema
        Schema of the batches.
    """

    schema: pa.Schema

    @property
    def is_quick(self) -> bool:
        """True if the answer is probably quick (an index, rows in memory): `execute` may be called on the event loop.

        Then `QueryExecution.small` says whether it is.
        """

    def execute(
        self, literal_values: Sequence[float | str | None], relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run with these literal values over these relations.

        Parameters
        ----------
        literal_values
            Values by `Literal.slot`; numbers are dimensionless, times are texts.
        relations
            Snapshots or rows in memory, by qualified table name.
        limits
            Maximum rows, time and bytes.

        Returns
        -------
        execution
            The running query; iterate over it to read the batches.

        Raises
        ------
        EvaluationError, TimeLimitError, OperationCancelledError, TooLargeError, StorageError
            Also while iterating.
        """

    def explain(self) -> str:
        """Describe how the query will be executed, with the engine's own text, for people.

        Returns
        -------
        text
            Several lines.
        """

    def describe_row_estimates(
        self,
        literal_values: Sequence[float | str | None],  # noqa: ARG002
        relations: Mapping[str, Relation],  # noqa: ARG002
    ) -> list[str]:
        """Estimate how many rows of which tables will be read, as far as that is known.

        Parameters
        ----------
        literal_values
            Values by `Literal.slot`; numbers are dimensionless.
        relations
            As for `execute`.

        Returns
        -------
        lines
            Lines for people; none if nothing is known.
        """
        return []


class SnapshotStaging(Protocol):
    """A snapshot that is being written; readers do not see it before it is published."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows.

        Parameters
        ----------
        batch
            Rows in the table's Arrow schema.
        """

    def finish(self) -> Snapshot:
        """Order, index and make durable (fsync); compute `statistics` and `coverage`.

        Returns
        -------
        snapshot
            The complete snapshot, not yet published.

        Raises
        ------
        DataError
            The primary key is not unique; the message names the first keys and their number.
        StorageError
            The disk is full.
        """

    def abandon(self) -> None:
        """Remove everything written; may be called at any time, also twice."""


@runtime_checkable
class CatalogueAdopter(Protocol):
    """A staging that can take the files of an existing catalogue instead of rows."""

    def adopt_catalogue(self, directory: str, column_names: Mapping[str, str] | None = None) -> Snapshot:
        """Make a snapshot of a catalogue whose files stay where they are.

        Parameters
        ----------
        directory
            Directory of the catalogue, or its address.
        column_names
            Column of the table -> its name in the catalogue; None if the names are the same.

        Returns
        -------
        snapshot
            The complete snapshot, not yet published.

        Raises
        ------
        SourceError
            It is no catalogue, or does not have the columns; the staging is abandoned.
        """


class QueryEvaluator(Protocol):
    """Evaluates queries over rows in memory."""

    def evaluate_query(self, bound_query: BoundQuery, inputs: Mapping[str, pa.Table | pa.RecordBatch]) -> pa.Table:
        """Evaluate a bound query over rows in memory (mapping, rules, lookups): same language, same functions.

        A value that cannot be computed is null; callers find such rows by comparing them with the input.

        Parameters
        ----------
        bound_query
            A query over the tables of `inputs`.
        inputs
            Rows by qualified table name.

        Returns
        -------
        rows
            The columns of `bound_query`.
        """


class StorageEngine(QueryEvaluator, Protocol):
    """The contract of an engine. Thread-safe; one per process and site. An engine is a subclass.

    A method that it does not define does nothing, as described here.

    Attributes
    ----------
    name
        Name of its module or entry point.
    file_faults
        `Snapshot.path` -> the file that this process found missing or truncated.

    Common
    ------
    snapshot, snapshot_id
        A snapshot that this engine wrote.
    table
        The table with its columns and keys.
    """

    name: str
    file_faults: Mapping[str, str] = {}

    def find_outage(self) -> str | None:
        """Return why an engine whose rows are elsewhere cannot answer now, for the health page; None if it can."""
        return None

    def find_degradation(self) -> str | None:
        """Return why an engine cannot answer some queries although its rows can be read, for the health page."""
        return None

    def count_connections(self) -> dict[str, int]:
        """Return the numbers of connections to a database that has the rows: ``size``, ``used`` and ``kept``."""
        return {}

    def sample_rows(
        self,
        snapshot: Snapshot,  # noqa: ARG002
        row_count: int,  # noqa: ARG002
        column_names: Collection[str],  # noqa: ARG002
    ) -> MemoryRelation | None:
        """Read a sample of rows from all over a snapshot.

        Parameters
        ----------
        row_count
            Approximate number of rows.
        column_names
            Names of columns that the sample must have.

        Returns
        -------
        rows
            The sample; None if the engine cannot read one quickly.
        """
        return None

    def find_missing_or_resized_file(self, snapshot: Snapshot) -> str | None:  # noqa: ARG002
        """Check that the files of a snapshot exist, with the size that was written.

        Returns
        -------
        file
            The first file that is missing or has another size; None if there is none.
        """
        return None

    def verify_snapshot(
        self,
        snapshot: Snapshot,  # noqa: ARG002
        report_bytes: Callable[[int], object] | None,  # noqa: ARG002
        known_checksums: dict[Any, Any],  # noqa: ARG002
    ) -> SnapshotVerificationResult | None:
        """Check the files of a snapshot against their checksums.

        Parameters
        ----------
        report_bytes
            Called with the number of bytes after each piece that is read; None: nothing is read.
        known_checksums
            Keeps the checksums of files that were read for the next call, because snapshots share files.

        Returns
        -------
        verified
            The result; None if a database has the rows and verifies them by its own means.
        """
        return None

    def refuse_snapshots(self, reasons_by_path: Mapping[str, str]) -> None:  # noqa: ARG002
        """Refuse every query that reads one of these snapshots, with the reason (`StorageUnavailableError`).

        Parameters
        ----------
        reasons_by_path
            `Snapshot.path` -> the reason.
        """
        return

    def release_removed_snapshots(self) -> None:
        """Release snapshots that were removed."""
        return

    def delegate_long_queries(self) -> None:
        """Execute long queries in another process from now on.

        The process that answers keeps its interpreter lock and its memory free.
        """
        return

    def prepare_forks(self) -> None:
        """Close what a fork of this process would lack, such as threads; it is opened again when it is needed."""
        return

    def list_helper_processes(self) -> Mapping[int, int]:
        """List the other processes that compute for this one, with the bytes that each held before its first query."""
        return {}

    def plan_query(self, bound_query: BoundQuery) -> QueryPlan:
        """Plan a bound query. Planning reads no data; a plan stays valid while the tables' metadata stay the same.

        Parameters
        ----------
        bound_query
            The query, with its row filters.

        Returns
        -------
        plan
            The plan, without the values of literals.
        """

    def stage_snapshot(self, table: Table, snapshot_id: str, *, expects_merges: bool = False) -> SnapshotStaging:
        """Begin a new snapshot of a table.

        Parameters
        ----------
        snapshot_id
            Id of the new snapshot.
        expects_merges
            True if other snapshots will be merged from it, so that an engine can prepare for that.

        Returns
        -------
        staging
            A staging that must be finished or abandoned.
        """

    def stage_merge(
        self, table: Table, snapshot_id: str, base_snapshot: Snapshot, deleted_keys: pa.Table | None = None
    ) -> SnapshotStaging:
        """Begin a new snapshot that has the rows of another one, with some rows replaced, removed or added.

        Rows that are written replace those of the same key, or are added; rows whose primary key is in `deleted_keys`
        are left out. The base stays as it is, and must not be removed until the staging is finished.

        Parameters
        ----------
        table
            The table, which must have a primary key.
        snapshot_id
            Id of the new snapshot.
        base_snapshot
            A snapshot of this engine, with the columns of `table`.
        deleted_keys
            Primary keys, columns by name. Keys that the base does not have are ignored; a key that is also written
            stays.

        Returns
        -------
        staging
            A staging that must be finished or abandoned.

        Raises
        ------
        UnmergeableSnapshotError
            The table has no primary key, or the base has other columns, another order or other partitions: stage all
            rows instead.
        StorageError
            The base cannot be read, or the disk is full.
        DataError
            From `finish`: a key was written twice, or is null.
        """

    def read_rows(self, snapshot: Snapshot, column_names: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Read all rows in stored order (for rebuilds, comparisons, exports).

        Parameters
        ----------
        column_names
            Names, in the wanted order; None means all columns.

        Yields
        ------
        batch
            Rows in Arrow's storage types.
        """

    def read_differing_rows(
        self, old_snapshot: Snapshot, new_snapshot: Snapshot, column_names: Sequence[str] | None = None
    ) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
        """Read the rows that may differ between two snapshots of a table.

        It reads like `read_rows`, but leaves out rows in storage that both snapshots share.

        Parameters
        ----------
        old_snapshot, new_snapshot
            Two snapshots of this engine, of the same table.
        column_names
            Names; None means all columns.

        Returns
        -------
        rows
            Batches of the old snapshot, and of the new one.
        """

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        """Remove a snapshot's files; readers that have it open are not disturbed."""

    def note_published_snapshot(self, snapshot: Snapshot) -> None:
        """Note that a snapshot written by this engine is published: until then `remove_leftovers` keeps it."""

    def remove_leftovers(self, known_paths: set[str]) -> list[str]:
        """Remove what crashed writers left: all but known snapshots and those being written.

        Parameters
        ----------
        known_paths
            `Snapshot.path` of the snapshots that the store knows.

        Returns
        -------
        paths
            The paths that were removed.
        """

    def close(self) -> None:
        """Release everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePluginRecord:
    """What an engine's module defines as ``KIND``, beside ``open(directory, memory=..., **options) -> Engine``.

    Modules that are rarely needed are named here, and loaded when they are needed.

    Attributes
    ----------
    section
        The section of hven.toml that the engine is opened with. An engine without one is always available.
    settings
        The sections of hven.toml that the engine defines; their values are in `Settings.brought`. A plug-in package
        names them in its own record.
    options
        ``options(settings, identity) -> dict`` for `open`; raises an error if the engine cannot be opened.
    lacks, remedy
        ``lacks(settings) -> str | None``: the required setting that is missing; and how to set it.
    live
        Module that reads the tables of a database in place: ``open(directory, name=..., memory=..., url=..., pool=...,
        at_once=..., seconds=...) -> Engine``, and ``find_unsupported_function(expression) -> str | None``, the part of
        a mapping that the SQL of such a database cannot express.
    adoptable
        For ``hven check``, ``module:name``: ``adoptable(table, place, columns)``, which checks an existing catalogue as
        `CatalogueAdopter.adopt_catalogue` does, writes nothing, and raises an error for a fault.
    """

    section: str = ""
    settings: tuple[SettingsSection, ...] = ()
    options: Callable[[Settings, Callable[[], str]], Mapping[str, Any]] = lambda *_: {}
    lacks: Callable[[Settings], str | None] = lambda _: None
    remedy: str = ""
    live: str = ""
    adoptable: str = ""


def load_engine_record(engine_name: str) -> EnginePluginRecord:
    """Load the record of an engine.

    Parameters
    ----------
    engine_name
        Name of the engine.

    Returns
    -------
    kind
        The record; an empty one if the engine defines none.
    """
    record: EnginePluginRecord = vars(plugins.load_plugin("engines", engine_name)).get("KIND") or EnginePluginRecord()
    return record


def load_engine_records() -> list[EnginePluginRecord]:
    """Return the records of all engines."""
    return [load_engine_record(name) for name in plugins.list_plugins("engines")]


def load_live_engine_module() -> Any:
    """Load the module that reads databases in place.

    Returns
    -------
    module
        The module that `EnginePluginRecord.live` of an engine names.

    Raises
    ------
    UserError
        No engine in use reads databases in place.
    """
    module_names = [record.live for record in load_engine_records() if record.live]
    if not module_names:
        unused_error = plugins.find_disabled_plugin_error("sources", LIVE_SOURCE_KIND)
        raise unused_error or UserError(
            "no installed engine can read databases in place", remedy="install an engine that reads databases in place"
        )
    return plugins.import_hven_module(module_names[0], "what reads databases in place")


__all__ = [
    "LIVE_SOURCE_KIND",
    "CatalogueAdopter",
    "DelegatingExecution",
    "EnginePluginRecord",
    "ExecutionLimits",
    "LiveColumn",
    "LiveRelation",
    "MemoryRelation",
    "QueryEvaluator",
    "QueryExecution",
    "QueryPlan",
    "Relation",
    "Snapshot",
    "SnapshotStaging",
    "SnapshotVerificationResult",
    "StorageEngine",
    "load_engine_record",
    "load_engine_records",
    "load_live_engine_module",
    "require_relation",
]

"""Engines store rows and execute queries: the engine contract, and one module or package for each engine.

A snapshot is immutable. Writing goes through `StorageEngine.stage_snapshot` -> `SnapshotStaging.write` ->
`SnapshotStaging.finish`; nothing that a reader sees changes until a run publishes the `Snapshot`. Reading goes through
`StorageEngine.plan_query` and `QueryPlan.execute`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from hven.engines._prerequisites import PlanWithPrerequisite as PlanWithPrerequisite
from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

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
        Column name -> {nulls, minimum, maximum, distinct (estimate), non_ascii, max_length; of texts in arrays:
        longest; of columns of few different values: top, [value, rows] for each}.
    coverage
        ASCII MOC of the positions, or None.
    engine
        Name of the engine that keeps it; records of older sites do not say it, and mean the embedded one.
    regions
        Columns of shapes whose position index the engine must be told of (the embedded one finds its own beside the
        rows).
    checksum
        Of the engine's own list of the snapshot's files and their checksums; empty: it keeps none, or did not when this
        was written.
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
class VerificationResult:
    """What a verification of a snapshot found.

    Attributes
    ----------
    bytes, files
        That have a checksum.
    faults
        File -> what is wrong with it.
    unknown
        Files that were written without a checksum: of them only the size is known.
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
        True if many queries read the same `rows` (TAP_SCHEMA): an engine may keep what it made of them.
    is_stored
        True if they are rows of a snapshot: there is no NaN in them.
    """

    kind_name: ClassVar[str] = "memory"  # for messages
    rows: pa.Table
    is_reused: bool = False
    is_stored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveColumn:
    """A column of a table that is read in place, and how its engine writes it.

    Attributes
    ----------
    name
        Of the column there.
    value
        SQL of the value as queries see it; ``{0}`` is the column itself.
    is_comparable
        True if the column itself compares like that value, so that the source's own index serves a condition.
    guard_condition
        SQL condition that must stand beside such a comparison (NaN is no number here, but the largest one there);
        ``{0}`` as above.
    """

    name: str
    value: str = "{0}"
    is_comparable: bool = False
    guard_condition: str = ""


@dataclass(frozen=True, slots=True)
class LiveRelation:
    """A table or view that is read in place from an operational database: nothing about its rows may be remembered.

    Attributes
    ----------
    url
        How the database is named in the site: ``$NAME`` of a secret, or an address without password.
    table
        The table's name as SQL, quoted.
    engine
        Name of the engine that reads it: one for each `url`.
    columns
        Those of the source that can be served.
    mapping_queries
        Bound SELECTs over the pseudo table ``source`` that make the published columns; their rows together are the
        table's.
    copied_columns
        Published column -> column of the source that it is, unchanged.
    position
        What finds positions in the source: ``q3c``, ``pgsphere``, or empty.
    rows
        Estimate of the database, or None.
    stamp
        Changes whenever anything above does.
    """

    kind_name: ClassVar[str] = "live"  # for messages
    url: str
    table: str
    engine: str = "postgres"
    columns: tuple[LiveColumn, ...] = field(default=(), kw_only=True)
    mapping_queries: tuple[BoundQuery, ...] = field(default=(), kw_only=True, compare=False, repr=False)
    copied_columns: Mapping[str, str] = field(default_factory=dict, kw_only=True, compare=False, repr=False)
    position: str = field(default="", kw_only=True)
    rows: int | None = field(default=None, kw_only=True, compare=False)
    stamp: str = field(default="", kw_only=True)


Relation = Snapshot | MemoryRelation | LiveRelation


MAX_BATCH_CELLS = 4_194_304  # of a batch, about


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionLimits:
    """What one query may use.

    Attributes
    ----------
    row_limit
        Rows wanted at most; the engine yields one more if there are more, so that overflow is known.
    deadline
        What counts its time, None = nothing does.
    byte_limit
        Bytes, None = the engine's setting.
    batch_rows
        Rows per batch, about; fewer where there are many columns (`compute_batch_rows`).
    """

    row_limit: int | None = None
    deadline: Deadline | None = None
    byte_limit: int | None = None
    batch_rows: int = 65_536

    def compute_batch_rows(self, column_count: int) -> int:
        """Return the rows of a batch of so many columns: none takes long, and before each the clock is looked at.

        Parameters
        ----------
        column_count
            Their number.
        """
        return max(1, min(self.batch_rows, MAX_BATCH_CELLS // max(column_count, 1)))


class QueryExecution(Protocol):
    """A running query: iterate for Arrow batches in output order; always close it.

    Attributes
    ----------
    schema
        Of the batches.
    small
        The answer is there, or nearly: it may be read on the event loop.
    """

    schema: pa.Schema

    small: bool = False
    """True if the answer is ready, or nearly: it may be read on the event loop. Never true if `Plan.small` is false."""

    @property
    def is_computed(self) -> bool:
        """True once every row is in memory, whoever has taken it."""
        return False

    @property
    def awaited_file_descriptor(self) -> int | None:
        """A file descriptor at which the answer will show: who has an event loop may wait there for a moment.

        Whoever iterates waits by itself.
        """
        return None

    def has_arrived(self) -> bool:
        """Check whether what is `awaited_file_descriptor` has come, without waiting; return what `small` says then."""
        return False

    def read_small_answer(self) -> list[tuple[Any, ...]] | None:
        """Return all rows of an answer that is `small`, with the values that `to_pylist` would return.

        Whoever iterates afterwards gets the same rows.
        """
        return None

    def request_turn(self, notify: Callable[[], object]) -> None:  # noqa: ARG002
        """Queue for a turn.

        Parameters
        ----------
        notify
            Called when it is worth a look.

        Raises
        ------
        OverloadedError
            The turn would not come in time.
        """
        return

    def is_ready(self) -> bool:
        """Check whether the turn has come, which `request_turn` asked for.

        A thread that iterates then need not wait for it.
        """
        return True

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...

    def cancel(self) -> None:
        """Stop soon, from any thread; the iteration then raises `OperationCancelledError`. May be called twice."""

    def close(self) -> None:
        """Free everything; may be called twice."""


class RelayExecution(QueryExecution):
    """A query that others compute for it, one after the other.

    Whoever cancels or closes it meets the one that runs now.
    """

    def __init__(self, schema: pa.Schema, current: QueryExecution | None = None) -> None:
        self.schema = schema
        self._lock = threading.Lock()
        self._current = current
        self._cancelled = False
        self._closed = False

    def _begin_execution(self, execution: QueryExecution) -> QueryExecution:
        """Set the current run, and return it."""
        self._set_current(execution)
        return execution

    def _set_current(self, execution: QueryExecution | None) -> None:
        """Note which one runs now; who cancelled or closed while it began did not see it."""
        with self._lock:
            self._current = execution
        if execution is not None and self._is_stopped():
            execution.cancel()

    def _is_stopped(self) -> bool:
        return self._cancelled or self._closed

    @property
    def is_computed(self) -> bool:
        """As the one that runs now."""
        return self._current is not None and self._current.is_computed

    @property
    def awaited_file_descriptor(self) -> int | None:
        """As the one that runs now."""
        if self._current is None:
            return None
        return self._current.awaited_file_descriptor

    def has_arrived(self) -> bool:
        """Answer as the one that runs now."""
        self.small = self._current is not None and self._current.has_arrived()
        return self.small

    def read_small_answer(self) -> list[tuple[Any, ...]] | None:
        """Answer as the one that runs now."""
        if self._current is not None and self.small and not self._is_stopped():
            return self._current.read_small_answer()
        return None

    def cancel(self) -> None:
        """Stop soon, whichever runs."""
        with self._lock:
            self._cancelled = True
            now = self._current
        if now is not None:
            now.cancel()

    def close(self) -> None:
        """Free everything."""
        with self._lock:
            self._closed = True
            now = self._current
            self._current = None
        if now is not None:
            now.close()


class QueryPlan(Protocol):
    """A prepared query, free of literal values in its slots: immutable, shared by threads, worth caching.

    Attributes
    ----------
    schema
        Of the batches.
    """

    schema: pa.Schema

    @property
    def small(self) -> bool:
        """True if the answer is probably quick (an index, rows in memory): `execute` may be called on the event loop.

        Then `QueryExecution.small` says whether it is.
        """

    def execute(
        self, literal_values: Sequence[float | str | None], relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run with these literal values (by `Literal.slot`) over these relations (by qualified table name).

        Parameters
        ----------
        literal_values
            By `Literal.slot`; numbers are dimensionless, times are texts.
        relations
            Snapshots or rows in memory, by qualified table name.
        limits
            Rows, seconds and bytes that it may take.

        Returns
        -------
        execution
            Running; the batches are read from it.

        Raises
        ------
        EvaluationError, TimeLimitError, OperationCancelledError, TooLargeError, StorageError
            Also while iterating.
        """

    def explain(self) -> str:
        """Describe which road will be taken, with the engine's own text, for people.

        Returns
        -------
        text
            Of several lines.
        """

    def estimate_row_counts(
        self,
        literal_values: Sequence[float | str | None],  # noqa: ARG002
        relations: Mapping[str, Relation],  # noqa: ARG002
    ) -> list[str]:
        """Estimate how many rows of which tables will be read, as far as that is known.

        Parameters
        ----------
        literal_values
            By `Literal.slot`; numbers are dimensionless.
        relations
            As for `execute`.

        Returns
        -------
        lines
            For people; none if nothing is known.
        """
        return []


class SnapshotStaging(Protocol):
    """A snapshot that is being written; nobody sees it before it is published."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows.

        Parameters
        ----------
        batch
            Its schema is the table's Arrow schema.
        """

    def finish(self) -> Snapshot:
        """Order, index and make durable (fsync). Also computes `statistics` and `coverage`.

        Returns
        -------
        snapshot
            Complete, not yet published.

        Raises
        ------
        DataError
            The primary key is not unique: names the first keys and how many.
        StorageError
            Disk full.
        """

    def abandon(self) -> None:
        """Remove everything written; may be called at any time, twice."""


@runtime_checkable
class CatalogueAdopter(Protocol):
    """A staging that may take files of others instead of rows."""

    def adopt_catalogue(self, directory: str, column_names: Mapping[str, str] | None = None) -> Snapshot:
        """Make a snapshot of a catalogue whose files stay where they are.

        Parameters
        ----------
        directory
            Of the catalogue (HATS), or its address.
        column_names
            What columns of the table are called there; None: as here.

        Returns
        -------
        snapshot
            Complete, not yet published.

        Raises
        ------
        SourceError
            It is no catalogue, or not what it says; the staging is abandoned.
        """


class StorageEngine(Protocol):
    """The contract. Thread-safe; one per process and site. An engine is a subclass.

    What it leaves out does nothing, as said here.

    Attributes
    ----------
    name
        Of its module or entry point.
    file_faults
        `Snapshot.path` -> which file is missing or cut off, as this process found it.

    Common
    ------
    snapshot, snapshot_id
        One that this engine wrote.
    table
        Its structure.
    """

    name: str
    file_faults: Mapping[str, str] = {}

    def find_outage(self) -> str | None:
        """Return what keeps an engine whose rows are elsewhere from answering now, for the health page."""
        return None

    def find_degradation(self) -> str | None:
        """Return what keeps an engine whose rows can be read from answering some queries, for the health page."""
        return None

    def count_connections(self) -> dict[str, int]:
        """Return the numbers of connections of an engine whose rows are elsewhere: ``size``, ``used`` and ``kept``."""
        return {}

    def sample_rows(
        self,
        snapshot: Snapshot,  # noqa: ARG002
        row_count: int,  # noqa: ARG002
        column_names: Collection[str],  # noqa: ARG002
    ) -> MemoryRelation | None:
        """Read some rows from all over a snapshot.

        Parameters
        ----------
        row_count
            How many, about.
        column_names
            Names of those that it must have at least.

        Returns
        -------
        rows
            None: it cannot do that at once.
        """
        return None

    def list_partition_files(self, snapshot: Snapshot) -> Mapping[tuple[int, int], Path] | None:  # noqa: ARG002
        """List the files of a snapshot that are partitions of HATS, as they lie there.

        They never change, and have the cells and all columns of the table.

        Returns
        -------
        files
            By HEALPix order and pixel; None: it keeps rows otherwise.
        """
        return None

    def find_missing_file(self, snapshot: Snapshot) -> str | None:  # noqa: ARG002
        """Check that the files of a snapshot are there, and of the size that was written.

        Returns
        -------
        file
            The first that is not; None: all are as they were written.
        """
        return None

    def verify_snapshot(
        self,
        snapshot: Snapshot,  # noqa: ARG002
        report_bytes: Callable[[int], object] | None,  # noqa: ARG002
        known_checksums: dict[Any, Any],  # noqa: ARG002
    ) -> VerificationResult | None:
        """Check whether the files of a snapshot are what was written, by their checksums.

        Parameters
        ----------
        report_bytes
            Called with the number of bytes after each piece that is read; None: nothing is read.
        known_checksums
            Keeps what was read, for the next call: snapshots share files.

        Returns
        -------
        verified
            What was found; None: its rows are a database's, which has means of its own.
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

    def release_removed(self) -> None:
        """Release snapshots that were removed."""
        return

    def delegate_long_queries(self) -> None:
        """Compute what takes long in another process from now on.

        The one that answers keeps its lock and its memory for that.
        """
        return

    def list_helper_processes(self) -> Mapping[int, int]:
        """List the other processes that compute for this one, and the bytes that each held before its first query."""
        return {}

    def plan_query(self, bound_query: BoundQuery) -> QueryPlan:
        """Plan a bound query. Needs no data; may be cached as long as the tables' metadata stay the same.

        Parameters
        ----------
        bound_query
            With its row filters.

        Returns
        -------
        plan
            Without its literals.
        """

    def evaluate_query(self, bound_query: BoundQuery, inputs: Mapping[str, pa.Table | pa.RecordBatch]) -> pa.Table:
        """Evaluate a bound query over rows in memory (mapping, rules, lookups) - same language, same functions.

        A value that cannot be computed is null here; callers find such rows by comparing with the input.
        Keys of `inputs` are qualified table names.

        Parameters
        ----------
        bound_query
            Over the tables of `inputs`.
        inputs
            Rows by qualified table name.

        Returns
        -------
        rows
            Of the columns of `bound_query`.
        """

    def stage_snapshot(self, table: Table, snapshot_id: str, *, expects_merges: bool = False) -> SnapshotStaging:
        """Begin a new snapshot of a table.

        Parameters
        ----------
        snapshot_id
            Id of the new one.
        expects_merges
            Others will be merged from it, and an engine may prepare for that.

        Returns
        -------
        staging
            To be finished or abandoned.
        """

    def stage_merge(
        self, table: Table, snapshot_id: str, base_snapshot: Snapshot, deleted_keys: pa.Table | None = None
    ) -> SnapshotStaging:
        """Begin a new snapshot that has the rows of another one, except for some: replaced, gone or added.

        Rows that are written replace those of the same key, or are added; those whose primary key is in `deleted_keys`
        are left out. The base stays as it is, and must stay until the staging is finished.

        Parameters
        ----------
        table
            Its structure; it must have a primary key.
        snapshot_id
            Id of the new one.
        base_snapshot
            A snapshot of this engine, with the columns of `table`.
        deleted_keys
            Primary keys, columns by name. Keys that are not in the base do not matter; one that is written, too, stays.

        Returns
        -------
        staging
            To be finished or abandoned.

        Raises
        ------
        UnmergeableSnapshotError
            The table has no primary key, or the base has other columns, another order or other partitions: stage all
            rows instead.
        StorageError
            The base cannot be read; disk full.
        DataError
            From `finish`: a key was written twice, or is null.
        """

    def read_rows(self, snapshot: Snapshot, column_names: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Read all rows in stored order (for rebuilds, comparisons, exports).

        Parameters
        ----------
        column_names
            Names, in the wanted order; None: all.

        Yields
        ------
        batch
            In Arrow's storage types.
        """

    def read_differing_rows(
        self, old_snapshot: Snapshot, new_snapshot: Snapshot, column_names: Sequence[str] | None = None
    ) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
        """Read what may differ between two snapshots of a table.

        As `read_rows`, but for rows in storage that both share.

        Parameters
        ----------
        old_snapshot, new_snapshot
            Of this engine, of one table.
        column_names
            Names; None: all.

        Returns
        -------
        rows
            Batches of the old one, and of the new one.
        """

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        """Remove a snapshot's files; readers that have it open go on undisturbed."""

    def note_published(self, snapshot: Snapshot) -> None:
        """Note that a snapshot written here is published: until then nobody may sweep it."""

    def remove_leftovers(self, known_paths: set[str]) -> list[str]:
        """Remove what crashed writers left: all but known snapshots and those being written.

        Parameters
        ----------
        known_paths
            `Snapshot.path` of those that the store knows.

        Returns
        -------
        paths
            Of what was removed.
        """

    def close(self) -> None:
        """Free everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """What the module of an engine brings beside ``open(directory, memory=..., **options) -> Engine``, as ``KIND``.

    What few need is named, and loaded when it is needed.

    Attributes
    ----------
    section
        The section of hven.toml that it is opened with. An engine without one is always at hand.
    settings
        The sections of hven.toml that it brings, `section` among them; what they say is in `Settings.brought`.
    options
        ``options(settings, identity) -> dict`` for `open`; raises what keeps it from being opened.
    lacks
        ``lacks(settings) -> str | None``: what settings do not say that must be there.
    live
        Module that reads the tables of a database in place: ``open(directory, name=..., memory=..., url=..., pool=...,
        at_once=..., seconds=...) -> Engine``, and ``beyond(expression) -> str | None``, what of a mapping cannot be
        said in the SQL of such a database.
    verbs
        Of the command line, ``module:name``: ``verb(caller, ...) -> (value as JSON, True if all is well)``, its
        parameters annotated by `CommandArgument`, named and described as it is.
    check
        For ``hven check``, ``module:name``: ``check(settings) -> Iterator[Fault | str]``, what is wrong with what they
        name; texts say what it is.
    adoptable
        For ``hven check``, ``module:name``: ``adoptable(table, place, columns)``, which looks at a catalogue of others
        as `CatalogueAdopter.adopt_catalogue` does, writes nothing, and raises what is wrong.
    webs
        Its files may be behind addresses: `open` is given ``webs``, by which they are asked for
        (`hven.sources.remote_stores.WebCatalogueClient`).
    """

    section: str = ""
    settings: tuple[SettingsSection, ...] = ()
    options: Callable[[Settings, Callable[[], str]], Mapping[str, Any]] = lambda *_: {}
    lacks: Callable[[Settings], str | None] = lambda _: None
    live: str = ""
    verbs: tuple[str, ...] = ()
    check: str = ""
    adoptable: str = ""
    webs: bool = False


@dataclass(frozen=True, slots=True)
class CommandArgument:
    """An argument (``NAME``) or option (``--name``) of a verb.

    Attributes
    ----------
    help
        A line for ``--help``.
    """

    name: str
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandContext:
    """Who gave a verb: the settings and the identity of the site, and `print_message`, which prints for people."""

    settings: Callable[[], Settings]
    identity: Callable[[], str]
    print_message: Callable[..., None]


def load_engine_record(engine_name: str) -> EngineRecord:
    """Load what an engine brings.

    Parameters
    ----------
    engine_name
        Of the engine.

    Returns
    -------
    kind
        An empty one if it brings nothing.
    """
    record: EngineRecord = vars(plugins.load_plugin("engines", engine_name)).get("KIND") or EngineRecord()
    return record


def load_engine_records() -> list[EngineRecord]:
    """Return what each engine brings."""
    return [load_engine_record(name) for name in plugins.list_plugins("engines")]


def load_live_module() -> Any:
    """Return the module that reads databases in place."""
    return plugins.import_hven_module(
        next(record.live for record in load_engine_records() if record.live), "what reads databases in place"
    )


__all__ = [
    "CatalogueAdopter",
    "CommandArgument",
    "CommandContext",
    "EngineRecord",
    "ExecutionLimits",
    "LiveColumn",
    "LiveRelation",
    "MemoryRelation",
    "QueryExecution",
    "QueryPlan",
    "Relation",
    "RelayExecution",
    "Snapshot",
    "SnapshotStaging",
    "StorageEngine",
    "VerificationResult",
    "load_engine_record",
    "load_engine_records",
    "load_live_module",
]

"""DuckEngine: an in-memory DuckDB without access to files and network, and the snapshots that it reads."""

from __future__ import annotations

import os
import re
import shutil
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from hven.engines import ExecutionLimits, MemoryRelation, Snapshot, StorageEngine
from hven.engines._query_analysis.row_policies import write_policy_conditions
from hven.engines._query_deadlines import DeadlineWatcher
from hven.engines._snapshot_files import (
    TRANSIENT_ERRNOS,
    build_table_directory_name,
    find_size_fault,
    is_path_absent,
    remove_abandoned_directory,
)
from hven.engines.duckdb.accessible_rows import AccessibleRows, AccessPolicyPlan, SnapshotSubset, find_accessible_rows
from hven.engines.duckdb.checksum_verification import verify_snapshot_files
from hven.engines.duckdb.dialect import DuckDBDialect
from hven.engines.duckdb.engine_protocol import RelationRows
from hven.engines.duckdb.query_execution import CursorPool, DuckExecution
from hven.engines.duckdb.query_plan import DuckPlan
from hven.engines.duckdb.query_process import QueryProcess, QueryProcessExecution, is_query_worth_delegating
from hven.engines.duckdb.snapshot_files import (
    MANIFEST_FILE_NAME,
    ROW_NUMBER_COLUMN,
    MemoryTableRows,
    OpenSnapshot,
    SnapshotManifest,
)
from hven.engines.duckdb.snapshot_merging import SnapshotMergeStaging
from hven.engines.duckdb.staging import DuckSnapshotStaging
from hven.engines.duckdb.udf_registry import has_parallel_functions
from hven.model import LruCache, deadlines
from hven.model.errors import BindError, StorageError, StorageUnavailableError, format_message
from hven.model.literal import replace_nan_with_null

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import QueryExecution, Relation, SnapshotVerificationResult
    from hven.engines._snapshot_files import ReadFiles
    from hven.model.table import Table

_MAX_OPEN_SNAPSHOTS = 64  # snapshots that are kept mapped
_MAX_MAPPING_PLANS = 64
ONE_THREAD_ROWS = 122_880  # rows of a row group; DuckDB gives each of its threads at least one
DAMAGED_MESSAGE = "the rows of {name} are damaged on disk, so Hven does not return them"
DAMAGED_REMEDY = "ask the site's operators to ingest the collection again"
_SNAPSHOT_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(slots=True)
class NanFreeRows:
    """Rows in memory that many queries read, without NaN; the reference to `table` does not keep it alive."""

    table: weakref.ref[pa.Table]
    rows: pa.Table
    readable_rows: MemoryTableRows


class DuckEngine(StorageEngine):
    """The embedded engine (`hven.engines.StorageEngine`). Thread-safe."""

    name = "duckdb"

    def __init__(self, directory: Path, *, memory_bytes: int, thread_count: int | None = None) -> None:
        self.directory = directory
        self.uses_indexes = True  # tests switch the indexes off to prove that they change nothing but time
        self._memory_bytes = memory_bytes
        self._thread_count = thread_count
        self._query_process: QueryProcess | None = None
        self._memory_setting = f"{max(memory_bytes, 64 * 1024**2) // 1024**2}MiB"
        try:
            # not those above it: a site that is renamed under a process is not begun anew
            directory.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            message = f"the snapshot directory {directory} cannot be created: {error.strerror}"
            raise StorageError(message, remedy="check the permissions of the site's directory") from error
        self._main_cursors: CursorPool | None = None  # see `_cursors`
        self._single_thread_cursors: CursorPool | None = None
        self._deadline_watcher = DeadlineWatcher()
        self._lock = threading.Lock()
        self._open_snapshots: OrderedDict[str, OpenSnapshot] = OrderedDict()
        # by id of the query, which is kept so that no other query gets the id
        self._mapping_plans: OrderedDict[int, tuple[BoundQuery, DuckPlan]] = OrderedDict()
        self._file_sizes: dict[str, Mapping[str, int]] = {}  # sizes of the files of snapshots, by path
        self._refusal_reasons: Mapping[str, str] = {}  # reasons by the paths of damaged snapshots
        # paths of snapshots with a file that this process found missing or truncated
        self.file_faults: Mapping[str, str] = {}
        self.access_cache_bytes = memory_bytes // 8  # memory for rows that policies let readers see
        self.accessible_rows_cache: LruCache[AccessibleRows] = LruCache(self.access_cache_bytes)
        self._cleaned_tables: dict[int, NanFreeRows] = {}  # by id of the table, as long as the table exists
        self._held_locks: dict[str, int] = {}  # locks of snapshots that may not be published yet
        self._is_closed = False

    # --- queries ---------------------------------------------------------------------------------------------

    def plan_query(self, bound_query: BoundQuery) -> DuckPlan:
        """Plan a bound query; see `hven.engines.StorageEngine.plan_query`."""
        try:
            if bound_query.survey.filtered_tables:
                where = write_policy_conditions(bound_query, DuckDBDialect())
                if where:
                    return AccessPolicyPlan(self, bound_query, where)
            return DuckPlan(self, bound_query)
        except RecursionError:
            raise BindError("the query is nested too deeply", remedy="reduce the nesting") from None

    def evaluate_query(self, bound_query: BoundQuery, inputs: Mapping[str, pa.Table | pa.RecordBatch]) -> pa.Table:
        """Evaluate a bound query over rows in memory, null where a value cannot be computed."""
        plan = self._get_mapping_plan(bound_query)
        relations = {
            name: MemoryRelation(rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows]))
            for name, rows in inputs.items()
        }
        execution = plan.execute(bound_query.literal_values, relations, ExecutionLimits())
        return pa.Table.from_batches(execution, schema=execution.schema)

    def _get_mapping_plan(self, bound_query: BoundQuery) -> DuckPlan:
        """Return the plan of a mapping, which is used batch after batch."""
        with self._lock:
            cached = self._mapping_plans.get(id(bound_query))
            if cached is not None and cached[0] is bound_query:
                self._mapping_plans.move_to_end(id(bound_query))
                return cached[1]
        plan = DuckPlan(self, bound_query, is_lenient=True)
        with self._lock:
            self._mapping_plans[id(bound_query)] = (bound_query, plan)
            while len(self._mapping_plans) > _MAX_MAPPING_PLANS:
                self._mapping_plans.popitem(last=False)
        return plan

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
        """Start a query in DuckDB (for plans); see `hven.engines.duckdb.engine_protocol.DuckEngineProtocol.run_sql`."""
        execution_arguments: dict[str, Any] = {
            "sql": sql,
            "arguments": parameters,
            "relations": relations,
            "schema": schema,
            "limits": limits,
        }
        most_rows = max(map(len, relations.values()), default=0)
        cursors = self._cursors
        if (is_lenient and most_rows <= ONE_THREAD_ROWS) or has_parallel_functions(sql):
            cursors = self._get_single_thread_cursors()
        run_locally = partial(
            DuckExecution, cursors, self._deadline_watcher, memory_limit=self._memory_setting, **execution_arguments
        )
        if (
            self._query_process is not None
            and is_query_worth_delegating(sql, relations)
            and (channel_parts := self._query_process.take_channel_or_start_process()) is not None
        ):
            return QueryProcessExecution(
                self._query_process,
                *channel_parts,
                self._deadline_watcher,
                run_locally=run_locally,
                **execution_arguments,
            )
        return run_locally()

    @property
    def _cursors(self) -> CursorPool:
        """Cursors of the DuckDB instance, which is created for the first query.

        A server creates this object before it forks its workers, and DuckDB's threads would not be in the forks.
        """
        if self._main_cursors is None:
            with self._lock:
                if self._main_cursors is None:
                    self._main_cursors = self._create_cursors(self._thread_count)
        return self._main_cursors

    def _create_cursors(self, thread_count: int | None) -> CursorPool:
        if self._is_closed:
            raise StorageUnavailableError("the embedded engine is closed")
        config = _build_duckdb_settings(self._memory_setting, thread_count, self._spill_directory)
        connection = deadlines.call_with_low_priority(
            deadlines.QUERY_NICENESS, lambda: duckdb.connect(":memory:", config=config)
        )
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return CursorPool(connection)

    @property
    def _spill_directory(self) -> Path:
        return self.directory / f".spill-{os.getpid()}"

    def _get_single_thread_cursors(self) -> CursorPool:
        """Return cursors of a DuckDB instance that has one thread.

        They are for functions that use all cores themselves, and for rows that one thread computes anyway. While
        another thread of DuckDB computes, the thread that waits for its rows spins, which takes two thirds of the
        processor time of a mapping over batches. If the other thread computes a function of Hven, the waiting one also
        takes the interpreter's lock in each turn.
        """
        with self._lock:
            if self._single_thread_cursors is None:
                self._single_thread_cursors = self._create_cursors(1)
            return self._single_thread_cursors

    def delegate_long_queries(self) -> None:
        """Execute long queries in another process from now on.

        See `hven.engines.StorageEngine.delegate_long_queries`.
        """
        process_options = {"directory": self.directory, "memory": self._memory_bytes, "threads": self._thread_count}
        self._query_process = QueryProcess(self._deadline_watcher, process_options)

    def prepare_forks(self) -> None:
        """Close the DuckDB instances; see `hven.engines.StorageEngine.prepare_forks`."""
        for cursors in filter(None, (self._main_cursors, self._single_thread_cursors)):
            cursors.close()
        self._main_cursors = self._single_thread_cursors = None
        self._open_snapshots.clear()
        shutil.rmtree(self._spill_directory, ignore_errors=True)

    def list_helper_processes(self) -> Mapping[int, int]:
        """List the process that executes long queries; see `hven.engines.StorageEngine.list_helper_processes`."""
        if self._query_process is None:
            return {}
        return self._query_process.list_processes()

    def read_relation(self, relation: Relation, columns: tuple[str, ...] | None = None) -> RelationRows:
        """Return the rows of a relation with these columns, or with at least one if `columns` is empty (for plans)."""
        if isinstance(relation, Snapshot):
            stored = self.open_snapshot(relation)
            source = (replace(relation, parts=(), statistics={}, coverage=None), columns)
            if isinstance(stored, AccessibleRows):
                stored.check_column_sizes(columns)
                return RelationRows(
                    partial(stored.select_columns, columns),
                    is_reusable=False,
                    source=source,
                    known_row_count=stored.rows,
                )
            return RelationRows(
                stored.select_columns(columns),
                is_reusable=columns is None or ROW_NUMBER_COLUMN not in columns,
                source=source,
            )
        if isinstance(relation, MemoryRelation):
            if relation.is_stored:
                if columns is None:
                    selected_rows = relation.rows
                else:
                    selected_rows = relation.rows.select(list(columns or relation.rows.schema.names[:1]))
                return RelationRows(selected_rows, is_reusable=False, is_sample=relation.is_sample)
            if relation.is_reused:
                return RelationRows(self._get_nan_free_rows(relation).rows, is_reusable=True)
            return RelationRows(replace_table_nan_with_null(relation.rows), is_reusable=False)
        message = f"the embedded engine cannot read {relation.kind_name} tables in place"
        raise StorageError(message, remedy="serve this table with the engine 'postgres'")

    def get_random_access_rows(self, relation: MemoryRelation) -> MemoryTableRows:
        """Return rows in memory that can be read by row number (for plans)."""
        if relation.is_reused:
            return self._get_nan_free_rows(relation).readable_rows
        return MemoryTableRows(relation.rows if relation.is_stored else replace_table_nan_with_null(relation.rows))

    def _get_nan_free_rows(self, relation: MemoryRelation) -> NanFreeRows:
        """Return the cleaned form of rows that many queries read."""
        number = id(relation.rows)
        with self._lock:
            cleaned_table = self._cleaned_tables.get(number)
        if cleaned_table is None or cleaned_table.table() is not relation.rows:
            rows = replace_table_nan_with_null(relation.rows)
            cleaned_tables = self._cleaned_tables

            def forget_table(table: object) -> None:
                cleaned_table = cleaned_tables.get(number)
                if cleaned_table is not None and cleaned_table.table is table:
                    del cleaned_tables[number]

            cleaned_table = NanFreeRows(
                weakref.ref(relation.rows, forget_table),
                pa.Table.from_batches(rows.to_batches(), rows.schema),
                MemoryTableRows(rows),
            )
            with self._lock:
                self._cleaned_tables[number] = cleaned_table
        return cleaned_table

    # --- snapshots -------------------------------------------------------------------------------------------

    def stage_snapshot(
        self,
        table: Table,
        snapshot_id: str,
        *,
        expects_merges: bool = False,  # noqa: ARG002  (every snapshot can be shared)
    ) -> DuckSnapshotStaging:
        """Begin a new snapshot; see `hven.engines.StorageEngine.stage_snapshot`."""
        snapshot_path = self._build_snapshot_path(table, snapshot_id)
        return DuckSnapshotStaging(table, snapshot_id, *snapshot_path, self._keep_or_release_staging_lock)

    def stage_merge(
        self, table: Table, snapshot_id: str, base_snapshot: Snapshot, deleted_keys: pa.Table | None = None
    ) -> DuckSnapshotStaging:
        """Begin a new snapshot from another one and its changes; see `hven.engines.StorageEngine.stage_merge`."""
        snapshot_path = self._build_snapshot_path(table, snapshot_id)
        return SnapshotMergeStaging(
            table,
            snapshot_id,
            *snapshot_path,
            self._keep_or_release_staging_lock,
            base_snapshot=self.open_snapshot(base_snapshot),
            deleted_keys=deleted_keys,
        )

    def _build_snapshot_path(self, table: Table, snapshot_id: str) -> tuple[Path, str]:
        """Return the directory of a new snapshot, and its path relative to the snapshots' directory."""
        if not _SNAPSHOT_ID_PATTERN.fullmatch(snapshot_id):
            message = f"{snapshot_id!r} cannot be the id of a snapshot; an id contains only letters, digits and . - _"
            raise StorageError(message)
        relative = f"{build_table_directory_name(table.qualified_name)}/{snapshot_id}"
        final = self.directory / relative
        if final.exists():
            message = f"there is already a snapshot {relative}"
            raise StorageError(message)
        return final, relative

    def _keep_or_release_staging_lock(self, staging: DuckSnapshotStaging) -> None:
        """Keep the lock of a finished snapshot, so that no process removes it before it is published."""
        if staging.final_directory.exists():
            with self._lock:
                self._held_locks[str(staging.final_directory)] = staging.lock_descriptor
        else:
            os.close(staging.lock_descriptor)

    def open_snapshot(self, snapshot: Snapshot) -> OpenSnapshot:
        """Return an open snapshot; for a subset of its rows, the accessible rows."""
        full_snapshot = self._open_full_snapshot(snapshot)
        if isinstance(snapshot, SnapshotSubset):
            return find_accessible_rows(self, snapshot)
        return full_snapshot

    def _open_full_snapshot(self, snapshot: Snapshot) -> OpenSnapshot:
        if snapshot.path in self._refusal_reasons:
            raise StorageUnavailableError(format_message(DAMAGED_MESSAGE, snapshot.table), remedy=DAMAGED_REMEDY)
        with self._lock:
            cached = self._open_snapshots.get(snapshot.path)
            if cached is not None:
                self._open_snapshots.move_to_end(snapshot.path)
        try:
            if cached is not None:
                cached.check_file_sizes_if_due()
                return cached
            opened = OpenSnapshot(self.directory / snapshot.path)
        except StorageUnavailableError:
            raise
        except StorageError as error:
            if self.file_faults.get(snapshot.path) != error.message:
                self.file_faults = {**self.file_faults, snapshot.path: error.message}
            raise StorageUnavailableError(
                format_message(DAMAGED_MESSAGE, snapshot.table), remedy=DAMAGED_REMEDY
            ) from error
        self.release_removed_snapshots()
        with self._lock:
            opened = self._open_snapshots.setdefault(snapshot.path, opened)
            while len(self._open_snapshots) > _MAX_OPEN_SNAPSHOTS:
                self._open_snapshots.popitem(last=False)
        return opened

    def find_missing_or_resized_file(self, snapshot: Snapshot) -> str | None:
        """Return the file of a snapshot that is missing or has another size; None if all are as they were written."""
        why = self._find_snapshot_file_fault(self.directory / snapshot.path, snapshot.path)
        if self.file_faults.get(snapshot.path) != why:
            faulty = {path: fault for path, fault in self.file_faults.items() if path != snapshot.path}
            if why is None:
                self.file_faults = faulty
            else:
                self.file_faults = {**faulty, snapshot.path: why}
        return why

    def _find_snapshot_file_fault(self, directory: Path, path: str) -> str | None:
        name = MANIFEST_FILE_NAME
        try:
            (directory / name).stat()
            sizes = self._file_sizes.get(path)
            if sizes is None:
                sizes = self._file_sizes[path] = SnapshotManifest.read_file(directory / name).file_sizes
            for name, size in sizes.items():
                size_fault = find_size_fault(directory / name, size)
                if size_fault is not None:
                    return f"{directory / name}: {size_fault}"
        except OSError as error:
            if error.errno in TRANSIENT_ERRNOS:
                return None
            return f"{directory / name}: {(error.strerror or str(error)).lower()}"
        except StorageUnavailableError:
            return None
        except StorageError as error:
            return error.message
        return None

    def verify_snapshot(
        self, snapshot: Snapshot, report_bytes: Callable[[int], object] | None, known_checksums: ReadFiles
    ) -> SnapshotVerificationResult:
        """Verify that the files of a snapshot are what was written; see `hven.engines.StorageEngine`."""
        return verify_snapshot_files(self.directory / snapshot.path, snapshot, report_bytes, known_checksums)

    def refuse_snapshots(self, reasons_by_path: Mapping[str, str]) -> None:
        """Refuse all queries that read these snapshots from now on."""
        self._refusal_reasons = dict(reasons_by_path)
        with self._lock:
            refused_snapshots = [
                self._open_snapshots.pop(path) for path in reasons_by_path if path in self._open_snapshots
            ]
        if refused_snapshots:
            self._forget_cached_snapshot_rows()

    def _forget_cached_snapshot_rows(self) -> None:
        for cursors in filter(None, (self._main_cursors, self._single_thread_cursors)):
            cursors.forget_snapshots()
        self.accessible_rows_cache = LruCache(self.access_cache_bytes)

    def release_removed_snapshots(self) -> None:
        """Unmap removed snapshots: as long as they are mapped, their disk space is not free."""
        with self._lock:
            removed_paths = [path for path, stored in self._open_snapshots.items() if is_path_absent(stored.path)]
            for path in removed_paths:
                del self._open_snapshots[path]
                self._file_sizes.pop(path, None)
        if removed_paths:
            self._forget_cached_snapshot_rows()

    def read_rows(self, snapshot: Snapshot, column_names: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield all rows in stored order, as zero-copy views of the map."""
        for batch in self.open_snapshot(snapshot).batches:
            if batch.num_rows:
                yield batch if column_names is None else batch.select(list(column_names))

    def read_differing_rows(
        self, old_snapshot: Snapshot, new_snapshot: Snapshot, column_names: Sequence[str] | None = None
    ) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
        """Read the parts of two snapshots that they do not share.

        See `hven.engines.StorageEngine.read_differing_rows`.
        """
        old_stored = self.open_snapshot(old_snapshot)
        new_stored = self.open_snapshot(new_snapshot)
        shared = old_stored.part_names_by_inode.keys() & new_stored.part_names_by_inode.keys()
        batches = old_stored.read_batches(shared, column_names)
        return batches, new_stored.read_batches(shared, column_names)

    def sample_rows(self, snapshot: Snapshot, row_count: int, column_names: Collection[str]) -> MemoryRelation:
        """Return about `row_count` rows of some columns, in stretches from all over a snapshot.

        Rows are stored by position or time, so the first rows are not like the others.
        """
        sample = self.open_snapshot(snapshot).sample_rows(row_count, column_names)
        return MemoryRelation(sample, is_stored=True, is_sample=True)

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        """Remove a snapshot's files; processes that have them mapped are not disturbed."""
        path = self.directory / snapshot.path
        with self._lock:
            self._open_snapshots.pop(snapshot.path, None)
        self._forget_cached_snapshot_rows()
        self._release_snapshot_lock(path)
        removed_path = path.with_name(f"{path.name}.staging")  # a half-removed snapshot must not look like a whole one
        try:
            path.rename(removed_path)
        except FileNotFoundError:
            return
        shutil.rmtree(removed_path, ignore_errors=True)

    def remove_leftovers(self, known_paths: set[str]) -> list[str]:
        """Remove what crashed writers left: stagings without a writer, and snapshots that are not in `known_paths`.

        Parameters
        ----------
        known_paths
            `Snapshot.path` of every snapshot that may still be needed.

        Returns
        -------
        list of str
            Paths that were removed, relative to the snapshots' directory.
        """
        removed = []
        for path in sorted(self.directory.glob("*/*")):
            relative = str(path.relative_to(self.directory))
            if (
                path.is_dir()
                and relative not in known_paths
                and str(path) not in self._held_locks
                and remove_abandoned_directory(path)
            ):
                removed.append(relative)
        for path in self.directory.glob(".spill-*"):
            if not _is_process_alive(path.name.rpartition("-")[2]):
                shutil.rmtree(path, ignore_errors=True)
        return removed

    def note_published_snapshot(self, snapshot: Snapshot) -> None:
        """Release the lock that kept a new snapshot from being removed as a leftover.

        Without this call it is held until the process ends.
        """
        self._release_snapshot_lock(self.directory / snapshot.path)

    def _release_snapshot_lock(self, path: Path) -> None:
        with self._lock:
            lock = self._held_locks.pop(str(path), None)
        if lock is not None:
            os.close(lock)

    def close(self) -> None:
        """Release everything."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._query_process is not None:
            self._query_process.close()
        self._deadline_watcher.close()
        for cursors in filter(None, (self._main_cursors, self._single_thread_cursors)):
            cursors.close()
        self._open_snapshots.clear()
        for path in list(self._held_locks):
            os.close(self._held_locks.pop(path))
        shutil.rmtree(self._spill_directory, ignore_errors=True)


def replace_table_nan_with_null(rows: pa.Table) -> pa.Table:
    """Return rows in memory with null for NaN, as in stored rows."""
    for number, column in enumerate(rows.columns):
        cleaned_column = replace_nan_with_null(column)
        if cleaned_column is not column:
            rows = rows.set_column(number, rows.schema.field(number), cleaned_column)
    return rows


def _build_duckdb_settings(
    memory: str, thread_count: int | None, spill_directory: Path
) -> dict[str, str | bool | int | float | list[str]]:
    duckdb_settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "temp_directory": str(spill_directory),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        "allow_community_extensions": False,
        "allocator_background_threads": True,  # otherwise the process keeps the memory of a finished query
        "arrow_lossless_conversion": False,
        # DuckDB 1.5 hands the keys of a hash join down to scans as filters, which scans of Arrow rows refuse now and
        # then, and never gain by
        "disabled_optimizers": "join_filter_pushdown",
    }
    if thread_count is not None:
        duckdb_settings["threads"] = thread_count
    return duckdb_settings


def _is_process_alive(process_id: str) -> bool:
    try:
        os.kill(int(process_id), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


__all__ = ["DuckEngine", "build_table_directory_name"]

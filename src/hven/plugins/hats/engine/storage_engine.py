"""The engine that keeps snapshots as HATS catalogues below its roots.

The embedded engine computes queries that read little, and a cluster computes the others.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import threading
from collections import OrderedDict
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines import MemoryRelation, SnapshotVerificationResult, StorageEngine
from hven.engines.api.rows import cast_batch_and_replace_nan
from hven.engines.api.snapshots import (
    build_table_directory_name,
    find_file_fault,
    is_path_absent,
    remove_abandoned_directory,
)
from hven.model import plugins
from hven.model.errors import BindError, HvenError, StorageError, StorageUnavailableError, format_message
from hven.plugins.hats import hats_layout
from hven.plugins.hats.engine.key_index import CatalogueKeyIndex
from hven.plugins.hats.engine.manifest import MANIFEST_FILE_NAME, CatalogueManifest
from hven.plugins.hats.engine.query_plan import HatsPlan
from hven.plugins.hats.engine.row_group_reader import RowGroupReader, build_changed_file_error
from hven.plugins.hats.engine.snapshot_merging import CatalogueMergeStaging
from hven.plugins.hats.engine.staging import READERS_LOCK_NAME, CatalogueStaging

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import QueryPlan, Snapshot
    from hven.model.table import Table
    from hven.plugins.hats.clusters import Cluster
    from hven.plugins.hats.engine.manifest import ManifestFile
    from hven.plugins.hats.engine.row_group_reader import WebCatalogueProtocol

_SNAPSHOT_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MAX_OPEN_MANIFESTS = 64  # manifests that stay mapped
OWNER_FILE_NAME = ".hven-site"
ROOT_TIMEOUT_SECONDS = 2.0  # time that a root may take to answer
GROUP_BATCH_COUNT = 8  # row groups that are read at a time
SAMPLE_ROWS_PER_GROUP, MAX_SAMPLED_GROUPS = 1000, 16
DAMAGED_MESSAGE = "the rows of {name} are damaged on disk, so Hven does not return them"
NO_CLUSTER_MESSAGE = "the engine hats has no cluster"
DAMAGED_REMEDY = "ask the site's operators to ingest the collection again"


class HatsEngine(StorageEngine):
    """The engine `hats` (`hven.engines.StorageEngine`). Thread-safe."""

    name = "hats"

    def __init__(
        self,
        directory: Path,
        *,
        memory: int,
        roots: tuple[Path, ...],
        near_bytes: int,
        open_cluster: Callable[[], Cluster] | None,
        site_identity: str,
        webs: WebCatalogueProtocol | None,
        threads: int | None,
    ) -> None:
        self.roots = roots
        self.uses_indexes = True  # tests switch the manifest off to prove that it changes nothing but time
        self.near_bytes = near_bytes
        self._open_cluster = open_cluster
        self.file_faults: Mapping[str, str] = {}
        self._site_identity = site_identity
        self._embedded_arguments = directory, memory, threads
        self._opened_embedded: StorageEngine | None = None
        self._opened_cluster: Cluster | None = None
        self._lock = threading.RLock()
        self.reader = RowGroupReader(webs)
        self._open_manifests: OrderedDict[str, CatalogueManifest] = OrderedDict()
        self._key_indexes: dict[str, CatalogueKeyIndex] = {}
        self._refusal_reasons: Mapping[str, str] = {}
        self._held_locks: dict[str, int] = {}  # locks of snapshots that are written, but may not be published yet
        self._is_claimed = False

    # --- queries ---------------------------------------------------------------------------------------------

    @property
    def embedded_engine(self) -> StorageEngine:
        """The embedded engine, which computes over the rows that are read here."""
        with self._lock:
            if self._opened_embedded is None:
                directory, memory, threads = self._embedded_arguments
                plugin = plugins.load_plugin("engines", "duckdb")
                self._opened_embedded = plugin.open(directory, memory=memory, threads=threads)
            return self._opened_embedded

    @property
    def has_cluster(self) -> bool:
        """True if the settings name a cluster."""
        return self._open_cluster is not None

    def get_cluster(self) -> Cluster:
        """Return the cluster, which is opened when it is first needed.

        Raises
        ------
        StorageError
            There is none.
        """
        with self._lock:
            if self._opened_cluster is None:
                if self._open_cluster is None:
                    raise StorageError(NO_CLUSTER_MESSAGE)
                self._opened_cluster = self._open_cluster()
            return self._opened_cluster

    def plan_query(self, bound_query: BoundQuery) -> QueryPlan:
        """Plan a bound query; see `hven.engines.StorageEngine.plan_query`."""
        try:
            return HatsPlan(self, bound_query)
        except RecursionError:
            raise BindError("the query is nested too deeply", remedy="reduce the nesting") from None

    def evaluate_query(self, bound_query: BoundQuery, inputs: Mapping[str, pa.Table | pa.RecordBatch]) -> pa.Table:
        """Evaluate a bound query over rows in memory."""
        return self.embedded_engine.evaluate_query(bound_query, inputs)

    # --- manifests -------------------------------------------------------------------------------------------

    def find_snapshot_directory(self, snapshot_path: str) -> Path:
        """Return the directory of a snapshot: below the first root that has it."""
        for root in self.roots[1:]:
            if (root / snapshot_path).is_dir() and not (self.roots[0] / snapshot_path).is_dir():
                return root / snapshot_path
        return self.roots[0] / snapshot_path

    def open_manifest(self, snapshot: Snapshot) -> CatalogueManifest:
        """Return the manifest of a snapshot, which is opened unless it is open."""
        if snapshot.path in self._refusal_reasons:
            raise StorageUnavailableError(format_message(DAMAGED_MESSAGE, snapshot.table), remedy=DAMAGED_REMEDY)
        with self._lock:
            open_before = self._open_manifests.get(snapshot.path)
            if open_before is not None:
                self._open_manifests.move_to_end(snapshot.path)
                return open_before
        try:
            manifest = CatalogueManifest(self.find_snapshot_directory(snapshot.path))
        except StorageUnavailableError:
            raise
        except StorageError as error:
            self.file_faults = {**self.file_faults, snapshot.path: error.message}
            raise StorageUnavailableError(
                format_message(DAMAGED_MESSAGE, snapshot.table), remedy=DAMAGED_REMEDY
            ) from error
        with self._lock:
            self._open_manifests[snapshot.path] = manifest
            while len(self._open_manifests) > MAX_OPEN_MANIFESTS:
                self._key_indexes.pop(self._open_manifests.popitem(last=False)[0], None)
        return manifest

    def get_open_manifest(self, snapshot: Snapshot) -> CatalogueManifest | None:
        """Return the manifest of a snapshot if it is open, otherwise None."""
        # An event loop calls this method. It takes no lock, because an import may hold the lock for a long time.
        if snapshot.path in self._refusal_reasons:
            return None
        return self._open_manifests.get(snapshot.path)

    def list_partition_files(self, snapshot: Snapshot) -> Mapping[tuple[int, int], Path] | None:
        """Return the file of each partition, by order and pixel; None for a foreign catalogue or one without positions.

        The stored columns of a foreign catalogue may differ from those of the table.
        """
        manifest = self.open_manifest(snapshot)
        if manifest.head.foreign or manifest.head.position is None:
            return None
        return {
            (file.order, file.pixel): Path(manifest.locate_file(file))
            for file in manifest.head.files
            if file.order >= 0
        }

    def get_key_index(self, snapshot: Snapshot) -> CatalogueKeyIndex | None:
        """Return the index of the primary key of a snapshot; None if it has none."""
        manifest = self.open_manifest(snapshot)
        if not manifest.head.index:
            return None
        with self._lock:
            key_index = self._key_indexes.get(snapshot.path)
            if key_index is None:
                key_index = self._key_indexes[snapshot.path] = CatalogueKeyIndex(
                    manifest.directory, manifest.head.index, self.reader.read_row_groups
                )
            return key_index

    @contextmanager
    def hold_snapshots(self, snapshot_paths: Collection[str]) -> Iterator[None]:
        """Keep snapshots from being removed by any process while they are read."""
        handles = []
        try:
            for path in snapshot_paths:
                with suppress(OSError):  # the snapshot may be gone: reading it raises an error then
                    directory = self.find_snapshot_directory(path)
                    handle = os.open(directory / READERS_LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
                    handles.append(handle)
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield
        finally:
            for handle in handles:
                os.close(handle)

    # --- snapshots -------------------------------------------------------------------------------------------

    # Changes can be merged into any snapshot.
    def stage_snapshot(
        self,
        table: Table,
        snapshot_id: str,
        *,
        expects_merges: bool = False,  # noqa: ARG002
    ) -> CatalogueStaging:
        """Begin a new snapshot; see `hven.engines.StorageEngine.stage_snapshot`."""
        final_directory, relative_path = self._build_snapshot_path(table, snapshot_id)
        return CatalogueStaging(
            table,
            snapshot_id,
            final_directory,
            relative_path,
            on_sealed=self._keep_or_release_staging_lock,
            reader=self.reader,
        )

    def stage_merge(
        self, table: Table, snapshot_id: str, base_snapshot: Snapshot, deleted_keys: pa.Table | None = None
    ) -> CatalogueStaging:
        """Begin a new snapshot from another one and its changes; see `hven.engines.StorageEngine.stage_merge`."""
        final_directory, relative_path = self._build_snapshot_path(table, snapshot_id)
        return CatalogueMergeStaging(
            table,
            snapshot_id,
            final_directory,
            relative_path,
            on_sealed=self._keep_or_release_staging_lock,
            reader=self.reader,
            base_manifest=self.open_manifest(base_snapshot),
            deleted_keys=deleted_keys,
        )

    def _build_snapshot_path(self, table: Table, snapshot_id: str) -> tuple[Path, str]:
        if not _SNAPSHOT_ID_PATTERN.fullmatch(snapshot_id):
            message = f"{snapshot_id!r} cannot be the id of a snapshot; an id contains only letters, digits and . - _"
            raise StorageError(message)
        self.claim_root()
        relative = f"{build_table_directory_name(table.qualified_name)}/{snapshot_id}"
        final = self.roots[0] / relative
        if final.exists():
            message = f"there is already a snapshot {relative}"
            raise StorageError(message)
        return final, relative

    def claim_root(self) -> None:
        """Claim the first root for this site: two sites would remove each other's snapshots.

        Raises
        ------
        StorageError
            The root belongs to another site, or cannot be written.
        """
        if self._is_claimed:
            return
        root = self.roots[0]
        owner_file = root / OWNER_FILE_NAME
        try:
            root.mkdir(exist_ok=True)
            if owner_file.exists():
                owner = owner_file.read_text()
            else:
                owner = ""
            if not owner:  # no site has written here, or one is about to write, or was killed before it could
                owner = self._claim_owner_file(owner_file)
        except OSError as error:
            message = f"the root {root} of [hats] cannot be written: {error.strerror}"
            raise StorageError(message, remedy="check the directory, its mount and its permissions") from error
        if self._site_identity and owner and owner != self._site_identity:
            message = f"the root {root} of [hats] belongs to another site ({owner})"
            raise StorageError(
                message, remedy=f"give each site its own root; if the other site no longer exists, remove {owner_file}"
            )
        self._is_claimed = True

    def _claim_owner_file(self, owner_file: Path) -> str:
        """Write the identity of this site unless another site has done so; return the former content."""
        with owner_file.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            owner = file.read()
            if not owner:
                file.write(self._site_identity)
        return owner

    def _keep_or_release_staging_lock(self, staging: CatalogueStaging) -> None:
        """Keep the lock of a finished snapshot, so that no process sweeps it before it is published."""
        if staging.final_directory.exists():
            with self._lock:
                self._held_locks[str(staging.final_directory)] = staging.lock_descriptor
        else:
            os.close(staging.lock_descriptor)

    def read_rows(self, snapshot: Snapshot, column_names: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield all rows in stored order."""
        manifest = self.open_manifest(snapshot)
        yield from self._iterate_rows(snapshot, manifest, range(len(manifest.head.files)), column_names)

    def _iterate_rows(
        self,
        snapshot: Snapshot,
        manifest: CatalogueManifest,
        file_numbers: Collection[int],
        column_names: Sequence[str] | None,
    ) -> Iterator[pa.RecordBatch]:
        schema = manifest.schema
        if column_names is not None:
            schema = pa.schema([manifest.schema.field(name) for name in column_names])
        wanted_files = np.fromiter(file_numbers, np.int32, len(file_numbers))
        group_numbers = np.flatnonzero(np.isin(manifest.get_row_group_column("file"), wanted_files))
        with self.hold_snapshots([snapshot.path]):
            for begin in range(0, len(group_numbers), GROUP_BATCH_COUNT):
                for path, groups in manifest.list_row_group_files(group_numbers[begin : begin + GROUP_BATCH_COUNT]):
                    rows = self.reader.read_row_groups(
                        path, groups, schema.names, manifest.file_states[path], manifest.head.leaves
                    )
                    for batch in rows.to_batches():
                        yield cast_batch_and_replace_nan(batch, schema)

    def read_differing_rows(
        self, old_snapshot: Snapshot, new_snapshot: Snapshot, column_names: Sequence[str] | None = None
    ) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
        """Read the files that only one of two snapshots has.

        See `hven.engines.StorageEngine.read_differing_rows`.
        """
        old_manifest = self.open_manifest(old_snapshot)
        new_manifest = self.open_manifest(new_snapshot)
        old_files = _find_differing_files(old_manifest, new_manifest)
        new_files = _find_differing_files(new_manifest, old_manifest)
        old_rows = self._iterate_rows(old_snapshot, old_manifest, old_files, column_names)
        new_rows = self._iterate_rows(new_snapshot, new_manifest, new_files, column_names)
        return old_rows, new_rows

    def sample_rows(self, snapshot: Snapshot, row_count: int, column_names: Collection[str]) -> MemoryRelation | None:
        """Return about this number of rows of some columns, from row groups all over a snapshot."""
        manifest = self.open_manifest(snapshot)
        if not manifest.group_count:
            return None
        names = [name for name in manifest.schema.names if name in column_names]
        if not names:
            names = manifest.schema.names[:1]
        sampled_group_count = int(np.clip(row_count // SAMPLE_ROWS_PER_GROUP, 1, MAX_SAMPLED_GROUPS))
        sampled_group_count = min(sampled_group_count, manifest.group_count)
        group_numbers = np.unique(np.linspace(0, manifest.group_count - 1, sampled_group_count).astype(np.int64))
        sampled_row_count = int(manifest.get_row_group_column("rows")[group_numbers].sum())
        step = max(1, sampled_row_count // max(row_count, 1))
        pieces = []
        for path, groups in manifest.list_row_group_files(group_numbers):
            rows = self.reader.read_row_groups(path, groups, names, manifest.file_states[path], manifest.head.leaves)
            pieces.append(rows.take(pa.array(np.arange(0, rows.num_rows, step))))
        return MemoryRelation(pa.concat_tables(pieces), is_stored=True)

    # --- checks ----------------------------------------------------------------------------------------------

    def find_missing_or_resized_file(self, snapshot: Snapshot) -> str | None:
        """Return the fault of a file of a snapshot that is missing or has another size; None if there is none."""
        try:
            manifest = self.open_manifest(snapshot)
        except StorageUnavailableError as error:
            return self.file_faults.get(snapshot.path, error.message)
        file_faults: Iterator[str | None]
        if manifest.is_on_web:
            reads = [
                self.reader.submit_read(self._find_file_fault, manifest, file, is_on_web=True)
                for file in manifest.head.files
            ]
            file_faults = (read.result() for read in reads)
        else:
            file_faults = (self._find_file_fault(manifest, file) for file in manifest.head.files)
        return next((fault for fault in file_faults if fault is not None), None)

    def _find_file_fault(self, manifest: CatalogueManifest, file: ManifestFile) -> str | None:
        """Return the fault of a file, as far as its size and time tell; None if there is none."""
        location = manifest.locate_file(file)
        try:
            size, stamp = self.reader.read_file_state(location)
        except OSError as error:
            return f"{location}: {(error.strerror or str(error)).lower()}"
        except HvenError as error:
            return f"{location}: {error.message}"
        has_other_stamp = bool(manifest.head.foreign) and stamp != file.checksum
        if size != file.bytes or has_other_stamp:
            return build_changed_file_error(location, size, file.bytes).message
        return None

    def verify_snapshot(
        self, snapshot: Snapshot, report_bytes: Callable[[int], object] | None, known_checksums: dict[Any, Any]
    ) -> SnapshotVerificationResult:
        """Verify that the files of a snapshot are what was written; see `hven.engines.StorageEngine`."""
        directory = self.find_snapshot_directory(snapshot.path)
        try:
            manifest = CatalogueManifest(directory)
        except StorageUnavailableError:
            raise
        except StorageError as error:
            reason = error.message.partition(f"{MANIFEST_FILE_NAME}: ")[2]
            return SnapshotVerificationResult(faults={MANIFEST_FILE_NAME: reason or error.message})
        faults: dict[str, str] = {}
        unknown_paths = []
        total_bytes = 0
        for file in manifest.head.files:
            checksum = file.checksum
            if manifest.head.foreign:
                checksum = ""  # what the manifest has is no checksum of the bytes
                unknown_paths.append(file.path)
            if manifest.is_on_web:
                fault = self._find_file_fault(manifest, file)
            else:
                written_state = (file.bytes, checksum)
                fault = find_file_fault(directory / file.path, written_state, known_checksums, report_bytes)
            total_bytes += file.bytes
            if fault is not None:
                faults[file.path] = fault
        verified_count = len(manifest.head.files) - len(unknown_paths)
        return SnapshotVerificationResult(
            bytes=total_bytes, files=verified_count, faults=faults, unknown=tuple(unknown_paths)
        )

    def refuse_snapshots(self, reasons_by_path: Mapping[str, str]) -> None:
        """Refuse to read these snapshots from now on."""
        self._refusal_reasons = dict(reasons_by_path)

    def release_removed_snapshots(self) -> None:
        """Close the manifests of snapshots that were removed."""
        with self._lock:
            for path in [path for path, manifest in self._open_manifests.items() if is_path_absent(manifest.directory)]:
                del self._open_manifests[path]
                self._key_indexes.pop(path, None)

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        """Remove the files of a snapshot; if a query reads them, a later sweep removes them."""
        path = self.find_snapshot_directory(snapshot.path)
        with self._lock:
            self._open_manifests.pop(snapshot.path, None)
            self._key_indexes.pop(snapshot.path, None)
        self._release_snapshot_lock(path)
        if not _is_snapshot_being_read(path):
            # A snapshot that is partly removed must not look complete.
            removed_path = path.with_name(f"{path.name}.staging")
            with suppress(FileNotFoundError):
                path.rename(removed_path)
                shutil.rmtree(removed_path, ignore_errors=True)

    def note_published_snapshot(self, snapshot: Snapshot) -> None:
        """Release the lock that kept a new snapshot from being swept."""
        self._release_snapshot_lock(self.find_snapshot_directory(snapshot.path))

    def _release_snapshot_lock(self, path: Path) -> None:
        with self._lock:
            lock = self._held_locks.pop(str(path), None)
        if lock is not None:
            os.close(lock)

    def remove_leftovers(self, known_paths: set[str]) -> list[str]:
        """Remove what crashed writers left below the first root.

        Only directories that Hven has written, or has begun to write, are removed.
        """
        removed: list[str] = []
        root = self.roots[0]
        if not (root / OWNER_FILE_NAME).exists():
            return removed  # no site has written here
        self.claim_root()
        for path in sorted(root.glob("*/*")):
            relative_path = str(path.relative_to(root))
            if relative_path in known_paths or str(path) in self._held_locks or not _is_written_by_hven(path):
                continue
            if not _is_snapshot_being_read(path) and remove_abandoned_directory(path):
                removed.append(relative_path)
        return removed

    def find_outage(self) -> str | None:
        """Return the reason why a root does not respond now, for the health page; None if all do."""
        for root in self.roots:
            listing = self.reader.submit_read(os.listdir, root)
            try:
                listing.result(ROOT_TIMEOUT_SECONDS)
            except FutureTimeoutError:
                return f"the root {root} of [hats] does not respond"
            except OSError as error:
                if root == self.roots[0] and isinstance(error, FileNotFoundError) and root.parent.is_dir():
                    continue  # it is created when something is written
                return f"the root {root} of [hats] cannot be read: {(error.strerror or str(error)).lower()}"
        return None

    def find_degradation(self) -> str | None:
        """Return the reason why the cluster does not respond; queries that read little are answered without it."""
        with self._lock:
            cluster = self._opened_cluster
        if cluster is None:
            return None
        return cluster.find_outage()

    def close(self) -> None:
        """Close the reader, the cluster and the embedded engine."""
        with self._lock:
            embedded = self._opened_embedded
            self._opened_embedded = None
            cluster = self._opened_cluster
            self._opened_cluster = None
            self._open_manifests.clear()
            for path in list(self._held_locks):
                os.close(self._held_locks.pop(path))
        self.reader.close()
        if cluster is not None:
            cluster.close()
        if embedded is not None:
            embedded.close()


def _find_differing_files(manifest: CatalogueManifest, other_manifest: CatalogueManifest) -> list[int]:
    """Return the numbers of the files that the other manifest does not have."""
    other_files = {(file.path, file.bytes, file.checksum) for file in other_manifest.head.files}
    return [
        number
        for number, file in enumerate(manifest.head.files)
        if not file.checksum or (file.path, file.bytes, file.checksum) not in other_files
    ]


def _is_written_by_hven(path: Path) -> bool:
    """Return whether Hven has written a directory, or has begun to write it."""
    if (path / READERS_LOCK_NAME).exists():
        return True
    return path.name.endswith(".staging") and not (path / hats_layout.PROPERTIES_FILE).exists()


def _is_snapshot_being_read(path: Path) -> bool:
    """Return whether a query reads a snapshot."""
    try:
        handle = os.open(path / READERS_LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False

"""HatsEngine: snapshots as HATS catalogues below the roots; near queries by the embedded engine, far ones by a cluster."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import threading
from collections import OrderedDict
from concurrent.futures import TimeoutError as Late
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines import Engine, Memory, Verified
from hven.engines._disk import cleared, fault, folder, gone_from
from hven.engines._rows import conform
from hven.engines.hats.keys import KeyIndex
from hven.engines.hats.manifest import NAME, Manifest
from hven.engines.hats.merging import CatalogueMerge
from hven.engines.hats.plan import HatsPlan
from hven.engines.hats.reading import Reader, changed
from hven.engines.hats.staging import READERS, CatalogueStaging
from hven.formats import hats_layout as layout
from hven.model import plugins
from hven.model.errors import BindError, HvenError, StorageError, Unavailable, say

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from hven.adql.tree import Bound
    from hven.engines import Plan, Snapshot
    from hven.engines.hats.manifest import File
    from hven.engines.hats.reading import Webs
    from hven.model.table import Table

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OPEN = 64  # manifests that are kept mapped
OWNER = ".hven-site"
PATIENCE = 2.0  # seconds that a root may take to answer
STEP = 8  # row groups that are read at a time
DAMAGED = "the rows of {name} are damaged on disk and are not given"
MEND = "their owner must ingest the collection again"


class HatsEngine(Engine):
    """The engine `hats` (`hven.engines.Engine`). Thread-safe."""

    name = "hats"

    def __init__(
        self,
        directory: Path,
        *,
        memory: int,
        roots: tuple[Path, ...],
        spark: str | None,
        near_bytes: int,
        at_once: int,
        site: str,
        webs: Webs | None,
        threads: int | None,
    ) -> None:
        self.roots = roots
        self.indexes = True  # tests switch the manifest off to prove that it changes nothing but time
        self.near_bytes = near_bytes
        self.spark, self.at_once = spark, at_once
        self.faulty: Mapping[str, str] = {}
        self._site = site
        self._aside = directory, memory, threads
        self._embedded: Engine | None = None
        self._cluster: Any = None
        self._lock = threading.RLock()
        self.reader = Reader(webs)
        self._open: OrderedDict[str, Manifest] = OrderedDict()
        self._indexes: dict[str, KeyIndex] = {}
        self._refused: Mapping[str, str] = {}
        self._held: dict[str, int] = {}  # locks of snapshots that were written here and may not be published yet
        self._claimed = False

    # --- queries ---------------------------------------------------------------------------------------------

    @property
    def embedded(self) -> Engine:
        """The embedded engine, which computes what is read here."""
        with self._lock:
            if self._embedded is None:
                directory, memory, threads = self._aside
                self._embedded = plugins.load("engines", "duckdb").open(directory, memory=memory, threads=threads)
            return self._embedded

    @property
    def cluster(self) -> Any:
        """The cluster, spoken to when it is first needed; None: there is none."""
        with self._lock:
            if self._cluster is None and self.spark is not None:
                cluster = plugins.imported("hven.engines.hats.cluster", "the cluster")  # Spark's client is an extra
                self._cluster = cluster.Cluster(self.spark, at_once=self.at_once)
            return self._cluster

    def prepare(self, bound: Bound) -> Plan:
        """Plan a bound query; see `hven.engines.Engine.prepare`."""
        try:
            return HatsPlan(self, bound)
        except RecursionError:
            raise BindError("the query is nested too deeply", remedy="write it flatter") from None

    def compute(self, bound: Bound, inputs: Mapping[str, pa.Table | pa.RecordBatch]) -> pa.Table:
        """Evaluate a bound query over rows in memory."""
        return self.embedded.compute(bound, inputs)

    # --- manifests -------------------------------------------------------------------------------------------

    def place(self, path: str) -> Path:
        """Return the directory of a snapshot: below the first root that has it."""
        for root in self.roots[1:]:
            if (root / path).is_dir() and not (self.roots[0] / path).is_dir():
                return root / path
        return self.roots[0] / path

    def manifest(self, snapshot: Snapshot) -> Manifest:
        """Open the manifest of a snapshot, or find it open."""
        if snapshot.path in self._refused:
            raise Unavailable(say(DAMAGED, snapshot.table), remedy=MEND)
        with self._lock:
            known = self._open.get(snapshot.path)
            if known is not None:
                self._open.move_to_end(snapshot.path)
                return known
        try:
            found = Manifest(self.place(snapshot.path))
        except Unavailable:
            raise
        except StorageError as error:
            self.faulty = {**self.faulty, snapshot.path: error.message}
            raise Unavailable(say(DAMAGED, snapshot.table), remedy=MEND) from error
        with self._lock:
            self._open[snapshot.path] = found
            while len(self._open) > OPEN:
                self._indexes.pop(self._open.popitem(last=False)[0], None)
        return found

    def known(self, snapshot: Snapshot) -> Manifest | None:
        """Return the manifest of a snapshot, if it is open."""
        # without the lock, which may be held for as long as an import takes: an event loop asks
        return None if snapshot.path in self._refused else self._open.get(snapshot.path)

    def partitions(self, snapshot: Snapshot) -> Mapping[tuple[int, int], Path] | None:
        """List the files of partitions, where they are ours: the stored columns of others may be others than the table's."""
        found = self.manifest(snapshot)
        if found.head.foreign or found.head.position is None:
            return None
        return {(one.order, one.pixel): Path(found.place(one)) for one in found.head.files if one.order >= 0}

    def index(self, snapshot: Snapshot) -> KeyIndex | None:
        """Return the index of the primary key of a snapshot, None if it has none."""
        manifest = self.manifest(snapshot)
        if not manifest.head.index:
            return None
        with self._lock:
            found = self._indexes.get(snapshot.path)
            if found is None:
                found = self._indexes[snapshot.path] = KeyIndex(
                    manifest.directory, manifest.head.index, self.reader.read
                )
            return found

    @contextmanager
    def reading(self, paths: Collection[str]) -> Iterator[None]:
        """Keep snapshots from being removed, by whichever process, while they are read."""
        handles = []
        try:
            for path in paths:
                with suppress(OSError):  # dropped already: what is read of it tells
                    handle = os.open(self.place(path) / READERS, os.O_RDONLY | os.O_CLOEXEC)
                    handles.append(handle)
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield
        finally:
            for handle in handles:
                os.close(handle)

    # --- snapshots -------------------------------------------------------------------------------------------

    def stage(self, table: Table, snapshot: str, *, followed: bool = False) -> CatalogueStaging:  # noqa: ARG002  (every snapshot can be shared)
        """Begin a new snapshot; see `hven.engines.Engine.stage`."""
        return CatalogueStaging(table, snapshot, *self._begin(table, snapshot), self._seal, self.reader)

    def merge(self, table: Table, snapshot: str, base: Snapshot, gone: pa.Table | None = None) -> CatalogueStaging:
        """Begin a new snapshot out of another and its changes; see `hven.engines.Engine.merge`."""
        return CatalogueMerge(
            table, snapshot, *self._begin(table, snapshot), self._seal, self.reader, self.manifest(base), gone
        )

    def _begin(self, table: Table, snapshot: str) -> tuple[Path, str]:
        if not _ID.fullmatch(snapshot):
            message = f"{snapshot!r} cannot be the id of a snapshot: letters, digits, dot, dash and underscore only"
            raise StorageError(message)
        self.claim()
        relative = f"{folder(table.qualified)}/{snapshot}"
        final = self.roots[0] / relative
        if final.exists():
            message = f"there is a snapshot {relative} already"
            raise StorageError(message)
        return final, relative

    def claim(self) -> None:
        """Make the first root ours: two sites would sweep each other's snapshots away.

        Raises
        ------
        StorageError
            It is another site's, or cannot be written.
        """
        if self._claimed:
            return
        root = self.roots[0]
        try:
            root.mkdir(exist_ok=True)
            owner = (root / OWNER).read_text() if (root / OWNER).exists() else ""
            if not owner:  # nobody's; or of one who is about to write, or was killed then
                with (root / OWNER).open("a+") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    file.seek(0)
                    owner = file.read()
                    if not owner:
                        file.write(self._site)
        except OSError as error:
            message = f"the root {root} of [hats] cannot be written: {error.strerror}"
            raise StorageError(message, remedy="look at the directory, its mount and its rights") from error
        if self._site and owner and owner != self._site:
            message = f"the root {root} of [hats] is another site's ({owner})"
            raise StorageError(message, remedy=f"give each site a root of its own; if that site is no more, remove {root / OWNER}")  # fmt: skip
        self._claimed = True

    def _seal(self, staging: CatalogueStaging) -> None:
        """Keep the lock of a finished snapshot: nobody may sweep it before it is published."""
        if staging.final.exists():
            with self._lock:
                self._held[str(staging.final)] = staging.lock
        else:
            os.close(staging.lock)

    def read(self, snapshot: Snapshot, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield all rows in stored order."""
        manifest = self.manifest(snapshot)
        yield from self._rows(snapshot, manifest, range(len(manifest.head.files)), columns)

    def _rows(
        self, snapshot: Snapshot, manifest: Manifest, files: Collection[int], columns: Sequence[str] | None
    ) -> Iterator[pa.RecordBatch]:

        schema = manifest.schema if columns is None else pa.schema([manifest.schema.field(name) for name in columns])
        chosen = np.flatnonzero(np.isin(manifest.array("file"), np.fromiter(files, np.int32, len(files))))
        with self.reading([snapshot.path]):
            for begin in range(0, len(chosen), STEP):
                for path, groups in manifest.files(chosen[begin : begin + STEP]):
                    found = self.reader.read(path, groups, schema.names, manifest.written[path], manifest.head.leaves)
                    for batch in found.to_batches():
                        yield conform(batch, schema)

    def apart(
        self, old: Snapshot, new: Snapshot, columns: Sequence[str] | None = None
    ) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
        """Read the files of two snapshots that are not in both; see `hven.engines.Engine.apart`."""
        sides = []
        for one, other in ((old, new), (new, old)):
            manifest, there = self.manifest(one), self.manifest(other)
            known = {(file.path, file.bytes, file.checksum) for file in there.head.files}
            files = [
                number
                for number, file in enumerate(manifest.head.files)
                if not file.checksum or (file.path, file.bytes, file.checksum) not in known
            ]
            sides.append(self._rows(one, manifest, files, columns))
        return sides[0], sides[1]

    def sample(self, snapshot: Snapshot, rows: int, columns: Collection[str]) -> Memory | None:
        """Return about so many rows of some columns, from row groups all over a snapshot."""
        manifest = self.manifest(snapshot)
        names = [name for name in manifest.schema.names if name in columns] or manifest.schema.names[:1]
        if not manifest.count:
            return None
        wanted = min(max(1, min(rows // 1000, 16)), manifest.count)
        chosen = np.unique(np.linspace(0, manifest.count - 1, wanted).astype(np.int64))
        step = max(1, int(manifest.array("rows")[chosen].sum()) // max(rows, 1))
        pieces = []
        for path, groups in manifest.files(chosen):
            found = self.reader.read(path, groups, names, manifest.written[path], manifest.head.leaves)
            pieces.append(found.take(pa.array(np.arange(0, found.num_rows, step))))
        return Memory(pa.concat_tables(pieces), stored=True)

    # --- what is there ---------------------------------------------------------------------------------------

    def missing(self, snapshot: Snapshot) -> str | None:
        """Return which file of a snapshot is not there, or has another size; None: all are as they were written."""
        try:
            manifest = self.manifest(snapshot)
        except Unavailable as error:
            return self.faulty.get(snapshot.path, error.message)
        if manifest.web:
            looks = [self.reader.later(self._lacking, manifest, file, web=True) for file in manifest.head.files]
            return next((found for look in looks if (found := look.result()) is not None), None)
        return next(
            (found for file in manifest.head.files if (found := self._lacking(manifest, file)) is not None), None
        )

    def _lacking(self, manifest: Manifest, file: File) -> str | None:
        """Return what is wrong with a file, as far as its size and time tell."""
        place = manifest.place(file)
        try:
            size, stamp = self.reader.state(place)
        except OSError as error:
            return f"{place}: {(error.strerror or str(error)).lower()}"
        except HvenError as error:
            return f"{place}: {error.message}"
        other = size != file.bytes or (manifest.head.foreign and stamp != file.checksum)
        return changed(place, size, file.bytes).message if other else None

    def verify(self, snapshot: Snapshot, pace: Callable[[int], object] | None, known: dict[Any, Any]) -> Verified:
        """Verify that the files of a snapshot are what was written; see `hven.engines.Engine`."""
        directory = self.place(snapshot.path)
        try:
            manifest = Manifest(directory)
        except Unavailable:
            raise
        except StorageError as error:
            return Verified(faults={NAME: error.message.partition(f"{NAME}: ")[2] or error.message})
        faults: dict[str, str] = {}
        unknown, size = [], 0
        for file in manifest.head.files:
            if manifest.head.foreign:
                unknown.append(file.path)
            why = self._lacking(manifest, file) if manifest.web else fault(
                directory / file.path, (file.bytes, "" if manifest.head.foreign else file.checksum), known, pace
            )  # fmt: skip
            size += file.bytes
            if why is not None:
                faults[file.path] = why
        return Verified(
            bytes=size, files=len(manifest.head.files) - len(unknown), faults=faults, unknown=tuple(unknown)
        )

    def refuse(self, paths: Mapping[str, str]) -> None:
        """Refuse the rows of these snapshots from now on, whoever asks."""
        self._refused = dict(paths)

    def tidy(self) -> None:
        """Forget snapshots that were removed."""
        with self._lock:
            for path in [path for path, manifest in self._open.items() if gone_from(manifest.directory)]:
                del self._open[path]
                self._indexes.pop(path, None)

    def drop(self, snapshot: Snapshot) -> None:
        """Remove a snapshot's files; if somebody reads them, a later sweep does."""
        path = self.place(snapshot.path)
        with self._lock:
            self._open.pop(snapshot.path, None)
            self._indexes.pop(snapshot.path, None)
        self._release(path)
        if not _read(path):
            gone = path.with_name(f"{path.name}.staging")  # a half-removed snapshot must not look like a whole one
            with suppress(FileNotFoundError):
                path.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)

    def published(self, snapshot: Snapshot) -> None:
        """Release the lock that kept a new snapshot from being swept."""
        self._release(self.place(snapshot.path))

    def _release(self, path: Path) -> None:
        with self._lock:
            lock = self._held.pop(str(path), None)
        if lock is not None:
            os.close(lock)

    def sweep(self, known: set[str]) -> list[str]:
        """Remove what crashed writers left, of what is ours: directories with a manifest, or that were begun to be written."""
        removed: list[str] = []
        root = self.roots[0]
        if not (root / OWNER).exists():
            return removed  # nobody has written here
        self.claim()
        for path in sorted(root.glob("*/*")):
            relative = str(path.relative_to(root))
            ours = (path / READERS).exists() or (path.name.endswith(".staging") and not (path / layout.PROPERTIES).exists())  # fmt: skip
            if ours and relative not in known and str(path) not in self._held and not _read(path) and cleared(path):
                removed.append(relative)
        return removed

    def problem(self) -> str | None:
        """Return what keeps a root from answering now, for the health page."""
        for root in self.roots:
            looked = self.reader.later(os.listdir, root)
            try:
                looked.result(PATIENCE)
            except Late:
                return f"the root {root} of [hats] does not answer"
            except OSError as error:
                if root == self.roots[0] and isinstance(error, FileNotFoundError) and root.parent.is_dir():
                    continue  # it is made when something is written
                return f"the root {root} of [hats] cannot be read: {(error.strerror or str(error)).lower()}"
        return None

    def hindered(self) -> str | None:
        """Return what keeps the cluster from answering, once somebody needed it: the near road goes on without."""
        with self._lock:
            cluster = self._cluster
        return None if cluster is None else cluster.problem()

    def close(self) -> None:
        """Free everything."""
        with self._lock:
            embedded, self._embedded = self._embedded, None
            cluster, self._cluster = self._cluster, None
            self._open.clear()
            for path in list(self._held):
                os.close(self._held.pop(path))
        self.reader.close()
        if cluster is not None:
            cluster.close()
        if embedded is not None:
            embedded.close()


def _read(path: Path) -> bool:
    """Return whether somebody reads a snapshot."""
    try:
        handle = os.open(path / READERS, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


__all__ = ["HatsEngine"]

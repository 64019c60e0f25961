"""DuckEngine: one in-memory DuckDB per process, shut off from files and network, and the snapshots it computes over."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from hven.engines import Limits, Memory, Snapshot
from hven.engines.duckdb.layout import Stored, without_nan
from hven.engines.duckdb.plan import DuckPlan
from hven.engines.duckdb.running import Cursors, DuckExecution, Watch
from hven.engines.duckdb.staging import LOCK, DiskStaging
from hven.errors import BindError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.adql.tree import Bound
    from hven.engines import Relation
    from hven.model.table import Table

_OPEN = 64  # snapshots of other days that are kept mapped
_MAPPINGS = 64
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class DuckEngine:
    """The embedded engine (`hven.engines.Engine`). Thread-safe."""

    name = "duckdb"

    def __init__(self, directory: Path, *, memory: int, threads: int | None = None) -> None:
        self.directory = directory
        self.indexes = True  # tests switch the indexes off to prove that they change nothing but time
        self._memory = f"{max(memory, 64 * 1024**2) // 1024**2}MiB"
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"the snapshots' directory {directory} cannot be made: {error.strerror}"
            raise StorageError(message, remedy="look at the rights of the site's directory") from error
        self._spill = directory / f".spill-{os.getpid()}"
        self._con = duckdb.connect(":memory:", config=_settings(self._memory, threads, self._spill))
        from hven.engines.duckdb.functions import register

        register(self._con)
        self._con.execute("SET enable_external_access = false")
        self._con.execute("SET lock_configuration = true")
        self._cursors = Cursors(self._con)
        self._watch = Watch()
        self._lock = threading.Lock()
        self._stored: OrderedDict[str, Stored] = OrderedDict()
        self._mappings: OrderedDict[int, tuple[Bound, DuckPlan]] = OrderedDict()  # by id of the query, which is kept
        self._held: dict[str, int] = {}  # locks of snapshots that were written here and may not be published yet
        self._closed = False

    # --- queries ---------------------------------------------------------------------------------------------

    def prepare(self, bound: Bound) -> DuckPlan:
        """Plan a bound query; see `hven.engines.Engine.prepare`."""
        try:
            return DuckPlan(self, bound)
        except RecursionError:
            raise BindError("the query is nested too deeply", remedy="write it flatter") from None

    def compute(self, bound: Bound, inputs: Mapping[str, pa.Table | pa.RecordBatch]) -> pa.Table:
        """Evaluate a bound query over rows in memory, null where a value cannot be computed."""
        plan = self._lenient(bound)
        relations = {name: Memory(rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])) for name, rows in inputs.items()}
        execution = plan.execute(bound.slots, relations, Limits())
        return pa.Table.from_batches(execution, schema=execution.schema)

    def _lenient(self, bound: Bound) -> DuckPlan:
        """Give the plan of a mapping, which is used batch after batch."""
        with self._lock:
            kept = self._mappings.get(id(bound))
            if kept is not None and kept[0] is bound:
                self._mappings.move_to_end(id(bound))
                return kept[1]
        plan = DuckPlan(self, bound, lenient=True)
        with self._lock:
            self._mappings[id(bound)] = (bound, plan)
            while len(self._mappings) > _MAPPINGS:
                self._mappings.popitem(last=False)
        return plan

    def run(
        self, sql: str, arguments: Sequence[Any], relations: Mapping[str, tuple[pa.Table, bool]], schema: pa.Schema, limits: Limits
    ) -> DuckExecution:
        """Start a query in DuckDB (for plans)."""
        return DuckExecution(
            self._cursors, self._watch, sql=sql, arguments=arguments, relations=relations, schema=schema, limits=limits, memory=self._memory
        )

    def rows(self, relation: Relation) -> tuple[pa.Table, bool]:
        """Give the rows of a relation, and whether they are worth remembering (for plans)."""
        if isinstance(relation, Snapshot):
            return self.stored(relation).table, True
        if isinstance(relation, Memory):
            return clean(relation.rows), False
        message = f"the embedded engine cannot read {type(relation).__name__.lower()} tables in place"
        raise StorageError(message, remedy="serve this table with the engine postgres")

    # --- snapshots -------------------------------------------------------------------------------------------

    def stage(self, table: Table, snapshot: str) -> DiskStaging:
        """Begin a new snapshot; see `hven.engines.Engine.stage`."""
        if not _ID.fullmatch(snapshot):
            message = f"{snapshot!r} cannot be the id of a snapshot: letters, digits, dot, dash and underscore only"
            raise StorageError(message)
        relative = f"{folder(table.qualified)}/{snapshot}"
        final = self.directory / relative
        if final.exists():
            message = f"there is a snapshot {relative} already"
            raise StorageError(message)
        return DiskStaging(table, snapshot, final, relative, self._seal)

    def _seal(self, staging: DiskStaging) -> None:
        """Keep the lock of a finished snapshot: nobody may sweep it before it is published."""
        if staging.final.exists():
            with self._lock:
                self._held[str(staging.final)] = staging.lock
        else:
            os.close(staging.lock)

    def stored(self, snapshot: Snapshot) -> Stored:
        """Open a snapshot, or find it open."""
        with self._lock:
            known = self._stored.get(snapshot.path)
            if known is not None:
                self._stored.move_to_end(snapshot.path)
                return known
        opened = Stored(self.directory / snapshot.path)
        with self._lock:
            opened = self._stored.setdefault(snapshot.path, opened)
            while len(self._stored) > _OPEN:
                self._stored.popitem(last=False)
        return opened

    def read(self, snapshot: Snapshot, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield all rows in stored order, as zero-copy views of the map."""
        for batch in self.stored(snapshot).batches:
            if batch.num_rows:
                yield batch if columns is None else batch.select(list(columns))

    def drop(self, snapshot: Snapshot) -> None:
        """Remove a snapshot's files; who has them mapped goes on undisturbed."""
        path = self.directory / snapshot.path
        with self._lock:
            self._stored.pop(snapshot.path, None)
        self._release(path)
        gone = path.with_name(f"{path.name}.staging")  # a half-removed snapshot must not look like a whole one
        try:
            path.rename(gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone, ignore_errors=True)

    def sweep(self, known: set[str]) -> list[str]:
        """Remove what crashed writers left: stagings without a living writer, and snapshots that are not in `known`.

        Parameters
        ----------
        known
            `Snapshot.path` of every snapshot that somebody may still want.

        Returns
        -------
        list of str
            Paths that were removed, relative to the snapshots' directory.
        """
        removed = []
        for path in sorted(self.directory.glob("*/*")):
            relative = str(path.relative_to(self.directory))
            if path.is_dir() and relative not in known and str(path) not in self._held and _abandoned(path):
                shutil.rmtree(path, ignore_errors=True)
                removed.append(relative)
        for path in self.directory.glob(".spill-*"):
            if not _alive(path.name.rpartition("-")[2]):
                shutil.rmtree(path, ignore_errors=True)
        return removed

    def published(self, snapshot: Snapshot) -> None:
        """Let go of the lock that kept a new snapshot from being swept; without this call it is held until the process ends."""
        self._release(self.directory / snapshot.path)

    def _release(self, path: Path) -> None:
        with self._lock:
            lock = self._held.pop(str(path), None)
        if lock is not None:
            os.close(lock)

    def close(self) -> None:
        """Free everything."""
        if self._closed:
            return
        self._closed = True
        self._watch.close()
        self._cursors.close()
        self._con.close()
        self._stored.clear()
        for path in list(self._held):
            os.close(self._held.pop(path))
        shutil.rmtree(self._spill, ignore_errors=True)


def clean(rows: pa.Table) -> pa.Table:
    """Give rows in memory without NaN, as stored ones are."""
    for number, column in enumerate(rows.columns):
        changed = without_nan(column)
        if changed is not column:
            rows = rows.set_column(number, rows.schema.field(number), changed)
    return rows


def _settings(memory: str, threads: int | None, spill: Path) -> dict[str, str | bool | int | float | list[str]]:
    found: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "temp_directory": str(spill),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        "allow_community_extensions": False,
        "arrow_lossless_conversion": False,
    }
    if threads is not None:
        found["threads"] = threads
    return found


def folder(qualified: str) -> str:
    """Give the directory name of a table: its qualified name, with everything unusual written as ``%XX``."""
    return (
        re.sub(r"[^a-z0-9_.-]", lambda match: "".join(f"%{byte:02X}" for byte in match.group().encode()), qualified)
        if qualified[:1] != "."
        else "%2E" + folder(qualified[1:])
    )


def _abandoned(path: Path) -> bool:
    """Say whether the writer of a directory is gone: its lock can be taken."""
    try:
        handle = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


__all__ = ["DuckEngine", "folder"]

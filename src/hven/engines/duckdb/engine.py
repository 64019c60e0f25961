"""DuckEngine: one in-memory DuckDB per process, shut off from files and network, and the snapshots it computes over."""

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

from hven.engines import Engine, Limits, Memory, Snapshot
from hven.engines._bound.policies import conditions
from hven.engines._clock import Watch
from hven.engines._disk import PASSING, cleared, folder, gone_from, resized
from hven.engines._rows import without_nan
from hven.engines.duckdb import contouring
from hven.engines.duckdb.checking import verify
from hven.engines.duckdb.computer import Computer, ComputerExecution, dear
from hven.engines.duckdb.dialect import DuckDB
from hven.engines.duckdb.layout import MANIFEST, ROW, Held, Manifest, Stored
from hven.engines.duckdb.machine import Rows
from hven.engines.duckdb.merging import DiskMerge
from hven.engines.duckdb.plan import DuckPlan
from hven.engines.duckdb.reach import Part, Reach, ReachPlan, reached
from hven.engines.duckdb.running import Cursors, DuckExecution
from hven.engines.duckdb.staging import DiskStaging
from hven.model import Cache, clock
from hven.model.errors import BindError, StorageError, Unavailable, say

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.adql.tree import Bound
    from hven.engines import Execution, Relation, Verified
    from hven.engines._disk import Known
    from hven.model.table import Table

_OPEN = 64  # snapshots of other days that are kept mapped
_MAPPINGS = 64
ONE_THREAD_ROWS = 122_880  # DuckDB gives each of its threads at least a row group of so many rows
DAMAGED = "the rows of {name} are damaged on disk and are not given"
MEND = "their owner must ingest the collection again"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(slots=True)
class Seen:
    """Rows in memory that many queries read, without NaN. It must not hold `table` itself, whose end is its own."""

    table: weakref.ref[pa.Table]
    rows: pa.Table
    held: Held


class DuckEngine(Engine):
    """The embedded engine (`hven.engines.Engine`). Thread-safe."""

    name = "duckdb"

    def __init__(self, directory: Path, *, memory: int, threads: int | None = None) -> None:
        self.directory = directory
        self.indexes = True  # tests switch the indexes off to prove that they change nothing but time
        self._most, self._threads = memory, threads
        self._computer: Computer | None = None
        self._memory = f"{max(memory, 64 * 1024**2) // 1024**2}MiB"
        try:
            # not those above it: a site that is renamed under a process is not begun anew
            directory.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            message = f"the snapshots' directory {directory} cannot be made: {error.strerror}"
            raise StorageError(message, remedy="look at the rights of the site's directory") from error
        self._spill = directory / f".spill-{os.getpid()}"
        config = _settings(self._memory, threads, self._spill)
        self._con = clock.lowered(clock.QUERY, lambda: duckdb.connect(":memory:", config=config))
        self._con.execute("SET enable_external_access = false")
        self._con.execute("SET lock_configuration = true")
        self._cursors = Cursors(self._con)
        self._alone: Cursors | None = None
        self._watch = Watch()
        self._lock = threading.Lock()
        self._stored: OrderedDict[str, Stored] = OrderedDict()
        self._mappings: OrderedDict[int, tuple[Bound, DuckPlan]] = OrderedDict()  # by id of the query, which is kept
        self._sizes: dict[str, Mapping[str, int]] = {}  # of the files of snapshots, by path
        self._refused: Mapping[str, str] = {}  # paths of damaged snapshots, and why
        # paths of those of which a file is missing or cut off, as this process found them
        self.faulty: Mapping[str, str] = {}
        self.room = memory // 8  # bytes for what readers reach
        self.reaches: Cache[Reach] = Cache(self.room)
        self._seen: dict[int, Seen] = {}  # by id of the table, as long as it lives
        self._held: dict[str, int] = {}  # locks of snapshots that were written here and may not be published yet
        self._closed = False

    # --- queries ---------------------------------------------------------------------------------------------

    def prepare(self, bound: Bound) -> DuckPlan:
        """Plan a bound query; see `hven.engines.Engine.prepare`."""
        try:
            where = conditions(bound, DuckDB())
            return ReachPlan(self, bound, where) if where else DuckPlan(self, bound)
        except RecursionError:
            raise BindError("the query is nested too deeply", remedy="write it flatter") from None

    def compute(self, bound: Bound, inputs: Mapping[str, pa.Table | pa.RecordBatch]) -> pa.Table:
        """Evaluate a bound query over rows in memory, null where a value cannot be computed."""
        plan = self._lenient(bound)
        relations = {
            name: Memory(rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows]))
            for name, rows in inputs.items()
        }
        execution = plan.execute(bound.slots, relations, Limits())
        return pa.Table.from_batches(execution, schema=execution.schema)

    def _lenient(self, bound: Bound) -> DuckPlan:
        """Return the plan of a mapping, which is used batch after batch."""
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
        self,
        sql: str,
        arguments: Sequence[Any],
        relations: Mapping[str, Rows],
        schema: pa.Schema,
        limits: Limits,
        *,
        lenient: bool = False,
    ) -> Execution:
        """Start a query in DuckDB (for plans); see `hven.engines.duckdb.machine.Machine.run`."""
        asked: dict[str, Any] = {
            "sql": sql,
            "arguments": arguments,
            "relations": relations,
            "schema": schema,
            "limits": limits,
        }
        alone = contouring.NAMED in sql or (lenient and max(map(len, relations.values()), default=0) <= ONE_THREAD_ROWS)
        cursors = self._single() if alone else self._cursors
        here = partial(DuckExecution, cursors, self._watch, memory=self._memory, **asked)
        if self._computer is not None and dear(sql, relations) and (taken := self._computer.take()) is not None:
            return ComputerExecution(self._computer, *taken, self._watch, here=here, **asked)
        return here()

    def _single(self) -> Cursors:
        """Return cursors of a DuckDB of one thread, for functions that use all cores themselves, and for rows that one thread computes anyway.

        While another thread of DuckDB computes, the one that waits for its rows spins: two thirds of the processor time of a mapping
        over batches. Where the other computes a function of ours, it also takes the interpreter's lock in each turn.
        """
        with self._lock:
            if self._alone is None:
                con = duckdb.connect(":memory:", config=_settings(self._memory, 1, self._spill))
                con.execute("SET enable_external_access = false")
                con.execute("SET lock_configuration = true")
                self._alone = Cursors(con)
            return self._alone

    def delegate(self) -> None:
        """Compute in another process from now on what takes long; see `hven.engines.Engine.delegate`."""
        said = {"directory": self.directory, "memory": self._most, "threads": self._threads}
        self._computer = Computer(self._watch, said)

    def processes(self) -> Mapping[int, int]:
        """List the other process that computes; see `hven.engines.Engine.processes`."""
        return {} if self._computer is None else self._computer.processes()

    def rows(self, relation: Relation, columns: tuple[str, ...] | None = None) -> Rows:
        """Return the rows of a relation; `columns`: with these alone, one at least (for plans)."""
        if isinstance(relation, Snapshot):
            stored, source = self.stored(relation), (replace(relation, parts=(), statistics={}, coverage=None), columns)
            if isinstance(stored, Reach):
                stored.check(columns)
                return Rows(partial(stored.having, columns), keep=False, source=source, count=stored.rows)
            return Rows(stored.having(columns), keep=columns is None or ROW not in columns, source=source)
        if isinstance(relation, Memory):
            if relation.stored:
                found = (
                    relation.rows
                    if columns is None
                    else relation.rows.select(list(columns or relation.rows.schema.names[:1]))
                )
                return Rows(found, keep=False)
            return (
                Rows(self._lasting(relation).rows, keep=True)
                if relation.lasting
                else Rows(clean(relation.rows), keep=False)
            )
        message = f"the embedded engine cannot read {type(relation).__name__.lower()} tables in place"
        raise StorageError(message, remedy="serve this table with the engine postgres")

    def held(self, relation: Memory) -> Held:
        """Return rows in memory, to be read by number (for plans)."""
        return (
            self._lasting(relation).held
            if relation.lasting
            else Held(relation.rows if relation.stored else clean(relation.rows))
        )

    def _lasting(self, relation: Memory) -> Seen:
        """Return what was made of rows that many queries read."""
        number = id(relation.rows)
        with self._lock:
            seen = self._seen.get(number)
        if seen is None or seen.table() is not relation.rows:
            rows, known = clean(relation.rows), self._seen

            def gone(table: object) -> None:
                if (found := known.get(number)) is not None and found.table is table:
                    del known[number]

            seen = Seen(
                weakref.ref(relation.rows, gone), pa.Table.from_batches(rows.to_batches(), rows.schema), Held(rows)
            )
            with self._lock:
                self._seen[number] = seen
        return seen

    # --- snapshots -------------------------------------------------------------------------------------------

    def stage(self, table: Table, snapshot: str, *, followed: bool = False) -> DiskStaging:  # noqa: ARG002  (every snapshot can be shared)
        """Begin a new snapshot; see `hven.engines.Engine.stage`."""
        return DiskStaging(table, snapshot, *self._place(table, snapshot), self._seal)

    def merge(self, table: Table, snapshot: str, base: Snapshot, gone: pa.Table | None = None) -> DiskStaging:
        """Begin a new snapshot out of another and its changes; see `hven.engines.Engine.merge`."""
        return DiskMerge(table, snapshot, *self._place(table, snapshot), self._seal, self.stored(base), gone)

    def _place(self, table: Table, snapshot: str) -> tuple[Path, str]:
        """Return the directory of a new snapshot, and the same relative to the snapshots' directory."""
        if not _ID.fullmatch(snapshot):
            message = f"{snapshot!r} cannot be the id of a snapshot: letters, digits, dot, dash and underscore only"
            raise StorageError(message)
        relative = f"{folder(table.qualified)}/{snapshot}"
        final = self.directory / relative
        if final.exists():
            message = f"there is a snapshot {relative} already"
            raise StorageError(message)
        return final, relative

    def _seal(self, staging: DiskStaging) -> None:
        """Keep the lock of a finished snapshot: nobody may sweep it before it is published."""
        if staging.final.exists():
            with self._lock:
                self._held[str(staging.final)] = staging.lock
        else:
            os.close(staging.lock)

    def stored(self, snapshot: Snapshot) -> Stored:
        """Open a snapshot, or find it open; of a part of its rows, what is there."""
        whole = self._whole(snapshot)
        return reached(self, snapshot) if isinstance(snapshot, Part) else whole

    def _whole(self, snapshot: Snapshot) -> Stored:
        if snapshot.path in self._refused:
            raise Unavailable(say(DAMAGED, snapshot.table), remedy=MEND)
        with self._lock:
            known = self._stored.get(snapshot.path)
            if known is not None:
                self._stored.move_to_end(snapshot.path)
        try:
            if known is not None:
                known.look()
                return known
            opened = Stored(self.directory / snapshot.path)
        except Unavailable:
            raise
        except StorageError as error:
            if self.faulty.get(snapshot.path) != error.message:
                self.faulty = {**self.faulty, snapshot.path: error.message}
            raise Unavailable(say(DAMAGED, snapshot.table), remedy=MEND) from error
        self.tidy()
        with self._lock:
            opened = self._stored.setdefault(snapshot.path, opened)
            while len(self._stored) > _OPEN:
                self._stored.popitem(last=False)
        return opened

    def missing(self, snapshot: Snapshot) -> str | None:
        """Return which file of a snapshot is not there, or has another size; None: all are as they were written."""
        why = self._lacking(self.directory / snapshot.path, snapshot.path)
        if self.faulty.get(snapshot.path) != why:
            faulty = {path: what for path, what in self.faulty.items() if path != snapshot.path}
            self.faulty = faulty if why is None else {**faulty, snapshot.path: why}
        return why

    def _lacking(self, directory: Path, path: str) -> str | None:
        name = MANIFEST
        try:
            (directory / name).stat()
            sizes = self._sizes.get(path)
            if sizes is None:
                sizes = self._sizes[path] = Manifest.read(directory / name).sizes
            for name, size in sizes.items():
                if (why := resized(directory / name, size)) is not None:
                    return f"{directory / name}: {why}"
        except OSError as error:
            return None if error.errno in PASSING else f"{directory / name}: {(error.strerror or str(error)).lower()}"
        except Unavailable:
            return None
        except StorageError as error:
            return error.message
        return None

    def verify(self, snapshot: Snapshot, pace: Callable[[int], object] | None, known: Known) -> Verified:
        """Verify that the files of a snapshot are what was written; see `hven.engines.Engine`."""
        return verify(self.directory / snapshot.path, snapshot, pace, known)

    def refuse(self, paths: Mapping[str, str]) -> None:
        """Refuse the rows of these snapshots from now on, whoever asks."""
        self._refused = dict(paths)
        with self._lock:
            gone = [self._stored.pop(path) for path in paths if path in self._stored]
        if gone:
            self._let_go()

    def _let_go(self) -> None:
        for cursors in filter(None, (self._cursors, self._alone)):
            cursors.let_go()
        self.reaches = Cache(self.room)

    def tidy(self) -> None:
        """Unmap snapshots that were removed: as long as they are mapped, their room is not free."""
        with self._lock:
            gone = [path for path, stored in self._stored.items() if gone_from(stored.path)]
            for path in gone:
                del self._stored[path]
                self._sizes.pop(path, None)
        if gone:
            self._let_go()

    def read(self, snapshot: Snapshot, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield all rows in stored order, as zero-copy views of the map."""
        for batch in self.stored(snapshot).batches:
            if batch.num_rows:
                yield batch if columns is None else batch.select(list(columns))

    def apart(
        self, old: Snapshot, new: Snapshot, columns: Sequence[str] | None = None
    ) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
        """Read the parts of two snapshots that are not files of both; see `hven.engines.Engine.apart`."""
        one, two = self.stored(old), self.stored(new)
        shared = one.files.keys() & two.files.keys()
        return one.read(shared, columns), two.read(shared, columns)

    def sample(self, snapshot: Snapshot, rows: int, columns: Collection[str]) -> Memory:
        """Return about so many rows of some columns, in stretches from all over a snapshot: it is stored by position or time, so its beginning is not like the rest."""
        return Memory(self.stored(snapshot).sample(rows, columns), stored=True)

    def drop(self, snapshot: Snapshot) -> None:
        """Remove a snapshot's files; who has them mapped goes on undisturbed."""
        path = self.directory / snapshot.path
        with self._lock:
            self._stored.pop(snapshot.path, None)
        self._let_go()
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
            if path.is_dir() and relative not in known and str(path) not in self._held and cleared(path):
                removed.append(relative)
        for path in self.directory.glob(".spill-*"):
            if not _alive(path.name.rpartition("-")[2]):
                shutil.rmtree(path, ignore_errors=True)
        return removed

    def published(self, snapshot: Snapshot) -> None:
        """Release the lock that kept a new snapshot from being swept; without this call it is held until the process ends."""
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
        if self._computer is not None:
            self._computer.close()
        self._watch.close()
        for cursors in filter(None, (self._cursors, self._alone)):
            cursors.close()
        self._stored.clear()
        for path in list(self._held):
            os.close(self._held.pop(path))
        shutil.rmtree(self._spill, ignore_errors=True)


def clean(rows: pa.Table) -> pa.Table:
    """Return rows in memory without NaN, as stored ones are."""
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
        "allocator_background_threads": True,  # else what a query used stays with the process when it is over
        "arrow_lossless_conversion": False,
        # DuckDB 1.5 hands the keys of a hash join down to scans as filters, which scans of Arrow rows refuse now and then, and never gain by
        "disabled_optimizers": "join_filter_pushdown",
    }
    if threads is not None:
        found["threads"] = threads
    return found


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


__all__ = ["DuckEngine", "folder"]

"""PostgresEngine: snapshots as tables of a schema of ours, queries prepared or streamed, positions found as the database can."""

from __future__ import annotations

import hashlib
import re
import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from psycopg.conninfo import conninfo_to_dict

from hven.engines import Limits, Memory
from hven.engines._clock import Watch
from hven.engines.postgres import faults, install, reach
from hven.engines.postgres import shared_tables as sharing
from hven.engines.postgres.answering import Answering
from hven.engines.postgres.first_state import Founding
from hven.engines.postgres.install import quote
from hven.engines.postgres.merging import Merge, refuse
from hven.engines.postgres.places import CELL
from hven.engines.postgres.plan import PostgresPlan
from hven.engines.postgres.relations import remembered
from hven.engines.postgres.running import PostgresExecution, Work
from hven.engines.postgres.sessions import Pool, Server, Slots, alive, counted
from hven.engines.postgres.settings import ROOM
from hven.engines.postgres.staging import TableStaging
from hven.model import Cache
from hven.model.errors import HvenError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from hven.adql.tree import Bound
    from hven.engines import Snapshot
    from hven.engines.postgres.install import Found
    from hven.engines.postgres.relations import Kept
    from hven.model.table import Table

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LOCK = "SELECT pg_advisory_lock(hashtextextended($1::text, 0))"
PAGES = 10_000  # rows of a sample from which on whole pages are taken: of fewer they would be too few pages
SAMPLES = 64 * 1024**2  # bytes of samples that are kept
_LONGEST = 63  # bytes of an identifier


class PostgresEngine(Answering):
    """The engine `postgres` (`hven.engines.Engine`). Thread-safe. The server is asked for nothing before it is needed."""

    name = "postgres"

    def __init__(
        self,
        directory: Path,
        *,
        memory: int,
        url: str,
        read_url: str | None,
        role: str | None,
        pool: int,
        schema: str,
        position: str,
        threads: int | None,
        site: str = "",
        reaches: int = ROOM,
    ) -> None:
        super().__init__(directory, memory=memory, threads=threads, lock=threading.RLock())
        self.schema = schema
        self._site = site
        self.indexes = True  # tests switch the indexes off to prove that they change nothing but time
        self._url, self._read_url, self._role, self._size, self._position = url, read_url or url, role, pool, position
        user = conninfo_to_dict(read_url).get("user") if read_url else None
        self.readers_roles: Sequence[str] = [str(name) for name in (role, user) if name]
        self.watch = Watch()
        self._found: Found | None = None
        self._held: dict[str, bool] = {}  # tables that are written here, or were and may not be published yet
        self._keeper: Any = None  # the connection whose locks say so to other processes
        self._leaving: set[str] = set()  # tables that readers held when they were dropped
        writing = Server(url, schema=schema, path=quote(schema), writing=True, site=self._site)
        self.where = writing.where
        slots = Slots(max(pool, 2))
        self._writing = (Pool(writing.psycopg, slots, pool, asked=True), Pool(writing.adbc, slots, pool, asked=True))
        self._slots = Slots(max(pool, 1))
        self._reading: tuple[Pool, Pool] | None = None
        self._closed = False
        self._samples: Cache[pa.Table] = Cache(SAMPLES)
        self.reaches = reach.Reaches(self, reaches)

    # --- connections -----------------------------------------------------------------------------------------

    @property
    def found(self) -> Found:
        """What the database offers; looked at, and made ready, when first needed."""
        if self._found is None:
            with self._lock:
                if self._found is None:
                    with self.writers.borrowed() as connection:
                        try:
                            found = install.prepare(connection, self.schema, self.readers_roles, self._position)
                            install.claim(connection, self.schema, self._site, writing=False)
                            self._found = found
                        except faults.kinds() as error:
                            raise faults.translate(error, where=self.where) from error
        return self._found

    def look_again(self) -> bool:
        """Look anew what the database offers: an extension is gone. Positions are found without it, for every table has cells."""
        with self._lock, self.writers.borrowed() as connection:
            self._found = install.prepare(connection, self.schema, self.readers_roles, "")
        return True

    @property
    def writers(self) -> Pool:
        """Connections of psycopg that may write."""
        return self._writing[0]

    @property
    def senders(self) -> Pool:
        """Connections of ADBC that may write."""
        return self._writing[1]

    @property
    def askers(self) -> Pool:
        """Connections of psycopg for small queries."""
        return self._readers()[0]

    @property
    def streams(self) -> Pool:
        """Connections of ADBC for answers of any size."""
        return self._readers()[1]

    def _readers(self) -> tuple[Pool, Pool]:
        if self._reading is None:
            found = self.found
            with self._lock:
                if self._reading is None:
                    server = Server(
                        self._read_url, schema=self.schema, path=found.path, role=self._role, site=self._site
                    )
                    self._reading = (
                        Pool(server.psycopg, self._slots, self._size),
                        Pool(server.adbc, self._slots, self._size),
                    )
        return self._reading

    def connections(self) -> dict[str, int]:
        """Count the connections of this process, for the health page: how many there may be, are in use, are kept."""
        return counted((*self._writing, *(self._reading or ())), max(self._size, 1) + max(self._size, 2))

    def plan(self, bound: Bound) -> PostgresPlan:
        """Plan a bound query."""
        return PostgresPlan(self, bound)

    # --- snapshots -------------------------------------------------------------------------------------------

    def stage(self, table: Table, snapshot: str, *, followed: bool = False) -> TableStaging:
        """Begin a new snapshot; see `hven.engines.Engine.stage`."""
        kind = Founding if followed and table.primary else TableStaging
        return self._begun(table, snapshot, lambda name: kind(self, table, snapshot, name))

    def merge(self, table: Table, snapshot: str, base: Snapshot, gone: pa.Table | None = None) -> TableStaging:
        """Begin a new snapshot out of another and its changes; see `hven.engines.Engine.merge`."""
        kept = self._kept(base)
        refuse(table, base, kept, cells=self._cells(base))
        return self._begun(table, snapshot, lambda name: Merge(self, table, snapshot, name, base, kept, gone))

    def _begun(self, table: Table, snapshot: str, begin: Callable[[str], TableStaging]) -> TableStaging:
        """Begin to write under a name that is locked against sweeps; what cannot begin leaves it free."""
        if not _ID.fullmatch(snapshot):
            message = f"{snapshot!r} cannot be the id of a snapshot: letters, digits, dot, dash and underscore only"
            raise StorageError(message)
        name = self._reserve(table, snapshot)
        try:
            return begin(name)
        except BaseException:
            self._release(name)
            raise

    def _reserve(self, table: Table, snapshot: str) -> str:
        """Reserve the name of a new snapshot's table, locked against sweeps."""
        name = address(table.qualified, snapshot)
        _ = self.found
        with self._asking() as connection:
            install.claim(connection, self.schema, self._site, writing=True)
            there = connection.execute(
                "SELECT to_regclass($1::text)", [f"{quote(self.schema)}.{quote(name)}"]
            ).fetchone()
        if there[0] is not None:
            message = f"there is a snapshot {name} already"
            raise StorageError(message)
        self._hold(name)
        return name

    def read(self, snapshot: Snapshot, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield all rows in stored order."""
        yield from self._rows(snapshot, self._kept(snapshot), columns)

    def _rows(
        self,
        snapshot: Snapshot,
        kept: Kept,
        columns: Sequence[str] | None,
        where: str | None = None,
        among: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows that meet a condition; `among`: of a sample of the table that they are in."""
        fields = kept.types
        names = list(fields) if columns is None else list(columns)
        schema = pa.schema([pa.field(name, fields[name]) for name in names])
        sql = f"SELECT {', '.join(map(quote, names))} FROM {quote(self.schema)}.{quote(snapshot.path if among is None else kept.here(snapshot))}{among or ''}"
        if where is not None:
            sql += f" WHERE {where}"
        yield from PostgresExecution(self, schema, lambda: Work(asked=sql, streamed=sql, arguments=()), Limits())

    def sample(self, snapshot: Snapshot, rows: int, columns: Collection[str]) -> Memory | None:
        """Return about so many rows of some columns, from pages all over a snapshot: its beginning is not like the rest. The same ones each time.

        Of tables that have become several states' the rows of this one are taken.
        """
        kept = self._kept(snapshot)
        names = [name for name in kept.types if name in columns] or list(kept.types)[:1]
        key = (snapshot.path, rows, *names)
        found = self._samples.find(key)
        if found is None:
            share, way = min(100.0 * rows / max(snapshot.rows, 1), 100.0), "SYSTEM" if rows > PAGES else "BERNOULLI"
            among = f" TABLESAMPLE {way} ({share:.9f}) REPEATABLE (1)"
            read = self._rows(snapshot, kept, names, None if kept.share is None else sharing.shown(kept.share), among)
            try:
                found = pa.Table.from_batches(read, pa.schema([pa.field(name, kept.types[name]) for name in names]))
            except HvenError:  # readers may have no right to the table of several states
                return None
            self._samples.keep(key, found, int(found.nbytes) + 1024)
        return Memory(found, stored=True) if found.num_rows else None

    def apart(
        self, old: Snapshot, new: Snapshot, columns: Sequence[str] | None = None
    ) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
        """Read what came and went between two states of one table; else both."""
        one, other = self._kept(old), self._kept(new)
        return self._rows(old, one, columns, sharing.apart(one, other)), self._rows(
            new, other, columns, sharing.apart(other, one)
        )

    def _cells(self, snapshot: Snapshot) -> bool:
        """Return whether a snapshot has the cells of its positions."""
        with self._asking() as connection:
            found = connection.execute(
                "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass($1::text) AND attname = $2 AND NOT attisdropped)",
                [f"{quote(self.schema)}.{quote(snapshot.path)}", CELL],
            ).fetchone()
        return found is not None and bool(found[0])

    def _kept(self, snapshot: Snapshot) -> Kept:
        """Return what a snapshot's table or view says about itself."""
        with self._asking() as connection:
            found = connection.execute(
                "SELECT obj_description(to_regclass($1::text), 'pg_class')",
                [f"{quote(self.schema)}.{quote(snapshot.path)}"],
            ).fetchone()
        if found is None or found[0] is None:
            message = f"the snapshot {snapshot.path} is not in the database"
            raise StorageError(message, remedy="ingest the collection anew, or roll back to an older snapshot")
        return remembered(str(found[0]))

    def drop(self, snapshot: Snapshot) -> None:
        """Remove a snapshot's table, or its view and what no other one shows; who reads it goes on, and it goes when they are done."""
        self.remove(snapshot.path)

    def remove(self, name: str) -> bool:
        """Drop a snapshot's table or view; False if readers hold it yet: it is tried again at the next occasion."""
        gone = True
        with self._asking() as connection:
            for each in {name, *self._leaving}:
                try:
                    with connection.transaction():
                        connection.execute("SET LOCAL lock_timeout = '200ms'")
                        reach.leave(connection, self.schema, each)
                        sharing.drop(connection, self.schema, each)
                    self._leaving.discard(each)
                except faults.kinds() as error:
                    if faults.state(error) != "55P03":
                        raise
                    self._leaving.add(each)
                    gone = gone and each != name
        self._release(name)
        return gone

    def published(self, snapshot: Snapshot) -> None:
        """Release the lock that kept a new snapshot from being swept."""
        self._release(snapshot.path)

    def sweep(self, known: set[str]) -> list[str]:
        """Remove what crashed writers left; see `hven.engines.Engine.sweep`."""
        removed: list[str] = []
        _ = self.found
        with self._asking() as connection:
            if not install.claim(connection, self.schema, self._site, writing=False):
                return removed  # nobody has written here
            reach.sweep(connection, self.schema)
            rows = connection.execute(
                "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v') AND c.relname ~ '^[bos]_' ORDER BY 1",
                [self.schema],
            ).fetchall()
            used = {
                share.base
                for share in sharing.read_shares(connection.execute(sharing.shares(self.schema)).fetchall()).values()
            }
            for (name,) in rows:
                if name in known or name in used or f"s{name[1:]}" in self._held:
                    continue
                free = connection.execute(
                    "SELECT pg_try_advisory_lock(hashtextextended($1::text, 0))", [self._key(f"s{name[1:]}")]
                ).fetchone()
                if not free[0]:
                    continue  # another process writes it
                try:
                    if self.remove(name):
                        removed.append(name)
                finally:
                    connection.execute(
                        "SELECT pg_advisory_unlock(hashtextextended($1::text, 0))", [self._key(f"s{name[1:]}")]
                    )
        return removed

    # --- locks -----------------------------------------------------------------------------------------------

    def _asking(self) -> Any:
        return _Worded(self)

    def _key(self, name: str) -> str:
        return f"hven snapshot {self.schema}.{name}"

    def _hold(self, name: str) -> None:
        """Lock a name against sweeps of other processes, on a connection that is kept for this."""
        with self._lock:
            self._held[name] = True
            try:
                if self._keeper is None or not alive(self._keeper):
                    self._keeper = Server(
                        self._url, schema=self.schema, path=quote(self.schema), writing=True, site=self._site
                    ).psycopg()
                    for other in self._held.keys() - {name}:  # the server let go of them when the connection broke
                        self._keeper.execute(LOCK, [self._key(other)])
                self._keeper.execute(LOCK, [self._key(name)])
            except faults.kinds() as error:
                self._held.pop(name, None)
                self._keeper = None
                raise faults.translate(error, where=self.where) from error

    def _release(self, name: str) -> None:
        with self._lock:
            if self._held.pop(name, None) is None or self._keeper is None:
                return
            try:
                self._keeper.execute("SELECT pg_advisory_unlock(hashtextextended($1::text, 0))", [self._key(name)])
                if not self._held:
                    self._keeper.close()
                    self._keeper = None
            except faults.kinds():
                self._keeper = None  # the server let go of all its locks when the connection broke

    def close(self) -> None:
        """Free everything."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self.reaches.close()
        with self._lock:
            self.watch.close()
            for pool in (*self._writing, *(self._reading or ())):
                pool.close()
            if self._keeper is not None:
                self._keeper.close()
            self.leave()


class _Worded:
    """A writing connection whose errors are said in our words."""

    def __init__(self, engine: PostgresEngine) -> None:
        self._engine = engine
        self._borrowed = engine.writers.borrowed()

    def __enter__(self) -> Any:
        return self._borrowed.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._borrowed.__exit__(kind, error, trace)
        if isinstance(error, faults.kinds()):
            raise faults.translate(error, where=self._engine.where) from error


def address(qualified: str, snapshot: str) -> str:
    """Name the table of a snapshot: ``s_sky_stars_1f2e3d_20261120T085345-3f2a``."""
    digest = hashlib.sha256(qualified.encode()).hexdigest()[:6]
    slug = re.sub(r"[^a-z0-9]+", "_", qualified.lower()).strip("_")[:24]
    name = f"s_{slug}_{digest}_{snapshot}"
    if len(name.encode()) > _LONGEST:
        name = f"s_{slug}_{digest}_{hashlib.sha256(snapshot.encode()).hexdigest()[:20]}"
    return name

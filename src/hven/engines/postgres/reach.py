"""What readers reach of snapshots: rows that meet a policy's condition, copied once into tables that hold no others.

Decision 015 says why. A copy has the indexes and statistics that its rows alone would have, so that the time of an answer tells of no other
row. What one reader sees more than everybody (or since the last release) is a small table beside the copy that all share. Copies are made
in the background; until one is there, the condition is tried on all rows before anything else is. They are named by snapshot and condition,
which has the names of its reader and the moment of the last release in it: with another one, it is another copy.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.engines.postgres import faults
from hven.engines.postgres.install import literal, quote
from hven.engines.postgres.staging import MEMORY, indexes
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.engines import Snapshot
    from hven.engines.postgres.machine import Machine
    from hven.model.table import Table

LEAST = 5_000  # rows of a snapshot, below which an index that finds all of them takes less than 2 ms
MOST = 16_000_000  # rows that are tried one by one while there is no copy
KNOWN = 1_000  # conditions that a process remembers
MANY = 500  # copies of a site
BASES = 4  # copies that are looked at whether they are a part of a new one
SOON, LATER = (
    0.5,
    600.0,
)  # seconds until it is looked again: while others copy; whether a copy is used, or can be made now
IDLE, OLD = 3_600, 86_400  # seconds after which what nobody reads goes: beside a copy, and whole copies
_LOCK = "hashtextextended($1::text, 0)"
FAULTS: tuple[type[Exception], ...] = (HvenError, *faults.kinds())
log = logging.getLogger("hven")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A copy, made or not."""

    name: str
    snapshot: Snapshot
    table: Table
    condition: str


@dataclass(slots=True)
class _State:
    tables: tuple[str, ...] | None = None  # None: there are none now
    refused: bool = False  # it cannot be made
    again: float = 0.0  # when it is looked again
    queued: bool = False


class Reaches:
    """The copies of an engine. Thread-safe.

    Parameters
    ----------
    room
        Bytes of the database that they may take; 0: none are made.
    """

    def __init__(self, engine: Machine, room: int) -> None:
        self._engine, self.room = engine, room
        self.least = LEAST
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _State] = OrderedDict()
        self._waiting: deque[Wanted] = deque()
        self._thread: threading.Thread | None = None
        self._connection: Any = None  # what the thread asks now
        self._list = f"{quote(engine.schema)}.reaches"
        self._closed = self._ready = self._ever = False

    def wanted(self, snapshot: Snapshot, table: Table, condition: str) -> Wanted:
        """Describe a copy: of the rows of a snapshot that meet a condition, SQL over ``t0``."""
        made = (snapshot.path, condition, *_indexes(table, self._engine.found.mode))
        name = f"r_{hashlib.sha256(repr(made).encode()).hexdigest()[:40]}"
        return Wanted(name, snapshot, table, condition)

    def find(self, wanted: Wanted) -> str | None:
        """Return the SQL of the rows of a copy, which is never waited for.

        Returns
        -------
        rows
            Empty: there is no copy yet, so the condition is to be tried on all rows before anything else. None: there will be none.
        """
        if not self.room or wanted.snapshot.rows < self.least or self._closed:
            return None
        with self._lock:
            state = self._known.setdefault(wanted.name, _State())
            self._known.move_to_end(wanted.name)
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)
            if not state.queued and time.monotonic() >= state.again:
                state.queued = True
                self._waiting.append(wanted)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="hven reaches", daemon=True)
                    self._thread.start()
            tables = state.tables
            if tables is None:
                return None if state.refused or wanted.snapshot.rows > MOST else ""
        texts = [f"{quote(self._engine.schema)}.{quote(one)}" for one in tables]
        return texts[0] if len(texts) == 1 else f"({' UNION ALL '.join(f'SELECT * FROM {one}' for one in texts)})"

    def forget(self) -> bool:
        """Forget which copies there are, for one was removed; False: none was ever known."""
        with self._lock:
            self._known.clear()
            return self._ever

    def close(self) -> None:
        """Stop what is being made."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            thread = self._thread
        while thread is not None and thread.is_alive():  # a cancellation that comes between two statements is lost
            connection = self._connection
            if connection is not None:
                try:
                    connection.cancel()
                except faults.kinds():
                    pass  # it is over
            thread.join(0.1)

    # --- in a thread of its own

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._closed or not self._waiting:
                    self._thread = None
                    return
                wanted = self._waiting.popleft()
            found: tuple[str, ...] | None = None
            refused, again = False, LATER
            try:
                with self._engine.writers.borrowed() as self._connection:
                    found = self._made(self._connection, wanted)
                again = SOON if found is None else LATER
                refused = found == ()
            except FAULTS as error:  # such as a condition that fails on some row
                refused = True
                if not self._closed:
                    said = faults.translate(error, where=self._engine.where).message
                    log.warning("what readers see of %s is not copied: %s", wanted.snapshot.table, said)
            finally:
                self._connection = None
            with self._lock:
                state = self._known.setdefault(wanted.name, _State())
                state.tables, state.refused, state.queued = found or None, refused, False
                state.again = time.monotonic() + again
                self._ever |= bool(found)

    def _made(self, connection: Any, wanted: Wanted) -> tuple[str, ...] | None:
        """Return the tables of a copy, made now if need be; None: others make it; empty: there is no room for it."""
        if not self._ready:
            with connection.transaction():
                connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})", [f"hven install {self._engine.schema}"])
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {self._list} (name text PRIMARY KEY, path text NOT NULL, condition text NOT NULL, "
                    "base text, rows bigint NOT NULL, bytes bigint NOT NULL, used timestamptz NOT NULL DEFAULT now())"
                )
            self._ready = True
        found = self._there(connection, wanted)
        if found is not None:
            return found
        key = [f"hven reach {self._engine.schema}.{wanted.name}"]
        if not connection.execute(f"SELECT pg_try_advisory_lock({_LOCK})", key).fetchone()[0]:
            return None
        try:
            return self._there(connection, wanted) or self._build(connection, wanted)
        finally:
            connection.execute(f"SELECT pg_advisory_unlock({_LOCK})", key)

    def _there(self, connection: Any, wanted: Wanted) -> tuple[str, ...] | None:
        """Return the tables of a copy that is there, and note that it is used."""
        row = connection.execute(
            f"SELECT base, rows FROM {self._list} WHERE name = $1 AND (base IS NULL OR base = path OR base IN (SELECT name FROM {self._list}))",
            [wanted.name],
        ).fetchone()
        if row is None:
            return None
        base, rows = row
        used = [wanted.name, base or wanted.name]
        connection.execute(f"UPDATE {self._list} SET used = now() WHERE name = ANY($1::text[])", [used])
        return (*([base] if base else ()), *([wanted.name] if rows or not base else ()))

    def _build(self, connection: Any, wanted: Wanted) -> tuple[str, ...]:
        """Copy what meets the condition; where most of it is in another copy, only the rest."""
        engine, path = self._engine, wanted.snapshot.path
        whole, here = (f"{quote(engine.schema)}.{quote(name)}" for name in (path, wanted.name))
        self._drop(connection, [wanted.name])  # what was not finished
        known = connection.execute(
            f"SELECT name, condition, rows FROM {self._list} WHERE path = $1 AND base IS NULL ORDER BY rows DESC LIMIT {BASES}", [path]
        ).fetchall()  # fmt: skip
        with connection.transaction():
            self._set(connection)
            tried = [f"({condition}) IS TRUE" for condition in (wanted.condition, *(one[1] for one in known))]
            listed = ", ".join(f"{text} AS c{number}" for number, text in enumerate(tried))
            lost = [f", count(*) FILTER (WHERE c{number} AND NOT c0)" for number in range(1, len(tried))]
            every, met, *missing = connection.execute(
                f"SELECT count(*), count(*) FILTER (WHERE c0){''.join(lost)} FROM (SELECT {listed} FROM {whole} AS t0 OFFSET 0) AS t"
            ).fetchone()
        base, where, rows = None, wanted.condition, met
        if met == every:
            base, rows = path, 0
        else:
            for (name, condition, there), less in zip(known, missing, strict=True):
                if not less and met - there < min(rows, max(there // 4, self.least)):
                    base, where, rows = name, f"({wanted.condition}) AND ({condition}) IS NOT TRUE", met - there
            connection.execute(f"UPDATE {self._list} SET used = now() WHERE name = $1", [base])
        if not self._tidied(connection, wanted.snapshot.bytes * rows // max(every, 1)):
            return ()
        size = 0
        if rows or base is None:
            with connection.transaction():
                self._set(connection)
                connection.execute(
                    f"CREATE TABLE {here} WITH (autovacuum_enabled = off) AS SELECT t0.* FROM {whole} AS t0 WHERE {where}"
                )
                for text in _indexes(wanted.table, engine.found.mode):
                    connection.execute(text.replace("ON", f"ON {here}", 1))
            connection.execute(f"VACUUM (FREEZE, ANALYZE) {here}")
            size = connection.execute("SELECT pg_total_relation_size($1::regclass)", [here]).fetchone()[0]
        with connection.transaction():
            if rows or base is None:
                for reader in engine.readers_roles:
                    connection.execute(f"GRANT SELECT ON {here} TO {quote(reader)}")
            connection.execute(
                f"INSERT INTO {self._list} VALUES ($1, $2, $3, $4, $5, $6)",
                [wanted.name, path, wanted.condition, base, rows, size],
            )
        found = self._there(connection, wanted)  # the base may have gone
        return found or ()

    def _set(self, connection: Any) -> None:
        """Set a transaction to see the extensions' functions, to sort in memory, and to read in stored order."""
        connection.execute(
            "SELECT set_config('search_path', $1, true), set_config('maintenance_work_mem', $2, true), "
            "set_config('max_parallel_workers_per_gather', '0', true)",
            [self._engine.found.path, MEMORY],
        )

    def _tidied(self, connection: Any, wanted: int) -> bool:
        """Remove what nobody reads any more, then what was not read for longest, until there is room; False: there is none."""
        rows = connection.execute(
            f"SELECT name, CASE WHEN base <> path THEN base END, bytes, extract(epoch FROM now() - used)::float8 FROM {self._list} ORDER BY used"
        ).fetchall()  # fmt: skip
        left = {name: (base, size, idle) for name, base, size, idle in rows}
        for name, base, _, idle in rows:
            taken = sum(size for _, size, _ in left.values()) + wanted
            over = (taken > self.room or len(left) >= MANY) and idle > LATER
            if name in left and (over or idle > (OLD if base is None else IDLE)):
                going = [name, *(one for one, (on, _, _) in left.items() if on == name)]
                if self._drop(connection, going):
                    left = {one: kept for one, kept in left.items() if one not in going}
        return sum(size for _, size, _ in left.values()) + wanted <= self.room and len(left) < MANY

    def _drop(self, connection: Any, names: Sequence[str]) -> bool:
        """Remove copies; False if somebody reads one."""
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '200ms'")
                connection.execute(f"DELETE FROM {self._list} WHERE name = ANY($1::text[])", [list(names)])
                _dropped(connection, self._engine.schema, names)
        except faults.kinds() as error:
            if faults.state(error) != "55P03":
                raise
            return False
        return True


def leave(connection: Any, schema: str, path: str) -> None:
    """Remove the copies of a snapshot, in a transaction of the caller's."""
    here = f"{quote(schema)}.reaches"
    if connection.execute("SELECT to_regclass($1)", [here]).fetchone()[0] is not None:
        gone = connection.execute(f"DELETE FROM {here} WHERE path = $1 RETURNING name", [path]).fetchall()
        _dropped(connection, schema, [name for (name,) in gone])


def sweep(connection: Any, schema: str) -> None:
    """Remove copies of snapshots that are gone, and those that were never finished."""
    here = f"{quote(schema)}.reaches"
    if connection.execute("SELECT to_regclass($1)", [here]).fetchone()[0] is None:
        return
    gone = connection.execute(
        f"SELECT DISTINCT path FROM {here} WHERE to_regclass({literal(quote(schema))} || '.' || quote_ident(path)) IS NULL"
    ).fetchall()
    for (path,) in gone:
        with connection.transaction():
            leave(connection, schema, path)
    begun = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r' "
        f"AND c.relname ~ '^r_[0-9a-f]{{40}}$' AND c.relname NOT IN (SELECT name FROM {here})",
        [schema],
    ).fetchall()
    for (name,) in begun:
        key = [f"hven reach {schema}.{name}"]
        if connection.execute(f"SELECT pg_try_advisory_lock({_LOCK})", key).fetchone()[0]:
            try:
                _dropped(connection, schema, [name])
            finally:
                connection.execute(f"SELECT pg_advisory_unlock({_LOCK})", key)


def _dropped(connection: Any, schema: str, names: Iterable[str]) -> None:
    for name in names:
        connection.execute(f"DROP TABLE IF EXISTS {quote(schema)}.{quote(name)}")


def _indexes(table: Table, mode: str) -> list[str]:
    """Write the statements that index a copy, as its snapshot is indexed."""
    unique = [f"CREATE UNIQUE INDEX ON ({', '.join(map(quote, table.primary))})"] if table.primary else []
    return [*unique, *(f"CREATE INDEX ON {text}" for text in indexes(table, mode))]


__all__ = ["Reaches", "leave", "sweep"]

"""Databases that other programs write: their tables are read in place, and nothing is ever written there.

One engine for each database. Sessions cannot write, statements have a time limit, and take no lock beyond that of reading. What a
database without our functions cannot compute is computed by the embedded engine, over the rows that the conditions leave.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from hven.engines._clock import Watch
from hven.engines.postgres import faults
from hven.engines.postgres.answering import Answering
from hven.engines.postgres.install import LETTERS, Found, quote
from hven.engines.postgres.live_plan import LivePlan
from hven.engines.postgres.live_text import beyond
from hven.engines.postgres.live_turns import Turnstile
from hven.engines.postgres.sessions import Pool, Server, Slots, counted
from hven.engines.postgres.settings import DRIVERS
from hven.model import plugins
from hven.model.errors import StorageError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from hven.adql.tree import Bound
    from hven.engines import Snapshot
    from hven.engines.postgres.staging import TableStaging
    from hven.model.table import Table

LOCK = 2.0  # seconds that a statement waits for somebody who alters the table
_LOOK = (
    "SELECT (SELECT array_agg(collname::text) FROM pg_collation WHERE collname = ANY(%s)), ARRAY(SELECT DISTINCT ON (p.proname) CASE p.proname WHEN 'scircle' THEN 'pgsphere' ELSE 'q3c' END || ' ' || n.nspname"
    " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proname IN ('scircle', 'q3c_radial_query')"
    " AND has_schema_privilege(n.oid, 'USAGE') ORDER BY p.proname, n.nspname)"
)


class LiveServer(Server):
    """A server where we read only, for a limited time."""

    def __init__(self, url: str, *, path: str, seconds: float) -> None:
        super().__init__(re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", url), schema="", path=path)
        given = conninfo_to_dict(self.conninfo)
        limits = f"-c statement_timeout={round(seconds * 1000)} -c lock_timeout={round(LOCK * 1000)} -c idle_in_transaction_session_timeout=10000"
        self.conninfo = make_conninfo(self.conninfo, options=f"{given.get('options') or ''} {limits}")

    def psycopg(self) -> Any:
        """Open a connection for small things."""
        return self._there(super().psycopg)

    def adbc(self) -> Any:
        """Open a connection for Arrow batches."""
        return self._there(super().adbc)

    @staticmethod
    def _there(connect: Callable[[], Any]) -> Any:
        try:
            return connect()
        except StorageError as error:
            raise Unavailable(error.message, remedy="its tables are served again as soon as it answers") from error


class LiveEngine(Answering):
    """The engine of one database that is read in place (`hven.engines.Engine`, without what writes). Thread-safe."""

    schema = ""
    indexes = True
    readers_roles: Sequence[str] = ()
    reaches = None

    def __init__(
        self, directory: Path, *, name: str, memory: int, url: str, pool: int, seconds: float, at_once: int
    ) -> None:
        super().__init__(directory, memory=memory, threads=None, lock=threading.RLock())
        self.name = name
        self.seconds = seconds
        self.watch = Watch()
        self._url, self._size = url, pool
        self._slots = Slots(pool)
        self.turnstile = Turnstile(at_once)
        self._pools: tuple[Pool, Pool] | None = None
        self._found: Found | None = None
        self._closed = False
        self.where = LiveServer(url, path="pg_catalog", seconds=seconds).where

    @property
    def found(self) -> Found:
        """What the database offers; looked at when first needed."""
        if self._found is None:
            with self._lock:
                if self._found is None:
                    connection = LiveServer(self._url, path="pg_catalog", seconds=self.seconds).psycopg()
                    try:
                        row = connection.execute(_LOOK.replace("%s", "$1::name[]"), [list(LETTERS)]).fetchone()
                    except faults.kinds() as error:
                        raise faults.translate(error, where=self.where) from error
                    finally:
                        connection.close()
                    letters = next((name for name in LETTERS if name in (row[0] or ())), "C")
                    homes = [tuple(text.split(" ", 1)) for text in row[1]]
                    path = ", ".join(dict.fromkeys(["pg_catalog", *(quote(home) for _, home in homes)]))
                    self._found = Found(path=path, mode=" ".join(name for name, _ in homes), letters=letters)
        return self._found

    def offers(self, extension: str) -> None:
        """Look at the database anew, unless it has this extension: it may have come since."""
        if extension and extension not in self.found.mode.split():
            with self._lock:
                pools, self._pools, self._found = self._pools, None, None
            for pool in pools or ():
                pool.close()

    def _reading(self) -> tuple[Pool, Pool]:
        if self._pools is None:
            path = self.found.path
            with self._lock:
                if self._pools is None:
                    server = LiveServer(self._url, path=path, seconds=self.seconds)
                    self._pools = (
                        Pool(server.psycopg, self._slots, self._size),
                        Pool(server.adbc, self._slots, self._size),
                    )
        return self._pools

    def connections(self) -> dict[str, int]:
        """Count the connections of this process, for the health page: how many there may be, are in use, are kept."""
        return counted(self._pools or (), self._size)

    @property
    def askers(self) -> Pool:
        """Connections of psycopg for small queries."""
        return self._reading()[0]

    @property
    def streams(self) -> Pool:
        """Connections of ADBC for answers of any size."""
        return self._reading()[1]

    @property
    def writers(self) -> Pool:
        """There are none: see `askers`."""
        raise StorageError("nothing is written to a database that is read in place")

    @property
    def senders(self) -> Pool:
        """There are none."""
        return self.writers

    def plan(self, bound: Bound) -> LivePlan:
        """Plan a bound query."""
        return LivePlan(self, bound)

    # --- what writes

    def stage(self, table: Table, snapshot: str, *, followed: bool = False) -> TableStaging:  # noqa: ARG002  (the contract's signature)
        """Refuse: nothing is written there."""
        message = f"{table.qualified} cannot be kept in a database that is read in place"
        raise StorageError(message, remedy="choose duckdb or postgres")

    def merge(self, table: Table, snapshot: str, base: Snapshot, gone: pa.Table | None = None) -> TableStaging:  # noqa: ARG002
        """Refuse: nothing is written there."""
        return self.stage(table, snapshot)

    def read(self, snapshot: Snapshot, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        """Refuse: there are no snapshots here."""
        raise StorageError(f"{snapshot.table} has no snapshot in a database that is read in place")

    def apart(
        self, old: Snapshot, new: Snapshot, columns: Sequence[str] | None = None
    ) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
        """Refuse: there are no snapshots here."""
        return self.read(old, columns), self.read(new, columns)

    def drop(self, snapshot: Snapshot) -> None:
        """Do nothing: there are no snapshots here."""

    def published(self, snapshot: Snapshot) -> None:
        """Do nothing."""

    def look_again(self) -> bool:
        """Do nothing."""
        return False

    def remove(self, name: str) -> bool:  # noqa: ARG002  (the machine's signature)
        """Do nothing."""
        return True

    def sweep(self, known: set[str]) -> list[str]:  # noqa: ARG002
        """Do nothing: what is there is not ours."""
        return []

    def close(self) -> None:
        """Free everything."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self.watch.close()
            for pool in self._pools or ():
                pool.close()
            self.leave()


def open(  # noqa: A001  (as engines are)
    directory: Path, *, name: str, memory: int, url: str, pool: int = 4, seconds: float = 60.0, at_once: int = 2
) -> LiveEngine:
    """Open the engine of a database that is read in place; the server is reached when it is first needed.

    Parameters
    ----------
    pool
        Connections of this process at most.
    at_once
        Short statements of this process that run at once; the others wait here, where they hold no lock.
    seconds
        Time limit of a statement.
    """
    plugins.need("what reads databases in place", *DRIVERS, error=StorageError)
    return LiveEngine(directory, name=name, memory=memory, url=url, pool=pool, seconds=seconds, at_once=at_once)


__all__ = ["LiveEngine", "beyond", "open"]

"""Engines of databases that other programs write: their tables are read in place, and Hven never writes there.

Each database has an engine. Its sessions cannot write, and its statements have a time limit and take no lock except
that for reading. The database has no functions of Hven. What it cannot compute, the embedded engine computes, over the
rows that the other conditions leave.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from hven.engines.api.executions import DeadlineWatcher
from hven.model import plugins
from hven.model.errors import StorageError, StorageUnavailableError
from hven.plugins.postgres.engine import error_translation
from hven.plugins.postgres.engine.connection_pool import (
    ConnectionPool,
    ConnectionSlots,
    DatabaseConnector,
    count_pool_connections,
)
from hven.plugins.postgres.engine.query_engine import PostgresEngineBase
from hven.plugins.postgres.engine.schema_installation import CASE_COLLATIONS, DatabaseFeatures, quote_identifier
from hven.plugins.postgres.live.dialect import find_unsupported_function
from hven.plugins.postgres.live.query_plan import LivePlan
from hven.plugins.postgres.live.statement_limiter import ShortStatementLimiter
from hven.plugins.postgres.settings import DRIVER_MODULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import Snapshot
    from hven.model.table import Table
    from hven.plugins.postgres.engine.staging import PostgresSnapshotStaging

LOCK_TIMEOUT_SECONDS = 2.0  # time that a statement waits for a session that alters the table
_FEATURES_SQL = (
    "SELECT (SELECT array_agg(collname::text) FROM pg_collation WHERE collname = ANY($1::name[])), "
    "ARRAY(SELECT DISTINCT ON (p.proname) "
    "CASE p.proname WHEN 'scircle' THEN 'pgsphere' ELSE 'q3c' END || ' ' || n.nspname"
    " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proname IN ('scircle', 'q3c_radial_query')"
    " AND has_schema_privilege(n.oid, 'USAGE') ORDER BY p.proname, n.nspname)"
)


class LiveDatabaseConnector(DatabaseConnector):
    """A server whose sessions only read, and whose statements have a time limit.

    Parameters
    ----------
    timeout_seconds
        Time limit of a statement.
    """

    def __init__(self, url: str, *, search_path: str, timeout_seconds: float) -> None:
        super().__init__(re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", url), schema="", search_path=search_path)
        options = conninfo_to_dict(self.conninfo).get("options") or ""
        statement_milliseconds = round(timeout_seconds * 1000)
        lock_milliseconds = round(LOCK_TIMEOUT_SECONDS * 1000)
        limits = (
            f"-c statement_timeout={statement_milliseconds} -c lock_timeout={lock_milliseconds} "
            "-c idle_in_transaction_session_timeout=10000"
        )
        self.conninfo = make_conninfo(self.conninfo, options=f"{options} {limits}")

    def open_psycopg_connection(self) -> Any:
        """Open a connection for small queries."""
        return self._connect_or_raise_unavailable(super().open_psycopg_connection)

    def open_adbc_connection(self) -> Any:
        """Open a connection for Arrow batches."""
        return self._connect_or_raise_unavailable(super().open_adbc_connection)

    @staticmethod
    def _connect_or_raise_unavailable(open_connection: Callable[[], Any]) -> Any:
        try:
            return open_connection()
        except StorageError as error:
            raise StorageUnavailableError(
                error.message,
                remedy="check the database; as soon as the database responds, Hven serves the tables again",
            ) from error


class LiveEngine(PostgresEngineBase):
    """The engine of one database that is read in place (`hven.engines.StorageEngine` without writing). Thread-safe."""

    schema = ""
    uses_indexes = True
    reader_roles: Sequence[str] = ()
    accessible_copies = None

    def __init__(
        self, directory: Path, *, name: str, memory: int, url: str, pool_size: int, timeout_seconds: float, at_once: int
    ) -> None:
        super().__init__(directory, memory=memory, threads=None, lock=threading.RLock())
        self.name = name
        self.timeout_seconds = timeout_seconds
        self.deadline_watcher = DeadlineWatcher()
        self._url = url
        self._pool_size = pool_size
        self._connection_slots = ConnectionSlots(pool_size)
        self.turnstile = ShortStatementLimiter(at_once)
        self._pools: tuple[ConnectionPool, ConnectionPool] | None = None
        self._database_features: DatabaseFeatures | None = None
        self._is_closed = False
        self.server_name = LiveDatabaseConnector(
            url, search_path="pg_catalog", timeout_seconds=timeout_seconds
        ).server_name

    @property
    def database_features(self) -> DatabaseFeatures:
        """Features of the database; the engine looks at it when they are first needed."""
        if self._database_features is None:
            with self._lock:
                if self._database_features is None:
                    self._database_features = self._inspect_database()
        return self._database_features

    def _inspect_database(self) -> DatabaseFeatures:
        server = LiveDatabaseConnector(self._url, search_path="pg_catalog", timeout_seconds=self.timeout_seconds)
        connection = server.open_psycopg_connection()
        try:
            collations, extensions = connection.execute(_FEATURES_SQL, [list(CASE_COLLATIONS)]).fetchone()
        except error_translation.list_driver_error_classes() as error:
            raise error_translation.translate_postgres_error(error, server_name=self.server_name) from error
        finally:
            connection.close()
        case_collation = next((name for name in CASE_COLLATIONS if name in (collations or ())), "C")
        schemas_by_extension = dict(text.split(" ", 1) for text in extensions)
        quoted_schemas = [quote_identifier(schema) for schema in schemas_by_extension.values()]
        return DatabaseFeatures(
            search_path=", ".join(dict.fromkeys(["pg_catalog", *quoted_schemas])),
            position_method=" ".join(schemas_by_extension),
            case_collation=case_collation,
        )

    def reload_features_for_extension(self, extension: str) -> None:
        """Look at the database again unless it has this extension, which may have been installed since."""
        if extension and extension not in self.database_features.position_method.split():
            with self._lock:
                pools = self._pools
                self._pools = None
                self._database_features = None
            for pool in pools or ():
                pool.close()

    def _open_read_pools(self) -> tuple[ConnectionPool, ConnectionPool]:
        if self._pools is None:
            path = self.database_features.search_path
            with self._lock:
                if self._pools is None:
                    server = LiveDatabaseConnector(self._url, search_path=path, timeout_seconds=self.timeout_seconds)
                    self._pools = (
                        ConnectionPool(server.open_psycopg_connection, self._connection_slots, self._pool_size),
                        ConnectionPool(server.open_adbc_connection, self._connection_slots, self._pool_size),
                    )
        return self._pools

    def count_connections(self) -> dict[str, int]:
        """Count the connections of this process for the health page: the maximum, those in use and those kept."""
        return count_pool_connections(self._pools or (), self._pool_size)

    @property
    def query_pool(self) -> ConnectionPool:
        """Connections of psycopg for small queries."""
        return self._open_read_pools()[0]

    @property
    def stream_pool(self) -> ConnectionPool:
        """Connections of ADBC for answers of any size."""
        return self._open_read_pools()[1]

    @property
    def write_pool(self) -> ConnectionPool:
        """Refuse: there are no connections that write."""
        raise StorageError("Hven does not write to a database that is read in place")

    @property
    def bulk_write_pool(self) -> ConnectionPool:
        """Refuse: there are no connections that write."""
        return self.write_pool

    def plan_bound_query(self, bound_query: BoundQuery) -> LivePlan:
        """Plan a bound query."""
        return LivePlan(self, bound_query)

    # --- methods of engines that write

    # The signature is that of the base class.
    def stage_snapshot(
        self,
        table: Table,
        snapshot_id: str,  # noqa: ARG002
        *,
        expects_merges: bool = False,  # noqa: ARG002
    ) -> PostgresSnapshotStaging:
        """Refuse: nothing is written there."""
        message = f"{table.qualified_name} cannot be stored in a database that is read in place"
        raise StorageError(message, remedy="store the table with the engine duckdb or postgres")

    def stage_merge(
        self,
        table: Table,
        snapshot_id: str,
        base_snapshot: Snapshot,  # noqa: ARG002
        deleted_keys: pa.Table | None = None,  # noqa: ARG002
    ) -> PostgresSnapshotStaging:
        """Refuse: nothing is written there."""
        return self.stage_snapshot(table, snapshot_id)

    def read_rows(
        self,
        snapshot: Snapshot,
        column_names: Sequence[str] | None = None,  # noqa: ARG002
    ) -> Iterator[pa.RecordBatch]:
        """Refuse: there are no snapshots here."""
        raise StorageError(f"{snapshot.table} has no snapshots, because the table is read in place")

    def read_differing_rows(
        self, old_snapshot: Snapshot, new_snapshot: Snapshot, column_names: Sequence[str] | None = None
    ) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
        """Refuse: there are no snapshots here."""
        rows = self.read_rows(old_snapshot, column_names)
        return rows, self.read_rows(new_snapshot, column_names)

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        """Do nothing: there are no snapshots here."""

    def note_published_snapshot(self, snapshot: Snapshot) -> None:
        """Do nothing: there are no snapshots here."""

    def reload_features_of_own_database(self) -> bool:
        """Do nothing, and return False: the database does not belong to Hven."""
        return False

    def remove_table_unless_read(self, table_name: str) -> bool:  # noqa: ARG002  (the machine's signature)
        """Do nothing: Hven has no tables here."""
        return True

    def remove_leftovers(self, known_paths: set[str]) -> list[str]:  # noqa: ARG002
        """Do nothing: Hven writes nothing here."""
        return []

    def close(self) -> None:
        """Close all connections, and the embedded engine."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self.deadline_watcher.close()
            for pool in self._pools or ():
                pool.close()
            self.close_embedded()


def open(  # noqa: A001  (as engines are)
    directory: Path, *, name: str, memory: int, url: str, pool: int = 4, seconds: float = 60.0, at_once: int = 2
) -> LiveEngine:
    """Open the engine of a database that is read in place; it connects when a connection is first needed.

    Parameters
    ----------
    directory, memory
        Settings of the embedded engine.
    name
        Name of the engine.
    url
        Address of the database.
    pool
        Maximum number of connections of this process.
    seconds
        Time limit of a statement.
    at_once
        Number of short statements of this process that run at once. The others wait here, where they hold no lock.
    """
    plugins.require_modules("reading databases in place", *DRIVER_MODULES, error_class=StorageError)
    return LiveEngine(
        directory, name=name, memory=memory, url=url, pool_size=pool, timeout_seconds=seconds, at_once=at_once
    )


__all__ = ["LiveEngine", "find_unsupported_function", "open"]

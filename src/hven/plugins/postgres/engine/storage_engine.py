"""The engine that keeps snapshots as tables of a PostgreSQL schema, and answers queries with PostgreSQL."""

from __future__ import annotations

import hashlib
import re
import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from psycopg.conninfo import conninfo_to_dict

from hven.engines import ExecutionLimits, MemoryRelation
from hven.engines.api.executions import DeadlineWatcher
from hven.model import LruCache
from hven.model.errors import HvenError, StorageError
from hven.plugins.postgres.engine import accessible_copies, error_translation, schema_installation, shared_tables
from hven.plugins.postgres.engine.connection_pool import (
    ConnectionPool,
    ConnectionSlots,
    DatabaseConnector,
    count_pool_connections,
    is_connection_alive,
)
from hven.plugins.postgres.engine.position_search import CELL_COLUMN
from hven.plugins.postgres.engine.query_engine import PostgresEngineBase
from hven.plugins.postgres.engine.query_execution import ParameterizedQuery, PostgresExecution
from hven.plugins.postgres.engine.query_plan import PostgresPlan
from hven.plugins.postgres.engine.schema_installation import quote_identifier
from hven.plugins.postgres.engine.shared_table_staging import SharedTableStaging
from hven.plugins.postgres.engine.snapshot_merging import TableMergeStaging, check_mergeable
from hven.plugins.postgres.engine.staging import PostgresSnapshotStaging
from hven.plugins.postgres.engine.table_records import parse_table_comment
from hven.plugins.postgres.settings import DEFAULT_COPY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import Snapshot
    from hven.model.table import Table
    from hven.plugins.postgres.engine.schema_installation import DatabaseFeatures
    from hven.plugins.postgres.engine.table_records import SnapshotTableComment

_SNAPSHOT_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LOCK_SQL = "SELECT pg_advisory_lock(hashtextextended($1::text, 0))"
UNLOCK_SQL = "SELECT pg_advisory_unlock(hashtextextended($1::text, 0))"
MIN_PAGE_SAMPLE_ROWS = 10_000  # larger samples take whole pages; smaller ones would have too few pages
SAMPLE_CACHE_BYTES = 64 * 1024**2
_MAX_IDENTIFIER_BYTES = 63  # PostgreSQL's limit


class PostgresEngine(PostgresEngineBase):
    """The engine `postgres` (`hven.engines.StorageEngine`). Thread-safe.

    It connects to the server when it first needs a connection.
    """

    name = "postgres"

    def __init__(
        self,
        directory: Path,
        *,
        memory: int,
        url: str,
        read_url: str | None,
        read_role: str | None,
        pool_size: int,
        schema: str,
        position_method: str,
        threads: int | None,
        site_identity: str = "",
        reaches: int = DEFAULT_COPY_BYTES,
    ) -> None:
        super().__init__(directory, memory=memory, threads=threads, lock=threading.RLock())
        self.schema = schema
        self._site_identity = site_identity
        self.uses_indexes = True  # tests switch the indexes off to prove that they change nothing but time
        self._url = url
        self._read_url = read_url or url
        self._read_role = read_role
        self._pool_size = pool_size
        self._position_method = position_method
        reader_user = None
        if read_url:
            reader_user = conninfo_to_dict(read_url).get("user")
        self.reader_roles: Sequence[str] = [str(name) for name in (read_role, reader_user) if name]
        self.deadline_watcher = DeadlineWatcher()
        self._database_features: DatabaseFeatures | None = None
        self._held_names: dict[str, bool] = {}  # tables that are being written, or are not published yet
        self._lock_connection: Any = None  # its advisory locks tell other processes about these tables
        self._pending_removals: set[str] = set()  # tables that could not be dropped because queries read them
        writing = DatabaseConnector(
            url,
            schema=schema,
            search_path=quote_identifier(schema),
            is_writable=True,
            site_identity=self._site_identity,
        )
        self.server_name = writing.server_name
        slots = ConnectionSlots(max(pool_size, 2))
        self._write_pools = (
            ConnectionPool(writing.open_psycopg_connection, slots, pool_size, checks_connections=True),
            ConnectionPool(writing.open_adbc_connection, slots, pool_size, checks_connections=True),
        )
        self._read_slots = ConnectionSlots(max(pool_size, 1))
        self._read_pools: tuple[ConnectionPool, ConnectionPool] | None = None
        self._is_closed = False
        self._samples: LruCache[pa.Table] = LruCache(SAMPLE_CACHE_BYTES)
        self.accessible_copies = accessible_copies.AccessibleRowsCopies(self, reaches)

    # --- connections -----------------------------------------------------------------------------------------

    @property
    def database_features(self) -> DatabaseFeatures:
        """Features of the database; the engine looks at it, and prepares the schema, when they are first needed."""
        if self._database_features is None:
            with self._lock:
                if self._database_features is None:
                    self._database_features = self._prepare_database()
        return self._database_features

    def _prepare_database(self) -> DatabaseFeatures:
        """Create the schema and its functions unless they exist, and return the features of the database."""
        with self.write_pool.borrow_connection() as connection:
            try:
                features = schema_installation.prepare_schema(
                    connection, self.schema, self.reader_roles, self._position_method
                )
                schema_installation.claim_schema(connection, self.schema, self._site_identity, is_writing=False)
            except error_translation.list_driver_error_classes() as error:
                raise error_translation.translate_postgres_error(error, server_name=self.server_name) from error
        return features

    def reload_features_of_own_database(self) -> bool:
        """Look at the database again, because an extension is gone.

        Queries find positions without it: every table has cells.
        """
        with self._lock, self.write_pool.borrow_connection() as connection:
            self._database_features = schema_installation.prepare_schema(connection, self.schema, self.reader_roles, "")
        return True

    @property
    def write_pool(self) -> ConnectionPool:
        """Connections of psycopg that may write."""
        return self._write_pools[0]

    @property
    def bulk_write_pool(self) -> ConnectionPool:
        """Connections of ADBC that may write."""
        return self._write_pools[1]

    @property
    def query_pool(self) -> ConnectionPool:
        """Connections of psycopg for small queries."""
        return self._open_read_pools()[0]

    @property
    def stream_pool(self) -> ConnectionPool:
        """Connections of ADBC for answers of any size."""
        return self._open_read_pools()[1]

    def _open_read_pools(self) -> tuple[ConnectionPool, ConnectionPool]:
        if self._read_pools is None:
            features = self.database_features
            with self._lock:
                if self._read_pools is None:
                    server = DatabaseConnector(
                        self._read_url,
                        schema=self.schema,
                        search_path=features.search_path,
                        role=self._read_role,
                        site_identity=self._site_identity,
                    )
                    self._read_pools = (
                        ConnectionPool(server.open_psycopg_connection, self._read_slots, self._pool_size),
                        ConnectionPool(server.open_adbc_connection, self._read_slots, self._pool_size),
                    )
        return self._read_pools

    def count_connections(self) -> dict[str, int]:
        """Count the connections of this process for the health page: the maximum, those in use and those kept."""
        pools = (*self._write_pools, *(self._read_pools or ()))
        max_connections = max(self._pool_size, 1) + max(self._pool_size, 2)
        return count_pool_connections(pools, max_connections)

    def plan_bound_query(self, bound_query: BoundQuery) -> PostgresPlan:
        """Plan a bound query."""
        return PostgresPlan(self, bound_query)

    # --- snapshots -------------------------------------------------------------------------------------------

    def stage_snapshot(
        self, table: Table, snapshot_id: str, *, expects_merges: bool = False
    ) -> PostgresSnapshotStaging:
        """Begin a new snapshot; see `hven.engines.StorageEngine.stage_snapshot`."""
        kind = SharedTableStaging if expects_merges and table.primary else PostgresSnapshotStaging
        return self._begin_staging(table, snapshot_id, lambda name: kind(self, table, snapshot_id, name))

    def stage_merge(
        self, table: Table, snapshot_id: str, base_snapshot: Snapshot, deleted_keys: pa.Table | None = None
    ) -> PostgresSnapshotStaging:
        """Begin a new snapshot from another one and its changes; see `hven.engines.StorageEngine.stage_merge`."""
        base_record = self._read_table_record(base_snapshot)
        has_cells = self._has_cell_column(base_snapshot)
        check_mergeable(table, base_snapshot, base_record, has_cells=has_cells)
        return self._begin_staging(
            table,
            snapshot_id,
            lambda name: TableMergeStaging(
                self,
                table,
                snapshot_id,
                name,
                base_snapshot=base_snapshot,
                base_record=base_record,
                deleted_keys=deleted_keys,
            ),
        )

    def _begin_staging(
        self, table: Table, snapshot_id: str, build_staging: Callable[[str], PostgresSnapshotStaging]
    ) -> PostgresSnapshotStaging:
        """Begin to write under a name that is locked against sweeps; release the name if that fails."""
        if not _SNAPSHOT_ID_PATTERN.fullmatch(snapshot_id):
            message = f"{snapshot_id!r} cannot be the id of a snapshot; an id contains only letters, digits and . - _"
            raise StorageError(message)
        name = self._reserve_table_name(table, snapshot_id)
        try:
            return build_staging(name)
        except BaseException:
            self._release_table_name(name)
            raise

    def _reserve_table_name(self, table: Table, snapshot_id: str) -> str:
        """Reserve the name of a new snapshot's table, locked against sweeps."""
        name = build_snapshot_table_name(table.qualified_name, snapshot_id)
        _ = self.database_features
        with self._borrow_write_connection() as connection:
            schema_installation.claim_schema(connection, self.schema, self._site_identity, is_writing=True)
            existing = connection.execute("SELECT to_regclass($1::text)", [self._quote_table(name)]).fetchone()
        if existing[0] is not None:
            message = f"the snapshot {name} already exists"
            raise StorageError(message)
        self._lock_table_name(name)
        return name

    def _quote_table(self, table_name: str) -> str:
        """Write the name of a table with the engine's schema."""
        return f"{quote_identifier(self.schema)}.{quote_identifier(table_name)}"

    def read_rows(self, snapshot: Snapshot, column_names: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield all rows in stored order."""
        yield from self._iterate_rows(snapshot, self._read_table_record(snapshot), column_names)

    def _iterate_rows(
        self,
        snapshot: Snapshot,
        table_record: SnapshotTableComment,
        column_names: Sequence[str] | None,
        condition: str | None = None,
        sample_clause: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows that meet a condition; with `sample_clause`, rows of a sample of the table that has them."""
        arrow_types = table_record.arrow_types
        if column_names is None:
            column_names = list(arrow_types)
        schema = pa.schema([pa.field(name, arrow_types[name]) for name in column_names])
        column_list = ", ".join(map(quote_identifier, column_names))
        if sample_clause is None:
            source = self._quote_table(snapshot.path)
        else:
            source = self._quote_table(table_record.find_table_name(snapshot)) + sample_clause
        sql = f"SELECT {column_list} FROM {source}"
        if condition is not None:
            sql += f" WHERE {condition}"
        work = ParameterizedQuery(prepared_sql=sql, copy_sql=sql, arguments=())
        yield from PostgresExecution(self, schema, lambda: work, ExecutionLimits())

    def sample_rows(self, snapshot: Snapshot, row_count: int, column_names: Collection[str]) -> MemoryRelation | None:
        """Return about this number of rows of some columns, from pages all over a snapshot.

        The first rows of a snapshot are not like the others. The sample is the same each time. If several snapshots
        share the table, the sample has rows of this snapshot only.
        """
        table_record = self._read_table_record(snapshot)
        arrow_types = table_record.arrow_types
        names = [name for name in arrow_types if name in column_names]
        if not names:
            names = list(arrow_types)[:1]
        cache_key = (snapshot.path, row_count, *names)
        sample = self._samples.find(cache_key)
        if sample is None:
            percentage = min(100.0 * row_count / max(snapshot.rows, 1), 100.0)
            method = "SYSTEM" if row_count > MIN_PAGE_SAMPLE_ROWS else "BERNOULLI"
            sample_clause = f" TABLESAMPLE {method} ({percentage:.9f}) REPEATABLE (1)"
            state_condition = None
            if table_record.share is not None:
                state_condition = shared_tables.write_state_condition(table_record.share)
            batches = self._iterate_rows(snapshot, table_record, names, state_condition, sample_clause)
            try:
                sample = pa.Table.from_batches(batches, pa.schema([(name, arrow_types[name]) for name in names]))
            except HvenError:  # readers may have no right to a shared table
                return None
            self._samples.store(cache_key, sample, int(sample.nbytes) + 1024)
        if sample.num_rows:
            return MemoryRelation(sample, is_stored=True, is_sample=True)
        return None

    def read_differing_rows(
        self, old_snapshot: Snapshot, new_snapshot: Snapshot, column_names: Sequence[str] | None = None
    ) -> tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]:
        """Read the rows that only one of two snapshots of a shared table has; of other snapshots read all rows."""
        old_record = self._read_table_record(old_snapshot)
        new_record = self._read_table_record(new_snapshot)
        old_condition = shared_tables.write_missing_rows_condition(old_record, new_record)
        new_condition = shared_tables.write_missing_rows_condition(new_record, old_record)
        old_rows = self._iterate_rows(old_snapshot, old_record, column_names, old_condition)
        new_rows = self._iterate_rows(new_snapshot, new_record, column_names, new_condition)
        return old_rows, new_rows

    def _has_cell_column(self, snapshot: Snapshot) -> bool:
        """Return whether a snapshot has the column of the cells of its positions."""
        with self._borrow_write_connection() as connection:
            exists_row = connection.execute(
                "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass($1::text) AND attname = "
                "$2 AND NOT attisdropped)",
                [self._quote_table(snapshot.path), CELL_COLUMN],
            ).fetchone()
        return exists_row is not None and bool(exists_row[0])

    def _read_table_record(self, snapshot: Snapshot) -> SnapshotTableComment:
        """Read the record in the comment of a snapshot's table or view."""
        with self._borrow_write_connection() as connection:
            comment = connection.execute(
                "SELECT obj_description(to_regclass($1::text), 'pg_class')", [self._quote_table(snapshot.path)]
            ).fetchone()
        if comment is None or comment[0] is None:
            message = f"the snapshot {snapshot.path} is not in the database"
            raise StorageError(message, remedy="ingest the collection again, or roll back to an older snapshot")
        return parse_table_comment(str(comment[0]))

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        """Remove the table of a snapshot, or its view with the rows that no other snapshot shows.

        Queries that read it continue; it is removed when they are done.
        """
        self.remove_table_unless_read(snapshot.path)

    def remove_table_unless_read(self, table_name: str) -> bool:
        """Drop the table or view of a snapshot; return False if queries read it. A later call tries again."""
        is_removed = True
        with self._borrow_write_connection() as connection:
            for removed_name in {table_name, *self._pending_removals}:
                try:
                    with connection.transaction():
                        connection.execute("SET LOCAL lock_timeout = '200ms'")
                        accessible_copies.remove_snapshot_copies(connection, self.schema, removed_name)
                        shared_tables.drop_snapshot_relations(connection, self.schema, removed_name)
                    self._pending_removals.discard(removed_name)
                except error_translation.list_driver_error_classes() as error:
                    if error_translation.get_sqlstate(error) != "55P03":
                        raise
                    self._pending_removals.add(removed_name)
                    is_removed = is_removed and removed_name != table_name
        self._release_table_name(table_name)
        return is_removed

    def note_published_snapshot(self, snapshot: Snapshot) -> None:
        """Release the lock that kept a new snapshot from being swept."""
        self._release_table_name(snapshot.path)

    def remove_leftovers(self, known_paths: set[str]) -> list[str]:
        """Remove what crashed writers left; see `hven.engines.StorageEngine.remove_leftovers`."""
        removed: list[str] = []
        _ = self.database_features
        with self._borrow_write_connection() as connection:
            if not schema_installation.claim_schema(connection, self.schema, self._site_identity, is_writing=False):
                return removed  # no process has written here
            accessible_copies.remove_leftover_copies(connection, self.schema)
            rows = connection.execute(
                "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v') AND c.relname ~ '^[bos]_' ORDER BY 1",
                [self.schema],
            ).fetchall()
            shares = connection.execute(shared_tables.write_shared_views_query(self.schema)).fetchall()
            shared_names = {state.base_table for state in shared_tables.parse_shared_states(shares).values()}
            for (name,) in rows:
                snapshot_name = f"s{name[1:]}"
                if name in known_paths or name in shared_names or snapshot_name in self._held_names:
                    continue
                if self._remove_table_if_unlocked(connection, name, snapshot_name):
                    removed.append(name)
        return removed

    def _remove_table_if_unlocked(self, connection: Any, table_name: str, snapshot_name: str) -> bool:
        """Remove a table unless another process has locked its snapshot; return whether it is removed."""
        lock_key = self._build_lock_key(snapshot_name)
        lock_row = connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended($1::text, 0))", [lock_key]
        ).fetchone()
        if not lock_row[0]:
            return False  # another process writes it
        try:
            return self.remove_table_unless_read(table_name)
        finally:
            connection.execute(UNLOCK_SQL, [lock_key])

    # --- locks -----------------------------------------------------------------------------------------------

    def _borrow_write_connection(self) -> Any:
        return _ErrorTranslatingConnection(self)

    def _build_lock_key(self, table_name: str) -> str:
        return f"hven snapshot {self.schema}.{table_name}"

    def _lock_table_name(self, table_name: str) -> None:
        """Lock a name against sweeps of other processes, on a connection that is kept for this purpose."""
        with self._lock:
            self._held_names[table_name] = True
            try:
                if self._lock_connection is None or not is_connection_alive(self._lock_connection):
                    self._lock_connection = self._open_lock_connection()
                    # The server released the other locks when the former connection broke.
                    for other_name in self._held_names.keys() - {table_name}:
                        self._lock_connection.execute(LOCK_SQL, [self._build_lock_key(other_name)])
                self._lock_connection.execute(LOCK_SQL, [self._build_lock_key(table_name)])
            except error_translation.list_driver_error_classes() as error:
                self._held_names.pop(table_name, None)
                self._lock_connection = None
                raise error_translation.translate_postgres_error(error, server_name=self.server_name) from error

    def _open_lock_connection(self) -> Any:
        server = DatabaseConnector(
            self._url,
            schema=self.schema,
            search_path=quote_identifier(self.schema),
            is_writable=True,
            site_identity=self._site_identity,
        )
        return server.open_psycopg_connection()

    def _release_table_name(self, table_name: str) -> None:
        with self._lock:
            if self._held_names.pop(table_name, None) is None or self._lock_connection is None:
                return
            try:
                self._lock_connection.execute(UNLOCK_SQL, [self._build_lock_key(table_name)])
                if not self._held_names:
                    self._lock_connection.close()
                    self._lock_connection = None
            except error_translation.list_driver_error_classes():
                self._lock_connection = None  # the server released all its locks when the connection broke

    def close(self) -> None:
        """Close all connections, and the embedded engine."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self.accessible_copies.close()
        with self._lock:
            self.deadline_watcher.close()
            for pool in (*self._write_pools, *(self._read_pools or ())):
                pool.close()
            if self._lock_connection is not None:
                self._lock_connection.close()
            self.close_embedded()


class _ErrorTranslatingConnection:
    """A writing connection whose errors are translated."""

    def __init__(self, engine: PostgresEngine) -> None:
        self._engine = engine
        self._borrowed = engine.write_pool.borrow_connection()

    def __enter__(self) -> Any:
        return self._borrowed.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._borrowed.__exit__(kind, error, trace)
        if isinstance(error, error_translation.list_driver_error_classes()):
            raise error_translation.translate_postgres_error(error, server_name=self._engine.server_name) from error


def build_snapshot_table_name(qualified_name: str, snapshot_id: str) -> str:
    """Name the table of a snapshot: ``s_sky_stars_1f2e3d_20261120T085345-3f2a``."""
    digest = hashlib.sha256(qualified_name.encode()).hexdigest()[:6]
    slug = re.sub(r"[^a-z0-9]+", "_", qualified_name.lower()).strip("_")[:24]
    name = f"s_{slug}_{digest}_{snapshot_id}"
    if len(name.encode()) > _MAX_IDENTIFIER_BYTES:
        name = f"s_{slug}_{digest}_{hashlib.sha256(snapshot_id.encode()).hexdigest()[:20]}"
    return name

"""Copies of the rows of snapshots that meet the condition of a policy, each in a table without other rows.

Decision 015 says why. A copy has the indexes and statistics of its own rows alone, so that the time of an answer tells
nothing about other rows. If a reader sees a few rows more than another copy has (or a few were released since), a small
table beside that copy has only these.

A thread makes the copies in the background. Until a copy exists, queries test the condition on all rows before any
other condition. The name of a copy depends on its snapshot and on its condition. The condition contains the names of
the reader and the time of the last release, so another reader or a later release has another copy.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.model.errors import HvenError
from hven.plugins.postgres.engine import error_translation
from hven.plugins.postgres.engine.engine_protocol import RequestedCopy
from hven.plugins.postgres.engine.schema_installation import quote_identifier, quote_literal
from hven.plugins.postgres.engine.staging import SORT_MEMORY_SETTING, write_table_index_sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.engines import Snapshot
    from hven.model.table import Table
    from hven.plugins.postgres.engine.engine_protocol import PostgresEngineProtocol

MIN_COPIED_ROWS = 5_000  # smaller snapshots are not copied: an index finds all their rows in less than 2 ms
MAX_UNCOPIED_ROWS = 16_000_000  # rows that a query may test one by one while there is no copy
MAX_KNOWN_CONDITIONS = 1_000  # conditions that a process remembers
MAX_COPIES = 500  # copies of a site
MAX_BASE_CANDIDATES = 4  # existing copies that are tried as a part of a new one
RETRY_DELAY_SECONDS = 0.5  # until the next look for a copy that another process makes
REFRESH_DELAY_SECONDS = 600.0  # until the use of a copy is noted again, or a refused copy is tried again
MAX_DELTA_IDLE_SECONDS = 3_600  # after which an unread table beside another copy is removed
MAX_COPY_IDLE_SECONDS = 86_400  # after which an unread copy is removed
_LOCK_KEY_SQL = "hashtextextended($1::text, 0)"
COPY_ERRORS: tuple[type[Exception], ...] = (HvenError, *error_translation.list_driver_error_classes())
logger = logging.getLogger("hven")


@dataclass(frozen=True, slots=True)
class AccessibleRowsCopy:
    """A copy that exists or may be made."""

    name: str
    snapshot: Snapshot
    table: Table
    condition: str


@dataclass(slots=True)
class _CopyState:
    tables: tuple[str, ...] | None = None  # None: the copy does not exist now
    is_refused: bool = False  # True: the copy cannot be made
    next_check_time: float = 0.0  # on the monotonic clock
    is_queued: bool = False


@dataclass(frozen=True, slots=True)
class _CopyPlan:
    """The rows that a copy adds to its base.

    Attributes
    ----------
    base
        Another copy, or the snapshot itself, that has the other rows; None: the copy has all rows.
    condition
        SQL condition of the rows that are copied.
    rows
        Number of rows that are copied.
    total_rows
        Number of rows of the snapshot.
    """

    base: str | None
    condition: str
    rows: int
    total_rows: int


class AccessibleRowsCopies:
    """The copies of an engine. Thread-safe.

    Parameters
    ----------
    max_bytes
        Maximum size of all copies in the database; 0: no copies are made.
    """

    def __init__(self, engine: PostgresEngineProtocol, max_bytes: int) -> None:
        self._engine = engine
        self.max_bytes = max_bytes
        self.min_rows = MIN_COPIED_ROWS
        self._lock = threading.Lock()
        self._states_by_name: OrderedDict[str, _CopyState] = OrderedDict()
        self._waiting_copies: deque[AccessibleRowsCopy] = deque()
        self._thread: threading.Thread | None = None
        self._connection: Any = None  # the connection that the thread uses now
        self._quoted_catalog = f"{quote_identifier(engine.schema)}.reaches"
        self._is_closed = self._is_catalog_ready = self._has_copies = False

    def describe_copy(self, snapshot: Snapshot, table: Table, condition: str) -> AccessibleRowsCopy:
        """Describe the copy of the rows of a snapshot that meet a condition (SQL over ``t0``)."""
        copy_key = (
            snapshot.path,
            condition,
            *_write_index_statements(table, self._engine.database_features.position_method),
        )
        name = f"r_{hashlib.sha256(repr(copy_key).encode()).hexdigest()[:40]}"
        return AccessibleRowsCopy(name, snapshot, table, condition)

    def request_copy(self, copy: AccessibleRowsCopy) -> RequestedCopy:
        """Return the SQL of the rows of a copy; let it be made if it is missing, without waiting for it."""
        if not self.max_bytes or copy.snapshot.rows < self.min_rows or self._is_closed:
            return RequestedCopy()
        with self._lock:
            state = self._states_by_name.setdefault(copy.name, _CopyState())
            self._states_by_name.move_to_end(copy.name)
            while len(self._states_by_name) > MAX_KNOWN_CONDITIONS:
                self._states_by_name.popitem(last=False)
            if not state.is_queued and time.monotonic() >= state.next_check_time:
                self._schedule_copy(copy, state)
            tables = state.tables
            if tables is None:
                return RequestedCopy(is_pending=not state.is_refused and copy.snapshot.rows <= MAX_UNCOPIED_ROWS)
        schema = quote_identifier(self._engine.schema)
        quoted_tables = [f"{schema}.{quote_identifier(table_name)}" for table_name in tables]
        if len(quoted_tables) == 1:
            return RequestedCopy(quoted_tables[0])
        selects = [f"SELECT * FROM {quoted_table}" for quoted_table in quoted_tables]
        return RequestedCopy(f"({' UNION ALL '.join(selects)})")

    def _schedule_copy(self, copy: AccessibleRowsCopy, state: _CopyState) -> None:
        """Give a copy to the thread, and start the thread if it does not run; the caller holds the lock."""
        state.is_queued = True
        self._waiting_copies.append(copy)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run_copy_thread, name="hven reaches", daemon=True)
            self._thread.start()

    def forget_copies(self) -> bool:
        """Forget which copies exist, because one was removed; return False if none was ever known."""
        with self._lock:
            self._states_by_name.clear()
            return self._has_copies

    def close(self) -> None:
        """Stop the thread, and cancel the statement that it runs."""
        with self._lock:
            self._is_closed = True
            self._waiting_copies.clear()
            thread = self._thread
        # The server ignores a cancellation that comes between two statements, so it is repeated.
        while thread is not None and thread.is_alive():
            connection = self._connection
            if connection is not None:
                with suppress(*error_translation.list_driver_error_classes()):  # the statement may be over
                    connection.cancel()
            thread.join(0.1)

    # --- in the thread

    def _run_copy_thread(self) -> None:
        while True:
            with self._lock:
                if self._is_closed or not self._waiting_copies:
                    self._thread = None
                    return
                copy = self._waiting_copies.popleft()
            copy_tables: tuple[str, ...] | None = None
            is_refused = False
            delay_seconds = REFRESH_DELAY_SECONDS
            try:
                with self._engine.write_pool.borrow_connection() as self._connection:
                    copy_tables = self._find_or_build_copy(self._connection, copy)
                if copy_tables is None:
                    delay_seconds = RETRY_DELAY_SECONDS
                is_refused = copy_tables == ()
            except COPY_ERRORS as error:  # for example, a condition that fails for some row
                is_refused = True
                if not self._is_closed:
                    message = error_translation.translate_postgres_error(
                        error, server_name=self._engine.server_name
                    ).message
                    logger.warning(
                        "Hven cannot copy the rows of %s that users may see: %s", copy.snapshot.table, message
                    )
            finally:
                self._connection = None
            with self._lock:
                state = self._states_by_name.setdefault(copy.name, _CopyState())
                state.tables = copy_tables or None
                state.is_refused = is_refused
                state.is_queued = False
                state.next_check_time = time.monotonic() + delay_seconds
                self._has_copies |= bool(copy_tables)

    def _find_or_build_copy(self, connection: Any, copy: AccessibleRowsCopy) -> tuple[str, ...] | None:
        """Return the tables of a copy, which is made if it does not exist.

        None if another process makes it now; an empty tuple if there is no space for it.
        """
        if not self._is_catalog_ready:
            self._create_copy_catalog(connection)
            self._is_catalog_ready = True
        copy_tables = self._mark_existing_copy_used(connection, copy)
        if copy_tables is not None:
            return copy_tables
        lock_key = [f"hven reach {self._engine.schema}.{copy.name}"]
        if not connection.execute(f"SELECT pg_try_advisory_lock({_LOCK_KEY_SQL})", lock_key).fetchone()[0]:
            return None
        try:
            return self._mark_existing_copy_used(connection, copy) or self._build_copy(connection, copy)
        finally:
            connection.execute(f"SELECT pg_advisory_unlock({_LOCK_KEY_SQL})", lock_key)

    def _create_copy_catalog(self, connection: Any) -> None:
        """Create the table that lists the copies, if it does not exist."""
        lock_key = [f"hven install {self._engine.schema}"]
        with connection.transaction():
            connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK_KEY_SQL})", lock_key)
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._quoted_catalog} (name text PRIMARY KEY, path text NOT NULL, "
                "condition text NOT NULL, base text, rows bigint NOT NULL, bytes bigint NOT NULL, "
                "used timestamptz NOT NULL DEFAULT now())"
            )

    def _mark_existing_copy_used(self, connection: Any, copy: AccessibleRowsCopy) -> tuple[str, ...] | None:
        """Return the tables of a copy that exists, and note that it is used; None if it does not exist."""
        row = connection.execute(
            f"SELECT base, rows FROM {self._quoted_catalog} WHERE name = $1 AND (base IS NULL OR base = path "
            f"OR base IN (SELECT name FROM {self._quoted_catalog}))",
            [copy.name],
        ).fetchone()
        if row is None:
            return None
        base, rows = row
        used_names = [copy.name, base or copy.name]
        connection.execute(f"UPDATE {self._quoted_catalog} SET used = now() WHERE name = ANY($1::text[])", [used_names])
        table_names = []
        if base:
            table_names.append(base)
        if rows or not base:
            table_names.append(copy.name)
        return tuple(table_names)

    def _build_copy(self, connection: Any, copy: AccessibleRowsCopy) -> tuple[str, ...]:
        """Copy the rows that meet the condition; if another copy has most of them, copy only the rest."""
        path = copy.snapshot.path
        self._remove_copies(connection, [copy.name])  # a former process may not have finished it
        scope = self._plan_copy(connection, copy)
        if scope.base is not None:
            connection.execute(f"UPDATE {self._quoted_catalog} SET used = now() WHERE name = $1", [scope.base])
        expected_bytes = copy.snapshot.bytes * scope.rows // max(scope.total_rows, 1)
        if not self._remove_unread_copies(connection, expected_bytes):
            return ()
        needs_table = bool(scope.rows) or scope.base is None
        size = 0
        if needs_table:
            size = self._create_copy_table(connection, copy, scope.condition)
        with connection.transaction():
            if needs_table:
                quoted_copy = self._quote_table(copy.name)
                for reader in self._engine.reader_roles:
                    connection.execute(f"GRANT SELECT ON {quoted_copy} TO {quote_identifier(reader)}")
            connection.execute(
                f"INSERT INTO {self._quoted_catalog} VALUES ($1, $2, $3, $4, $5, $6)",
                [copy.name, path, copy.condition, scope.base, scope.rows, size],
            )
        copy_tables = self._mark_existing_copy_used(connection, copy)  # None if the base was removed meanwhile
        return copy_tables or ()

    def _plan_copy(self, connection: Any, copy: AccessibleRowsCopy) -> _CopyPlan:
        """Count the rows that meet the condition, and choose another copy that already has most of them."""
        path = copy.snapshot.path
        base_candidates = connection.execute(
            f"SELECT name, condition, rows FROM {self._quoted_catalog} WHERE path = $1 AND base IS NULL ORDER "
            f"BY rows DESC LIMIT {MAX_BASE_CANDIDATES}",
            [path],
        ).fetchall()
        conditions = [copy.condition, *(candidate[1] for candidate in base_candidates)]
        condition_columns = [f"({condition}) IS TRUE AS c{number}" for number, condition in enumerate(conditions)]
        missing_counts = [f", count(*) FILTER (WHERE c{number} AND NOT c0)" for number in range(1, len(conditions))]
        with connection.transaction():
            self._set_transaction_options(connection)
            total_rows, matching_rows, *missing_by_candidate = connection.execute(
                f"SELECT count(*), count(*) FILTER (WHERE c0){''.join(missing_counts)} FROM (SELECT "
                f"{', '.join(condition_columns)} FROM {self._quote_table(path)} AS t0 OFFSET 0) AS t"
            ).fetchone()
        if matching_rows == total_rows:
            return _CopyPlan(path, copy.condition, 0, total_rows)
        scope = _CopyPlan(None, copy.condition, matching_rows, total_rows)
        for (name, condition, base_rows), missing_rows in zip(base_candidates, missing_by_candidate, strict=True):
            added_rows = matching_rows - base_rows
            if not missing_rows and added_rows < min(scope.rows, max(base_rows // 4, self.min_rows)):
                rest_condition = f"({copy.condition}) AND ({condition}) IS NOT TRUE"
                scope = _CopyPlan(name, rest_condition, added_rows, total_rows)
        return scope

    def _create_copy_table(self, connection: Any, copy: AccessibleRowsCopy, condition: str) -> int:
        """Create and index the table of a copy; return its size in bytes."""
        quoted_copy = self._quote_table(copy.name)
        quoted_snapshot = self._quote_table(copy.snapshot.path)
        position_method = self._engine.database_features.position_method
        with connection.transaction():
            self._set_transaction_options(connection)
            connection.execute(
                f"CREATE TABLE {quoted_copy} WITH (autovacuum_enabled = off) AS SELECT t0.* FROM "
                f"{quoted_snapshot} AS t0 WHERE {condition}"
            )
            for index_statement in _write_index_statements(copy.table, position_method):
                connection.execute(index_statement.replace("ON", f"ON {quoted_copy}", 1))
        connection.execute(f"VACUUM (FREEZE, ANALYZE) {quoted_copy}")
        size_row = connection.execute("SELECT pg_total_relation_size($1::regclass)", [quoted_copy]).fetchone()
        return int(size_row[0])

    def _quote_table(self, table_name: str) -> str:
        """Write the name of a table with the engine's schema."""
        return f"{quote_identifier(self._engine.schema)}.{quote_identifier(table_name)}"

    def _set_transaction_options(self, connection: Any) -> None:
        """Let a transaction see the functions of extensions, sort in memory, and read in stored order."""
        connection.execute(
            "SELECT set_config('search_path', $1, true), set_config('maintenance_work_mem', $2, true), "
            "set_config('max_parallel_workers_per_gather', '0', true)",
            [self._engine.database_features.search_path, SORT_MEMORY_SETTING],
        )

    def _remove_unread_copies(self, connection: Any, wanted_bytes: int) -> bool:
        """Remove unread copies, the longest unread ones first; return whether there is space for another one."""
        rows = connection.execute(
            f"SELECT name, CASE WHEN base <> path THEN base END, bytes, extract(epoch FROM now() - "
            f"used)::float8 FROM {self._quoted_catalog} ORDER BY used"
        ).fetchall()
        bytes_by_name = {name: size for name, _, size, _ in rows}
        for name, base, _, idle_seconds in rows:
            if name not in bytes_by_name:
                continue
            needs_space = sum(bytes_by_name.values()) + wanted_bytes > self.max_bytes
            needs_space = needs_space or len(bytes_by_name) >= MAX_COPIES
            max_idle_seconds: float = MAX_COPY_IDLE_SECONDS if base is None else MAX_DELTA_IDLE_SECONDS
            if needs_space:
                max_idle_seconds = min(max_idle_seconds, REFRESH_DELAY_SECONDS)
            if idle_seconds <= max_idle_seconds:
                continue
            dependent_names = [row[0] for row in rows if row[1] == name and row[0] in bytes_by_name]
            removed_names = [name, *dependent_names]
            if self._remove_copies(connection, removed_names):
                for removed_name in removed_names:
                    del bytes_by_name[removed_name]
        used_bytes = sum(bytes_by_name.values()) + wanted_bytes
        return used_bytes <= self.max_bytes and len(bytes_by_name) < MAX_COPIES

    def _remove_copies(self, connection: Any, copy_names: Sequence[str]) -> bool:
        """Remove copies; return False if a session reads one of them."""
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '200ms'")
                connection.execute(
                    f"DELETE FROM {self._quoted_catalog} WHERE name = ANY($1::text[])", [list(copy_names)]
                )
                _drop_tables(connection, self._engine.schema, copy_names)
        except error_translation.list_driver_error_classes() as error:
            if error_translation.get_sqlstate(error) != "55P03":
                raise
            return False
        return True


def remove_snapshot_copies(connection: Any, schema: str, snapshot_path: str) -> None:
    """Remove the copies of a snapshot, in a transaction of the caller."""
    quoted_catalog = f"{quote_identifier(schema)}.reaches"
    if connection.execute("SELECT to_regclass($1)", [quoted_catalog]).fetchone()[0] is not None:
        removed_rows = connection.execute(
            f"DELETE FROM {quoted_catalog} WHERE path = $1 RETURNING name", [snapshot_path]
        ).fetchall()
        _drop_tables(connection, schema, [name for (name,) in removed_rows])


def remove_leftover_copies(connection: Any, schema: str) -> None:
    """Remove the copies of snapshots that no longer exist, and the copies that were never finished."""
    quoted_catalog = f"{quote_identifier(schema)}.reaches"
    if connection.execute("SELECT to_regclass($1)", [quoted_catalog]).fetchone()[0] is None:
        return
    missing_paths = connection.execute(
        f"SELECT DISTINCT path FROM {quoted_catalog} WHERE "
        f"to_regclass({quote_literal(quote_identifier(schema))} || '.' || quote_ident(path)) IS NULL"
    ).fetchall()
    for (path,) in missing_paths:
        with connection.transaction():
            remove_snapshot_copies(connection, schema, path)
    unlisted_rows = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1 AND c.relkind = 'r' "
        f"AND c.relname ~ '^r_[0-9a-f]{{40}}$' AND c.relname NOT IN (SELECT name FROM {quoted_catalog})",
        [schema],
    ).fetchall()
    for (name,) in unlisted_rows:
        key = [f"hven reach {schema}.{name}"]
        if connection.execute(f"SELECT pg_try_advisory_lock({_LOCK_KEY_SQL})", key).fetchone()[0]:
            try:
                _drop_tables(connection, schema, [name])
            finally:
                connection.execute(f"SELECT pg_advisory_unlock({_LOCK_KEY_SQL})", key)


def _drop_tables(connection: Any, schema: str, table_names: Iterable[str]) -> None:
    for name in table_names:
        connection.execute(f"DROP TABLE IF EXISTS {quote_identifier(schema)}.{quote_identifier(name)}")


def _write_index_statements(table: Table, position_method: str) -> list[str]:
    """Write the statements that index a copy in the same way as its snapshot."""
    if table.primary:
        unique_statements = [f"CREATE UNIQUE INDEX ON ({', '.join(map(quote_identifier, table.primary))})"]
    else:
        unique_statements = []
    return [*unique_statements, *(f"CREATE INDEX ON {text}" for text in write_table_index_sql(table, position_method))]

"""What readers reach of snapshots: rows that meet a policy's condition, copied once into tables that hold no others.

Decision 015 says why. A copy has the indexes and statistics that its rows alone would have, so that the time of an
answer tells of no other row. What one reader sees more than everybody (or since the last release) is a small table
beside the copy that all share. Copies are made in the background; until one is there, the condition is tried on all
rows before anything else is. They are named by snapshot and condition, which has the names of its reader and the moment
of the last release in it: with another one, it is another copy.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.engines.postgres import error_translation
from hven.engines.postgres.schema_installation import quote_identifier, quote_literal
from hven.engines.postgres.staging import SORT_MEMORY_SETTING, write_table_indexes
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.engines import Snapshot
    from hven.engines.postgres.engine_protocol import PostgresEngineProtocol
    from hven.model.table import Table

MIN_COPIED_ROWS = 5_000  # rows of a snapshot, below which an index that finds all of them takes less than 2 ms
MAX_UNCOPIED_ROWS = 16_000_000  # rows that are tried one by one while there is no copy
MAX_KNOWN_CONDITIONS = 1_000  # conditions that a process remembers
MAX_COPIES = 500  # copies of a site
MAX_BASE_CANDIDATES = 4  # copies that are looked at whether they are a part of a new one
RETRY_DELAY_SECONDS, REFRESH_DELAY_SECONDS = (
    0.5,
    600.0,
)  # seconds until it is looked again: while others copy; whether a copy is used, or can be made now
MAX_DELTA_IDLE_SECONDS, MAX_COPY_IDLE_SECONDS = (
    3_600,
    86_400,
)  # seconds after which what nobody reads goes: beside a copy, and whole copies
_LOCK_KEY_SQL = "hashtextextended($1::text, 0)"
COPY_ERRORS: tuple[type[Exception], ...] = (HvenError, *error_translation.list_driver_errors())
logger = logging.getLogger("hven")


@dataclass(frozen=True, slots=True)
class AccessibleCopy:
    """A copy, made or not."""

    name: str
    snapshot: Snapshot
    table: Table
    condition: str


@dataclass(slots=True)
class _CopyState:
    tables: tuple[str, ...] | None = None  # None: there are none now
    is_refused: bool = False  # it cannot be made
    next_check_time: float = 0.0  # when it is looked again
    is_queued: bool = False


class AccessibleCopies:
    """The copies of an engine. Thread-safe.

    Parameters
    ----------
    max_bytes
        Bytes of the database that they may take; 0: none are made.
    """

    def __init__(self, engine: PostgresEngineProtocol, max_bytes: int) -> None:
        self._engine = engine
        self.max_bytes = max_bytes
        self.min_rows = MIN_COPIED_ROWS
        self._lock = threading.Lock()
        self._states_by_name: OrderedDict[str, _CopyState] = OrderedDict()
        self._waiting_copies: deque[AccessibleCopy] = deque()
        self._thread: threading.Thread | None = None
        self._connection: Any = None  # what the thread asks now
        self._quoted_catalog = f"{quote_identifier(engine.schema)}.reaches"
        self._is_closed = self._is_catalog_ready = self._has_copies = False

    def describe_copy(self, snapshot: Snapshot, table: Table, condition: str) -> AccessibleCopy:
        """Describe a copy: of the rows of a snapshot that meet a condition, SQL over ``t0``."""
        copy_key = (
            snapshot.path,
            condition,
            *_write_index_statements(table, self._engine.database_features.position_method),
        )
        name = f"r_{hashlib.sha256(repr(copy_key).encode()).hexdigest()[:40]}"
        return AccessibleCopy(name, snapshot, table, condition)

    def find_rows(self, copy: AccessibleCopy) -> str | None:
        """Return the SQL of the rows of a copy, which is never waited for.

        Returns
        -------
        rows
            Empty: there is no copy yet, so the condition is to be tried on all rows before anything else. None: there
            will be none.
        """
        if not self.max_bytes or copy.snapshot.rows < self.min_rows or self._is_closed:
            return None
        with self._lock:
            state = self._states_by_name.setdefault(copy.name, _CopyState())
            self._states_by_name.move_to_end(copy.name)
            while len(self._states_by_name) > MAX_KNOWN_CONDITIONS:
                self._states_by_name.popitem(last=False)
            if not state.is_queued and time.monotonic() >= state.next_check_time:
                state.is_queued = True
                self._waiting_copies.append(copy)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run_copy_thread, name="hven reaches", daemon=True)
                    self._thread.start()
            tables = state.tables
            if tables is None:
                if state.is_refused or copy.snapshot.rows > MAX_UNCOPIED_ROWS:
                    return None
                return ""
        texts = [f"{quote_identifier(self._engine.schema)}.{quote_identifier(table_name)}" for table_name in tables]
        if len(texts) == 1:
            return texts[0]
        return f"({' UNION ALL '.join(f'SELECT * FROM {table_name}' for table_name in texts)})"

    def forget_copies(self) -> bool:
        """Forget which copies there are, for one was removed; False: none was ever known."""
        with self._lock:
            self._states_by_name.clear()
            return self._has_copies

    def close(self) -> None:
        """Stop what is being made."""
        with self._lock:
            self._is_closed = True
            self._waiting_copies.clear()
            thread = self._thread
        while thread is not None and thread.is_alive():  # a cancellation that comes between two statements is lost
            connection = self._connection
            if connection is not None:
                try:
                    connection.cancel()
                except error_translation.list_driver_errors():
                    pass  # it is over
            thread.join(0.1)

    # --- in a thread of its own

    def _run_copy_thread(self) -> None:
        while True:
            with self._lock:
                if self._is_closed or not self._waiting_copies:
                    self._thread = None
                    return
                copy = self._waiting_copies.popleft()
            copy_tables: tuple[str, ...] | None = None
            is_refused, delay_seconds = False, REFRESH_DELAY_SECONDS
            try:
                with self._engine.write_pool.borrow_connection() as self._connection:
                    copy_tables = self._find_or_build(self._connection, copy)
                delay_seconds = RETRY_DELAY_SECONDS if copy_tables is None else REFRESH_DELAY_SECONDS
                is_refused = copy_tables == ()
            except COPY_ERRORS as error:  # such as a condition that fails on some row
                is_refused = True
                if not self._is_closed:
                    message = error_translation.translate_error(error, server_name=self._engine.server_name).message
                    logger.warning("what readers see of %s is not copied: %s", copy.snapshot.table, message)
            finally:
                self._connection = None
            with self._lock:
                state = self._states_by_name.setdefault(copy.name, _CopyState())
                state.tables = copy_tables or None
                state.is_refused = is_refused
                state.is_queued = False
                state.next_check_time = time.monotonic() + delay_seconds
                self._has_copies |= bool(copy_tables)

    def _find_or_build(self, connection: Any, copy: AccessibleCopy) -> tuple[str, ...] | None:
        """Return the tables of a copy, made now if need be; None: others make it; empty: there is no room for it."""
        if not self._is_catalog_ready:
            with connection.transaction():
                connection.execute(
                    f"SELECT pg_advisory_xact_lock({_LOCK_KEY_SQL})", [f"hven install {self._engine.schema}"]
                )
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {self._quoted_catalog} (name text PRIMARY KEY, path text NOT NULL, condition text NOT NULL, "
                    "base text, rows bigint NOT NULL, bytes bigint NOT NULL, used timestamptz NOT NULL DEFAULT now())"
                )
            self._is_catalog_ready = True
        copy_tables = self._find_copy(connection, copy)
        if copy_tables is not None:
            return copy_tables
        key = [f"hven reach {self._engine.schema}.{copy.name}"]
        if not connection.execute(f"SELECT pg_try_advisory_lock({_LOCK_KEY_SQL})", key).fetchone()[0]:
            return None
        try:
            return self._find_copy(connection, copy) or self._build_copy(connection, copy)
        finally:
            connection.execute(f"SELECT pg_advisory_unlock({_LOCK_KEY_SQL})", key)

    def _find_copy(self, connection: Any, copy: AccessibleCopy) -> tuple[str, ...] | None:
        """Return the tables of a copy that is there, and note that it is used."""
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
        return (*([base] if base else ()), *([copy.name] if rows or not base else ()))

    def _build_copy(self, connection: Any, copy: AccessibleCopy) -> tuple[str, ...]:
        """Copy what meets the condition; where most of it is in another copy, only the rest."""
        engine = self._engine
        path = copy.snapshot.path
        quoted_snapshot, quoted_copy = (
            f"{quote_identifier(engine.schema)}.{quote_identifier(name)}" for name in (path, copy.name)
        )
        self._remove_copies(connection, [copy.name])  # what was not finished
        base_candidates = connection.execute(
            f"SELECT name, condition, rows FROM {self._quoted_catalog} WHERE path = $1 AND base IS NULL ORDER "
            f"BY rows DESC LIMIT {MAX_BASE_CANDIDATES}",
            [path],
        ).fetchall()
        with connection.transaction():
            self._set_transaction_options(connection)
            conditions = [
                f"({condition}) IS TRUE"
                for condition in (copy.condition, *(candidate[1] for candidate in base_candidates))
            ]
            condition_columns = ", ".join(f"{text} AS c{number}" for number, text in enumerate(conditions))
            missing_counts = [f", count(*) FILTER (WHERE c{number} AND NOT c0)" for number in range(1, len(conditions))]
            total_rows, matching_rows, *missing = connection.execute(
                f"SELECT count(*), count(*) FILTER (WHERE c0){''.join(missing_counts)} FROM (SELECT "
                f"{condition_columns} FROM {quoted_snapshot} AS t0 OFFSET 0) AS t"
            ).fetchone()
        base = None
        copied_condition = copy.condition
        rows = matching_rows
        if matching_rows == total_rows:
            base, rows = path, 0
        else:
            for (name, condition, base_rows), missing_rows in zip(base_candidates, missing, strict=True):
                if not missing_rows and matching_rows - base_rows < min(rows, max(base_rows // 4, self.min_rows)):
                    base = name
                    copied_condition = f"({copy.condition}) AND ({condition}) IS NOT TRUE"
                    rows = matching_rows - base_rows
            connection.execute(f"UPDATE {self._quoted_catalog} SET used = now() WHERE name = $1", [base])
        if not self._make_room(connection, copy.snapshot.bytes * rows // max(total_rows, 1)):
            return ()
        size = 0
        if rows or base is None:
            with connection.transaction():
                self._set_transaction_options(connection)
                connection.execute(
                    f"CREATE TABLE {quoted_copy} WITH (autovacuum_enabled = off) AS SELECT t0.* FROM "
                    f"{quoted_snapshot} AS t0 WHERE {copied_condition}"
                )
                for text in _write_index_statements(copy.table, engine.database_features.position_method):
                    connection.execute(text.replace("ON", f"ON {quoted_copy}", 1))
            connection.execute(f"VACUUM (FREEZE, ANALYZE) {quoted_copy}")
            size = connection.execute("SELECT pg_total_relation_size($1::regclass)", [quoted_copy]).fetchone()[0]
        with connection.transaction():
            if rows or base is None:
                for reader in engine.reader_roles:
                    connection.execute(f"GRANT SELECT ON {quoted_copy} TO {quote_identifier(reader)}")
            connection.execute(
                f"INSERT INTO {self._quoted_catalog} VALUES ($1, $2, $3, $4, $5, $6)",
                [copy.name, path, copy.condition, base, rows, size],
            )
        copy_tables = self._find_copy(connection, copy)  # the base may have gone
        return copy_tables or ()

    def _set_transaction_options(self, connection: Any) -> None:
        """Set a transaction to see the extensions' functions, to sort in memory, and to read in stored order."""
        connection.execute(
            "SELECT set_config('search_path', $1, true), set_config('maintenance_work_mem', $2, true), "
            "set_config('max_parallel_workers_per_gather', '0', true)",
            [self._engine.database_features.search_path, SORT_MEMORY_SETTING],
        )

    def _make_room(self, connection: Any, wanted_bytes: int) -> bool:
        """Remove what nobody reads any more, then what was not read for longest, until there is room; False.

        There is none.
        """
        rows = connection.execute(
            f"SELECT name, CASE WHEN base <> path THEN base END, bytes, extract(epoch FROM now() - "
            f"used)::float8 FROM {self._quoted_catalog} ORDER BY used"
        ).fetchall()
        remaining_copies = {name: (base, size, idle_seconds) for name, base, size, idle_seconds in rows}
        for name, base, _, idle_seconds in rows:
            used_bytes = sum(size for _, size, _ in remaining_copies.values()) + wanted_bytes
            is_over_limit = (
                used_bytes > self.max_bytes or len(remaining_copies) >= MAX_COPIES
            ) and idle_seconds > REFRESH_DELAY_SECONDS
            if name in remaining_copies and (
                is_over_limit or idle_seconds > (MAX_COPY_IDLE_SECONDS if base is None else MAX_DELTA_IDLE_SECONDS)
            ):
                removed_names = [
                    name,
                    *(copy_name for copy_name, (base_name, _, _) in remaining_copies.items() if base_name == name),
                ]
                if self._remove_copies(connection, removed_names):
                    remaining_copies = {
                        copy_name: copy_facts
                        for copy_name, copy_facts in remaining_copies.items()
                        if copy_name not in removed_names
                    }
        return (
            sum(size for _, size, _ in remaining_copies.values()) + wanted_bytes <= self.max_bytes
            and len(remaining_copies) < MAX_COPIES
        )

    def _remove_copies(self, connection: Any, copy_names: Sequence[str]) -> bool:
        """Remove copies; False if somebody reads one."""
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '200ms'")
                connection.execute(
                    f"DELETE FROM {self._quoted_catalog} WHERE name = ANY($1::text[])", [list(copy_names)]
                )
                _drop_tables(connection, self._engine.schema, copy_names)
        except error_translation.list_driver_errors() as error:
            if error_translation.get_sqlstate(error) != "55P03":
                raise
            return False
        return True


def remove_snapshot_copies(connection: Any, schema: str, snapshot_path: str) -> None:
    """Remove the copies of a snapshot, in a transaction of the caller's."""
    quoted_catalog = f"{quote_identifier(schema)}.reaches"
    if connection.execute("SELECT to_regclass($1)", [quoted_catalog]).fetchone()[0] is not None:
        removed_rows = connection.execute(
            f"DELETE FROM {quoted_catalog} WHERE path = $1 RETURNING name", [snapshot_path]
        ).fetchall()
        _drop_tables(connection, schema, [name for (name,) in removed_rows])


def remove_leftover_copies(connection: Any, schema: str) -> None:
    """Remove copies of snapshots that are gone, and those that were never finished."""
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
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r' "
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
    """Write the statements that index a copy, as its snapshot is indexed."""
    if table.primary:
        unique_statements = [f"CREATE UNIQUE INDEX ON ({', '.join(map(quote_identifier, table.primary))})"]
    else:
        unique_statements = []
    return [*unique_statements, *(f"CREATE INDEX ON {text}" for text in write_table_indexes(table, position_method))]


__all__ = ["AccessibleCopies", "remove_leftover_copies", "remove_snapshot_copies"]

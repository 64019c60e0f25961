"""The interface of the engine for its plans, executions and stagings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines import Snapshot, StorageEngine
    from hven.engines.api.executions import DeadlineWatcher
    from hven.model.table import Table
    from hven.plugins.postgres.engine.connection_pool import ConnectionPool
    from hven.plugins.postgres.engine.schema_installation import DatabaseFeatures


@dataclass(frozen=True, slots=True)
class RequestedCopy:
    """What is known of a copy of rows: nothing if there will be no copy.

    Attributes
    ----------
    sql
        The rows of the copy as SQL; empty if there is no copy yet.
    is_pending
        True until the copy exists: a query must test the condition on all rows before anything else.
    """

    sql: str = ""
    is_pending: bool = False


class AccessibleRowsCopiesProtocol(Protocol):
    """Copies of the rows that readers see, as plans and executions use them."""

    def describe_copy(self, snapshot: Snapshot, table: Table, condition: str) -> Any:
        """Describe the copy of the rows of a snapshot that meet a condition, which is SQL over ``t0``."""

    def request_copy(self, copy: Any) -> RequestedCopy:
        """Return the SQL of the rows of a copy; let it be made if it is missing, without waiting for it."""

    def forget_copies(self) -> bool:
        """Forget which copies exist, because one was removed; return False if none was ever known."""


class PostgresEngineProtocol(Protocol):
    """The engine, as its parts use it."""

    name: str
    schema: str
    server_name: str
    uses_indexes: bool
    deadline_watcher: DeadlineWatcher
    reader_roles: Sequence[str]

    @property
    def accessible_copies(self) -> AccessibleRowsCopiesProtocol | None:
        """Copies of the rows that readers see; None if nothing may be copied."""

    @property
    def database_features(self) -> DatabaseFeatures:
        """Features of the database; the engine looks at it when they are first needed."""

    @property
    def write_pool(self) -> ConnectionPool:
        """Connections of psycopg that may write."""

    @property
    def bulk_write_pool(self) -> ConnectionPool:
        """Connections of ADBC that may write."""

    @property
    def query_pool(self) -> ConnectionPool:
        """Connections of psycopg for small queries."""

    @property
    def stream_pool(self) -> ConnectionPool:
        """Connections of ADBC for answers of any size."""

    @property
    def embedded_engine(self) -> StorageEngine:
        """The embedded engine, for what PostgreSQL does not compute."""

    def reload_features_of_own_database(self) -> bool:
        """Look at the database again; return False if it does not belong to Hven."""

    def remove_table_unless_read(self, table_name: str) -> bool:
        """Drop a table of Hven; return False if a session still reads it."""

"""What plans, executions and stagings need of the engine they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines import Snapshot, StorageEngine
    from hven.engines._query_deadlines import DeadlineWatcher
    from hven.engines.postgres.connection_pool import ConnectionPool
    from hven.engines.postgres.connection_turns import StatementTurnstile
    from hven.engines.postgres.schema_installation import DatabaseFeatures
    from hven.model.table import Table


class AccessibleCopiesProtocol(Protocol):
    """Copies of what readers see, as plans and executions need them."""

    def describe_copy(self, snapshot: Snapshot, table: Table, condition: str) -> Any:
        """Describe a copy: of the rows of a snapshot that meet a condition, SQL over ``t0``."""

    def find_rows(self, copy: Any) -> str | None:
        """Return the SQL of its rows; empty: it is being made; None: there will be none."""

    def forget_copies(self) -> bool:
        """Forget which copies there are, for one was removed; False: none was ever known."""


class PostgresEngineProtocol(Protocol):
    """The engine, as its parts see it."""

    name: str
    schema: str
    server_name: str
    uses_indexes: bool
    deadline_watcher: DeadlineWatcher
    reader_roles: Sequence[str]

    @property
    def accessible_copies(self) -> AccessibleCopiesProtocol | None:
        """Copies of what readers see; None if nothing may be copied."""

    @property
    def database_features(self) -> DatabaseFeatures:
        """What the database offers; looked at when first needed."""

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

    def reload_features(self) -> bool:
        """Look anew what the database offers, if it is ours to set up."""

    def remove_table(self, table_name: str) -> bool:
        """Drop a table of ours; False if readers hold it yet."""


class LiveEngineProtocol(PostgresEngineProtocol, Protocol):
    """The engine of a database that is read in place."""

    timeout_seconds: float
    turnstile: StatementTurnstile

    def detect_extension(self, extension: str) -> None:
        """Look at the database anew, unless it has this extension: it may have come since."""

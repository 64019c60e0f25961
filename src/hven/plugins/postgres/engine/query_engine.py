"""The base class of the engines on PostgreSQL: of Hven's own tables, and of tables that other programs write."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from hven.engines import StorageEngine
from hven.model import plugins
from hven.model.errors import BindError, HvenError, OverloadedError
from hven.plugins.postgres.engine import error_translation

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import QueryPlan
    from hven.plugins.postgres.engine.connection_pool import ConnectionPool
    from hven.plugins.postgres.engine.schema_installation import DatabaseFeatures


class PostgresEngineBase(StorageEngine):
    """An engine that answers queries with a database, and with the embedded engine where the database cannot.

    Parameters
    ----------
    directory, memory, threads
        Settings of the embedded engine, which is opened when it is first needed.
    lock
        Lock of the engine.
    """

    server_name: str

    def __init__(self, directory: Path, *, memory: int, threads: int | None, lock: threading.RLock) -> None:
        self._lock = lock
        self._embedded_arguments = (directory, memory, threads)
        self._opened_embedded: StorageEngine | None = None

    @property
    @abstractmethod
    def database_features(self) -> DatabaseFeatures:
        """Features of the database; the engine looks at it when they are first needed."""

    @property
    @abstractmethod
    def query_pool(self) -> ConnectionPool:
        """Connections of psycopg for small queries."""

    @abstractmethod
    def plan_bound_query(self, bound_query: BoundQuery) -> QueryPlan:
        """Plan a bound query."""

    @property
    def embedded_engine(self) -> StorageEngine:
        """The embedded engine, for mappings and for what PostgreSQL cannot compute."""
        with self._lock:
            if self._opened_embedded is None:
                directory, memory, threads = self._embedded_arguments
                plugin = plugins.load_plugin("engines", "duckdb")
                self._opened_embedded = plugin.open(directory, memory=memory, threads=threads)
            return self._opened_embedded

    def plan_query(self, bound_query: BoundQuery) -> QueryPlan:
        """Plan a bound query; see `hven.engines.StorageEngine.plan_query`."""
        try:
            return self.plan_bound_query(bound_query)
        except RecursionError:
            raise BindError("the query is nested too deeply", remedy="reduce the nesting") from None

    def evaluate_query(self, bound_query: BoundQuery, inputs: Mapping[str, pa.Table | pa.RecordBatch]) -> pa.Table:
        """Evaluate a bound query over rows in memory, with the embedded engine."""
        return self.embedded_engine.evaluate_query(bound_query, inputs)

    def find_outage(self) -> str | None:
        """Return the reason why the database does not respond now, for the health page; None if it does."""
        try:
            _ = self.database_features
            with self.query_pool.borrow_connection() as connection:
                connection.execute("SELECT 1")
        except OverloadedError:
            return None  # a busy server is not down
        except HvenError as error:
            return str(error)
        except error_translation.list_driver_error_classes() as error:
            return str(error_translation.translate_postgres_error(error, server_name=self.server_name))
        return None

    def close_embedded(self) -> None:
        """Close the embedded engine, if it was needed."""
        if self._opened_embedded is not None:
            self._opened_embedded.close()

"""What every engine on PostgreSQL does for queries, whether the tables are ours or another program's."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from hven.engines import Engine
from hven.engines.postgres import faults
from hven.model import plugins
from hven.model.errors import BindError, HvenError, Overloaded

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from hven.adql.tree import Bound
    from hven.engines import Plan
    from hven.engines.postgres.install import Found
    from hven.engines.postgres.sessions import Pool


class Answering(Engine):
    """An engine that answers queries with a database, and with the embedded engine where that cannot.

    Parameters
    ----------
    directory, memory, threads
        For the embedded engine, which is opened when it is first needed.
    lock
        The engine's own.
    """

    where: str

    def __init__(self, directory: Path, *, memory: int, threads: int | None, lock: threading.RLock) -> None:
        self._lock = lock
        self._aside = (directory, memory, threads)
        self._embedded: Engine | None = None

    @property
    @abstractmethod
    def found(self) -> Found:
        """What the database offers; looked at when first needed."""

    @property
    @abstractmethod
    def askers(self) -> Pool:
        """Connections of psycopg for small queries."""

    @abstractmethod
    def plan(self, bound: Bound) -> Plan:
        """Plan a bound query."""

    @property
    def embedded(self) -> Engine:
        """The embedded engine, for mappings and for what PostgreSQL does not compute."""
        with self._lock:
            if self._embedded is None:
                directory, memory, threads = self._aside
                self._embedded = plugins.load("engines", "duckdb").open(directory, memory=memory, threads=threads)
            return self._embedded

    def prepare(self, bound: Bound) -> Plan:
        """Plan a bound query; see `hven.engines.Engine.prepare`."""
        try:
            return self.plan(bound)
        except RecursionError:
            raise BindError("the query is nested too deeply", remedy="write it flatter") from None

    def compute(self, bound: Bound, inputs: Mapping[str, pa.Table | pa.RecordBatch]) -> pa.Table:
        """Evaluate a bound query over rows in memory: they are here already, so the embedded engine does it."""
        return self.embedded.compute(bound, inputs)

    def problem(self) -> str | None:
        """Return what keeps the database from answering now, or None; for the health page."""
        try:
            _ = self.found
            with self.askers.borrowed() as connection:
                connection.execute("SELECT 1")
        except Overloaded:
            return None  # busy is not away
        except HvenError as error:
            return str(error)
        except faults.kinds() as error:
            return str(faults.translate(error, where=self.where))
        return None

    def leave(self) -> None:
        """Close the embedded engine, if it was needed."""
        if self._embedded is not None:
            self._embedded.close()


__all__ = ["Answering"]

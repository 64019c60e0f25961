"""The embedded engine keeps the contract of engines."""

from __future__ import annotations

from hven.engines import duckdb
from hven.testing.engine import EngineContract


class TestDuckDB(EngineContract):
    def open(self, directory):
        return duckdb.open(directory, memory=512 * 1024**2, threads=2)

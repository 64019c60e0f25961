"""Functions that DuckDB does not have, computed by `hven.sky` over whole vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def register(con: duckdb.DuckDBPyConnection) -> None:
    """Make the functions known to a DuckDB instance."""

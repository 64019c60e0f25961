"""The embedded engine: immutable Arrow snapshots with indexes, and DuckDB, which computes over the mapped files.

::

    stage_snapshot -> write .. -> finish    staging, indexing, statistics: a new snapshot directory
    plan_query(bound) -> DuckPlan           the SQL text (dialect), and how indexes can narrow its tables
    DuckPlan.execute(values, relations)     candidates from the indexes -> Arrow alone, or DuckDB over the candidates,
                                            or DuckDB over all rows
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from hven.engines import StorageEngine


# the contract's name
def open(directory: Path, *, memory: int, threads: int | None = None) -> StorageEngine:  # noqa: A001
    """Open the engine of a site in this process.

    Parameters
    ----------
    directory
        Directory of the snapshots (``var/snapshots``); created if it does not exist.
    memory
        Maximum memory of DuckDB in this process, in bytes; mapped files are not counted.
    threads
        Number of threads that compute; None means one for each processor.
    """
    from hven.engines.duckdb.engine import DuckEngine  # noqa: PLC0415  (the record of the engine needs no DuckDB)

    return DuckEngine(directory, memory_bytes=memory, thread_count=threads)


__all__ = ["open"]

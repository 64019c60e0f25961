"""The embedded engine: immutable Arrow snapshots, indexes beside them, DuckDB computing over the maps.

::

    stage -> write .. -> finish          staging, indexing, statistics: a new snapshot directory
    prepare(bound) -> Plan               plan: the SQL text (dialect) and the roads an index opens
    Plan.execute(values, relations)      candidates from the indexes -> Arrow alone, or DuckDB over the candidates,
                                         or DuckDB over the whole map
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
        Where snapshots live (``var/snapshots``); made if it is not there.
    memory
        Bytes that DuckDB may use in this process; the mapped data are not counted.
    threads
        Threads that compute; None = one for each processor.
    """
    from hven.engines.duckdb.engine import DuckEngine  # noqa: PLC0415  (what an engine brings is asked without it)

    return DuckEngine(directory, memory_bytes=memory, thread_count=threads)


__all__ = ["open"]

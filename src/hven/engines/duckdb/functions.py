"""The functions that a DuckDB is given: those of the sky (`engines._functions`), and those that mappings have beside (`dialect.UDFS` lists them)."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from hven.engines import _functions
from hven.engines._functions import of_whole_rows
from hven.engines.duckdb import contouring, curating, times
from hven.engines.duckdb.dialect import MACROS, UDFS

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb
    import pyarrow as pa


class Functions:
    """The functions of one DuckDB instance, each defined when a query first names it: all of them take longer than a small ingest. Thread-safe."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._lock = threading.RLock()
        self._missing: dict[str, Any] = {**UDFS, **{text.partition("(")[0].split()[-1]: text for text in MACROS}}

    def define(self, sql: str) -> None:
        """Define what SQL names, for all cursors of the instance, which is in memory anyway."""
        with self._lock:
            for name in re.findall(r"hven_\w+", sql):
                if made := self._missing.get(name):
                    if isinstance(made, str):
                        self.define(made.partition("(")[2])  # what a macro names must be there
                        self._con.execute(made)
                    else:
                        called = of_whole_rows(FUNCTIONS[name])
                        self._con.create_function(name, called, list(made[0]), made[1], **_VECTORISED)
                    del self._missing[name]


def called(name: str, *columns: Any) -> pa.Array:
    """Compute one of the functions as DuckDB does."""
    return of_whole_rows(FUNCTIONS[name])(*columns)


# duckdb's stubs know enums only
_VECTORISED: Any = {"type": "arrow", "side_effects": False, "null_handling": "special"}
FUNCTIONS: dict[str, Callable[..., pa.Array]] = {
    **_functions.FUNCTIONS,
    **curating.FUNCTIONS,
    **contouring.FUNCTIONS,
    **times.FUNCTIONS,
}

"""The functions that a DuckDB is given.

Those of the sky (`engines._sky_functions`), and those that mappings have beside (`dialect.UDF_SIGNATURES` lists them).
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from hven.engines import _sky_functions
from hven.engines._sky_functions import skip_null_rows
from hven.engines.duckdb import contour_functions, mapping_functions, time_functions
from hven.engines.duckdb.dialect import SQL_MACROS, UDF_SIGNATURES

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb
    import pyarrow as pa


class UdfRegistry:
    """The functions of one DuckDB instance, each defined when a query first names it.

    All of them take longer than a small ingest. Thread-safe.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self._undefined: dict[str, Any] = {
            **UDF_SIGNATURES,
            **{text.partition("(")[0].split()[-1]: text for text in SQL_MACROS},
        }

    def define_named_functions(self, sql: str) -> None:
        """Define what SQL names, for all cursors of the instance, which is in memory anyway."""
        with self._lock:
            for name in re.findall(r"hven_\w+", sql):
                definition = self._undefined.get(name)
                if definition:
                    if isinstance(definition, str):
                        self.define_named_functions(definition.partition("(")[2])  # what a macro names must be there
                        self._connection.execute(definition)
                    else:
                        wrapped_function = skip_null_rows(UDFS[name])
                        self._connection.create_function(
                            name, wrapped_function, list(definition[0]), definition[1], **_VECTORIZED_OPTIONS
                        )
                    del self._undefined[name]


def call_function(function_name: str, *columns: Any) -> pa.Array:
    """Compute one of the functions as DuckDB does."""
    return skip_null_rows(UDFS[function_name])(*columns)


# duckdb's stubs know enums only
_VECTORIZED_OPTIONS: Any = {"type": "arrow", "side_effects": False, "null_handling": "special"}
UDFS: dict[str, Callable[..., pa.Array]] = {
    **_sky_functions.SKY_FUNCTIONS,
    **mapping_functions.MAPPING_FUNCTIONS,
    **contour_functions.CONTOUR_FUNCTIONS,
    **time_functions.TIME_FUNCTIONS,
}

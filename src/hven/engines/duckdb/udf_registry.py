"""The functions that a DuckDB instance gets from Hven.

They are the functions of the sky (`engines._sky_functions`) and those of mappings (`dialect.UDF_SIGNATURES` lists
them).
"""

from __future__ import annotations

import inspect
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

    Defining all of them would take longer than a small ingest. Thread-safe.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self._undefined: dict[str, Any] = dict(UDF_SIGNATURES)
        for macro_sql in SQL_MACROS:
            macro_name = macro_sql.partition("(")[0].split()[-1]
            self._undefined[macro_name] = macro_sql

    def define_named_functions(self, sql: str) -> None:
        """Define the functions that SQL names, for all cursors of the instance; they are not stored."""
        with self._lock:
            for name in re.findall(r"hven_\w+", sql):
                definition = self._undefined.get(name)
                if not definition:
                    continue
                if isinstance(definition, str):
                    _, _, macro_body = definition.partition("(")
                    self.define_named_functions(macro_body)  # the functions that a macro names must exist
                    self._connection.execute(definition)
                else:
                    argument_types, result_type = definition
                    function = _wrap_with_signature(skip_null_rows(UDFS[name]), len(argument_types))
                    self._connection.create_function(
                        name, function, list(argument_types), result_type, **_VECTORIZED_OPTIONS
                    )
                del self._undefined[name]


def _wrap_with_signature(function: Callable[..., pa.Array], parameter_count: int) -> Callable[..., pa.Array]:
    """Give a function of many columns a signature, by which DuckDB counts its parameters."""
    parameters = [
        inspect.Parameter(f"column{number}", inspect.Parameter.POSITIONAL_ONLY) for number in range(parameter_count)
    ]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


def call_udf(function_name: str, *columns: Any) -> pa.Array:
    """Compute a function outside of DuckDB, with the result that DuckDB gets."""
    return skip_null_rows(UDFS[function_name])(*columns)


# the stubs of duckdb accept only enumerations
_VECTORIZED_OPTIONS: Any = {"type": "arrow", "side_effects": False, "null_handling": "special"}
UDFS: dict[str, Callable[..., pa.Array]] = {
    **_sky_functions.SKY_FUNCTIONS,
    **mapping_functions.MAPPING_FUNCTIONS,
    **contour_functions.CONTOUR_FUNCTIONS,
    **time_functions.TIME_FUNCTIONS,
}

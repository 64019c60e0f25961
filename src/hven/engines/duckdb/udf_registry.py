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
from hven.engines._engine_functions import EngineFunction, iterate_engine_functions
from hven.engines._sky_functions import skip_null_rows
from hven.engines.duckdb import mapping_functions, time_functions
from hven.engines.duckdb.dialect import SQL_MACROS, UDF_SIGNATURES, DuckDBDialect
from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import duckdb
    import pyarrow as pa


class UdfRegistry:
    """The functions of one DuckDB instance, each defined when a query first names it.

    Defining all of them would take longer than a small ingest. Thread-safe.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self._undefined: dict[str, EngineFunction | str] = {
            name: EngineFunction(*signature, UDFS[name]) for name, signature in UDF_SIGNATURES.items()
        }
        self._undefined |= _map_macro_names_to_statements(SQL_MACROS)
        self._has_package_functions = False

    def define_functions_named_in_sql(self, sql: str) -> None:
        """Define the functions that SQL names, for all cursors of the instance; they are not stored."""
        with self._lock:
            for name in _NAME_PATTERN.findall(sql):
                if name not in _OWN_NAMES and not self._has_package_functions:
                    self._add_package_functions()
                definition = self._undefined.get(name)
                if not definition:
                    continue
                if isinstance(definition, str):
                    _, _, macro_body = definition.partition("(")
                    self.define_functions_named_in_sql(macro_body)  # the functions that a macro names must exist
                    self._connection.execute(definition)
                else:
                    argument_types: list[Any] = list(definition.argument_types)
                    function = _wrap_with_signature(skip_null_rows(definition.compute), len(argument_types))
                    self._connection.create_function(
                        name, function, argument_types, definition.result_type, **_VECTORIZED_OPTIONS
                    )
                del self._undefined[name]

    def _add_package_functions(self) -> None:
        """Add the functions of packages, when a query first names a function that is not Hven's own."""
        self._has_package_functions = True
        for package_functions in iterate_engine_functions(DuckDBDialect.name):
            self._undefined |= package_functions.functions
            self._undefined |= _map_macro_names_to_statements(package_functions.macros)


def has_parallel_functions(sql: str) -> bool:
    """Return whether SQL calls functions of packages that compute on all cores themselves."""
    package_names = set(_NAME_PATTERN.findall(sql)) - _OWN_NAMES
    return bool(package_names) and not package_names.isdisjoint(_list_parallel_functions())


@plugins.cache_until_selection
def _list_parallel_functions() -> frozenset[str]:
    package_functions = iterate_engine_functions(DuckDBDialect.name)
    return frozenset(name for functions in package_functions for name in functions.parallel_functions)


def _map_macro_names_to_statements(statements: Iterable[str]) -> dict[str, str]:
    """Return statements that define macros, by the names of the macros."""
    return {statement.partition("(")[0].split()[-1]: statement for statement in statements}


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
    **time_functions.TIME_FUNCTIONS,
}
_NAME_PATTERN = re.compile(r"hven_\w+")
_OWN_NAMES = frozenset([*UDFS, *_map_macro_names_to_statements(SQL_MACROS)])

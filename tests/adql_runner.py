"""Run ADQL in DuckDB: parse, bind, write and execute a query."""

from __future__ import annotations

from functools import lru_cache

import duckdb
import pyarrow as pa

from hven.adql import bind_expression, bind_query, parse_expression, parse_query
from hven.adql.functions import MAPPING_FUNCTIONS, QUERY_FUNCTIONS
from hven.adql.scope import StaticTableCatalogue
from hven.adql.sql_writer import SqlWriter, write_sql
from hven.engines._engine_functions import iterate_engine_functions
from hven.engines.duckdb.dialect import SQL_MACROS, UDF_SIGNATURES, DuckDBDialect
from hven.engines.duckdb.udf_registry import UdfRegistry
from hven.model.table import Column, Table
from hven.model.types import BOOLEAN, FLOAT64, INT32, INT64, STRING, TIMESTAMP, ColumnType

TYPES = {
    pa.float64(): FLOAT64,
    pa.int64(): INT64,
    pa.int32(): INT32,
    pa.string(): STRING,
    pa.timestamp("us"): TIMESTAMP,
    pa.bool_(): BOOLEAN,
}


def create_connection() -> duckdb.DuckDBPyConnection:
    """Create a DuckDB connection with all functions, also those of packages in use."""
    con = duckdb.connect()
    packages = list(iterate_engine_functions("duckdb"))
    names = [name for package in packages for name in (*package.functions, *package.macros)]
    UdfRegistry(con).define_functions_named_in_sql(" ".join([*UDF_SIGNATURES, *SQL_MACROS, *names]))
    return con


def compute_expression(con, text, units=None, **columns) -> pa.Array:
    """Compute an expression over columns; units by name."""
    table = pa.table(columns or {"nothing": [0]})
    known = [
        Column(
            name=name,
            type=TYPES.get(table.schema.field(name).type, ColumnType("double", "*")),
            unit=(units or {}).get(name),
        )
        for name in table.schema.names
    ]
    bound = bind_expression(parse_expression(text), known)
    con.register("t0", table)
    written = write_expression(bound, DuckDBDialect())
    return con.execute(f"SELECT {written} AS v FROM t0").to_arrow_table()["v"].combine_chunks()


@lru_cache(maxsize=1)
def get_connection() -> duckdb.DuckDBPyConnection:
    return create_connection()


def write_expression(expr, dialect) -> str:
    """Write a bound expression over columns of ``t0`` with every literal inline."""
    return SqlWriter(dialect, {}, frozenset()).write_expression(expr)


OTHER_RUNNERS: list = []  # functions that run bound queries in another engine; the last one is used


def run_query(
    text, tables: list[tuple[Table, pa.Table]], *, functions=QUERY_FUNCTIONS, lenient=False, catalogue=None
) -> pa.Table:
    """Run a query over tables and check that the result has the declared Arrow types."""
    pairs = list(tables)
    bound = bind_query(
        parse_query(text), catalogue or StaticTableCatalogue(table for table, _ in pairs), functions=functions
    )
    if OTHER_RUNNERS and not lenient and functions is not MAPPING_FUNCTIONS:
        return OTHER_RUNNERS[-1](bound, pairs)
    return run_in_duckdb(bound, pairs, lenient=lenient)


def run_in_duckdb(bound, pairs, *, lenient=False) -> pa.Table:
    """Run a bound query in DuckDB."""
    con = get_connection().cursor()
    names = {}
    for number, (table, rows) in enumerate(pairs):
        con.register(f"rows_{number}", rows)
        names[table.qualified_name] = f"rows_{number}"
    written = write_sql(bound, DuckDBDialect(lenient=lenient), names)
    answer = con.execute(written.sql, [bound.literal_values[slot] for slot in written.parameter_slots]).to_arrow_table()
    assert answer.column_names == [column.name for column in bound.columns]
    for field, column in zip(answer.schema, bound.columns, strict=True):
        wanted = column.type.arrow
        assert field.type == wanted or pa.types.is_list(wanted) or pa.types.is_fixed_size_list(wanted), (
            field,
            wanted,
            written.sql,
        )
    return answer


def evaluate_expression(expression, tables=None, **options):
    """Evaluate an expression over a table of one row."""
    if tables is None:
        tables = [(Table(schema="s", name="one", columns=()), pa.table({"dummy": pa.array([1])}))]
    answer = run_query(f"SELECT {expression} AS v FROM {tables[0][0].qualified_name}", tables, **options)
    return answer.column("v")[0].as_py()

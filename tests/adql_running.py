"""Runs ADQL on a real DuckDB: parse, bind, write, execute."""

from __future__ import annotations

from functools import lru_cache

import duckdb
import pyarrow as pa

from hven.adql import bind, parse
from hven.adql.functions import MAPPING, QUERY
from hven.adql.scope import Tables
from hven.adql.sql import Writer, write
from hven.engines.duckdb.dialect import MACROS, UDFS, DuckDB
from hven.engines.duckdb.functions import Functions
from hven.model.table import Table


def made() -> duckdb.DuckDBPyConnection:
    """Make a DuckDB with all functions."""
    con = duckdb.connect()
    Functions(con).define(" ".join([*UDFS, *MACROS]))
    return con


@lru_cache(maxsize=1)
def connection() -> duckdb.DuckDBPyConnection:
    return made()


def write_expression(expr, dialect) -> str:
    """Write a bound expression over columns of ``t0``, every literal inline."""
    return Writer(dialect, {}, frozenset()).expr(expr)


ELSEWHERE: list = []  # a function that runs bound queries in another engine, if its tests said so


def run(text, tables: list[tuple[Table, pa.Table]], *, functions=QUERY, lenient=False, catalogue=None) -> pa.Table:
    """Give the answer of a query over these tables; its Arrow types are the declared ones, or the test fails."""
    pairs = list(tables)
    bound = bind(parse(text), catalogue or Tables(table for table, _ in pairs), functions=functions)
    if ELSEWHERE and not lenient and functions is not MAPPING:
        return ELSEWHERE[-1](bound, pairs)
    return embedded(bound, pairs, lenient=lenient)


def embedded(bound, pairs, *, lenient=False) -> pa.Table:
    """Give the answer of DuckDB."""
    con = connection().cursor()
    names = {}
    for number, (table, rows) in enumerate(pairs):
        con.register(f"rows_{number}", rows)
        names[table.qualified] = f"rows_{number}"
    written = write(bound, DuckDB(lenient=lenient), names)
    answer = con.execute(written.sql, [bound.slots[slot] for slot in written.slots]).to_arrow_table()
    assert answer.column_names == [column.name for column in bound.columns]
    for field, column in zip(answer.schema, bound.columns, strict=True):
        wanted = column.type.arrow
        assert field.type == wanted or pa.types.is_list(wanted) or pa.types.is_fixed_size_list(wanted), (
            field,
            wanted,
            written.sql,
        )
    return answer


def value(expression, tables=None, **options):
    """Give the one value of an expression over a table of one row."""
    if tables is None:
        tables = [(Table(schema="s", name="one", columns=()), pa.table({"dummy": pa.array([1])}))]
    answer = run(f"SELECT {expression} AS v FROM {tables[0][0].qualified}", tables, **options)
    return answer.column("v")[0].as_py()

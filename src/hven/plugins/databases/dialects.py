"""The dialects of databases: quotes, literals, how values are sent and compared, where comments are.

A record for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.plugins.databases import block_checksums

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

(
    KIND_WHOLE,
    KIND_SINGLE,
    KIND_DOUBLE,
    KIND_DECIMAL,
    KIND_TEXT,
    KIND_TIME,
    KIND_TIME_OF_DAY,
    KIND_BYTES,
    KIND_BITS,
    KIND_GEOMETRY,
) = (
    "whole",
    "single",
    "double",
    "decimal",
    "text",
    "time",
    "clock",
    "bytes",
    "bits",
    "shape",
)
REAL_KINDS = {KIND_SINGLE, KIND_DOUBLE, KIND_DECIMAL}
_NO_TEMPLATES: Mapping[str, str] = {}


def quote_text(value: str) -> str:
    """Write a text literal of standard SQL."""
    return "'" + value.replace("'", "''") + "'"


def write_mariadb_hex_literal(value: str) -> str:
    """Write a text literal that all modes of MariaDB read alike: a backslash may be an escape or not."""
    return f"_utf8mb4 X'{value.encode().hex()}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlSourceDialect:
    """The dialect of one database; ``{}`` stands for a column or a value.

    Attributes
    ----------
    begin_statements
        What begins a session: one state of the data, nothing written, times in UTC.
    sent_templates
        How values of a kind are asked for; as they are where nothing is said.
    comparison_templates, sum_templates
        How they compare in the order of what is read from them; as a term of a sum.
    null_templates
        The condition that there is none, where it is more than IS NULL.
    write_text, write_bytes, time_template, double_template
        Literals: of a text, of one that compares byte by byte, of a time in UTC, of a number of double precision.
    has_tuples
        Whether ``(a, b) IN ((1, 2), ..)`` is known.
    tables_sql
        Lists schema (null: what needs no saying), name, whether it is a view, about how many rows.
    comments_sql
        Lists columns with their comments; ``{0}`` is the schema or ``NULL``, ``{1}`` the table.
    recoding_template
        A text (``{0}``) whose bytes are of another encoding (``{1}``) than the column says; empty: it cannot be said.
    summing
        How blocks of keys are summed up; None: that cannot be told.
    """

    name: str
    quote: str = '"'
    begin_statements: tuple[str, ...] = ()
    sent_templates: Mapping[str, str] = field(default_factory=lambda: _NO_TEMPLATES)
    comparison_templates: Mapping[str, str] = field(default_factory=lambda: _NO_TEMPLATES)
    sum_templates: Mapping[str, str] = field(default_factory=lambda: _NO_TEMPLATES)
    null_templates: Mapping[str, str] = field(default_factory=lambda: _NO_TEMPLATES)
    write_text: Callable[[str], str] = quote_text
    write_bytes: Callable[[str], str] = quote_text
    time_template: str = "TIMESTAMP '{}'"
    double_template: str = "{}"
    has_tuples: bool = False
    tables_sql: str = ""
    comments_sql: str = ""
    recoding_template: str = ""
    summing: block_checksums.BlockChecksumDialect | None = None

    def quote_name(self, name: str) -> str:
        """Quote a name."""
        return f"{self.quote}{name.replace(self.quote, self.quote * 2)}{self.quote}"


PLAIN_DIALECT = SqlSourceDialect(name="a database")

MARIADB_DIALECT = SqlSourceDialect(
    name="MariaDB",
    quote="`",
    begin_statements=(
        "SET time_zone = '+00:00'",
        # MySQL compares nothing with a day that it would not take
        "SET SESSION sql_mode = REPLACE(REPLACE(@@sql_mode, 'NO_ZERO_DATE', ''), 'NO_ZERO_IN_DATE', '')",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    sent_templates={
        KIND_TIME_OF_DAY: "CAST({} AS CHAR)",
        KIND_WHOLE: "CAST({} AS CHAR(20))",  # of those without a sign, ODBC's driver makes negative ones
        KIND_BITS: "{} + 0",
        KIND_TIME: "CAST({} AS CHAR(26))",  # zero dates, which drivers make other things of
        KIND_BYTES: "CONCAT(CHAR(92 USING ascii), 'x', LOWER(HEX({})))",  # as PostgreSQL writes them
        KIND_GEOMETRY: "ST_AsText({})",
    },
    comparison_templates={
        **dict.fromkeys(REAL_KINDS, "({} + 0e0)"),
        KIND_TEXT: "CAST(CONVERT({} USING utf8mb4) AS BINARY)",
        KIND_BITS: "({} + 0)",
    },
    sum_templates={KIND_WHOLE: "CAST({} AS SIGNED)", KIND_BITS: "CAST({} AS SIGNED)"},
    null_templates={KIND_TIME: "({0} IS NULL OR {0} = 0)"},
    write_text=write_mariadb_hex_literal,
    write_bytes=lambda value: f"X'{value.encode().hex()}'",
    has_tuples=True,
    tables_sql=(
        "SELECT IF(table_schema = DATABASE(), NULL, table_schema), table_name, table_type LIKE '%VIEW', table_rows"
        " FROM information_schema.tables"
        " WHERE table_schema NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')"
        " ORDER BY table_schema <=> DATABASE() DESC, 1, 2"
    ),
    comments_sql=(
        "SELECT column_name, column_comment FROM information_schema.columns"
        " WHERE table_schema = COALESCE({0}, DATABASE()) AND table_name = {1}"
    ),
    recoding_template="CONVERT(CAST({0} AS BINARY) USING {1})",
    summing=block_checksums.MARIADB_CHECKSUMS,
)

POSTGRESQL_DIALECT = SqlSourceDialect(
    name="PostgreSQL",
    begin_statements=(
        "SET datestyle = ISO",
        "SET timezone = 'UTC'",
        "SET extra_float_digits = 3",
        "SET intervalstyle = postgres",
        "SET bytea_output = hex",
        "SET standard_conforming_strings = on",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "BEGIN",
    ),
    sent_templates={
        KIND_TIME: "CAST({} AS varchar(32))",
        KIND_TIME_OF_DAY: "CAST({} AS varchar(32))",
        KIND_BYTES: "CAST({} AS text)",
    },
    comparison_templates={
        **dict.fromkeys(REAL_KINDS, "CAST({} AS double precision)"),
        KIND_TEXT: 'CAST({} AS text) COLLATE "C"',
    },
    sum_templates={KIND_WHOLE: "CAST({} AS bigint)"},
    null_templates=dict.fromkeys(REAL_KINDS, "({0} IS NULL OR {0} = 'NaN')"),
    double_template="CAST('{}' AS double precision)",
    has_tuples=True,
    tables_sql=(
        "SELECT CASE WHEN table_schema = current_schema() THEN NULL ELSE CAST(table_schema AS text) END,"
        " CAST(table_name AS text), table_type LIKE '%VIEW', NULL"
        " FROM information_schema.tables WHERE table_schema NOT IN ('information_schema', 'pg_catalog')"
        " ORDER BY 1 NULLS FIRST, 2"
    ),
    comments_sql=(
        "SELECT CAST(a.attname AS text), col_description(a.attrelid, a.attnum)"
        " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = COALESCE({0}, current_schema()) AND c.relname = {1} AND a.attnum > 0"
    ),
    summing=block_checksums.POSTGRESQL_CHECKSUMS,
)

SQLITE_DIALECT = SqlSourceDialect(
    name="SQLite",
    comparison_templates={KIND_TEXT: "CAST({} AS TEXT) COLLATE BINARY"},
    time_template="'{}'",
    tables_sql=(
        "SELECT NULL, name, type = 'view', NULL FROM sqlite_master WHERE type IN ('table', 'view') AND name "
        "NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ),
)

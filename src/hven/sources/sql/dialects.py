"""What databases write otherwise than others: quotes, literals, how values travel and compare, where comments stand; a record for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.sources.sql import blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WHOLE, SINGLE, DOUBLE, DECIMAL, TEXT, TIME, CLOCK, BYTES, BITS, SHAPE = (
    "whole", "single", "double", "decimal", "text", "time", "clock", "bytes", "bits", "shape",
)  # fmt: skip
REALS = {SINGLE, DOUBLE, DECIMAL}
_AS_IS: Mapping[str, str] = {}


def doubled(value: str) -> str:
    """Write a text as standard SQL has it."""
    return "'" + value.replace("'", "''") + "'"


def hexadecimal(value: str) -> str:
    """Write a text that no mode of MariaDB reads otherwise: a backslash may be an escape there, or not."""
    return f"_utf8mb4 X'{value.encode().hex()}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one database writes what others write otherwise; ``{}`` is a column, or a value.

    Attributes
    ----------
    begin
        What begins a session: one state of the data, nothing written, times in UTC.
    sent
        How values of a kind are asked for; as they are where nothing is said.
    compared, added
        How they compare in the order of what is read from them; as a term of a sum.
    missing
        The condition that there is none, where it is more than IS NULL.
    text, bytes_, time, double
        Literals: of a text, of one that compares byte by byte, of a time in UTC, of a number of double precision.
    tuples
        Whether ``(a, b) IN ((1, 2), ..)`` is known.
    tables
        Lists schema (null: what needs no saying), name, whether it is a view, about how many rows.
    comments
        Lists columns with their comments; ``{0}`` is the schema or ``NULL``, ``{1}`` the table.
    recoded
        A text (``{0}``) whose bytes are of another encoding (``{1}``) than the column says; empty: it cannot be said.
    summing
        How blocks of keys are summed up; None: that cannot be told.
    """

    name: str
    quote: str = '"'
    begin: tuple[str, ...] = ()
    sent: Mapping[str, str] = field(default_factory=lambda: _AS_IS)
    compared: Mapping[str, str] = field(default_factory=lambda: _AS_IS)
    added: Mapping[str, str] = field(default_factory=lambda: _AS_IS)
    missing: Mapping[str, str] = field(default_factory=lambda: _AS_IS)
    text: Callable[[str], str] = doubled
    bytes_: Callable[[str], str] = doubled
    time: str = "TIMESTAMP '{}'"
    double: str = "{}"
    tuples: bool = False
    tables: str = ""
    comments: str = ""
    recoded: str = ""
    summing: blocks.Summing | None = None

    def quoted(self, name: str) -> str:
        """Write a name."""
        return f"{self.quote}{name.replace(self.quote, self.quote * 2)}{self.quote}"


PLAIN = Dialect(name="a database")

MARIADB = Dialect(
    name="MariaDB",
    quote="`",
    begin=(
        "SET time_zone = '+00:00'",
        # MySQL compares nothing with a day that it would not take
        "SET SESSION sql_mode = REPLACE(REPLACE(@@sql_mode, 'NO_ZERO_DATE', ''), 'NO_ZERO_IN_DATE', '')",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    sent={
        CLOCK: "CAST({} AS CHAR)",
        WHOLE: "CAST({} AS CHAR(20))",  # of those without a sign, ODBC's driver makes negative ones
        BITS: "{} + 0",
        TIME: "CAST({} AS CHAR(26))",  # zero dates, which drivers make other things of
        BYTES: "CONCAT(CHAR(92 USING ascii), 'x', LOWER(HEX({})))",  # as PostgreSQL writes them
        SHAPE: "ST_AsText({})",
    },
    compared={
        **dict.fromkeys(REALS, "({} + 0e0)"),
        TEXT: "CAST(CONVERT({} USING utf8mb4) AS BINARY)",
        BITS: "({} + 0)",
    },
    added={WHOLE: "CAST({} AS SIGNED)", BITS: "CAST({} AS SIGNED)"},
    missing={TIME: "({0} IS NULL OR {0} = 0)"},
    text=hexadecimal,
    bytes_=lambda value: f"X'{value.encode().hex()}'",
    tuples=True,
    tables=(
        "SELECT IF(table_schema = DATABASE(), NULL, table_schema), table_name, table_type LIKE '%VIEW', table_rows FROM information_schema.tables"
        " WHERE table_schema NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys') ORDER BY table_schema <=> DATABASE() DESC, 1, 2"
    ),
    comments="SELECT column_name, column_comment FROM information_schema.columns WHERE table_schema = COALESCE({0}, DATABASE()) AND table_name = {1}",
    recoded="CONVERT(CAST({0} AS BINARY) USING {1})",
    summing=blocks.MARIADB,
)

POSTGRESQL = Dialect(
    name="PostgreSQL",
    begin=(
        "SET datestyle = ISO", "SET timezone = 'UTC'", "SET extra_float_digits = 3", "SET intervalstyle = postgres", "SET bytea_output = hex",
        "SET standard_conforming_strings = on", "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", "BEGIN",
    ),
    sent={TIME: "CAST({} AS varchar(32))", CLOCK: "CAST({} AS varchar(32))", BYTES: "CAST({} AS text)"},
    compared={**dict.fromkeys(REALS, "CAST({} AS double precision)"), TEXT: 'CAST({} AS text) COLLATE "C"'},
    added={WHOLE: "CAST({} AS bigint)"},
    missing=dict.fromkeys(REALS, "({0} IS NULL OR {0} = 'NaN')"),
    double="CAST('{}' AS double precision)",
    tuples=True,
    tables=(
        "SELECT CASE WHEN table_schema = current_schema() THEN NULL ELSE CAST(table_schema AS text) END, CAST(table_name AS text), table_type LIKE '%VIEW', NULL"
        " FROM information_schema.tables WHERE table_schema NOT IN ('information_schema', 'pg_catalog') ORDER BY 1 NULLS FIRST, 2"
    ),
    comments=(
        "SELECT CAST(a.attname AS text), col_description(a.attrelid, a.attnum) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = COALESCE({0}, current_schema()) AND c.relname = {1} AND a.attnum > 0"
    ),
    summing=blocks.POSTGRESQL,
)  # fmt: skip

SQLITE = Dialect(
    name="SQLite",
    compared={TEXT: "CAST({} AS TEXT) COLLATE BINARY"},
    time="'{}'",
    tables=(
        "SELECT NULL, name, type = 'view', NULL FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ),
)

__all__ = [
    "BITS", "BYTES", "CLOCK", "DECIMAL", "DOUBLE", "MARIADB", "PLAIN", "POSTGRESQL", "REALS", "SHAPE", "SINGLE", "SQLITE", "TEXT", "TIME", "WHOLE",
    "Dialect",
]  # fmt: skip

"""Read databases by ODBC, through any driver of unixODBC.

Rows come as Arrow (arrow-odbc), in the dialect of the database that answers.
"""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model import plugins
from hven.model.errors import HvenError, SourceError
from hven.plugins.databases.arrow_rows import ArrowDatabaseSource, ResultField
from hven.plugins.databases.dialects import (
    KIND_BITS,
    KIND_BYTES,
    KIND_DECIMAL,
    KIND_DOUBLE,
    KIND_TEXT,
    KIND_TIME,
    KIND_TIME_OF_DAY,
    KIND_WHOLE,
    MARIADB_DIALECT,
    PLAIN_DIALECT,
    POSTGRESQL_DIALECT,
    SQLITE_DIALECT,
    SqlSourceDialect,
)
from hven.sources.api.rows import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.plugins.databases.options import Options
    from hven.sources import SourceContext

CONNECT_TIMEOUT_SECONDS = 15
# limits of a batch: drivers fill rows of the greatest length
MAX_BATCH_ROWS = 32_768
MAX_BATCH_BYTES = 16 * CHUNK_BYTES
MAX_INT64_DIGITS = 18
_CONNECTION_LINE_PATTERN = re.compile(r"(?:odbc:)?\s*((?:driver|dsn|filedsn)\s*=.*)", re.IGNORECASE | re.DOTALL)
_CONNECTION_PART_PATTERN = re.compile(r"\s*([^=;]+?)\s*=\s*(\{(?:[^}]|\}\})*\}|[^;]*)")
_SECRET_KEYS = {"pwd", "password", "pass", "token", "accesstoken"}
# options by which a driver sends rows as they are read; without them it keeps all rows in memory
_STREAMING_OPTIONS = (
    (re.compile("postgres|psqlodbc", re.IGNORECASE), "UseDeclareFetch=1;Fetch=10000"),
    (re.compile("sqlite", re.IGNORECASE), "StepAPI=1"),
    (re.compile("maria|mysql", re.IGNORECASE), "FORWARDONLY=1;NO_CACHE=1"),
)


def extract_odbc_connection_string(text: str) -> str | None:
    """Find a connection line of ODBC in a text: ``DRIVER={..};SERVER=..``, ``DSN=..``, also behind ``odbc:``.

    Return None if there is none.
    """
    match = _CONNECTION_LINE_PATTERN.fullmatch(text.strip())
    if match:
        return match[1].strip()
    return None


class OdbcSource(ArrowDatabaseSource):
    """A table or query of a database that a driver of ODBC reaches."""

    def __init__(self, options: Options, connection_line: str, context: SourceContext) -> None:
        plugins.require_modules("a database by ODBC", "arrow_odbc", error_class=SourceError)
        super().__init__(options, context)
        self.connection_line = connection_line

    @cached_property
    def dialect(self) -> SqlSourceDialect:
        """The dialect of the database that answers."""
        link = self._connect()
        for text in ("SELECT version()", "SELECT sqlite_version()"):
            try:
                version_text = str(_query_rows(link, text)[0][0])
            except Exception:  # noqa: BLE001, S112  (another database, which says so in words of its own)
                continue
            if "sqlite" in text:
                return SQLITE_DIALECT
            if version_text.startswith("PostgreSQL"):
                return POSTGRESQL_DIALECT
            return MARIADB_DIALECT
        return PLAIN_DIALECT

    def _connect(self) -> Any:
        try:
            import arrow_odbc  # noqa: PLC0415  (for ODBC alone)
        except OSError as error:
            raise SourceError(
                "the ODBC driver manager is not installed", remedy="run `apt install unixodbc`"
            ) from error
        parts = [(key.lower(), value) for key, value in _CONNECTION_PART_PATTERN.findall(self.connection_line)]
        stated_keys = {key for key, _ in parts}
        driver = " ".join(value for key, value in parts if key in {"driver", "dsn"})
        added_options: list[str] = []
        for pattern, options_text in _STREAMING_OPTIONS:
            if pattern.search(driver):
                added_options = options_text.split(";")
                break
        new_options = [option for option in added_options if option.partition("=")[0].lower() not in stated_keys]
        streaming_options = ";".join(new_options)
        try:
            return arrow_odbc.connect(
                f"{self.connection_line.rstrip('; ')};{streaming_options}", login_timeout_sec=CONNECT_TIMEOUT_SECONDS
            )
        except Exception as error:
            raise self._translate_error(error) from error

    @contextmanager
    def _open_session(self) -> Iterator[_OdbcSession]:
        session = _OdbcSession(self, self._connect())
        try:
            for text in self.dialect.begin_statements:
                session.link.execute(text)
            yield session
        except GeneratorExit:
            raise
        except Exception as error:
            raise self._translate_error(error) from error
        finally:
            session.close()

    def _translate_error(self, error: Exception) -> Exception:
        if isinstance(error, HvenError):
            return error
        text = " ".join(str(error).split())
        for key, value in _CONNECTION_PART_PATTERN.findall(self.connection_line):
            if key.lower() in _SECRET_KEYS:
                for secret in filter(None, (value, value.strip("{}").replace("}}", "}"))):
                    text = text.replace(secret, "***")
        if "without truncation" in text:
            remedy = f"raise `longest` (now {self.options.longest:,}), or leave the long column out of `query`"
        elif "file not found" in text or "IM002" in text or "Can't open lib" in text:
            remedy = "check the name of the driver; `odbcinst -q -d` lists the installed drivers"
        else:
            remedy = "check the connection string, the user's rights and the table name"
        location = f"{self.source_name}: "
        if self.read_count:
            location = f"{location}after {self.read_count:,} rows: "
        return SourceError(f"{location}{text}", remedy=remedy)


class _OdbcSession:
    """A connection; see `hven.plugins.databases.arrow_rows.DatabaseSession`."""

    def __init__(self, rows: OdbcSource, link: Any) -> None:
        self.rows = rows
        self.link = link

    def describe_statement(self, sql: str) -> list[ResultField]:
        """Describe the columns by a query for no row, or by the statement itself if its columns share names."""
        try:
            result_schema = self._open_reader(f"SELECT * FROM ({sql}\n) hven_source WHERE 1 = 0").schema
        except HvenError:
            raise
        except Exception:
            result_schema = self._open_reader(sql).schema
            names = [field.name.lower() for field in result_schema]
            if len(set(names)) == len(names):
                raise
        table = self.rows.options.table
        parts: list[str] = []
        if table:
            quote = self.rows.dialect.quote
            parts = [part.strip(quote) for part in self.rows.split_table_name(table)]
        schema_name = ""
        if len(parts) > 1:
            schema_name = parts[-2]
        has_unknown_signs = self.rows.dialect is MARIADB_DIALECT  # its driver does not tell which numbers are unsigned
        fields: list[ResultField] = []
        for schema_field in result_schema:
            origin = None
            if parts:
                origin = (schema_name, parts[-1], schema_field.name)
            fields.append(_build_field(schema_field, has_unknown_signs, origin))
        return fields

    def query_rows(self, sql: str) -> list[tuple[object, ...]]:
        """Run a query that returns few rows."""
        return _query_rows(self.link, sql)

    def stream_batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a statement as they come."""
        for batch in self._open_reader(sql):
            if batch.num_rows:
                yield batch

    def _open_reader(self, text: str) -> Any:
        return self.link.read_arrow_batches(
            text,
            batch_size=MAX_BATCH_ROWS,
            max_bytes_per_batch=MAX_BATCH_BYTES,
            max_text_size=self.rows.options.longest,
            max_binary_size=self.rows.options.longest,
            falliable_allocations=True,
            fetch_concurrently=False,
            map_schema=_widen_requested_schema,
        )

    def close(self) -> None:
        """End the transaction, so that it locks nothing, and close the connection."""
        if self.link is not None and self.rows.dialect.begin_statements:
            with suppress(Exception):  # amid rows the connection takes no statement any more
                self.link.execute("ROLLBACK")
        self.link = None


def _widen_requested_schema(schema: pa.Schema) -> pa.Schema:
    """Request all floating-point numbers in double precision, and all times in microseconds.

    Drivers call doubles FLOAT, and Debian's driver of MariaDB writes a single one over its neighbour.
    """
    fields: list[pa.Field] = []
    for field in schema:
        if pa.types.is_floating(field.type):
            fields.append(field.with_type(pa.float64()))
        elif pa.types.is_timestamp(field.type):
            fields.append(field.with_type(pa.timestamp("us")))
        else:
            fields.append(field)
    return pa.schema(fields)


def _query_rows(link: Any, text: str) -> list[tuple[object, ...]]:
    reader = link.read_arrow_batches(text, batch_size=1000, max_text_size=4096, fetch_concurrently=False)
    rows: list[tuple[object, ...]] = []
    for batch in reader:
        rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
    return rows


def _build_field(schema_field: pa.Field, has_unknown_signs: bool, origin: tuple[str, str, str] | None) -> ResultField:
    """Build a field from the type that the driver states for a column."""
    types = pa.types
    kind = schema_field.type
    value_kind = KIND_TEXT
    arrow = pa.string()
    if types.is_boolean(kind):
        value_kind = KIND_BITS
        arrow = pa.bool_()
    elif types.is_integer(kind):
        value_kind = KIND_WHOLE
        arrow = _choose_integer_type(kind, has_unknown_signs=has_unknown_signs)
    elif types.is_floating(kind):
        value_kind = KIND_DOUBLE
        arrow = pa.float64()
    elif types.is_decimal(kind) and kind.scale == 0 and kind.precision <= MAX_INT64_DIGITS:
        value_kind = KIND_WHOLE
        arrow = pa.int64()
    elif types.is_decimal(kind):
        value_kind = KIND_DECIMAL
        arrow = pa.float64()
    elif types.is_date(kind) or types.is_timestamp(kind):
        value_kind = KIND_TIME
        arrow = pa.timestamp("us")
    elif types.is_time(kind):
        value_kind = KIND_TIME_OF_DAY
    elif types.is_binary(kind) or types.is_fixed_size_binary(kind):
        value_kind = KIND_BYTES
    return ResultField(name=schema_field.name, value_kind=value_kind, arrow=arrow, origin=origin)


def _choose_integer_type(arrow_type: pa.DataType, *, has_unknown_signs: bool) -> pa.DataType:
    if has_unknown_signs:
        return pa.int64()
    if arrow_type.bit_width < 16:
        return pa.int16()
    if pa.types.is_unsigned_integer(arrow_type):
        return pa.int64()
    return arrow_type

"""ODBC: whatever has a driver of unixODBC.

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
from hven.sources._reading.data_files import CHUNK_BYTES
from hven.sources.sql.arrow_rows import ArrowDatabaseSource, ResultField
from hven.sources.sql.dialects import (
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.sources import SourceContext
    from hven.sources.sql.options import Options

CONNECT_TIMEOUT_SECONDS = 15
MAX_BATCH_ROWS, MAX_BATCH_BYTES = 32_768, 16 * CHUNK_BYTES  # of a batch: drivers fill rows of the greatest length
MAX_INT64_DIGITS = 18
_CONNECTION_LINE_PATTERN = re.compile(r"(?:odbc:)?\s*((?:driver|dsn|filedsn)\s*=.*)", re.IGNORECASE | re.DOTALL)
_CONNECTION_PART_PATTERN = re.compile(r"\s*([^=;]+?)\s*=\s*(\{(?:[^}]|\}\})*\}|[^;]*)")
_SECRET_KEYS = {"pwd", "password", "pass", "token", "accesstoken"}
# what a driver must be told to send rows as they are taken: else it keeps all of them in memory
_STREAMING_OPTIONS = (
    (re.compile("postgres|psqlodbc", re.IGNORECASE), "UseDeclareFetch=1;Fetch=10000"),
    (re.compile("sqlite", re.IGNORECASE), "StepAPI=1"),
    (re.compile("maria|mysql", re.IGNORECASE), "FORWARDONLY=1;NO_CACHE=1"),
)


def find_connection_line(text: str) -> str | None:
    """Find a connection line of ODBC in a text: ``DRIVER={..};SERVER=..``, ``DSN=..``, also behind ``odbc:``; None.

    It is none.
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
        """Of the database that answers."""
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
            raise SourceError("ODBC's driver manager is not installed", remedy="apt install unixodbc") from error
        stated_keys = {key.lower() for key, _ in _CONNECTION_PART_PATTERN.findall(self.connection_line)}
        driver = " ".join(
            value
            for key, value in _CONNECTION_PART_PATTERN.findall(self.connection_line)
            if key.lower() in {"driver", "dsn"}
        )
        streaming_options = next((words for sign, words in _STREAMING_OPTIONS if sign.search(driver)), "")
        streaming_options = ";".join(
            word for word in streaming_options.split(";") if word and word.partition("=")[0].lower() not in stated_keys
        )
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
            for secret in {value, value.strip("{}").replace("}}", "}")} if key.lower() in _SECRET_KEYS else ():
                if secret:
                    text = text.replace(secret, "***")
        if "without truncation" in text:
            remedy = f"say `longest` (it is {self.options.longest:,}), or leave the column out by `query`"
        elif "file not found" in text or "IM002" in text or "Can't open lib" in text:
            remedy = "look at the driver's name: `odbcinst -q -d` lists those that are installed"
        else:
            remedy = "look at the connection line, the rights of its user, and the name"
        location = f"{self.source_name}: " + (f"after {self.read_count:,} rows: " if self.read_count else "")
        return SourceError(f"{location}{text}", remedy=remedy)


class _OdbcSession:
    """A connection; see `hven.sources.sql.arrow_rows.DatabaseSession`."""

    def __init__(self, rows: OdbcSource, link: Any) -> None:
        self.rows = rows
        self.link = link

    def describe_statement(self, text: str) -> list[ResultField]:
        """Ask for no row; a statement with columns of one name, which is none that others may be around, itself."""
        try:
            result_schema = self._open_reader(f"SELECT * FROM ({text}\n) hven_source WHERE 1 = 0").schema
        except HvenError:
            raise
        except Exception:
            result_schema = self._open_reader(text).schema
            names = [field.name.lower() for field in result_schema]
            if len(set(names)) == len(names):
                raise
        table = self.rows.options.table
        if table:
            parts = [part.strip(self.rows.dialect.quote) for part in self.rows.split_table_name(table)]
        else:
            parts = []
        has_unknown_signs = self.rows.dialect is MARIADB_DIALECT  # its driver does not say which numbers have no sign
        return [
            _build_field(
                schema_field,
                has_unknown_signs,
                (parts[-2] if len(parts) > 1 else "", parts[-1], schema_field.name) if parts else None,
            )
            for schema_field in result_schema
        ]

    def query_rows(self, text: str) -> list[tuple[object, ...]]:
        """Ask something small."""
        return _query_rows(self.link, text)

    def stream_batches(self, text: str) -> Iterator[pa.RecordBatch]:
        """Yield rows as they come."""
        for batch in self._open_reader(text):
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
            map_schema=_map_schema,
        )

    def close(self) -> None:
        """Leave: the transaction ends, so that nobody waits for us there; what nobody holds is closed."""
        if self.link is not None and self.rows.dialect.begin_statements:
            with suppress(Exception):  # amid rows it takes nothing any more
                self.link.execute("ROLLBACK")
        self.link = None


def _map_schema(schema: pa.Schema) -> pa.Schema:
    """Ask for numbers of double precision always.

    Drivers call those that are FLOAT, and Debian's of MariaDB writes a single one over its neighbour.
    """
    return pa.schema(
        [
            field.with_type(
                pa.float64()
                if pa.types.is_floating(field.type)
                else pa.timestamp("us")
                if pa.types.is_timestamp(field.type)
                else field.type
            )
            for field in schema
        ]
    )


def _query_rows(link: Any, text: str) -> list[tuple[object, ...]]:
    reader = link.read_arrow_batches(text, batch_size=1000, max_text_size=4096, fetch_concurrently=False)
    return [tuple(column[row].as_py() for column in batch.columns) for batch in reader for row in range(batch.num_rows)]


def _build_field(schema_field: pa.Field, has_unknown_signs: bool, origin: tuple[str, str, str] | None) -> ResultField:
    """Take over what the driver says of a column."""
    types = pa.types
    kind = schema_field.type
    if types.is_boolean(kind):
        word = KIND_BITS
        arrow = pa.bool_()
    elif types.is_integer(kind) and has_unknown_signs:
        word = KIND_WHOLE
        arrow = pa.int64()
    elif types.is_integer(kind):
        word = KIND_WHOLE
        arrow = pa.int16() if kind.bit_width < 16 else kind if not types.is_unsigned_integer(kind) else pa.int64()
    elif types.is_floating(kind):
        word = KIND_DOUBLE
        arrow = pa.float64()
    elif types.is_decimal(kind):
        is_whole = kind.scale == 0 and kind.precision <= MAX_INT64_DIGITS
        if is_whole:
            word, arrow = (KIND_WHOLE, pa.int64())
        else:
            word, arrow = (KIND_DECIMAL, pa.float64())
    elif types.is_date(kind) or types.is_timestamp(kind):
        word = KIND_TIME
        arrow = pa.timestamp("us")
    elif types.is_time(kind):
        word = KIND_TIME_OF_DAY
        arrow = pa.string()
    elif types.is_binary(kind) or types.is_fixed_size_binary(kind):
        word = KIND_BYTES
        arrow = pa.string()
    else:
        word = KIND_TEXT
        arrow = pa.string()
    return ResultField(name=schema_field.name, value_kind=word, arrow=arrow, origin=origin)


__all__ = ["OdbcSource", "find_connection_line"]

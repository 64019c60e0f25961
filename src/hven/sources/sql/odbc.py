"""ODBC: whatever has a driver of unixODBC; rows come as Arrow (arrow-odbc), in the dialect of the database that answers."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model import plugins
from hven.model.errors import HvenError, SourceError
from hven.sources._reading.files import CHUNK
from hven.sources.sql.arrowrows import ArrowRows, Field
from hven.sources.sql.dialects import (
    BITS,
    BYTES,
    CLOCK,
    DECIMAL,
    DOUBLE,
    MARIADB,
    PLAIN,
    POSTGRESQL,
    SQLITE,
    TEXT,
    TIME,
    WHOLE,
    Dialect,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.sources import Context
    from hven.sources.sql.options import Options

CONNECTING = 15
ROWS, BYTES_MOST = 32_768, 16 * CHUNK  # of a batch: drivers fill rows of the greatest length
DIGITS = 18
_LINE = re.compile(r"(?:odbc:)?\s*((?:driver|dsn|filedsn)\s*=.*)", re.IGNORECASE | re.DOTALL)
_PART = re.compile(r"\s*([^=;]+?)\s*=\s*(\{(?:[^}]|\}\})*\}|[^;]*)")
_SECRET = {"pwd", "password", "pass", "token", "accesstoken"}
# what a driver must be told to send rows as they are taken: else it keeps all of them in memory
_STREAMING = (
    (re.compile("postgres|psqlodbc", re.IGNORECASE), "UseDeclareFetch=1;Fetch=10000"),
    (re.compile("sqlite", re.IGNORECASE), "StepAPI=1"),
    (re.compile("maria|mysql", re.IGNORECASE), "FORWARDONLY=1;NO_CACHE=1"),
)


def line_of(text: str) -> str | None:
    """Find a connection line of ODBC in a text: ``DRIVER={..};SERVER=..``, ``DSN=..``, also behind ``odbc:``; None: it is none."""
    found = _LINE.fullmatch(text.strip())
    return found[1].strip() if found else None


class OdbcRows(ArrowRows):
    """A table or query of a database that a driver of ODBC reaches."""

    def __init__(self, options: Options, line: str, context: Context) -> None:
        plugins.need("a database by ODBC", "arrow_odbc", error=SourceError)
        super().__init__(options, context)
        self.line = line

    @cached_property
    def dialect(self) -> Dialect:
        """Of the database that answers."""
        link = self._connected()
        for text in ("SELECT version()", "SELECT sqlite_version()"):
            try:
                said = str(_asked(link, text)[0][0])
            except Exception:  # noqa: BLE001, S112  (another database, which says so in words of its own)
                continue
            return SQLITE if "sqlite" in text else POSTGRESQL if said.startswith("PostgreSQL") else MARIADB
        return PLAIN

    def _connected(self) -> Any:
        try:
            import arrow_odbc  # noqa: PLC0415  (for ODBC alone)
        except OSError as error:
            raise SourceError("ODBC's driver manager is not installed", remedy="apt install unixodbc") from error
        said = {key.lower() for key, _ in _PART.findall(self.line)}
        driver = " ".join(value for key, value in _PART.findall(self.line) if key.lower() in {"driver", "dsn"})
        more = next((words for sign, words in _STREAMING if sign.search(driver)), "")
        more = ";".join(word for word in more.split(";") if word and word.partition("=")[0].lower() not in said)
        try:
            return arrow_odbc.connect(f"{self.line.rstrip('; ')};{more}", login_timeout_sec=CONNECTING)
        except Exception as error:
            raise self._failed(error) from error

    @contextmanager
    def _session(self) -> Iterator[_Session]:
        session = _Session(self, self._connected())
        try:
            for text in self.dialect.begin:
                session.link.execute(text)
            yield session
        except GeneratorExit:
            raise
        except Exception as error:
            raise self._failed(error) from error
        finally:
            session.close()

    def _failed(self, error: Exception) -> Exception:
        if isinstance(error, HvenError):
            return error
        text = " ".join(str(error).split())
        for key, value in _PART.findall(self.line):
            for secret in {value, value.strip("{}").replace("}}", "}")} if key.lower() in _SECRET else ():
                text = text.replace(secret, "***") if secret else text
        if "without truncation" in text:
            remedy = f"say `longest` (it is {self.options.longest:,}), or leave the column out by `query`"
        elif "file not found" in text or "IM002" in text or "Can't open lib" in text:
            remedy = "look at the driver's name: `odbcinst -q -d` lists those that are installed"
        else:
            remedy = "look at the connection line, the rights of its user, and the name"
        where = f"{self.what}: " + (f"after {self.read:,} rows: " if self.read else "")
        return SourceError(f"{where}{text}", remedy=remedy)


class _Session:
    """A connection; see `hven.sources.sql.arrowrows.Session`."""

    def __init__(self, rows: OdbcRows, link: Any) -> None:
        self.rows = rows
        self.link = link

    def described(self, text: str) -> list[Field]:
        """Ask for no row; a statement with columns of one name, which is none that others may be around, itself."""
        try:
            found = self._reader(f"SELECT * FROM ({text}\n) hven_source WHERE 1 = 0").schema
        except HvenError:
            raise
        except Exception:
            found = self._reader(text).schema
            names = [field.name.lower() for field in found]
            if len(set(names)) == len(names):
                raise
        table = self.rows.options.table
        parts = [part.strip(self.rows.dialect.quote) for part in self.rows.parts(table)] if table else []
        wide = self.rows.dialect is MARIADB  # its driver does not say which numbers have no sign
        return [
            _field(one, wide, (parts[-2] if len(parts) > 1 else "", parts[-1], one.name) if parts else None)
            for one in found
        ]

    def asked(self, text: str) -> list[tuple[object, ...]]:
        """Ask something small."""
        return _asked(self.link, text)

    def streamed(self, text: str) -> Iterator[pa.RecordBatch]:
        """Yield rows as they come."""
        for batch in self._reader(text):
            if batch.num_rows:
                yield batch

    def _reader(self, text: str) -> Any:
        return self.link.read_arrow_batches(
            text, batch_size=ROWS, max_bytes_per_batch=BYTES_MOST, max_text_size=self.rows.options.longest,
            max_binary_size=self.rows.options.longest, falliable_allocations=True, fetch_concurrently=False, map_schema=_mapped,
        )  # fmt: skip

    def close(self) -> None:
        """Leave: the transaction ends, so that nobody waits for us there; what nobody holds is closed."""
        if self.link is not None and self.rows.dialect.begin:
            with suppress(Exception):  # amid rows it takes nothing any more
                self.link.execute("ROLLBACK")
        self.link = None


def _mapped(schema: pa.Schema) -> pa.Schema:
    """Ask for numbers of double precision always: drivers call those that are FLOAT, and Debian's of MariaDB writes a single one over its neighbour."""
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


def _asked(link: Any, text: str) -> list[tuple[object, ...]]:
    reader = link.read_arrow_batches(text, batch_size=1000, max_text_size=4096, fetch_concurrently=False)
    return [tuple(column[row].as_py() for column in batch.columns) for batch in reader for row in range(batch.num_rows)]


def _field(found: pa.Field, wide: bool, origin: tuple[str, str, str] | None) -> Field:
    """Take over what the driver says of a column."""
    types, kind = pa.types, found.type
    if types.is_boolean(kind):
        word, arrow = BITS, pa.bool_()
    elif types.is_integer(kind) and wide:
        word, arrow = WHOLE, pa.int64()
    elif types.is_integer(kind):
        word, arrow = (
            WHOLE,
            pa.int16() if kind.bit_width < 16 else kind if not types.is_unsigned_integer(kind) else pa.int64(),
        )
    elif types.is_floating(kind):
        word, arrow = DOUBLE, pa.float64()
    elif types.is_decimal(kind):
        whole = kind.scale == 0 and kind.precision <= DIGITS
        word, arrow = (WHOLE, pa.int64()) if whole else (DECIMAL, pa.float64())
    elif types.is_date(kind) or types.is_timestamp(kind):
        word, arrow = TIME, pa.timestamp("us")
    elif types.is_time(kind):
        word, arrow = CLOCK, pa.string()
    elif types.is_binary(kind) or types.is_fixed_size_binary(kind):
        word, arrow = BYTES, pa.string()
    else:
        word, arrow = TEXT, pa.string()
    return Field(name=found.name, kind=word, arrow=arrow, origin=origin)


__all__ = ["OdbcRows", "line_of"]

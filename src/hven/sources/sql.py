"""Tables and queries of databases, streamed: SQLite, PostgreSQL (by COPY), and whatever SQLAlchemy has a driver for."""

from __future__ import annotations

import re
import sqlite3
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hven.errors import SourceError
from hven.model.table import Column
from hven.model.types import from_arrow
from hven.sources import FILE_FACTS, ROW, Context, Offer, Pin, Reject, Source
from hven.sources._reading.cells import convert, no_nan
from hven.sources._reading.delimited import Shape, parse
from hven.sources._reading.files import CHUNK, DataFile, assemble, check_names
from hven.sources._reading.text import Block

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

ROWS = 32_768
SAMPLE = 5_000
COUNTING = 2.0  # seconds for the numbers of rows in a list of tables


_PARTS = re.compile(r'"(?:[^"]|"")+"|[^.]+')  # of a table's name: a dot inside quotes separates nothing


class Options(BaseModel):
    """What a descriptor may say of a database."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = Field(None, description="SQLAlchemy URL, or `$NAME` of a secret that holds it; passwords belong into secrets.")
    file: str | None = Field(None, description="A SQLite file, relative to the descriptor, instead of `url`.")
    table: str | None = Field(None, description="A table or view, with its schema if need be.")
    query: str | None = Field(None, description="A SELECT in the database's own language, instead of `table`.")

    @model_validator(mode="after")
    def _one_of_each(self) -> Options:
        if (self.url is None) == (self.file is None):
            raise ValueError("give either `url` or `file`")
        if (self.table is None) == (self.query is None):
            raise ValueError("give either `table` or `query`")
        return self


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open a table or query; nothing is read yet.

    Raises
    ------
    SourceError
        An unknown secret, a URL that is none (it is never shown), a missing file.
    """
    if options.file is not None:
        return SqliteRows(options, context.directory / options.file, context)
    url = options.url or ""
    if url.startswith("$"):
        if context.secret is None:
            raise SourceError(f"the secret {url} can't be resolved here", remedy="ingest it with `hven ingest`")
        url = context.secret(url)
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme == "sqlite":
        return SqliteRows(options, context.directory / url.partition(":///")[2], context)
    if scheme in {"postgresql", "postgres"}:
        return PostgresRows(options, url, context)
    return AnyRows(options, url, context)


def tables(options: Mapping[str, Any], context: Context) -> list[Offer]:
    """List the tables and views of a database, with numbers of rows where they are soon told.

    Raises
    ------
    SourceError
        As `open`; no such database, no right to look.
    """
    known = {key: options[key] for key in ("url", "file") if options.get(key) is not None}
    source = open(Options.model_validate({**known, "query": "SELECT 1"}), context)
    found: list[Offer] = source.offers()  # type: ignore[attr-defined]
    return found


class _Rows:
    """What the databases have in common."""

    def __init__(self, options: Options, context: Context) -> None:
        self.options = options
        self.context = context
        self.read = 0

    def columns(self) -> list[Column]:
        """Give the columns with their types."""
        return list(self._columns.values())

    @cached_property
    def _columns(self) -> dict[str, Column]:
        return {column.name: column for column in self._described()}

    def _described(self) -> list[Column]:
        raise NotImplementedError

    def _select(self, quote: str = '"') -> str:
        if self.options.query is not None:
            return self.options.query.strip().rstrip(";")
        parts = _PARTS.findall(self.options.table or "")
        return "SELECT * FROM " + ".".join(
            part if part.startswith(quote) else f"{quote}{part.replace(quote, quote * 2)}{quote}" for part in parts
        )

    @property
    def _what(self) -> str:
        return f"table {self.options.table}" if self.options.table else "the query"

    def size(self) -> int | None:
        """Nobody knows the number of rows without asking for all of them."""
        return None

    def pins(self) -> list[Pin]:
        """Name the table or query; the address is not shown."""
        return [
            Pin(
                name=self.options.file or (self.options.url if (self.options.url or "").startswith("$") else None) or "database",
                detail=self._select(),
            )
        ]

    def _reject(self, row: int, column: str, value: str, reason: str) -> None:
        if self.context.reject is None:
            raise SourceError(f"{self._what}, row {row}, column {column}: {value!r} is {reason}")
        self.context.reject(Reject(file=None, row=row, column=column, value=value, reason=reason))

    def _typed(self, values: Sequence[Any], name: str, number: int, bad: set[int]) -> pa.Array:
        """Make an array of a column's values; those that don't fit the type are set aside."""
        kind = self._columns[name].type.arrow
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
        texts = [
            None if value is None else value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values
        ]
        text = pa.array(texts, pa.string())
        if not (
            pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
            or pa.types.is_boolean(kind)
            or pa.types.is_timestamp(kind)
            or pa.types.is_string(kind)
        ):
            raise SourceError(f"{self._what}, column {name}: values are not {self._columns[name].type}")
        array, faults = convert(text, kind)
        for at in [] if faults is None else pa.compute.indices_nonzero(faults).to_pylist():
            if at not in bad:
                bad.add(at)
                self._reject(number + at, name, texts[at] or "", f"not {self._columns[name].type}")
        return array

    def _assembled(self, rows: Sequence[Sequence[Any]], names: Sequence[str], number: int) -> pa.RecordBatch:
        """Make a batch of fetched rows, column by column."""
        known = list(self._columns)
        columns = list(zip(*rows, strict=True))
        bad: set[int] = set()
        arrays = {name: self._typed(columns[known.index(name)], name, number, bad) for name in names if name not in {ROW, *FILE_FACTS}}
        batch = assemble(names, arrays, len(rows), number, None)
        return batch.filter(pa.array([at not in bad for at in range(len(rows))])) if bad else batch


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _spelled(name: str, schema: str | None = None) -> str:
    """Write a name as the option `table` wants it: quoted if a dot stands in it."""
    parts = [part for part in (schema, name) if part]
    return ".".join(_quoted(part) if "." in part else part for part in parts)


def _left(limit: int | None, number: int) -> int:
    """Count the rows to fetch next; `number` is the next row's."""
    return ROWS if limit is None else max(0, min(ROWS, limit - number + 1))


class SqliteRows(_Rows):
    """A table or query of a SQLite file, opened read-only."""

    def __init__(self, options: Options, path: Path, context: Context) -> None:
        super().__init__(options, context)
        self.path = path
        self.file = DataFile(path=path, name=options.file or path.name)
        if not path.is_file():
            raise SourceError(f"no file {path.name} in {path.parent}", remedy="paths start at the descriptor's directory")

    def _described(self) -> list[Column]:
        with self._open() as connection:
            cursor = self._execute(connection, f"SELECT * FROM ({self._select()}) LIMIT {SAMPLE}")
            names = [item[0] for item in cursor.description]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise SourceError(f"{self._what} has two columns {twice!r}", remedy="name them apart with AS")
            rows = cursor.fetchall()
            declared = self._declared(connection) if self.options.table else {}
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
        return [
            Column(name=name, type=from_arrow(_sqlite_type(declared.get(name, ""), values)))
            for name, values in zip(names, columns, strict=True)
        ]

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows as SQLite gives them."""
        names = check_names(columns, list(self._columns), self._what)
        number = 1
        with self._open() as connection:
            cursor = self._execute(connection, self._select())
            while (size := _left(limit, number)) and (rows := cursor.fetchmany(size)):
                yield self._assembled(rows, names, number)
                number += len(rows)
        if limit is None:
            self.file.hash_whole()

    def pins(self) -> list[Pin]:
        """Name the file with its checksum, and what was asked of it."""
        pin = self.file.pin()
        return [Pin(name=pin.name, bytes=pin.bytes, modified=pin.modified, sha256=pin.sha256, detail=self._select())]

    def offers(self) -> list[Offer]:
        """List tables and views; counting takes two seconds at most, in the order of names."""
        until = time.monotonic() + COUNTING
        with self._open() as connection:
            rows = self._execute(
                connection,
                "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
            ).fetchall()
            connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
            return [Offer(choice=_spelled(name), rows=self._count(connection, name), view=kind == "view") for name, kind in rows]

    def _count(self, connection: sqlite3.Connection, name: str) -> int | None:
        try:
            return int(connection.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0])
        except sqlite3.Error:  # it takes too long, or a view that is broken
            return None

    def _open(self) -> _Closing:
        return _Closing(self.path)

    def _declared(self, connection: sqlite3.Connection) -> dict[str, str]:
        rows = connection.execute("SELECT name, type FROM pragma_table_info(?)", ((self.options.table or "").split(".")[-1].strip('"'),))
        return {str(name): str(kind) for name, kind in rows}

    def _execute(self, connection: sqlite3.Connection, text: str) -> sqlite3.Cursor:
        try:
            return connection.execute(text)
        except sqlite3.Error as error:
            try:
                tables = [
                    row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
                ]
            except sqlite3.Error:
                raise SourceError(f"{self.path.name} is no SQLite file: {error}", remedy="look what it is") from error
            raise SourceError(f"{self.path.name}: {error}", remedy=f"its tables are {', '.join(tables)}") from error


class _Closing:
    """A read-only connection that is closed at the end."""

    def __init__(self, path: Path) -> None:
        # text that is no UTF-8 is kept readable rather than refused
        self.connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        self.connection.text_factory = lambda data: data.decode("utf-8", "replace")

    def __enter__(self) -> sqlite3.Connection:
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def _sqlite_type(declared: str, values: Sequence[Any]) -> pa.DataType:
    """Choose a type: what the values are counts more than what the column is declared (SQLite promises nothing)."""
    kinds = {type(value) for value in values if value is not None}
    word = declared.upper()
    if kinds and kinds <= {int}:
        return (
            pa.bool_()
            if "BOOL" in word and set(values) <= {0, 1, None}
            else pa.float64()
            if "REAL" in word or "FLOA" in word or "DOUB" in word
            else pa.int64()
        )
    if kinds and kinds <= {int, float}:
        return pa.float64()
    if kinds == {bytes}:
        return pa.binary()
    if kinds:
        return pa.string()
    if "INT" in word:
        return pa.int64()
    return pa.float64() if any(part in word for part in ("REAL", "FLOA", "DOUB")) else pa.string()


# PostgreSQL's type numbers (pg_type) -> Arrow; what is not here is read as text
_OIDS: dict[int, pa.DataType] = {
    16: pa.bool_(), 20: pa.int64(), 21: pa.int16(), 23: pa.int32(), 26: pa.int64(), 700: pa.float32(), 701: pa.float64(),
    1700: pa.float64(), 1082: pa.timestamp("us"), 1114: pa.timestamp("us"), 1184: pa.timestamp("us"),
}  # fmt: skip
_ARRAYS: dict[int, pa.DataType] = {
    1005: pa.int16(),
    1007: pa.int32(),
    1016: pa.int64(),
    1021: pa.float32(),
    1022: pa.float64(),
    1231: pa.float64(),
}


class PostgresRows(_Rows):
    """A table or query of PostgreSQL: COPY gives CSV as fast as the server can, and the CSV parser makes columns of it."""

    def __init__(self, options: Options, url: str, context: Context) -> None:
        super().__init__(options, context)
        head, sep, rest = url.partition("://")
        self.url = f"postgresql{sep}{rest}" if head else url

    def _described(self) -> list[Column]:
        from psycopg import sql

        with self._connect() as connection:
            try:
                cursor = connection.execute(sql.SQL("SELECT * FROM ({}) AS hven_source LIMIT 0").format(sql.SQL(self._select())))
            except Exception as error:
                raise self._failed(error) from error
            found = [(item.name, item.type_code) for item in cursor.description or ()]
            comments = self._comments(connection)
        names = [name for name, _ in found]
        if len(set(names)) < len(names):
            raise SourceError(f"{self._what} has two columns of one name", remedy="name them apart with AS")
        return [Column(name=name, type=from_arrow(_postgres_type(oid)), description=comments.get(name)) for name, oid in found]

    def offers(self) -> list[Offer]:
        """List what this user may read; numbers of rows are the planner's estimates."""
        text = (
            "SELECT n.nspname, c.relname, c.relkind, c.reltuples::bigint, current_schema() FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
            " AND NOT c.relispartition AND has_table_privilege(c.oid, 'SELECT')"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2"
        )
        with self._connect() as connection:
            try:
                rows = connection.execute(text).fetchall()
            except Exception as error:
                raise self._failed(error) from error
        return [
            Offer(
                choice=_spelled(name, schema if schema != current else None),
                rows=count if count >= 0 and kind not in {"v", "f"} else None,
                view=kind in {"v", "m"},
            )
            for schema, name, kind, count, current in rows
        ]

    def _comments(self, connection: Any) -> dict[str, str]:
        if not self.options.table:
            return {}
        text = (
            "SELECT a.attname, col_description(a.attrelid, a.attnum) FROM pg_attribute a"
            " WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped"
        )
        rows = connection.execute(text, (self._select().removeprefix("SELECT * FROM "),)).fetchall()
        return {str(name): str(about) for name, about in rows if about}

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows as the server gives them, in one transaction (one picture of the data)."""
        known = self._columns
        names = check_names(columns, list(known), self._what)
        real = [name for name in names if name not in {ROW, *FILE_FACTS}] or list(known)[:1]
        text = f"SELECT {', '.join(_selected(known[name]) for name in real)} FROM ({self._select()}) AS hven_source"
        text += f" LIMIT {int(limit)}" if limit is not None else ""
        shape = Shape(names=real, kinds={name: _text_type(known[name].type.arrow) for name in real}, delimiter=",", quote='"')
        number = 1
        with self._connect() as connection:
            for data in self._copied(connection, f"COPY ({text}) TO STDOUT (FORMAT csv, ENCODING 'UTF8')"):
                block = Block(data, number)
                parsed = parse(block, shape, real, self._what)
                for at, column, value, reason, _ in parsed.rejects:
                    self._reject(number + at, column or "", value or "", reason)
                arrays = {name: _finished(parsed.arrays[name], known[name].type.arrow) for name in real}
                rows: pa.Array | int = number if parsed.positions is None else pa.array(parsed.positions + number, pa.int64())
                yield assemble(names, arrays, parsed.good, rows, None)
                number += parsed.total
                self.read = number - 1

    def _copied(self, connection: Any, text: str) -> Iterator[bytes]:
        """Yield CSV in pieces of whole rows: COPY hands over one row at a time."""
        parts: list[bytes] = []
        size = 0
        try:
            with connection.cursor() as cursor, cursor.copy(text) as copy:
                for row in copy:
                    parts.append(bytes(row))
                    size += len(row)
                    if size >= 4 * CHUNK:
                        yield b"".join(parts)
                        parts, size = [], 0
        except Exception as error:
            raise self._failed(error) from error
        if parts:
            yield b"".join(parts)

    def _connect(self) -> Any:
        import psycopg

        try:
            connection = psycopg.connect(
                self.url, connect_timeout=15, options="-c default_transaction_read_only=on -c datestyle=ISO -c timezone=UTC"
            )
        except (psycopg.Error, ValueError) as error:
            raise self._failed(error) from error
        return connection

    def _failed(self, error: Exception) -> Exception:
        from hven.errors import HvenError

        if isinstance(error, (HvenError, GeneratorExit)):
            return error
        return SourceError(
            f"{self._what}: {_without_url(str(error), self.url)}", remedy="look at the address, the rights of its user, and the name"
        )


def _selected(column: Column) -> str:
    quoted = '"' + column.name.replace('"', '""') + '"'
    return f"array_to_string({quoted}, ' ', 'NaN') AS {quoted}" if pa.types.is_list(column.type.arrow) else quoted


def _text_type(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_list(kind) else kind


def _finished(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Make lists of what arrays were sent as."""
    if not pa.types.is_list(kind):
        return values
    parts = pa.compute.split_pattern(values, " ")
    items = no_nan(parts.values.cast(kind.value_type))
    return pa.ListArray.from_arrays(parts.offsets, items, type=kind, mask=parts.is_null())


def _postgres_type(oid: int) -> pa.DataType:
    return _OIDS.get(oid) or (pa.list_(_ARRAYS[oid]) if oid in _ARRAYS else pa.string())


def _without_url(text: str, url: str) -> str:
    """Take the address and its password out of a driver's message."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    secrets = [url, parts.password, parts.netloc]
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return " ".join(text.split())


class AnyRows(_Rows):
    """Any other database that SQLAlchemy knows, by a server-side cursor where its driver has one."""

    def __init__(self, options: Options, url: str, context: Context) -> None:
        super().__init__(options, context)
        import sqlalchemy as sa

        self.url = url
        try:
            self.engine = sa.create_engine(url)
        except ModuleNotFoundError as error:
            raise SourceError(f"the driver {error.name} is not installed", remedy=f"install {error.name}") from error
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ValueError) as error:
            raise SourceError(
                "the address is no database URL (it is not shown, it may hold a password)", remedy="dialect+driver://user@host/database"
            ) from error

    def _described(self) -> list[Column]:
        import sqlalchemy as sa

        try:
            with self.engine.connect() as connection:
                result = connection.execution_options(stream_results=True).execute(sa.text(self._text()))
                names = list(result.keys())
                rows = result.fetchmany(SAMPLE)
        except sa.exc.SQLAlchemyError as error:
            raise self._failed(error) from error
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
        return [Column(name=name, type=from_arrow(_any_type(values))) for name, values in zip(names, columns, strict=True)]

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows in the database's order."""
        import sqlalchemy as sa

        names = check_names(columns, list(self._columns), self._what)
        number = 1
        try:
            with self.engine.connect() as connection:
                result = connection.execution_options(stream_results=True, max_row_buffer=ROWS).execute(sa.text(self._text()))
                while (size := _left(limit, number)) and (rows := result.fetchmany(size)):
                    yield self._assembled(rows, names, number)
                    number += len(rows)
        except sa.exc.SQLAlchemyError as error:
            raise self._failed(error) from error

    def offers(self) -> list[Offer]:
        """List the tables and views of the default schema; nobody counts their rows."""
        import sqlalchemy as sa

        try:
            look = sa.inspect(self.engine)
            return [
                *(Offer(choice=_spelled(name)) for name in sorted(look.get_table_names())),
                *(Offer(choice=_spelled(name), view=True) for name in sorted(look.get_view_names())),
            ]
        except sa.exc.SQLAlchemyError as error:
            raise self._failed(error) from error

    def _text(self) -> str:
        return self._select("".join(self.engine.dialect.identifier_preparer.initial_quote)).replace(":", "\\:")

    def _failed(self, error: Exception) -> SourceError:
        text = str(getattr(error, "orig", None) or error)
        return SourceError(
            f"{self._what}: {_without_url(text, self.url)}", remedy="look at the address, the rights of its user, and the name"
        )


def _any_type(values: Sequence[Any]) -> pa.DataType:
    import decimal

    kept = [float(value) if isinstance(value, decimal.Decimal) else value for value in values]
    try:
        kind = pa.array(kept).type
        return from_arrow(kind).arrow
    except (pa.ArrowException, ValueError):
        return pa.string()

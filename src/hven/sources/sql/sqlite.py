"""SQLite, opened read-only by the standard library."""

from __future__ import annotations

import sqlite3
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import type_from_arrow
from hven.sources import AvailableTable, InputVersion, SourceContext
from hven.sources._reading.data_files import DataFile, check_column_names
from hven.sources.sql.database_rows import (
    PLACEHOLDER,
    SAMPLE_ROWS,
    SOURCE_ALIAS,
    KeyPagedDatabaseSource,
    SelectStatement,
    SqlCondition,
    SqlConditionWriter,
    count_rows_to_fetch,
    quote_name,
    write_table_option,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hven.sources.sql.options import Options

COUNT_TIMEOUT_SECONDS = 2.0  # seconds for the numbers of rows in a list of tables
MAX_VALUES_PER_STATEMENT = 30_000  # of one statement: SQLite has places for 32,766


class SqliteSource(KeyPagedDatabaseSource):
    """A table or query of a SQLite file, opened read-only."""

    def __init__(self, options: Options, path: Path, context: SourceContext) -> None:
        super().__init__(options, context)
        self.path = path
        self.file = DataFile(path=path, name=options.file or path.name)
        if not path.is_file():
            raise SourceError(
                f"no file {path.name} in {path.parent}", remedy="paths start at the descriptor's directory"
            )

    def _describe_columns(self) -> list[Column]:
        with self._open_connection() as connection:
            cursor = self._execute_statement(connection, f"SELECT * FROM ({self._write_select()}) LIMIT {SAMPLE_ROWS}")
            names = [item[0] for item in cursor.description]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise SourceError(f"{self.source_name} has two columns {twice!r}", remedy="name them apart with AS")
            rows = cursor.fetchall()
            declared = self._declared_types
        if rows:
            columns = list(zip(*rows, strict=True))
        else:
            columns = [()] * len(names)
        return [
            Column(name=name, type=type_from_arrow(_choose_type(declared.get(name, ""), values)))
            for name, values in zip(names, columns, strict=True)
        ]

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows as SQLite gives them."""
        yield from self._read_statements(
            self._build_statements(row_limit), self._check_column_names(column_names), limit=row_limit
        )
        if row_limit is None:
            self.file.compute_sha256()

    def _check_column_names(self, columns: Sequence[str] | None) -> list[str]:
        return check_column_names(columns, list(self._columns), self.source_name)

    def _read_statements(
        self,
        statements: Sequence[SelectStatement],
        names: Sequence[str],
        first_row_number: int = 1,
        limit: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        if limit is None:
            last = None
        else:
            last = first_row_number + limit - 1
        with self._open_connection() as connection:
            connection.execute("BEGIN")  # one picture of the data for all statements
            for statement in statements:
                plain = not statement.conditions and not statement.order_by
                if plain:
                    text = self._write_select()
                else:
                    text = (
                        f"SELECT * FROM ({self._write_select()}) AS {SOURCE_ALIAS}{statement.write_clause()}".replace(
                            PLACEHOLDER, "?"
                        )
                    )
                cursor = self._execute_statement(connection, text, statement.values)
                connection.text_factory = bytes  # Arrow reads UTF-8 itself
                while (size := count_rows_to_fetch(last, first_row_number)) and (rows := cursor.fetchmany(size)):
                    yield self._build_batch_from_rows(rows, names, first_row_number)
                    first_row_number += len(rows)

    def list_input_versions(self) -> list[InputVersion]:
        """Name the file with its checksum, and what was asked of it."""
        pin = self.file.build_input_version()
        return [
            InputVersion(
                name=pin.name, bytes=pin.bytes, modified=pin.modified, sha256=pin.sha256, detail=self._write_select()
            )
        ]

    def list_available_tables(self) -> list[AvailableTable]:
        """List tables and views; counting takes two seconds at most, in the order of names."""
        until = time.monotonic() + COUNT_TIMEOUT_SECONDS
        with self._open_connection() as connection:
            rows = self._execute_statement(
                connection,
                "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE "
                "'sqlite\\_%' ESCAPE '\\' ORDER BY name",
            ).fetchall()
            connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
            return [
                AvailableTable(
                    option_value=write_table_option(name),
                    row_count=self._count_rows(connection, name),
                    is_view=kind == "view",
                )
                for name, kind in rows
            ]

    def _count_rows(self, connection: sqlite3.Connection, name: str) -> int | None:
        try:
            return int(connection.execute(f"SELECT count(*) FROM {quote_name(name)}").fetchone()[0])
        except sqlite3.Error:  # it takes too long, or a view that is broken
            return None

    def _open_connection(self) -> _SqliteConnection:
        return _SqliteConnection(self.path)

    @cached_property
    def _declared_types(self) -> dict[str, str]:
        if not self.options.table:
            return {}
        with self._open_connection() as connection:
            name = (self.options.table or "").split(".")[-1].strip('"')
            rows = connection.execute("SELECT name, type FROM pragma_table_info(?)", (name,)).fetchall()
        return {str(name): str(kind) for name, kind in rows}

    def _execute_statement(
        self, connection: sqlite3.Connection, text: str, values: Sequence[object] = ()
    ) -> sqlite3.Cursor:
        try:
            return connection.execute(text, values)
        except sqlite3.Error as error:
            try:
                tables = [
                    row[0]
                    for row in connection.execute(
                        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
                    )
                ]
            except sqlite3.Error:
                raise SourceError(f"{self.path.name} is no SQLite file: {error}", remedy="look what it is") from error
            tables = [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in tables]
            raise SourceError(f"{self.path.name}: {error}", remedy=f"its tables are {', '.join(tables)}") from error

    def _build_writer(self) -> SqlConditionWriter:
        return _SqliteConditionWriter(self)

    def _is_comparable(self, name: str) -> bool:
        kind = self._columns[name].type
        return (not kind.is_array and kind.xtype is None) or kind.is_timestamp

    def _count_keys_per_statement(self, column_count: int) -> int:
        return MAX_VALUES_PER_STATEMENT // column_count

    def _write_key_condition(self, columns: Sequence[str], keys: pa.Table) -> SqlCondition:
        words = self._build_writer()
        names = [
            words.write_plain_column(name)
            if self._has_text_affinity(name)
            else words.write_column(name, is_computed=False)
            for name in columns
        ]
        row_placeholders = f"({', '.join([PLACEHOLDER] * len(columns))})"
        if len(names) == 1:
            left_side = names[0]
        else:
            left_side = f"({', '.join(names)})"
        values = tuple(
            value for row in zip(*(keys.column(name).to_pylist() for name in columns), strict=True) for value in row
        )
        return SqlCondition(
            sql=f"{left_side} IN (VALUES {', '.join([row_placeholders] * keys.num_rows)})", values=values
        )

    def _has_text_affinity(self, name: str) -> bool:
        """Check whether the column has text affinity, so that an index serves."""
        return any(word in self._declared_types.get(name, "").upper() for word in ("CHAR", "CLOB", "TEXT"))


class _SqliteConditionWriter(SqlConditionWriter):
    def write_column(self, name: str, *, is_computed: bool) -> str:  # noqa: ARG002  (sums are wide enough)
        """Compare texts byte by byte, and what is text here as text there, whatever it is stored as."""
        kind = self.rows._columns[name].type  # noqa: SLF001  (two halves of one thing)
        if not kind.is_string:
            return quote_name(name)
        return f"CAST({quote_name(name)} AS TEXT) COLLATE BINARY"


class _SqliteConnection:
    """A read-only connection that is closed at the end."""

    def __init__(self, path: Path) -> None:
        # text that is no UTF-8 is kept readable rather than refused
        self.connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False, isolation_level=None
        )
        self.connection.text_factory = lambda data: data.decode("utf-8", "replace")

    def __enter__(self) -> sqlite3.Connection:
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def _choose_type(declared: str, values: Sequence[Any]) -> pa.DataType:
    """Choose a type: what the values are counts more than what the column is declared (SQLite promises nothing)."""
    kinds = {type(value) for value in values if value is not None}
    word = declared.upper()
    if kinds and kinds <= {int}:
        if "BOOL" in word and set(values) <= {0, 1, None}:
            return pa.bool_()
        if "REAL" in word or "FLOA" in word or "DOUB" in word:
            return pa.float64()
        return pa.int64()
    if kinds and kinds <= {int, float}:
        return pa.float64()
    if kinds == {bytes}:
        return pa.binary()
    if kinds:
        return pa.string()
    if "INT" in word:
        return pa.int64()
    if any(part in word for part in ("REAL", "FLOA", "DOUB")):
        return pa.float64()
    return pa.string()

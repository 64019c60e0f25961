"""Read SQLite files, which the standard library opens read-only."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import build_type_from_arrow
from hven.plugins.databases.database_rows import (
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
from hven.sources import AvailableTable, InputVersion, SourceContext
from hven.sources.api.rows import DataFile, resolve_column_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hven.plugins.databases.options import Options

COUNT_TIMEOUT_SECONDS = 2.0  # for the numbers of rows in a list of tables
MAX_VALUES_PER_STATEMENT = 30_000  # SQLite allows 32,766 placeholders


class SqliteSource(KeyPagedDatabaseSource):
    """A table or query of a SQLite file, opened read-only."""

    def __init__(self, options: Options, path: Path, context: SourceContext) -> None:
        super().__init__(options, context)
        self.path = path
        self.file = DataFile(path=path, name=options.file or path.name)
        if not path.is_file():
            raise SourceError(
                f"there is no file {path.name} in {path.parent}",
                remedy="give the file's path relative to the descriptor's directory",
            )

    def _describe_columns(self) -> list[Column]:
        with self._open_connection() as connection:
            cursor = self._execute_statement(connection, f"SELECT * FROM ({self._write_select()}) LIMIT {SAMPLE_ROWS}")
            names = [item[0] for item in cursor.description]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise SourceError(
                    f"{self.source_name} has two columns named {twice!r}",
                    remedy="give the columns different names with AS",
                )
            rows = cursor.fetchall()
            declared = self._declared_types
        value_lists: list[Sequence[Any]] = [()] * len(names)
        if rows:
            value_lists = list(zip(*rows, strict=True))
        columns: list[Column] = []
        for name, values in zip(names, value_lists, strict=True):
            kind = _choose_type(declared.get(name, ""), values)
            columns.append(Column(name=name, type=build_type_from_arrow(kind)))
        return columns

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows as SQLite returns them."""
        statements = self._build_statements(row_limit)
        names = self._resolve_column_names(column_names)
        yield from self._read_rows_of_statements(statements, names, limit=row_limit)
        if row_limit is None:
            self.file.compute_sha256()

    def _resolve_column_names(self, requested_names: Sequence[str] | None) -> list[str]:
        return resolve_column_names(requested_names, list(self._columns), self.source_name)

    def _read_rows_of_statements(
        self,
        statements: Sequence[SelectStatement],
        names: Sequence[str],
        first_row_number: int = 1,
        limit: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        last = None
        if limit is not None:
            last = first_row_number + limit - 1
        with self._open_connection() as connection:
            connection.execute("BEGIN")  # all statements see one state of the data
            for statement in statements:
                text = self._write_select()
                if statement.conditions or statement.order_by:
                    text = f"SELECT * FROM ({text}) AS {SOURCE_ALIAS}{statement.write_clauses_after_from()}"
                    text = text.replace(PLACEHOLDER, "?")
                cursor = self._execute_statement(connection, text, statement.values)
                connection.text_factory = bytes  # Arrow reads UTF-8 itself
                while (size := count_rows_to_fetch(last, first_row_number)) and (rows := cursor.fetchmany(size)):
                    yield self._build_batch_from_rows(rows, names, first_row_number)
                    first_row_number += len(rows)

    def list_input_versions(self) -> list[InputVersion]:
        """Name the file with its checksum, and the query."""
        file_version = self.file.build_input_version()
        return [replace(file_version, detail=self._write_select())]

    def list_available_tables(self) -> list[AvailableTable]:
        """List tables and views; counting their rows takes two seconds at most, in the order of names."""
        until = time.monotonic() + COUNT_TIMEOUT_SECONDS
        tables: list[AvailableTable] = []
        with self._open_connection() as connection:
            rows = self._execute_statement(
                connection,
                "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE "
                "'sqlite\\_%' ESCAPE '\\' ORDER BY name",
            ).fetchall()
            connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
            for name, kind in rows:
                row_count = self._count_rows(connection, name)
                option_value = write_table_option(name)
                tables.append(AvailableTable(option_value=option_value, row_count=row_count, is_view=kind == "view"))
        return tables

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
            name = self.split_table_name(self.options.table)[-1]
            if name.startswith('"'):
                name = name[1:-1].replace('""', '"')
            rows = connection.execute("SELECT name, type FROM pragma_table_info(?)", (name,)).fetchall()
        return {str(name): str(kind) for name, kind in rows}

    def _execute_statement(
        self, connection: sqlite3.Connection, text: str, values: Sequence[object] = ()
    ) -> sqlite3.Cursor:
        try:
            return connection.execute(text, values)
        except sqlite3.Error as error:
            raise self._build_statement_error(connection, error) from error

    def _build_statement_error(self, connection: sqlite3.Connection, error: sqlite3.Error) -> SourceError:
        """Describe an error of a statement, with the tables of the file."""
        text = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
        names: list[str] = []
        try:
            for (name,) in connection.execute(text):
                if isinstance(name, bytes):
                    names.append(name.decode("utf-8", "replace"))
                else:
                    names.append(name)
        except sqlite3.Error:
            return SourceError(f"{self.path.name} is not an SQLite file: {error}", remedy="check the file")
        return SourceError(f"{self.path.name}: {error}", remedy=f"choose one of its tables: {', '.join(names)}")

    def _build_condition_writer(self) -> SqlConditionWriter:
        return _SqliteConditionWriter(self)

    def _is_comparable(self, name: str) -> bool:
        kind = self._columns[name].type
        if kind.is_timestamp:
            return True
        return not kind.is_array and kind.xtype is None

    def _count_keys_per_statement(self, column_count: int) -> int:
        return MAX_VALUES_PER_STATEMENT // column_count

    def _write_key_condition(self, columns: Sequence[str], keys: pa.Table) -> SqlCondition:
        writer = self._build_condition_writer()
        names: list[str] = []
        for name in columns:
            if self._has_text_affinity(name):
                names.append(writer.write_plain_column(name))
            else:
                names.append(writer.write_column(name, is_computed=False))
        left_side = names[0]
        if len(names) > 1:
            left_side = f"({', '.join(names)})"
        row_placeholders = f"({', '.join([PLACEHOLDER] * len(columns))})"
        all_placeholders = ", ".join([row_placeholders] * keys.num_rows)
        value_lists = [keys.column(name).to_pylist() for name in columns]
        values = tuple(chain.from_iterable(zip(*value_lists, strict=True)))
        return SqlCondition(sql=f"{left_side} IN (VALUES {all_placeholders})", values=values)

    def _has_text_affinity(self, name: str) -> bool:
        """Check whether the column has text affinity, so that an index serves."""
        declared_type = self._declared_types.get(name, "").upper()
        return any(word in declared_type for word in ("CHAR", "CLOB", "TEXT"))


class _SqliteConditionWriter(SqlConditionWriter):
    def write_column(self, name: str, *, is_computed: bool) -> str:  # noqa: ARG002  (sums are wide enough)
        """Write a column as it compares: texts byte by byte, and what is text here as text, however it is stored."""
        kind = self.rows._columns[name].type  # noqa: SLF001  (a class of this module)
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
    """Choose a type: the values count more than the declaration of the column, to which SQLite does not keep."""
    kinds = {type(value) for value in values if value is not None}
    word = declared.upper()
    is_real = any(part in word for part in ("REAL", "FLOA", "DOUB"))
    if not kinds:
        return _parse_declared_type(word, is_real=is_real)
    if kinds == {int}:
        if "BOOL" in word and set(values) <= {0, 1, None}:
            return pa.bool_()
        if not is_real:
            return pa.int64()
    if kinds <= {int, float}:
        return pa.float64()
    if kinds == {bytes}:
        return pa.binary()
    return pa.string()


def _parse_declared_type(word: str, *, is_real: bool) -> pa.DataType:
    if "INT" in word:
        return pa.int64()
    if is_real:
        return pa.float64()
    return pa.string()

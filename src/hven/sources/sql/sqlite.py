"""SQLite, opened read-only by the standard library."""

from __future__ import annotations

import sqlite3
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import from_arrow
from hven.sources import Context, Offer, Pin
from hven.sources._reading.files import DataFile, check_names
from hven.sources.sql.rows import ALIAS, PLACE, SAMPLE, Condition, Paged, Spelling, Statement, left, quoted, spelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hven.sources.sql.options import Options

COUNTING = 2.0  # seconds for the numbers of rows in a list of tables
VALUES = 30_000  # of one statement: SQLite has places for 32,766


class SqliteRows(Paged):
    """A table or query of a SQLite file, opened read-only."""

    def __init__(self, options: Options, path: Path, context: Context) -> None:
        super().__init__(options, context)
        self.path = path
        self.file = DataFile(path=path, name=options.file or path.name)
        if not path.is_file():
            raise SourceError(
                f"no file {path.name} in {path.parent}", remedy="paths start at the descriptor's directory"
            )

    def _described(self) -> list[Column]:
        with self._open() as connection:
            cursor = self._execute(connection, f"SELECT * FROM ({self._select()}) LIMIT {SAMPLE}")
            names = [item[0] for item in cursor.description]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise SourceError(f"{self.what} has two columns {twice!r}", remedy="name them apart with AS")
            rows = cursor.fetchall()
            declared = self._declared
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
        return [
            Column(name=name, type=from_arrow(_sqlite_type(declared.get(name, ""), values)))
            for name, values in zip(names, columns, strict=True)
        ]

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows as SQLite gives them."""
        yield from self._read(self._statements(limit), self._checked(columns), limit=limit)
        if limit is None:
            self.file.hash_whole()

    def _checked(self, columns: Sequence[str] | None) -> list[str]:
        return check_names(columns, list(self._columns), self.what)

    def _read(
        self, statements: Sequence[Statement], names: Sequence[str], number: int = 1, limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        last = None if limit is None else number + limit - 1
        with self._open() as connection:
            connection.execute("BEGIN")  # one picture of the data for all statements
            for statement in statements:
                plain = not statement.conditions and not statement.order
                text = (
                    self._select()
                    if plain
                    else f"SELECT * FROM ({self._select()}) AS {ALIAS}{statement.clause()}".replace(PLACE, "?")
                )
                cursor = self._execute(connection, text, statement.values)
                connection.text_factory = bytes  # Arrow reads UTF-8 itself
                while (size := left(last, number)) and (rows := cursor.fetchmany(size)):
                    yield self._assembled(rows, names, number)
                    number += len(rows)

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
            return [
                Offer(choice=spelled(name), rows=self._count(connection, name), view=kind == "view")
                for name, kind in rows
            ]

    def _count(self, connection: sqlite3.Connection, name: str) -> int | None:
        try:
            return int(connection.execute(f"SELECT count(*) FROM {quoted(name)}").fetchone()[0])
        except sqlite3.Error:  # it takes too long, or a view that is broken
            return None

    def _open(self) -> _Closing:
        return _Closing(self.path)

    @cached_property
    def _declared(self) -> dict[str, str]:
        if not self.options.table:
            return {}
        with self._open() as connection:
            name = (self.options.table or "").split(".")[-1].strip('"')
            rows = connection.execute("SELECT name, type FROM pragma_table_info(?)", (name,)).fetchall()
        return {str(name): str(kind) for name, kind in rows}

    def _execute(self, connection: sqlite3.Connection, text: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
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

    def _words(self) -> Spelling:
        return _Spelling(self)

    def _comparable(self, name: str) -> bool:
        kind = self._columns[name].type
        return (not kind.is_array and kind.xtype is None) or kind.is_timestamp

    def _portion(self, columns: int) -> int:
        return VALUES // columns

    def _among(self, columns: Sequence[str], keys: pa.Table) -> Condition:
        words = self._words()
        names = [words.plain(name) if self._is_text(name) else words.column(name, computed=False) for name in columns]
        one = f"({', '.join([PLACE] * len(columns))})"
        left_side = names[0] if len(names) == 1 else f"({', '.join(names)})"
        values = tuple(
            value for row in zip(*(keys.column(name).to_pylist() for name in columns), strict=True) for value in row
        )
        return Condition(sql=f"{left_side} IN (VALUES {', '.join([one] * keys.num_rows)})", values=values)

    def _is_text(self, name: str) -> bool:
        """Check whether the column has text affinity, so that an index serves."""
        return any(word in self._declared.get(name, "").upper() for word in ("CHAR", "CLOB", "TEXT"))


class _Spelling(Spelling):
    def column(self, name: str, *, computed: bool) -> str:  # noqa: ARG002  (sums are wide enough)
        """Compare texts byte by byte, and what is text here as text there, whatever it is stored as."""
        kind = self.rows._columns[name].type  # noqa: SLF001  (two halves of one thing)
        if not kind.is_string:
            return quoted(name)
        return f"CAST({quoted(name)} AS TEXT) COLLATE BINARY"


class _Closing:
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

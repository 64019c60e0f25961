"""What the databases have in common: columns, narrowing, picking, pages, values that don't fit their type."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import SourceError
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, InputVersion, RejectedRow, SourceContext
from hven.sources._reading.cells import is_convertible_type, parse_cells
from hven.sources._reading.data_files import build_source_batch
from hven.sources._reading.key_paging import KeyOrderedPager, PagingKey
from hven.sources._reading.watermarks import Watermark, WatermarkSource, parse_watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.model.table import Column
    from hven.sources.sql.options import Options

BATCH_ROWS = 32_768
SAMPLE_ROWS = 5_000
DEFAULT_PAGE_ROWS = 50_000  # rows between two places to go on from, unless somebody says otherwise
SOURCE_ALIAS = "hven_source"
_NAME_PART_PATTERN = re.compile(r'"(?:[^"]|"")+"|[^.]+')  # of a table's name: a dot inside quotes separates nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlCondition:
    """A condition in SQL; `values` go where `PLACEHOLDER` stands, in order."""

    sql: str
    values: tuple[object, ...] = ()

    def join_with_and(self, other: SqlCondition) -> SqlCondition:
        """Join two conditions by AND."""
        return SqlCondition(sql=f"{self.sql} AND {other.sql}", values=(*self.values, *other.values))


PLACEHOLDER = "\x00"  # where a value goes: no SQL has it


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectStatement:
    """A SELECT with its values; `order_by`: the key, in the order of its columns."""

    conditions: tuple[SqlCondition, ...] = ()
    order_by: tuple[str, ...] = ()
    row_limit: int | None = None

    def write_clause(self) -> str:
        """Write everything behind FROM."""
        if self.conditions:
            where_clause = f" WHERE {' AND '.join(condition.sql for condition in self.conditions)}"
        else:
            where_clause = ""
        if self.order_by:
            order = f" ORDER BY {', '.join(self.order_by)}"
        else:
            order = ""
        return f"{where_clause}{order}" + (f" LIMIT {int(self.row_limit)}" if self.row_limit is not None else "")

    @property
    def values(self) -> tuple[object, ...]:
        """The values in the order of their places."""
        return tuple(value for condition in self.conditions for value in condition.values)


class DatabaseSource(WatermarkSource):
    """A table or query of a database. Copies of it read a part: what is newer, some keys, some blocks."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        self.options = options
        self.context = context
        self.read_count = 0
        self._conditions: tuple[SqlCondition, ...] = ()  # all of them hold
        self._key_portions: tuple[SqlCondition, ...] | None = None  # a statement for each; None: one for everything

    def list_columns(self) -> list[Column]:
        """List the columns with their types."""
        return list(self._columns.values())

    @cached_property
    def _columns(self) -> dict[str, Column]:
        return {column.name: column for column in self._describe_columns()}

    @abstractmethod
    def _describe_columns(self) -> list[Column]:
        """Ask the database for the columns."""

    def _write_select(self, quote: str = '"') -> str:
        if self.options.query is not None:
            return self.options.query.strip().rstrip(";")
        return "SELECT * FROM " + ".".join(
            part if part.startswith(quote) else f"{quote}{part.replace(quote, quote * 2)}{quote}"
            for part in self.split_table_name(self.options.table)
        )

    @staticmethod
    def split_table_name(table: str | None) -> list[str]:
        """Cut a table's name: a dot inside quotes separates nothing."""
        return _NAME_PART_PATTERN.findall(table or "")

    @property
    def source_name(self) -> str:
        """What is read, in words, for messages."""
        if self.options.table:
            return f"table {self.options.table}"
        return "the query"

    def estimate_size(self) -> int | None:
        """Return None: nobody knows the number of rows without asking for all of them."""
        return None

    def list_input_versions(self) -> list[InputVersion]:
        """Name the table or query; the address is not shown."""
        return [
            InputVersion(
                name=self.options.file
                or (self.options.url if (self.options.url or "").startswith("$") else None)
                or "database",
                detail=self._write_select(),
            )
        ]

    # --- a part of the rows -----------------------------------------------------------------------------------

    def _select_newer(self, watermark: Watermark, value: object) -> Self:
        words = self._build_writer()
        sql = watermark.write_condition(value, words)
        return self._copy_part(SqlCondition(sql=sql, values=tuple(words.values)))

    def _parse_watermark(self, expression: str) -> Watermark | None:
        watermark = parse_watermark(expression, self.list_columns())
        if watermark is not None and all(self._is_comparable(name) for name in watermark.columns):
            return watermark
        return None

    def _is_comparable(self, name: str) -> bool:
        """Check whether values of the column have the same order there and here."""
        return name in self._columns

    def select_keys(self, key_columns: Sequence[str], keys: pa.Table) -> Self:
        """Select the rows whose `key_columns` are in `keys`."""
        for name in key_columns:
            if name not in self._columns:
                raise SourceError(
                    f"{self.source_name} has no column {name!r}", remedy=f"it has {', '.join(list(self._columns)[:12])}"
                )
        portions = self._split_keys(key_columns, keys.select(list(key_columns)))
        return self._copy_part(portions=portions)

    def _split_keys(self, columns: Sequence[str], keys: pa.Table) -> Iterator[SqlCondition]:
        """Cut keys into portions; those with nulls have conditions of their own."""
        if not keys.num_rows:
            return
        keys = keys.combine_chunks()
        missing = [keys.column(name).is_null() for name in columns]
        number = pa.chunked_array([pa.repeat(pa.scalar(0, pa.int64()), keys.num_rows)])
        for place, nulls in enumerate(missing):
            number = pc.add(number, pc.multiply(nulls.cast(pa.int64()), pa.scalar(1 << place, pa.int64())))
        for pattern in sorted(pc.unique(number).to_pylist()):
            keys_of_pattern = keys.filter(pc.equal(number, pattern))
            valued_columns = [name for place, name in enumerate(columns) if not pattern >> place & 1]
            null_conditions = [
                self._build_writer().write_is_null(name) for place, name in enumerate(columns) if pattern >> place & 1
            ]
            if not valued_columns:
                yield SqlCondition(sql=f"({' AND '.join(null_conditions)})")
                continue
            step = self._count_keys_per_statement(len(valued_columns))
            for at in range(0, keys_of_pattern.num_rows, step):
                among = self._write_key_condition(
                    valued_columns, keys_of_pattern.select(valued_columns).slice(at, step)
                )
                yield SqlCondition(sql=f"({' AND '.join([*null_conditions, among.sql])})", values=among.values)

    @abstractmethod
    def _count_keys_per_statement(self, column_count: int) -> int:
        """Return how many keys go into one statement."""

    @abstractmethod
    def _write_key_condition(self, columns: Sequence[str], keys: pa.Table) -> SqlCondition:
        """Write that `columns` are among `keys`, which have no nulls."""

    def _copy_part(self, *conditions: SqlCondition, portions: Iterable[SqlCondition] | None = None) -> Self:
        _ = self._columns  # what was seen of the whole holds for its parts
        part = copy.copy(self)
        cut = self._key_portions
        if portions is not None:
            new = tuple(portions)
            if cut is None:
                cut = new
            else:
                cut = tuple(
                    old_condition.join_with_and(new_condition) for old_condition in cut for new_condition in new
                )
        vars(part).update(read_count=0, _conditions=(*self._conditions, *conditions), _key_portions=cut)
        return part

    def _build_statements(self, row_limit: int | None = None) -> list[SelectStatement]:
        """List what is asked, one after the other in one transaction."""
        if self._key_portions is None:
            return [SelectStatement(conditions=self._conditions, row_limit=row_limit)]
        return [
            SelectStatement(conditions=(*self._conditions, portion), row_limit=row_limit)
            for portion in self._key_portions
        ]

    @abstractmethod
    def _build_writer(self) -> SqlConditionWriter:
        """Return how conditions are written."""

    # --- values that don't fit ----------------------------------------------------------------------------------

    def _reject_row(self, row: int, column: str, value: str, reason: str) -> None:
        if self.context.on_reject is None:
            raise SourceError(f"{self.source_name}, row {row}, column {column}: {value!r} is {reason}")
        self.context.on_reject(RejectedRow(file=None, row=row, column=column, value=value, reason=reason))

    def _convert_column(
        self, values: Sequence[Any], name: str, first_row_number: int, rejected_indexes: set[int]
    ) -> pa.Array:
        """Convert a column's values to an array; those that don't fit the type are set aside."""
        kind = self._columns[name].type.arrow
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
        texts = [
            None if value is None else value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            for value in values
        ]
        text = pa.array(texts, pa.string())
        if not is_convertible_type(kind):
            raise SourceError(f"{self.source_name}, column {name}: values are not {self._columns[name].type}")
        array, faults = parse_cells(text, kind)
        for at in [] if faults is None else pc.indices_nonzero(faults).to_pylist():
            if at not in rejected_indexes:
                rejected_indexes.add(at)
                self._reject_row(first_row_number + at, name, texts[at] or "", f"not {self._columns[name].type}")
        return array

    def _build_batch_from_rows(
        self, rows: Sequence[Sequence[Any]], names: Sequence[str], first_row_number: int
    ) -> pa.RecordBatch:
        """Assemble a batch of fetched rows, column by column."""
        column_names = list(self._columns)
        columns = list(zip(*rows, strict=True))
        bad: set[int] = set()
        arrays = {
            name: self._convert_column(columns[column_names.index(name)], name, first_row_number, bad)
            for name in names
            if name not in {ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}
        }
        batch = build_source_batch(names, arrays, len(rows), first_row_number, None)
        if bad:
            return batch.filter(pa.array([at not in bad for at in range(len(rows))]))
        return batch


class SqlConditionWriter(ABC):
    """How a database writes the parts of a condition (see `hven.sources._reading.watermarks.ConditionWriter`).

    `values` collects what goes where `PLACEHOLDER` stands.
    """

    def __init__(self, rows: DatabaseSource) -> None:
        self.rows = rows
        self.values: list[object] = []

    @abstractmethod
    def write_column(self, name: str, *, is_computed: bool) -> str:
        """Write a column so that it compares as its values do here."""

    def write_is_null(self, name: str) -> str:
        """Write that there is no value."""
        return f"{self.write_plain_column(name)} IS NULL"

    def write_plain_column(self, name: str) -> str:
        """Write a column's name."""
        return quote_name(name)

    def write_literal(self, value: object) -> str:
        """Write a value."""
        self.values.append(value)
        return PLACEHOLDER


class KeyPagedDatabaseSource(DatabaseSource):
    """Those that are read in the order of a key: who was left goes on behind it."""

    def read_pages(
        self, column_names: Sequence[str] | None = None, resume_token: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield rows in the order of the key, with what to say to go on behind them.

        Without a known key all at once.
        """
        key = PagingKey.from_columns(self.context.key_columns, self._columns, self._is_comparable)
        names = self._check_column_names(column_names)
        if key is None or self._key_portions is not None:
            yield from ((batch, "") for batch in self._read_statements(self._build_statements(), names))
            return
        turning = KeyOrderedPager(key, names, self.context.page_row_limit or DEFAULT_PAGE_ROWS, resume_token)
        spoken = self._build_writer()
        order = tuple(spoken.write_column(name, is_computed=False) for name in key.names)
        has_key = " AND ".join(f"NOT ({spoken.write_is_null(name)})" for name in key.names)
        with_key = [*self._conditions, SqlCondition(sql=has_key)]
        if turning.last_key is not None:
            words = self._build_writer()
            behind = key.write_condition_after(turning.last_key, words)
            with_key.append(SqlCondition(sql=behind, values=tuple(words.values)))
        without = SqlCondition(sql=f"({' OR '.join(spoken.write_is_null(name) for name in key.names)})")
        statements = [
            SelectStatement(conditions=tuple(with_key), order_by=order),
            SelectStatement(conditions=(*self._conditions, without)),
        ]
        yield from turning.split_into_pages(
            self._read_statements(statements, turning.requested_names, turning.next_row_number)
        )

    @abstractmethod
    def _check_column_names(self, columns: Sequence[str] | None) -> list[str]:
        """Check wanted names."""

    @abstractmethod
    def _read_statements(
        self, statements: Sequence[SelectStatement], names: Sequence[str], first_row_number: int = 1
    ) -> Iterator[pa.RecordBatch]:
        """Ask one statement after the other in one picture of the data; `first_row_number` is the first row's."""


def quote_name(name: str) -> str:
    """Write a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def deduplicate_column_names(names: Sequence[str], normalize: Callable[[str], str] = str.lower) -> list[str]:
    """Name columns of a result apart: the first of one name keeps it, the others are NAME_2, NAME_3 ..; `normalize`.

    What makes two names one.
    """
    taken_names = {normalize(name) for name in names}
    used_names: set[str] = set()
    unique_names = []
    for name in names:
        number, new = 2, name
        while normalize(new) in used_names or (new != name and normalize(new) in taken_names):
            number, new = number + 1, f"{name}_{number}"
        used_names.add(normalize(new))
        unique_names.append(new)
    return unique_names


def write_table_option(name: str, schema: str | None = None) -> str:
    """Write a name as the option `table` wants it: quoted if a dot stands in it."""
    parts = [part for part in (schema, name) if part]
    return ".".join(quote_name(part) if "." in part else part for part in parts)


def count_rows_to_fetch(last_row_number: int | None, next_row_number: int) -> int:
    """Count the rows to fetch next; `next_row_number` is the next row's."""
    if last_row_number is None:
        return BATCH_ROWS
    return max(0, min(BATCH_ROWS, last_row_number - next_row_number + 1))


def redact_url(text: str, url: str) -> str:
    """Redact the address and its password in a driver's message."""
    parts = urlsplit(url)
    secrets = [url, parts.password, parts.netloc]
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return " ".join(text.split())

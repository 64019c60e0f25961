"""The common parts of database sources: columns, selection by keys and watermarks, pages, rejected values."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import SourceError
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, InputVersion, RejectedRow, SourceContext
from hven.sources.api.cells import is_parsable_cell_type, parse_cells
from hven.sources.api.key_paging import KeyOrderedPager, PagingKey
from hven.sources.api.rows import build_source_batch
from hven.sources.api.watermarks import Watermark, WatermarkSource, parse_watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.model.table import Column
    from hven.plugins.databases.options import Options

BATCH_ROWS = 32_768
SAMPLE_ROWS = 5_000
DEFAULT_PAGE_ROWS = 50_000  # between two resume tokens
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


PLACEHOLDER = "\x00"  # stands for a value: no SQL text contains it


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectStatement:
    """A SELECT with its values; `order_by`: the key, in the order of its columns."""

    conditions: tuple[SqlCondition, ...] = ()
    order_by: tuple[str, ...] = ()
    row_limit: int | None = None

    def write_clauses_after_from(self) -> str:
        """Write everything behind FROM."""
        clause = ""
        if self.conditions:
            clause = f" WHERE {' AND '.join(condition.sql for condition in self.conditions)}"
        if self.order_by:
            clause = f"{clause} ORDER BY {', '.join(self.order_by)}"
        if self.row_limit is not None:
            clause = f"{clause} LIMIT {int(self.row_limit)}"
        return clause

    @property
    def values(self) -> tuple[object, ...]:
        """The values in the order of their places."""
        return tuple(value for condition in self.conditions for value in condition.values)


class DatabaseSource(WatermarkSource):
    """A table or query of a database.

    Copies of the source read a part of it: newer rows, some keys, some blocks.
    """

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
        """Describe the columns as the database knows them."""

    def _write_select(self, quote_character: str = '"') -> str:
        if self.options.query is not None:
            return self.options.query.strip().rstrip(";")
        parts: list[str] = []
        for part in self.split_table_name(self.options.table):
            if part.startswith(quote_character):
                parts.append(part)
            else:
                escaped_part = part.replace(quote_character, quote_character * 2)
                parts.append(f"{quote_character}{escaped_part}{quote_character}")
        return f"SELECT * FROM {'.'.join(parts)}"

    @staticmethod
    def split_table_name(table: str | None) -> list[str]:
        """Split a table's name: a dot within quotes separates nothing."""
        return _NAME_PART_PATTERN.findall(table or "")

    @property
    def source_name(self) -> str:
        """The table or query in words, for messages."""
        if self.options.table:
            return f"table {self.options.table}"
        return "the query"

    def estimate_progress_total(self) -> int | None:
        """Return None: the number of rows is unknown without a query for all of them."""
        return None

    def list_input_versions(self) -> list[InputVersion]:
        """Name the table or query; the address is not shown."""
        name = self.options.file
        url = self.options.url or ""
        if not name and url.startswith("$"):
            name = url
        return [InputVersion(name=name or "database", detail=self._write_select())]

    # --- a part of the rows -----------------------------------------------------------------------------------

    def _select_newer(self, watermark: Watermark, value: object) -> Self:
        writer = self._build_condition_writer()
        sql = watermark.write_condition(value, writer)
        return self._copy_source(SqlCondition(sql=sql, values=tuple(writer.values)))

    def _parse_watermark(self, expression: str) -> Watermark | None:
        watermark = parse_watermark(expression, self.list_columns())
        if watermark is not None and all(self._is_comparable(name) for name in watermark.columns):
            return watermark
        return None

    def _is_comparable(self, name: str) -> bool:
        """Check whether values of the column have the same order in the database and in Hven."""
        return name in self._columns

    def select_keys(self, key_columns: Sequence[str], keys: pa.Table) -> Self:
        """Select the rows whose `key_columns` are in `keys`."""
        for name in key_columns:
            if name not in self._columns:
                raise SourceError(
                    f"{self.source_name} has no column {name!r}",
                    remedy=f"choose one of its columns: {', '.join(list(self._columns)[:12])}",
                )
        portions = self._iterate_key_conditions(key_columns, keys.select(list(key_columns)))
        return self._copy_source(portions=portions)

    def _iterate_key_conditions(self, columns: Sequence[str], keys: pa.Table) -> Iterator[SqlCondition]:
        """Split keys into portions; keys with nulls have conditions of their own."""
        if not keys.num_rows:
            return
        keys = keys.combine_chunks()
        # bit n of a pattern: column n is null
        patterns = pa.chunked_array([pa.repeat(pa.scalar(0, pa.int64()), keys.num_rows)])
        for place, name in enumerate(columns):
            is_null = keys.column(name).is_null().cast(pa.int64())
            patterns = pc.add(patterns, pc.multiply(is_null, pa.scalar(1 << place, pa.int64())))
        writer = self._build_condition_writer()
        for pattern in sorted(pc.unique(patterns).to_pylist()):
            pattern_keys = keys.filter(pc.equal(patterns, pattern))
            valued_columns: list[str] = []
            conditions: list[str] = []
            for place, name in enumerate(columns):
                if pattern >> place & 1:
                    conditions.append(writer.write_null_condition(name))
                else:
                    valued_columns.append(name)
            if not valued_columns:
                yield SqlCondition(sql=f"({' AND '.join(conditions)})")
                continue
            valued_keys = pattern_keys.select(valued_columns)
            step = self._count_keys_per_statement(len(valued_columns))
            for at in range(0, valued_keys.num_rows, step):
                among = self._write_key_condition(valued_columns, valued_keys.slice(at, step))
                yield SqlCondition(sql=f"({' AND '.join([*conditions, among.sql])})", values=among.values)

    @abstractmethod
    def _count_keys_per_statement(self, column_count: int) -> int:
        """Return the number of keys that one statement takes."""

    @abstractmethod
    def _write_key_condition(self, columns: Sequence[str], keys: pa.Table) -> SqlCondition:
        """Write the condition that `columns` are among `keys`, which have no nulls."""

    def _copy_source(self, *conditions: SqlCondition, portions: Iterable[SqlCondition] | None = None) -> Self:
        _ = self._columns  # cached for all parts
        part = copy.copy(self)
        part.read_count = 0
        part._conditions = (*self._conditions, *conditions)  # noqa: SLF001  (a copy of this source)
        if portions is not None:
            part._key_portions = self._combine_portions(tuple(portions))  # noqa: SLF001  (a copy of this source)
        return part

    def _combine_portions(self, portions: tuple[SqlCondition, ...]) -> tuple[SqlCondition, ...]:
        """Combine the portions of this source with further ones: a statement for each pair."""
        if self._key_portions is None:
            return portions
        pairs = product(self._key_portions, portions)
        return tuple(condition.join_with_and(new_condition) for condition, new_condition in pairs)

    def _build_statements(self, row_limit: int | None = None) -> list[SelectStatement]:
        """List the statements that are executed one after the other in one transaction."""
        if self._key_portions is None:
            return [SelectStatement(conditions=self._conditions, row_limit=row_limit)]
        statements: list[SelectStatement] = []
        for portion in self._key_portions:
            conditions = (*self._conditions, portion)
            statements.append(SelectStatement(conditions=conditions, row_limit=row_limit))
        return statements

    @abstractmethod
    def _build_condition_writer(self) -> SqlConditionWriter:
        """Return the writer of conditions."""

    # --- values that don't fit ----------------------------------------------------------------------------------

    def _reject_row(self, row: int, column: str, value: str, reason: str) -> None:
        if self.context.on_reject is None:
            raise SourceError(f"{self.source_name}, row {row}, column {column}: {value!r} is {reason}")
        rejected_row = RejectedRow(file=None, row=row, column=column, value=value, reason=reason)
        self.context.on_reject(rejected_row)

    def _convert_column(
        self, values: Sequence[Any], name: str, first_row_number: int, rejected_indexes: set[int]
    ) -> pa.Array:
        """Convert the values of a column to an array; rows with values that do not fit are rejected."""
        kind = self._columns[name].type.arrow
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
        texts = [_to_text(value) for value in values]
        text = pa.array(texts, pa.string())
        if not is_parsable_cell_type(kind):
            raise SourceError(
                f"{self.source_name}, column {name}: some values are not of type {self._columns[name].type}"
            )
        array, faults = parse_cells(text, kind)
        if faults is None:
            return array
        for at in pc.indices_nonzero(faults).to_pylist():
            if at not in rejected_indexes:
                rejected_indexes.add(at)
                self._reject_row(first_row_number + at, name, texts[at] or "", f"not {self._columns[name].type}")
        return array

    def _build_batch_from_rows(
        self, rows: Sequence[Sequence[Any]], names: Sequence[str], first_row_number: int
    ) -> pa.RecordBatch:
        """Build a batch of fetched rows, column by column."""
        value_lists = dict(zip(self._columns, zip(*rows, strict=True), strict=True))
        bad: set[int] = set()
        arrays: dict[str, pa.Array] = {}
        for name in names:
            if name not in {ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}:
                arrays[name] = self._convert_column(value_lists[name], name, first_row_number, bad)
        batch = build_source_batch(names, arrays, len(rows), first_row_number, None)
        if bad:
            is_good = [index not in bad for index in range(len(rows))]
            batch = batch.filter(pa.array(is_good))
        return batch


def _to_text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


class SqlConditionWriter(ABC):
    """Writes the parts of a condition for a database (a writer as `Watermark.write_condition` needs it).

    `values` collects the values that `PLACEHOLDER` stands for.
    """

    def __init__(self, rows: DatabaseSource) -> None:
        self.rows = rows
        self.values: list[object] = []

    @abstractmethod
    def write_column(self, name: str, *, is_computed: bool) -> str:
        """Write a column so that it compares as its values do in Hven."""

    def write_null_condition(self, name: str) -> str:
        """Write the condition that there is no value."""
        return f"{self.write_plain_column(name)} IS NULL"

    def write_plain_column(self, name: str) -> str:
        """Write the name of a column."""
        return quote_name(name)

    def write_literal(self, value: object) -> str:
        """Write a value."""
        self.values.append(value)
        return PLACEHOLDER


class KeyPagedDatabaseSource(DatabaseSource):
    """Databases that are read in the order of a key: an interrupted run goes on behind its last key."""

    def read_pages(
        self, column_names: Sequence[str] | None = None, resume_token: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield rows in the order of the key, with the tokens to go on from.

        Without a known key there are no tokens.
        """
        key = PagingKey.from_columns(self.context.key_columns, self._columns, self._is_comparable)
        names = self._resolve_column_names(column_names)
        if key is None or self._key_portions is not None:
            statements = self._build_statements()
            for batch in self._read_rows_of_statements(statements, names):
                yield batch, ""
            return
        page_rows = self.context.page_row_limit or DEFAULT_PAGE_ROWS
        pager = KeyOrderedPager(key, names, page_rows, resume_token)
        writer = self._build_condition_writer()
        order = tuple(writer.write_column(name, is_computed=False) for name in key.names)
        is_null_conditions = [writer.write_null_condition(name) for name in key.names]
        has_key = " AND ".join(f"NOT ({condition})" for condition in is_null_conditions)
        with_key = [*self._conditions, SqlCondition(sql=has_key)]
        if pager.last_key is not None:
            key_writer = self._build_condition_writer()
            behind = key.write_condition_after(pager.last_key, key_writer)
            with_key.append(SqlCondition(sql=behind, values=tuple(key_writer.values)))
        without_key = SqlCondition(sql=f"({' OR '.join(is_null_conditions)})")
        statements = [
            SelectStatement(conditions=tuple(with_key), order_by=order),
            SelectStatement(conditions=(*self._conditions, without_key)),
        ]
        batches = self._read_rows_of_statements(statements, pager.requested_names, pager.next_row_number)
        yield from pager.split_into_pages(batches)

    @abstractmethod
    def _resolve_column_names(self, requested_names: Sequence[str] | None) -> list[str]:
        """Check the wanted names."""

    @abstractmethod
    def _read_rows_of_statements(
        self, statements: Sequence[SelectStatement], names: Sequence[str], first_row_number: int = 1
    ) -> Iterator[pa.RecordBatch]:
        """Execute one statement after the other on one state of the data; `first_row_number` is the first row's."""


def quote_name(name: str) -> str:
    """Quote a name as in SQL."""
    return '"' + name.replace('"', '""') + '"'


def rename_repeated_column_names(names: Sequence[str], normalize: Callable[[str], str] = str.lower) -> list[str]:
    """Distinguish columns of one name: the first keeps it, the others become NAME_2, NAME_3 ..

    Two names are one if `normalize` makes them equal.
    """
    taken_names = {normalize(name) for name in names}
    used_names: set[str] = set()
    unique_names: list[str] = []
    for name in names:
        number = 2
        new = name
        while normalize(new) in used_names or (new != name and normalize(new) in taken_names):
            new = f"{name}_{number}"
            number += 1
        used_names.add(normalize(new))
        unique_names.append(new)
    return unique_names


def write_table_option(name: str, schema: str | None = None) -> str:
    """Write a name as the option `table` takes it: a part with a dot is quoted."""
    parts = [part for part in (schema, name) if part]
    return ".".join(quote_name(part) if "." in part else part for part in parts)


def count_rows_to_fetch(last_row_number: int | None, next_row_number: int) -> int:
    """Count the rows to fetch next; `next_row_number` is the number of the next row."""
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

"""Read databases whose drivers return Arrow: columns, selection, pages and blocks.

The dialect of each database holds what it writes differently.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import DeviationKind, ReadDeviation, build_duplicate_name_deviation
from hven.model.errors import SourceError
from hven.model.literal import format_decimals
from hven.model.table import Column
from hven.model.types import build_type_from_arrow
from hven.plugins.databases.block_checksums import choose_block_bits, write_block_conditions_sql
from hven.plugins.databases.database_rows import (
    SOURCE_ALIAS,
    KeyPagedDatabaseSource,
    SelectStatement,
    SqlCondition,
    SqlConditionWriter,
    rename_repeated_column_names,
    write_table_option,
)
from hven.plugins.databases.dialects import (
    KIND_BITS,
    KIND_BYTES,
    KIND_TEXT,
    KIND_TIME,
    KIND_WHOLE,
    POSTGRESQL_DIALECT,
    REAL_KINDS,
    SqlSourceDialect,
)
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, AvailableTable
from hven.sources.api.cells import explain_unparsable_text, is_parsable_cell_type, parse_cells, replace_nan_with_null
from hven.sources.api.rows import build_source_batch, limit_rows, resolve_column_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from hven.plugins.databases.options import Options
    from hven.sources import SourceContext

KEYS_PER_STATEMENT = 10_000
KEYS_PER_STATEMENT_WITHOUT_TUPLES = 500
ZERO_DATE = "0000-00-00"
MARIADB_UTF8 = "utf8mb4"
TRUE_WORDS = {"1", "t", "True"}  # words of databases for true


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultField:
    """A column of a result.

    Attributes
    ----------
    value_kind
        One of the words of the dialects.
    origin
        Schema, table and column of its values, if the driver tells them.
    """

    name: str
    value_kind: str
    arrow: pa.DataType
    origin: tuple[str, str, str] | None = None
    description: str | None = None


class DatabaseSession(Protocol):
    """A connection, within one read-only transaction where the database has such transactions."""

    def describe_statement(self, sql: str) -> list[ResultField]:
        """List the columns of a statement, with their names in the database."""

    def query_rows(self, sql: str) -> list[tuple[object, ...]]:
        """Run a query that returns few rows."""

    def stream_batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a statement as they come; they are texts where the driver has no better type."""

    def close(self) -> None:
        """Close the connection, also while a statement runs."""


class ArrowDatabaseSource(KeyPagedDatabaseSource):
    """A table or query of a database whose driver returns Arrow."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        super().__init__(options, context)
        self._zero_date_counts: Counter[str] = Counter()

    @property
    @abstractmethod
    def dialect(self) -> SqlSourceDialect:
        """The dialect of this database."""

    @abstractmethod
    def _open_session(self) -> AbstractContextManager[DatabaseSession]:
        """Connect; `_failed` explains what fails within."""

    # --- columns ------------------------------------------------------------------------------------------------

    @cached_property
    def _result_fields(self) -> tuple[list[ResultField], list[str]]:
        """Columns with their names in the database, and their names here."""
        select = self._write_select(self.dialect.quote)
        with self._open_session() as session:
            fields = self._with_database_comments(session, session.describe_statement(select))
        if self._true_encoding:  # then bytes are texts, too
            for index, field in enumerate(fields):
                if field.value_kind == KIND_BYTES:
                    fields[index] = replace(field, value_kind=KIND_TEXT)
        fold_name: Callable[[str], str] = str.lower
        if self.dialect is POSTGRESQL_DIALECT:
            fold_name = str
        names = rename_repeated_column_names([field.name for field in fields], fold_name)
        for field, name in zip(fields, names, strict=True):
            if name != field.name:
                deviation = build_duplicate_name_deviation(field.name, name, self.source_name)
                self.context.report_deviation(deviation)
        return fields, names

    @cached_property
    def _fields(self) -> dict[str, ResultField]:
        fields, names = self._result_fields
        return dict(zip(names, fields, strict=True))

    def _with_database_comments(self, session: DatabaseSession, fields: Sequence[ResultField]) -> list[ResultField]:
        """Add the comments of the database on the columns."""
        if not self.dialect.comments_sql:
            return list(fields)
        comments: dict[tuple[str, str, str], str] = {}
        tables = dict.fromkeys(field.origin[:2] for field in fields if field.origin)
        for schema, table in tables:
            schema_literal = "NULL"
            if schema:
                schema_literal = self.dialect.write_text(schema)
            text = self.dialect.comments_sql.format(schema_literal, self.dialect.write_text(table))
            for name, comment in session.query_rows(text):
                if comment:
                    comments[schema, table, str(name)] = str(comment)
        described: list[ResultField] = []
        for field in fields:
            if field.origin:
                described.append(replace(field, description=comments.get(field.origin)))
            else:
                described.append(field)
        return described

    def _describe_columns(self) -> list[Column]:
        columns: list[Column] = []
        for name, field in self._fields.items():
            kind = build_type_from_arrow(field.arrow)
            columns.append(Column(name=name, type=kind, description=field.description))
        return columns

    def list_available_tables(self) -> list[AvailableTable]:
        """List the tables that this user may read; numbers of rows are estimates."""
        if not self.dialect.tables_sql:
            raise SourceError("Hven cannot list the tables of this database", remedy="choose a table with --table NAME")
        with self._open_session() as session:
            rows = session.query_rows(self.dialect.tables_sql)
        tables: list[AvailableTable] = []
        for schema, name, view, count in rows:
            is_view = str(view) in TRUE_WORDS
            schema_name = None
            if schema is not None:
                schema_name = str(schema)
            row_count = None
            if count is not None and not is_view:
                row_count = int(str(count))
            option_value = write_table_option(str(name), schema_name)
            tables.append(AvailableTable(option_value=option_value, row_count=row_count, is_view=is_view))
        return tables

    # --- rows ---------------------------------------------------------------------------------------------------

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows as the database returns them, in one transaction."""
        statements = self._build_statements(row_limit)
        batches = self._read_rows_of_statements(statements, self._resolve_column_names(column_names))
        yield from limit_rows(batches, row_limit)

    def _resolve_column_names(self, requested_names: Sequence[str] | None) -> list[str]:
        return resolve_column_names(requested_names, list(self._columns), self.source_name)

    def _read_rows_of_statements(
        self, statements: Sequence[SelectStatement], names: Sequence[str], first_row_number: int = 1
    ) -> Iterator[pa.RecordBatch]:
        real = [name for name in names if name not in {ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}]
        if not real:
            real = list(self._columns)[:1]
        items = ", ".join(map(self._write_selected_column_sql, real))
        with self._open_session() as session:
            for statement in statements:
                text = f"{self._with_clause}SELECT {items} FROM {self._from_item}{statement.write_clauses_after_from()}"
                with closing(session.stream_batches(text)) as stream:  # type: ignore[type-var]
                    for received_batch in stream:
                        arrays, is_bad = self._convert_batch(real, received_batch, first_row_number)
                        row_count = received_batch.num_rows
                        batch = build_source_batch(names, arrays, row_count, first_row_number, None)
                        if is_bad.any():
                            batch = batch.filter(pa.array(~is_bad))
                        yield batch
                        first_row_number += row_count
                        self.read_count = first_row_number - 1
        self._report_zero_dates()

    def _convert_batch(
        self, column_names: Sequence[str], batch: pa.RecordBatch, first_row_number: int
    ) -> tuple[dict[str, pa.Array], np.ndarray]:
        """Convert a batch of the driver to the types of the columns, and mark the rows that are rejected."""
        is_bad = np.zeros(batch.num_rows, bool)
        arrays: dict[str, pa.Array] = {}
        for name, values in zip(column_names, batch.columns, strict=True):
            arrays[name], faults = self._convert_values(name, values)
            if faults is None:
                continue
            reason = explain_unparsable_text(arrays[name].type)
            for at in pc.indices_nonzero(faults).to_pylist():
                if not is_bad[at]:
                    is_bad[at] = True
                    self._reject_row(first_row_number + at, name, str(values[at].as_py()), reason)
        return arrays, is_bad

    def _convert_values(self, name: str, values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
        """Convert the driver's values to the type of the column, and mark those that do not fit."""
        kind = self._columns[name].type.arrow
        if values.type == kind:
            return replace_nan_with_null(values), None
        if pa.types.is_binary(values.type):
            return _decode_utf8(values)
        values = format_decimals(values)
        try:  # what databases write needs no guess
            return replace_nan_with_null(values.cast(kind)), None
        except pa.ArrowException:
            if not is_parsable_cell_type(kind):
                raise SourceError(
                    f"{self.source_name}, column {name}: some values are not of type {self._columns[name].type}"
                ) from None
            values = values.cast(pa.string())
        if self._fields[name].value_kind == KIND_TIME:
            zero = pc.fill_null(pc.starts_with(values, ZERO_DATE), False)
            zeros = pc.sum(zero).as_py()
            if zeros:
                self._zero_date_counts[name] += zeros
                values = pc.if_else(zero, pa.scalar(None, values.type), values)
        return parse_cells(values, kind)

    def _report_zero_dates(self) -> None:
        """Report dates that are no days."""
        for name, count in self._zero_date_counts.items():
            message = f"the database contains {ZERO_DATE}, which is not a date; Hven reads it as missing"
            deviation = ReadDeviation(
                kind=DeviationKind.NULL, column=name, count=count, file=self.source_name, message=message
            )
            self.context.report_deviation(deviation)
        self._zero_date_counts.clear()

    # --- statements ---------------------------------------------------------------------------------------------

    @property
    def _with_clause(self) -> str:
        """The clause before a SELECT: a query whose columns get distinct names."""
        if not self._has_renamed_columns:
            return ""
        names = ", ".join(map(self.dialect.quote_name, self._fields))
        return f"WITH {SOURCE_ALIAS} ({names}) AS ({self._write_select(self.dialect.quote)}\n) "

    @property
    def _from_item(self) -> str:
        if self._has_renamed_columns:
            return SOURCE_ALIAS
        if self.options.table:
            return f"{self._write_select(self.dialect.quote).removeprefix('SELECT * FROM ')} {SOURCE_ALIAS}"
        return f"({self._write_select(self.dialect.quote)}\n) {SOURCE_ALIAS}"

    @property
    def _has_renamed_columns(self) -> bool:
        fields, names = self._result_fields
        return [field.name for field in fields] != names

    def write_literal(self, value: object) -> str:
        """Write a literal: no placeholder works alike in all databases."""
        if isinstance(value, str):
            if "\0" in value:
                raise SourceError(
                    "a key value contains a NUL character",
                    remedy="run `hven sync --full`, which reads all rows",
                )
            return self.dialect.write_text(value)
        if isinstance(value, float):
            digits = repr(value)
            if "e" not in digits:
                digits = f"{digits}e0"
            return self.dialect.double_template.format(digits)
        if isinstance(value, int):
            return str(value)
        return self.dialect.time_template.format(f"{value:%Y-%m-%d %H:%M:%S.%f}")

    def write_column_sql(self, name: str) -> str:
        """Write a column; a text is recoded from its true encoding."""
        column = self.dialect.quote_name(name)
        if self._true_encoding and self._fields[name].value_kind == KIND_TEXT:
            return self.dialect.recoding_template.format(column, self._true_encoding)
        return column

    def write_compared_column_sql(self, name: str, *, is_computed: bool) -> str:
        """Write a column as it compares in the order of its values; `is_computed`: as a term of a sum."""
        kind = self._fields[name].value_kind
        template = self.dialect.comparison_templates.get(kind, "{}")
        if is_computed:
            template = self.dialect.sum_templates.get(kind) or template
        return template.format(self.write_column_sql(name))

    def write_null_condition(self, name: str) -> str:
        """Write the condition that a column has no value."""
        kind = self._fields[name].value_kind
        template = self.dialect.null_templates.get(kind, "{0} IS NULL")
        return template.format(self.write_column_sql(name))

    @property
    def _true_encoding(self) -> str:
        encoding_option = (self.options.encoding or "").lower()
        if encoding_option and not self.dialect.recoding_template:
            raise SourceError(
                f"{self.dialect.name} does not support `encoding`",
                remedy="leave it out, or let the SQL in `query` convert the strings",
            )
        if encoding_option in {"utf-8", "utf8", "utf8mb3"}:
            return MARIADB_UTF8
        return encoding_option

    def _write_selected_column_sql(self, name: str) -> str:
        kind = self._fields[name].value_kind
        if self._true_encoding == MARIADB_UTF8 and kind == KIND_TEXT:
            # Hven decodes it: the database would turn invalid bytes into `?`
            return f"CAST({self.dialect.quote_name(name)} AS BINARY)"
        template = self.dialect.sent_templates.get(kind, "{}")
        return template.format(self.write_column_sql(name))

    def _build_condition_writer(self) -> SqlConditionWriter:
        return _ArrowSourceConditionWriter(self)

    def _is_comparable(self, name: str) -> bool:
        comparable_kinds = {KIND_WHOLE, KIND_BITS, KIND_TEXT, KIND_TIME, *REAL_KINDS}
        return self._fields[name].value_kind in comparable_kinds and not self._columns[name].type.is_array

    def _count_keys_per_statement(self, column_count: int) -> int:
        key_count = KEYS_PER_STATEMENT_WITHOUT_TUPLES
        if self.dialect.has_tuples:
            key_count = KEYS_PER_STATEMENT
        return max(1, key_count // column_count)

    def _write_key_column_sql(self, name: str) -> str:
        if self._fields[name].value_kind == KIND_TEXT:
            return self.write_column_sql(name)
        return self.write_compared_column_sql(name, is_computed=False)

    def _write_key_condition(self, columns: Sequence[str], keys: pa.Table) -> SqlCondition:
        names = [self._write_key_column_sql(name) for name in columns]
        value_lists = [keys.column(name).to_pylist() for name in columns]
        rows = [[self.write_literal(value) for value in row] for row in zip(*value_lists, strict=True)]
        if len(names) == 1:
            values = ", ".join(value for (value,) in rows)
            return SqlCondition(sql=f"{names[0]} IN ({values})")
        if self.dialect.has_tuples:
            tuples = ", ".join(f"({', '.join(row)})" for row in rows)
            return SqlCondition(sql=f"({', '.join(names)}) IN ({tuples})")
        alternatives: list[str] = []
        for row in rows:
            comparisons = [f"{name} = {value}" for name, value in zip(names, row, strict=True)]
            alternatives.append(f"({' AND '.join(comparisons)})")
        return SqlCondition(sql=f"({' OR '.join(alternatives)})")

    # --- blocks -------------------------------------------------------------------------------------------------

    def compute_block_checksums(self, key_columns: Sequence[str], value_columns: Sequence[str]) -> pa.Table | None:
        """Sum up blocks of keys in the database: the hashes of the rows of a block are added up.

        Return None where the database cannot do so.
        """
        summing = self.dialect.summing
        if summing is None or not key_columns:
            return None
        if any(name not in self._columns for name in (*key_columns, *value_columns)):
            return None
        source = f"FROM {self._from_item}{SelectStatement(conditions=self._conditions).write_clauses_after_from()}"
        with self._open_session() as session:
            cutting = "h"
            if len(key_columns) == 1 and self._fields[key_columns[0]].value_kind == KIND_WHOLE:
                name = self.dialect.quote_name(key_columns[0])
                (low, high, rows), *_ = session.query_rows(
                    f"{self._with_clause}SELECT MIN({name}), MAX({name}), COUNT(*) {source}"
                )
                cutting = choose_block_bits(_to_integer(low), _to_integer(high), int(str(rows)))
            summed_names = dict.fromkeys((*key_columns, *value_columns))
            row_hash = summing.write_row_hash([self._write_hashed_column_sql(name) for name in summed_names])
            block_rows = session.query_rows(
                f"{self._with_clause}SELECT {summing.write_block_number(cutting, key_columns)}, COUNT(*), "
                f"{summing.total_template.format(row_hash)} {source} GROUP BY 1"
            )
        blocks: list[str] = []
        counts: list[int] = []
        checksums: list[str] = []
        for block_number, row_count, total in block_rows:
            number_text = "null"
            if block_number is not None:
                number_text = str(block_number)
            blocks.append(f"{cutting}:{number_text}")
            counts.append(int(str(row_count)))
            checksums.append(str(total))
        return pa.table(
            {
                "block": pa.array(blocks, pa.string()),
                "rows": pa.array(counts, pa.int64()),
                "checksum": pa.array(checksums, pa.string()),
            }
        )

    def _write_hashed_column_sql(self, name: str) -> str:
        """Write a value with all of its digits."""
        if self._fields[name].value_kind in REAL_KINDS:
            return self.write_compared_column_sql(name, is_computed=False)
        return self._write_selected_column_sql(name)

    def select_blocks(self, key_columns: Sequence[str], block_ids: Sequence[object]) -> Self:
        """Select the rows of some blocks."""
        summing = self.dialect.summing
        if summing is None:
            raise SourceError(
                f"{self.source_name} cannot compute checksums for blocks of rows", remedy="write `deletions: compare`"
            )
        texts = write_block_conditions_sql(key_columns, [str(block) for block in block_ids], summing)
        return self._copy_source(portions=(SqlCondition(sql=text) for text in texts))


def _to_integer(value: object) -> int | None:
    if value is None:
        return None
    return int(str(value))


def _decode_utf8(values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Decode as UTF-8, and mark what is none."""
    texts: list[str | None] = []
    for value in values.to_pylist():  # this is rare: a value of the batch is no UTF-8
        text = None
        if value is not None:
            with suppress(UnicodeDecodeError):
                text = value.decode()
        texts.append(text)
    decoded_texts = pa.array(texts, pa.string())
    return decoded_texts, pc.and_(decoded_texts.is_null(), values.is_valid())


class _ArrowSourceConditionWriter(SqlConditionWriter):
    rows: ArrowDatabaseSource

    def write_column(self, name: str, *, is_computed: bool) -> str:
        """Write a column as it compares."""
        return self.rows.write_compared_column_sql(name, is_computed=is_computed)

    def write_null_condition(self, name: str) -> str:
        """Write the condition that a value is read as missing."""
        return self.rows.write_null_condition(name)

    def write_plain_column(self, name: str) -> str:
        """Quote a column as the database does."""
        return self.rows.write_column_sql(name)

    def write_literal(self, value: object) -> str:
        """Write a literal; texts are written as bytes, because their columns compare so."""
        if isinstance(value, str):
            return self.rows.dialect.write_bytes(value)
        return self.rows.write_literal(value)

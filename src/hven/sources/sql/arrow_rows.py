"""Databases whose drivers give Arrow: columns, narrowing, pages and blocks.

What each writes otherwise is in its dialect.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc

from hven.model import Deviation, DeviationKind, build_duplicate_name_deviation
from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import type_from_arrow
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, AvailableTable
from hven.sources._reading.batch_slicing import limit_rows
from hven.sources._reading.cells import is_convertible_type, parse_cells, replace_nan
from hven.sources._reading.data_files import build_source_batch, check_column_names
from hven.sources._reading.delimited import explain_unparsed
from hven.sources.sql.block_checksums import choose_block_bits, write_block_conditions
from hven.sources.sql.database_rows import (
    SOURCE_ALIAS,
    KeyPagedDatabaseSource,
    SelectStatement,
    SqlCondition,
    SqlConditionWriter,
    deduplicate_column_names,
    write_table_option,
)
from hven.sources.sql.dialects import (
    KIND_BITS,
    KIND_BYTES,
    KIND_TEXT,
    KIND_TIME,
    KIND_WHOLE,
    POSTGRESQL_DIALECT,
    REAL_KINDS,
    SqlSourceDialect,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from hven.sources import SourceContext
    from hven.sources.sql.options import Options

KEYS_PER_STATEMENT, KEYS_PER_STATEMENT_WITHOUT_TUPLES = 10_000, 500  # of one statement; of one without tuples
ZERO_DATE = "0000-00-00"
MARIADB_UTF8 = "utf8mb4"
TRUE_WORDS = {"1", "t", "True"}  # how databases say yes


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultField:
    """A column of a result: `value_kind` is one of the dialects' words, `origin` schema and table and column that it comes from, if the driver tells."""

    name: str
    value_kind: str
    arrow: pa.DataType
    origin: tuple[str, str, str] | None = None
    description: str | None = None


class DatabaseSession(Protocol):
    """A connection, in one read-only transaction where the database has such."""

    def describe_statement(self, text: str) -> list[ResultField]:
        """List the columns of a statement, as they are called there."""

    def query_rows(self, text: str) -> list[tuple[object, ...]]:
        """Ask something small."""

    def stream_batches(self, text: str) -> Iterator[pa.RecordBatch]:
        """Yield what a statement gives, as it comes; texts where the driver has no better type."""

    def close(self) -> None:
        """End it, whatever is still under way."""


class ArrowDatabaseSource(KeyPagedDatabaseSource):
    """A table or query of a database whose driver gives Arrow."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        super().__init__(options, context)
        self._zero_date_counts: Counter[str] = Counter()

    @property
    @abstractmethod
    def dialect(self) -> SqlSourceDialect:
        """How this database writes."""

    @abstractmethod
    def _open_session(self) -> AbstractContextManager[DatabaseSession]:
        """Connect; what fails within is told by `_failed`."""

    # --- columns ------------------------------------------------------------------------------------------------

    @cached_property
    def _result_fields(self) -> tuple[list[ResultField], list[str]]:
        """Columns as they are called there, and as they are called here."""
        with self._open_session() as session:
            fields = self._add_descriptions(session, session.describe_statement(self._write_select(self.dialect.quote)))
        if self._true_encoding:  # then bytes are texts, too
            fields = [
                replace(field, value_kind=KIND_TEXT) if field.value_kind == KIND_BYTES else field for field in fields
            ]
        names = deduplicate_column_names(
            [field.name for field in fields], str if self.dialect is POSTGRESQL_DIALECT else str.lower
        )
        for field, name in zip(fields, names, strict=True):
            if name != field.name:
                self.context.report_deviation(build_duplicate_name_deviation(field.name, name, self.source_name))
        return fields, names

    @cached_property
    def _fields(self) -> dict[str, ResultField]:
        fields, names = self._result_fields
        return dict(zip(names, fields, strict=True))

    def _add_descriptions(self, session: DatabaseSession, fields: Sequence[ResultField]) -> list[ResultField]:
        """Look up what the database says of the columns."""
        tables = dict.fromkeys(field.origin[:2] for field in fields if field.origin)
        comments = {}
        for schema, table in tables if self.dialect.comments_sql else ():
            if schema:
                place = self.dialect.write_text(schema)
            else:
                place = "NULL"
            rows = session.query_rows(self.dialect.comments_sql.format(place, self.dialect.write_text(table)))
            comments.update({(schema, table, str(name)): str(about) for name, about in rows if about})
        return [replace(field, description=comments.get(field.origin)) if field.origin else field for field in fields]

    def _describe_columns(self) -> list[Column]:
        return [
            Column(name=name, type=type_from_arrow(field.arrow), description=field.description)
            for name, field in self._fields.items()
        ]

    def list_available_tables(self) -> list[AvailableTable]:
        """List what this user may read; numbers of rows are estimates."""
        if not self.dialect.tables_sql:
            raise SourceError("this database is not known to list its tables", remedy="say which one: --table NAME")
        with self._open_session() as session:
            rows = session.query_rows(self.dialect.tables_sql)
        return [
            AvailableTable(
                option_value=write_table_option(str(name), str(schema) if schema is not None else None),
                row_count=None if count is None or str(view) in TRUE_WORDS else int(str(count)),
                is_view=str(view) in TRUE_WORDS,
            )
            for schema, name, view, count in rows
        ]

    # --- rows ---------------------------------------------------------------------------------------------------

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows as the database gives them, in one transaction."""
        yield from limit_rows(
            self._read_statements(self._build_statements(row_limit), self._check_column_names(column_names)), row_limit
        )

    def _check_column_names(self, columns: Sequence[str] | None) -> list[str]:
        return check_column_names(columns, list(self._columns), self.source_name)

    def _read_statements(
        self, statements: Sequence[SelectStatement], names: Sequence[str], first_row_number: int = 1
    ) -> Iterator[pa.RecordBatch]:
        columns = self._columns
        real = [name for name in names if name not in {ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}] or list(columns)[:1]
        with self._open_session() as session:
            for statement in statements:
                text = (
                    f"{self._with_clause}SELECT {', '.join(map(self._write_sent_column, real))} FROM "
                    f"{self._from_item}{statement.write_clause()}"
                )
                with closing(session.stream_batches(text)) as stream:  # type: ignore[type-var]
                    for received_batch in stream:
                        bad: set[int] = set()
                        arrays = {}
                        for name, values in zip(real, received_batch.columns, strict=True):
                            arrays[name], faults = self._convert_values(name, values)
                            for at in [] if faults is None else pc.indices_nonzero(faults).to_pylist():
                                if at not in bad:
                                    bad.add(at)
                                    self._reject_row(
                                        first_row_number + at,
                                        name,
                                        str(values[at].as_py()),
                                        explain_unparsed(arrays[name].type),
                                    )
                        batch = build_source_batch(names, arrays, received_batch.num_rows, first_row_number, None)
                        yield (
                            batch.filter(pa.array([at not in bad for at in range(received_batch.num_rows)]))
                            if bad
                            else batch
                        )
                        first_row_number += received_batch.num_rows
                        self.read_count = first_row_number - 1
        self._report_zero_dates()

    def _convert_values(self, name: str, values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
        """Convert the driver's values to the column's type, and find which do not fit."""
        kind = self._columns[name].type.arrow
        if values.type == kind:
            return replace_nan(values), None
        if pa.types.is_binary(values.type):
            return _decode_utf8(values)
        if pa.types.is_decimal(values.type):  # by its digits: Arrow's own way to a double is off by one bit
            values = values.cast(pa.string())
        try:  # what databases write needs no guess
            return replace_nan(values.cast(kind)), None
        except pa.ArrowException:
            if not is_convertible_type(kind):
                raise SourceError(
                    f"{self.source_name}, column {name}: values are not {self._columns[name].type}"
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
        """Tell of dates that are none."""
        for name, count in self._zero_date_counts.items():
            message = f"the database holds {ZERO_DATE}, which is no day: read as missing"
            self.context.report_deviation(
                Deviation(kind=DeviationKind.NULL, column=name, count=count, file=self.source_name, message=message)
            )
        self._zero_date_counts.clear()

    # --- statements ---------------------------------------------------------------------------------------------

    @property
    def _with_clause(self) -> str:
        """What stands before a SELECT: a query whose columns are named apart."""
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
        """Write a value: drivers have no places for them that all databases know alike."""
        if isinstance(value, str):
            if "\0" in value:
                raise SourceError("a key has a NUL character", remedy="sync with --full: everything is read")
            return self.dialect.write_text(value)
        if isinstance(value, float):
            return self.dialect.double_template.format(repr(value) if "e" in repr(value) else f"{value!r}e0")
        if isinstance(value, int):
            return str(value)
        return self.dialect.time_template.format(f"{value:%Y-%m-%d %H:%M:%S.%f}")

    def write_plain_column(self, name: str) -> str:
        """Write a column, a text in the encoding that it has in truth."""
        column = self.dialect.quote_name(name)
        if self._true_encoding and self._fields[name].value_kind == KIND_TEXT:
            return self.dialect.recoding_template.format(column, self._true_encoding)
        return column

    def write_compared_column(self, name: str, *, is_computed: bool) -> str:
        """Write a column as it compares in the order of what is read from it; `is_computed`: as a term of a sum."""
        kind = self._fields[name].value_kind
        template = (
            self.dialect.sum_templates.get(kind) if is_computed else None
        ) or self.dialect.comparison_templates.get(kind, "{}")
        return template.format(self.write_plain_column(name))

    def write_is_null(self, name: str) -> str:
        """Write that a column has no value."""
        return self.dialect.null_templates.get(self._fields[name].value_kind, "{0} IS NULL").format(
            self.write_plain_column(name)
        )

    @property
    def _true_encoding(self) -> str:
        encoding_option = (self.options.encoding or "").lower()
        if encoding_option and not self.dialect.recoding_template:
            raise SourceError(
                f"`encoding` is not known of {self.dialect.name}", remedy="leave it out, or convert in `query`"
            )
        if encoding_option in {"utf-8", "utf8", "utf8mb3"}:
            return MARIADB_UTF8
        return encoding_option

    def _write_sent_column(self, name: str) -> str:
        if (
            self._true_encoding == MARIADB_UTF8 and self._fields[name].value_kind == KIND_TEXT
        ):  # judged here: there, what is none becomes `?`
            return f"CAST({self.dialect.quote_name(name)} AS BINARY)"
        return self.dialect.sent_templates.get(self._fields[name].value_kind, "{}").format(
            self.write_plain_column(name)
        )

    def _build_writer(self) -> SqlConditionWriter:
        return _ArrowConditionWriter(self)

    def _is_comparable(self, name: str) -> bool:
        return (
            self._fields[name].value_kind in {KIND_WHOLE, KIND_BITS, KIND_TEXT, KIND_TIME, *REAL_KINDS}
            and not self._columns[name].type.is_array
        )

    def _count_keys_per_statement(self, column_count: int) -> int:
        return max(
            1, (KEYS_PER_STATEMENT if self.dialect.has_tuples else KEYS_PER_STATEMENT_WITHOUT_TUPLES) // column_count
        )

    def _write_key_condition(self, columns: Sequence[str], keys: pa.Table) -> SqlCondition:
        names = [
            self.write_plain_column(name)
            if self._fields[name].value_kind == KIND_TEXT
            else self.write_compared_column(name, is_computed=False)
            for name in columns
        ]
        rows = [
            [self.write_literal(value) for value in row]
            for row in zip(*(keys.column(name).to_pylist() for name in columns), strict=True)
        ]
        if len(names) == 1:
            return SqlCondition(sql=f"{names[0]} IN ({', '.join(row[0] for row in rows)})")
        if self.dialect.has_tuples:
            several = ", ".join(f"({', '.join(row)})" for row in rows)
            return SqlCondition(sql=f"({', '.join(names)}) IN ({several})")
        each = (" AND ".join(f"{name} = {value}" for name, value in zip(names, row, strict=True)) for row in rows)
        return SqlCondition(sql=f"({' OR '.join(f'({condition})' for condition in each)})")

    # --- blocks -------------------------------------------------------------------------------------------------

    def compute_block_checksums(self, key_columns: Sequence[str], value_columns: Sequence[str]) -> pa.Table | None:
        """Sum up blocks of keys where they are: a hash of each row, added up. None.

        That cannot be told of this database.
        """
        summing = self.dialect.summing
        if (
            summing is None
            or not key_columns
            or any(name not in self._columns for name in (*key_columns, *value_columns))
        ):
            return None
        source = f"FROM {self._from_item}{SelectStatement(conditions=self._conditions).write_clause()}"
        with self._open_session() as session:
            cutting = "h"
            if len(key_columns) == 1 and self._fields[key_columns[0]].value_kind == KIND_WHOLE:
                name = self.dialect.quote_name(key_columns[0])
                (low, high, rows), *_ = session.query_rows(
                    f"{self._with_clause}SELECT MIN({name}), MAX({name}), COUNT(*) {source}"
                )
                first, last = (None if bound is None else int(str(bound)) for bound in (low, high))
                cutting = choose_block_bits(first, last, int(str(rows)))
            row = summing.write_row_hash(
                [self._write_summed_column(name) for name in dict.fromkeys((*key_columns, *value_columns))]
            )
            block_rows = session.query_rows(
                f"{self._with_clause}SELECT {summing.write_block_number(cutting, key_columns)}, COUNT(*), "
                f"{summing.total_template.format(row)} {source} GROUP BY 1"
            )
        return pa.table(
            {
                "block": pa.array(
                    [f"{cutting}:{'null' if at is None else at}" for at, _, _ in block_rows], pa.string()
                ),
                "rows": pa.array([int(str(rows)) for _, rows, _ in block_rows], pa.int64()),
                "checksum": pa.array([str(total) for _, _, total in block_rows], pa.string()),
            }
        )

    def _write_summed_column(self, name: str) -> str:
        """Write a value with all of its digits."""
        if self._fields[name].value_kind in REAL_KINDS:
            return self.write_compared_column(name, is_computed=False)
        return self._write_sent_column(name)

    def select_blocks(self, key_columns: Sequence[str], block_ids: Sequence[object]) -> Self:
        """Select the rows of some blocks."""
        summing = self.dialect.summing
        if summing is None:
            raise SourceError(f"{self.source_name} has no blocks", remedy="deletions: compare")
        return self._copy_part(
            portions=(
                SqlCondition(sql=text)
                for text in write_block_conditions(key_columns, [str(block) for block in block_ids], summing)
            )
        )


def _decode_utf8(values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Read as UTF-8, and find what is none."""
    texts: list[str | None] = []
    for value in values.to_pylist():  # one of them is none: that is rare
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            texts.append(None)
    decoded_texts = pa.array(texts, pa.string())
    return decoded_texts, pc.and_(decoded_texts.is_null(), values.is_valid())


class _ArrowConditionWriter(SqlConditionWriter):
    rows: ArrowDatabaseSource

    def write_column(self, name: str, *, is_computed: bool) -> str:
        """Write as it compares."""
        return self.rows.write_compared_column(name, is_computed=is_computed)

    def write_is_null(self, name: str) -> str:
        """Count as missing what is read as missing."""
        return self.rows.write_is_null(name)

    def write_plain_column(self, name: str) -> str:
        """Quote in the database's manner."""
        return self.rows.write_plain_column(name)

    def write_literal(self, value: object) -> str:
        """Write a literal; texts as bytes, for so their columns compare."""
        if isinstance(value, str):
            return self.rows.dialect.write_bytes(value)
        return self.rows.write_literal(value)

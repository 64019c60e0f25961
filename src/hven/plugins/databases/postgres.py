"""Read PostgreSQL: rows come by ADBC as Arrow; blocks of keys are summed up in the server."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import build_duplicate_name_deviation, plugins
from hven.model.errors import HvenError, SourceError
from hven.model.table import Column
from hven.model.types import build_type_from_arrow
from hven.plugins.databases.block_checksums import (
    MIN_HASH_VERSION,
    choose_block_bits,
    write_block_conditions_sql,
    write_block_number_sql,
    write_row_hash_sql,
)
from hven.plugins.databases.database_rows import (
    SOURCE_ALIAS,
    KeyPagedDatabaseSource,
    SelectStatement,
    SqlCondition,
    SqlConditionWriter,
    quote_name,
    redact_url,
    rename_repeated_column_names,
    write_table_option,
)
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, AvailableTable, SourceContext
from hven.sources.api.cells import explain_unparsable_text, parse_cells, replace_nan_with_null
from hven.sources.api.rows import CHUNK_BYTES, build_source_batch, limit_rows, resolve_column_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.plugins.databases.options import Options

# PostgreSQL's type numbers (pg_type) -> Arrow; other types are read as text
_TYPES_BY_OID: dict[int, pa.DataType] = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int16(),
    23: pa.int32(),
    26: pa.int64(),
    700: pa.float32(),
    701: pa.float64(),
    1700: pa.float64(),
    -1700: pa.int64(),
    1082: pa.timestamp("us"),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us"),
}
_ITEM_TYPES_BY_OID: dict[int, pa.DataType] = {
    1005: pa.int16(),
    1007: pa.int32(),
    1016: pa.int64(),
    1021: pa.float32(),
    1022: pa.float64(),
    1231: pa.float64(),
}
OID_OID = 26
NUMERIC_OID = 1700
TIME_OIDS = {1082, 1114, 1184}
WHOLE_NUMERIC_CODE = -1700  # Hven's code for numeric(18, 0) or shorter, which a double would round
INTEGER_OIDS = {20, 21, 23}
TEXT_OIDS = {25, 1043, 1042}  # text, varchar, char: blanks around values are stripped, and empty values become null
# settings that a session must not inherit: values, and so checksums, must have the same text in all sessions, and a
# pass must see one state of the data
SESSION_OPTIONS = (
    "-c default_transaction_read_only=on -c default_transaction_isolation=repeatable\\ read"
    " -c datestyle=ISO -c timezone=UTC"
    " -c extra_float_digits=3 -c intervalstyle=postgres -c bytea_output=hex -c standard_conforming_strings=on"
)
CONNECTION_ARGUMENTS: dict[str, Any] = {"connect_timeout": 15, "client_encoding": "utf8", "options": SESSION_OPTIONS}
KEYS_PER_STATEMENT = 50_000
# other times do not fit, and those without end do not either
VALID_YEARS_SQL = "BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999'"


class PostgresSource(KeyPagedDatabaseSource):
    """A table or query of PostgreSQL."""

    def __init__(self, options: Options, url: str, context: SourceContext) -> None:
        plugins.require_modules("a table of PostgreSQL", "psycopg", "adbc_driver_postgresql", error_class=SourceError)
        super().__init__(options, context)
        head, sep, url_remainder = url.partition("://")
        self.url = url
        if head:
            self.url = f"postgresql{sep}{url_remainder}"

    def _describe_columns(self) -> list[Column]:
        comments = self._read_comments()
        columns: list[Column] = []
        for name, oid, _ in self._result_columns:
            kind = build_type_from_arrow(_find_arrow_type(oid))
            columns.append(Column(name=name, type=kind, description=comments.get(name)))
        return columns

    @cached_property
    def _result_columns(self) -> list[tuple[str, int, str]]:
        """Names, type numbers and type names of the columns."""
        with self._connect() as connection:
            try:
                cursor = connection.execute(f"SELECT * FROM ({self._write_select()}\n) AS hven_source LIMIT 0")
                database_names: list[str] = []
                oids: list[int] = []
                for item in cursor.description or ():
                    is_whole = item.type_code == NUMERIC_OID and item.scale == 0 and (item.precision or 19) <= 18
                    database_names.append(item.name)
                    oids.append(WHOLE_NUMERIC_CODE if is_whole else item.type_code)
                type_oids = sorted({abs(oid) for oid in oids})
                # -1: without a length, to which CAST would cut
                text = "SELECT o, format_type(o, -1) FROM unnest(%s::oid[]) o"
                type_names = dict(connection.execute(text, (type_oids,)).fetchall())
            except Exception as error:
                raise self._translate_error(error) from error
        names = rename_repeated_column_names(database_names, str)
        self._renamed: list[str] = []
        if names != database_names:
            self._renamed = names
        for name, database_label in zip(names, database_names, strict=True):
            if name != database_label:
                self.context.report_deviation(build_duplicate_name_deviation(database_label, name, self.source_name))
        return [(name, oid, type_names[abs(oid)]) for name, oid in zip(names, oids, strict=True)]

    @property
    def _from_item(self) -> str:
        """The item behind FROM, which gives columns of one name different names."""
        names = ""
        if self._result_columns and self._renamed:
            names = f" ({', '.join(map(quote_name, self._renamed))})"
        return f"({self._write_select()}\n) AS {SOURCE_ALIAS}{names}"

    @cached_property
    def oids(self) -> dict[str, int]:
        """The type numbers of the columns."""
        return {name: oid for name, oid, _ in self._result_columns}

    def list_available_tables(self) -> list[AvailableTable]:
        """List the tables that this user may read; numbers of rows are the planner's estimates."""
        text = (
            "SELECT n.nspname, c.relname, c.relkind, c.reltuples::bigint, current_schema()"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')"
            " AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
            " AND NOT c.relispartition AND has_table_privilege(c.oid, 'SELECT')"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2"
        )
        with self._connect() as connection:
            rows = self._query_rows(text, connection)
        tables: list[AvailableTable] = []
        for schema, name, kind, count, current_schema in rows:
            stated_schema = None
            if schema != current_schema:
                stated_schema = schema
            row_count = None
            if count >= 0 and kind not in {"v", "f"}:
                row_count = count
            option_value = write_table_option(name, stated_schema)
            tables.append(AvailableTable(option_value=option_value, row_count=row_count, is_view=kind in {"v", "m"}))
        return tables

    def _read_comments(self) -> dict[str, str]:
        if not self.options.table:
            return {}
        text = (
            "SELECT a.attname, col_description(a.attrelid, a.attnum) FROM pg_attribute a"
            " WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped"
        )
        table_name = self._write_select().removeprefix("SELECT * FROM ")
        with self._connect() as connection:
            rows = connection.execute(text, (table_name,)).fetchall()
        return {str(name): str(comment) for name, comment in rows if comment}

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows as the server returns them, in one transaction (one state of the data)."""
        names = self._resolve_column_names(column_names)
        statements = self._build_statements(row_limit)
        yield from limit_rows(self._read_rows_of_statements(statements, names), row_limit)

    def _resolve_column_names(self, requested_names: Sequence[str] | None) -> list[str]:
        return resolve_column_names(requested_names, list(self._columns), self.source_name)

    def _read_rows_of_statements(
        self, statements: Sequence[SelectStatement], names: Sequence[str], first_row_number: int = 1
    ) -> Iterator[pa.RecordBatch]:
        real = [name for name in names if name not in {ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}]
        if not real:
            real = list(self._columns)[:1]
        head = f"SELECT {', '.join(map(self._write_selected_column_sql, real))} FROM {self._from_item}"
        texts = (f"{head}{statement.write_clauses_after_from()}" for statement in statements)
        for received_batch in self._stream_statements(texts):
            row_count = received_batch.num_rows
            arrays, is_bad = self._convert_batch(real, received_batch, first_row_number)
            batch = build_source_batch(names, arrays, row_count, first_row_number, None)
            if is_bad.any():
                batch = batch.filter(pa.array(~is_bad))
            yield batch
            first_row_number += row_count
            self.read_count = first_row_number - 1

    def _convert_batch(
        self, column_names: Sequence[str], batch: pa.RecordBatch, first_row_number: int
    ) -> tuple[dict[str, pa.Array], np.ndarray]:
        """Convert a batch of the driver to the types of the columns, and mark the rows that are rejected."""
        is_bad = np.zeros(batch.num_rows, bool)
        arrays: dict[str, pa.Array] = {}
        received_columns = iter(batch.columns)
        for name in column_names:
            values = next(received_columns)
            if self.oids[name] in TIME_OIDS:
                arrays[name] = values
                values = next(received_columns)  # the times that do not fit, as texts
                faults = values.is_valid()
            else:
                arrays[name], faults = _convert_values(values, self._columns[name].type.arrow)
            if faults is None:
                continue
            reason = explain_unparsable_text(arrays[name].type)
            for at in pc.indices_nonzero(faults).to_pylist():
                if not is_bad[at]:
                    is_bad[at] = True
                    self._reject_row(first_row_number + at, name, str(values[at].as_py()), reason)
        return arrays, is_bad

    def _write_selected_column_sql(self, name: str) -> str:
        """Write a column for the driver: types that it does not have are written as text by the server.

        A second column has the times that do not fit.
        """
        plain = quote_name(name)
        oid = self.oids[name]
        if oid in TIME_OIDS:
            return (
                f"CASE WHEN {plain} {VALID_YEARS_SQL} THEN {plain}::timestamp END, CASE WHEN NOT {plain} "
                f"{VALID_YEARS_SQL} THEN {plain}::text END"
            )
        if oid == OID_OID:
            return f"{plain}::bigint"
        if oid in {*_TYPES_BY_OID, *_ITEM_TYPES_BY_OID, *TEXT_OIDS}:
            return plain
        return f"format('%s', {plain})"

    def _stream_statements(self, texts: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of statements as they come, all in one transaction."""
        import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415  (slow to load, for PostgreSQL alone)
        from psycopg.conninfo import make_conninfo  # noqa: PLC0415  (slow to load, for PostgreSQL alone)

        batch_options = {"adbc.postgresql.batch_size_hint_bytes": str(4 * CHUNK_BYTES)}
        try:
            with (
                driver.connect(make_conninfo(self.url, **CONNECTION_ARGUMENTS)) as connection,
                connection.cursor() as cursor,
            ):
                try:
                    for text in texts:
                        cursor.adbc_statement.set_options(**batch_options)
                        cursor.execute(text)
                        yield from cursor.fetch_record_batch()
                except GeneratorExit:
                    cursor.adbc_cancel()
                    raise
        except Exception as error:
            raise self._translate_error(error) from error

    # --- blocks -------------------------------------------------------------------------------------------------

    def compute_block_checksums(self, key_columns: Sequence[str], value_columns: Sequence[str]) -> pa.Table | None:
        """Sum up blocks of keys in the server: a 64-bit hash of each row, added up.

        Whole-number keys make blocks of neighbours. All others (and those that lie far apart) make blocks of a hash's
        value. Return None where the server has no such hash (before PostgreSQL 11).
        """
        if not key_columns or any(name not in self._columns for name in (*key_columns, *value_columns)):
            return None
        with self._connect() as connection:
            version = connection.info.server_version
            if version < MIN_HASH_VERSION:
                return None
            from_ = f"FROM {self._from_item}{SelectStatement(conditions=self._conditions).write_clauses_after_from()}"
            block_bits = "h"
            if len(key_columns) == 1 and self.oids[key_columns[0]] in INTEGER_OIDS:
                name = quote_name(key_columns[0])
                limits = self._query_rows(f"SELECT min({name}), max({name}), count(*) {from_}", connection)[0]
                block_bits = choose_block_bits(*limits)
            hashable = {name for name, oid in self.oids.items() if oid in {*_TYPES_BY_OID, *TEXT_OIDS}}
            summed_names = list(dict.fromkeys((*key_columns, *value_columns)))
            row_hash = write_row_hash_sql(summed_names, hashable, version)
            block_number = write_block_number_sql(block_bits, key_columns)
            block_rows = self._query_rows(
                f"SELECT {block_number}, count(*), sum({row_hash})::text {from_} GROUP BY 1", connection
            )
        blocks: list[str] = []
        for number, _, _ in block_rows:
            number_text = "null"
            if number is not None:
                number_text = str(number)
            blocks.append(f"{block_bits}:{number_text}")
        return pa.table(
            {
                "block": pa.array(blocks, pa.string()),
                "rows": pa.array([row_count for _, row_count, _ in block_rows], pa.int64()),
                "checksum": pa.array([total for _, _, total in block_rows], pa.string()),
            }
        )

    def select_blocks(self, key_columns: Sequence[str], block_ids: Sequence[object]) -> Self:
        """Select the rows of some blocks."""
        conditions = write_block_conditions_sql(key_columns, [str(block) for block in block_ids])
        return self._copy_source(portions=(SqlCondition(sql=text) for text in conditions))

    def _query_rows(self, text: str, connection: Any) -> list[Any]:
        try:
            result_rows: list[Any] = connection.execute(text).fetchall()
        except Exception as error:
            raise self._translate_error(error) from error
        return result_rows

    # --- conditions ---------------------------------------------------------------------------------------------

    def _build_condition_writer(self) -> SqlConditionWriter:
        return _PostgresConditionWriter(self)

    def _is_comparable(self, name: str) -> bool:
        kind = self._columns[name].type
        return not kind.is_array

    def _count_keys_per_statement(self, column_count: int) -> int:
        return max(1, KEYS_PER_STATEMENT // column_count)

    def _write_key_condition(self, columns: Sequence[str], keys: pa.Table) -> SqlCondition:
        names: list[str] = []
        arrays: list[str] = []
        types = {name: type_name for name, _, type_name in self._result_columns}
        for name in columns:
            oid = self.oids[name]
            compared_column = quote_name(name)
            kind = types[name]
            if oid == NUMERIC_OID:
                compared_column = f"CAST({compared_column} AS double precision)"
                kind = "double precision"
            elif oid in TEXT_OIDS:
                compared_column = _write_trimmed_text_sql(compared_column)
                kind = "text"
            names.append(compared_column)
            array_literal = _quote_text(_write_array_text(keys.column(name)))
            arrays.append(f"{array_literal}::{kind}[]")
        return SqlCondition(sql=f"({', '.join(names)}) IN (SELECT * FROM unnest({', '.join(arrays)}))")

    def _connect(self) -> Any:
        import psycopg  # noqa: PLC0415  (slow to load, for PostgreSQL alone)

        try:
            connection = psycopg.connect(self.url, **CONNECTION_ARGUMENTS)
        except (psycopg.Error, ValueError) as error:
            raise self._translate_error(error) from error
        return connection

    def _translate_error(self, error: Exception) -> Exception:
        if isinstance(error, (HvenError, GeneratorExit)):
            return error
        return SourceError(
            f"{self.source_name}: {redact_url(str(error), self.url)}",
            remedy="check the address, the user's rights and the table name",
        )


class _PostgresConditionWriter(SqlConditionWriter):
    rows: PostgresSource

    def write_column(self, name: str, *, is_computed: bool) -> str:
        """Write a column as it compares.

        Texts compare byte by byte, numbers of any length by the values that are read, sums in the widest type.
        """
        plain = quote_name(name)
        oid = self.rows.oids[name]
        kind = self.rows._columns[name].type  # noqa: SLF001  (a class of this module)
        if kind.is_string:
            text = f"CAST({plain} AS text)"
            if oid in TEXT_OIDS:
                text = _write_trimmed_text_sql(plain)
            return f'{text} COLLATE "C"'
        if oid == NUMERIC_OID or (is_computed and not kind.is_integer and kind.is_numeric):
            return f"CAST({plain} AS double precision)"
        if is_computed:
            return f"CAST({plain} AS bigint)"
        return plain

    def write_null_condition(self, name: str) -> str:
        """Write the condition of a missing value, which NaN and blank text are, too."""
        plain = quote_name(name)
        oid = self.rows.oids[name]
        if oid in TEXT_OIDS:
            return f"({plain} IS NULL OR {_write_trimmed_text_sql(plain)} = '')"
        if oid in {700, 701, NUMERIC_OID, WHOLE_NUMERIC_CODE}:
            return f"({plain} IS NULL OR {plain} = 'NaN')"
        return f"{plain} IS NULL"

    def write_literal(self, value: object) -> str:
        """Write a literal: COPY has no placeholders."""
        if isinstance(value, str):
            return _quote_text(value)
        if isinstance(value, float):
            return f"'{value!r}'::double precision"
        if isinstance(value, int):
            return str(value)
        return f"'{value:%Y-%m-%dT%H:%M:%S.%f}'::timestamp"


def _write_trimmed_text_sql(name: str) -> str:
    return f"btrim({name}::text, E' \\t\\r\\n\\v\\f')"


def _quote_text(value: str) -> str:
    """Write a text literal.

    Raises
    ------
    SourceError
        The text has a NUL, which no text of PostgreSQL has.
    """
    if "\0" in value:
        raise SourceError(
            "a key value contains a NUL character, which PostgreSQL does not allow",
            remedy="run `hven sync --full`, which reads all rows",
        )
    return "'" + value.replace("'", "''") + "'"


def _write_array_text(values: pa.ChunkedArray) -> str:
    """Write the text of an array without nulls."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        escaped = pc.replace_substring(pc.replace_substring(values, "\\", "\\\\"), '"', '\\"')
        items = [f'"{text}"' for text in escaped.to_pylist()]
    elif pa.types.is_timestamp(kind):
        items = [f'"{value.isoformat()}"' for value in values.to_pylist()]
    else:
        items = [str(value) for value in values.to_pylist()]  # of a float, all its digits
    return "{" + ",".join(items) + "}"


def _convert_values(values: pa.Array, arrow_type: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Convert the driver's values to the type of the column, and mark those that do not fit."""
    if isinstance(values, pa.ExtensionArray):  # numeric: its digits
        values = values.storage
    if pa.types.is_list(arrow_type):
        items, _ = _convert_values(values.values, arrow_type.value_type)
        empty = pc.fill_null(pc.equal(pc.list_value_length(values), 0), True)
        lists = pa.ListArray.from_arrays(values.offsets, items, type=arrow_type, mask=empty)
        return lists, None
    if pa.types.is_string(values.type):
        return parse_cells(values, arrow_type)
    return (replace_nan_with_null(values), None)


def _find_arrow_type(oid: int) -> pa.DataType:
    if oid in _ITEM_TYPES_BY_OID:
        return pa.list_(_ITEM_TYPES_BY_OID[oid])
    return _TYPES_BY_OID.get(oid, pa.string())

"""Read the rows of a table or query of a TAP service.

They are read page by page in the order of a key, or in one answer where no key is known.
"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

import pyarrow as pa

from hven.model import DeviationKind, ReadDeviation
from hven.model.errors import HvenError, SourceError
from hven.model.table import Column
from hven.plugins.tap_source.adql_conditions import TapSourceConditionWriter, quote_irregular_table_name
from hven.plugins.tap_source.tap_client import TapClient, TruncatedAnswerError, has_overflow
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, InputVersion, SourceContext
from hven.sources.api.cells import replace_nan_with_null
from hven.sources.api.key_paging import PagingKey
from hven.sources.api.rows import build_source_batch, resolve_column_names, split_batches
from hven.sources.api.watermarks import Watermark, WatermarkSource, parse_watermark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT_PAGE_ROWS = 50_000
UNLIMITED_MAXREC = 2_000_000_000  # MAXREC of a query that must return all its rows
KEYS_PER_QUERY = 500
ROUND_ROW_COUNT = 100  # an answer whose number of rows is a multiple of this may have been cut silently
T = TypeVar("T", bound="pa.Array | pa.ChunkedArray")
ROWS_PER_CHANGED_ROW = 1000  # one row in so many may be added or deleted while a table is read
_SCHEMA_COLUMNS = ("name", "description", "unit", "ucd", "utype", "indexed")


class TapSource(WatermarkSource):
    """A table (`table`) or a query (`adql`) of a TAP service.

    Copies of the source read a part of it: newer rows, or the rows of some keys.

    Common
    ------
    column_names
        Names of columns; None: all.
    row_limit
        Largest number of rows; None: all.
    resume_token
        Token of an earlier call; None: rows are read from the beginning.
    key_columns, columns
        Names of columns of a key.
    keys
        Columns of these names.
    """

    def __init__(
        self,
        tap: TapClient,
        context: SourceContext,
        *,
        table: str | None = None,
        adql: str | None = None,
        selected_columns: Sequence[str] | None = None,
        key_columns: Sequence[str] = (),
        page_option: int | None = None,
    ) -> None:
        self.tap = tap
        self.context = context
        self.table = table
        self.adql: str | None = None
        if adql is not None:
            self.adql = adql.strip().rstrip(";")
        self.selected_columns = selected_columns
        self._declared_key = tuple(key_columns)
        self._page_option = page_option
        self.read_count = 0
        self._conditions: tuple[str, ...] = ()
        # groups of key conditions, one of which must hold; each group is a query
        self._key_portions: tuple[tuple[str, ...], ...] | None = None
        self._picked_columns: tuple[str, ...] = ()
        self._count: int | None = None

    def with_context(self, context: SourceContext) -> Self:
        """Copy the source for another context, at its rate."""
        self.tap.service.reduce_rate_limit(context.requests_per_second)
        return super().with_context(context)

    @property
    def _page_rows(self) -> int:
        return self.context.page_row_limit or self._page_option or DEFAULT_PAGE_ROWS

    # --- the table ----------------------------------------------------------------------------------------------

    def list_columns(self) -> list[Column]:
        """List the columns as the service describes them, with the types that it sends.

        TAP_SCHEMA completes what its answers do not tell.
        """
        return list(self._columns.values())

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return the description of the table."""
        return None, self._description

    def estimate_progress_total(self) -> int | None:
        """Return the number of rows, if the service can count them."""
        if self._key_portions is None and self._count is None:
            self._count = self._query_row_count()
        return self._count

    def is_unique_key(self, columns: Sequence[str]) -> bool:
        """Return whether one column has another value in each row; False if the service does not tell soon."""
        if len(columns) != 1:
            return False
        name = self._condition_writer.write_column(columns[0])
        text = f"SELECT COUNT(*) AS hven_rows, COUNT(DISTINCT {name}) AS hven_values {self._write_from()}"
        try:
            counts = self.tap.query_page(text, 1, is_small=True).table
            row_count, value_count = (column[0].as_py() for column in counts.columns[:2])
            return bool(row_count == value_count > 0)
        except (HvenError, IndexError, TypeError, ValueError):
            return False

    def list_input_versions(self) -> list[InputVersion]:
        """Return the service and the query."""
        query = self.adql or f"SELECT * FROM {quote_irregular_table_name(self.table or '')}"
        return [InputVersion(name=self.tap.service.url, detail=query)]

    @property
    def source_name(self) -> str:
        """The table or query in words, for messages."""
        if self.table:
            return f"table {self.table} of {self.tap.service.host}"
        return f"the query to {self.tap.service.host}"

    @cached_property
    def _columns(self) -> dict[str, Column]:
        text = self.adql or f"SELECT TOP 1 * FROM {quote_irregular_table_name(self.table or '')}"
        columns_found = self.tap.query_page(text, 1).head.columns
        names = [column.name for column in columns_found]
        for name in names:
            if names.count(name) > 1:
                raise SourceError(
                    f"{self.source_name} has two columns named {name!r}",
                    remedy="give the columns different names with AS",
                )
        if self.selected_columns is not None:
            selected_names = resolve_column_names(self.selected_columns, names, self.source_name)
            columns_by_name = {column.name: column for column in columns_found}
            columns_found = [columns_by_name[name] for name in selected_names]
        schema_columns = {column.name.lower(): column for column, _ in self._described_columns}
        return {
            column.name: _merge_descriptions(column, schema_columns.get(column.name.lower(), column))
            for column in columns_found
        }

    @cached_property
    def _described_columns(self) -> list[tuple[Column, str]]:
        """The columns as TAP_SCHEMA describes them, and how it writes their names; empty: it does not."""
        if self.table is None:
            return []
        spellings = dict.fromkeys((self.table, self.table.replace('"', ""), quote_irregular_table_name(self.table)))
        literal_writer = TapSourceConditionWriter({})
        table_literals = ", ".join(map(literal_writer.write_literal, spellings))
        text = (
            f"SELECT column_name, description, unit, ucd, utype, indexed FROM TAP_SCHEMA.columns WHERE table_name "
            f"IN ({table_literals})"
        )
        try:
            page = self.tap.query_page(text, 100_000, is_small=True, must_be_complete=True)
            rows = page.table.rename_columns(list(_SCHEMA_COLUMNS)).to_pylist()
        except TruncatedAnswerError as error:  # all rows of the table come, but not all descriptions
            message = f"columns have no metadata from TAP_SCHEMA: {error.message}"
            self.context.report_deviation(ReadDeviation(kind=DeviationKind.SERVICE, message=message))
            return []
        except (HvenError, ValueError):
            return []
        described_columns = []
        for row in rows:
            spelled = str(row.pop("name") or "").strip()
            indexed = str(row.pop("indexed")) in {"1", "True"}
            texts = {key: value.strip() or None for key, value in row.items() if isinstance(value, str)}
            if spelled:
                column = Column(
                    name=spelled.strip('"').replace('""', '"'),
                    indexed=indexed,
                    description=texts.get("description"),
                    unit=texts.get("unit"),
                    ucd=texts.get("ucd"),
                    utype=texts.get("utype"),
                )
                described_columns.append((column, spelled))
        return described_columns

    @cached_property
    def _description(self) -> str | None:
        if self.table is None:
            return None
        text = (
            f"SELECT description FROM TAP_SCHEMA.tables WHERE table_name = "
            f"{TapSourceConditionWriter({}).write_literal(self.table)}"
        )
        try:
            table = self.tap.query_page(text, 10, is_small=True).table
            descriptions = table.column(0).to_pylist()
        except (HvenError, IndexError):
            return None
        return next((str(description).strip() for description in descriptions if description), None)

    @cached_property
    def _condition_writer(self) -> TapSourceConditionWriter:
        names_by_lower = {name.lower(): name for name in self._columns}
        spellings_by_name: dict[str, str] = {}
        for column, spelling in self._described_columns:
            name = names_by_lower.get(column.name.lower())
            if name is not None:
                spellings_by_name[name] = spelling
        return TapSourceConditionWriter(spellings_by_name)

    @cached_property
    def paging_key(self) -> PagingKey | None:
        """The key by which rows are paged: the declared one, or an indexed identifier of TAP_SCHEMA."""
        declared_key = self._declared_key or tuple(self.context.key_columns)
        if declared_key:
            key_names = resolve_column_names(declared_key, list(self._columns), self.source_name)
            return PagingKey.from_columns(key_names, self._columns, self._is_exactly_comparable)
        names_by_lower = {name.lower(): name for name in self._columns}
        for column, _ in self._described_columns:
            name = names_by_lower.get(column.name.lower())
            ucd = (column.ucd or "").lower()
            if name is not None and column.indexed and ucd.startswith("meta.id;meta.main"):
                return PagingKey.from_columns([name], self._columns, self._is_exactly_comparable)
        return None

    def _is_exactly_comparable(self, name: str) -> bool:
        # a literal has double precision, so it never equals a float32 such as 0.1
        return str(self._columns[name].type) != "float32"

    # --- parts of the table -------------------------------------------------------------------------------------

    def _select_newer(self, watermark: Watermark, value: object) -> Self:
        part = self._copy_source()
        condition = watermark.write_condition(value, self._condition_writer)
        part._conditions = (*self._conditions, condition)  # noqa: SLF001  (a copy of ours)
        return part

    def _parse_watermark(self, expression: str) -> Watermark | None:
        return parse_watermark(expression, self.list_columns())

    def select_keys(self, key_columns: Sequence[str], keys: pa.Table) -> Self:
        """Return the source of the rows whose `key_columns` are in `keys`."""
        names = resolve_column_names(key_columns, list(self._columns), self.source_name)
        part = self._copy_source()
        portions = self._condition_writer.write_key_condition_groups(names, keys, KEYS_PER_QUERY)
        part._key_portions = tuple(portions)  # noqa: SLF001  (a copy of ours)
        part._picked_columns = tuple(names)  # noqa: SLF001
        return part

    def _copy_source(self) -> Self:
        _ = (self._columns, self._condition_writer, self.paging_key)  # cached for all parts
        part = copy.copy(self)
        part.read_count = 0
        part._count = None  # noqa: SLF001  (a copy of this source)
        return part

    # --- rows ---------------------------------------------------------------------------------------------------

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows, in the order of the key if there is one."""
        self.tap.service.reset_budget()
        names = resolve_column_names(column_names, list(self._columns), self.source_name)
        self.read_count = 0
        if self._key_portions is not None:
            batches = self._read_rows_of_keys(names)
        elif row_limit is not None and row_limit <= self._page_rows:
            page = self.tap.query_page(self._write_select(names, top=row_limit), row_limit)
            received_batches = page.table.to_batches()
            batches = self._cast_batches(page.head.columns, received_batches, names, 1)
        elif self.paging_key is not None:
            batches = (batch for batch, _ in self.read_pages(column_names))
        else:
            batches = self._stream_query(names, [], 1)
        yield from split_batches(batches, self.context.batch_row_limit, row_limit)

    def read_pages(
        self, column_names: Sequence[str] | None = None, resume_token: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield rows in the order of the key, one page after the other, with a token to resume behind each page."""
        key = self.paging_key
        if key is None or self._key_portions is not None:
            yield from ((batch, "") for batch in self.read_batches(column_names))
            return
        self.tap.service.reset_budget()
        names = resolve_column_names(column_names, list(self._columns), self.source_name)
        number, last = key.parse_token(resume_token) if resume_token else (1, None)
        before = None
        if not self._conditions and last is None:
            before = self.estimate_progress_total()
        for table in self._read_ordered_pages(key, names, last):
            place = key.write_token(table, table.num_rows - 1, number + table.num_rows)
            requested_columns = self._list_requested_columns(names, key)
            parts = list(self._cast_batches(requested_columns, table.to_batches(), names, number))
            number += table.num_rows
            self.read_count = number - 1
            for part in parts[:-1]:
                yield part, ""
            yield parts[-1], place
        if before is None or number - 1 < before:
            for batch in self._read_rows_without_key(key, names, number):
                number += batch.num_rows
                yield batch, ""
        if before is not None:
            self._check_row_count(number - 1, before)

    def _read_ordered_pages(
        self, key: PagingKey, names: Sequence[str], last_key: tuple[object, ...] | None
    ) -> Iterator[pa.Table]:
        """Yield pages that end where the key changes."""
        size = self._page_rows
        requested_names = [column.name for column in self._list_requested_columns(names, key)]
        order = ", ".join(self._condition_writer.write_column(name) for name in key.names)
        while True:
            page_conditions = self._write_page_conditions(key, last_key)
            select = self._write_select(requested_names, further_conditions=page_conditions, top=size)
            page = self.tap.query_page(f"{select} ORDER BY {order}", size)
            row_count = page.table.num_rows
            if not row_count:
                if page.overflow:
                    raise SourceError(
                        f"{self.source_name} returned no rows, but stated that there are more rows",
                        remedy="set a smaller `page`",
                    )
                return
            table = self._cast_key_columns(page.table.rename_columns(requested_names), key)
            is_short = row_count < size and not page.overflow
            is_last = is_short and row_count % ROUND_ROW_COUNT > 0
            if is_last:
                complete_count = row_count
            else:
                complete_count = key.count_rows_before_last_key(table)
            if not complete_count and is_short:  # the answer was not cut, although its number of rows is round
                complete_count = row_count
            if not complete_count:  # one key fills the page
                if row_count < size:
                    raise SourceError(
                        f"{self.source_name} has more rows with the same key than fit in one response "
                        f"({row_count:,} rows)",
                        remedy=f"choose a `key` with more distinct values (it is now {', '.join(key.names)})",
                    )
                size *= 2
                continue
            last_row = table.slice(complete_count - 1, 1)
            page_key = tuple(last_row.column(name)[0].as_py() for name in key.names)
            if page_key == last_key:  # without this check, such pages have no end
                raise SourceError(
                    f"{self.source_name} sends the same rows again, although Hven asks for the rows behind them",
                    remedy=f"the service ignores the condition on {', '.join(key.names)}; choose another `key`",
                )
            last_key = page_key
            yield table.slice(0, complete_count)
            if is_last:
                return

    def _write_page_conditions(self, key: PagingKey, last_key: tuple[object, ...] | None) -> list[str]:
        """Write the conditions of the page behind a key; rows without a key are on no page."""
        names = key.names
        if last_key is not None:  # a first column that is larger than the last one has a value
            names = key.names[1:]
        conditions = [f"{self._condition_writer.write_column(name)} IS NOT NULL" for name in names]
        if last_key is not None:
            conditions.append(key.write_condition_after(last_key, self._condition_writer))
        return conditions

    def _cast_key_columns(self, table: pa.Table, key: PagingKey) -> pa.Table:
        for name in key.names:
            kind = self._columns[name].type.arrow
            values = _cast_column(table.column(name), kind, name, self.source_name)
            table = table.set_column(table.schema.get_field_index(name), name, values)
        return table

    def _read_rows_without_key(
        self, key: PagingKey, names: Sequence[str], first_row_number: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows without a key in one answer, for nothing orders them."""
        is_null_conditions = [self._condition_writer.write_null_condition(name) for name in key.names]
        key_condition = f"({' OR '.join(is_null_conditions)})"
        return self._stream_query(names, [key_condition], first_row_number)

    def _stream_query(
        self, names: Sequence[str], conditions: Sequence[str], first_row_number: int
    ) -> Iterator[pa.RecordBatch]:
        select = self._write_select(names, further_conditions=conditions)
        with self.tap.query_stream(select, UNLIMITED_MAXREC, self.context.batch_row_limit) as read:
            for batch in self._cast_batches(read.metadata.columns, read.batches, names, first_row_number):
                first_row_number += batch.num_rows
                self.read_count = first_row_number - 1
                yield batch
            if has_overflow(read.metadata):
                raise SourceError(
                    f"{self.source_name} returned only {first_row_number - 1:,} rows, but there are more rows",
                    remedy="set `key` to an indexed column; then Hven requests the rows page by page",
                )

    def _read_rows_of_keys(self, column_names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        waiting = list(reversed(self._key_portions or ()))
        number = 1
        while waiting:
            portion = waiting.pop()
            condition = self._condition_writer.join_key_conditions(self._picked_columns, portion)
            select = self._write_select(column_names, further_conditions=[condition])
            page = self.tap.query_page(select, UNLIMITED_MAXREC)
            if page.overflow:
                if len(portion) == 1:
                    raise SourceError(
                        f"{self.source_name} has more rows with the same key than fit in one response "
                        f"({page.table.num_rows:,} rows)"
                    )
                half = len(portion) // 2
                waiting += [portion[half:], portion[:half]]
                continue
            received_batches = page.table.to_batches()
            yield from self._cast_batches(page.head.columns, received_batches, column_names, number)
            number += page.table.num_rows

    # --- queries ------------------------------------------------------------------------------------------------

    def _write_select(
        self, names: Sequence[str], *, further_conditions: Sequence[str] = (), top: int | None = None
    ) -> str:
        """Write a query for real columns, or for any column if there is none."""
        conditions = [*self._conditions, *further_conditions]
        is_whole = not conditions and top is None and self.selected_columns is None
        if self.adql is not None and is_whole and list(names) == list(self._columns):
            return self.adql
        real_columns = self._list_real_columns(names)
        items = ", ".join(map(self._condition_writer.write_column, real_columns))
        if top is not None:
            items = f"TOP {top} {items}"
        return f"SELECT {items} {self._write_from()}{_write_where_clause(conditions)}"

    def _write_from(self) -> str:
        if self.adql is None:
            return f"FROM {quote_irregular_table_name(self.table or '')}"
        return f"FROM ({self.adql}) AS hven_source"

    def _list_real_columns(self, names: Sequence[str]) -> list[str]:
        real = [name for name in dict.fromkeys(names) if name not in {ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}]
        return real or list(self._columns)[:1]

    def _list_requested_columns(self, names: Sequence[str], key: PagingKey) -> list[Column]:
        requested_names = self._list_real_columns([*names, *key.names])
        return [self._columns[name] for name in requested_names]

    def _cast_batches(
        self,
        received_columns: Sequence[Column],
        batches: Sequence[pa.RecordBatch] | Iterator[pa.RecordBatch],
        names: Sequence[str],
        first_row_number: int,
    ) -> Iterator[pa.RecordBatch]:
        """Cast batches to the types of the columns."""
        real = self._list_real_columns(names)
        if len(received_columns) < len(real):
            raise SourceError(
                f"{self.source_name} returned {len(received_columns)} columns instead of the {len(real)} "
                "that Hven requested"
            )
        for batch in batches:
            arrays: dict[str, pa.Array] = {}
            for name, received_values in zip(real, batch.columns, strict=False):
                kind = self._columns[name].type.arrow
                values = _cast_column(received_values, kind, name, self.source_name)
                arrays[name] = replace_nan_with_null(values)
            yield build_source_batch(names, arrays, batch.num_rows, first_row_number, None)
            first_row_number += batch.num_rows

    def _query_row_count(self) -> int | None:
        text = f"SELECT COUNT(*) AS hven_rows {self._write_from()}{_write_where_clause(self._conditions)}"
        try:
            count_table = self.tap.query_page(text, 1, is_small=True).table
            return int(count_table.column(0)[0].as_py())
        except (HvenError, IndexError, TypeError, ValueError):
            return None

    def _check_row_count(self, received_count: int, stated_count: int) -> None:
        """Compare the received rows with the service's own count.

        A service that cuts answers silently must not look like a table that shrank.

        Raises
        ------
        SourceError
            Many rows did not come.
        """
        if received_count >= stated_count:
            return
        recounted = self._query_row_count()
        if recounted is not None:
            stated_count = min(stated_count, recounted)
        missing_count = stated_count - received_count
        if missing_count <= 0:
            return
        text = f"{self.source_name} counts {received_count + missing_count:,} rows, but returned {received_count:,}"
        if missing_count > max(ROUND_ROW_COUNT, received_count // ROWS_PER_CHANGED_ROW):
            raise SourceError(
                text, remedy="set a smaller `page`; the service may truncate its responses without a warning"
            )
        if self.context.on_notice is not None:
            self.context.on_notice(f"{text}; the table may have changed in the meantime")


def _write_where_clause(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _merge_descriptions(column: Column, schema_column: Column) -> Column:
    """Fill in what the header of the answer does not tell."""
    described = {key: getattr(schema_column, key) for key in ("description", "unit", "ucd", "utype")}
    missing_values = {key: value for key, value in described.items() if value and not getattr(column, key)}
    return column.copy_with(**missing_values)


def _cast_column(values: T, arrow_type: pa.DataType, name: str, source_name: str) -> T:
    """Cast the values of an answer to the type in the first answer.

    A service may send texts and arrays with the lengths that each answer happens to have.
    """
    if values.type == arrow_type:
        return values
    try:
        cast_values: T = values.cast(arrow_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise SourceError(
            f"{source_name}: the column {name!r} has the type {arrow_type} in the first response, but {values.type} in "
            "a later response",
            remedy="sync again; if the error persists, report it to the operators of the service",
        ) from error
    return cast_values

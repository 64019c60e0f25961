"""The rows of a table or query of a TAP service.

Page by page in the order of a key, or in one answer where none is known.
"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

import pyarrow as pa

from hven.model import Deviation, DeviationKind
from hven.model.errors import HvenError, SourceError
from hven.model.table import Column
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, InputVersion, SourceContext
from hven.sources._reading.adql_conditions import AdqlConditionWriter, write_table_name
from hven.sources._reading.batch_slicing import split_batches
from hven.sources._reading.cells import replace_nan
from hven.sources._reading.data_files import build_source_batch, check_column_names
from hven.sources._reading.key_paging import PagingKey
from hven.sources._reading.tap_client import TapClient, TruncatedAnswerError, has_overflow
from hven.sources._reading.watermarks import Watermark, WatermarkSource, parse_watermark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT_PAGE_ROWS = 50_000  # rows of a page, unless somebody says otherwise
UNLIMITED_MAXREC = 2_000_000_000  # MAXREC of a query whose rows shall all come
KEYS_PER_QUERY = 500  # keys that are asked for at once
ROUND_ROW_COUNT = 100  # a page that ends at a round number may have been cut without a word
T = TypeVar("T", bound="pa.Array | pa.ChunkedArray")
ROWS_PER_CHANGED_ROW = 1000  # one row in so many may be added or deleted while a table is read


class TapSource(WatermarkSource):
    """A table (`table`) or a query (`adql`) of a TAP service. Copies of it read a part: what is newer, some keys."""

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
        self.adql = adql.strip().rstrip(";") if adql is not None else None
        self.selected_columns = selected_columns
        self._declared_key = tuple(key_columns)
        self._page_option = page_option
        self.read_count = 0
        self._conditions: tuple[str, ...] = ()
        self._key_portions: tuple[tuple[str, ...], ...] | None = (
            None  # conditions of which one must hold, some at a time
        )
        self._picked_columns: tuple[str, ...] = ()
        self._count: int | None = None

    def with_context(self, context: SourceContext) -> Self:
        """Copy the source for another context, at its rate."""
        self.tap.service.limit_rate(context.requests_per_second)
        return super().with_context(context)

    @property
    def _page_rows(self) -> int:
        return self.context.page_row_limit or self._page_option or DEFAULT_PAGE_ROWS

    # --- what there is ------------------------------------------------------------------------------------------

    def list_columns(self) -> list[Column]:
        """List the columns as the service describes them: types as it sends them.

        What its answers do not say is from TAP_SCHEMA.
        """
        return list(self._columns.values())

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return the table's description."""
        return None, self._description

    def estimate_size(self) -> int | None:
        """Count the rows, if the service can."""
        if self._key_portions is None and self._count is None:
            self._count = self._query_row_count()
        return self._count

    def is_unique_key(self, columns: Sequence[str]) -> bool:
        """Check whether one column has another value in each row; False if the service does not say, soon."""
        if len(columns) != 1:
            return False
        name = self._condition_writer.write_column(columns[0])
        try:
            counts = self.tap.query_page(
                f"SELECT COUNT(*) AS hven_rows, COUNT(DISTINCT {name}) AS hven_values {self._write_from()}",
                1,
                is_small=True,
            ).table
            return bool(counts.column(0)[0].as_py() == counts.column(1)[0].as_py() > 0)
        except (HvenError, IndexError, TypeError):
            return False

    def list_input_versions(self) -> list[InputVersion]:
        """Name the service, and what was asked of it."""
        return [
            InputVersion(
                name=self.tap.service.url, detail=self.adql or f"SELECT * FROM {write_table_name(self.table or '')}"
            )
        ]

    @property
    def source_name(self) -> str:
        """What is read, in words, for messages."""
        if self.table:
            return f"table {self.table} of {self.tap.service.host}"
        return f"the query to {self.tap.service.host}"

    @cached_property
    def _columns(self) -> dict[str, Column]:
        text = self.adql or f"SELECT TOP 1 * FROM {write_table_name(self.table or '')}"
        columns_found = self.tap.query_page(text, 1).head.columns
        names = [column.name for column in columns_found]
        for name in names:
            if names.count(name) > 1:
                raise SourceError(f"{self.source_name} has two columns {name!r}", remedy="name them apart with AS")
        if self.selected_columns is not None:
            selected_names = check_column_names(self.selected_columns, names, self.source_name)
            columns_found = [next(column for column in columns_found if column.name == name) for name in selected_names]
        schema_columns = {column.name.lower(): column for column, _ in self._schema}
        return {
            column.name: _merge_descriptions(column, schema_columns.get(column.name.lower()))
            for column in columns_found
        }

    @cached_property
    def _schema(self) -> list[tuple[Column, str]]:
        """What TAP_SCHEMA says of columns, and how their names are written; perhaps nothing."""
        if self.table is None:
            return []
        table_literals = ", ".join(
            AdqlConditionWriter({}).write_literal(name)
            for name in dict.fromkeys((self.table, self.table.replace('"', ""), write_table_name(self.table)))
        )
        text = (
            f"SELECT column_name, description, unit, ucd, utype, indexed FROM TAP_SCHEMA.columns WHERE table_name "
            f"IN ({table_literals})"
        )
        try:
            rows = (
                self.tap.query_page(text, 100_000, is_small=True, must_be_complete=True)
                .table.rename_columns(["name", "description", "unit", "ucd", "utype", "indexed"])
                .to_pylist()
            )
        except TruncatedAnswerError as error:  # the rows are there as a whole: what is said of them is not
            self.context.report_deviation(
                Deviation(
                    kind=DeviationKind.SERVICE, message=f"columns have no metadata of TAP_SCHEMA: {error.message}"
                )
            )
            return []
        except (HvenError, ValueError):
            return []
        described_columns = []
        for row in rows:
            spelled = str(row.pop("name") or "").strip()
            indexed = str(row.pop("indexed")) in {"1", "True"}
            texts = {word: text.strip() or None for word, text in row.items() if isinstance(text, str)}
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
            f"{AdqlConditionWriter({}).write_literal(self.table)}"
        )
        try:
            rows = self.tap.query_page(text, 10, is_small=True).table.column(0).to_pylist()
        except (HvenError, IndexError):
            return None
        return next((str(description).strip() for description in rows if description), None)

    @cached_property
    def _condition_writer(self) -> AdqlConditionWriter:
        names_by_lower = {name.lower(): name for name in self._columns}
        return AdqlConditionWriter(
            {
                names_by_lower[column.name.lower()]: spelled
                for column, spelled in self._schema
                if column.name.lower() in names_by_lower
            }
        )

    @cached_property
    def paging_key(self) -> PagingKey | None:
        """The key that rows are asked by: the one that was said, or an indexed identifier of TAP_SCHEMA."""
        declared_key = self._declared_key or tuple(self.context.key_columns)
        if declared_key:
            return PagingKey.from_columns(
                check_column_names(declared_key, list(self._columns), self.source_name), self._columns, self._is_exact
            )
        names_by_lower = {name.lower(): name for name in self._columns}
        for column, _ in self._schema:
            if (
                column.indexed
                and (column.ucd or "").lower().startswith("meta.id;meta.main")
                and column.name.lower() in names_by_lower
            ):
                return PagingKey.from_columns([names_by_lower[column.name.lower()]], self._columns, self._is_exact)
        return None

    def _is_exact(self, name: str) -> bool:
        # a literal is of double precision: 0.1 is another number there
        return str(self._columns[name].type) != "float32"

    # --- a part of it -------------------------------------------------------------------------------------------

    def _select_newer(self, watermark: Watermark, value: object) -> Self:
        return self._copy_part(
            where_conditions=(*self._conditions, watermark.write_condition(value, self._condition_writer))
        )

    def _parse_watermark(self, expression: str) -> Watermark | None:
        return parse_watermark(expression, self.list_columns())

    def select_keys(self, key_columns: Sequence[str], keys: pa.Table) -> Self:
        """Select the rows whose `key_columns` are in `keys`."""
        names = check_column_names(key_columns, list(self._columns), self.source_name)
        portions = tuple(self._condition_writer.write_key_conditions(names, keys, KEYS_PER_QUERY))
        return self._copy_part(
            portions=portions,
            picked=tuple(names),
        )

    def _copy_part(
        self,
        *,
        where_conditions: tuple[str, ...] | None = None,
        portions: tuple[tuple[str, ...], ...] | None = None,
        picked: tuple[str, ...] | None = None,
    ) -> Self:
        _ = (self._columns, self._condition_writer, self.paging_key)  # what was seen of the whole holds for its parts
        part = copy.copy(self)
        vars(part).update(
            read_count=0,
            _count=None,
            _conditions=self._conditions if where_conditions is None else where_conditions,
            _key_portions=self._key_portions if portions is None else portions,
            _picked_columns=self._picked_columns if picked is None else picked,
        )
        return part

    # --- rows ---------------------------------------------------------------------------------------------------

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows, in the order of the key if there is one."""
        self.tap.service.reset_budget()
        names = check_column_names(column_names, list(self._columns), self.source_name)
        self.read_count = 0
        if self._key_portions is not None:
            batches = self._read_key_portions(names)
        elif row_limit is not None and row_limit <= self._page_rows:
            page = self.tap.query_page(self._write_select(names, top=row_limit), row_limit)
            batches = self._cast_batches(page.head.columns, page.table.to_batches(), names, 1)
        elif self.paging_key is not None:
            batches = (batch for batch, _ in self.read_pages(column_names))
        else:
            batches = self._read_in_one_answer(names)
        yield from split_batches(batches, self.context.batch_row_limit, row_limit)

    def read_pages(
        self, column_names: Sequence[str] | None = None, resume_token: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield rows in the order of the key, each page an answer of its own, with what to say to go on behind it."""
        key = self.paging_key
        if key is None or self._key_portions is not None:
            yield from ((batch, "") for batch in self.read_batches(column_names))
            return
        self.tap.service.reset_budget()
        names = check_column_names(column_names, list(self._columns), self.source_name)
        if resume_token:
            number, last = key.parse_token(resume_token)
        else:
            number, last = (1, None)
        if not self._conditions and last is None:
            before = self.estimate_size()
        else:
            before = None
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
        kinds = {name: self._columns[name].type.arrow for name in key.names}
        while True:
            # a first column that is larger than the last one has a value; the others may have none
            page_conditions = [
                f"{self._condition_writer.write_column(name)} IS NOT NULL"
                for name in key.names[0 if last_key is None else 1 :]
            ]
            if last_key is not None:
                page_conditions.append(key.write_condition_after(last_key, self._condition_writer))
            page = self.tap.query_page(
                f"{self._write_select(requested_names, conditions_added=page_conditions, top=size)} ORDER BY {order}",
                size,
            )
            table = page.table
            ends = (
                table.num_rows < size
                and not page.overflow
                and (table.num_rows % ROUND_ROW_COUNT > 0 or not table.num_rows)
            )
            if not table.num_rows:
                if page.overflow:
                    raise SourceError(
                        f"{self.source_name} gives no row, and says that there are more", remedy="say a smaller `page`"
                    )
                return
            table = table.rename_columns(requested_names)
            for name, kind in kinds.items():
                table = table.set_column(
                    requested_names.index(name), name, _cast_column(table.column(name), kind, name, self.source_name)
                )
            if ends:
                cut = table.num_rows
            else:
                cut = key.count_complete_rows(table)
            if not cut and table.num_rows < size and not page.overflow:  # a round number, after all
                cut = table.num_rows
                ends = False
            if not cut:  # one key fills the page
                if table.num_rows < size:
                    raise SourceError(
                        f"{self.source_name} has more rows of one key than the {table.num_rows:,} that it "
                        f"gives at once",
                        remedy=f"say another `key` than {', '.join(key.names)}: one whose values differ",
                    )
                size *= 2
                continue
            last_key = tuple(table.column(name)[cut - 1].as_py() for name in key.names)
            yield table.slice(0, cut)
            if ends:
                return

    def _read_rows_without_key(
        self, key: PagingKey, names: Sequence[str], first_row_number: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows without a key: in one answer, for nothing orders them."""
        key_conditions = [f"({' OR '.join(self._condition_writer.write_is_null(name) for name in key.names)})"]
        yield from self._stream_query(names, key_conditions, first_row_number)

    def _read_in_one_answer(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from self._stream_query(names, [], 1)

    def _stream_query(
        self, names: Sequence[str], conditions: Sequence[str], first_row_number: int
    ) -> Iterator[pa.RecordBatch]:
        with self.tap.query_stream(
            self._write_select(names, conditions_added=conditions), UNLIMITED_MAXREC, self.context.batch_row_limit
        ) as read:
            for batch in self._cast_batches(read.metadata.columns, read.batches, names, first_row_number):
                first_row_number += batch.num_rows
                self.read_count = first_row_number - 1
                yield batch
            if has_overflow(read.metadata):
                raise SourceError(
                    f"{self.source_name} gives {first_row_number - 1:,} rows at most, and there are more",
                    remedy="say `key`: an indexed column by which they can be asked for page by page",
                )

    def _read_key_portions(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        waiting = list(reversed(self._key_portions or ()))
        number = 1
        while waiting:
            portion = waiting.pop()
            page = self.tap.query_page(
                self._write_select(
                    names, conditions_added=[self._condition_writer.join_conditions(self._picked_columns, portion)]
                ),
                UNLIMITED_MAXREC,
            )
            if page.overflow:
                if len(portion) == 1:
                    raise SourceError(
                        f"{self.source_name} has more rows of one key than the {page.table.num_rows:,} that it "
                        f"gives at once"
                    )
                half = len(portion) // 2
                waiting += [portion[half:], portion[:half]]
                continue
            yield from self._cast_batches(page.head.columns, page.table.to_batches(), names, number)
            number += page.table.num_rows

    # --- what is asked ------------------------------------------------------------------------------------------

    def _write_select(
        self, names: Sequence[str], *, conditions_added: Sequence[str] = (), top: int | None = None
    ) -> str:
        """Write a query for real columns, or any one if there is none."""
        conditions = [*self._conditions, *conditions_added]
        if (
            self.adql is not None
            and not conditions
            and top is None
            and list(names) == list(self._columns)
            and self.selected_columns is None
        ):
            return self.adql
        items = ", ".join(self._condition_writer.write_column(name) for name in self._list_real_columns(names))
        text = f"SELECT {f'TOP {top} ' if top is not None else ''}{items} {self._write_from()}"
        return text + (f" WHERE {' AND '.join(conditions)}" if conditions else "")

    def _write_from(self) -> str:
        return (
            f"FROM {write_table_name(self.table or '')}" if self.adql is None else f"FROM ({self.adql}) AS hven_source"
        )

    def _list_real_columns(self, names: Sequence[str]) -> list[str]:
        real = [name for name in dict.fromkeys(names) if name != ROW_NUMBER_COLUMN and name not in FILE_FACT_COLUMNS]
        return real or list(self._columns)[:1]

    def _list_requested_columns(self, names: Sequence[str], key: PagingKey) -> list[Column]:
        return [self._columns[name] for name in self._list_real_columns([*names, *key.names])]

    def _cast_batches(
        self,
        received_columns: Sequence[Column],
        batches: Sequence[pa.RecordBatch] | Iterator[pa.RecordBatch],
        names: Sequence[str],
        first_row_number: int,
    ) -> Iterator[pa.RecordBatch]:
        """Cast batches to the columns' types."""
        real = self._list_real_columns(names)
        if len(received_columns) < len(real):
            raise SourceError(f"{self.source_name} was asked for {len(real)} columns and gives {len(received_columns)}")
        for batch in batches:
            arrays = {
                name: replace_nan(
                    _cast_column(batch.column(place), self._columns[name].type.arrow, name, self.source_name)
                )
                for place, name in enumerate(real)
            }
            yield build_source_batch(names, arrays, batch.num_rows, first_row_number, None)
            first_row_number += batch.num_rows

    def _query_row_count(self) -> int | None:
        if self._conditions:
            where_clause = f" WHERE {' AND '.join(self._conditions)}"
        else:
            where_clause = ""
        try:
            count_table = self.tap.query_page(
                f"SELECT COUNT(*) AS hven_rows {self._write_from()}{where_clause}", 1, is_small=True
            ).table
            return int(count_table.column(0)[0].as_py())
        except (HvenError, IndexError, TypeError, ValueError):
            return None

    def _check_row_count(self, received_count: int, stated_count: int) -> None:
        """Compare with the service's own count.

        One that cuts answers without a word must not look like a table that shrank.

        Raises
        ------
        SourceError
            Many rows did not come.
        """
        if received_count >= stated_count:
            return
        recounted = self._query_row_count()
        missing_count = (stated_count if recounted is None else min(stated_count, recounted)) - received_count
        if missing_count <= 0:
            return
        text = f"{self.source_name} counts {received_count + missing_count:,} rows and gave {received_count:,}"
        if missing_count > max(ROUND_ROW_COUNT, received_count // ROWS_PER_CHANGED_ROW):
            raise SourceError(text, remedy="say a smaller `page`; the service may cut its answers without saying so")
        if self.context.on_notice is not None:
            self.context.on_notice(f"{text}: it may have changed meanwhile")


def _merge_descriptions(column: Column, schema_column: Column | None) -> Column:
    """Fill in what the answer's header does not say."""
    if schema_column is None:
        return column
    missing_values = {
        key: getattr(schema_column, key)
        for key in ("description", "unit", "ucd", "utype")
        if getattr(schema_column, key) and not getattr(column, key)
    }
    if missing_values:
        return column.copy_with(**missing_values)
    return column


def _cast_column(values: T, arrow_type: pa.DataType, name: str, source_name: str) -> T:
    """Cast an answer's values to the first answer's type.

    A service may write lengths of texts and arrays as they come.
    """
    if values.type == arrow_type:
        return values
    try:
        cast_values: T = values.cast(arrow_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise SourceError(
            f"{source_name}: the column {name} is {arrow_type} at first, and {values.type} later",
            remedy="sync again; tell the service's owners",
        ) from error
    return cast_values

"""Read any other database that SQLAlchemy knows, by a server-side cursor where its driver has one."""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import build_type_from_arrow
from hven.plugins.databases.database_rows import (
    BATCH_ROWS,
    PLACEHOLDER,
    SAMPLE_ROWS,
    SOURCE_ALIAS,
    DatabaseSource,
    SelectStatement,
    SqlCondition,
    SqlConditionWriter,
    count_rows_to_fetch,
    redact_url,
    write_table_option,
)
from hven.sources import AvailableTable, SourceContext
from hven.sources.api.rows import resolve_column_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.plugins.databases.options import Options

KEYS_PER_STATEMENT = 500  # of one statement: some databases have places for 1,000 values


class SqlalchemySource(DatabaseSource):
    """A table or query of any database that SQLAlchemy knows, by a server-side cursor where its driver has one."""

    def __init__(self, options: Options, url: str, context: SourceContext) -> None:
        super().__init__(options, context)
        import sqlalchemy as sa  # noqa: PLC0415  (slow to load, asked by few)

        self.url = url
        try:
            self.engine = sa.create_engine(url)
        except ModuleNotFoundError as error:
            raise SourceError(f"the driver {error.name} is not installed", remedy=f"install {error.name}") from error
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ValueError) as error:
            raise SourceError(
                "the address is not a database URL (it is not shown because it may contain a password)",
                remedy="write an address such as dialect+driver://user@host/database",
            ) from error

    def _describe_columns(self) -> list[Column]:
        import sqlalchemy as sa  # noqa: PLC0415  (slow to load, asked by few)

        try:
            with self.engine.connect() as connection:
                result = connection.execution_options(stream_results=True).execute(sa.text(self._write_statement()))
                names = list(result.keys())
                scales = [item[5] for item in result.cursor.description]
                rows = result.fetchmany(SAMPLE_ROWS)
        except sa.exc.SQLAlchemyError as error:
            raise self._build_error(error) from error
        if rows:
            columns = list(zip(*rows, strict=True))
        else:
            columns = [()] * len(names)
        return [
            Column(name=name, type=build_type_from_arrow(_guess_type(values, scale)))
            for name, values, scale in zip(names, columns, scales, strict=True)
        ]

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows in the order of the database."""
        import sqlalchemy as sa  # noqa: PLC0415  (slow to load, asked by few)

        names = resolve_column_names(column_names, list(self._columns), self.source_name)
        number = 1
        try:
            with self.engine.connect() as connection:
                for statement in self._build_statements():
                    text = self._write_statement(statement)
                    values = {f"hven_{at}": value for at, value in enumerate(statement.values)}
                    result = connection.execution_options(stream_results=True, max_row_buffer=BATCH_ROWS).execute(
                        sa.text(text), values
                    )
                    while (size := count_rows_to_fetch(row_limit, number)) and (rows := result.fetchmany(size)):
                        yield self._build_batch_from_rows(rows, names, number)
                        number += len(rows)
                    result.close()
        except sa.exc.SQLAlchemyError as error:
            raise self._build_error(error) from error

    def list_available_tables(self) -> list[AvailableTable]:
        """List the tables and views of the default schema; their rows are not counted."""
        import sqlalchemy as sa  # noqa: PLC0415  (slow to load, asked by few)

        try:
            look = sa.inspect(self.engine)
            return [
                *(AvailableTable(option_value=write_table_option(name)) for name in sorted(look.get_table_names())),
                *(
                    AvailableTable(option_value=write_table_option(name), is_view=True)
                    for name in sorted(look.get_view_names())
                ),
            ]
        except sa.exc.SQLAlchemyError as error:
            raise self._build_error(error) from error

    def _write_statement(self, statement: SelectStatement | None = None) -> str:
        text = self._write_select("".join(self.engine.dialect.identifier_preparer.initial_quote)).replace(":", "\\:")
        if statement is None or not statement.conditions:
            return text
        head, *parts = statement.write_clauses_after_from().replace(":", "\\:").split(PLACEHOLDER)
        clause = head + "".join(f":hven_{at}{part}" for at, part in enumerate(parts))
        return f"SELECT * FROM ({text}) {SOURCE_ALIAS}{clause}"  # without AS: Oracle has none there

    def _build_condition_writer(self) -> SqlConditionWriter:
        return _SqlalchemyConditionWriter(self)

    def _is_comparable(self, name: str) -> bool:
        """Check the type: databases order texts differently, but order plain letters, digits and times alike."""
        kind = self._columns[name].type
        return not kind.is_array and (kind.is_numeric or kind.is_timestamp or kind.is_string)

    def _count_keys_per_statement(self, column_count: int) -> int:
        return max(1, KEYS_PER_STATEMENT // column_count)

    def _write_key_condition(self, columns: Sequence[str], keys: pa.Table) -> SqlCondition:
        names = [self._build_condition_writer().write_plain_column(name) for name in columns]
        rows = list(zip(*(keys.column(name).to_pylist() for name in columns), strict=True))
        values = tuple(value for row in rows for value in row)
        if len(names) == 1:
            return SqlCondition(sql=f"{names[0]} IN ({', '.join([PLACEHOLDER] * len(rows))})", values=values)
        row_condition = f"({' AND '.join(f'{name} = {PLACEHOLDER}' for name in names)})"
        return SqlCondition(sql=f"({' OR '.join([row_condition] * len(rows))})", values=values)

    def _build_error(self, error: Exception) -> SourceError:
        text = str(getattr(error, "orig", None) or error)
        return SourceError(
            f"{self.source_name}: {redact_url(text, self.url)}",
            remedy="check the address, the user's rights and the table name",
        )


class _SqlalchemyConditionWriter(SqlConditionWriter):
    rows: SqlalchemySource

    def write_plain_column(self, name: str) -> str:
        """Quote a name as the database does."""
        return str(self.rows.engine.dialect.identifier_preparer.quote_identifier(name))

    def write_column(self, name: str, *, is_computed: bool) -> str:  # noqa: ARG002
        """Write a column as the database compares it."""
        return self.write_plain_column(name)


def _guess_type(values: Sequence[Any], scale: int | None = None) -> pa.DataType:
    """Guess a type; decimal numbers with `scale` 0 are whole, and keep their digits."""
    number = int if scale == 0 else float
    numbers = [number(value) if isinstance(value, decimal.Decimal) and value.is_finite() else value for value in values]
    try:
        kind = pa.array(numbers).type
        return build_type_from_arrow(kind).arrow
    except (pa.ArrowException, ValueError):
        return pa.string()

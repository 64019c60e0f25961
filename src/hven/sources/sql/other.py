"""Any other database that SQLAlchemy knows, by a server-side cursor where its driver has one."""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import from_arrow
from hven.sources import Context, Offer
from hven.sources._reading.files import check_names
from hven.sources.sql.rows import (
    ALIAS,
    PLACE,
    ROWS,
    SAMPLE,
    Condition,
    Rows,
    Spelling,
    Statement,
    left,
    spelled,
    without_url,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.sources.sql.options import Options

KEYS = 500  # of one statement: some databases have places for 1,000 values


class AnyRows(Rows):
    """Any other database that SQLAlchemy knows, by a server-side cursor where its driver has one."""

    def __init__(self, options: Options, url: str, context: Context) -> None:
        super().__init__(options, context)
        import sqlalchemy as sa  # noqa: PLC0415  (slow to load, asked by few)

        self.url = url
        try:
            self.engine = sa.create_engine(url)
        except ModuleNotFoundError as error:
            raise SourceError(f"the driver {error.name} is not installed", remedy=f"install {error.name}") from error
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ValueError) as error:
            raise SourceError(
                "the address is no database URL (it is not shown, it may hold a password)",
                remedy="dialect+driver://user@host/database",
            ) from error

    def _described(self) -> list[Column]:
        import sqlalchemy as sa  # noqa: PLC0415  (slow to load, asked by few)

        try:
            with self.engine.connect() as connection:
                result = connection.execution_options(stream_results=True).execute(sa.text(self._text()))
                names = list(result.keys())
                scales = [item[5] for item in result.cursor.description]
                rows = result.fetchmany(SAMPLE)
        except sa.exc.SQLAlchemyError as error:
            raise self._failed(error) from error
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
        return [
            Column(name=name, type=from_arrow(_any_type(values, scale)))
            for name, values, scale in zip(names, columns, scales, strict=True)
        ]

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows in the database's order."""
        import sqlalchemy as sa  # noqa: PLC0415  (slow to load, asked by few)

        names = check_names(columns, list(self._columns), self.what)
        number = 1
        try:
            with self.engine.connect() as connection:
                for statement in self._statements():
                    text, values = (
                        self._text(statement),
                        {f"hven_{at}": value for at, value in enumerate(statement.values)},
                    )
                    result = connection.execution_options(stream_results=True, max_row_buffer=ROWS).execute(
                        sa.text(text), values
                    )
                    while (size := left(limit, number)) and (rows := result.fetchmany(size)):
                        yield self._assembled(rows, names, number)
                        number += len(rows)
                    result.close()
        except sa.exc.SQLAlchemyError as error:
            raise self._failed(error) from error

    def offers(self) -> list[Offer]:
        """List the tables and views of the default schema; nobody counts their rows."""
        import sqlalchemy as sa  # noqa: PLC0415  (slow to load, asked by few)

        try:
            look = sa.inspect(self.engine)
            return [
                *(Offer(choice=spelled(name)) for name in sorted(look.get_table_names())),
                *(Offer(choice=spelled(name), view=True) for name in sorted(look.get_view_names())),
            ]
        except sa.exc.SQLAlchemyError as error:
            raise self._failed(error) from error

    def _text(self, statement: Statement | None = None) -> str:
        text = self._select("".join(self.engine.dialect.identifier_preparer.initial_quote)).replace(":", "\\:")
        if statement is None or not statement.conditions:
            return text
        head, *parts = statement.clause().replace(":", "\\:").split(PLACE)
        clause = head + "".join(f":hven_{at}{part}" for at, part in enumerate(parts))
        return f"SELECT * FROM ({text}) {ALIAS}{clause}"  # without AS: Oracle has none there

    def _words(self) -> Spelling:
        return _Spelling(self)

    def _comparable(self, name: str) -> bool:
        """Check the type: databases order texts differently, but words for times, numbers and codes in plain letters alike."""
        kind = self._columns[name].type
        return not kind.is_array and (kind.is_numeric or kind.is_timestamp or kind.is_string)

    def _portion(self, columns: int) -> int:
        return max(1, KEYS // columns)

    def _among(self, columns: Sequence[str], keys: pa.Table) -> Condition:
        names = [self._words().plain(name) for name in columns]
        rows = list(zip(*(keys.column(name).to_pylist() for name in columns), strict=True))
        values = tuple(value for row in rows for value in row)
        if len(names) == 1:
            return Condition(sql=f"{names[0]} IN ({', '.join([PLACE] * len(rows))})", values=values)
        one = f"({' AND '.join(f'{name} = {PLACE}' for name in names)})"
        return Condition(sql=f"({' OR '.join([one] * len(rows))})", values=values)

    def _failed(self, error: Exception) -> SourceError:
        text = str(getattr(error, "orig", None) or error)
        return SourceError(
            f"{self.what}: {without_url(text, self.url)}",
            remedy="look at the address, the rights of its user, and the name",
        )


class _Spelling(Spelling):
    rows: AnyRows

    def plain(self, name: str) -> str:
        """Quote in the database's manner."""
        return str(self.rows.engine.dialect.identifier_preparer.quote_identifier(name))

    def column(self, name: str, *, computed: bool) -> str:  # noqa: ARG002
        """Compare as the database does."""
        return self.plain(name)


def _any_type(values: Sequence[Any], scale: int | None = None) -> pa.DataType:
    """Guess a type; decimal numbers without decimals (`scale` 0) are whole, and keep their digits."""
    number = int if scale == 0 else float
    kept = [number(value) if isinstance(value, decimal.Decimal) and value.is_finite() else value for value in values]
    try:
        kind = pa.array(kept).type
        return from_arrow(kind).arrow
    except (pa.ArrowException, ValueError):
        return pa.string()

"""Search in the answer of a reader's query as in a table, for example for plots and counts.

The query stands in FROM, ``(SELECT ..) AS answer``; its WITH moves to the front, as ADQL requires.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hven import adql
from hven.adql import syntax_tree
from hven.adql.adql_writer import write_adql
from hven.model.table import Table
from hven.portal.api.table_rows import QUERY_TIMEOUT_SECONDS, QueryRunner, TableSearch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from hven.model.table import Column
    from hven.query import QueryResult

ANSWER_NAME = syntax_tree.Ident("answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAnswerSearch(TableSearch):
    """A search in the answer of `inner_query`, a query without its WITH."""

    inner_query: syntax_tree.Query

    def build_from_item(self) -> syntax_tree.FromItem:
        """Return the query as a derived table."""
        return syntax_tree.DerivedTable(self.inner_query, ANSWER_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerQueryRunner(QueryRunner):
    """Runner of queries on the answer of a query; `common_tables` are the tables of its WITH."""

    common_tables: tuple[syntax_tree.CommonTableExpression, ...] = ()

    def run_query(
        self,
        statement: syntax_tree.Query | str,
        *,
        row_limit: int | None = None,
        timeout_seconds: float | None = QUERY_TIMEOUT_SECONDS,
        sample_rows: int | None = None,  # noqa: ARG002  (the signature of `QueryRunner`)
    ) -> QueryResult:
        """Start a query on the answer; samples are not possible."""
        if not isinstance(statement, str):
            # as text, in which names of objects are looked up
            statement = write_adql(self._with_common_tables(statement))
        return QueryRunner.run_query(self, statement, row_limit=row_limit, timeout_seconds=timeout_seconds)

    def fetch_table(
        self,
        statement: syntax_tree.Query,
        *,
        row_limit: int | None = None,
        timeout_seconds: float = QUERY_TIMEOUT_SECONDS,
    ) -> pa.Table:
        """Return all rows of a small answer."""
        return QueryRunner.fetch_table(
            self, self._with_common_tables(statement), row_limit=row_limit, timeout_seconds=timeout_seconds
        )

    def _with_common_tables(self, statement: syntax_tree.Query) -> syntax_tree.Query:
        return replace(statement, ctes=self.common_tables)

    def has_hidden_rows(self, table: Table) -> bool:  # noqa: ARG002  (the signature of `QueryRunner`)
        """Return True: there are no statistics of these rows."""
        return True


def build_answer_search(
    text: str, runner: QueryRunner, on_query_start: Callable[[QueryResult], QueryResult] | None = None
) -> tuple[QueryAnswerSearch, AnswerQueryRunner]:
    """Build the search in the answer of a query, and its runner.

    Raises
    ------
    ParseError, BindError
        The text is not a valid query; the error has the place.
    """
    with runner.run_query(text, row_limit=0, timeout_seconds=None) as result:
        columns = result.columns
        enums: dict[str, Any] = {}
        for result_table in result.tables:
            enums |= result_table.enums
    parsed = adql.parse_query(text)
    answer_runner = AnswerQueryRunner(
        site=runner.site,
        principal=runner.principal,
        policies=runner.policies,
        published_state=runner.published_state,
        common_tables=parsed.ctes,
        on_query_start=on_query_start,
    )
    table = Table(schema="", name="answer", columns=columns, enums=enums)
    inner_query = _assign_column_aliases(replace(parsed, ctes=(), text=""), columns)
    return QueryAnswerSearch(table=table, inner_query=inner_query), answer_runner


def _assign_column_aliases(query: syntax_tree.Query, columns: Sequence[Column]) -> syntax_tree.Query:
    """Name each column as in the answer: two columns of one name could not be distinguished from outside."""
    body = query.body
    if (
        not isinstance(body, syntax_tree.Select)
        or len(body.items) != len(columns)
        or any(isinstance(item, syntax_tree.SelectStar) for item in body.items)
    ):
        return query
    items: list[syntax_tree.SelectItem | syntax_tree.SelectStar] = []
    for item, column in zip(body.items, columns, strict=True):
        if isinstance(item, syntax_tree.SelectStar) or (item.alias is not None and item.alias.name == column.name):
            items.append(item)
        else:
            items.append(replace(item, alias=_quote_identifier(column.name)))
    return replace(query, body=replace(body, items=tuple(items)))


def _quote_identifier(name: str) -> syntax_tree.Ident:
    return syntax_tree.Ident(name, quoted=True)

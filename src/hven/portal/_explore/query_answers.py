"""Somebody's own query as if it were a table.

What plots and counts ask of a search they ask of its answer in the same words.

The query stands in FROM, ``(SELECT ..) AS answer``; its WITH moves to the front, where ADQL wants it. Everything goes
the road of all queries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hven import adql
from hven.adql import syntax_tree
from hven.adql.adql_writer import write_adql
from hven.model.table import Table
from hven.portal._explore.page_queries import QUERY_TIMEOUT_SECONDS, QueryRunner
from hven.portal._explore.search import TableSearch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from hven.model.table import Column
    from hven.query import QueryResult

ANSWER_NAME = syntax_tree.Ident("answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSearch(TableSearch):
    """A search in the answer of a query; `inner_query` is that query without its WITH."""

    inner_query: syntax_tree.Query

    def build_source(self) -> syntax_tree.FromItem:
        """Return the query as FROM has it."""
        return syntax_tree.DerivedTable(self.inner_query, ANSWER_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerQueryRunner(QueryRunner):
    """The road to the answer of a query: `common_tables` are those of its WITH."""

    common_tables: tuple[syntax_tree.CommonTable, ...] = ()

    def run_query(
        self,
        statement: syntax_tree.Query | str,
        *,
        row_limit: int | None = None,
        timeout_seconds: float | None = QUERY_TIMEOUT_SECONDS,
        sample_rows: int | None = None,  # noqa: ARG002  (as every road)
    ) -> QueryResult:
        """Begin a query about the answer; there are no samples of one."""
        # as text: names of objects in it are looked up there
        return QueryRunner.run_query(
            self,
            statement if isinstance(statement, str) else write_adql(self._add_common_tables(statement)),
            row_limit=row_limit,
            timeout_seconds=timeout_seconds,
        )

    def fetch_table(
        self,
        statement: syntax_tree.Query,
        *,
        row_limit: int | None = None,
        timeout_seconds: float = QUERY_TIMEOUT_SECONDS,
    ) -> pa.Table:
        """Return all rows of a small answer."""
        return QueryRunner.fetch_table(
            self, self._add_common_tables(statement), row_limit=row_limit, timeout_seconds=timeout_seconds
        )

    def _add_common_tables(self, statement: syntax_tree.Query) -> syntax_tree.Query:
        return replace(statement, ctes=self.common_tables)

    def has_hidden_rows(self, table: Table) -> bool:  # noqa: ARG002  (as every road)
        """Return True: nothing is known of these rows ahead."""
        return True


def build_answer_search(
    text: str, runner: QueryRunner, on_query_start: Callable[[QueryResult], QueryResult] | None = None
) -> tuple[AnswerSearch, AnswerQueryRunner]:
    """Treat a query as a table.

    Raises
    ------
    ParseError, BindError
        It is none; the place is said.
    """
    with runner.run_query(text, row_limit=0, timeout_seconds=None) as result:
        columns = result.columns
        enums = {name: words for result_table in result.tables for name, words in result_table.enums.items()}
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
    inner_query = _name_columns(replace(parsed, ctes=(), text=""), columns)
    return AnswerSearch(table=table, inner_query=inner_query), answer_runner


def _name_columns(query: syntax_tree.Query, columns: Sequence[Column]) -> syntax_tree.Query:
    """Name each column as it is called in the answer: two of the same name could not be told apart from outside."""
    body = query.body
    if (
        not isinstance(body, syntax_tree.Select)
        or len(body.items) != len(columns)
        or any(isinstance(item, syntax_tree.Star) for item in body.items)
    ):
        return query
    items = [
        item
        if isinstance(item, syntax_tree.Star) or (item.alias is not None and item.alias.name == column.name)
        else replace(item, alias=_quote_identifier(column.name))
        for item, column in zip(body.items, columns, strict=True)
    ]
    return replace(query, body=replace(body, items=tuple(items)))


def _quote_identifier(name: str) -> syntax_tree.Ident:
    return syntax_tree.Ident(name, quoted=True)

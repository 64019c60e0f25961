"""Somebody's own query as if it were a table: what plots and counts ask of a search they ask of its answer in the same words.

The query stands in FROM, ``(SELECT ..) AS answer``; its WITH moves to the front, where ADQL wants it. Everything goes the road of all queries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hven import adql
from hven.adql import tree
from hven.adql.text import write
from hven.model.table import Table
from hven.portal._explore.page_queries import SECONDS, Asking
from hven.portal._explore.search import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from hven.model.table import Column
    from hven.query import Result

NAME = tree.Ident("answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Search):
    """A search in the answer of a query; `asked` is that query without its WITH."""

    asked: tree.Query

    def source(self) -> tree.FromItem:
        """Return the query as FROM has it."""
        return tree.Derived(self.asked, NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering(Asking):
    """The road to the answer of a query: `tables` are those of its WITH."""

    tables: tuple[tree.CommonTable, ...] = ()

    def run(
        self,
        asked: tree.Query | str,
        *,
        most: int | None = None,
        seconds: float | None = SECONDS,
        sample: int | None = None,  # noqa: ARG002  (as every road)
    ) -> Result:
        """Begin a query about the answer; there are no samples of one."""
        # as text: names of objects in it are looked up there
        return Asking.run(
            self, asked if isinstance(asked, str) else write(self._whole(asked)), most=most, seconds=seconds
        )

    def table(self, asked: tree.Query, *, most: int | None = None, seconds: float = SECONDS) -> pa.Table:
        """Return all rows of a small answer."""
        return Asking.table(self, self._whole(asked), most=most, seconds=seconds)

    def _whole(self, asked: tree.Query) -> tree.Query:
        return replace(asked, ctes=self.tables)

    def hides(self, table: Table) -> bool:  # noqa: ARG002  (as every road)
        """Return True: nothing is known of these rows ahead."""
        return True


def answer(text: str, asking: Asking, begun: Callable[[Result], Result] | None = None) -> tuple[Answer, Answering]:
    """Treat a query as a table.

    Raises
    ------
    ParseError, BindError
        It is none; the place is said.
    """
    with asking.run(text, most=0, seconds=None) as result:
        columns = result.columns
        enums = {name: words for one in result.tables for name, words in one.enums.items()}
    parsed = adql.parse(text)
    road = Answering(
        site=asking.site,
        who=asking.who,
        policies=asking.policies,
        holdings=asking.holdings,
        tables=parsed.ctes,
        begun=begun,
    )
    table = Table(schema="", name="answer", columns=columns, enums=enums)
    return Answer(table=table, asked=_named(replace(parsed, ctes=(), text=""), columns)), road


def _named(asked: tree.Query, columns: Sequence[Column]) -> tree.Query:
    """Name each column as it is called in the answer: two of the same name could not be told apart from outside."""
    body = asked.body
    if (
        not isinstance(body, tree.Select)
        or len(body.items) != len(columns)
        or any(isinstance(item, tree.Star) for item in body.items)
    ):
        return asked
    items = [
        item
        if isinstance(item, tree.Star) or (item.alias is not None and item.alias.name == column.name)
        else replace(item, alias=_ident(column.name))
        for item, column in zip(body.items, columns, strict=True)
    ]
    return replace(asked, body=replace(body, items=tuple(items)))


def _ident(name: str) -> tree.Ident:
    return tree.Ident(name, quoted=True)

"""How many rows each reader may see: counted by the road of all queries where a policy hides some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from hven.engines import LiveRelation
from hven.model.errors import ServiceError
from hven.model.table import FILES_UTYPE
from hven.portal._explore import TableSearch, observation_lines
from hven.portal._explore.page_queries import QueryRunner
from hven.services import file_rows
from hven.services.file_rows import NOUNS, Amount
from hven.site.auth import collect_row_filters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Table
    from hven.services.face import ServiceContext
    from hven.site import PublishedState
    from hven.site.auth import Principal


class VisibleRowCounts:
    """How many rows of each table a reader may see.

    Counted once for each state of the holdings, if policies hide some (`QueryRunner.fetch_table`).
    """

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    async def count_tables(
        self, published_state: PublishedState, tables: Sequence[Table], principal: Principal
    ) -> dict[str, int | None]:
        """Return the numbers by qualified name; None for what was not counted: a view, or the service is too busy."""
        row_counts = {
            table.qualified_name: published_state.tables_by_name[table.qualified_name].rows for table in tables
        }
        filtered_tables = collect_row_filters(tables, principal, self._context.policies)
        if filtered_tables:
            runner = QueryRunner(
                site=self._context.site,
                principal=principal,
                policies=self._context.policies,
                published_state=published_state,
            )
            row_counts |= await anyio.to_thread.run_sync(
                lambda: {name: _count_visible_rows(name, runner) for name in filtered_tables}
            )
        return row_counts

    async def count_lines(
        self, published_state: PublishedState, tables: Sequence[Table], principal: Principal
    ) -> dict[str, int | None]:
        """Return how many observations there are in the tables whose rows are files of these, by qualified name; None.

        Not counted in time.
        """
        runner = QueryRunner(
            site=self._context.site,
            principal=principal,
            policies=self._context.policies,
            published_state=published_state,
        )
        return await anyio.to_thread.run_sync(lambda: count_observation_lines(tables, runner), abandon_on_cancel=True)


def count_observation_lines(tables: Sequence[Table], runner: QueryRunner) -> dict[str, int | None]:
    """Count the lines of tables whose rows are files of observations; None where they could not be counted."""
    line_counts: dict[str, int | None] = {}
    for table in tables:
        if table.view is not None or observation_lines.find_observation_key(table, runner) is None:
            continue
        try:
            line_counts[table.qualified_name] = observation_lines.count_lines(table, runner)
        except ServiceError:
            line_counts[table.qualified_name] = None
    return line_counts


def find_row_noun(table: Table, runner: QueryRunner) -> str:
    """Return what the rows of a table are, for one reader.

    ``files`` where these are files, of observations or of other tables, else ``rows``.
    """
    return file_rows.choose_row_noun(table, runner.find_published_table(table))


def sum_amounts(tables: Iterable[tuple[Table, int | None, bool, int | None]]) -> tuple[Amount, ...]:
    """Add up what tables have, each kind of thing by itself; what was not counted is left out.

    Parameters
    ----------
    tables
        Each with its number of rows, whether these are files of observations, and the number of observations.
    """
    sums: dict[str, int] = {}
    for table, rows, observed, lines in tables:
        if lines is None:
            amount, noun = (rows, "files" if observed or table.utype == FILES_UTYPE else "rows")
        else:
            amount, noun = (lines, "observations")
        if amount is not None:
            sums[noun] = sums.get(noun, 0) + amount
    return tuple(Amount(sums[noun], noun) for noun in NOUNS if noun in sums)


def _count_visible_rows(name: str, runner: QueryRunner) -> int | None:
    published = runner.published_state.tables_by_name
    item = published[name]
    if any(
        isinstance(published[table_name].relation, LiveRelation)
        for table_name in (name, *item.read_tables)
        if table_name in published
    ):
        return None  # other programs write it: no number would be true for long
    try:
        count_query = TableSearch(table=item.table).build_count_query()
        return runner.fetch_number(count_query)
    except ServiceError:  # a page without a number is better than no page
        return None

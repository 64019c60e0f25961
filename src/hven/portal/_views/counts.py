"""Count the rows that a reader may see; where a policy hides rows, with a query as this reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from hven.engines import LiveRelation
from hven.model.errors import ServiceError
from hven.model.table import FILES_UTYPE
from hven.portal._explore import TableSearch, observation_lines
from hven.portal._explore.page_queries import QueryRunner
from hven.services import file_rows
from hven.services.file_rows import NOUNS, CountWithNoun
from hven.site.auth import collect_row_filters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Table
    from hven.services.face import ServiceContext
    from hven.site import PublishedState
    from hven.site.auth import Principal


class VisibleRowCounter:
    """Counts of the rows of tables that a reader may see.

    Where policies hide rows, they are counted once for each published state (`QueryRunner.fetch_table`).
    """

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    async def count_rows_of_tables(
        self, published_state: PublishedState, tables: Sequence[Table], principal: Principal
    ) -> dict[str, int | None]:
        """Return the row counts by qualified name; None if not counted: for a view, or while the service is busy.

        Parameters
        ----------
        published_state
            The published state of the site.
        tables
            The tables.
        principal
            The reader.
        """
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

    async def count_observations_of_tables(
        self, published_state: PublishedState, tables: Sequence[Table], principal: Principal
    ) -> dict[str, int | None]:
        """Count the observations of tables whose rows are files of observations, by qualified name.

        The count is None if the time was too short.

        Parameters
        ----------
        published_state
            The published state of the site.
        tables
            The tables.
        principal
            The reader.

        Returns
        -------
        observation_counts
            Counts of the tables whose rows are files of observations.
        """
        runner = QueryRunner(
            site=self._context.site,
            principal=principal,
            policies=self._context.policies,
            published_state=published_state,
        )
        return await anyio.to_thread.run_sync(
            lambda: count_observation_lines_by_table(tables, runner), abandon_on_cancel=True
        )


def count_observation_lines_by_table(tables: Sequence[Table], runner: QueryRunner) -> dict[str, int | None]:
    """Count the lines of tables whose rows are files of observations; None where they could not be counted."""
    line_counts: dict[str, int | None] = {}
    for table in tables:
        if table.view is not None or observation_lines.find_observation_column_roles(table, runner) is None:
            continue
        try:
            line_counts[table.qualified_name] = observation_lines.count_observation_lines(table, runner)
        except ServiceError:
            line_counts[table.qualified_name] = None
    return line_counts


def find_row_noun(table: Table, runner: QueryRunner) -> str:
    """Return the noun for the rows of a table: ``files`` if they are files, else ``rows``.

    Parameters
    ----------
    table
        The table.
    runner
        Runs queries for the reader.
    """
    return file_rows.choose_row_noun(table, runner.find_table_with_visible_counts(table))


def sum_row_counts_by_noun(tables: Iterable[tuple[Table, int | None, bool, int | None]]) -> tuple[CountWithNoun, ...]:
    """Add up the amounts of tables by noun; tables without a count are left out.

    Parameters
    ----------
    tables
        Each table with its row count, whether its rows are files of observations, and its number of observations.

    Returns
    -------
    amounts
        A count for each noun.
    """
    sums: dict[str, int] = {}
    for table, rows, observed, lines in tables:
        if lines is None:
            amount, noun = (rows, "files" if observed or table.utype == FILES_UTYPE else "rows")
        else:
            amount, noun = (lines, "observations")
        if amount is not None:
            sums[noun] = sums.get(noun, 0) + amount
    return tuple(CountWithNoun(sums[noun], noun) for noun in NOUNS if noun in sums)


def _count_visible_rows(qualified_name: str, runner: QueryRunner) -> int | None:
    published = runner.published_state.tables_by_name
    item = published[qualified_name]
    if any(
        isinstance(published[table_name].relation, LiveRelation)
        for table_name in (qualified_name, *item.read_tables)
        if table_name in published
    ):
        return None  # other programs write it: no number would be true for long
    try:
        count_query = TableSearch(table=item.table).build_count_query()
        return runner.fetch_number(count_query)
    except ServiceError:  # a page without a number is better than no page
        return None

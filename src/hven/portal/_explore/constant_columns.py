"""Find the columns with the same value in every row, from the statistics of the published rows.

A page states each of these values once, and shows the other columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.portal._explore.search_fields import find_range_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._explore.search import TableSearch


def find_constant_columns(search: TableSearch, runner: QueryRunner) -> frozenset[str]:
    """Return the names of the shown columns that have one value, or none, in all rows of the table.

    Only the statistics of the whole table count, not the rows that a search finds: columns stay in place while the
    reader refines a search. Columns that the reader chose, and those of the key, are never included. The result is
    empty if a policy hides rows, because statistics of all rows can reveal hidden ones.

    Parameters
    ----------
    search
        The search.
    runner
        Runs queries for the reader.
    """
    item = runner.find_table_with_visible_counts(search.table)
    if search.columns or (item.rows or 0) < 2 or runner.has_hidden_rows(search.table):
        return frozenset()
    requested_names = {name for name, _ in (*search.order, *search.units)}  # the reader uses these
    shown_columns = search.list_shown_columns()
    kept_names = requested_names.union(search.table.primary)
    candidates = [column for column in shown_columns if column.name not in kept_names]
    names = {column.name for column in candidates if _is_constant(column, item.statistics, item.rows)}
    for _, *ends in find_range_pairs(shown_columns):  # pages show a pair as one column
        if len(names & {column.name for column in ends}) == 1:
            names -= {column.name for column in ends}
    if len(names) < len(shown_columns):
        return frozenset(names)
    return frozenset()


def find_single_valued_columns(table: Table, runner: QueryRunner) -> frozenset[str]:
    """Return the names of all columns of a table that have one value, or none, and are useless in searches.

    The result is empty if a policy hides rows.
    """
    item = runner.find_table_with_visible_counts(table)
    if (item.rows or 0) < 2 or runner.has_hidden_rows(table):
        return frozenset()
    return frozenset(column.name for column in table.columns if _is_constant(column, item.statistics, item.rows))


def has_only_nulls(column_names: Iterable[str], table: Table, runner: QueryRunner) -> bool:
    """Return whether no row of a table has a value in any of these columns.

    Return False if a policy hides rows, or there are no statistics.
    """
    item = runner.find_table_with_visible_counts(table)
    return (
        bool(item.rows)
        and not runner.has_hidden_rows(table)
        and all(item.statistics.get(name, {}).get("nulls") == item.rows for name in column_names)
    )


def _is_constant(column: Column, statistics: Mapping[str, Mapping[str, object]], row_count: int | None) -> bool:
    column_statistics = statistics.get(column.name, {})
    nulls = column_statistics.get("nulls")
    if nulls == row_count:
        return True
    low = column_statistics.get("minimum")
    high = column_statistics.get("maximum")
    has_equal_extremes = low is not None and low == high
    # extremes ignore NaN, the number of distinct values does not
    has_one_value = column.type.is_boolean or column_statistics.get("distinct") == 1
    return nulls == 0 and has_equal_extremes and has_one_value

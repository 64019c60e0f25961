"""Columns that say the same in every row.

Known since the rows were published, so that a page says each once and shows the telling ones as columns.
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

    They are found in the statistics of the published rows: nothing is asked. It is the table that decides, not the rows
    that a search finds, so that columns stay where they are while a reader narrows down. Columns that the reader chose,
    and those of the key, are never among them; nor is anything while a policy hides rows, for what was counted over all
    of them may tell of hidden ones.
    """
    item = runner.find_published_table(search.table)
    if search.columns or (item.rows or 0) < 2 or runner.has_hidden_rows(search.table):
        return frozenset()
    requested_names = {name for name, _ in (*search.order, *search.units)}  # somebody looks at these
    shown_columns = search.list_shown_columns()
    constant_columns = [
        column
        for column in shown_columns
        if column.name not in search.table.primary
        and column.name not in requested_names
        and _is_constant(column, item.statistics, item.rows)
    ]
    names = {column.name for column in constant_columns}
    for _, *ends in find_range_pairs(shown_columns):  # a pair is one column to readers
        if len(names & {column.name for column in ends}) == 1:
            names -= {column.name for column in ends}
    if len(names) < len(shown_columns):
        return frozenset(names)
    return frozenset()


def find_uninformative_columns(table: Table, runner: QueryRunner) -> frozenset[str]:
    """Return the names of all columns of a table that have one value, or none: nothing is found by them.

    None while a policy hides rows.
    """
    item = runner.find_published_table(table)
    if (item.rows or 0) < 2 or runner.has_hidden_rows(table):
        return frozenset()
    return frozenset(column.name for column in table.columns if _is_constant(column, item.statistics, item.rows))


def has_only_nulls(column_names: Iterable[str], table: Table, runner: QueryRunner) -> bool:
    """Return whether no row of a table has a value in any of these columns.

    False where a policy hides rows, or nothing was counted.
    """
    item = runner.find_published_table(table)
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
    # extremes leave NaN out, the number of different values does not
    return (
        nulls == 0
        and low is not None
        and low == high
        and (column.type.is_boolean or column_statistics.get("distinct") == 1)
    )

"""Find the columns with the same value in every row, from the statistics of the published rows.

A page states each of these values once, and shows the other columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql import syntax_tree
from hven.model.errors import HvenError
from hven.portal._explore.search import TableSearch, build_column_ref, list_place_columns
from hven.portal._explore.search_fields import find_range_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import QueryRunner

COUNT_TIMEOUT_SECONDS = 2.0


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


def list_used_place_columns(table: Table, runner: QueryRunner) -> tuple[tuple[str, ...], ...]:
    """List the columns that find all rows with a place, without those that statistics show to be needless.

    Parameters
    ----------
    table
        A table.
    runner
        Runs queries for the reader.

    Returns
    -------
    place_columns
        As `list_place_columns` lists them, but without columns that are empty, and without those behind columns with
        values in every row.
    """
    item = runner.find_table_with_visible_counts(table)
    place_columns = list_place_columns(table)
    used_columns = []
    for names in place_columns:
        null_counts = [item.statistics.get(name, {}).get("nulls") for name in names]
        if not item.rows or item.rows not in null_counts:
            used_columns.append(names)
        if not any(null_counts) and None not in null_counts:
            break
    return tuple(used_columns) or place_columns[:1]


def count_rows_without_place(table: Table, runner: QueryRunner) -> int | None:
    """Count the rows of a table that no place finds; None if this is unknown, or takes too long.

    Statistics give the count, unless the places of rows are in several columns.

    Parameters
    ----------
    table
        A table.
    runner
        Runs queries for the reader.
    """
    item = runner.find_table_with_visible_counts(table)
    place_columns = list_used_place_columns(table, runner)
    if not place_columns:
        return None
    if len(place_columns) == 1:
        null_counts = [item.statistics.get(name, {}).get("nulls") for name in place_columns[0]]
        counts = [null_count for null_count in null_counts if isinstance(null_count, int)]
        return max(counts, default=None)
    is_missing = [syntax_tree.NullPredicate(build_column_ref(names[0])) for names in place_columns]
    count_query = TableSearch(table=table).build_count_query_where(syntax_tree.Conjunction(tuple(is_missing)))
    try:
        counts_table = runner.fetch_cached_until_change(count_query, table, timeout_seconds=COUNT_TIMEOUT_SECONDS)
    except HvenError:
        return None
    if counts_table is None:
        return None
    return int(counts_table.column(0)[0].as_py())


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

"""Fetch pages of rows from anywhere in a large table, in any order; the end takes as long as the beginning."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import syntax_tree
from hven.model.errors import HvenError, TimeLimitError
from hven.portal._explore.search import (
    CADENCE_PARAMETER,
    NEAR_PARAMETER,
    REGION_PARAMETER,
    WORDS_PARAMETER,
    build_column_ref,
)
from hven.portal._explore.search_fields import find_range_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hven.model.table import Column
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._explore.search import TableSearch

MAX_PAGE_ROWS = 1000
MAX_KEY_CHARACTERS = 10_000
MAX_SEARCHED_ROWS = 5_000_000  # rows among which the number of one row is searched
MAX_RELAXED_CONDITIONS = 12  # conditions that are left out one by one
COUNT_TIMEOUT_SECONDS = 1.0  # after which a page shows no count


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCount:
    """The number of rows that a search finds.

    `is_exact` is False for an estimate; `rows` is None if the time was too short to count.
    """

    rows: int | None
    is_exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPage:
    """Some rows of a search.

    Attributes
    ----------
    columns
        The shown columns, in the order of `rows`.
    keys
        Primary key of each row as JSON text, as addresses name it; empty texts if the table has no key.
    offset
        Number of rows before these.
    has_more
        Whether there are more rows behind them.
    """

    columns: tuple[Column, ...]
    rows: pa.Table
    keys: tuple[str, ...]
    offset: int
    has_more: bool


def count_rows(search: TableSearch, runner: QueryRunner, *, timeout_seconds: float = COUNT_TIMEOUT_SECONDS) -> RowCount:
    """Count the rows of a search.

    Without conditions, the published number of rows is used, unless a policy hides rows from this reader.

    Parameters
    ----------
    search
        The search.
    runner
        Runs queries for the reader.
    timeout_seconds
        Seconds after which the query is stopped.

    Returns
    -------
    count
        The number of rows; None if the query was stopped.
    """
    if search.build_condition() is None and not runner.has_hidden_rows(search.table):
        known_count = runner.find_table_with_visible_counts(search.table).rows
        if known_count is not None:
            return RowCount(rows=known_count)
    try:
        rows = runner.fetch_number(search.build_count_query(), timeout_seconds=timeout_seconds)
        return RowCount(rows=rows)
    except TimeLimitError:
        return RowCount(rows=None, is_exact=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaxedSearch:
    """A search without one of its conditions, or without all conditions that no row meets; it finds `row_count` rows.

    `value_ranges` has the names of these conditions. Each has the least and the greatest value of its column as two
    rows of a page; None if the column has no order, or the time was too short.
    """

    value_ranges: Mapping[str, RowPage | None]
    search: TableSearch
    row_count: int


def relax_search(
    search: TableSearch,
    runner: QueryRunner,
    *,
    timeout_seconds: float = COUNT_TIMEOUT_SECONDS,
    to_lines: Callable[[TableSearch], TableSearch] = lambda line_search: line_search,
) -> list[RelaxedSearch]:
    """Count the rows that a search would find without each of its conditions, the fewest first.

    A relaxed search that finds nothing or takes too long is left out. If none of them finds rows, the conditions that
    no row meets are left out together.

    Parameters
    ----------
    to_lines
        Turns a search of rows into a search of the lines that are counted.
    """
    own_changes: dict[str, dict[str, object]] = {
        WORDS_PARAMETER: {"words": ""},
        NEAR_PARAMETER: {"near": None},
        REGION_PARAMETER: {"inside": ""},
        CADENCE_PARAMETER: {"every": None},
    }
    other_names = [name for name, change in own_changes.items() if any(getattr(search, key) for key in change)]
    condition_names = [*(name for name, _ in search.conditions), *other_names][:MAX_RELAXED_CONDITIONS]
    give_up_time = time.monotonic() + timeout_seconds

    def drop_conditions(condition_names: Collection[str]) -> TableSearch:
        changes: dict[str, object] = {}
        for name in condition_names:
            changes |= own_changes.get(name, {})
        return _remove_conditions(search, condition_names).copy_with(**changes)

    def count_in_time(relaxed_search: TableSearch) -> int | None:
        remaining_seconds = give_up_time - time.monotonic()
        if remaining_seconds > 0:
            return count_rows(to_lines(relaxed_search), runner, timeout_seconds=remaining_seconds).rows
        return None

    def relax_conditions(condition_names: Sequence[str]) -> RelaxedSearch | None:
        relaxed_search = drop_conditions(condition_names)
        row_count = count_in_time(relaxed_search)
        if not row_count:
            return None
        value_ranges = {}
        for name in condition_names:
            remaining_seconds = give_up_time - time.monotonic()
            value_ranges[name] = _find_value_range(relaxed_search, name, runner, remaining_seconds)
        return RelaxedSearch(value_ranges=value_ranges, search=relaxed_search, row_count=row_count)

    candidates = [relax_conditions([name]) for name in condition_names]
    relaxed = [candidate for candidate in candidates if candidate is not None]
    if not relaxed and len(condition_names) > 1:
        unmet_names = []
        for name in condition_names:
            other_conditions = [other_name for other_name in condition_names if other_name != name]
            if count_in_time(drop_conditions(other_conditions)) == 0:
                unmet_names.append(name)
        if len(unmet_names) > 1:
            jointly_relaxed = relax_conditions(unmet_names)
            relaxed = [] if jointly_relaxed is None else [jointly_relaxed]
    return sorted(relaxed, key=lambda relaxed_search: relaxed_search.row_count)


def _find_value_range(search: TableSearch, name: str, runner: QueryRunner, timeout_seconds: float) -> RowPage | None:
    """Fetch the least and the greatest value of the column or pair of columns of a condition."""
    ordered_columns = []
    for column in search.table.columns:
        is_ordered = column.type.is_numeric or column.type.is_timestamp
        if not column.hidden and is_ordered and not column.type.is_array:
            ordered_columns.append(column)
    column_pairs = [(column, column) for column in ordered_columns if column.name == name]
    if not column_pairs:
        range_pairs = find_range_pairs(ordered_columns)
        column_pairs = [(low, high) for stem, low, high in range_pairs if stem == name.lower()]
    column_pair = column_pairs[0] if column_pairs else None
    if column_pair is None or timeout_seconds <= 0:
        return None
    low, high = column_pair
    least = syntax_tree.FunctionCall("MIN", (build_column_ref(low.name),))
    greatest = syntax_tree.FunctionCall("MAX", (build_column_ref(high.name),))
    items = (
        syntax_tree.SelectItem(least, syntax_tree.Ident("low")),
        syntax_tree.SelectItem(greatest, syntax_tree.Ident("high")),
    )
    select = syntax_tree.Select(items, search.build_from_item(), where=search.build_condition())
    try:
        answer = runner.fetch_table(syntax_tree.Query(select), timeout_seconds=timeout_seconds)
    except HvenError:
        return None
    extremes = [answer.column(at).combine_chunks().cast(low.type.arrow) for at in (0, 1)]
    values = pa.concat_arrays(extremes)
    if values.null_count:
        return None
    rows = pa.table({low.name: values})
    return RowPage(columns=(low,), rows=rows, keys=("", ""), offset=0, has_more=False)


def _remove_conditions(search: TableSearch, condition_names: Collection[str]) -> TableSearch:
    remaining = [
        (condition, test)
        for condition, test in zip(search.conditions, search.tests, strict=True)
        if condition[0] not in condition_names
    ]
    conditions = tuple(condition for condition, _ in remaining)
    tests = tuple(test for _, test in remaining)
    return search.copy_with(conditions=conditions, tests=tests)


def fetch_page(
    search: TableSearch, runner: QueryRunner, *, offset: int = 0, limit: int = 100, total_rows: int | None = None
) -> RowPage:
    """Fetch the rows ``offset .. offset + limit`` of a search.

    Parameters
    ----------
    search
        The search.
    runner
        Runs queries for the reader.
    offset, limit
        Number of the first row, and number of rows.
    total_rows
        The number of rows, if known: rows in the second half of a table that is sorted by columns without nulls are
        then fetched from its end.

    Returns
    -------
    page
        The rows, with their keys.
    """
    limit = min(limit, MAX_PAGE_ROWS)
    shown_columns = search.list_shown_columns()
    primary = search.table.primary
    shown_names = [*(column.name for column in shown_columns), *primary]
    names = list(dict.fromkeys(shown_names))
    order = _complete_sort_order(search)
    ordered_search = search.copy_with(order=order)
    is_second_half = total_rows is not None and offset > total_rows // 2
    order_names = [name for name, _ in order]
    backwards = bool(order) and is_second_half and _is_order_reversible(search, runner, order_names)
    if backwards and total_rows is not None:
        begin = max(total_rows - offset - limit, 0)
        size = min(limit, total_rows - offset)
        reversed_order = tuple((name, not is_descending) for name, is_descending in order)
        reversed_search = replace(ordered_search, order=reversed_order)
        query = reversed_search.build_query(columns=names, limit=max(size, 0), offset=begin)
        rows = runner.fetch_table(query)
        reversed_numbers = range(rows.num_rows - 1, -1, -1)
        rows = rows.take(pa.array(reversed_numbers, pa.int64()))
        has_more = offset + rows.num_rows < total_rows
    else:
        query = ordered_search.build_query(columns=names, limit=limit + 1, offset=offset or None)
        rows = runner.fetch_table(query)
        has_more = rows.num_rows > limit
        rows = rows.slice(0, limit)
    return RowPage(
        columns=shown_columns,
        rows=rows.select([column.name for column in shown_columns]),
        keys=format_keys(rows, primary),
        offset=offset,
        has_more=has_more,
    )


def fetch_row(search: TableSearch, runner: QueryRunner, key: str) -> RowPage:
    """Fetch one row with all columns by its key (see `RowPage.keys`); the page is empty if there is no such row.

    Parameters
    ----------
    search
        The search.
    runner
        Runs queries for the reader.
    key
        Key of the row.

    Returns
    -------
    page
        The page with the row.
    """
    columns = tuple(column for column in search.table.columns if not column.hidden)
    test = build_key_condition(search, key)
    items = tuple(syntax_tree.SelectItem(build_column_ref(column.name)) for column in columns)
    if test is not None:
        where = test
    else:
        where = syntax_tree.Comparison("=", syntax_tree.Literal(1), syntax_tree.Literal(0))
    select = syntax_tree.Select(items, search.build_from_item(), where=where, top=syntax_tree.Literal(1))
    rows = runner.fetch_table(syntax_tree.Query(select))
    keys = (key,) * rows.num_rows
    return RowPage(columns=columns, rows=rows, keys=keys, offset=0, has_more=False)


def find_row_number(search: TableSearch, runner: QueryRunner, key: str) -> int | None:
    """Find the number of a row in a search, from 0.

    Return None if the search does not find the row, or the time is too short. The query reads only keys, in the order
    of the pages.
    """
    primary = search.table.primary
    if build_key_condition(search, key) is None:
        return None
    total = count_rows(search, runner).rows
    if total is None or total > MAX_SEARCHED_ROWS:
        return None
    try:
        ordered_search = search.copy_with(order=_complete_sort_order(search))
        query = ordered_search.build_query(columns=list(primary))
        keys = runner.fetch_table(query, row_limit=MAX_SEARCHED_ROWS, timeout_seconds=COUNT_TIMEOUT_SECONDS)
    except TimeLimitError:
        return None
    is_match: pa.ChunkedArray | None = None
    for name, value in zip(primary, json.loads(key), strict=True):
        column = keys.column(name)
        if isinstance(value, str):
            if pa.types.is_string(column.type):
                column_texts = column
            else:
                column_texts = column.cast(pa.string())
            is_equal = pc.equal(column_texts, str(value))
        else:
            is_equal = pc.equal(column, value)
        if is_match is None:
            is_match = is_equal
        else:
            is_match = pc.and_(is_match, is_equal)
    row_number = int(pc.index(is_match, True).as_py())
    if row_number >= 0:
        return row_number
    return None


def find_offset_after_row(search: TableSearch, runner: QueryRunner, key: str, offset: int) -> int:
    """Return the offset of the rows after a row, by its key; `offset` if the row is not found in time."""
    row_number = None
    if key:
        row_number = find_row_number(search, runner, key)
    if row_number is None:
        return offset
    return row_number + 1


def _complete_sort_order(search: TableSearch) -> tuple[tuple[str, bool], ...]:
    """Return the order of a search, completed by the primary key.

    Without the key, rows that compare equal might occur on two pages and others on none.
    """
    if not search.order:
        return ()
    ordered_names = {name for name, _ in search.order}
    key_order = [(name, False) for name in search.table.primary if name not in ordered_names]
    return (*search.order, *key_order)


def build_key_condition(search: TableSearch, key: str) -> syntax_tree.Expr | None:
    """Return the condition that a row has this key; None if it is no key of this table."""
    primary = search.table.primary
    try:
        if len(key) <= MAX_KEY_CHARACTERS:
            values = orjson.loads(key)
        else:
            values = None
    except ValueError:
        return None
    if not primary or not isinstance(values, list) or len(values) != len(primary):
        return None
    tests: list[syntax_tree.Expr] = []
    for name, value in zip(primary, values, strict=True):
        kind = search.table.find_column(name).type
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind.is_numeric:
            has_valid_type = is_number
        else:
            has_valid_type = isinstance(value, str)
        if not has_valid_type:
            return None
        tests.append(syntax_tree.Comparison("=", build_column_ref(name), syntax_tree.Literal(value)))
    return syntax_tree.join_conditions_with_and(*tests)


def _is_order_reversible(search: TableSearch, runner: QueryRunner, column_names: list[str]) -> bool:
    """Return whether the reversed order lists the rows backwards: it does without nulls, which are always last."""
    statistics = runner.find_table_with_visible_counts(search.table).statistics
    return all(statistics.get(name, {}).get("nulls") == 0 for name in column_names)


def format_keys(rows: pa.Table, primary: tuple[str, ...]) -> tuple[str, ...]:
    """Write the keys of rows as JSON texts for addresses; empty texts if the table has no key.

    Parameters
    ----------
    rows
        The rows.
    primary
        Names of the columns of the key.

    Returns
    -------
    keys
        A text for each row.
    """
    if not primary:
        return ("",) * int(rows.num_rows)
    columns = [rows.column(name) for name in primary]
    if all(pa.types.is_integer(column.type) and not column.null_count for column in columns):  # needs no JSON encoder
        numbers = [column.to_numpy().tolist() for column in columns]
        return tuple(f"[{','.join(map(str, row_numbers))}]" for row_numbers in zip(*numbers, strict=True))
    values: list[list[object]] = [column.to_pylist() for column in columns]
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode  # `dumps` makes one a row
    return tuple(encode(list(row_values)) for row_values in zip(*values, strict=True))

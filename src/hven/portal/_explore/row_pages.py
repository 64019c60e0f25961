"""Pages of rows: from anywhere in a table of millions, in any order, the end as quickly as the beginning."""

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

MAX_PAGE_ROWS = 1000  # rows of a page
MAX_KEY_CHARACTERS = 10_000  # characters of a key
MAX_SEARCHED_ROWS = 5_000_000  # rows among which the place of one is looked for
MAX_RELAXED_CONDITIONS = 12  # conditions that are left out one by one
COUNT_TIMEOUT_SECONDS = 1.0  # seconds that counting may take before a page goes without


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCount:
    """How many rows a search finds.

    `is_exact` is False for an estimate, and `rows` None if nobody could count in time.
    """

    rows: int | None
    is_exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPage:
    """Some rows of a search.

    Attributes
    ----------
    columns
        What is shown, in order; `rows` has the same.
    keys
        Primary key of each row as JSON text, to name it in an address; empty texts if the table has none.
    """

    columns: tuple[Column, ...]
    rows: pa.Table
    keys: tuple[str, ...]
    offset: int
    has_more: bool


def count_rows(search: TableSearch, runner: QueryRunner, *, timeout_seconds: float = COUNT_TIMEOUT_SECONDS) -> RowCount:
    """Count what a search finds.

    A table without conditions is counted by what is known of it, unless a policy hides rows from this reader.
    """
    if search.build_condition() is None and not runner.has_hidden_rows(search.table):
        known_count = runner.find_published_table(search.table).rows
        if known_count is not None:
            return RowCount(rows=known_count)
    try:
        rows = runner.fetch_number(search.build_count_query(), timeout_seconds=timeout_seconds)
        return RowCount(rows=rows)
    except TimeLimitError:
        return RowCount(rows=None, is_exact=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaxedSearch:
    """A search without one of its conditions, or without all those that no row meets: `row_count` is how many it finds.

    `value_ranges` names what was left out, each with the least and the greatest of the numbers or times that it is on,
    as two rows of a page; None: it is on none, or nobody could say in time.
    """

    value_ranges: Mapping[str, RowPage | None]
    search: TableSearch
    row_count: int


def relax_search(
    search: TableSearch,
    runner: QueryRunner,
    *,
    timeout_seconds: float = COUNT_TIMEOUT_SECONDS,
    to_lines: Callable[[TableSearch], TableSearch] = lambda one: one,
) -> list[RelaxedSearch]:
    """Count what a search would find without each of its conditions.

    What finds nothing, or takes too long, is left out.

    Where none of them helps alone, those that no row meets, whatever else is asked, are left out together.

    Parameters
    ----------
    to_lines
        Makes of a search that of the lines which are counted.
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
        changes = {key: value for name in condition_names for key, value in own_changes.get(name, {}).items()}
        return _remove_conditions(search, condition_names).copy_with(**changes)

    def count_in_time(relaxed_search: TableSearch) -> int | None:
        remaining_seconds = give_up_time - time.monotonic()
        if remaining_seconds > 0:
            return count_rows(to_lines(relaxed_search), runner, timeout_seconds=remaining_seconds).rows
        return None

    def relax_conditions(condition_names: Sequence[str]) -> RelaxedSearch | None:
        relaxed_search = drop_conditions(condition_names)
        row_count = count_in_time(relaxed_search)
        if row_count:
            value_ranges = {
                name: _find_value_range(relaxed_search, name, runner, give_up_time - time.monotonic())
                for name in condition_names
            }
        else:
            value_ranges = {}
        if row_count:
            return RelaxedSearch(value_ranges=value_ranges, search=relaxed_search, row_count=row_count)
        return None

    relaxed = [candidate for name in condition_names if (candidate := relax_conditions([name])) is not None]
    if not relaxed and len(condition_names) > 1:
        unmet_names = [
            name
            for name in condition_names
            if count_in_time(drop_conditions([candidate for candidate in condition_names if candidate != name])) == 0
        ]
        if len(unmet_names) > 1:
            jointly_relaxed = relax_conditions(unmet_names)
        else:
            jointly_relaxed = None
        if jointly_relaxed is not None:
            relaxed = [jointly_relaxed]
        else:
            relaxed = []
    return sorted(relaxed, key=lambda each: each.row_count)


def _find_value_range(search: TableSearch, name: str, runner: QueryRunner, timeout_seconds: float) -> RowPage | None:
    """Ask for the least and the greatest value of what a condition is on."""
    typed_columns = [(column, column.type) for column in search.table.columns if not column.hidden]
    ordered_columns = [
        column for column, kind in typed_columns if (kind.is_numeric or kind.is_timestamp) and not kind.is_array
    ]
    own_pair = next(((column, column) for column in ordered_columns if column.name == name), None)
    column_pair = own_pair or next(
        ((low, high) for stem, low, high in find_range_pairs(ordered_columns) if stem == name.lower()), None
    )
    if column_pair is None or timeout_seconds <= 0:
        return None
    low, high = column_pair
    column_ref = build_column_ref(low.name)
    items = (
        syntax_tree.SelectItem(syntax_tree.FunctionCall("MIN", (column_ref,)), syntax_tree.Ident("low")),
        syntax_tree.SelectItem(
            syntax_tree.FunctionCall("MAX", (build_column_ref(high.name),)), syntax_tree.Ident("high")
        ),
    )
    try:
        answer = runner.fetch_table(
            syntax_tree.Query(syntax_tree.Select(items, search.build_source(), where=search.build_condition())),
            timeout_seconds=timeout_seconds,
        )
    except HvenError:
        return None
    values = pa.concat_arrays([answer.column(at).combine_chunks().cast(low.type.arrow) for at in (0, 1)])
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
    """Read the rows ``offset .. offset + limit`` of a search.

    Parameters
    ----------
    total_rows
        How many there are, if that is known: rows behind the middle of a table that is sorted by columns without nulls
        are then asked from its end.
    """
    limit = min(limit, MAX_PAGE_ROWS)
    shown_columns = search.list_shown_columns()
    primary = search.table.primary
    names = list(dict.fromkeys([*(column.name for column in shown_columns), *primary]))
    order = _complete_order(search)
    ordered_search = search.copy_with(order=order)
    backwards = (
        bool(order)
        and total_rows is not None
        and offset > total_rows // 2
        and _is_reversible(search, runner, [name for name, _ in order])
    )
    if backwards and total_rows is not None:
        begin = max(total_rows - offset - limit, 0)
        size = min(limit, total_rows - offset)
        reversed_search = replace(
            ordered_search, order=tuple((name, not is_descending) for name, is_descending in order)
        )
        query = reversed_search.build_query(columns=names, limit=max(size, 0), offset=begin)
        rows = runner.fetch_table(query)
        rows = rows.take(pa.array(range(rows.num_rows - 1, -1, -1), pa.int64()))
        has_more = offset + rows.num_rows < total_rows
    else:
        rows = runner.fetch_table(ordered_search.build_query(columns=names, limit=limit + 1, offset=offset or None))
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
    """Read one row, all of its columns, by its key as `RowPage.keys` writes it; no row if there is none of that key."""
    columns = tuple(column for column in search.table.columns if not column.hidden)
    test = build_key_condition(search, key)
    items = tuple(syntax_tree.SelectItem(build_column_ref(column.name)) for column in columns)
    if test is not None:
        where = test
    else:
        where = syntax_tree.Comparison("=", syntax_tree.Literal(1), syntax_tree.Literal(0))
    rows = runner.fetch_table(
        syntax_tree.Query(syntax_tree.Select(items, search.build_source(), where=where, top=syntax_tree.Literal(1)))
    )
    keys = (key,) * rows.num_rows
    return RowPage(columns=columns, rows=rows, keys=keys, offset=0, has_more=False)


def find_row_number(search: TableSearch, runner: QueryRunner, key: str) -> int | None:
    """Find at which place of a search a row stands, from 0; None.

    It is not among its rows, or nobody could say in time.

    Keys alone are read, in the order in which pages have them.
    """
    primary = search.table.primary
    if build_key_condition(search, key) is None:
        return None
    total = count_rows(search, runner).rows
    if total is None or total > MAX_SEARCHED_ROWS:
        return None
    try:
        query = search.copy_with(order=_complete_order(search)).build_query(columns=list(primary))
        keys = runner.fetch_table(
            query,
            row_limit=MAX_SEARCHED_ROWS,
            timeout_seconds=COUNT_TIMEOUT_SECONDS,
        )
    except TimeLimitError:
        return None
    is_match: pa.ChunkedArray | None = None
    for name, value in zip(primary, json.loads(key), strict=True):
        column = keys.column(name)
        if isinstance(value, str):
            is_equal = pc.equal(column if pa.types.is_string(column.type) else column.cast(pa.string()), str(value))
        else:
            is_equal = pc.equal(column, value)
        if is_match is None:
            is_match = is_equal
        else:
            is_match = pc.and_(is_match, is_equal)
    row_number = int(pc.index(is_match, True).as_py())
    return row_number if row_number >= 0 else None


def find_next_offset(search: TableSearch, runner: QueryRunner, key: str, offset: int) -> int:
    """Return where the rows behind a row begin, by its key; `offset` if it is gone, or nobody can say."""
    if key:
        row_number = find_row_number(search, runner, key)
    else:
        row_number = None
    return offset if row_number is None else row_number + 1


def _complete_order(search: TableSearch) -> tuple[tuple[str, bool], ...]:
    """Return the whole order of a search.

    Rows that compare equal come in the order of their keys, else a row might stand on two pages, and another on none.
    """
    requested_order = tuple(search.order)
    return requested_order and (
        *requested_order,
        *(
            (name, False)
            for name in search.table.primary
            if name not in {column_name for column_name, _ in requested_order}
        ),
    )


def build_key_condition(search: TableSearch, key: str) -> syntax_tree.Expr | None:
    """Return the condition that a row has this key; None: it is no key of this table."""
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
        if kind.is_numeric and (isinstance(value, bool) or not isinstance(value, int | float)):
            return None
        if not kind.is_numeric and not isinstance(value, str):
            return None
        tests.append(syntax_tree.Comparison("=", build_column_ref(name), syntax_tree.Literal(value)))
    return syntax_tree.join_conditions(*tests)


def _is_reversible(search: TableSearch, runner: QueryRunner, column_names: list[str]) -> bool:
    """Return whether the opposite order is the same one read from its end: nulls come last in both."""
    statistics = runner.find_published_table(search.table).statistics
    return all(statistics.get(name, {}).get("nulls") == 0 for name in column_names)


def format_keys(rows: pa.Table, primary: tuple[str, ...]) -> tuple[str, ...]:
    """Write the keys of rows as JSON text, to name them in an address; empty texts if the table has none."""
    if not primary:
        return ("",) * int(rows.num_rows)
    values: list[list[object]] = [rows.column(name).to_pylist() for name in primary]
    keys = [
        json.dumps(list(each), ensure_ascii=False, separators=(",", ":"), default=str)
        for each in zip(*values, strict=True)
    ]
    return tuple(keys)

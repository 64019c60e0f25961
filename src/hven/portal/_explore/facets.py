"""Choices with their counts: the values of a column among the rows that all other conditions leave, and how many rows each has."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import syntax_tree
from hven.model.errors import TimeLimitError
from hven.portal._condition_values import parse_field_values, write_value
from hven.portal._explore.search import COUNT_ITEM, build_column_ref
from hven.portal.conditions import LIST_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import QueryRunner, SampledAnswer
    from hven.portal._explore.search import TableSearch
    from hven.site import PublishedTable

MAX_DISTINCT_VALUES = 300  # different values that a column of choices has at most
SHOWN_CHOICES = 12
MAX_FIELD_CHOICES = 20  # choices of a column that stand in its field of the form, all of them
MIN_ROWS_PER_VALUE = 1.2  # rows that each value has on average, below which it is a name rather than a choice
FILE_UCD_PREFIXES = (
    "phys.size;meta.file",
    "meta.ref.url",
    "meta.code.mime",
    "meta.checksum",
)  # nobody looks for files by these
MAX_VALUE_CHARACTERS = 200  # characters of a value: longer ones are read, not chosen from
MAX_COUNTED_LISTS = 2_000  # different lists a#b#c that are taken apart
MAX_FETCHED_ROWS = 100_000  # rows that are looked at once for all columns, where they have too many combinations
MAX_COMBINATIONS = 100_000  # of values of several columns that are counted at once
COUNT_TIMEOUT_SECONDS = 2.0  # seconds
MAX_EXACT_ROWS = 4_000_000  # rows up to which choices are counted exactly
SAMPLE_ROWS = 500_000  # rows of bigger tables that are counted under a condition, from all over them
MIN_SAMPLED_ROWS = 2_000  # rows of a value in a sample, below which it is counted by itself
FULL_COUNT_TIMEOUT_SECONDS = 10.0  # seconds that counting all rows of a big table may take, once for each state of it


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetChoice:
    """One value and how many rows have it, None where nobody has counted them; `label` in words; None as value.

    Rows without one.
    """

    value: str | None
    label: str
    row_count: int | None
    is_chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """The choices of one column, the most frequent first; `has_more`: there are others.

    `is_exact` is False for estimates.

    `is_counted` is False where nobody could count them in time: they are worth asking for again.
    """

    column: Column
    choices: tuple[FacetChoice, ...]
    has_more: bool = False
    is_exact: bool = True
    is_counted: bool = True


def find_facet_columns(table: Table, runner: QueryRunner) -> tuple[Column, ...]:
    """Return the columns worth choosing from: few different values, of text, whole numbers, yes and no.

    No sizes, addresses and media types of files.
    """
    item = runner.find_published_table(table)
    statistics = item.statistics
    facet_columns = []
    for column in table.columns:
        if column.hidden or not column.type.is_choice or (column.ucd or "").lower().startswith(FILE_UCD_PREFIXES):
            continue
        facts = statistics.get(column.name, {})
        distinct = facts.get("distinct")
        nulls = facts.get("nulls")
        if column.enum:
            facet_columns.append(column)
        elif (
            isinstance(distinct, int | float)
            and 1 < distinct <= MAX_DISTINCT_VALUES
            and column.name not in table.primary
        ):
            if item.rows is None or not isinstance(nulls, int):
                filled_count = None
            else:
                filled_count = item.rows - nulls
            if filled_count is None or not _is_nearly_unique(distinct, filled_count):
                facet_columns.append(column)
    return tuple(sorted(facet_columns, key=lambda column: column.rank))


def can_show_all_choices(column: Column, runner: QueryRunner, table: Table) -> bool:
    """Return whether all choices of a column stand in its field of the form: it has few values in the whole table."""
    published_table = runner.find_published_table(table)
    distinct = published_table.statistics.get(column.name, {}).get("distinct")
    return not _has_list_values(column) and isinstance(distinct, int | float) and distinct <= MAX_FIELD_CHOICES


def sort_by_value(facet: Facet) -> tuple[FacetChoice, ...]:
    """Sort choices by their values, numbers as numbers; rows without one come last."""
    number = facet.column.type.is_numeric

    def build_sort_key(choice: FacetChoice) -> tuple[bool, float, str]:
        return choice.value is None, float(choice.value) if number and choice.value else 0.0, choice.value or ""

    return tuple(sorted(facet.choices, key=build_sort_key))


def _is_nearly_unique(distinct_count: float, filled_count: int) -> bool:
    """Return whether nearly each row has a value of its own, as names have.

    One looks for such a value, in a field that completes it.
    """
    return distinct_count > SHOWN_CHOICES and filled_count < MIN_ROWS_PER_VALUE * distinct_count


def count_facets(
    search: TableSearch, columns: Sequence[Column], runner: QueryRunner, *, shown_count: int = SHOWN_CHOICES
) -> list[Facet]:
    """Count the choices of several columns, as many as possible by one look at the rows.

    Those that could not be counted in time say so.
    """
    own_conditions = {name for name, _ in search.conditions}
    unconditioned = [
        column for column in columns if column.name not in own_conditions
    ]  # all of these are counted over the same rows
    deadline = time.monotonic() + (
        FULL_COUNT_TIMEOUT_SECONDS if search.build_condition() is None else COUNT_TIMEOUT_SECONDS
    )
    counted_together = _count_columns_together(search, unconditioned, runner, deadline)
    column_facets = []
    for column in columns:
        counted = counted_together.get(column.name)
        if counted is None and time.monotonic() < deadline:
            counted = _count_column(search, column, runner, shown_count, "", deadline)
        column_facets.append(_build_facet(search, column, shown_count, counted))
    return [column_facet for column_facet in column_facets if column_facet is not None]


def count_facet(
    search: TableSearch, column: Column, runner: QueryRunner, *, shown_count: int = SHOWN_CHOICES, search_text: str = ""
) -> Facet | None:
    """Count the choices of a column; None: its values are too long to choose from.

    Lists ``a#b`` (EPN-TAP) are taken apart: a row counts for each of its items. `search_text` leaves the values that
    contain it, in any case.

    The column's own condition is left out, so that one sees what else could be chosen. Where conditions leave more than
    `MAX_EXACT_ROWS` rows of a table they are counted by a sample, but for values that it has few rows of, or missed:
    those are counted by themselves.
    """
    counted = _count_column(search, column, runner, shown_count, search_text, time.monotonic() + COUNT_TIMEOUT_SECONDS)
    return _build_facet(search, column, shown_count, counted)


def build_known_facet(search: TableSearch, column: Column, runner: QueryRunner) -> Facet | None:
    """Return the choices of a column that the statistics of its published rows name, without counts; None.

    They name none.

    A reader from whom rows are hidden is told none: the statistics are of all rows.
    """
    if _has_list_values(column):
        return None
    published_table = runner.find_published_table(search.table)
    facts = published_table.statistics.get(column.name, {})
    values = _list_known_values(column, facts)
    distinct = facts.get("distinct")
    nulls = facts.get("nulls")
    has_more = isinstance(distinct, int) and len(values) < distinct
    if not values or len(values) > MAX_FIELD_CHOICES:
        return None
    value_counts = _build_value_counts(
        column, [(value, 0) for value in [*values, *([None] if nulls else [])]], "", has_more=has_more
    )
    facet = _build_facet(search, column, len(value_counts.values), replace(value_counts, has_more=has_more))
    return facet and replace(
        facet, choices=tuple(replace(facet_choice, row_count=None) for facet_choice in facet.choices)
    )


def _list_known_values(column: Column, statistics: Mapping[str, object]) -> list[object]:
    """Return the values that statistics name: the frequent ones, of yes and no the extremes."""
    if column.type.is_boolean:
        return [
            candidate
            for candidate in dict.fromkeys((statistics.get("minimum"), statistics.get("maximum")))
            if candidate is not None
        ]
    frequent = statistics.get("top")
    if isinstance(frequent, list):
        return [value for value, _ in frequent]
    return []


def _build_facet(
    search: TableSearch, column: Column, shown_count: int, value_counts: _ValueCounts | None
) -> Facet | None:
    if value_counts is None:
        return Facet(column=column, choices=(), is_counted=False)
    chosen = {
        chosen_value
        for name, values in search.conditions
        if name == column.name
        for value in values
        for chosen_value in _parse_choices(value)
    }
    words = search.table.enums.get(column.enum or "", {})
    if any(len(value or "") > MAX_VALUE_CHARACTERS for value, _ in value_counts.values):
        return None
    choices = []
    for value, count in value_counts.values[:shown_count]:
        if value is None:
            label = ""
        else:
            label = words.get(value, value)
        if value is None:
            mark = "null"
        else:
            mark = value.casefold()
        choices.append(FacetChoice(value=value, label=label, row_count=count, is_chosen=mark in chosen))
    return Facet(
        column=column,
        choices=tuple(choices),
        has_more=len(value_counts.values) > shown_count or value_counts.has_more,
        is_exact=value_counts.is_exact,
    )


@dataclass(frozen=True, slots=True)
class _ValueCounts:
    """Values with their rows, the most frequent first; `has_more`: there are others."""

    values: tuple[tuple[str | None, int], ...]
    is_exact: bool
    has_more: bool = False


def _count_columns_together(
    search: TableSearch, columns: Sequence[Column], runner: QueryRunner, deadline: float
) -> dict[str, _ValueCounts]:
    """Count several columns by GROUP BY of as many at once as have few combinations of values."""
    counts_by_column: dict[str, _ValueCounts] = {}
    where = search.build_condition()
    if where is None and _has_more_rows(search, None, runner, MAX_EXACT_ROWS):
        return counts_by_column  # each by itself, once for each state of the table
    if len(_group_columns(columns, runner.find_published_table(search.table))) > 1:
        fetched_counts = _count_fetched_rows(search, columns, runner)
    else:
        fetched_counts = {}
    for column in columns:
        if column.name in fetched_counts:
            counts_by_column[column.name] = _build_value_counts(column, fetched_counts[column.name], "", has_more=False)
    for bundle in _group_columns(
        [column for column in columns if column.name not in fetched_counts], runner.find_published_table(search.table)
    ):
        names = tuple(build_column_ref(column.name) for column in bundle)
        query = syntax_tree.Query(
            syntax_tree.Select(
                (*(syntax_tree.SelectItem(name) for name in names), COUNT_ITEM),
                search.build_source(),
                where=where,
                group_by=names,
            )
        )
        if len(bundle) == 1 or (sampled_answer := _fetch_counts(search, query, where, runner, deadline)) is None:
            continue
        rows, share = sampled_answer
        for at, column in enumerate(bundle):
            # by place: a column may be called n, too
            sums = (
                pa.table([rows.column(at), rows.column(len(bundle))], names=["v", "n"])
                .group_by("v")
                .aggregate([("n", "sum")])
            )
            pairs = zip(sums.column("v").to_pylist(), sums.column("n_sum").to_pylist(), strict=True)
            value_counts = _build_value_counts(column, _sort_counts(pairs), "", has_more=False)
            counts_by_column[column.name] = _estimate_value_counts(
                search,
                column,
                value_counts,
                share,
                where,
                runner,
            )
    return counts_by_column


def _group_columns(columns: Sequence[Column], published: PublishedTable) -> list[list[Column]]:
    """Bundle columns that have few combinations of values, by what is known of each."""
    sized_bundles: list[tuple[int, list[Column]]] = []

    def estimate_value_count(column: Column) -> int:
        distinct = published.statistics.get(column.name, {}).get("distinct")
        # null is one
        return (
            int(distinct) if isinstance(distinct, int | float) else 2 if column.type.is_boolean else MAX_DISTINCT_VALUES
        ) + 1

    for column in sorted(columns, key=estimate_value_count):
        number = estimate_value_count(column)
        for place, (combinations, bundle) in enumerate(sized_bundles):
            if combinations * number <= MAX_COMBINATIONS:
                sized_bundles[place] = (combinations * number, [*bundle, column])
                break
        else:
            sized_bundles.append((number, [column]))
    return [bundle for _, bundle in sized_bundles]


def _sort_counts(pairs: Iterable[tuple[Any, int]]) -> list[tuple[Any, int]]:
    return sorted(pairs, key=lambda one: (-one[1], one[0] is None, one[0]))


def _fetch_counts(
    search: TableSearch,
    query: syntax_tree.Query,
    condition: syntax_tree.Expr | None,
    runner: QueryRunner,
    deadline: float,
) -> SampledAnswer | None:
    """Ask for counts under a condition: of all rows, or of a sample of a big table; None: not even that in time."""

    def compute_remaining_seconds() -> float:
        return max(deadline - time.monotonic(), 0.05)

    try:
        if _has_more_rows(search, condition, runner, MAX_EXACT_ROWS):
            return runner.fetch_sample(query, sample_rows=SAMPLE_ROWS, timeout_seconds=compute_remaining_seconds())
        return runner.fetch_table(query, timeout_seconds=compute_remaining_seconds()), 1.0
    except TimeLimitError:
        pass
    try:
        sample = runner.fetch_sample(query, sample_rows=SAMPLE_ROWS, timeout_seconds=COUNT_TIMEOUT_SECONDS)
    except TimeLimitError:
        return None
    # all rows of a small table after all, or enough of them
    if sample[1] == 1.0 or sample[0].num_rows:
        return sample
    return None


def _has_more_rows(
    search: TableSearch, condition: syntax_tree.Expr | None, runner: QueryRunner, row_count: int
) -> bool:
    """Return whether a condition leaves more rows of a big table than a number, by a sample."""
    if (runner.find_published_table(search.table).rows or 0) <= MAX_EXACT_ROWS:
        return False
    count_query_where = search.build_count_query_where(condition)
    rows, share = runner.fetch_sample(count_query_where, sample_rows=SAMPLE_ROWS, timeout_seconds=COUNT_TIMEOUT_SECONDS)
    return share < 1 and (condition is None or int(rows.column(0)[0].as_py()) / share > row_count)


def _scale_sample_counts(value_counts: _ValueCounts, share: float) -> _ValueCounts:
    """Return what a sample says of all rows, with as many digits as it can know.

    One of fewer than 100 rows, two of fewer than 10,000.
    """
    if share == 1.0:
        return value_counts
    values = []
    for value, rows in value_counts.values:
        if rows < 100:
            digits = 1
        elif rows < 10_000:
            digits = 2
        else:
            digits = 3
        values.append((value, int(float(f"{rows / share:.{digits - 1}e}"))))
    return replace(value_counts, values=tuple(values), is_exact=False)


def _count_column(
    search: TableSearch, column: Column, runner: QueryRunner, shown_count: int, search_text: str, deadline: float
) -> _ValueCounts | None:
    where = search.build_condition(without=column.name)
    if where is None and not search_text and _has_more_rows(search, None, runner, MAX_EXACT_ROWS):
        full_counts = _count_all_rows(search, column, runner, max(deadline - time.monotonic(), 0.05))
        if full_counts is not None:
            has_more = _has_list_values(column) and len(full_counts) == MAX_COUNTED_LISTS
            return _build_value_counts(column, full_counts, "", has_more=has_more)
    if search_text:
        pattern = syntax_tree.Literal("%" + search_text.replace("%", "")[:100] + "%")
        column_ref = build_column_ref(column.name)
        test = syntax_tree.LikePredicate(column_ref, pattern, ignore_case=True)
        where = syntax_tree.join_conditions(where, test)
    if _has_list_values(column):
        max_values = MAX_COUNTED_LISTS
    else:
        max_values = max(shown_count, MAX_DISTINCT_VALUES) + 1
    count_query = _build_count_query(search, column, where, max_values)
    sampled_answer = _fetch_counts(
        search,
        count_query,
        where,
        runner,
        time.monotonic() + COUNT_TIMEOUT_SECONDS,
    )
    if sampled_answer is None:
        return None
    rows, share = sampled_answer
    pairs = list(zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True))
    value_counts = _build_value_counts(
        column, pairs, search_text, has_more=_has_list_values(column) and len(rows) == MAX_COUNTED_LISTS
    )
    return _estimate_value_counts(
        search,
        column,
        value_counts,
        share,
        where,
        runner,
    )


def _has_list_values(column: Column) -> bool:
    return column.name.lower() in LIST_COLUMNS and column.type.is_string


def _count_all_rows(
    search: TableSearch, column: Column, runner: QueryRunner, timeout_seconds: float
) -> list[tuple[Any, int]] | None:
    """Count the values of a column among all rows, once for each state of the table; None: it takes too long."""
    count_query = _build_count_query(search, column, None, MAX_COUNTED_LISTS)
    rows = runner.fetch_lasting(count_query, search.table, timeout_seconds=timeout_seconds)
    if rows is None:
        return None
    return list(zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True))


def _estimate_value_counts(
    search: TableSearch,
    column: Column,
    value_counts: _ValueCounts,
    share: float,
    condition: syntax_tree.Expr | None,
    runner: QueryRunner,
) -> _ValueCounts:
    """Return what a sample says of all rows.

    Values of which it has few rows, or none, are counted by themselves, the rarest first.
    """
    if share == 1.0 or _has_list_values(column):
        full_counts = None
    else:
        full_counts = _count_all_rows(search, column, runner, COUNT_TIMEOUT_SECONDS)
    estimated = _scale_sample_counts(value_counts, share)
    if full_counts is None:
        return estimated
    sampled_counts = dict(value_counts.values)
    names = {
        value: _build_value_counts(column, [(value, 0)], "", has_more=False).values[0][0] for value, _ in full_counts
    }
    rare_values = []
    rows = 0
    for value, number in reversed(full_counts):
        if sampled_counts.get(names[value], 0) < MIN_SAMPLED_ROWS and (rows := rows + number) <= MAX_EXACT_ROWS:
            rare_values.append(value)
    listed = tuple(syntax_tree.Literal(value) for value in rare_values if value is not None)
    tests: list[syntax_tree.Expr] = [syntax_tree.InPredicate(build_column_ref(column.name), listed)] if listed else []
    tests += [syntax_tree.NullPredicate(build_column_ref(column.name))] if None in rare_values else []
    if not tests:
        return estimated
    test = syntax_tree.join_conditions(
        condition, tests[0] if len(tests) == 1 else syntax_tree.Disjunction(tuple(tests))
    )
    try:
        count_query = _build_count_query(search, column, test, MAX_COUNTED_LISTS)
        recounted = runner.fetch_table(count_query, timeout_seconds=COUNT_TIMEOUT_SECONDS)
    except TimeLimitError:
        return estimated
    recounted_names = {names[value] for value in rare_values}
    exact = zip(recounted.column(0).to_pylist(), recounted.column(1).to_pylist(), strict=True)
    values = [value_count for value_count in estimated.values if value_count[0] not in recounted_names] + [
        (names.get(value, value), number) for value, number in exact
    ]
    return replace(estimated, values=tuple(_sort_counts(values)))


def _build_value_counts(
    column: Column, pairs: Sequence[tuple[object, int]], search_text: str, *, has_more: bool
) -> _ValueCounts:
    """Write values as an address has them; `has_more`: there are more lists than were counted."""
    texts = [
        (None if value is None else str(value).lower() if column.type.is_boolean else str(value), count)
        for value, count in pairs
    ]
    if _has_list_values(column):
        list_item_count = _count_list_items(texts, search_text)
        return _ValueCounts(tuple(list_item_count), is_exact=not has_more, has_more=has_more)
    return _ValueCounts(tuple(texts), is_exact=True)


def _count_fetched_rows(
    search: TableSearch, columns: Sequence[Column], runner: QueryRunner
) -> dict[str, list[tuple[Any, int]]]:
    """Count the values of all columns by one look at the rows, where they are few.

    Nothing if they are many, or nothing narrows them.
    """
    where = search.build_condition()
    if where is None or len(columns) < 2:
        return {}
    items = tuple(syntax_tree.SelectItem(build_column_ref(column.name)) for column in columns)
    try:
        if (
            _has_more_rows(search, where, runner, 2 * MAX_FETCHED_ROWS)
            or runner.fetch_number(search.build_count_query(), timeout_seconds=COUNT_TIMEOUT_SECONDS) > MAX_FETCHED_ROWS
        ):
            return {}
        rows = runner.fetch_table(
            syntax_tree.Query(
                syntax_tree.Select(
                    items, search.build_source(), where=where, top=syntax_tree.Literal(MAX_FETCHED_ROWS + 1)
                )
            ),
            timeout_seconds=COUNT_TIMEOUT_SECONDS,
        )
    except TimeLimitError:
        return {}
    counts_by_column: dict[str, list[tuple[Any, int]]] = {}
    for at, column in enumerate(columns):
        counts = pc.value_counts(rows.column(at).combine_chunks())
        counts_by_column[column.name] = _sort_counts(
            zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
        )
    return counts_by_column


def _count_list_items(pairs: Sequence[tuple[str | None, int]], search_text: str) -> list[tuple[str | None, int]]:
    """Split lists into items; an item that stands twice in a row counts once."""
    item_counts: dict[str | None, int] = {}
    for value, count in pairs:
        for item in {None} if value is None else {list_part.strip() for list_part in value.split("#")} - {""}:
            if item is None or search_text.casefold() in item.casefold():
                item_counts[item] = item_counts.get(item, 0) + count
    return sorted(item_counts.items(), key=lambda list_part: (-list_part[1], list_part[0] or ""))


def write_choices(values: Sequence[str | None]) -> str:
    """Write chosen values as the condition of an address; those with commas stand in quotes."""
    return ",".join(map(write_value, values))


def _parse_choices(value: str) -> list[str]:
    try:
        return [word.text.casefold() for word in parse_field_values(value)]
    except ValueError:
        return []


def _build_count_query(
    search: TableSearch, column: Column, condition: syntax_tree.Expr | None, max_values: int
) -> syntax_tree.Query:
    column_ref = build_column_ref(column.name)
    select = syntax_tree.Select(
        (syntax_tree.SelectItem(column_ref, syntax_tree.Ident("v")), COUNT_ITEM),
        search.build_source(),
        where=condition,
        group_by=(column_ref,),
        top=syntax_tree.Literal(max_values),
    )
    return syntax_tree.Query(
        select,
        order_by=(
            syntax_tree.OrderItem(syntax_tree.Literal(2), descending=True),
            syntax_tree.OrderItem(syntax_tree.Literal(1)),
        ),
    )

"""Count the choices of a column: its values among the rows that meet all other conditions, and the rows of each."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeGuard

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import syntax_tree
from hven.model.errors import TimeLimitError
from hven.portal._condition_values import parse_field_values, quote_field_value
from hven.portal._explore.search import COUNT_ITEM, build_column_ref
from hven.portal.conditions import LIST_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import QueryRunner, SampledAnswer
    from hven.portal._explore.search import TableSearch
    from hven.site import PublishedTable

MAX_DISTINCT_VALUES = 300  # distinct values of a column with choices
SHOWN_CHOICES = 12
MAX_FIELD_CHOICES = 20  # with at most so many choices, the field of the form shows all of them
MIN_ROWS_PER_VALUE = 1.2  # average rows of a value; with fewer, the values are names rather than choices
# UCDs of file properties that nobody searches by
FILE_UCD_PREFIXES = (
    "phys.size;meta.file",
    "meta.ref.url",
    "meta.code.mime",
    "meta.checksum",
)
MAX_VALUE_CHARACTERS = 200  # longer values are texts to read, not choices
MAX_COUNTED_LISTS = 2_000  # distinct lists a#b#c that are split into items
MAX_FETCHED_ROWS = 100_000  # rows fetched to count all columns at once, if their values have too many combinations
MAX_COMBINATIONS = 100_000  # combinations of values of several columns that one query counts
COUNT_TIMEOUT_SECONDS = 2.0
MAX_EXACT_ROWS = 4_000_000  # choices of a table with more rows are estimated from a sample
SAMPLE_ROWS = 500_000  # sampled rows of a larger table
LARGE_SAMPLE_FACTOR = 4  # a sample with so many times the rows takes less time than to count values in all rows
MIN_SAMPLED_ROWS = 2_000  # a value with fewer rows in the sample is counted exactly
FULL_COUNT_TIMEOUT_SECONDS = 10.0  # for all rows of a large table, once for each state of it


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetChoice:
    """One value of a column and the number of its rows.

    `value` is None for rows without a value; `row_count` is None where it is not counted. `label` is what pages show.

    Attributes
    ----------
    value
        The value; None for rows without a value.
    label
        What pages show.
    row_count
        The number of rows; None if they are not counted.
    is_chosen
        Whether the search has this value as a condition.
    """

    value: str | None
    label: str
    row_count: int | None
    is_chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """The choices of one column, the most frequent first.

    `has_more`: there are further ones. `is_exact` is False for estimates. `is_counted` is False if the time was too
    short to count them: they are worth asking for again.
    """

    column: Column
    choices: tuple[FacetChoice, ...]
    has_more: bool = False
    is_exact: bool = True
    is_counted: bool = True


def find_facet_columns(table: Table, runner: QueryRunner) -> tuple[Column, ...]:
    """Return the columns with few distinct values: texts, whole numbers and booleans.

    Sizes, addresses and media types of files are left out.

    Parameters
    ----------
    table
        A table.
    runner
        Runs queries for the reader.
    """
    item = runner.find_table_with_visible_counts(table)
    statistics = item.statistics
    facet_columns = []
    for column in table.columns:
        is_file_property = (column.ucd or "").lower().startswith(FILE_UCD_PREFIXES)
        if column.hidden or not column.type.can_be_choice or is_file_property:
            continue
        facts = statistics.get(column.name, {})
        distinct = facts.get("distinct")
        nulls = facts.get("nulls")
        if column.enum:
            facet_columns.append(column)
        elif _is_suitable_choice_count(distinct) and column.name not in table.primary:
            if item.rows is None or not isinstance(nulls, int):
                filled_count = None
            else:
                filled_count = item.rows - nulls
            if filled_count is None or not _is_nearly_unique(distinct, filled_count):
                facet_columns.append(column)
    return tuple(sorted(facet_columns, key=lambda column: column.rank))


def _is_suitable_choice_count(distinct: object) -> TypeGuard[float]:
    """Return whether a number of distinct values is known and suits a choice."""
    return isinstance(distinct, int | float) and 1 < distinct <= MAX_DISTINCT_VALUES


def can_show_all_choices(column: Column, runner: QueryRunner, table: Table) -> bool:
    """Return whether the field of the form shows all choices: the column has few values in the whole table."""
    published_table = runner.find_table_with_visible_counts(table)
    distinct = published_table.statistics.get(column.name, {}).get("distinct")
    return not _has_list_values(column) and isinstance(distinct, int | float) and distinct <= MAX_FIELD_CHOICES


def sort_choices_by_value(facet: Facet) -> tuple[FacetChoice, ...]:
    """Sort choices by value, numbers as numbers; rows without a value come last."""
    number = facet.column.type.is_numeric

    def build_sort_key(choice: FacetChoice) -> tuple[bool, float, str]:
        number_key = 0.0
        if number and choice.value:
            number_key = float(choice.value)
        return choice.value is None, number_key, choice.value or ""

    return tuple(sorted(facet.choices, key=build_sort_key))


def _is_nearly_unique(distinct_count: float, filled_count: int) -> bool:
    """Return whether nearly each row has its own value, as names have.

    A reader searches for such a value in a field with completion.
    """
    return distinct_count > SHOWN_CHOICES and filled_count < MIN_ROWS_PER_VALUE * distinct_count


def count_facets(
    search: TableSearch, columns: Sequence[Column], runner: QueryRunner, *, shown_count: int = SHOWN_CHOICES
) -> list[Facet]:
    """Count the choices of several columns, in as few queries as possible.

    A column that could not be counted in time has `Facet.is_counted` False.
    """
    own_conditions = {name for name, _ in search.conditions}
    # columns without a condition of their own are counted over the same rows
    unconditioned = [column for column in columns if column.name not in own_conditions]
    if search.build_condition() is None:
        timeout_seconds = FULL_COUNT_TIMEOUT_SECONDS
    else:
        timeout_seconds = COUNT_TIMEOUT_SECONDS
    deadline = time.monotonic() + timeout_seconds
    counted_together = _count_values_of_columns(search, unconditioned, runner, deadline)
    column_facets = []
    for column in columns:
        counted = counted_together.get(column.name)
        if counted is None and time.monotonic() < deadline:
            counted = _count_column_values(
                search, column, runner, shown_count=shown_count, search_text="", deadline=deadline
            )
        column_facets.append(_build_facet(search, column, shown_count, counted))
    return [column_facet for column_facet in column_facets if column_facet is not None]


def count_facet(
    search: TableSearch, column: Column, runner: QueryRunner, *, shown_count: int = SHOWN_CHOICES, search_text: str = ""
) -> Facet | None:
    """Count the choices of a column. Return None if its values are too long to choose from.

    Lists ``a#b`` (EPN-TAP) are split: a row counts for each item. With `search_text`, only values that contain it are
    counted, regardless of case.

    The condition on the column itself is ignored, so that the reader sees the other choices. If the conditions leave
    more than `MAX_EXACT_ROWS` rows, a sample is counted; values that are rare in the sample are counted exactly.

    Parameters
    ----------
    search
        The search.
    column
        The column.
    runner
        Runs queries for the reader.
    shown_count
        The number of choices.
    search_text
        A text that the values contain.

    Returns
    -------
    facet
        The choices; None if the values are too long.
    """
    deadline = time.monotonic() + COUNT_TIMEOUT_SECONDS
    counted = _count_column_values(
        search, column, runner, shown_count=shown_count, search_text=search_text, deadline=deadline
    )
    return _build_facet(search, column, shown_count, counted)


def build_facet_from_statistics(search: TableSearch, column: Column, runner: QueryRunner) -> Facet | None:
    """Return the choices that the statistics of the published rows name, without counts; None if there are none.

    The statistics are of all rows: a reader from whom rows are hidden gets None.
    """
    if _has_list_values(column):
        return None
    published_table = runner.find_table_with_visible_counts(search.table)
    facts = published_table.statistics.get(column.name, {})
    values = _list_known_values(column, facts)
    distinct = facts.get("distinct")
    nulls = facts.get("nulls")
    has_more = isinstance(distinct, int) and len(values) < distinct
    if not values or len(values) > MAX_FIELD_CHOICES:
        return None
    null_values = [None] if nulls else []
    uncounted_pairs = [(value, 0) for value in [*values, *null_values]]
    value_counts = _build_value_counts(column, uncounted_pairs, "", has_more=has_more)
    facet = _build_facet(search, column, len(value_counts.values), replace(value_counts, has_more=has_more))
    if facet is None:
        return None
    uncounted_choices = [replace(choice, row_count=None) for choice in facet.choices]
    return replace(facet, choices=tuple(uncounted_choices))


def _list_known_values(column: Column, statistics: Mapping[str, object]) -> list[object]:
    """Return the values that statistics name: the frequent ones; of a boolean column, the extremes."""
    if column.type.is_boolean:
        extremes = dict.fromkeys((statistics.get("minimum"), statistics.get("maximum")))
        return [extreme for extreme in extremes if extreme is not None]
    frequent = statistics.get("top")
    if isinstance(frequent, list):
        return [value for value, _ in frequent]
    return []


def _build_facet(
    search: TableSearch, column: Column, shown_count: int, value_counts: _ValueCounts | None
) -> Facet | None:
    if value_counts is None:
        return Facet(column=column, choices=(), is_counted=False)
    chosen = set()
    for name, values in search.conditions:
        if name == column.name:
            for condition_text in values:
                chosen.update(_parse_choices(condition_text))
    words = search.table.enums.get(column.enum or "", {})
    if any(len(value or "") > MAX_VALUE_CHARACTERS for value, _ in value_counts.values):
        return None
    choices = []
    for value, count in value_counts.values[:shown_count]:
        if value is None:
            label = ""
            mark = "null"
        else:
            label = words.get(value, value)
            mark = value.casefold()
        choices.append(FacetChoice(value=value, label=label, row_count=count, is_chosen=mark in chosen))
    has_more = len(value_counts.values) > shown_count or value_counts.has_more
    return Facet(
        column=column,
        choices=tuple(choices),
        has_more=has_more,
        is_exact=value_counts.is_exact,
    )


@dataclass(frozen=True, slots=True)
class _ValueCounts:
    """Values with their row counts, the most frequent first; `has_more`: there are further values."""

    values: tuple[tuple[str | None, int], ...]
    is_exact: bool
    has_more: bool = False


def _count_values_of_columns(
    search: TableSearch, columns: Sequence[Column], runner: QueryRunner, deadline: float
) -> dict[str, _ValueCounts]:
    """Count several columns with one GROUP BY query for each bundle with few combinations of values."""
    counts_by_column: dict[str, _ValueCounts] = {}
    where = search.build_condition()
    if where is None and _has_more_rows_by_estimate(search, None, runner, MAX_EXACT_ROWS):
        return counts_by_column  # each column is counted by itself, once for each state of the table
    published_table = runner.find_table_with_visible_counts(search.table)
    if len(_group_columns_with_few_combinations(columns, published_table)) > 1:
        fetched_counts = _fetch_few_rows_and_count_values(search, columns, runner)
    else:
        fetched_counts = {}
    for column in columns:
        if column.name in fetched_counts:
            counts_by_column[column.name] = _build_value_counts(column, fetched_counts[column.name], "", has_more=False)
    other_columns = [column for column in columns if column.name not in fetched_counts]
    for bundle in _group_columns_with_few_combinations(other_columns, published_table):
        if len(bundle) == 1:
            continue
        names = tuple(build_column_ref(column.name) for column in bundle)
        column_items = [syntax_tree.SelectItem(name) for name in names]
        select = syntax_tree.Select((*column_items, COUNT_ITEM), search.build_from_item(), where=where, group_by=names)
        sampled_answer = _fetch_exact_or_sampled_counts(search, syntax_tree.Query(select), where, runner, deadline)
        if sampled_answer is None:
            continue
        rows, share = sampled_answer
        summed_columns = _sum_row_counts_by_column(rows)
        if share < 1.0 and _is_larger_sample_enough(summed_columns):
            with contextlib.suppress(TimeLimitError):
                rows, share = runner.fetch_sample(
                    syntax_tree.Query(select),
                    sample_rows=LARGE_SAMPLE_FACTOR * SAMPLE_ROWS,
                    timeout_seconds=max(deadline - time.monotonic(), 0.05),
                )
                summed_columns = _sum_row_counts_by_column(rows)
        for column, pairs in zip(bundle, summed_columns, strict=True):
            value_counts = _build_value_counts(column, _sort_value_counts(pairs), "", has_more=False)
            counts_by_column[column.name] = _scale_counts_and_recount_rare_values(
                search, column, runner, value_counts=value_counts, share=share, condition=where
            )
    return counts_by_column


def _sum_row_counts_by_column(rows: pa.Table) -> list[list[tuple[Any, int]]]:
    """Sum the row counts in the last column for each value of each other column; several columns may have one name."""
    *value_columns, row_counts = rows.columns
    return [_sum_row_counts_by_value(values, row_counts) for values in value_columns]


def _is_larger_sample_enough(summed_columns: Sequence[Sequence[tuple[Any, int]]]) -> bool:
    """Return whether a larger sample has enough rows of values of which this one has too few."""
    counts = [count for pairs in summed_columns for _, count in pairs if count < MIN_SAMPLED_ROWS]
    return any(count * LARGE_SAMPLE_FACTOR >= MIN_SAMPLED_ROWS for count in counts)


def _sum_row_counts_by_value(values: pa.ChunkedArray, row_counts: pa.ChunkedArray) -> list[tuple[Any, int]]:
    """Sum the row counts of each value."""
    counted_values = pa.table([values, row_counts], names=["v", "n"])
    sums = counted_values.group_by("v").aggregate([("n", "sum")])
    return list(zip(sums.column("v").to_pylist(), sums.column("n_sum").to_pylist(), strict=True))


def _group_columns_with_few_combinations(
    columns: Sequence[Column], published_table: PublishedTable
) -> list[list[Column]]:
    """Bundle columns that together have few combinations of values, according to the statistics."""
    sized_bundles: list[tuple[int, list[Column]]] = []

    def estimate_value_count(column: Column) -> int:
        distinct = published_table.statistics.get(column.name, {}).get("distinct")
        if isinstance(distinct, int | float):
            value_count = int(distinct)
        elif column.type.is_boolean:
            value_count = 2
        else:
            value_count = MAX_DISTINCT_VALUES
        return value_count + 1  # null is a value, too

    for column in sorted(columns, key=estimate_value_count):
        number = estimate_value_count(column)
        for place, (combinations, bundle) in enumerate(sized_bundles):
            if combinations * number <= MAX_COMBINATIONS:
                sized_bundles[place] = (combinations * number, [*bundle, column])
                break
        else:
            sized_bundles.append((number, [column]))
    return [bundle for _, bundle in sized_bundles]


def _sort_value_counts(pairs: Iterable[tuple[Any, int]]) -> list[tuple[Any, int]]:
    def build_sort_key(pair: tuple[Any, int]) -> tuple[int, bool, Any]:
        value, count = pair
        return -count, value is None, value

    return sorted(pairs, key=build_sort_key)


def _fetch_exact_or_sampled_counts(
    search: TableSearch,
    query: syntax_tree.Query,
    condition: syntax_tree.Expr | None,
    runner: QueryRunner,
    deadline: float,
) -> SampledAnswer | None:
    """Count under a condition: all rows, or a sample of a large table. Return None if that takes too long."""

    def compute_remaining_seconds() -> float:
        return max(deadline - time.monotonic(), 0.05)

    try:
        if _has_more_rows_by_estimate(search, condition, runner, MAX_EXACT_ROWS):
            return runner.fetch_sample(query, sample_rows=SAMPLE_ROWS, timeout_seconds=compute_remaining_seconds())
        return runner.fetch_table(query, timeout_seconds=compute_remaining_seconds()), 1.0
    except TimeLimitError:
        pass
    try:
        sample = runner.fetch_sample(query, sample_rows=SAMPLE_ROWS, timeout_seconds=COUNT_TIMEOUT_SECONDS)
    except TimeLimitError:
        return None
    # the sample has all rows of the table, or enough of them
    if sample[1] == 1.0 or sample[0].num_rows:
        return sample
    return None


def _has_more_rows_by_estimate(
    search: TableSearch, condition: syntax_tree.Expr | None, runner: QueryRunner, row_count: int
) -> bool:
    """Return whether more than `row_count` rows of a large table meet a condition, estimated from a sample."""
    if (runner.find_table_with_visible_counts(search.table).rows or 0) <= MAX_EXACT_ROWS:
        return False
    count_query_where = search.build_count_query_where(condition)
    count_rows, share = runner.fetch_sample(
        count_query_where, sample_rows=SAMPLE_ROWS, timeout_seconds=COUNT_TIMEOUT_SECONDS
    )
    if share >= 1:
        return False
    return condition is None or int(count_rows.column(0)[0].as_py()) / share > row_count


def _scale_sample_counts(value_counts: _ValueCounts, share: float) -> _ValueCounts:
    """Estimate the counts of all rows from those of a sample, rounded to the digits that the sample supports.

    That is one digit for fewer than 100 sampled rows, two for fewer than 10,000, three beyond.
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
        rounded_text = f"{rows / share:.{digits - 1}e}"
        row_count = int(float(rounded_text))
        values.append((value, row_count))
    return replace(value_counts, values=tuple(values), is_exact=False)


def _count_column_values(
    search: TableSearch, column: Column, runner: QueryRunner, *, shown_count: int, search_text: str, deadline: float
) -> _ValueCounts | None:
    where = search.build_condition(excluded_name=column.name)
    if where is None and not search_text and _has_more_rows_by_estimate(search, None, runner, MAX_EXACT_ROWS):
        full_counts = _count_values_in_all_rows(search, column, runner, max(deadline - time.monotonic(), 0.05))
        if full_counts is not None:
            has_more = _has_list_values(column) and len(full_counts) == MAX_COUNTED_LISTS
            return _build_value_counts(column, full_counts, "", has_more=has_more)
    if search_text:
        test = syntax_tree.build_text_condition(build_column_ref(column.name), ("", search_text[:100], ""))
        where = syntax_tree.join_conditions_with_and(where, test)
    if _has_list_values(column):
        max_values = MAX_COUNTED_LISTS
    else:
        max_values = max(shown_count, MAX_DISTINCT_VALUES) + 1
    count_query = _build_count_query(search, column, where, max_values)
    count_deadline = time.monotonic() + COUNT_TIMEOUT_SECONDS
    sampled_answer = _fetch_exact_or_sampled_counts(search, count_query, where, runner, count_deadline)
    if sampled_answer is None:
        return None
    rows, share = sampled_answer
    pairs = list(zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True))
    has_more = _has_list_values(column) and len(rows) == MAX_COUNTED_LISTS
    value_counts = _build_value_counts(column, pairs, search_text, has_more=has_more)
    return _scale_counts_and_recount_rare_values(
        search, column, runner, value_counts=value_counts, share=share, condition=where
    )


def _has_list_values(column: Column) -> bool:
    return column.name.lower() in LIST_COLUMNS and column.type.is_string


def _count_values_in_all_rows(
    search: TableSearch, column: Column, runner: QueryRunner, timeout_seconds: float
) -> list[tuple[Any, int]] | None:
    """Count the values of a column in all rows, once for each state of the table; None if it takes too long."""
    count_query = _build_count_query(search, column, None, MAX_COUNTED_LISTS)
    rows = runner.fetch_cached_until_change(count_query, search.table, timeout_seconds=timeout_seconds)
    if rows is None:
        return None
    return list(zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True))


def _scale_counts_and_recount_rare_values(
    search: TableSearch,
    column: Column,
    runner: QueryRunner,
    *,
    value_counts: _ValueCounts,
    share: float,
    condition: syntax_tree.Expr | None,
) -> _ValueCounts:
    """Estimate the counts of all rows from those of a sample.

    Values that are rare or missing in the sample are counted exactly, the rarest first.
    """
    if share == 1.0 or _has_list_values(column):
        full_counts = None
    else:
        full_counts = _count_values_in_all_rows(search, column, runner, COUNT_TIMEOUT_SECONDS)
    estimated = _scale_sample_counts(value_counts, share)
    if full_counts is None:
        return estimated
    sampled_counts = dict(value_counts.values)
    names = {}
    for value, _ in full_counts:
        written_counts = _build_value_counts(column, [(value, 0)], "", has_more=False)
        names[value] = written_counts.values[0][0]
    rare_values = []
    rows = 0
    for value, number in reversed(full_counts):
        if sampled_counts.get(names[value], 0) >= MIN_SAMPLED_ROWS:
            continue
        rows += number
        if rows <= MAX_EXACT_ROWS:
            rare_values.append(value)
    if not rare_values:
        return estimated
    rare_test = _build_values_condition(column, rare_values)
    test = syntax_tree.join_conditions_with_and(condition, rare_test)
    try:
        count_query = _build_count_query(search, column, test, MAX_COUNTED_LISTS)
        recounted = runner.fetch_table(count_query, timeout_seconds=COUNT_TIMEOUT_SECONDS)
    except TimeLimitError:
        return estimated
    recounted_names = {names[value] for value in rare_values}
    exact = zip(recounted.column(0).to_pylist(), recounted.column(1).to_pylist(), strict=True)
    values = [value_count for value_count in estimated.values if value_count[0] not in recounted_names]
    values += [(names.get(value, value), number) for value, number in exact]
    return replace(estimated, values=tuple(_sort_value_counts(values)))


def _build_values_condition(column: Column, values: Sequence[Any]) -> syntax_tree.Expr:
    """Build the condition that a column has one of some values; None stands for no value."""
    column_ref = build_column_ref(column.name)
    literals = tuple(syntax_tree.Literal(value) for value in values if value is not None)
    tests: list[syntax_tree.Expr] = []
    if literals:
        tests.append(syntax_tree.InPredicate(column_ref, literals))
    if None in values:
        tests.append(syntax_tree.NullPredicate(column_ref))
    if len(tests) == 1:
        return tests[0]
    return syntax_tree.Disjunction(tuple(tests))


def _build_value_counts(
    column: Column, pairs: Sequence[tuple[object, int]], search_text: str, *, has_more: bool
) -> _ValueCounts:
    """Write values as in an address. `has_more`: there are more lists than were counted."""
    texts: list[tuple[str | None, int]] = []
    for value, count in pairs:
        if value is None:
            texts.append((None, count))
        elif column.type.is_boolean:
            texts.append((str(value).lower(), count))
        else:
            texts.append((str(value), count))
    if _has_list_values(column):
        list_item_count = _count_list_items(texts, search_text)
        return _ValueCounts(tuple(list_item_count), is_exact=not has_more, has_more=has_more)
    return _ValueCounts(tuple(texts), is_exact=True)


def _fetch_few_rows_and_count_values(
    search: TableSearch, columns: Sequence[Column], runner: QueryRunner
) -> dict[str, list[tuple[Any, int]]]:
    """Fetch the rows and count the values of all columns in them, if the rows are few.

    Return nothing if they are many, or if no condition narrows them.
    """
    where = search.build_condition()
    if where is None or len(columns) < 2:
        return {}
    items = tuple(syntax_tree.SelectItem(build_column_ref(column.name)) for column in columns)
    top = syntax_tree.Literal(MAX_FETCHED_ROWS + 1)
    rows_query = syntax_tree.Query(syntax_tree.Select(items, search.build_from_item(), where=where, top=top))
    try:
        if _has_more_rows_by_estimate(search, where, runner, 2 * MAX_FETCHED_ROWS):
            return {}
        row_count = runner.fetch_number(search.build_count_query(), timeout_seconds=COUNT_TIMEOUT_SECONDS)
        if row_count > MAX_FETCHED_ROWS:
            return {}
        rows = runner.fetch_table(rows_query, timeout_seconds=COUNT_TIMEOUT_SECONDS)
    except TimeLimitError:
        return {}
    counts_by_column: dict[str, list[tuple[Any, int]]] = {}
    for at, column in enumerate(columns):
        counts = pc.value_counts(rows.column(at).combine_chunks())
        pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
        counts_by_column[column.name] = _sort_value_counts(pairs)
    return counts_by_column


def _count_list_items(pairs: Sequence[tuple[str | None, int]], search_text: str) -> list[tuple[str | None, int]]:
    """Split lists into items and count these; an item that occurs twice in a row counts once."""
    item_counts: dict[str | None, int] = {}
    for value, count in pairs:
        items: set[str | None] = {None}
        if value is not None:
            items = {list_item.strip() for list_item in value.split("#") if list_item.strip()}
        for item in items:
            if item is None or search_text.casefold() in item.casefold():
                item_counts[item] = item_counts.get(item, 0) + count
    return sorted(item_counts.items(), key=lambda pair: (-pair[1], pair[0] or ""))


def write_choice_condition(values: Sequence[str | None]) -> str:
    """Write chosen values as a condition of an address; values with commas are quoted.

    Parameters
    ----------
    values
        The values; None for rows without a value.

    Returns
    -------
    condition
        The condition.
    """
    return ",".join(map(quote_field_value, values))


def _parse_choices(value: str) -> list[str]:
    try:
        return [word.text.casefold() for word in parse_field_values(value)]
    except ValueError:
        return []


def _build_count_query(
    search: TableSearch, column: Column, condition: syntax_tree.Expr | None, max_values: int
) -> syntax_tree.Query:
    column_ref = build_column_ref(column.name)
    value_item = syntax_tree.SelectItem(column_ref, syntax_tree.Ident("v"))
    select = syntax_tree.Select(
        (value_item, COUNT_ITEM),
        search.build_from_item(),
        where=condition,
        group_by=(column_ref,),
        top=syntax_tree.Literal(max_values),
    )
    by_count = syntax_tree.OrderItem(syntax_tree.Literal(2), descending=True)
    by_value = syntax_tree.OrderItem(syntax_tree.Literal(1))
    return syntax_tree.Query(select, order_by=(by_count, by_value))

"""Count the rows of tables by year, and by the values of some columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.adql import syntax_tree
from hven.model.table import find_begin_and_end_time_columns
from hven.portal.api.column_values import COUNT_ITEM, build_column_ref, count_facet, find_facet_columns
from hven.portal.api.plots import find_time_range
from hven.portal.api.table_rows import TableSearch

if TYPE_CHECKING:
    from hven.model.table import Column, Table
    from hven.portal.api.column_values import Facet
    from hven.portal.api.table_rows import QueryRunner

MAX_DAYS = 200_000  # distinct days
QUERY_TIMEOUT_SECONDS = 15.0
MAX_SHOWN_VALUES = 20  # of a column
SUMMARY_COLUMNS = (
    "instrument_name",
    "instrument",
    "processing_level",
    "calib_level",
    "target_name",
    "dataproduct_type",
    "measurement_type",
    "facility_name",
    "instrument_host_name",
    "obs_collection",
    "target_class",
    "filter",
    "telescope",
)
UNIX_EPOCH_JULIAN_DAY = 2_440_588  # Julian day number of 1970-01-01


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodCount:
    """Rows of one year, or month (``2004-03``), or day."""

    name: str
    row_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSummary:
    """The summary of one table as one reader sees it; `begin` and `end` are ISO days."""

    table: Table
    row_count: int | None
    time_column: Column | None = None
    begin: str | None = None
    end: str | None = None
    periods: tuple[PeriodCount, ...] = ()
    choices: tuple[Facet, ...] = ()


def summarize_table(table: Table, runner: QueryRunner, row_count: int | None) -> TableSummary:
    """Count the rows of a table by time and by the values of some columns."""
    search = TableSearch(table=table)
    begin, end = find_begin_and_end_time_columns(table)
    time_range = None if begin is None else find_time_range(table, runner)
    periods = _count_rows_by_period(search, begin, runner) if begin is not None else ()
    choices = []
    for column in choose_summary_columns(table, runner):
        column_facet = count_facet(search, column, runner, shown_count=MAX_SHOWN_VALUES)
        if column_facet is not None and column_facet.choices:
            choices.append(column_facet)
    return TableSummary(
        table=table,
        row_count=row_count,
        time_column=begin or end,
        begin=time_range and time_range[0],
        end=time_range and time_range[1],
        periods=periods,
        choices=tuple(choices),
    )


def choose_summary_columns(table: Table, runner: QueryRunner) -> tuple[Column, ...]:
    """Choose the columns by which rows are counted: well-known names first, then others with few values, by rank."""
    facet_columns = {column.name: column for column in find_facet_columns(table, runner)}
    known_columns = []
    for name in SUMMARY_COLUMNS:
        for column in table.columns:
            is_known = column.name.lower() == name and column.name in facet_columns
            if is_known and not column.hidden:
                known_columns.append(column)
    word_columns = [column for column in facet_columns.values() if column.type.is_string or column.enum]
    other_columns = [column for column in word_columns if column not in known_columns]
    return tuple([*known_columns, *other_columns][:6])


def _count_rows_by_period(search: TableSearch, column: Column, runner: QueryRunner) -> tuple[PeriodCount, ...]:
    """Count rows by day, and sum the days by year, or by month if there are at most two years."""
    value: syntax_tree.Expr = build_column_ref(column.name)
    if column.type.is_timestamp:
        value = syntax_tree.FunctionCall("IVO_TO_JD", (value,))
    else:
        value = syntax_tree.CastExpression(value, "DOUBLE PRECISION")
    day_offset = syntax_tree.Literal(0.5 + (column.epoch or 0.0))
    day = syntax_tree.FunctionCall("FLOOR", (syntax_tree.BinaryOperation("+", value, day_offset),))
    items = (syntax_tree.SelectItem(day, syntax_tree.Ident("d")), COUNT_ITEM)
    top = syntax_tree.Literal(MAX_DAYS)
    query = syntax_tree.Query(syntax_tree.Select(items, search.build_from_item(), group_by=(day,), top=top))
    day_counts = runner.fetch_table(query, timeout_seconds=QUERY_TIMEOUT_SECONDS)
    days = np.asarray(day_counts.column(0).cast("float64").to_numpy(), np.float64)
    counts = np.asarray(day_counts.column(1).to_numpy(), np.int64)
    is_valid = np.isfinite(days) & (days > 1_721_425) & (days < 5_373_485)  # years 1 to 9999
    if not is_valid.any():
        return ()
    dates = (days[is_valid].astype(np.int64) - UNIX_EPOCH_JULIAN_DAY).astype("datetime64[D]")
    is_monthly = np.unique(dates.astype("datetime64[Y]")).size <= 2
    periods = dates.astype("datetime64[M]" if is_monthly else "datetime64[Y]")
    names, period_numbers = np.unique(periods, return_inverse=True)
    sums = np.zeros(names.size, np.int64)
    np.add.at(sums, period_numbers, counts[is_valid])
    named_sums = zip(names, sums, strict=True)
    return tuple(PeriodCount(name=str(name), row_count=int(rows)) for name, rows in named_sums)

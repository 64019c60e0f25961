"""Find the range in time of the rows of tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hven.model.table import find_begin_and_end_time_columns
from hven.portal._explore.plots import find_value_range
from hven.portal._explore.search import TableSearch

if TYPE_CHECKING:
    from hven.model.table import Table
    from hven.portal._explore.page_queries import QueryRunner

UNIX_EPOCH_JULIAN_DATE = 2_440_587.5  # Julian date of 1970-01-01


def find_time_range(table: Table, runner: QueryRunner) -> tuple[str, str] | None:
    """Return the first and the last day of a table's rows; None if it has no times.

    Parameters
    ----------
    table
        A table.
    runner
        Runs queries for the reader.
    """
    begin, end = find_begin_and_end_time_columns(table)
    if begin is None or end is None:
        return None
    search = TableSearch(table=table)
    julian_dates = [  # of both columns: some rows may have only a begin or only an end
        value + (column.epoch or 0.0)
        for column in (begin, end)
        for value in find_value_range(search, column, runner) or ()
    ]
    if not julian_dates:
        return None
    low = format_julian_date_as_day(min(julian_dates))
    high = format_julian_date_as_day(max(julian_dates))
    if low is None or high is None:
        return None
    return (low, high)


def format_julian_date_as_day(julian_date: float) -> str | None:
    """Format the day of a Julian date; None beyond the years 1 to 9999.

    Parameters
    ----------
    julian_date
        A Julian date, in days.

    Returns
    -------
    day
        The day as in ISO 8601.
    """
    try:
        since_epoch = timedelta(days=julian_date - UNIX_EPOCH_JULIAN_DATE)
        return (datetime(1970, 1, 1, tzinfo=UTC) + since_epoch).strftime("%Y-%m-%d").rjust(10, "0")
    except (OverflowError, ValueError):
        return None

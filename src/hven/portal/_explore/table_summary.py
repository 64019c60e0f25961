"""Summarise tables: the range in time, a small sky map, rows by year, and rows by the values of some columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from hven.adql import syntax_tree
from hven.model.table import find_begin_and_end_time_columns
from hven.portal._explore import facets
from hven.portal._explore.plots import find_value_range
from hven.portal._explore.search import COUNT_ITEM, TableSearch, build_column_ref

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.table import Column, Table
    from hven.portal._explore.facets import Facet
    from hven.portal._explore.page_queries import QueryRunner

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
MAX_SKY_CELLS = 800  # of the small sky map


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
    if begin is not None:
        time_range = find_time_range(table, runner)
    else:
        time_range = None
    periods = _count_rows_by_period(search, begin, runner) if begin is not None else ()
    choices = []
    for column in choose_summary_columns(table, runner):
        column_facet = facets.count_facet(search, column, runner, shown_count=MAX_SHOWN_VALUES)
        if column_facet is not None and column_facet.choices:
            choices.append(column_facet)
    return TableSummary(
        table=table,
        row_count=row_count,
        time_column=begin or end,
        begin=time_range[0] if time_range is not None else None,
        end=time_range[1] if time_range is not None else None,
        periods=periods,
        choices=tuple(choices),
    )


def choose_summary_columns(table: Table, runner: QueryRunner) -> tuple[Column, ...]:
    """Choose the columns by which rows are counted: well-known names first, then others with few values, by rank."""
    facet_columns = {column.name: column for column in facets.find_facet_columns(table, runner)}
    known_columns = []
    for name in SUMMARY_COLUMNS:
        for column in table.columns:
            is_known = column.name.lower() == name and column.name in facet_columns
            if is_known and not column.hidden:
                known_columns.append(column)
    word_columns = [column for column in facet_columns.values() if column.type.is_string or column.enum]
    other_columns = [column for column in word_columns if column not in known_columns]
    return tuple([*known_columns, *other_columns][:6])


def find_time_range(table: Table, runner: QueryRunner) -> tuple[str, str] | None:
    """Return the first and the last day of a table's rows; None if it has no times."""
    begin, end = find_begin_and_end_time_columns(table)
    if begin is None or end is None:
        return None
    search = TableSearch(table=table)
    first = find_value_range(search, begin, runner)
    last = find_value_range(search, end, runner)
    if first is None or last is None:
        return None
    low = _format_day(first[0] + (begin.epoch or 0.0))
    high = _format_day(last[1] + (end.epoch or 0.0))
    if low is None or high is None:
        return None
    return (low, high)


def _format_day(julian_date: float) -> str | None:
    try:
        since_epoch = timedelta(days=julian_date - UNIX_EPOCH_JULIAN_DAY + 0.5)
        return (datetime(1970, 1, 1, tzinfo=UTC) + since_epoch).strftime("%Y-%m-%d").rjust(10, "0")
    except (OverflowError, ValueError):
        return None


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


def draw_moc_svg_path(moc: str) -> str:
    """Draw a MOC (ASCII) on the whole sky, in the Hammer projection.

    Return an SVG path in a box of 5.66 by 2.83 around 0, with east to the left.
    """
    if not moc.strip():
        return ""
    from cdshealpix import nested  # noqa: PLC0415  (slow to load, rarely needed)
    from mocpy import MOC  # noqa: PLC0415  (slow to load, rarely needed)

    ranges = np.asarray(MOC.from_string(moc).to_depth29_ranges, np.int64)
    order = 4
    for order in (4, 3, 2):
        cell_width = 1 << 2 * (29 - order)
        cell_ranges = [np.empty(0, np.int64)]
        for begin, end in ranges.tolist():
            cell_ranges.append(np.arange(begin // cell_width, -(-end // cell_width)))
        cells = np.unique(np.concatenate(cell_ranges))
        if cells.size <= MAX_SKY_CELLS:
            break
    if not cells.size:
        return ""
    lon, lat = nested.vertices(cells.astype(np.uint64), np.uint8(order))
    paths = []
    for longitudes, latitudes in zip(np.asarray(lon.deg), np.asarray(lat.deg), strict=True):
        paths += _draw_sky_cell(longitudes, latitudes)
    return "".join(paths)


def _draw_sky_cell(longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
    """Draw one cell; a cell on the edge of the map is drawn at both sides."""
    wrapped = (longitudes + 180) % 360 - 180
    if np.ptp(wrapped) <= 180:
        return [_write_projected_path(wrapped, latitudes)]
    east = np.where(wrapped < 0, wrapped + 360, wrapped)
    return [
        _write_projected_path(np.clip(east, -180, 180), latitudes),
        _write_projected_path(np.clip(east - 360, -180, 180), latitudes),
    ]


def _write_projected_path(longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> str:
    half_longitude = np.radians(-longitudes) / 2
    latitude = np.radians(latitudes)
    root = np.sqrt(1 + np.cos(latitude) * np.cos(half_longitude))
    x = 2 * np.sqrt(2) * np.cos(latitude) * np.sin(half_longitude) / root
    y = -np.sqrt(2) * np.sin(latitude) / root
    return "M" + "L".join(f"{a:.2f} {b:.2f}" for a, b in zip(x, y, strict=True)) + "z"

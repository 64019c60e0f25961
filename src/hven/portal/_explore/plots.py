"""Data of plots and maps under the conditions of a search: histograms, points, or densities of many points."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.adql import syntax_tree
from hven.model.errors import UserError, format_message
from hven.portal._explore.row_pages import format_keys
from hven.portal._explore.search import COUNT_ITEM, build_column_ref

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import pyarrow as pa

    from hven.model.table import Column, Table
    from hven.portal._explore.number_formatting import UnitScale
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._explore.search import TableSearch

BIN_COUNT = 60
MAX_ERROR_BARS = 3_000  # with more points, error bars cover each other
MAX_POINTS = 100_000  # that are drawn one by one
DENSITY_CELLS = 256  # along each side of a density
QUERY_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Rows of `column` by value: `counts` of bins of equal width from `low` to `high`; with `is_time`, in Julian dates.

    `missing_count` rows have no value. With `scale`, the bins are of converted values.
    """

    column: Column
    low: float
    high: float
    counts: tuple[int, ...]
    missing_count: int
    is_time: bool = False
    scale: UnitScale | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotPoints:
    """Values of some columns, row by row, with the `keys` of the rows; `has_more`: there are further rows.

    `errors` has the error columns of some of them, with their values.
    """

    columns: tuple[Column, ...]
    values: pa.Table
    keys: tuple[str, ...]
    has_more: bool
    errors: Mapping[str, tuple[Column, pa.ChunkedArray]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DensityGrid:
    """Rows by two values: `counts[y][x]` over the box ``x_low..x_high``, ``y_low..y_high``; shape (SIDE, SIDE).

    `scales` are as in `Histogram`.
    """

    x: Column
    y: Column
    box: tuple[float, float, float, float]
    counts: npt.NDArray[np.int64]
    scales: tuple[UnitScale | None, UnitScale | None] = (None, None)


def is_plottable(column: Column) -> bool:
    """Return whether a column has numbers or times.

    Parameters
    ----------
    column
        A column of a table or of a result.
    """
    kind = column.type
    return (kind.is_numeric or kind.is_timestamp) and not kind.is_array and not column.hidden


def is_plotted_as_julian_date(column: Column) -> bool:
    """Return whether the values of a column are plotted as Julian dates.

    Parameters
    ----------
    column
        A column that `is_plottable`.
    """
    return column.type.is_timestamp or column.epoch is not None


def find_value_range(search: TableSearch, column: Column, runner: QueryRunner) -> tuple[float, float] | None:
    """Return the smallest and the largest finite value of a column in a search; None if there are no values.

    Without conditions, the published statistics have them, unless a policy hides rows from this reader.

    Parameters
    ----------
    search
        The search.
    column
        A column of numbers or times.
    runner
        Runs queries for the reader.

    Returns
    -------
    value_range
        The values in the stored unit, timestamps as Julian dates.
    """
    if search.build_condition() is None and not runner.has_hidden_rows(search.table):
        published_table = runner.find_table_with_visible_counts(search.table)
        statistics = published_table.statistics.get(column.name, {})
        low = _to_number(statistics.get("minimum"))
        high = _to_number(statistics.get("maximum"))
        if low is not None and high is not None:
            return low, high
    column_ref = build_column_ref(column.name)
    items = []
    for name in ("MIN", "MAX"):
        extreme = syntax_tree.FunctionCall(name, (column_ref,))
        items.append(syntax_tree.SelectItem(extreme, syntax_tree.Ident(name.lower())))
    condition = search.build_condition()
    if column.type.is_numeric and not column.type.is_integer:
        limits = (syntax_tree.Literal(-sys.float_info.max), syntax_tree.Literal(sys.float_info.max))
        is_finite = syntax_tree.BetweenPredicate(column_ref, *limits)
        condition = syntax_tree.join_conditions_with_and(condition, is_finite)
    select = syntax_tree.Select(tuple(items), search.build_from_item(), where=condition)
    extremes = runner.fetch_table(syntax_tree.Query(select), timeout_seconds=QUERY_TIMEOUT_SECONDS)
    low, high = (_to_number(extremes.column(number)[0].as_py()) for number in (0, 1))
    if low is None or high is None:
        return None
    return (low, high)


def build_histogram(
    search: TableSearch,
    column: Column,
    runner: QueryRunner,
    *,
    bin_count: int = BIN_COUNT,
    scale: UnitScale | None = None,
) -> Histogram | None:
    """Count the rows of a search by the value of a column; None if there are no values.

    Parameters
    ----------
    search
        The search.
    column
        A column of numbers or times.
    runner
        Runs queries for the reader.
    bin_count
        Number of bins.
    scale
        The scale of the bins. With None, and if the converted values are not finite, bins are of the stored values.

    Returns
    -------
    histogram
        The counts of the bins; None if there are no values.

    Raises
    ------
    UserError
        The column has no numbers and no times.
    """
    _check_plottable(column)
    bounds = find_value_range(search, column, runner)
    if bounds is None:
        return None
    scale, (low, high) = _scale_bounds(scale, bounds)
    if scale is None and column.type.is_integer and high - low < bin_count:
        bin_count = int(high - low) + 1
        high = high + 1
    width = (high - low) / bin_count or 1.0
    values = _build_bin_expression(column, low, width, scale)
    items = (syntax_tree.SelectItem(values, syntax_tree.Ident("b")), COUNT_ITEM)
    select = syntax_tree.Select(items, search.build_from_item(), where=search.build_condition(), group_by=(values,))
    bin_counts = runner.fetch_table(syntax_tree.Query(select), timeout_seconds=QUERY_TIMEOUT_SECONDS)
    counts = np.zeros(bin_count, np.int64)
    missing_count = 0
    for bin_number, count in zip(bin_counts.column(0).to_pylist(), bin_counts.column(1).to_pylist(), strict=True):
        if bin_number is None or not math.isfinite(bin_number):
            missing_count += count
        else:
            bin_index = min(max(int(bin_number), 0), bin_count - 1)  # the largest value belongs to the last bin
            counts[bin_index] += count
    return Histogram(
        column=column,
        low=low,
        high=low + width * bin_count,
        counts=tuple(counts.tolist()),
        missing_count=missing_count,
        is_time=is_plotted_as_julian_date(column),
        scale=scale,
    )


def _scale_bounds(scale: UnitScale | None, bounds: tuple[float, float]) -> tuple[UnitScale | None, tuple[float, float]]:
    """Return a scale and converted bounds; None and the bounds if the scale changes nothing or is not finite there."""
    if scale is None:
        return None, bounds
    is_identity = scale.factor == 1.0 and not scale.is_inverse
    if is_identity or (scale.is_inverse and bounds[0] <= 0):
        return None, bounds
    low, high = sorted(map(scale.convert, bounds))
    if math.isfinite(high - low):
        return (scale, (low, high))
    return (None, bounds)


def fetch_plot_points(
    search: TableSearch, columns: Sequence[Column], runner: QueryRunner, *, row_limit: int = MAX_POINTS
) -> PlotPoints:
    """Fetch the values of columns row by row, with the keys of the rows."""
    for column in columns:
        if not column.type.is_string and not column.type.is_geometry:
            _check_plottable(column)
    error_columns = find_error_columns(columns, search.table)
    column_names = [column.name for column in columns]
    error_names = [error_column.name for error_column in error_columns.values()]
    names = list(dict.fromkeys([*column_names, *error_names, *search.table.primary]))
    query = search.copy_with(order=()).build_query(columns=names, limit=row_limit + 1)
    rows = runner.fetch_table(
        query,
        row_limit=row_limit + 1,
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
    values = rows.slice(0, row_limit)
    errors = {}
    if values.num_rows <= MAX_ERROR_BARS:
        errors = {name: (column, values.column(column.name)) for name, column in error_columns.items()}
    return PlotPoints(
        columns=tuple(columns),
        values=values.select(column_names),
        keys=format_keys(values, search.table.primary),
        has_more=rows.num_rows > row_limit,
        errors=errors,
    )


def find_error_columns(columns: Sequence[Column], table: Table) -> dict[str, Column]:
    """Find the columns with the errors of the columns of both axes.

    Parameters
    ----------
    columns
        The columns of a plot, those of the axes first.
    table
        The table, or a result as a table.

    Returns
    -------
    error_columns
        Each column by the name of the one whose errors it has.
    """
    found_columns = {column.name: find_error_column(column, table) for column in columns[:2]}
    return {name: error_column for name, error_column in found_columns.items() if error_column is not None}


def find_error_column(column: Column, table: Table) -> Column | None:
    """Find the column with the errors of a column.

    It is the one that a group names, or the one with the UCD ``stat.error;..`` of the column. If several columns have
    that UCD, the name decides: ``e_mass``, ``mass_err``, ``mass_error``. The unit must be the same.

    Parameters
    ----------
    column
        A column of the table.
    table
        The table, or a result as a table.

    Returns
    -------
    error_column
        None if there is none.
    """
    candidates = {}
    for candidate in table.columns:
        if is_plottable(candidate) and (candidate.unit or "") == (column.unit or ""):
            candidates[candidate.name] = candidate
    for group in table.groups:
        if group.roles.get("value") == column.name and group.roles.get("error") in candidates:
            return candidates[group.roles["error"]]
    base = _strip_main_ucd(column)
    if not base or base.startswith("stat.error") or column.type.is_timestamp:
        return None
    ucd_matches = [candidate for candidate in candidates.values() if _strip_main_ucd(candidate) == f"stat.error;{base}"]
    same_base = [candidate for candidate in table.columns if _strip_main_ucd(candidate) == base]
    if len(ucd_matches) == len(same_base) == 1:
        return ucd_matches[0]
    name = column.name.lower()
    error_names = {f"e_{name}", f"err_{name}", f"{name}_err", f"{name}_error", f"{name}_e", f"error_{name}"}
    return next((candidate for candidate in ucd_matches if candidate.name.lower() in error_names), None)


def _strip_main_ucd(column: Column) -> str:
    return ";".join(word for word in (column.ucd or "").lower().split(";") if word != "meta.main")


def build_density_grid(
    search: TableSearch,
    x: Column,
    y: Column,
    runner: QueryRunner,
    *,
    cell_count: int = DENSITY_CELLS,
    scales: tuple[UnitScale | None, UnitScale | None] = (None, None),
) -> DensityGrid | None:
    """Count the rows of a search by two values; None if there are none. `scales` are as in `build_histogram`."""
    for column in (x, y):
        _check_plottable(column)
    x_range = find_value_range(search, x, runner)
    y_range = find_value_range(search, y, runner)
    if x_range is None or y_range is None:
        return None
    x_scale, x_range = _scale_bounds(scales[0], x_range)
    y_scale, y_range = _scale_bounds(scales[1], y_range)
    bins = []
    for column, (low, high), scale in ((x, x_range, x_scale), (y, y_range, y_scale)):
        cell_width = ((high - low) or 1.0) / cell_count
        bins.append(_build_bin_expression(column, low, cell_width, scale))
    x_item = syntax_tree.SelectItem(bins[0], syntax_tree.Ident("x"))
    y_item = syntax_tree.SelectItem(bins[1], syntax_tree.Ident("y"))
    select = syntax_tree.Select(
        (x_item, y_item, COUNT_ITEM),
        search.build_from_item(),
        where=search.build_condition(),
        group_by=tuple(bins),
    )
    cell_counts = runner.fetch_table(syntax_tree.Query(select), timeout_seconds=QUERY_TIMEOUT_SECONDS)
    counts = np.zeros((cell_count, cell_count), np.int64)
    at_x, at_y, count = (np.asarray(cell_counts.column(number).to_numpy(), np.float64) for number in range(3))
    is_finite = np.isfinite(at_x) & np.isfinite(at_y)
    places = tuple(np.clip(at[is_finite].astype(np.int64), 0, cell_count - 1) for at in (at_y, at_x))
    np.add.at(counts, places, count[is_finite].astype(np.int64))
    return DensityGrid(x=x, y=y, box=(*x_range, *y_range), counts=counts, scales=(x_scale, y_scale))


def _check_plottable(column: Column) -> None:
    if not is_plottable(column):
        message = format_message("the column {name!r} contains neither numbers nor times", column.name)
        raise UserError(message, remedy="choose a column with numbers or times")


def _build_bin_expression(column: Column, low: float, width: float, scale: UnitScale | None = None) -> syntax_tree.Expr:
    """Build the number of the bin of a value."""
    value: syntax_tree.Expr = build_column_ref(column.name)
    if column.type.is_timestamp:
        value = syntax_tree.FunctionCall("IVO_TO_JD", (value,))
    value = syntax_tree.CastExpression(value, "DOUBLE PRECISION")
    if scale is not None:
        factor = syntax_tree.Literal(float(scale.factor))
        if scale.is_inverse:
            value = syntax_tree.BinaryOperation("/", factor, value)
        else:
            value = syntax_tree.BinaryOperation("*", value, factor)
    shifted = syntax_tree.BinaryOperation("-", value, syntax_tree.Literal(float(low)))
    bin_number = syntax_tree.BinaryOperation("/", shifted, syntax_tree.Literal(float(width)))
    return syntax_tree.FunctionCall("FLOOR", (bin_number,))


def to_plot_value(value: Any) -> Any:
    """Convert a value for plots: to a number or None, times to Julian dates; texts stay texts."""
    if isinstance(value, str):
        return value
    return _to_number(value)


def _to_number(value: Any) -> float | None:
    """Convert a value to a finite number, times to Julian dates; None if it is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).timestamp() / 86_400 + 2_440_587.5
    if value is None:
        number = math.nan
    else:
        number = float(value)
    if math.isfinite(number):
        return number
    return None

"""What plots and maps draw: histograms, points, densities where points would be too many.

Each under the conditions of a search.
"""

from __future__ import annotations

import math
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
MAX_ERROR_BARS = 3_000  # points that errors are drawn of: more of them cover each other
MAX_POINTS = 100_000  # drawn one by one at most
DENSITY_CELLS = 256  # cells along each side of a density
QUERY_TIMEOUT_SECONDS = 10.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Rows by value: `counts` of bins of equal width from `low` to `high`; `is_time`: these are Julian dates.

    `scale`: what was counted is not the value, but what it is told in.
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
    """Values of some columns, row by row; `has_more`: these are not all. `errors`.

    Of some of them the column of their errors, with its values.
    """

    columns: tuple[Column, ...]
    values: pa.Table
    keys: tuple[str, ...]
    has_more: bool
    errors: Mapping[str, tuple[Column, pa.ChunkedArray]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DensityGrid:
    """Rows by two values: `counts[y][x]` over the box ``x_low..x_high``, ``y_low..y_high``; shape (SIDE, SIDE).

    `scales`: of `Histogram`.
    """

    x: Column
    y: Column
    box: tuple[float, float, float, float]
    counts: npt.NDArray[np.int64]
    scales: tuple[UnitScale | None, UnitScale | None] = (None, None)


def is_plottable(column: Column) -> bool:
    """Return whether a column has numbers, or times, that can be drawn."""
    kind = column.type
    return (kind.is_numeric or kind.is_timestamp) and not kind.is_array and not column.hidden


def is_time(column: Column) -> bool:
    """Return whether a column's values are drawn as Julian dates."""
    return column.type.is_timestamp or column.epoch is not None


def find_value_range(search: TableSearch, column: Column, runner: QueryRunner) -> tuple[float, float] | None:
    """Return the smallest and largest value of a column among the rows of a search; None: there is none.

    Without conditions they are known already, unless a policy hides rows from this reader.
    """
    if search.build_condition() is None and not runner.has_hidden_rows(search.table):
        published_table = runner.find_published_table(search.table)
        statistics = published_table.statistics.get(column.name, {})
        low = _to_number(statistics.get("minimum"))
        high = _to_number(statistics.get("maximum"))
        if low is not None and high is not None:
            return low, high
    items = tuple(
        syntax_tree.SelectItem(
            syntax_tree.FunctionCall(name, (build_column_ref(column.name),)), syntax_tree.Ident(name.lower())
        )
        for name in ("MIN", "MAX")
    )
    extremes = runner.fetch_table(
        syntax_tree.Query(syntax_tree.Select(items, search.build_source(), where=search.build_condition())),
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
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
    """Count the rows of a search by the value of a column; None: there is no value.

    Parameters
    ----------
    scale
        What the values are told in: bins are even in it. None: as they are, and where it leads beyond all numbers.

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
    bin_counts = runner.fetch_table(
        syntax_tree.Query(
            syntax_tree.Select(items, search.build_source(), where=search.build_condition(), group_by=(values,))
        ),
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
    counts = np.zeros(bin_count, np.int64)
    missing_count = 0
    for bin_number, count in zip(bin_counts.column(0).to_pylist(), bin_counts.column(1).to_pylist(), strict=True):
        if bin_number is None or not math.isfinite(bin_number):
            missing_count += count
        else:
            counts[min(max(int(bin_number), 0), bin_count - 1)] += count  # the largest value belongs to the last bin
    return Histogram(
        column=column,
        low=low,
        high=low + width * bin_count,
        counts=tuple(counts.tolist()),
        missing_count=missing_count,
        is_time=is_time(column),
        scale=scale,
    )


def _scale_bounds(scale: UnitScale | None, bounds: tuple[float, float]) -> tuple[UnitScale | None, tuple[float, float]]:
    """Return the scale that values between two bounds are told in, and these in it; None.

    It changes nothing, or cannot tell them all.
    """
    if scale is None or (scale.factor == 1.0 and not scale.is_inverse) or (scale.is_inverse and bounds[0] <= 0):
        return None, bounds
    low, high = sorted(map(scale.convert, bounds))
    if math.isfinite(high - low):
        return (scale, (low, high))
    return (None, bounds)


def fetch_points(
    search: TableSearch, columns: Sequence[Column], runner: QueryRunner, *, row_limit: int = MAX_POINTS
) -> PlotPoints:
    """Return the values of columns row by row, with the rows' keys."""
    for column in columns:
        if not column.type.is_string and not column.type.is_geometry:
            _check_plottable(column)
    errors = {
        column.name: error for column in columns[:2] if (error := find_error_column(column, search.table)) is not None
    }
    names = list(
        dict.fromkeys(
            [
                *(column.name for column in columns),
                *(error_column.name for error_column in errors.values()),
                *search.table.primary,
            ]
        )
    )
    query = search.copy_with(order=()).build_query(columns=names, limit=row_limit + 1)
    rows = runner.fetch_table(
        query,
        row_limit=row_limit + 1,
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
    values = rows.slice(0, row_limit)
    return PlotPoints(
        columns=tuple(columns),
        values=values.select([column.name for column in columns]),
        keys=format_keys(values, search.table.primary),
        has_more=rows.num_rows > row_limit,
        errors={name: (error, values.column(error.name)) for name, error in errors.items()}
        if values.num_rows <= MAX_ERROR_BARS
        else {},
    )


def find_error_column(column: Column, table: Table) -> Column | None:
    """Find the column of a column's errors.

    The one that its group names, or of UCD ``stat.error;..`` with the same words behind.

    Where several columns have those words, the name decides: ``e_mass``, ``mass_err``, ``mass_error``. An error in
    another unit is none.
    """
    candidates = {
        candidate.name: candidate
        for candidate in table.columns
        if is_plottable(candidate) and (candidate.unit or "") == (column.unit or "")
    }
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


def build_density(
    search: TableSearch,
    x: Column,
    y: Column,
    runner: QueryRunner,
    *,
    cell_count: int = DENSITY_CELLS,
    scales: tuple[UnitScale | None, UnitScale | None] = (None, None),
) -> DensityGrid | None:
    """Count the rows of a search by two values; None: there are none. `scales`: of `build_histogram`."""
    for column in (x, y):
        _check_plottable(column)
    x_range = find_value_range(search, x, runner)
    y_range = find_value_range(search, y, runner)
    if x_range is None or y_range is None:
        return None
    (x_scale, x_range), (y_scale, y_range) = _scale_bounds(scales[0], x_range), _scale_bounds(scales[1], y_range)
    bins = [
        _build_bin_expression(column, low, ((high - low) or 1.0) / cell_count, scale)
        for column, (low, high), scale in ((x, x_range, x_scale), (y, y_range, y_scale))
    ]
    items = (
        *(
            syntax_tree.SelectItem(bin_expression, syntax_tree.Ident(name))
            for bin_expression, name in zip(bins, "xy", strict=True)
        ),
        COUNT_ITEM,
    )
    cell_counts = runner.fetch_table(
        syntax_tree.Query(
            syntax_tree.Select(items, search.build_source(), where=search.build_condition(), group_by=tuple(bins))
        ),
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
    counts = np.zeros((cell_count, cell_count), np.int64)
    at_x, at_y, count = (np.asarray(cell_counts.column(number).to_numpy(), np.float64) for number in range(3))
    is_finite = np.isfinite(at_x) & np.isfinite(at_y)
    places = tuple(np.clip(at[is_finite].astype(np.int64), 0, cell_count - 1) for at in (at_y, at_x))
    np.add.at(counts, places, count[is_finite].astype(np.int64))
    return DensityGrid(x=x, y=y, box=(*x_range, *y_range), counts=counts, scales=(x_scale, y_scale))


def _check_plottable(column: Column) -> None:
    if not is_plottable(column):
        raise UserError(
            format_message("{name} has no numbers and no times", column.name), remedy="choose a column of numbers"
        )


def _build_bin_expression(column: Column, low: float, width: float, scale: UnitScale | None = None) -> syntax_tree.Expr:
    """Write the number of the bin that a value falls into."""
    value: syntax_tree.Expr = build_column_ref(column.name)
    if column.type.is_timestamp:
        value = syntax_tree.FunctionCall("IVO_TO_JD", (value,))
    value = syntax_tree.Cast(value, "DOUBLE PRECISION")
    if scale is not None:
        factor = syntax_tree.Literal(float(scale.factor))
        if scale.is_inverse:
            value = syntax_tree.BinaryOperation("/", factor, value)
        else:
            value = syntax_tree.BinaryOperation("*", value, factor)
    shifted = syntax_tree.BinaryOperation("-", value, syntax_tree.Literal(float(low)))
    return syntax_tree.FunctionCall(
        "FLOOR", (syntax_tree.BinaryOperation("/", shifted, syntax_tree.Literal(float(width))),)
    )


def to_plot_value(value: Any) -> Any:
    """Return a value as plots take it: a number or None, times as Julian dates; texts stay."""
    if isinstance(value, str):
        return value
    return _to_number(value)


def _to_number(value: Any) -> float | None:
    """Return a value as a number: times as Julian dates."""
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
    return number if math.isfinite(number) else None

"""Choose the bins of histograms: round edges, days or months, each with the search condition of its rows.

Values are counted in the bins batch by batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import HvenError
from hven.portal.api.column_values import (
    ConditionValue,
    parse_number_and_unit,
    parse_time_range,
    split_condition_range,
)
from hven.portal.api.plots import is_plotted_as_julian_date

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.model.table import Column

MAX_BINS = 40  # of a column
MAX_TIME_BINS = 90  # of time, which is drawn wider
TAIL_SHARE = 0.005  # share of values at either end that may be outliers, which the outermost bin counts
OUTLIER_FACTOR = 1.4  # a range that is longer by this factor than that of the other values has outliers
MIN_LOGARITHMIC_RATIO = 1_000.0  # ratio of the ends of most values, from which bins are logarithmic
MAX_ROUNDED_DECIMALS = 6  # decimals that are tried to find out whether all values are rounded
MAX_STEPS_PER_BIN = 1_000  # with more rounding steps in a bin, values count as not rounded
UNIX_EPOCH_JULIAN_DATE = 2_440_587.5  # Julian date of 1970-01-01
DAY_SECONDS = 86_400.0
JULIAN_TOLERANCE_DAYS = 1e-9  # rounding error of Julian dates
CLOCK_STEPS_SECONDS = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10_800,
    21_600,
    43_200,
    86_400,
)
CALENDAR_STEPS_MONTHS = (1, 2, 3, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnBins:
    """The bins of a column's values; times are days since 1970.

    Attributes
    ----------
    edges
        The edges in increasing order, one more than there are bins.
    lows, highs
        The condition of each bin: ``low..high`` finds its rows. An empty end: the bin has all values beyond, too.
    is_even
        Whether all bins have the same width.
    bin_by_day
        For bins of months and years: the number of the bin (from 1) of each day from the first edge on, after a 0.
    shift
        The amount added to values before they are counted: half a rounding step, so that no value falls on an edge.
    """

    column: Column
    edges: npt.NDArray[np.float64]
    lows: tuple[str, ...]
    highs: tuple[str, ...]
    is_even: bool = True
    shift: float = 0.0
    bin_by_day: npt.NDArray[np.intp] | None = None

    @property
    def is_time(self) -> bool:
        """Whether the values are days since 1970."""
        return is_plotted_as_julian_date(self.column)

    def __len__(self) -> int:
        return len(self.lows)

    def find_bin_numbers(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
        """Return the bin of each value, from 1; 0 for NaN.

        Values beyond the ends are in the outermost bins.
        """
        if self.bin_by_day is not None:
            positions = values - self.edges[0]
            day_numbers = _to_bin_numbers(positions, len(self.bin_by_day) - 1.5)
            bin_numbers: npt.NDArray[np.intp] = self.bin_by_day[day_numbers]
        elif self.is_even:
            positions = values + (self.shift - self.edges[0])
            positions *= 1.0 / (self.edges[1] - self.edges[0])
            bin_numbers = _to_bin_numbers(positions, len(self) - 0.5)
        else:
            bin_numbers = np.searchsorted(self.edges[1:-1], values + self.shift, side="right") + 1
            bin_numbers[np.isnan(values)] = 0
        return bin_numbers

    def count_values(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Count values by bin; the first number counts NaN."""
        bin_numbers = self.find_bin_numbers(values)
        minlength = len(self) + 1
        counts: npt.NDArray[np.int64] = np.bincount(bin_numbers, minlength=minlength)
        return counts

    def find_selected_bin_range(self, conditions: Sequence[str]) -> tuple[float, float] | None:
        """Return the part of the bins that a condition selects, from 0 to 1; None if it is no range."""
        if len(conditions) != 1:
            return None
        text = conditions[0]
        try:
            low, high = split_condition_range(ConditionValue(text.strip(), 0), "=", text)
            if low is None and high is None:
                return None
            if self.is_time:
                low_value, high_value = self._parse_date_range(low, high, text)
            else:
                low_value, high_value = _parse_number_range(low, high, text)
        except (HvenError, ValueError, OverflowError):
            return None
        low_share = 0.0
        if low_value is not None:
            low_share = self.compute_bin_axis_position(low_value)
        high_share = 1.0
        if high_value is not None:
            high_share = self.compute_bin_axis_position(high_value)
        band = (low_share, high_share)
        if low_share <= high_share:
            return band
        return None

    def _parse_date_range(
        self, low: ConditionValue | None, high: ConditionValue | None, text: str
    ) -> tuple[float | None, float | None]:
        ends = parse_time_range(low, high, text, is_timestamp_column=False)
        first, last = (None if end is None else float(end.value) - UNIX_EPOCH_JULIAN_DATE for end in ends)
        return first, last

    def compute_bin_axis_position(self, value: float) -> float:
        """Return the position of a value: 0 at the begin of the first bin, 1 at the end of the last."""
        bin_position = np.interp(value, self.edges, np.arange(len(self.edges)))
        return float(bin_position) / len(self)


def _to_bin_numbers(positions: npt.NDArray[np.float64], max_position: float) -> npt.NDArray[np.intp]:
    """Return the bin numbers (from 1) of positions from 0 to `max_position`; 0 for NaN.

    The positions are overwritten: a copy would take as long as the whole function.
    """
    np.clip(positions, 0.0, max_position, out=positions)  # keeps NaN
    positions += 1.0
    np.fmax(positions, 0.0, out=positions)
    return positions.astype(np.intp)


def _parse_number_range(
    low: ConditionValue | None, high: ConditionValue | None, text: str
) -> tuple[float | None, float | None]:
    parsed = [None if word is None else parse_number_and_unit(word, text) for word in (low, high)]
    if any(parsed_number is not None and parsed_number[1] for parsed_number in parsed):
        return None, None  # numbers in another unit
    first, last = (None if parsed_number is None else float(parsed_number[0]) for parsed_number in parsed)
    return first, last


def to_float_values(array: pa.Array, column: Column) -> npt.NDArray[np.float64]:
    """Return values as numbers, times as days since 1970; NaN for null."""
    if pa.types.is_timestamp(array.type):
        instants = array.cast(pa.timestamp("us")).cast(pa.int64())
        microseconds = instants.cast(pa.float64(), safe=False)
        days = pc.divide(microseconds, DAY_SECONDS * 1e6)
        return np.asarray(days.to_numpy(zero_copy_only=False))
    numbers = array.cast(pa.float64(), safe=False)
    values = np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)
    if column.epoch is None:
        return values
    return values + (column.epoch - UNIX_EPOCH_JULIAN_DATE)


def choose_column_bins(
    column: Column,
    values: npt.NDArray[np.float64],
    bounds: tuple[float, float] | None,
    *,
    max_bins: int = MAX_BINS,
) -> ColumnBins | None:
    """Choose bins for a column from a sample of its values.

    Parameters
    ----------
    values
        Values as `to_float_values` returns them.
    bounds
        The smallest and the largest of all values; None if unknown: the sample may lack extremes.

    Returns
    -------
    bins
        None if there are no two different values.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low = float(finite.min())
    high = float(finite.max())
    has_bounds = bounds is not None and all(map(math.isfinite, bounds))
    if bounds is not None and has_bounds:
        low = min(low, bounds[0])
        high = max(high, bounds[1])
    if low >= high or not math.isfinite(high - low):
        return None
    quantiles = [float(quantile) for quantile in np.quantile(finite, [TAIL_SHARE, 1 - TAIL_SHARE])]
    quantile_width = quantiles[1] - quantiles[0]
    min_outlier_distance = (OUTLIER_FACTOR - 1) * quantile_width
    if quantiles[0] - low > min_outlier_distance > 0:
        first = quantiles[0]
    else:
        first = low
    if high - quantiles[1] > min_outlier_distance > 0:
        last = quantiles[1]
    else:
        last = high
    if is_plotted_as_julian_date(column):
        column_bins = _build_time_bins(column, finite, first, last, max_bins)
    elif quantiles[1] > MIN_LOGARITHMIC_RATIO * quantiles[0] > 0:
        column_bins = _build_logarithmic_bins(column, quantiles[0], quantiles[1])
    else:
        column_bins = _build_even_bins(column, finite, first, last, max_bins)
    if column_bins is None or len(column_bins) < 2:
        return None
    return _open_outer_bins(
        column_bins,
        is_low_open=not has_bounds or low < column_bins.edges[0],
        is_high_open=not has_bounds or high > column_bins.edges[-1],
    )


def _open_outer_bins(column_bins: ColumnBins, *, is_low_open: bool, is_high_open: bool) -> ColumnBins:
    """Remove the lower limit of the first bin, or the upper limit of the last one, for values beyond the edges."""
    lows = list(column_bins.lows)
    highs = list(column_bins.highs)
    if is_low_open:
        lows[0] = ""
    if is_high_open:
        highs[-1] = ""
    return replace(column_bins, lows=tuple(lows), highs=tuple(highs))


def _build_even_bins(
    column: Column,
    finite_values: npt.NDArray[np.float64],
    low: float,
    high: float,
    max_bins: int,
) -> ColumnBins | None:
    is_single_precision = column.type.datatype == "float"
    step = _find_rounding_step(finite_values, is_single_precision=is_single_precision)
    width = round_up_bin_width((high - low) / max_bins, step)
    min_width = 8 * np.spacing(max(abs(low), abs(high)))
    if not width or not math.isfinite(width) or width < min_width:
        return None
    if width > MAX_STEPS_PER_BIN * step and not column.type.is_integer:
        step = 0.0
    number = math.floor(low / width)
    last_number = math.floor((high - number * width) / width * (1 + 1e-12))
    count = max(last_number + 1, 1)
    if not step and count > 1 and (number + count - 1) * width >= high:
        count -= 1  # the last edge is the largest value
    edges = np.array([_remove_rounding_error((number + at) * width, width) for at in range(count + 1)])
    # 0.1 in single precision is slightly more than 0.1 in double precision: conditions keep half a step away
    half_step = step / 2 if is_single_precision else 0.0
    lows = []
    for edge in edges[:-1]:
        low_value = _remove_rounding_error(edge - half_step, half_step or width)
        lows.append(format_bin_edge(low_value))
    highs = []
    for edge in edges[1:]:
        high_value = _remove_rounding_error(edge - (half_step or step), half_step or step or width)
        highs.append(format_bin_edge(high_value))
    return _build_bins(column, edges, lows, highs, shift=step / 2)


def _build_logarithmic_bins(column: Column, low: float, high: float) -> ColumnBins | None:
    """Build bins of a tenth, a fifth or a half of a decade, or of whole decades."""
    first = math.floor(math.log10(low) * 10)
    last = math.ceil(math.log10(high) * 10)
    decade_step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if (last - first) / step <= MAX_BINS)
    first -= first % decade_step
    edge_places = range(first, last + decade_step, decade_step)
    edges = np.array([float(f"{10 ** (at / 10):.3g}") for at in edge_places])
    if column.type.is_integer:
        edges = np.unique(np.ceil(edges))
    if len(edges) < 3:
        return None
    lows = [format_bin_edge(edge) for edge in edges[:-1]]
    if column.type.is_integer:
        last_values = edges[1:] - 1
    else:
        last_values = edges[1:]
    highs = [format_bin_edge(last_value) for last_value in last_values]
    return _build_bins(column, edges, lows, highs, is_even=False)


def _build_time_bins(
    column: Column,
    finite_values: npt.NDArray[np.float64],
    low: float,
    high: float,
    max_bins: int,
) -> ColumnBins | None:
    """Build bins of seconds to days, of months, or of years."""
    min_seconds = (high - low) * DAY_SECONDS / max_bins
    day_steps_seconds = [round(days * DAY_SECONDS) for days in (2, 5, 10)]
    for step_seconds in (*CLOCK_STEPS_SECONDS, *day_steps_seconds):
        if step_seconds >= min_seconds:
            return _build_clock_bins(column, finite_values, low, high, step_seconds=step_seconds)
    return _build_calendar_bins(column, low, high, max_bins)


def _build_clock_bins(
    column: Column, finite_values: npt.NDArray[np.float64], low: float, high: float, *, step_seconds: int
) -> ColumnBins | None:
    """Build bins of `step_seconds`, seconds to days."""
    number = math.floor(low * DAY_SECONDS / step_seconds + 1e-9)
    count = max(math.floor((high * DAY_SECONDS - number * step_seconds) / step_seconds) + 1, 1)
    edges = np.array([(number + at) * step_seconds / DAY_SECONDS for at in range(count + 1)])
    value_seconds = finite_values * DAY_SECONDS
    is_whole_seconds = bool(np.all(np.abs(value_seconds - np.round(value_seconds)) < 1e-4))
    if is_whole_seconds and step_seconds < DAY_SECONDS:
        step = 1.0 / DAY_SECONDS
    else:
        step = 0.0
    lows, highs = _format_clock_ranges(edges, step, is_days=step_seconds >= DAY_SECONDS)
    shift = JULIAN_TOLERANCE_DAYS
    if step or column.type.is_timestamp:
        shift = step / 2
    return _build_bins(column, edges, lows, highs, shift=shift)


def _build_calendar_bins(column: Column, low: float, high: float, max_bins: int) -> ColumnBins | None:
    """Build bins of months or years. Return None beyond the year 9999, where the calendar ends."""
    try:
        begin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=low)
        end = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=high)
    except (OverflowError, ValueError):
        return None
    month_count = (end.year - begin.year) * 12 + end.month - begin.month + 1
    min_months = max(math.ceil(month_count / max_bins), 1)
    suitable_steps = [step for step in CALENDAR_STEPS_MONTHS if step >= min_months]
    if suitable_steps:
        month_step = suitable_steps[0]
    else:
        month_step = 12 * round(round_up_bin_width(min_months / 12, 1.0))
    first_month = (begin.year * 12 + begin.month - 1) // month_step * month_step
    last_month = end.year * 12 + end.month
    end_month = last_month + (first_month - last_month) % month_step
    starts = [*range(first_month, last_month, month_step), end_month]
    if starts[-1] // 12 > 9999 or starts[0] < 12:
        return None
    edges = np.array([_compute_month_start_day(start) for start in starts])
    is_years = month_step % 12 == 0
    lows = [_format_month_or_year(start, is_years=is_years) for start in starts[:-1]]
    highs = [_format_month_or_year(start - 1, is_years=is_years) for start in starts[1:]]
    dates = np.arange(edges[0], edges[-1])
    numbers = np.append(0, np.searchsorted(edges[1:-1], dates, side="right") + 1)
    bins = _build_bins(column, edges, lows, highs, is_even=False)
    return replace(bins, bin_by_day=numbers)


def _build_bins(
    column: Column,
    edges: npt.NDArray[np.float64],
    lows: list[str],
    highs: list[str],
    *,
    is_even: bool = True,
    shift: float = 0.0,
) -> ColumnBins:
    return ColumnBins(column=column, edges=edges, lows=tuple(lows), highs=tuple(highs), is_even=is_even, shift=shift)


def _find_rounding_step(finite_values: npt.NDArray[np.float64], *, is_single_precision: bool) -> float:
    """Return the power of ten that all values are multiples of; 0 if there is none."""
    sampled = finite_values[: 4 * MAX_STEPS_PER_BIN]
    if is_single_precision:
        sampled = sampled.astype(np.float32)
    for decimals in range(MAX_ROUNDED_DECIMALS + 1):
        rounded = np.round(sampled.astype(np.float64), decimals)
        if np.array_equal(rounded.astype(sampled.dtype), sampled):
            return 10.0**-decimals
    return 0.0


def round_up_bin_width(width: float, step: float) -> float:
    """Round a width up to 1, 2 or 5 times a power of ten, and at least to `step`."""
    if not width > 0 or not math.isfinite(width):
        return 0.0
    base = 10.0 ** math.floor(math.log10(width))
    min_width = width * (1 - 1e-9)
    rounded_width = next(multiple * base for multiple in (1, 2, 5, 10) if multiple * base >= min_width)
    return max(_remove_rounding_error(rounded_width, base), step)


def _remove_rounding_error(value: float, width: float) -> float:
    """Round off the rounding error of a sum of widths."""
    if not width:
        return value
    decimals = max(-math.floor(math.log10(width) + 1e-9), 0)
    if decimals <= 300:
        return round(value, decimals)
    return value


def format_bin_edge(value: float) -> str:
    """Write a number as in an address."""
    if value == 0:
        return "0"
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value))


def _format_clock_ranges(
    edges: npt.NDArray[np.float64], step_days: float, *, is_days: bool
) -> tuple[list[str], list[str]]:
    def format_instant(value: float) -> str:
        instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=round(value * DAY_SECONDS))
        date_text = instant.strftime("%Y-%m-%d").rjust(10, "0")
        if is_days:
            return date_text
        return date_text + instant.strftime("T%H:%M:%S")

    gap_days = 1.0 if is_days else step_days
    try:
        lows = [format_instant(edge) for edge in edges[:-1]]
        highs = [format_instant(edge - gap_days) for edge in edges[1:]]
    except (OverflowError, ValueError):
        return [], []
    return lows, highs


def _compute_month_start_day(months: int) -> float:
    begin = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
    return (begin - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(days=1)


def _format_month_or_year(months: int, *, is_years: bool) -> str:
    if is_years:
        return f"{months // 12:04d}"
    return f"{months // 12:04d}-{months % 12 + 1:02d}"

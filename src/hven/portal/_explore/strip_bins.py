"""Bins that people would choose: round edges, days or months of times, each with the condition that finds its rows.

Values are counted in them batch by batch.
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
from hven.portal._condition_values import ConditionValue, parse_number, parse_time_range, split_range
from hven.portal._explore.plots import is_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.model.table import Column

MAX_BINS = 40  # bins of a column
MAX_TIME_BINS = 90  # of time, which is drawn wider
TAIL_SHARE = 0.005  # of the values: what lies farther out than all but these is counted in the outermost bin
OUTLIER_FACTOR = 1.4  # times as far as that: then it is farther out
MIN_LOGARITHMIC_RATIO = 1_000.0  # between the ends of what most values are: then bins grow with the value
MAX_ROUNDED_DECIMALS = 6  # that values may be rounded to, all of them
MAX_STEPS_PER_BIN = 1_000  # steps of rounded values in a bin, beyond which they count as not rounded
UNIX_EPOCH_JULIAN_DATE = 2_440_587.5  # Julian date of 1970-01-01
DAY_SECONDS = 86_400.0  # seconds
JULIAN_TOLERANCE_DAYS = 1e-9  # days that Julian dates may be off
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
)  # seconds
CALENDAR_STEPS_MONTHS = (1, 2, 3, 6)  # months


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnBins:
    """Bins of a column's values; of times the values are days since 1970.

    Attributes
    ----------
    edges
        One more than there are bins, growing.
    lows, highs
        What a condition says of each bin: ``low..high`` finds its rows. Nothing: the bin has all that lies beyond.
    is_even
        All bins are as wide as the first.
    bin_by_day
        The bin of each day from the first edge on, from 1, behind a 0: of months and years.
    shift
        By which values are raised before they are counted: half a step of rounded ones, so that none falls on an edge.
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
        """The values are days since 1970."""
        return is_time(self.column)

    def __len__(self) -> int:
        return len(self.lows)

    def find_bin_numbers(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
        """Return the bin of each value, from 1; 0 of what is no number.

        What lies beyond the ends is in the outermost ones.
        """
        if self.bin_by_day is not None:
            positions = values - self.edges[0]
            bin_numbers: npt.NDArray[np.intp] = self.bin_by_day[_to_bin_numbers(positions, len(self.bin_by_day) - 1.5)]
        elif self.is_even:
            positions = values + (self.shift - self.edges[0])
            positions *= 1.0 / (self.edges[1] - self.edges[0])
            bin_numbers = _to_bin_numbers(positions, len(self) - 0.5)
        else:
            bin_numbers = np.searchsorted(self.edges[1:-1], values + self.shift, side="right") + 1
            bin_numbers[np.isnan(values)] = 0
        return bin_numbers

    def count_values(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Count values; the first number is of those that are none."""
        bin_numbers = self.find_bin_numbers(values)
        minlength = len(self) + 1
        counts: npt.NDArray[np.int64] = np.bincount(bin_numbers, minlength=minlength)
        return counts

    def find_selected_band(self, conditions: Sequence[str]) -> tuple[float, float] | None:
        """Return which part of the bins a condition asks for, from 0 to 1; None: it is none, or no range."""
        if len(conditions) != 1:
            return None
        try:
            low, high = split_range(ConditionValue(conditions[0].strip(), 0), "=", conditions[0])
            if low is None and high is None:
                return None
            if self.is_time:
                ends = self._parse_dates(low, high, conditions[0])
            else:
                ends = _parse_numbers(low, high, conditions[0])
        except (HvenError, ValueError, OverflowError):
            return None
        low_at, high_at = (None if end is None else self.compute_share(end) for end in ends)
        band = (0.0 if low_at is None else low_at, 1.0 if high_at is None else high_at)
        if band[0] <= band[1]:
            return band
        return None

    def _parse_dates(
        self, low: ConditionValue | None, high: ConditionValue | None, text: str
    ) -> tuple[float | None, float | None]:
        ends = parse_time_range(low, high, text, as_timestamps=False)
        first, last = (None if end is None else float(end.value) - UNIX_EPOCH_JULIAN_DATE for end in ends)
        return first, last

    def compute_share(self, value: float) -> float:
        """Return where a value stands among the bins: 0 at the begin of the first, 1 at the end of the last."""
        bin_position = np.interp(value, self.edges, np.arange(len(self.edges)))
        return float(bin_position) / len(self)


def _to_bin_numbers(positions: npt.NDArray[np.float64], max_position: float) -> npt.NDArray[np.intp]:
    """Return the whole numbers from 1 of places from 0 to `max_position`, 0 of NaN; the places are lost.

    A copy of them takes as long as all of it.
    """
    np.clip(positions, 0.0, max_position, out=positions)  # leaves NaN as it is
    positions += 1.0
    np.fmax(positions, 0.0, out=positions)
    return positions.astype(np.intp)


def _parse_numbers(
    low: ConditionValue | None, high: ConditionValue | None, text: str
) -> tuple[float | None, float | None]:
    parsed = [None if word is None else parse_number(word, text) for word in (low, high)]
    if any(parsed_number is not None and parsed_number[1] for parsed_number in parsed):
        return None, None  # in another unit
    first, last = (None if parsed_number is None else float(parsed_number[0]) for parsed_number in parsed)
    return first, last


def to_float_values(array: pa.Array, column: Column) -> npt.NDArray[np.float64]:
    """Return values as numbers, of times as days since 1970; NaN where there is none."""
    if pa.types.is_timestamp(array.type):
        instants = array.cast(pa.timestamp("us")).cast(pa.int64())
        return np.asarray(
            pc.divide(instants.cast(pa.float64(), safe=False), DAY_SECONDS * 1e6).to_numpy(zero_copy_only=False)
        )
    values = np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    if column.epoch is None:
        return values
    return values + (column.epoch - UNIX_EPOCH_JULIAN_DATE)


def choose_bins(
    column: Column,
    values: npt.NDArray[np.float64],
    bounds: tuple[float, float] | None,
    *,
    max_bins: int = MAX_BINS,
) -> ColumnBins | None:
    """Choose bins for a column by a sample of its values.

    Parameters
    ----------
    values
        As `to_float_values` gives them.
    bounds
        The smallest and the largest of all values, if they are known; those of the sample else, and there may be
        others.

    Returns
    -------
    bins
        None: there are not two different values.
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
    if quantiles[0] - low > (OUTLIER_FACTOR - 1) * quantile_width > 0:
        first = quantiles[0]
    else:
        first = low
    if high - quantiles[1] > (OUTLIER_FACTOR - 1) * quantile_width > 0:
        last = quantiles[1]
    else:
        last = high
    if is_time(column):
        column_bins = _build_time_bins(column, finite, first, last, max_bins)
    elif quantiles[1] > MIN_LOGARITHMIC_RATIO * quantiles[0] > 0:
        column_bins = _build_logarithmic_bins(column, quantiles[0], quantiles[1])
    else:
        column_bins = _build_even_bins(column, finite, first, last, max_bins)
    if column_bins is None or len(column_bins) < 2:
        return None
    lows = list(column_bins.lows)
    highs = list(column_bins.highs)
    if not has_bounds or low < column_bins.edges[0]:
        lows[0] = ""
    if not has_bounds or high > column_bins.edges[-1]:
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
    width = round_up_width((high - low) / max_bins, step)
    if not width or not math.isfinite(width) or width < 8 * np.spacing(max(abs(low), abs(high))):
        return None
    if width > MAX_STEPS_PER_BIN * step and not column.type.is_integer:
        step = 0.0
    number = math.floor(low / width)
    count = max(math.floor((high - number * width) / width * (1 + 1e-12)) + 1, 1)
    if not step and count > 1 and (number + count - 1) * width >= high:
        count -= 1  # the largest value stands on the last edge
    edges = np.array([_remove_rounding_error((number + at) * width, width) for at in range(count + 1)])
    # 0.1 in single precision is a little more, in double: conditions keep half a step away
    half_step = step / 2 if is_single_precision else 0.0
    lows = [format_bin_edge(_remove_rounding_error(edge - half_step, half_step or width)) for edge in edges[:-1]]
    highs = [
        format_bin_edge(_remove_rounding_error(edge - (half_step or step), half_step or step or width))
        for edge in edges[1:]
    ]
    return _build_bins(column, edges, lows, highs, shift=step / 2)


def _build_logarithmic_bins(column: Column, low: float, high: float) -> ColumnBins | None:
    """Bins of a tenth, a fifth or a half of a decade."""
    first = math.floor(math.log10(low) * 10)
    last = math.ceil(math.log10(high) * 10)
    decade_step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if (last - first) / step <= MAX_BINS)
    first -= first % decade_step
    edges = np.array([float(f"{10 ** (at / 10):.3g}") for at in range(first, last + decade_step, decade_step)])
    if column.type.is_integer:
        edges = np.unique(np.ceil(edges))
    if len(edges) < 3:
        return None
    lows = [format_bin_edge(edge) for edge in edges[:-1]]
    highs = [format_bin_edge(edge - 1 if column.type.is_integer else edge) for edge in edges[1:]]
    return _build_bins(column, edges, lows, highs, even=False)


def _build_time_bins(
    column: Column,
    finite_values: npt.NDArray[np.float64],
    low: float,
    high: float,
    max_bins: int,
) -> ColumnBins | None:
    """Bins of seconds to days, of months, or of years."""
    min_seconds = (high - low) * DAY_SECONDS / max_bins
    seconds = next((step_candidate for step_candidate in CLOCK_STEPS_SECONDS if step_candidate >= min_seconds), None)
    if seconds is None:
        days = next(
            (step_candidate for step_candidate in (2, 5, 10) if step_candidate * DAY_SECONDS >= min_seconds), None
        )
        if days is None:
            seconds = None
        else:
            seconds = round(days * DAY_SECONDS)
    if seconds is not None:
        number = math.floor(low * DAY_SECONDS / seconds + 1e-9)
        count = max(math.floor((high * DAY_SECONDS - number * seconds) / seconds) + 1, 1)
        edges = np.array([(number + first_month) * seconds / DAY_SECONDS for first_month in range(count + 1)])
        is_whole_seconds = bool(
            np.all(np.abs(finite_values * DAY_SECONDS - np.round(finite_values * DAY_SECONDS)) < 1e-4)
        )
        if is_whole_seconds and seconds < DAY_SECONDS:
            step = 1.0 / DAY_SECONDS
        else:
            step = 0.0
        lows, highs = _format_clock_ranges(edges, step, is_days=seconds >= DAY_SECONDS)
        shift = step / 2 if step or column.type.is_timestamp else JULIAN_TOLERANCE_DAYS
        return _build_bins(column, edges, lows, highs, shift=shift)
    try:
        begin, end = (
            datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=step_candidate) for step_candidate in (low, high)
        )
    except (OverflowError, ValueError):
        return None  # a calendar ends with the year 9999
    months = max(math.ceil(((end.year - begin.year) * 12 + end.month - begin.month + 1) / max_bins), 1)
    month_step = next(
        (step_candidate for step_candidate in CALENDAR_STEPS_MONTHS if step_candidate >= months), None
    ) or 12 * round(round_up_width(months / 12, 1.0))
    first_month = (begin.year * 12 + begin.month - 1) // month_step * month_step
    last_month = end.year * 12 + end.month
    starts = [*range(first_month, last_month, month_step), last_month + (-(last_month - first_month)) % month_step]
    if starts[-1] // 12 > 9999 or starts[0] < 12:
        return None
    edges = np.array([_compute_first_day(step_candidate) for step_candidate in starts])
    lows = [_format_month(step_candidate, is_years=month_step % 12 == 0) for step_candidate in starts[:-1]]
    highs = [_format_month(step_candidate - 1, is_years=month_step % 12 == 0) for step_candidate in starts[1:]]
    dates = np.arange(edges[0], edges[-1])
    numbers = np.append(0, np.searchsorted(edges[1:-1], dates, side="right") + 1)
    bins = _build_bins(column, edges, lows, highs, even=False)
    return replace(bins, bin_by_day=numbers)


def _build_bins(
    column: Column,
    edges: npt.NDArray[np.float64],
    lows: list[str],
    highs: list[str],
    *,
    even: bool = True,
    shift: float = 0.0,
) -> ColumnBins:
    return ColumnBins(column=column, edges=edges, lows=tuple(lows), highs=tuple(highs), is_even=even, shift=shift)


def _find_rounding_step(finite_values: npt.NDArray[np.float64], *, is_single_precision: bool) -> float:
    """Return what all values are multiples of, a power of ten; 0: nothing such."""
    sampled = (
        finite_values[: 4 * MAX_STEPS_PER_BIN].astype(np.float32)
        if is_single_precision
        else finite_values[: 4 * MAX_STEPS_PER_BIN]
    )
    for decimals in range(MAX_ROUNDED_DECIMALS + 1):
        if np.array_equal(np.round(sampled.astype(np.float64), decimals).astype(sampled.dtype), sampled):
            return 10.0**-decimals
    return 0.0


def round_up_width(width: float, step: float) -> float:
    """Return a width of 1, 2 or 5 times a power of ten that is no smaller; at least `step`."""
    if not width > 0 or not math.isfinite(width):
        return 0.0
    base = 10.0 ** math.floor(math.log10(width))
    rounded_width = next(multiple * base for multiple in (1, 2, 5, 10) if multiple * base >= width * (1 - 1e-9))
    return max(_remove_rounding_error(rounded_width, base), step)


def _remove_rounding_error(value: float, width: float) -> float:
    """Round away what a sum of widths adds in its last digits."""
    if not width:
        return value
    decimals = max(-math.floor(math.log10(width) + 1e-9), 0)
    if decimals <= 300:
        return round(value, decimals)
    return value


def format_bin_edge(value: float) -> str:
    """Write a number as an address has it."""
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
        return instant.strftime("%Y-%m-%d").rjust(10, "0") + ("" if is_days else instant.strftime("T%H:%M:%S"))

    try:
        return [format_instant(edge) for edge in edges[:-1]], [
            format_instant(edge - (1.0 if is_days else step_days)) for edge in edges[1:]
        ]
    except (OverflowError, ValueError):
        return [], []


def _compute_first_day(months: int) -> float:
    begin = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
    return (begin - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(days=1)


def _format_month(months: int, *, is_years: bool) -> str:
    if is_years:
        return f"{months // 12:04d}"
    return f"{months // 12:04d}-{months % 12 + 1:02d}"

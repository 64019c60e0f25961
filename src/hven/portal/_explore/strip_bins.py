"""Bins that people would choose: round edges, days or months of times, each with the condition that finds its rows; values are counted in them batch by batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import HvenError
from hven.portal._condition_words import Word, number, span, when
from hven.portal._explore.plots import is_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.model.table import Column

MOST = 40  # bins of a column
MOST_TIME = 90  # of time, which is drawn wider
TAIL = 0.005  # of the values: what lies farther out than all but these is counted in the outermost bin
FAR = 1.4  # times as far as that: then it is farther out
LOGARITHMIC = 1_000.0  # between the ends of what most values are: then bins grow with the value
DECIMALS = 6  # that values may be rounded to, all of them
FINEST = 1_000  # steps of rounded values in a bin, beyond which they count as not rounded
UNIX = 2_440_587.5  # Julian date of 1970-01-01
DAY = 86_400.0  # seconds
JULIAN = 1e-9  # days that Julian dates may be off
CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)  # seconds
CALENDAR = (1, 2, 3, 6)  # months


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Bins of a column's values; of times the values are days since 1970.

    Attributes
    ----------
    edges
        One more than there are bins, growing.
    lows, highs
        What a condition says of each bin: ``low..high`` finds its rows. Nothing: the bin has all that lies beyond.
    even
        All bins are as wide as the first.
    days
        The bin of each day from the first edge on, from 1, behind a 0: of months and years.
    shift
        By which values are raised before they are counted: half a step of rounded ones, so that none falls on an edge.
    """

    column: Column
    edges: npt.NDArray[np.float64]
    lows: tuple[str, ...]
    highs: tuple[str, ...]
    even: bool = True
    shift: float = 0.0
    days: npt.NDArray[np.intp] | None = None

    @property
    def time(self) -> bool:
        """The values are days since 1970."""
        return is_time(self.column)

    def __len__(self) -> int:
        return len(self.lows)

    def places(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
        """Return the bin of each value, from 1; 0 of what is no number. What lies beyond the ends is in the outermost ones."""
        if self.days is not None:
            found = values - self.edges[0]
            placed: npt.NDArray[np.intp] = self.days[_numbered(found, len(self.days) - 1.5)]
        elif self.even:
            found = values + (self.shift - self.edges[0])
            found *= 1.0 / (self.edges[1] - self.edges[0])
            placed = _numbered(found, len(self) - 0.5)
        else:
            placed = np.searchsorted(self.edges[1:-1], values + self.shift, side="right") + 1
            placed[np.isnan(values)] = 0
        return placed

    def count(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Count values; the first number is of those that are none."""
        found: npt.NDArray[np.int64] = np.bincount(self.places(values), minlength=len(self) + 1)
        return found

    def band(self, written: Sequence[str]) -> tuple[float, float] | None:
        """Return which part of the bins a condition asks for, from 0 to 1; None: it is none, or no range."""
        if len(written) != 1:
            return None
        try:
            low, high = span(Word(written[0].strip(), 0), "=", written[0])
            if low is None and high is None:
                return None
            ends = self._dates(low, high, written[0]) if self.time else _numbers(low, high, written[0])
        except (HvenError, ValueError, OverflowError):
            return None
        low_at, high_at = (None if end is None else self.share(end) for end in ends)
        found = (0.0 if low_at is None else low_at, 1.0 if high_at is None else high_at)
        return found if found[0] <= found[1] else None

    def _dates(self, low: Word | None, high: Word | None, text: str) -> tuple[float | None, float | None]:
        ends = when(low, high, text, stamps=False)
        first, last = (None if end is None else float(end.value) - UNIX for end in ends)
        return first, last

    def share(self, value: float) -> float:
        """Return where a value stands among the bins: 0 at the begin of the first, 1 at the end of the last."""
        at = np.interp(value, self.edges, np.arange(len(self.edges)))
        return float(at) / len(self)


def _numbered(found: npt.NDArray[np.float64], most: float) -> npt.NDArray[np.intp]:
    """Return the whole numbers from 1 of places from 0 to `most`, 0 of NaN; the places are lost: a copy of them takes as long as all of it."""
    np.clip(found, 0.0, most, out=found)  # leaves NaN as it is
    found += 1.0
    np.fmax(found, 0.0, out=found)
    return found.astype(np.intp)


def _numbers(low: Word | None, high: Word | None, text: str) -> tuple[float | None, float | None]:
    given = [None if word is None else number(word, text) for word in (low, high)]
    if any(one is not None and one[1] for one in given):
        return None, None  # in another unit
    first, last = (None if one is None else float(one[0]) for one in given)
    return first, last


def values_of(array: pa.Array, column: Column) -> npt.NDArray[np.float64]:
    """Return values as numbers, of times as days since 1970; NaN where there is none."""
    if pa.types.is_timestamp(array.type):
        moments = array.cast(pa.timestamp("us")).cast(pa.int64())
        return np.asarray(pc.divide(moments.cast(pa.float64(), safe=False), DAY * 1e6).to_numpy(zero_copy_only=False))
    found = np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    return found if column.epoch is None else found + (column.epoch - UNIX)


def bins(
    column: Column,
    values: npt.NDArray[np.float64],
    bounds: tuple[float, float] | None,
    *,
    most: int = MOST,
) -> Bins | None:
    """Choose bins for a column by a sample of its values.

    Parameters
    ----------
    values
        As `values_of` gives them.
    bounds
        The smallest and the largest of all values, if they are known; those of the sample else, and there may be others.

    Returns
    -------
    bins
        None: there are not two different values.
    """
    good = values[np.isfinite(values)]
    if not len(good):
        return None
    low, high = float(good.min()), float(good.max())
    known = bounds is not None and all(map(math.isfinite, bounds))
    if bounds is not None and known:
        low, high = min(low, bounds[0]), max(high, bounds[1])
    if low >= high or not math.isfinite(high - low):
        return None
    near = [float(one) for one in np.quantile(good, [TAIL, 1 - TAIL])]
    wide = near[1] - near[0]
    first = near[0] if near[0] - low > (FAR - 1) * wide > 0 else low
    last = near[1] if high - near[1] > (FAR - 1) * wide > 0 else high
    if is_time(column):
        made = _of_times(column, good, first, last, most)
    elif near[1] > LOGARITHMIC * near[0] > 0:
        made = _growing(column, near[0], near[1])
    else:
        made = _even(column, good, first, last, most)
    if made is None or len(made) < 2:
        return None
    lows, highs = list(made.lows), list(made.highs)
    if not known or low < made.edges[0]:
        lows[0] = ""
    if not known or high > made.edges[-1]:
        highs[-1] = ""
    return replace(made, lows=tuple(lows), highs=tuple(highs))


def _even(
    column: Column,
    good: npt.NDArray[np.float64],
    low: float,
    high: float,
    most: int,
) -> Bins | None:
    single = column.type.datatype == "float"
    step = _step(good, single=single)
    width = rounded((high - low) / most, step)
    if not width or not math.isfinite(width) or width < 8 * np.spacing(max(abs(low), abs(high))):
        return None
    if width > FINEST * step and not column.type.is_integer:
        step = 0.0
    number = math.floor(low / width)
    count = max(math.floor((high - number * width) / width * (1 + 1e-12)) + 1, 1)
    if not step and count > 1 and (number + count - 1) * width >= high:
        count -= 1  # the largest value stands on the last edge
    edges = np.array([_exact((number + at) * width, width) for at in range(count + 1)])
    # 0.1 in single precision is a little more, in double: conditions keep half a step away
    half = step / 2 if single else 0.0
    lows = [written(_exact(edge - half, half or width)) for edge in edges[:-1]]
    highs = [written(_exact(edge - (half or step), half or step or width)) for edge in edges[1:]]
    return _made(column, edges, lows, highs, shift=step / 2)


def _growing(column: Column, low: float, high: float) -> Bins | None:
    """Bins of a tenth, a fifth or a half of a decade."""
    first, last = math.floor(math.log10(low) * 10), math.ceil(math.log10(high) * 10)
    each = next(one for one in (1, 2, 5, 10, 20, 50, 100, 1000) if (last - first) / one <= MOST)
    first -= first % each
    edges = np.array([float(f"{10 ** (at / 10):.3g}") for at in range(first, last + each, each)])
    if column.type.is_integer:
        edges = np.unique(np.ceil(edges))
    if len(edges) < 3:
        return None
    lows = [written(edge) for edge in edges[:-1]]
    highs = [written(edge - 1 if column.type.is_integer else edge) for edge in edges[1:]]
    return _made(column, edges, lows, highs, even=False)


def _of_times(
    column: Column,
    good: npt.NDArray[np.float64],
    low: float,
    high: float,
    most: int,
) -> Bins | None:
    """Bins of seconds to days, of months, or of years."""
    wanted = (high - low) * DAY / most
    seconds = next((one for one in CLOCK if one >= wanted), None)
    if seconds is None:
        days = next((one for one in (2, 5, 10) if one * DAY >= wanted), None)
        seconds = None if days is None else round(days * DAY)
    if seconds is not None:
        number = math.floor(low * DAY / seconds + 1e-9)
        count = max(math.floor((high * DAY - number * seconds) / seconds) + 1, 1)
        edges = np.array([(number + at) * seconds / DAY for at in range(count + 1)])
        whole = bool(np.all(np.abs(good * DAY - np.round(good * DAY)) < 1e-4))
        step = 1.0 / DAY if whole and seconds < DAY else 0.0
        lows, highs = _clock(edges, step, days=seconds >= DAY)
        return _made(column, edges, lows, highs, shift=step / 2 if step or column.type.is_timestamp else JULIAN)
    try:
        begin, end = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=one) for one in (low, high))
    except (OverflowError, ValueError):
        return None  # a calendar ends with the year 9999
    months = max(math.ceil(((end.year - begin.year) * 12 + end.month - begin.month + 1) / most), 1)
    each = next((one for one in CALENDAR if one >= months), None) or 12 * round(rounded(months / 12, 1.0))
    at = (begin.year * 12 + begin.month - 1) // each * each
    past = end.year * 12 + end.month
    starts = [*range(at, past, each), past + (-(past - at)) % each]
    if starts[-1] // 12 > 9999 or starts[0] < 12:
        return None
    edges = np.array([_first_day(one) for one in starts])
    lows = [_month(one, years=each % 12 == 0) for one in starts[:-1]]
    highs = [_month(one - 1, years=each % 12 == 0) for one in starts[1:]]
    dates = np.arange(edges[0], edges[-1])
    numbers = np.append(0, np.searchsorted(edges[1:-1], dates, side="right") + 1)
    return replace(_made(column, edges, lows, highs, even=False), days=numbers)


def _made(
    column: Column,
    edges: npt.NDArray[np.float64],
    lows: list[str],
    highs: list[str],
    *,
    even: bool = True,
    shift: float = 0.0,
) -> Bins:
    return Bins(column=column, edges=edges, lows=tuple(lows), highs=tuple(highs), even=even, shift=shift)


def _step(good: npt.NDArray[np.float64], *, single: bool) -> float:
    """Return what all values are multiples of, a power of ten; 0: nothing such."""
    some = good[: 4 * FINEST].astype(np.float32) if single else good[: 4 * FINEST]
    for decimals in range(DECIMALS + 1):
        if np.array_equal(np.round(some.astype(np.float64), decimals).astype(some.dtype), some):
            return 10.0**-decimals
    return 0.0


def rounded(width: float, step: float) -> float:
    """Return a width of 1, 2 or 5 times a power of ten that is no smaller; at least `step`."""
    if not width > 0 or not math.isfinite(width):
        return 0.0
    base = 10.0 ** math.floor(math.log10(width))
    found = next(one * base for one in (1, 2, 5, 10) if one * base >= width * (1 - 1e-9))
    return max(_exact(found, base), step)


def _exact(value: float, width: float) -> float:
    """Round away what a sum of widths adds in its last digits."""
    if not width:
        return value
    decimals = max(-math.floor(math.log10(width) + 1e-9), 0)
    return round(value, decimals) if decimals <= 300 else value


def written(value: float) -> str:
    """Write a number as an address has it."""
    if value == 0:
        return "0"
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value))


def _clock(edges: npt.NDArray[np.float64], step: float, *, days: bool) -> tuple[list[str], list[str]]:
    def said(value: float) -> str:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=round(value * DAY))
        return moment.strftime("%Y-%m-%d").rjust(10, "0") + ("" if days else moment.strftime("T%H:%M:%S"))

    try:
        return [said(edge) for edge in edges[:-1]], [said(edge - (1.0 if days else step)) for edge in edges[1:]]
    except (OverflowError, ValueError):
        return [], []


def _first_day(months: int) -> float:
    begin = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
    return (begin - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(days=1)


def _month(months: int, *, years: bool) -> str:
    return f"{months // 12:04d}" if years else f"{months // 12:04d}-{months % 12 + 1:02d}"

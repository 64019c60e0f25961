"""Samples in fewer bins: mean, peak and lowest value of bins of one width, made from batches in the order of time without a line of Python for each row.

A bin that no sample is in is not there: gaps stay gaps. What is NaN or null is no value; a bin in which all are has none. Bins begin at
whole multiples of their width since 1970, so that whoever moves a window or asks for its next piece meets the same bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[Any]

_MS, _S, _DAY = 1_000, 1_000_000, 86_400_000_000
# each divides the next: microseconds of a bin
WIDTHS = (
    1, 5, 20, 100, 500, 2 * _MS, 10 * _MS, 50 * _MS, 250 * _MS, _S, 5 * _S, 15 * _S, 60 * _S, 300 * _S, 900 * _S,
    3_600 * _S, 14_400 * _S, _DAY, 5 * _DAY, 20 * _DAY, 100 * _DAY, 500 * _DAY,
)  # fmt: skip
LEAST = 15  # samples that a bin of the narrowest kept width stands for, at least


@dataclass(frozen=True, slots=True)
class Values:
    """What bins have of one parameter: arrays of shape (bins, elements).

    Attributes
    ----------
    count
        Of values.
    total
        Their sum.
    low, high
        The smallest and the largest, in the type that they have; NaN where there is none. Parameters of many elements have no lowest ones.
    """

    count: Numbers
    total: Numbers
    low: Numbers
    high: Numbers

    @property
    def mean(self) -> Numbers:
        """Of the values; NaN where there is none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.total / self.count)

    def each(self) -> tuple[Numbers, ...]:
        """List its arrays."""
        return self.count, self.total, self.low, self.high

    def __getitem__(self, which: slice) -> Values:
        """Take some of the bins."""
        return Values(*(one[which] for one in self.each()))


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins in the order of time.

    Attributes
    ----------
    width
        Microseconds.
    number
        Of each: it begins at ``number * width`` since 1970.
    fields
        By parameter.
    """

    width: int
    number: npt.NDArray[np.int64]
    fields: Mapping[str, Values]

    def __len__(self) -> int:
        """Count them."""
        return len(self.number)

    def __getitem__(self, which: slice) -> Bins:
        """Take some of them."""
        return Bins(self.width, self.number[which], {name: one[which] for name, one in self.fields.items()})

    @property
    def middle(self) -> npt.NDArray[np.int64]:
        """Of each: microseconds since 1970."""
        return self.number * self.width + self.width // 2

    def between(self, start: int, stop: int) -> Bins:
        """Take those that a span touches.

        Parameters
        ----------
        start, stop
            Microseconds since 1970: from the first one on, before the second.
        """
        low, high = np.searchsorted(self.number, (start // self.width, -(-stop // self.width)))
        return self[int(low) : int(high)]


def width(asked: int, native: float) -> int | None:
    """Choose the width of bins.

    Parameters
    ----------
    asked
        Microseconds that may lie between two, at most.
    native
        That lie between two samples, about.

    Returns
    -------
    width
        Microseconds: what was asked for; from the narrowest width that is kept on, a few bins of what is kept. None: samples are not denser.
    """
    if asked <= native:
        return None
    kept = max((one for one in WIDTHS if one <= asked and one >= LEAST * native), default=0)
    return asked // kept * kept if kept else asked


def binned(batches: Iterable[pa.RecordBatch], width: int, names: Sequence[str]) -> Iterator[Bins]:
    """Reduce samples.

    Parameters
    ----------
    batches
        In the order of time: the first column has microseconds since 1970 (int64).
    width
        Of a bin: microseconds.
    names
        Of columns of numbers, or of lists of numbers of one size.

    Yields
    ------
    bins
        Whole ones: none comes twice.
    """
    yield from _joined((_first(batch, width, names) for batch in batches if batch.num_rows), width)


def coarser(parts: Iterable[Bins], width: int) -> Iterator[Bins]:
    """Reduce further.

    Parameters
    ----------
    parts
        In the order of time, of a width that divides `width`.
    width
        Of a bin: microseconds.

    Yields
    ------
    bins
        Whole ones.
    """
    yield from _joined((_folded(part, part.number // (width // part.width)) for part in parts if len(part)), width)


def _joined(parts: Iterable[Bins], width: int) -> Iterator[Bins]:
    """Yield whole bins: the last one of a part is kept until the next has begun, for it may go on there."""
    kept: Bins | None = None
    for part in parts:
        now = Bins(width, part.number, part.fields)
        if kept is not None:
            if kept.number[0] == now.number[0]:
                both = concatenated([kept, now[:1]])
                edge = _folded(both, both.number)
                now = edge if len(now) == 1 else concatenated([edge, now[1:]])
            else:
                yield kept
        if len(now) > 1:
            yield now[:-1]
        kept = now[-1:]
    if kept is not None:
        yield kept


def concatenated(parts: Sequence[Bins]) -> Bins:
    """Join bins of one width and the same parameters, one behind the other.

    Parameters
    ----------
    parts
        At least one.
    """
    if len(parts) == 1:
        return parts[0]
    fields = {
        name: Values(
            *(np.concatenate(each) for each in zip(*(part.fields[name].each() for part in parts), strict=True))
        )
        for name in parts[0].fields
    }
    return Bins(parts[0].width, np.concatenate([part.number for part in parts]), fields)


def _first(batch: pa.RecordBatch, width: int, names: Sequence[str]) -> Bins:
    """Put samples into bins."""
    numbers = np.asarray(batch.column(0), np.int64) // width
    runs = _runs(numbers)
    fields = {}
    for name in names:
        values = matrix(batch.column(name))
        bad = np.isnan(values)
        if bad.any():
            count = _reduced(np.add, ~bad, runs, np.int32)
            total = _reduced(np.add, np.where(bad, 0, values), runs, np.float64)
        else:
            count = np.broadcast_to(runs[1].astype(np.int32)[:, None], (len(runs[0]), values.shape[1]))
            total = _reduced(np.add, values, runs, np.float64)
        fields[name] = Values(count, total, _lowest(values, runs), _reduced(np.fmax, values, runs))
    return Bins(width, numbers[runs[0]], fields)


def _folded(part: Bins, numbers: npt.NDArray[np.int64]) -> Bins:
    """Put bins into wider ones, of these numbers."""
    runs = _runs(numbers)
    fields = {
        name: Values(
            _reduced(np.add, one.count, runs, np.int32),
            _reduced(np.add, one.total, runs),
            _lowest(one.low, runs),
            _reduced(np.fmax, one.high, runs),
        )
        for name, one in part.fields.items()
    }
    return Bins(part.width, numbers[runs[0]], fields)


def _runs(numbers: npt.NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Find where numbers change: beginnings and lengths."""
    starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
    return starts, np.diff(starts, append=len(numbers))


def _lowest(values: Numbers, runs: tuple[Numbers, Numbers]) -> Numbers:
    """Find the lowest value of each run, for lines alone: spectra are shown by mean and peak."""
    if values.shape[1] == 1:
        return _reduced(np.fmin, values, runs)
    return np.broadcast_to(np.array(np.nan, values.dtype), (len(runs[0]), values.shape[1]))


def _reduced(ufunc: np.ufunc, values: Numbers, runs: tuple[Numbers, Numbers], dtype: Any = None) -> Numbers:
    """Reduce each run of rows; runs of one length together, which is ten times as fast as `reduceat` where rows have many elements."""
    starts, lengths = runs
    if len(starts) == len(values):
        return values.astype(dtype or values.dtype)
    if values.shape[1] == 1:
        with np.errstate(invalid="ignore", over="ignore"):  # infinite ones of both signs
            return np.asarray(ufunc.reduceat(values, starts, axis=0, dtype=dtype))
    out = np.empty((len(starts), values.shape[1]), dtype or values.dtype)
    for length in np.unique(lengths):
        which = np.flatnonzero(lengths == length)
        if which[-1] - which[0] + 1 == len(which):
            first = starts[which[0]]
            part = values[first : first + length * len(which)].reshape(len(which), length, -1)
        else:
            part = values[starts[which][:, None] + np.arange(length)]
        with np.errstate(invalid="ignore", over="ignore"):
            out[which] = ufunc.reduce(part, axis=1, dtype=dtype)
    return out


def matrix(array: pa.Array) -> Numbers:
    """Take the numbers of a column: shape (rows, elements), float32 or float64, NaN where there is none.

    Parameters
    ----------
    array
        Of numbers or booleans, or of lists of these that have one size.
    """
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = np.unique(array.drop_null().value_lengths())
        size = int(lengths[0]) if len(lengths) else 0
        array, kind = array.cast(pa.list_(kind.value_type, size)), pa.list_(kind.value_type, size)
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        inner = matrix(array.values.slice(array.offset * size, len(array) * size))
        found = inner.reshape(len(array), size * inner.shape[1])
        if array.null_count:
            found = np.where(np.asarray(array.is_null())[:, None], np.array(np.nan, found.dtype), found)
        return found
    if pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and array.null_count):
        array = array.cast(pa.int8() if pa.types.is_boolean(kind) else kind).cast(pa.float64())
    values = array.to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float32 if values.dtype == np.float32 else np.float64).reshape(-1, 1)


__all__ = ["WIDTHS", "Bins", "Values", "binned", "coarser", "concatenated", "matrix", "width"]

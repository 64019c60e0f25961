"""Samples in fewer bins: mean, peak and lowest value of bins of one width, made from batches in the order of time without a line of Python for each row.

Bins are an array of records: ``number`` (a bin begins at ``number * width`` since 1970, in microseconds), and of each parameter how many
values it has (``n NAME``), their mean (``m NAME``), the largest (``h NAME``) and, of lines, the lowest one (``l NAME``). A bin that no sample
is in is not there: gaps stay gaps. What is NaN or null is no value; a bin in which all are has none. Whoever moves a window or asks for its
next piece meets the same bins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[Any]
    Bins = npt.NDArray[np.void]

_MS, _S, _DAY = 1_000, 1_000_000, 86_400_000_000
# each divides the next: microseconds of a bin
WIDTHS = (
    1, 5, 20, 100, 500, 2 * _MS, 10 * _MS, 50 * _MS, 250 * _MS, _S, 5 * _S, 15 * _S, 60 * _S, 300 * _S, 900 * _S,
    3_600 * _S, 14_400 * _S, _DAY, 5 * _DAY, 20 * _DAY, 100 * _DAY, 500 * _DAY,
)  # fmt: skip
LEAST = 15  # samples that a bin of the narrowest kept width stands for, at least


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

    def samples(batch: pa.RecordBatch) -> Bins:
        given: dict[str, Numbers] = {}
        for name in names:
            values = matrix(batch.column(name))
            given |= {f"{letter} {name}": values for letter in "mhl"} | {f"n {name}": ~np.isnan(values)}
        return _folded(np.asarray(batch.column(0), np.int64) // width, given, names)

    return _joined(samples(batch) for batch in batches if batch.num_rows)


def coarser(parts: Iterable[Bins], factor: int, names: Sequence[str] | None = None) -> Iterator[Bins]:
    """Reduce further.

    Parameters
    ----------
    parts
        In the order of time.
    factor
        Bins that become one.
    names
        Of parameters; None: all.

    Yields
    ------
    bins
        Whole ones.
    """
    return _joined(_folded(part["number"] // factor, part, names) for part in parts if len(part))


def _joined(parts: Iterable[Bins]) -> Iterator[Bins]:
    """Yield whole bins: the last one of a part is kept until the next has begun, for it may go on there."""
    kept: Bins | None = None
    for part in parts:
        now = part
        if kept is not None and kept["number"][0] == part["number"][0]:
            both = np.concatenate([kept, part[:1]])
            now = np.concatenate([_folded(both["number"], both), part[1:]])
        elif kept is not None:
            yield kept
        if len(now) > 1:
            yield now[:-1]
        kept = now[-1:]
    if kept is not None:
        yield kept


def _folded(
    numbers: npt.NDArray[np.int64], given: Bins | Mapping[str, Numbers], names: Sequence[str] | None = None
) -> Bins:
    """Put bins, or samples as if each were one, into those of these numbers."""
    if names is None:
        names = [name[2:] for name in given.dtype.names or () if name[:2] == "n "]  # type: ignore[union-attr]
    starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
    runs = starts, np.diff(starts, append=len(numbers))
    alone = len(starts) == len(numbers)  # each is a bin of its own: its mean is its value
    found: dict[str, Numbers] = {"number": numbers[starts]}
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # infinite ones of both signs; none at all
        for name in names:
            count, mean, high = (given[f"{letter} {name}"] for letter in "nmh")
            found[f"n {name}"] = _reduced(np.add, count, runs, np.int32)
            if (
                alone
            ):  # of one type always: numpy 2.4 joins arrays of float32 and float64 in such fields to wrong numbers
                found[f"m {name}"] = mean.astype(np.float64, copy=False)
            else:
                full = count.dtype == bool and count.all()
                total = _reduced(np.add, mean if full else np.where(count, mean * count, 0), runs, np.float64)
                found[f"m {name}"] = total / found[f"n {name}"]
            found[f"h {name}"] = _reduced(np.fmax, high, runs)
            if high.shape[1] == 1:
                found[f"l {name}"] = _reduced(np.fmin, given[f"l {name}"], runs)
    made = np.empty(len(starts), [(name, values.dtype, values.shape[1:]) for name, values in found.items()])
    for name, values in found.items():
        made[name] = values
    return made


def stored(bins: Bins) -> Bins:
    """Give means the type of their values, as they are kept and sent.

    Parameters
    ----------
    bins
        With means of double precision where several values are in one, to be reduced further.
    """
    fields: Any = bins.dtype.fields
    kinds = [(name, fields[f"h {name[2:]}" if name[:2] == "m " else name][0]) for name in fields]
    return bins.astype(kinds, copy=False)


def _reduced(ufunc: np.ufunc, values: Numbers, runs: tuple[Numbers, Numbers], dtype: Any = None) -> Numbers:
    """Reduce each run of rows; runs of one length together, which is ten times as fast as `reduceat` where rows have many elements."""
    starts, lengths = runs
    if len(starts) == len(values):
        return values.astype(dtype or values.dtype)
    if values.shape[1] == 1:
        return np.asarray(ufunc.reduceat(values, starts, axis=0, dtype=dtype))
    out = np.empty((len(starts), values.shape[1]), dtype or values.dtype)
    for length in np.unique(lengths):
        which = np.flatnonzero(lengths == length)
        if which[-1] - which[0] + 1 == len(which):
            first = starts[which[0]]
            part = values[first : first + length * len(which)].reshape(len(which), length, -1)
        else:
            part = values[starts[which][:, None] + np.arange(length)]
        out[which] = ufunc.reduce(part, axis=1, dtype=dtype)
    return out


def matrix(array: pa.Array) -> Numbers:
    """Take the numbers of a column: shape (rows, elements), float32 or float64, NaN where there is none.

    Parameters
    ----------
    array
        Of numbers or booleans, or of lists of these that have one size.
    """
    if pa.types.is_nested(array.type):
        there = array.drop_null()
        inner = matrix(there.flatten())
        found = np.full((len(array), inner.size // max(len(there), 1)), np.nan, inner.dtype)
        found[array.is_valid().to_numpy(zero_copy_only=False)] = inner.reshape(len(there), found.shape[1])
        return found
    if array.type != pa.float32():
        array = array.cast(pa.float64(), safe=False)
    return np.asarray(array.to_numpy(zero_copy_only=False))[:, None]


__all__ = ["WIDTHS", "binned", "coarser", "matrix", "stored", "width"]

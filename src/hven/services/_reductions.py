"""Samples in fewer bins: mean, peak and lowest value of bins of one width, made from batches in the order of time without a line of Python for each row.

Bins are an array of records: ``number`` (a bin begins at ``number * width`` since 1970, in microseconds), and of each
parameter how many values it has (``n NAME``), their mean (``m NAME``), the largest (``h NAME``) and, of lines, the
lowest one (``l NAME``). A bin that no sample is in is not there: gaps stay gaps. What is NaN or null is no value; a bin
in which all are has none. Whoever moves a window or asks for its next piece meets the same bins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[Any]
    BinRecords = npt.NDArray[np.void]

_MS, _S, _DAY = 1_000, 1_000_000, 86_400_000_000
# each divides the next: microseconds of a bin
WIDTHS = (
    1,
    5,
    20,
    100,
    500,
    2 * _MS,
    10 * _MS,
    50 * _MS,
    250 * _MS,
    _S,
    5 * _S,
    15 * _S,
    60 * _S,
    300 * _S,
    900 * _S,
    3_600 * _S,
    14_400 * _S,
    _DAY,
    5 * _DAY,
    20 * _DAY,
    100 * _DAY,
    500 * _DAY,
)
MIN_SAMPLES_PER_BIN = 15  # samples that a bin of the narrowest kept width stands for, at least


def choose_bin_width(max_gap_microseconds: int, sample_microseconds: float) -> int | None:
    """Choose the width of bins.

    Parameters
    ----------
    max_gap_microseconds
        Microseconds that may lie between two, at most.
    sample_microseconds
        That lie between two samples, about.

    Returns
    -------
    width
        Microseconds: what was asked for; from the narrowest width that is kept on, a few bins of what is kept. None:
        samples are not denser.
    """
    if max_gap_microseconds <= sample_microseconds:
        return None
    widest_kept = max(
        (
            candidate
            for candidate in WIDTHS
            if candidate <= max_gap_microseconds and candidate >= MIN_SAMPLES_PER_BIN * sample_microseconds
        ),
        default=0,
    )
    return max_gap_microseconds // widest_kept * widest_kept if widest_kept else max_gap_microseconds


def reduce_samples(
    batches: Iterable[pa.RecordBatch], bin_microseconds: int, names: Sequence[str]
) -> Iterator[BinRecords]:
    """Reduce samples.

    Parameters
    ----------
    batches
        In the order of time: the first column has microseconds since 1970 (int64).
    bin_microseconds
        Of a bin: microseconds.
    names
        Of columns of numbers, or of lists of numbers of one size.

    Yields
    ------
    bins
        Whole ones: none comes twice.
    """

    def fold_batch(batch: pa.RecordBatch) -> BinRecords:
        sample_values: dict[str, Numbers] = {}
        for name in names:
            values = to_matrix(batch.column(name))
            sample_values |= {f"{letter} {name}": values for letter in "mhl"} | {f"n {name}": ~np.isnan(values)}
        return _fold_bins(np.asarray(batch.column(0), np.int64) // bin_microseconds, sample_values, names)

    return _join_bins(fold_batch(batch) for batch in batches if batch.num_rows)


def reduce_bins(parts: Iterable[BinRecords], factor: int, names: Sequence[str] | None = None) -> Iterator[BinRecords]:
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
    return _join_bins(_fold_bins(part["number"] // factor, part, names) for part in parts if len(part))


def _join_bins(parts: Iterable[BinRecords]) -> Iterator[BinRecords]:
    """Yield whole bins: the last one of a part is kept until the next has begun, for it may go on there."""
    pending_bin: BinRecords | None = None
    for part in parts:
        now = part
        if pending_bin is not None and pending_bin["number"][0] == part["number"][0]:
            both = np.concatenate([pending_bin, part[:1]])
            now = np.concatenate([_fold_bins(both["number"], both), part[1:]])
        elif pending_bin is not None:
            yield pending_bin
        if len(now) > 1:
            yield now[:-1]
        pending_bin = now[-1:]
    if pending_bin is not None:
        yield pending_bin


def _fold_bins(
    numbers: npt.NDArray[np.int64],
    source_values: BinRecords | Mapping[str, Numbers],
    names: Sequence[str] | None = None,
) -> BinRecords:
    """Put bins, or samples as if each were one, into those of these numbers."""
    if names is None:
        names = [name[2:] for name in source_values.dtype.names or () if name[:2] == "n "]  # type: ignore[union-attr]
    starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
    runs = starts, np.diff(starts, append=len(numbers))
    alone = len(starts) == len(numbers)  # each is a bin of its own: its mean is its value
    folded_fields: dict[str, Numbers] = {"number": numbers[starts]}
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # infinite ones of both signs; none at all
        for name in names:
            count, mean, high = (source_values[f"{letter} {name}"] for letter in "nmh")
            folded_fields[f"n {name}"] = _reduce_runs(np.add, count, runs, np.int32)
            if (
                alone
            ):  # of one type always: numpy 2.4 joins arrays of float32 and float64 in such fields to wrong numbers
                folded_fields[f"m {name}"] = mean.astype(np.float64, copy=False)
            else:
                full = count.dtype == bool and count.all()
                total = _reduce_runs(np.add, mean if full else np.where(count, mean * count, 0), runs, np.float64)
                folded_fields[f"m {name}"] = total / folded_fields[f"n {name}"]
            folded_fields[f"h {name}"] = _reduce_runs(np.fmax, high, runs)
            if high.shape[1] == 1:
                folded_fields[f"l {name}"] = _reduce_runs(np.fmin, source_values[f"l {name}"], runs)
    folded_bins = np.empty(
        len(starts), [(name, values.dtype, values.shape[1:]) for name, values in folded_fields.items()]
    )
    for name, values in folded_fields.items():
        folded_bins[name] = values
    return folded_bins


def convert_means(bins: BinRecords) -> BinRecords:
    """Give means the type of their values, as they are kept and sent.

    Parameters
    ----------
    bins
        With means of double precision where several values are in one, to be reduced further.
    """
    fields: Any = bins.dtype.fields
    kinds = [(name, fields[f"h {name[2:]}" if name[:2] == "m " else name][0]) for name in fields]
    return bins.astype(kinds, copy=False)


def _reduce_runs(ufunc: np.ufunc, values: Numbers, runs: tuple[Numbers, Numbers], dtype: Any = None) -> Numbers:
    """Reduce each run of rows; runs of one length together, which is ten times as fast as `reduceat` where rows have many elements."""
    starts, lengths = runs
    if len(starts) == len(values):
        return values.astype(dtype or values.dtype)
    if values.shape[1] == 1:
        return np.asarray(ufunc.reduceat(values, starts, axis=0, dtype=dtype))
    out = np.empty((len(starts), values.shape[1]), dtype or values.dtype)
    for length in np.unique(lengths):
        run_indexes = np.flatnonzero(lengths == length)
        if run_indexes[-1] - run_indexes[0] + 1 == len(run_indexes):
            first = starts[run_indexes[0]]
            part = values[first : first + length * len(run_indexes)].reshape(len(run_indexes), length, -1)
        else:
            part = values[starts[run_indexes][:, None] + np.arange(length)]
        out[run_indexes] = ufunc.reduce(part, axis=1, dtype=dtype)
    return out


def to_matrix(array: pa.Array) -> Numbers:
    """Take the numbers of a column: shape (rows, elements), float32 or float64, NaN where there is none.

    Parameters
    ----------
    array
        Of numbers or booleans, or of lists of these that have one size.
    """
    if pa.types.is_nested(array.type):
        present_lists = array.drop_null()
        inner = to_matrix(present_lists.flatten())
        matrix_values = np.full((len(array), inner.size // max(len(present_lists), 1)), np.nan, inner.dtype)
        matrix_values[array.is_valid().to_numpy(zero_copy_only=False)] = inner.reshape(
            len(present_lists), matrix_values.shape[1]
        )
        return matrix_values
    if array.type != pa.float32():
        array = array.cast(pa.float64(), safe=False)
    return np.asarray(array.to_numpy(zero_copy_only=False))[:, None]


__all__ = ["WIDTHS", "choose_bin_width", "convert_means", "reduce_bins", "reduce_samples", "to_matrix"]

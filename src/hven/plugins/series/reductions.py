"""Reduce samples to bins of one width: mean, maximum and minimum, from batches in the order of time.

Bins are an array of records: ``number`` (a bin begins at ``number * width`` microseconds since 1970), and for each
parameter the number of values (``n NAME``), their mean (``m NAME``), maximum (``h NAME``) and, for scalar parameters,
minimum (``l NAME``). A bin without samples has no record: gaps stay gaps. NaN and null are no values; a bin of such
samples has none. Bins do not depend on the window that is read. No Python code runs for each row.
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
# microseconds of a bin; each divides the next
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
MIN_SAMPLES_PER_BIN = 15  # samples in a bin of the narrowest width that is kept, at least


def choose_bin_width(max_gap_microseconds: int, sample_microseconds: float) -> int | None:
    """Choose the width of bins.

    Parameters
    ----------
    max_gap_microseconds
        Maximum distance of two bins, in microseconds.
    sample_microseconds
        About the distance of two samples, in microseconds.

    Returns
    -------
    width
        Microseconds: the requested distance, rounded down to a multiple of a width that is kept, where one is narrow
        enough. None: samples are not denser than bins.
    """
    if max_gap_microseconds <= sample_microseconds:
        return None
    min_width = MIN_SAMPLES_PER_BIN * sample_microseconds
    kept_widths = [width for width in WIDTHS if min_width <= width <= max_gap_microseconds]
    if not kept_widths:
        return max_gap_microseconds
    widest = max(kept_widths)
    return max_gap_microseconds // widest * widest


def reduce_samples(
    batches: Iterable[pa.RecordBatch], bin_microseconds: int, names: Sequence[str]
) -> Iterator[BinRecords]:
    """Reduce samples to bins.

    Parameters
    ----------
    batches
        Batches in the order of time; the first column has microseconds since 1970 (int64).
    bin_microseconds
        Microseconds of a bin.
    names
        Columns of numbers, or of lists of numbers of one size.

    Yields
    ------
    bins
        Complete bins: none is yielded twice.
    """

    def fold_batch(batch: pa.RecordBatch) -> BinRecords:
        sample_values: dict[str, Numbers] = {}
        for name in names:
            values = to_matrix(batch.column(name))
            sample_values |= {f"{letter} {name}": values for letter in "mhl"}
            sample_values[f"n {name}"] = ~np.isnan(values)
        numbers = np.asarray(batch.column(0), np.int64) // bin_microseconds
        return _fold_bins(numbers, sample_values, names)

    return _join_split_bins(fold_batch(batch) for batch in batches if batch.num_rows)


def reduce_bins(parts: Iterable[BinRecords], factor: int, names: Sequence[str] | None = None) -> Iterator[BinRecords]:
    """Reduce bins to wider ones.

    Parameters
    ----------
    parts
        Bins in the order of time.
    factor
        Number of bins that become one.
    names
        Names of parameters; None for all.

    Yields
    ------
    bins
        Complete bins.
    """
    folded_parts = (_fold_bins(part["number"] // factor, part, names) for part in parts if len(part))
    return _join_split_bins(folded_parts)


def _join_split_bins(bin_chunks: Iterable[BinRecords]) -> Iterator[BinRecords]:
    """Yield complete bins: the last bin of a part is held back, because the next part may continue it."""
    pending_bin: BinRecords | None = None
    for part in bin_chunks:
        bins = part
        if pending_bin is not None and pending_bin["number"][0] == part["number"][0]:
            same_bin = np.concatenate([pending_bin, part[:1]])
            joined_bin = _fold_bins(same_bin["number"], same_bin)
            bins = np.concatenate([joined_bin, part[1:]])
        elif pending_bin is not None:
            yield pending_bin
        if len(bins) > 1:
            yield bins[:-1]
        pending_bin = bins[-1:]
    if pending_bin is not None:
        yield pending_bin


def _fold_bins(
    bin_numbers: npt.NDArray[np.int64],
    source_values: BinRecords | Mapping[str, Numbers],
    names: Sequence[str] | None = None,
) -> BinRecords:
    """Fold bins, or samples as bins of one sample each, into the bins with these numbers."""
    if names is None:
        names = [name[2:] for name in source_values.dtype.names or () if name[:2] == "n "]  # type: ignore[union-attr]
    is_start = np.r_[True, bin_numbers[1:] != bin_numbers[:-1]]
    starts = np.flatnonzero(is_start)
    runs = starts, np.diff(starts, append=len(bin_numbers))
    is_one_to_one = len(starts) == len(bin_numbers)
    fields: dict[str, Numbers] = {"number": bin_numbers[starts]}
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # infinities of both signs; bins without values
        for name in names:
            count, mean, high = (source_values[f"{letter} {name}"] for letter in "nmh")
            fields[f"n {name}"] = _reduce_runs(np.add, count, runs, np.int32)
            if is_one_to_one:  # the mean is the value
                # always float64: numpy 2.4 concatenates such fields of float32 and float64 to wrong numbers
                fields[f"m {name}"] = mean.astype(np.float64, copy=False)
            else:
                has_all_values = count.dtype == bool and count.all()
                if has_all_values:
                    sums = mean
                else:
                    sums = np.where(count, mean * count, 0)
                total = _reduce_runs(np.add, sums, runs, np.float64)
                fields[f"m {name}"] = total / fields[f"n {name}"]
            fields[f"h {name}"] = _reduce_runs(np.fmax, high, runs)
            if high.shape[1] == 1:
                fields[f"l {name}"] = _reduce_runs(np.fmin, source_values[f"l {name}"], runs)
    record_type = [(name, values.dtype, values.shape[1:]) for name, values in fields.items()]
    bins = np.empty(len(starts), record_type)
    for name, values in fields.items():
        bins[name] = values
    return bins


def cast_means_to_value_type(bins: BinRecords) -> BinRecords:
    """Convert means to the type of their values, in which they are kept and sent.

    Parameters
    ----------
    bins
        Bins with means in double precision, as they are needed for further reduction.
    """
    fields: Any = bins.dtype.fields
    record_type = []
    for name in fields:
        type_field = name
        if name[:2] == "m ":
            type_field = f"h {name[2:]}"
        record_type.append((name, fields[type_field][0]))
    return bins.astype(record_type, copy=False)


def _reduce_runs(ufunc: np.ufunc, values: Numbers, runs: tuple[Numbers, Numbers], dtype: Any = None) -> Numbers:
    """Reduce each run of rows.

    Runs of equal length are reduced together: with many elements a row that is ten times as fast as `reduceat`.
    """
    starts, lengths = runs
    if len(starts) == len(values):
        return values.astype(dtype or values.dtype)
    if values.shape[1] == 1:
        return np.asarray(ufunc.reduceat(values, starts, axis=0, dtype=dtype))
    out_shape = (len(starts), values.shape[1])
    out = np.empty(out_shape, dtype or values.dtype)
    for length in np.unique(lengths):
        run_indexes = np.flatnonzero(lengths == length)
        if run_indexes[-1] - run_indexes[0] + 1 == len(run_indexes):
            first = starts[run_indexes[0]]
            run_count = len(run_indexes)
            part = values[first : first + length * run_count].reshape(run_count, length, -1)
        else:
            part = values[starts[run_indexes][:, None] + np.arange(length)]
        out[run_indexes] = ufunc.reduce(part, axis=1, dtype=dtype)
    return out


def to_matrix(array: pa.Array) -> Numbers:
    """Return the numbers of a column: shape (rows, elements), float32 or float64, NaN for null.

    Parameters
    ----------
    array
        Numbers or booleans, or lists of one size of these.
    """
    if pa.types.is_nested(array.type):
        present_lists = array.drop_null()
        elements = to_matrix(present_lists.flatten())
        element_count = elements.size // max(len(present_lists), 1)
        matrix_shape = (len(array), element_count)
        matrix = np.full(matrix_shape, np.nan, elements.dtype)
        is_present = array.is_valid().to_numpy(zero_copy_only=False)
        matrix[is_present] = elements.reshape(len(present_lists), element_count)
        return matrix
    if array.type != pa.float32():
        array = array.cast(pa.float64(), safe=False)
    return np.asarray(array.to_numpy(zero_copy_only=False))[:, None]

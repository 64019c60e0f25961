"""Values as text: whole Arrow columns written as VOTable and DALI literals, and read back, without a loop over rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.cache import cached

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hven.model.types import Type


_WHOLE = re.compile(r"[+-]?[0-9]+")
_CONTROLS = re.compile(rb"[\x00-\x1f]")
_UNFOLDED = 32 << 20  # bytes of dictionaries that are spelt out at once
_PIECE = 1 << 27
_EARLY = 4096  # rows
_STRING, _INT64 = pa.string(), pa.int64()
_ZERO, NULL = pa.scalar(0, _INT64), pa.scalar(None, _STRING)
_YEAR_0, _YEAR_10000 = -62_167_219_200_000_000, 253_402_300_800_000_000  # microseconds since 1970


def number(text: str) -> int | float:
    """Read a number; a whole one stays whole, for a double holds no more than 53 bits of it.

    Raises
    ------
    ValueError
        It is none.
    """
    return int(text) if _WHOLE.fullmatch(text.strip()) else float(text)


def figure(value: float) -> str:
    """Write a number as people do: a whole one with all its digits."""
    return str(value) if isinstance(value, int) else f"{value:.15g}"


@cached(4096)
def word(text: str) -> pa.Scalar:
    """Make an Arrow scalar of a string, once (Arrow takes 35 microseconds to guess the type each time)."""
    return pa.scalar(text, _STRING)


def joined(*parts: pa.Array | str, between: str = "") -> pa.Array:
    """Join columns and words row by row; null where one of them is."""
    return pc.binary_join_element_wise(*(word(part) if isinstance(part, str) else part for part in parts), word(between))


def filled(array: pa.Array, text: str = "") -> pa.Array:
    """Put a word where a string column has nulls."""
    return pc.fill_null(array, word(text)) if array.null_count else array


def storage(array: pa.Array, kind: Type) -> pa.Array:
    """Bring a column to the Arrow storage type of `kind`: whole numbers widen, dictionaries are spelt out.

    Raises
    ------
    pyarrow.ArrowInvalid
        A value does not fit (2**40 in an ``int``).
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # no chunks, or too much for one
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    wanted = kind.arrow
    have = array.type
    if have.equals(wanted):
        return array
    if isinstance(array, pa.ExtensionArray):
        return storage(array.storage, kind)
    if pa.types.is_dictionary(have):
        return storage(array.dictionary_decode(), kind)
    if pa.types.is_fixed_size_list(have) and pa.types.is_list(wanted):
        array = variable(array)
    if pa.types.is_timestamp(have) and have.tz is not None and pa.types.is_timestamp(wanted):
        array = array.cast(pa.timestamp(have.unit, "UTC")).cast(pa.timestamp(have.unit))  # the instant, shown in UTC
    if pa.types.is_timestamp(have) and pa.types.is_timestamp(wanted):
        return array.cast(wanted, safe=False)  # nanoseconds are rounded down to microseconds
    if pa.types.is_decimal(have) and pa.types.is_integer(wanted):
        return array.cast(pa.decimal128(38, 0)).cast(wanted)
    if pa.types.is_binary(have) and pa.types.is_list(wanted):
        offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
        values = pa.Array.from_buffers(pa.uint8(), int(offsets[-1]), [None, array.buffers()[2]])
        return pa.ListArray.from_arrays(pa.array(offsets), values, mask=array.is_null() if array.null_count else None)
    return array.cast(wanted)


def flat(array: pa.Array) -> tuple[np.ndarray[Any, Any], pa.Array]:
    """Unfold a column of lists of any rank: offsets (rows + 1, into the values) and the values of the innermost type.

    A null row is an empty stretch for variable lists and a stretch of undefined values for fixed ones.
    """
    n = len(array)
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        values = array.values.slice(array.offset * size, n * size)
        offsets = np.arange(n + 1, dtype=np.int64) * size
    else:
        if pa.types.is_large_list(array.type):
            array = array.cast(pa.list_(array.type.value_type))
        offsets = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        first = int(offsets[0]) if len(offsets) else 0
        if not len(offsets):
            offsets = np.zeros(1, np.int64)
        values = array.values.slice(first, int(offsets[-1]) - first)
        offsets = offsets - first
        if array.null_count:
            offsets, values = _close_nulls(array, offsets, values)
    if pa.types.is_nested(values.type):
        inner, values = flat(values)
        offsets = inner[offsets]
    return offsets, values


def _close_nulls(array: pa.Array, offsets: np.ndarray[Any, Any], values: pa.Array) -> tuple[np.ndarray[Any, Any], pa.Array]:
    """Remove what stands behind null rows: Arrow allows a null row to have a length."""
    null = array.is_null().to_numpy(zero_copy_only=False)
    lengths = np.diff(offsets)
    if not lengths[null].any():
        return offsets, values
    keep = np.repeat(~null, lengths)
    lengths[null] = 0
    return np.concatenate([[0], np.cumsum(lengths)]), values.filter(pa.array(keep))


def variable(array: pa.Array) -> pa.Array:
    """Turn fixed-size lists into variable ones, nulls kept; variable ones are given back."""
    if not pa.types.is_fixed_size_list(array.type):
        return array
    offsets, values = np.arange(len(array) + 1, dtype=np.int32) * array.type.list_size, array.values
    values = values.slice(array.offset * array.type.list_size, len(array) * array.type.list_size)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=array.is_null() if array.null_count else None)


def characters(array: pa.Array) -> memoryview:
    """Show all bytes of a string or binary column as they stand in memory, one row's after the other's."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return memoryview(b"")
    ends = memoryview(offsets).cast("i")
    return memoryview(data)[ends[array.offset] : ends[array.offset + len(array)]]


def pieces(batch: pa.RecordBatch, per_row: int) -> Iterator[pa.RecordBatch]:
    """Cut a batch so that what is written of each piece stays well below Arrow's 2 GiB per string column.

    Parameters
    ----------
    per_row
        Bytes that writing adds to each row: tags, separators, padding.
    """
    if not batch.num_rows:
        return
    # columns may share their buffers, but none has more than there is; to count what each has takes longer than to write a row
    if per_row * batch.num_rows + 4 * batch.num_columns * batch.get_total_buffer_size() < _PIECE:
        yield batch
        return
    step = max(1, _PIECE // (per_row + 4 * batch.nbytes // batch.num_rows + 1))
    for start in range(0, batch.num_rows, step):
        yield batch if step >= batch.num_rows else batch.slice(start, step)


def unfolding(batch: pa.RecordBatch, most: int = _UNFOLDED) -> Iterator[pa.RecordBatch]:
    """Cut a batch so that no piece takes more than `most` bytes when its dictionaries are spelt out: a long text is kept once.

    Raises
    ------
    ValueError
        One row takes more.
    """
    width = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        width += _widths(column)
    if width.sum() <= most:
        yield batch
        return
    if width.max() > most:
        raise ValueError(f"the texts of one row take {width.max():,} bytes; the limit is {most:,}")
    ends = np.cumsum(width)
    start = 0
    while start < batch.num_rows:
        stop = max(start + 1, int(np.searchsorted(ends, most + (ends[start - 1] if start else 0), "right")))
        yield batch.slice(start, stop - start)
        start = stop


def _widths(array: pa.Array) -> np.ndarray[Any, Any]:
    """Count the bytes of each row's texts that stand in a dictionary."""
    if isinstance(array, pa.ExtensionArray):
        return _widths(array.storage)
    if pa.types.is_dictionary(array.type):
        kept = array.dictionary
        if len(kept) == 0:
            return np.zeros(len(array), np.int64)
        binary = pa.types.is_string(kept.type) or pa.types.is_large_string(kept.type) or pa.types.is_binary(kept.type)
        sizes = (
            np.asarray(pc.fill_null(pc.binary_length(kept), 0), np.int64)
            if binary
            else _widths(kept) + np.full(len(kept), kept.nbytes // len(kept))
        )
        return np.where(np.asarray(array.is_valid()), sizes[np.asarray(pc.fill_null(array.indices, 0))], 0)
    if pa.types.is_string_view(array.type):  # several may be of the same characters
        lengths = np.frombuffer(array.buffers()[1], "<i4").reshape(-1, 4)[array.offset : array.offset + len(array), 0]
        return np.where(np.asarray(array.is_valid()), lengths, 0).astype(np.int64)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        lists = variable(array)
        inner = np.concatenate([[0], np.cumsum(_widths(lists.values))])
        offsets = np.asarray(lists.offsets)
        counted: np.ndarray[Any, Any] = inner[offsets[1:]] - inner[offsets[:-1]]
        return counted
    return np.zeros(len(array), np.int64)


def early(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut the first batch in two, so that the first bytes leave after a few milliseconds whatever its size."""
    first = True
    for batch in batches:
        if first and batch.num_rows > 2 * _EARLY:
            yield batch.slice(0, _EARLY)
            yield batch.slice(_EARLY)
        else:
            yield batch
        first = False


def text(array: pa.Array, kind: Type, *, null: str | None = None) -> pa.Array:
    """Write a column as DALI literals; nulls stay null.

    Elements of arrays are separated by blanks; arrays of strings become a JSON list.

    Parameters
    ----------
    array
        In the storage type of `kind` (see `storage`).
    null
        Text for null elements inside arrays of whole numbers; others become ``NaN`` and ``?``.

    Raises
    ------
    ValueError
        A null element in an array of whole numbers, and no `null` for it.
    """
    if kind.is_timestamp:
        return timestamps(array)
    if not pa.types.is_nested(array.type):
        return _scalars(array, kind)
    offsets, values = flat(variable(array) if array.null_count else array)
    if pa.types.is_string(values.type):
        parts, between, ends = filled(json_strings(values), "null"), ",", ("[", "]")
    else:
        parts, between, ends = _elements(values, kind, null), " ", ("", "")
    lists = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), parts)
    shown = pc.binary_join(lists, word(between))
    if ends[0]:
        shown = joined(ends[0], shown, ends[1])
    return pc.if_else(array.is_valid(), shown, NULL) if array.null_count else shown


def _elements(values: pa.Array, kind: Type, null: str | None) -> pa.Array:
    parts = _scalars(values, kind)
    if not parts.null_count:
        return parts
    if pa.types.is_floating(values.type):
        return filled(parts, "NaN")
    if pa.types.is_boolean(values.type):
        if kind.datatype == "bit":
            raise ValueError("a bit array cannot hold a null element")
        return filled(parts, "?")
    if null is None:
        raise ValueError("an array of whole numbers holds a null element, and the column has no null value for it")
    return filled(parts, null)


def _scalars(array: pa.Array, kind: Type) -> pa.Array:
    if pa.types.is_string(array.type):
        return array
    if kind.datatype == "bit":
        return array.cast(pa.int8()).cast(_STRING)
    shown = array.cast(_STRING)
    if pa.types.is_floating(array.type):
        values = array.to_numpy(zero_copy_only=False)
        if not np.isfinite(values).all():
            shown = pc.if_else(pc.is_nan(array), word("NaN"), shown)
            if np.isinf(values).any():
                shown = pc.if_else(
                    pc.is_inf(array), pc.if_else(pc.greater(array, pa.scalar(0, array.type)), word("+Inf"), word("-Inf")), shown
                )
    return shown


def timestamps(array: pa.Array) -> pa.Array:
    """Write timestamps in DALI's form: ``2020-01-01T00:00:00``, with a fraction of a second only where there is one."""
    values = pc.fill_null(array.cast(_INT64), _ZERO).to_numpy() if array.null_count else array.cast(_INT64).to_numpy()
    if len(values) and not (int(values.min()) >= _YEAR_0 and int(values.max()) < _YEAR_10000):
        shown = _long_years(values)
        return pc.if_else(array.is_valid(), shown, NULL) if array.null_count else shown
    seconds, micro = np.divmod(values, 1_000_000)
    whole = pa.Array.from_buffers(pa.timestamp("s"), len(values), [None, pa.py_buffer(seconds)])
    shown = pc.binary_replace_slice(whole.cast(_STRING), 10, 11, "T")
    if micro.any():
        digits = pc.utf8_slice_codeunits(pa.array(micro + 1_000_000).cast(_STRING), 1)
        some = pa.array(micro != 0)
        shown = pc.if_else(some, joined(shown, pc.utf8_rtrim(digits, characters="0"), between="."), shown)
    return pc.if_else(array.is_valid(), shown, NULL) if array.null_count else shown


def _long_years(values: np.ndarray[Any, Any]) -> pa.Array:
    """Do the same where years have a sign or more than four digits: rare, and Arrow knows no years beyond 32767."""
    shown = pa.array(np.datetime_as_string(values.view("M8[us]")), _STRING)
    return pc.utf8_rtrim(pc.utf8_rtrim(shown, characters="0"), characters=".")  # there are six digits after a point


def json_strings(array: pa.Array) -> pa.Array:
    """Write strings as JSON does, in quotes; nulls stay null."""
    data = bytes(characters(array))
    shown = array
    if b"\\" in data or b'"' in data:
        shown = pc.replace_substring(pc.replace_substring(shown, "\\", "\\\\"), '"', '\\"')
    for code in sorted({found[0] for found in _CONTROLS.findall(data)}):
        shown = pc.replace_substring(shown, chr(code), f"\\u{code:04x}")
    return joined('"', shown, '"')

"""Values and their texts: whole Arrow columns as VOTable and DALI literals and back, and hashed, without a loop over rows; forms of dates.

Common
------
array, values
    A column as Arrow has it, shape (n,).
texts
    Strings, shape (n,).
text
    A single one.
column_type, target_type
    The type of the column.
words
    Some texts of a column, as samples.
returns : pa.Array
    A value for each row, shape (n,), in one piece; nulls stay null where nothing else is said.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import cache_results
from hven.model._exact_numbers import InvalidLiteralError as InvalidLiteralError  # noqa: PLC0414
from hven.model._exact_numbers import can_lose_digits as can_lose_digits  # noqa: PLC0414
from hven.model._exact_numbers import find_overflow as find_overflow  # noqa: PLC0414
from hven.model._exact_numbers import find_rounded_integers as find_rounded_integers  # noqa: PLC0414
from hven.model._exact_numbers import refuse_overflow
from hven.model._time_parsing import TIME_SYNTAX_HELP as TIME_SYNTAX_HELP  # noqa: PLC0414
from hven.model._time_parsing import find_times_outside_years as find_times_outside_years  # noqa: PLC0414
from hven.model._time_parsing import is_plain_time as is_plain_time  # noqa: PLC0414
from hven.model._time_parsing import parse_times as parse_times  # noqa: PLC0414
from hven.model._time_parsing import to_plain_time as to_plain_time  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.model.types import Type

    Hashes = npt.NDArray[np.uint64]
    Flags = npt.NDArray[np.bool_]
    Ints = np.ndarray[Any, Any]

_INTEGER_PATTERN = re.compile(r"[+-]?[0-9]+")
_CONTROL_CHARACTERS_PATTERN = re.compile(rb"[\x00-\x1f]")
_MAX_EXPANDED_BYTES = 32 << 20  # bytes of dictionaries that are spelt out at once
_MAX_PIECE_BYTES = 1 << 27
_FIRST_PIECE_ROWS = 4096  # rows
_STRING_TYPE, _INT64_TYPE = pa.string(), pa.int64()
_ZERO_SCALAR, NULL_STRING = pa.scalar(0, _INT64_TYPE), pa.scalar(None, _STRING_TYPE)
_YEAR_0_MICROSECONDS, _YEAR_10000_MICROSECONDS = (
    -62_167_219_200_000_000,
    253_402_300_800_000_000,
)  # microseconds since 1970


def parse_number(text: str) -> int | float:
    """Return the number (dimensionless) that a text says.

    A whole one stays whole, for a double holds no more than 53 bits of it.

    Parameters
    ----------
    text
        Blanks around it do not matter.

    Raises
    ------
    ValueError
        It is none.
    """
    if _INTEGER_PATTERN.fullmatch(text.strip()):
        return int(text)
    return float(text)


def format_number(value: float) -> str:
    """Return a number's text as people write it: a whole one with all its digits, a fraction with at most 15.

    Parameters
    ----------
    value
        Dimensionless.
    """
    if isinstance(value, int):
        return str(value)
    return f"{value:.15g}"


@cache_results(4096)
def to_string_scalar(text: str) -> pa.Scalar:
    """Return a string as an Arrow scalar, made once (Arrow takes 35 microseconds to guess the type each time).

    The last 4,096 are kept.
    """
    return pa.scalar(text, _STRING_TYPE)


def join_columns(*parts: pa.Array | str, separator: str = "") -> pa.Array:
    """Concatenate columns and words row by row; null where one of them is.

    Parameters
    ----------
    parts
        Strings of shape (n,), and words for all rows.
    separator
        What stands between two parts.
    """
    columns = (to_string_scalar(part) if isinstance(part, str) else part for part in parts)
    return pc.binary_join_element_wise(*columns, to_string_scalar(separator))


def fill_nulls(array: pa.Array, text: str = "") -> pa.Array:
    """Replace the nulls of a string column by a text; the same object is returned if there are none."""
    if array.null_count:
        return pc.fill_null(array, to_string_scalar(text))
    return array


def cast_to_storage(array: pa.Array, column_type: Type) -> pa.Array:
    """Cast a column to the Arrow storage type of `column_type`: whole numbers widen, dictionaries are spelt out.

    Raises
    ------
    pyarrow.ArrowInvalid
        A value does not fit (2**40 in an ``int``).
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # no chunks, or too much for one
            if array.num_chunks:
                array = pa.concat_arrays(array.chunks)
            else:
                array = pa.array([], array.type)
    target_type = column_type.arrow
    source_type = array.type
    if source_type.equals(target_type):
        return array
    if isinstance(array, pa.ExtensionArray):
        return cast_to_storage(array.storage, column_type)
    if pa.types.is_dictionary(source_type):
        return cast_to_storage(array.dictionary_decode(), column_type)
    if pa.types.is_fixed_size_list(source_type) and pa.types.is_list(target_type):
        array = to_variable_lists(array)
    if pa.types.is_timestamp(source_type) and source_type.tz is not None and pa.types.is_timestamp(target_type):
        array = array.cast(pa.timestamp(source_type.unit, "UTC")).cast(
            pa.timestamp(source_type.unit)
        )  # the instant, shown in UTC
    if pa.types.is_timestamp(source_type) and pa.types.is_timestamp(target_type):
        return array.cast(target_type, safe=False)  # nanoseconds are rounded down to microseconds
    if pa.types.is_decimal(source_type) and pa.types.is_integer(target_type):
        return array.cast(pa.decimal128(38, 0)).cast(target_type)
    if pa.types.is_binary(source_type) and pa.types.is_list(target_type):
        offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
        values = pa.Array.from_buffers(pa.uint8(), int(offsets[-1]), [None, array.buffers()[2]])
        return pa.ListArray.from_arrays(pa.array(offsets), values, mask=array.is_null() if array.null_count else None)
    return array.cast(target_type)


def cast_or_null(values: pa.Array, target_type: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Return values as cast, null where that fails, and where that is (booleans of shape (n,), or None).

    Found by halving, so that few faults cost few casts.
    """
    try:
        return values.cast(target_type), None
    except pa.ArrowInvalid:
        if len(values) == 1:
            return pa.nulls(1, target_type), pa.array([True])
    middle = len(values) // 2
    halves = [cast_or_null(values[:middle], target_type), cast_or_null(values[middle:], target_type)]
    is_invalid = [
        pa.array(np.zeros(len(cast_values), bool)) if invalid is None else invalid for cast_values, invalid in halves
    ]
    return pa.concat_arrays([cast_values for cast_values, _ in halves]), pa.concat_arrays(is_invalid)


def flatten_lists(array: pa.Array) -> tuple[Ints, pa.Array]:
    """Flatten a column of lists of any rank.

    A null row is an empty stretch for variable lists and a stretch of undefined values for fixed ones.

    Returns
    -------
    offsets
        Where each row begins in `parse_column`, and the end; shape (n + 1,).
    values
        Of the innermost type, shape (m,).
    """
    row_count = len(array)
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        values = array.values.slice(array.offset * size, row_count * size)
        offsets = np.arange(row_count + 1, dtype=np.int64) * size
    else:
        if pa.types.is_large_list(array.type):
            array = array.cast(pa.list_(array.type.value_type))
        offsets = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        if len(offsets):
            first_offset = int(offsets[0])
        else:
            first_offset = 0
        if not len(offsets):
            offsets = np.zeros(1, np.int64)
        values = array.values.slice(first_offset, int(offsets[-1]) - first_offset)
        offsets = offsets - first_offset
        if array.null_count:
            offsets, values = _remove_values_of_nulls(array, offsets, values)
    if pa.types.is_nested(values.type):
        inner_offsets, values = flatten_lists(values)
        offsets = inner_offsets[offsets]
    return offsets, values


def _remove_values_of_nulls(array: pa.Array, offsets: Ints, values: pa.Array) -> tuple[Ints, pa.Array]:
    """Remove what stands behind null rows: Arrow allows a null row to have a length."""
    is_null = array.is_null().to_numpy(zero_copy_only=False)
    lengths = np.diff(offsets)
    if not lengths[is_null].any():
        return offsets, values
    is_valid = np.repeat(~is_null, lengths)
    lengths[is_null] = 0
    return np.concatenate([[0], np.cumsum(lengths)]), values.filter(pa.array(is_valid))


def to_variable_lists(array: pa.Array) -> pa.Array:
    """Convert fixed-size lists to variable ones, nulls kept.

    The same object is returned if it has variable ones already.
    """
    if not pa.types.is_fixed_size_list(array.type):
        return array
    offsets = np.arange(len(array) + 1, dtype=np.int32) * array.type.list_size
    values = array.values
    values = values.slice(array.offset * array.type.list_size, len(array) * array.type.list_size)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=array.is_null() if array.null_count else None)


def view_bytes(array: pa.Array) -> memoryview:
    """Return a view of all bytes of a string or binary column as they stand in memory, one row's after the other's."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return memoryview(b"")
    ends = memoryview(offsets).cast("i")
    return memoryview(data)[ends[array.offset] : ends[array.offset + len(array)]]


def split_batch(batch: pa.RecordBatch, added_row_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield a batch in pieces of one row at least, so that what is written of each stays well below Arrow's 2 GiB per string column.

    Parameters
    ----------
    batch
        The rows.
    added_row_bytes
        Bytes that writing adds to each row: tags, separators, padding.
    """
    if not batch.num_rows:
        return
    # columns may share their buffers, but none has more than there is; to count what each has takes longer than to
    # write a row
    if added_row_bytes * batch.num_rows + 4 * batch.num_columns * batch.get_total_buffer_size() < _MAX_PIECE_BYTES:
        yield batch
        return
    step = max(1, _MAX_PIECE_BYTES // (added_row_bytes + 4 * batch.nbytes // batch.num_rows + 1))
    for start in range(0, batch.num_rows, step):
        yield batch if step >= batch.num_rows else batch.slice(start, step)


def split_by_expanded_size(batch: pa.RecordBatch, byte_limit: int = _MAX_EXPANDED_BYTES) -> Iterator[pa.RecordBatch]:
    """Yield a batch in pieces that take at most `byte_limit` bytes when their dictionaries are spelt out.

    A long text is kept once.

    Parameters
    ----------
    batch
        The rows.
    byte_limit
        Bytes.

    Raises
    ------
    ValueError
        One row takes more.
    """
    row_bytes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        row_bytes += _count_expanded_bytes(column)
    if row_bytes.sum() <= byte_limit:
        yield batch
        return
    if row_bytes.max() > byte_limit:
        raise ValueError(f"the texts of one row take {row_bytes.max():,} bytes; the limit is {byte_limit:,}")
    ends = np.cumsum(row_bytes)
    start = 0
    while start < batch.num_rows:
        stop = max(start + 1, int(np.searchsorted(ends, byte_limit + (ends[start - 1] if start else 0), "right")))
        yield batch.slice(start, stop - start)
        start = stop


def _count_expanded_bytes(array: pa.Array) -> Ints:
    """Count the bytes of each row's texts that stand in a dictionary."""
    if isinstance(array, pa.ExtensionArray):
        return _count_expanded_bytes(array.storage)
    if pa.types.is_dictionary(array.type):
        dictionary = array.dictionary
        if len(dictionary) == 0:
            return np.zeros(len(array), np.int64)
        is_binary = (
            pa.types.is_string(dictionary.type)
            or pa.types.is_large_string(dictionary.type)
            or pa.types.is_binary(dictionary.type)
        )
        if is_binary:
            sizes = np.asarray(pc.fill_null(pc.binary_length(dictionary), 0), np.int64)
        else:
            sizes = _count_expanded_bytes(dictionary) + np.full(len(dictionary), dictionary.nbytes // len(dictionary))
        return np.where(np.asarray(array.is_valid()), sizes[np.asarray(pc.fill_null(array.indices, 0))], 0)
    if pa.types.is_string_view(array.type):  # several may be of the same characters
        lengths = np.frombuffer(array.buffers()[1], "<i4").reshape(-1, 4)[array.offset : array.offset + len(array), 0]
        return np.where(np.asarray(array.is_valid()), lengths, 0).astype(np.int64)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        lists = to_variable_lists(array)
        expanded_byte_count = _count_expanded_bytes(lists.values)
        cumulative_bytes = np.concatenate([[0], np.cumsum(expanded_byte_count)])
        offsets = np.asarray(lists.offsets)
        row_bytes: Ints = cumulative_bytes[offsets[1:]] - cumulative_bytes[offsets[:-1]]
        return row_bytes
    return np.zeros(len(array), np.int64)


def split_first_batch(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in the same order, the first batch split in two.

    Its first bytes leave after a few milliseconds whatever its size.

    Parameters
    ----------
    batches
        Of any size.
    """
    is_first = True
    for batch in batches:
        if is_first and batch.num_rows > 2 * _FIRST_PIECE_ROWS:
            yield batch.slice(0, _FIRST_PIECE_ROWS)
            yield batch.slice(_FIRST_PIECE_ROWS)
        else:
            yield batch
        is_first = False


def format_column(array: pa.Array, column_type: Type, *, null_text: str | None = None) -> pa.Array:
    """Serialize a column as DALI literals; nulls stay null (DALI 1.1, 3.3).

    Elements of arrays are separated by blanks; arrays of strings become a JSON list.

    Parameters
    ----------
    array
        In the storage type of `column_type` (see `cast_to_storage`), shape (n,).
    null_text
        Text for null elements inside arrays of whole numbers; others become ``NaN`` and ``?``.

    Raises
    ------
    ValueError
        A null element in an array of whole numbers, and no `null_text` for it.
    """
    if column_type.is_timestamp:
        return format_timestamps(array)
    if not pa.types.is_nested(array.type):
        return _format_scalars(array, column_type)
    offsets, values = flatten_lists(to_variable_lists(array) if array.null_count else array)
    if pa.types.is_string(values.type):
        parts = fill_nulls(quote_json_strings(values), "null")
        separator = ","
        brackets = ("[", "]")
    else:
        parts = _format_elements(values, column_type, null_text)
        separator = " "
        brackets = ("", "")
    lists = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), parts)
    texts = pc.binary_join(lists, to_string_scalar(separator))
    if brackets[0]:
        texts = join_columns(brackets[0], texts, brackets[1])
    if array.null_count:
        return pc.if_else(array.is_valid(), texts, NULL_STRING)
    return texts


def _format_elements(values: pa.Array, column_type: Type, null_text: str | None) -> pa.Array:
    parts = _format_scalars(values, column_type)
    if not parts.null_count:
        return parts
    if pa.types.is_floating(values.type):
        return fill_nulls(parts, "NaN")
    if pa.types.is_boolean(values.type):
        if column_type.datatype == "bit":
            raise ValueError("a bit array cannot hold a null element")
        return fill_nulls(parts, "?")
    if null_text is None:
        raise ValueError("an array of whole numbers holds a null element, and the column has no null value for it")
    return fill_nulls(parts, null_text)


def _format_scalars(array: pa.Array, column_type: Type) -> pa.Array:
    if pa.types.is_string(array.type):
        return array
    if column_type.datatype == "bit":
        return array.cast(pa.int8()).cast(_STRING_TYPE)
    texts = array.cast(_STRING_TYPE)
    if pa.types.is_floating(array.type):
        values = array.to_numpy(zero_copy_only=False)
        if not np.isfinite(values).all():
            texts = pc.if_else(pc.is_nan(array), to_string_scalar("NaN"), texts)
            if np.isinf(values).any():
                texts = pc.if_else(
                    pc.is_inf(array),
                    pc.if_else(
                        pc.greater(array, pa.scalar(0, array.type)), to_string_scalar("+Inf"), to_string_scalar("-Inf")
                    ),
                    texts,
                )
    return texts


def format_timestamps(array: pa.Array) -> pa.Array:
    """Format timestamps in DALI's form (DALI 1.1, 3.3.3).

    ``2020-01-01T00:00:00``, with a fraction of a second only where there is one.

    Parameters
    ----------
    array
        Microseconds, shape (n,).
    """
    if array.null_count:
        values = pc.fill_null(array.cast(_INT64_TYPE), _ZERO_SCALAR).to_numpy()
    else:
        values = array.cast(_INT64_TYPE).to_numpy()
    if len(values) and not (int(values.min()) >= _YEAR_0_MICROSECONDS and int(values.max()) < _YEAR_10000_MICROSECONDS):
        texts = _format_unusual_years(values)
        if array.null_count:
            return pc.if_else(array.is_valid(), texts, NULL_STRING)
        return texts
    seconds, microseconds = np.divmod(values, 1_000_000)
    whole_seconds = pa.Array.from_buffers(pa.timestamp("s"), len(values), [None, pa.py_buffer(seconds)])
    texts = pc.binary_replace_slice(whole_seconds.cast(_STRING_TYPE), 10, 11, "T")
    if microseconds.any():
        digits = pc.utf8_slice_codeunits(pa.array(microseconds + 1_000_000).cast(_STRING_TYPE), 1)
        has_fraction = pa.array(microseconds != 0)
        texts = pc.if_else(
            has_fraction, join_columns(texts, pc.utf8_rtrim(digits, characters="0"), separator="."), texts
        )
    if array.null_count:
        return pc.if_else(array.is_valid(), texts, NULL_STRING)
    return texts


def _format_unusual_years(values: Ints) -> pa.Array:
    """Write times whose years have a sign or more than four digits: rare, and Arrow knows no years beyond 32767."""
    texts = pa.array(np.datetime_as_string(values.view("M8[us]")), _STRING_TYPE)
    return pc.utf8_rtrim(pc.utf8_rtrim(texts, characters="0"), characters=".")  # there are six digits after a point


def quote_json_strings(array: pa.Array) -> pa.Array:
    """Quote and escape strings as JSON does; nulls stay null."""
    data = bytes(view_bytes(array))
    quoted_texts = array
    if b"\\" in data or b'"' in data:
        quoted_texts = pc.replace_substring(pc.replace_substring(quoted_texts, "\\", "\\\\"), '"', '\\"')
    for code in sorted({character[0] for character in _CONTROL_CHARACTERS_PATTERN.findall(data)}):
        quoted_texts = pc.replace_substring(quoted_texts, chr(code), f"\\u{code:04x}")
    return join_columns('"', quoted_texts, '"')


_TRUE_WORDS, _FALSE_WORDS = pa.array(["t", "true", "1", "y", "yes"]), pa.array(["f", "false", "0", "n", "no"])
_MISSING_NUMBER_WORDS = pa.array(
    ["null", "-", "--", "n/a", "none"]
)  # what services write for missing numbers, against the standard
_UNKNOWN_BOOLEAN_WORDS = pa.array(["?", "", "\0"])


def parse_column(texts: pa.Array, column_type: Type, null_text: str | None = None) -> pa.Array:
    """Parse a string column as values of `column_type` (its storage type); empty text is null.

    Parameters
    ----------
    texts
        DALI literals, shape (n,).
    null_text
        VALUES/@null: this value, however it is spelt, is null too, inside arrays as well.

    Raises
    ------
    InvalidLiteralError
        The first text that cannot be read.
    """
    if column_type.is_timestamp:
        return _parse_timestamps(_replace_blanks_with_null(texts, null_text), column_type)
    if pa.types.is_string(column_type.arrow):
        return _parse_strings(texts, null_text)
    if not pa.types.is_nested(column_type.arrow):
        return _parse_scalars(_replace_blanks_with_null(texts, None), column_type, null_text)
    if column_type.datatype in {"char", "unicodeChar"}:
        return split_string_arrays(texts, column_type)
    return _parse_arrays(_replace_blanks_with_null(texts, None), column_type, null_text)


def _parse_strings(texts: pa.Array, null_text: str | None) -> pa.Array:
    if null_text:
        is_null = pc.equal(texts, to_string_scalar(null_text))
    else:
        is_null = pc.equal(pc.binary_length(texts), pa.scalar(0, pa.int32()))
    if null_text:
        is_null = pc.or_(is_null, pc.equal(texts, to_string_scalar("")))
    if pc.any(is_null).as_py():
        return pc.if_else(is_null, NULL_STRING, texts)
    return texts


def _replace_blanks_with_null(texts: pa.Array, null_text: str | None) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(texts)
    is_null = pc.equal(trimmed, to_string_scalar(""))
    if null_text:
        is_null = pc.or_(is_null, pc.equal(trimmed, to_string_scalar(null_text.strip())))
    if pc.any(is_null).as_py():
        return pc.if_else(is_null, NULL_STRING, trimmed)
    return trimmed


def _parse_scalars(texts: pa.Array, column_type: Type, null_text: str | None) -> pa.Array:
    """Read trimmed words."""
    storage_type = column_type.scalar.arrow
    if pa.types.is_boolean(storage_type):
        return _parse_booleans(texts, column_type)
    try:
        values = texts.cast(storage_type)
    except pa.ArrowInvalid:
        values = _parse_unusual_numbers(texts, column_type, storage_type)
    refuse_overflow(texts, values, column_type)
    if null_text:
        try:
            null_value = to_string_scalar(null_text.strip()).cast(storage_type)
        except pa.ArrowInvalid:
            return values  # it cannot occur among values that were all read
        values = pc.if_else(pc.equal(values, null_value), pa.scalar(None, storage_type), values)
    return values


def _parse_unusual_numbers(texts: pa.Array, column_type: Type, storage_type: pa.DataType) -> pa.Array:
    """Read what Arrow does not: ``+5``, ``5.0`` for a whole number, ``1d5``, ``null`` and ``-``.

    Or say which row is wrong.
    """
    texts = pc.if_else(pc.is_in(pc.utf8_lower(texts), value_set=_MISSING_NUMBER_WORDS), NULL_STRING, texts)
    plain_texts = pc.replace_substring_regex(texts, r"^\+", "")
    if pa.types.is_floating(storage_type):
        plain_texts = pc.replace_substring_regex(plain_texts, r"[dD]([+-]?\d+)$", r"e\1")
        pattern = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|(?i)^[+-]?(nan|inf|infinity)$"
    else:
        plain_texts = pc.replace_substring_regex(plain_texts, r"^([+-]?\d+)\.0*$", r"\1")
        pattern = r"^-?\d+$|^0[xX][0-9a-fA-F]+$"
    is_invalid = pc.invert(pc.fill_null(pc.match_substring_regex(plain_texts, pattern), True))
    if pc.any(is_invalid).as_py():
        row = pc.index(is_invalid, True).as_py()
        raise InvalidLiteralError(row, texts[row].as_py(), column_type)
    try:
        return plain_texts.cast(storage_type)
    except pa.ArrowInvalid:
        row = _find_first_invalid(plain_texts, storage_type)
        raise InvalidLiteralError(row, texts[row].as_py(), column_type, "too large") from None


def _find_first_invalid(texts: pa.Array, storage_type: pa.DataType) -> int:
    """Find the first row that does not convert, by halving."""
    low = 0
    high = len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            texts.slice(low, middle - low).cast(storage_type)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def _parse_booleans(texts: pa.Array, column_type: Type) -> pa.Array:
    lower_texts = pc.utf8_lower(texts)
    is_true = pc.is_in(lower_texts, value_set=_TRUE_WORDS)
    is_false = pc.is_in(lower_texts, value_set=_FALSE_WORDS)
    is_boolean = pc.or_(is_true, is_false)
    is_invalid = pc.invert(
        pc.or_(is_boolean, pc.or_(pc.is_in(lower_texts, value_set=_UNKNOWN_BOOLEAN_WORDS), texts.is_null()))
    )
    if pc.any(is_invalid).as_py():
        row = pc.index(is_invalid, True).as_py()
        raise InvalidLiteralError(row, texts[row].as_py(), column_type)
    return pc.if_else(is_boolean, is_true, pa.scalar(None, pa.bool_()))


def _parse_timestamps(texts: pa.Array, column_type: Type) -> pa.Array:
    """Read DALI timestamps."""
    values, is_invalid = parse_times(texts)
    if is_invalid is not None:
        row = pc.index(is_invalid, True).as_py()
        raise InvalidLiteralError(row, texts[row].as_py(), column_type, f"{TIME_SYNTAX_HELP} is expected")
    return values.cast(column_type.arrow)


def _parse_arrays(texts: pa.Array, column_type: Type, null_text: str | None) -> pa.Array:
    if column_type.datatype == "bit":  # a run of 0 and 1, with or without blanks
        runs = pc.replace_substring_regex(texts, r"\s+", "")
        bit_texts = fill_nulls(runs)
        offsets = _lengths_to_offsets(pc.binary_length(bit_texts).to_numpy())
        characters = np.frombuffer(view_bytes(bit_texts), np.uint8)
        is_invalid = (characters != ord("0")) & (characters != ord("1"))
        if is_invalid.any():
            row = int(np.searchsorted(offsets, int(np.argmax(is_invalid)), side="right")) - 1
            raise InvalidLiteralError(row, texts[row].as_py(), column_type)
        return _fold_parsed_values(offsets, pa.array(characters == ord("1")), texts, column_type)
    parts = pc.utf8_split_whitespace(texts)
    offsets = parts.offsets.to_numpy().astype(np.int64)
    words = parts.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    offsets = offsets - offsets[0]
    try:
        values = _parse_elements(words, column_type, null_text)
    except InvalidLiteralError as error:
        row = int(np.searchsorted(offsets, error.row, side="right")) - 1
        raise InvalidLiteralError(row, texts[row].as_py(), column_type) from None
    return _fold_parsed_values(offsets, values, texts, column_type)


def _parse_elements(words: pa.Array, column_type: Type, null_text: str | None) -> pa.Array:
    if column_type.scalar.rank or column_type.datatype == "boolean":
        values = _parse_scalars(words, column_type, null_text)
    else:
        values = None
    if values is None:  # complex: pairs
        if column_type.datatype == "floatComplex":
            part_type = pa.float32()
        else:
            part_type = pa.float64()
        try:
            values = words.cast(part_type)
        except pa.ArrowInvalid:
            values = _parse_unusual_numbers(words, column_type, part_type)
        refuse_overflow(words, values, column_type)
    return values


def _fold_parsed_values(offsets: Ints, flat_values: pa.Array, texts: pa.Array, column_type: Type) -> pa.Array:
    return fold_values(
        offsets,
        flat_values,
        texts.is_null().to_numpy(zero_copy_only=False),
        column_type,
        lambda row: texts[row].as_py(),
    )


def fold_values(
    offsets: Ints, flat_values: pa.Array, is_null: Ints | None, column_type: Type, format_row: Any = None
) -> pa.Array:
    """Fold flat values into the storage type of `column_type`.

    Parameters
    ----------
    offsets
        Where each row begins in `flat_values`, and the end; shape (n + 1,).
    flat_values
        Values of the innermost type, shape (m,).
    is_null
        True for rows that are null as a whole, shape (n,).
    format_row
        A function that returns the text of a row, for the message of a fault; None: no text is shown.

    Raises
    ------
    InvalidLiteralError
        A row has not the number of values that `column_type` says.
    """
    storage_type = column_type.arrow
    is_complex = column_type.datatype in {"floatComplex", "doubleComplex"}
    if is_complex:
        if column_type.arraysize is None:
            return _fold_fixed_lists(offsets, flat_values, is_null, column_type, format_row)
        lengths = np.diff(offsets)
        if (lengths % 2).any():
            row = int(np.argmax(lengths % 2))
            raise InvalidLiteralError(
                row, str(format_row(row)) if format_row else "", column_type, "an odd number of parts"
            )
        offsets = offsets // 2
        flat_values = pa.FixedSizeListArray.from_arrays(flat_values, 2)
    if pa.types.is_fixed_size_list(storage_type):
        return _fold_fixed_lists(offsets, flat_values, is_null, column_type, format_row)
    if is_null is not None and is_null.any():
        mask = pa.array(is_null)
    else:
        mask = None
    if not flat_values.type.equals(storage_type.value_type):
        flat_values = flat_values.cast(storage_type.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), flat_values, type=storage_type, mask=mask)


def _fold_fixed_lists(
    offsets: Ints, flat_values: pa.Array, is_null: Ints | None, column_type: Type, format_row: Any
) -> pa.Array:
    storage_type = column_type.arrow
    size = storage_type.list_size
    lengths = np.diff(offsets)
    has_nulls = is_null is not None and bool(is_null.any())
    is_invalid = lengths != size
    if has_nulls:
        is_invalid &= ~is_null  # type: ignore[operator]  # `has_nulls` says that it is an array
    if is_invalid.any():
        row = int(np.argmax(is_invalid))
        if format_row:
            text = str(format_row(row))
        else:
            text = ""
        raise InvalidLiteralError(row, text, column_type, f"{size} values are expected, {int(lengths[row])} found")
    if has_nulls and len(flat_values) != size * len(lengths):  # make room behind null rows
        positions = np.repeat(offsets[:-1], size) + np.tile(np.arange(size), len(lengths))
        flat_values = flat_values.take(pa.array(positions, mask=np.repeat(is_null, size)))  # type: ignore[arg-type]
    if not flat_values.type.equals(storage_type.value_type):
        flat_values = flat_values.cast(storage_type.value_type)
    mask = pa.array(is_null) if has_nulls else None
    return pa.FixedSizeListArray.from_arrays(flat_values, type=storage_type, mask=mask)


def _lengths_to_offsets(lengths: Ints) -> Ints:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def split_string_arrays(texts: pa.Array, column_type: Type) -> pa.Array:
    """Split texts into strings of the first dimension's length.

    Trailing blanks and NULs of each are padding (VOTable 1.4, 2.2).

    Parameters
    ----------
    column_type
        An array of strings of a fixed length.
    """
    width = column_type.shape[0] or 1
    plain_texts = fill_nulls(texts)
    raw_bytes = np.frombuffer(view_bytes(plain_texts), np.uint8)
    character_positions = np.append(
        np.flatnonzero((raw_bytes & 0xC0) != 0x80), len(raw_bytes)
    )  # byte position of each character
    rows = _lengths_to_offsets(pc.utf8_length(plain_texts).to_numpy())
    counts = -(-np.diff(rows) // width)
    offsets = _lengths_to_offsets(counts)
    starts = np.repeat(rows[:-1], counts) + (np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], counts)) * width
    edges = character_positions[np.append(starts, rows[-1])].astype(np.int32)
    strings = pa.Array.from_buffers(pa.string(), len(starts), [None, pa.py_buffer(edges), pa.py_buffer(raw_bytes)])
    strings = pc.utf8_rtrim(strings, characters=" \0")
    is_null = pc.or_(texts.is_null(), pc.equal(plain_texts, to_string_scalar(""))).to_numpy(zero_copy_only=False)
    if is_null.any():
        mask = pa.array(is_null)
    else:
        mask = None
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), strings, mask=mask)


# what parse_time reads without a form
ISO_TIME_PATTERN = r"^\s*(\d{4}[-/]\d{1,2}[-/]\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d*)?)?)?|\d{4}-\d{3}(T\d{2}:\d{2}(:\d{2}(\.\d*)?)?)?|\d{8}T\d{6})Z?\s*$"
_POSSIBLE_DATE_PATTERN = re.compile(r"(?=.*\d).{6,26}", re.DOTALL)  # what may be a date
DATE_FORMATS = (
    "%Y-%b-%d %H:%M:%S",
    "%Y-%b-%d %H:%M",
    "%Y-%b-%d",
    "%d-%b-%Y %H:%M:%S",
    "%d-%b-%Y %H:%M",
    "%d-%b-%Y",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
    "%m/%d/%Y %I:%M:%S %p",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y",
    "%Y.%m.%d_%H:%M:%S_TAI",
    "%Y.%m.%d_%H:%M:%S",
    "%d %b %Y",
    "%Y %b %d",
    "%b %d %Y",
    "%d %B %Y",
    "%Y%m%d_%H%M%S",
    "%Y%m%d",
)


def detect_date_format(words: Sequence[str]) -> str | None:
    """Return the form of a date, one of `DATE_FORMATS`, that nearly all texts have; None if there is none."""
    if not words or not 6 <= len(words[0]) <= 26:
        return None
    return next(
        (
            date_format
            for date_format in DATE_FORMATS
            if sum(_has_date_format(word, date_format) for word in words) >= 0.97 * len(words)
        ),
        None,
    )


def detect_date_formats(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Detect the forms of dates, three at most, that texts have.

    Returns
    -------
    forms
        That of the first text first; ``''`` is ISO 8601. None of them if it is that alone, or if few are dates.
    others
        The texts that are no dates.
    """
    remaining, formats, non_dates = list(words), list[str](), list[str]()
    while remaining and len(non_dates) <= len(words) // 4:
        if _POSSIBLE_DATE_PATTERN.fullmatch(remaining[0]):
            candidates = [candidate for candidate in ("", *DATE_FORMATS) if _has_date_format(remaining[0], candidate)]
        else:
            candidates = []
        if not candidates or len(formats) == 3:
            non_dates.append(remaining.pop(0))
            continue
        best_format = max(
            candidates, key=lambda candidate: sum(_has_date_format(word, candidate) for word in remaining)
        )
        formats.append(best_format)
        remaining = [word for word in remaining if not _has_date_format(word, best_format)]
    if remaining or (formats == [""] and not non_dates):
        return ([], remaining)
    return (formats, non_dates)


def _has_date_format(word: str, date_format: str) -> bool:
    if not date_format:
        return re.match(ISO_TIME_PATTERN, word) is not None
    try:
        return 1500 < datetime.strptime(word, date_format).year < 2200  # noqa: DTZ007  (only whether it is one)
    except ValueError:
        return False


MAX_VECTORIZED_TEXT_BYTES = 1024  # bytes: longer texts are hashed one by one
_GOLDEN_RATIO_64 = np.uint64(0x9E3779B97F4A7C15)
_SPLITMIX_FACTOR_1, _SPLITMIX_FACTOR_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
# of a word, by how many of its bytes belong to the text
_BYTE_MASKS = np.array([(1 << 8 * kept) - 1 for kept in range(9)], np.uint64)


def hash_rows(columns: Sequence[pa.Array]) -> tuple[Flags, Hashes]:
    """Hash rows over some columns.

    Parameters
    ----------
    columns
        Each of shape (n,), of any type that has no lists.

    Returns
    -------
    given
        Which rows have a value in each of the columns, shape (n,).
    code
        Their hashes, shape (n,).
    """
    has_values: Flags = np.ones(len(columns[0]), bool)
    row_hashes: Hashes = np.zeros(len(columns[0]), np.uint64)
    for values in columns:
        if values.null_count:
            has_values &= np.asarray(pc.is_valid(values))
        row_hashes = _apply_finalizer(row_hashes * _GOLDEN_RATIO_64 + _hash_column(values))
    return has_values, row_hashes


def _hash_column(values: pa.Array) -> Hashes:
    if pa.types.is_floating(values.type):
        values = pc.add(values, pa.scalar(0.0, values.type))  # -0.0 is 0.0
    if pa.types.is_string(values.type):
        texts = values
    else:
        texts = pc.cast(values, pa.string())
    if texts.null_count:
        texts = pc.fill_null(texts, "")
    _, offsets, data = texts.buffers()
    ends: npt.NDArray[np.int64] = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4).astype(np.int64)
    lengths = np.diff(ends)
    row_hashes = _apply_finalizer((lengths.astype(np.uint64) + np.uint64(1)) * _GOLDEN_RATIO_64)
    if data is None or ends[-1] == ends[0]:
        return row_hashes
    size = int(ends[-1] - ends[0])
    padded = np.zeros(size + 8, np.uint8)
    padded[:size] = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    words = np.ndarray((size + 1,), "<u8", padded, strides=(1,))  # the eight bytes from each place
    starts = ends[:-1] - ends[0]
    is_long = lengths > MAX_VECTORIZED_TEXT_BYTES
    if is_long.any():
        for row in np.flatnonzero(is_long).tolist():
            digest = hashlib.blake2b(padded[starts[row] : starts[row] + lengths[row]].data, digest_size=8).digest()
            row_hashes[row] = np.frombuffer(digest, "<u8")[0]
        lengths = np.where(is_long, 0, lengths)
    for begin in range(0, int(lengths.max()), 8):
        remaining_bytes = lengths - begin
        if bool((remaining_bytes >= 8).all()):
            row_hashes = _apply_finalizer(row_hashes ^ words[starts + begin])
            continue
        rows = np.flatnonzero(remaining_bytes > 0)
        row_hashes[rows] = _apply_finalizer(
            row_hashes[rows] ^ (words[starts[rows] + begin] & _BYTE_MASKS[np.minimum(remaining_bytes[rows], 8)])
        )
    return row_hashes


def _apply_finalizer(row_hashes: Hashes) -> Hashes:
    """Spread every bit over all others (the finalizer of splitmix64: one to one)."""
    row_hashes = row_hashes ^ (row_hashes >> np.uint64(30))
    row_hashes *= _SPLITMIX_FACTOR_1
    row_hashes ^= row_hashes >> np.uint64(27)
    row_hashes *= _SPLITMIX_FACTOR_2
    row_hashes ^= row_hashes >> np.uint64(31)
    return row_hashes

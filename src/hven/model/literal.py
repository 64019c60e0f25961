"""Convert whole Arrow columns to VOTable and DALI literals and back, hash them, and detect formats of dates.

No function loops over rows.

Common
------
array, values
    A column in Arrow form, shape (n,).
texts
    Strings, shape (n,).
text
    A single string.
column_type, target_type
    The type of the column.
words
    Some texts of a column, as samples.
returns : pa.Array
    A value for each row, shape (n,), in one piece; nulls stay null unless the function says otherwise.
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
from hven.model._exact_numbers import find_overflowed_numbers as find_overflowed_numbers  # noqa: PLC0414
from hven.model._exact_numbers import find_rounded_integers as find_rounded_integers  # noqa: PLC0414
from hven.model._exact_numbers import format_decimals as format_decimals  # noqa: PLC0414
from hven.model._exact_numbers import refuse_overflow
from hven.model._missing_numbers import replace_nan_with_null as replace_nan_with_null  # noqa: PLC0414
from hven.model._time_parsing import TIME_SYNTAX_HELP as TIME_SYNTAX_HELP  # noqa: PLC0414
from hven.model._time_parsing import find_times_outside_year_range as find_times_outside_year_range  # noqa: PLC0414
from hven.model._time_parsing import is_portable_time_text as is_portable_time_text  # noqa: PLC0414
from hven.model._time_parsing import parse_times as parse_times  # noqa: PLC0414
from hven.model._time_parsing import to_portable_time_text as to_portable_time_text  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.model.types import ColumnType

    Hashes = npt.NDArray[np.uint64]
    Flags = npt.NDArray[np.bool_]
    Ints = np.ndarray[Any, Any]

_INTEGER_PATTERN = re.compile(r"[+-]?[0-9]+")
_CONTROL_CHARACTERS_PATTERN = re.compile(rb"[\x00-\x1f]")
_MAX_EXPANDED_BYTES = 32 << 20  # bytes of expanded dictionaries at a time
_MAX_PIECE_BYTES = 1 << 27
_FIRST_PIECE_ROWS = 4096  # rows
_STRING_TYPE = pa.string()
_INT64_TYPE = pa.int64()
_ZERO_SCALAR = pa.scalar(0, _INT64_TYPE)
NULL_STRING = pa.scalar(None, _STRING_TYPE)
_YEAR_0_MICROSECONDS = -62_167_219_200_000_000  # since 1970
_YEAR_10000_MICROSECONDS = 253_402_300_800_000_000


def parse_number(text: str) -> int | float:
    """Return the number (dimensionless) that a text stands for.

    A whole number becomes an integer, because a double has only 53 bits for it.

    Parameters
    ----------
    text
        Blanks around it are ignored.

    Raises
    ------
    ValueError
        The text is not a number.
    """
    if _INTEGER_PATTERN.fullmatch(text.strip()):
        return int(text)
    return float(text)


def format_number(value: float) -> str:
    """Return the text of a number for people: a whole number with all its digits, a fraction with at most 15.

    Parameters
    ----------
    value
        Dimensionless.
    """
    if isinstance(value, int):
        return str(value)
    return f"{value:.15g}"


@cache_results(4096)
def to_arrow_string_scalar(text: str) -> pa.Scalar:
    """Return a string as an Arrow scalar, from a cache, because Arrow takes 35 microseconds to guess the type.

    The cache keeps the last 4,096 strings.
    """
    return pa.scalar(text, _STRING_TYPE)


def concat_text_columns(*parts: pa.Array | str, separator: str = "") -> pa.Array:
    """Concatenate columns and words row by row; a row with a null becomes null.

    Parameters
    ----------
    parts
        Strings of shape (n,), and words for all rows.
    separator
        Text between two parts.
    """
    columns = (to_arrow_string_scalar(part) if isinstance(part, str) else part for part in parts)
    return pc.binary_join_element_wise(*columns, to_arrow_string_scalar(separator))


def fill_nulls(array: pa.Array, text: str = "") -> pa.Array:
    """Replace the nulls of a string column by a text; a column without nulls is returned as it is."""
    if array.null_count:
        return pc.fill_null(array, to_arrow_string_scalar(text))
    return array


def cast_to_storage_type(array: pa.Array, column_type: ColumnType) -> pa.Array:
    """Cast a column to the Arrow storage type of `column_type`: integers widen, dictionaries are expanded.

    Raises
    ------
    pyarrow.ArrowInvalid
        A value does not fit (2**40 in an ``int``).
    """
    array = combine_chunks(array)
    target_type = column_type.arrow
    source_type = array.type
    if source_type.equals(target_type):
        return array
    if isinstance(array, pa.ExtensionArray):
        return cast_to_storage_type(array.storage, column_type)
    if pa.types.is_dictionary(source_type):
        return cast_to_storage_type(array.dictionary_decode(), column_type)
    if pa.types.is_fixed_size_list(source_type) and pa.types.is_list(target_type):
        array = to_variable_lists(array)
    if pa.types.is_timestamp(source_type) and pa.types.is_timestamp(target_type):
        return _cast_timestamps(array, target_type)
    if pa.types.is_decimal(source_type) and pa.types.is_integer(target_type):
        array = array.cast(pa.decimal128(38, 0))
    else:
        array = format_decimals(array)
    if pa.types.is_binary(source_type) and pa.types.is_list(target_type):
        return _to_byte_lists(array)
    return array.cast(target_type)


def combine_chunks(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array; a single chunk is not copied.

    Parameters
    ----------
    array
        A column (n,) of any type.
    """
    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks == 1:
        return array.chunk(0)
    if array.num_chunks:
        return pa.concat_arrays(array.chunks)
    return pa.array([], array.type)


def _cast_timestamps(array: pa.Array, target_type: pa.DataType) -> pa.Array:
    """Cast timestamps: those with a zone to UTC, nanoseconds rounded down to microseconds."""
    source_type = array.type
    if source_type.tz is not None:
        in_utc = array.cast(pa.timestamp(source_type.unit, "UTC"))
        array = in_utc.cast(pa.timestamp(source_type.unit))
    return array.cast(target_type, safe=False)


def _to_byte_lists(array: pa.Array) -> pa.Array:
    """Convert binary values to lists of bytes, without a copy of the bytes."""
    all_offsets = np.frombuffer(array.buffers()[1], np.int32)
    offsets = all_offsets[array.offset : array.offset + len(array) + 1]
    values = pa.Array.from_buffers(pa.uint8(), int(offsets[-1]), [None, array.buffers()[2]])
    mask = array.is_null() if array.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=mask)


def cast_or_null(values: pa.Array, target_type: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Return the cast values, null where the cast fails, and flags of these rows, shape (n,); None if none fails.

    The function halves the values until the casts succeed, so that few faults cost few casts.
    """
    try:
        return values.cast(target_type), None
    except pa.ArrowInvalid:
        if len(values) == 1:
            return pa.nulls(1, target_type), pa.array([True])
    middle = len(values) // 2
    parts = []
    flags = []
    for half in (values[:middle], values[middle:]):
        cast_values, is_invalid = cast_or_null(half, target_type)
        parts.append(cast_values)
        flags.append(pa.array(np.zeros(len(half), bool)) if is_invalid is None else is_invalid)
    return pa.concat_arrays(parts), pa.concat_arrays(flags)


def flatten_lists(array: pa.Array) -> tuple[Ints, pa.Array]:
    """Flatten a column of lists of any rank.

    A null row is an empty range for variable lists, and a range of undefined values for fixed-size lists.

    Returns
    -------
    offsets
        Where each row begins in `values`, and the end; shape (n + 1,).
    values
        Values of the innermost type, shape (m,).
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
        if not len(offsets):
            offsets = np.zeros(1, np.int64)
        first_offset = int(offsets[0])
        values = array.values.slice(first_offset, int(offsets[-1]) - first_offset)
        offsets = offsets - first_offset
        if array.null_count:
            offsets, values = _remove_values_of_nulls(array, offsets, values)
    if pa.types.is_nested(values.type):
        inner_offsets, values = flatten_lists(values)
        offsets = inner_offsets[offsets]
    return offsets, values


def _remove_values_of_nulls(array: pa.Array, offsets: Ints, values: pa.Array) -> tuple[Ints, pa.Array]:
    """Remove the values of null rows, to which Arrow allows a length."""
    is_null = array.is_null().to_numpy(zero_copy_only=False)
    lengths = np.diff(offsets)
    if not lengths[is_null].any():
        return offsets, values
    is_valid = np.repeat(~is_null, lengths)
    lengths[is_null] = 0
    new_offsets = np.concatenate([[0], np.cumsum(lengths)])
    return new_offsets, values.filter(pa.array(is_valid))


def to_variable_lists(array: pa.Array) -> pa.Array:
    """Convert fixed-size lists to variable lists, with their nulls; variable lists are returned as they are."""
    if not pa.types.is_fixed_size_list(array.type):
        return array
    offsets = np.arange(len(array) + 1, dtype=np.int32) * array.type.list_size
    first_value = array.offset * array.type.list_size
    values = array.values.slice(first_value, len(array) * array.type.list_size)
    mask = array.is_null() if array.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=mask)


def view_column_bytes(array: pa.Array) -> memoryview:
    """Return a view of all bytes of a string or binary column in memory, row after row."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return memoryview(b"")
    ends = memoryview(offsets).cast("i")
    first_byte = ends[array.offset]
    return memoryview(data)[first_byte : ends[array.offset + len(array)]]


def split_batch_by_written_size(batch: pa.RecordBatch, added_row_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield a batch in pieces of at least one row.

    What is written of each piece stays well below Arrow's 2 GiB per string column.

    Parameters
    ----------
    batch
        The rows.
    added_row_bytes
        Bytes that writing adds to each row: tags, separators, padding.
    """
    if not batch.num_rows:
        return
    # columns may share their buffers, and none is larger than all buffers; counting the exact bytes of each column
    # takes longer than writing a row
    upper_limit = added_row_bytes * batch.num_rows + 4 * batch.num_columns * batch.get_total_buffer_size()
    if upper_limit < _MAX_PIECE_BYTES:
        yield batch
        return
    row_bytes = added_row_bytes + 4 * batch.nbytes // batch.num_rows + 1
    step = max(1, _MAX_PIECE_BYTES // row_bytes)
    if step >= batch.num_rows:
        yield batch
        return
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def split_batch_by_expanded_size(
    batch: pa.RecordBatch, byte_limit: int = _MAX_EXPANDED_BYTES
) -> Iterator[pa.RecordBatch]:
    """Yield a batch in pieces that take at most `byte_limit` bytes when their dictionaries are expanded.

    A dictionary holds a long text once, however many rows have it.

    Parameters
    ----------
    batch
        The rows.
    byte_limit
        Limit for each piece, bytes.

    Raises
    ------
    ValueError
        A single row takes more.
    """
    row_bytes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        row_bytes += _count_expanded_bytes(column)
    if row_bytes.sum() <= byte_limit:
        yield batch
        return
    if row_bytes.max() > byte_limit:
        raise ValueError(f"the strings of one row take up {row_bytes.max():,} bytes; the limit is {byte_limit:,}")
    ends = np.cumsum(row_bytes)
    start = 0
    while start < batch.num_rows:
        bytes_before = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, byte_limit + bytes_before, "right"))
        stop = max(start + 1, stop)
        yield batch.slice(start, stop - start)
        start = stop


def _count_expanded_bytes(array: pa.Array) -> Ints:
    """Count for each row the bytes of its texts that are in a dictionary."""
    if isinstance(array, pa.ExtensionArray):
        return _count_expanded_bytes(array.storage)
    if pa.types.is_dictionary(array.type):
        return _count_dictionary_bytes(array)
    if pa.types.is_string_view(array.type):  # several views may share their characters
        views = np.frombuffer(array.buffers()[1], "<i4").reshape(-1, 4)
        lengths = views[array.offset : array.offset + len(array), 0]
        return np.where(np.asarray(array.is_valid()), lengths, 0).astype(np.int64)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        lists = to_variable_lists(array)
        expanded_byte_count = _count_expanded_bytes(lists.values)
        cumulative_bytes = np.concatenate([[0], np.cumsum(expanded_byte_count)])
        offsets = np.asarray(lists.offsets)
        row_bytes: Ints = cumulative_bytes[offsets[1:]] - cumulative_bytes[offsets[:-1]]
        return row_bytes
    return np.zeros(len(array), np.int64)


def _count_dictionary_bytes(array: pa.Array) -> Ints:
    """Count the bytes of each row's text of a dictionary column."""
    dictionary = array.dictionary
    if len(dictionary) == 0:
        return np.zeros(len(array), np.int64)
    value_type = dictionary.type
    is_text = pa.types.is_string(value_type) or pa.types.is_large_string(value_type)
    if is_text or pa.types.is_binary(value_type):
        sizes = np.asarray(pc.fill_null(pc.binary_length(dictionary), 0), np.int64)
    else:
        mean_size = dictionary.nbytes // len(dictionary)
        sizes = _count_expanded_bytes(dictionary) + np.full(len(dictionary), mean_size)
    indices = np.asarray(pc.fill_null(array.indices, 0))
    return np.where(np.asarray(array.is_valid()), sizes[indices], 0)


def split_first_batch(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in the same order, with the first batch split in two.

    The first bytes of an answer then leave after a few milliseconds, whatever the size of the batch.

    Parameters
    ----------
    batches
        Batches of any size.
    """
    is_first = True
    for batch in batches:
        if is_first and batch.num_rows > 2 * _FIRST_PIECE_ROWS:
            yield batch.slice(0, _FIRST_PIECE_ROWS)
            yield batch.slice(_FIRST_PIECE_ROWS)
        else:
            yield batch
        is_first = False


def format_dali_literals(array: pa.Array, column_type: ColumnType, *, null_text: str | None = None) -> pa.Array:
    """Serialize a column as DALI literals; nulls stay null (DALI 1.1, 3.3).

    Blanks separate the elements of arrays; arrays of strings become a JSON list.

    Parameters
    ----------
    array
        In the storage type of `column_type` (see `cast_to_storage_type`), shape (n,).
    null_text
        Text for null elements inside integer arrays; null elements of other types become ``NaN`` and ``?``.

    Raises
    ------
    ValueError
        An integer array has a null element, and there is no `null_text`.
    """
    if column_type.is_timestamp:
        return format_timestamps(array)
    if not pa.types.is_nested(array.type):
        return _format_scalars(array, column_type)
    lists_with_nulls = to_variable_lists(array) if array.null_count else array
    offsets, values = flatten_lists(lists_with_nulls)
    if pa.types.is_string(values.type):
        parts = fill_nulls(quote_json_strings(values), "null")
        separator = ","
        brackets = ("[", "]")
    else:
        parts = _format_elements(values, column_type, null_text)
        separator = " "
        brackets = ("", "")
    list_offsets = pa.array(offsets.astype(np.int32))
    lists = pa.ListArray.from_arrays(list_offsets, parts)
    texts = pc.binary_join(lists, to_arrow_string_scalar(separator))
    if brackets[0]:
        texts = concat_text_columns(brackets[0], texts, brackets[1])
    if array.null_count:
        return pc.if_else(array.is_valid(), texts, NULL_STRING)
    return texts


def _format_elements(values: pa.Array, column_type: ColumnType, null_text: str | None) -> pa.Array:
    parts = _format_scalars(values, column_type)
    if not parts.null_count:
        return parts
    if pa.types.is_floating(values.type):
        return fill_nulls(parts, "NaN")
    if pa.types.is_boolean(values.type):
        if column_type.datatype == "bit":
            raise ValueError("a bit array cannot contain a null element")
        return fill_nulls(parts, "?")
    if null_text is None:
        raise ValueError(
            "an array of whole numbers contains a null element, but the column does not define a value that means null"
        )
    return fill_nulls(parts, null_text)


def _format_scalars(array: pa.Array, column_type: ColumnType) -> pa.Array:
    if pa.types.is_string(array.type):
        return array
    if column_type.datatype == "bit":
        return array.cast(pa.int8()).cast(_STRING_TYPE)
    texts = array.cast(_STRING_TYPE)
    if pa.types.is_floating(array.type):
        values = array.to_numpy(zero_copy_only=False)
        if np.isfinite(values).all():
            return texts
        texts = pc.if_else(pc.is_nan(array), to_arrow_string_scalar("NaN"), texts)
        if np.isinf(values).any():
            is_positive = pc.greater(array, pa.scalar(0, array.type))
            infinities = pc.if_else(is_positive, to_arrow_string_scalar("+Inf"), to_arrow_string_scalar("-Inf"))
            texts = pc.if_else(pc.is_inf(array), infinities, texts)
    return texts


def format_timestamps(array: pa.Array) -> pa.Array:
    """Format timestamps in DALI's form (DALI 1.1, 3.3.3).

    For example ``2020-01-01T00:00:00``, with a fraction of a second only where there is one.

    Parameters
    ----------
    array
        Timestamps in microseconds, shape (n,).
    """
    values = array.cast(_INT64_TYPE)
    if array.null_count:
        values = pc.fill_null(values, _ZERO_SCALAR)
    values = values.to_numpy()
    if not len(values) or _has_four_digit_years(values):
        texts = _format_four_digit_years(values)
    else:
        texts = _format_unusual_years(values)
    if array.null_count:
        return pc.if_else(array.is_valid(), texts, NULL_STRING)
    return texts


def _has_four_digit_years(values: Ints) -> bool:
    return int(values.min()) >= _YEAR_0_MICROSECONDS and int(values.max()) < _YEAR_10000_MICROSECONDS


def _format_four_digit_years(values: Ints) -> pa.Array:
    """Format microseconds since 1970 of the years 0 to 9999."""
    seconds, microseconds = np.divmod(values, 1_000_000)
    whole_seconds = pa.Array.from_buffers(pa.timestamp("s"), len(values), [None, pa.py_buffer(seconds)])
    texts = pc.binary_replace_slice(whole_seconds.cast(_STRING_TYPE), 10, 11, "T")
    if microseconds.any():
        digits = pc.utf8_slice_codeunits(pa.array(microseconds + 1_000_000).cast(_STRING_TYPE), 1)
        has_fraction = pa.array(microseconds != 0)
        fractions = concat_text_columns(texts, pc.utf8_rtrim(digits, characters="0"), separator=".")
        texts = pc.if_else(has_fraction, fractions, texts)
    return texts


def _format_unusual_years(values: Ints) -> pa.Array:
    """Format times whose years have a sign or more than four digits; Arrow does not know years beyond 32767."""
    texts = pa.array(np.datetime_as_string(values.view("M8[us]")), _STRING_TYPE)
    without_zeros = pc.utf8_rtrim(texts, characters="0")
    return pc.utf8_rtrim(without_zeros, characters=".")  # there are six digits after the point


def quote_json_strings(array: pa.Array) -> pa.Array:
    """Quote and escape strings as JSON does; nulls stay null."""
    data = bytes(view_column_bytes(array))
    quoted_texts = array
    if b"\\" in data or b'"' in data:
        escaped_backslashes = pc.replace_substring(quoted_texts, "\\", "\\\\")
        quoted_texts = pc.replace_substring(escaped_backslashes, '"', '\\"')
    control_codes = {character[0] for character in _CONTROL_CHARACTERS_PATTERN.findall(data)}
    for code in sorted(control_codes):
        quoted_texts = pc.replace_substring(quoted_texts, chr(code), f"\\u{code:04x}")
    return concat_text_columns('"', quoted_texts, '"')


_TRUE_WORDS = pa.array(["t", "true", "1", "y", "yes"])
_FALSE_WORDS = pa.array(["f", "false", "0", "n", "no"])
# words that services write for missing numbers, against the standard
_MISSING_NUMBER_WORDS = pa.array(["null", "-", "--", "n/a", "none"])
# astropy writes NaN for masked elements of arrays of integers
_MISSING_INTEGER_WORDS = pa.array([*_MISSING_NUMBER_WORDS.to_pylist(), "nan"])
_UNKNOWN_BOOLEAN_WORDS = pa.array(["?", "", "\0"])


def parse_dali_literals(texts: pa.Array, column_type: ColumnType, null_text: str | None = None) -> pa.Array:
    """Parse a string column as values of `column_type` (its storage type); an empty text is null.

    Parameters
    ----------
    texts
        DALI literals, shape (n,).
    null_text
        VALUES/@null: values equal to this one, however they are spelt, are null too, also inside arrays.

    Raises
    ------
    InvalidLiteralError
        A text cannot be parsed; the error names the first such row.
    """
    if column_type.is_timestamp:
        return _parse_timestamps(_strip_and_replace_blanks_with_null(texts, null_text), column_type)
    if pa.types.is_string(column_type.arrow):
        return _replace_null_texts_with_null(texts, null_text)
    if not pa.types.is_nested(column_type.arrow):
        return _parse_scalars(_strip_and_replace_blanks_with_null(texts, None), column_type, null_text)
    if column_type.datatype in {"char", "unicodeChar"}:
        return split_string_arrays(texts, column_type)
    return _parse_arrays(_strip_and_replace_blanks_with_null(texts, None), column_type, null_text)


def _replace_null_texts_with_null(texts: pa.Array, null_text: str | None) -> pa.Array:
    is_null = pc.equal(pc.binary_length(texts), pa.scalar(0, pa.int32()))
    if null_text:
        is_null = pc.or_(pc.equal(texts, to_arrow_string_scalar(null_text)), is_null)
    if pc.any(is_null).as_py():
        return pc.if_else(is_null, NULL_STRING, texts)
    return texts


def _strip_and_replace_blanks_with_null(texts: pa.Array, null_text: str | None) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(texts)
    is_null = pc.equal(trimmed, to_arrow_string_scalar(""))
    if null_text:
        is_null = pc.or_(is_null, pc.equal(trimmed, to_arrow_string_scalar(null_text.strip())))
    if pc.any(is_null).as_py():
        return pc.if_else(is_null, NULL_STRING, trimmed)
    return trimmed


def _parse_scalars(texts: pa.Array, column_type: ColumnType, null_text: str | None) -> pa.Array:
    """Parse trimmed words."""
    storage_type = column_type.scalar_type.arrow
    if pa.types.is_boolean(storage_type):
        return _parse_booleans(texts, column_type)
    try:
        values = texts.cast(storage_type)
    except pa.ArrowInvalid:
        values = _parse_unusual_numbers(texts, column_type, storage_type)
    refuse_overflow(texts, values, column_type)
    if null_text:
        try:
            null_value = to_arrow_string_scalar(null_text.strip()).cast(storage_type)
        except pa.ArrowInvalid:
            return values  # the null value cannot occur among values that were all parsed
        values = pc.if_else(pc.equal(values, null_value), pa.scalar(None, storage_type), values)
    return values


def _parse_unusual_numbers(texts: pa.Array, column_type: ColumnType, storage_type: pa.DataType) -> pa.Array:
    """Parse what Arrow does not: ``+5``, ``5.0`` for an integer, ``1d5``, ``null``, ``-``; or report the wrong row."""
    missing_words = _MISSING_NUMBER_WORDS
    if pa.types.is_integer(storage_type):
        missing_words = _MISSING_INTEGER_WORDS
    is_missing = pc.is_in(pc.utf8_lower(texts), value_set=missing_words)
    texts = pc.if_else(is_missing, NULL_STRING, texts)
    plain_texts = pc.replace_substring_regex(texts, r"^\+", "")
    if pa.types.is_floating(storage_type):
        plain_texts = pc.replace_substring_regex(plain_texts, r"[dD]([+-]?\d+)$", r"e\1")
        pattern = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|(?i)^[+-]?(nan|inf|infinity)$"
    else:
        plain_texts = pc.replace_substring_regex(plain_texts, r"^([+-]?\d+)\.0*$", r"\1")
        pattern = r"^-?\d+$|^0[xX][0-9a-fA-F]+$"
    is_number = pc.fill_null(pc.match_substring_regex(plain_texts, pattern), True)
    is_invalid = pc.invert(is_number)
    if pc.any(is_invalid).as_py():
        row = pc.index(is_invalid, True).as_py()
        raise InvalidLiteralError(row, texts[row].as_py(), column_type)
    try:
        return plain_texts.cast(storage_type)
    except pa.ArrowInvalid:
        row = _find_first_uncastable_text(plain_texts, storage_type)
        raise InvalidLiteralError(row, texts[row].as_py(), column_type, "too large") from None


def _find_first_uncastable_text(texts: pa.Array, storage_type: pa.DataType) -> int:
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


def _parse_booleans(texts: pa.Array, column_type: ColumnType) -> pa.Array:
    lower_texts = pc.utf8_lower(texts)
    is_true = pc.is_in(lower_texts, value_set=_TRUE_WORDS)
    is_false = pc.is_in(lower_texts, value_set=_FALSE_WORDS)
    is_boolean = pc.or_(is_true, is_false)
    is_unknown = pc.is_in(lower_texts, value_set=_UNKNOWN_BOOLEAN_WORDS)
    is_valid = pc.or_(is_boolean, pc.or_(is_unknown, texts.is_null()))
    is_invalid = pc.invert(is_valid)
    if pc.any(is_invalid).as_py():
        row = pc.index(is_invalid, True).as_py()
        raise InvalidLiteralError(row, texts[row].as_py(), column_type)
    return pc.if_else(is_boolean, is_true, pa.scalar(None, pa.bool_()))


def _parse_timestamps(texts: pa.Array, column_type: ColumnType) -> pa.Array:
    """Parse DALI timestamps."""
    values, is_invalid = parse_times(texts)
    if is_invalid is not None:
        row = pc.index(is_invalid, True).as_py()
        raise InvalidLiteralError(row, texts[row].as_py(), column_type, f"a time must be {TIME_SYNTAX_HELP}")
    return values.cast(column_type.arrow)


def _parse_arrays(texts: pa.Array, column_type: ColumnType, null_text: str | None) -> pa.Array:
    if column_type.datatype == "bit":  # a run of 0 and 1, with or without blanks
        runs = pc.replace_substring_regex(texts, r"\s+", "")
        bit_texts = fill_nulls(runs)
        offsets = _lengths_to_offsets(pc.binary_length(bit_texts).to_numpy())
        characters = np.frombuffer(view_column_bytes(bit_texts), np.uint8)
        is_invalid = (characters != ord("0")) & (characters != ord("1"))
        if is_invalid.any():
            first_invalid = int(np.argmax(is_invalid))
            row = int(np.searchsorted(offsets, first_invalid, side="right")) - 1
            raise InvalidLiteralError(row, texts[row].as_py(), column_type)
        return _fold_parsed_values_into_lists(offsets, pa.array(characters == ord("1")), texts, column_type)
    parts = pc.utf8_split_whitespace(texts)
    offsets = parts.offsets.to_numpy().astype(np.int64)
    words = parts.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    offsets = offsets - offsets[0]
    try:
        values = _parse_elements(words, column_type, null_text)
    except InvalidLiteralError as error:
        row = int(np.searchsorted(offsets, error.row, side="right")) - 1
        raise InvalidLiteralError(row, texts[row].as_py(), column_type) from None
    return _fold_parsed_values_into_lists(offsets, values, texts, column_type)


def _parse_elements(words: pa.Array, column_type: ColumnType, null_text: str | None) -> pa.Array:
    if column_type.scalar_type.rank or column_type.datatype == "boolean":
        return _parse_scalars(words, column_type, null_text)
    # the parts of complex numbers
    part_type = pa.float32() if column_type.datatype == "floatComplex" else pa.float64()
    try:
        values = words.cast(part_type)
    except pa.ArrowInvalid:
        values = _parse_unusual_numbers(words, column_type, part_type)
    refuse_overflow(words, values, column_type)
    return values


def _fold_parsed_values_into_lists(
    offsets: Ints, flat_values: pa.Array, texts: pa.Array, column_type: ColumnType
) -> pa.Array:
    is_null = texts.is_null().to_numpy(zero_copy_only=False)
    return fold_values_into_lists(offsets, flat_values, is_null, column_type, lambda row: texts[row].as_py())


def fold_values_into_lists(
    offsets: Ints, flat_values: pa.Array, is_null: Ints | None, column_type: ColumnType, format_row: Any = None
) -> pa.Array:
    """Fold flat values into lists of the storage type of `column_type`.

    Parameters
    ----------
    offsets
        Where each row begins in `flat_values`, and the end; shape (n + 1,).
    flat_values
        Values of the innermost type, shape (m,).
    is_null
        True for rows that are null as a whole, shape (n,).
    format_row
        A function that returns the text of a row, for the error message; None if there are no texts.

    Raises
    ------
    InvalidLiteralError
        A row has another number of values than `column_type` requires.
    """
    storage_type = column_type.arrow
    is_complex = column_type.datatype in {"floatComplex", "doubleComplex"}
    if is_complex:
        if column_type.arraysize is None:
            return _fold_values_into_fixed_lists(offsets, flat_values, is_null, column_type, format_row)
        lengths = np.diff(offsets)
        if (lengths % 2).any():
            row = int(np.argmax(lengths % 2))
            row_text = str(format_row(row)) if format_row else ""
            raise InvalidLiteralError(row, row_text, column_type, "the complex value has an odd number of parts")
        offsets = offsets // 2
        flat_values = pa.FixedSizeListArray.from_arrays(flat_values, 2)
    if pa.types.is_fixed_size_list(storage_type):
        return _fold_values_into_fixed_lists(offsets, flat_values, is_null, column_type, format_row)
    mask = None
    if is_null is not None and is_null.any():
        mask = pa.array(is_null)
    if not flat_values.type.equals(storage_type.value_type):
        flat_values = flat_values.cast(storage_type.value_type)
    list_offsets = pa.array(offsets.astype(np.int32))
    return pa.ListArray.from_arrays(list_offsets, flat_values, type=storage_type, mask=mask)


def _fold_values_into_fixed_lists(
    offsets: Ints, flat_values: pa.Array, is_null: Ints | None, column_type: ColumnType, format_row: Any
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
        text = str(format_row(row)) if format_row else ""
        raise InvalidLiteralError(
            row, text, column_type, f"the array must have {size} elements, but has {int(lengths[row])}"
        )
    if has_nulls and len(flat_values) != size * len(lengths):  # null rows need values, too
        first_positions = np.repeat(offsets[:-1], size)
        positions = first_positions + np.tile(np.arange(size), len(lengths))
        is_null_value = np.repeat(is_null, size)  # type: ignore[arg-type]
        flat_values = flat_values.take(pa.array(positions, mask=is_null_value))
    if not flat_values.type.equals(storage_type.value_type):
        flat_values = flat_values.cast(storage_type.value_type)
    mask = pa.array(is_null) if has_nulls else None
    return pa.FixedSizeListArray.from_arrays(flat_values, type=storage_type, mask=mask)


def _lengths_to_offsets(lengths: Ints) -> Ints:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def split_string_arrays(texts: pa.Array, column_type: ColumnType) -> pa.Array:
    """Split texts into strings of the length of the first dimension.

    Trailing blanks and NULs of each string are padding (VOTable 1.4, 2.2).

    Parameters
    ----------
    column_type
        An array of strings of a fixed length.
    """
    width = column_type.shape[0] or 1
    plain_texts = fill_nulls(texts)
    raw_bytes = np.frombuffer(view_column_bytes(plain_texts), np.uint8)
    is_first_byte = (raw_bytes & 0xC0) != 0x80  # of a UTF-8 character
    character_positions = np.append(np.flatnonzero(is_first_byte), len(raw_bytes))
    rows = _lengths_to_offsets(pc.utf8_length(plain_texts).to_numpy())
    counts = -(-np.diff(rows) // width)
    offsets = _lengths_to_offsets(counts)
    place_in_row = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], counts)
    starts = np.repeat(rows[:-1], counts) + place_in_row * width
    edges = character_positions[np.append(starts, rows[-1])].astype(np.int32)
    buffers = [None, pa.py_buffer(edges), pa.py_buffer(raw_bytes)]
    strings = pa.Array.from_buffers(pa.string(), len(starts), buffers)
    strings = pc.utf8_rtrim(strings, characters=" \0")
    is_empty = pc.equal(plain_texts, to_arrow_string_scalar(""))
    is_null = pc.or_(texts.is_null(), is_empty).to_numpy(zero_copy_only=False)
    mask = pa.array(is_null) if is_null.any() else None
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), strings, mask=mask)


# the times that parse_times accepts without a format
ISO_TIME_PATTERN = (
    r"^\s*(\d{4}[-/]\d{1,2}[-/]\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d*)?)?)?"
    r"|\d{4}-\d{3}(T\d{2}:\d{2}(:\d{2}(\.\d*)?)?)?|\d{8}T\d{6})Z?\s*$"
)
_POSSIBLE_DATE_PATTERN = re.compile(r"(?=.*\d).{6,26}", re.DOTALL)  # a text that may be a date
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
    """Return the format of dates, one of `DATE_FORMATS`, that nearly all texts have; None if there is none."""
    if not words or not 6 <= len(words[0]) <= 26:
        return None
    for date_format in DATE_FORMATS:
        match_count = sum(_has_date_format(word, date_format) for word in words)
        if match_count >= 0.97 * len(words):
            return date_format
    return None


def detect_date_formats_and_non_dates(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Detect the formats of dates, at most three, that texts have.

    Returns
    -------
    forms
        The format of the first text comes first; ``''`` is ISO 8601. The list is empty if ISO 8601 is the only format,
        or if few texts are dates.
    others
        The texts that are not dates.
    """
    remaining = list(words)
    formats: list[str] = []
    non_dates: list[str] = []
    while remaining and len(non_dates) <= len(words) // 4:
        candidates = []
        if _POSSIBLE_DATE_PATTERN.fullmatch(remaining[0]):
            candidates = [candidate for candidate in ("", *DATE_FORMATS) if _has_date_format(remaining[0], candidate)]
        if not candidates or len(formats) == 3:
            non_dates.append(remaining.pop(0))
            continue
        match_counts = [sum(_has_date_format(word, candidate) for word in remaining) for candidate in candidates]
        best_format = candidates[match_counts.index(max(match_counts))]
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


MAX_VECTORIZED_TEXT_BYTES = 1024  # longer texts are hashed one by one
_GOLDEN_RATIO_64 = np.uint64(0x9E3779B97F4A7C15)
_SPLITMIX_FACTOR_1 = np.uint64(0xBF58476D1CE4E5B9)
_SPLITMIX_FACTOR_2 = np.uint64(0x94D049BB133111EB)
# masks of a word, by the number of its bytes that belong to the text
_BYTE_MASKS = np.array([(1 << 8 * kept) - 1 for kept in range(9)], np.uint64)


def hash_rows(columns: Sequence[pa.Array]) -> tuple[Flags, Hashes]:
    """Hash rows over some columns.

    Parameters
    ----------
    columns
        Columns of shape (n,), of any type without lists.

    Returns
    -------
    given
        Which rows have a value in each of the columns, shape (n,).
    code
        The hashes of the rows, shape (n,).
    """
    has_values: Flags = np.ones(len(columns[0]), bool)
    row_hashes: Hashes = np.zeros(len(columns[0]), np.uint64)
    for values in columns:
        if values.null_count:
            has_values &= np.asarray(pc.is_valid(values))
        column_hashes = _hash_column(values)
        row_hashes = _apply_hash_finalizer(row_hashes * _GOLDEN_RATIO_64 + column_hashes)
    return has_values, row_hashes


def _hash_column(values: pa.Array) -> Hashes:
    if pa.types.is_floating(values.type):
        values = pc.add(values, pa.scalar(0.0, values.type))  # turns -0.0 into 0.0
    if pa.types.is_string(values.type):
        texts = values
    else:
        texts = pc.cast(values, pa.string())
    if texts.null_count:
        texts = pc.fill_null(texts, "")
    _, offsets, data = texts.buffers()
    all_offsets = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4)
    ends: npt.NDArray[np.int64] = all_offsets.astype(np.int64)
    lengths = np.diff(ends)
    length_numbers = lengths.astype(np.uint64) + np.uint64(1)
    row_hashes = _apply_hash_finalizer(length_numbers * _GOLDEN_RATIO_64)
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
            text_bytes = padded[starts[row] : starts[row] + lengths[row]].data
            digest = hashlib.blake2b(text_bytes, digest_size=8).digest()
            row_hashes[row] = np.frombuffer(digest, "<u8")[0]
        lengths = np.where(is_long, 0, lengths)
    for begin in range(0, int(lengths.max()), 8):
        remaining_bytes = lengths - begin
        if bool((remaining_bytes >= 8).all()):
            row_hashes = _apply_hash_finalizer(row_hashes ^ words[starts + begin])
            continue
        rows = np.flatnonzero(remaining_bytes > 0)
        masks = _BYTE_MASKS[np.minimum(remaining_bytes[rows], 8)]
        last_words = words[starts[rows] + begin] & masks
        row_hashes[rows] = _apply_hash_finalizer(row_hashes[rows] ^ last_words)
    return row_hashes


def _apply_hash_finalizer(row_hashes: Hashes) -> Hashes:
    """Spread every bit over all others (the finalizer of splitmix64: one to one)."""
    row_hashes = row_hashes ^ (row_hashes >> np.uint64(30))
    row_hashes *= _SPLITMIX_FACTOR_1
    row_hashes ^= row_hashes >> np.uint64(27)
    row_hashes *= _SPLITMIX_FACTOR_2
    row_hashes ^= row_hashes >> np.uint64(31)
    return row_hashes

"""Values and their texts: whole Arrow columns as VOTable and DALI literals and back, and hashed, without a loop over rows; forms of dates.

Common
------
array, values
    A column as Arrow has it, shape (n,).
texts
    Strings, shape (n,).
text
    A single one.
kind
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

from hven.model import cached
from hven.model._exact_numbers import BadLiteral as BadLiteral  # noqa: PLC0414  (a name of this module, too)
from hven.model._exact_numbers import find_overflow as find_overflow  # noqa: PLC0414  (a name of this module, too)
from hven.model._exact_numbers import find_rounded as find_rounded  # noqa: PLC0414  (a name of this module, too)
from hven.model._exact_numbers import may_lose_digits as may_lose_digits  # noqa: PLC0414  (a name of this module, too)
from hven.model._exact_numbers import refuse_overflow
from hven.model._time_text import TIME_FORM as TIME_FORM  # noqa: PLC0414
from hven.model._time_text import find_outside_years as find_outside_years  # noqa: PLC0414
from hven.model._time_text import is_plain_time as is_plain_time  # noqa: PLC0414
from hven.model._time_text import read_times as read_times  # noqa: PLC0414
from hven.model._time_text import to_plain_time as to_plain_time  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.model.types import Type

    Hashes = npt.NDArray[np.uint64]
    Flags = npt.NDArray[np.bool_]
    Ints = np.ndarray[Any, Any]

_WHOLE = re.compile(r"[+-]?[0-9]+")
_CONTROLS = re.compile(rb"[\x00-\x1f]")
_UNFOLDED = 32 << 20  # bytes of dictionaries that are spelt out at once
_PIECE = 1 << 27
_EARLY = 4096  # rows
_STRING, _INT64 = pa.string(), pa.int64()
_ZERO, NULL = pa.scalar(0, _INT64), pa.scalar(None, _STRING)
_YEAR_0, _YEAR_10000 = -62_167_219_200_000_000, 253_402_300_800_000_000  # microseconds since 1970


def number(text: str) -> int | float:
    """Return the number (dimensionless) that a text says; a whole one stays whole, for a double holds no more than 53 bits of it.

    Parameters
    ----------
    text
        Blanks around it do not matter.

    Raises
    ------
    ValueError
        It is none.
    """
    return int(text) if _WHOLE.fullmatch(text.strip()) else float(text)


def figure(value: float) -> str:
    """Return a number's text as people write it: a whole one with all its digits, a fraction with at most 15.

    Parameters
    ----------
    value
        Dimensionless.
    """
    return str(value) if isinstance(value, int) else f"{value:.15g}"


@cached(4096)
def word(text: str) -> pa.Scalar:
    """Return a string as an Arrow scalar, made once (Arrow takes 35 microseconds to guess the type each time); the last 4,096 are kept."""
    return pa.scalar(text, _STRING)


def joined(*parts: pa.Array | str, between: str = "") -> pa.Array:
    """Concatenate columns and words row by row; null where one of them is.

    Parameters
    ----------
    parts
        Strings of shape (n,), and words for all rows.
    between
        What stands between two parts.
    """
    columns = (word(part) if isinstance(part, str) else part for part in parts)
    return pc.binary_join_element_wise(*columns, word(between))


def filled(array: pa.Array, text: str = "") -> pa.Array:
    """Replace the nulls of a string column by a text; the same object is returned if there are none."""
    return pc.fill_null(array, word(text)) if array.null_count else array


def storage(array: pa.Array, kind: Type) -> pa.Array:
    """Cast a column to the Arrow storage type of `kind`: whole numbers widen, dictionaries are spelt out.

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


def cast(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Return values as cast, null where that fails, and where that is (booleans of shape (n,), or None): found by halving, so that few faults cost few casts."""
    try:
        return values.cast(kind), None
    except pa.ArrowInvalid:
        if len(values) == 1:
            return pa.nulls(1, kind), pa.array([True])
    middle = len(values) // 2
    halves = [cast(values[:middle], kind), cast(values[middle:], kind)]
    bad = [pa.array(np.zeros(len(done), bool)) if some is None else some for done, some in halves]
    return pa.concat_arrays([done for done, _ in halves]), pa.concat_arrays(bad)


def flat(array: pa.Array) -> tuple[Ints, pa.Array]:
    """Flatten a column of lists of any rank.

    A null row is an empty stretch for variable lists and a stretch of undefined values for fixed ones.

    Returns
    -------
    offsets
        Where each row begins in `values`, and the end; shape (n + 1,).
    values
        Of the innermost type, shape (m,).
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


def _close_nulls(array: pa.Array, offsets: Ints, values: pa.Array) -> tuple[Ints, pa.Array]:
    """Remove what stands behind null rows: Arrow allows a null row to have a length."""
    null = array.is_null().to_numpy(zero_copy_only=False)
    lengths = np.diff(offsets)
    if not lengths[null].any():
        return offsets, values
    keep = np.repeat(~null, lengths)
    lengths[null] = 0
    return np.concatenate([[0], np.cumsum(lengths)]), values.filter(pa.array(keep))


def variable(array: pa.Array) -> pa.Array:
    """Convert fixed-size lists to variable ones, nulls kept; the same object is returned if it has variable ones already."""
    if not pa.types.is_fixed_size_list(array.type):
        return array
    offsets, values = np.arange(len(array) + 1, dtype=np.int32) * array.type.list_size, array.values
    values = values.slice(array.offset * array.type.list_size, len(array) * array.type.list_size)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=array.is_null() if array.null_count else None)


def characters(array: pa.Array) -> memoryview:
    """Return a view of all bytes of a string or binary column as they stand in memory, one row's after the other's."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return memoryview(b"")
    ends = memoryview(offsets).cast("i")
    return memoryview(data)[ends[array.offset] : ends[array.offset + len(array)]]


def pieces(batch: pa.RecordBatch, per_row: int) -> Iterator[pa.RecordBatch]:
    """Yield a batch in pieces of one row at least, so that what is written of each stays well below Arrow's 2 GiB per string column.

    Parameters
    ----------
    batch
        The rows.
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
    """Yield a batch in pieces that take at most `most` bytes when their dictionaries are spelt out: a long text is kept once.

    Parameters
    ----------
    batch
        The rows.
    most
        Bytes.

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


def _widths(array: pa.Array) -> Ints:
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
        counted: Ints = inner[offsets[1:]] - inner[offsets[:-1]]
        return counted
    return np.zeros(len(array), np.int64)


def early(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in the same order, the first batch split in two: its first bytes leave after a few milliseconds whatever its size.

    Parameters
    ----------
    batches
        Of any size.
    """
    first = True
    for batch in batches:
        if first and batch.num_rows > 2 * _EARLY:
            yield batch.slice(0, _EARLY)
            yield batch.slice(_EARLY)
        else:
            yield batch
        first = False


def text(array: pa.Array, kind: Type, *, null: str | None = None) -> pa.Array:
    """Serialize a column as DALI literals; nulls stay null (DALI 1.1, 3.3).

    Elements of arrays are separated by blanks; arrays of strings become a JSON list.

    Parameters
    ----------
    array
        In the storage type of `kind` (see `storage`), shape (n,).
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
                    pc.is_inf(array),
                    pc.if_else(pc.greater(array, pa.scalar(0, array.type)), word("+Inf"), word("-Inf")),
                    shown,
                )
    return shown


def timestamps(array: pa.Array) -> pa.Array:
    """Format timestamps in DALI's form (DALI 1.1, 3.3.3): ``2020-01-01T00:00:00``, with a fraction of a second only where there is one.

    Parameters
    ----------
    array
        Microseconds, shape (n,).
    """
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


def _long_years(values: Ints) -> pa.Array:
    """Write times whose years have a sign or more than four digits: rare, and Arrow knows no years beyond 32767."""
    shown = pa.array(np.datetime_as_string(values.view("M8[us]")), _STRING)
    return pc.utf8_rtrim(pc.utf8_rtrim(shown, characters="0"), characters=".")  # there are six digits after a point


def json_strings(array: pa.Array) -> pa.Array:
    """Quote and escape strings as JSON does; nulls stay null."""
    data = bytes(characters(array))
    shown = array
    if b"\\" in data or b'"' in data:
        shown = pc.replace_substring(pc.replace_substring(shown, "\\", "\\\\"), '"', '\\"')
    for code in sorted({found[0] for found in _CONTROLS.findall(data)}):
        shown = pc.replace_substring(shown, chr(code), f"\\u{code:04x}")
    return joined('"', shown, '"')


_TRUE, _FALSE = pa.array(["t", "true", "1", "y", "yes"]), pa.array(["f", "false", "0", "n", "no"])
_MISSING = pa.array(["null", "-", "--", "n/a", "none"])  # what services write for missing numbers, against the standard
_UNKNOWN = pa.array(["?", "", "\0"])


def values(texts: pa.Array, kind: Type, null: str | None = None) -> pa.Array:
    """Parse a string column as values of `kind` (its storage type); empty text is null.

    Parameters
    ----------
    texts
        DALI literals, shape (n,).
    null
        VALUES/@null: this value, however it is spelt, is null too, inside arrays as well.

    Raises
    ------
    BadLiteral
        The first text that cannot be read.
    """
    if kind.is_timestamp:
        return _timestamps(_blank_is_null(texts, null), kind)
    if pa.types.is_string(kind.arrow):
        return _strings(texts, null)
    if not pa.types.is_nested(kind.arrow):
        return _read_scalars(_blank_is_null(texts, None), kind, null)
    if kind.datatype in {"char", "unicodeChar"}:
        return string_arrays(texts, kind)
    return _arrays(_blank_is_null(texts, None), kind, null)


def _strings(texts: pa.Array, null: str | None) -> pa.Array:
    gone = pc.equal(texts, word(null)) if null else pc.equal(pc.binary_length(texts), pa.scalar(0, pa.int32()))
    if null:
        gone = pc.or_(gone, pc.equal(texts, word("")))
    return pc.if_else(gone, NULL, texts) if pc.any(gone).as_py() else texts


def _blank_is_null(texts: pa.Array, null: str | None) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(texts)
    gone = pc.equal(trimmed, word(""))
    if null:
        gone = pc.or_(gone, pc.equal(trimmed, word(null.strip())))
    return pc.if_else(gone, NULL, trimmed) if pc.any(gone).as_py() else trimmed


def _read_scalars(texts: pa.Array, kind: Type, null: str | None) -> pa.Array:
    """Read trimmed words."""
    storage = kind.scalar.arrow
    if pa.types.is_boolean(storage):
        return _truths(texts, kind)
    try:
        found = texts.cast(storage)
    except pa.ArrowInvalid:
        found = _odd_numbers(texts, kind, storage)
    refuse_overflow(texts, found, kind)
    if null:
        try:
            mark = word(null.strip()).cast(storage)
        except pa.ArrowInvalid:
            return found  # it cannot occur among values that were all read
        found = pc.if_else(pc.equal(found, mark), pa.scalar(None, storage), found)
    return found


def _odd_numbers(texts: pa.Array, kind: Type, storage: pa.DataType) -> pa.Array:
    """Read what Arrow does not: ``+5``, ``5.0`` for a whole number, ``1d5``, ``null`` and ``-``; or say which row is wrong."""
    texts = pc.if_else(pc.is_in(pc.utf8_lower(texts), value_set=_MISSING), NULL, texts)
    plain = pc.replace_substring_regex(texts, r"^\+", "")
    if pa.types.is_floating(storage):
        plain = pc.replace_substring_regex(plain, r"[dD]([+-]?\d+)$", r"e\1")
        pattern = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|(?i)^[+-]?(nan|inf|infinity)$"
    else:
        plain = pc.replace_substring_regex(plain, r"^([+-]?\d+)\.0*$", r"\1")
        pattern = r"^-?\d+$|^0[xX][0-9a-fA-F]+$"
    wrong = pc.invert(pc.fill_null(pc.match_substring_regex(plain, pattern), True))
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        raise BadLiteral(row, texts[row].as_py(), kind)
    try:
        return plain.cast(storage)
    except pa.ArrowInvalid:
        row = _first_bad(plain, storage)
        raise BadLiteral(row, texts[row].as_py(), kind, "too large") from None


def _first_bad(texts: pa.Array, storage: pa.DataType) -> int:
    """Find the first row that does not convert, by halving."""
    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            texts.slice(low, middle - low).cast(storage)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def _truths(texts: pa.Array, kind: Type) -> pa.Array:
    small = pc.utf8_lower(texts)
    true, false = pc.is_in(small, value_set=_TRUE), pc.is_in(small, value_set=_FALSE)
    known = pc.or_(true, false)
    other = pc.invert(pc.or_(known, pc.or_(pc.is_in(small, value_set=_UNKNOWN), texts.is_null())))
    if pc.any(other).as_py():
        row = pc.index(other, True).as_py()
        raise BadLiteral(row, texts[row].as_py(), kind)
    return pc.if_else(known, true, pa.scalar(None, pa.bool_()))


def _timestamps(texts: pa.Array, kind: Type) -> pa.Array:
    """Read DALI timestamps."""
    found, bad = read_times(texts)
    if bad is not None:
        row = pc.index(bad, True).as_py()
        raise BadLiteral(row, texts[row].as_py(), kind, f"{TIME_FORM} is expected")
    return found.cast(kind.arrow)


def _arrays(texts: pa.Array, kind: Type, null: str | None) -> pa.Array:
    if kind.datatype == "bit":  # a run of 0 and 1, with or without blanks
        runs = pc.replace_substring_regex(texts, r"\s+", "")
        counts = filled(runs)
        offsets = _lengths_to_offsets(pc.binary_length(counts).to_numpy())
        raw = np.frombuffer(characters(counts), np.uint8)
        wrong = (raw != ord("0")) & (raw != ord("1"))
        if wrong.any():
            row = int(np.searchsorted(offsets, int(np.argmax(wrong)), side="right")) - 1
            raise BadLiteral(row, texts[row].as_py(), kind)
        return _folded(offsets, pa.array(raw == ord("1")), texts, kind)
    parts = pc.utf8_split_whitespace(texts)
    offsets = parts.offsets.to_numpy().astype(np.int64)
    words = parts.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    offsets = offsets - offsets[0]
    try:
        found = _read_elements(words, kind, null)
    except BadLiteral as error:
        row = int(np.searchsorted(offsets, error.row, side="right")) - 1
        raise BadLiteral(row, texts[row].as_py(), kind) from None
    return _folded(offsets, found, texts, kind)


def _read_elements(words: pa.Array, kind: Type, null: str | None) -> pa.Array:
    found = _read_scalars(words, kind, null) if kind.scalar.rank or kind.datatype == "boolean" else None
    if found is None:  # complex: pairs
        part = pa.float32() if kind.datatype == "floatComplex" else pa.float64()
        try:
            found = words.cast(part)
        except pa.ArrowInvalid:
            found = _odd_numbers(words, kind, part)
        refuse_overflow(words, found, kind)
    return found


def _folded(offsets: Ints, found: pa.Array, texts: pa.Array, kind: Type) -> pa.Array:
    return fold(offsets, found, texts.is_null().to_numpy(zero_copy_only=False), kind, lambda row: texts[row].as_py())


def fold(offsets: Ints, found: pa.Array, null: Ints | None, kind: Type, show: Any = None) -> pa.Array:
    """Fold flat values into the storage type of `kind`.

    Parameters
    ----------
    offsets
        Where each row begins in `found`, and the end; shape (n + 1,).
    found
        Values of the innermost type, shape (m,).
    null
        True for rows that are null as a whole, shape (n,).
    show
        A function that returns the text of a row, for the message of a fault; None: no text is shown.

    Raises
    ------
    BadLiteral
        A row has not the number of values that `kind` says.
    """
    storage = kind.arrow
    pair = kind.datatype in {"floatComplex", "doubleComplex"}
    if pair:
        if kind.arraysize is None:
            return _fixed(offsets, found, null, kind, show)
        lengths = np.diff(offsets)
        if (lengths % 2).any():
            row = int(np.argmax(lengths % 2))
            raise BadLiteral(row, str(show(row)) if show else "", kind, "an odd number of parts")
        offsets = offsets // 2
        found = pa.FixedSizeListArray.from_arrays(found, 2)
    if pa.types.is_fixed_size_list(storage):
        return _fixed(offsets, found, null, kind, show)
    mask = pa.array(null) if null is not None and null.any() else None
    found = found.cast(storage.value_type) if not found.type.equals(storage.value_type) else found
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), found, type=storage, mask=mask)


def _fixed(offsets: Ints, found: pa.Array, null: Ints | None, kind: Type, show: Any) -> pa.Array:
    storage = kind.arrow
    size = storage.list_size
    lengths = np.diff(offsets)
    some = null is not None and bool(null.any())
    wrong = lengths != size
    if some:
        wrong &= ~null  # type: ignore[operator]  # `some` says that it is an array
    if wrong.any():
        row = int(np.argmax(wrong))
        text = str(show(row)) if show else ""
        raise BadLiteral(row, text, kind, f"{size} values are expected, {int(lengths[row])} found")
    if some and len(found) != size * len(lengths):  # make room behind null rows
        take = np.repeat(offsets[:-1], size) + np.tile(np.arange(size), len(lengths))
        found = found.take(pa.array(take, mask=np.repeat(null, size)))  # type: ignore[arg-type]
    found = found.cast(storage.value_type) if not found.type.equals(storage.value_type) else found
    return pa.FixedSizeListArray.from_arrays(found, type=storage, mask=pa.array(null) if some else None)


def _lengths_to_offsets(lengths: Ints) -> Ints:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def string_arrays(texts: pa.Array, kind: Type) -> pa.Array:
    """Split texts into strings of the first dimension's length; trailing blanks and NULs of each are padding (VOTable 1.4, 2.2).

    Parameters
    ----------
    kind
        An array of strings of a fixed length.
    """
    width = kind.shape[0] or 1
    plain = filled(texts)
    raw = np.frombuffer(characters(plain), np.uint8)
    lead = np.append(np.flatnonzero((raw & 0xC0) != 0x80), len(raw))  # byte position of each character
    rows = _lengths_to_offsets(pc.utf8_length(plain).to_numpy())
    counts = -(-np.diff(rows) // width)
    offsets = _lengths_to_offsets(counts)
    starts = np.repeat(rows[:-1], counts) + (np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], counts)) * width
    edges = lead[np.append(starts, rows[-1])].astype(np.int32)
    cut = pa.Array.from_buffers(pa.string(), len(starts), [None, pa.py_buffer(edges), pa.py_buffer(raw)])
    cut = pc.utf8_rtrim(cut, characters=" \0")
    gone = pc.or_(texts.is_null(), pc.equal(plain, word(""))).to_numpy(zero_copy_only=False)
    mask = pa.array(gone) if gone.any() else None
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), cut, mask=mask)


ISO = r"^\s*(\d{4}[-/]\d{1,2}[-/]\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d*)?)?)?|\d{4}-\d{3}(T\d{2}:\d{2}(:\d{2}(\.\d*)?)?)?|\d{8}T\d{6})Z?\s*$"  # what parse_time reads without a form
_DATED = re.compile(r"(?=.*\d).{6,26}", re.DOTALL)  # what may be a date
FORMS = (
    "%Y-%b-%d %H:%M:%S", "%Y-%b-%d %H:%M", "%Y-%b-%d", "%d-%b-%Y %H:%M:%S", "%d-%b-%Y %H:%M", "%d-%b-%Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M",
    "%m/%d/%Y", "%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y", "%Y.%m.%d_%H:%M:%S_TAI", "%Y.%m.%d_%H:%M:%S", "%d %b %Y", "%Y %b %d", "%b %d %Y", "%d %B %Y", "%Y%m%d_%H%M%S", "%Y%m%d",
)  # fmt: skip


def form_of(words: Sequence[str]) -> str | None:
    """Return the form of a date, one of `FORMS`, that nearly all texts have; None if there is none."""
    if not words or not 6 <= len(words[0]) <= 26:
        return None
    return next((form for form in FORMS if sum(_reads(word, form) for word in words) >= 0.97 * len(words)), None)


def forms_of(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Detect the forms of dates, three at most, that texts have.

    Returns
    -------
    forms
        That of the first text first; ``''`` is ISO 8601. None of them if it is that alone, or if few are dates.
    others
        The texts that are no dates.
    """
    left, found, others = list(words), list[str](), list[str]()
    while left and len(others) <= len(words) // 4:
        likely = [form for form in ("", *FORMS) if _reads(left[0], form)] if _DATED.fullmatch(left[0]) else []
        if not likely or len(found) == 3:
            others.append(left.pop(0))
            continue
        best = max(likely, key=lambda form: sum(_reads(word, form) for word in left))
        found.append(best)
        left = [word for word in left if not _reads(word, best)]
    return ([], left) if left or (found == [""] and not others) else (found, others)


def _reads(word: str, form: str) -> bool:
    if not form:
        return re.match(ISO, word) is not None
    try:
        return 1500 < datetime.strptime(word, form).year < 2200  # noqa: DTZ007  (only whether it is one)
    except ValueError:
        return False


LONG = 1024  # bytes: longer texts are hashed one by one
_TURN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
# of a word, by how many of its bytes belong to the text
_KEPT = np.array([(1 << 8 * kept) - 1 for kept in range(9)], np.uint64)


def hashes(columns: Sequence[pa.Array]) -> tuple[Flags, Hashes]:
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
    given: Flags = np.ones(len(columns[0]), bool)
    code: Hashes = np.zeros(len(columns[0]), np.uint64)
    for values in columns:
        if values.null_count:
            given &= np.asarray(pc.is_valid(values))
        code = _mixed(code * _TURN + _hashed(values))
    return given, code


def _hashed(values: pa.Array) -> Hashes:
    if pa.types.is_floating(values.type):
        values = pc.add(values, pa.scalar(0.0, values.type))  # -0.0 is 0.0
    text = values if pa.types.is_string(values.type) else pc.cast(values, pa.string())
    if text.null_count:
        text = pc.fill_null(text, "")
    _, offsets, data = text.buffers()
    ends: npt.NDArray[np.int64] = np.frombuffer(offsets, np.int32, len(text) + 1, text.offset * 4).astype(np.int64)
    lengths = np.diff(ends)
    code = _mixed((lengths.astype(np.uint64) + np.uint64(1)) * _TURN)
    if data is None or ends[-1] == ends[0]:
        return code
    size = int(ends[-1] - ends[0])
    padded = np.zeros(size + 8, np.uint8)
    padded[:size] = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    words = np.ndarray((size + 1,), "<u8", padded, strides=(1,))  # the eight bytes from each place
    starts = ends[:-1] - ends[0]
    long = lengths > LONG
    if long.any():
        for row in np.flatnonzero(long).tolist():
            digest = hashlib.blake2b(padded[starts[row] : starts[row] + lengths[row]].data, digest_size=8).digest()
            code[row] = np.frombuffer(digest, "<u8")[0]
        lengths = np.where(long, 0, lengths)
    for begin in range(0, int(lengths.max()), 8):
        rest = lengths - begin
        if bool((rest >= 8).all()):
            code = _mixed(code ^ words[starts + begin])
            continue
        rows = np.flatnonzero(rest > 0)
        code[rows] = _mixed(code[rows] ^ (words[starts[rows] + begin] & _KEPT[np.minimum(rest[rows], 8)]))
    return code


def _mixed(code: Hashes) -> Hashes:
    """Spread every bit over all others (the finalizer of splitmix64: one to one)."""
    code = code ^ (code >> np.uint64(30))
    code *= _FIRST
    code ^= code >> np.uint64(27)
    code *= _SECOND
    code ^= code >> np.uint64(31)
    return code

"""Text as values: whole columns of VOTable and DALI literals read into Arrow, without a loop over rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.literal import NULL, characters, filled, word

if TYPE_CHECKING:
    from hven.model.types import Type

_TRUE, _FALSE = pa.array(["t", "true", "1", "y", "yes"]), pa.array(["f", "false", "0", "n", "no"])
_MISSING = pa.array(["null", "-", "--", "n/a", "none"])  # what services write for missing numbers, against the standard
_UNKNOWN = pa.array(["?", "", "\0"])


class BadLiteral(ValueError):
    """A text that is no value of its type: `row` counts from 0 within the column that was given."""

    def __init__(self, row: int, text: str, kind: Type, why: str = "") -> None:
        self.row = row
        self.text = text
        what = kind.xtype or kind.datatype
        shown = text if len(text) <= 60 else text[:57] + "..."
        super().__init__(f"{shown!r} is not a value of type {what}" + (f": {why}" if why else ""))


def values(texts: pa.Array, kind: Type, null: str | None = None) -> pa.Array:
    """Read a string column as values of `kind` (its storage type); empty text is null.

    Parameters
    ----------
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
        return _scalars(_blank_is_null(texts, None), kind, null)
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


def _scalars(texts: pa.Array, kind: Type, null: str | None) -> pa.Array:
    """Read trimmed words."""
    storage = kind.scalar.arrow
    if pa.types.is_boolean(storage):
        return _truths(texts, kind)
    try:
        found = texts.cast(storage)
    except pa.ArrowInvalid:
        found = _odd_numbers(texts, kind, storage)
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
    """Read DALI timestamps; digits beyond microseconds are cut off."""
    storage = kind.arrow
    try:
        return texts.cast(storage)
    except pa.ArrowInvalid:
        plain = pc.replace_substring_regex(texts, r"(?:Z|[+-]00:?00)$", "")
        plain = pc.replace_substring_regex(plain, r"(\.\d{6})\d+$", r"\1")
        plain = pc.replace_substring_regex(plain, r"^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)\.$", r"\1")
        try:
            return plain.cast(storage)
        except pa.ArrowInvalid:
            row = _first_bad(plain, storage)
            raise BadLiteral(row, texts[row].as_py(), kind, "YYYY-MM-DD['T'hh:mm:ss[.sss]] is expected") from None


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
        found = _elements(words, kind, null)
    except BadLiteral as error:
        row = int(np.searchsorted(offsets, error.row, side="right")) - 1
        raise BadLiteral(row, texts[row].as_py(), kind) from None
    return _folded(offsets, found, texts, kind)


def _elements(words: pa.Array, kind: Type, null: str | None) -> pa.Array:
    found = _scalars(words, kind, null) if kind.scalar.rank or kind.datatype == "boolean" else None
    if found is None:  # complex: pairs
        part = pa.float32() if kind.datatype == "floatComplex" else pa.float64()
        try:
            found = words.cast(part)
        except pa.ArrowInvalid:
            found = _odd_numbers(words, kind, part)
    return found


def _folded(offsets: np.ndarray[Any, Any], found: pa.Array, texts: pa.Array, kind: Type) -> pa.Array:
    return fold(offsets, found, texts.is_null().to_numpy(zero_copy_only=False), kind, lambda row: texts[row].as_py())


def fold(offsets: np.ndarray[Any, Any], found: pa.Array, null: np.ndarray[Any, Any] | None, kind: Type, show: Any = None) -> pa.Array:
    """Fold flat values into the storage type of `kind`.

    Parameters
    ----------
    offsets
        Rows + 1 positions in `found`.
    null
        True for rows that are null as a whole.

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


def _fixed(offsets: np.ndarray[Any, Any], found: pa.Array, null: np.ndarray[Any, Any] | None, kind: Type, show: Any) -> pa.Array:
    storage = kind.arrow
    size = storage.list_size
    lengths = np.diff(offsets)
    some = null is not None and bool(null.any())
    wrong = lengths != size
    if some:
        wrong &= ~null  # type: ignore[operator]  # `some` says that it is an array
    if wrong.any():
        row = int(np.argmax(wrong))
        raise BadLiteral(row, str(show(row)) if show else "", kind, f"{size} values are expected, {int(lengths[row])} found")
    if some and len(found) != size * len(lengths):  # make room behind null rows
        take = np.repeat(offsets[:-1], size) + np.tile(np.arange(size), len(lengths))
        found = found.take(pa.array(take, mask=np.repeat(null, size)))  # type: ignore[arg-type]
    found = found.cast(storage.value_type) if not found.type.equals(storage.value_type) else found
    return pa.FixedSizeListArray.from_arrays(found, type=storage, mask=pa.array(null) if some else None)


def _lengths_to_offsets(lengths: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def string_arrays(texts: pa.Array, kind: Type) -> pa.Array:
    """Cut texts into strings of the first dimension's length; trailing blanks and NULs of each are padding."""
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
